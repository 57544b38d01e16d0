//! Certificates: which one a client is shown, how a new one is taken, what is told of a bad one; and how plain clients come
//! to TLS.
//!
//! These tests choose between plain and TLS by themselves, so they are no part of a run that has all clients speak TLS.
//!
//! Not here: TLS itself; every fault of a file (`net::tls::certificates`).

use crate::harness::{
    Admin, Anybody, Backend, GET, Message, Process, Proxy, Ronde, Wire, eventually, needs, ok, ronde_only,
    scratch_directory, tls,
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

macro_rules! by_its_own_transport {
    () => {
        ronde_only!();
        if tls::is_on() {
            return;
        }
    };
}

/// Where the files of a test are.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(scratch_directory())
    }

    /// Writes a certificate for this host, for these years, and its key.
    fn pair(&self, name: &str, host: &str, from: i32, until: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(self.0.join(format!("{name}.key")), key.serialize_pem()).expect("its file");
        fs::write(self.0.join(format!("{name}.pem")), certificate.pem()).expect("its file");
        certificate.der().clone()
    }

    /// A configuration with these certificates, and more lines at its top.
    fn config(&self, top: &str, names: &[&str]) -> String {
        let folder = self.0.display();
        let pair = |name: &&str| {
            format!("[[tls]]\ncertificate = '{folder}/{name}.pem'\nkey = '{folder}/{name}.key'\n")
        };
        let pairs: String = names.iter().map(pair).collect();
        let file = self.0.join("ronde.toml");
        let listen = "listen = '127.0.0.1:0'\ntls-listen = '127.0.0.1:0'";
        fs::write(&file, format!("{listen}\n{top}\n{pairs}")).expect("a file");
        file.display().to_string()
    }

    fn serve(&self, top: &str, names: &[&str]) -> Proxy {
        Ronde::with(&format!("--config {}", self.config(top, names))).serve()
    }

    /// The exit code and the output of `ronde check`.
    fn check(&self, top: &str, names: &[&str]) -> (Option<i32>, String) {
        let mut process = Ronde::with(&format!("check --config {}", self.config(top, names))).spawn();
        let code = process.exit().code();
        let said = process.stdout.text() + "\n" + &process.stderr.text();
        (code, said.replace(&format!("{}/", self.0.display()), ""))
    }
}

/// A client that believes everything, and keeps its sessions.
fn client() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    Arc::new(builder.with_no_client_auth())
}

/// What a client sees that asks for a host and sends a request.
struct Seen {
    shown: CertificateDer<'static>,
    kind: HandshakeKind,
    response: String,
}

fn see(address: SocketAddr, client: &Arc<ClientConfig>, host: &str, request: &str) -> Seen {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let tls = ClientConnection::new(Arc::clone(client), name).expect("a session");
    let mut stream = StreamOwned::new(tls, TcpStream::connect(address).expect("a connection"));
    stream.write_all(request.as_bytes()).expect("a request sent");
    let mut response = Vec::new();
    let mut room = [0; 4096];
    while !response.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut room).expect("a response");
        assert!(count > 0, "no whole head");
        response.extend_from_slice(&room[..count]);
    }
    Seen {
        shown: stream.conn.peer_certificates().expect("certificates")[0].clone().into_owned(),
        kind: stream.conn.handshake_kind().expect("a handshake"),
        response: String::from_utf8_lossy(&response).into_owned(),
    }
}

#[test]
fn each_host_is_shown_its_certificate() {
    by_its_own_transport!();
    let (folder, backend) = (Folder::new(), Backend::named("b"));
    let first = folder.pair("first", "a.example", 2020, 2040);
    let second = folder.pair("second", "*.b.example", 2020, 2040);
    let proxy = folder.serve(&format!("backend = '{}'", backend.address), &["first", "second"]);
    for (host, shown) in
        [("a.example", &first), ("x.b.example", &second), ("c.example", &first), ("127.0.0.1", &first)]
    {
        let seen = see(proxy.with_tls[0], &client(), host, GET);
        assert!(seen.shown == *shown && seen.response.starts_with("HTTP/1.1 200 "), "{host}");
    }
}

