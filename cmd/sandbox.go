package cmd

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/settings"
	"github.com/tbcert/tbcert/cmd/internal/site"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/provision"
	"github.com/tbcert/tbcert/sandbox"
)

// The login of ThingsBoard's own demo data, which the sandbox takes when
// nothing else is said.
const (
	sandboxUser     = "tenant@thingsboard.org"
	sandboxPassword = "tenant"
)

type sandboxOptions struct {
	listen       string
	mqttPort     int
	mqttsPort    int
	httpPort     int
	user         string
	passwordFile string
	apiKeyFile   string
	faults       []string
	customers    []string
	serverPEM    string

	provisionKey        string
	provisionSecretFile string
	preProvisioned      bool

	passwordIsDefault bool // no other was given
}

func (o *sandboxOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.listen, "listen", "127.0.0.1", "address to listen on; any other than loopback lets others in")
	flags.IntVar(&o.mqttPort, "mqtt-port", settings.DefaultMQTTPort, "port of plain MQTT; 0 takes a free one, -1 none")
	flags.IntVar(&o.mqttsPort, "mqtts-port", settings.DefaultMQTTSPort, "port of MQTT over TLS; 0 takes a free one, -1 none")
	flags.IntVar(&o.httpPort, "http-port", 8080, "port of the REST API; 0 takes a free one, -1 none")
	flags.StringVar(&o.serverPEM, "server-pem", "", "PEM file with the key and chain to serve, as ThingsBoard has it (default: those of the workspace)")
	flags.StringVar(&o.user, "user", sandboxUser, "user that may log in to the REST API")
	flags.StringVar(&o.passwordFile, "password-file", "", "file with the user's password (or TBCERT_PASSWORD; default: "+sandboxPassword+")")
	flags.StringVar(&o.apiKeyFile, "api-key-file", "", "file with an API key to accept (or TBCERT_API_KEY)")
	flags.StringArrayVar(&o.customers, "customer", nil, "title of a customer that there is, repeatable")
	flags.StringVar(&o.provisionKey, "provision-key", "", "provision device key of a profile by which devices can provision themselves")
	flags.StringVar(&o.provisionSecretFile, "provision-secret-file", "", "file with that profile's secret (or TBCERT_PROVISION_SECRET)")
	flags.BoolVar(&o.preProvisioned, "pre-provisioned", false, "that profile lets in only devices that were created before")
	flags.StringArrayVar(&o.faults, "fault", nil, "misbehave, repeatable: "+strings.Join(sandbox.FaultNames(), ", "))
}

func newSandbox(a *app) *cobra.Command {
	options := &sandboxOptions{}
	command := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a ThingsBoard-compatible endpoint for demos, rehearsals and tests",
		Long: `Run a ThingsBoard-compatible endpoint: MQTT, MQTTS with the certificate of the workspace, and the
REST calls that tbcert uses. It answers as ThingsBoard does, keeps everything in memory, and knows
the devices whose bundles are in the workspace. It is no ThingsBoard: use it to rehearse, in another
terminal; it says how. Devices reach it when the site's host leads to this machine.

It runs until it is interrupted (Ctrl-C).`,
		Example: `  tbcert sandbox
  tbcert sandbox --fault connack=3`,
		Args: cobra.NoArgs,
	}
	options.addFlags(command.Flags())
	command.RunE = a.run(func(command *cobra.Command, _ []string) error { return runSandbox(command, a, options) })
	return command
}

func runSandbox(command *cobra.Command, a *app, options *sandboxOptions) error {
	s, err := a.loadSite(a.workspace())
	if err != nil {
		return err
	}
	if err := a.resolve(command, nil); err != nil {
		return err
	}
	config, err := options.config(command.Context(), a, s)
	if err != nil {
		return invalid(err)
	}
	server, err := sandbox.Start(command.Context(), config)
	if err != nil {
		return err
	}
	if err := a.tellSandbox(command, server, options, s); err != nil {
		return errors.Join(err, server.Close())
	}
	<-command.Context().Done()
	return server.Close()
}

