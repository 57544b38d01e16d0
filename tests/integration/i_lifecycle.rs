//! The stop, from the first signal to the exit code; and the access log.

use crate::harness::{
    Backend, End, GET, Origin, Process, Proxy, Ronde, TIMEOUT, each_row, eventually, needs, ok, ronde_only,
    setup,
};
use rustix::process::Signal;
use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::QUIT, Signal::INT];

#[test]
fn an_idle_ronde_stops_at_once_with_exit_code_0() {
    ronde_only!();
    each_row(&SIGNALS, |signal| {
        let backend = Backend::named("b");
        let mut proxy = Proxy::with("--shutdown-grace 60s", &[backend.address]);
        let (mut idle, mut silent) = (proxy.connect(), proxy.connect());
        assert_eq!(idle.get("/").text(), "b");
        proxy.process.signal(*signal);
        idle.expect_end();
        silent.expect_end();
        assert_eq!(proxy.process.exit().code(), Some(0));
    });
}

/// Its time is half of a grace that is shorter than what it mostly has.
#[test]
fn an_idle_client_is_none_that_the_end_of_the_grace_cuts() {
    ronde_only!();
    let backend = Backend::named("b");
    let mut proxy = Proxy::with("--shutdown-grace 250ms", &[backend.address]);
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/").text(), "b");
    proxy.process.signal(Signal::TERM);
    idle.expect_end();
    assert_eq!(proxy.process.exit().code(), Some(0));
    assert!(!proxy.process.stderr.text().contains("the grace is over"), "{}", proxy.process.stderr.text());
}

#[test]
fn a_request_in_flight_is_finished_and_no_new_connection_accepted() {
    ronde_only!();
    each_row(&SIGNALS, |signal| {
        let (origin, mut proxy, mut client) = setup("--shutdown-grace 60s");
        client.send(GET);
        let (mut backend, _) = origin.request();
        proxy.process.signal(*signal);
        eventually("new connections are refused", || TcpStream::connect(proxy.address).is_err());
        assert!(proxy.process.is_running());
        backend.send(ok("finished"));
        let response = client.response();
        assert_eq!(
            (response.text().as_str(), response.members("connection")),
            ("finished", vec!["close".to_owned()])
        );
        client.expect_eof();
        assert_eq!(proxy.process.exit().code(), Some(0));
    });
}

#[test]
fn a_response_in_flight_is_finished() {
    ronde_only!();
    let (origin, mut proxy, mut client) = setup("--shutdown-grace 60s");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.response_head();
    proxy.process.signal(Signal::TERM);
    proxy.process.stderr.line_with("stopping");
    backend.send("world");
    assert_eq!(client.take(10), b"helloworld");
    assert_eq!(proxy.process.exit().code(), Some(0));
}

#[test]
fn a_request_that_outlasts_the_grace_is_cut_and_the_exit_code_is_0() {
    ronde_only!();
    let (origin, mut proxy, mut client) = setup("--shutdown-grace 500ms");
    client.send(GET);
    let (_backend, _) = origin.request();
    let start = Instant::now();
    proxy.process.signal(Signal::TERM);
    assert_ne!(client.rest().1, End::Silence);
    assert_eq!(proxy.process.exit().code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
}

#[test]
fn a_second_ctrl_c_ends_ronde_at_once() {
    ronde_only!();
    let (origin, mut proxy, mut client) = setup("--shutdown-grace 1h");
    client.send(GET);
    let (_backend, _) = origin.request();
    proxy.process.signal(Signal::INT);
    proxy.process.stderr.line_with("stopping");
    assert!(proxy.process.is_running());
    // One that comes within a moment is the first once more.
    eventually("ronde ends", || {
        proxy.process.signal(Signal::INT);
        !proxy.process.is_running()
    });
    assert_eq!(proxy.process.exit().code(), Some(130));
    client.expect_end();
}

/// `timeout 60 ronde` and a unit with a stop command of its own send two: requests in flight were cut.
#[test]
fn a_second_sigterm_is_no_wish_for_force() {
    ronde_only!();
    let (origin, mut proxy, mut client) = setup("--shutdown-grace 60s");
    client.send(GET);
    let (mut backend, _) = origin.request();
    for signal in [Signal::TERM, Signal::INT, Signal::TERM, Signal::QUIT, Signal::TERM] {
        proxy.process.signal(signal);
        proxy.process.stderr.line_with("stopping");
    }
    backend.send(ok("finished"));
    assert_eq!(client.response().text(), "finished");
    assert_eq!(proxy.process.exit().code(), Some(0));
}

/// They killed it: people who come from nginx send them to reopen logs.
#[test]
fn a_signal_without_a_meaning_is_ignored_and_logged() {
    ronde_only!();
    let backend = Backend::named("b");
    let mut proxy = Proxy::start(&[backend.address]);
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        proxy.process.signal(signal);
        assert!(proxy.process.stderr.line_with(name).contains("ignored"));
        assert_eq!(proxy.get("/").text(), "b");
    }
    assert!(proxy.process.is_running());
}

