package cmd

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// initResult is the JSON of init: schema tbcert.init/v1.
type initResult struct {
	Schema        string          `json:"schema"`
	OK            bool            `json:"ok"`
	ExitCode      int             `json:"exit_code"`
	Workspace     string          `json:"workspace"`
	Host          string          `json:"host"`
	Changed       []string        `json:"changed"`
	NewCA         bool            `json:"new_ca"`
	NewServerCA   bool            `json:"new_server_ca,omitempty"`
	NewServer     bool            `json:"new_server_certificate"`
	KeysEncrypted bool            `json:"ca_keys_encrypted"`
	Certificates  []certificateIn `json:"certificates"`
	Deployments   []deploymentIn  `json:"deployments,omitempty"`
	Fingerprint   string          `json:"root_fingerprint"`
	Constraints   *constraintsOn  `json:"name_constraints,omitempty"`
	Waiting       []string        `json:"waiting,omitempty"` // requests that the external root has to sign
	Next          string          `json:"next"`

	from string // the ACME CA that gave the server certificate just now
}

// constraintsOn tells of a site's name constraints.
type constraintsOn struct {
	Permitted []string `json:"permitted"`  // hosts
	RefusedBy []string `json:"refused_by"` // TLS libraries; docs/compatibility.md, measured by TestInterop
}

// constraintsOf gives a site's name constraints; nil when it has none.
func constraintsOf(s *site.Site) *constraintsOn {
	permitted := s.PermittedHosts()
	if len(permitted) == 0 {
		return nil
	}
	refused := []string{"mbedTLS 2.28"}
	if s.ServerCA != nil { // of a root, it looks at the name and the key alone
		refused = append(refused, "BearSSL")
	}
	if slices.ContainsFunc(permitted, func(host string) bool { return net.ParseIP(host) != nil }) {
		refused = append(refused, "wolfSSL 5.5")
	}
	return &constraintsOn{Permitted: permitted, RefusedBy: refused}
}

func (c *constraintsOn) text() string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("Name constraints: %s only. Devices with these libraries refuse the server: %s.\n",
		strings.Join(c.Permitted, ", "), strings.Join(c.RefusedBy, ", "))
}

// deploymentIn is a file that was asked for with --deploy.
type deploymentIn struct {
	Kind     string   `json:"kind"`
	File     string   `json:"file"`
	Commands []string `json:"commands"` // that put it to work, in the workspace
}

