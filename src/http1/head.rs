//! Request and response heads: where they end, whether they are HTTP, what they contain.
//!
//! The problem: httparse is lenient where a proxy must be strict. It accepts a bare LF as a line end and `#` in a
//! request target. Two implementations that are lenient in different ways read two different messages from the same
//! bytes: request smuggling. So this module makes checks of its own before and after httparse, and `forward` writes a
//! new head from the parsed values. Where httparse is strict already, a test makes sure that it stays so.
//!
//! Not here: how long the body is (`framing`), which fields are forwarded (`forward`). No socket, no allocation: a
//! parsed head borrows from the bytes it was read from.

use crate::config::authority::is_authority;
use crate::http1::fields::{self, Fields, Name};
use crate::http1::mend;
use crate::observe::failure::Failure;
use memchr::memmem::Finder;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

/// Field lines in one head. Browsers send about 15, gateways in a chain about 40. nginx limits only the bytes;
/// HAProxy's limit is 101.
pub const MAX_FIELDS: usize = 256;

/// Field lines in a trailer section.
pub const MAX_TRAILERS: usize = 64;

/// Empty lines skipped before a request line (RFC 9112 §2.2 asks for "at least one").
const MAX_EMPTY_LINES: usize = 8;

/// The most bytes that empty lines add to a head.
pub const EMPTY_LINES: usize = 2 * MAX_EMPTY_LINES;

/// The versions of HTTP that ronde speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Http10,
    Http11,
}

/// A request method, if a proxy has to know it (RFC 9110 §9). An unknown one is forwarded like POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Options,
    Trace,
    Put,
    Delete,
    Connect,
    Other,
}

impl Method {
    fn from_token(token: &str) -> Self {
        // Methods are case-sensitive (RFC 9110 §9.1): `get` is another method.
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether sending the request twice has the same effect as sending it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Connect | Self::Other)
    }
}

/// A request target in one of the forms of RFC 9112 §3.2. The authority form belongs to CONNECT, which is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`
    Origin(&'a str),
    /// `http://authority/path?query`; the path begins with `/` or `?`, or is empty.
    Absolute { authority: &'a str, path: &'a str },
    /// `*`
    Asterisk,
}

/// A valid request head.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method as it was received.
    pub token: &'a str,
    pub method: Method,
    pub target: Target<'a>,
    /// The target as it was received, for the access line.
    pub raw_target: &'a str,
    pub version: Version,
    pub fields: Fields<'a>,
}

/// A valid response head.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub status: u16,
    /// The reason phrase after the status code; may be empty.
    pub reason: &'a [u8],
    pub version: Version,
    pub fields: Fields<'a>,
}

/// Room for the field lines of one head. It lives in the stack frame that parses the head, and the lines are never
/// cleared: initialising 256 of them would cost more than parsing a typical head.
pub struct Lines<'b> {
    headers: [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS],
    names: [Name; MAX_FIELDS],
}

impl Lines<'_> {
    pub fn new() -> Self {
        Self { headers: [const { MaybeUninit::uninit() }; MAX_FIELDS], names: [Name::Other; MAX_FIELDS] }
    }
}

impl Default for Lines<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What the bytes received so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// A whole head, from `start`, after any empty lines, to `end`.
    Complete { start: usize, end: usize },
    /// The beginning of a head, or nothing yet.
    Partial,
    /// Not a head, whatever follows.
    Hopeless(Failure),
}

/// The first byte of every TLS connection, a record of the handshake (RFC 8446 §5.1), and of no method.
const TLS_HANDSHAKE: u8 = 22;

