package report

import (
	"strconv"
	"strings"
	"time"
)

// soon is how many days before its end a certificate needs attention.
const soon = 30

// grouped is a count with a comma between thousands.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// counted is a count and its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(n) + " " + noun + "s"
}

// percent never rounds some to none, nor most to all.
func percent(part, whole int) string {
	switch {
	case whole == 0 || part == 0:
		return "0%"
	case part == whole:
		return "100%"
	}
	value := min(max(float64(part)*100/float64(whole), 0.01), 99.99)
	places := 1
	if value < 0.1 || value > 99.9 {
		places = 2
	}
	return strconv.FormatFloat(value, 'f', places, 64) + "%"
}

// took is a duration as people say it.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// life says in words how long a certificate is good for.
func life(c Certificate, now time.Time) string {
	days := int(c.NotAfter.Sub(now).Hours() / 24)
	switch {
	case now.Before(c.NotBefore):
		return "not valid yet"
	case now.After(c.NotAfter):
		return "expired " + counted(int(now.Sub(c.NotAfter).Hours()/24), "day") + " ago"
	case days <= soon:
		return "expires soon: " + counted(days, "day") + " left"
	default:
		return counted(days, "day") + " left"
	}
}

// lifeKind is the class of what life says.
func lifeKind(c Certificate, now time.Time) string {
	switch {
	case now.Before(c.NotBefore), now.After(c.NotAfter):
		return "bad"
	case c.NotAfter.Sub(now) < (soon+1)*24*time.Hour:
		return "soon"
	default:
		return "good"
	}
}

// seen puts a name that nobody would see into quotes.
func seen(name string) string {
	if strings.TrimSpace(name) == "" {
		return strconv.Quote(name)
	}
	return name
}

// cut shortens a text that would not fit into a box.
func cut(text string, runes int) string {
	list := []rune(text)
	if len(list) <= runes {
		return text
	}
	return string(list[:runes-1]) + "…"
}

// plainPrint is a fingerprint as bare digits, however it came.
func plainPrint(fingerprint string) string {
	bare := strings.ReplaceAll(fingerprint, ":", "")
	if len(bare) > 64 {
		bare = bare[len(bare)-64:] // "sha256:" and alike
	}
	return bare
}
