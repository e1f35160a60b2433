package cmd

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/verify"
)

// inspectResult is the JSON of inspect: schema tbcert.inspect/v1.
type inspectResult struct {
	Schema    string         `json:"schema"`
	OK        bool           `json:"ok"`
	ExitCode  int            `json:"exit_code"`
	Source    string         `json:"source"`
	TLS       string         `json:"tls_version,omitempty"` // of a host
	Trusted   *bool          `json:"trusted,omitempty"`     // of a host: by the site's roots, else the system's
	TrustedBy string         `json:"trusted_by,omitempty"`
	Problem   string         `json:"problem,omitempty"` // why it is not trusted
	Objects   []certs.Object `json:"objects"`
}

func newInspect(a *app) *cobra.Command {
	options := &inspectOptions{}
	command := &cobra.Command{
		Use:   "inspect FILE...|HOST:PORT",
		Short: "Tell what is in a certificate or key file, or what a server presents",
		Long: `Tell what is in a file (certificates, keys, certificate requests and revocation lists in PEM or DER; PKCS#12
and JKS), or what certificates a TLS server presents. Keys are described, never shown. A server is not logged
in to.

A keystore is opened with the password of --password-file, else with keystore.password beside it, "changeit" or
none, else with what you type.

With --lint thingsboard it says what ThingsBoard could not load and what devices would refuse, of the files of
MQTT_SSL_PEM_CERT and MQTT_SSL_PEM_KEY, or of what a server presents, with a fix for each (docs/lint.md). It ends
with 1 when it finds an error, and with 0 when there are warnings alone.`,
		Example: `  tbcert inspect server/mqttserver.pem
  tbcert inspect truststore.p12 --password-file keystore.password
  tbcert inspect tb.example.com:8883 --long
  tbcert inspect --lint thingsboard /etc/thingsboard/conf/mqttserver.pem --service-user thingsboard`,
		Args: func(command *cobra.Command, args []string) error {
			if options.lint != "" {
				return takes(cobra.MinimumNArgs(1), "name the files, or a server as HOST:PORT")(command, args)
			}
			return takes(cobra.ExactArgs(1), "name one file, or a server as HOST:PORT")(command, args)
		},
	}
	command.Flags().DurationVar(&options.timeout, "timeout", verify.DefaultTimeout, "patience with a server")
	command.Flags().BoolVar(&options.long, "long", false, "tell all: extensions, addresses, policies, constraints, the signature")
	command.Flags().StringVar(&options.passwordFile, "password-file", "", "file with the password of a keystore")
	command.Flags().StringVar(&options.lint, "lint", "", "look for faults instead: "+lintThingsBoard)
	command.Flags().StringVar(&options.serviceUser, "service-user", "", "with --lint: user of this machine who has to be able to read the files")
	command.Flags().StringVar(&options.caFile, "cafile", "", "with --lint: the roots that devices have (default: the site's)")
	command.RunE = a.run(func(command *cobra.Command, args []string) error {
		if err := a.resolve(command, nil); err != nil {
			return err
		}
		if options.lint != "" {
			return runLint(command, a, args, options)
		}
		return runInspect(command, a, args[0], options)
	})
	return command
}

type inspectOptions struct {
	timeout      time.Duration
	long         bool
	passwordFile string
	lint         string
	caFile       string
	serviceUser  string
}

func runInspect(command *cobra.Command, a *app, source string, options *inspectOptions) error {
	result := inspectResult{Schema: schema(command), OK: true, Source: source}
	data, err := workspace.ReadInput(source, false)
	host, port, isHost := hostPort(source)
	switch {
	case err == nil:
		if result.Objects, err = a.inspectFile(command.Context(), data, source, options); err != nil {
			return invalid(fmt.Errorf("%s: %w", source, err))
		}
	case isHost:
		err = a.inspectHost(command, &result, verify.Target{Host: host, Port: port, TLS: true}, options.timeout)
	default:
		err = invalid(fmt.Errorf("%w (a server is named HOST:PORT, such as tb.example.com:%d)", err, settings.DefaultMQTTSPort))
	}
	if err != nil {
		return err
	}
	if options.long {
		certs.AddDetails(result.Objects)
	}
	if a.ui.JSON() {
		return a.ui.ResultJSON(result)
	}
	return a.ui.Result("%s", a.inspectText(result))
}

// hostPort takes HOST:PORT apart.
func hostPort(source string) (host string, port int, ok bool) {
	host, text, err := net.SplitHostPort(source)
	if err != nil {
		return "", 0, false
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, false
	}
	name, err := certs.ParseHost(host)
	return name, port, err == nil
}

// inspectHost asks a server for its certificates, and whether the site's roots
// (else the system's) lead to them.
func (a *app) inspectHost(command *cobra.Command, result *inspectResult, target verify.Target, timeout time.Duration) error {
	s, err := site.Load(a.workspace())
	if err != nil && !errors.Is(err, site.ErrNoSite) {
		return invalid(err)
	}
	result.TrustedBy = "the system's roots"
	if err == nil && len(s.Anchors()) > 0 {
		target.Roots, target.RootsName = s.Anchors(), a.workspace().Path(workspace.RootFile)
		result.TrustedBy = target.RootsName
	}
	verifier := &verify.Verifier{Now: a.process.Now, Timeout: timeout}
	presented, report := verifier.Inspect(command.Context(), target)
	if len(presented.Chain) == 0 {
		if err := a.tellReport(verifyResult{Schema: result.Schema, How: verify.HowServer, Report: report}); err != nil {
			return err
		}
		return told(report.ExitCode)
	}
	result.TLS, result.Trusted, result.Problem = presented.Version, &report.OK, report.Problem()
	for _, cert := range presented.Chain {
		result.Objects = append(result.Objects, certs.ObjectOf(cert))
	}
	return nil
}

