//! Access lines and diagnostics, written by threads of their own.
//!
//! The problem: a write to a terminal, a pipe or a full disk may block. If workers wrote the lines, they would stop
//! with the terminal, and with them every client that waits for a worker. So lines go into bounded queues, and a thread
//! for each output writes them: one that is not read cannot silence the other. A line that finds its queue full, or
//! that cannot be written, is lost as a whole and counted. The log says so when lines begin to be lost, and how many
//! were when that is over. Never `println!`, which panics when standard output is closed.
//!
//! A file is opened again by the thread that writes it, between two batches: so each line is in one file, as a whole. That
//! it should is a flag and no message: a queue that is full would lose a message, but its thread sees the flag at the next
//! batch.
//!
//! Not here: levels and filters of diagnostics. `log` and simplelog apply them, and write to [`Diagnostics`]. Counts of
//! requests are in `counters`, partial writes in `output`.

use crate::config::{AccessLog, Config};
use crate::observe::access::{self, Access, write_access};
use crate::observe::destination::{Destination, OpenError};
use crate::observe::output::{Output, identity};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The most access lines that wait to be written: some 2 MB at 300 bytes each.
const ACCESS_BACKLOG: usize = 8192;

/// The most diagnostics that wait. They are about changes and not about requests: a thousand are the log of a week.
const DIAGNOSTICS_BACKLOG: usize = 1024;

/// The most memory that waiting lines take, in bytes: 45 MiB.
pub const MEMORY: usize = (ACCESS_BACKLOG + DIAGNOSTICS_BACKLOG) * access::LINE;

/// Bytes of lines written with one call, if that many wait: what a pipe holds.
const BATCH: usize = 64 * 1024;

/// The sending side of the logger. All threads share it.
#[derive(Clone)]
pub struct Logger {
    access: Queue,
    diagnostics: Queue,
    format: AccessLog,
}

/// Why there is no logger.
#[derive(Debug)]
pub enum StartError {
    Destination(OpenError),
    /// The system has no thread left.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Destination(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "the system has no thread for the logger: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Logger {
    /// Opens what is written to, and starts the logger's threads.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let format = config.access_log;
        let (access, diagnostics) =
            (Destination::of_access_lines(config), Destination::of_diagnostics(config));
        let to_diagnostics = open(&diagnostics)?;
        let to_access = if format == AccessLog::Off { None } else { Some(open(&access)?) };
        // With `2>&1`, or one file for both, one thread writes both: two would tear each other's lines, and both would stop
        // with the one reader.
        let own = to_access.filter(|output| output.identity() != to_diagnostics.identity());
        let is_one = format != AccessLog::Off && own.is_none();
        let backlog = if is_one { ACCESS_BACKLOG } else { DIAGNOSTICS_BACKLOG };
        let diagnostics = Queue::start(diagnostics, to_diagnostics, backlog, format)?;
        let access = match own {
            Some(output) => Queue::start(access, output, ACCESS_BACKLOG, format)?,
            None => diagnostics.clone(),
        };
        Ok(Self { access, diagnostics, format })
    }

    /// Has the files opened again. Returns whether there are any.
    pub fn reopen(&self) -> bool {
        let queues = [&self.access, &self.diagnostics].map(Queue::reopen);
        queues.contains(&true)
    }

    /// Whether access lines are written. A caller that asks first need not collect their contents in vain.
    pub fn wants_access(&self) -> bool {
        self.format != AccessLog::Off
    }

    /// Whether access lines contain the host.
    pub fn wants_host(&self) -> bool {
        matches!(self.format, AccessLog::Plain | AccessLog::Json)
    }

    /// Whether access lines contain the referer and the user agent.
    pub fn wants_agents(&self) -> bool {
        matches!(self.format, AccessLog::Combined | AccessLog::Json)
    }

    /// Queues an access line. If the queue is full, drops and counts it.
    pub fn access(&self, access: Access) {
        if self.access.send(Message::Access(Box::new(access))) == Sent::FirstLost {
            let to = &self.access.destination;
            log::warn!("{to} is not {} fast enough: access lines are lost until it is", to.neglect());
        }
    }

    /// Waits until the queued lines are written: for each output at most half of `timeout`.
    pub fn finish(&self, timeout: Duration) {
        // Access lines first: their writer may have to say how many were lost.
        if !self.access.finish(timeout / 2) {
            let (to, waiting) = (&self.access.destination, self.access.sender.len().max(1));
            log::warn!("{to} is not {}: at least {waiting} access lines are lost", to.neglect());
        }
        self.diagnostics.finish(timeout / 2);
    }
}

