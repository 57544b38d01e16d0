//! Whatever waits is parked, and goes on where it stopped, with every byte that was in hand.
//!
//! Not here: a side that leaves meanwhile (`s_gone`), deadlines (`s_deadlines`), a thousand at once (`s_thousands`).

use crate::harness::{
    Backend, CHUNKED, Gate, PARKED, Proxy, SWITCH, UPGRADE, Wire, each_row, eventually, noise, ok,
    ronde_only, setup,
};
use std::thread;

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn pause() {
    thread::sleep(PARKED);
}

fn assert_same(got: &[u8], sent: &[u8]) {
    let differs = got.iter().zip(sent).position(|(got, sent)| got != sent);
    assert!(
        got.len() == sent.len() && differs.is_none(),
        "{} bytes, the first wrong: {differs:?}",
        got.len()
    );
}

/// Sends the first part of the response, as long as the target says, and the others when the gate opens.
fn cutting(response: &'static str) -> (Gate, Backend) {
    Backend::gated(move |wire, request, gate| {
        let Some(cut) = request.target().strip_prefix("/cut/") else { return wire.send(ok("next")) };
        let (first, rest) = response.split_at(cut.parse().expect("a length"));
        wire.send(first);
        gate.pass();
        wire.send(rest);
    })
}

#[test]
fn a_response_goes_on_wherever_it_was_cut() {
    ronde_only!();
    let rows = [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T, U\r\n\r\n\
         5;a=b\r\nhello\r\n10\r\n, this is a body\r\n0\r\nT: v\r\nU: w\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\nhello, this is a body",
    ];
    each_row(&rows, |response| {
        let (gate, backend) = cutting(response);
        let proxy = Proxy::with("--workers 2", &[backend.address]);
        let mut clients: Vec<_> = (1..response.len()).map(|_| proxy.connect()).collect();
        for (cut, client) in (1..).zip(&mut clients) {
            // The next request waits behind the parked one.
            client.send(format!("GET /cut/{cut} HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}"));
        }
        eventually("all have begun", || backend.count() == clients.len());
        pause();
        gate.open();
        for client in &mut clients {
            let mut whole = client.response();
            if whole.status() == 103 {
                assert_eq!(whole.sole("link"), "</a>");
                whole = client.response();
            } else {
                assert_eq!(whole.trailers.len(), 2, "{whole}");
            }
            assert_eq!(whole.text(), "hello, this is a body");
            assert_eq!(client.response().text(), "next");
        }
    });
}

#[test]
fn an_interim_response_does_not_wait_for_the_final_one() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("--workers 2");
    client.send(format!("{NEXT}{NEXT}"));
    let (mut backend, _) = origin.request();
    for status in [102, 103, 103] {
        pause();
        backend.send(format!("HTTP/1.1 {status} Wait\r\n\r\n"));
        assert_eq!(client.response().status(), status);
    }
    pause();
    backend.send(ok("one"));
    assert_eq!(client.response().text(), "one");
    backend.request();
    backend.send(ok("two"));
    assert_eq!(client.response().text(), "two");
}

/// The response tells every byte of the request.
#[test]
fn a_request_goes_on_wherever_it_was_cut() {
    let backend = Backend::mirror();
    let proxy = Proxy::with("--workers 2", &[backend.address]);
    let rows = [
        "GET /a?b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX: y\r\n\r\n",
        "PUT /small HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\nhello, this is a body",
        "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n\
         5;a=b\r\nhello\r\n10\r\n, this is a body\r\n0\r\n\r\n",
    ];
    each_row(&rows, |request| {
        let expected = proxy.ask(request).text();
        let cuts = 1..request.len();
        let mut clients: Vec<_> = cuts.clone().map(|_| proxy.connect()).collect();
        for (cut, client) in cuts.clone().zip(&mut clients) {
            client.send(&request[..cut]);
        }
        pause();
        for (cut, client) in cuts.zip(&mut clients) {
            client.send(format!("{}{NEXT}", &request[cut..]));
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), expected);
            assert!(client.response().text().starts_with("GET /next"));
        }
    });
}

