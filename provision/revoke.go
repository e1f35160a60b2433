package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Revocation takes the credentials of devices away: in ThingsBoard, and, of
// certificates, for everyone who reads the device CA's CRL. The devices stay on
// record. A run that ends anywhere is finished by the next one.
type Revocation struct {
	Onboarder
	Changer Changer
	Certs   CertificateRecord
	// Reason is the CRL's (RFC 5280, 5.3.1); 0 is unspecified.
	Reason int
	// Publish writes the CRL, in which every certificate that Certs has as
	// revoked stands. It is called before the devices are recorded as revoked.
	Publish func(ctx context.Context) error
	// Jobs is how many devices are revoked at once; 0 is DefaultJobs.
	Jobs int
	// DryRun decides and does nothing.
	DryRun bool
}

// A CertificateRecord knows the certificates that devices got; the inventory is
// one.
type CertificateRecord interface {
	// RevokeCertificates records all certificates of the devices as revoked, but
	// for those that are already.
	RevokeCertificates(ctx context.Context, devices []string, reason int, at time.Time) error
}

// Run revokes the credentials of a source's devices, of which only the names are
// looked at, and reports each. Its error is one that stops it; see Batch.Run.
func (r *Revocation) Run(ctx context.Context, source Source, report func(Result)) (Summary, error) {
	summary := Summary{Total: source.Total(), Left: source.Total()}
	if err := r.Changer.Ready(ctx); err != nil {
		return summary, err
	}
	for ctx.Err() == nil {
		tasks, err := source.Take(ctx, DefaultSize)
		if err != nil || len(tasks) == 0 {
			return summary, err
		}
		results, err := r.group(context.WithoutCancel(ctx), tasks)
		for _, result := range results {
			summary.count(result.Action)
			report(result)
		}
		if err != nil {
			return summary, err
		}
	}
	if summary.Left == 0 {
		return summary, nil
	}
	return summary, context.Cause(ctx)
}

// A revoked is one device of a group.
type revoked struct {
	record Record
	result Result
}

func (r *Revocation) group(ctx context.Context, tasks []Task) ([]Result, error) {
	group, err := r.load(ctx, tasks)
	if err == nil && !r.DryRun {
		err = r.revoke(ctx, group)
	}
	results := make([]Result, len(group))
	for i, it := range group {
		if err != nil && it.result.Err == nil {
			it.fail(fmt.Errorf("device %s: %w (run this again to finish it)", quote(it.result.Device), err))
		}
		results[i] = it.result
	}
	return results, err
}

func (it *revoked) fail(err error) { it.result.Action, it.result.Err = ActionFailed, err }

func (r *Revocation) load(ctx context.Context, tasks []Task) ([]*revoked, error) {
	names := make([]string, len(tasks))
	group := make([]*revoked, len(tasks))
	for i, task := range tasks {
		names[i] = task.Device.Name
		group[i] = &revoked{result: Result{Device: task.Device.Name, Wanted: task.Device, Action: ActionRevoked}}
	}
	records, err := r.Inventory.Records(ctx, names)
	if err != nil {
		return group, fmt.Errorf("read the inventory: %w", err)
	}
	for i, it := range group {
		record, known := records[names[i]]
		if !known {
			it.fail(fmt.Errorf("device %s is not on record: see that the name is right", quote(names[i])))
			continue
		}
		it.record = record
		it.result.Directory, it.result.Registrar, it.result.ThingsBoardID = record.Directory, record.Registrar, record.ThingsBoardID
		it.result.Credential = record.Credential.Kind
		if record.State == StateRevoked {
			it.result.Action = ActionUnchanged
			it.result.Note = "it was revoked on " + record.Updated.Format(time.DateOnly)
			continue
		}
		if err := inReach(r.Changer, record); err != nil {
			it.fail(fmt.Errorf("device %s: %w", quote(record.Name), err))
		}
	}
	return group, nil
}

// revoke takes the group through all steps: what shall happen is recorded;
// ThingsBoard is told; the certificates go on record as revoked, and on the CRL;
// the bundles lose their credentials; and that is recorded.
func (r *Revocation) revoke(ctx context.Context, group []*revoked) error {
	if err := r.mark(ctx, group, StateRevoking); err != nil {
		return err
	}
	r.withdraw(ctx, group)
	var names []string
	var bundles []Bundle
	for _, it := range open(group) {
		shelved, err := r.Shelf.ReadBundle(ctx, it.record.Directory)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("device %s: read its bundle: %w", quote(it.record.Name), err)
		}
		names = append(names, it.record.Name)
		bundles = append(bundles, Bundle{
			Device: it.record.Name, Directory: it.record.Directory,
			Remove: AllFiles(shelved),
		})
	}
	if len(names) == 0 {
		return nil
	}
	if err := r.Certs.RevokeCertificates(ctx, names, r.Reason, r.now()); err != nil {
		return fmt.Errorf("record the certificates as revoked: %w", err)
	}
	if err := r.Publish(ctx); err != nil {
		return fmt.Errorf("write the CRL: %w", err)
	}
	if err := r.Shelf.WriteBundles(ctx, bundles); err != nil {
		return fmt.Errorf("take the credentials out of the bundles: %w", err)
	}
	return r.mark(ctx, group, StateRevoked)
}

// open are the devices of a group that there is something to do for.
func open(group []*revoked) []*revoked {
	var left []*revoked
	for _, it := range group {
		if it.result.Err == nil && it.result.Action == ActionRevoked {
			left = append(left, it)
		}
	}
	return left
}

// mark records the state of the group. A revoked device has no credential.
func (r *Revocation) mark(ctx context.Context, group []*revoked, state State) error {
	var marked []*revoked
	var records []Record
	for _, it := range open(group) {
		if it.record.State == state {
			continue
		}
		it.record.State, it.record.Updated = state, r.now()
		if state == StateRevoked {
			it.record.Credential, it.record.Next = Credential{Kind: it.record.Credential.Kind}, Credential{}
		}
		marked, records = append(marked, it), append(records, it.record)
	}
	if len(records) == 0 {
		return nil
	}
	if err := r.Inventory.Save(ctx, records); err != nil {
		return fmt.Errorf("record the revocation: %w", err)
	}
	for i, it := range marked {
		it.record.Version = records[i].Version
	}
	return nil
}

// withdraw tells ThingsBoard. A device that it could not be told about keeps its
// record, to be finished by the next run.
func (r *Revocation) withdraw(ctx context.Context, group []*revoked) {
	jobs := r.Jobs
	if jobs < 1 {
		jobs = DefaultJobs
	}
	var workers errgroup.Group
	workers.SetLimit(jobs)
	var mu sync.Mutex
	for _, it := range open(group) {
		workers.Go(func() error {
			err := r.Changer.Withdraw(ctx, it.record)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, ErrGone):
				it.result.Note = "ThingsBoard has no such device"
			case err != nil:
				it.fail(fmt.Errorf("device %s: its credential could not be taken away in ThingsBoard; run this again: %w", quote(it.record.Name), err))
			}
			return nil
		})
	}
	_ = workers.Wait() // no function gives an error
}
