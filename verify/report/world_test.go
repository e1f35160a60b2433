package report_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tbcert/tbcert/verify/report"
)

// noon is when every report of these tests was made.
func noon() time.Time { return time.Date(2026, 3, 17, 12, 0, 0, 0, time.UTC) }

func samplePage() report.Page {
	now := noon()
	return report.Page{
		Site: "North plant", Version: "v1.4.0", Host: "tb.example.com", Port: 8883, Generated: now, Took: 14*time.Second + 230*time.Millisecond,
		Chain: []report.Certificate{
			{Role: "server", Subject: "CN=tb.example.com,O=Example Energy", Issuer: "CN=Example Energy Server CA", Key: "ECDSA P-256",
				Fingerprint: "3f1c9a77e0b24d58c6a1930f5e7d2b4488a9c0de1f23456789abcdef01234567",
				Names:       []string{"tb.example.com", "10.0.4.12"}, NotBefore: now.AddDate(0, -2, 0), NotAfter: now.AddDate(0, 11, 0)},
			{Role: "issuing CA", Subject: "CN=Example Energy Server CA,O=Example Energy", Issuer: "CN=Example Energy Root", Key: "ECDSA P-256",
				Fingerprint: "91bd02aa77e0b24d58c6a1930f5e7d2b4488a9c0de1f23456789abcdef0a1b2c", NotBefore: now.AddDate(0, -2, 0), NotAfter: now.AddDate(9, 10, 0)},
			{Role: "root", Subject: "CN=Example Energy Root,O=Example Energy", Issuer: "CN=Example Energy Root", Key: "ECDSA P-384",
				Fingerprint: "c0ffee12d0b24d58c6a1930f5e7d2b4488a9c0de1f23456789abcdef00ddba11", NotBefore: now.AddDate(0, -2, 0), NotAfter: now.AddDate(19, 10, 0)},
		},
		Notes: []string{"41 devices were paused by the rate limit of the transport and tried again."},
	}
}

// sampleRow is device i of a fleet in which some fail, for three reasons.
func sampleRow(i int) report.Row {
	spread := math.Abs(math.Sin(float64(i)*12.9898)*43758.5453 - math.Floor(math.Sin(float64(i)*12.9898)*43758.5453))
	row := report.Row{
		Device: fmt.Sprintf("meter-%d", i+1), OK: true, How: report.HowConnected, Credential: "token",
		Milliseconds: 24 + 30*spread + 9/(1.02-spread), At: noon().Add(-time.Duration(i) * time.Millisecond),
	}
	if i%3 == 1 {
		row.Credential, row.Expires = "x509", noon().AddDate(0, 0, -12+(i*37)%400)
	}
	if i%5 == 2 {
		row.How, row.Milliseconds = report.HowRecord, 0
	}
	if i%10 == 4 {
		row.How, row.Milliseconds = report.HowServer, 0
	}
	switch {
	case i%40 == 9:
		fail(&row, "connect/credential-refused", "ThingsBoard does not know this access token: it was changed there, or the device was deleted.", "Give the device a new one: tbcert rotate "+row.Device+", and copy its bundle.")
	case i%250 == 13:
		fail(&row, "dates/device-clock", "The device's certificate has ended.", "Run tbcert renew, and copy the new bundle.")
	case i%800 == 31:
		fail(&row, "publish/no-puback", "The message was not acknowledged within 10 s; the rule chain's queue may be full.", "See thingsboard.log for the moment of the try.")
	}
	return row
}

func fail(row *report.Row, diagnosis, cause, fix string) {
	row.OK, row.How, row.Milliseconds = false, report.HowConnected, 0
	row.Failed, row.Diagnosis, _ = strings.Cut(diagnosis, "/")
	row.Cause, row.Fix = cause, fix
}

// sample is a fleet of n devices.
func sample(n int) *report.Report {
	r := report.New(samplePage())
	for i := range n {
		r.Add(sampleRow(i))
	}
	return r
}

// written is the report's page.
func written(t *testing.T, r *report.Report) []byte {
	t.Helper()
	var page bytes.Buffer
	n, err := r.WriteTo(&page)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(page.Len()) {
		t.Fatalf("WriteTo says %d bytes, and wrote %d", n, page.Len())
	}
	return page.Bytes()
}
