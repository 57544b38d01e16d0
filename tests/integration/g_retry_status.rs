//! `--retry-status`: an answer that counts as none goes no further while another backend may give a better one.
//!
//! Not here: requests that no backend answered (`g_reuse`, `o_round`).

use crate::harness::{
    Backend, GET, Message, Origin, PARKED, Proxy, Ronde, Wire, each_row, eventually, ok, ronde_only,
    scratch_directory, within,
};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const BUSY: &str =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 11\r\n\r\nmaintenance";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const STREAMED: &str =
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
const FLAGS: &str = "--retry-status 502 --retry-status 503 --max-fails 0 --backend-keep-alive-timeout 1h";
const WHY: &str = "the backend's status is one of --retry-status";

/// A backend in maintenance: every request gets this.
fn always(response: &'static str) -> Backend {
    Backend::start(move |wire, _| wire.send(response))
}

fn assert_busy(response: &Message) {
    let shown = (response.status(), response.sole("retry-after"), response.text());
    assert_eq!(shown, (503, "7".to_string(), "maintenance".to_string()));
}

/// Two backends that the test drives. The first has the request, and the conversation is parked.
fn asked(flags: &str, request: &str) -> (Origin, Origin, Proxy, Wire, Wire) {
    let (first, second) = (Origin::start(), Origin::start());
    let proxy = Proxy::with(&format!("{FLAGS} --workers 2 {flags}"), &[first.address, second.address]);
    let mut client = proxy.connect();
    client.send(request);
    let (backend, _) = first.request();
    thread::sleep(PARKED);
    (first, second, proxy, client, backend)
}

fn is_out(proxy: &Proxy, address: SocketAddr) -> bool {
    let line = format!("{address} is out of the round: {WHY}");
    proxy.process.stderr.all().iter().any(|said| said.contains(&line))
}

#[test]
fn an_idempotent_request_goes_on_to_the_next_backend() {
    ronde_only!();
    each_row(&["GET", "HEAD", "PUT", "DELETE", "OPTIONS"], |method| {
        let busy = Backend::start(|wire, request| match request.method() {
            "HEAD" => wire.send("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\n"),
            _ => wire.send(BUSY),
        });
        let good = Backend::start(|wire, request| match request.method() {
            "HEAD" => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
            _ => wire.send(ok(&request.text())),
        });
        let proxy = Proxy::with(FLAGS, &[busy.address, good.address]);
        let mut client = proxy.connect();
        for _ in 0..4 {
            client.send(PUT.replacen("PUT", method, 1));
            let response = client.response_to(method);
            assert_eq!((response.status(), response.has("retry-after")), (200, false));
            if *method != "HEAD" {
                assert_eq!(response.text(), "hello", "the body is sent whole, again");
            }
        }
        assert_eq!((busy.count(), good.count()), (4, 4));
        assert_eq!(busy.connections(), 1, "the connection is kept: its answer was read to the end");
        let line = proxy.process.stdout.line_with(&format!("{method} /"));
        assert!(
            line.contains(&format!(" 200 {} {}", if *method == "HEAD" { 0 } else { 5 }, good.address)),
            "{line}"
        );
        assert!(line.contains(&format!(" tried={}", busy.address)) && !line.contains("cause="), "{line}");
    });
}

