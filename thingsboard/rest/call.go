package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 20

	// usualAnswer is room for most, in bytes.
	usualAnswer = 2 << 10

	userAgent           = "tbcert"
	authorizationHeader = "X-Authorization" // ThingsBoard's (JwtHeaderTokenExtractor)
)

// A call is one request.
type call struct {
	method  string
	path    string          // below the base, escaped
	query   url.Values      // may hold a token: never in an error
	body    any             // to JSON; nil for none
	answer  any             // from JSON; nil for none
	once    bool            // done twice it would be done twice: a creation
	secrets func() []string // that the call holds, to keep out of errors; nil for none

	patience time.Duration          // that it needs at least, whatever the client's
	told     func(status int) error // what a refusal without a word says, if anything
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errHeld says why a call waits that was never made.
var errHeld = errors.New("waiting as ThingsBoard asked another call")

// do makes a call that needs a login, again when that is safe and may help. A
// login that has run out meanwhile is renewed once.
func (c *Client) do(ctx context.Context, it call) error {
	stale, asked, progress := "", errHeld, c.gate.passed()
	for tries, all := 0, 0; ; tries, all = tries+1, all+1 {
		if err := c.waitForGate(ctx); err != nil {
			return fmt.Errorf("%w: %w", asked, err)
		}
		authorization, err := c.attempt(ctx, it, stale)
		if err == nil {
			return nil
		}
		if stale == "" && c.isStale(authorization, err) {
			stale = authorization
			continue
		}
		v := c.judge(ctx, it.sentWith(authorization), err)
		if v == giveUp || tries+1 >= c.tries() || all >= mostTries {
			return err
		}
		if now := c.gate.passed(); v == held && now != progress { // others got through: it is this call's turn in time
			progress, tries = now, -1
		}
		asked = err
		if waiting := c.pauseBefore(ctx, v, tries); waiting != nil {
			return fmt.Errorf("%w: %w", err, waiting)
		}
	}
}

// attempt makes a call once, and gives the login that it was made with; none when
// there was no logging in.
func (c *Client) attempt(ctx context.Context, it call, stale string) (authorization string, err error) {
	authorization, err = c.authorize(ctx, stale)
	if err != nil {
		return "", err
	}
	if err := c.send(ctx, it, authorization); err != nil {
		return authorization, err
	}
	c.gate.pass()
	c.reached.Store(true)
	return authorization, nil
}

// sentWith is what was done of a call: without a login it was never sent, and
// logging in may always be done again.
func (it call) sentWith(authorization string) call {
	if authorization == "" {
		return call{}
	}
	return it
}

// isStale reports whether ThingsBoard does not take a login that it gave.
func (c *Client) isStale(authorization string, err error) bool {
	return errors.Is(err, ErrUnauthorized) && authorization != "" && c.config.APIKey.IsZero()
}

// send makes a call and reads its answer.
func (c *Client) send(ctx context.Context, it call, authorization string) error {
	place := c.place(it.path)
	got, err := c.exchange(ctx, it, authorization)
	if err != nil {
		return err
	}
	c.hold(got)
	switch {
	case got.status >= 300 && got.status < 400:
		return c.redirected(place, got.header.Get("Location"))
	case got.status >= 400:
		return c.failed(it, place, got, c.secrets(it, authorization))
	case len(got.body) == 0 && (it.answer == nil || it.told != nil):
		return nil
	}
	into := it.answer
	if into == nil {
		into = new(json.RawMessage) // whatever it is, but no web page
	}
	if err := json.Unmarshal(got.body, into); err != nil {
		return fmt.Errorf("%s %s: %w: it answers %d with %s; see that the URL is ThingsBoard's, with the path it is served under",
			it.method, place, ErrNotThingsBoard, got.status, describe(got))
	}
	return nil
}

// exchange sends the request and reads at most maxAnswer bytes of the answer.
func (c *Client) exchange(ctx context.Context, it call, authorization string) (answer, error) {
	place := c.place(it.path)
	patience := max(c.config.Timeout, it.patience)
	caller := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, patience, &slowError{patience})
	defer cancel()
	request, err := c.request(ctx, it, authorization)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: the request cannot be made", it.method, place) // err may quote the query
	}
	broken := func(err error) error {
		return unreachable(place, timedOut(caller, ctx, err), c.secrets(it, authorization))
	}
	c.counters.calls.Add(1)
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return answer{}, broken(err)
	}
	defer response.Body.Close()
	body := bytes.NewBuffer(make([]byte, 0, usualAnswer))
	if _, err := body.ReadFrom(io.LimitReader(response.Body, maxAnswer+1)); err != nil {
		return answer{}, broken(err)
	}
	if body.Len() > maxAnswer {
		return answer{}, fmt.Errorf("%s %s: %w: more than %d bytes; see that the URL is ThingsBoard's", it.method, place, ErrTooLarge, maxAnswer)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body.Bytes()}, nil
}