/// Looks for the end of a head, and for bare line feeds.
///
/// Every LF must follow a CR: a bare LF that one implementation reads as a line end and another as part of a value is
/// the oldest way to smuggle a field.
pub fn scan(bytes: &[u8]) -> Scan {
    // It could be read to its first line feed, for as long as a head may take, and be blamed for that.
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return Scan::Hopeless(Failure::TlsUnexpected);
    }
    let start = empty_lines(bytes);
    if start > EMPTY_LINES {
        return Scan::Hopeless(Failure::EmptyLines);
    }
    let end = HEAD_END.find(&bytes[start..]).map(|at| start + at + 4);
    if has_bare_feed(&bytes[start..end.unwrap_or(bytes.len())]) {
        return Scan::Hopeless(Failure::BareLineFeed);
    }
    end.map_or(Scan::Partial, |end| Scan::Complete { start, end })
}

/// Bytes of empty lines in front of a head, as far as they are counted.
pub fn empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take(MAX_EMPTY_LINES + 1).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// The end of the last line, and the empty line.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Looks at every byte, even after a hit: then the compiler can vectorise the loop, sixteen bytes at a time. A search
/// that stops at each line takes three times as long.
fn has_bare_feed(bytes: &[u8]) -> bool {
    let behind = bytes.iter().zip(bytes.iter().skip(1));
    bytes.starts_with(b"\n")
        | behind.fold(false, |is_bare, (before, byte)| is_bare | (*byte == b'\n') & (*before != b'\r'))
}

/// Whether the bytes are worth a worker's time: they hold a whole head, or can never become one. The first `from` bytes
/// were examined before and were not enough, so a head that comes byte by byte is not scanned from its start each time.
pub fn is_worth_a_look(bytes: &[u8], from: usize) -> bool {
    let fresh = &bytes[from.saturating_sub(3)..];
    fresh.windows(4).any(|window| window == b"\r\n\r\n")
        || fresh.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
        || bytes.first() == Some(&b'\n')
        // Too many empty lines show within `EMPTY_LINES + 2` bytes. To scan again at every later byte would be
        // quadratic.
        || (from <= EMPTY_LINES + 1 && !matches!(scan(bytes), Scan::Partial))
}

/// Parses a request head: exactly the bytes that [`scan`] found.
///
/// # Errors
/// A 4xx, 501 or 505. The connection must then be closed, since the next request cannot be found.
pub fn request<'a>(bytes: &'a [u8], lines: &'a mut Lines<'a>) -> Result<Request<'a>, Failure> {
    check_request_line(start_line(bytes))?;
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut lines.headers) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) | Err(httparse::Error::Token | httparse::Error::Status) => {
            return Err(Failure::MalformedRequestLine);
        }
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::TooManyFields),
        Err(httparse::Error::Version) => return Err(Failure::UnknownVersion),
        Err(_) => return Err(Failure::MalformedField),
    }
    let (Some(token), Some(raw_target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Failure::MalformedRequestLine);
    };
    let fields = Fields::new(parsed.headers, &mut lines.names);
    let method = Method::from_token(token);
    if method == Method::Connect {
        return Err(Failure::ConnectMethod);
    }
    let target = target(method, raw_target)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    check_host(version, fields)?;
    Ok(Request { token, method, target, raw_target, version, fields })
}

/// Parses a response head: exactly the bytes that [`scan`] found. They are mended first ([`mend`]), and a later minor
/// version becomes HTTP/1.1, as in [`settle_version`].
///
/// # Errors
/// [`Failure::ResponseMalformed`] or [`Failure::ResponseHeadTooLarge`].
pub fn response<'a>(bytes: &'a mut [u8], lines: &'a mut Lines<'a>) -> Result<Response<'a>, Failure> {
    let malformed = Failure::ResponseMalformed;
    mend::response(bytes);
    if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9', b' ', ..] = bytes {
        *minor = b'1';
    }
    let bytes = &*bytes;
    let line = start_line(bytes);
    // `HTTP/1.1 200 reason`. Some senders without a reason also omit the space before it.
    let (version, rest) = match line.split_at_checked(9).ok_or(malformed)? {
        (b"HTTP/1.1 ", rest) => (Version::Http11, rest),
        (b"HTTP/1.0 ", rest) => (Version::Http10, rest),
        _ => return Err(malformed),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(malformed)?;
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] if reason.iter().all(|&byte| fields::is_value_byte(byte)) => reason,
        _ => return Err(malformed),
    };
    if !matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']) {
        return Err(malformed);
    }
    let status = code.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));

    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut lines.headers) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::ResponseHeadTooLarge),
        _ => return Err(malformed),
    }
    let fields = Fields::new(parsed.headers, &mut lines.names);
    Ok(Response { status, reason, version, fields })
}

