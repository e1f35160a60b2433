package verify_test

import (
	"crypto/x509"
	"net"
	"syscall"
)

// blindReachRows do not get as far as TLS.
func blindReachRows() []blindRow {
	return []blindRow{
		{"The host name has a typing error", "dnsmasq, which says NXDOMAIN", "dns-unknown-name",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.good), blindNamed("mqqt.site.test"), blindAsks(w.dnsmasq()))
			}},
		{"The name server is down and answers nothing", "Go's resolver; the name server is a UDP socket that nobody reads", "dns-no-answer",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.good), blindNamed("mqtt.site.test"), blindAsks(blindMute(w.t)), blindPatient(blindShort))
			}},
		{"The name server refuses the question: it has no upstream server for this domain", "dnsmasq, which says REFUSED", "dns-no-answer",
			func(w *blindWorld) blindHost {
				return w.host(w.mosquitto(w.good), blindNamed("tb.example.com"), blindAsks(w.dnsmasq()))
			}},
		{"The name has an AAAA record alone, and the machine has no IPv6 route", "dnsmasq; the dialer gives the error of connect(2), ENETUNREACH", "tcp-ipv6-only",
			func(w *blindWorld) blindHost {
				h := w.host(w.mosquitto(w.good), blindNamed("six.site.test"), blindAsks(w.dnsmasq()))
				h.fails = syscall.ENETUNREACH
				return h
			}},
		{"ThingsBoard runs with MQTT on 1883, and MQTTS was never switched on", "sandbox without its TLS port", "tcp-refused",
			func(w *blindWorld) blindHost {
				h := w.thingsboard(w.sandbox(""))
				delete(h.ports, 8883)
				return h
			}},
		{"A firewall drops packets to port 8883", "the kernel: a listener with a full queue answers no SYN", "tcp-silent",
			func(w *blindWorld) blindHost { return w.host(dropping(w.t), blindPatient(blindShort)) }},
		{"A firewall rejects port 8883 with ICMP (firewalld's way)", "the dialer gives the error of connect(2), EHOSTUNREACH", "tcp-no-route",
			func(w *blindWorld) blindHost {
				h := w.host(w.mosquitto(w.good))
				h.fails = syscall.EHOSTUNREACH
				return h
			}},
		{"A middlebox lets TCP through and resets the connection once TLS begins", "toxiproxy (reset_peer) before mosquitto", "tcp-reset",
			func(w *blindWorld) blindHost {
				return w.host(w.toxic(w.mosquitto(w.good), `{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`))
			}},
	}
}

// blindHandshakeRows have something other than a certificate wrong with TLS.
func blindHandshakeRows() []blindRow {
	return append(blindNoTLSRows(), []blindRow{
		{"The server has TLS 1.1 alone", "nginx stream (ssl_protocols TLSv1.1)", "tls-version",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("stream", "server { listen LISTEN ssl; CERTIFICATE ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0; proxy_pass 127.0.0.1:1; }", w.good))
			}},
		{"The list of ciphers is for RSA, and the certificate has an EC key", "stunnel", "tls-cipher",
			func(w *blindWorld) blindHost {
				return w.host(w.stunnel(w.mosquitto(nil), "sslVersion = TLSv1.2", "ciphers = ECDHE-RSA-AES256-GCM-SHA384"))
			}},
		{"The certificate was renewed and the old key left in place", "a Go TLS server; ThingsBoard loads such a pair, openssl does not", "tls-key-mismatch",
			func(w *blindWorld) blindHost {
				mixed := *w.good
				mixed.key = w.issuing.leaf(w.t).key
				world := *w
				world.good = &mixed
				return w.host(world.scripted(script{connack: "\x20\x02\x00\x00"}))
			}},
		{"A load balancer with TLS 1.2 demands a client certificate, and the device has a token alone", "haproxy (verify required)", "tls-certificate-required",
			func(w *blindWorld) blindHost {
				fleet, _ := w.fleet.files(w.t)
				return w.host(w.haproxy(w.mosquitto(nil), w.good, "ssl crt PEM ca-file "+fleet+" verify required ssl-max-ver TLSv1.2"))
			}},
		{"The proxy knows other names, and refuses this one", "haproxy (strict-sni)", "tls-unrecognized-name",
			func(w *blindWorld) blindHost {
				return w.host(w.haproxy(w.mosquitto(nil), w.issuing.leaf(w.t, names("tb.example.com"), blindCN("tb.example.com")), "ssl crt PEM strict-sni"))
			}},
		{"The link breaks in the middle of the handshake", "toxiproxy (limit_data) before mosquitto", "tls-broken",
			func(w *blindWorld) blindHost {
				return w.host(w.toxic(w.mosquitto(w.good), `{"type":"limit_data","stream":"downstream","attributes":{"bytes":500}}`))
			}},
		{"Each renewal appended the CA to the certificate file once more, a thousand times by now", "mosquitto", "tls-too-much",
			func(w *blindWorld) blindHost {
				long := &pair{cert: w.good.cert, key: w.good.key}
				for range 1000 {
					long.with = append(long.with, w.issuing.cert)
				}
				return w.host(w.mosquitto(long))
			}},
	}...)
}

