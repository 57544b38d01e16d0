//! ronde's own responses.
//!
//! The problem: when there is no response to relay, the client is still owed a complete one: a status, a date, a
//! length, a sentence for a person, and the cause in machine-readable form (`Proxy-Status`, RFC 9209).
//!
//! Not here: which status fits. That is in each failure's row in `failure`.

use crate::http1::accept::Form;
use crate::http1::forward::Persistence;
use crate::http1::head::Method;
use crate::observe::date::Date;
use crate::observe::failure::Failure;
use std::io::Write;

/// Seconds after which a client may retry. One second is the default of `--queue-timeout`, the longest wait for a
/// worker; and one of a client's connections may have ended by then (429).
const RETRY_AFTER: u32 = 1;

/// What is known of the request that is answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// HEAD gets no body (RFC 9110 §9.3.2). `None` if the method is not known.
    pub method: Option<Method>,
    pub form: Form,
}

/// Writes the response to a failed request; returns the length of its body.
///
/// `backend` goes into `Proxy-Status`, and is `None` unless the admin wants it there (`--reveal-backends`).
pub fn failed(
    out: &mut Vec<u8>,
    failure: Failure,
    asked: Asked,
    persistence: Persistence,
    backend: Option<&str>,
) -> u64 {
    let status = failure.status();
    let (kind, body) = match asked.form {
        Form::Line => ("text/plain", format!("{status} {}: {failure}\n", reason(status))),
        Form::Page => ("text/html; charset=utf-8", page(status, &format!("ronde: {failure}."))),
    };
    out.clear();
    begin(out, status, body.len());
    // The same request with another Accept gets another body, and some of these statuses may be cached.
    let _ = write!(out, "Content-Type: {kind}\r\nVary: Accept\r\n");
    let _ = write!(out, "Proxy-Status: ronde; error={}", failure.token());
    if let Some(backend) = backend {
        let _ = write!(out, "; next-hop=\"{backend}\"");
    }
    out.extend_from_slice(b"\r\n");
    if matches!(status, 429 | 503) {
        let _ = write!(out, "Retry-After: {RETRY_AFTER}\r\n");
    }
    finish(out, &body, asked, persistence)
}

/// Writes what a route says instead of a backend: a status, and a text, which is the status in words if it is empty. Returns
/// the length of its body.
pub fn respond(out: &mut Vec<u8>, status: u16, text: &str, asked: Asked, persistence: Persistence) -> u64 {
    let words = format!("{status} {}", reason(status));
    let text = if text.is_empty() { &words } else { text };
    let (kind, body) = match asked.form {
        Form::Line => ("text/plain; charset=utf-8", format!("{text}\n")),
        Form::Page => ("text/html; charset=utf-8", page(status, text)),
    };
    out.clear();
    begin(out, status, body.len());
    let _ = write!(out, "Content-Type: {kind}\r\nVary: Accept\r\n");
    finish_own(out, &body, asked, persistence)
}

/// Writes a 308, which keeps method and body, to the same path and query at another origin. Returns the length of its
/// body.
pub fn redirect(
    out: &mut Vec<u8>,
    origin: &str,
    target: &[u8],
    asked: Asked,
    persistence: Persistence,
) -> u64 {
    // `*` names the server as a whole.
    let target = if target.starts_with(b"/") { target } else { b"/" };
    let body = "308 Permanent Redirect\n";
    out.clear();
    begin(out, 308, body.len());
    let _ = write!(out, "Content-Type: text/plain\r\nLocation: {origin}");
    out.extend_from_slice(target);
    out.extend_from_slice(b"\r\n");
    finish_own(out, body, asked, persistence)
}

/// `Proxy-Status` says that no backend was asked (RFC 9209 §2.3.31).
fn finish_own(out: &mut Vec<u8>, body: &str, asked: Asked, persistence: Persistence) -> u64 {
    out.extend_from_slice(b"Proxy-Status: ronde; error=proxy_internal_response\r\n");
    finish(out, body, asked, persistence)
}

/// The end of a head, and the body, which a HEAD request gets without its bytes. Returns the length of what was written
/// of it.
fn finish(out: &mut Vec<u8>, body: &str, asked: Asked, persistence: Persistence) -> u64 {
    if persistence == Persistence::Close {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if asked.method == Some(Method::Head) {
        return 0;
    }
    out.extend_from_slice(body.as_bytes());
    body.len() as u64
}

/// The page for a browser. It stands alone: no script, nothing to load, and an empty icon, since a request for
/// `/favicon.ico` would fail in the same way.
fn page(status: u16, text: &str) -> String {
    let title = format!("{status} {}", escape(reason(status)));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n\
         <body style=\"font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:20vh auto;padding:0 1rem\">\n\
         <h1>{title}</h1>\n<p style=\"white-space:pre-line\">{}</p>\n</body>\n</html>\n",
        escape(text)
    )
}

