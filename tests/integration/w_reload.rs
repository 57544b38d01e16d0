//! A reload: all that is said in the file is in force from then on, and nobody who is served notices.

use crate::harness::tls::{self, Identity};
use crate::harness::{
    Admin, Backend, GET, Message, NameService, Origin, PARKED, Proxy, Ronde, Wire, each_row, eventually,
    free_address, ok, ronde_only, scratch_directory, serve_unix, socket_path, wrk,
};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A ronde with a file.
struct Served {
    file: PathBuf,
    proxy: Proxy,
}

impl Served {
    fn with(settings: &str) -> Served {
        let file = scratch_directory().join("ronde.toml");
        fs::write(&file, of_file(settings)).expect("a file");
        let proxy = Ronde::with(&format!("--config {}", file.display())).serve();
        Served { file, proxy }
    }

    fn lines(&self, part: &str) -> usize {
        self.proxy.process.stderr.all().iter().filter(|line| line.contains(part)).count()
    }

    /// Orders a reload, and returns the line with its outcome.
    fn outcome(&self) -> String {
        let is_outcome = |line: &&String| line.contains(" reloaded: ") || line.contains("not reloaded");
        let outcomes = || {
            let lines = self.proxy.process.stderr.all();
            lines.iter().filter(is_outcome).cloned().collect::<Vec<_>>()
        };
        let before = outcomes().len();
        self.proxy.process.signal(Signal::HUP);
        eventually("a reload has its outcome", || outcomes().len() > before);
        outcomes().swap_remove(before)
    }

    /// Other settings are in force from now on.
    fn reload(&self, settings: &str) -> String {
        fs::write(&self.file, of_file(settings)).expect("a file");
        let outcome = self.outcome();
        assert!(outcome.contains("reloaded: ") && !outcome.contains("not reloaded"), "{outcome}");
        outcome
    }

    fn threads_named(&self, part: &str) -> usize {
        self.proxy.process.threads().iter().filter(|thread| thread.name.contains(part)).count()
    }
}

/// The suite's address, unless the settings name their own.
fn of_file(settings: &str) -> String {
    let listen = if settings.contains("listen = ") { "" } else { "listen = '127.0.0.1:0'\n" };
    format!("{listen}{settings}")
}

fn backends(all: &[&Backend]) -> String {
    let names: Vec<_> = all.iter().map(|backend| format!("'{}'", backend.address)).collect();
    format!("backend = [{}]\n", names.join(", "))
}

#[test]
fn what_the_file_says_is_in_force_after_a_reload_also_on_connections_that_are_open() {
    ronde_only!();
    let [one, other] = ["one", "other"].map(Backend::named);
    let served = Served::with(&backends(&[&one]));
    let mut open = served.proxy.connect();
    assert_eq!(open.get("/").text(), "one");
    let settings = format!(
        "access-log = 'json'\nmax-body = '3'\nset-response-header = {{ X-New = 'yes' }}\n{}\
         [[route]]\npath = '/text'\nrespond = 200\ntext = 'new'\n",
        backends(&[&other])
    );
    let said = served.reload(&settings);
    assert!(said.contains("reloaded: 1 route (1 new), 1 backend (1 new, 1 gone), 1 listener"), "{said}");
    let answer = open.get("/new");
    assert_eq!((answer.text(), answer.sole("x-new")), ("other".to_owned(), "yes".to_owned()));
    assert_eq!(open.get("/text").text(), "new\n");
    assert!(served.proxy.process.stdout.line_with("/new").starts_with('{'));
    let large = served.proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(large.status(), 413);
    // And back again.
    served.reload(&backends(&[&one]));
    assert_eq!(served.proxy.get("/").text(), "one");
}

/// Nothing would look after it: it would be open for as long as the backend likes.
#[test]
fn a_connection_in_use_to_a_backend_that_a_reload_removes_is_not_kept() {
    ronde_only!();
    let (gone, stays) = (Origin::start(), Backend::named("stays"));
    let served = Served::with(&format!("backend = ['{}']\n", gone.address));
    let mut client = served.proxy.connect();
    client.send(GET);
    let (mut backend, _) = gone.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    client.response_head();
    served.reload(&backends(&[&stays]));
    backend.send("-last");
    assert_eq!(client.take(10), b"first-last");
    backend.expect_eof();
    assert_eq!(client.get("/").text(), "stays");
}

