package sandbox

import (
	"crypto/x509"

	"github.com/tbcert/tbcert/certs"
)

// open lets a session of a device in, and gives the session that the device had
// before, which has to be ended: a device has one
// (ACTORS_MAX_CONCURRENT_SESSION_PER_DEVICE).
func (s *store) open(l *link) (previous *link, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enter(s.byLogin(l.login), l)
}

// openCertificate is open for a device that presented a certificate: then user
// name and password are not looked at.
func (s *store) openCertificate(leaf *x509.Certificate, l *link) (previous *link, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isCurrent(leaf, s.now()) {
		return nil, false
	}
	r := s.byCredential[certs.CredentialsID(leaf)]
	if !r.has(x509Certificate) {
		return nil, false
	}
	return s.enter(r, l)
}

// enter needs the lock.
func (s *store) enter(r *record, l *link) (previous *link, ok bool) {
	if r == nil {
		return nil, false
	}
	previous, r.session = r.session, l
	l.device = r.id
	now := s.now().UnixMilli()
	r.state.connected, r.state.seen = now, now
	return previous, true
}

// gone forgets a session that has ended.
func (s *store) gone(id string, session *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byID[id]; r != nil && r.session == session {
		r.session = nil
		r.state.disconnected = s.now().UnixMilli()
	}
}
