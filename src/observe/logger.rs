//! Access lines and diagnostics, written by a thread of their own; and the counts behind them.
//!
//! The problem: whoever writes to a terminal, a pipe or a full disk waits for it. A worker that logs would stop
//! with the terminal, and with it everyone who waits for a worker. So lines go into a bounded channel and one
//! thread writes them; when it falls behind, lines are lost, counted, and the loss is said. Never `println!`,
//! which panics when standard output is closed.
//!
//! Not here: levels and filters of diagnostics. They come through `log` and simplelog, which write to
//! [`Diagnostics`].

use crate::config::AccessLog;
use crate::observe::access::{self, Access, write_access};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Lines that may wait to be written: at 300 bytes each some 2 MB.
const BACKLOG: usize = 8192;

/// The most memory that waiting lines take.
pub const MEMORY: usize = BACKLOG * access::LINE;

/// Lines written with one call, if so many wait.
const BATCH: usize = 256;

/// The sending side of the logger, shared by every thread.
#[derive(Clone)]
pub struct Logger {
    sender: Sender<Note>,
    lost: Arc<AtomicU64>,
    form: AccessLog,
}

enum Note {
    Access(Box<Access>),
    Diagnostic(Vec<u8>),
    End(Sender<()>),
}

impl Logger {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(form: AccessLog) -> io::Result<Self> {
        let (sender, receiver) = bounded(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let logger = Self { sender, lost: Arc::clone(&lost), form };
        thread::Builder::new().name("logger".into()).spawn(move || write_all(&receiver, &lost, form))?;
        Ok(logger)
    }

    /// Whether access lines are wanted: who asks first need not collect what goes into them.
    pub fn wants_access(&self) -> bool {
        self.form != AccessLog::Off
    }

    /// Whether its lines say where a request came from and with which program.
    pub fn wants_agents(&self) -> bool {
        matches!(self.form, AccessLog::Combined | AccessLog::Json)
    }

    pub fn access(&self, access: Access) {
        self.send(Note::Access(Box::new(access)));
    }

    /// Writes what is waiting, for at most so long.
    pub fn finish(&self, stall: Duration) {
        let (done, written) = bounded(1);
        if self.sender.send_timeout(Note::End(done), stall).is_ok() {
            let _ = written.recv_timeout(stall);
        }
    }

    fn send(&self, note: Note) {
        if self.sender.try_send(note).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where simplelog writes: whole lines go to the logger.
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
            self.logger.send(Note::Diagnostic(std::mem::take(&mut self.line)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The logger's thread.
fn write_all(receiver: &Receiver<Note>, lost: &AtomicU64, form: AccessLog) {
    let (mut access, mut diagnostics) = (Vec::new(), Vec::new());
    while let Ok(first) = receiver.recv() {
        let mut ended = None;
        for note in std::iter::once(first).chain(receiver.try_iter().take(BATCH)) {
            match note {
                Note::Access(line) => write_access(&mut access, &line, form),
                Note::Diagnostic(line) => diagnostics.extend_from_slice(&line),
                Note::End(done) => ended = Some(done),
            }
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(
                diagnostics,
                "[WARN] {count} log lines were lost: they come faster than they are read"
            );
        }
        // A closed or full output loses its lines, and nothing else.
        let _ = io::stdout().lock().write_all(&access).and_then(|()| io::stdout().flush());
        let _ = io::stderr().lock().write_all(&diagnostics);
        access.clear();
        diagnostics.clear();
        if let Some(done) = ended {
            let _ = done.send(());
        }
    }
}
