package inventory

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

func FuzzDeviceRoundTrip(f *testing.F) {
	f.Add("meter-1", "Hall 1", "token", "canary", []byte("-----BEGIN"), true)
	f.Add("", "", "", "", []byte(nil), false)
	f.Add("\xff\x00", "<&>\u2028", "x509", "\xfe", []byte{0}, true)
	f.Fuzz(func(t *testing.T, name, label, kind, text string, data []byte, gateway bool) {
		value, err := json.Marshal(label)
		if err != nil {
			t.Fatal(err)
		}
		want := provision.Device{
			Name: name, Label: label, Profile: text,
			Extra: provision.Extra{
				Customer: string([]rune(label)), Description: string([]rune(name)), Gateway: gateway,
				Attributes: []provision.Attribute{{Scope: provision.ScopeShared, Key: string([]rune(text)), Value: value}},
			},
			Credential: provision.Credential{
				Kind: provision.CredentialKind(kind), Token: secret.New(text), ClientID: secret.New(name), Username: secret.New(label),
				Password: secret.New(kind), Chain: data, Key: secret.New(string(data)), Request: data,
			},
		}
		encoded, err := encodeDevice(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeDevice(encoded)
		reveal := cmp.Transformer("Reveal", func(t secret.Text) string { return t.Reveal() })
		if diff := cmp.Diff(want, got, reveal, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// An error has no result, and what can be decoded is encoded again.
func FuzzDecodeDevice(f *testing.F) {
	f.Add([]byte{tagName, 1, 'a', tagCredential, 3, tagKind, 1, 'x'})
	f.Add([]byte{tagName, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{tagExtra, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, data []byte) {
		device, err := decodeDevice(data)
		if err != nil {
			if !cmp.Equal(device, provision.Device{}, cmp.Comparer(func(a, b secret.Text) bool { return a.Reveal() == b.Reveal() })) {
				t.Errorf("an error, and %v", device)
			}
			return
		}
		if _, err := encodeDevice(device); err != nil {
			t.Error(err)
		}
	})
}