#[test]
fn a_ronde_without_a_file_reads_its_flags_again() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    proxy.process.signal(Signal::HUP);
    let said = proxy.process.stderr.line_with("reloaded: ");
    assert!(said.contains("reloaded: 1 backend, ") && !said.contains("new"), "{said}");
    assert_eq!(proxy.get("/").text(), "b");
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_is_told_of_with_its_place() {
    ronde_only!();
    let backend = Backend::named("b");
    let good = format!("max-body = '3'\n{}", backends(&[&backend]));
    let rows: [(&str, &[u8], &str); 7] = [
        ("not TOML", b"listen = '127.0.0.1:0'\nbackend = [", "ronde.toml:2:"),
        ("an unknown key", b"listen = '127.0.0.1:0'\nbackends = 'a:1'", "ronde.toml:2:1"),
        ("out of bounds", b"listen = '127.0.0.1:0'\n\nmax-fails = 1001\nbackend = 'a:1'", "ronde.toml:3:13"),
        ("no backends", b"", "no backends"),
        ("no text", b"listen = '127.0.0.1:0'\n\0", "ronde.toml:2:1"),
        ("no certificate", b"tls-listen = '127.0.0.1:0'\nbackend = 'a:1'", "needs a certificate"),
        (
            "no such certificate",
            b"tls-listen = '127.0.0.1:0'\nbackend = 'a:1'\n[[tls]]\ncertificate = '/nowhere.pem'\nkey = '/nowhere.key'",
            "/nowhere.pem",
        ),
    ];
    let served = Served::with(&good);
    assert_eq!(served.proxy.get("/").text(), "b");
    let (threads, descriptors) = (served.proxy.status("Threads"), served.proxy.descriptors());
    each_row(&rows, |(_, text, told)| {
        fs::write(&served.file, text).expect("a file");
        let outcome = served.outcome();
        assert!(outcome.contains("[ERROR] not reloaded, and nothing has changed: "), "{outcome}");
        assert!(outcome.contains(told), "{outcome}");
        assert_eq!(served.proxy.get("/").text(), "b");
    });
    fs::remove_file(&served.file).expect("it was there");
    let outcome = served.outcome();
    assert!(outcome.contains("not reloaded") && outcome.contains("cannot read"), "{outcome}");
    let large = served.proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(large.status(), 413, "the old limit");
    eventually("what was begun is gone", || {
        served.proxy.status("Threads") <= threads && served.proxy.descriptors() <= descriptors + 1
    });
}

/// An editor writes a file in pieces, and a deploy script has it read too early: every prefix is refused or is a whole file.
#[test]
fn half_a_file_never_stops_the_service() {
    ronde_only!();
    let [one, other] = ["one", "other"].map(Backend::named);
    let whole =
        of_file(&format!("{}[[route]]\npath = '/x'\nbackend = '{}'\n", backends(&[&one]), other.address));
    let served = Served::with(&whole);
    let mut refused = 0;
    for end in (0..whole.len()).step_by(7) {
        fs::write(&served.file, &whole[..end]).expect("a file");
        refused += usize::from(served.outcome().contains("not reloaded"));
        // Without its listen line a half is a ronde on 127.0.0.1:8080, and may be refused that.
        assert!(TcpStream::connect(served.proxy.address).is_ok() || end > 0);
    }
    assert!(refused > 5, "{refused}");
    served.reload(&whole);
    assert_eq!((served.proxy.get("/").text(), served.proxy.get("/x").text()), ("one".into(), "other".into()));
}

#[test]
fn what_takes_a_restart_is_named_and_the_rest_is_taken() {
    ronde_only!();
    let backend = Backend::named("b");
    let served = Served::with(&format!("workers = 3\n{}", backends(&[&backend])));
    served.reload(&format!(
        "workers = 5\nqueue = 7\nreal-ip = true\nmax-body = '3'\n{}",
        backends(&[&backend])
    ));
    for key in ["workers", "queue"] {
        let told = served.proxy.process.stderr.line_with(&format!("{key} is another now"));
        assert!(told.contains("[WARN]") && told.contains("restart"), "{told}");
    }
    // Each names itself when it first runs.
    eventually("there are three workers", || served.threads_named("worker") == 3);
    let large = served.proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd");
    assert_eq!(large.status(), 413);
    assert_eq!(served.lines("scheduling is another now"), 0);
}

#[test]
fn limits_and_the_level_of_the_log_are_the_new_ones() {
    ronde_only!();
    let backend = Backend::named("b");
    let settings = |more: &str| format!("{more}\n{}", backends(&[&backend]));
    let served = Served::with(&settings("access-log = 'off'\nmax-head = '1k'"));
    let long = format!("GET /long HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(served.proxy.ask(&long).status(), 431);
    served.reload(&settings("max-head = '256k'"));
    assert_eq!(served.proxy.ask(&long).text(), "b");
    assert!(served.proxy.process.stdout.line_with("/long").contains(" 200 "));
    // At the level of errors nothing tells of it.
    fs::write(
        &served.file,
        of_file(&settings("log-level = 'error'\nset-response-header = { X-New = 'yes' }")),
    )
    .expect("a file");
    served.proxy.process.signal(Signal::HUP);
    eventually("it is in force", || served.proxy.get("/").has("x-new"));
    assert_eq!(served.lines(" reloaded: "), 1);
    served.reload(&settings("max-connections = 1"));
    let mut first = served.proxy.connect();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n");
    eventually("it counts", || served.proxy.get("/").status() == 503);
    first.send("\r\n");
    assert_eq!(first.response().text(), "b");
}

/// What is parked already counts, too.
#[test]
fn less_memory_for_what_is_parked_is_in_force_after_a_reload() {
    ronde_only!();
    let backend = Backend::named("b");
    let settings = |more: &str| format!("workers = 2\n{more}\n{}", backends(&[&backend]));
    let served = Served::with(&settings(""));
    let part = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(50_000));
    let begin = || {
        let mut client = served.proxy.connect();
        client.send(&part);
        thread::sleep(PARKED / 8);
        client
    };
    let _clients: Vec<_> = (0..40).map(|_| begin()).collect();
    served.reload(&settings("parked-memory = '1m'"));
    let _last = begin();
    served.proxy.process.stdout.line_with("the memory for slow clients is used up");
}

