package verify

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// webPorts are where a ThingsBoard's web server usually is: its own port, and a
// proxy's. Only plain HTTP is asked: with a wrong clock no TLS can be verified.
func webPorts() []int { return []int{8080, 80} }

// serverTime learns the server's time from the Date header of its web server
// (RFC 9110, section 6.6.1); the zero time when it cannot.
func (v *Verifier) serverTime(ctx context.Context, target Target, address netip.Addr) (moment time.Time, where string) {
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:            func(ctx context.Context, _, address string) (net.Conn, error) { return v.dial(ctx, address) },
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ports := target.WebPorts
	if ports == nil {
		ports = webPorts()
	}
	for _, port := range ports {
		url := "http://" + net.JoinHostPort(address.String(), strconv.Itoa(port)) + "/"
		request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
		if err != nil {
			continue
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if moment, err = http.ParseTime(response.Header.Get("Date")); err == nil {
			return moment, "the Date of " + url
		}
	}
	return time.Time{}, ""
}
