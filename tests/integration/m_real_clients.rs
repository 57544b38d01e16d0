//! Third-party clients: curl, Python's requests, websockets and http.client, wrk, Chromium.
//!
//! The other modules check every byte on the wire; this one checks that real clients agree. Each test needs the program
//! that its module is named after. `harness/programs.rs` has the rule for when it is missing.

use crate::harness::{Backend, Message, Proxy, needs, ok, python_server, scratch_directory};
use std::path::PathBuf;

/// `size` bytes in a pattern of prime length: a lost, doubled or reordered part breaks the pattern.
fn pattern(size: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).collect();
    let mut bytes = period.repeat(size.div_ceil(period.len()));
    bytes.truncate(size);
    bytes
}

fn file_of(content: &[u8]) -> PathBuf {
    let path = scratch_directory().join("file");
    std::fs::write(&path, content).expect("a file");
    path
}

fn text_of(path: &std::path::Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Sends a request's body back, and names its framing in a field.
fn echo() -> Backend {
    Backend::start(|wire, request| {
        let (framing, length) = (request.framing, request.body.len());
        wire.send(format!("HTTP/1.1 200 OK\r\nX-Framing: {framing:?}\r\nContent-Length: {length}\r\n\r\n"));
        wire.send(&request.body);
    })
}

/// Two backends, and the proxy in front of them.
fn round(flags: &str) -> ([Backend; 2], Proxy) {
    let backends = ["1", "2"].map(Backend::named);
    let proxy = Proxy::with(flags, &backends.each_ref().map(|backend| backend.address));
    (backends, proxy)
}

mod curl_if_installed {
    use super::{Backend, Message, Proxy, echo, file_of, needs, ok, pattern, round, text_of};
    use crate::harness::{Origin, curl, curl_reading, each_row, scratch_directory, setup};

    #[test]
    fn methods_pass_with_their_bodies() {
        needs!(Curl);
        let backend = Backend::mirror();
        let proxy = Proxy::start(&[backend.address]);
        each_row(&["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"], |method| {
            let seen = curl(&["-X", method, "--data", "a=b", &proxy.url("/path?query")]).success();
            assert!(seen.starts_with(&format!("{method} /path?query HTTP/1.1\n")), "{seen}");
            assert!(seen.ends_with("\na=b") && seen.contains("\nUser-Agent: curl/"), "{seen}");
        });
    }

    #[test]
    fn a_head_response_has_a_length_and_no_body() {
        needs!(Curl);
        let backend = Backend::start(|wire, request| {
            assert_eq!(request.method(), "HEAD");
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        });
        let proxy = Proxy::start(&[backend.address]);
        let written = curl(&["--head", &proxy.url("/")]).success();
        assert!(
            written.starts_with("HTTP/1.1 200 OK") && written.contains("Content-Length: 1000"),
            "{written}"
        );
    }

    #[test]
    fn one_connection_sees_the_backends_in_turn() {
        needs!(Curl);
        let (_backends, proxy) = round("");
        let url = proxy.url("/[1-6]");
        let written = curl(&["--write-out", " after %{num_connects} connects\n", &url]).success();
        let expected = ["1 after 1", "2 after 0", "1 after 0", "2 after 0", "1 after 0", "2 after 0"];
        assert_eq!(written, expected.map(|line| format!("{line} connects")).join("\n"));
    }

    #[test]
    fn an_upload_of_unknown_length_goes_out_in_chunks() {
        needs!(Curl);
        let backend = echo();
        let proxy = Proxy::start(&[backend.address]);
        let input = file_of("line of text\n".repeat(50_000).as_bytes());
        let process = curl_reading(
            &input,
            &["--include", "--upload-file", "-", "--header", "Expect:", &proxy.url("/")],
        );
        let written = process.success();
        assert!(written.contains("X-Framing: Chunked"), "{}", &written[..200]);
        assert!(written.ends_with(&"\nline of text".repeat(50_000)), "{} bytes", written.len());
    }

    /// With these arguments curl does not send its body without a 100 before the test gives up.
    const WAIT_FOR_100: [&str; 2] = ["--expect100-timeout", "60"];

    #[test]
    fn a_large_upload_waits_for_its_100_and_gets_it() {
        needs!(Curl);
        let (content, origin) = (pattern(3 << 20), Origin::start());
        let proxy = Proxy::start(&[origin.address]);
        let (input, url) = (file_of(&content), proxy.url("/"));
        let process = curl(&[&WAIT_FOR_100[..], &["--upload-file", text_of(&input), &url]].concat());
        let mut backend = origin.accept();
        let request = backend.request_head();
        assert_eq!(
            (request.sole("expect"), request.sole("content-length")),
            ("100-continue".into(), "3145728".into())
        );
        backend.send("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(backend.take(content.len()) == content, "the body");
        backend.send(ok("thanks"));
        assert_eq!(process.success(), "thanks");
    }

    #[test]
    fn a_large_upload_that_is_refused_is_not_sent() {
        needs!(Curl);
        let (origin, proxy, _) = setup("");
        let (input, url) = (file_of(&pattern(3 << 20)), proxy.url("/"));
        let sizes = "%{http_code} after %{size_upload}";
        let arguments = ["--upload-file", text_of(&input), "--write-out", sizes, &url];
        let process = curl(&[&WAIT_FOR_100[..], &arguments].concat());
        let mut backend = origin.accept();
        backend.request_head();
        backend.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(process.success(), "no403 after 0");
    }

    /// curl sends all 5 MB before it reads. A reset before that would destroy the response.
    #[test]
    fn curl_reads_the_413_of_an_upload_that_is_too_large() {
        needs!(Curl);
        let backend = echo();
        let proxy = Proxy::with("--max-body 1m", &[backend.address]);
        let (input, url) = (file_of(&pattern(5 << 20)), proxy.url("/"));
        each_row(&["Expect:", "Expect: 100-continue", "Transfer-Encoding: chunked"], |field| {
            let arguments = ["--upload-file", text_of(&input), "--header", field];
            let status = ["--output", "/dev/null", "--write-out", "%{http_code}", &url];
            assert_eq!(curl(&[&arguments[..], &status].concat()).success(), "413");
        });
    }

    #[test]
    fn fifty_megabytes_up_are_the_same_bytes() {
        needs!(Curl);
        let content = pattern(50_000_000);
        let (input, expected) = (file_of(&content), content);
        let backend = Backend::start(move |wire, request| {
            wire.send(ok(if request.body == expected { "the same" } else { "different" }));
        });
        let proxy = Proxy::start(&[backend.address]);
        let url = proxy.url("/");
        each_row(&["X-Length: known", "Transfer-Encoding: chunked"], |field| {
            let arguments =
                ["--header", "Expect:", "--header", field, "--upload-file", text_of(&input), &url];
            assert_eq!(curl(&arguments).success(), "the same");
        });
    }

    #[test]
    fn fifty_megabytes_down_are_the_same_bytes() {
        needs!(Curl);
        let content = pattern(50_000_000);
        let sent = content.clone();
        let backend = Backend::start(move |wire, request| match request.target() {
            "/length" => {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len()));
                wire.send(&sent);
            }
            _ => {
                wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for part in sent.chunks(1_000_003) {
                    wire.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
                }
                wire.send("0\r\n\r\n");
            }
        });
        let proxy = Proxy::start(&[backend.address]);
        each_row(&["/length", "/chunked"], |target| {
            let output = scratch_directory().join("output");
            curl(&["--output", text_of(&output), &proxy.url(target)]).success();
            assert!(std::fs::read(&output).expect("the output") == content, "the body");
        });
    }

    #[test]
    fn a_1_0_client_gets_its_body_without_chunks() {
        needs!(Curl);
        let backend = Backend::start(|wire, _| wire.send(crate::harness::ok_chunked(&["good", "bye"])));
        let proxy = Proxy::start(&[backend.address]);
        let written = curl(&["--http1.0", "--include", &proxy.url("/")]).success();
        assert!(!written.to_lowercase().contains("transfer-encoding"), "{written}");
        assert!(written.ends_with("\r\n\r\ngoodbye") || written.ends_with("\r\n\ngoodbye"), "{written}");
    }

    #[test]
    fn a_range_passes_and_its_206_comes_back() {
        needs!(Curl);
        let backend = Backend::start(|wire, request| {
            assert_eq!(request.sole("range"), "bytes=2-4");
            let part =
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo";
            wire.send(part);
        });
        let proxy = Proxy::start(&[backend.address]);
        let written =
            curl(&["--range", "2-4", "--write-out", " %{http_code}", "--include", &proxy.url("/")]).success();
        assert!(written.contains("Content-Range: bytes 2-4/5") && written.ends_with("llo 206"), "{written}");
    }

    #[test]
    fn a_compressed_body_passes_unchanged() {
        needs!(Curl);
        // `printf hello | gzip`, as one block that is stored and not compressed.
        let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x05\0\xfa\xffhello\x86\xa6\x10\x36\x05\0\0\0";
        let backend = Backend::start(move |wire, request| {
            let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n";
            let length = gzip.len();
            assert!(request.members("accept-encoding").contains(&"gzip".to_owned()), "{request}");
            wire.send(format!("{head}Content-Length: {length}\r\n\r\n"));
            wire.send(gzip);
        });
        let proxy = Proxy::start(&[backend.address]);
        assert_eq!(curl(&["--compressed", &proxy.url("/")]).success(), "hello");
    }

    /// The backend refuses the first upgrade. ronde does not forward the second (`--http2`: h2c).
    #[test]
    fn a_refused_upgrade_is_an_ordinary_response() {
        needs!(Curl);
        let backend = Backend::start(|wire, request: &Message| match &request.members("upgrade")[..] {
            [] => wire.send(ok("no upgrade asked for")),
            _ => wire.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"),
        });
        let proxy = Proxy::start(&[backend.address]);
        let (url, status) = (proxy.url("/"), ["--write-out", " %{http_code} %{http_version}"]);
        let other = ["--header", "Connection: Upgrade", "--header", "Upgrade: other", &url];
        assert_eq!(curl(&[&status[..], &other].concat()).success(), "no 426 1.1");
        assert_eq!(
            curl(&[&status[..], &["--http2", &url]].concat()).success(),
            "no upgrade asked for 200 1.1"
        );
    }
}

