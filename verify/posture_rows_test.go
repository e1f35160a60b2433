package verify_test

import (
	"slices"
	"time"

	"github.com/tbcert/tbcert/verify"
)

// loginRows are about who is let in.
func loginRows() []postureRow {
	return []postureRow{
		{at: "strict", want: "pppppppp", about: verify.CheckWrongToken, detail: "a random token is refused: CONNACK 5"},
		{at: "strict", want: "pppppppp", about: verify.CheckNoUser, detail: "without a user name is refused: CONNACK 5"},
		{at: "sandbox", want: "pppwpppp", about: verify.CheckNoUser, detail: "refused: CONNACK 2: neither a user name nor a password"},
		{at: "sandbox", want: "pppwpppp", about: verify.CheckWrongToken, detail: "refused: CONNACK 5: no device has this credential"},
		{at: "open", want: "FFpppppp", about: verify.CheckWrongToken, detail: "a random token of 20 characters was accepted", cause: "lets anybody in", fix: "ss -ltnp sport = : … MQTT_SSL_BIND_PORT … allow_anonymous false"},
		{at: "open", want: "FFpppppp", about: verify.CheckNoUser, detail: "without a user name was accepted", cause: "anonymous access … it answers 2", fix: "allow_anonymous false"},
		{at: "demanding", want: "pppppppp", edit: shown, about: verify.CheckWrongToken, detail: "demands a client certificate (alert 116"},
		{at: "demanding in TLS 1.2", want: "pppppppp", edit: shown, about: verify.CheckNoUser, detail: "demands a client certificate (alert 40"},
		{at: "closes", want: "wwpppppp", about: verify.CheckWrongToken, detail: "not known, because of", cause: "10 wrong credentials", fix: "Wait a minute"},
		{at: "gone", want: "wwwwpppp", about: verify.CheckWrongToken, detail: "connection refused", cause: "no answer that tells", fix: "Wait a minute"},
		{at: "out of order", want: "wwpppppp", about: verify.CheckNoUser, detail: "not known, because of … 3", cause: "got no answer that tells", fix: "journalctl -u thingsboard"},
	}
}

// shown is a target that has a client certificate.
func shown(w *postures, target *verify.Target) { target.ClientCertificate = w.client.tls() }

// tlsRows are about what is spoken.
func tlsRows() []postureRow {
	return []postureRow{
		{at: "strict", want: "pppppppp", about: verify.CheckOldTLS, detail: "TLS 1.0 and TLS 1.1 are refused"},
		{at: "old TLS", want: "wwFwpppp", patient: 4 * short, about: verify.CheckOldTLS, detail: "takes TLS 1.0 and TLS 1.1", cause: "RFC 8996 … MQTT_SSL_PROTOCOL … jdk.tls.disabledAlgorithms", fix: "TLSv1, TLSv1.1 … java.security … restart thingsboard"},
		{at: "old TLS, demanding", want: "ppFwpppp", edit: shown, about: verify.CheckOldTLS, detail: "takes TLS 1.0 and TLS 1.1", cause: "RFC 8996", fix: "java.security"},
		{at: "TLS 1.1", want: "ppFwpppp", about: verify.CheckOldTLS, detail: "takes TLS 1.1", cause: "RFC 8996", fix: "ssl-min-ver TLSv1.2"},
		{at: "mute", want: "ppwwpppp", patient: short, about: verify.CheckOldTLS, detail: "not known, because of no answer in 400ms", cause: "ended or ignored", fix: "--timeout"},
		{at: "strict", want: "pppppppp", about: verify.CheckCiphers, detail: "all 1 … weak cipher suites of TLS 1.2 that were offered are refused"},
		{at: "TLS 1.3 alone", want: "pppppppp", about: verify.CheckCiphers, detail: "refused"},
		{at: "as mosquitto comes", want: "pppwpppp", about: verify.CheckCiphers, detail: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA … TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", cause: "RFC 9325", fix: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA … jdk.tls.disabledAlgorithms"},
		{at: "RSA 2048", want: "pppwpppp", about: verify.CheckCiphers, detail: "TLS_RSA_WITH_AES_128_GCM_SHA256", cause: "no forward secrecy", fix: "TLS_RSA_WITH_AES_128_GCM_SHA256"},
		{at: "mute", want: "ppwwpppp", patient: short, about: verify.CheckCiphers, detail: "not known", cause: "ended or ignored", fix: "--timeout"},
		{at: "broken suites", want: "pppFpppp", about: verify.CheckCiphers, detail: "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", cause: "TLS_RSA_WITH_RC4_128_SHA … RFC 7465 … java.security was changed", fix: "jdk.tls.disabledAlgorithms"},
	}
}