#[test]
fn a_renewed_certificate_is_taken_and_half_a_renewal_is_not() {
    by_its_own_transport!();
    let (folder, backend) = (Folder::new(), Backend::named("b"));
    let old = folder.pair("a", "a.example", 2020, 2040);
    let proxy = folder.serve(&format!("backend = '{}'", backend.address), &["a"]);
    let address = proxy.with_tls[0];
    let known = client();
    assert_eq!(see(address, &known, "a.example", GET).kind, HandshakeKind::Full);

    let old_key = fs::read(folder.0.join("a.key")).expect("the key");
    let new = folder.pair("a", "a.example", 2021, 2041);
    let new_key = fs::read(folder.0.join("a.key")).expect("the key");
    fs::write(folder.0.join("a.key"), old_key).expect("the old key");
    proxy.process.signal(Signal::HUP);
    let refused = proxy.process.stderr.line_with("nothing has changed: the key in ");
    assert!(refused.contains("[ERROR]") && refused.contains("does not belong to"), "{refused}");
    assert_eq!(see(address, &client(), "a.example", GET).shown, old);

    fs::write(folder.0.join("a.key"), new_key).expect("the new key");
    proxy.process.signal(Signal::HUP);
    let taken = proxy.process.stderr.line_with("was renewed, and new connections get it");
    assert!(taken.contains("it is good until Tue, 01 Jan 2041 00:00:00 GMT"), "{taken}");
    assert_eq!(see(address, &client(), "a.example", GET).shown, new);
    // A client that was there before goes on with its session.
    assert_eq!(see(address, &known, "a.example", GET).kind, HandshakeKind::Resumed);
}

/// Nothing renews it any more, and so the alert of the manual would fire for a certificate that no client is shown.
#[test]
fn a_certificate_that_a_reload_takes_away_stayed_in_the_status() {
    by_its_own_transport!();
    let (folder, backend) = (Folder::new(), Backend::named("b"));
    folder.pair("good", "a.example", 2020, 2040);
    let top = format!("admin = '127.0.0.1:0'\nbackend = '{}'", backend.address);
    let proxy = folder.serve(&top, &["good"]);
    let admin = Admin::of(&proxy);
    let shown = || admin.status()["certificates"].as_array().map(Vec::len);
    assert_eq!(shown(), Some(1));
    fs::write(folder.0.join("ronde.toml"), format!("listen = '127.0.0.1:0'\n{top}\n")).expect("a file");
    proxy.process.signal(Signal::HUP);
    proxy.process.stderr.line_with("0 certificates (1 gone)");
    assert_eq!(shown(), Some(0));
    folder.config(&top, &["good"]);
    proxy.process.signal(Signal::HUP);
    eventually("it is shown again", || shown() == Some(1));
}

/// It is looked after from then on.
#[test]
fn a_certificate_that_a_reload_brings_is_told_of_like_one_of_the_start() {
    by_its_own_transport!();
    let (folder, backend) = (Folder::new(), Backend::named("b"));
    folder.pair("good", "a.example", 2020, 2040);
    folder.pair("old", "a.example", 2020, 2021);
    let top = format!("backend = '{}'", backend.address);
    let proxy = folder.serve(&top, &["good"]);
    folder.config(&top, &["old"]);
    proxy.process.signal(Signal::HUP);
    let told = proxy.process.stderr.line_with("old.pem ran out on Fri, 01 Jan 2021 00:00:00 GMT");
    assert!(told.contains("[WARN]"), "{told}");
}

