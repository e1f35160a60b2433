package verify_test

import (
	"context"
	"net"
	"net/netip"

	"github.com/tbcert/tbcert/thingsboard/device"
	"github.com/tbcert/tbcert/verify"
)

// passRows are servers that are right, or right enough.
func passRows() []row {
	return []row{
		{name: "mosquitto with TLS", want: "ppppppppps", target: func(w *world) verify.Target { return w.at(w.good) }},
		{name: "plain mosquitto", want: "ppssssspps", target: func(w *world) verify.Target { return w.plainAt(w.plain) }},
		{name: "by its name", want: "ppppppppps", resolve: everywhere, target: func(w *world) verify.Target {
			target := w.at(w.good)
			target.Host = "broker.test"
			return target
		}},
		{name: "the root sent along", want: "ppppppppps", target: func(w *world) verify.Target { return w.at(w.presents["root in chain"]) }},
		{name: "two roots trusted", want: "ppppppppps", target: func(w *world) verify.Target {
			target := w.at(w.good)
			target.Roots = w.roots(w.other, w.root)
			return target
		}},
		{name: "self-signed and pinned", want: "ppppppppps", resolve: everywhere, target: func(w *world) verify.Target {
			target := w.at(w.presents["self-signed"])
			target.Host, target.Roots = "broker.test", w.roots(w.pinned)
			return target
		}},
		{name: "a short life, two thirds to go", want: "ppppppppps", target: func(w *world) verify.Target { return w.at(w.presents["short, not yet"]) }},
		{name: "ends soon", want: "pppppwppps", diagnosis: verify.DatesEndsSoon, detail: "expires on … (in 10 days)", cause: "every device refuses", fix: "tbcert renew",
			target: func(w *world) verify.Target { return w.at(w.presents["ends soon"]) }},
		{name: "ends today", want: "pppppwppps", diagnosis: verify.DatesEndsSoon, detail: "(in less than a day)", cause: "every device refuses", fix: "tbcert renew",
			target: func(w *world) verify.Target { return w.at(w.presents["ends today"]) }},
		{name: "the second address answers", want: "ppppppppps", target: func(w *world) verify.Target {
			target := w.at(w.good)
			target.Host = "broker.test"
			return target
		}, resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}, nil
		}},
		{name: "user name and password", want: "ppppppppps", target: func(w *world) verify.Target {
			target := w.at(w.guarded)
			target.Login = login(theToken, thePassword)
			return target
		}},
		{name: "a client certificate that is asked for", want: "ppppppppps", target: func(w *world) verify.Target {
			target := w.at(w.demanding)
			target.ClientCertificate, target.Login = w.client.tls(), device.Login{}
			return target
		}},
		{name: "a client certificate and a token", want: "pppppppwps", target: func(w *world) verify.Target {
			target := w.at(w.demanding)
			target.ClientCertificate = w.client.tls()
			return target
		}, diagnosis: verify.ConnectTokenIgnored, detail: "the user name was not looked at", cause: "does not look at a token", fix: "Leave --token away"},
		{name: "a client certificate that nobody asks for", want: "ppwpppppps", diagnosis: verify.TLSCertificateNotAsked, detail: "was not asked for", cause: "ThingsBoard always asks", fix: "pass TCP through",
			target: func(w *world) verify.Target {
				target := w.at(w.good)
				target.ClientCertificate = w.client.tls()
				return target
			}},
		{name: "round trip", want: "pppppppppp", target: func(w *world) verify.Target {
			target := w.at(w.scripts["thingsboard"])
			target.RoundTrip = true
			return target
		}},
	}
}

