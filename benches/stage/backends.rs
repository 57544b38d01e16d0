//! One nginx that serves as all backends.

use crate::stage::process::Process;
use crate::stage::tools::Tool;
use crate::stage::{http, ports, site};
use anyhow::{Context, Result};
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// Response bodies that are files, by path and length in bytes. The files are sparse: they are read from the page
/// cache.
const FILES: [(&str, u64); 4] = [("upload", 0), ("10k", 10 << 10), ("1m", 1 << 20), ("100m", 100 << 20)];

#[derive(Debug)]
pub struct Backends {
    pub addresses: Vec<SocketAddr>,
    _nginx: Process,
    _directory: TempDir,
}

impl Backends {
    /// Two.
    ///
    /// # Errors
    /// nginx does not start.
    pub fn two(nginx: &Tool) -> Result<Self> {
        Self::start(nginx, vec![ports::free()?, ports::free()?])
    }

    /// As many as a large site has: one port on the addresses from 127.0.1.0 on.
    ///
    /// # Errors
    /// nginx does not start.
    pub fn many(nginx: &Tool) -> Result<Self> {
        let port = ports::free()?.port();
        let address =
            |number| (Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 0).to_bits() + number), port).into();
        Self::start(nginx, (0..).take(site::MANY).map(address).collect())
    }

    fn start(nginx: &Tool, addresses: Vec<SocketAddr>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ronde-bench-backends-").tempdir()?;
        for (name, length) in FILES {
            File::create(directory.path().join(name))?.set_len(length)?;
        }
        let listeners = addresses.iter().map(|address| format!("listen {address} backlog=4096;\n"));
        let settings = include_str!("backends.conf")
            .replace("@LISTENERS@", &listeners.collect::<String>())
            .replace("@FILES@", &directory.path().display().to_string());
        let process = start_nginx("backends", nginx, &directory, &settings)?;
        for address in &addresses {
            http::await_answer(*address, "bench", "/100").with_context(|| process.output())?;
        }
        Ok(Self { addresses, _nginx: process, _directory: directory })
    }
}

/// Starts an nginx that keeps all its files in `directory`.
///
/// # Errors
/// The directory cannot be written, or nginx cannot be started.
pub fn start_nginx(name: &str, nginx: &Tool, directory: &TempDir, settings: &str) -> Result<Process> {
    // nginx started by root runs its workers as another user.
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    let file = directory.path().join("nginx.conf");
    fs::write(&file, settings)?;
    let (file, prefix) = (file.display().to_string(), directory.path().display().to_string());
    let args = ["-p", &prefix, "-c", &file, "-e", "stderr", "-g", "daemon off;"].map(str::to_owned);
    Process::start(name, &nginx.path, &args, directory.path().join("output"))
}
