package sandbox

// A match is how a login compares with a basic credential
// (BasicCredentialsValidationResult).
type match int

const (
	matchGood match = iota
	matchOther
	matchWrongPassword
)

// match compares each part that the credential has
// (DefaultTransportApiService.validateMqttCredentials).
func (c credential) match(l *login) match {
	clientID, userName, password := c.basic().parts()
	switch {
	case clientID != "" && clientID != l.clientID, userName != "" && userName != l.username:
		return matchOther
	case password != "" && password != l.password:
		return matchWrongPassword
	default:
		return matchGood
	}
}

// byLogin finds the device of a login, nil for none; it needs the lock. Without a
// user name only the client id counts. With one the pair is tried first, and then
// the user name alone, be it that of a basic credential or a token: for a token
// client id and password may be anything
// (DefaultTransportApiService.validateCredentials and validateUserNameCredentials).
func (s *store) byLogin(l *login) *record {
	if l.username == "" {
		if r := s.byCredential[sha3Hex(l.clientID)]; r.has(mqttBasic) && r.credential.match(l) == matchGood {
			return r
		}
		return nil
	}
	if r := s.byCredential[basicID(l.clientID, l.username)]; r.has(mqttBasic) {
		switch r.credential.match(l) {
		case matchGood:
			return r
		case matchWrongPassword:
			return nil
		default: // as if there were none
		}
	}
	r := s.byCredential[l.username]
	if r.has(accessToken) || r.has(mqttBasic) && r.credential.match(l) == matchGood {
		return r
	}
	return nil
}

// has reports whether a record, which may be nil, has a credential of a kind.
func (r *record) has(kind string) bool { return r != nil && r.credential.kind == kind }