/// The files of Unix sockets that stay.
#[test]
fn a_listener_that_stays_has_the_mode_of_the_new_settings() {
    ronde_only!();
    let (backend, path) = (Backend::named("b"), socket_path("ronde.sock"));
    let settings = |more: &str| {
        format!("listen = ['127.0.0.1:0', 'unix:{}']\n{more}\n{}", path.display(), backends(&[&backend]))
    };
    let mode = || fs::metadata(&path).expect("the socket").permissions().mode() & 0o777;
    let served = Served::with(&settings(""));
    assert_eq!(mode(), 0o660);
    served.reload(&settings("listen-mode = '666'"));
    assert_eq!(mode(), 0o666);
}

/// More clients than there are descriptors for were let in after a reload, and the log said the limit again each time.
#[test]
fn the_limit_of_open_files_bounds_clients_after_a_reload_and_is_said_once() {
    ronde_only!();
    let (backend, file) = (Backend::named("b"), scratch_directory().join("ronde.toml"));
    let settings = |more: &str| {
        fs::write(&file, of_file(&format!("admin = '127.0.0.1:0'\n{more}{}", backends(&[&backend]))))
            .expect("a file");
    };
    settings("");
    let proxy = Ronde::with_descriptors(200, &format!("--config {}", file.display())).serve();
    let admin = Admin::of(&proxy);
    let bound = admin.status()["limits"]["connections"].clone();
    assert!(bound.as_u64().expect("a number") < 200, "{bound}");
    settings("max-head = '32k'\n");
    assert_eq!(admin.post("/reload").status(), 200);
    assert_eq!(admin.status()["limits"]["connections"], bound);
    assert_eq!(proxy.process.stderr.text().matches("raise the limit of open files").count(), 1);
}

/// It is two sockets.
#[test]
fn localhost_is_one_listener() {
    ronde_only!();
    let (backend, port) = (Backend::named("b"), free_address().port());
    let settings = format!("listen = ['127.0.0.1:0', 'localhost:{port}']\n{}", backends(&[&backend]));
    let said = Served::with(&settings).reload(&settings);
    assert!(said.contains("reloaded: 1 backend, 2 listeners"), "{said}");
}

#[test]
fn strict_turns_go_on_after_a_reload() {
    ronde_only!();
    let all = ["1", "2", "3", "4"].map(Backend::named);
    let [one, two, three, four] = &all;
    let served = Served::with(&backends(&[one, two, three]));
    let mut client = served.proxy.connect();
    let mut next = |count| (0..count).map(|_| client.get("/").text()).collect::<String>();
    assert_eq!(next(4), "1231");
    served.reload(&backends(&[one, two, three]));
    assert_eq!(next(4), "2312");
    served.reload(&format!("max-body = '1k'\n{}", backends(&[one, two, three])));
    assert_eq!(next(3), "312");
    // One more has its turn after all others had theirs, and one less is missed by none.
    served.reload(&backends(&[one, two, three, four]));
    assert_eq!(next(8), "31243124");
    served.reload(&backends(&[one, three, four]));
    assert_eq!(next(6), "314314");
}

/// Its weight is another, but it is the same backend: its connections are kept.
#[test]
fn a_backend_that_stays_keeps_its_connections_wherever_it_goes() {
    ronde_only!();
    let [a, b] = ["a", "b"].map(Backend::named);
    let served = Served::with(&format!("backend-keep-alive-timeout = '1h'\n{}", backends(&[&a])));
    let settings = |rest: &str| format!("backend-keep-alive-timeout = '1h'\n{}{rest}", backends(&[&b]));
    assert_eq!(served.proxy.get("/").text(), "a");
    served.reload(&settings(&format!("[[route]]\npath = '/x'\nbackend = '{}'\n", a.address)));
    assert_eq!(served.proxy.get("/x").text(), "a");
    served.reload(&settings(&format!(
        "[[route]]\npath = '/y'\n[[route.backend]]\naddress = '{}'\nweight = 3\n",
        a.address
    )));
    assert_eq!(served.proxy.get("/y").text(), "a");
    assert_eq!(a.connections(), 1);
    // That of one that is gone is closed.
    assert_eq!(served.proxy.get("/").text(), "b");
    served.reload(&format!("backend-keep-alive-timeout = '1h'\n{}", backends(&[&a])));
    served.reload(&settings(""));
    assert_eq!(served.proxy.get("/").text(), "b");
    assert_eq!(b.connections(), 2);
}

