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

	faultREST429         = "rest-429"
	faultREST500         = "rest-500"
	faultREST503         = "rest-503"
	faultRESTResetBefore = "rest-reset-before"
	faultRESTResetAfter  = "rest-reset-after"
	faultRESTStall       = "rest-stall"
	faultLoginLife       = "login-life"
	faultRESTHuge        = "rest-huge"
	faultRESTWrongTypes  = "rest-wrong-types"
	faultPagesRepeat     = "rest-pages-repeat"
)

// Faults say how a sandbox misbehaves. The zero value has none. A Faults may be
// copied, and compared with ==.
type Faults struct {
	connack            byte // 0: none
	closeBeforeConnack bool
	closeAfterPublish  bool
	noPuback           bool
	noAttributes       bool

	rest        restFaults
	loginLife   int // seconds; 0 is as long as ThingsBoard's
	huge        bool
	wrongTypes  bool
	pagesRepeat bool
}

// restFaults are how many of a hundred calls of the REST API meet each fault.
type restFaults struct {
	tooMany, internal, unavailable, resetBefore, resetAfter, stall int
}

// FaultNames are the faults there are, as a help text shows them:
//   - connack=CODE answers every CONNECT with this code, 1 to 255, whatever it
//     means in the version that the client speaks
//   - close-before-connack closes instead of answering CONNECT
//   - close-after-publish closes instead of taking a PUBLISH
//   - no-puback takes no PUBLISH, and says nothing
//   - no-attributes leaves requests for attributes without an answer
//   - rest-429=PERCENT answers so many calls of the REST API with "too many
//     requests" and Retry-After, rest-500 and rest-503 with those errors;
//     rest-reset-before closes the connection instead of doing anything,
//     rest-reset-after instead of answering, rest-stall is silent for 30 s
//   - login-life=SECONDS lets logins run out that soon
//   - rest-huge answers with 1 GiB, rest-wrong-types with JSON of the wrong types,
//     rest-pages-repeat gives the first page of a list for ever
func FaultNames() []string {
	return []string{
		faultConnack + "=CODE", faultCloseBeforeConnack, faultCloseAfterPublish, faultNoPuback, faultNoAttributes,
		faultREST429 + "=PERCENT", faultREST500 + "=PERCENT", faultREST503 + "=PERCENT", faultRESTResetBefore + "=PERCENT",
		faultRESTResetAfter + "=PERCENT", faultRESTStall + "=PERCENT", faultLoginLife + "=SECONDS",
		faultRESTHuge, faultRESTWrongTypes, faultPagesRepeat,
	}
}

// numbered gives the place of a fault that has a number, and its greatest.
func (f *Faults) numbered(name string) (into *int, most int) {
	const percent, day = 100, 86_400
	switch name {
	case faultREST429:
		return &f.rest.tooMany, percent
	case faultREST500:
		return &f.rest.internal, percent
	case faultREST503:
		return &f.rest.unavailable, percent
	case faultRESTResetBefore:
		return &f.rest.resetBefore, percent
	case faultRESTResetAfter:
		return &f.rest.resetAfter, percent
	case faultRESTStall:
		return &f.rest.stall, percent
	case faultLoginLife:
		return &f.loginLife, day
	default:
		return nil, 0
	}
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
	if into, most := f.numbered(name); into != nil {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > most {
			return fmt.Errorf("the fault %q needs a number from 0 to %d, such as %s=5", text, most, name)
		}
		*into = n
		return nil
	}
	fault := f.plain(text)
	if fault == nil {
		return fmt.Errorf("there is no fault %q: choose from %s", text, strings.Join(FaultNames(), ", "))
	}
	*fault = true
	return nil
}

// plain gives the place of a fault that is there or not.
func (f *Faults) plain(name string) *bool {
	return map[string]*bool{
		faultCloseBeforeConnack: &f.closeBeforeConnack, faultCloseAfterPublish: &f.closeAfterPublish,
		faultNoPuback: &f.noPuback, faultNoAttributes: &f.noAttributes,
		faultRESTHuge: &f.huge, faultRESTWrongTypes: &f.wrongTypes, faultPagesRepeat: &f.pagesRepeat,
	}[name]
}
