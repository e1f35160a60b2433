package settings

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/tbcert/tbcert/certs"
)

// SiteFile is the name of the file that describes a site.
const SiteFile = "tbcert.yaml"

// Site is what tbcert.yaml says. It holds no secret. A zero field is a key
// that is not in the file.
type Site struct {
	Hosts           []string `yaml:"host"`
	Organization    string   `yaml:"org"`
	KeyType         string   `yaml:"key-type"`
	ServerDays      int      `yaml:"server-days"`
	RootYears       int      `yaml:"root-years"`
	SingleTier      bool     `yaml:"single-tier"`
	NameConstraints bool     `yaml:"name-constraints"`
	ExternalRoot    bool     `yaml:"external-root"`
	MQTTPort        int      `yaml:"mqtt-port"`
	MQTTSPort       int      `yaml:"mqtts-port"`
	Registrar       string   `yaml:"registrar"`
	URL             string   `yaml:"url"`
	User            string   `yaml:"user"`
	Profile         string   `yaml:"profile"`
	Inventory       string   `yaml:"inventory"`
	DeviceDays      int      `yaml:"device-days"`
	ProvisionKey    string   `yaml:"provision-key"`
	Hook            string   `yaml:"hook"`
	ACME            string   `yaml:"acme"`
	Email           string   `yaml:"email"`
	ACMECA          string   `yaml:"acme-ca"`
	Challenge       string   `yaml:"acme-challenge"`
	ACMEHTTP        string   `yaml:"acme-http"`
	ACMETLS         string   `yaml:"acme-tls"`
	DNSHook         string   `yaml:"acme-dns-hook"`
	DNSServer       string   `yaml:"acme-dns-server"`
	DNSKeyFile      string   `yaml:"acme-dns-key-file"`
	Deploy          []string `yaml:"deploy"`
}

// text are the settings that are a text, by name, and where they are.
func (s *Site) text() []struct {
	Name  string
	Value *string
} {
	return []struct {
		Name  string
		Value *string
	}{
		{"hook", &s.Hook}, {"acme", &s.ACME}, {"email", &s.Email}, {"acme-ca", &s.ACMECA}, {"acme-challenge", &s.Challenge}, {"acme-http", &s.ACMEHTTP},
		{"acme-tls", &s.ACMETLS}, {"acme-dns-hook", &s.DNSHook}, {"acme-dns-server", &s.DNSServer}, {"acme-dns-key-file", &s.DNSKeyFile},
	}
}

// Merge takes over what other says of an ACME CA, and its hook.
func (s *Site) Merge(other Site) {
	ours, theirs := s.text(), other.text()
	for i := range ours {
		if *theirs[i].Value != "" {
			*ours[i].Value = *theirs[i].Value
		}
	}
}

// What a site gets when nothing else is said. The ports are IANA's for MQTT and
// ThingsBoard's defaults (MQTT_BIND_PORT, MQTT_SSL_BIND_PORT).
const (
	DefaultKeyType    = certs.P256
	DefaultServerDays = 397
	DefaultRootYears  = 20
	DefaultMQTTPort   = 1883
	DefaultMQTTSPort  = 8883
)

// WithDefaults fills in what is not set and has a default.
func (s Site) WithDefaults() Site {
	s.KeyType = cmp.Or(s.KeyType, string(DefaultKeyType))
	s.ServerDays = cmp.Or(s.ServerDays, DefaultServerDays)
	s.RootYears = cmp.Or(s.RootYears, DefaultRootYears)
	s.MQTTPort = cmp.Or(s.MQTTPort, DefaultMQTTPort)
	s.MQTTSPort = cmp.Or(s.MQTTSPort, DefaultMQTTSPort)
	return s
}

