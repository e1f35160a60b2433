package sandbox

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tbcert/tbcert/certs"
)

// errProvision is ThingsBoard's one refusal of a device that is to be
// provisioned (ProvisionFailedException with the status FAILURE).
var errProvision = errors.New("the device is not provisioned")

// serverTLS wants a client certificate and does not require one. An unknown one
// passes the handshake and is refused in CONNECT; a chain whose signatures do not
// fit ends the handshake (MqttSslHandlerProvider's trust manager). The issuers
// that the server says it accepts are, as with ThingsBoard, the server
// certificate itself: a client that chooses its certificate by that list sends
// none.
func (b *broker) serverTLS(certificate *tls.Certificate) (*tls.Config, error) {
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("the server certificate cannot be read: %w", err)
	}
	accepted := x509.NewCertPool()
	accepted.AddCert(leaf)
	return &tls.Config{
		MinVersion:            tls.VersionTLS12,
		Certificates:          []tls.Certificate{*certificate},
		ClientAuth:            tls.RequestClientCert,
		ClientCAs:             accepted,
		VerifyPeerCertificate: b.present,
		// Without tickets every handshake is whole, and shows the certificate.
		SessionTicketsDisabled: true,
	}, nil
}

// present takes the certificates of a handshake: a device may be created by them,
// or get them as its credential. As with ThingsBoard this comes before the client
// has proved that it has the key, and the dates are not looked at.
func (b *broker) present(raw [][]byte, _ [][]*x509.Certificate) error {
	chain, err := readChain(raw)
	if err != nil {
		return err
	}
	b.end(b.store.presented(chain), packets.ErrAdministrativeAction)
	return nil
}

// readChain checks that each certificate is signed by the next; whether that one
// may sign is not looked at.
func readChain(raw [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for i, der := range raw {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("the client's certificate cannot be read: %w", err)
		}
		chain = append(chain, certificate)
		if i == 0 {
			continue
		}
		below := chain[i-1]
		if err := certificate.CheckSignature(below.SignatureAlgorithm, below.RawTBSCertificate, below.Signature); err != nil {
			return nil, fmt.Errorf("the client's certificate chain: %w", err)
		}
	}
	return chain, nil
}

// isCurrent looks at the dates of a client certificate
// (MqttTransportHandler.processX509CertConnect).
func isCurrent(certificate *x509.Certificate, now time.Time) bool {
	return !now.Before(certificate.NotBefore) && !now.After(certificate.NotAfter)
}

// credentialsValue is a certificate as credentials hold it: the base64 of its DER.
func credentialsValue(certificate *x509.Certificate) string {
	return base64.StdEncoding.EncodeToString(certificate.Raw)
}

// presented goes through the chain from the leaf
// (DefaultTransportApiService.validateOrCreateDevicex509Certificate). A
// certificate that is a device's ends it. One that a profile holds lets the
// profile provision the device; a refusal of that ends it, too. What is given is
// the session that has to be ended, because its device got another credential.
func (s *store) presented(chain []*x509.Certificate) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, certificate := range chain {
		id := certs.CredentialsID(certificate)
		if s.byCredential[id].has(x509Certificate) {
			return nil
		}
		if p := s.profiles.byKey[id]; p != nil && p.strategy == strategyChain {
			session, _ := s.byChain(p, chain[0])
			return session
		}
	}
	return nil
}

// byChain provisions the device of a leaf whose issuer a profile holds
// (DeviceProvisionServiceImpl.provisionDeviceViaX509Chain). A device of this
// profile whose credential is a certificate gets the leaf for it, whichever of the
// two is older; one with a token or a basic credential keeps that, and so does not
// come in by the leaf. It needs the lock.
func (s *store) byChain(p *profile, leaf *x509.Certificate) (*link, error) {
	if p.configured != strategyChain {
		return nil, errProvision
	}
	name, ok := p.deviceName(leaf)
	if !ok {
		return nil, errProvision
	}
	c, err := newCredential(x509Certificate, "", credentialsValue(leaf))
	if err != nil {
		return nil, err
	}
	r := s.byName[name]
	switch {
	case r != nil && r.profile == p:
		if !r.has(x509Certificate) {
			return nil, nil
		}
		return s.change(r, c), nil
	case p.allowCreate: // and refused when a device of another profile has the name
		_, err := s.provisioned(p, provisionRequest{name: name, credential: &c})
		return nil, err
	default:
		return nil, errProvision
	}
}

// deviceName is what the profile's pattern finds in the leaf's CN.
func (p *profile) deviceName(leaf *x509.Certificate) (string, bool) {
	if p.expression == nil || p.expression.NumSubexp() == 0 {
		return "", false
	}
	for _, name := range leaf.Subject.Names { // the first CN counts (SslUtil.parseCommonName)
		if commonName, ok := name.Value.(string); ok && name.Type.String() == "2.5.4.3" {
			found := p.expression.FindStringSubmatch(commonName)
			if found == nil {
				return "", false
			}
			return found[1], true
		}
	}
	return "", false
}

// formatChain is what a profile keeps of its certificates, and the key that is
// made of the first: one alone becomes its base64, and of several the line breaks
// are taken out (DeviceProfileServiceImpl.formatCertificateValue).
func formatChain(text string) (value, key string) {
	var blocks []string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			blocks = append(blocks, base64.StdEncoding.EncodeToString(block.Bytes))
		}
	}
	if len(blocks) < 2 {
		value = trimCertificate(text)
		return value, sha3Hex(value)
	}
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----"
	return begin + strings.Join(blocks, end+"\n"+begin) + end, sha3Hex(blocks[0])
}
