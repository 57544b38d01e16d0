//! HTTP/1.1 messages as the tests read them: a strict second parser, independent of ronde's.
//!
//! It accepts the messages that RFC 9110 and 9112 allow a sender to generate, and none that a recipient merely may
//! tolerate.
//!
//! Not here: reading a message from a socket (`wire`).

use std::fmt;
use std::str::from_utf8;

/// How a message's body is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    Close,
}

pub type Field = (String, Vec<u8>);

#[derive(Clone)]
pub struct Message {
    pub start: String,
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
}

impl Message {
    /// Parses a head with its empty line. `request_method` is `None` for a request, and for a response the method of
    /// its request.
    pub fn parse(head: &[u8], request_method: Option<&str>) -> Result<Message, String> {
        let (start, fields) = head
            .strip_suffix(b"\r\n\r\n")
            .map(|lines| {
                lines
                    .windows(2)
                    .position(|pair| pair == b"\r\n")
                    .map_or((lines, None), |end| (&lines[..end], Some(&lines[end + 2..])))
            })
            .ok_or("no empty line at its end")?;
        let start = from_utf8(start).map_err(|_| "a start line that is not UTF-8")?.to_owned();
        if start.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(format!("control bytes in {start:?}"));
        }
        let fields = fields.map_or(Ok(Vec::new()), field_lines)?;
        let mut message =
            Message { start, fields, framing: Framing::Nothing, body: Vec::new(), trailers: Vec::new() };
        message.framing = match request_method {
            None => message.request_framing()?,
            Some(method) => message.response_framing(method)?,
        };
        Ok(message)
    }

    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    pub fn method(&self) -> &str {
        self.start.split(' ').next().expect("a method")
    }

    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).expect("a target")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// The values of every line of a field, in order.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.fields.iter().filter(|(this, _)| this.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The value of a field that must occur exactly once.
    pub fn sole(&self, name: &str) -> String {
        let mut values = self.values(name);
        assert_eq!(values.len(), 1, "one {name} in {self}");
        values.remove(0)
    }

    /// The members of a field whose value is a list, in lower case.
    pub fn members(&self, name: &str) -> Vec<String> {
        let lines = self.values(name).join(",").to_ascii_lowercase();
        lines.split(',').map(|member| member.trim().to_owned()).filter(|member| !member.is_empty()).collect()
    }

    fn request_framing(&self) -> Result<Framing, String> {
        let parts: Vec<_> = self.start.split(' ').collect();
        let [method, target, version] = parts[..] else {
            return Err(format!("not a request line: {:?}", self.start));
        };
        if !is_token(method) || target.is_empty() || !is_version(version) {
            return Err(format!("not a request line: {:?}", self.start));
        }
        if self.values("host").len() != 1 {
            return Err(format!("Host occurs {} times", self.values("host").len()));
        }
        Ok(self.declared_length()?.unwrap_or(Framing::Nothing))
    }

    fn response_framing(&self, method: &str) -> Result<Framing, String> {
        let parts: Vec<_> = self.start.splitn(3, ' ').collect();
        let [version, status, _reason] = parts[..] else {
            return Err(format!("not a status line: {:?}", self.start));
        };
        if !is_version(version) || status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("not a status line: {:?}", self.start));
        }
        let declared = self.declared_length()?;
        match (self.status(), declared) {
            (100..=199 | 204, Some(length)) => Err(format!("{length:?} in a {status}")),
            (100..=199 | 204 | 304, _) => Ok(Framing::Nothing),
            _ if method == "HEAD" => Ok(Framing::Nothing),
            _ => Ok(declared.unwrap_or(Framing::Close)),
        }
    }

    fn declared_length(&self) -> Result<Option<Framing>, String> {
        let (codings, lengths) = (self.values("transfer-encoding"), self.values("content-length"));
        match (&codings[..], &lengths[..]) {
            ([], []) => Ok(None),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
                .parse()
                .map(|length| Some(Framing::Length(length)))
                .map_err(|_| format!("length {length:?}")),
            both => Err(format!("ambiguous framing: {both:?}")),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl fmt::Display for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = |out: &mut fmt::Formatter<'_>, fields: &[Field]| {
            fields
                .iter()
                .try_for_each(|(name, value)| writeln!(out, "{name}: {}", String::from_utf8_lossy(value)))
        };
        writeln!(out, "{}", self.start)?;
        lines(out, &self.fields)?;
        writeln!(out, "\n{}", self.text())?;
        lines(out, &self.trailers)
    }
}

/// Field lines of a head or a trailer section, without the empty line at their end.
pub fn field_lines(lines: &[u8]) -> Result<Vec<Field>, String> {
    let text = lines.strip_suffix(b"\r\n").unwrap_or(lines);
    let mut fields = Vec::new();
    for line in split(text) {
        let shown = || String::from_utf8_lossy(line).into_owned();
        let colon =
            line.iter().position(|&byte| byte == b':').ok_or_else(|| format!("no colon: {:?}", shown()))?;
        let name = from_utf8(&line[..colon]).ok().filter(|name| is_token(name));
        let name = name.ok_or_else(|| format!("not a field name: {:?}", shown()))?;
        let value = line[colon + 1..].trim_ascii();
        if value.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(format!("control bytes: {:?}", shown()));
        }
        fields.push((name.to_owned(), value.to_vec()));
    }
    Ok(fields)
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

fn is_version(version: &str) -> bool {
    matches!(version, "HTTP/1.1" | "HTTP/1.0")
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A plain 200 with a Content-Length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A plain 200 in chunks, one for each part.
pub fn ok_chunked(parts: &[&str]) -> String {
    let chunks: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
    format!("{CHUNKED}{chunks}0\r\n\r\n")
}

/// The head of a 200 in chunks.
pub const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The simplest request for a tunnel, and its answer.
pub const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
pub const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// Bytes of which no two stretches are alike: one that is lost, repeated or out of place shows.
pub fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
