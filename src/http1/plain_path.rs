//! Whether a path has one reading only.
//!
//! The problem: a route takes the paths that begin with its own, byte by byte, and so does its access list. A backend may
//! read `//admin`, `/%61dmin` and `/x/../admin` as `/admin`, and would serve to everybody what the list of `/admin` keeps
//! for a few. Which readings a backend has cannot be known. So where there are lists, a path with more than one is refused
//! on every route: what passes has the same segments for a reader that decodes, normalises, or does neither.
//!
//! Of ordinary paths that costs little: browsers and libraries normalise before they send, and encode what must be encoded
//! (RFC 3986 §6.2.2 calls the refused forms equivalent to others). A path parameter (`/a;x`) is different. Servers of Java
//! take it off, and they also write it, as `;jsessionid=...`. It is refused only where taking it off leads to another
//! route ([`Table::find_plain`](super::routing::Table::find_plain)). So is an encoded `?` or `#`, which ends the path for a
//! server that decodes before it looks for the end, and is a part of a name for all others (`/C%23`).
//!
//! Not here: backends that decode twice (`%252e`), take overlong UTF-8 for ASCII, ignore case or cut off extensions. The
//! same bytes are ordinary names elsewhere, so only the backend can tell (docs/configuration.md).

use crate::http1::target::path_of;

/// Whether a path, with or without its query, has one reading only, but for its parameters.
///
/// Refused are dot segments, empty segments (the one behind a slash at the end is none), a backslash, a percent sign without
/// two hexadecimal digits, and the percent-encoding of
/// - an unreserved character (RFC 3986 §2.3), which needs none;
/// - `/` and `\`, which some backends decode before they look for segments;
/// - a control character, NUL above all: it ends a string of C, and some backends trim the others.
pub fn is_plain(path: &str) -> bool {
    let path = path_of(path);
    let mut segments = path.split('/').skip(1).map(name_of).peekable();
    while let Some(name) = segments.next() {
        let is_empty = name.is_empty() && segments.peek().is_some();
        if is_empty || matches!(name, "." | "..") {
            return false;
        }
    }
    // What stands before the first percent sign needs no decoding.
    !path.contains('\\') && path.split('%').skip(1).all(|part| is_needed(part.as_bytes()))
}

/// The path as servers read it that give a meaning to parameters, to an encoded end, or to both, in either order: they are
/// `/a/d`, `/a;x` and `/a` for `/a;x%3Fb/d`. An ordinary path has none.
pub fn other_readings(path: &str) -> impl Iterator<Item = String> {
    let bare = without_parameters(path);
    let ended = before_encoded_end(path);
    let bare_of_ended = ended.as_deref().and_then(without_parameters);
    let ended_of_bare = bare.as_deref().and_then(before_encoded_end);
    [bare, ended, bare_of_ended, ended_of_bare].into_iter().flatten()
}

/// Without its parameters and its query. `None`: it has no parameters.
fn without_parameters(path: &str) -> Option<String> {
    let path = path_of(path);
    let names = path.split('/').map(name_of).collect::<Vec<_>>().join("/");
    (names.len() < path.len()).then_some(names)
}

/// Up to an encoded `?` or `#`, where a server ends it that decodes before it looks for the end. `None`: it has neither.
fn before_encoded_end(path: &str) -> Option<String> {
    let path = path_of(path);
    let is_end = |bytes: &[u8]| bytes.eq_ignore_ascii_case(b"%3f") || bytes == b"%23";
    let end = path.as_bytes().windows(3).position(is_end)?;
    path.get(..end).map(str::to_owned)
}

/// A segment without its parameters (RFC 3986 §3.3). `%3b` counts as `;`: some servers decode first.
fn name_of(segment: &str) -> &str {
    let plain = segment.bytes().position(|byte| byte == b';');
    let encoded = segment.as_bytes().windows(3).position(|bytes| bytes.eq_ignore_ascii_case(b"%3b"));
    let end = plain.into_iter().chain(encoded).min();
    end.and_then(|end| segment.get(..end)).unwrap_or(segment)
}