// reachRows never come to speak.
func reachRows() []row {
	host := func(w *world) verify.Target {
		target := w.at(w.good)
		target.Host = "no-such-host.invalid"
		return target
	}
	return []row{
		{name: "unknown host, asked really", want: "Fsssssssss", target: host, patient: short,
			diagnosis: verify.DNSUnknownName, detail: "no address for no-such-host.invalid", cause: "DNS", fix: "getent hosts no-such-host.invalid"},
		{name: "unknown host", want: "Fsssssssss", target: host,
			resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
				return nil, &net.DNSError{Err: "no such host", Name: name, Server: "192.0.2.53:53", IsNotFound: true}
			},
			diagnosis: verify.DNSUnknownName, detail: "no address for no-such-host.invalid: no such host (asked 192.0.2.53:53)", cause: "No DNS record", fix: "/etc/hosts"},
		{name: "a host with no addresses", want: "Fsssssssss", target: host,
			resolve:   func(context.Context, string) ([]netip.Addr, error) { return nil, nil },
			diagnosis: verify.DNSUnknownName, detail: "gave no address", cause: "No DNS record", fix: "getent hosts"},
		{name: "a resolver that does not answer", want: "Fsssssssss", target: host, patient: short,
			resolve: func(ctx context.Context, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			diagnosis: verify.DNSNoAnswer, detail: "deadline exceeded", cause: "DNS server did not answer", fix: "/etc/resolv.conf"},
		{name: "a resolver that fails for now", want: "Fsssssssss", target: host,
			resolve: func(context.Context, string) ([]netip.Addr, error) {
				return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
			},
			diagnosis: verify.DNSNoAnswer, detail: "server misbehaving", cause: "DNS server did not answer", fix: "/etc/resolv.conf"},
		{name: "closed port", want: "pFssssssss", target: func(w *world) verify.Target { return w.at(w.closed) },
			diagnosis: verify.TCPRefused, detail: "127.0.0.1: … connection refused", cause: "no program listens … MQTT_SSL_ENABLED", fix: "ss -ltnp … systemctl status thingsboard … MQTT_SSL_ENABLED=true"},
		{name: "closed plain port", want: "pFssssssss", target: func(w *world) verify.Target { return w.plainAt(w.closed) },
			diagnosis: verify.TCPRefused, detail: "connection refused", cause: "MQTT_BIND_PORT", fix: "MQTT_BIND_PORT"},
		{name: "a firewall that drops", want: "pFssssssss", patient: short, target: func(w *world) verify.Target { return w.at(w.dropped) },
			diagnosis: verify.TCPSilent, detail: "no answer in 400ms", cause: "a firewall or a cloud security group drops port", fix: "ufw allow … nc -vz 127.0.0.1"},
		{name: "one address drops, the other refuses", want: "pFssssssss", patient: short, target: func(w *world) verify.Target {
			target := w.at(w.dropped)
			target.Host = "broker.test"
			return target
		}, resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}, nil
		}, diagnosis: verify.TCPRefused, detail: "127.0.0.9: … connection refused … 127.0.0.1: … no answer", cause: "no program listens", fix: "ss -ltnp"},
		{name: "a port above all ports", want: "pFssssssss", target: func(w *world) verify.Target { return w.at(w.good + 1<<16) },
			diagnosis: verify.TCPBadPort, detail: "is not a TCP port", cause: "1 to 65535", fix: "--port 8883"},
		{name: "no port", want: "pFssssssss", target: func(w *world) verify.Target { return w.plainAt(0) },
			diagnosis: verify.TCPBadPort, detail: "0 is not a TCP port", cause: "1 to 65535", fix: "--plain --port 1883"},
		{name: "no route", want: "pFssssssss", target: func(w *world) verify.Target {
			target := w.at(w.good)
			target.Host = "255.255.255.255"
			return target
		}, diagnosis: verify.TCPNoRoute, detail: "255.255.255.255", cause: "found no way", fix: "ip route get 255.255.255.255"},
	}
}

