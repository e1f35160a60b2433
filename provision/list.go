package provision

import (
	"context"
	"iter"
)

// A List is a source of devices that are at hand, for one run.
type List struct {
	devices []Device
	taken   int
}

var _ Source = (*List)(nil)

// NewList makes a source of devices. Everything that is wrong with them is told
// at once: errors.Join of what Device.Validate says, of names and of credentials
// that are given twice.
func NewList(devices []Device) (*List, error) {
	if err := validateAll(devices); err != nil {
		return nil, err
	}
	return &List{devices: devices}, nil
}

// Total is how many devices there are.
func (l *List) Total() int { return len(l.devices) }

// Take gives the next n devices, in their order.
func (l *List) Take(_ context.Context, n int) ([]Task, error) {
	var tasks []Task
	for _, device := range l.devices[l.taken:min(l.taken+n, len(l.devices))] {
		tasks = append(tasks, Task{Seq: int64(l.taken), Device: device})
		l.taken++
	}
	return tasks, nil
}

// Settle keeps nothing: a List is for one run.
func (l *List) Settle(context.Context, []Outcome) error { return nil }

// A Recorded is a source of devices that are on record, by their names alone. It
// has to be closed.
type Recorded struct {
	total   int
	records iter.Seq2[Record, error]
	matches func(Record) bool
	next    func() (Record, error, bool)
	stop    func()
}

var _ Source = (*Recorded)(nil)

// NewRecorded makes a source of the records that match; they are gone through
// once to count them.
func NewRecorded(ctx context.Context, records iter.Seq2[Record, error], matches func(Record) bool) (*Recorded, error) {
	r := &Recorded{records: records, matches: matches}
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if matches(record) {
			r.total++
		}
	}
	return r, nil
}

// Total is how many devices matched when they were counted.
func (r *Recorded) Total() int { return r.total }

// Take gives the next n devices, by name.
func (r *Recorded) Take(_ context.Context, n int) ([]Task, error) {
	if r.next == nil {
		r.next, r.stop = iter.Pull2(r.records)
	}
	var tasks []Task
	for len(tasks) < n {
		record, err, ok := r.next()
		if !ok {
			break
		}
		if err != nil {
			return nil, err
		}
		if r.matches(record) {
			tasks = append(tasks, Task{Device: Device{Name: record.Name}})
		}
	}
	return tasks, nil
}

// Settle keeps nothing: what was done shows in the records.
func (r *Recorded) Settle(context.Context, []Outcome) error { return nil }

// Close ends the source.
func (r *Recorded) Close() error {
	if r.stop != nil {
		r.stop()
	}
	return nil
}
