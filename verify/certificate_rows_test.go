package verify_test

import (
	"crypto/x509"

	"github.com/tbcert/tbcert/verify"
)

// at the port that presents something.
func presenting(what string) func(*world) verify.Target {
	return func(w *world) verify.Target { return w.at(w.presents[what]) }
}

// trusting changes the trusted roots.
func trusting(what string, roots func(*world) []*x509.Certificate) func(*world) verify.Target {
	return func(w *world) verify.Target {
		target := w.at(w.presents[what])
		target.Roots = roots(w)
		return target
	}
}

// chainRows lead to no trusted root.
func chainRows() []row {
	return []row{
		{name: "wrong root", want: "pppFpppsss", target: presenting("other site"),
			diagnosis: verify.ChainOtherCA, detail: `"CN=Other CA", which is … not in ca-root.pem ("CN=Site Root CA" sha256:`, cause: "another CA", fix: "--cafile … mqttserver.pem"},
		{name: "wrong root that signs leaves itself", want: "pppFpppsss",
			target:    trusting("root in chain", func(w *world) []*x509.Certificate { return w.roots(w.flatOther) }),
			diagnosis: verify.ChainOtherCA, detail: `CN=Site Root CA … Flat Root CA`, cause: "another CA", fix: "--cafile"},
		{name: "leaf alone under a root that allows no CA below it", want: "pppFpppsss",
			target: func(w *world) verify.Target {
				target := w.at(w.s["leaf alone"])
				target.Roots = w.roots(w.flatOther)
				return target
			},
			diagnosis: verify.ChainOtherCA, detail: "CN=Site Server CA … Flat Root CA", cause: "another CA", fix: "--cafile"},
		{name: "self-signed and not trusted", want: "pppFpppsss", resolve: everywhere, target: func(w *world) verify.Target {
			target := w.at(w.presents["self-signed"])
			target.Host = "broker.test"
			return target
		}, diagnosis: verify.ChainSelfSigned, detail: "itself (sha256: … which is not in ca-root.pem", cause: "another CA", fix: "--cafile"},
		{name: "the system's roots", want: "pppFpppsss",
			target:    trusting("root in chain", func(*world) []*x509.Certificate { return nil }),
			diagnosis: verify.ChainOtherCA, detail: "CN=Site Root CA … public CAs", cause: "another CA", fix: "--cafile"},
		{name: "no roots at all", want: "pppFpppsss",
			target:    trusting("root in chain", func(*world) []*x509.Certificate { return []*x509.Certificate{} }),
			diagnosis: verify.ChainOtherCA, detail: "no certificate at all", cause: "another CA", fix: "--cafile"},
		{name: "a root made again under its name", want: "pppFpppsss",
			target:    trusting("root in chain", func(w *world) []*x509.Certificate { return w.roots(w.sameName) }),
			diagnosis: verify.ChainRootRemade, detail: "Site Root CA … has another key", cause: "made again under the same name", fix: "Compare fingerprints"},
		{name: "CA:FALSE root", want: "pppFpppsss",
			target:    trusting("false root", func(w *world) []*x509.Certificate { return w.roots(w.falseRoot) }),
			diagnosis: verify.ChainRootIsLeaf, detail: "False Root CA … is not a CA: its basic constraints do not say CA:TRUE", cause: "without the CA extensions", fix: "tbcert init --host 127.0.0.1"},
		{name: "missing intermediate", want: "pppFpppsss", target: func(w *world) verify.Target { return w.at(w.s["leaf alone"]) },
			diagnosis: verify.ChainMissingIntermediate, detail: "alone; it was signed by \"CN=Site Server CA\" (key … was not sent … sha256:", cause: "An intermediate certificate is missing … MQTT_SSL_PEM_CERT", fix: "cat server.pem intermediate.pem > mqttserver.pem"},
		{name: "path too long", want: "pppFpppsss", target: presenting("path too long"),
			diagnosis: verify.ChainRule, detail: "too many intermediates", cause: "path length", fix: "tbcert inspect 127.0.0.1:"},
		{name: "none of many roots", want: "pppFpppsss", target: trusting("other site", func(w *world) []*x509.Certificate {
			return w.roots(w.root, w.oldRoot, w.flatOther, w.fleetCA, w.falseRoot)
		}), diagnosis: verify.ChainOtherCA, detail: "CN=Other CA … Flat Root CA … and 2 more", cause: "another CA", fix: "--cafile"},
		{name: "a certificate that names nobody", want: "pppFFppsss", target: presenting("no names at all"),
			diagnosis: verify.ChainMissingIntermediate, detail: "a certificate without a subject (sha256:", cause: "intermediate certificate is missing", fix: "If \"CN=Other CA\" is a root itself"},
		{name: "everything wrong", want: "pppFFFFsss", target: presenting("everything wrong"),
			diagnosis: verify.ChainOtherCA, detail: "Flat Root CA", cause: "another CA", fix: "--cafile"},
	}
}

