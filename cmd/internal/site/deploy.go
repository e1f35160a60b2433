package site

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
	"github.com/tbcert/tbcert/templates"
)

// A deployment is a place where the server certificate can be put to work, and
// the files in server/ that do so. Each file's first lines say how.
type deployment struct {
	kind  string
	files []deploymentFile
}

// deploymentFile is a file of a deployment: its name in server/, and its
// template's.
type deploymentFile struct {
	name   string
	secret bool // it holds the private key
}

// deployments are those that settings.Deployments names. ThingsBoard on Debian is
// not among them: server/thingsboard.conf is always written.
func deployments() []deployment {
	return []deployment{
		{"docker", []deploymentFile{{name: "docker-compose.override.yml"}}},
		{"kubernetes", []deploymentFile{{name: "kubernetes-secret.yaml", secret: true}, {name: "kubernetes-patch.yaml"}}},
		{"haproxy", []deploymentFile{{name: "haproxy.cfg"}}},
		{"nginx", []deploymentFile{{name: "nginx-stream.conf"}}},
		{"mosquitto", []deploymentFile{{name: "mosquitto.conf"}}},
		{"emqx", []deploymentFile{{name: "emqx.conf"}}},
		{"tbmq", []deploymentFile{{name: "tbmq.conf"}}},
	}
}

// Deployed is a file that was written for a deployment, and the commands in its
// first lines that put it to work.
type Deployed struct {
	Kind     string
	File     string
	Commands []string
}

// deploymentData is what the templates of deployments want.
type deploymentData struct {
	Host                string
	MQTTPort, MQTTSPort int
	ServerPEM, Root     string // base64
}

// Templates are tbcert's templates and those of the user's that stand in the
// workspace in their place.
func Templates(ws *workspace.Workspace) *templates.Set {
	return templates.NewSet(func(file string) ([]byte, error) { return ws.Read(path.Join(workspace.TemplatesDir, file)) })
}

// deployments writes what the site's deployments want.
func (i *initializer) deployments() error {
	site := i.result.Site
	if site.ServerKey == nil { // in a rollover, when it is lost: init issues it again
		return nil
	}
	key, err := certs.EncodeKey(site.ServerKey)
	if err != nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	data := deploymentData{
		Host: site.Host(), MQTTPort: site.Settings.MQTTPort, MQTTSPort: site.Settings.MQTTSPort,
		ServerPEM: encode(append(key, certs.EncodeCertificates(site.Server...)...)), Root: encode(certs.EncodeCertificates(site.Anchors()...)),
	}
	set := Templates(i.ws)
	for _, file := range deploymentFiles(site.Settings.Deploy) {
		text, err := set.Render(file.name, data)
		if err != nil {
			return err
		}
		i.add(workspace.File{Name: file.name, Data: text, Secret: file.secret})
		i.result.Deployed = append(i.result.Deployed, Deployed{Kind: file.kind, File: file.name, Commands: commands(text)})
	}
	return nil
}

// kindFile is a file of some deployment, in the workspace and among the templates.
type kindFile struct {
	kind string
	deploymentFile
}

// deploymentFiles are the files of some kinds of deployments.
func deploymentFiles(kinds []string) []kindFile {
	var files []kindFile
	for _, kind := range kinds {
		for _, known := range deployments() {
			if known.kind != kind {
				continue
			}
			for _, file := range known.files {
				file.name = path.Join("server", file.name)
				files = append(files, kindFile{kind, file})
			}
		}
	}
	return files
}

// commands are the lines of a file's first comment that are set in.
func commands(text []byte) []string {
	var found []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		if command, ok := strings.CutPrefix(line, "#   "); ok {
			found = append(found, strings.TrimSpace(command))
		}
	}
	return found
}

// errNoPassword is for a template of the user's that loses the keystore's password.
var errNoPassword = errors.New("it must hold the line `export MQTT_SSL_KEY_STORE_PASSWORD={{.KeyStorePassword}}`, or that line after `# `: the password of the keystore stands nowhere else")

// renderConf renders server/thingsboard.conf.
func (i *initializer) renderConf(data confData) ([]byte, error) {
	conf, err := Templates(i.ws).Render(workspace.ServerConf, data)
	if err != nil {
		return nil, err
	}
	if keyStoreSecret(conf).Reveal() != data.KeyStorePassword {
		return nil, fmt.Errorf("your own template %s.tmpl: %w", workspace.ServerConf, errNoPassword)
	}
	return conf, nil
}
