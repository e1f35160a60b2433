package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// A draft is a row that is being read. What it is told stands at a spot, which
// the reader of the format can locate in the file; 0 is where the row begins.
type draft struct {
	*manifest
	locate func(spot int) (line, column int)

	device Device
	given  [columnUnknown]bool
	at     [columnUnknown]int // the spots of the given ones
	spots  []int              // of the attributes, in the order of the file
	bad    bool
	known  map[string]column // by the names of fields, as they were met
}

// begin forgets the row before.
func (d *draft) begin() {
	*d = draft{manifest: d.manifest, locate: d.locate, spots: d.spots[:0], known: d.known}
}

// columnOf is columnOf, which takes its time.
func (d *draft) columnOf(key string) column {
	c, met := d.known[key]
	if met {
		return c
	}
	if c = columnOf(key); c != columnUnknown && len(d.known) < 10*int(columnUnknown) {
		if d.known == nil {
			d.known = make(map[string]column)
		}
		d.known[key] = c
	}
	return c
}

// fail notes what is wrong at a spot.
func (d *draft) fail(spot int, problem string) {
	line, column := d.locate(spot)
	d.manifest.fail(line, column, problem)
	d.bad = true
}

// take notes that there is a field, once.
func (d *draft) take(c column, spot int) bool {
	if d.given[c] {
		d.fail(spot, fmt.Sprintf("the device has two fields for the %s: keep one", c))
		return false
	}
	d.given[c], d.at[c] = true, spot
	return true
}

// text takes a field that is a text. Except for a name an empty one is none.
func (d *draft) text(c column, text string, spot int) {
	if text == "" && c != columnName || !d.take(c, spot) {
		return
	}
	if problem := d.put(c, text); problem != "" {
		d.fail(spot, problem)
	}
}

// put puts a text into the device; it says what is wrong with it.
func (d *draft) put(c column, text string) (problem string) {
	switch c {
	case columnName:
		d.device.Name = text
		_, err := EncodeName(text)
		return problemOf(err)
	case columnLabel:
		d.device.Label = text
	case columnProfile:
		d.device.Profile = text
	case columnDescription:
		d.device.Extra.Description = text
	case columnCustomer:
		d.device.Extra.Customer = text
	case columnGateway:
		return d.gateway(text)
	case columnFailure:
		return ""
	case columnServer, columnShared, columnUnknown: // not texts
	default:
		return d.putCredential(c, text)
	}
	if problem := textProblem(text); problem != "" {
		return "the " + c.String() + " " + problem
	}
	return ""
}

// gateway takes what ThingsBoard's importer takes, and refuses what it would
// take for false.
func (d *draft) gateway(text string) (problem string) {
	switch {
	case strings.EqualFold(text, "true"):
		d.device.Extra.Gateway = true
	case !strings.EqualFold(text, "false"):
		return "gateway must be true or false"
	}
	return ""
}

func (d *draft) putCredential(c column, text string) (problem string) {
	credential := &d.device.Credential
	switch c {
	case columnCredential:
		return d.putKind(text)
	case columnToken:
		token, err := ParseToken(text)
		credential.Token = token
		return problemOf(err)
	case columnClientID:
		credential.ClientID = secret.New(text)
	case columnUsername:
		credential.Username = secret.New(text)
	case columnPassword:
		credential.Password = secret.New(text)
	case columnCertificate:
		return d.putChain(text)
	case columnRequest:
		credential.Request = []byte(text)
		_, err := certs.ParseRequest(credential.Request)
		return problemOf(err)
	default: // put takes the others
	}
	if problem := textProblem(text); problem != "" {
		return "the " + c.String() + " " + problem
	}
	return ""
}

// putKind takes the kind of the credential, by our name or ThingsBoard's
// (DeviceCredentialsType).
func (d *draft) putKind(text string) (problem string) {
	text = strings.ToLower(text)
	switch text {
	case "access_token":
		text = string(CredentialToken)
	case "mqtt_basic":
		text = string(CredentialBasic)
	case "x509_certificate":
		text = string(CredentialX509)
	}
	kind, err := ParseCredentialKind(text)
	d.device.Credential.Kind = kind
	return problemOf(err)
}

// putChain takes certificates, as PEM or as ThingsBoard shows one: its base64.
func (d *draft) putChain(text string) (problem string) {
	if strings.Contains(text, "PRIVATE KEY-----") {
		return "the certificate has a private key with it: leave that out"
	}
	chain, err := certs.ParseCertificates([]byte(text))
	if err != nil && !strings.Contains(text, "-----BEGIN") {
		chain, err = certs.ParseBase64(text)
	}
	if err != nil {
		return "the certificate cannot be used: " + err.Error()
	}
	d.device.Credential.Chain = certs.EncodeCertificates(chain...)
	return ""
}

