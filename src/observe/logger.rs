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
//! requests are in `metrics`, partial writes in `output`.

use crate::config::{AccessLog, Config};
use crate::observe::access::{self, Access, write_access};
use crate::observe::destination::{Destination, OpenError};
use crate::observe::metrics::snapshot::LinesLost;
use crate::observe::output::{Output, identity};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fmt;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
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
    /// None before the first line is wanted.
    access: Arc<OnceLock<Queue>>,
    to_access: Arc<Destination>,
    diagnostics: Queue,
    form: Form,
}

/// The format of access lines, which a reload may change.
#[derive(Clone)]
struct Form(Arc<AtomicUsize>);

impl Form {
    const ALL: [AccessLog; 4] = [AccessLog::Off, AccessLog::Plain, AccessLog::Combined, AccessLog::Json];

    fn new(form: AccessLog) -> Self {
        let new = Self(Arc::default());
        new.set(form);
        new
    }

    fn get(&self) -> AccessLog {
        Self::ALL.get(self.0.load(Ordering::Relaxed)).copied().unwrap_or(AccessLog::Off)
    }

    fn set(&self, form: AccessLog) {
        let number = Self::ALL.iter().position(|other| *other == form).unwrap_or_default();
        self.0.store(number, Ordering::Relaxed);
    }
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
        let (to_access, to_diagnostics) =
            (Destination::of_access_lines(config), Destination::of_diagnostics(config));
        // Opened first, so that there is a file to compare with.
        let output = open(&to_diagnostics)?;
        let backlog = if to_access.is(&to_diagnostics) { ACCESS_BACKLOG } else { DIAGNOSTICS_BACKLOG };
        let form = Form::new(AccessLog::Off);
        let diagnostics = Queue::start(to_diagnostics, output, backlog, form.clone())?;
        let logger = Self { access: Arc::default(), to_access: Arc::new(to_access), diagnostics, form };
        logger.change_form(config.access_log)?;
        Ok(logger)
    }

    /// Access lines get this format from now on.
    ///
    /// # Errors
    /// See [`StartError`]. Then nothing has changed.
    pub fn change_form(&self, format: AccessLog) -> Result<(), StartError> {
        if format != AccessLog::Off && self.access.get().is_none() {
            let to = &*self.to_access;
            // With `2>&1`, or one file for both, one thread writes both: two would tear each other's lines, and both would
            // stop with the one reader.
            let queue = match to.is(&self.diagnostics.destination) {
                true => self.diagnostics.clone(),
                false => Queue::start(to.clone(), open(to)?, ACCESS_BACKLOG, self.form.clone())?,
            };
            let _ = self.access.set(queue);
        }
        self.form.set(format);
        Ok(())
    }

    /// Has the files opened again. Returns whether there are any.
    pub fn reopen(&self) -> bool {
        let queues = self.access.get().into_iter().chain([&self.diagnostics]);
        queues.map(Queue::reopen).filter(|is_file| *is_file).count() > 0
    }

    /// Whether access lines are written. A caller that asks first need not collect their contents in vain.
    pub fn wants_access(&self) -> bool {
        self.form.get() != AccessLog::Off
    }

    /// Whether access lines contain the host.
    pub fn wants_host(&self) -> bool {
        matches!(self.form.get(), AccessLog::Plain | AccessLog::Json)
    }

    /// Whether access lines contain the referer and the user agent.
    pub fn wants_agents(&self) -> bool {
        matches!(self.form.get(), AccessLog::Combined | AccessLog::Json)
    }

    /// Queues an access line. If the queue is full, drops and counts it.
    pub fn access(&self, access: Access) {
        let Some(queue) = self.access.get() else { return };
        if queue.send(Message::Access(Box::new(access))) == Sent::FirstLost {
            let to = &queue.destination;
            log::warn!("{to} is not {} fast enough: access lines are lost until it is", to.neglect());
        }
    }

    /// How many lines each output has not taken, since the start.
    pub fn lost(&self) -> Vec<LinesLost> {
        let of = |queue: &Queue| LinesLost {
            output: queue.destination.to_string(),
            lines: queue.lost.total.load(Ordering::Relaxed),
        };
        let is_another = |access: &&Queue| !Arc::ptr_eq(&access.lost, &self.diagnostics.lost);
        let access = self.access.get().filter(is_another);
        std::iter::once(&self.diagnostics).chain(access).map(of).collect()
    }

    /// Waits until the queued lines are written: for each output at most half of `timeout`.
    pub fn finish(&self, timeout: Duration) {
        // Access lines first: their writer may have to say how many were lost.
        if let Some(queue) = self.access.get()
            && !queue.finish(timeout / 2)
        {
            let (to, waiting) = (&queue.destination, queue.sender.len().max(1));
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
    lost: Arc<Lost>,
}

/// Lines that were not written.
#[derive(Debug, Default)]
struct Lost {
    /// Not reported yet.
    unreported: AtomicU64,
    /// Since the start.
    total: AtomicU64,
}

impl Lost {
    /// Counts so many. Returns whether a loss begins with them.
    fn add(&self, lines: u64) -> bool {
        self.total.fetch_add(lines, Ordering::Relaxed);
        self.unreported.fetch_add(lines, Ordering::Relaxed) == 0
    }
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
        form: Form,
    ) -> Result<Self, StartError> {
        let (sender, receiver) = bounded(backlog);
        let queue =
            Self { destination: Arc::new(destination), sender, reopen: Arc::default(), lost: Arc::default() };
        let Self { destination, reopen, lost, .. } = queue.clone();
        let writer = Writer { destination, output, receiver, reopen, lost, form };
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
            Err(_) if self.lost.add(1) => Sent::FirstLost,
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
    lost: Arc<Lost>,
    form: Form,
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

    /// Puts a batch together, from what waits now. Returns the sender that waits for it to be written, if there is one.
    fn collect(&self, first: Message, lines: &mut Vec<u8>) -> Option<Sender<()>> {
        let (mut ended, mut next) = (None, Some(first));
        while let Some(message) = next {
            match message {
                Message::Access(access) => write_access(lines, &access, self.form.get()),
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
                if lost.lines > 0 && self.lost.add(lost.lines) {
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
        let count = self.lost.unreported.swap(0, Ordering::Relaxed);
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