// handshakeRows come to no TLS.
func handshakeRows() []row {
	return []row{
		{name: "silent port", want: "ppFsssssss", patient: short, target: func(w *world) verify.Target { return w.at(w.silent) },
			diagnosis: verify.TLSSilent, detail: "sent nothing in 400ms", cause: "nobody on it answers to TLS", fix: "openssl s_client -connect 127.0.0.1:"},
		{name: "plain mosquitto on the TLS port", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.plain) },
			diagnosis: verify.TLSPlainMQTT, detail: "does not take TLS, and answers MQTT without it", cause: "without TLS … MQTT_SSL_ENABLED", fix: "MQTT_SSL_ENABLED=true … tbcert verify --plain"},
		{name: "plain MQTT on the TLS port", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["MQTT"]) },
			diagnosis: verify.TLSPlainMQTT, detail: "plain MQTT: first bytes 20 02 00 00", cause: "without TLS", fix: "MQTT_SSL_ENABLED=true"},
		{name: "HTTP on the TLS port", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["HTTP"]) },
			diagnosis: verify.TLSHTTP, detail: "plain HTTP: first bytes 48 54 54 50", cause: "web", fix: "--port 8883"},
		{name: "SSH on the TLS port", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["SSH"]) },
			diagnosis: verify.TLSOtherProtocol, detail: "SSH: first bytes 53 53 48", cause: "Another service", fix: "--port 8883 … ss -ltnp"},
		{name: "no TLS version in common", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.s["TLS 1.1"]) },
			diagnosis: verify.TLSVersion, detail: "protocol version", cause: "share no TLS version", fix: "TLS 1.2 or 1.3 … -tls1_2"},
		{name: "a server that chooses TLS 1.1", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["old ServerHello"]) },
			diagnosis: verify.TLSVersion, detail: "protocol version", cause: "share no TLS version", fix: "TLS 1.2 or 1.3"},
		{name: "no cipher in common", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.s["no cipher"]) },
			diagnosis: verify.TLSCipher, detail: "alert 40", cause: "cannot use its own certificate, or shares no cipher", fix: "mqttserver.pem"},
		{name: "a server that cannot use its key", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["alert"]) },
			diagnosis: verify.TLSKeyMismatch, detail: "alert 80", cause: "key that does not belong to its certificate", fix: "mqttserver.pem … restart thingsboard"},
		{name: "a key that is not the certificate's, TLS 1.2", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.scripts["other key, TLS 1.2"]) },
			diagnosis: verify.TLSKeyMismatch, detail: "CN=broker.test … sha256: … with another key", cause: "key does not belong to its certificate", fix: "MQTT_SSL_PEM_KEY … restart thingsboard"},
		{name: "a key that is not the certificate's, TLS 1.3", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.scripts["other key, TLS 1.3"]) },
			diagnosis: verify.TLSKeyMismatch, detail: "CN=broker.test … sha256: … with another key", cause: "key does not belong to its certificate", fix: "MQTT_SSL_PEM_KEY … restart thingsboard"},
		{name: "a client certificate is demanded, TLS 1.2", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.s["demands in 1.2"]) },
			diagnosis: verify.TLSCertificateRequired, detail: "alert 40", cause: "demands one and got none", fix: "tbcert inspect cert.pem"},
		{name: "a client certificate of another CA, TLS 1.2", want: "ppFsssssss", target: func(w *world) verify.Target {
			target := w.at(w.s["demands in 1.2"])
			target.ClientCertificate = w.stranger.tls()
			return target
		}, diagnosis: verify.TLSCertificateRefused, detail: "alert 48", cause: "its chain does not fit", fix: "tbcert inspect cert.pem"},
		{name: "a hello cut short", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["half a hello"]) },
			diagnosis: verify.TLSBroken, detail: "broke off", cause: "not what TLS 1.2 and 1.3 ask for", fix: "openssl s_client"},
		{name: "another alert", want: "ppFsssssss", target: func(w *world) verify.Target { return w.at(w.says["other"]) },
			diagnosis: verify.TLSBroken, detail: "alert 10", cause: "refused to go on", fix: "openssl s_client"},
	}
}
