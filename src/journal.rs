//! Access lines and diagnostics, written by a thread of their own; and the counts behind them.
//!
//! The problem: whoever writes to a terminal, a pipe or a full disk waits for it. A worker that logs would stop
//! with the terminal, and with it everyone who waits for a worker. So lines go into a bounded channel and one
//! thread writes them; when it falls behind, lines are lost, counted, and the loss is said. Never `println!`,
//! which panics when standard output is closed.
//!
//! Not here: levels and filters of diagnostics. They come through `log` and simplelog, which write to
//! [`Diagnostics`].

use crate::clock::Date;
use crate::config::AccessLog;
use crate::failure::Failure;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Lines that may wait to be written: at 300 bytes each some 2 MB.
const BACKLOG: usize = 8192;

/// What a line quotes of any one text of a client's. Nobody reads further, and whole field lines of a few clients who
/// mean it would make the backlog half a gigabyte.
const QUOTED: usize = 1024;

/// The most memory that waiting lines take: three quotes each, and what else is known about a request.
pub const MEMORY: usize = BACKLOG * 4 * QUOTED;

/// Lines written with one call, if so many wait.
const BATCH: usize = 256;

/// Copies some text of a client's, as far as a line quotes it.
pub fn quote(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut quoted = Vec::with_capacity(length.min(QUOTED));
    for part in parts {
        quoted.extend_from_slice(&part[..part.len().min(QUOTED - quoted.len())]);
    }
    quoted
}

/// What is known about a request when it is over.
#[derive(Debug)]
pub struct Access {
    pub client: IpAddr,
    pub line: Line,
    pub record: Record,
}

