package sandbox

import "net/http"

// The error codes of ThingsBoard's REST API (ThingsboardErrorCode).
const (
	codeGeneral        = 2
	codeAuthentication = 10
	codeTokenExpired   = 11
	codeBadParameters  = 31
	codeItemNotFound   = 32
)

// A restError is a refusal in the form of ThingsBoard's REST API
// (ThingsboardErrorResponse).
type restError struct {
	status, code int
	message      string
}

// Error is the message.
func (e *restError) Error() string { return e.message }

func badParameter(message string) error {
	return &restError{status: http.StatusBadRequest, code: codeBadParameters, message: message}
}

func notFound(message string) error {
	return &restError{status: http.StatusNotFound, code: codeItemNotFound, message: message}
}

func unauthorized(code int, message string) error {
	return &restError{status: http.StatusUnauthorized, code: code, message: message}
}