#[test]
fn a_backend_that_is_out_stays_out_and_comes_back() {
    ronde_only!();
    let [mut down, up] = ["down", "up"].map(Backend::named);
    let served = Served::with(&backends(&[&down, &up]));
    assert_eq!(served.proxy.get("/").text(), "down");
    down.go_down();
    eventually("it is out", || {
        served.proxy.get("/");
        served.lines("is out of the round") == 1
    });
    for settings in ["", "max-body = '1m'\n", "balance = 'least-connections'\n"] {
        served.reload(&format!("{settings}{}", backends(&[&down, &up])));
        assert!((0..6).all(|_| served.proxy.get("/").text() == "up"));
    }
    let lines = served.proxy.process.stdout.all();
    let tried = lines.iter().filter(|line| line.contains("tried=")).count();
    assert!(tried <= 3, "it was asked after a reload: {lines:#?}");
    served.reload(&backends(&[&down, &up]));
    down.come_up();
    eventually("it is back", || served.proxy.get("/").text() == "down");
    eventually("the log says so", || served.lines("is in the round") == 1);
    assert_eq!(served.lines("is out of the round"), 1);
}

/// With the checks that took it out it would stay out for ever.
#[test]
fn checks_come_and_go() {
    ronde_only!();
    let sick = Backend::start(|wire, request| match request.target() {
        "/health" => wire.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        _ => wire.send(ok("sick")),
    });
    let well = Backend::named("well");
    let checks = "health-path = '/health'\nhealth-interval = '100ms'\nhealth-fall = 1\n";
    let served = Served::with(&backends(&[&sick, &well]));
    assert_eq!([(); 2].map(|()| served.proxy.get("/").text()), ["sick", "well"]);
    served.reload(&format!("{checks}{}", backends(&[&sick, &well])));
    served.proxy.process.stderr.line_with("is out of the round: /health is answered with 500");
    assert!((0..4).all(|_| served.proxy.get("/").text() == "well"));
    // Reloads more often than checks do not put them off.
    let before = sick.count();
    eventually("it is checked all the same", || {
        served.reload(&format!("{checks}{}", backends(&[&sick, &well])));
        sick.count() > before + 2
    });
    served.reload(&backends(&[&sick, &well]));
    let mut answers = [(); 2].map(|()| served.proxy.get("/").text());
    answers.sort();
    assert_eq!(answers, ["sick", "well"]);
}

