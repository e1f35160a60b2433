package export

import (
	"crypto/x509"
	"fmt"

	"github.com/tbcert/tbcert/provision"
)

// mostDER is how many roots, and how many certificates of a chain, DER files are
// written for: each has a file of its own, whose name has to be known before.
const mostDER = 4

// derNames are the files of DER.
func derNames() []string {
	names := []string{"ca-root.der", "cert.der", "key.der"}
	for i := 1; i < mostDER; i++ {
		names = append(names, derName("ca-root", i), derName("cert", i))
	}
	return names
}

// derName names the certificates after the first.
func derName(what string, i int) string {
	if i == 0 {
		return what + ".der"
	}
	return fmt.Sprintf("%s-%d.der", what, i+1)
}

// der writes each certificate and the key to a file.
func (p *page) der() ([]provision.File, error) {
	var files []provision.File
	for _, group := range []struct {
		what  string
		certs []*x509.Certificate
	}{{"ca-root", p.roots}, {"cert", p.chain()}} {
		if len(group.certs) > mostDER {
			return nil, fmt.Errorf("there are %d certificates in %s, and it takes %d at most", len(group.certs), group.what+".pem", mostDER)
		}
		for i, cert := range group.certs {
			files = append(files, provision.File{Name: derName(group.what, i), Data: cert.Raw})
		}
	}
	if p.KeyDER != nil {
		files = append(files, provision.File{Name: "key.der", Data: p.KeyDER, Secret: true})
	}
	return files, nil
}
