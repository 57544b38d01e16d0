//! The contents of an access line, and its formats.
//!
//! The problem: the first questions after an incident are which client sent which request, which backend answered, and
//! where the time went. A line answers them as text for a person, in Apache's format for tools, or as JSON. It contains
//! bytes that a client chose, so none of them may end the line, close a quote or control a terminal.
//!
//! Not here: when a line is written, and by which thread (`logger`).

use crate::config::{AccessLog, Address, Peer};
use crate::observe::date::Date;
use crate::observe::failure::Failure;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// The most bytes that a line quotes of one text from a client. More is of no use to a reader, and a few hostile
/// clients with long field lines could grow the backlog to half a gigabyte.
pub(super) const QUOTED: usize = 1024;

/// Copies a text from a client, given in parts: its first 1024 bytes.
pub fn quote(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut quoted = Vec::with_capacity(length.min(QUOTED));
    for part in parts {
        quoted.extend_from_slice(&part[..part.len().min(QUOTED - quoted.len())]);
    }
    quoted
}

/// A finished request, for its access line.
#[derive(Debug)]
pub struct Access {
    /// When the request ended. The line may be written much later.
    pub ended: SystemTime,
    /// The other end of the client's connection.
    pub peer: Peer,
    pub line: Line,
    pub record: Record,
}

impl Access {
    fn client(&self) -> Peer {
        self.line.client.unwrap_or(self.peer)
    }

    /// The peer, unless it is the client.
    fn proxy(&self) -> Option<Peer> {
        Some(self.peer).filter(|peer| *peer != self.client())
    }
}

/// What the request says of itself. Its texts are each copied with [`quote`].
#[derive(Debug, Default)]
pub struct Line {
    /// The request line, with the version as ronde understands it; of a refused request, what was received of it.
    pub request: Vec<u8>,
    /// The host that was asked for.
    pub host: Vec<u8>,
    /// The client that a trusted proxy names.
    pub client: Option<Peer>,
    pub referer: Vec<u8>,
    pub user_agent: Vec<u8>,
}

impl Line {
    /// Bytes of memory that it keeps beside itself.
    pub fn weight(&self) -> usize {
        let texts = [&self.request, &self.host, &self.referer, &self.user_agent];
        texts.map(Vec::capacity).iter().sum()
    }
}

/// The outcome of a request.
#[derive(Debug, Default)]
pub struct Record {
    /// The status sent to the client; `None` if no response was sent.
    pub status: Option<u16>,
    /// Bytes of body for the client; when the client is gone, some of them may not have been sent.
    pub bytes: u64,
    /// The backend that answered.
    pub backend: Option<Address>,
    /// The backends that were tried before it, in order.
    pub tried: Vec<Address>,
    pub timings: Timings,
    pub failure: Option<Failure>,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// How long a new connection waited for a worker, and the request for a backend at its limit.
    pub queued: Duration,
    /// To connect to a backend, all attempts together.
    pub connect: Duration,
    /// From the dispatch of the request to the first byte of the response.
    pub first_byte: Duration,
    /// From when a worker began to read the request to the last byte of the response.
    pub total: Duration,
}

/// The most memory that a queued line takes, in bytes: four quotes, which only JSON needs, and the rest of [`Access`].
/// A long list of tried backends is not counted.
pub(super) const LINE: usize = 5 * QUOTED;

/// Writes one line in the configured format.
pub(super) fn write_access(out: &mut Vec<u8>, access: &Access, format: AccessLog) {
    // Writing to a `Vec` cannot fail.
    let _ = match format {
        AccessLog::Off => Ok(()),
        AccessLog::Plain => write_plain(out, access),
        AccessLog::Combined => write_combined(out, access),
        AccessLog::Json => write_json(out, access),
    };
}

/// For a person: the client, the request, its status, the backend, where the time went, the host, the proxy that the
/// client is behind, and why the request failed.
fn write_plain(out: &mut Vec<u8>, access: &Access) -> io::Result<()> {
    write!(out, "{} {} \"", Date::from(access.ended).iso(), access.client())?;
    write_escaped(out, &access.line.request)?;
    match access.record.status {
        Some(status) => write!(out, "\" {status} {}", access.record.bytes)?,
        None => write!(out, "\" - {}", access.record.bytes)?,
    }
    match &access.record.backend {
        Some(backend) => write!(out, " {backend}")?,
        None => write!(out, " -")?,
    }
    for (name, wait) in access.record.timings.named() {
        write!(out, " {name}={:.2}ms", wait.as_secs_f64() * 1000.0)?;
    }
    if !access.line.host.is_empty() {
        write!(out, " host=\"")?;
        write_escaped(out, &access.line.host)?;
        write!(out, "\"")?;
    }
    if let Some(proxy) = access.proxy() {
        write!(out, " peer={proxy}")?;
    }
    for (index, tried) in access.record.tried.iter().enumerate() {
        write!(out, "{}{tried}", if index == 0 { " tried=" } else { "," })?;
    }
    if let Some(failure) = access.record.failure {
        write!(out, " cause=\"{failure}\"")?;
    }
    writeln!(out)
}

/// Apache's combined format, for the tools that read it. Only behind a proxy does a field follow, the proxy's address:
/// tools expect one there, for nginx's own format ends with a field about the forwarding.
fn write_combined(out: &mut Vec<u8>, access: &Access) -> io::Result<()> {
    write!(out, "{} - - [{}] \"", access.client(), Date::from(access.ended).apache())?;
    write_escaped(out, &access.line.request)?;
    // Without a status, no response was sent: nginx writes 499, which the readers of such logs know.
    write!(out, "\" {} {} \"", access.record.status.unwrap_or(499), access.record.bytes)?;
    write_escaped(out, or_dash(&access.line.referer))?;
    write!(out, "\" \"")?;
    write_escaped(out, or_dash(&access.line.user_agent))?;
    match access.proxy() {
        Some(proxy) => writeln!(out, "\" \"{proxy}\""),
        None => writeln!(out, "\""),
    }
}