func (a *app) inspectText(result inspectResult) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", a.ui.Strong(result.Source))
	if result.Trusted != nil {
		fmt.Fprintf(&text, "  %s, ", result.TLS)
		if *result.Trusted {
			fmt.Fprintf(&text, "%s\n", a.ui.Good("trusted by "+result.TrustedBy))
		} else {
			fmt.Fprintf(&text, "%s\n", a.ui.Bad("not trusted by "+result.TrustedBy+": "+result.Problem))
		}
	}
	for i, object := range result.Objects {
		fmt.Fprintf(&text, "\n%d. %s", i+1, object.Kind)
		if object.Line > 0 {
			fmt.Fprintf(&text, " (line %d)", object.Line)
		}
		if object.Alias != "" {
			fmt.Fprintf(&text, " (%s)", printable(object.Alias))
		}
		text.WriteString("\n")
		a.objectText(&text, object)
	}
	return text.String()
}

// factLine writes one fact, if there is a value. The value may be anybody's;
// the notes are tbcert's own, with their colors.
type factLine func(name, value string, notes ...string)

// printable makes a text from a file or a server safe to show: a subject may
// hold line breaks, which would pass for facts of their own, and a terminal's
// control sequences.
func printable(value string) string {
	var out strings.Builder
	for _, r := range value {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRuneToASCII(r)
		out.WriteString(quoted[1 : len(quoted)-1])
	}
	return out.String()
}

// objectText writes what is known of one object, a line each.
func (a *app) objectText(text *strings.Builder, object certs.Object) {
	line := func(name, value string, notes ...string) {
		if value != "" {
			fmt.Fprintf(text, "   %-14s %s%s\n", name, printable(value), strings.Join(notes, ""))
		}
	}
	if key := object.Key; key != nil {
		if key.Encrypted {
			line("key", "encrypted")
		}
		line("key", string(key.KeyType))
		line("public key", key.PublicKey)
	}
	if object.Certificate != nil {
		a.certificateText(line, object.Certificate)
	}
	if object.Details != nil {
		detailsText(line, object.Details)
	}
	if object.Request != nil {
		a.requestText(line, object.Request)
	}
	if object.CRL != nil {
		a.crlText(line, object.CRL)
	}
}

func (a *app) requestText(line factLine, request *certs.Request) {
	line("subject", request.Subject)
	line("hosts", strings.Join(request.Hosts, ", "))
	kind := string(request.KeyType)
	if request.AsksForCA {
		kind += ", asks for a CA"
	}
	line("key", kind)
	line("signed with", request.SignatureAlgorithm)
	line("public key", request.PublicKey)
	line("problem", request.Problem)
}

func (a *app) crlText(line factLine, crl *certs.CRL) {
	line("issuer", crl.Issuer)
	line("number", crl.Number)
	line("revoked", strconv.Itoa(crl.Entries))
	line("this update", crl.ThisUpdate.Format(time.DateTime)+" UTC")
	if next := crl.NextUpdate; next != nil {
		overdue := ""
		if a.process.Now().After(*next) {
			overdue = a.ui.Bad(" (overdue)")
		}
		line("next update", next.Format(time.DateTime)+" UTC", overdue)
	}
	line("signed with", crl.SignatureAlgorithm)
	line("fingerprint", crl.Fingerprint)
}

func (a *app) certificateText(line factLine, cert *certs.Certificate) {
	line("subject", cert.Subject)
	if cert.SelfSigned {
		line("issuer", "itself")
	} else {
		line("issuer", cert.Issuer)
	}
	line("hosts", strings.Join(cert.Hosts, ", "))
	period, note := a.validity(cert)
	line("valid", period, note)
	kind := string(cert.KeyType)
	if cert.IsCA {
		kind += ", CA"
		if cert.PathLen != nil {
			kind += fmt.Sprintf(" (path length %d)", *cert.PathLen)
		}
	}
	line("key", kind)
	line("usage", strings.Join(append(append([]string{}, cert.KeyUsage...), cert.ExtKeyUsage...), ", "))
	line("signed with", cert.SignatureAlgorithm)
	line("serial", cert.Serial)
	line("fingerprint", cert.Fingerprint)
	line("public key", cert.PublicKey)
	line("credentials id", cert.CredentialsID)
}

// validity gives a certificate's period, and a note on where in it now is.
func (a *app) validity(cert *certs.Certificate) (period, note string) {
	period = cert.NotBefore.Format(time.DateTime) + " to " + cert.NotAfter.Format(time.DateTime) + " UTC"
	switch days := daysBetween(a.process.Now(), cert.NotAfter); {
	case a.process.Now().After(cert.NotAfter):
		return period, a.ui.Bad(fmt.Sprintf(" (expired %d days ago)", -days))
	case a.process.Now().Before(cert.NotBefore):
		return period, a.ui.Bad(" (not yet valid)")
	default:
		return period, fmt.Sprintf(" (%d days left)", days)
	}
}
