package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/provision/inventory"
)

// proof is the last verification of a device.
type proof struct {
	Device string    `json:"device"`
	OK     bool      `json:"ok"`
	At     time.Time `json:"at"`
	How    string    `json:"how"`
	Failed string    `json:"failed,omitempty"` // the check
	Cause  string    `json:"cause,omitempty"`
}

// readSize is how many devices are looked up at a time.
const readSize = 512

// recorded reads from the inventory how each device did when it was last
// verified, and what was begun and not finished. It needs no passphrase. An
// inventory that cannot be read is a finding like others, beside what else is told.
func (a *app) recorded(ctx context.Context, ws *workspace.Workspace, url string, result *statusResult) ([]site.Finding, error) {
	where, fix := ws.Path(workspace.InventoryFile), "see that this user may write there and that the disk is not full: SQLite needs both to read as well"
	if url != "" {
		where, fix = "inventory in PostgreSQL", "see that it runs and lets this user in: psql with the same URL"
	}
	var findings []site.Finding
	store, err := a.openRecord(ctx, ws, url)
	if store != nil {
		defer func() { _ = store.Close() }() // it was read only
		if result.Proofs, err = proofs(ctx, ws, store); err == nil {
			findings, err = a.unfinished(ctx, where, store)
		}
		findings = append(a.unproved(where, result.Proofs), findings...)
	}
	if err == nil || ctx.Err() != nil {
		return findings, err
	}
	var mode *inventory.ModeError
	if errors.As(err, &mode) || errors.Is(err, inventory.ErrForeign) || errors.Is(err, inventory.ErrNewer) {
		fix = "see that it is tbcert's own, written by no newer one"
		if url == "" {
			fix += ", and its owner's alone: chmod 600 " + where
		}
	}
	return []site.Finding{{File: where, Problem: err.Error(), Fix: fix}}, nil
}

// openRecord opens the inventory; nil is none.
func (a *app) openRecord(ctx context.Context, ws *workspace.Workspace, url string) (*inventory.Store, error) {
	options := inventory.Options{Now: a.process.Now}
	if url != "" {
		return inventory.OpenPostgres(ctx, secret.New(url), options)
	}
	if there, err := ws.Exists(workspace.InventoryFile); err != nil || !there {
		return nil, err
	}
	return inventory.Open(ctx, ws.Path(workspace.InventoryFile), options)
}

// proofs are the last verifications of the devices that have a bundle.
func proofs(ctx context.Context, ws *workspace.Workspace, store *inventory.Store) ([]proof, error) {
	directories, err := bundleDirectories(ws)
	if err != nil {
		return nil, err
	}
	var all []proof
	for len(directories) > 0 {
		names := make([]string, min(readSize, len(directories)))
		for i := range names {
			names[i] = deviceName(directories[i])
		}
		directories = directories[len(names):]
		last, err := store.LastVerifications(ctx, names)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if v, ok := last[name]; ok {
				all = append(all, proof{Device: name, OK: v.OK, At: v.At, How: v.How, Failed: v.FailedCheck, Cause: v.Cause})
			}
		}
	}
	return all, nil
}

// unproved is what is to be said of devices that failed when they were last
// verified.
func (a *app) unproved(where string, all []proof) []site.Finding {
	var failed []string
	for _, p := range all {
		if !p.OK {
			failed = append(failed, p.Device)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	shown := failed[:min(len(failed), mostExamples)]
	problem := fmt.Sprintf("%s failed when last verified, such as %s", devicesWord(len(failed)), strings.Join(shown, ", "))
	return []site.Finding{{File: where, Problem: problem, Fix: a.again("verify " + strings.Join(shown, " "))}}
}

// unfinished is what was begun for devices and not brought to its end.
func (a *app) unfinished(ctx context.Context, where string, store *inventory.Store) ([]site.Finding, error) {
	again := map[provision.State]string{
		provision.StatePending: "provision", provision.StateRotating: "rotate", provision.StateProving: "rotate", provision.StateRevoking: "revoke",
	}
	examples := make(map[string][]string)
	count := make(map[string]int)
	for record, err := range store.Overview(ctx) {
		if err != nil {
			return nil, err
		}
		command := again[record.State]
		if command == "" {
			continue
		}
		if count[command]++; count[command] <= mostExamples {
			examples[command] = append(examples[command], record.Name)
		}
	}
	var findings []site.Finding
	for _, command := range []string{"provision", "rotate", "revoke"} {
		if count[command] == 0 {
			continue
		}
		findings = append(findings, site.Finding{
			File:    where,
			Problem: fmt.Sprintf("%s of %s was begun and not finished, such as of %s", command, devicesWord(count[command]), strings.Join(examples[command], ", ")),
			Fix:     "run it again, which goes on where it was: " + a.again(command+" "+strings.Join(examples[command], " ")),
		})
	}
	return findings, nil
}

// proofText tells how the devices did when they were last verified: each one of a
// few, and all in numbers.
func (a *app) proofText(text *strings.Builder, result statusResult) {
	if result.Devices == 0 {
		return
	}
	passed := 0
	var last time.Time
	for _, p := range result.Proofs {
		if p.OK {
			passed++
		}
		if p.At.After(last) {
			last = p.At
		}
	}
	fmt.Fprintf(text, "Verified: %d passed, %d failed, %d never\n", passed, len(result.Proofs)-passed, max(0, result.Devices-len(result.Proofs)))
	if len(result.Proofs) > shownRows {
		fmt.Fprintf(text, "  the last one on %s; -o json lists them all\n", last.Format(time.DateTime))
		return
	}
	for _, p := range result.Proofs {
		state := a.ui.Good("pass")
		if !p.OK {
			state = a.ui.Bad("FAIL") + " at " + p.Failed
		}
		fmt.Fprintf(text, "  %s  %s  %s (%s)\n", p.At.Format(time.DateTime), p.Device, state, p.How)
	}
}
