package provision

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// maxText is the longest label or profile, in characters: ThingsBoard's columns
// take no more.
const maxText = 255

// Validate checks a device by itself. Its errors never hold the token.
func (d Device) Validate() error {
	if _, err := EncodeName(d.Name); err != nil {
		return err
	}
	for _, field := range []struct{ what, text string }{
		{"label", d.Label}, {"profile", d.Profile}, {"customer", d.Extra.Customer}, {"description", d.Extra.Description},
	} {
		if problem := textProblem(field.text); problem != "" {
			return fmt.Errorf("the %s of device %s %s", field.what, quote(d.Name), problem)
		}
	}
	if err := d.Credential.validate(); err != nil {
		return fmt.Errorf("device %s: %w", quote(d.Name), err)
	}
	return nil
}

// textProblem says what is wrong with a label or a profile.
func textProblem(s string) string {
	if !utf8.ValidString(s) {
		return "is not UTF-8 text"
	}
	if n := utf8.RuneCountInString(s); n > maxText {
		return fmt.Sprintf("has %d characters: at most %d are allowed", n, maxText)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Sprintf("holds %U, which cannot be printed", r)
		}
	}
	return ""
}

// DevicesFromNames makes devices of names, with everything but the name left
// open. All bad names and names given twice are told at once.
func DevicesFromNames(names []string) ([]Device, error) {
	devices := make([]Device, len(names))
	for i, name := range names {
		devices[i].Name = name
	}
	if err := validateAll(devices); err != nil {
		return nil, err
	}
	return devices, nil
}

// maxProblems is how many bad devices or rows are told one by one.
const maxProblems = 20

// validateAll checks each device, and that no two have one name or one token.
func validateAll(devices []Device) error {
	var found problems
	names := make(map[string]struct{}, len(devices))
	ids := make(map[string]string)
	for _, device := range devices {
		if err := device.Validate(); err != nil {
			found.add(err)
			continue
		}
		if _, twice := names[device.Name]; twice {
			found.add(&NameError{Name: device.Name, Problem: "is given twice"})
			continue
		}
		names[device.Name] = struct{}{}
		id := device.Credential.ID()
		if id.IsZero() {
			continue
		}
		if other, twice := ids[id.Reveal()]; twice {
			found.add(fmt.Errorf("devices %s and %s are given the same %s", quote(other), quote(device.Name), device.Credential.Kind.noun()))
			continue
		}
		ids[id.Reveal()] = device.Name
	}
	return found.join("device")
}

// problems collects errors, and forgets all but the first maxProblems of them
// except for their number.
type problems struct {
	shown []error
	more  int
}

func (p *problems) add(err error) {
	if len(p.shown) == maxProblems {
		p.more++
		return
	}
	p.shown = append(p.shown, err)
}

// join gives all problems as one error, nil when there are none. what is the
// noun for the ones that are only counted.
func (p *problems) join(what string) error {
	if p.more > 0 {
		return errors.Join(append(p.shown, fmt.Errorf("and %d more %ss are wrong", p.more, what))...)
	}
	return errors.Join(p.shown...)
}
