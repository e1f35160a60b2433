package settings

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
)

// Update gives the tbcert.yaml for wanted: a new file when data is nil, else
// data with only what differs from old changed, so that comments, order and
// keys that were left out stay as they are.
func Update(data []byte, old, wanted Site) ([]byte, error) {
	if data == nil {
		return wanted.Format()
	}
	changes := difference(old.WithDefaults(), wanted)
	if len(changes) == 0 {
		return data, nil
	}
	edited, err := Edit(data, changes)
	if err != nil {
		return nil, err
	}
	if again, err := ParseSite(edited, SiteFile); err != nil || len(difference(again.WithDefaults(), wanted)) > 0 {
		return nil, fmt.Errorf("%s has a form that tbcert cannot change without harm: set %v in it by hand, then run this again", SiteFile, keysOf(changes))
	}
	return edited, nil
}

// difference lists the keys of wanted that old does not have so. Both have
// their defaults filled in: a default that was never written stays unwritten.
func difference(old, wanted Site) yaml.MapSlice {
	before := old.Values()
	var changes yaml.MapSlice
	for _, item := range wanted.ordered() {
		name := fmt.Sprint(item.Key)
		if given, ok := before[name]; ok && slices.Equal(given, wanted.Values()[name]) {
			continue
		}
		changes = append(changes, item)
	}
	return changes
}

func keysOf(changes yaml.MapSlice) []string {
	var names []string
	for _, change := range changes {
		names = append(names, fmt.Sprint(change.Key))
	}
	return names
}
