package provision

import (
	"errors"
	"fmt"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
)

// DefaultDays is the life of a device's certificate, in days, when an Issuer
// names none: devices are harder to reach than servers.
const DefaultDays = 730

// An Issuer says how certificates of devices are made.
type Issuer struct {
	CA           *certs.Authority // the device CA
	Organization string
	KeyType      certs.KeyType // "" is P-256
	Days         int           // 0 is DefaultDays
}

// Make makes what is still open of a credential: a token, a password, a key and
// its certificate. What is given stays.
func (o *Onboarder) Make(device string, wish Credential) (Credential, error) {
	switch wish.Kind {
	case CredentialToken:
		return o.makeToken(wish)
	case CredentialBasic:
		return o.makeBasic(device, wish)
	case CredentialX509:
		return o.makeX509(device, wish)
	default:
		return Credential{}, fmt.Errorf("device %s: there is no credential %s", quote(device), quote(string(wish.Kind)))
	}
}

func (o *Onboarder) makeToken(wish Credential) (made Credential, err error) {
	if wish.Made() {
		return wish, nil
	}
	wish.Token, err = NewToken(o.Random)
	return wish, err
}

// makeBasic makes a user name and a password. The user name is not the device's:
// ThingsBoard finds devices of all tenants by it, so that it has to be one that
// nobody else has.
func (o *Onboarder) makeBasic(device string, wish Credential) (Credential, error) {
	if !wish.Made() {
		username, err := NewToken(o.Random)
		if err != nil {
			return Credential{}, err
		}
		wish.ClientID, wish.Username = secret.New(device), username
	}
	if !wish.Username.IsZero() && wish.Password.IsZero() {
		password, err := NewToken(o.Random)
		if err != nil {
			return Credential{}, err
		}
		wish.Password = password
	}
	return wish, nil
}

// makeX509 makes a key and a certificate, or the certificate alone for a
// request.
func (o *Onboarder) makeX509(device string, wish Credential) (Credential, error) {
	if wish.Made() {
		return wish, nil
	}
	if o.Issuer == nil || o.Issuer.CA == nil {
		return Credential{}, fmt.Errorf("device %s: %w", quote(device), errNoIssuer)
	}
	profile := certs.DeviceProfile{CommonName: device, Organization: o.Issuer.Organization, KeyType: o.Issuer.KeyType, Days: o.Issuer.Days}
	if profile.KeyType == "" {
		profile.KeyType = certs.P256
	}
	if profile.Days == 0 {
		profile.Days = DefaultDays
	}
	if len(wish.Request) > 0 {
		return o.signRequest(device, wish, profile)
	}
	issued, err := o.Issuer.CA.IssueDevice(profile)
	if err != nil {
		return Credential{}, fmt.Errorf("device %s: make its certificate: %w", quote(device), err)
	}
	key, err := certs.EncodeKey(issued.Key)
	if err != nil {
		return Credential{}, fmt.Errorf("device %s: %w", quote(device), err)
	}
	return Credential{
		Kind: CredentialX509, Chain: certs.EncodeCertificates(issued.Chain...), Key: secret.New(string(key)), leaf: issued.Chain[0],
	}, nil
}

// errNoIssuer: certificates are wanted and there is no CA for them.
var errNoIssuer = errors.New("a certificate is wanted and there is no device CA with its key here")

func (o *Onboarder) signRequest(device string, wish Credential, profile certs.DeviceProfile) (Credential, error) {
	request, err := certs.ParseRequest(wish.Request)
	if err != nil {
		return Credential{}, fmt.Errorf("device %s: %w", quote(device), err)
	}
	chain, err := o.Issuer.CA.SignDevice(request, profile)
	if err != nil {
		return Credential{}, fmt.Errorf("device %s: sign its request: %w", quote(device), err)
	}
	return Credential{Kind: CredentialX509, Chain: certs.EncodeCertificates(chain...), leaf: chain[0]}, nil
}