/// `nohup` ignores HUP, a script's `&` ignores INT, and the process that they start inherits that.
#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    ronde_only!();
    let backend = Backend::named("b");
    let line = format!(
        "trap '' HUP INT; exec {} --listen 127.0.0.1:0 {}",
        env!("CARGO_BIN_EXE_ronde"),
        backend.address
    );
    let mut command = Command::new("sh");
    let mut proxy = Proxy::of(Process::spawn(command.args(["-c", &line])));
    proxy.process.stderr.line_with("SIGHUP was ignored");
    proxy.process.stderr.line_with("SIGINT was ignored");
    // A pending signal would be handled before the one that follows it.
    for signal in [Signal::HUP, Signal::INT, Signal::USR1] {
        proxy.process.signal(signal);
    }
    proxy.process.stderr.line_with("SIGUSR1");
    assert_eq!(proxy.get("/").text(), "b");
    assert!(!proxy.process.stderr.text().contains("stopping"));
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.exit().code(), Some(0));
}

/// A supervisor that blocks signals in its threads starts children that inherit the mask.
const BLOCKING: &str = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn signals_that_were_blocked_at_the_start_were_never_heard() {
    ronde_only!();
    needs!(Python);
    each_row(&SIGNALS, |signal| {
        let backend = Backend::named("b");
        let (program, backend) = (env!("CARGO_BIN_EXE_ronde"), backend.address.to_string());
        let mut command = Command::new("python3");
        command.args(["-c", BLOCKING, program, "--listen", "127.0.0.1:0", &backend]);
        let mut proxy = Proxy::of(Process::spawn(&mut command));
        assert_eq!(proxy.get("/").text(), "b");
        proxy.process.signal(*signal);
        assert_eq!(proxy.process.exit().code(), Some(0));
    });
}

/// The access line of a GET for `/a?b`.
fn access_line(form: &str) -> String {
    let backend = Backend::named("body");
    let proxy = Proxy::with(&format!("--access-log {form}"), &[backend.address]);
    let agent = "GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: test \"x\"\r\nReferer: http://r/\r\n\r\n";
    assert_eq!(proxy.ask(agent).text(), "body");
    let line = proxy.process.stdout.line_with("/a?b");
    match form {
        "combined" => {}
        _ => assert!(line.contains(&backend.address.to_string()), "the backend in {line}"),
    }
    line
}

#[test]
fn an_access_line_names_the_client_the_request_and_the_backend() {
    ronde_only!();
    let plain = access_line("plain");
    for part in ["127.0.0.1", "GET /a?b HTTP/1.1", "200", "4", "queued", "connect", "first-byte", "total"] {
        assert!(plain.contains(part), "{part} in {plain}");
    }
    let combined = access_line("combined");
    assert!(combined.starts_with("127.0.0.1 - - ["), "{combined}");
    assert!(combined.contains("\"GET /a?b HTTP/1.1\" 200 4 \"http://r/\" \"test "), "{combined}");
    let json = access_line("json");
    assert!(json.starts_with('{') && json.ends_with('}') && json.contains("200"), "{json}");
}