mod requests_if_installed {
    use super::{Backend, Proxy, echo, needs, ok, pattern, round};
    use crate::harness::python;

    fn run(scenario: &str, proxy: &Proxy) {
        python("tests/integration/clients/with_requests.py", &[scenario, &proxy.url("")]).success();
    }

    #[test]
    fn a_session_and_fresh_connections_see_strict_turns() {
        needs!(Requests);
        let (_backends, proxy) = round("");
        run("turns", &proxy);
    }

    #[test]
    fn a_generator_is_uploaded_in_chunks() {
        needs!(Requests);
        let backend = echo();
        run("upload", &Proxy::start(&[backend.address]));
    }

    #[test]
    fn a_download_can_be_read_in_pieces() {
        needs!(Requests);
        let backend = Backend::start(|wire, _| {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in pattern(251 * 20_000).chunks(77_777) {
                wire.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            wire.send("0\r\n\r\n");
        });
        run("download", &Proxy::start(&[backend.address]));
    }

    #[test]
    fn large_fields_pass_both_ways() {
        needs!(Requests);
        let backend = Backend::start(|wire, request| {
            let back = |name: &str| name == "Cookie" || name.starts_with("X-Field-");
            let fields: String = (request.fields.iter().filter(|(name, _)| back(name)))
                .map(|(name, value)| format!("Back-{name}: {}\r\n", String::from_utf8_lossy(value)))
                .collect();
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"));
        });
        run("large_fields", &Proxy::start(&[backend.address]));
    }

    #[test]
    fn redirects_lead_back_through_the_proxy() {
        needs!(Requests);
        let backend = Backend::start(|wire, request| {
            let to = |status: &str, location: &str| {
                format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
            };
            let absolute = format!("{}://{}/target", crate::harness::tls::scheme(), request.sole("host"));
            wire.send(match request.target() {
                "/relative" => to("302 Found", "/target"),
                "/absolute" => to("302 Found", &absolute),
                "/again" => to("307 Temporary Redirect", "/target"),
                _ => ok(&format!("{} {}", request.method(), request.text())),
            });
        });
        run("redirects", &Proxy::start(&[backend.address]));
    }
}

mod websockets_if_installed {
    use super::{Proxy, needs, python_server};
    use crate::harness::{Process, python};

