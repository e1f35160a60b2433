package sandbox

import "net/http"

// The error codes of ThingsBoard's REST API (ThingsboardErrorCode).
const (
	codeGeneral         = 2
	codeAuthentication  = 10
	codeTokenExpired    = 11
	codeBadParameters   = 31
	codeItemNotFound    = 32
	codeTooManyRequests = 33
	codeVersionConflict = 35
)

// The exceptions that a bulk import names.
const (
	classData        = "DataValidationException"
	classCredentials = "DeviceCredentialsValidationException" //nolint:gosec // a name
)

// A restError is a refusal in the form of ThingsBoard's REST API
// (ThingsboardErrorResponse).
type restError struct {
	status, code int
	message      string
	class        string // of the exception
	plain        bool   // the body is the message alone, as of controllers that answer later
}

// Error is the message.
func (e *restError) Error() string { return e.message }

func badParameter(message string) error {
	return &restError{status: http.StatusBadRequest, code: codeBadParameters, message: message, class: classData}
}

// badCredential is the refusal of a credential.
func badCredential(message string) error {
	return &restError{status: http.StatusBadRequest, code: codeBadParameters, message: message, class: classCredentials}
}

func notFound(message string) error {
	return &restError{status: http.StatusNotFound, code: codeItemNotFound, message: message}
}

// plainly is a refusal without JSON (TelemetryController, RpcV2Controller).
func plainly(status int, message string) error {
	return &restError{status: status, message: message, plain: true}
}

func unauthorized(code int, message string) error {
	return &restError{status: http.StatusUnauthorized, code: code, message: message}
}

// conflict is the refusal of a change to what was changed meanwhile
// (EntityVersionMismatchException).
func conflict(what string) error {
	return &restError{status: http.StatusConflict, code: codeVersionConflict, message: what + " was already changed by someone else"}
}