/// One object per line.
fn write_json(out: &mut Vec<u8>, access: &Access) -> io::Result<()> {
    write!(out, "{{\"time\":\"{}\"", Date::from(access.ended).iso())?;
    write!(out, ",\"client\":\"{}\",\"peer\":\"{}\",\"host\":", access.client(), access.peer)?;
    write_json_string(out, &access.line.host)?;
    write!(out, ",\"request\":")?;
    write_json_string(out, &access.line.request)?;
    match access.record.status {
        Some(status) => write!(out, ",\"status\":{status}")?,
        None => write!(out, ",\"status\":null")?,
    }
    write!(out, ",\"bytes\":{}", access.record.bytes)?;
    match &access.record.backend {
        Some(backend) => write!(out, ",\"backend\":\"{backend}\"")?,
        None => write!(out, ",\"backend\":null")?,
    }
    let tried: Vec<_> = access.record.tried.iter().map(|address| format!("\"{address}\"")).collect();
    write!(out, ",\"tried\":[{}]", tried.join(","))?;
    for (name, wait) in access.record.timings.named() {
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

impl Timings {
    fn named(&self) -> [(&'static str, Duration); 4] {
        let Self { queued, connect, first_byte, total } = *self;
        [("queued", queued), ("connect", connect), ("first-byte", first_byte), ("total", total)]
    }
}

fn or_dash(value: &[u8]) -> &[u8] {
    if value.is_empty() { b"-" } else { value }
}

/// The bytes are from a client: no quote, line end or escape sequence of a terminal may remain.
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
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::path::Path;

    fn access() -> Access {
        let line = Line {
            request: b"GET /\"\x1b[2J\n HTTP/1.1".to_vec(),
            user_agent: b"a\\b\xff".to_vec(),
            ..Line::default()
        };
        let record = Record {
            status: Some(502),
            bytes: 12,
            tried: vec![
                SocketAddr::from(([127, 0, 0, 1], 8001)).into(),
                Address::Unix(Path::new("/run/app.sock").into()),
            ],
            timings: Timings { total: Duration::from_micros(1500), ..Timings::default() },
            failure: Some(Failure::Refused),
            ..Record::default()
        };
        let ended = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_042);
        Access { ended, peer: Peer::Ip(Ipv4Addr::LOCALHOST.into()), line, record }
    }

    fn written(format: AccessLog, access: &Access) -> String {
        let mut out = vec![];
        write_access(&mut out, access, format);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plain_line_has_everything_and_is_one_line() {
        let line = written(AccessLog::Plain, &access());
        assert!(
            line.starts_with("1994-11-06T08:49:37.042Z 127.0.0.1 ")
                && line.ends_with(
                    " 127.0.0.1 \"GET /\\\"\\x1b[2J\\x0a HTTP/1.1\" 502 12 - queued=0.00ms connect=0.00ms \
                 first-byte=0.00ms total=1.50ms tried=127.0.0.1:8001,unix:/run/app.sock \
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
        assert!(line.contains(r#""tried":["127.0.0.1:8001","unix:/run/app.sock"]"#), "{line}");
        assert!(line.contains(r#""user_agent":"a\\b�""#) && line.ends_with("}\n"), "{line}");
    }

    #[test]
    fn every_format_names_the_client_and_the_proxy_it_is_behind() {
        let client = Some(IpAddr::from([192, 0, 2, 1]).into());
        let line = Line { client, host: b"\"a\x1b".to_vec(), ..Line::default() };
        let access = Access { line, ..access() };
        let plain = written(AccessLog::Plain, &access);
        assert!(plain.contains("Z 192.0.2.1 \""), "{plain}");
        assert!(plain.contains("ms host=\"\\\"a\\x1b\" peer=127.0.0.1 tried="), "{plain}");
        let combined = written(AccessLog::Combined, &access);
        assert!(combined.starts_with("192.0.2.1 - - ["), "{combined}");
        assert!(combined.ends_with(" \"-\" \"-\" \"127.0.0.1\"\n"), "{combined}");
        let json = written(AccessLog::Json, &access);
        let named = r#","client":"192.0.2.1","peer":"127.0.0.1","host":"\"a\u001b","request":"#;
        assert!(json.contains(named), "{json}");
    }

    #[test]
    fn no_format_passes_on_what_controls_a_terminal() {
        // DEL, and CSI as one character (C1).
        let line = Line { request: b"a\x7f\xc2\x9b2J".to_vec(), ..Line::default() };
        let access = Access { line, ..access() };
        for format in [AccessLog::Plain, AccessLog::Combined] {
            let line = written(format, &access);
            assert!(line.contains(r#""a\x7f\xc2\x9b2J""#), "{line}");
        }
        let json = written(AccessLog::Json, &access);
        assert!(json.contains(r#""request":"a\u007f\u009b2J""#), "{json}");
    }

    #[test]
    fn a_quote_is_bounded() {
        assert_eq!(quote(&[b"GET", b" ", b"/"]), b"GET /");
        let quoted = quote(&[b"GET ", &[b'x'; 2 * QUOTED], b" HTTP/1.1"]);
        assert_eq!((quoted.len(), quoted.capacity()), (QUOTED, QUOTED));
        assert!(quoted.starts_with(b"GET xxx") && quoted.ends_with(b"xxx"));
        assert!(3 * QUOTED + size_of::<Access>() <= LINE);
    }
}