// FileError is a fault in a settings file, at a line and column that begin
// with 1 (0: the file as a whole).
type FileError struct {
	File         string
	Line, Column int
	Problem      string
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// ParseSite reads tbcert.yaml. Unknown and repeated keys, values of the wrong
// kind and values that make no sense are *FileErrors; file is the path they
// name. The text of a value is never part of an error: people put passwords
// into files that ask for none.
func ParseSite(data []byte, file string) (Site, error) {
	var site Site
	err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&site)
	if err != nil && !errors.Is(err, io.EOF) {
		return Site{}, fileError(err, file)
	}
	if err := site.validate(data, file); err != nil {
		return Site{}, err
	}
	return site, nil
}

// fileError puts the YAML library's error into our words, without the lines of
// the file that it would quote.
func fileError(err error, file string) error {
	var located yaml.Error
	if !errors.As(err, &located) {
		return &FileError{File: file, Problem: "this is not YAML that tbcert understands"}
	}
	result := &FileError{File: file, Problem: problem(err, located)}
	if token := located.GetToken(); token != nil && token.Position != nil {
		result.Line, result.Column = token.Position.Line, token.Position.Column
	}
	return result
}

func problem(err error, located yaml.Error) string {
	var unknown *yaml.UnknownFieldError
	var kind *yaml.TypeError
	var node *yaml.UnexpectedNodeTypeError
	var overflow *yaml.OverflowError
	switch {
	case errors.As(err, &unknown):
		return unknownKey(unknown.Token.Value)
	case errors.As(err, &kind):
		return "this value must be " + kindName(kind.DstType.String())
	case errors.As(err, &node):
		return fmt.Sprintf("this must be %s, not %s", nodeName(node.Expected), nodeName(node.Actual))
	case errors.As(err, &overflow):
		return "this number is too large"
	default:
		return located.GetMessage()
	}
}

// unknownKey says which keys there are, and where a secret belongs.
func unknownKey(name string) string {
	for _, key := range Keys() {
		if key.Sensitive && key.Name == strings.ReplaceAll(name, "_", "-") {
			return fmt.Sprintf("%q is a secret and does not belong here: set %s instead", name, key.Env())
		}
	}
	return fmt.Sprintf("unknown key %q; the keys are %s", name, strings.Join(fileKeys(), ", "))
}

func fileKeys() []string {
	var names []string
	for _, key := range Keys() {
		if key.InFile {
			names = append(names, key.Name)
		}
	}
	return names
}

func kindName(goType string) string {
	switch goType {
	case "int":
		return "a whole number"
	case "bool":
		return "true or false"
	default:
		return "a text"
	}
}

func nodeName(kind ast.NodeType) string {
	switch kind {
	case ast.SequenceType:
		return "a list"
	case ast.MappingType:
		return "a mapping of keys to values"
	case ast.NullType:
		return "empty"
	default:
		return "a single value"
	}
}

// Values gives the file's values by setting name, for Resolve.
func (s Site) Values() map[string][]string {
	values := map[string][]string{}
	set := func(name, value string, given bool) {
		if given {
			values[name] = []string{value}
		}
	}
	if len(s.Hosts) > 0 {
		values["host"] = slices.Clone(s.Hosts)
	}
	set("org", s.Organization, s.Organization != "")
	set("key-type", s.KeyType, s.KeyType != "")
	set("server-days", strconv.Itoa(s.ServerDays), s.ServerDays != 0)
	set("root-years", strconv.Itoa(s.RootYears), s.RootYears != 0)
	set("single-tier", "true", s.SingleTier)
	set("name-constraints", "true", s.NameConstraints)
	set("external-root", "true", s.ExternalRoot)
	set("mqtt-port", strconv.Itoa(s.MQTTPort), s.MQTTPort != 0)
	set("mqtts-port", strconv.Itoa(s.MQTTSPort), s.MQTTSPort != 0)
	set("registrar", s.Registrar, s.Registrar != "")
	set("url", s.URL, s.URL != "")
	set("user", s.User, s.User != "")
	set("profile", s.Profile, s.Profile != "")
	set("inventory", s.Inventory, s.Inventory != "")
	set("device-days", strconv.Itoa(s.DeviceDays), s.DeviceDays != 0)
	set("provision-key", s.ProvisionKey, s.ProvisionKey != "")
	for _, text := range s.text() {
		set(text.Name, *text.Value, *text.Value != "")
	}
	if len(s.Deploy) > 0 {
		values["deploy"] = slices.Clone(s.Deploy)
	}
	return values
}

