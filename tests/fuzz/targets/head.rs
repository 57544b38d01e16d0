//! Heads: the end of a head does not depend on how it arrives, and a parsed head accounts for every byte, all of them
//! valid.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::fields::{self, Fields};
use ronde::http1::head::{self, Lines, Scan, Version};
use ronde_fuzz::strict;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let cut = usize::from(cut) % (bytes.len() + 1);
    check_scan(bytes, cut);
    head::may_be_response(bytes);
    head::too_large(bytes, cut);
    if let Scan::Complete { start, end } = head::scan(bytes) {
        let head = &bytes[start..end];
        check_parse(head);
        head::trailers(head, |fields| assert_serialises_to(head, fields));
    }
});

/// The first `cut` bytes, then the rest.
fn check_scan(bytes: &[u8], cut: usize) {
    let (first, whole) = (head::scan(&bytes[..cut]), head::scan(bytes));
    assert!(first == Scan::Partial || first == whole, "{first:?}, then {whole:?}");
    if first == Scan::Partial {
        let is_worth_it = head::is_worth_a_look(bytes, cut);
        let empty_lines = bytes.chunks(2).take_while(|line| line == b"\r\n").count();
        // Among empty lines a scan may be in vain, but a necessary one must not be skipped.
        assert!(is_worth_it == (whole != Scan::Partial) || is_worth_it && cut < 2 * empty_lines, "{whole:?}");
    }
}

fn check_parse(head: &[u8]) {
    let first = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let minor = |version| if version == Version::Http10 { 0 } else { 1 };
    if let Ok(request) = head::request(head, &mut Lines::new()) {
        let (token, target) = (request.token, request.raw_target);
        assert!(token.bytes().all(fields::is_token_byte));
        assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
        assert_eq!(first, format!("{token} {target} HTTP/1.{}", minor(request.version)).as_bytes());
        assert_serialises_to(&head[first.len() + 2..], request.fields);
    }
    let mut mended = head.to_vec();
    if let Ok(response) = head::response(&mut mended, &mut Lines::new()) {
        let (start, fields, _) = strict::response_head(head).expect("a valid head");
        assert_eq!((start.status, start.minor), (response.status, minor(response.version)));
        assert_eq!(start.reason, response.reason);
        // What was mended is what the second parser makes of it.
        let ours = response.fields.iter().map(|(_, name, value)| (name, fields::trim(value)));
        let strict = fields.iter().map(|field| (&field.name[..], &field.value[..]));
        assert_eq!(ours.collect::<Vec<_>>(), strict.collect::<Vec<_>>());
    }
}

/// Serialised again, the fields are these bytes, apart from optional white space.
fn assert_serialises_to(mut section: &[u8], fields: Fields<'_>) {
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
