//! Clients and servers that others wrote: curl, wrk, Python and its libraries, Chromium.
//!
//! The rule: `cargo test` needs Rust and nothing else. A test whose program is missing is skipped, and a line on
//! standard error says which, why, and what to install. Where every program must be there, `RONDE_REAL_CLIENTS=1`
//! turns the skip into a failure; `.ci/run` sets it.

use super::process::Process;
use super::scratch_directory;
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
    Chromium,
}

impl Program {
    /// False when the test is to be skipped.
    pub fn is_there(self) -> bool {
        let (probe, remedy): (&[&str], _) = match self {
            Program::Curl => (&["curl", "--version"], "apt-get install curl"),
            Program::Wrk => (&["wrk", "-v"], "apt-get install wrk"),
            Program::Python => (&["python3", "--version"], "apt-get install python3"),
            Program::Requests => (&["python3", "-c", "import requests"], "python3 -m pip install requests"),
            Program::Websockets => {
                (&["python3", "-c", "import websockets"], "python3 -m pip install websockets")
            }
            Program::Chromium => (&["chromium", "--version"], "apt-get install chromium"),
        };
        let done = Command::new(probe[0]).args(&probe[1..]).output();
        // wrk knows no way to ask for its version that is not a failure.
        if done.is_ok_and(|done| done.status.success() || matches!(self, Program::Wrk)) {
            return true;
        }
        let missing = format!("{self:?} is not installed here ({remedy})");
        assert!(std::env::var_os("RONDE_REAL_CLIENTS").is_none_or(|set| set != "1"), "{missing}");
        let thread = std::thread::current();
        let line = format!("skipped: {}: {missing}", thread.name().unwrap_or_default());
        println!("{line}");
        // cargo shows the output of failed tests alone, but it takes only what is printed by macros.
        let _nobody_looks = writeln!(std::io::stderr(), "{line}");
        false
    }

    /// Started with no proxy but the one it is told of.
    fn command(name: &str) -> Command {
        let mut command = Command::new(name);
        for (variable, _) in std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy")) {
            command.env_remove(variable);
        }
        command
    }
}

/// Fails on a transfer that breaks off, not on a status.
pub fn curl(arguments: &[&str]) -> Process {
    curl_from(Stdio::null(), arguments)
}

/// With a file as its standard input.
pub fn curl_reading(file: &Path, arguments: &[&str]) -> Process {
    curl_from(File::open(file).expect("the file").into(), arguments)
}

fn curl_from(stdin: Stdio, arguments: &[&str]) -> Process {
    let mut command = Program::command("curl");
    command.args(["--disable", "--silent", "--show-error", "--max-time", "25"]).args(arguments);
    Process::spawn_between(stdin, Stdio::piped(), &mut command)
}

/// A script below the repository's root.
pub fn python(script: &str, arguments: &[&str]) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    Process::spawn(Program::command("python3").arg(script).args(arguments).env("PYTHONUNBUFFERED", "1"))
}

/// A script that listens on a port of its own choice, and says so at the end of a line.
pub fn python_server(script: &str, arguments: &[&str]) -> (Process, SocketAddr) {
    let server = python(script, arguments);
    let line = server.stdout.line_with("listen");
    let number = line.rsplit([' ', ':']).next().and_then(|number| number.parse().ok());
    (server, SocketAddr::from(([127, 0, 0, 1], number.expect("a port"))))
}

pub fn wrk(connections: usize, url: &str) -> Process {
    // A thousand connections, and a thousand more behind the proxy, are past the usual limit of 1024 files.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more open files");
    let connections = format!("-c{connections}");
    Process::spawn(Program::command("wrk").args(["-t2", "-d2s", "--timeout=10s", &connections, url]))
}

/// Prints the page as it is when its load event is over.
pub fn chromium(url: &str) -> Process {
    let mut command = Program::command("chromium");
    // Root, whom containers like, may not have a sandbox; /dev/shm is small there.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
    ]);
    command.arg(format!("--user-data-dir={}", scratch_directory().display()));
    Process::spawn(command.args(["--dump-dom", url]))
}
