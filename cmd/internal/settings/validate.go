package settings

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/tbcert/tbcert/certs"
)

// Limits of the settings.
const (
	maxDays  = 3650
	maxYears = 100
	maxPort  = 65535
)

// Registrars lists where devices can be registered.
func Registrars() []string { return []string{"offline", "thingsboard", "mqtt"} }

// Deployments lists what init can write settings for, besides ThingsBoard on Debian.
func Deployments() []string {
	return []string{"docker", "kubernetes", "haproxy", "nginx", "mosquitto", "emqx", "tbmq"}
}

// Validate checks the values that flags, environment or file gave. Each fault
// names the setting; all of them are told.
func (s Site) Validate() []SettingError {
	var faults []SettingError
	check := func(path, setting string, err error) {
		if err != nil {
			faults = append(faults, SettingError{Setting: setting, path: path, Problem: err.Error()})
		}
	}
	for i, host := range s.Hosts {
		_, err := certs.ParseHost(host)
		check(fmt.Sprintf("$.host[%d]", i), "host", err)
	}
	if s.KeyType != "" {
		_, err := certs.ParseKeyType(s.KeyType)
		check("$.key-type", "key-type", err)
	}
	check("$.server-days", "server-days", inRange(s.ServerDays, maxDays))
	check("$.root-years", "root-years", inRange(s.RootYears, maxYears))
	check("$.mqtt-port", "mqtt-port", inRange(s.MQTTPort, maxPort))
	check("$.mqtts-port", "mqtts-port", inRange(s.MQTTSPort, maxPort))
	check("$.registrar", "registrar", oneOf(s.Registrar, Registrars()))
	check("$.acme-challenge", "acme-challenge", oneOf(s.Challenge, []string{"http-01", "tls-alpn-01", "dns-01"}))
	for i, kind := range s.Deploy {
		check(fmt.Sprintf("$.deploy[%d]", i), "deploy", oneOf(kind, Deployments()))
	}
	check("$.url", "url", CheckURL(s.URL))
	check("$.inventory", "inventory", CheckInventory(s.Inventory, true))
	check("$.device-days", "device-days", inRange(s.DeviceDays, maxDays))
	check("$.org", "org", oneLine(s.Organization))
	return faults
}

// SettingError is a value that makes no sense.
type SettingError struct {
	Setting string // its name, as in Keys
	Problem string
	path    string // in the file
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Problem }

// validate reports the first fault of a file with its place.
func (s Site) validate(data []byte, file string) error {
	faults := s.Validate()
	if len(faults) == 0 {
		return nil
	}
	fault := faults[0]
	result := &FileError{File: file, Problem: fault.Error()}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return result
	}
	path, err := yaml.PathString(fault.path)
	if err != nil {
		return result
	}
	node, err := path.FilterFile(tree)
	if err != nil {
		return result
	}
	position := node.GetToken().Position
	result.Line, result.Column = position.Line, position.Column
	return result
}

// inRange takes 0 for a value that is not set.
func inRange(value, most int) error {
	if value < 0 || value > most {
		return fmt.Errorf("%d is not between 1 and %d", value, most)
	}
	return nil
}

func oneOf(value string, choices []string) error {
	if value != "" && !slices.Contains(choices, value) {
		return fmt.Errorf("must be one of %s", strings.Join(choices, ", "))
	}
	return nil
}

func oneLine(value string) error {
	if len(value) > 64 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("must be one line of at most 64 characters (RFC 5280, ub-organization-name)")
	}
	return nil
}

// CheckInventory accepts the URL of a PostgreSQL database. Where others could read
// it, it holds no password. "" is a value that is not set.
func CheckInventory(text string, seen bool) error {
	if text == "" {
		return nil
	}
	parsed, err := url.Parse(text)
	if err != nil || (parsed.Scheme != "postgres" && parsed.Scheme != "postgresql") {
		return fmt.Errorf("must be a PostgreSQL URL like postgres://tbcert@db.example.com/tbcert")
	}
	if _, has := parsed.User.Password(); seen && (has || parsed.Query().Has("password")) {
		return fmt.Errorf("must hold no password, which others could read: set %sINVENTORY or PGPASSWORD in the environment, or use a .pgpass file", Prefix)
	}
	return nil
}

// CheckURL accepts ThingsBoard's web address: http or https, a host, no user
// and password in it. "" is a value that is not set.
func CheckURL(text string) error {
	if text == "" {
		return nil
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https"):
		return fmt.Errorf("must be an address like https://tb.example.com")
	case parsed.User != nil:
		return fmt.Errorf("must hold no user and password: set user here and %sPASSWORD in the environment", Prefix)
	case parsed.RawQuery != "" || parsed.Fragment != "":
		return fmt.Errorf("must end with the host or a path")
	}
	return nil
}
