//! What an access line says about a request, and how it is written.
//!
//! The problem: the first question after an incident is who asked what, who answered, and where the time went. A line
//! answers it in words for a person, in Apache's format for tools, or as JSON; and since a client writes into it, nothing
//! that it sends may end the line, close a quote or reach a terminal.
//!
//! Not here: when and by which thread it is written (`logger`).

use crate::config::AccessLog;
use crate::observe::date::Date;
use crate::observe::failure::Failure;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a line quotes of any one text of a client's. Nobody reads further, and whole field lines of a few clients who
/// mean it would make the backlog half a gigabyte.
pub(super) const QUOTED: usize = 1024;

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

/// The most memory that a waiting line takes: three quotes, and what else is known about a request.
pub(super) const LINE: usize = 4 * QUOTED;

/// Writes one line in the form that the admin chose.
pub(super) fn write_access(out: &mut Vec<u8>, access: &Access, form: AccessLog) {
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
        assert!(3 * QUOTED + size_of::<Access>() <= LINE);
    }
}
