package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// A Rotation gives devices new credentials, wave by wave.
//
// A device has one credential in ThingsBoard, and changing it ends its session.
// The order of the steps is one in which no crash leaves a device without a
// credential on record that lets it in: the new one is recorded beside the old
// one, the device is told of it if there is an Announcer, ThingsBoard is told,
// that is recorded, the bundle is written, and with Prove the device's access is
// proved; if it is refused, all goes back to the old one. Only then is the old one
// forgotten. A run that ends anywhere is finished by the next one, which asks
// ThingsBoard what each device has.
type Rotation struct {
	Onboarder
	Changer Changer
	// To is what the devices are to have; a zero one is a new one of the kind
	// that they have.
	To Credential
	// Announcer tells devices of the change before it is made; nil: nobody does,
	// and each device is out until it gets its bundle.
	Announcer Announcer
	// Prove connects as the device, with its new credential; nil: nobody does.
	// Many goroutines call it at once.
	Prove func(ctx context.Context, device string, credential Credential) error
	// Jobs is how many devices are changed at once; 0 is DefaultJobs.
	Jobs int
	// Wave is how many devices are changed before the next ones, and only when
	// none of them failed; 0 is DefaultSize, and failures do not stop it.
	Wave int
	// DryRun decides and does nothing.
	DryRun bool
}

// ErrStopped is the error of a rotation that went no further because devices of
// a wave failed.
var ErrStopped = errors.New("stopped after a wave with failures")

// Run rotates the credentials of a source's devices, of which only the names are
// looked at, and reports each. Its error is one that stops it; see Batch.Run.
func (r *Rotation) Run(ctx context.Context, source Source, report func(Result)) (Summary, error) {
	summary := Summary{Total: source.Total(), Left: source.Total()}
	renderer, err := newRenderer(r.Site, r.Exporter)
	if err != nil {
		return summary, err
	}
	if err := r.Changer.Ready(ctx); err != nil {
		return summary, err
	}
	size := cmp.Or(r.Wave, DefaultSize)
	for ctx.Err() == nil {
		tasks, err := source.Take(ctx, size)
		if err != nil || len(tasks) == 0 {
			return summary, err
		}
		wave := &wave{Rotation: r, renderer: renderer, turns: make([]turn, len(tasks))}
		err = wave.run(ctx, tasks)
		before := summary.Failed
		outcomes := wave.report(&summary, report)
		failed := summary.Failed - before
		if err == nil {
			err = source.Settle(context.WithoutCancel(ctx), outcomes)
		}
		if err != nil {
			return summary, err
		}
		if stops := r.Wave > 0 && summary.Left > 0; stops && failed > 0 {
			return summary, fmt.Errorf("%w: %d of %d devices failed; see to them and run this again for those that are left", ErrStopped, failed, len(tasks))
		}
	}
	if summary.Left == 0 {
		return summary, nil
	}
	return summary, context.Cause(ctx)
}