// Format writes a new tbcert.yaml.
func (s Site) Format() ([]byte, error) {
	comments := yaml.CommentMap{
		"$.host":             {yaml.HeadComment(" The server's names and addresses. The first is the one that devices use.", " After a change: tbcert init")},
		"$.key-type":         {yaml.HeadComment(" Certificates.")},
		"$.mqtt-port":        {yaml.HeadComment(" The ports that devices use.")},
		"$.registrar":        {yaml.HeadComment(" Where devices are registered: offline (an import file is written), thingsboard (with url and user) or mqtt.")},
		"$.name-constraints": {yaml.HeadComment(" The CA can vouch for the hosts above and nothing else. Not every device takes that: see tbcert status.")},
		"$.single-tier":      {yaml.HeadComment(" The root signs the server certificate itself.")},
	}
	data, err := yaml.MarshalWithOptions(s.ordered(), yaml.WithComment(comments), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", SiteFile, err)
	}
	header := "# This site, for tbcert. It holds no secret and may be kept in version control.\n"
	return append([]byte(header), data...), nil
}

// ordered is the content of a new file: what was decided, in reading order.
func (s Site) ordered() yaml.MapSlice {
	values := yaml.MapSlice{{Key: "host", Value: s.Hosts}}
	add := func(key string, value any, given bool) {
		if given {
			values = append(values, yaml.MapItem{Key: key, Value: value})
		}
	}
	add("key-type", s.KeyType, true)
	add("server-days", s.ServerDays, true)
	add("root-years", s.RootYears, true)
	add("org", s.Organization, s.Organization != "")
	add("single-tier", true, s.SingleTier)
	add("name-constraints", true, s.NameConstraints)
	add("external-root", true, s.ExternalRoot)
	add("mqtt-port", s.MQTTPort, true)
	add("mqtts-port", s.MQTTSPort, true)
	add("registrar", s.Registrar, s.Registrar != "")
	add("url", s.URL, s.URL != "")
	add("user", s.User, s.User != "")
	add("profile", s.Profile, s.Profile != "")
	add("inventory", s.Inventory, s.Inventory != "")
	add("device-days", s.DeviceDays, s.DeviceDays != 0)
	add("provision-key", s.ProvisionKey, s.ProvisionKey != "")
	for _, text := range s.text() {
		add(text.Name, *text.Value, *text.Value != "")
	}
	add("deploy", s.Deploy, len(s.Deploy) > 0)
	return values
}

// Edit changes keys of an existing tbcert.yaml and keeps everything else in
// it, comments too. A key that is not there is added at the end.
func Edit(data []byte, changes yaml.MapSlice) ([]byte, error) {
	file, err := parser.ParseBytes(data, parser.ParseComments)
	if err != nil {
		return nil, fileError(err, SiteFile)
	}
	var added yaml.MapSlice
	for _, change := range changes {
		key := fmt.Sprint(change.Key)
		path, err := yaml.PathString("$." + key)
		if err != nil {
			return nil, fmt.Errorf("edit %s: %w", SiteFile, err)
		}
		if _, err := path.FilterFile(file); err != nil {
			added = append(added, change)
			continue
		}
		value, err := yaml.Marshal(change.Value)
		if err != nil {
			return nil, fmt.Errorf("edit %s: %w", SiteFile, err)
		}
		if err := path.ReplaceWithReader(file, bytes.NewReader(value)); err != nil {
			return nil, fmt.Errorf("edit %s: %w", SiteFile, err)
		}
	}
	edited := file.String()
	if len(added) == 0 {
		return []byte(edited), nil
	}
	tail, err := yaml.MarshalWithOptions(added, yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", SiteFile, err)
	}
	return append([]byte(strings.TrimRight(edited, "\n")+"\n"), tail...), nil
}
