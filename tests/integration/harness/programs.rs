//! Third-party clients and servers: curl, wrk, Python and its libraries, nginx, pebble and certbot, Chromium, openssl.
//!
//! The rule: `cargo test` needs only Rust. A test whose program is missing is skipped, and a line on standard error
//! names the test, the reason and the package to install. `RONDE_REAL_CLIENTS=1` turns the skip into a failure;
//! `.ci/run` sets it.

use super::peers::free_address;
use super::process::Process;
use super::tls::{self, Identity};
use super::{TIMEOUT, scratch_directory, within};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy)]
pub enum Program {
    Curl,
    Wrk,
    Python,
    Requests,
    Websockets,
    Gunicorn,
    Nginx,
    /// An issuer of certificates for tests: it speaks ACME (RFC 8555), and nobody trusts it.
    Pebble,
    Certbot,
    Chromium,
    Promtool,
    Prometheus,
    Openssl,
    Logrotate,
    /// A part of systemd that needs no systemd: it opens a socket, and passes it to a program.
    SocketActivate,
    /// The right to stop threads of another process.
    Ptrace,
    /// To run a program as another user, which only root may.
    Setpriv,
    /// To run a program as process 1, which only root may.
    Unshare,
    /// To give the loopback interface another address, in a network namespace of its own, which only root may.
    Ip,
    Mandoc,
    Groff,
    Bash,
    Zsh,
    Fish,
    SystemdAnalyze,
}

impl Program {
    /// `false` when the test is to be skipped.
    pub fn is_installed(self) -> bool {
        let (probe, remedy): (&[&str], _) = match self {
            Program::Curl => (&["curl", "--version"], "apt-get install curl"),
            Program::Wrk => (&["wrk", "-v"], "apt-get install wrk"),
            Program::Python => (&["python3", "--version"], "apt-get install python3"),
            Program::Requests => (&["python3", "-c", "import requests"], "python3 -m pip install requests"),
            Program::Websockets => {
                (&["python3", "-c", "import websockets"], "python3 -m pip install websockets")
            }
            Program::Gunicorn => (&["python3", "-c", "import gunicorn"], "python3 -m pip install gunicorn"),
            Program::Nginx => (&["/usr/sbin/nginx", "-v"], "apt-get install nginx-light"),
            // It has no flag for its version.
            Program::Pebble => (&["pebble", "-h"], "apt-get install pebble"),
            Program::Certbot => (&["certbot", "--version"], "apt-get install certbot"),
            Program::Chromium => (&["chromium", "--version"], "apt-get install chromium"),
            Program::Promtool => (&["promtool", "--version"], "apt-get install prometheus"),
            Program::Prometheus => (&["prometheus", "--version"], "apt-get install prometheus"),
            Program::Openssl => (&["openssl", "version"], "apt-get install openssl"),
            Program::Logrotate => (&["logrotate", "--version"], "apt-get install logrotate"),
            Program::SocketActivate => (&["systemd-socket-activate", "--version"], "apt-get install systemd"),
            Program::Ptrace => {
                (&["setpriv", "--reuid=0", "true"], "as root, in a container that may trace (SYS_PTRACE)")
            }
            Program::Setpriv => (
                &["setpriv", "--reuid=54321", "--clear-groups", "true"],
                "apt-get install util-linux; as root",
            ),
            Program::Unshare => (
                &["unshare", "--pid", "--fork", "--mount-proc", "nsenter", "--version"],
                "apt-get install util-linux; as root",
            ),
            Program::Ip => (
                &["unshare", "--net", "ip", "address", "add", "192.0.2.1/32", "dev", "lo"],
                "apt-get install util-linux iproute2; as root",
            ),
            // It has no flag for its version.
            Program::Mandoc => (&["sh", "-c", "command -v mandoc"], "apt-get install mandoc"),
            Program::Groff => (&["groff", "--version"], "apt-get install groff-base"),
            Program::Bash => (&["bash", "--version"], "apt-get install bash"),
            Program::Zsh => (&["zsh", "--version"], "apt-get install zsh"),
            Program::Fish => (&["fish", "--version"], "apt-get install fish"),
            Program::SystemdAnalyze => (&["systemd-analyze", "--version"], "apt-get install systemd"),
        };
        let done = Command::new(probe[0]).args(&probe[1..]).output();
        // wrk exits with a failure even when asked for its version.
        if done.is_ok_and(|done| done.status.success() || matches!(self, Program::Wrk)) {
            return true;
        }
        let missing = format!("{self:?} is not installed here ({remedy})");
        assert!(std::env::var_os("RONDE_REAL_CLIENTS").is_none_or(|set| set != "1"), "{missing}");
        let thread = std::thread::current();
        let line = format!("skipped: {}: {missing}", thread.name().unwrap_or_default());
        println!("{line}");
        // cargo hides the output of passed tests, but captures only the output of macros.
        let _stderr_is_closed = writeln!(std::io::stderr(), "{line}");
        false
    }

    /// Without the proxies that the environment may configure.
    fn command(name: &str) -> Command {
        let mut command = Command::new(name);
        for (variable, _) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
            command.env_remove(variable);
        }
        for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
            command.env(variable, &tls::identity().certificate);
        }
        command
    }
}

