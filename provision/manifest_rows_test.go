package provision_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/provision"
)

// Each kind of credential, as CSV.
func TestReadManifestCredentials(t *testing.T) {
	t.Parallel()
	chain, request := chainAndRequest(t, "a")
	block, _ := pem.Decode([]byte(chain))
	leaf := pem.EncodeToMemory(block)
	tests := []struct {
		headings, row string
		want          provision.Credential
	}{
		{"credential", "x509", provision.Credential{Kind: provision.CredentialX509}},
		{"credential", "BASIC", provision.Credential{Kind: provision.CredentialBasic}},
		{"credential", "", provision.Credential{}},
		{"credential,token,x509", "token,,", provision.Credential{Kind: provision.CredentialToken}},
		{"credential,token", "token,T", provision.TokenCredential(secret.New("T"))},
		{"Credentials type,Access token", "ACCESS_TOKEN,T", provision.TokenCredential(secret.New("T"))},
		{"client_id", "c", provision.Credential{Kind: provision.CredentialBasic, ClientID: secret.New("c")}},
		{"username,password", "u,p w", provision.Credential{Kind: provision.CredentialBasic, Username: secret.New("u"), Password: secret.New("p w")}},
		{"certificate", `"` + chain + `"`, provision.Credential{Kind: provision.CredentialX509, Chain: []byte(chain)}},
		{"X.509", `"a comment` + "\r\n" + strings.ReplaceAll(chain, "\n", "\r\n") + `"`, provision.Credential{Kind: provision.CredentialX509, Chain: []byte(chain)}},
		{"X509", base64.StdEncoding.EncodeToString(block.Bytes), provision.Credential{Kind: provision.CredentialX509, Chain: leaf}},
		{"csr,credential", `"` + request + `",x509`, provision.Credential{Kind: provision.CredentialX509, Request: []byte(request)}},
	}
	for _, test := range tests {
		got, err := readManifest(strings.NewReader("name,"+test.headings+"\na,"+test.row+"\n"), "f.csv")
		if err != nil {
			t.Errorf("%s: %v", test.headings, err)
			continue
		}
		want := provision.Device{Name: "a", Credential: test.want}
		if diff := cmp.Diff([]provision.Device{want}, got, secrets()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.headings, diff)
		}
		again, err := readManifest(strings.NewReader(string(provision.EncodeRow(want, "failed"))), "f.ndjson")
		if diff := cmp.Diff(got, again, secrets()); err != nil || diff != "" {
			t.Errorf("%s, read again: %v (-want +got):\n%s", test.headings, err, diff)
		}
	}
}

