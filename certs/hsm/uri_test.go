package hsm_test

import (
	"strings"
	"testing"

	"github.com/tbcert/tbcert/certs/hsm"
)

func TestParseURI(t *testing.T) {
	t.Parallel()
	uri, err := hsm.ParseURI("pkcs11:token=My%20CA;object=tb?module-path=/usr/lib/x.so&pin-source=file:/etc/pin\n")
	if want := (hsm.URI{Token: "My CA", Object: "tb", Module: "/usr/lib/x.so", PINSource: "/etc/pin"}); err != nil || uri != want {
		t.Errorf("got %+v, %v", uri, err)
	}
	if again, err := hsm.ParseURI(uri.String()); err != nil || again != uri {
		t.Errorf("%s comes back as %+v, %v", uri, again, err)
	}
	for text, want := range map[string]string{
		"": "no URI", "file:x": "no URI", "pkcs11:object=a?module-path=b": "no token", "pkcs11:token=a?module-path=b": "no object",
		"pkcs11:token=a;object=b": "no module-path", "pkcs11:token=%zz;object=b?module-path=c": "bad escape",
		"pkcs11:token=a;object=b?module-path=c&pin-value=1234": "TBCERT_PKCS11_PIN",
	} {
		if uri, err := hsm.ParseURI(text); err == nil || !strings.Contains(err.Error(), want) || uri != (hsm.URI{}) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %+v, %v", text, uri, err)
		}
	}
	if !hsm.IsURI([]byte("pkcs11:x")) || hsm.IsURI([]byte("-----BEGIN")) {
		t.Error("a key file is taken for the other kind")
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=a;object=b?module-path=c&pin-source=file:d")
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := hsm.ParseURI(text)
		if err != nil {
			if uri != (hsm.URI{}) {
				t.Error("there is an error, and a URI")
			}
			return
		}
		if again, err := hsm.ParseURI(uri.String()); err != nil || again != uri {
			t.Errorf("%+v comes back as %+v, %v", uri, again, err)
		}
	})
}
