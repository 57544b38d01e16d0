//! The trailer section that ronde writes behind a chunked body.
//!
//! The problem: a trailer comes when the head is long gone, and what looked at the head has not seen it. So a field that would
//! change what the message is, or where it goes, is not passed on as a trailer.
//!
//! Not here: whether there may be trailers at all (`forward::coding`).

use super::{Edits, line};
use crate::http1::fields::Name;
use crate::http1::head;

/// Writes a trailer section, and the empty line that ends the body. Drops the fields that would change what the message
/// is or where it goes (RFC 9110 §6.5.1), and those that are edited in the head.
pub fn trailers(out: &mut Vec<u8>, section: &[u8], edits: Option<&Edits>) {
    let passes = |text: &str| edits.is_none_or(|edits| !edits.takes(text.as_bytes()));
    // The decoder has parsed this section, so this cannot fail.
    head::trailers(section, |fields| {
        for (_, text, value) in fields.iter().filter(|(name, text, _)| may_trail(*name, text) && passes(text))
        {
            line(out, text, value);
        }
    });
    out.extend_from_slice(b"\r\n");
}

fn may_trail(name: Name, text: &str) -> bool {
    const OTHERS: [&str; 8] = [
        "authorization",
        "content-encoding",
        "content-range",
        "cookie",
        "location",
        "proxy-authorization",
        "set-cookie",
        "trailer",
    ];
    match name {
        Name::ContentLength | Name::ContentType | Name::Disguised | Name::Expect => false,
        Name::CdnLoop | Name::Host | Name::MaxForwards | Name::Via => false,
        name if name.is_of_connection() || name.is_forwarding() => false,
        _ => !OTHERS.iter().any(|other| text.eq_ignore_ascii_case(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_that_would_change_the_message_are_dropped() {
        let passed = |name: &str| {
            let mut out = vec![];
            trailers(&mut out, format!("Checksum: 1\r\n{name}: x\r\n\r\n").as_bytes(), None);
            out == format!("Checksum: 1\r\n{name}: x\r\n\r\n").as_bytes()
        };
        for name in [
            "Content-Length",
            "Content-Type",
            "Transfer_Encoding",
            "Expect",
            "CDN-Loop",
            "Host",
            "Max-Forwards",
            "Via",
            "Connection",
            "Keep-Alive",
            "TE",
            "Transfer-Encoding",
            "Upgrade",
            "Forwarded",
            "X-Forwarded-For",
            "X-Real-IP",
            "Authorization",
            "Content-Encoding",
            "Content-Range",
            "Cookie",
            "Location",
            "Proxy-Authorization",
            "Set-Cookie",
            "Trailer",
        ] {
            assert!(!passed(name) && !passed(&name.to_ascii_lowercase()), "{name}");
        }
        for name in ["Digest", "Server-Timing", "X-Checksum", "Date", "Cookies"] {
            assert!(passed(name), "{name}");
        }
    }
}
