//! Lines that must not be lost, late or torn, whatever becomes of the outputs; and whom they name.

use crate::harness::{
    Backend, GET, Lines, Origin, Process, Proxy, Ronde, Wire, each_row, eventually, ok, plain_only,
    ronde_only, scratch_directory,
};
use ronde::observe::date::Date;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::fs::{File, read_to_string};
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A pipe that takes no more until it is read. The lines in it are empty.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("FIONBIO");
    while writer.write(b"\n").is_ok() {}
    ioctl_fionbio(&writer, false).expect("FIONBIO");
    (reader, writer)
}

/// A ronde with one backend and this standard output.
fn writing_to(stdout: impl Into<Stdio>, backend: &Backend) -> Proxy {
    let mut command = Ronde::with(&format!("--listen 127.0.0.1:0 {}", backend.address)).0;
    Proxy::of(Process::spawn_onto(stdout.into(), &mut command))
}

/// Of a line that begins with a time and ends with the time that the request took.
fn is_whole(line: &str) -> bool {
    line.starts_with("20") && line.ends_with("ms host=\"a\"")
}

#[test]
fn a_line_is_stamped_when_its_request_ends_and_not_when_it_is_written() {
    ronde_only!();
    let backend = Backend::named("b");
    let (reader, writer) = full_pipe();
    let proxy = writing_to(writer, &backend);
    let mut client = proxy.connect();
    // More than are written with one call, which blocks.
    for number in 0..600 {
        assert_eq!(client.get(&format!("/{number}/")).text(), "b");
    }
    // The line of a request is queued before the next one on its connection is read.
    let (ended, asked) = (Date::now().iso().to_string(), Instant::now());
    eventually("the lines are late", || asked.elapsed() > Duration::from_millis(100));
    let lines = Lines::of(reader);
    let line = lines.line_with("/598/");
    assert!(line[..ended.len()] <= *ended, "ended before {ended}: {line}");
}

#[test]
fn an_unread_stdout_does_not_silence_stderr() {
    ronde_only!();
    let backend = Backend::named("b");
    let (_unread, writer) = full_pipe();
    let mut proxy = writing_to(writer, &backend);
    assert_eq!(proxy.get("/").text(), "b");
    proxy.process.signal(Signal::TERM);
    proxy.process.stderr.line_with("stopping");
    proxy.process.stderr.line_with("access lines are lost");
    assert_eq!(proxy.process.exit().code(), Some(0));
}

/// The number was reported without a time, and not before the output was read again.
#[test]
fn a_stdout_that_is_not_read_loses_lines_that_the_log_counts() {
    ronde_only!();
    let backend = Backend::named("b");
    let (reader, writer) = full_pipe();
    let mut proxy = writing_to(writer, &backend);
    let (mut client, mut asked) = (proxy.connect(), 0);
    while !proxy.process.stderr.text().contains("standard output is not read fast enough") {
        assert_eq!(client.get(&format!("/{asked}/")).text(), "b");
        asked += 1;
        assert!(asked < 20_000, "no line is lost");
    }
    let lines = Lines::of(reader);
    let report = proxy.process.stderr.line_with("lines were lost");
    assert!(report.starts_with("20") && report.contains("Z [WARN] "), "a time in {report}");
    let lost: usize = report.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.exit().code(), Some(0));
    let written = || lines.all().iter().filter(|line| is_whole(line)).count();
    eventually("the rest of the lines", || written() + lost == asked);
}

/// 546 of 600 lines were lost, none was reported, and two were torn.
#[test]
fn a_non_blocking_stdout_gets_every_line() {
    ronde_only!();
    let backend = Backend::named("b");
    let (reader, writer) = pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("FIONBIO");
    let proxy = writing_to(writer, &backend);
    let mut client = proxy.connect();
    let targets: Vec<_> = (0..600).map(|number| format!("/{}/{number}?", "x".repeat(500))).collect();
    for target in &targets {
        assert_eq!(client.get(target).text(), "b");
    }
    let lines = Lines::of(reader);
    eventually("all lines", || lines.all().len() >= targets.len());
    for (line, target) in lines.all().iter().zip(&targets) {
        assert!(is_whole(line) && line.contains(target), "{line}");
    }
}

