package cmd

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/verify"
)

// How often a server is looked at that is waited for, and the patience with one
// that is looked at once.
const (
	lookAgain = time.Second
	lookOnce  = 5 * time.Second
)

// What came of the hook, and what the server serves.
const (
	hookRan    = "ran"
	hookFailed = "failed"

	servedYes         = "new"
	servedOld         = "old"
	servedUnreachable = "unreachable"
)

// renewResult is the JSON of renew: schema tbcert.renew/v1.
type renewResult struct {
	Schema      string         `json:"schema"`
	OK          bool           `json:"ok"`
	ExitCode    int            `json:"exit_code"`
	Due         bool           `json:"due"`
	DueAt       time.Time      `json:"due_at"` // of the certificate that was there
	Renewed     bool           `json:"renewed"`
	DryRun      bool           `json:"dry_run,omitempty"` // it would be renewed
	Certificate *certificateIn `json:"certificate"`
	Previous    *certificateIn `json:"previous,omitempty"`
	Changed     []string       `json:"changed,omitempty"`
	Hook        string         `json:"hook,omitempty"` // ran or failed
	HookOwed    bool           `json:"hook_owed,omitempty"`
	Served      string         `json:"served,omitempty"` // new, old or unreachable
	Problem     string         `json:"problem,omitempty"`
	Next        string         `json:"next,omitempty"`
}

func (r *renewResult) problem(text string) { r.OK, r.Problem = false, text }

// serverIn is the server certificate as results tell it.
func (a *app) serverIn(s *site.Site) *certificateIn {
	list := a.certificatesOf(s)
	return &list[len(list)-1]
}

func (r *renewal) address() string {
	return net.JoinHostPort(r.site.Host(), strconv.Itoa(r.settings().MQTTSPort))
}

// served asks the server for its certificate.
func (r *renewal) served(ctx context.Context) string {
	verifier := &verify.Verifier{Now: r.app.process.Now, Timeout: lookOnce}
	presented, _ := verifier.Inspect(ctx, verify.Target{
		Host: r.site.Host(), Port: r.settings().MQTTSPort, TLS: true, Roots: r.site.Anchors(), RootsName: r.ws.Path(workspace.RootFile),
	})
	switch {
	case len(presented.Chain) == 0:
		return servedUnreachable
	case presented.Chain[0].Equal(r.site.Server[0]):
		return servedYes
	default:
		return servedOld
	}
}

// parseVersion takes ThingsBoard's version apart, such as 4.3.1.2 or 4.3.1.2-SNAPSHOT.
func parseVersion(text string) ([]int, error) {
	number, _, _ := strings.Cut(text, "-")
	var version []int
	for part := range strings.SplitSeq(number, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%q is no version; say for instance 4.2.2.2", text)
		}
		version = append(version, n)
	}
	return version, nil
}

// reloads reports whether a ThingsBoard loads new files by itself: from 4.2.2.2 on
// the 4.2 line, and from 4.3.1.2 on (TB_TRANSPORT_SSL_CERTIFICATE_RELOAD_ENABLED).
func reloads(version []int) bool {
	if slices.Compare(version, []int{4, 3}) < 0 {
		return slices.Compare(version, []int{4, 2, 2, 2}) >= 0
	}
	return slices.Compare(version, []int{4, 3, 1, 2}) >= 0
}

// reloadAdvice says how ThingsBoard gets to serve new files.
func reloadAdvice(text string) string {
	const copied = "copy server/mqttserver.pem to where MQTT_SSL_PEM_CERT says"
	version, err := parseVersion(text)
	switch {
	case err != nil:
		return copied + "; ThingsBoard 4.2.2.2 (of the 4.2 line), 4.3.1.2 and later load it by themselves within a minute, others after `sudo systemctl restart thingsboard`"
	case reloads(version):
		return copied + "; ThingsBoard " + text + " loads it by itself within a minute, unless TB_TRANSPORT_SSL_CERTIFICATE_RELOAD_ENABLED is false"
	default:
		return copied + ", and run `sudo systemctl restart thingsboard`: ThingsBoard " + text + " loads it only when it starts"
	}
}

// tell gives the result.
func (r *renewal) tell() error {
	result := &r.result
	result.Certificate = r.app.serverIn(r.site)
	switch {
	case r.options.check && !result.OK:
		result.ExitCode = exitAttention
	case !result.OK:
		result.ExitCode = exitFailed
	}
	if result.Renewed && result.Served != servedYes && result.Problem == "" {
		result.Next = reloadAdvice(r.options.version)
	}
	var err error
	if r.app.ui.JSON() {
		err = r.app.ui.ResultJSON(result)
	} else {
		err = r.app.ui.Result("%s", r.text())
	}
	if err != nil {
		return err
	}
	return told(result.ExitCode)
}

func (r *renewal) text() string {
	var text strings.Builder
	ui, result := r.app.ui, &r.result
	switch {
	case result.Renewed:
		fmt.Fprintf(&text, "%s\n", ui.Good("Renewed the server certificate for "+r.site.Host()+"."))
	case result.DryRun:
		fmt.Fprintf(&text, "%s\nNothing was changed (--dry-run).\n", ui.Good("A new server certificate for "+r.site.Host()+" was made and proved."))
	case result.Due:
		fmt.Fprintf(&text, "%s\n", ui.Doubtful("The server certificate for "+r.site.Host()+" is due."))
	default:
		fmt.Fprintf(&text, "The server certificate for %s is not due before %s.\n", r.site.Host(), result.DueAt.Format(time.DateOnly))
	}
	for _, name := range result.Changed {
		fmt.Fprintf(&text, "  %s\n", r.ws.Path(name))
	}
	text.WriteString("\n" + r.app.certificateTable([]certificateIn{*result.Certificate}))
	r.serverText(&text)
	switch {
	case result.Problem != "":
		fmt.Fprintf(&text, "%s\n", ui.Bad(result.Problem))
	case result.Next != "":
		fmt.Fprintf(&text, "\n%s\n", ui.Wrap("Next: "+result.Next+".", 0))
	case result.HookOwed:
		text.WriteString("A hook is owed from a run before: run tbcert renew with it.\n")
	}
	return text.String()
}

// serverText says what the hook and the server did.
func (r *renewal) serverText(text *strings.Builder) {
	result := &r.result
	if result.Hook == hookRan {
		fmt.Fprintf(text, "\nThe hook %s ran.\n", r.options.arguments[0])
	}
	switch {
	case result.Problem != "": // says it, too
	case result.Served == servedYes:
		fmt.Fprintf(text, "%s\n", r.app.ui.Good(r.address()+" serves it."))
	case result.Served == servedOld:
		fmt.Fprintf(text, "%s serves another certificate than this one.\n", r.address())
	case result.Served == servedUnreachable:
		fmt.Fprintf(text, "%s cannot be asked from here which certificate it serves.\n", r.address())
	}
}