// plainRows are about the port without TLS.
func plainRows() []postureRow {
	return []postureRow{
		{at: "strict", want: "pppppppp", about: verify.CheckPlainPort, detail: "is closed (127.0.0.1: … connection refused)"},
		{at: "strict", plain: "dropped", want: "pppppppp", patient: short, about: verify.CheckPlainPort, detail: "is closed (127.0.0.1: … no answer in 400ms)"},
		{at: "strict", plain: "strict", want: "pppppppp", about: verify.CheckPlainPort, detail: "is the one that speaks TLS"},
		{at: "strict", plain: "HTTP", want: "pppppppp", about: verify.CheckPlainPort, detail: "does not speak plain MQTT"},
		{at: "strict", plain: "plain", want: "ppppwppp", about: verify.CheckPlainPort, detail: "speaks plain MQTT (CONNACK 5)", cause: "sends its token in clear", fix: "export MQTT_BIND_ADDRESS=127.0.0.1 … MQTT_ENABLED=false would switch MQTT over TLS off too … ufw deny … tbcert rotate"},
		{at: "sandbox", plain: "sandbox, plain", want: "pppwwppp", about: verify.CheckPlainPort, detail: "speaks plain MQTT (CONNACK 2)", cause: "in clear", fix: "MQTT_BIND_ADDRESS"},
		{at: "strict", plain: "silent", want: "ppppwppp", patient: short, about: verify.CheckPlainPort, detail: "no CONNACK (no answer in 400ms)", cause: "in clear", fix: "MQTT_BIND_ADDRESS"},
		{at: "strict", plain: "plain and open", want: "ppppFppp", about: verify.CheckPlainPort, detail: "lets anybody in without a user name", cause: "anonymous access without TLS", fix: "MQTT_BIND_ADDRESS"},
		{at: "strict", options: verify.PostureOptions{PlainPort: 70000}, want: "ppppwppp", about: verify.CheckPlainPort, detail: "70000, which is not a TCP port", cause: "no answer", fix: "Wait"},
	}
}

// certRows are about the certificates.
func certRows() []postureRow {
	return []postureRow{
		{at: "strict", want: "pppppppp", about: verify.CheckStrength, detail: "P-256: keys and signatures are strong"},
		{at: "root in chain", want: "pppppppp", about: verify.CheckStrength, detail: `the root "CN=Site Root CA" is sent along, which no device needs`},
		{at: "RSA 2048", want: "pppwpppp", about: verify.CheckStrength, detail: "RSA 2048 and P-256"},
		{at: "RSA 1024", want: "pppppFpp", about: verify.CheckStrength, detail: "RSA key of 1024 bits, fewer than 2048", cause: "can be broken", fix: "tbcert init --host 127.0.0.1 … MQTT_SSL_PEM_CERT"},
		{at: "P-224 CA", want: "pppppFpp", about: verify.CheckStrength, detail: `the issuing CA "CN=Weak Server CA" has an EC key of 224 bits`, cause: "can be broken", fix: "ca-root.pem"},
		{at: "SHA-1", want: "pppppFpp", about: verify.CheckStrength, detail: "is signed with ECDSA-SHA1", cause: "can be broken", fix: "tbcert init"},
		{at: "counted", want: "pppppwpp", about: verify.CheckStrength, detail: "a serial number of 13 bits", cause: "64 random bits", fix: "128 bits"},
		{at: "long-lived", want: "pppppwpp", about: verify.CheckStrength, detail: "is made for 901 days, more than 825", cause: "Apple", fix: "397 days"},
		{at: "strict", want: "pppppppp", about: verify.CheckLifetime, detail: `the server's certificate "CN=broker.test": 365 days left … the issuing CA … the root "CN=Site Root CA": 365 days left`},
		{at: "short-lived", want: "pppppppp", about: verify.CheckLifetime, detail: "5 days left"},
		{at: "20 days left", want: "ppppppwp", about: verify.CheckLifetime, detail: "expires on … (in 20 days)", cause: "every device refuses", fix: "tbcert renew"},
		{at: "20 days left", options: verify.PostureOptions{MinDays: 15}, want: "pppppppp", about: verify.CheckLifetime, detail: "20 days left"},
		{at: "strict", options: verify.PostureOptions{MinDays: 500}, want: "ppppppwp", about: verify.CheckLifetime, detail: "the server's certificate … (in 365 days)", cause: "every device refuses", fix: "tbcert renew"},
		{at: "3 days left", want: "ppppppFp", about: verify.CheckLifetime, detail: "expires on … (in 3 days)", cause: "every device refuses", fix: "tbcert renew … restart thingsboard"},
		{at: "short-lived, over", want: "ppppppFp", about: verify.CheckLifetime, detail: "expires on … (in less than a day)", cause: "every device refuses", fix: "tbcert renew"},
		{at: "old issuing CA", want: "ppppppFp", about: verify.CheckLifetime, detail: `the issuing CA "CN=Old Server CA" expires on … (in 5 days)`, cause: "every device refuses", fix: "issuing CA again"},
		{at: "ending issuing CA", want: "ppppppwp", about: verify.CheckLifetime, detail: `the issuing CA "CN=Ending Server CA" expires on`, cause: "every device refuses", fix: "issuing CA again"},
	}
}