/// 280 of 430 lines were lost, none was reported, and the next one was glued to half of one. A limit of the file's size
/// ends its growth as a full disk does; but its signal killed ronde.
#[test]
fn a_full_disk_loses_whole_lines_and_the_log_counts_them() {
    ronde_only!();
    let backend = Backend::named("b");
    let path = scratch_directory().join("access.log");
    let mut proxy = writing_to(File::create(&path).expect("a file"), &backend);
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        let pid = Pid::from_raw(proxy.process.id() as i32);
        prlimit(pid, Resource::Fsize, limit).expect("a limit");
    };
    let mut client = proxy.connect();
    let mut asked = 0;
    let mut ask_until = |said: &str| {
        eventually(said, || {
            assert_eq!(client.get(&format!("/{asked}?")).text(), "b");
            asked += 1;
            proxy.process.stderr.text().contains(said)
        });
    };
    limit(Some(1000));
    ask_until("cannot write to standard output: File too large");
    limit(None);
    ask_until("lines were lost");
    assert_eq!(client.get("/last").text(), "b");
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.exit().code(), Some(0));

    let report = proxy.process.stderr.line_with("lines were lost");
    assert!(report.starts_with("20") && report.contains("Z [WARN] "), "a time in {report}");
    let lost: usize = report.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    let text = read_to_string(&path).expect("the log");
    let (whole, torn): (Vec<_>, Vec<_>) = text.lines().partition(|line| is_whole(line));
    assert_eq!(whole.len() + lost, asked + 1, "{lost} were lost of {asked}, and the last one was not");
    assert!(torn.len() <= 1 && torn.iter().all(|line| line.len() < 200), "{torn:?}");
}

/// A terminal that systemd started has the variable, too: its log had no times.
#[test]
fn only_in_the_journal_have_diagnostics_no_time() {
    ronde_only!();
    let backend = Backend::named("b");
    let serve = format!("{} --listen 127.0.0.1:0 {}", env!("CARGO_BIN_EXE_ronde"), backend.address);
    let start = |stream: &str| {
        let line = format!("export JOURNAL_STREAM={stream}; exec {serve}");
        Proxy::of(Process::spawn(Command::new("sh").args(["-c", &line])))
            .process
            .stderr
            .line_with("listening on ")
    };
    assert!(start("$(stat -L -c %d:%i /proc/self/fd/2)").starts_with("[INFO]"));
    assert!(start("8:12345").starts_with("20"));
}

/// A ronde with room for one client, that client, and its request at the backend.
fn full() -> (Proxy, Wire, Wire) {
    let origin = Origin::start();
    let proxy = Proxy::with("--max-connections 1", &[origin.address]);
    let mut busy = proxy.connect();
    busy.send(GET);
    let (backend, _) = origin.request();
    (proxy, busy, backend)
}

/// 503s that the acceptor sent had no line: 12 clients, and 2 lines.
#[test]
fn a_client_that_no_worker_saw_has_its_line() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let (proxy, mut busy, mut backend) = full();
    let mut refused: Vec<Wire> = (0..12).map(|_| proxy.connect()).collect();
    for client in &mut refused {
        assert_eq!(client.response().status(), 503);
    }
    backend.send(ok("served"));
    assert_eq!(busy.response().text(), "served");
    proxy.process.stdout.line_with(" 200 6 ");
    let lines = proxy.process.stdout.all();
    let named = lines.iter().filter(|line| line.contains(" 503 ") && line.contains("too many connections"));
    assert_eq!((lines.len(), named.count()), (13, 12), "{lines:#?}");
}

/// What it had sent already was in the socket when that was closed, and the reset took the answer back.
#[test]
fn a_client_that_is_refused_behind_its_request_can_read_why() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let (proxy, _busy, _backend) = full();
    proxy.process.signal(Signal::STOP);
    let mut refused: Vec<Wire> = (0..12).map(|_| proxy.connect()).collect();
    refused.iter_mut().for_each(|client| client.send(GET));
    proxy.process.signal(Signal::CONT);
    for client in &mut refused {
        assert_eq!(client.response().status(), 503);
        client.expect_eof();
    }
}

