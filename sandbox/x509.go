package sandbox

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"regexp"

	"github.com/tbcert/tbcert/certs"
)

// chain is what the client presented in the handshake, the leaf first.
func (l *link) chain() []*x509.Certificate {
	conn, ok := l.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	return conn.ConnectionState().PeerCertificates
}

// isCurrent reports whether a certificate is within its dates
// (MqttTransportHandler, MQTT_SSL_SKIP_VALIDITY_CHECK_FOR_CLIENT_CERT=false).
func (s *store) isCurrent(leaf *x509.Certificate) bool {
	now := s.now()
	return !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter)
}

// byChain finds the device of a chain: of each certificate in turn it is looked
// whether it is a device's, and whether it is a profile's, which then lets the
// leaf in (DefaultTransportApiService.validateOrCreateDeviceX509Certificate). It
// needs the lock.
func (s *store) byChain(chain []*x509.Certificate) *record {
	if !s.isCurrent(chain[0]) {
		return nil
	}
	for _, certificate := range chain {
		id := certs.CredentialsID(certificate)
		if r := s.byCredential[id]; r != nil && r.credential.kind == x509Certificate {
			return r
		}
		if p := s.byKey(id); p != nil && p.strategy == strategyChain {
			return s.byProfile(p, chain[0])
		}
	}
	return nil
}

// byProfile lets a certificate in that was signed by a profile's CA
// (DeviceProvisionServiceImpl.provisionDeviceViaX509Chain). A device of the
// profile that has a certificate gets this one instead; one that has another kind
// of credential is let in as well, and keeps that.
func (s *store) byProfile(p *profile, leaf *x509.Certificate) *record {
	name := p.deviceName(leaf.Subject.CommonName)
	if name == "" {
		return nil
	}
	presented, err := certificateCredential(base64.StdEncoding.EncodeToString(leaf.Raw))
	if err != nil {
		return nil
	}
	r := s.byName[name]
	switch {
	case r != nil && r.kind == p.name:
		if r.credential.kind == x509Certificate {
			s.replaceCredential(r, presented)
		}
		return r
	case !p.allowCreate:
		return nil
	}
	made, err := s.add(Device{Name: name, Type: p.name}, presented)
	if err != nil {
		return nil // the name is that of a device in another profile
	}
	r = s.byID[made.id]
	r.data.setAttribute(scopeServer, provisionState, attribute{value: provisioned, ts: s.now().UnixMilli()})
	return r
}

// deviceName takes a device's name out of a CN; "" is none.
func (p *profile) deviceName(cn string) string {
	pattern, err := regexp.Compile(p.pattern)
	if err != nil {
		return ""
	}
	found := pattern.FindStringSubmatch(cn)
	if len(found) < 2 {
		return ""
	}
	return found[1]
}