// config is the sandbox of a site.
func (o *sandboxOptions) config(ctx context.Context, a *app, s *site.Site) (sandbox.Config, error) {
	config := sandbox.Config{
		MQTTAddr: o.address(o.mqttPort), MQTTSAddr: o.address(o.mqttsPort), HTTPAddr: o.address(o.httpPort),
		RootPEM:  certs.EncodeCertificates(s.Anchors()...),
		Username: o.user, Now: a.process.Now,
	}
	if ip := net.ParseIP(o.listen); ip == nil {
		return config, fmt.Errorf("--listen %s is not an IP address", o.listen)
	}
	var err error
	if config.Certificate, err = o.certificate(s); err != nil {
		return config, err
	}
	for _, text := range o.faults {
		if err := config.Faults.Add(text); err != nil {
			return config, fmt.Errorf("--fault: %w", err)
		}
	}
	config.Customers = o.customers
	if config.Password, config.APIKey, err = o.logins(a); err != nil {
		return config, err
	}
	if config.Profiles, err = o.profiles(a); err != nil {
		return config, err
	}
	config.Devices, err = a.bundledDevices(ctx, a.workspace())
	return config, err
}

// certificate is what MQTTS is served with: the site's, or that of a file, which
// may not be its key's (ThingsBoard loads such a pair too, and every handshake
// fails).
func (o *sandboxOptions) certificate(s *site.Site) (*tls.Certificate, error) {
	if o.serverPEM == "" {
		if len(s.Server) == 0 {
			return nil, errors.New("the site has no server certificate: run `tbcert init`")
		}
		return tlsCertificate(s.Server, s.ServerKey), nil
	}
	data, err := workspace.ReadInput(o.serverPEM, true)
	if err != nil {
		return nil, fmt.Errorf("--server-pem: %w", err)
	}
	chain, err := certs.ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("--server-pem: %s: %w", o.serverPEM, err)
	}
	key, err := certs.ParseKey(data, secret.Text{}) // ThingsBoard reads no encrypted PKCS#8 key either
	if err != nil {
		return nil, fmt.Errorf("--server-pem: %s: %w", o.serverPEM, err)
	}
	return tlsCertificate(chain, key), nil
}

