//! Tells the device which rustls Cargo.lock has: the library does not say it itself.

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").expect("Cargo.lock");
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"rustls\"\n"))
        .and_then(|package| package.split("version = \"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .expect("rustls in Cargo.lock");
    println!("cargo:rustc-env=RUSTLS_VERSION={version}");
}