// problemOf is what an error says, if there is one.
func problemOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// attribute takes an attribute; its value is compact JSON.
func (d *draft) attribute(scope AttributeScope, key string, value json.RawMessage, spot int) {
	if d.device.Extra.Attributes == nil {
		d.device.Extra.Attributes = make([]Attribute, 0, 4)
	}
	d.device.Extra.Attributes = append(d.device.Extra.Attributes, Attribute{Scope: scope, Key: key, Value: value})
	d.spots = append(d.spots, spot)
}

// sortAttributes sorts them, and tells those that are there twice.
func (d *draft) sortAttributes() {
	attributes := d.device.Extra.Attributes
	if slices.IsSortedFunc(attributes, func(a, b Attribute) int { return cmp.Or(compareAttributes(a, b), -1) }) {
		return // each once
	}
	order := make([]int, len(attributes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compareAttributes(attributes[i], attributes[j]) })
	sorted := make([]Attribute, len(attributes))
	for i, from := range order {
		sorted[i] = attributes[from]
		if i > 0 && compareAttributes(sorted[i-1], sorted[i]) == 0 {
			d.fail(d.spots[from], fmt.Sprintf("the %s attribute %s is there twice", sorted[i].Scope, quote(sorted[i].Key)))
		}
	}
	d.device.Extra.Attributes = sorted
}

// kindOf is the kind of credential that a field belongs to.
func kindOf(c column) CredentialKind {
	switch c {
	case columnToken:
		return CredentialToken
	case columnClientID, columnUsername, columnPassword:
		return CredentialBasic
	case columnCertificate, columnRequest:
		return CredentialX509
	default:
		return ""
	}
}

// checkKinds looks whether all fields of the credential are of one kind, and
// gives the spot of the last.
func (d *draft) checkKinds() (spot int) {
	credential := &d.device.Credential
	from := columnCredential // the field that said which kind it is
	spot = d.at[from]
	for c := columnToken; c <= columnRequest; c++ {
		switch {
		case !d.given[c]:
			continue
		case credential.Kind == "":
			credential.Kind, from = kindOf(c), c
		case credential.Kind != kindOf(c) && from == columnCredential:
			d.fail(d.at[c], fmt.Sprintf("there is a %s, and the credential is to be %s: a device has one credential", c, credential.Kind))
		case credential.Kind != kindOf(c):
			d.fail(d.at[c], fmt.Sprintf("there is a %s and a %s: a device has one credential", from, c))
		}
		spot = d.at[c]
	}
	return spot
}

// checkCredential looks whether the fields of the credential fit together, and
// gives the spot of it.
func (d *draft) checkCredential() (spot int) {
	spot = d.checkKinds()
	switch {
	case d.given[columnPassword] && !d.given[columnUsername]:
		d.fail(d.at[columnPassword], "a password needs a user name")
	case d.given[columnCertificate] && d.given[columnRequest]:
		d.fail(d.at[columnRequest], "there is a certificate and a request for one: keep one of the two")
	case d.given[columnRequest]:
		d.checkRequest()
	case d.device.Credential.Kind == CredentialBasic && !d.bad:
		if err := d.device.Credential.validate(); err != nil {
			d.fail(spot, err.Error())
		}
	}
	return spot
}

// checkRequest looks whether the request is for this device.
func (d *draft) checkRequest() {
	request, err := certs.ParseRequest(d.device.Credential.Request)
	if err != nil {
		return // told already
	}
	if cn := request.Subject.CommonName; cn != "" && cn != d.device.Name {
		d.fail(d.at[columnRequest], fmt.Sprintf("the certificate request is for the CN %s, and the device is %s", quote(cn), quote(d.device.Name)))
	}
}

// end checks the row as a whole, and hands it to the spool if it is good.
func (d *draft) end(ctx context.Context) error {
	if !d.given[columnName] && !d.bad {
		d.fail(0, "the device has no name")
	}
	credential := d.checkCredential()
	d.sortAttributes()
	if d.bad {
		return nil
	}
	row := Row{Device: d.device}
	row.Line, row.Column = d.locate(0)
	err := d.spool.Add(ctx, row)
	var twice *DuplicateError
	var problem *UnfitError
	switch {
	case errors.As(err, &twice) && twice.Credential:
		d.fail(credential, fmt.Sprintf("the %s is that of the device in line %d already: each device needs its own", d.device.Credential.Kind.noun(), twice.Line))
	case errors.As(err, &twice):
		d.fail(d.at[columnName], fmt.Sprintf("device name %s is in line %d already", quote(d.device.Name), twice.Line))
	case errors.As(err, &problem):
		d.fail(0, problem.Error())
	default:
		return err
	}
	return nil
}
