//! One nginx that serves as both backends.

use crate::stage::process::Process;
use crate::stage::tools::Tool;
use crate::stage::{http, ports};
use anyhow::{Context, Result};
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// Response bodies that are files, by path and length in bytes. The files are sparse: they are read from the page
/// cache.
const FILES: [(&str, u64); 4] = [("upload", 0), ("10k", 10 << 10), ("1m", 1 << 20), ("100m", 100 << 20)];

#[derive(Debug)]
pub struct Backends {
    pub addresses: [SocketAddr; 2],
    _nginx: Process,
    _directory: TempDir,
}

impl Backends {
    /// # Errors
    /// nginx does not start.
    pub fn start(nginx: &Tool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("ronde-bench-backends-").tempdir()?;
        for (name, length) in FILES {
            File::create(directory.path().join(name))?.set_len(length)?;
        }
        let addresses = [ports::free()?, ports::free()?];
        let settings = include_str!("backends.conf")
            .replace("@FIRST@", &addresses[0].to_string())
            .replace("@SECOND@", &addresses[1].to_string())
            .replace("@FILES@", &directory.path().display().to_string());
        let process = start_nginx("backends", nginx, &directory, &settings)?;
        for address in addresses {
            http::await_answer(address, "/100").with_context(|| process.output())?;
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