#[test]
fn new_backends_are_checked_before_they_serve() {
    ronde_only!();
    let [old, well] = ["old", "well"].map(Backend::named);
    let sick = Backend::start(|wire, _| wire.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"));
    let checks = "health-path = '/health'\nhealth-interval = '1h'\n";
    let served = Served::with(&format!("{checks}{}", backends(&[&old])));
    served.reload(&format!("{checks}{}", backends(&[&sick, &well])));
    assert!((0..4).all(|_| served.proxy.get("/").text() == "well"));
    assert_eq!((sick.count(), well.count(), old.count()), (1, 5, 1), "nobody else was checked");
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn who_is_under_way_ends_with_what_it_began_with() {
    ronde_only!();
    const LENGTH: usize = 4 << 20;
    let (old, new) = (Origin::start(), Backend::named("new"));
    let served = Served::with(&format!("backend = '{}'\nmax-body = '8m'\n", old.address));

    let mut uploading = served.proxy.connect();
    uploading.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\nfirst"));
    let mut takes = old.accept();
    takes.request_head();
    let mut downloading = served.proxy.connect();
    downloading.send(GET);
    let (mut gives, _) = old.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\nfirst"));
    downloading.response_head();
    let mut tunnelling = served.proxy.connect();
    tunnelling.send(UPGRADE);
    let (mut talks, _) = old.answer(SWITCH);
    assert_eq!(tunnelling.response().status(), 101);
    let mut waiting = served.proxy.connect();
    waiting.send(GET);
    let (mut late, _) = old.request();

    for limit in ["1k", "2k"] {
        served.reload(&format!("backend = '{}'\nmax-body = '{limit}'\nidle-timeout = '10ms'\n", new.address));
        assert_eq!(served.proxy.get("/").text(), "new");
    }

    // Longer than the new time between two reads.
    thread::sleep(Duration::from_millis(50));
    let rest = vec![b'x'; LENGTH - 5];
    let (sent, mut sender) = (rest.clone(), uploading.twin());
    let upload = thread::spawn(move || sender.send(&sent));
    takes.discard(LENGTH as u64);
    upload.join().unwrap();
    takes.send(ok("taken"));
    assert_eq!(uploading.response().text(), "taken");
    let download = thread::spawn(move || {
        gives.send(&rest);
        gives
    });
    downloading.discard(LENGTH as u64);
    drop(download.join().unwrap());
    for _ in 0..3 {
        tunnelling.send("ping");
        assert_eq!(talks.take(4), b"ping");
        talks.send("pong");
        assert_eq!(tunnelling.take(4), b"pong");
    }
    late.send(ok("late"));
    assert_eq!(waiting.response().text(), "late");
    // And these clients are the new backend's from now on.
    for client in [&mut uploading, &mut downloading, &mut waiting] {
        assert_eq!(client.get("/").text(), "new");
    }
    // What was used for the old one is not kept.
    drop(takes.rest());
}

#[test]
fn who_waits_for_room_gets_it_after_a_reload() {
    ronde_only!();
    let (gate, backend) = Backend::gated_named("b");
    let settings =
        |most: &str| format!("queue-timeout = '1m'\n[[backend]]\naddress = '{}'\n{most}", backend.address);
    let served = Served::with(&settings("max-connections = 1\n"));
    let mut clients: Vec<Wire> = (0..4).map(|_| served.proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    eventually("one is with the backend", || backend.count() == 1);
    for most in ["max-connections = 1\n", ""] {
        served.reload(&settings(most));
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "b");
    }
}

fn certificate() -> String {
    let Identity { certificate, key, .. } = tls::identity();
    format!("[[tls]]\ncertificate = {certificate:?}\nkey = {key:?}\n")
}

#[test]
fn listeners_come_and_go() {
    ronde_only!();
    let backend = Backend::named("b");
    let [stays, goes, comes, secured, introduced] = [(); 5].map(|()| free_address());
    let path = socket_path("ronde.sock");
    let served = Served::with(&format!("listen = ['{stays}', '{goes}']\n{}", backends(&[&backend])));
    let (mut kept, mut idle) = (Wire::connect_plain(goes), Wire::connect_plain(stays));
    assert_eq!((kept.get("/").text(), idle.get("/").text()), ("b".into(), "b".into()));
    let answered = [(); 2].map(|()| Wire::connect_plain(goes));
    let answered = answered.map(|mut wire| {
        assert_eq!(wire.get("/").text(), "b");
        wire
    });

    let said = served.reload(&format!(
        "listen = ['{stays}', '{comes}', '{introduced}', 'unix:{}']\ntls-listen = '{secured}'\n\
         proxy-protocol = '{introduced}'\ntrust-proxy = '127.0.0.0/8'\n{}{}\
         [[route]]\nhost = 'nothing.example'\nrespond = 404\n",
        path.display(),
        backends(&[&backend]),
        certificate()
    ));
    assert!(said.contains("1 certificate (1 new), 5 listeners (4 new, 1 gone)"), "{said}");
    assert_eq!(Wire::connect_plain(comes).get("/").text(), "b");
    assert_eq!(Wire::connect_tls(secured).get("/").text(), "b");
    assert_eq!(Wire::connect_unix(&path).get("/").text(), "b");
    let mut named = Wire::connect_plain(introduced);
    named.send("PROXY TCP4 192.0.2.7 192.0.2.1 1 80\r\n");
    assert_eq!(named.get("/named").text(), "b");
    assert!(served.proxy.process.stdout.line_with("/named").contains("192.0.2.7"));

    // Who came by the one that is gone is told so, and nobody comes by it any more.
    eventually("it is closed", || TcpStream::connect(goes).is_err());
    let last = kept.get("/");
    assert_eq!((last.text(), last.sole("connection")), ("b".into(), "close".into()));
    kept.expect_eof();
    // Also by ronde's own answers.
    for (mut wire, request) in answered.into_iter().zip([
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: nothing.example\r\n\r\n",
    ]) {
        assert_eq!(wire.ask(request).sole("connection"), "close");
        wire.expect_eof();
    }
    assert!(!idle.get("/").has("connection"));

    served.reload(&format!("listen = '{stays}'\n{}", backends(&[&backend])));
    eventually("all of them are closed", || {
        [comes, secured, introduced].iter().all(|address| TcpStream::connect(address).is_err())
    });
    eventually("the file is gone", || !path.exists());
    assert_eq!(idle.get("/").text(), "b");
    // The port can be had again, now with TLS.
    served.reload(&format!(
        "tls-listen = '{goes}'\nlisten = '{stays}'\n{}{}",
        backends(&[&backend]),
        certificate()
    ));
    assert_eq!(Wire::connect_tls(goes).get("/").text(), "b");
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    ronde_only!();
    let [old, new] = ["old", "new"].map(Backend::named);
    let (stays, comes, taken) = (free_address(), free_address(), new.address);
    let path = socket_path("ronde.sock");
    let served = Served::with(&format!("listen = '{stays}'\n{}", backends(&[&old])));
    let rows = [
        (format!("'{comes}', 'unix:{}', '{taken}'", path.display()), "is in use by another program"),
        (format!("':{}'", stays.port()), "ronde itself listens on"),
    ];
    each_row(&rows, |(listen, told)| {
        fs::write(&served.file, format!("listen = [{listen}]\n{}", backends(&[&new]))).expect("a file");
        let outcome = served.outcome();
        assert!(outcome.contains("not reloaded") && outcome.contains(told), "{outcome}");
        assert_eq!(Wire::connect_plain(stays).get("/").text(), "old");
        assert!(TcpStream::connect(comes).is_err() && !path.exists());
    });
    // Nor may a backend be one of the listeners.
    let listen = format!("'{stays}', '{comes}', 'unix:{}'", path.display());
    fs::write(&served.file, format!("listen = [{listen}]\nbackend = '{comes}'\n")).expect("a file");
    let outcome = served.outcome();
    assert!(outcome.contains("ronde's own address"), "{outcome}");
    assert_eq!(Wire::connect_plain(stays).get("/").text(), "old");
    eventually("nothing is left of it", || TcpStream::connect(comes).is_err() && !path.exists());
}

/// The admin listener was to move, and clients to have its address. That was "in use by another program", which was ronde.
#[test]
fn the_address_of_the_admin_listener_was_another_programs() {
    ronde_only!();
    let [old, new] = ["old", "new"].map(Backend::named);
    let (stays, admin, elsewhere) = (free_address(), free_address(), free_address());
    let settings = |listen: SocketAddr, admin: SocketAddr, backend: &Backend| {
        format!("listen = '{listen}'\nadmin = '{admin}'\n{}", backends(&[backend]))
    };
    let served = Served::with(&settings(stays, admin, &old));
    fs::write(&served.file, of_file(&settings(admin, elsewhere, &new))).expect("a file");
    let outcome = served.outcome();
    let told = format!("not reloaded, and nothing has changed: {admin} of --listen is the admin listener's");
    assert!(outcome.contains(&told), "{outcome}");
    assert_eq!(Wire::connect_plain(stays).get("/").text(), "old");
}

/// Its scheme and what its connections begin with are another's, but the socket is the same: no client is refused.
#[test]
fn a_listener_that_stays_may_begin_otherwise() {
    ronde_only!();
    let (backend, address) = (Backend::named("b"), free_address());
    let served = Served::with(&format!("listen = '{address}'\n{}", backends(&[&backend])));
    served.reload(&format!(
        "listen = '{address}'\nproxy-protocol = '{address}'\ntrust-proxy = '127.0.0.0/8'\n{}",
        backends(&[&backend])
    ));
    let mut client = Wire::connect_plain(address);
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 1 80\r\n");
    assert_eq!(client.get("/").text(), "b");
    let mut early = Wire::connect_plain(address);
    early.send("PROXY TCP4 192.0.2.8 192.0.2.1 1 80\r\n");
    served.reload(&format!(
        "listen = '{}'\ntls-listen = '{address}'\n{}{}",
        free_address(),
        backends(&[&backend]),
        certificate()
    ));
    assert_eq!(Wire::connect_tls(address).get("/").text(), "b");
    assert_eq!((client.get("/").text(), early.get("/").text()), ("b".into(), "b".into()));
}

#[test]
fn a_backend_on_a_unix_socket_comes_by_a_reload() {
    ronde_only!();
    let (backend, path) = (Backend::named("tcp"), socket_path("ronde.sock"));
    serve_unix(&path, |wire, _| wire.send(ok("unix")));
    let served = Served::with(&backends(&[&backend]));
    served.reload(&format!("backend = ['{}', 'unix:{}']\n", backend.address, path.display()));
    let mut answers = [(); 2].map(|()| served.proxy.get("/").text());
    answers.sort();
    assert_eq!(answers, ["tcp", "unix"]);
}

/// A worker that waits for a busy client's next request took no new site as long as that went on.
/// A worker waits for some milliseconds for the next request of a busy client. One that came behind a reload in that time was
/// served as before.
#[test]
fn a_request_right_behind_a_reload_was_served_by_the_old_backends() {
    ronde_only!();
    let all = ["one", "other"].map(Backend::named);
    let served = Served::with(&backends(&[&all[0]]));
    let mut client = served.proxy.connect();
    for (backend, name) in all.iter().zip(["one", "other"]).cycle().take(60) {
        fs::write(&served.file, of_file(&backends(&[backend]))).expect("a file");
        client.get("/");
        served.outcome();
        assert_eq!(client.get("/").text(), name);
    }
}

#[test]
fn a_client_that_never_pauses_meets_the_new_backends() {
    ronde_only!();
    let [one, other] = ["one", "other"].map(Backend::named);
    let served = Served::with(&backends(&[&one]));
    let address = served.proxy.address;
    let busy = thread::spawn(move || {
        let (mut client, deadline) = (Wire::connect(address), Instant::now() + Duration::from_secs(10));
        while client.get("/").text() != "other" {
            assert!(Instant::now() < deadline, "still with the old backend");
        }
    });
    served.reload(&backends(&[&other]));
    busy.join().expect("the new backend");
}

/// The names that a refused file has are those of the file in force, and were looked up as it said from then on.
#[test]
fn a_refused_reload_leaves_the_interval_of_look_ups_as_it_was() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let [port, other, ..] = names.ports();
    let number = port.address.port();
    let _app = Backend::on(port, move |wire, _| wire.send(ok("app")));
    let _other = Backend::on(other, move |wire, _| wire.send(ok("other")));
    names.knows("app.test", [names.neighbour(1)]);
    let file = scratch_directory().join("ronde.toml");
    let write = |interval: &str, more: &str| {
        let text = format!("resolve-interval = '{interval}'\nbackend = ['app.test:{number}'{more}]\n");
        fs::write(&file, text).expect("a file");
    };
    write("100ms", "");
    let proxy = names.ronde("options timeout:1", &format!("--config {}", file.display())).serve();
    let served = Served { file: file.clone(), proxy };
    eventually("the name is known", || served.proxy.get("/").text() == "app");
    write("1h", &format!(", '{}'", served.proxy.address));
    let outcome = served.outcome();
    assert!(outcome.contains("not reloaded") && outcome.contains("own address"), "{outcome}");
    // The first change may be found by the look-up that the reload began.
    for (number, answer) in [(2, "other"), (1, "app"), (2, "other")] {
        names.knows("app.test", [names.neighbour(number)]);
        eventually("the name is looked up as before", || served.proxy.get("/").text() == answer);
    }
}

#[test]
fn the_threads_of_names_come_and_go_with_them() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let [port, ..] = names.ports();
    let number = port.address.port();
    let _app = Backend::on(port, move |wire, _| wire.send(ok("app")));
    names.knows("app.test", [names.neighbour(1)]);
    names.knows("other.test", [names.neighbour(1)]);
    let file = scratch_directory().join("ronde.toml");
    let write = |names: &[&str]| {
        let routes: String = names
            .iter()
            .enumerate()
            .map(|(at, name)| format!("[[route]]\npath = '/{at}'\nbackend = '{name}:{number}'\n"))
            .collect();
        fs::write(&file, format!("resolve-interval = '100ms'\n{routes}")).expect("a file");
    };
    write(&["app.test", "app.test"]);
    let proxy = names.ronde("options timeout:1", &format!("--config {}", file.display())).serve();
    let served = Served { file: file.clone(), proxy };
    eventually("the name is known", || served.proxy.get("/0").text() == "app");
    assert_eq!(served.threads_named("resolve"), 1, "one for both routes");
    for _ in 0..20 {
        write(&["other.test", "app.test"]);
        served.outcome();
        assert_eq!(
            (served.proxy.get("/0").text(), served.proxy.get("/1").text()),
            ("app".into(), "app".into())
        );
        write(&["other.test", "other.test", "other.test"]);
        served.outcome();
        assert_eq!(served.proxy.get("/2").text(), "app");
    }
    eventually("that of the name that is gone has ended", || served.threads_named("resolve") == 1);
    // What a name is found to be afterwards is told to those in force alone.
    names.knows("other.test", [names.neighbour(1), names.neighbour(2)]);
    served.proxy.process.stderr.line_with("other.test: + ");
    let added = names.neighbour(2).to_string();
    eventually("it is told of", || served.lines(&format!("other.test: + {added}")) == 1);
}

