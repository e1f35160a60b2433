package sandbox

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// stall is how long a call that meets that fault is silent.
	stall = 30 * time.Second
	// retryAfter is what "too many requests" asks to wait, in seconds.
	retryAfter = 1
	// huge is how long an answer is that meets that fault, in bytes.
	huge = 1 << 30
)

// faulty makes calls misbehave.
func (w *web) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		faults := w.broker.faults.Load()
		switch {
		case faults.huge:
			w.answerHuge(out)
			return
		case faults.wrongTypes:
			w.write(out, http.StatusOK, []any{map[string]any{"id": 7, "name": []string{}, "token": 1, "version": nil, "data": "no"}})
			return
		case faults.pagesRepeat && r.URL.Query().Get("page") != "":
			query := r.URL.Query()
			query.Set("page", "0")
			r.URL.RawQuery = query.Encode()
			out = &endless{ResponseWriter: out}
			next.ServeHTTP(out, r)
			return
		}
		if !w.meet(faults.rest, next, out, r) {
			next.ServeHTTP(out, r)
		}
	})
}

// meet has a call meet its fault, if it is one that does. Which calls do is spread
// evenly, and the same with every run.
func (w *web) meet(faults restFaults, next http.Handler, out http.ResponseWriter, r *http.Request) bool {
	const step, hundred = 37, 100 // which have no factor in common
	if faults == (restFaults{}) {
		return false
	}
	left := int(w.requests.Add(1) * step % hundred)
	for _, fault := range []struct {
		name    string
		percent int
		do      func()
	}{
		{faultREST429, faults.tooMany, func() {
			out.Header().Set("Retry-After", strconv.Itoa(retryAfter))
			w.refuse(out, &restError{status: http.StatusTooManyRequests, code: codeTooManyRequests, message: "Too many requests for current tenant!"})
		}},
		{faultREST500, faults.internal, func() {
			w.refuse(out, &restError{status: http.StatusInternalServerError, code: codeGeneral, message: "Internal server error"})
		}},
		{faultREST503, faults.unavailable, func() { http.Error(out, "<html>503 Service Unavailable</html>", http.StatusServiceUnavailable) }},
		{faultRESTResetBefore, faults.resetBefore, func() { reset(out) }},
		{faultRESTResetAfter, faults.resetAfter, func() {
			next.ServeHTTP(&unheard{header: http.Header{}}, r)
			reset(out)
		}},
		{faultRESTStall, faults.stall, func() { w.stall(out, r) }},
	} {
		if left < fault.percent {
			w.calls[fault.name].Add(1)
			fault.do()
			return true
		}
		left -= fault.percent
	}
	return false
}

// stall is silent until the client goes, which shows once the body is read.
func (w *web) stall(out http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(out, r.Body, maxBody))
	timer := time.NewTimer(stall)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-w.closing:
	}
	reset(out)
}

// reset closes a connection as a machine that went away does.
func reset(out http.ResponseWriter) {
	hijacker, ok := out.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// answerHuge writes until the client has had enough.
func (w *web) answerHuge(out http.ResponseWriter) {
	out.Header().Set("Content-Type", "application/json")
	part := bytes.Repeat([]byte(" "), 1<<20)
	for range huge / len(part) {
		if _, err := out.Write(part); err != nil {
			return
		}
	}
}

// An unheard answer goes nowhere.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header          { return u.header }
func (*unheard) Write(data []byte) (int, error) { return len(data), nil }
func (*unheard) WriteHeader(int)                {}

// An endless list says that there is always a next page.
type endless struct{ http.ResponseWriter }

func (e *endless) Write(data []byte) (int, error) {
	_, err := e.ResponseWriter.Write(bytes.ReplaceAll(data, []byte(`"hasNext":false`), []byte(`"hasNext":true`)))
	return len(data), err
}