    const SCRIPT: &str = "tests/integration/clients/with_websockets.py";

    /// Runs the client against a websockets server behind the proxy, and returns the server.
    fn run(scenario: &str, flags: &str) -> Process {
        let (server, address) = python_server(SCRIPT, &["serve"]);
        let proxy = Proxy::with(flags, &[address]);
        python(SCRIPT, &[scenario, &proxy.url("").replacen("http", "ws", 1)]).success();
        server
    }

    #[test]
    fn messages_of_every_kind_and_size_come_back() {
        needs!(Websockets);
        run("messages", "");
    }

    #[test]
    fn pings_from_both_ends_are_answered() {
        needs!(Websockets);
        run("pings", "");
    }

    #[test]
    fn close_codes_from_both_ends_pass() {
        needs!(Websockets);
        let server = run("close_codes", "");
        server.stdout.line_with("closed with 4002 enough");
    }

    #[test]
    fn fifty_tunnels_leave_four_workers_free_for_other_requests() {
        needs!(Websockets);
        run("many", "--workers 4");
    }
}

mod python_if_installed {
    use super::{Proxy, needs, python_server};
    use crate::harness::{Origin, Process, python};
    use std::net::SocketAddr;

    /// The test reads each event before it sends the next, so no buffer in between may hold an event back.
    #[test]
    fn each_event_of_a_stream_arrives_before_the_next_is_sent() {
        needs!(Python);
        let origin = Origin::start();
        let proxy = Proxy::start(&[origin.address]);
        let address = proxy.plain.to_string();
        let listener = python("tests/integration/clients/with_http_client.py", &[&address]);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (mut backend, request) = origin.answer(head);
        assert_eq!(request.sole("accept"), "text/event-stream");
        for number in 0..20 {
            let event = format!("data: event {number}.\n\n");
            backend.send(format!("{:x}\r\n{event}\r\n", event.len()));
            listener.stdout.line_with(&format!("event {number}."));
        }
        backend.send("0\r\n\r\n");
        assert!(listener.success().ends_with("the stream is over"));
    }

