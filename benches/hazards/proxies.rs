//! The proxies as one would run them: with their timeouts, which `versus` takes away.

use crate::hazards::Hazard;
use crate::stage::backends::start_nginx;
use crate::stage::process::Process;
use crate::stage::tls::Pair;
use crate::stage::tools;
use crate::stage::{http, ports, site};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const NAMES: [&str; 3] = ["ronde", "nginx", "haproxy"];
const RONDE: &str = "--access-log off --log-level error --shutdown-grace 0s";

/// What to start by which name.
pub struct Programs {
    /// The path, if it was given.
    ronde: Option<PathBuf>,
    beside: Option<PathBuf>,
}

impl Programs {
    pub fn new(ronde: Option<PathBuf>, beside: Option<PathBuf>) -> Self {
        Self { ronde, beside }
    }

    /// The program, for a name like `ronde-4` or `beside`.
    fn of(&self, name: &str) -> Option<&Path> {
        match name.split('-').next()? {
            "ronde" => Some(self.ronde.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_ronde")))),
            "beside" => self.beside.as_deref(),
            _ => None,
        }
    }

    /// The name, and the program's path if that was given.
    pub fn label(&self, name: &str) -> String {
        match self.of(name) {
            Some(path) if path != Path::new(env!("CARGO_BIN_EXE_ronde")) => {
                format!("{name} ({})", path.display())
            }
            _ => name.to_owned(),
        }
    }
}

/// A proxy that runs.
pub struct Proxy {
    pub address: SocketAddr,
    /// Where it speaks TLS.
    pub with_tls: SocketAddr,
    pub process: Process,
    _directory: TempDir,
}

impl Proxy {
    /// ronde gets as many workers as its name says, or else as `workers` says, or else its default.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start(
        programs: &Programs,
        name: &str,
        workers: Option<&str>,
        backends: &[SocketAddr],
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ronde-hazards-").tempdir()?;
        let (address, with_tls) = (ports::free()?, ports::free()?);
        let pair = Pair::make(directory.path())?;
        let fill = |settings: &str, line: &dyn Fn(&SocketAddr) -> String| {
            let servers = backends.iter().fold(String::new(), |mut text, backend| {
                let _ = writeln!(text, "    {}", line(backend));
                text
            });
            let settings = settings.replace("@LISTEN@", &address.to_string()).replace("@SERVERS@", &servers);
            let (lines, options) = (site::nginx_tls(Some(&pair)).1, site::haproxy_tls(Some(&pair)).0);
            let settings = settings.replace("@LISTEN-TLS@", &with_tls.to_string());
            settings.replace("@TLS@", &lines).replace("@TLS-OPTIONS@", &options)
        };
        let process = match name {
            "nginx" => {
                let settings = fill(include_str!("nginx.conf"), &|backend| format!("    server {backend};"));
                let [nginx] = tools::find(["nginx"])?;
                start_nginx(name, &nginx, &directory, &settings)?
            }
            "haproxy" => {
                let settings = fill(include_str!("haproxy.cfg"), &|backend| {
                    format!("server port-{0} {backend} pool-purge-delay 4s", backend.port())
                });
                let file = directory.path().join("haproxy.cfg");
                fs::write(&file, settings)?;
                let [haproxy] = tools::find(["haproxy"])?;
                let arguments = ["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
                Process::start(name, &haproxy.path, &arguments, directory.path().join("output"))?
            }
            _ => {
                let program = programs.of(name).with_context(|| format!("no such proxy: {name}"))?;
                let workers = name.split_once('-').map(|(_, workers)| workers).or(workers);
                let mut arguments = vec![
                    format!("--listen={address}"),
                    format!("--tls-listen={with_tls}"),
                    format!("--tls-certificate={}", pair.certificate.display()),
                    format!("--tls-key={}", pair.key.display()),
                ];
                arguments.extend(workers.map(|workers| format!("--workers={workers}")));
                arguments.extend(RONDE.split(' ').map(str::to_owned));
                arguments.extend(backends.iter().map(SocketAddr::to_string));
                Process::start(name, program, &arguments, directory.path().join("output"))?
            }
        };
        http::await_answer(address, "bench", "/100").with_context(|| process.output())?;
        Ok(Self { address, with_tls, process, _directory: directory })
    }

    /// Where the crowds of a hazard connect to: all with TLS, or all without.
    pub fn address_for(&self, hazard: &Hazard) -> SocketAddr {
        match hazard.crowds.iter().any(|(kind, _)| kind.shakes_hands()) {
            true => self.with_tls,
            false => self.address,
        }
    }
}
