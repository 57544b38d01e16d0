//! TLS as another implementation than ours sees it: versions, sessions, names and protocols by `openssl s_client`.
//!
//! Not here: what is said inside, and what a bad certificate does at the start (`u_certificates`).

use crate::harness::{Backend, Proxy, Ronde, needs, openssl, ronde_only, scratch_directory, tls};
use std::fs;
use std::path::Path;

/// Skips a test when the program under test is another, or was built without TLS; or when there is no openssl.
macro_rules! openssl_only {
    () => {
        ronde_only!();
        if cfg!(not(feature = "tls")) {
            println!("skipped: this build has no TLS");
            return;
        }
        needs!(Openssl);
    };
}

fn setup() -> (Backend, Proxy) {
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("", &[backend.address]);
    (backend, proxy)
}

#[test]
fn openssl_speaks_the_versions_of_today_and_no_older_one() {
    openssl_only!();
    let (_backend, proxy) = setup();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let told = openssl(proxy.with_tls[0], &[flag]);
        assert!(told.contains(&format!("New, {version}, Cipher is ")), "{told}");
        assert!(told.contains("HTTP/1.1 200 OK"), "{told}");
    }
    for flag in ["-tls1", "-tls1_1"] {
        // At its usual level OpenSSL would refuse them by itself.
        let told = openssl(proxy.with_tls[0], &[flag, "-cipher", "DEFAULT@SECLEVEL=0"]);
        assert!(
            told.contains("New, (NONE), Cipher is (NONE)") && told.contains("SSL alert number"),
            "{told}"
        );
        assert!(!told.contains("HTTP/1.1"), "{told}");
    }
}

#[test]
fn openssl_resumes_its_session_in_both_versions() {
    openssl_only!();
    let (_backend, proxy) = setup();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let file = scratch_directory().join("session");
        let file = file.to_str().expect("a path");
        let first = openssl(proxy.with_tls[0], &[flag, "-sess_out", file]);
        assert!(first.contains(&format!("New, {version}, Cipher is ")), "{first}");
        let second = openssl(proxy.with_tls[0], &[flag, "-sess_in", file]);
        assert!(second.contains(&format!("Reused, {version}, Cipher is ")), "{second}");
        assert!(second.contains("HTTP/1.1 200 OK"), "{second}");
    }
}

#[test]
fn openssl_agrees_on_http_1_1_and_is_alerted_otherwise() {
    openssl_only!();
    let (_backend, proxy) = setup();
    for version in ["-tls1_2", "-tls1_3"] {
        for offered in ["http/1.1", "h2,http/1.1"] {
            let told = openssl(proxy.with_tls[0], &[version, "-alpn", offered]);
            assert!(told.contains("ALPN protocol: http/1.1") && told.contains("HTTP/1.1 200 OK"), "{told}");
        }
        let told = openssl(proxy.with_tls[0], &[version, "-alpn", "h2"]);
        // no_application_protocol (RFC 7301 §3.2).
        assert!(told.contains("SSL alert number 120") && !told.contains("HTTP/1.1"), "{told}");
    }
}

#[test]
fn openssl_is_shown_the_certificate_of_the_name_that_it_says() {
    openssl_only!();
    if tls::is_on() {
        println!("skipped: it has certificates of its own");
        return;
    }
    let (folder, backend) = (scratch_directory(), Backend::named("b"));
    let pairs = [("first", "a.example"), ("second", "*.b.example")].map(|pair| config(&folder, pair));
    let file = folder.join("ronde.toml");
    let listen = "listen = '127.0.0.1:0'\ntls-listen = '127.0.0.1:0'";
    let lines = format!("{listen}\nbackend = '{}'\n{}", backend.address, pairs.concat());
    fs::write(&file, lines).expect("a file");
    let proxy = Ronde::with(&format!("--config {}", file.display())).serve();
    for (arguments, shown) in [
        (&["-servername", "a.example"][..], "first"),
        (&["-servername", "x.b.example"], "second"),
        (&["-servername", "c.example"], "first"),
        (&["-noservername"], "first"),
    ] {
        let told = openssl(proxy.with_tls[0], arguments);
        assert!(told.contains(&format!("subject=CN = {shown}")), "{arguments:?}: {told}");
    }
}

/// Writes a certificate for this host, and its key; returns the lines of a configuration with them.
fn config(folder: &Path, (name, host): (&str, &str)) -> String {
    let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let [certificate, key] = [("pem", certificate.pem()), ("key", key.serialize_pem())].map(|(end, text)| {
        let file = folder.join(format!("{name}.{end}"));
        fs::write(&file, text).expect("its file");
        file
    });
    format!("[[tls]]\ncertificate = {certificate:?}\nkey = {key:?}\n")
}