/// Exits with a failure when a transfer breaks off, not on an error status.
pub fn curl(arguments: &[&str]) -> Process {
    curl_from(Stdio::null(), arguments)
}

/// The same, with a file as standard input.
pub fn curl_reading(file: &Path, arguments: &[&str]) -> Process {
    curl_from(File::open(file).expect("the file").into(), arguments)
}

fn curl_from(stdin: Stdio, arguments: &[&str]) -> Process {
    let mut command = Program::command("curl");
    command.args(["--disable", "--silent", "--show-error", "--max-time", "25"]).args(arguments);
    // `--cacert` would be for the first of several transfers alone.
    command.env("CURL_CA_BUNDLE", &tls::identity().certificate);
    Process::spawn_between(stdin, Stdio::piped(), &mut command)
}

/// Runs a script, given by its path below the repository's root.
pub fn python(script: &str, arguments: &[&str]) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    Process::spawn(Program::command("python3").arg(script).args(arguments).env("PYTHONUNBUFFERED", "1"))
}

/// Runs a module of Python as a program.
pub fn python_module(arguments: &[&str]) -> Process {
    Process::spawn(Program::command("python3").arg("-m").args(arguments).env("PYTHONUNBUFFERED", "1"))
}

/// Runs a script that listens on a port of its choice and prints the port at the end of a line.
pub fn python_server(script: &str, arguments: &[&str]) -> (Process, SocketAddr) {
    let server = python(script, arguments);
    let line = server.stdout.line_with("listen");
    let number = line.rsplit([' ', ':']).next().and_then(|number| number.parse().ok());
    (server, SocketAddr::from(([127, 0, 0, 1], number.expect("a port"))))
}

/// A thousand connections on each side of the proxy exceed the usual limit of 1024 open files.
pub fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more open files");
}

pub fn wrk(connections: usize, url: &str) -> Process {
    open_many_files();
    let connections = format!("-c{connections}");
    Process::spawn(Program::command("wrk").args(["-t2", "-d2s", "--timeout=10s", &connections, url]))
}

/// Asks for proofs on this port of this host. Returns the URL of its directory as well.
pub fn pebble(http_port: u16) -> (Process, String) {
    let (address, file) = (free_address(), scratch_directory().join("pebble.json"));
    let Identity { certificate, key, .. } = tls::identity();
    let config = format!(
        r#"{{"pebble": {{"listenAddress": "{address}", "certificate": {certificate:?}, "privateKey": {key:?},
            "httpPort": {http_port}}}}}"#
    );
    std::fs::write(&file, config).expect("its configuration");
    let mut command = Program::command("pebble");
    // By default it makes clients prove themselves: it refuses good nonces, sleeps, and passes over a proof, at random.
    command.envs([("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]);
    let process = Process::spawn(command.arg("-config").arg(file));
    within(TIMEOUT, "pebble listens", || TcpStream::connect(address).is_ok());
    (process, format!("https://{address}/dir"))
}

/// Runs to its end. All its files are below this directory.
pub fn certbot(directory: &Path, arguments: &[&str]) {
    let mut command = Program::command("certbot");
    command.args(arguments).arg("--non-interactive");
    for folder in ["config", "work", "logs"] {
        command.arg(format!("--{folder}-dir")).arg(directory.join(folder));
    }
    Process::spawn(&mut command).success();
}

/// Prints the page as it is after its load event. Every name below `.test` is this host. Of certificates that nobody has
/// vouched for, it believes those of the key of the tests' own.
pub fn chromium(url: &str) -> Process {
    let mut command = Program::command("chromium");
    // In containers Chromium often runs as root, which may not have a sandbox, and /dev/shm is small.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--host-resolver-rules=MAP *.test 127.0.0.1",
    ]);
    if url.starts_with("https:") {
        command.arg(format!("--ignore-certificate-errors-spki-list={}", key_hash()));
    }
    command.arg(format!("--user-data-dir={}", scratch_directory().display()));
    Process::spawn(command.args(["--dump-dom", url]))
}

/// SHA-256 of the public key in the certificate of the tests, in base64.
fn key_hash() -> String {
    let key = "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der";
    let script = format!("{key} | openssl dgst -sha256 -binary | openssl base64");
    let certificate = File::open(&tls::identity().certificate).expect("the certificate");
    let mut command = Program::command("sh");
    let shell = Process::spawn_between(certificate.into(), Stdio::piped(), command.args(["-c", &script]));
    shell.success().trim().to_owned()
}

/// A client that sends a request on a TLS connection, if there is one, and prints what became of both.
pub fn openssl(address: SocketAddr, arguments: &[&str]) -> String {
    let request = scratch_directory().join("request");
    std::fs::write(&request, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("its file");
    let mut command = Program::command("openssl");
    command.args(["s_client", "-ign_eof", "-connect", &address.to_string()]).args(arguments);
    let stdin = File::open(request).expect("the request").into();
    let mut client = Process::spawn_between(stdin, Stdio::piped(), &mut command);
    client.exit();
    client.stdout.text() + &client.stderr.text()
}