/// What a client sees of the alternating files: either of both names, and nothing else.
fn assert_answered(answer: &Message) {
    assert!(answer.status() == 200 && ["one", "other"].contains(&&*answer.text()), "{answer:?}");
}

#[test]
fn fifty_reloads_under_load_fail_no_request_and_leave_nothing_behind() {
    ronde_only!();
    let [one, other] = ["one", "other"].map(Backend::named);
    let chat = Backend::start(|wire, request| {
        if request.target() == "/chat" {
            wire.send(SWITCH);
            while let Ok(bytes) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wire.take(4))) {
                wire.send(bytes);
            }
        }
    });
    let settings = |backend: &Backend, more: &str| {
        format!(
            "access-log = 'off'\n{more}{}[[route]]\npath = '/chat'\nbackend = '{}'\n",
            backends(&[backend]),
            chat.address
        )
    };
    let files = [settings(&one, ""), settings(&other, "max-body = '1m'\n")];
    let served = Served::with(&files[0]);
    let mut chats: Vec<_> = (0..20).map(|_| served.proxy.connect()).collect();
    for chat in &mut chats {
        chat.send(UPGRADE);
        assert_eq!(chat.response().status(), 101);
    }
    let mut next = files.iter().cycle();
    let mut reload = || served.reload(next.next().expect("a file"));
    // What the first reloads take stays.
    (0..4).for_each(|_| drop(reload()));
    let resident = served.proxy.status("VmRSS");
    let (threads, descriptors) = (served.proxy.status("Threads"), served.proxy.descriptors());

    let is_over = AtomicBool::new(false);
    let url = served.proxy.url("/");
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut asked = 0;
            let mut kept = served.proxy.connect();
            while !is_over.load(Ordering::Relaxed) {
                assert_answered(&kept.get("/"));
                assert_answered(&served.proxy.get("/"));
                asked += 2;
            }
            asked
        });
        let load = scope.spawn(|| {
            while crate::harness::Program::Wrk.is_installed() && !is_over.load(Ordering::Relaxed) {
                let report = wrk(32, &url).success();
                assert!(report.contains("requests in"), "{report}");
                assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
            }
        });
        for _ in 0..50 {
            reload();
            for chat in &mut chats {
                chat.send("ping");
                assert_eq!(chat.take(4), b"ping");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(client.join().expect("no failure") > 50);
        load.join().expect("no failure");
    });
    eventually("threads and descriptors are as many as before", || {
        served.proxy.status("Threads") <= threads && served.proxy.descriptors() <= descriptors + 8
    });
    let grown = served.proxy.status("VmRSS").saturating_sub(resident);
    assert!(grown < 6 << 10, "{grown} KiB more than before");
    assert_eq!(served.lines("is out of the round"), 0);
}

