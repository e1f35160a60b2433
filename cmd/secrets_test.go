package cmd_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Secrets that scripts hand to tbcert.
const (
	passphraseCanary = "canary-Passphrase-5d1f"
	tokenCanary      = "canaryToken5d1f0000"
	passwordCanary   = "canary-Password-5d1f"
	apiKeyCanary     = "tb_canaryKey5d1f0000"
	provisionCanary  = "canary-provision-secret"
	eabCanary        = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" // base64url
)

// searchForSecrets looks for every secret that a script's run knows, in
// everything tbcert wrote to its streams, and in every file of a workspace
// that others can read.
func searchForSecrets(tb testing.TB, workDir string) {
	tb.Helper()
	secrets := append(secretsBelow(tb, workDir), passphraseCanary, tokenCanary, passwordCanary, apiKeyCanary, provisionCanary, eabCanary)
	output, err := os.ReadFile(filepath.Join(workDir, ".transcript"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Error(err)
	}
	for _, secret := range secrets {
		if bytes.Contains(output, []byte(secret)) {
			tb.Errorf("tbcert wrote the secret %q:\n%s", secret, output)
		}
	}
	for _, site := range sites(tb, workDir) {
		searchOpenFiles(tb, site, secrets)
	}
}

// sites lists the workspaces below dir.
func sites(tb testing.TB, dir string) []string {
	tb.Helper()
	var found []string
	walk(tb, dir, func(path string, _ fs.FileInfo) {
		if filepath.Base(path) == "tbcert.yaml" {
			found = append(found, filepath.Dir(path))
		}
	})
	return found
}

// searchOpenFiles looks into what tbcert wrote in a workspace and others can
// read.
func searchOpenFiles(tb testing.TB, site string, secrets []string) {
	tb.Helper()
	ours := []string{"ca", "server", "devices", "ca-root.pem", "tbcert.yaml", "inventory.db", "thingsboard-import.csv", "provision-failed.ndjson"}
	walk(tb, site, func(path string, info fs.FileInfo) {
		name, _ := filepath.Rel(site, path)
		if info.Mode().Perm()&0o077 == 0 || !slices.Contains(ours, strings.Split(name, string(filepath.Separator))[0]) {
			return
		}
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Error(err)
		}
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				tb.Errorf("%s (mode %04o) holds a secret", name, info.Mode().Perm())
			}
		}
	})
}

var (
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\n([A-Za-z0-9+/=]+)`)
	storePass  = regexp.MustCompile(`KEY_STORE_PASSWORD=(\S+)`)
)

// secretsBelow collects the secrets that lie in the files of a script: tokens,
// the first line of each key, keystore passwords.
func secretsBelow(tb testing.TB, dir string) []string {
	tb.Helper()
	var found []string
	walk(tb, dir, func(path string, _ fs.FileInfo) {
		data, err := os.ReadFile(path)
		if err != nil {
			return // a fifo or a file that a script made unreadable
		}
		for _, match := range privateKey.FindAllSubmatch(data, -1) {
			found = append(found, string(match[1]))
		}
		for _, match := range storePass.FindAllSubmatch(data, -1) {
			found = append(found, string(match[1]))
		}
		switch filepath.Base(path) {
		case "token", "password", "keystore.password":
			found = append(found, strings.TrimSpace(string(data)))
		case "thingsboard-import.csv":
			found = append(found, importedTokens(tb, data)...)
		}
	})
	return slices.DeleteFunc(found, func(s string) bool { return len(s) < 8 })
}

// importedTokens reads the access tokens of an import file.
func importedTokens(tb testing.TB, data []byte) []string {
	tb.Helper()
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(rows) == 0 {
		tb.Errorf("thingsboard-import.csv: %v", err)
		return nil
	}
	var tokens []string
	for _, row := range rows[1:] {
		for i, heading := range rows[0] {
			if heading == "ACCESS_TOKEN" || heading == "MQTT_PASSWORD" {
				tokens = append(tokens, row[i])
			}
		}
	}
	return tokens
}

// walk visits the regular files below dir.
func walk(tb testing.TB, dir string, visit func(path string, info fs.FileInfo)) {
	tb.Helper()
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && filepath.Base(path) != ".transcript" {
			visit(path, info)
		}
		return nil
	})
	if err != nil {
		tb.Error(err)
	}
}

// The search itself must find: a secret in the output, and one in an open file.
func TestTheSearchForSecretsFinds(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]map[string]string{
		"token in the output":       {"site/devices/a/token": "0123456789abcdef\n", ".transcript": "token 0123456789abcdef"},
		"passphrase in the output":  {".transcript": passphraseCanary},
		"key in an open file":       {"site/tbcert.yaml": "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n"},
		"imported token in an open": {"site/tbcert.yaml": "", "site/thingsboard-import.csv": "NAME,ACCESS_TOKEN\na,0123456789abcdef\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range plant {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			recorder := &recorder{TB: t}
			searchForSecrets(recorder, dir)
			if !recorder.failed {
				t.Error("it found nothing")
			}
		})
	}
}

// recorder is a testing.TB that notes failure instead of failing.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Error(...any)          { r.failed = true }

// picture draws a directory: modes, names, contents.
func picture(ts *testscript.TestScript, dir string) string {
	var lines []string
	root := ts.MkAbs(dir)
	err := filepath.Walk(root, func(path string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if strings.HasPrefix(name, ".tmp") || name == ".transcript" || strings.HasPrefix(name, "tmp") {
			return nil
		}
		data, err := os.ReadFile(path)
		if info.Mode().IsRegular() && err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %s %x", info.Mode(), name, data))
		return nil
	})
	ts.Check(err)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func lastLine(text string) []byte {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return []byte(lines[len(lines)-1])
}
