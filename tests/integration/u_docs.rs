//! The examples of the docs, run.
//!
//! Not here: what the settings mean (`t_routes` and others). Only that the pages tell the truth.

use crate::harness::tls::{self, Identity};
use crate::harness::{
    Backend, Message, Process, Ronde, TIMEOUT, Wire, each_row, free_address, needs, ok, ronde_only,
    scratch_directory, serve_unix, socket_path, within,
};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a page")
}

/// The blocks of a page that are in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let rests = page.split(&fence).skip(1);
    rests.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// The names that the docs use, each a backend that says its name and what it got.
struct Stage {
    _backends: Vec<Backend>,
    /// What an example writes, and what stands for it here.
    stands_for: Vec<(String, String)>,
}

impl Stage {
    fn with(names: &[&'static str]) -> Stage {
        let shows = |name: &'static str| {
            move |wire: &mut Wire, request: &Message| {
                let body = format!("{name}\n{request}");
                let length = body.len();
                wire.send(format!(
                    "HTTP/1.1 200 OK\r\nX-Powered-By: magic\r\nContent-Length: {length}\r\n\r\n{body}"
                ));
            }
        };
        let backends: Vec<_> = names.iter().map(|name| Backend::start(shows(name))).collect();
        let addresses = backends.iter().map(|backend| backend.address.to_string());
        let mut stands_for: Vec<_> = names.iter().map(|name| name.to_string()).zip(addresses).collect();
        for port in [":80", ":443"] {
            stands_for.push((format!("\"{port}\""), "\"127.0.0.1:0\"".into()));
        }
        Stage { _backends: backends, stands_for }
    }

    /// A backend on a Unix socket.
    fn add_socket(&mut self, written: &str, name: &'static str) {
        let path = socket_path("docs.sock");
        serve_unix(&path, move |wire, request| wire.send(ok(&format!("{name}\n{request}"))));
        self.stands_for.push((written.to_owned(), path.display().to_string()));
    }

    /// A certificate and its key in the place of the files that examples name.
    fn add_certificate(&mut self) {
        let Identity { certificate, key, .. } = tls::identity();
        // The same name twice is allowed, the same file is not.
        let other = |file: &PathBuf| {
            let copy = scratch_directory().join("other.pem");
            fs::copy(file, &copy).expect("a copy");
            copy
        };
        for (written, here) in [
            ("/etc/letsencrypt/live/example.com/fullchain.pem", certificate),
            ("/etc/letsencrypt/live/example.com/privkey.pem", key),
            ("/etc/ronde/example.org.pem", &other(certificate)),
            ("/etc/ronde/example.org.key", &other(key)),
        ] {
            self.stands_for.push((written.to_owned(), here.display().to_string()));
        }
    }

    /// A backend with TLS, and the file that it is believed by.
    fn add_tls_backends(&mut self, names: &[&str], ca: &str) {
        let Identity { certificate, der, key_der, .. } = tls::identity();
        let server = tls::server_config(rustls::DEFAULT_VERSIONS, vec![der.clone()], key_der);
        for name in names {
            let backend = Backend::with_tls(Arc::clone(&server), |wire, _| wire.send(ok("tls")));
            // In front of the plain backends, of which a name may be a part of this one.
            self.stands_for.insert(0, ((*name).to_owned(), format!("https://{}", backend.address)));
            self._backends.push(backend);
        }
        self.stands_for.push((ca.to_owned(), certificate.display().to_string()));
    }

    fn set(&self, example: &str) -> String {
        let replace = |text: String, (written, here): &(String, String)| text.replace(written, here);
        self.stands_for.iter().fold(example.to_owned(), replace)
    }

    fn ronde(&self, example: &str) -> Ronde {
        let file = scratch_directory().join("docs.toml");
        fs::write(&file, self.set(example)).expect("a file");
        Ronde::with(&format!("--config {}", file.display()))
    }
}

fn ask(at: SocketAddr, host: &str, target: &str) -> Message {
    let forged = "X-Real-IP: 192.0.2.66\r\nX-Forwarded-Proto: https\r\n";
    Wire::connect(at).ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{forged}\r\n"))
}

/// The first line says which backend it was.
fn backend_of(response: &Message) -> String {
    response.text().lines().next().unwrap_or_default().to_owned()
}

/// A line of the request that the backend got.
fn got(response: &Message, name: &str) -> Option<String> {
    let text = response.text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}:")))?;
    Some(line.to_owned())
}

/// Every page with examples of the file.
const PAGES: [&str; 5] =
    ["docs/configuration.md", "docs/from-nginx.md", "docs/tls.md", "docs/application.md", "docs/running.md"];

const NAMES: [&str; 14] = [
    "app1:8000",
    "app2:8000",
    "app:8000",
    "shop:8000",
    "website:8000",
    "web1:8000",
    "web2:8000",
    "grafana:3000",
    "admin:3000",
    "app:8443",
    "backend1:8000",
    "backend2:8000",
    "127.0.0.1:8000",
    "127.0.0.1:8888",
];

