//! A child process that ends when its owner drops it.

use crate::stage::account;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The time that a process has to end after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(5);

/// A process. Dropping this sends SIGTERM, and SIGKILL after [`TERM_TIMEOUT`] (5 s).
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to the file `log`.
    ///
    /// The program leads its own process group, so that Ctrl-C reaches only the bench. If the bench dies without
    /// dropping this, the kernel sends the program SIGTERM.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(name: &str, program: &Path, args: &[String], log: PathBuf) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name: name.to_owned(), log })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The output so far, for an error message.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ends_in_time(&mut self) -> bool {
        let deadline = Instant::now() + TERM_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = account::family(self.id());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        if self.ends_in_time() {
            return;
        }
        eprintln!("{} did not end within {} s and was killed", self.name, TERM_TIMEOUT.as_secs());
        for pid in family.iter().filter_map(|&pid| Pid::from_raw(pid.try_into().ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
