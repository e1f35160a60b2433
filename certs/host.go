package certs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxHostName is the longest DNS name in characters (RFC 1035, 2.3.4).
const maxHostName = 253

// maxHostText bounds a name before its ASCII form is known, in bytes.
const maxHostText = 4 * maxHostName

// ParseHost takes one name or address of a server, and gives it as it stands
// in a certificate: an IP address in its canonical form, a DNS name in lower
// case (RFC 1123, 2.1; an international one in its ASCII form, RFC 5891). The
// leftmost label may be a "*". The error says what is wrong and what would be
// right. A name that was given once is given unchanged when it is parsed again.
func ParseHost(text string) (string, error) {
	if text == "" {
		return "", errors.New("a host name is empty; give a name such as tb.example.com, or an IP address")
	}
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		if ip.Zone() != "" {
			return "", fmt.Errorf("%q: an address in a certificate has no zone; leave %q away", text, "%"+ip.Zone())
		}
		return ip.Unmap().String(), nil
	}
	if problem := notAName(text); problem != "" {
		return "", fmt.Errorf("%.80q is not a host name: %s", text, problem)
	}
	name, wildcard := strings.CutPrefix(strings.TrimSuffix(text, "."), "*.")
	ascii, err := idna.Lookup.ToASCII(name)
	if err == nil {
		// An ASCII form that does not stand by itself (RFC 5891, 5.4) is none.
		ascii, err = idna.Lookup.ToASCII(ascii)
	}
	if err != nil {
		return "", fmt.Errorf("%q is not a host name (RFC 1123): letters, digits and hyphens, in parts between dots, no hyphen at an end", text)
	}
	if problem := badLabels(ascii); problem != "" {
		return "", fmt.Errorf("%q is not a host name: %s", text, problem)
	}
	if wildcard {
		if !strings.Contains(ascii, ".") {
			return "", fmt.Errorf("%q is too wide: a wildcard needs two more labels, as in *.example.com", text)
		}
		ascii = "*." + ascii
	}
	return ascii, nil
}

// notAName recognizes what people give in place of a name.
func notAName(text string) string {
	switch {
	case len(text) > maxHostText:
		return fmt.Sprintf("it has more than %d characters", maxHostName)
	case !utf8.ValidString(text):
		return "it is not UTF-8 text"
	case strings.Contains(text, "://"):
		return "it is a URL; give the name alone"
	case strings.Contains(text, "/"):
		return "it holds a slash; give the name alone"
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "it holds a space or a control character"
	case strings.Contains(text, "@"):
		return "it holds an @; give the name alone"
	case strings.Count(text, ":") == 1:
		return "it holds a port; give the name alone"
	case strings.Contains(text, "_"):
		return "an underscore is allowed in DNS and not in host names (RFC 1123)"
	default:
		return ""
	}
}

// badLabels checks the lengths, and refuses what looks like a broken IPv4
// address: resolvers would take 10.0.0.256 for a name.
func badLabels(ascii string) string {
	if len(ascii) > maxHostName {
		return fmt.Sprintf("it has %d characters, at most %d are allowed", len(ascii), maxHostName)
	}
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return "a part between two dots is empty"
		case len(label) > 63:
			return fmt.Sprintf("the part %q has more than 63 characters", label)
		case strings.Contains(label, "*"):
			return "a * may only be the whole first part, as in *.example.com"
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "it ends with a number, like an IP address that is not one"
	}
	return ""
}