#[test]
fn a_bad_certificate_is_told_of_at_the_start_and_by_check() {
    by_its_own_transport!();
    let (folder, backend) = (Folder::new(), Backend::named("b"));
    folder.pair("old", "a.example", 2020, 2021);
    folder.pair("other", "b.example", 2020, 2040);
    let top = format!("backend = '{}'", backend.address);
    let ended = "ran out on Fri, 01 Jan 2021 00:00:00 GMT; browsers refuse it";

    // It serves, and is told of.
    let proxy = folder.serve(&top, &["old"]);
    proxy.process.stderr.line_with(ended);
    assert!(see(proxy.with_tls[0], &client(), "a.example", GET).response.starts_with("HTTP/1.1 200 "));
    let (code, told) = folder.check(&top, &["old"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("tls      old.pem  for a.example, until Fri, 01 Jan 2021 00:00:00 GMT\n"),
        "{told}"
    );
    assert!(told.contains(&format!("tls      the certificate in old.pem {ended}")), "{told}");

    // What fits no route, and what no certificate fits.
    let routes = format!("{top}\n[[route]]\nhost = 'c.example'\nbackend = '{}'", backend.address);
    let (code, told) = folder.check(&routes, &["other"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("no certificate names c.example, for which there is a route"), "{told}");

    // What cannot be shown is an error, and nothing is served.
    fs::copy(folder.0.join("other.key"), folder.0.join("old.key")).expect("the wrong key");
    let (code, told) = folder.check(&top, &["none", "other", "old"]);
    assert_eq!(code, Some(1), "{told}");
    for fault in ["cannot read none.pem", "the key in old.key does not belong to the certificate in old.pem"]
    {
        assert!(told.contains(&format!("ronde: {fault}")), "{told}");
    }
    let mut process = Ronde::with(&format!("--config {}", folder.config(&top, &["old"]))).spawn();
    assert_eq!(process.exit().code(), Some(1));
    process.stderr.line_with("does not belong to the certificate in");
}

#[test]
fn a_key_that_its_user_may_not_read_is_told_of_with_the_remedy() {
    by_its_own_transport!();
    needs!(Setpriv);
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.pair("a", "a.example", 2020, 2040);
    fs::set_permissions(folder.0.join("a.key"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let config = folder.config("backend = '127.0.0.1:1'", &["a"]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--clear-groups", env!("CARGO_BIN_EXE_ronde"), "--config", &config]);
    let mut process = Process::spawn(&mut command);
    assert_eq!(process.exit().code(), Some(1));
    let told = process.stderr.line_with("cannot read ");
    assert!(
        told.contains("belongs to user 0 and group 0 with mode 600, and ronde runs as user 54321"),
        "{told}"
    );
}

fn ask(address: SocketAddr, request: &str) -> Message {
    Wire::connect(address).ask(request)
}

#[test]
fn plain_requests_are_led_to_https_and_the_issuers_question_to_its_server() {
    by_its_own_transport!();
    let (site, issuer) = (Backend::named("site"), Backend::named("proof"));
    let flags = format!("--redirect-to-https --acme-challenge {} --trust-proxy 127.0.0.2", issuer.address);
    let proxy = Proxy::with(&flags, &[site.address]);
    proxy.process.stderr.line_with("listening on");
    for (request, location) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: a.example\r\n\r\n", "https://a.example/a?b=c"),
        ("GET / HTTP/1.1\r\nhost:  A.example:8080 \r\n\r\n", "https://A.example/"),
        ("GET http://b.example:80/x HTTP/1.1\r\nHost: a.example\r\n\r\n", "https://b.example/x"),
        ("GET http://b.example?x HTTP/1.1\r\nHost: a.example\r\n\r\n", "https://b.example/?x"),
        ("HEAD / HTTP/1.0\r\nHost: [::1]:8080\r\n\r\n", "https://[::1]/"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "https://a.example/"),
        ("POST /f HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi", "https://a.example/f"),
        // A stranger that claims to be behind TLS.
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n", "https://a/"),
    ] {
        let mut client = proxy.connect();
        client.send(request);
        let method = request.split(' ').next().expect("a method");
        let response = client.response_to(method);
        assert_eq!((response.status(), response.sole("Location")), (308, location.to_owned()), "{request}");
        assert!(!response.has("Strict-Transport-Security"));
    }
    assert_eq!(ask(proxy.address, "GET / HTTP/1.0\r\n\r\n").status(), 400);
    assert_eq!(site.count(), 0);
    // ronde's own question is no request of a client.
    let health = Ronde::with(&format!("health --listen {}", proxy.address)).spawn().exit();
    assert_eq!(health.code(), Some(0));
    let proof = "GET /.well-known/acme-challenge/aB-_9 HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(ask(proxy.address, proof).text(), "proof");
    assert_eq!(issuer.targets(), ["/.well-known/acme-challenge/aB-_9"]);
    let no_proof = "GET /.well-known/acme-challenge/../x HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(ask(proxy.address, no_proof).status(), 308);
}

#[test]
fn a_server_of_proofs_need_not_be_there() {
    by_its_own_transport!();
    let site = Backend::named("site");
    let mut issuer = Backend::named("proof");
    issuer.go_down();
    let proxy = Proxy::with(&format!("--acme-challenge {}", issuer.address), &[site.address]);
    let proof = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..5 {
        assert_eq!(ask(proxy.address, proof).status(), 502);
    }
    // Everything else is served as ever, and nothing was said of the issuer.
    assert_eq!(proxy.get("/").text(), "site");
    issuer.come_up();
    assert_eq!(ask(proxy.address, proof).text(), "proof");
    assert!(!proxy.process.stderr.text().contains("[WARN]"), "{}", proxy.process.stderr.text());
}

/// It asks from addresses that it does not tell.
#[test]
fn no_list_keeps_an_issuer_out() {
    by_its_own_transport!();
    let (site, issuer) = (Backend::named("site"), Backend::named("proof"));
    for list in ["--deny all", "--allow 192.0.2.1"] {
        let proxy = Proxy::with(&format!("--acme-challenge {} {list}", issuer.address), &[site.address]);
        let proof = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(ask(proxy.address, proof).text(), "proof", "{list}");
        assert_eq!(proxy.get("/").status(), 403, "{list}");
    }
}

/// What TLS encrypts in one call is less than the longest head.
#[test]
fn a_long_redirect_arrives_whole_over_tls() {
    by_its_own_transport!();
    let folder = Folder::new();
    folder.pair("a", "a.example", 2020, 2040);
    let proxy = folder.serve("[[route]]\npath = '/'\nredirect = 'https://b.example'", &["a"]);
    let path = "x".repeat(50_000);
    let request = format!("GET /{path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let seen = see(proxy.with_tls[0], &client(), "a.example", &request).response;
    assert!(seen.starts_with("HTTP/1.1 308 "), "{}", &seen[..100.min(seen.len())]);
    assert!(seen.contains(&format!("\r\nLocation: https://b.example/{path}\r\n")));
}

/// A list of the top level answered plain requests for a route that is open to all with 403, and a limit those with a body
/// with 413.
#[test]
fn no_list_and_no_limit_stands_before_the_redirect() {
    by_its_own_transport!();
    let site = Backend::named("site");
    let route = format!("[[route]]\nhost = 'open'\nbackend = '{}'\nallow = 'all'\n", site.address);
    let folder = Folder::new();
    folder.pair("a", "a.example", 2020, 2040);
    let top = format!(
        "redirect-to-https = true\nallow = '192.0.2.1'\nmax-body = '1'\nbackend = '{}'\n{route}",
        site.address
    );
    let proxy = folder.serve(&top, &["a"]);
    for host in ["open", "closed"] {
        let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nab");
        assert_eq!(ask(proxy.address, &request).status(), 308, "{host}");
    }
    for (host, status) in [("open", "200"), ("closed", "403")] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let seen = see(proxy.with_tls[0], &client(), "a.example", &request).response;
        assert!(seen.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {seen}");
    }
}

#[test]
fn what_a_trusted_proxy_got_over_tls_is_served() {
    by_its_own_transport!();
    let site = Backend::named("site");
    let proxy = Proxy::with("--redirect-to-https --trust-proxy 127.0.0.1", &[site.address]);
    let with = |field: &str| ask(proxy.address, &format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
    assert_eq!(with("X-Forwarded-Proto: https\r\n").text(), "site");
    assert_eq!(with("X-Forwarded-Proto: wss\r\n").text(), "site");
    assert_eq!(with("X-Forwarded-Proto: http\r\n").status(), 308);
    assert_eq!(with("").status(), 308);
}

#[test]
fn the_promise_of_https_is_made_over_tls_alone() {
    by_its_own_transport!();
    let folder = Folder::new();
    folder.pair("a", "a.example", 2020, 2040);
    let site = Backend::start(|client, request| match request.target() {
        "/own" | "/own/removed" => client
            .send("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 0\r\n\r\n"),
        _ => client.send(ok("site")),
    });
    let top = format!(
        "hsts = 'max-age=300'\nbackend = '{0}'\n[[route]]\npath = '/none'\nrespond = 404\nhsts = 'off'\n\
         [[route]]\npath = '/own/removed'\nbackend = '{0}'\nremove-response-header = 'Strict-Transport-Security'",
        site.address
    );
    let proxy = folder.serve(&top, &["a"]);
    let field = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let seen = see(proxy.with_tls[0], &client(), "a.example", &request).response;
        assert!(
            !ask(proxy.address, &request)
                .values("Strict-Transport-Security")
                .contains(&"max-age=300".to_owned())
        );
        let lines = seen.lines().filter_map(|line| line.strip_prefix("Strict-Transport-Security: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("/"), ["max-age=300"]);
    assert_eq!(field("/own"), ["max-age=0"]);
    assert_eq!(field("/own/removed"), ["max-age=300"], "as nginx's proxy_hide_header and add_header");
    assert_eq!(field("/none"), [""; 0]);
    // ronde's own words, too.
    let bad = see(proxy.with_tls[0], &client(), "a.example", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n").response;
    assert!(
        bad.starts_with("HTTP/1.1 400 ") && bad.contains("\r\nStrict-Transport-Security: max-age=300\r\n"),
        "{bad}"
    );
    let plain = ask(proxy.with_tls[0], "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((plain.status(), plain.values("Strict-Transport-Security").len()), (400, 0), "not encrypted");
}
