//! This program again, in another process: a descriptor limit of its own, and CPU that is not the bench's.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Ends when this is dropped; and when the bench dies, for its standard input ends then.
pub struct Helper {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Helper {
    /// # Errors
    /// It cannot be started.
    pub fn start(arguments: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a helper")?;
        let input = child.stdin.take().context("its input")?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { child, input, lines })
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// It says nothing for so long.
    pub fn hear(&self, patience: Duration) -> Result<String> {
        self.lines.recv_timeout(patience).context("a helper says nothing")
    }

    /// # Errors
    /// It has ended, or does not answer.
    pub fn tell(&mut self, word: &str) -> Result<String> {
        writeln!(self.input, "{word}")?;
        self.hear(Duration::from_secs(20))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