    /// The two backends of the compose file.
    pub fn two_servers() -> ([Process; 2], [SocketAddr; 2]) {
        let [first, second] =
            ["1", "2"].map(|number| python_server("backend/server.py", &["--port", "0", number]));
        ([first.0, second.0], [first.1, second.1])
    }

    #[test]
    fn the_backends_of_this_repository_respond_in_turn() {
        needs!(Python);
        let (_servers, addresses) = two_servers();
        let proxy = Proxy::start(&addresses);
        let mut kept = proxy.connect();
        for _ in 0..10 {
            assert_eq!(kept.get("/").text(), "Backend Python 1\n");
            assert_eq!(proxy.get("/any/path").text(), "Backend Python 2\n");
        }
        let page = kept.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
        assert_eq!(page.sole("content-type"), "text/html; charset=utf-8");
        assert!(page.text().contains("<title>Backend Python 1</title>"), "{page}");
        assert!(page.text().contains("answered <code>127.0.0.1</code>"), "{page}");
        let chunks = "3\r\nabc\r\n0\r\n\r\n";
        let upload =
            kept.ask(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        assert_eq!(upload.text(), "Backend Python 2\n");
    }
}

mod wrk_if_installed {
    use super::{Proxy, needs, round};
    use crate::harness::wrk;
    use std::net::SocketAddr;

