package sandbox

// A match is how a login compares with a credential of MQTTBasic
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
	it := c.basic()
	clientID, userName, password := deref(it.ClientID), deref(it.UserName), deref(it.Password)
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
		if r := s.byCredential[hash(l.clientID)]; r.has(MQTTBasic) && r.credential.match(l) == matchGood {
			return r
		}
		return nil
	}
	if r := s.byCredential[basicID(l.clientID, l.username)]; r.has(MQTTBasic) {
		switch r.credential.match(l) {
		case matchGood:
			return r
		case matchWrongPassword:
			return nil
		}
	}
	r := s.byCredential[l.username]
	if r.has(AccessToken) || r.has(MQTTBasic) && r.credential.match(l) == matchGood {
		return r
	}
	return nil
}

// has reports whether a record, which may be nil, has a credential of a type.
func (r *record) has(kind string) bool { return r != nil && r.credential.kind == kind }
