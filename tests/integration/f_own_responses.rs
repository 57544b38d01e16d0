//! ronde's own responses: complete, with the true cause, and without the backends' names unless asked.
//!
//! Not here: responses of backends (`f_responses`).

use crate::harness::{Backend, Message, Origin, Port, Proxy, Ronde, each_row, ronde_only};

/// The error types of RFC 9209 §2.3.
const CAUSES: &[&str] = &[
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_transfer_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_loop_detected",
];

fn assert_complete(response: &Message, status: u16, method: &str) {
    assert_eq!(response.status(), status, "{response}");
    assert!(response.sole("date").ends_with(" GMT"), "{response}");
    assert!(response.sole("content-type").starts_with("text/plain"), "{response}");
    let length: usize = response.sole("content-length").parse().expect("a length");
    assert!(length > 0 && (method == "HEAD" || response.body.len() == length), "{response}");
    let said = response.sole("proxy-status");
    let cause = said.strip_prefix("ronde; error=").expect("`ronde; error=`").split(';').next().unwrap();
    assert!(CAUSES.contains(&cause), "{cause} is no error type of RFC 9209");
}

/// Requests that are refused without a backend, and the status.
const REFUSED: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
    ("GET / HT", 408),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello", 408),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: tea\r\n\r\n", 417),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
];

#[test]
fn refusals_are_complete_and_close_the_connection() {
    ronde_only!();
    let backend = Backend::named("b");
    let flags = "--head-timeout 300ms --body-timeout 300ms --max-body 1000 --max-head 4k";
    let proxy = Proxy::with(flags, &[backend.address]);
    let refused = |bytes: &str, status: u16| {
        let response = proxy.expect_refusal(bytes, &[status]);
        assert_complete(&response, status, "GET");
        assert_eq!(response.members("connection"), ["close"]);
    };
    each_row(REFUSED, |(bytes, status)| refused(bytes, *status));
    refused(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5000)), 414);
    refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(5000)), 431);
    let connect = proxy.expect_refusal("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[405, 501]);
    assert_complete(&connect, connect.status(), "GET");
}

/// Proxies whose backend fails in different ways: the status, the proxy, and the backends that must stay alive.
fn failing() -> Vec<(u16, Proxy, Vec<Backend>)> {
    let garbage = Backend::start(|wire, _| wire.send("garbage\r\n\r\n"));
    let closing = Backend::start(|wire, _| wire.finish());
    let silent = Backend::start(|_, _| {});
    vec![
        (502, Proxy::start(&[Origin::down().address]), vec![]),
        (502, Proxy::start(&[garbage.address]), vec![garbage]),
        (502, Proxy::start(&[closing.address]), vec![closing]),
        (504, Proxy::with("--response-timeout 300ms", &[silent.address]), vec![silent]),
        (503, Ronde::with("--listen 127.0.0.1:0 no-such-name.invalid:80").serve(), vec![]),
    ]
}

#[test]
fn failures_are_complete_and_name_no_backend() {
    ronde_only!();
    for (status, proxy, backends) in failing() {
        for method in ["GET", "HEAD"] {
            let mut client = proxy.connect();
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = client.response_to(method);
            assert_complete(&response, status, method);
            let named = |address: String| response.to_string().contains(&address);
            assert!(!backends.iter().any(|backend| named(backend.address.to_string())), "{response}");
            assert!(!named("no-such-name".to_owned()), "{response}");
            if response.members("connection").contains(&"close".to_owned()) {
                client.expect_eof();
            } else {
                assert_eq!(client.get("/").status(), status, "the connection is in step");
            }
        }
    }
}

#[test]
fn a_1_0_client_gets_complete_errors_as_well() {
    ronde_only!();
    let proxy = Proxy::start(&[Origin::down().address]);
    let mut client = proxy.connect();
    assert_complete(&client.ask("GET / HTTP/1.0\r\n\r\n"), 502, "GET");
    client.expect_eof();
}