/// `ronde health` wrote 17,280 lines a day under Docker. What anything else sends has its line.
#[test]
fn only_this_hosts_probes_have_no_line() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    Ronde::with(&format!("health --listen {}", proxy.plain)).spawn().success();
    let head = "HTTP/1.1\r\nHost: probe\r\n";
    proxy.ask(format!("OPTIONS * {head}Max-Forwards: 0\r\n\r\n"));
    let others = [
        format!("OPTIONS /1 {head}Max-Forwards: 0\r\n\r\n"),
        format!("OPTIONS * {head}Max-Forwards: 1\r\n\r\n"),
        format!("OPTIONS * {head}\r\n"),
        format!("OPTIONS http://a {head}Max-Forwards: 0\r\n\r\n"),
        format!("OPTIONS * {head}Max-Forwards: 0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"),
        format!("OPTIONS * {head}Max-Forwards: 0\r\nVia: 1.1 other\r\n\r\n"),
        format!("OPTIONS * {head}Max-Forwards: 0\r\nContent-Length: 1\r\n\r\nx"),
        format!("GET /last {head}\r\n"),
    ];
    for other in &others {
        proxy.ask(other);
    }
    proxy.process.stdout.line_with("/last");
    assert_eq!(proxy.process.stdout.all().len(), others.len(), "{}", proxy.process.stdout.text());
}

#[test]
fn a_probe_that_fails_has_its_line() {
    ronde_only!();
    let proxy = Ronde::with("--listen 127.0.0.1:0 no-such-name.invalid:80").serve();
    let response = proxy.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(response.status(), 503);
    let line = proxy.process.stdout.line_with("OPTIONS * ");
    assert!(line.contains(&format!("\" 503 {} ", response.body.len())), "{line}");
    // The server of challenges is no backend.
    let flags = "--listen 127.0.0.1:0 --acme-challenge 127.0.0.1:9 no-such-name.invalid:80";
    let response = Ronde::with(flags).serve().ask("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(response.status(), 503);
}

/// The log showed the proxy's address alone, and no Host.
#[test]
fn behind_a_trusted_proxy_a_line_names_the_client_and_the_proxy() {
    ronde_only!();
    let backend = Backend::named("b");
    let chain = "Host: site.example\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.9\r\n";
    let rows = [
        ("plain", "Z 192.0.2.1 \"", " host=\"site.example\" peer=127.0.0.1"),
        ("combined", "192.0.2.1 - - [", " \"-\" \"127.0.0.1\""),
        ("json", ",\"client\":\"192.0.2.1\",\"peer\":\"127.0.0.1\"", ",\"host\":\"site.example\","),
    ];
    each_row(&rows, |(form, client, rest)| {
        let flags =
            format!("--access-log {form} --max-body 1k --trust-proxy 127.0.0.0/8 --trust-proxy 10.0.0.0/8");
        let proxy = Proxy::with(&flags, &[backend.address]);
        // The second one is refused.
        proxy.ask(format!("GET /served HTTP/1.1\r\n{chain}\r\n"));
        proxy.ask(format!("POST /refused HTTP/1.1\r\n{chain}Content-Length: 1025\r\n\r\n"));
        for target in ["/served", "/refused"] {
            let line = proxy.process.stdout.line_with(target);
            assert!(line.contains(client) && line.contains(rest), "{line}");
        }
    });
}

/// Anybody can send that field.
#[test]
fn a_stranger_cannot_choose_the_name_of_the_client() {
    ronde_only!();
    let backend = Backend::named("b");
    each_row(&["plain", "combined", "json"], |form| {
        let proxy = Proxy::with(&format!("--access-log {form} --trust-proxy 10.0.0.0/8"), &[backend.address]);
        proxy.ask("GET /forged HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        let line = proxy.process.stdout.line_with("/forged");
        assert!(line.contains("127.0.0.1") && !line.contains("192.0.2.1"), "{line}");
    });
}