    /// The default queue timeout rightly refuses requests under overload, but a debug build that shares the machine
    /// with other tests would reach it.
    const FLAGS: &str = "--queue-timeout 30s --access-log off";

    /// No response is missing, and none is an error.
    fn assert_clean(connections: usize, proxy: &Proxy) {
        let report = wrk(connections, &proxy.url("/")).success();
        let requests = report.lines().find_map(|line| line.trim().split_once(" requests in "));
        assert!(requests.is_some_and(|(number, _)| number != "0"), "{report}");
        // wrk prints these lines only when it has errors to count.
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    }

    /// Both backends had about as many turns. Some may be missing: while other tests keep a backend from responding,
    /// the round passes it over.
    fn assert_shared(backends: &[super::Backend; 2]) {
        let [first, second] = backends.each_ref().map(super::Backend::count);
        assert!(first.abs_diff(second) <= 64 + (first + second) / 10, "turns: {first} and {second}");
    }

    #[test]
    fn sixty_four_connections_see_no_error() {
        needs!(Wrk);
        let (backends, proxy) = round(FLAGS);
        assert_clean(64, &proxy);
        assert_shared(&backends);
    }

    #[test]
    fn a_thousand_connections_see_no_error() {
        needs!(Wrk);
        crate::harness::plain_only!("a thousand handshakes take longer than wrk runs");
        let (backends, proxy) = round(FLAGS);
        assert_clean(1000, &proxy);
        assert_shared(&backends);
    }

    #[test]
    fn python_backends_serve_both_without_an_error() {
        needs!(Wrk, Python);
        crate::harness::plain_only!("a thousand handshakes take longer than wrk runs");
        let (_servers, addresses): (_, [SocketAddr; 2]) = super::python_if_installed::two_servers();
        let proxy = Proxy::with(FLAGS, &addresses);
        assert_clean(64, &proxy);
        assert_clean(1000, &proxy);
    }
}

/// Chromium is too large to ask for with `cargo test`: `tests/chromium.sh` runs these tests, and CI runs that.
mod chromium {
    use super::{Proxy, needs, python_server, text_of};
    use crate::harness::{
        Backend, Ronde, TIMEOUT, chromium, free_address, python, scratch_directory, within,
    };

    #[test]
    #[ignore = "needs Chromium: tests/chromium.sh"]
    fn reloads_alternate_and_no_icon_takes_a_turn() {
        needs!(Chromium, Websockets);
        let (_servers, addresses) = super::python_if_installed::two_servers();
        let demo = Ronde::with("demo --listen 127.0.0.1:0").serve();
        for (name, proxy) in [("Backend Python", Proxy::start(&addresses)), ("Backend", demo)] {
            let profile = scratch_directory();
            let script = "tests/integration/clients/with_chromium.py";
            let titles = python(script, &[&proxy.url("/"), text_of(&profile)]).success();
            let expected: Vec<_> =
                [1, 2, 1, 2, 1, 2].iter().map(|number| format!("{name} {number}")).collect();
            assert_eq!(titles, expected.join("\n"));
        }
    }

    #[test]
    #[ignore = "needs Chromium: tests/chromium.sh"]
    fn a_page_can_open_a_websocket_and_an_event_source() {
        needs!(Chromium, Python);
        let (_server, address) = python_server("tests/integration/clients/browser_backend.py", &[]);
        let proxy = Proxy::with("--workers 4", &[address]);
        let page = chromium(&proxy.url("/")).success();
        assert!(page.contains(">socket said hello<") && page.contains(">events said 1 2 3<"), "{page}");
    }