func (c *Client) request(ctx context.Context, it call, authorization string) (*http.Request, error) {
	target := c.place(it.path)
	if len(it.query) > 0 {
		target += "?" + it.query.Encode()
	}
	var body io.Reader
	if it.body != nil {
		data, err := json.Marshal(it.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, it.method, target, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "application/json")
	if it.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		request.Header.Set(authorizationHeader, authorization)
	}
	return request, nil
}

// place is a URL without a query.
func (c *Client) place(path string) string { return c.root + path }

// secrets are what a call and the client know and no message may show.
func (c *Client) secrets(it call, authorization string) []string {
	_, token, _ := strings.Cut(authorization, " ")
	known := []string{token, c.config.Password.Reveal(), c.config.APIKey.Reveal()}
	if it.secrets != nil {
		known = append(known, it.secrets()...)
	}
	return known
}

// redirected is the error for an answer that sends elsewhere. It is not
// followed: net/http would take the login along, and turn a POST into a GET.
func (c *Client) redirected(place, location string) error {
	target, err := c.base.Parse(location)
	switch {
	case location == "" || err != nil || target.Host == "":
		return fmt.Errorf("%s: %w to nowhere: see that the URL is ThingsBoard's", place, ErrRedirect)
	case c.base.Scheme == "https" && target.Scheme == "http":
		return fmt.Errorf("%s: %w from https to http, to %s, where the login and tokens could be read on the way: use a URL that stays on https",
			place, ErrRedirect, target.Host)
	case target.Host == c.base.Host && target.Scheme == c.base.Scheme:
		return fmt.Errorf("%s: %w to the path %q on the same host: see that the URL has the path under which ThingsBoard is served", place, ErrRedirect, target.Path)
	default:
		return fmt.Errorf("%s: %w to %s://%s: use that as the URL, if you trust it", place, ErrRedirect, target.Scheme, target.Host)
	}
}

// failed is the error for a status of 400 or more. Only what has ThingsBoard's
// error code counts as ThingsBoard's word: a proxy's 404 says nothing about a
// device.
func (c *Client) failed(it call, place string, got answer, secrets []string) error {
	var told struct {
		Message   string `json:"message"`
		ErrorCode int    `json:"errorCode"`
	}
	err := json.Unmarshal(got.body, &told)
	isOurs := err == nil && told.ErrorCode != 0
	if it.told != nil && len(got.body) == 0 {
		if err := it.told(got.status); err != nil {
			return fmt.Errorf("%s %s: %w", it.method, place, err)
		}
	}
	switch {
	case isOurs, got.status == http.StatusTooManyRequests:
		message := clean(told.Message, secrets)
		return &Error{
			Method: it.method, URL: place, Status: got.status, Code: told.ErrorCode, Message: message,
			kind: classify(got.status, told.ErrorCode, told.Message), held: c.asked(got) > 0,
		}
	case got.status == http.StatusBadGateway, got.status == http.StatusServiceUnavailable, got.status == http.StatusGatewayTimeout:
		text := fmt.Sprintf("%s %s: a proxy answers %d %s: ThingsBoard behind it is down or still starting", it.method, place, got.status, http.StatusText(got.status))
		return &unavailableError{text: text, held: c.asked(got) > 0}
	default:
		return fmt.Errorf("%s %s: %w: it answers %s with %s; see that the URL is ThingsBoard's, with the path it is served under",
			it.method, place, ErrNotThingsBoard, strings.TrimSpace(strconv.Itoa(got.status)+" "+http.StatusText(got.status)), describe(got))
	}
}

// describe names an answer by its kind. What is in it stays out: a page may
// show the request again.
func describe(got answer) string {
	kind, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
	switch kind = strings.ToLower(strings.TrimSpace(kind)); {
	case len(bytes.TrimSpace(got.body)) == 0:
		return "nothing"
	case kind == "text/html" || bytes.HasPrefix(bytes.TrimSpace(got.body), []byte("<")):
		return "a web page"
	case kind == "application/json" && json.Valid(got.body):
		return "JSON of another kind"
	case kind == "application/json":
		return "JSON that is broken"
	default:
		return "something that is not JSON"
	}
}
