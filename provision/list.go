package provision

import "context"

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