/// The longest that a client waits while a thousand routes are made anew again and again.
#[test]
fn a_thousand_routes_are_reloaded_while_requests_are_served() {
    ronde_only!();
    let backend = Backend::named("one");
    let routes: String = (0..1000)
        .map(|at| {
            format!("[[route]]\nhost = 'h{at}.example'\npath = '/p{at}'\nbackend = '{}'\n", backend.address)
        })
        .collect();
    let settings = format!("access-log = 'off'\n{}{routes}", backends(&[&backend]));
    let served = Served::with(&settings);
    let is_over = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut kept, mut longest) = (served.proxy.connect(), Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                assert_answered(&kept.get("/"));
                longest = longest.max(begun.elapsed());
            }
            longest
        });
        for _ in 0..5 {
            served.reload(&settings);
        }
        is_over.store(true, Ordering::Relaxed);
        client.join().expect("no failure")
    });
    println!("a thousand routes: the longest answer took {longest:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

/// A pipe (fifo) where a file was.
fn make_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

#[test]
fn a_pipe_that_nothing_writes_into_is_given_up_and_the_next_reload_is_heard() {
    ronde_only!();
    let [one, two] = ["one", "two"].map(Backend::named);
    let served = Served::with(&backends(&[&one]));
    make_pipe(&served.file);
    let outcome = served.outcome();
    assert!(outcome.contains("not reloaded") && outcome.contains("nothing came out of it"), "{outcome}");
    fs::remove_file(&served.file).expect("the pipe");
    // A certificate is a file as well.
    let pipe = served.file.with_file_name("chain.pem");
    make_pipe(&pipe);
    let names = format!("[[tls]]\ncertificate = '{0}'\nkey = '{0}'\n", pipe.display());
    let settings = format!("tls-listen = '127.0.0.1:0'\n{}{names}", backends(&[&one]));
    fs::write(&served.file, of_file(&settings)).expect("a file");
    let outcome = served.outcome();
    assert!(outcome.contains("not reloaded") && outcome.contains("nothing came out of it"), "{outcome}");
    served.reload(&backends(&[&two]));
    assert_eq!(served.proxy.get("/").text(), "two");
}

#[test]
fn a_pipe_that_is_written_into_is_read_to_its_end() {
    ronde_only!();
    let [one, two] = ["one", "two"].map(Backend::named);
    let served = Served::with(&backends(&[&one]));
    make_pipe(&served.file);
    let text = of_file(&backends(&[&two]));
    thread::scope(|scope| {
        // Two writes: after the first there is a moment with nothing in the pipe.
        scope.spawn(|| {
            let mut pipe = fs::File::options().write(true).open(&served.file).expect("a reader");
            let (half, rest) = text.split_at(text.len() / 2);
            pipe.write_all(half.as_bytes()).expect("it is read");
            eventually("the half is read", || rustix::io::ioctl_fionread(&pipe).is_ok_and(|left| left == 0));
            pipe.write_all(rest.as_bytes()).expect("it is read");
        });
        let outcome = served.outcome();
        assert!(!outcome.contains("not reloaded"), "{outcome}");
    });
    assert_eq!(served.proxy.get("/").text(), "two");
}

#[test]
fn a_stop_is_heard_during_a_reload() {
    ronde_only!();
    let backend = Backend::named("b");
    // It accepts and says nothing: its first check lasts until the timeout.
    let silent = Origin::start();
    let mut served = Served::with(&backends(&[&backend]));
    let checks = "health-path = '/h'\nhealth-interval = '1m'\nhealth-timeout = '1m'\n";
    fs::write(&served.file, of_file(&format!("{checks}backend = '{}'\n", silent.address))).expect("a file");
    served.proxy.process.signal(Signal::HUP);
    let _check = silent.request();
    assert_eq!(served.proxy.get("/").text(), "b");
    served.proxy.process.signal(Signal::TERM);
    assert_eq!(served.proxy.process.exit().code(), Some(0));
}