#[test]
fn a_trailer_section_of_a_request_goes_on_wherever_it_was_cut() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = Proxy::with("--workers 2", &[backend.address]);
    let end = "0\r\nT: v\r\nU: w\r\n\r\n";
    let mut clients: Vec<_> = (0..end.len()).map(|_| proxy.connect()).collect();
    for (cut, client) in clients.iter_mut().enumerate() {
        client.send(format!("{UPLOAD}3\r\none\r\n{}", &end[..cut]));
    }
    pause();
    for (cut, client) in clients.iter_mut().enumerate() {
        client.send(format!("{}{NEXT}", &end[cut..]));
    }
    for client in &mut clients {
        assert!(client.response().text().ends_with("\n\none\nT: v\nU: w\n"));
        assert!(client.response().text().starts_with("GET /next"));
    }
}

/// More than the 64 KB that are collected.
#[test]
fn a_large_upload_goes_on_wherever_it_was_cut() {
    let backend = Backend::mirror();
    let proxy = Proxy::with("--workers 2", &[backend.address]);
    let body = String::from_utf8(noise(70_000).iter().map(|byte| b'a' + byte % 26).collect()).unwrap();
    let (left, right) = body.split_at(30_000);
    let rows = [
        format!("PUT /l HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n{body}"),
        format!(
            "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             7530\r\n{left}\r\n9c40\r\n{right}\r\n0\r\n\r\n"
        ),
    ];
    for request in rows {
        let head = request.find("\r\n\r\n").expect("a head") + 4;
        let cuts = [10, head - 1, head, head + 1, head + 30_003, 60_000, 65_536, 69_999, request.len() - 1];
        thread::scope(|scope| {
            for cut in cuts {
                let (mut client, request, body) = (proxy.connect(), &request, &body);
                scope.spawn(move || {
                    client.send(&request[..cut]);
                    pause();
                    client.send(format!("{}{NEXT}", &request[cut..]));
                    let text = client.response().text();
                    assert!(text.ends_with(&format!("\n\n{body}\n")), "cut at {cut}: {} bytes", text.len());
                    assert!(client.response().text().starts_with("GET /next"));
                });
            }
        });
    }
}

/// Data of so many chunks as make this many bytes: ronde may split and join chunks.
fn data(wire: &mut Wire, count: usize) -> String {
    let mut data = Vec::new();
    while data.len() < count {
        data.extend(wire.chunk());
    }
    String::from_utf8(data).expect("text")
}

#[test]
fn an_upload_whose_answer_has_begun_goes_on_both_ways() {
    let (origin, proxy, mut client) = setup("--workers 2");
    client.send(format!("{UPLOAD}5\r\non"));
    let mut backend = origin.accept();
    backend.request_head();
    assert_eq!(data(&mut backend, 2), "on");
    pause();
    backend.send(format!("{CHUNKED}6\r\nan"));
    client.response_head();
    assert_eq!(data(&mut client, 2), "an");
    for (up, down) in [("e, ", "swer"), ("\r\n3\r\ntwo\r\n1", "\r\n3\r\ntoo"), ("\r\n.\r\n0", "\r\n0\r\n\r")]
    {
        pause();
        client.send(up);
        pause();
        backend.send(down);
    }
    pause();
    client.send("\r\n\r\n");
    assert_eq!(data(&mut backend, 7), "e, two.");
    assert_eq!(backend.chunk(), b"");
    backend.send("\n");
    assert_eq!(data(&mut client, 7), "swertoo");
    assert_eq!((client.chunk(), client.take(2)), (Vec::new(), b"\r\n".to_vec()));
    if !Proxy::is_a_peer() {
        client.expect_eof();
        let line = proxy.process.stdout.line_with("POST / ");
        assert!(line.contains("\" 200 9 ") && !line.contains("cause"), "{line}");
    }
}

#[test]
fn an_upload_that_is_echoed_while_nothing_is_read_is_whole() {
    let (origin, _proxy, mut client) = setup("--workers 2");
    let body = noise(6 << 20);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    let mut backend = origin.accept();
    backend.request_head();
    backend.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
    let (mut up, mut down) = (client.twin(), backend.twin());
    let (last, most) = body.split_last().expect("bytes");
    thread::scope(|scope| {
        scope.spawn(|| up.send(&body));
        let sending = scope.spawn(|| down.send(most));
        // Both directions fill every buffer before either is read.
        pause();
        scope.spawn(|| {
            assert_same(&backend.take(body.len()), &body);
            sending.join().expect("most of it sent");
            // A response that ends ends the exchange, whatever of the upload is still on its way.
            backend.send([*last]);
        });
        client.response_head();
        assert_same(&client.take(body.len()), &body);
    });
}