#[test]
fn the_access_line_of_a_failure_names_its_cause() {
    ronde_only!();
    let proxy = Proxy::with("--access-log plain", &[Origin::down().address]);
    assert_eq!(proxy.get("/failed").status(), 502);
    let line = proxy.process.stdout.line_with("/failed");
    assert!(line.contains("502") && line.contains("refused"), "{line}");
}

#[test]
fn access_log_off_writes_none() {
    ronde_only!();
    let backend = Backend::named("b");
    let mut proxy = Proxy::with("--access-log off", &[backend.address]);
    assert_eq!(proxy.get("/").text(), "b");
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.exit().code(), Some(0));
    assert_eq!(proxy.process.stdout.text(), "");
}

/// Control bytes and quotes from a client must not forge log lines.
#[test]
fn an_access_line_is_one_line_whatever_the_client_sends() {
    ronde_only!();
    let backend = Backend::named("b");
    for form in ["plain", "combined", "json"] {
        let mut proxy = Proxy::with(&format!("--access-log {form}"), &[backend.address]);
        proxy.ask("GET /\x1b[31m\" HTTP/1.1\r\nHost: a\r\n\r\n");
        proxy.ask(b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\"\\\t\r\n\r\n");
        proxy.process.signal(Signal::TERM);
        proxy.process.exit();
        let lines = proxy.process.stdout.all();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
    }
}

/// A stopped terminal, or a pipe whose reader does not read, must not block a worker.
#[test]
fn an_unread_stdout_blocks_nothing() {
    ronde_only!();
    let backend = Backend::named("b");
    let (_unread, writer) = std::io::pipe().expect("a pipe");
    let mut command = Ronde::with(&format!("--listen 127.0.0.1:0 --access-log plain {}", backend.address)).0;
    let mut proxy = Proxy::of(Process::spawn_onto(Stdio::from(writer), &mut command));
    let mut client = proxy.connect();
    for number in 0..20_000 {
        assert_eq!(client.get("/").text(), "b", "request {number}");
    }
    proxy.process.signal(Signal::TERM);
    proxy.process.exit_within(TIMEOUT * 2);
}

#[test]
fn a_full_or_closed_stdout_blocks_nothing() {
    ronde_only!();
    let backend = Backend::named("b");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    for stdout in [Stdio::from(writer), Stdio::from(full)] {
        let mut command =
            Ronde::with(&format!("--listen 127.0.0.1:0 --access-log plain {}", backend.address)).0;
        let mut proxy = Proxy::of(Process::spawn_onto(stdout, &mut command));
        for _ in 0..10 {
            assert_eq!(proxy.get("/").text(), "b");
        }
        proxy.process.signal(Signal::TERM);
        assert_eq!(proxy.process.exit().code(), Some(0));
    }
}

/// The limit of threads is one of a user, and root has none.
#[test]
fn a_start_without_enough_threads_ends_with_exit_code_1_and_says_for_which() {
    ronde_only!();
    needs!(Setpriv);
    let directory = tempfile::tempdir().expect("a directory that every user may enter");
    let program = directory.path().join("ronde");
    std::fs::copy(env!("CARGO_BIN_EXE_ronde"), &program).expect("a copy of ronde");
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("permissions");
    let words = "--nproc=20 setpriv --reuid=54321 --regid=54321 --clear-groups";
    let mut command = Command::new("prlimit");
    command.args(words.split(' ')).arg(program);
    let mut process =
        Process::spawn(command.args(["--listen", "127.0.0.1:0", "--workers", "50", "127.0.0.1:9"]));
    assert_eq!(process.exit().code(), Some(1));
    process.stderr.line_with("ronde: cannot start: the system has no thread for the worker ");
}