#[test]
fn what_is_left_of_a_dropped_answer_reaches_no_client() {
    ronde_only!();
    let rows = [
        "HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 503 No\r\n\r\nuntil the end",
        "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno and more than was announced",
        "HTTP/1.1 503 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    ];
    each_row(&rows, |dropped| {
        let (_first, second, _proxy, mut client, mut backend) = asked("", GET);
        backend.send(dropped);
        second.answer(ok("good"));
        assert_eq!(client.response().text(), "good");
        backend.expect_end();
    });
}

#[test]
fn what_may_not_be_sent_again_and_what_is_not_listed_passes_as_it_is() {
    ronde_only!();
    each_row(&[POST, STREAMED], |request| {
        let (busy, good) = (always(BUSY), Backend::named("good"));
        let proxy = Proxy::with(FLAGS, &[busy.address, good.address]);
        assert_busy(&proxy.ask(request));
        assert_eq!(good.count(), 0);
    });
    each_row(&["500 Oops", "404 Not Found", "504 Late"], |status| {
        let status = *status;
        let other = Backend::start(move |wire, _| wire.send(ok("other").replacen("200 OK", status, 1)));
        let good = Backend::named("good");
        let proxy = Proxy::with(FLAGS, &[other.address, good.address]);
        assert_eq!((proxy.get("/").text().as_str(), good.count()), ("other", 0));
    });
}

#[test]
fn where_all_say_so_the_last_answer_is_passed_on_and_the_load_is_not_multiplied() {
    ronde_only!();
    let all = [always(BUSY), always(BUSY), always(BUSY)];
    let addresses = all.each_ref().map(|backend| backend.address);
    let proxy = Proxy::with(FLAGS, &addresses);
    assert_busy(&proxy.get("/"));
    let line = proxy.process.stdout.line_with("GET /");
    let [first, second, last] = addresses;
    assert!(line.contains(&format!(" 503 11 {last}")), "{line}");
    assert!(line.contains(&format!(" tried={first},{second}")) && !line.contains("cause="), "{line}");
    for _ in 1..300 {
        assert_busy(&proxy.get("/"));
    }
    let arrived: usize = all.iter().map(Backend::count).sum();
    assert_eq!(arrived, 300 + 100, "the budget begins with a hundred retries, and no such answer adds to it");
}

#[test]
fn a_backend_in_maintenance_leaves_the_round_and_all_of_them_together_still_answer() {
    ronde_only!();
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let first = Backend::start(move |wire, _| match back.load(Ordering::Relaxed) {
        true => wire.send(ok("back")),
        false => wire.send(BUSY),
    });
    let second = always(BUSY);
    let flags = "--retry-status 503 --max-fails 3 --fail-timeout 1h";
    let proxy = Proxy::with(flags, &[first.address, second.address]);
    for _ in 0..20 {
        assert_busy(&proxy.get("/"));
    }
    eventually("both are out", || is_out(&proxy, first.address) && is_out(&proxy, second.address));
    proxy.process.stderr.line_with(&format!("{WHY}, 3 times in a row; a single request will try it"));
    assert_eq!(first.count() + second.count(), 20 + 3, "none that is out is asked instead of another");
    is_back.store(true, Ordering::Relaxed);
    within(Duration::from_secs(1), "the first serves again", || proxy.get("/").text() == "back");
    (0..4).for_each(|_| assert_eq!(proxy.get("/").text(), "back"));
}

#[test]
fn such_an_answer_to_any_request_counts_against_the_backend_unless_it_speaks_of_the_request() {
    ronde_only!();
    let too_many = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 11\r\n\r\nmaintenance";
    for (response, request, counts) in [(BUSY, GET, true), (BUSY, POST, true), (too_many, GET, false)] {
        let (busy, good) = (always(response), Backend::named("good"));
        let flags = "--retry-status 429 --retry-status 500-599 --max-fails 3 --fail-timeout 1h";
        let proxy = Proxy::with(flags, &[busy.address, good.address]);
        for _ in 0..10 {
            let text = proxy.ask(request).text();
            assert!(text == "good" || request == POST, "{request}: {text}");
        }
        let expected = if counts { 3 } else { 10 };
        assert_eq!(busy.count(), expected, "{response} {request}");
        if counts {
            eventually("it is out", || is_out(&proxy, busy.address));
        }
    }
}

#[test]
fn the_body_of_a_failure_is_no_second_failure_and_its_end_no_success() {
    ronde_only!();
    let cut = Backend::start(|wire, _| {
        wire.send("HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\ncut");
        wire.finish();
    });
    let whole = always(BUSY);
    each_row(&[cut.address, whole.address], |&address| {
        let proxy = Proxy::with("--retry-status 503 --max-fails 2 --fail-timeout 1h", &[address]);
        for _ in 0..2 {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert_eq!(client.response_head().status(), 503);
            client.rest();
        }
        eventually("the second status takes it out", || is_out(&proxy, address));
    });
}

#[test]
fn without_a_better_backend_the_answer_is_passed_on() {
    ronde_only!();
    // One that refuses is out after a single attempt, and is not asked instead of one that answers.
    let (busy, down) = (always(BUSY), Origin::down());
    let proxy = Proxy::with("--retry-status 503 --max-fails 1", &[down.address, busy.address]);
    (0..6).for_each(|_| assert_busy(&proxy.get("/")));
    // Nobody knew that it would refuse, and the answer is gone.
    let proxy = Proxy::with("--retry-status 503 --max-fails 1", &[busy.address, down.address]);
    assert_eq!(proxy.get("/").status(), 502);
    let line = proxy.process.stdout.line_with(" 502 ");
    assert!(line.contains(&format!(" tried={},{}", busy.address, down.address)), "{line}");
    assert!(line.ends_with("cause=\"the backend refused the connection\""), "{line}");
    (0..6).for_each(|_| assert_busy(&proxy.get("/")));
}

#[test]
fn a_backend_at_its_limit_is_not_waited_for() {
    ronde_only!();
    let (full, busy) = (Origin::start(), Origin::start());
    let tables = [full.address, busy.address]
        .map(|address| format!("[[backend]]\naddress = \"{address}\"\nmax-connections = 1\n"));
    let path = scratch_directory().join("ronde.toml");
    std::fs::write(&path, format!("retry-status = [503]\n{}", tables.concat())).expect("the file");
    let proxy = Ronde::with(&format!("--listen 127.0.0.1:0 --config {}", path.display())).serve();
    let [mut holder, mut client, mut next] = [(); 3].map(|()| proxy.connect());
    holder.send(GET);
    let (mut held, _) = full.request();
    client.send(GET);
    let (mut backend, _) = busy.request();
    // This one waits for room, and gets that of the answer.
    next.send(GET);
    next.expect_silence();
    backend.send(BUSY);
    assert_busy(&client.response());
    backend.received.clear();
    backend.request();
    backend.send(ok("next"));
    assert_eq!(next.response().text(), "next");
    held.send(ok("held"));
    assert_eq!(holder.response().text(), "held");
}

#[test]
fn interim_responses_before_it_have_reached_the_client() {
    ronde_only!();
    let (_first, second, _proxy, mut client, mut backend) = asked("", GET);
    backend.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(client.response().status(), 103);
    backend.send(BUSY);
    let (mut other, _) = second.request();
    other.send(format!("HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n{}", ok("good")));
    assert_eq!(client.response().sole("link"), "</b>");
    assert_eq!(client.response().text(), "good");
}

#[test]
fn an_upgrade_goes_on_to_a_backend_that_switches() {
    ronde_only!();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    for answer in [BUSY, ""] {
        let (_first, second, _proxy, mut client, mut backend) = asked("", upgrade);
        backend.send(answer);
        // Its end is none of the tunnel's.
        backend.reset();
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let (mut other, _) = second.answer(switch);
        assert_eq!(client.response().status(), 101);
        thread::sleep(PARKED);
        other.send("down");
        assert_eq!(client.take(4), b"down");
        other.finish();
        client.expect_eof();
        client.send("up");
        assert_eq!(other.take(2), b"up");
    }
}

#[test]
fn pipelined_requests_keep_their_order() {
    ronde_only!();
    let (_first, second, _proxy, mut client, mut backend) = asked("", &GET.repeat(2));
    backend.send(BUSY);
    let (mut other, _) = second.request();
    other.send(ok("one"));
    assert_eq!(client.response().text(), "one");
    backend.received.clear();
    backend.request();
    backend.send(BUSY);
    other.received.clear();
    other.request();
    other.send(ok("two"));
    assert_eq!(client.response().text(), "two");
}

#[test]
fn a_stop_in_the_middle_of_it_lets_the_request_end() {
    ronde_only!();
    let (_first, second, mut proxy, mut client, mut backend) = asked("--shutdown-grace 5s", GET);
    proxy.process.signal(Signal::TERM);
    eventually("new clients are refused", || TcpStream::connect(proxy.address).is_err());
    backend.send(BUSY);
    second.answer(ok("good"));
    let response = client.response();
    assert_eq!((response.text(), response.members("connection")), ("good".into(), vec!["close".into()]));
    client.expect_eof();
    assert!(proxy.process.exit().success());
}

#[test]
fn a_client_that_leaves_in_the_middle_of_it_ends_it() {
    ronde_only!();
    let (_first, second, proxy, client, mut backend) = asked("", GET);
    backend.send(BUSY);
    let (mut other, _) = second.request();
    client.reset();
    other.expect_end();
    let line = proxy.process.stdout.line_with("GET /");
    assert!(line.contains("\" - 0 - ") && line.ends_with("cause=\"the client is gone\""), "{line}");
}

#[test]
fn a_client_that_has_closed_its_half_gets_the_better_answer() {
    ronde_only!();
    let (_first, second, _proxy, mut client, mut backend) = asked("", GET);
    client.finish();
    backend.send(BUSY);
    second.answer(ok("good"));
    assert_eq!(client.response().text(), "good");
    client.expect_eof();
}

#[test]
fn explain_tells_of_the_dropped_answer() {
    ronde_only!();
    let (busy, good) = (always(BUSY), Backend::named("good"));
    let proxy = Proxy::with(&format!("{FLAGS} --explain=1"), &[busy.address, good.address]);
    assert_eq!(proxy.get("/").text(), "good");
    eventually("it is explained", || proxy.process.stderr.text().contains("the connection is"));
    let said = proxy.process.stderr.text();
    let steps =
        ["status 503", "dropped for its status (--retry-status)", "turn 2 of the round", "status 200"];
    let places: Vec<_> = steps.iter().map(|step| said.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{said}");
}