#[test]
fn a_response_that_is_not_read_waits_with_what_came_with_its_head() {
    let body = noise(6 << 20);
    let sent = body.clone();
    let backend = Backend::start(move |wire, request| match request.target() {
        "/next" => wire.send(ok("next")),
        _ => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
            wire.send([head.as_bytes(), &sent].concat());
        }
    });
    let proxy = Proxy::with("--workers 2", &[backend.address]);
    let mut clients: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}"));
    }
    eventually("all have begun", || backend.count() >= 4);
    pause();
    for client in &mut clients {
        client.response_head();
        assert_same(&client.take(body.len()), &body);
        assert_eq!(client.response().text(), "next");
    }
}

#[derive(Debug, Clone, Copy)]
enum Closes {
    Client,
    Backend,
}

#[test]
fn a_tunnel_goes_on_in_both_directions_and_after_either_has_ended() {
    each_row(&[Closes::Client, Closes::Backend], |first| {
        let (origin, proxy, mut client) = setup("--workers 2");
        client.send(format!("{UPGRADE}early"));
        let (mut backend, _) = origin.request();
        pause();
        backend.send(&SWITCH[..50]);
        pause();
        backend.send(format!("{}welcome", &SWITCH[50..]));
        assert_eq!(client.response().status(), 101);
        assert_eq!((client.take(7), backend.take(5)), (b"welcome".to_vec(), b"early".to_vec()));
        let mut ends = match first {
            Closes::Client => [client, backend],
            Closes::Backend => [backend, client],
        };
        for _ in 0..2 {
            pause();
            let [one, other] = &mut ends;
            one.send("ping");
            assert_eq!(other.take(4), b"ping");
            ends.reverse();
        }
        let [mut one, mut other] = ends;
        pause();
        one.send("last words");
        one.finish();
        assert_eq!(other.take(10), b"last words");
        other.expect_eof();
        for _ in 0..2 {
            pause();
            other.send("still here");
            assert_eq!(one.take(10), b"still here");
        }
        other.finish();
        one.expect_eof();
        if !Proxy::is_a_peer() {
            let line = proxy.process.stdout.line_with("/chat");
            assert!(line.contains("\" 101 ") && !line.contains("cause"), "{line}");
        }
    });
}

#[test]
fn a_tunnel_that_is_not_read_on_one_side_carries_the_other_direction() {
    each_row(&[Closes::Client, Closes::Backend], |reads_late| {
        let (origin, _proxy, mut client) = setup("--workers 2");
        client.send(UPGRADE);
        let (backend, _) = origin.answer(SWITCH);
        assert_eq!(client.response().status(), 101);
        let (mut late, mut other) = match reads_late {
            Closes::Client => (client, backend),
            Closes::Backend => (backend, client),
        };
        let bytes = noise(8 << 20);
        let mut sender = other.twin();
        thread::scope(|scope| {
            scope.spawn(|| {
                sender.send(&bytes);
                sender.finish();
            });
            for _ in 0..2 {
                pause();
                late.send("ping");
                assert_eq!(other.take(4), b"ping");
            }
            assert_same(&late.take(bytes.len()), &bytes);
            late.expect_eof();
            late.send("pong");
            assert_eq!(other.take(4), b"pong");
        });
    });
}

#[test]
fn a_request_that_comes_while_another_is_served_is_not_forgotten() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with("--workers 4", &[backend.address]);
    let clients: Vec<_> = (0..64).map(|_| proxy.connect()).collect();
    thread::scope(|scope| {
        for (number, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                for round in 0..100 {
                    let (first, rest) = NEXT.split_at((number + round) % NEXT.len());
                    match (number + round) % 4 {
                        0 => client.send(NEXT),
                        1 => client.send(NEXT.repeat(2)),
                        2 => client.send_apart(&[NEXT.as_bytes(), NEXT.as_bytes()]),
                        _ => client.send_apart(&[NEXT.as_bytes(), first.as_bytes()]),
                    }
                    assert_eq!(client.response().status(), 200);
                    match (number + round) % 4 {
                        0 => continue,
                        3 => client.send(rest),
                        _ => {}
                    }
                    assert_eq!(client.response().status(), 200);
                }
                client.send(NEXT);
                client.finish();
                assert_eq!(client.response().status(), 200);
                client.expect_end();
            });
        }
    });
}
