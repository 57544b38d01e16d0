//! ronde, nginx, HAProxy and the floor, each started in front of two backends.

use crate::stage::backends::start_nginx;
use crate::stage::process::Process;
use crate::stage::tools::Tool;
use crate::stage::{http, ports};
use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

/// Flags for ronde in every run. Like its peers it keeps idle connections for long, and it writes nothing.
const RONDE: &str = "--access-log off --log-level error --keep-alive-timeout 1h --backend-keep-alive-timeout 1h \
                     --shutdown-grace 0s";

/// A proxy program.
#[derive(Clone, Debug)]
pub enum Kind {
    Ronde {
        program: Tool,
    },
    Nginx {
        program: Tool,
    },
    Haproxy {
        program: Tool,
    },
    /// A relay that understands nothing. Its program is a bench, which `argument` makes the floor.
    Floor {
        program: Tool,
        argument: &'static str,
    },
}

impl Kind {
    pub fn program(&self) -> &Tool {
        match self {
            Self::Ronde { program }
            | Self::Nginx { program }
            | Self::Haproxy { program }
            | Self::Floor { program, .. } => program,
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    pub process: Process,
    _directory: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of two backends and waits until it answers. `flags` are for ronde only.
    ///
    /// # Errors
    /// The proxy does not start; the error contains its output.
    pub fn start(kind: &Kind, backends: [SocketAddr; 2], flags: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ronde-bench-proxy-").tempdir()?;
        let address = ports::free()?;
        let fill = |settings: &str| {
            settings
                .replace("@LISTEN@", &address.to_string())
                .replace("@FIRST@", &backends[0].to_string())
                .replace("@SECOND@", &backends[1].to_string())
        };
        let process = match kind {
            Kind::Ronde { program } => {
                let arguments = [format!("--listen={address}")];
                let arguments = arguments
                    .into_iter()
                    .chain(RONDE.split_whitespace().map(str::to_owned))
                    .chain(flags.iter().map(|&flag| flag.to_owned()))
                    .chain(backends.map(|backend| backend.to_string()));
                let arguments: Vec<_> = arguments.collect();
                Process::start("ronde", &program.path, &arguments, directory.path().join("output"))?
            }
            Kind::Nginx { program } => {
                start_nginx("nginx", program, &directory, &fill(include_str!("nginx.conf")))?
            }
            Kind::Haproxy { program } => {
                start_haproxy(program, directory.path(), &fill(include_str!("haproxy.cfg")))?
            }
            Kind::Floor { program, argument } => {
                let arguments = [(*argument).to_owned(), address.to_string()];
                let arguments: Vec<_> =
                    arguments.into_iter().chain(backends.map(|backend| backend.to_string())).collect();
                Process::start("floor", &program.path, &arguments, directory.path().join("output"))?
            }
        };
        http::await_answer(address, "/100").with_context(|| process.output())?;
        Ok(Self { address, process, _directory: directory })
    }
}

fn start_haproxy(program: &Tool, directory: &Path, settings: &str) -> Result<Process> {
    let file = directory.join("haproxy.cfg");
    fs::write(&file, settings)?;
    let arguments = ["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
    Process::start("haproxy", &program.path, &arguments, directory.join("output"))
}
