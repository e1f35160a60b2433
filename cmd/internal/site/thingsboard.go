package site

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"

	"github.com/tbcert/tbcert/certs"
	"github.com/tbcert/tbcert/certs/secret"
	"github.com/tbcert/tbcert/cmd/internal/workspace"
)

// keyStorePassword finds the keystore's password in server/thingsboard.conf.
var keyStorePassword = regexp.MustCompile(`(?m)^#? ?export MQTT_SSL_KEY_STORE_PASSWORD=(\S+)$`)

// confData is what server/thingsboard.conf says.
type confData struct {
	Host             string
	MQTTSPort        int
	KeyStorePassword string
}

// forThingsBoard writes the keystore and the settings that ThingsBoard needs,
// and those of the site's deployments.
// A keystore has random salts, so the one that is there stays as long as it
// opens with the password on record and holds the server's certificate.
func (i *initializer) forThingsBoard() error {
	site := i.result.Site
	password, stands, err := i.keyStoreStands()
	if err != nil {
		return err
	}
	if !stands {
		password = secret.New(rand.Text())
		store, err := certs.EncodePKCS12(&certs.Issued{Key: site.ServerKey, Chain: site.Server}, password)
		if err != nil {
			return fmt.Errorf("make %s: %w", workspace.ServerPKCS12, err)
		}
		i.add(workspace.File{Name: workspace.ServerPKCS12, Data: store, Secret: true})
	}
	conf, err := i.renderConf(confData{
		Host: site.Host(), MQTTSPort: site.Settings.MQTTSPort, KeyStorePassword: password.Reveal(),
	})
	if err != nil {
		return err
	}
	i.add(workspace.File{Name: workspace.ServerConf, Data: conf, Secret: true})
	return i.deployments()
}

// keyStoreStands gives the password of the keystore that is there, and whether
// the keystore will do.
func (i *initializer) keyStoreStands() (password secret.Text, stands bool, err error) {
	if i.result.NewServer {
		return secret.Text{}, false, nil
	}
	conf, err := optional(i.ws.ReadSecret(workspace.ServerConf))
	if err != nil {
		return secret.Text{}, false, err
	}
	store, err := optional(i.ws.ReadSecret(workspace.ServerPKCS12))
	if err != nil {
		return secret.Text{}, false, err
	}
	// One that is missing or damaged is made again.
	if held, err := openKeyStore(store, conf); err == nil {
		stands = held.Chain[0].Equal(i.result.Site.Server[0])
	}
	return keyStoreSecret(conf), stands, nil
}

// keyStoreSecret finds the keystore's password in server/thingsboard.conf.
func keyStoreSecret(conf []byte) secret.Text {
	match := keyStorePassword.FindSubmatch(conf)
	if match == nil {
		return secret.Text{}
	}
	return secret.New(string(match[1]))
}

// openKeyStore opens a keystore with the password that conf has for it.
func openKeyStore(store, conf []byte) (*certs.Issued, error) {
	held, err := certs.DecodePKCS12(store, keyStoreSecret(conf))
	if err != nil {
		return nil, err
	}
	if len(held.Chain) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return held, nil
}
