package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// What the errors of a client are, for errors.Is.
var (
	// ErrNotFound: ThingsBoard says that it has no such thing.
	ErrNotFound = errors.New("not found")
	// ErrExists: the tenant has a device of this name already.
	ErrExists = errors.New("a device of this name exists already")
	// ErrTokenTaken: another device has this token or other credential.
	ErrTokenTaken = errors.New("another device has this credential already")
	// ErrUnauthorized: ThingsBoard does not take the login.
	ErrUnauthorized = errors.New("the login is not taken")
	// ErrForbidden: the user is logged in and may not do this.
	ErrForbidden = errors.New("the user may not do this")
	// ErrLimit: the tenant may not have more devices.
	ErrLimit = errors.New("the tenant's limit is reached")
	// ErrTooMany: ThingsBoard refused requests for being too many, several times
	// in a row.
	ErrTooMany = errors.New("too many requests")
	// ErrNoLogin: the client was given neither a user and a password nor an API key.
	ErrNoLogin = errors.New("there is no login for ThingsBoard")
	// ErrConflict: someone else changed the same thing at the same time.
	ErrConflict = errors.New("it was changed by someone else meanwhile")
	// ErrNoReply: the device that was called is not connected, or did not answer.
	ErrNoReply = errors.New("the device is not connected, or does not answer")
	// ErrNotThingsBoard: what answers does not answer as ThingsBoard does.
	ErrNotThingsBoard = errors.New("this is not ThingsBoard's REST API")
	// ErrRedirect: the answer sends to another address.
	ErrRedirect = errors.New("redirected")
	// ErrUnavailable: ThingsBoard does not work now, says the proxy before it.
	ErrUnavailable = errors.New("ThingsBoard is down")
	// ErrTooLarge: the answer is longer than 1 MiB.
	ErrTooLarge = errors.New("the answer is too large")
)

// An Error is ThingsBoard's answer to a call that it did not do. One of the
// variables above is in its chain when the answer says what it is.
type Error struct {
	Method string
	URL    string // without the query, which may hold a token
	Status int    // of HTTP
	// Code is ThingsBoard's own (ThingsboardErrorCode), 0 when there was none.
	Code int
	// Message is ThingsBoard's, in one line, with the client's secrets taken out.
	Message string

	kind error
	held bool // it said when to come again
}

// Error is the answer in one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: ThingsBoard answers %d", e.Method, e.URL, e.Status)
	if name := http.StatusText(e.Status); name != "" {
		text += " " + name
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if next := nextStep(e.kind); next != "" {
		text += " (" + next + ")"
	}
	return text
}

// Unwrap gives what the error is; nil when the answer does not say.
func (e *Error) Unwrap() error { return e.kind }

// The messages are those of DeviceServiceImpl, DeviceCredentialsDataValidator
// and DeviceCredentialsServiceImpl; the error code of all of them is 31.
const (
	messageExists       = "Device with such name already exists"
	messageTaken        = "already assigned to another device"
	messageTakenAtOnce  = "credentials are already registered"
	codeNotFound        = 32 // ITEM_NOT_FOUND
	codeEntitiesLimit   = 41 // ENTITIES_LIMIT_EXCEEDED
	longestErrorMessage = 300
)

// classify says what an answer is by its status, its error code and its text.
func classify(status, code int, message string) error {
	switch {
	case status == http.StatusBadRequest:
		return classifyBad(message)
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusForbidden && code == codeEntitiesLimit:
		return ErrLimit
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusNotFound && code == codeNotFound:
		return ErrNotFound
	case status == http.StatusTooManyRequests:
		return ErrTooMany
	case status == http.StatusConflict: // VERSION_CONFLICT: from 4.0 devices and profiles have versions
		return ErrConflict
	default:
		return nil
	}
}

func classifyBad(message string) error {
	switch {
	case strings.Contains(message, messageExists):
		return ErrExists
	case strings.Contains(message, messageTaken), strings.Contains(message, messageTakenAtOnce):
		return ErrTokenTaken
	default:
		return nil
	}
}

// nextStep says what a user can do about it.
func nextStep(kind error) string {
	switch {
	case errors.Is(kind, ErrUnauthorized):
		return "see that user and password, or the API key, are right; API keys need ThingsBoard 4.3"
	case errors.Is(kind, ErrForbidden):
		return "use the login of a tenant administrator"
	case errors.Is(kind, ErrLimit):
		return "raise the limit in the tenant's profile, or delete devices"
	case errors.Is(kind, ErrTooMany):
		return "do less at once, or raise the REST limit in the tenant's profile"
	default:
		return ""
	}
}

// clean makes one short line of a message, without the secrets.
func clean(message string, secrets []string) string {
	for _, s := range secrets {
		if s != "" {
			message = strings.ReplaceAll(message, s, "[secret]")
		}
	}
	message = strings.Join(strings.FieldsFunc(message, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if runes := []rune(message); len(runes) > longestErrorMessage {
		message = string(runes[:longestErrorMessage]) + "…"
	}
	return message
}
