package verify_test

import (
	"crypto/x509"
	"fmt"
)

// blindPassing is a server of nginx stream before a port.
func blindPassing(options string, upstream int) string {
	return fmt.Sprintf("server { listen LISTEN %s; CERTIFICATE proxy_pass 127.0.0.1:%d; }", options, upstream)
}

// blindNothing is an nginx that answers every call, as ThingsBoard's web server
// would: with the date, among other things.
const blindNothing = "server { listen LISTEN; return 404; }"

// blindCN changes the CN, by which haproxy chooses, too.
func blindCN(name string) edit { return func(c *x509.Certificate) { c.Subject.CommonName = name } }

// blindCertificateRows have a certificate of the right root that is wrong.
func blindCertificateRows() []blindRow {
	return append(blindNameRows(), []blindRow{
		{"Nobody renewed the server's certificate", "mosquitto", "dates-expired",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, lives(-400*day, -3*day))))
			}},
		{"The issuing CA has expired; the server's certificate has not", "stunnel", "dates-expired",
			func(w *blindWorld) blindHost {
				old := w.root.issuing(w.t, "Site Server CA 2024", lives(-700*day, -3*day))
				world := *w
				world.good = old.leaf(w.t)
				return w.host(world.stunnel(w.mosquitto(nil)))
			}},
		{"The certificate was made on a machine whose clock is days ahead", "mosquitto; nginx http on 8080 has the right time", "dates-not-yet",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, lives(5*day, 400*day))), blindAlso(8080, w.nginx("http", blindNothing, nil)))
			}},
		{"The verifying machine has no clock of its own and thinks it is years ago", "sandbox; the verifier's clock is set back", "dates-clock",
			func(w *blindWorld) blindHost {
				return w.thingsboard(w.sandbox(""), blindClock(-6*365*day))
			}},
		{"The verifying machine's clock is two years ahead", "mosquitto, and nginx http on 8080; the verifier's clock is set on", "dates-clock",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.good), blindAlso(8080, w.nginx("http", blindNothing, nil)), blindClock(2*365*day))
			}},
		{"All is well, and the server's certificate ends in five days", "sandbox", "dates-ends-soon",
			func(w *blindWorld) blindHost {
				world := *w
				world.good = w.issuing.leaf(w.t, lives(-392*day, 5*day))
				return w.thingsboard(world.sandbox(""))
			}},
		{"The server has a device's kind of certificate (clientAuth)", "mosquitto", "usage-not-server",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, usage(x509.ExtKeyUsageClientAuth))))
			}},
		{"The server's certificate was issued by the site's CA for devices, which may issue clientAuth alone", "nginx stream", "usage-ca",
			func(w *blindWorld) blindHost {
				leaf := w.root.issuing(w.t, "Site Device CA", usage(x509.ExtKeyUsageClientAuth)).leaf(w.t)
				return w.host(w.nginx("stream", blindPassing("ssl", w.mosquitto(nil)), leaf))
			}},
	}...)
}

// blindNameRows have a certificate for something else.
func blindNameRows() []blindRow {
	return []blindRow{
		{"The certificate is for the web interface's name, not for the one that devices use", "haproxy", "name-mismatch",
			func(w *blindWorld) blindHost {
				return w.host(w.haproxy(w.mosquitto(nil), w.issuing.leaf(w.t, names("tb.example.com")), "ssl crt PEM"))
			}},
		{"A wildcard certificate, and a host two labels below it", "mosquitto", "name-mismatch",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, names("*.broker.test"))), blindNamed("mqtt.eu.broker.test"))
			}},
		{"Devices connect by IP address, and the certificate has names alone", "mosquitto", "name-ip",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, names("broker.test"))), blindNamed("127.0.0.1"))
			}},
		{"The IP address stands in the certificate as a DNS name", "mosquitto", "name-ip",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, names("127.0.0.1"))), blindNamed("127.0.0.1"))
			}},
		{"The certificate has the right name as its CN, and no subject alternative names", "mosquitto", "name-cn-only",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.issuing.leaf(w.t, names())))
			}},
		{"A router by SNI sends this name to the wrong server; without SNI comes the right one", "nginx stream (ssl_preread) before two mosquittos", "name-sni",
			func(w *blindWorld) blindHost {
				right, wrong := w.mosquitto(w.good), w.mosquitto(w.issuing.leaf(w.t, names("old.example.com")))
				return w.host(w.nginx("stream", fmt.Sprintf(
					"map $ssl_preread_server_name $to { broker.test 127.0.0.1:%d; default 127.0.0.1:%d; } server { listen LISTEN; ssl_preread on; proxy_pass $to; }", wrong, right), nil))
			}},
	}
}
