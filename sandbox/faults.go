package sandbox

import (
	"fmt"
	"strconv"
	"strings"
)

// The names of faults, as [Faults.Add] takes them.
const (
	faultConnack            = "connack"
	faultCloseBeforeConnack = "close-before-connack"
	faultCloseAfterPublish  = "close-after-publish"
	faultNoPuback           = "no-puback"
	faultNoAttributes       = "no-attributes"
)

// Faults say how a sandbox misbehaves. The zero value has none. A Faults may be
// copied, and compared with ==.
type Faults struct {
	connack            byte // 0: none
	closeBeforeConnack bool
	closeAfterPublish  bool
	noPuback           bool
	noAttributes       bool
}

// FaultNames are the faults there are, as a help text shows them:
//   - connack=CODE answers every CONNECT with this code, 1 to 255, whatever it
//     means in the version that the client speaks
//   - close-before-connack closes instead of answering CONNECT
//   - close-after-publish closes instead of taking a PUBLISH
//   - no-puback takes no PUBLISH, and says nothing
//   - no-attributes leaves requests for attributes without an answer
func FaultNames() []string {
	return []string{faultConnack + "=CODE", faultCloseBeforeConnack, faultCloseAfterPublish, faultNoPuback, faultNoAttributes}
}

// ParseFaults gives the faults that texts such as "connack=3" name.
func ParseFaults(texts ...string) (Faults, error) {
	var faults Faults
	for _, text := range texts {
		if err := faults.Add(text); err != nil {
			return Faults{}, err
		}
	}
	return faults, nil
}

// Add adds a fault by its name. The error for another text lists the names. Of
// two CONNACK codes the last counts.
func (f *Faults) Add(text string) error {
	name, value, hasValue := strings.Cut(text, "=")
	if name == faultConnack && hasValue {
		code, err := strconv.ParseUint(value, 10, 8)
		if err != nil || code == 0 {
			return fmt.Errorf("the fault %q needs a CONNACK code from 1 to 255, such as %s=3", text, faultConnack)
		}
		f.connack = byte(code)
		return nil
	}
	switch text {
	case faultCloseBeforeConnack:
		f.closeBeforeConnack = true
	case faultCloseAfterPublish:
		f.closeAfterPublish = true
	case faultNoPuback:
		f.noPuback = true
	case faultNoAttributes:
		f.noAttributes = true
	default:
		return fmt.Errorf("there is no fault %q: choose from %s", text, strings.Join(FaultNames(), ", "))
	}
	return nil
}