#[test]
fn a_loop_is_a_complete_508() {
    ronde_only!();
    let port = Port::reserve();
    let second = Proxy::start(&[port.address]);
    let first = Ronde::with(&format!("--listen {} {}", port.address, second.plain)).serve();
    let response = first.get("/");
    assert_complete(&response, 508, "GET");
    assert!(response.sole("proxy-status").contains("proxy_loop_detected"), "{response}");
}

#[test]
fn reveal_backends_names_them() {
    ronde_only!();
    let closing = Backend::start(|wire, _| wire.finish());
    let proxy = Proxy::with("--reveal-backends", &[closing.address]);
    let said = proxy.get("/").sole("proxy-status");
    assert!(said.contains(&closing.address.to_string()), "{said}");
}

/// A backend words its own errors.
#[test]
fn an_error_response_of_a_backend_is_relayed_unchanged() {
    let backend = Backend::start(|wire, _| {
        wire.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 7\r\n\r\nbusy");
    });
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..5 {
        let response = client.get("/");
        assert_eq!((response.start.as_str(), response.text().as_str()), ("HTTP/1.1 503 Busy", "busy"));
        assert!(!response.has("proxy-status") && response.sole("retry-after") == "7", "{response}");
    }
    assert_eq!(backend.count(), 5);
}

#[test]
fn each_failure_has_its_error_type_of_rfc_9209() {
    ronde_only!();
    let causes = [
        &["connection_refused"][..],
        &["http_protocol_error"],
        &["connection_terminated", "http_response_incomplete"],
        &["http_response_timeout", "connection_read_timeout"],
        &["dns_error", "destination_not_found", "destination_unavailable"],
    ];
    let failing = failing();
    let rows: Vec<_> =
        failing.iter().zip(causes).map(|((_, proxy, _), causes)| (proxy.address, causes)).collect();
    each_row(&rows, |(address, causes)| {
        let said = crate::harness::Wire::connect(*address).get("/").sole("proxy-status");
        assert!(causes.iter().any(|cause| said.starts_with(&format!("ronde; error={cause}"))), "{said}");
    });
}

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A browser showed a bare line.
#[test]
fn a_browser_gets_a_page_with_the_same_status_and_cause() {
    ronde_only!();
    let proxy = Proxy::with("--max-head 4k", &[Origin::down().address]);
    let cookies = "a".repeat(5000);
    for (start, more, status) in [
        ("GET / HTTP/1.1", String::new(), 502),
        ("GET / HTTP/1.0", String::new(), 502),
        ("HEAD / HTTP/1.1", String::new(), 502),
        ("GET /a#b HTTP/1.1", String::new(), 400),
        ("POST / HTTP/1.1", "Content-Length: x\r\n".to_owned(), 400),
        ("GET / HTTP/1.1", format!("Cookie: {cookies}\r\n"), 431),
        ("POST / HTTP/1.1", "Expect: tea\r\nContent-Length: 1\r\n".to_owned(), 417),
    ] {
        let ask = |accept: &str| {
            let mut client = proxy.connect();
            client.send(format!("{start}\r\nHost: a\r\nAccept: {accept}\r\n{more}\r\n"));
            client.response_to(start.split(' ').next().unwrap())
        };
        let (page, line) = (ask(BROWSER), ask("*/*"));
        assert_eq!((page.status(), line.status()), (status, status), "{start} {page}");
        assert_eq!(page.sole("proxy-status"), line.sole("proxy-status"));
        assert_eq!(page.sole("content-type"), "text/html; charset=utf-8");
        assert_eq!(line.sole("content-type"), "text/plain");
        assert!(page.sole("vary") == "Accept" && line.sole("vary") == "Accept");
        if start.starts_with("HEAD") {
            assert!(page.text().is_empty());
            continue;
        }
        let (_, cause) =
            line.text().trim().split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(
            page.text().starts_with("<!doctype html>") && page.text().contains(&cause),
            "{}",
            page.text()
        );
        assert!(!page.text().contains("<script"), "{}", page.text());
    }
}