/// Whether these bytes, which stand behind a percent sign, begin with an encoding that had to be made.
fn is_needed(escape: &[u8]) -> bool {
    let digit = |at: usize| escape.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(0), digit(1)) else { return false };
    let decoded = char::from_u32(high * 16 + low).unwrap_or_default();
    let is_unreserved = decoded.is_ascii_alphanumeric() || "-._~".contains(decoded);
    !is_unreserved && !decoded.is_ascii_control() && !"/\\".contains(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_plain_if_every_reader_sees_the_same_segments() {
        for (is_expected, paths) in [
            (
                true,
                "/ /admin /admin/ /admin/x /admin?//../%zz /?a?b /.well-known/x /..x /x.. /... /a.b /~u /a%20b /a%2Bb \
                 /%C3%A4 /%c3%a4/x /100%25 /a+b /a&b=c /a,b /a:b /@a /a!$'()* /a|b{c}^d`\"<> /C%23 /a%3Fb /a%3a /%252e \
                 /a;b /a;b/c /a/;b /;b /a%3bb ?a",
            ),
            (
                false,
                "// //admin /admin// /a//b /. /.. /./ /../ /a/. /a/.. /a/../b /a/./b /%2e /%2E%2e/ /a/.%2e/b /a%2eb \
                 /%61dmin /%7e /%5F /%2D /%30 /a%2fb /a%2Fb /a%5cb /a%5C /a\\b /\\ /% /a% /a%4 /a%zz /%4g /%%61 /%/ /%?61 \
                 /%00 /a%0a /a%0D /%09 /%1f /%7f //? /..; /..;x/admin /.;x /;x/admin /a/;/b /..%3b/x /%3b/x",
            ),
        ] {
            for path in paths.split_whitespace() {
                assert_eq!(is_plain(path), is_expected, "{path}");
            }
        }
        assert!(is_plain(""), "a target may have no path at all");
    }

    #[test]
    fn parameters_are_taken_off() {
        for (path, bare) in [
            ("/a;x/b;y=1;z?c", "/a/b"),
            ("/;x", "/"),
            ("/a/;x", "/a/"),
            ("/a%3Bx/b%3b", "/a/b"),
            ("/a%3bx;y/b", "/a/b"),
            ("/a;x%3b/b", "/a/b"),
        ] {
            assert_eq!(without_parameters(path).as_deref(), Some(bare), "{path}");
        }
    }

    #[test]
    fn an_encoded_end_is_one_to_some() {
        for (path, before) in [
            ("/a%3fb", Some("/a")),
            ("/a/%3Fb%23", Some("/a/")),
            ("/C%23/x", Some("/C")),
            ("%23", Some("")),
            ("/a?b%3fc", None),
            ("/a%33f/%253f/%3", None),
        ] {
            assert_eq!(before_encoded_end(path).as_deref(), before, "{path}");
        }
    }

    #[test]
    fn both_may_be_read_in_either_order() {
        let readings = |path| other_readings(path).collect::<Vec<_>>();
        assert_eq!(readings("/a;x%3Fb/d?e"), ["/a/d", "/a;x", "/a"]);
        assert_eq!(readings("/a;x/b%3Fc"), ["/a/b%3Fc", "/a;x/b", "/a/b", "/a/b"]);
        assert_eq!(readings("/a/b%20c?d;e%3f"), [""; 0]);
    }

    #[test]
    fn a_path_without_parameters_stays() {
        for path in ["", "/", "/a/b?c;d", "/a%3a/%253b"] {
            assert_eq!(without_parameters(path), None, "{path}");
        }
    }

    /// A backend that reads as much into a path as RFC 3986 allows, and then some: it decodes, takes `\` for `/`, takes
    /// parameters off, drops what a string of C has behind its NUL, and removes empty and dot segments.
    fn most_lenient(path: &str) -> Vec<String> {
        let mut decoded = Vec::new();
        let mut rest = path.as_bytes();
        while let [first, others @ ..] = rest {
            let escape = others.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            match escape.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                Some(byte) if *first == b'%' => {
                    decoded.push(byte);
                    rest = &others[2..];
                }
                _ => {
                    decoded.push(*first);
                    rest = others;
                }
            }
        }
        let decoded = decoded.split(|byte| *byte == 0).next().unwrap();
        let text: String = decoded.iter().map(|byte| char::from(*byte)).collect();
        let mut segments = Vec::new();
        for segment in text.replace('\\', "/").split('/') {
            match segment.split(';').next().unwrap() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name.trim_matches(|c: char| c.is_ascii_control()).to_owned()),
            }
        }
        segments
    }

    /// A backend that changes nothing, but takes a slash at the end for none.
    fn most_literal(path: &str) -> Vec<String> {
        path.split('/').map(name_of).skip(1).filter(|name| !name.is_empty()).map(String::from).collect()
    }

    /// The rules, each as a search in the text.
    fn naive(path: &str) -> bool {
        let lower = path.to_ascii_lowercase();
        let text = lower.replace("%3b", ";");
        let bare: Vec<_> = text.split('/').map(|segment| segment.split(';').next().unwrap()).collect();
        let bare = bare.join("/");
        let needless = (0..=0x20u8).filter(|byte| *byte != b' ').chain("\x7f/\\-._~".bytes());
        let needless = needless.chain(b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z');
        let has_digits = |at: usize| {
            lower.get(at + 1..at + 3).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let broken = lower.match_indices('%').any(|(at, _)| !has_digits(at));
        let dots = format!("{bare}/");
        !broken
            && !lower.contains('\\')
            && !needless.map(|byte| format!("%{byte:02x}")).any(|escape| lower.contains(&escape))
            && !bare.contains("//")
            && !dots.contains("/./")
            && !dots.contains("/../")
    }

    proptest! {
        /// Whatever passes has the same segments for the most lenient and the most literal reader, but for what had to be
        /// encoded: so a route, whose path is compared as it stands, is one route for both.
        #[test]
        fn what_passes_has_one_reading(path in "(/([a.;x]|%(2e|2E|2f|5c|61|3b|00|09|20|25|zz|c3%a4)|\\\\|/){0,5}){1,5}") {
            if is_plain(&path) {
                let literal = most_literal(&path);
                prop_assert_eq!(most_lenient(&path).len(), literal.len());
                for (lenient, literal) in most_lenient(&path).iter().zip(&literal) {
                    prop_assert!(lenient == literal || literal.contains('%'), "{} {}", lenient, literal);
                    prop_assert!(!(literal.contains('%') && ["a", "x", "admin"].contains(&&**lenient)));
                }
            }
        }

        #[test]
        fn the_rules_are_those_of_the_naive_reading(
            path in "(/([a.;x~\\-]|%(2e|2F|5C|5f|61|3B|00|0a|1F|7f|20|25|7E|2b|zz|4|)|\\\\|/){0,4}){1,4}",
        ) {
            prop_assert_eq!(is_plain(&path), naive(&path), "{}", path);
        }

        #[test]
        fn any_text_has_an_answer(path in any::<String>()) {
            let _ = (is_plain(&path), other_readings(&path).count());
        }
    }
}
