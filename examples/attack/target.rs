//! The proxy under attack: a step of the ladder or ronde, built and started here, or one that runs already.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// Where the backends listen for a proxy that runs already.
pub const BACKENDS: [SocketAddr; 2] = [loopback(9001), loopback(9002)];

/// Those of a proxy that is started here: any port that is free.
const ANY: [SocketAddr; 2] = [loopback(0); 2];

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// What the command line names.
pub enum Target {
    Program(PathBuf),
    Running(SocketAddr),
}

impl Target {
    /// # Errors
    /// There is no such step, it cannot be built, or the address is not one of this machine alone.
    pub fn named(against: &str) -> io::Result<Self> {
        if let Ok(address) = against.parse::<SocketAddr>() {
            return match address.ip().is_loopback() {
                true => Ok(Self::Running(address)),
                false => Err(io::Error::other("only addresses of the loopback interface are attacked")),
            };
        }
        if against.contains('/') {
            return Ok(Self::Program(against.into()));
        }
        build(against).map(Self::Program)
    }

    pub fn backends(&self) -> [SocketAddr; 2] {
        match self {
            Self::Program(_) => ANY,
            Self::Running(_) => BACKENDS,
        }
    }
}

/// Builds a step or ronde beside this program, and returns its path.
fn build(name: &str) -> io::Result<PathBuf> {
    let examples = std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if examples.parent().is_some_and(|profile| profile.ends_with("release")) {
        cargo.arg("--release");
    }
    let program = if name == "ronde" {
        cargo.args(["--bin", name]);
        examples.with_file_name(name)
    } else {
        let step = step(name)?;
        cargo.args(["--example", &step]);
        examples.join(step)
    };
    match cargo.status()?.success() {
        true => Ok(program),
        false => Err(io::Error::other("it does not build")),
    }
}

/// The full name of the step that begins with these letters.
fn step(name: &str) -> io::Result<String> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))?.flatten();
    let mut steps = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".rs").map(String::from));
    steps.find(|step| step.starts_with(name)).ok_or_else(|| io::Error::other("there is no such step"))
}

/// A proxy at its address, with its process if it was started here. It ends with this value.
pub struct Proxy {
    pub address: SocketAddr,
    process: Option<Child>,
}

impl Proxy {
    pub fn start(target: &Target, backends: &[SocketAddr]) -> io::Result<Self> {
        let program = match target {
            Target::Running(address) => return Ok(Self { address: *address, process: None }),
            Target::Program(program) => program,
        };
        let mut command = Command::new(program);
        if program.ends_with("ronde") {
            // As many workers as the steps have, and similar limits.
            command.args(["--workers=4", "--head-timeout=1s", "--response-timeout=3s", "--access-log=off"]);
            command.arg("--listen");
        }
        command.arg(loopback(0).to_string()).args(backends.iter().map(SocketAddr::to_string));
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?).lines();
        let said = lines.by_ref().map_while(Result::ok);
        let address = said.filter_map(|line| {
            let word = line.split_once("listening on ")?.1.split([' ', ';', ',']).next()?;
            word.parse().ok()
        });
        let address = address.take(1).next();
        let proxy = |address| Self { address, process: Some(process) };
        let proxy = address.map(proxy).ok_or_else(|| io::Error::other("it does not listen"))?;
        // What it says later is not read, but it must not wait for a full pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(proxy)
    }

    /// Of a proxy that was started here.
    pub fn threads(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.as_ref()?.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
    }

    /// Tells it to end.
    pub fn terminate(&self) -> io::Result<()> {
        let process = self.process.as_ref().ok_or_else(|| io::Error::other("it was not started here"))?;
        Ok(kill_process(Pid::from_child(process), Signal::TERM)?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_wait().ok()?
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