/// Which part of a request head that is longer than `max_head` is too large: its first line alone, or the whole. A
/// target has no limit of its own.
pub fn too_large(bytes: &[u8], max_head: usize) -> Failure {
    match first_line(bytes).len() {
        length if length > max_head.saturating_sub(4) => Failure::TargetTooLong,
        _ => Failure::HeadTooLarge,
    }
}

/// Rewrites a later minor version as HTTP/1.1, the highest that ronde speaks (RFC 9110 §2.5): it tells what else the
/// sender supports, not what this message means.
pub fn settle_version(bytes: &mut [u8]) {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let Some(end) = memchr::memchr(b'\r', &bytes[start..]) else { return };
    if let [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9'] =
        &mut bytes[start..start + end]
    {
        *minor = b'1';
    }
}

/// Whether only empty lines have been received: no request has begun.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Whether the request is a HEAD, even if it is otherwise invalid: its response must have no body.
pub fn asks_for_head(bytes: &[u8]) -> bool {
    first_line(bytes).starts_with(b"HEAD ")
}

/// The request line, as much of it as was received, without its end.
pub fn first_line(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    bytes[start..].split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

/// Whether these bytes can be the beginning of a response head, so that waiting for the rest makes sense.
pub fn may_be_response(bytes: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let length = bytes.len().min(start.len());
    bytes[..length] == start[..length]
}

/// Parses a trailer section with its final empty line: field lines like any others (RFC 9112 §7.1.2). `None` when they
/// are malformed, or more than [`MAX_TRAILERS`].
pub fn trailers<T>(bytes: &[u8], read: impl FnOnce(Fields<'_>) -> T) -> Option<T> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    match httparse::parse_headers(bytes, &mut lines) {
        Ok(httparse::Status::Complete((length, lines))) if length == bytes.len() => {
            Some(read(Fields::new(lines, &mut [Name::Other; MAX_TRAILERS])))
        }
        _ => None,
    }
}

/// The first line of a head, without its end.
fn start_line(head: &[u8]) -> &[u8] {
    &head[..head.iter().position(|&byte| byte == b'\r').unwrap_or(head.len())]
}

/// The method, one space, the target, one space, the version, and nothing else (RFC 9112 §3). httparse would accept
/// some violations, and report others as the wrong error.
fn check_request_line(line: &[u8]) -> Result<(), Failure> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::MalformedRequestLine);
    };
    if !fields::is_token(method) || target.is_empty() {
        return Err(Failure::MalformedRequestLine);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Failure::UnknownVersion),
        _ => Err(Failure::MalformedRequestLine),
    }
}

/// Decides the form of a request target (RFC 9112 §3.2).
///
/// Refuses a fragment, controls, and bytes that are not ASCII, which one server reads as UTF-8 and another as Latin-1.
/// The visible characters that RFC 3986 forbids (`"`, `<`, `>`, `|`, `{`, `^`, ...) pass: people's scripts and browsers
/// send them unencoded, and no parser ends a target at one.
fn target(method: Method, raw: &str) -> Result<Target<'_>, Failure> {
    if !raw.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Failure::Target);
    }
    if raw.starts_with('/') {
        return Ok(Target::Origin(raw));
    }
    if raw == "*" {
        return match method {
            Method::Options => Ok(Target::Asterisk),
            _ => Err(Failure::AsteriskTarget),
        };
    }
    let (scheme, rest) = raw.split_once("://").ok_or(Failure::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Failure::Target);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if is_authority(authority.as_bytes()) {
        Ok(Target::Absolute { authority, path })
    } else {
        Err(Failure::Target)
    }
}

