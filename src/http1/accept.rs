//! Whether a client would rather have a page than a line: `Accept` (RFC 9110 §12.5.1).
//!
//! The problem: ronde's own errors are read by people in browsers and by people who read what a program printed. A page
//! suits the one and a line the other, and only `Accept` tells them apart: a browser prefers `text/html` to all else, while
//! curl and most libraries take anything.
//!
//! Not here: the page and the line (`reply`).

use crate::http1::fields::{self, Fields, Name};

/// In which form a person reads ronde's own responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Line,
    Page,
}

impl Form {
    /// What a request's `Accept` asks for.
    pub fn of(fields: Fields<'_>) -> Self {
        Self::preferred(|| fields.members(Name::Accept))
    }

    /// The same for bytes that are no valid head, such as one that is too large: a browser with too many cookies is owed a
    /// page as well.
    pub fn of_bytes(received: &[u8]) -> Self {
        let lines = || received.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let begun = || lines().skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let is_accept = |name: &[u8]| name.eq_ignore_ascii_case(b"accept");
        Self::preferred(|| {
            let split = |line: &'_ [u8]| line.iter().position(|&byte| byte == b':');
            let values = begun().filter_map(move |line| {
                let (name, value) = line.split_at(split(line)?);
                is_accept(name).then(|| &value[1..])
            });
            values.flat_map(fields::members_of)
        })
    }

    fn preferred<'a, Ranges: Iterator<Item = &'a [u8]>>(accepted: impl Fn() -> Ranges) -> Self {
        let page = quality(accepted(), b"text/html");
        if page > 0 && page > quality(accepted(), b"text/plain") { Self::Page } else { Self::Line }
    }
}

/// The quality of a media type in thousandths: that of the most specific range that it is in, and 0 if it is in none.
fn quality<'a>(ranges: impl Iterator<Item = &'a [u8]>, kind: &[u8]) -> u16 {
    let matching = ranges.filter_map(|range| {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next()?;
        let specificity = match name {
            b"*/*" => 0,
            _ if name.eq_ignore_ascii_case(b"text/*") => 1,
            _ if name.eq_ignore_ascii_case(kind) => 2,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
        Some((specificity, weight.map_or(1000, thousandths)))
    });
    matching.max().map_or(0, |(_, quality)| quality)
}

/// A `qvalue` (RFC 9110 §12.4.2): `0` to `1` with up to three decimals. Anything else is no preference, and so 0.
fn thousandths(weight: &[u8]) -> u16 {
    let (whole, decimals) = match weight {
        [whole] => (*whole, &[][..]),
        [whole, b'.', decimals @ ..] => (*whole, decimals),
        _ => return 0,
    };
    if !matches!(whole, b'0' | b'1') || decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digit = |index: usize| decimals.get(index).map_or(0, |digit| u16::from(digit - b'0'));
    (u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2)).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_prefers_a_page() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, form) in [
            (browser, Form::Page),
            ("text/html", Form::Page),
            ("TEXT/HTML; Q=0.5, text/plain;q=0.4", Form::Page),
            ("text/html;level=1, text/*;q=0.3", Form::Page),
            ("*/*, text/plain;q=0.1", Form::Page),
            ("*/*", Form::Line),
            ("", Form::Line),
            ("text/*", Form::Line),
            ("text/plain, text/html", Form::Line),
            ("text/html;q=0.5, text/plain;q=0.501", Form::Line),
            ("text/html;q=0, */*", Form::Line),
            ("text/html;q=x", Form::Line),
            ("text/html;q=1.0001", Form::Line),
            ("application/json, text/plain, */*", Form::Line),
            ("application/xhtml+xml", Form::Line),
        ] {
            for head in [
                format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\nAccept: text/html\r\n"),
                format!("\r\nGET / HTTP/1.1\nACCEPT:{accept}\nbroken"),
            ] {
                assert_eq!(Form::of_bytes(head.as_bytes()), form, "{head}");
            }
        }
        for bytes in ["", "\r\n", "GET", "Accept", "GET / HTTP/1.1\r\nAccept-Language: text/html\r\n"] {
            assert_eq!(Form::of_bytes(bytes.as_bytes()), Form::Line, "{bytes}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let head = b"GET / HTTP/1.1\r\nAccept: */*;q=0.1\r\nAccept: text/html\r\n\r\n";
        assert_eq!(Form::of_bytes(head), Form::Page);
    }
}