/// Whether standard error is the journal of systemd, which puts a time before each line. `JOURNAL_STREAM` names its
/// file (systemd.exec(5)); the variable alone says nothing, because a terminal that systemd has started passes it on.
pub fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stderr = identity(io::stderr()).map(|(device, number)| format!("{device}:{number}"));
    stream.is_some() && stream == stderr
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
            // A lost line can only be reported later, by the thread that writes: this is in the middle of a report.
            let _ = self.logger.diagnostics.send(Message::Diagnostic(std::mem::take(&mut self.line)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Message {
    Access(Box<Access>),
    Diagnostic(Vec<u8>),
    /// Only wakes the thread, which then sees its flag.
    Reopen,
    /// Answered once everything before it has been written.
    End(Sender<()>),
}

/// The lines that wait for one output.
#[derive(Clone)]
struct Queue {
    destination: Arc<Destination>,
    sender: Sender<Message>,
    /// Whether the file is to be opened again.
    reopen: Arc<AtomicBool>,
    /// Lines lost and not yet reported.
    lost: Arc<AtomicU64>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Queued,
    /// It is lost, and with it begins a loss.
    FirstLost,
    Lost,
}

impl Queue {
    /// Starts the thread that writes the lines.
    fn start(
        destination: Destination,
        output: Output<OwnedFd>,
        backlog: usize,
        format: AccessLog,
    ) -> Result<Self, StartError> {
        let (sender, receiver) = bounded(backlog);
        let queue =
            Self { destination: Arc::new(destination), sender, reopen: Arc::default(), lost: Arc::default() };
        let Self { destination, reopen, lost, .. } = queue.clone();
        let writer = Writer { destination, output, receiver, reopen, lost, format };
        let builder = thread::Builder::new().name("logger".into());
        builder.spawn(move || writer.run()).map_err(StartError::Thread)?;
        Ok(queue)
    }

    /// Has the file opened again, if it is one.
    fn reopen(&self) -> bool {
        let is_file = matches!(*self.destination, Destination::File(_));
        if is_file {
            self.reopen.store(true, Ordering::Release);
            // A full queue needs no wake-up.
            let _ = self.sender.try_send(Message::Reopen);
        }
        is_file
    }

    fn send(&self, message: Message) -> Sent {
        match self.sender.try_send(message) {
            Ok(()) => Sent::Queued,
            Err(_) if self.lost.fetch_add(1, Ordering::Relaxed) == 0 => Sent::FirstLost,
            Err(_) => Sent::Lost,
        }
    }

    /// Waits until everything so far has been written, or for so long. Returns whether it was.
    fn finish(&self, timeout: Duration) -> bool {
        let (done, written) = bounded(1);
        let deadline = Instant::now() + timeout;
        self.sender.send_deadline(Message::End(done), deadline).is_ok()
            && written.recv_deadline(deadline).is_ok()
    }
}

/// A thread that writes to one output.
struct Writer {
    destination: Arc<Destination>,
    output: Output<OwnedFd>,
    receiver: Receiver<Message>,
    reopen: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    format: AccessLog,
}

impl Writer {
    fn run(mut self) {
        let mut lines = Vec::new();
        while let Ok(first) = self.receiver.recv() {
            let ended = self.collect(first, &mut lines);
            self.write(&mut lines);
            if let Some(done) = ended {
                self.report_lost();
                // That report may be in this very queue.
                if let Ok(report) = self.receiver.try_recv() {
                    self.collect(report, &mut lines);
                    self.write(&mut lines);
                }
                let _ = done.send(());
            }
        }
    }

    /// Puts a batch together, from what waits now. Returns whom to tell that it is written.
    fn collect(&self, first: Message, lines: &mut Vec<u8>) -> Option<Sender<()>> {
        let (mut ended, mut next) = (None, Some(first));
        while let Some(message) = next {
            match message {
                Message::Access(access) => write_access(lines, &access, self.format),
                Message::Diagnostic(line) => lines.extend_from_slice(&line),
                Message::Reopen => {}
                Message::End(done) => ended = Some(done),
            }
            next = if lines.len() < BATCH { self.receiver.try_recv().ok() } else { None };
        }
        ended
    }

    /// Writes a batch. A loss is over when a batch is written and no line waits: until then more may be lost, and one
    /// report is enough.
    fn write(&mut self, lines: &mut Vec<u8>) {
        if self.reopen.swap(false, Ordering::AcqRel) {
            self.open_again();
        }
        match self.output.write_lines(lines) {
            Ok(()) if self.receiver.is_empty() => self.report_lost(),
            Ok(()) => {}
            Err(lost) => {
                if lost.lines > 0 && self.lost.fetch_add(lost.lines, Ordering::Relaxed) == 0 {
                    log::warn!(
                        "cannot write to {}: {}; lines are lost until that is possible",
                        self.destination,
                        lost.error
                    );
                }
            }
        }
        lines.clear();
    }

    /// The file that is open stays in use until there is another.
    fn open_again(&mut self) {
        match open(&self.destination) {
            Ok(output) => {
                self.output = output;
                log::info!("{} is opened again", self.destination);
            }
            Err(error) => log::warn!("{error}; the lines go on into the file that was open"),
        }
    }

    fn report_lost(&self) {
        let count = self.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            log::warn!("{count} lines were lost: {} did not take them", self.destination);
        }
    }
}

/// Opens it; what it has of a line is ended before the first one.
fn open(destination: &Destination) -> Result<Output<OwnedFd>, StartError> {
    let fd = destination.open().map_err(StartError::Destination)?;
    Ok(if destination.is_torn() { Output::behind_torn_line(fd) } else { Output::new(fd) })
}