/// What the request said, in [quotes](quote).
#[derive(Debug, Default)]
pub struct Line {
    /// The request line as it came, as far as it came.
    pub request: Vec<u8>,
    pub referer: Vec<u8>,
    pub user_agent: Vec<u8>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Record {
    /// The status sent to the client, if any was.
    pub status: Option<u16>,
    /// Bytes of body sent to the client.
    pub bytes: u64,
    /// Who answered.
    pub backend: Option<SocketAddr>,
    /// Who was tried before, in order.
    pub tried: Vec<SocketAddr>,
    pub waits: Waits,
    pub failure: Option<Failure>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// From the moment the connection had something to do until a worker took it.
    pub queued: Duration,
    /// For a connection to a backend, all attempts together.
    pub connect: Duration,
    /// From the request's dispatch to the first byte of the response.
    pub first_byte: Duration,
    /// From the moment a worker began to read the request to the last byte of the response.
    pub total: Duration,
}

/// The sending side of the journal, shared by every thread.
#[derive(Clone)]
pub struct Journal {
    sender: Sender<Note>,
    lost: Arc<AtomicU64>,
    form: AccessLog,
}

enum Note {
    Access(Box<Access>),
    Diagnostic(Vec<u8>),
    End(Sender<()>),
}

impl Journal {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(form: AccessLog) -> io::Result<Self> {
        let (sender, receiver) = bounded(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let journal = Self { sender, lost: Arc::clone(&lost), form };
        thread::Builder::new().name("journal".into()).spawn(move || write_all(&receiver, &lost, form))?;
        Ok(journal)
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
    pub fn finish(&self, patience: Duration) {
        let (done, written) = bounded(1);
        if self.sender.send_timeout(Note::End(done), patience).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }

    fn send(&self, note: Note) {
        if self.sender.try_send(note).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where simplelog writes: whole lines go to the journal.
pub struct Diagnostics {
    journal: Journal,
    line: Vec<u8>,
}

impl Diagnostics {
    pub fn new(journal: Journal) -> Self {
        Self { journal, line: Vec::new() }
    }
}

impl Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            self.journal.send(Note::Diagnostic(std::mem::take(&mut self.line)));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The journal's thread.
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

fn write_access(out: &mut Vec<u8>, access: &Access, form: AccessLog) {
    // Writing to a `Vec` cannot fail.
    let _ = match form {
        AccessLog::Off => Ok(()),
        AccessLog::Plain => write_plain(out, access),
        AccessLog::Combined => write_combined(out, access),
        AccessLog::Json => write_json(out, access),
    };
}

/// Made to be read by a person: who, what, how it went, who answered, where the time went, and why it failed.
fn write_plain(out: &mut Vec<u8>, access: &Access) -> io::Result<()> {
    write!(out, "{} {} \"", Date::now().iso(), access.client)?;
    write_escaped(out, &access.line.request)?;
    match access.record.status {
        Some(status) => write!(out, "\" {status} {}", access.record.bytes)?,
        None => write!(out, "\" - {}", access.record.bytes)?,
    }
    match access.record.backend {
        Some(backend) => write!(out, " {backend}")?,
        None => write!(out, " -")?,
    }
    for (name, wait) in access.record.waits.named() {
        write!(out, " {name}={:.2}ms", wait.as_secs_f64() * 1000.0)?;
    }
    for (index, tried) in access.record.tried.iter().enumerate() {
        write!(out, "{}{tried}", if index == 0 { " tried=" } else { "," })?;
    }
    if let Some(failure) = access.record.failure {
        write!(out, " cause=\"{failure}\"")?;
    }
    writeln!(out)
}

/// Apache's combined format, for the tools that read it.
fn write_combined(out: &mut Vec<u8>, access: &Access) -> io::Result<()> {
    write!(out, "{} - - [{}] \"", access.client, Date::now().apache())?;
    write_escaped(out, &access.line.request)?;
    // Nothing was sent: nginx's 499, which every reader of such logs knows.
    write!(out, "\" {} {} \"", access.record.status.unwrap_or(499), access.record.bytes)?;
    write_escaped(out, or_dash(&access.line.referer))?;
    write!(out, "\" \"")?;
    write_escaped(out, or_dash(&access.line.user_agent))?;
    writeln!(out, "\"")
}

/// One object a line.
fn write_json(out: &mut Vec<u8>, access: &Access) -> io::Result<()> {
    write!(out, "{{\"time\":\"{}\",\"client\":\"{}\",\"request\":", Date::now().iso(), access.client)?;
    write_json_string(out, &access.line.request)?;
    match access.record.status {
        Some(status) => write!(out, ",\"status\":{status}")?,
        None => write!(out, ",\"status\":null")?,
    }
    write!(out, ",\"bytes\":{}", access.record.bytes)?;
    match access.record.backend {
        Some(backend) => write!(out, ",\"backend\":\"{backend}\"")?,
        None => write!(out, ",\"backend\":null")?,
    }
    let tried: Vec<_> = access.record.tried.iter().map(|address| format!("\"{address}\"")).collect();
    write!(out, ",\"tried\":[{}]", tried.join(","))?;
    for (name, wait) in access.record.waits.named() {
        write!(out, ",\"{}_ms\":{:.3}", name.replace('-', "_"), wait.as_secs_f64() * 1000.0)?;
    }
    match access.record.failure {
        Some(failure) => write!(out, ",\"cause\":\"{}\"", failure.text().replace('"', "'"))?,
        None => write!(out, ",\"cause\":null")?,
    }
    write!(out, ",\"referer\":")?;
    write_json_string(out, &access.line.referer)?;
    write!(out, ",\"user_agent\":")?;
    write_json_string(out, &access.line.user_agent)?;
    writeln!(out, "}}")
}

impl Waits {
    fn named(&self) -> [(&'static str, Duration); 4] {
        let Self { queued, connect, first_byte, total } = *self;
        [("queued", queued), ("connect", connect), ("first-byte", first_byte), ("total", total)]
    }
}

fn or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}

/// A client writes into this log: it gets no quote, no line end and no escape sequence of a terminal.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}

fn write_json_string(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    out.push(b'"');
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' | '\\' => write!(out, "\\{char}")?,
            char if char.is_control() => write!(out, "\\u{:04x}", u32::from(char))?,
            char => write!(out, "{char}")?,
        }
    }
    out.push(b'"');
    Ok(())
}

/// How often what happened, since the start.
#[derive(Debug)]
pub struct Counters {
    requests: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
}

impl Counters {
    pub fn new() -> Self {
        Self { requests: AtomicU64::new(0), failures: [const { AtomicU64::new(0) }; Failure::ALL.len()] }
    }