    #[test]
    #[ignore = "needs Chromium: tests/chromium.sh"]
    fn a_page_over_tls_can_open_a_websocket_and_an_event_source() {
        needs!(Chromium, Python, Openssl);
        let (_server, address) = python_server("tests/integration/clients/browser_backend.py", &[]);
        let proxy = Proxy::with_tls("--workers 4", &[address]);
        let page = chromium(&format!("https://localhost:{}/", proxy.with_tls[0].port())).success();
        assert!(page.contains(">socket said hello<") && page.contains(">events said 1 2 3<"), "{page}");
    }

    #[test]
    #[ignore = "needs Chromium: tests/chromium.sh"]
    fn one_browser_meets_two_hosts_behind_one_port() {
        needs!(Chromium);
        let site = Backend::start(|wire, request| {
            let port = request.sole("host").rsplit(':').next().unwrap_or_default().to_owned();
            let page = format!(
                "<!doctype html><p>site</p><script>const asked = new XMLHttpRequest();\n\
                 asked.open('GET', 'http://api.test:{port}/word', false); asked.send();\n\
                 document.write('<p>said ' + asked.responseText + '</p>');</script>"
            );
            let length = page.len();
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{page}"
            ));
        });
        let api = Backend::start(|wire, request| {
            assert_eq!(request.target(), "/word");
            wire.send("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 5\r\n\r\nhello");
        });
        let flags = format!("--route site.test={} --route api.test={}", site.address, api.address);
        let proxy = Ronde::with(&format!("--listen 127.0.0.1:0 {flags}")).serve();
        let page = chromium(&format!("http://site.test:{}/", proxy.address.port())).success();
        assert!(page.contains("<p>site</p>") && page.contains("<p>said hello</p>"), "{page}");
    }

    /// The page is served by ronde, under its own policy, and everything that it is to show is made to happen.
    #[test]
    #[ignore = "needs Chromium: tests/chromium.sh"]
    fn the_live_page_shows_what_happens_without_a_reload() {
        needs!(Chromium, Websockets);
        let (mut backend, other) = (Backend::named("1"), Backend::named("2"));
        let (admin, profile) = (free_address(), scratch_directory());
        let flags = format!("--workers 3 --admin {admin} --health-path / --health-interval 200ms");
        let addresses = [backend.address, other.address];
        let says = |id, text: &str| format!("document.getElementById('{id}').textContent.includes('{text}')");
        let steps = [
            "document.querySelectorAll('#workers > li').length === 3".to_owned(),
            says("verdict", "Both backends are in the round."),
            says("lead-clients", "300 clients."),
            says("lead-more", "All of them are parked"),
            says("totals", "300 requests in all, 0 failed"),
            // There is ink in the field of dots.
            "field.getContext('2d').getImageData(0, 0, field.width, field.height).data.some(byte => byte)"
                .to_owned(),
            says("verdict", &format!("1 of 2 backends is out: {}", addresses[0])),
            says("news", "ronde does not answer."),
            says("news", "ronde has restarted"),
        ];
        let proxy = Proxy::with(&flags, &addresses);
        let url = format!("http://{admin}/");
        let mut arguments = vec![&*url, text_of(&profile)];
        arguments.extend(steps.iter().map(String::as_str));
        let page = python("tests/integration/clients/with_live_page.py", &arguments);
        // On a busy machine a browser takes its time to start.
        within(3 * TIMEOUT, "the page is there", || page.stdout.text().contains(&steps[1]));
        let mut clients: Vec<_> = (0..300).map(|_| proxy.connect()).collect();
        clients.iter_mut().for_each(|client| drop(client.get("/")));
        page.stdout.line_with(&steps[5]);
        backend.go_down();
        page.stdout.line_with(&steps[6]);
        drop(proxy);
        page.stdout.line_with(&steps[7]);
        let _proxy = Proxy::with(&flags, &addresses);
        assert_eq!(page.success(), steps.join("\n"), "and nothing else, such as an error on the console");
    }
}
