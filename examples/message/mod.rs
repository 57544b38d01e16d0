//! Where a message ends, for the steps from 7 on: pure functions over bytes, without a socket.
//!
//! A connection that persists carries one message behind the other, and only the message itself says where it ends (RFC
//! 9112 §6.3). Two readers that find different ends read different requests out of the same bytes (request smuggling). So
//! what can be misread is refused, not repaired.
//!
//! Not here, to keep it short: bodies in chunks. A request in chunks is refused. An answer in chunks passes as it is, up to
//! the end of the backend's connection. ronde has the rest, in `src/http1/`.

use httparse::{EMPTY_HEADER, Header, Status};
use std::io::{self, ErrorKind};

/// The most fields in a head.
const MAX_FIELDS: usize = 64;

/// A request, ready for a backend.
pub struct Request {
    pub bytes: Vec<u8>,
    /// Its client wants the connection closed after the answer (RFC 9112 §9.3).
    pub is_last: bool,
}

/// Takes the first request out of what was received, once all of it is there.
pub fn take_request(received: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Status::Complete(head) = request.parse(received).map_err(io::Error::other)? else { return Ok(None) };
    let body = length(request.headers)?.unwrap_or(0);
    let end = usize::try_from(body).map_err(io::Error::other)?.saturating_add(head);
    if received.len() < end {
        return Ok(None);
    }
    let is_last = request.version == Some(0) || request.headers.iter().any(wants_close);
    // The backend is asked to close: a connection to it is used once.
    let mut bytes = with_connection(&received[..head], b"Connection: close\r\n");
    bytes.extend_from_slice(&received[head..end]);
    received.drain(..end);
    // The buffer may be idle for a minute now: it keeps no more room than it needs.
    received.shrink_to_fit();
    Ok(Some(Request { bytes, is_last }))
}

/// Makes an answer ready for its client, once its head is there. Returns how many bytes of its body are still to come; if
/// only the end of the connection can end it, that is more than will ever come.
pub fn begin_answer(received: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let Status::Complete(head) = answer.parse(received).map_err(io::Error::other)? else { return Ok(None) };
    let length = length(answer.headers).ok().flatten().unwrap_or(u64::MAX);
    let begun = (received.len() - head) as u64;
    let to_come = length.checked_sub(begun).ok_or(ErrorKind::InvalidData)?;
    // The version is that of the sender, which is the proxy (RFC 9110 §2.5), and not that of the backend.
    let own_head = with_connection(&received[..head], b"");
    let rest = own_head.strip_prefix(b"HTTP/1.0").or(own_head.strip_prefix(b"HTTP/1.1"));
    received.splice(..head, [b"HTTP/1.1", rest.ok_or(ErrorKind::InvalidData)?].concat());
    Ok(Some(to_come))
}

/// The length that the fields declare. A second length, a coding, or anything but digits is an error.
fn length(fields: &[Header<'_>]) -> io::Result<Option<u64>> {
    let is_length = |field: &Header| field.name.eq_ignore_ascii_case("content-length");
    let is_coding = |field: &Header| field.name.eq_ignore_ascii_case("transfer-encoding");
    let is_framing = |field: &&Header| is_length(field) || is_coding(field);
    match fields.iter().filter(is_framing).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [field] if is_length(field) && field.value.iter().all(u8::is_ascii_digit) => {
            let digits = str::from_utf8(field.value).map_err(io::Error::other)?;
            digits.parse().map(Some).map_err(io::Error::other)
        }
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// Whether the field is a `Connection` that has `close` among its options.
fn wants_close(field: &Header<'_>) -> bool {
    let mut options = field.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    field.name.eq_ignore_ascii_case("connection")
        && options.any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// The head with `own` in place of its `Connection` field, which is between two neighbours alone (RFC 9110 §7.6.1).
fn with_connection(head: &[u8], own: &[u8]) -> Vec<u8> {
    let lines = head.split_inclusive(|&byte| byte == b'\n');
    let is_connection = |line: &&[u8]| line.to_ascii_lowercase().starts_with(b"connection:");
    let mut lines: Vec<&[u8]> = lines.filter(|line| !is_connection(line)).collect();
    // Before the empty line at the end.
    lines.insert(lines.len() - 1, own);
    lines.concat()
}