// revocationRows are about what the CA took back.
func revocationRows() []postureRow {
	rows := []postureRow{
		{at: "strict", want: "pppppppp", detail: "no certificate names an OCSP responder or a CRL"},
	}
	for at, detail := range map[string]string{
		"OCSP good": "OCSP http://127.0.0.1: … not revoked", "OCSP second address": "not revoked",
		"OCSP and CRL": "OCSP http … not revoked … CRL http … not revoked", "CRL good": "/good.crl: not revoked", "CRL in PEM": "not revoked",
		"CRL redirected": "/redirect.crl: not revoked", "CRL partitioned": "/users.crl: not revoked",
	} {
		rows = append(rows, postureRow{at: at, want: "pppppppp", detail: detail})
	}
	for at, detail := range map[string]string{
		"OCSP revoked": "OCSP http … revoked on … (keyCompromise)", "CRL revoked": "CRL http … revoked on … (keyCompromise)", "CRL revoked, old list": "revoked on",
	} {
		rows = append(rows, postureRow{at: at, want: "pppppppF", detail: detail, cause: "took the certificate back", fix: "MQTT_SSL_PEM_CERT … restart thingsboard"})
	}
	for at, detail := range map[string]string{
		"OCSP unknown": "does not know the certificate", "OCSP impostor": "which is no OCSP responder", "OCSP closed": "connection refused",
		"OCSP good, CRL gone": "HTTP status 404 … not revoked", "CRL gone": "HTTP status 404", "CRL stale": "good until", "CRL of the future": "of the future",
		"CRL too large": "more than 1048576 bytes", "CRL of another key": "is not signed by", "CRL of another CA": "Stranger CA", "CRL in a circle": "too many redirects",
		"CRL no list": "not a certificate revocation list", "CRL of another partition": "of other certificates", "CRL of CAs": "of other certificates",
		"CRL indirect": "indirect", "CRL critical": "2.5.29.99", "CRL damaged scope": "damaged issuingDistributionPoint", "CRL silent": "no answer in",
	} {
		row := postureRow{at: at, want: "pppppppw", detail: detail, cause: "no answer that proves anything", fix: "curl"}
		if at == "CRL silent" {
			row.patient = short
		}
		rows = append(rows, row)
	}
	// openssl s_server answers to no CONNECT.
	rows = append(rows,
		postureRow{at: "stapled good", want: "wwpppppp", patient: 4 * short, detail: "OCSP stapled: not revoked"},
		postureRow{at: "stapled revoked", want: "wwpppppF", patient: 4 * short, detail: "OCSP stapled: revoked on", cause: "took the certificate back", fix: "MQTT_SSL_PEM_CERT"},
		postureRow{at: "stapled undated", want: "pppppppp", later: time.Hour, detail: "OCSP stapled: not revoked"},
		postureRow{at: "stapled undated, old", want: "pppppppw", later: 2 * day, detail: "an old answer", cause: "out of date", fix: "curl"},
		postureRow{at: "stapled old", want: "pppppppw", later: time.Hour, detail: "good until", cause: "out of date", fix: "curl"},
		postureRow{at: "stapled old, fetched", want: "pppppppp", later: time.Hour, detail: "OCSP http … not revoked"},
		postureRow{at: "stapled bare", want: "pppppppp", detail: "OCSP stapled: not revoked"},
		postureRow{at: "stapled bare, other key", want: "pppppppw", detail: `not signed by "CN=Site Server CA"`, cause: "not signed by the CA", fix: "curl"},
		postureRow{at: "stapled other key", want: "pppppppw", detail: "which is no OCSP responder of", cause: "not signed by the CA", fix: "curl"},
		postureRow{at: "stapled old responder", want: "pppppppw", detail: "which is out of date", cause: "out of date", fix: "curl"},
		postureRow{at: "stapled damaged", want: "pppppppw", detail: "OCSP stapled: ", cause: "no answer that proves anything", fix: "curl"},
		postureRow{at: "stapled impostor", want: "pppppppw", detail: "which is no OCSP responder", cause: "not signed by the CA", fix: "curl"},
	)
	for i := range rows {
		rows[i].about = verify.CheckRevocation
	}
	slices.SortFunc(rows, func(a, b postureRow) int { return slices.Compare([]byte(a.at), []byte(b.at)) })
	return rows
}