#[test]
fn ronde_accepts_every_example() {
    let mut stage = Stage::with(&NAMES);
    stage.add_socket("/run/api/gunicorn.sock", "api");
    stage.add_certificate();
    stage.add_tls_backends(
        &["https://app2", "https://app1:8443", "https://nas.lan:5001"],
        "/etc/ronde/nas.pem",
    );
    let examples: Vec<_> = PAGES
        .iter()
        .flat_map(|name| blocks(&page(name), "toml").into_iter().map(move |text| (name, text)))
        .collect();
    assert!(examples.len() >= 3, "the pages have examples");
    each_row(&examples, |(_, example)| {
        let file = scratch_directory().join("docs.toml");
        fs::write(&file, stage.set(example)).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ronde"));
        // The issuers of the system.
        command.env("SSL_CERT_FILE", &tls::identity().certificate).env_remove("SSL_CERT_DIR");
        let output = command.arg("check").arg("--config").arg(file).output().expect("ronde");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    });
}

#[test]
fn the_complete_example_does_what_its_comments_say() {
    ronde_only!();
    let mut stage = Stage::with(&["web1:8000", "web2:8000", "admin:3000"]);
    stage.add_socket("/run/api/gunicorn.sock", "api");
    let example = blocks(&page("docs/configuration.md"), "toml").pop().expect("the example at the end");
    let proxy = stage.ronde(&example).serve();
    let ask = |host, target| ask(proxy.address, host, target);
    let turns: Vec<_> = (0..6).map(|_| backend_of(&ask("other", "/"))).collect();
    assert_eq!(turns.iter().filter(|name| *name == "web1:8000").count(), 4, "{turns:?}");
    assert_eq!(turns.iter().filter(|name| *name == "web2:8000").count(), 2, "{turns:?}");
    let website = ask("example.com", "/apix");
    assert_eq!(website.sole("x-content-type-options"), "nosniff");
    assert_eq!(website.sole("x-powered-by"), "magic");
    assert_eq!(got(&website, "X-Real-IP").as_deref(), Some("X-Real-IP: 127.0.0.1"));

    let api = ask("example.com", "/api/x");
    assert_eq!(backend_of(&api), "api");
    assert_eq!(got(&api, "X-Site").as_deref(), Some("X-Site: example.com"));
    assert_eq!(got(&api, "X-Client").as_deref(), Some("X-Client: 127.0.0.1"));
    assert!(!api.has("x-powered-by") && api.sole("x-content-type-options") == "nosniff");

    let admin = ask("admin.example.com", "/admin/users");
    assert_eq!(backend_of(&admin), "admin:3000");
    assert!(admin.text().contains("GET /users HTTP/1.1"), "{}", admin.text());
    assert_eq!(ask("example.com", "/x/../admin").status(), 400);

    let moved = ask("www.old.example.com", "/a?b");
    assert_eq!((moved.status(), moved.sole("location").as_str()), (308, "https://example.com/a?b"));
    let shop = ask("shop.example.com", "/");
    assert_eq!((shop.status(), shop.text().trim()), (503, "The shop is back at noon."));
}

/// Serves the nginx half of the page.
fn nginx(stage: &Stage, example: &str) -> (Process, SocketAddr) {
    let (directory, address) = (scratch_directory(), free_address());
    let servers = stage.set(example).replace("listen 80", &format!("listen {address}"));
    let file = directory.join("nginx.conf");
    let configuration = format!(
        "daemon off; pid {0}/pid; error_log stderr crit; events {{}}\n\
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n{servers} }}",
        directory.display()
    );
    fs::write(&file, configuration).expect("its configuration");
    let process =
        Process::spawn(Command::new("/usr/sbin/nginx").arg("-e").arg("stderr").arg("-c").arg(&file));
    within(TIMEOUT, "nginx listens", || TcpStream::connect(address).is_ok());
    (process, address)
}

#[test]
fn nginx_and_ronde_do_the_same_with_the_two_files_of_the_page() {
    needs!(Nginx);
    ronde_only!();
    let stage = Stage::with(&["app1:8000", "app2:8000", "grafana:3000"]);
    let text = page("docs/from-nginx.md");
    let of = |language| blocks(&text, language).pop().expect("a file");
    let (_nginx, nginx) = nginx(&stage, &of("nginx"));
    let ronde = stage.ronde(&of("toml")).serve();
    for (host, target) in [
        ("example.com", "/"),
        ("example.com", "/a?b"),
        ("example.com:80", "/a"),
        ("example.com", "/grafana/d/1"),
        ("www.example.com", "/a?b"),
        ("other", "/"),
    ] {
        let (theirs, ours) = (ask(nginx, host, target), ask(ronde.address, host, target));
        assert_eq!(theirs.status(), ours.status(), "{host} {target}");
        for name in ["location", "x-frame-options", "x-powered-by"] {
            assert_eq!(theirs.values(name), ours.values(name), "{name}: {host} {target}");
        }
        if ours.status() == 200 {
            let first_two = |response: &Message| {
                let name: String = backend_of(response).chars().filter(|c| c.is_alphabetic()).collect();
                (name, response.text().lines().nth(1).unwrap_or_default().to_owned())
            };
            assert_eq!(first_two(&theirs), first_two(&ours), "{host} {target}");
            for name in ["X-Forwarded-For", "X-Forwarded-Proto"] {
                assert_eq!(got(&theirs, name), got(&ours, name), "{name}: {host} {target}");
            }
        }
    }
    for at in [nginx, ronde.address] {
        let real = got(&ask(at, "example.com", "/"), "X-Real-IP");
        assert_eq!(real.as_deref(), Some("X-Real-IP: 127.0.0.1"));
    }
}
