//! The proxies as one would run them: with their timeouts, which `versus` takes away.

use crate::stage::backends::start_nginx;
use crate::stage::process::Process;
use crate::stage::tools::{self, Tool};
use crate::stage::{http, ports};
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use tempfile::TempDir;

pub const NAMES: [&str; 3] = ["ronde", "nginx", "haproxy"];
const RONDE: &str = "--access-log off --log-level error --shutdown-grace 0s";
/// As few as anybody would give it; `ronde-256` has as many as that.
const WORKERS: &str = "8";

/// A proxy that runs.
pub struct Proxy {
    pub address: SocketAddr,
    pub process: Process,
    _directory: TempDir,
}

impl Proxy {
    /// # Errors
    /// It does not start; with what it said.
    pub fn start(name: &str, backends: &[SocketAddr]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ronde-hazards-").tempdir()?;
        let address = ports::free()?;
        let fill = |settings: &str, line: &dyn Fn(&SocketAddr) -> String| {
            let servers = backends.iter().fold(String::new(), |mut text, backend| {
                let _ = writeln!(text, "    {}", line(backend));
                text
            });
            settings.replace("@LISTEN@", &address.to_string()).replace("@SERVERS@", &servers)
        };
        let process = match name {
            _ if name.starts_with("ronde") => {
                let workers = name.strip_prefix("ronde-").unwrap_or(WORKERS);
                let mut arguments = vec![format!("--listen={address}"), format!("--workers={workers}")];
                arguments.extend(RONDE.split(' ').map(str::to_owned));
                arguments.extend(backends.iter().map(SocketAddr::to_string));
                let program = Tool::at(env!("CARGO_BIN_EXE_ronde").into(), "-v");
                Process::start(name, &program.path, &arguments, directory.path().join("output"))?
            }
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
            _ => bail!("no such proxy: {name}"),
        };
        http::await_answer(address, "/100").with_context(|| process.output())?;
        Ok(Self { address, process, _directory: directory })
    }
}
