//! Heads: where one ends does not depend on how it arrives, and what is taken for one consists of bytes that may stand
//! there, all of which were understood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::fields::{self, Fields};
use ronde::http1::head::{self, Lines, Scan, Version};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let cut = usize::from(cut) % (bytes.len() + 1);
    arrives(bytes, cut);
    head::may_be_response(bytes);
    head::too_large(bytes, cut);
    if let Scan::Complete { start, end } = head::scan(bytes) {
        let head = &bytes[start..end];
        understands(head);
        head::trailers(head, |fields| assert_is(head, fields));
    }
});

/// The first `cut` bytes, then the rest.
fn arrives(bytes: &[u8], cut: usize) {
    let (begun, whole) = (head::scan(&bytes[..cut]), head::scan(bytes));
    assert!(begun == Scan::Partial || begun == whole, "{begun:?}, then {whole:?}");
    if begun == Scan::Partial {
        let is_worth_it = head::is_worth_a_look(bytes, cut);
        let empty_lines = bytes.chunks(2).take_while(|line| line == b"\r\n").count();
        // Between empty lines a look may be in vain, but none may be missed.
        assert!(is_worth_it == (whole != Scan::Partial) || is_worth_it && cut < 2 * empty_lines, "{whole:?}");
    }
}

fn understands(head: &[u8]) {
    let first = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let minor = |version| if version == Version::Http10 { 0 } else { 1 };
    if let Ok(request) = head::request(head, &mut Lines::new()) {
        let (token, target) = (request.token, request.raw_target);
        assert!(token.bytes().all(fields::is_token_byte));
        assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>#".contains(&byte)));
        assert_eq!(first, format!("{token} {target} HTTP/1.{}", minor(request.version)).as_bytes());
        assert_is(&head[first.len() + 2..], request.fields);
    }
    if let Ok(response) = head::response(head, &mut Lines::new()) {
        let start = format!("HTTP/1.{} {}", minor(response.version), response.status);
        let reason = first.strip_prefix(start.as_bytes()).expect("version and status");
        assert_eq!(reason.strip_prefix(b" ").unwrap_or_default(), response.reason);
        assert!(response.reason.iter().all(|&byte| fields::is_value_byte(byte)));
        assert_is(&head[first.len() + 2..], response.fields);
    }
}

/// Written again, the fields are these bytes but for optional white space.
fn assert_is(mut section: &[u8], fields: Fields<'_>) {
    for (_, name, value) in fields.iter() {
        assert!(
            name.bytes().all(fields::is_token_byte) && value.iter().all(|&byte| fields::is_value_byte(byte))
        );
        let length = section.iter().position(|&byte| byte == b'\r').expect("the end of a line");
        let colon = section[..length].strip_prefix(name.as_bytes()).and_then(|line| line.strip_prefix(b":"));
        assert_eq!(fields::trim(colon.expect("name and colon")), fields::trim(value));
        section = section[length..].strip_prefix(b"\r\n").expect("the end of a line");
    }
    assert_eq!(section, b"\r\n");
}
