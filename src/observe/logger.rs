//! Access lines and diagnostics, written by a thread of their own.
//!
//! The problem: a write to a terminal, a pipe or a full disk may block. If workers wrote the lines, they would stop
//! with the terminal, and with them every client that waits for a worker. So lines go into a bounded channel, and one
//! thread writes them. When it falls behind, lines are dropped and counted, and the count is reported. Never
//! `println!`, which panics when standard output is closed.
//!
//! Not here: levels and filters of diagnostics. `log` and simplelog apply them, and write to [`Diagnostics`]. Counts of
//! requests are in `counters`.

use crate::config::AccessLog;
use crate::observe::access::{self, Access, write_access};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The most lines that wait to be written: some 2 MB at 300 bytes each.
const BACKLOG: usize = 8192;

/// The most memory that waiting lines take, in bytes: 32 MiB.
pub const MEMORY: usize = BACKLOG * access::LINE;

/// Lines written with one call, if that many wait.
const BATCH: usize = 256;

/// The sending side of the logger. All threads share it.
#[derive(Clone)]
pub struct Logger {
    sender: Sender<Message>,
    lost: Arc<AtomicU64>,
    format: AccessLog,
}

enum Message {
    Access(Box<Access>),
    Diagnostic(Vec<u8>),
    /// Answered once everything before it has been written.
    End(Sender<()>),
}

impl Logger {
    /// Starts the logger's thread. Access lines get this format.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(format: AccessLog) -> io::Result<Self> {
        let (sender, receiver) = bounded(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let logger = Self { sender, lost: Arc::clone(&lost), format };
        thread::Builder::new().name("logger".into()).spawn(move || write_all(&receiver, &lost, format))?;
        Ok(logger)
    }

    /// Whether access lines are written. A caller that asks first need not collect their contents in vain.
    pub fn wants_access(&self) -> bool {
        self.format != AccessLog::Off
    }

    /// Whether access lines contain the referer and the user agent.
    pub fn wants_agents(&self) -> bool {
        matches!(self.format, AccessLog::Combined | AccessLog::Json)
    }

    /// Queues an access line. If the queue is full, drops and counts it.
    pub fn access(&self, access: Access) {
        self.send(Message::Access(Box::new(access)));
    }

    /// Waits until the queued lines are written: at most `timeout` for room in the queue, and at most `timeout` for the
    /// writing.
    pub fn finish(&self, timeout: Duration) {
        let (done, written) = bounded(1);
        if self.sender.send_timeout(Message::End(done), timeout).is_ok() {
            let _ = written.recv_timeout(timeout);
        }
    }

    fn send(&self, message: Message) {
        if self.sender.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The writer for simplelog: passes whole lines to the logger.
pub struct Diagnostics {
    logger: Logger,
    line: Vec<u8>,
}

impl Diagnostics {
    pub fn new(logger: Logger) -> Self {
        Self { logger, line: Vec::new() }
    }
}

impl Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            self.logger.send(Message::Diagnostic(std::mem::take(&mut self.line)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The logger's thread.
fn write_all(receiver: &Receiver<Message>, lost: &AtomicU64, format: AccessLog) {
    let (mut access, mut diagnostics) = (Vec::new(), Vec::new());
    while let Ok(first) = receiver.recv() {
        let mut ended = None;
        for message in std::iter::once(first).chain(receiver.try_iter().take(BATCH)) {
            match message {
                Message::Access(line) => write_access(&mut access, &line, format),
                Message::Diagnostic(line) => diagnostics.extend_from_slice(&line),
                Message::End(done) => ended = Some(done),
            }
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ =
                writeln!(diagnostics, "[WARN] {count} log lines were dropped: they are not read fast enough");
        }
        // A closed or full output loses its own lines only.
        let _ = io::stdout().lock().write_all(&access).and_then(|()| io::stdout().flush());
        let _ = io::stderr().lock().write_all(&diagnostics);
        access.clear();
        diagnostics.clear();
        if let Some(done) = ended {
            let _ = done.send(());
        }
    }
}