/// The text of a route may hold any character; and a page that trusts its texts is one edit away from a hole.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Writes the response to `OPTIONS` with `Max-Forwards: 0`, which is a question to ronde itself (RFC 9110 §7.6.2).
pub fn options(out: &mut Vec<u8>, persistence: Persistence) {
    out.clear();
    begin(out, 200, 0);
    if persistence == Persistence::Close {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn begin(out: &mut Vec<u8>, status: u16, length: usize) {
    let reason = reason(status);
    let date = Date::now().imf();
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nContent-Length: {length}\r\n");
}

/// The reason phrases of the statuses in `failure`, of those of the admin listener, and of those that routes mostly respond
/// with (RFC 9110 §15, RFC 6585 §5, RFC 5842 §7.2, RFC 7725 §3).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::framing::{self, Framing};
    use crate::http1::head;

    #[test]
    fn every_failure_has_a_complete_response() {
        for &failure in Failure::ALL {
            assert_ne!(reason(failure.status()), "Error", "{failure:?}");
            let mut out = vec![];
            failed(&mut out, failure, Asked::default(), Persistence::Close, Some("app1:8000"));
            let head::Scan::Complete { start: 0, end } = head::scan(&out) else { panic!("{failure:?}") };
            let mut lines = head::Lines::new();
            let body = (out.len() - end) as u64;
            let head = head::response(&mut out[..end], &mut lines).unwrap();
            let framed = framing::of_response(Method::Get, head.status, head.version, head.fields).unwrap();
            assert_eq!(framed.framing, Framing::Length(body));
            let has = |wanted: &str| head.fields.iter().any(|(_, name, _)| name == wanted);
            for name in ["Date", "Content-Type", "Proxy-Status", "Connection"] {
                assert!(has(name), "{failure:?} {name}");
            }
            assert_eq!(has("Retry-After"), matches!(head.status, 429 | 503), "{failure:?}");
        }
    }

    #[test]
    fn head_gets_the_length_but_not_the_body() {
        let mut out = vec![];
        let asked = Asked { method: Some(Method::Head), form: Form::Page };
        failed(&mut out, Failure::Refused, asked, Persistence::Persist, None);
        assert!(out.ends_with(b"\r\n\r\n"));
        assert!(!String::from_utf8(out).unwrap().contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn a_page_says_what_the_line_says_and_loads_nothing() {
        for &failure in Failure::ALL {
            let mut out = vec![];
            let asked = Asked { form: Form::Page, ..Asked::default() };
            failed(&mut out, failure, asked, Persistence::Close, None);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("Content-Type: text/html; charset=utf-8\r\nVary: Accept\r\n"), "{head}");
            assert!(
                head.contains(&format!("\r\nProxy-Status: ronde; error={}\r\n", failure.token())),
                "{head}"
            );
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert!(body.contains(&failure.status().to_string()), "{body}");
            assert!(body.contains(&escape(failure.text())), "{body}");
            for foreign in ["<script", "http:", "https:", "src=", "url("] {
                assert!(!body.contains(foreign), "{foreign} in {body}");
            }
        }
    }

    #[test]
    fn every_answer_says_that_it_is_the_last_one_and_no_other_does() {
        for (persistence, count) in [(Persistence::Close, 1), (Persistence::Persist, 0)] {
            let (asked, mut outs) = (Asked::default(), [const { Vec::new() }; 4]);
            options(&mut outs[0], persistence);
            failed(&mut outs[1], Failure::Refused, asked, persistence, None);
            respond(&mut outs[2], 200, "text", asked, persistence);
            redirect(&mut outs[3], "https://a", b"/", asked, persistence);
            for out in outs {
                let text = String::from_utf8(out).unwrap();
                assert_eq!(text.matches("\r\nConnection: close\r\n").count(), count, "{text}");
            }
        }
    }

    #[test]
    fn what_a_route_says_depends_on_accept_for_a_cache_as_well() {
        for form in [Form::Line, Form::Page] {
            let mut out = vec![];
            respond(&mut out, 200, "text", Asked { form, ..Asked::default() }, Persistence::Persist);
            assert!(String::from_utf8(out).unwrap().contains("\r\nVary: Accept\r\n"));
        }
    }

    #[test]
    fn a_page_escapes_its_texts() {
        let page = page(502, "<script>alert('\"&')</script>");
        assert!(page.contains(">&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;</p>"), "{page}");
    }
}