// chainAndRequest makes a device's certificate with that of its CA, and a request.
func chainAndRequest(t *testing.T, cn string) (chain, request string) {
	t.Helper()
	root, err := certs.Maker{}.NewRoot(certs.RootProfile{CommonName: "Root", KeyType: certs.P256, Years: 1, PathLen: 1})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := root.NewIssuing(certs.IssuingProfile{CommonName: "Devices", KeyType: certs.P256, Purpose: "device", Years: 1})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := authority.IssueDevice(certs.DeviceProfile{CommonName: cn, KeyType: certs.P256, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(certs.EncodeCertificates(issued.Chain...)), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func TestReadManifestRefusesRows(t *testing.T) {
	t.Parallel()
	chain, request := chainAndRequest(t, "a")
	quoted := func(text string) string { return `"` + text + `"` }
	many := strings.Repeat(",x", 999)
	tests := []struct {
		name, text string
		want       []string
	}{
		{"an unknown credential", "name,credential\na,psk\n", []string{`f.csv:2:3: there is no credential "psk": the kinds are [token basic x509]`}},
		{"a credential and another kind's field", "name,credential,token\na,x509,canary\n", []string{"f.csv:2:8: there is a token, and the credential is to be x509"}},
		{"a token and a certificate", "name,token,certificate\na,canary," + quoted(chain) + "\n", []string{"f.csv:2:10: there is a token and a certificate: a device has one"}},
		{"a token and a password", "name,token,username,password\na,canary,u,canary2\n", []string{"f.csv:2:10: there is a token and a user name", "f.csv:2:12: there is a token and a password"}},
		{"a certificate and a request", "name,x509,csr\na," + quoted(chain) + "," + quoted(request) + "\n", []string{fmt.Sprintf("f.csv:%d:3: there is a certificate and a request", 2+strings.Count(chain, "\n"))}},
		{"a password without a user name", "name,client_id,password\na,c,canary\nb,,canary\n", []string{"f.csv:2:5: a password needs a user name", "f.csv:3:4: a password needs a user name"}},
		{"a password that cannot be printed", "name,username,password\na,u,can\tary\n", []string{"f.csv:2:5: the password holds U+0009"}},
		{"a user name that is kept", "name,username\na,provision\n", []string{"f.csv:2:3: the user name or client id is a word that ThingsBoard keeps"}},
		{"a user name twice", "name,username,token\na,canary,\nb,,canary\n", []string{"f.csv:3:4: the token is that of the device in line 2 already"}},
		{"no certificate", "name,x509\na,canary\n", []string{"f.csv:2:3: the certificate cannot be used"}},
		{"a key", "name,x509\na,\"" + chain + "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n\"\n", []string{"f.csv:2:3: the certificate has a private key with it"}},
		{"a certificate twice", "name,x509\na," + quoted(chain) + "\nb," + quoted(chain) + "\n", []string{fmt.Sprintf("f.csv:%d:3: the certificate is that of the device in line 2 already", 3+strings.Count(chain, "\n"))}},
		{"a certificate for a request", "name,csr\na," + quoted(chain) + "\n", []string{"f.csv:2:3: "}},
		{"another device's request", "name,csr\nb," + quoted(request) + "\n", []string{`f.csv:2:3: the certificate request is for the CN "a", and the device is "b"`}},
		{"gateway", "name,gateway\na,ja\n", []string{"f.csv:2:3: gateway must be true or false"}},
		{"a long name", "name\n" + strings.Repeat("a", 256) + "\n", []string{`f.csv:2:1: device name "aaa`}},
		{"a long description", "name,description\na," + strings.Repeat("a", 256) + "\n", []string{"f.csv:2:3: the description has 256 characters"}},
		{"a quoted line break in a label", "name,label\na,\"x\ny\"\n", []string{"f.csv:2:3: the label holds U+000A"}},
		{"1,000 fields", "name,label\na" + many + "\nb/,\n", []string{"f.csv:2:1: the row and the headings differ in length: 1000 fields, 2 headings", "f.csv:3:1: device name"}},
		{"1,000 headings", "name" + many + "\na" + many + "\n", []string{"f.csv:1:516: there are 1000 columns: at most 256"}},
		{"attributes without a key", "name,SHARED_ATTRIBUTE,server: ,Server attribute\na,1,2,3\n", []string{
			`f.csv:1:6: column "SHARED_ATTRIBUTE" needs the key of the attribute: write SHARED_ATTRIBUTE:KEY`, `f.csv:1:23: column "server: " needs the key`, `f.csv:1:32: column "Server attribute" needs`,
		}},
		{"an attribute twice", "name,server:x,shared:x,SERVER_ATTRIBUTE: x\na,1,2,3\n", []string{`f.csv:1:24: there are two columns for the server attribute "x"`}},
		{"a bad key", "name,\"server:a,b\",\"shared:a\nb\"\na,1,2\n", []string{`f.csv:1:6: the key of the attribute "a,b" holds a comma`, "f.csv:1:19: the key of the attribute holds U+000A"}},
		{"columns of ThingsBoard's", "name,TIMESERIES,Time series,timeseries:x,CLIENT_ATTRIBUTE:x,LWM2M_CLIENT_ENDPOINT,server_attributes\na,1,2,3,4,5,6\n", []string{
			`f.csv:1:6: tbcert sends no telemetry for a device: leave out column "TIMESERIES"`, "f.csv:1:17: tbcert sends no telemetry", "f.csv:1:29: tbcert sends no telemetry",
			"f.csv:1:42: client attributes are the device's", "f.csv:1:61: tbcert makes credentials for MQTT only", `f.csv:1:83: column "server_attributes" is unknown`,
		}},
		{"UTF-16 without a mark", "n\x00a\x00m\x00e\x00", []string{"f.csv:1:1: the file is UTF-16"}},
		{"other separators and no name", "label;token\na;canary\n", []string{"f.csv:1:1: there is no column name"}},
		{"a long row", "name,label\na,b\n\n\"c\",\"" + strings.Repeat("x", 10<<20) + "\"\nd/,\n", []string{"f.csv:4:1: the row is longer than 1 MiB"}},
		{"a long row without a quote", "name,label\nc," + strings.Repeat("x", 10<<20) + "\nd/,\n", []string{"f.csv:2:1: the row is longer than 1 MiB"}},
		{"long headings", "name," + strings.Repeat("x", 10<<20), []string{"f.csv:1:1: the row is longer than 1 MiB"}},
		{"a quote without an end", "name,label\na/,\nb,\"x\n" + strings.Repeat("c,y\n", 1<<20), []string{`f.csv:2:1: device name "a/"`, "f.csv:3:1: the row is longer than 1 MiB"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := readManifest(strings.NewReader(test.text), "f.csv")
			checkProblems(t, err, test.want)
		})
	}
}

func TestReadManifestSeparators(t *testing.T) {
	t.Parallel()
	want := []provision.Device{device("a", "x,y", "", "T"), device("b", "", "", "")}
	for _, separator := range []string{";", "\t", "|"} {
		text := strings.ReplaceAll("\"Name\";label;token\r\na;\"x,y\";T\r\nb;;\r\n", ";", separator)
		got, err := readManifest(strings.NewReader(text), "f.csv")
		if diff := cmp.Diff(want, got, secrets()); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", separator, err, diff)
		}
	}
}

// The values of attributes are those that ThingsBoard's importer makes of them.
func TestReadManifestValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"5": "5", "-1.5": "-1.5", "1,5": "1.5", "1e5": "1e5", "0": "0", "TRUE": "true", "False": "false", "null": `"null"`,
		"00123": `"00123"`, "1,500,000": `"1,500,000"`, "1.2.3": `"1.2.3"`, "9223372036854775807": "9223372036854775807", "9223372036854775808": `"9223372036854775808"`,
		"1e999": `"1e999"`, "0.12345678901234567": `"0.12345678901234567"`, "0x10": `"0x10"`, "5 ": `"5 "`, "NaN": `"NaN"`, "-": `"-"`,
		` {"a": [1, 2] } `: `{"a":[1,2]}`, "[]": "[]", "{x}": `"{x}"`, "<é&\u2028>": "\"<é&\\u2028>\"", `say "no"`: `"say \"no\""`, `"quoted"`: `"\"quoted\""`,
	} {
		field := `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
		got, err := readManifest(strings.NewReader("name,shared:k,server:k\na,"+field+",\n"), "f.csv")
		if err != nil || len(got[0].Extra.Attributes) != 1 || string(got[0].Extra.Attributes[0].Value) != want {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
}

// refusing is a spool that finds something wrong with some rows.
type refusing struct{ calls int }

func (r *refusing) Add(_ context.Context, row provision.Row) error {
	r.calls++
	switch row.Device.Name {
	case "unfit":
		return fmt.Errorf("wrapped: %w", &provision.UnfitError{Problem: "no"})
	case "full":
		return errFault
	}
	return nil
}

func TestReadManifestSpool(t *testing.T) {
	t.Parallel()
	for file, text := range map[string]string{
		"f.csv": "name\nunfit\na\n%s", "f.json": "[{\"name\":\n\"unfit\"},{\"name\":\"a\"}%s]", "f.ndjson": "\n{\"name\":\"unfit\"}\n{\"name\":\"a\"}\n%s", "f.yaml": "# x\n- name: unfit\n- name: a\n%s",
	} {
		full := map[string]string{"f.csv": "full\nb\n", "f.json": `,{"name":"full"},{"name":"b"}`, "f.ndjson": "{\"name\":\"full\"}\n{\"name\":\"b\"}\n", "f.yaml": "- name: full\n- name: b\n"}[file]
		place := map[string]string{"f.csv": "2:1", "f.json": "1:2", "f.ndjson": "2:1", "f.yaml": "2:1"}[file]
		spool := &refusing{}
		err := provision.ReadManifest(context.Background(), strings.NewReader(fmt.Sprintf(text, "")), file, provision.FormatOf(file), spool)
		checkProblems(t, err, []string{file + ":" + place + ": no"})
		if spool.calls != 2 {
			t.Errorf("%s: %d rows, want 2", file, spool.calls)
		}
		spool = &refusing{}
		err = provision.ReadManifest(context.Background(), strings.NewReader(fmt.Sprintf(text, full)), file, provision.FormatOf(file), spool)
		if !errors.Is(err, errFault) || spool.calls != 3 {
			t.Errorf("%s: %d rows, %v", file, spool.calls, err)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errFault)
		spool = &refusing{}
		err = provision.ReadManifest(ctx, strings.NewReader(fmt.Sprintf(text, "")), file, provision.FormatOf(file), spool)
		if !errors.Is(err, errFault) || spool.calls != 0 {
			t.Errorf("%s, with an ended context: %d rows, %v", file, spool.calls, err)
		}
		broken := io.MultiReader(strings.NewReader(fmt.Sprintf(text, "")[:12]), &brokenReader{})
		if err := provision.ReadManifest(context.Background(), broken, file, provision.FormatOf(file), spool); !errors.Is(err, errFault) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s, on a broken disk: %v", file, err)
		}
	}
	if err := provision.ReadManifest(context.Background(), strings.NewReader("x"), "f", "xml", nil); err == nil || !strings.Contains(err.Error(), `no format "xml"`) {
		t.Errorf("an unknown format: %v", err)
	}
}

type brokenReader struct{}

func (*brokenReader) Read([]byte) (int, error) { return 0, errFault }

// generated is a manifest of so many rows that is made while it is read.
type generated struct {
	head, tail string
	row        func(n int) string
	rows, next int
	rest       string
}

func (g *generated) Read(p []byte) (int, error) {
	for g.rest == "" {
		switch {
		case g.next == 0:
			g.rest = g.head
		case g.next <= g.rows:
			g.rest = g.row(g.next)
		case g.next == g.rows+1:
			g.rest = g.tail
		default:
			return 0, io.EOF
		}
		g.next++
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// manifestOf generates a manifest of so many rows.
func manifestOf(format provision.Format, rows int) *generated {
	comma := func(n int) string {
		if n == 1 {
			return ""
		}
		return ",\n"
	}
	object := func(n int) string {
		return fmt.Sprintf(`{"name":"meter-%06d","label":"Hall 1","profile":"meter","token":"abcdefghijkl%08d","server_attributes":{"n":%d}}`, n, n, n)
	}
	return map[provision.Format]*generated{
		provision.FormatCSV: {rows: rows, head: "name,label,profile,token\n", row: func(n int) string {
			return fmt.Sprintf("meter-%06d,Hall 1,meter,abcdefghijkl%08d\n", n, n)
		}},
		provision.FormatJSON:   {rows: rows, head: "[", tail: "]", row: func(n int) string { return comma(n) + object(n) }},
		provision.FormatNDJSON: {rows: rows, row: func(n int) string { return object(n) + "\n" }},
		provision.FormatYAML: {rows: rows, row: func(n int) string {
			return fmt.Sprintf("- name: meter-%06d\n  label: Hall 1\n  profile: meter\n  token: abcdefghijkl%08d\n", n, n)
		}},
	}[format]
}

// counting is a spool that keeps nothing, and looks at the heap now and then.
type counting struct {
	rows int
	peak uint64
}

func (c *counting) Add(context.Context, provision.Row) error {
	if c.rows++; c.rows%10_000 == 0 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		c.peak = max(c.peak, stats.HeapAlloc)
	}
	return nil
}

// The heap stays within what one row and the buffers take. It runs alone, as the heap is everyone's.
func TestReadManifestHoldsNoRows(t *testing.T) { //nolint:paralleltest // see above
	for _, format := range []provision.Format{provision.FormatCSV, provision.FormatJSON, provision.FormatNDJSON, provision.FormatYAML} {
		const allowed = 4 << 20
		rows := 20_000
		if format == provision.FormatCSV {
			rows = 200_000
		}
		var before runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		spool := &counting{}
		if err := provision.ReadManifest(context.Background(), manifestOf(format, rows), "f", format, spool); err != nil {
			t.Fatal(err)
		}
		if spool.rows != rows || spool.peak > before.HeapAlloc+allowed {
			t.Errorf("%s: %d rows, and the heap grew from %d to %d bytes", format, spool.rows, before.HeapAlloc, spool.peak)
		}
	}
}

// A file of nothing but a row without end is not held.
func TestReadManifestHoldsNoLongRow(t *testing.T) { //nolint:paralleltest // it looks at the heap
	long := strings.Repeat("x", 1<<20)
	heads := map[provision.Format]string{
		provision.FormatCSV: "name\n\"", provision.FormatJSON: `[{"name":"`, provision.FormatNDJSON: `{"name":"`, provision.FormatYAML: "- name: ",
	}
	for format, head := range heads {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		text := &generated{head: head, rows: 32, row: func(int) string { return long }}
		err := provision.ReadManifest(context.Background(), text, "f", format, &counting{})
		runtime.ReadMemStats(&after)
		var row *provision.RowError
		if !errors.As(err, &row) || after.TotalAlloc-before.TotalAlloc > 12<<20 {
			t.Errorf("%s: %v, and %d MiB were allocated for 32 MiB", format, err, (after.TotalAlloc-before.TotalAlloc)>>20)
		}
	}
}

func BenchmarkReadManifest(b *testing.B) {
	for _, format := range []provision.Format{provision.FormatCSV, provision.FormatJSON, provision.FormatNDJSON, provision.FormatYAML} {
		b.Run(string(format), func(b *testing.B) {
			const rows = 20_000
			text, err := io.ReadAll(manifestOf(format, rows))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				spool := &refusing{}
				if err := provision.ReadManifest(context.Background(), strings.NewReader(string(text)), "f", format, spool); err != nil || spool.calls != rows {
					b.Fatal(spool.calls, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}
