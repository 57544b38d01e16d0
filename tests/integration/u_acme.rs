//! A real issuer: pebble asks for the proof through ronde, certbot gives it, and ronde shows the certificate that comes of it.
//!
//! Not here: how ronde takes new files, and what it sends to the server of proofs (`u_certificates`).

use crate::harness::tls::{self, Identity, Secured};
use crate::harness::{
    Backend, GET, Process, Proxy, Ronde, Wire, certbot, eventually, free_address, needs, pebble, plain_only,
    ronde_only, scratch_directory,
};
use rustls::DEFAULT_VERSIONS;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

/// A command of docs/tls.md, of which these parts are replaced.
fn from_the_page(beginning: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    let page = include_str!("../../docs/tls.md");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("# certbot {beginning} ")));
    let line = format!("{beginning} {}", line.expect("a command of certbot"));
    let replace = |line: String, (written, here): &(&str, &str)| {
        assert!(line.contains(written), "no {written} in {line}");
        line.replace(written, here)
    };
    let line = replaced.iter().fold(line, replace);
    line.split_whitespace().map(str::to_owned).collect()
}

/// pebble and certbot, for the name `localhost`.
struct Issuer {
    pebble: Process,
    directory: String,
    folder: PathBuf,
}

impl Issuer {
    fn asking(proxy: &Proxy) -> Issuer {
        let (pebble, directory) = pebble(proxy.plain.port());
        Issuer { pebble, directory, folder: scratch_directory() }
    }

    fn issue(&self, proofs: SocketAddr, more: &[&str]) {
        let port = proofs.port().to_string();
        let page = [("8888", &*port), ("-d example.com -d www.example.com", "-d localhost")];
        let command = from_the_page("certonly", &page);
        let mut arguments: Vec<_> = command.iter().map(String::as_str).collect();
        arguments.extend(["--agree-tos", "--register-unsafely-without-email", "--server", &self.directory]);
        arguments.extend(more);
        certbot(&self.folder, &arguments);
    }

    /// Neither waits until it is due, nor for some minutes before it asks, as it does without a terminal.
    fn renew(&self, more: &[&str]) {
        let arguments = ["renew", "--force-renewal", "--no-random-sleep-on-renew"];
        certbot(&self.folder, &[&arguments, more].concat());
    }

    /// How many proofs it has accepted. Once in a hundred renewals pebble goes by the last one, even where it is to go by none
    /// (PEBBLE_AUTHZREUSE=0).
    fn accepted(&self) -> usize {
        let is_one = |line: &&String| line.contains("set VALID by completed challenge");
        self.pebble.stdout.all().iter().filter(is_one).count()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join("config/live/localhost").join(name)
    }

    /// The last certificate that certbot got, and the one that issued it.
    fn issued(&self) -> [CertificateDer<'static>; 2] {
        let read = |name: &str| CertificateDer::from_pem_file(self.file(name)).expect("a certificate");
        [read("fullchain.pem"), read("chain.pem")]
    }

    /// A new client believes this issuer alone, and is shown the last certificate.
    fn expect_shown_by(&self, proxy: &Proxy) {
        let [issued, issuer] = self.issued();
        let config = tls::client_config_that_trusts(issuer, DEFAULT_VERSIONS, &["http/1.1"]);
        let stream = TcpStream::connect(proxy.with_tls[0]).expect("a connection");
        let secured = Secured::with(stream, config);
        let mut client = Wire::over_secured(secured.clone());
        assert_eq!(client.ask(GET).text(), "site");
        assert!(secured.shown() == Some(issued), "another certificate");
    }
}

/// How many proofs were asked for through this ronde. pebble asks several times for each.
fn proofs(proxy: &Proxy) -> usize {
    let lines = proxy.process.stdout.all();
    let tokens = lines.iter().filter(|line| line.contains("\" 200 ")).filter_map(|line| {
        line.split_once("\"GET /.well-known/acme-challenge/")?.1.split_once(' ').map(|(token, _)| token)
    });
    tokens.collect::<HashSet<_>>().len()
}

