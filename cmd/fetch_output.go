package cmd

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/remote"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// fetchResult is the JSON of fetch: schema tbcert.fetch/v1.
type fetchResult struct {
	Schema   string            `json:"schema"`
	OK       bool              `json:"ok"`
	ExitCode int               `json:"exit_code"`
	Source   string            `json:"source"`
	Host     string            `json:"host"`
	Root     certs.Certificate `json:"root"`
	Found    remote.How        `json:"found"`             // presented, mozilla, system or aia
	Public   bool              `json:"public"`            // Mozilla or this machine trusts it
	Path     []string          `json:"path"`              // subjects, the server's first
	Missing  []string          `json:"missing,omitempty"` // that the server should send, and does not
	Changed  []string          `json:"changed"`
	Bundles  int               `json:"bundles_written"`
	Next     string            `json:"next"`
}

// hostOfURL is the name in a web address.
func hostOfURL(text string) string {
	parsed, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.Hostname()
}

// tell gives the result.
func (f *fetching) tell() error {
	result := fetchResult{
		Schema: schema(f.command), OK: true, Source: f.name, Host: f.site.Host(), Root: certs.Describe(f.found.Root),
		Found: f.found.How, Public: f.found.Public, Changed: f.changed, Bundles: f.bundles, Next: f.app.again("provision NAME"),
	}
	if result.Changed == nil {
		result.Changed = []string{}
	}
	for _, cert := range f.found.Path {
		result.Path = append(result.Path, cert.Subject.String())
	}
	for _, cert := range f.found.Missing {
		result.Missing = append(result.Missing, cert.Subject.String())
	}
	if f.app.ui.JSON() {
		return f.app.ui.ResultJSON(result)
	}
	return f.app.ui.Result("%s", f.text(result))
}

func (f *fetching) text(result fetchResult) string {
	var text strings.Builder
	ui := f.app.ui
	if len(result.Changed) == 0 && result.Bundles == 0 {
		fmt.Fprintf(&text, "Nothing to do: %s has this root.\n\n", f.ws.Path(workspace.RootFile))
	} else {
		fmt.Fprintf(&text, "%s\n", ui.Good("Devices of "+result.Host+" trust this root."))
	}
	for _, name := range result.Changed {
		fmt.Fprintf(&text, "  %s\n", f.ws.Path(name))
	}
	if result.Bundles > 0 {
		fmt.Fprintf(&text, "  %s written again\n", countOf(result.Bundles, "bundle", "bundles"))
	}
	where := map[remote.How]string{
		remote.HowPresented: "it was presented", remote.HowMozilla: "Mozilla trusts it", remote.HowSystem: "this machine trusts it",
		remote.HowIssuerURL: "it is where the certificate below it says",
	}[result.Found]
	fmt.Fprintf(&text, "\n  root         %s\n  fingerprint  %s\n  expires      %s\n  found        %s\n",
		printable(result.Root.Subject), ui.Strong(result.Root.Fingerprint), result.Root.NotAfter.Format(time.DateOnly), where)
	fmt.Fprintf(&text, "  path         %s\n", printable(strings.Join(result.Path, " < ")))
	if len(result.Missing) > 0 {
		text.WriteString("\n" + ui.Doubtful("The server does not send "+printable(strings.Join(result.Missing, ", "))+": devices will refuse it until it does.") + "\n")
	}
	fmt.Fprintf(&text, "\nNext: %s\n", result.Next)
	return text.String()
}
