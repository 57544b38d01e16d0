//! Third-party clients and servers: curl, wrk, Python and its libraries, nginx, Chromium.
//!
//! The rule: `cargo test` needs only Rust. A test whose program is missing is skipped, and a line on standard error
//! names the test, the reason and the package to install. `RONDE_REAL_CLIENTS=1` turns the skip into a failure;
//! `.ci/run` sets it.

use super::process::Process;
use super::scratch_directory;
use super::tls;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
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
    Chromium,
    /// To run a program as another user, which only root may.
    Setpriv,
    /// To run a program as process 1, which only root may.
    Unshare,
    /// To give the loopback interface another address, in a network namespace of its own, which only root may.
    Ip,
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
            Program::Chromium => (&["chromium", "--version"], "apt-get install chromium"),
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
    command.args(["--disable", "--silent", "--show-error", "--max-time", "25"]);
    command.arg("--cacert").arg(&tls::identity().certificate).args(arguments);
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

/// Prints the page as it is after its load event. Every name below `.test` is this host.
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
        "--ignore-certificate-errors",
    ]);
    command.arg(format!("--user-data-dir={}", scratch_directory().display()));
    Process::spawn(command.args(["--dump-dom", url]))
}