// certificateIn is one of a site's certificates, as init and status tell it.
type certificateIn struct {
	Role        string    `json:"role"` // root CA, server CA, device CA, server
	File        string    `json:"file"`
	Subject     string    `json:"subject"`
	Hosts       []string  `json:"hosts,omitempty"`
	KeyType     string    `json:"key_type"`
	Fingerprint string    `json:"fingerprint"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	DaysLeft    int       `json:"days_left"`
}

// lock takes the workspace for this run.
func (a *app) lock(ctx context.Context, ws *workspace.Workspace) (func(), error) {
	return ws.Lock(ctx, func(holder string) {
		a.ui.Note("%s is in use by %s; waiting for it.", ws.Dir(), holder)
	})
}

// certificatesOf lists a site's certificates, root first.
func (a *app) certificatesOf(s *site.Site) []certificateIn {
	var list []certificateIn
	add := func(role, file string, cert *x509.Certificate) {
		if cert == nil {
			return
		}
		described := certificateIn{
			Role: role, File: file, Subject: cert.Subject.String(),
			KeyType:     string(certs.KeyTypeOf(cert.PublicKey)),
			Fingerprint: certs.Fingerprint(cert),
			NotBefore:   cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(),
			DaysLeft: daysBetween(a.process.Now(), cert.NotAfter),
		}
		if role == "server" {
			described.Hosts = certs.Hosts(cert)
		}
		list = append(list, described)
	}
	if len(s.RootCA) > 0 {
		add("root CA", workspace.RootCert, s.RootCA[0])
	}
	if s.Foreign() {
		for _, root := range s.TrustRoots {
			add("root", workspace.RootFile, root)
		}
	}
	add("server CA", workspace.ServerCACert, s.ServerCA)
	add("device CA", workspace.DeviceCACert, s.DeviceCA)
	if len(s.Server) > 0 {
		add("server", workspace.ServerCert, s.Server[0])
	}
	return list
}

// daysBetween counts whole days; it is negative for a time that has passed.
func daysBetween(from, to time.Time) int {
	const day = 24 * time.Hour
	return int((to.Sub(from) + time.Minute).Truncate(day) / day)
}

// tellWaiting says what the external root has to sign, and how.
func (a *app) tellWaiting(command *cobra.Command, ws *workspace.Workspace, result *site.Result, changed []string) error {
	next := a.again("init --signed server-ca.pem --signed device-ca.pem --signed root.pem")
	if a.ui.JSON() {
		waiting := initResult{
			Schema: schema(command), ExitCode: exitAttention, Workspace: ws.Dir(), Host: result.Site.Host(), Changed: append([]string{}, changed...),
			Certificates: []certificateIn{}, Waiting: []string{workspace.ServerCARequest, workspace.DeviceCARequest}, Next: next,
		}
		if err := a.ui.ResultJSON(waiting); err != nil {
			return err
		}
		return told(exitAttention)
	}
	err := a.ui.Result(`%s
  %s
  %s

Where the root's key is, with OpenSSL 3:
  openssl x509 -req -in server-ca.csr -CA root.pem -CAkey root.key -copy_extensions copy -days 3650 -out server-ca.pem
  openssl x509 -req -in device-ca.csr -CA root.pem -CAkey root.key -copy_extensions copy -days 3650 -out device-ca.pem

Next: bring the certificates and the root's back, and run
  %s
`, a.ui.Doubtful("The root CA has to sign two requests; their keys stay here."), ws.Path(workspace.ServerCARequest), ws.Path(workspace.DeviceCARequest), next)
	if err != nil {
		return err
	}
	return told(exitAttention)
}

// tellInit gives the result of init.
func (a *app) tellInit(command *cobra.Command, ws *workspace.Workspace, result *site.Result, changed []string) error {
	if result.Waiting {
		return a.tellWaiting(command, ws, result, changed)
	}
	told := initResult{
		Schema: schema(command), OK: true, Workspace: ws.Dir(), Host: result.Site.Host(),
		Changed: changed, NewCA: result.NewCA, NewServerCA: result.NewServerCA, NewServer: result.NewServer, KeysEncrypted: result.KeysEncrypted,
		Certificates: a.certificatesOf(result.Site),
		Fingerprint:  certs.Fingerprint(result.Site.Anchors()[0]),
		Constraints:  constraintsOf(result.Site),
		Next:         a.again("provision NAME"),
	}
	for _, file := range result.Deployed {
		told.Deployments = append(told.Deployments, deploymentIn(file))
	}
	if told.Changed == nil {
		told.Changed = []string{}
	}
	if a.ui.JSON() {
		return a.ui.ResultJSON(told)
	}
	if result.NewCA && !result.KeysEncrypted {
		a.ui.Note("The CA keys in %s are not encrypted; only their modes (0600) protect them.\n"+
			"Keep the directory private and back it up, or give a passphrase when you make a CA.", ws.Path("ca"))
	}
	if result.NewServer && result.Site.Foreign() {
		told.from = result.Site.Settings.ACME
	}
	return a.ui.Result("%s", a.initText(ws, told))
}

func (a *app) initText(ws *workspace.Workspace, told initResult) string {
	var text strings.Builder
	switch {
	case len(told.Changed) == 0:
		fmt.Fprintf(&text, "Nothing to do: %s is complete.\n\n", ws.Dir())
	case told.NewCA:
		fmt.Fprintf(&text, "%s\n", a.ui.Good("Made the CA and the server certificate for "+told.Host+"."))
	case told.NewServerCA:
		fmt.Fprintf(&text, "%s The root is the one it was.\n", a.ui.Good("Issued the server CA and the server certificate for "+told.Host+" again."))
	case told.from != "":
		fmt.Fprintf(&text, "%s\n", a.ui.Good("Got the server certificate for "+told.Host+" from "+told.from+"."))
	case told.NewServer:
		fmt.Fprintf(&text, "%s The CA is the one it was.\n", a.ui.Good("Issued the server certificate for "+told.Host+" again."))
	default:
		fmt.Fprintf(&text, "%s\n", a.ui.Good("Put the missing files back."))
	}
	for _, name := range told.Changed {
		fmt.Fprintf(&text, "  %s\n", ws.Path(name))
	}
	if len(told.Changed) > 0 {
		text.WriteString("\n")
	}
	text.WriteString(a.certificateTable(told.Certificates))
	for _, file := range told.Deployments {
		if slices.Contains(told.Changed, file.File) {
			fmt.Fprintf(&text, "\nFor %s (%s), in %s:\n  %s\n", file.Kind, file.File, ws.Dir(), strings.Join(file.Commands, "\n  "))
		}
	}
	fmt.Fprintf(&text, "\nRoot fingerprint: %s\n", a.ui.Strong(told.Fingerprint))
	text.WriteString(told.Constraints.text())
	fmt.Fprintf(&text, "Next: give ThingsBoard its certificate as %s says, then\n  %s\n", ws.Path(workspace.ServerConf), a.again("provision meter-1"))
	return text.String()
}

// certificateTable tells which certificate expires when.
func (a *app) certificateTable(list []certificateIn) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, cert := range list {
		name := cert.Subject
		if len(cert.Hosts) > 0 {
			name = strings.Join(cert.Hosts, ", ")
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", cert.Role, cert.KeyType, expiry(cert), name)
	}
	_ = table.Flush() // a strings.Builder does not fail
	return text.String()
}

func expiry(cert certificateIn) string {
	date := cert.NotAfter.Format(time.DateOnly)
	switch {
	case cert.DaysLeft < 0:
		return fmt.Sprintf("expired %s (%d days ago)", date, -cert.DaysLeft)
	case cert.DaysLeft > 2*365:
		return fmt.Sprintf("expires %s (in %d years)", date, cert.DaysLeft/365)
	default:
		return fmt.Sprintf("expires %s (in %d days)", date, cert.DaysLeft)
	}
}