// certificateRows lead to the root, and are wrong in themselves.
func certificateRows() []row {
	return []row{
		{name: "wrong name", want: "ppppFppsss", resolve: everywhere, target: func(w *world) verify.Target {
			target := w.at(w.presents["wrong name"])
			target.Host = "broker.test"
			return target
		}, diagnosis: verify.NameMismatch, detail: "is for tb.example.com, mqtt.example.com, not for broker.test", cause: "other names", fix: "tbcert init --host broker.test … tbcert verify --host tb.example.com"},
		{name: "a wildcard for another domain", want: "ppppFppsss", resolve: everywhere, target: func(w *world) verify.Target {
			target := w.at(w.presents["wildcard"])
			target.Host = "broker.test"
			return target
		}, diagnosis: verify.NameMismatch, detail: "is for *.example.com, not for broker.test", cause: "other names", fix: "a name that the wildcard covers"},
		{name: "IP without IP SAN", want: "ppppFppsss", target: presenting("wrong name"),
			diagnosis: verify.NameIP, detail: "names no IP address, and 127.0.0.1 is one", cause: "DNS names only", fix: "tbcert verify --host tb.example.com … tbcert init --host 127.0.0.1"},
		{name: "a name in the CN alone", want: "ppppFppsss", target: presenting("CN only"),
			diagnosis: verify.NameCNOnly, detail: `(its CN is "broker.test")`, cause: "CN alone", fix: "tbcert init --host 127.0.0.1"},
		{name: "expired", want: "pppppFpsss", target: presenting("expired"),
			diagnosis: verify.DatesExpired, detail: "the server's certificate … expired on … (10 days ago)", cause: "past its end", fix: "tbcert renew … restart thingsboard"},
		{name: "not yet valid", want: "pppppFpsss", target: presenting("not yet"),
			diagnosis: verify.DatesNotYet, detail: "not valid before … (in 5 days); this machine's clock says", cause: "clocks", fix: "timedatectl"},
		{name: "expired root", want: "pppppFpsss",
			target:    trusting("old root", func(w *world) []*x509.Certificate { return w.roots(w.oldRoot) }),
			diagnosis: verify.DatesExpired, detail: "the root \"CN=Old Root CA\" expired on … (3 days ago)", cause: "past its end", fix: "new root CA … ca-root.pem … tbcert renew root"},
		{name: "expired issuing CA", want: "pppppFpsss", target: presenting("old issuing CA"),
			diagnosis: verify.DatesExpired, detail: "the issuing CA \"CN=Old Server CA\" expired on … (2 days ago)", cause: "past its end", fix: "issuing CA"},
		{name: "an old and a new issuing CA", want: "ppppppppps", target: presenting("old and new CA")},
		{name: "the issuing CA for servers expired, that for devices not", want: "pppppFpsss", target: presenting("two usages"),
			diagnosis: verify.DatesExpired, detail: "the issuing CA \"CN=Site Server CA\" expired", cause: "past its end", fix: "issuing CA"},
		{name: "clientAuth-only leaf", want: "ppppppFsss", target: func(w *world) verify.Target { return w.at(w.s["clientAuth only"]) },
			diagnosis: verify.UsageNotServer, detail: "is for clientAuth, not for a TLS server", cause: "a device's client certificate", fix: "tbcert init --host 127.0.0.1 … extendedKeyUsage=serverAuth"},
		{name: "signed by a CA for devices", want: "ppppppFsss", target: presenting("device CA"),
			diagnosis: verify.UsageCA, detail: "Device CA\", which is for clientAuth", cause: "a CA for devices", fix: "tbcert init"},
		{name: "expired today", want: "pppppFpsss", target: presenting("ended today"),
			diagnosis: verify.DatesExpired, detail: "expired on … (less than a day ago)", cause: "past its end", fix: "tbcert renew"},
		{name: "for many others", want: "ppppFppsss", resolve: everywhere, target: func(w *world) verify.Target {
			target := w.at(w.presents["many names"])
			target.Host = "broker.test"
			return target
		}, diagnosis: verify.NameMismatch, detail: "tb-11.example.com and 8 more, not for broker.test", cause: "other names", fix: "tbcert verify --host tb-0.example.com"},
		{name: "wrong name and expired", want: "ppppFFpsss", resolve: everywhere, target: presenting("name and date"),
			diagnosis: verify.NameIP, detail: "is for tb.example.com, not for 127.0.0.1", cause: "DNS names only", fix: "tbcert init"},
	}
}