/// HTTP/1.1 needs exactly one valid Host, HTTP/1.0 at most one (RFC 9112 §3.2).
fn check_host(version: Version, fields: Fields<'_>) -> Result<(), Failure> {
    match fields.sole(Name::Host).map_err(|_| Failure::HostRepeated)? {
        Some(host) if is_authority(host) => Ok(()),
        Some(_) => Err(Failure::HostInvalid),
        None if version == Version::Http10 => Ok(()),
        None => Err(Failure::HostMissing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<(String, Version, usize), Failure> {
        match scan(bytes) {
            Scan::Complete { start, end } => {
                let mut lines = Lines::new();
                let head = request(&bytes[start..end], &mut lines)?;
                let target = match head.target {
                    Target::Origin(path) => format!("{} {path}", head.token),
                    Target::Absolute { authority, path } => format!("{} {authority} {path}", head.token),
                    Target::Asterisk => format!("{} *", head.token),
                };
                Ok((target, head.version, head.fields.iter().count()))
            }
            Scan::Partial => panic!("partial: {:?}", String::from_utf8_lossy(bytes)),
            Scan::Hopeless(failure) => Err(failure),
        }
    }

    #[test]
    fn heads_that_are_http() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "GET /"),
            (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /"),
            (b"GET / HTTP/1.1\r\nHost: a.b.:80\r\n\r\n", "GET /"),
            (b"BREW /a%20b?c=|d HTTP/1.1\r\nhOST:a:80\r\nX:\t\x80\xff\t\r\n\r\n", "BREW /a%20b?c=|d"),
            (
                b"GET /q?query=up{job=\"n\"}<>|^`\\ HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /q?query=up{job=\"n\"}<>|^`\\",
            ),
            (b"GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET b:81 /x?y"),
            (b"GET HTTP://[::1]:81 HTTP/1.1\r\nHost: [::1]\r\n\r\n", "GET [::1]:81 "),
            (b"GET / HTTP/1.1\r\nHost: a:0000065535\r\n\r\n", "GET /"),
            (b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "GET /"),
            (b"GET / HTTP/1.1\r\nHost: a~!$&'()*+,;=%7e\r\n\r\n", "GET /"),
            (b"GET HTTPS://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET b /x"),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS *"),
            (b"GET / HTTP/1.0\r\n\r\n", "GET /"),
            (b"GET //a/../b HTTP/1.1\r\nHost: a_b.c\r\nEmpty:\r\n\r\n", "GET //a/../b"),
        ] {
            assert_eq!(parse(bytes).map(|(target, ..)| target).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn heads_that_are_not() {
        use Failure::*;
        for (bytes, failure) in [
            (&b"GET / HTTP/1.1\nHost: a\n\n"[..], BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", BareLineFeed),
            (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\n folded: b\r\nHost: a\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", MalformedField),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n", MalformedField),
            (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"GET / http/1.1\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", MalformedRequestLine),
            (b"GET /\r\n\r\n", MalformedRequestLine),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", UnknownVersion),
            (b"PRI * HTTP/2.0\r\n\r\n", UnknownVersion),
            (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", UnknownVersion),
            (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET http://a\"/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", Target),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", AsteriskTarget),
            (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", ConnectMethod),
            (b"GET / HTTP/1.1\r\n\r\n", HostMissing),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HostRepeated),
            (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", HostRepeated),
            (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: .\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: .a\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a..b:80\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a..\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", HostInvalid),
            (b"GET / HTTP/1.1\r\nHost: a:4294967376\r\n\r\n", HostInvalid),
        ] {
            assert_eq!(parse(bytes), Err(failure), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    /// `request`, `response` and `trailers` rely on this.
    #[test]
    fn httparse_accepts_exactly_the_bytes_of_the_grammar_in_a_field_line() {
        let accepts = |name: &[u8], value: &[u8]| {
            let line = [name, b": ", value, b"\r\n\r\n"].concat();
            let heads =
                [[b"GET / HTTP/1.1\r\n", &line[..]].concat(), [b"HTTP/1.1 200 OK\r\n", &line[..]].concat()];
            let (mut for_request, mut for_response) = (Lines::new(), Lines::new());
            let is_whole = |length: usize, whole: &[u8]| length == whole.len();
            let mut as_request = httparse::Request::new(&mut []);
            let mut as_response = httparse::Response::new(&mut []);
            let verdicts = [
                matches!(as_request.parse_with_uninit_headers(&heads[0], &mut for_request.headers),
                    Ok(httparse::Status::Complete(length)) if is_whole(length, &heads[0])),
                matches!(httparse::ParserConfig::default()
                    .parse_response_with_uninit_headers(&mut as_response, &heads[1], &mut for_response.headers),
                    Ok(httparse::Status::Complete(length)) if is_whole(length, &heads[1])),
                trailers(&line, |_| ()).is_some(),
            ];
            assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{line:?}");
            verdicts[0]
        };
        assert!(accepts(b"a", b"") && !accepts(b"", b"a") && !accepts(b"a ", b"b"));
        for byte in 0..=u8::MAX {
            // `a:: b` has a colon in its value.
            let is_name = byte == b':' || fields::is_token_byte(byte);
            assert_eq!(accepts(&[b'a', byte], b"b"), is_name, "{byte:#x} in a name");
            assert_eq!(accepts(&[byte], b"b"), fields::is_token_byte(byte), "{byte:#x} as a name");
            for value in [vec![b'a', byte, b'c'], [&[b'a'; 40], &[byte][..]].concat()] {
                assert_eq!(accepts(b"a", &value), fields::is_value_byte(byte), "{byte:#x} in a value");
            }
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_bounded() {
        let mut bytes = b"\r\n".repeat(MAX_EMPTY_LINES);
        assert_eq!(scan(&bytes), Scan::Partial);
        bytes.extend(b"\r\n");
        assert_eq!(scan(&bytes), Scan::Hopeless(Failure::EmptyLines));
        assert!(is_worth_a_look(&bytes, bytes.len() - 1));
    }

    #[test]
    fn a_later_minor_version_of_a_request_is_1_1() {
        for (received, settled) in [
            ("GET / HTTP/1.2\r\nA: HTTP/1.3\r\n", "GET / HTTP/1.1\r\nA: HTTP/1.3\r\n"),
            ("\r\n\r\nGET / HTTP/1.9\r\n", "\r\n\r\nGET / HTTP/1.1\r\n"),
            ("GET / HTTP/1.0\r\n", "GET / HTTP/1.0\r\n"),
            ("GET / HTTP/2.2\r\n", "GET / HTTP/2.2\r\n"),
            ("GET / HTTP/1.22\r\n", "GET / HTTP/1.22\r\n"),
            ("GET /HTTP/1.2\r\n", "GET /HTTP/1.2\r\n"),
            ("GET / HTTP/1.2", "GET / HTTP/1.2"),
        ] {
            let mut bytes = received.as_bytes().to_vec();
            settle_version(&mut bytes);
            assert_eq!(bytes, settled.as_bytes(), "{received:?}");
        }
    }

    #[test]
    fn too_many_fields() {
        let many = |count: usize| {
            let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
            (1..count).for_each(|_| bytes.extend(b"X: y\r\n"));
            bytes.extend(b"\r\n");
            bytes
        };
        assert_eq!(parse(&many(MAX_FIELDS)).map(|(.., count)| count), Ok(MAX_FIELDS));
        assert_eq!(parse(&many(MAX_FIELDS + 1)), Err(Failure::TooManyFields));
        let answer = |count: usize| {
            let mut bytes = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count)).into_bytes();
            let mut lines = Lines::new();
            response(&mut bytes, &mut lines).map(|head| head.fields.iter().count())
        };
        assert_eq!(answer(MAX_FIELDS), Ok(MAX_FIELDS));
        assert_eq!(answer(MAX_FIELDS + 1), Err(Failure::ResponseHeadTooLarge));
        let section = |count: usize| "X: y\r\n".repeat(count) + "\r\n";
        let count = |fields: Fields<'_>| fields.iter().count();
        assert_eq!(trailers(section(MAX_TRAILERS).as_bytes(), count), Some(MAX_TRAILERS));
        assert_eq!(trailers(section(MAX_TRAILERS + 1).as_bytes(), count), None);
        // As docs/messages.md says.
        assert_eq!((MAX_FIELDS, MAX_TRAILERS), (256, 64));
    }

    #[test]
    fn what_is_too_large_in_a_head() {
        let head = |target: usize, value: usize| {
            format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(target), "b".repeat(value))
        };
        assert!(parse(head(100_000, 1).as_bytes()).is_ok(), "the limit is that of the whole head");
        assert_eq!(too_large(head(2000, 1).as_bytes(), 1024), Failure::TargetTooLong);
        assert_eq!(too_large(head(600, 600).as_bytes(), 1024), Failure::HeadTooLarge);
        assert_eq!(too_large(&head(2000, 1).as_bytes()[..1024], 1024), Failure::TargetTooLong);
        // The longest first line that still has room for the end of the head.
        let longest = 1024 - "\r\n\r\n".len() - "GET / HTTP/1.1".len();
        assert_eq!(too_large(head(longest, 1).as_bytes(), 1024), Failure::HeadTooLarge);
        assert_eq!(too_large(head(longest + 1, 1).as_bytes(), 1024), Failure::TargetTooLong);
    }

    #[test]
    fn response_heads() {
        let parse = |bytes: &[u8]| {
            let mut lines = Lines::new();
            response(&mut bytes.to_vec(), &mut lines).map(|head| (head.status, head.reason.to_vec()))
        };
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Ok((200, b"OK".to_vec())));
        assert_eq!(parse(b"HTTP/1.0 404 \r\n\r\n"), Ok((404, vec![])));
        assert_eq!(parse(b"HTTP/1.1 599\r\n\r\n"), Ok((599, vec![])));
        assert_eq!(parse(b"HTTP/1.1 200 \xe9t\xe9\r\n\r\n"), Ok((200, b"\xe9t\xe9".to_vec())));
        for later in [&b"HTTP/1.2 200 OK\r\nA: b\r\n\r\n"[..], b"HTTP/1.9 200 OK\r\n\r\n"] {
            let (mut bytes, mut lines) = (later.to_vec(), Lines::new());
            assert_eq!(response(&mut bytes, &mut lines).map(|head| head.version), Ok(Version::Http11));
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA : b\r\nC: d\r\n e\r\n\r\n"), Ok((200, b"OK".to_vec())));
        for garbage in [
            &b"HTTP/2.0 200 OK\r\n\r\n"[..],
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1 200 O\0K\r\n\r\n",
            b"HTTP/1.10 200 OK\r\n\r\n",
            b"HTTP/1.x 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA b : c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA\x0b: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n \r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA\r\n : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n \x7f___: c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert_eq!(
                parse(garbage),
                Err(Failure::ResponseMalformed),
                "{:?}",
                String::from_utf8_lossy(garbage)
            );
        }
    }

    #[test]
    fn a_head_in_pieces_is_complete_with_its_last_byte() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(scan(&whole[..cut]), Scan::Partial);
            assert!(!is_worth_a_look(&whole[..cut], 0));
            assert!(is_worth_a_look(whole, cut));
        }
        assert!(is_worth_a_look(b"GET / HTTP/1.1\n", 14));
    }
}
