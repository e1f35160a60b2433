//! A device with rustls. It is called, and tells what happened, as ../c/device.h says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The step that failed, and why.
type Failure = (&'static str, String);

fn at<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> Failure {
    move |error| (step, error.to_string())
}

fn main() {
    println!("rustls {}", env!("RUSTLS_VERSION"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err((step, reason)) = run(&arguments) {
        println!("{step}: {reason}");
        std::process::exit(1);
    }
    println!("ok");
}

fn certificates(file: &str, step: &'static str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(at(step))
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let (host, port, root, credential) = (&arguments[0], &arguments[1], &arguments[2], &arguments[3..]);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(root, "root")? {
        roots.add(certificate).map_err(at("root"))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut token = String::new();
    let config = if let [chain, key] = credential {
        let key = PrivateKeyDer::from_pem_file(key).map_err(at("credential"))?;
        config
            .with_client_auth_cert(certificates(chain, "credential")?, key)
            .map_err(at("credential"))?
    } else {
        token = std::fs::read_to_string(&credential[0]).map_err(at("credential"))?.trim().to_owned();
        config.with_no_client_auth()
    };
    let name = ServerName::try_from(host.clone()).map_err(at("tls"))?;
    let socket = TcpStream::connect((host.as_str(), port.parse().map_err(at("tcp"))?)).map_err(at("tcp"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10))).map_err(at("tcp"))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(at("tls"))?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(at("tls"))?;
    }
    mqtt(&mut stream, &token)
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u16).to_be_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}

fn mqtt(stream: &mut (impl Read + Write), token: &str) -> Result<(), Failure> {
    let mut connect = text("MQTT");
    connect.extend([4, if token.is_empty() { 0x02 } else { 0x82 }, 0, 60]);
    connect.extend(text(""));
    if !token.is_empty() {
        connect.extend(text(token));
    }
    exchange(stream, 0x10, &connect, [0x20, 2, 0, 0]).map_err(at("connect"))?;
    let mut publish = text("v1/devices/me/telemetry");
    publish.extend([0, 1]);
    publish.extend(br#"{"temperature":25}"#);
    exchange(stream, 0x32, &publish, [0x40, 2, 0, 1]).map_err(at("publish"))?;
    let _ = stream.write_all(&[0xe0, 0]);
    Ok(())
}

fn exchange(stream: &mut (impl Read + Write), kind: u8, body: &[u8], wanted: [u8; 4]) -> std::io::Result<()> {
    let mut packet = vec![kind, body.len() as u8];
    packet.extend(body);
    stream.write_all(&packet)?;
    stream.flush()?;
    let mut got = [0; 4];
    stream.read_exact(&mut got)?;
    if got == wanted {
        return Ok(());
    }
    Err(std::io::Error::other(format!("the answer is {got:02x?}")))
}
