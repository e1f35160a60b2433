package export

import (
	"slices"
	"strings"

	"github.com/tbcert/tbcert/provision"
)

// A kind is what is known of a format.
type kind struct {
	name       Format
	about      string
	files      []string                       // that it may have, the main one first
	needsKey   bool                           // only for a device with a certificate
	carriesKey bool                           // of a device with a certificate, its key is needed
	password   bool                           // it has a keystore in it
	beside     func(provision.Files) []string // the bundle's own files without which it is of no use; nil is none
	archive    bool                           // it holds the bundle's files
	small      bool                           // for microcontrollers, whose TLS libraries know no Ed25519
	render     func(p *page) ([]provision.File, error)
}

// The formats.
const (
	P12         Format = "p12"
	P12Legacy   Format = "p12-legacy"
	Truststore  Format = "truststore"
	JKS         Format = "jks"
	DER         Format = "der"
	ESP32       Format = "esp32"
	Arduino     Format = "arduino"
	ESP8266     Format = "esp8266"
	MicroPython Format = "micropython"
	Zephyr      Format = "zephyr"
	Gateway     Format = "gateway"
	Python      Format = "python"
	Node        Format = "node"
	NodeRED     Format = "node-red"
	Mosquitto   Format = "mosquitto"
	Zip         Format = "zip"
	TarGz       Format = "tar.gz"
	QR          Format = "qr"
)

// table is all formats, in the order in which they are told.
func table() []kind { return slices.Concat(stores(), headers(), programs(), wholes()) }

// stores are keystores and plain certificates.
func stores() []kind {
	return []kind{
		{
			name: P12, about: "PKCS#12 with certificate and key, for Java 8u301, OpenSSL 1.1, Windows 2019 and later",
			files: []string{"keystore.p12"}, needsKey: true, carriesKey: true, password: true, render: (*page).p12,
		},
		{
			name: P12Legacy, about: "PKCS#12 with certificate and key, for older software",
			files: []string{"keystore-legacy.p12"}, needsKey: true, carriesKey: true, password: true, render: (*page).p12Legacy,
		},
		{
			name: Truststore, about: "PKCS#12 with the roots, for Java",
			files: []string{"truststore.p12"}, password: true, render: (*page).truststore,
		},
		{
			name: JKS, about: "Java's JKS: a truststore, and with a certificate a keystore",
			files: []string{"truststore.jks", "keystore.jks"}, carriesKey: true, password: true, render: (*page).jks,
		},
		{name: DER, about: "certificates and key in DER", files: derNames(), render: (*page).der},
	}
}

// headers are what is compiled into a microcontroller's program.
func headers() []kind {
	return []kind{
		{
			name: ESP32, about: "C header for ESP-IDF", carriesKey: true, small: true,
			files: []string{"tbcert_esp32.h"}, render: templated("device/esp32.h", "tbcert_esp32.h"),
		},
		{
			name: Arduino, about: "C++ header for Arduino on the ESP32", carriesKey: true, small: true,
			files: []string{"tbcert_arduino.h"}, render: templated("device/arduino.h", "tbcert_arduino.h"),
		},
		{
			name: ESP8266, about: "C++ header for Arduino on the ESP8266 (BearSSL)", carriesKey: true, small: true,
			files: []string{"tbcert_esp8266.h"}, render: templated("device/esp8266.h", "tbcert_esp8266.h"),
		},
		{
			name: MicroPython, about: "module for MicroPython", carriesKey: true, small: true,
			files: []string{"tbcert_device.py"}, render: templated("device/micropython.py", "tbcert_device.py"),
		},
		{
			name: Zephyr, about: "C header for Zephyr", carriesKey: true, small: true,
			files: []string{"tbcert_zephyr.h"}, render: templated("device/zephyr.h", "tbcert_zephyr.h"),
		},
	}
}

// programs are scripts, and settings of programs.
func programs() []kind {
	return []kind{
		{
			name: Gateway, about: "tb_gateway.json for the ThingsBoard IoT Gateway", carriesKey: true, beside: certificates,
			files: []string{"tb_gateway.json"}, render: settings("device/tb_gateway.json", "tb_gateway.json"),
		},
		{
			name: Python, about: "script with paho-mqtt", carriesKey: true, beside: everything,
			files: []string{"publish.py"}, render: script("device/publish.py", "publish.py"),
		},
		{
			name: Node, about: "script for Node.js with mqtt", carriesKey: true, beside: everything,
			files: []string{"publish.js"}, render: script("device/publish.js", "publish.js"),
		},
		{
			name: NodeRED, about: "flow for Node-RED", carriesKey: true,
			files: []string{"node-red.json"}, render: templated("device/node-red.json", "node-red.json"),
		},
		{
			name: Mosquitto, about: "bridge from a mosquitto of your own", carriesKey: true, beside: certificates,
			files: []string{"mosquitto-bridge.conf"}, render: bridge,
		},
	}
}

// wholes are the device as a whole.
func wholes() []kind {
	return []kind{
		{name: Zip, about: "the bundle as a zip file", files: []string{"bundle.zip"}, archive: true, render: (*page).zip},
		{name: TarGz, about: "the bundle as a tar.gz file", files: []string{"bundle.tar.gz"}, archive: true, render: (*page).tarGz},
		{name: QR, about: "label with the device's name and server, without a secret: PNG and SVG", files: []string{"label.png", "label.svg"}, render: (*page).label},
	}
}

// kind finds what is known of a format.
func (f Format) kind() kind {
	for _, known := range table() {
		if known.name == f {
			return known
		}
	}
	return kind{name: f, render: func(*page) ([]provision.File, error) { return nil, &UnfitError{f, "does not exist"} }}
}

// templated renders a template that holds the device's secret, if it has one to
// hold.
func templated(template, file string) func(*page) ([]provision.File, error) {
	return func(p *page) ([]provision.File, error) {
		data, err := p.options.Templates.Render(template, p)
		return []provision.File{{Name: file, Data: data, Secret: p.Secret}}, err
	}
}

// script renders a template that reads the device's secret from the bundle.
func script(template, file string) func(*page) ([]provision.File, error) {
	return func(p *page) ([]provision.File, error) {
		data, err := p.options.Templates.Render(template, p)
		return []provision.File{{Name: file, Data: data, Executable: true}}, err
	}
}

// settings renders the settings of a program. Those of a device with a
// certificate name its files, and hold no secret.
func settings(template, file string) func(*page) ([]provision.File, error) {
	return func(p *page) ([]provision.File, error) {
		named := *p
		named.Secret = p.device.Credential.Kind != provision.CredentialX509
		return templated(template, file)(&named)
	}
}

// bridge renders the settings of a bridge. mosquitto 2.0.11 resolves no IPv6
// address of a bridge, in brackets or without (measured).
func bridge(p *page) ([]provision.File, error) {
	if strings.Contains(p.Host, ":") {
		return nil, &UnfitError{Mosquitto, "names the server by a host name or an IPv4 address, as mosquitto takes no other for a bridge, and the site's host is " + p.Host}
	}
	return settings("device/mosquitto-bridge.conf", "mosquitto-bridge.conf")(p)
}

// everything is all files that a client needs.
func everything(f provision.Files) []string {
	return append(certificates(f), named(f.Token, f.ClientID, f.Username, f.Password)...)
}

// certificates are the files of a client that has its other credentials
// elsewhere.
func certificates(f provision.Files) []string { return named(f.Root, f.Certificate, f.Key) }

// named leaves out the files that are not there.
func named(names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}
