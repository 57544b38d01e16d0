//! Mends a response head where RFC 9112 says how: `Name : value`, and a value that goes on in the next line.
//!
//! The problem: one odd line should not cost a client the whole response. A proxy removes the blank before a colon (RFC
//! 9112 §5.1) and replaces a line fold by spaces (§5.2). But other parsers skip such a line, or take the fold for a line
//! of its own, and two readings of one message are how smuggling begins. So a line that decides where the response ends
//! is not mended, nor one that may be read as such a line, or as the end of the head.
//!
//! Bytes become spaces or change places, and the head keeps its length. What is not mended is left as it is: the strict
//! parser (`head`) then refuses the response.
//!
//! Not here: requests. A server must refuse the blank (§5.1), and may refuse the fold (§5.2).

use crate::http1::fields::{self, end_of_line};

/// Mends a whole response head, as `head::scan` found it.
pub fn response(head: &mut [u8]) {
    if !may_be_odd(head) {
        return;
    }
    let mut at = end_of_line(head, 0);
    let mut before = Line::Start;
    while at < head.len() {
        let end = end_of_line(head, at);
        let text = at..end.saturating_sub(2);
        before = match head[at] {
            b' ' | b'\t' if before == Line::Field && may_be_unfolded(&head[text.clone()]) => {
                unfold(&mut head[..text.end], at);
                Line::Field
            }
            b' ' | b'\t' => return,
            _ if decides_the_end(&head[text.clone()]) => Line::Framing,
            _ => {
                close_up(&mut head[text]);
                Line::Field
            }
        };
        at = end;
    }
}

/// What a fold would continue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The status line. A blank after it is skipped by one parser and part of a name to another (RFC 9112 §2.2).
    Start,
    Framing,
    Field,
}

/// Whether a blank is before a colon or begins a line. Nearly every head has neither; one look at each byte, without a
/// branch, costs next to nothing.
fn may_be_odd(head: &[u8]) -> bool {
    let is_blank = |byte: u8| (byte == b' ') | (byte == b'\t');
    let pairs = head.iter().zip(head.iter().skip(1));
    pairs.fold(false, |is_odd, (&before, &byte)| {
        is_odd | ((before == b'\n') & is_blank(byte)) | (is_blank(before) & (byte == b':'))
    })
}

/// Whether the line is a Content-Length or a Transfer-Encoding to a parser that ignores the blanks around a name.
fn decides_the_end(line: &[u8]) -> bool {
    // Not `Name::of`, which is for tokens.
    let name = fields::trim(line.split(|&byte| byte == b':').next().unwrap_or_default());
    [&b"content-length"[..], b"transfer-encoding"].iter().any(|framing| name.eq_ignore_ascii_case(framing))
}

/// Not a line of blanks, which looks like the end of the head.
fn may_be_unfolded(line: &[u8]) -> bool {
    !fields::trim(line).is_empty() && !decides_the_end(line)
}

/// Joins the line that begins at `at` with the one before it: `obs-fold = OWS CRLF RWS` becomes spaces.
fn unfold(head: &mut [u8], at: usize) {
    let text = fields::trim_end(&head[..at.saturating_sub(2)]).len();
    let rest = head.len() - fields::trim_start(&head[at..]).len();
    head[text..rest].fill(b' ');
}

/// Moves the colon to the end of the name: `Name : value` becomes `Name:  value`.
fn close_up(line: &mut [u8]) {
    let Some(colon) = memchr::memchr(b':', line) else { return };
    let name = fields::trim_end(&line[..colon]).len();
    line[name..=colon].fill(b' ');
    line[name] = b':';
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head between its status line and its empty line, mended.
    fn mended(lines: &str) -> String {
        let mut head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").into_bytes();
        response(&mut head);
        let head = String::from_utf8(head).unwrap();
        head.strip_prefix("HTTP/1.1 200 OK\r\n").unwrap().strip_suffix("\r\n\r\n").unwrap().to_owned()
    }

    #[test]
    fn what_has_one_reading_is_mended() {
        for (lines, expected) in [
            ("X : y", "X:  y"),
            ("X \t: y", "X:   y"),
            ("X :", "X: "),
            ("X : a : b", "X:  a : b"),
            ("A: b\r\nX : y\r\nC: d", "A: b\r\nX:  y\r\nC: d"),
            ("X: a\r\n b", "X: a   b"),
            ("X: a\r\n b \r\nC: d", "X: a   b \r\nC: d"),
            ("X: a \t\r\n\t b", "X: a      b"),
            ("X:\r\n y", "X:   y"),
            ("X : a\r\n b\r\n\tc", "X:  a   b   c"),
            ("X: a\r\n b: c", "X: a   b: c"),
            ("Connection : close", "Connection:  close"),
        ] {
            assert_eq!(mended(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_has_two_readings_is_left_as_it_is() {
        for lines in [
            "A: b",
            "A: b : c",
            "Content-Length : 5",
            "content-length\t: 5",
            "Transfer-Encoding : chunked",
            "Content-Length:\r\n 5",
            "Content-Length: 5\r\n 5",
            "Transfer-Encoding: chunked\r\n , x",
            "X: a\r\n Content-Length: 5",
            "X: a\r\n\tTransfer-Encoding : chunked",
            "X: a\r\n ",
            "X: a\r\n \t\r\n b",
            " X: y",
            "\tX: y",
            ": y",
            "no colon",
        ] {
            assert_eq!(mended(lines), lines);
        }
    }
}
