//! Framing: the body that a head declares, by ronde and by a plain reading of RFC 9112 §6.3.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::framing::{self, Framing};
use ronde::http1::head::{self, Lines, Method, Version};
use ronde_fuzz::strict::{self, Field, Length};

/// Each input line begins with the number of a name; the bytes up to the line end are the value.
const NAMES: [&str; 5] =
    ["Content-Length", "Transfer-Encoding", "TRANSFER-ENCODING", "Content_Length", "Connection"];
const STATUSES: [u16; 5] = [100, 200, 204, 304, 404];

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_old, choice, bytes) = input;
    let version = if is_old { Version::Http10 } else { Version::Http11 };
    let minor = u8::from(!is_old);
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(<[u8]>::split_first);
    let fields = lines.map(|(name, value)| Field {
        name: NAMES[usize::from(*name) % NAMES.len()].to_owned(),
        value: value.trim_ascii().to_vec(),
    });
    let fields: Vec<_> = fields.collect();
    let section =
        fields.iter().flat_map(|Field { name, value }| [name.as_bytes(), b": ", value, b"\r\n"].concat());
    let start = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n");
    let head: Vec<_> = start.into_bytes().into_iter().chain(section).chain(*b"\r\n").collect();

    let mut lines = Lines::new();
    let Ok(request) = head::request(&head, &mut lines) else { return };
    let declared = strict::declared(minor, &fields);
    let framing_of = |length| match length {
        Length::Exactly(length) => Framing::Length(length),
        Length::Chunked => Framing::Chunked,
        Length::UntilClose => Framing::UntilClose,
    };
    match (framing::of_request(request.version, request.fields), declared) {
        (Ok(framing), Ok(length)) => assert_eq!(framing, framing_of(length.unwrap_or(Length::Exactly(0)))),
        (Err(failure), Err(_)) => {
            let is_coded =
                strict::members(&fields, "transfer-encoding").iter().any(|coding| coding != "chunked");
            assert!(failure.status() == 400 || failure.status() == 501 && is_coded, "{failure:?}");
        }
        (ronde, strict) => panic!("{ronde:?}, but {strict:?}"),
    }
    let options = strict::members(&fields, "connection");
    let has = |option: &str| options.iter().any(|member| member == option);
    let persists = !has("close") && (!is_old || has("keep-alive"));
    assert_eq!(framing::persists(request.version, request.fields), persists);

    let method = if choice & 1 == 0 { Method::Get } else { Method::Head };
    let status = STATUSES[usize::from(choice / 2) % STATUSES.len()];
    let response = framing::of_response(method, status, version, request.fields);
    assert_eq!(response.is_ok(), declared.is_ok(), "{response:?}, but {declared:?}");
    if let (Ok(response), Ok(declared)) = (response, declared) {
        let has_body = method != Method::Head && matches!(status, 200 | 404);
        let length = if has_body { declared.unwrap_or(Length::UntilClose) } else { Length::Exactly(0) };
        assert_eq!(response.framing, framing_of(length));
        let length = response.declared_length.map(Length::Exactly);
        assert_eq!(length, declared.filter(|length| matches!(length, Length::Exactly(_))));
    }
});