// blindNoTLSRows do not find TLS where it should be.
func blindNoTLSRows() []blindRow {
	return []blindRow{
		{"The server hangs: the port takes connections and says nothing", "mosquitto, stopped by SIGSTOP", "tls-silent",
			func(w *blindWorld) blindHost {
				return w.host(w.frozen(w.good), blindPatient(blindShort))
			}},
		{"A broker without TLS listens on 8883", "mosquitto with no certificate", "tls-plain-mqtt",
			func(w *blindWorld) blindHost { return w.host(w.mosquitto(nil)) }},
		{"Docker publishes 8883 to ThingsBoard's plain port 1883", "sandbox, its plain port", "tls-plain-mqtt",
			func(w *blindWorld) blindHost {
				h := w.thingsboard(w.sandbox(""))
				h.ports[8883] = h.ports[1883]
				return h
			}},
		{"Port 8883 leads to a web server without TLS", "nginx http", "tls-http",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("http", "server { listen LISTEN; return 200; }", nil))
			}},
		{"The router forwards 8883 to the machine's SSH", "dropbear", "tls-other-protocol",
			func(w *blindWorld) blindHost { return w.host(w.dropbear()) }},
		{"The proxy wants a PROXY header, and the device comes straight to it", "nginx stream (proxy_protocol)", "tls-proxy-protocol",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("stream", blindPassing("ssl proxy_protocol", portOf(w.sandbox("").MQTTAddr())), w.good))
			}},
		{"A load balancer in front was removed, and the one behind still wants its PROXY header", "haproxy (accept-proxy)", "tls-proxy-protocol",
			func(w *blindWorld) blindHost {
				return w.host(w.haproxy(portOf(w.sandbox("").MQTTAddr()), w.good, "accept-proxy ssl crt PEM"))
			}},
		{"A filter reads the ClientHello and closes, with no alert", "haproxy (tcp-request content reject)", "tls-closed",
			func(w *blindWorld) blindHost {
				return w.host(w.haproxy(w.mosquitto(w.good), nil, "", "tcp-request inspect-delay 5s", "tcp-request content reject if { req.ssl_hello_type 1 }"))
			}},
		{"The device's address is on the server's deny list: closed as soon as it is accepted", "nginx stream (deny all)", "tls-address-blocked",
			func(w *blindWorld) blindHost {
				return w.host(w.nginx("stream", "server { listen LISTEN ssl; CERTIFICATE deny all; proxy_pass 127.0.0.1:1; }", w.good))
			}},
		{"ThingsBoard blocks the address after ten wrong tokens", "a Go listener that closes what it accepts; the sandbox has no such limit", "tls-address-blocked",
			func(w *blindWorld) blindHost {
				return w.host(listener(w.t, func(net.Conn) {}))
			}},
	}
}

// blindChainRows have a chain that does not lead to what the device trusts.
func blindChainRows() []blindRow {
	presents := func(p *pair, edits ...func(*blindHost)) func(*blindWorld) blindHost {
		return func(w *blindWorld) blindHost { return w.host(w.mosquitto(p), edits...) }
	}
	return []blindRow{
		{"The certificate file holds the server's certificate without its issuing CA", "mosquitto", "chain-missing-intermediate",
			func(w *blindWorld) blindHost { return presents(w.good.alone())(w) }},
		{"The device has the root of another site", "mosquitto", "chain-other-ca",
			func(w *blindWorld) blindHost {
				return presents(w.good, blindTrusts(w.other.cert))(w)
			}},
		{"The root was made anew with the same name, and the device has the old one", "nginx stream", "chain-root-remade",
			func(w *blindWorld) blindHost {
				leaf := w.remade.issuing(w.t, "Site Server CA").leaf(w.t)
				return w.host(w.nginx("stream", blindPassing("ssl", w.mosquitto(nil)), leaf))
			}},
		{"The device's ca-root.pem holds the server's certificate of before the renewal", "mosquitto", "chain-root-is-leaf",
			func(w *blindWorld) blindHost {
				return presents(w.good, blindTrusts(w.issuing.leaf(w.t, lives(-90*day, 10*day)).cert))(w)
			}},
		{"The device's ca-root.pem holds the server's present certificate, which openssl takes for no root", "mosquitto", "chain-root-is-leaf",
			func(w *blindWorld) blindHost {
				return presents(w.good, blindTrusts(w.good.cert))(w)
			}},
		{"The server has the self-signed certificate of ThingsBoard's key script, and the device the site's root", "mosquitto", "chain-self-signed",
			func(w *blindWorld) blindHost { return presents(sign(w.t, selfSigned(), nil))(w) }},
		{"A container without the package ca-certificates verifies with the system's roots", "mosquitto, and a process with an empty SSL_CERT_FILE", "chain-no-roots",
			func(w *blindWorld) blindHost {
				h := presents(w.good)(w)
				h.apart = true
				return h
			}},
		{"The issuing CA stands under a CA that may have none under it", "mosquitto", "chain-rule",
			func(w *blindWorld) blindHost {
				return presents(w.root.issuing(w.t, "Middle CA").issuing(w.t, "Low CA").leaf(w.t))(w)
			}},
		{"The company's CA is constrained to names under corp.example", "haproxy", "chain-rule",
			func(w *blindWorld) blindHost {
				constrained := w.root.issuing(w.t, "Corp CA", func(c *x509.Certificate) {
					c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"corp.example"}
				})
				return w.host(w.haproxy(w.mosquitto(nil), constrained.leaf(w.t, names("broker.test")), "ssl crt PEM"))
			}},
	}
}
