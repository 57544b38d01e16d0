//! How long a message body is, and whether the connection persists after it.
//!
//! The problem: an implementation that finds another end of a message than its peer takes the rest for the next
//! message. So the decision is made in one place, rule by rule in the order of RFC 9112 §6.3. A message that two
//! implementations could read differently is refused, not repaired.
//!
//! Not here: taking the framing off the bytes. That is `chunked`.

use crate::http1::fields::{self, Fields, Name};
use crate::http1::head::{Method, Version};
use crate::observe::failure::Failure;

/// How the end of a message body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes; zero is "no body".
    Length(u64),
    /// At the last chunk (RFC 9112 §7.1).
    Chunked,
    /// At the end of the connection: responses only.
    UntilClose,
}

/// How the next hop finds the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// By its length, or by the end of the connection: the bytes go unchanged.
    Plain,
    Chunked,
    /// Chunked, but the trailers of the received body are dropped.
    ChunkedAlone,
}

/// Why the framing fields cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    LengthAndCoding,
    LengthRepeated,
    LengthInvalid,
    CodingInHttp10,
    CodingInvalid,
    CodingUnknown,
}

/// The framing of a request.
///
/// # Errors
/// 400, or 501 for an unknown coding. The connection must then be closed, since the next request cannot be found.
pub fn of_request(version: Version, fields: Fields<'_>) -> Result<Framing, Failure> {
    // Rules 1 and 2 are about responses.
    let declared = declared(version, fields).map_err(|fault| match fault {
        Fault::LengthAndCoding => Failure::LengthAndCoding,
        Fault::LengthRepeated => Failure::LengthRepeated,
        Fault::LengthInvalid => Failure::LengthInvalid,
        Fault::CodingInHttp10 => Failure::CodingInHttp10,
        Fault::CodingInvalid => Failure::CodingInvalid,
        Fault::CodingUnknown => Failure::CodingUnknown,
    })?;
    // Rule 7: a request that declares nothing has no body. (Rule 8 is about responses.)
    Ok(declared.unwrap_or(Framing::Length(0)))
}

/// The framing of a response, and the length it declares, which for HEAD and 304 is not the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfResponse {
    pub framing: Framing,
    pub declared_length: Option<u64>,
}

/// The framing of a final or interim response to a request with this method.
///
/// # Errors
/// 502. The connection to the backend must then be closed, and no more of its bytes be used.
pub fn of_response(
    asked: Method,
    status: u16,
    version: Version,
    fields: Fields<'_>,
) -> Result<OfResponse, Failure> {
    let declared = declared(version, fields).map_err(|fault| match fault {
        Fault::CodingUnknown | Fault::CodingInvalid => Failure::ResponseCoding,
        _ => Failure::ResponseFraming,
    })?;
    let declared_length = match declared {
        Some(Framing::Length(length)) => Some(length),
        _ => None,
    };
    let framing = match status {
        // Rule 1: these responses end at the empty line, whatever their fields say.
        _ if asked == Method::Head => Framing::Length(0),
        100..=199 | 204 | 304 => Framing::Length(0),
        // Rule 2 is about CONNECT, which is refused. Rules 3 to 6 have been applied, and rule 7 is about requests.
        // Rule 8: everything up to the end of the connection.
        _ => declared.unwrap_or(Framing::UntilClose),
    };
    Ok(OfResponse { framing, declared_length })
}

/// Rules 3 to 6 of RFC 9112 §6.3, for both kinds of message.
fn declared(version: Version, fields: Fields<'_>) -> Result<Option<Framing>, Fault> {
    let has_coding = fields.contains(Name::TransferEncoding);
    let length = fields.sole(Name::ContentLength).map_err(|_| Fault::LengthRepeated)?;
    // Rule 3: both fields. A server may use the coding and drop the length, but the rule also suspects an attack, and
    // says that the message "ought to be handled as an error".
    if has_coding && length.is_some() {
        return Err(Fault::LengthAndCoding);
    }
    // Rule 4: the final coding must be chunked; here it must also be the only one. In HTTP/1.0 the framing is to be
    // treated as faulty (RFC 9112 §6.1).
    if has_coding {
        if version == Version::Http10 {
            return Err(Fault::CodingInHttp10);
        }
        return only_chunked(fields).map(|()| Some(Framing::Chunked));
    }
    // Rules 5 and 6. A repeated length is refused above, though rule 5 lets equal ones be merged.
    length.map(|value| parse_length(value).map(Framing::Length).ok_or(Fault::LengthInvalid)).transpose()
}

