// A device with Go's crypto/tls and paho. It is called, and tells what
// happened, as ../c/device.h says.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

const patience = 10 * time.Second

func main() {
	fmt.Println("Go " + strings.TrimPrefix(runtime.Version(), "go"))
	if step, err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]...); err != nil {
		fmt.Printf("%s: %v\n", step, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// run names the step that failed.
func run(host, port, root string, credential ...string) (string, error) {
	data, err := os.ReadFile(root)
	if err != nil {
		return "root", err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: host}
	if !config.RootCAs.AppendCertsFromPEM(data) {
		return "root", errors.New("there is no certificate in it")
	}
	options := paho.NewClientOptions().SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(patience)
	if len(credential) == 2 {
		certificate, err := tls.LoadX509KeyPair(credential[0], credential[1])
		if err != nil {
			return "credential", err
		}
		// ThingsBoard does not say that it accepts the device CA: send the
		// certificate all the same.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	} else {
		token, err := os.ReadFile(credential[0])
		if err != nil {
			return "credential", err
		}
		options.SetUsername(strings.TrimSpace(string(token)))
	}
	// paho dials a broker of its own; the handshake is made here, so that its
	// failure can be told from the login's.
	raw, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), patience)
	if err != nil {
		return "tcp", err
	}
	connection := tls.Client(raw, config)
	if err := connection.Handshake(); err != nil {
		return "tls", err
	}
	options.AddBroker("ssl://" + net.JoinHostPort(host, port))
	options.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return connection, nil })
	return publish(paho.NewClient(options))
}

func publish(client paho.Client) (string, error) {
	if err := finished(client.Connect()); err != nil {
		return "connect", err
	}
	if err := finished(client.Publish("v1/devices/me/telemetry", 1, false, `{"temperature":25}`)); err != nil {
		return "publish", err
	}
	client.Disconnect(250)
	return "", nil
}

func finished(token paho.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("no answer")
	}
	return token.Error()
}