func tlsCertificate(chain []*x509.Certificate, key crypto.Signer) *tls.Certificate {
	certificate := &tls.Certificate{PrivateKey: key}
	for _, cert := range chain {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	return certificate
}

// profiles are those by which devices can provision themselves.
func (o *sandboxOptions) profiles(a *app) ([]sandbox.Profile, error) {
	server := serverOptions{}
	text, err := server.secret(a, "provision-secret", o.provisionSecretFile)
	if err != nil || o.provisionKey == "" {
		return nil, err
	}
	if text.IsZero() {
		return nil, errors.New("--provision-key: the profile needs a secret, too: give --provision-secret-file FILE or TBCERT_PROVISION_SECRET")
	}
	return []sandbox.Profile{{Name: "provisioned", Key: secret.New(o.provisionKey), Secret: text, PreProvisioned: o.preProvisioned}}, nil
}

func (o *sandboxOptions) address(port int) string {
	if port < 0 {
		return ""
	}
	return net.JoinHostPort(o.listen, strconv.Itoa(port))
}

// logins are the password and the API key that the REST API accepts.
func (o *sandboxOptions) logins(a *app) (password, apiKey secret.Text, err error) {
	server := serverOptions{}
	if password, err = server.secret(a, "password", o.passwordFile); err != nil {
		return password, apiKey, err
	}
	if o.passwordIsDefault = password.IsZero(); o.passwordIsDefault {
		password = secret.New(sandboxPassword)
	}
	apiKey, err = server.secret(a, "api-key", o.apiKeyFile)
	return password, apiKey, err
}

// bundledDevices are the devices whose bundles lie in a workspace, with the ids
// that are on record: a sandbox that is started again is the same ThingsBoard.
func (a *app) bundledDevices(ctx context.Context, ws *workspace.Workspace) ([]sandbox.Device, error) {
	directories, err := ws.List(workspace.DevicesDir)
	if err != nil {
		return nil, err
	}
	ids, err := a.recordedIDs(ctx, ws)
	if err != nil {
		return nil, err
	}
	shelf := newShelf(ws)
	defer func() { _ = shelf.close() }() // it was read only
	var devices []sandbox.Device
	for _, directory := range directories {
		files, err := shelf.ReadBundle(ctx, directory)
		if err != nil {
			return nil, err
		}
		c := provision.CredentialOf(files)
		if !c.Made() {
			continue
		}
		name := deviceName(directory)
		devices = append(devices, sandbox.Device{
			ID: ids[name], Name: name, Token: c.Token, Certificate: leafOf(c.Chain),
			Basic: sandbox.Basic{ClientID: c.ClientID, Username: c.Username, Password: c.Password},
		})
	}
	return devices, nil
}

// recordedIDs are the devices' ids in ThingsBoard, by their names.
func (a *app) recordedIDs(ctx context.Context, ws *workspace.Workspace) (map[string]string, error) {
	store, err := a.openRecord(ctx, ws, "")
	if err != nil || store == nil {
		return nil, err
	}
	defer func() { _ = store.Close() }() // it was read only
	ids := make(map[string]string)
	for record, err := range store.Overview(ctx) {
		if err != nil {
			return nil, err
		}
		ids[record.Name] = record.ThingsBoardID
	}
	return ids, nil
}

// leafOf is the first certificate of a chain in PEM.
func leafOf(chain []byte) []byte {
	parsed, err := certs.ParseCertificates(chain)
	if err != nil {
		return nil
	}
	return certs.EncodeCertificates(parsed[0])
}

// sandboxReady is the JSON that tells where the sandbox listens: schema
// tbcert.sandbox/v1. A port of 0 is one that is off.
type sandboxReady struct {
	Schema    string `json:"schema"`
	OK        bool   `json:"ok"`
	MQTTPort  int    `json:"mqtt_port"`
	MQTTSPort int    `json:"mqtts_port"`
	HTTPPort  int    `json:"http_port"`
	Devices   int    `json:"devices"`
}

func (a *app) tellSandbox(command *cobra.Command, server *sandbox.Server, options *sandboxOptions, s *site.Site) error {
	ready := sandboxReady{
		Schema: schema(command), OK: true, Devices: len(server.Devices()),
		MQTTPort: portOf(server.MQTTAddr()), MQTTSPort: portOf(server.MQTTSAddr()), HTTPPort: portOf(server.HTTPAddr()),
	}
	if a.ui.JSON() {
		return a.ui.ResultJSON(ready)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "The sandbox is listening on %s, as ThingsBoard would:\n", options.listen)
	for _, line := range []struct {
		what string
		port int
	}{{"MQTT", ready.MQTTPort}, {"MQTTS", ready.MQTTSPort}, {"REST", ready.HTTPPort}} {
		if line.port != 0 {
			fmt.Fprintf(&text, "  %-6s port %d\n", line.what, line.port)
		}
	}
	fmt.Fprintf(&text, "It knows %s of this workspace. Stop it with Ctrl-C, and start it again after tbcert renew.\n", devicesWord(ready.Devices))
	text.WriteString(a.sandboxNext(ready, options, s))
	return a.ui.Result("%s", text.String())
}

// sandboxNext says how to rehearse with it, from another terminal.
func (a *app) sandboxNext(ready sandboxReady, options *sandboxOptions, s *site.Site) string {
	var text strings.Builder
	text.WriteString("\nIn another terminal:\n")
	if ready.HTTPPort != 0 {
		fmt.Fprintf(&text, "  %s --url http://%s --user %s\n", a.again("provision meter-1"), net.JoinHostPort(options.listen, strconv.Itoa(ready.HTTPPort)), options.user)
	}
	line := a.again("verify meter-1")
	if ready.MQTTSPort != s.Settings.WithDefaults().MQTTSPort {
		line += " --port " + strconv.Itoa(ready.MQTTSPort)
	}
	fmt.Fprintf(&text, "  %s\n", line)
	if options.passwordIsDefault {
		fmt.Fprintf(&text, "The password of %s is %s.\n", options.user, sandboxPassword)
	}
	if host := s.Host(); !isLoopback(host) && host != options.listen {
		fmt.Fprintf(&text, "For verify, %s has to lead here: by a line \"%s %s\" in /etc/hosts,\nor rehearse in a directory of its own, made with `tbcert init --host localhost`.\n", host, options.listen, host)
	}
	return text.String()
}

func portOf(addr net.Addr) int {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp != nil {
		return tcp.Port
	}
	return 0
}