/// `chunked`, once, and nothing else. If it is not the last coding, the end of the body is unknown: 400 (rule 4). If it
/// is, a coding before it is one that ronde does not implement: 501 (RFC 9112 §6.1).
fn only_chunked(fields: Fields<'_>) -> Result<(), Fault> {
    // A line without a member adds nothing for ronde, but means "no coding" to a parser that reads only the last line.
    if fields.lines(Name::TransferEncoding).any(|line| fields::members_of(line).next().is_none()) {
        return Err(Fault::CodingInvalid);
    }
    let codings = || fields.members(Name::TransferEncoding);
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_framed =
        codings().last().as_ref().is_some_and(is_chunked) && codings().filter(is_chunked).count() == 1;
    match codings().count() {
        1 if is_framed => Ok(()),
        _ if is_framed => Err(Fault::CodingUnknown),
        _ => Err(Fault::CodingInvalid),
    }
}

/// `1*DIGIT` (RFC 9110 §8.6): no sign, no space, no list, no overflow. Not more than 63 bits either, because a backend
/// that uses a signed number would read another length.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit).filter(|length| *length <= i64::MAX as u64)
    })
}

/// Whether the sender of this message wants the connection to persist (RFC 9112 §9.3, in its order; whether a proxy may
/// honour `keep-alive` of HTTP/1.0 is the caller's question).
pub fn persists(version: Version, fields: Fields<'_>) -> bool {
    if fields.has_member(Name::Connection, "close") {
        return false;
    }
    match version {
        Version::Http11 => true,
        Version::Http10 => fields.has_member(Name::Connection, "keep-alive"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use httparse::Header;
    use proptest::prelude::*;

    fn with<'a>(lines: &'a [(&'a str, &'a str)]) -> Vec<Header<'a>> {
        lines.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect()
    }

    #[test]
    fn requests_by_rule() {
        use Failure::*;
        for (lines, expected) in [
            (&[][..], Ok(Framing::Length(0))),
            (&[("Content-Length", "0")], Ok(Framing::Length(0))),
            (&[("content-length", "9223372036854775807")], Ok(Framing::Length(i64::MAX as u64))),
            (&[("Content-Length", "000000000000000000000000000005")], Ok(Framing::Length(5))),
            (&[("Transfer-Encoding", "chunked")], Ok(Framing::Chunked)),
            (&[("Transfer-Encoding", " Chunked ,")], Ok(Framing::Chunked)),
            (&[("Content-Length", "1"), ("Transfer-Encoding", "chunked")], Err(LengthAndCoding)),
            (&[("Content-Length", "1"), ("Transfer-Encoding", "")], Err(LengthAndCoding)),
            (&[("Content-Length", "1"), ("content-length", "1")], Err(LengthRepeated)),
            (&[("Content-Length", "1"), ("Content-Length", "2")], Err(LengthRepeated)),
            (&[("Content-Length", "1, 1")], Err(LengthInvalid)),
            (&[("Content-Length", "")], Err(LengthInvalid)),
            (&[("Content-Length", "+1")], Err(LengthInvalid)),
            (&[("Content-Length", "-1")], Err(LengthInvalid)),
            (&[("Content-Length", "1 2")], Err(LengthInvalid)),
            (&[("Content-Length", "0x10")], Err(LengthInvalid)),
            (&[("Content-Length", "1_0")], Err(LengthInvalid)),
            (&[("Content-Length", "9223372036854775808")], Err(LengthInvalid)),
            (&[("Transfer-Encoding", "")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", " ")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "chunked, chunked")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "chunked, gzip")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "chunked;q=1")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "\x0bchunked")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "\"chunked\"")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "gzip, chunked")], Err(CodingUnknown)),
            (&[("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], Err(CodingUnknown)),
            (&[("Transfer-Encoding", "gzip, deflate;q=1, chunked")], Err(CodingUnknown)),
            (&[("Transfer-Encoding", "chunked, gzip, chunked")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "gzip chunked")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "gzip")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "xchunked")], Err(CodingInvalid)),
            (&[("Transfer-Encoding", "identity")], Err(CodingInvalid)),
        ] {
            let lines = with(lines);
            assert_eq!(
                of_request(Version::Http11, Fields::new(&lines, &mut [Name::Other; 2])),
                expected,
                "{lines:?}"
            );
        }
        let coded = with(&[("Transfer-Encoding", "chunked")]);
        assert_eq!(of_request(Version::Http10, Fields::new(&coded, &mut [Name::Other])), Err(CodingInHttp10));
    }

    #[test]
    fn responses_by_rule() {
        let of = |asked, status, lines: &[(&str, &str)]| {
            let lines = with(lines);
            of_response(asked, status, Version::Http11, Fields::new(&lines, &mut [Name::Other; 2]))
        };
        let framed = |framing, declared_length| Ok(OfResponse { framing, declared_length });
        assert_eq!(of(Method::Get, 200, &[]), framed(Framing::UntilClose, None));
        assert_eq!(of(Method::Get, 200, &[("Content-Length", "5")]), framed(Framing::Length(5), Some(5)));
        assert_eq!(of(Method::Head, 200, &[("Content-Length", "5")]), framed(Framing::Length(0), Some(5)));
        assert_eq!(of(Method::Get, 304, &[("Content-Length", "5")]), framed(Framing::Length(0), Some(5)));
        assert_eq!(of(Method::Get, 204, &[]), framed(Framing::Length(0), None));
        assert_eq!(of(Method::Get, 103, &[]), framed(Framing::Length(0), None));
        assert_eq!(
            of(Method::Head, 200, &[("Transfer-Encoding", "chunked")]),
            framed(Framing::Length(0), None)
        );
        assert_eq!(of(Method::Get, 200, &[("Transfer-Encoding", "chunked")]), framed(Framing::Chunked, None));
        let both = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
        assert_eq!(of(Method::Get, 200, &both), Err(Failure::ResponseFraming));
        assert_eq!(of(Method::Get, 200, &[("Transfer-Encoding", "gzip")]), Err(Failure::ResponseCoding));
        let unknown = [("Transfer-Encoding", "gzip, chunked")];
        assert_eq!(of(Method::Get, 200, &unknown), Err(Failure::ResponseCoding));
        assert_eq!(of(Method::Get, 200, &[("Content-Length", "x")]), Err(Failure::ResponseFraming));
    }

    #[test]
    fn persistence_in_the_order_of_the_rfc() {
        for (version, value, expected) in [
            (Version::Http11, "", true),
            (Version::Http11, "x, Close", false),
            (Version::Http11, "closed", true),
            (Version::Http10, "", false),
            (Version::Http10, "Keep-Alive", true),
            (Version::Http10, "keep-alive, close", false),
        ] {
            let lines = [("Connection", value)];
            let lines = with(&lines);
            assert_eq!(
                persists(version, Fields::new(&lines, &mut [Name::Other; 2])),
                expected,
                "{version:?} {value:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_length_is_what_the_digits_say(length in 0..=i64::MAX as u64) {
            prop_assert_eq!(parse_length(length.to_string().as_bytes()), Some(length));
        }

        #[test]
        fn only_digits_are_a_length(value in "\\PC{0,24}") {
            let expected = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse::<i64>().ok()).flatten();
            let expected = expected.map(|length| length as u64);
            prop_assert_eq!(parse_length(value.as_bytes()), expected);
        }
    }
}