fn renewals(proxy: &Proxy) -> usize {
    let is_one = |line: &&String| line.contains("was renewed, and new connections get it");
    proxy.process.stderr.all().iter().filter(is_one).count()
}

/// A ronde with this pair, and the address to which it sends those that ask for proofs.
fn serve(top: &str, site: &Backend, pair: Option<[&Path; 2]>) -> (Proxy, SocketAddr) {
    let (file, server) = (scratch_directory().join("ronde.toml"), free_address());
    let pair = pair.map_or_else(String::new, |[certificate, key]| {
        format!("tls-listen = '127.0.0.1:0'\n[[tls]]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    });
    let top = format!("listen = '127.0.0.1:0'\nbackend = '{}'\n{top}", site.address);
    fs::write(&file, format!("{top}\nacme-challenge = '{server}'\n{pair}")).expect("a file");
    (Ronde::with(&format!("--config {}", file.display())).serve(), server)
}

#[test]
fn a_certificate_is_issued_and_renewed_without_a_restart() {
    ronde_only!();
    plain_only!("it has certificates of its own");
    needs!(Pebble, Certbot);
    let (site, folder) = (Backend::named("site"), scratch_directory());
    let pair = [&*folder.join("site.pem"), &*folder.join("site.key")];
    let Identity { certificate, key, .. } = tls::identity();
    fs::copy(certificate, pair[0]).expect("the first certificate");
    fs::copy(key, pair[1]).expect("its key");
    let (mut proxy, server) = serve("redirect-to-https = true", &site, Some(pair));
    let mut early = proxy.connect_tls();
    assert_eq!(early.get("/").text(), "site");

    // certbot keeps the hook for its renewals.
    let issuer = Issuer::asking(&proxy);
    let [certificate, key] = pair.map(Path::display);
    let copies =
        format!("cp $RENEWED_LINEAGE/fullchain.pem {certificate} && cp $RENEWED_LINEAGE/privkey.pem {key}");
    let hook = format!("{copies} && kill -HUP {}", proxy.process.id());
    issuer.issue(server, &["--deploy-hook", &hook]);
    eventually("the certificate is taken", || renewals(&proxy) == 1 && proofs(&proxy) == 1);
    issuer.expect_shown_by(&proxy);

    let [first, _] = issuer.issued();
    issuer.renew(&[]);
    eventually("the renewed certificate is taken", || renewals(&proxy) == 2);
    eventually("its proof went through", || proofs(&proxy) == issuer.accepted());
    assert!(issuer.issued()[0] != first, "a new one");
    issuer.expect_shown_by(&proxy);

    // The first connection has outlived two certificates, and plain clients were redirected all the time.
    assert_eq!(early.get("/").text(), "site");
    assert_eq!(proxy.ask(GET).status(), 308);
    assert!(proxy.process.is_running());
}

/// The way of docs/tls.md: the first certificate through a ronde without TLS, and ronde reads certbot's own files.
#[test]
fn the_page_leads_a_newcomer_to_a_certificate_and_through_its_renewal() {
    ronde_only!();
    plain_only!("it has certificates of its own");
    needs!(Pebble, Certbot);
    let site = Backend::named("site");
    let (plain, server) = serve("", &site, None);
    let issuer = Issuer::asking(&plain);
    issuer.issue(server, &[]);
    eventually("the proof went through", || proofs(&plain) == 1);

    let pair = [&*issuer.file("fullchain.pem"), &*issuer.file("privkey.pem")];
    let (proxy, _) = serve("", &site, Some(pair));
    issuer.expect_shown_by(&proxy);
    // The issuer asks the first ronde, which still has the port that pebble stands for 80 with.
    issuer.renew(&["--deploy-hook", &format!("kill -HUP {}", proxy.process.id())]);
    eventually("the renewed certificate is taken", || renewals(&proxy) == 1);
    eventually("its proof went through", || proofs(&plain) == issuer.accepted());
    issuer.expect_shown_by(&proxy);
}
