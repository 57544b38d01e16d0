//! Whether a text is a host, perhaps with a port: as clients send it in Host and in targets, and as an admin writes what ronde is to
//! send.
//!
//! The problem: each reader takes what is no host for another one. So what ronde sends is held to the rules by which it refuses
//! what it receives.
//!
//! Not here: where to listen and to connect (`address`), and the hosts of routes (`route`).

use std::net::Ipv6Addr;

/// `uri-host [":" port]` of RFC 3986 §3.2, not empty, without user information (RFC 9110 §4.2.4 wants an `@` in an
/// authority treated as an error).
pub fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !value.ends_with(b"]") => (&value[..colon], &value[colon + 1..]),
        _ => (value, &[][..]),
    };
    let is_host = match host {
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        name => has_whole_labels(name) && is_name(name),
    };
    is_host && is_port(port)
}

/// But for one dot at the end, no label of a host is empty (RFC 1034 §3.1). Whether `a..` is `a` each reader decides for itself, and
/// the access list of a route would hold for one of them.
fn has_whole_labels(name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    name.split(|&byte| byte == b'.').all(|label| !label.is_empty())
}

/// `*DIGIT` (RFC 3986 §3.2.3), any number of them. A number that no TCP port has would be another port to a parser that
/// keeps the last 16 bits.
fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0u16, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// `reg-name` of RFC 3986 §3.2.2: unreserved, sub-delims, and complete percent escapes.
fn is_name(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|&byte| byte == b'%');
    let is_plain = |part: &[u8]| {
        part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte))
    };
    let is_escape =
        |part: &[u8]| matches!(part, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    parts.next().is_some_and(is_plain) && parts.all(|part| is_escape(part) && is_plain(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_or_without_a_port() {
        for text in ["a", "a.b.:80", "a:", "[::1]", "[::1]:8080", "192.0.2.1:65535", "a_b", "%C3%a4"] {
            assert!(is_authority(text.as_bytes()), "{text}");
        }
        for text in [
            "", ":443", ":", "a:b", "a:99999", "a:1:2", "a..b", ".a", "..", "[::1", "[zz]", "[]", "[::1]x",
            "]", "a@b",
        ] {
            assert!(!is_authority(text.as_bytes()), "{text}");
        }
    }
}
