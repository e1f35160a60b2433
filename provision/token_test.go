package provision_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tbcert/tbcert/provision"
)

func TestParseToken(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "A1_TEST_TOKEN", "!#$%&()*+-./:;<=>?@[]^_{|}~", strings.Repeat("x", 255), "Provision"} {
		token, err := provision.ParseToken(good)
		if err != nil || token.Reveal() != good {
			t.Errorf("ParseToken(%q) = %q, %v", good, token.Reveal(), err)
		}
	}
}

func TestParseTokenRefusesAndDoesNotTell(t *testing.T) {
	t.Parallel()
	tests := []struct{ token, problem string }{
		{"", "is empty"},
		{"canary b", "a space at position 7"},
		{" canary", "a space at position 1"},
		{"canary\t", "a control character at position 7"},
		{"canary\n", "a line break"},
		{"canary\r", "a line break"},
		{"canary'", "a quote"},
		{`canary"`, "a quote"},
		{"canary`", "a quote"},
		{`canary\`, "a backslash"},
		{"canary,", "a comma"},
		{"canary\x7f", "a control character"},
		{"canaryé", "a character outside ASCII at position 7"},
		{"canary\xff", "a character outside ASCII"},
		{strings.Repeat("canary", 43), "258 characters"},
		{"provision", "keeps for devices that provision themselves"},
	}
	for _, test := range tests {
		t.Run(test.problem, func(t *testing.T) {
			t.Parallel()
			token, err := provision.ParseToken(test.token)
			if err == nil || !token.IsZero() {
				t.Fatalf("ParseToken(%q) gave no error", test.token)
			}
			if !strings.Contains(err.Error(), test.problem) || strings.Contains(err.Error(), "canary") {
				t.Errorf("ParseToken(%q): %v, want %q and not the token", test.token, err, test.problem)
			}
		})
	}
}

func TestNewToken(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[A-Za-z0-9]{20}$`)
	seen := make(map[string]bool)
	for range 1000 {
		token, err := provision.NewToken(nil)
		if err != nil || !form.MatchString(token.Reveal()) || seen[token.Reveal()] {
			t.Fatalf("NewToken() = %q, %v (seen before: %v)", token.Reveal(), err, seen[token.Reveal()])
		}
		seen[token.Reveal()] = true
	}
}

// Bytes from 248 on would favor the first eight letters: they must not count.
func TestNewTokenThrowsAwayUnfairBytes(t *testing.T) {
	t.Parallel()
	var stream []byte
	for b := 248; b < 256; b++ {
		stream = append(stream, byte(b))
	}
	stream = append(stream, bytes.Repeat([]byte{61, 61 + 62, 61 + 124, 61 + 186}, 30)...)
	token, err := provision.NewToken(bytes.NewReader(stream))
	if err != nil || token.Reveal() != strings.Repeat("9", 20) {
		t.Errorf("NewToken() = %q, %v, want twenty nines", token.Reveal(), err)
	}
}

func TestNewTokenIsEven(t *testing.T) {
	t.Parallel()
	source := rand.NewChaCha8([32]byte{7})
	counts := make(map[rune]int)
	const tokens = 31000 // 10,000 of each character are expected
	for range tokens {
		token, err := provision.NewToken(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range token.Reveal() {
			counts[r]++
		}
	}
	if len(counts) != 62 {
		t.Fatalf("%d characters occur, want 62", len(counts))
	}
	for r, n := range counts {
		if n < 9500 || n > 10500 { // five standard deviations
			t.Errorf("%q occurs %d times, want about 10,000", r, n)
		}
	}
}

func TestNewTokenWithoutRandomness(t *testing.T) {
	t.Parallel()
	broken := errors.New("the source broke")
	for name, source := range map[string]io.Reader{"broken": iotest.ErrReader(broken), "short": strings.NewReader("1234")} {
		token, err := provision.NewToken(source)
		if err == nil || !token.IsZero() {
			t.Errorf("%s: NewToken() = %q, %v, want an error", name, token.Reveal(), err)
		}
	}
}