    pub fn count(&self, failure: Option<Failure>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = failure {
            self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `12 requests, 3 of them failed: the client is gone (2), the backend refused the connection (1)`
    pub fn summary(&self) -> String {
        let requests = self.requests.load(Ordering::Relaxed);
        let failed: Vec<_> = Failure::ALL
            .iter()
            .map(|failure| (failure, self.failures[*failure as usize].load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let total: u64 = failed.iter().map(|(_, count)| count).sum();
        let causes: Vec<_> = failed.iter().map(|(failure, count)| format!("{failure} ({count})")).collect();
        match total {
            0 => format!("{requests} requests, none failed"),
            _ => format!("{requests} requests, {total} failed: {}", causes.join(", ")),
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn access() -> Access {
        let line = Line {
            request: b"GET /\"\x1b[2J\n HTTP/1.1".to_vec(),
            user_agent: b"a\\b\xff".to_vec(),
            ..Line::default()
        };
        let record = Record {
            status: Some(502),
            bytes: 12,
            tried: vec![([127, 0, 0, 1], 8001).into(), ([127, 0, 0, 1], 8002).into()],
            waits: Waits { total: Duration::from_micros(1500), ..Waits::default() },
            failure: Some(Failure::Refused),
            ..Record::default()
        };
        Access { client: IpAddr::V4(Ipv4Addr::LOCALHOST), line, record }
    }

    fn written(form: AccessLog, access: &Access) -> String {
        let mut out = vec![];
        write_access(&mut out, access, form);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_says_everything_and_is_one_line() {
        let line = written(AccessLog::Plain, &access());
        assert!(
            line.ends_with(
                " 127.0.0.1 \"GET /\\\"\\x1b[2J\\x0a HTTP/1.1\" 502 12 - queued=0.00ms connect=0.00ms \
                 first-byte=0.00ms total=1.50ms tried=127.0.0.1:8001,127.0.0.1:8002 \
                 cause=\"the backend refused the connection\"\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn combined_is_what_tools_expect() {
        let unanswered = Record { status: None, ..access().record };
        let line = written(AccessLog::Combined, &Access { record: unanswered, ..access() });
        assert!(line.starts_with("127.0.0.1 - - ["));
        assert!(
            line.ends_with("] \"GET /\\\"\\x1b[2J\\x0a HTTP/1.1\" 499 12 \"-\" \"a\\\\b\\xff\"\n"),
            "{line}"
        );
    }

    #[test]
    fn json_is_json() {
        let line = written(AccessLog::Json, &access());
        assert!(
            line.contains(r#""request":"GET /\"\u001b[2J\u000a HTTP/1.1","status":502,"bytes":12"#),
            "{line}"
        );
        assert!(line.contains(r#""tried":["127.0.0.1:8001","127.0.0.1:8002"]"#), "{line}");
        assert!(line.contains(r#""user_agent":"a\\b�""#) && line.ends_with("}\n"), "{line}");
    }

    #[test]
    fn a_quote_ends_where_nobody_reads_further() {
        assert_eq!(quote(&[b"GET", b" ", b"/"]), b"GET /");
        let quoted = quote(&[b"GET ", &[b'x'; 2 * QUOTED], b" HTTP/1.1"]);
        assert_eq!((quoted.len(), quoted.capacity()), (QUOTED, QUOTED));
        assert!(quoted.starts_with(b"GET xxx") && quoted.ends_with(b"xxx"));
        assert!(BACKLOG * (3 * QUOTED + size_of::<Access>()) <= MEMORY);
    }

    #[test]
    fn a_summary_counts() {
        let counters = Counters::new();
        counters.count(None);
        assert_eq!(counters.summary(), "1 requests, none failed");
        counters.count(Some(Failure::Refused));
        assert_eq!(counters.summary(), "2 requests, 1 failed: the backend refused the connection (1)");
    }
}
