package certs_test

import (
	"strings"
	"testing"

	"github.com/tbcert/tbcert/certs"
)

func TestParseHost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	cases := map[string]string{ // text to name; "!…" is a part of the error
		"tb.example.com":                  "tb.example.com",
		"TB.Example.COM":                  "tb.example.com",
		"tb.example.com.":                 "tb.example.com",
		"localhost":                       "localhost",
		"3com.example":                    "3com.example",
		"a-b.c":                           "a-b.c",
		"*.example.com":                   "*.example.com",
		"bücher.example":                  "xn--bcher-kva.example",
		"xn--bcher-kva.example":           "xn--bcher-kva.example",
		"192.0.2.1":                       "192.0.2.1",
		"::1":                             "::1",
		"[2001:DB8::1]":                   "2001:db8::1",
		"2001:db8:0:0:0:0:0:1":            "2001:db8::1",
		"::ffff:192.0.2.1":                "192.0.2.1",
		long + ".example":                 long + ".example",
		"":                                "!empty",
		" ":                               "!space",
		"tb example.com":                  "!space",
		"tb.example.com\n":                "!control",
		"https://tb.example.com":          "!URL",
		"tb.example.com/x":                "!slash",
		"tb.example.com:8883":             "!port",
		"user@tb.example.com":             "!@",
		"tb_1.example.com":                "!underscore",
		"-tb.example.com":                 "!RFC 1123",
		"tb-.example.com":                 "!RFC 1123",
		"tb..example.com":                 "!empty",
		".example.com":                    "!empty",
		"*":                               "!not a host name",
		"*.com":                           "!too wide",
		"a.*.example.com":                 "!not a host name",
		"10.0.0.256":                      "!ends with a number",
		"1":                               "!ends with a number",
		"fe80::1%eth0":                    "!zone",
		long + "a.example":                "!not a host name",
		strings.Repeat("a.", 127) + "com": "!not a host name",
	}
	for text, want := range cases {
		got, err := certs.ParseHost(text)
		if problem, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), problem) {
				t.Errorf("ParseHost(%q) = %q, %v; want an error with %q", text, got, err, problem)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

// What ParseHost gives is what it takes, and what a certificate is found good
// for.
func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"tb.example.com", "*.example.com", "::1", "192.0.2.1", "bücher.example", "a..b", "-", "1.2.3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := certs.ParseHost(text)
		if err != nil {
			if name != "" {
				t.Fatalf("ParseHost(%q) gives %q and %v", text, name, err)
			}
			return
		}
		again, err := certs.ParseHost(name)
		if err != nil || again != name {
			t.Fatalf("ParseHost(%q) = %q, and of that %q, %v", text, name, again, err)
		}
	})
}

func TestIssuedForEveryHost(t *testing.T) {
	t.Parallel()
	root := newRoot(t, certs.P256, 0)
	for _, host := range []string{"tb.example.com", "bücher.example", "192.0.2.1", "2001:db8::1", strings.Repeat("a", 63) + ".example.com"} {
		leaf := issueServer(t, root, host).Chain[0]
		name, err := certs.ParseHost(host)
		if err != nil {
			t.Fatal(err)
		}
		if err := leaf.VerifyHostname(name); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if err := leaf.VerifyHostname("other.example"); err == nil {
			t.Errorf("%s: good for another name", host)
		}
	}
	for _, hosts := range [][]string{nil, {"tb.example.com", "not a name"}} {
		if _, err := root.IssueServer(certs.ServerProfile{Hosts: hosts, KeyType: certs.P256, Days: 1}); err == nil {
			t.Errorf("issued for %q", hosts)
		}
	}
}
