//! ronde under a service manager: sockets that are passed to it, restarts without a refusal, and what it reports.
//!
//! Not here: log files (`i_log_files`).

use crate::harness::{
    Backend, GET, Message, Origin, Port, Process, Proxy, Ronde, TIMEOUT, Wire, each_row, eventually,
    free_address, needs, ok, ronde_only, scratch_directory, socket_path, tls, wrk,
};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{PipeWriter, pipe};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A ronde to which one or two sockets are passed, as systemd does it: from descriptor 3 on. It has no standard output if
/// there are two.
fn passing(sockets: &[&dyn AsFd], names: Option<&str>, flags: &str) -> Process {
    let stdio = |socket: &dyn AsFd| Stdio::from(owned(socket));
    let names = names.map_or(String::new(), |names| format!("LISTEN_FDNAMES={names} "));
    let (moves, stdout) = match sockets {
        [_] => ("3<&0 </dev/null", Stdio::piped()),
        [_, second] => ("3<&0 4<&1 </dev/null >/dev/null", stdio(*second)),
        _ => panic!("one or two"),
    };
    let program = env!("CARGO_BIN_EXE_ronde");
    let count = sockets.len();
    let line = format!("exec {moves}; {names}LISTEN_PID=$$ LISTEN_FDS={count} exec {program} {flags}");
    let mut command = Ronde::with("").0;
    let environment: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    command = Command::new("sh");
    for name in environment {
        command.env_remove(name);
    }
    Process::spawn_between(stdio(sockets[0]), stdout, command.args(["-c", &line]))
}

fn owned(socket: &dyn AsFd) -> OwnedFd {
    socket.as_fd().try_clone_to_owned().expect("a second descriptor")
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn stop(process: &mut Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(0));
}

fn certificate() -> String {
    let tls::Identity { certificate, key, .. } = tls::identity();
    format!("--tls-certificate {} --tls-key {}", certificate.display(), key.display())
}

#[test]
fn a_passed_socket_is_served_in_place_of_the_default_address() {
    ronde_only!();
    let backend = Backend::named("b");
    each_row(&[None, Some("http")], |names| {
        let (listener, address) = listener();
        let mut proxy = Proxy::of(passing(&[&listener], *names, &backend.address.to_string()));
        assert_eq!(proxy.addresses, [address]);
        for target in ["/one", "/two"] {
            assert_eq!(Wire::connect(address).get(target).text(), "b");
        }
        stop(&mut proxy.process);
        assert!(TcpStream::connect(address).is_ok(), "it is another's, and stays open");
    });
}

/// What ronde says of a certificate that it shows nobody.
const IDLE: &str = "--tls-certificate changes nothing";

#[test]
fn names_say_what_a_socket_is_for() {
    ronde_only!();
    let backend = Backend::mirror();
    let ((first, plain), (second, other)) = (listener(), listener());
    let start = |names: &str, flags: &str| {
        let flags = format!("{} {flags} {}", certificate(), backend.address);
        Proxy::of(passing(&[&first, &second], Some(names), &flags))
    };
    {
        let proxy = start("http:https", "");
        assert!(Wire::connect(plain).get("/").text().contains("X-Forwarded-Proto: http\n"));
        assert!(Wire::connect_tls(other).get("/").text().contains("X-Forwarded-Proto: https\n"));
        assert!(!proxy.process.stderr.text().contains(IDLE), "{}", proxy.process.stderr.text());
    }
    let proxy = start("http:http-proxy-protocol", "--trust-proxy 127.0.0.1");
    proxy.process.stderr.line_with(IDLE);
    let asked = format!("PROXY TCP4 203.0.113.9 198.51.100.1 4711 80\r\n{GET}");
    assert!(Wire::connect(other).ask(asked).text().contains("X-Forwarded-For: 203.0.113.9\n"));
    assert!(Wire::connect(plain).get("/").text().contains("X-Forwarded-For: 127.0.0.1\n"));
}

/// Listeners, `P` for the port of the socket, and whether they are served by it.
#[test]
fn an_address_that_is_passed_is_not_opened_again_and_the_others_are() {
    ronde_only!();
    let backend = Backend::named("b");
    each_row(&["[::]:P", ":P", "127.0.0.1:P", "localhost:P"], |listen| {
        let reserved =
            Port::at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("a port of both families");
        let port = reserved.address.port();
        let passed = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a listener");
        let listen = listen.replace('P', &port.to_string());
        let flags = format!("--listen {listen} --listen 127.0.0.1:0 {}", backend.address);
        let proxy = Proxy::of(passing(&[&passed], Some("http"), &flags));
        assert_eq!(proxy.addresses.len(), 2, "{:?}", proxy.addresses);
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), proxy.addresses[1]] {
            assert_eq!(Wire::connect(address).get("/").text(), "b");
        }
    });
}

#[test]
fn a_socket_that_cannot_be_served_is_an_error_that_says_what_to_do() {
    ronde_only!();
    let (listener, address) = listener();
    let (connection, file) = (TcpStream::connect(address).expect("a connection"), scratch_directory());
    let file = File::create(file.join("file")).expect("a file");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (unix, _other_end) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a listener");
    let elsewhere = "--listen 127.0.0.1:0";
    let rows: &[(&dyn AsFd, &str, String, &str)] = &[
        (
            &file,
            "http",
            elsewhere.into(),
            "descriptor 3 (http) was passed to ronde, and cannot be used: it is no stream",
        ),
        (&datagrams, "http", elsewhere.into(), "it is no stream socket; give ListenStream="),
        (&connection, "http", elsewhere.into(), "it does not listen; give Accept=no"),
        (&unix, "http", elsewhere.into(), "it does not listen"),
        (
            &listener,
            "ronde.socket",
            elsewhere.into(),
            "its name \"ronde.socket\" says nothing to ronde; give FileDescriptorName=http, https,",
        ),
        (&listener, "https", elsewhere.into(), "needs a certificate; add --tls-certificate"),
        (
            &listener,
            "https",
            format!("--listen {address} {}", certificate()),
            "it is an address of --listen, and its name says",
        ),
        (
            &listener,
            "http",
            format!("--tls-listen {address} {}", certificate()),
            "it is an address of --tls-listen, and",
        ),
        (
            &listener,
            "http-proxy-protocol",
            elsewhere.into(),
            "believed from trusted proxies only; add --trust-proxy",
        ),
        (&listener, "http-proxy-protocol", format!("{elsewhere} --trust-proxy unix:"), "add --trust-proxy"),
        (
            &listener,
            "http",
            format!("--listen {address} --proxy-protocol {address} --trust-proxy 127.0.0.1"),
            "it is an address of --proxy-protocol, and",
        ),
        (
            &listener,
            "admin",
            format!("--listen {address}"),
            "it is an address of --listen, and its name says",
        ),
        (
            &listener,
            "admin",
            format!("{elsewhere} --tls-listen {address} {}", certificate()),
            "it is an address of --tls-listen, and its name says",
        ),
        (
            &listener,
            "http",
            format!("{elsewhere} --admin {address}"),
            "it is an address of --admin, and its name says",
        ),
        (
            &everywhere,
            "admin",
            elsewhere.into(),
            "other machines reach it; say which may read it, with --admin-allow",
        ),
        (&listener, "$(printf 'adm\\377in')", elsewhere.into(), "its name \"adm\u{fffd}in\" says nothing"),
        (&listener, "http", address.to_string(), "is ronde's own address; a request would go round for ever"),
    ];
    for (socket, name, flags, said) in rows {
        let backend = if flags.starts_with("--") { " 127.0.0.1:1" } else { "" };
        let mut process = passing(&[*socket], Some(name), &format!("{flags}{backend}"));
        assert_eq!(process.exit().code(), Some(1), "{name} {flags}");
        assert!(process.stderr.text().contains(said), "{said} in {}", process.stderr.text());
    }
}

#[test]
fn a_socket_for_which_no_name_is_left_is_not_served_without_tls() {
    ronde_only!();
    let sockets = [listener().0, listener().0];
    let mut process = passing(&[&sockets[0], &sockets[1]], Some("http"), "--listen 127.0.0.1:0 127.0.0.1:1");
    assert_eq!(process.exit().code(), Some(1));
    let said = "descriptor 4 was passed to ronde, and cannot be used: LISTEN_FDNAMES has fewer names than";
    assert!(process.stderr.text().contains(said), "{}", process.stderr.text());
}

/// A ronde with a file, and the sockets that are passed to it.
struct Served {
    file: PathBuf,
    proxy: Proxy,
}

impl Served {
    fn passing(sockets: &[&dyn AsFd], names: &str, settings: &str) -> Served {
        let file = scratch_directory().join("ronde.toml");
        fs::write(&file, settings).expect("a file");
        let proxy = Proxy::of(passing(sockets, Some(names), &format!("--config {}", file.display())));
        Served { file, proxy }
    }

    /// Returns the line with the outcome.
    fn reload(&self, settings: &str) -> String {
        fs::write(&self.file, settings).expect("a file");
        let stderr = &self.proxy.process.stderr;
        let outcomes = || {
            let lines = stderr.all().into_iter();
            lines
                .filter(|line| line.contains(" reloaded: ") || line.contains("not reloaded"))
                .collect::<Vec<_>>()
        };
        let before = outcomes().len();
        self.proxy.process.signal(Signal::HUP);
        eventually("a reload has its outcome", || outcomes().len() > before);
        outcomes().swap_remove(before)
    }
}

#[test]
fn a_reload_keeps_what_was_passed_and_opens_and_closes_the_others() {
    ronde_only!();
    let (backend, (listener, address)) = (Backend::named("b"), listener());
    let beside = |more: &str| format!("backend = '{}'\n{more}", backend.address);
    let mut served = Served::passing(&[&listener], "http", &beside(""));
    let other = free_address();
    let listen = |addresses: &str| beside(&format!("listen = [{addresses}]\n"));
    let said = served.reload(&listen(&format!("'{address}', '{other}'")));
    assert!(said.contains("2 listeners (1 new)"), "{said}");
    for address in [address, other] {
        assert_eq!(Wire::connect(address).get("/").text(), "b");
    }

    let contradiction =
        format!("listen = '{address}'\nproxy-protocol = '{address}'\ntrust-proxy = '127.0.0.1'\n");
    let said = served.reload(&beside(&contradiction));
    assert!(said.contains("not reloaded") && said.contains("it is an address of --proxy-protocol"), "{said}");
    for address in [address, other] {
        assert_eq!(Wire::connect(address).get("/").text(), "b");
    }

    let said = served.reload(&beside(""));
    assert!(said.contains("1 listener (1 gone)"), "{said}");
    eventually("the other is closed", || TcpStream::connect(other).is_err());
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    stop(&mut served.proxy.process);
    assert!(TcpStream::connect(address).is_ok(), "it is another's, and stays open");
}

#[test]
fn a_reload_reads_the_certificates_of_a_passed_socket() {
    ronde_only!();
    let (backend, (first, _)) = (Backend::named("b"), listener());
    let (second, secured) = listener();
    let (tls::Identity { certificate, key, .. }, directory) = (tls::identity(), scratch_directory());
    let own = directory.join("certificate.pem");
    fs::copy(certificate, &own).expect("a copy");
    let settings = format!(
        "backend = '{}'\ntls-certificate = '{}'\ntls-key = '{}'\n",
        backend.address,
        own.display(),
        key.display()
    );
    let served = Served::passing(&[&first, &second], "http:https", &settings);
    assert_eq!(Wire::connect_tls(secured).get("/").text(), "b");
    fs::write(&own, "no certificate").expect("a file");
    let said = served.reload(&settings);
    assert!(said.contains("not reloaded") && said.contains("certificate.pem"), "{said}");
    assert!(!served.proxy.process.stderr.text().contains(IDLE));
    assert_eq!(Wire::connect_tls(secured).get("/").text(), "b");
    let without = format!("backend = '{}'\n", backend.address);
    let said = served.reload(&without);
    assert!(said.contains("not reloaded") && said.contains("it needs a certificate"), "{said}");
}

#[test]
fn a_passed_socket_may_be_the_admins() {
    ronde_only!();
    let (backend, (first, address)) = (Backend::named("b"), listener());
    let (second, admin) = listener();
    let flags = format!("--admin {admin} {}", backend.address);
    let mut proxy = Proxy::of(passing(&[&first, &second], Some("http:admin"), &flags));
    assert_eq!(proxy.addresses[0], address);
    assert!(
        Wire::connect(admin)
            .ask("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .text()
            .contains("\"phase\"")
    );
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    stop(&mut proxy.process);
    assert!(TcpStream::connect(admin).is_ok(), "it is another's, and stays open");
}

#[test]
fn sockets_that_are_meant_for_another_process_are_left_alone() {
    ronde_only!();
    let backend = Backend::named("b");
    // What is no number is the other process's mistake.
    for count in ["7", "two"] {
        let ronde = Ronde::with(&format!("--listen 127.0.0.1:0 {}", backend.address));
        let proxy = ronde.env("LISTEN_PID", "1").env("LISTEN_FDS", count).env("LISTEN_FDNAMES", "x").serve();
        assert_eq!(proxy.get("/").text(), "b");
    }
}

#[test]
fn what_is_no_number_of_sockets_is_a_mistake() {
    ronde_only!();
    for count in ["two", "-1", "99999999999", ""] {
        let mut ronde = Ronde::with("--listen 127.0.0.1:0 127.0.0.1:1").env("LISTEN_FDS", count).spawn();
        assert_eq!(ronde.exit().code(), Some(1), "{count:?}");
        let said = format!("LISTEN_FDS={count} is no number of sockets; give 0 to 65535");
        assert!(ronde.stderr.text().contains(&said), "{}", ronde.stderr.text());
    }
}

#[test]
fn a_passed_unix_socket_is_served_and_its_file_stays() {
    ronde_only!();
    let (backend, path) = (Backend::mirror(), socket_path("ronde.sock"));
    let listener = UnixListener::bind(&path).expect("a Unix socket");
    for _ in 0..2 {
        // Beside an address, because the tests' Proxy wants one.
        let flags = format!("--listen 127.0.0.1:0 --listen unix:{} {}", path.display(), backend.address);
        let mut process = passing(&[&listener], Some("http"), &flags);
        process.stderr.line_with("listening on ");
        assert_eq!(Wire::connect_unix(&path).get("/").status(), 200);
        stop(&mut process);
        assert!(path.exists(), "it is another's");
    }
}

/// What waits in the queue of a listener before ronde has it has none of ronde's socket options: one read of a silent
/// client would hold the only worker for ever.
#[test]
fn a_silent_client_of_a_passed_socket_holds_no_worker() {
    ronde_only!();
    let (backend, path) = (Backend::named("b"), socket_path("ronde.sock"));
    let (tcp, address) = listener();
    let unix = UnixListener::bind(&path).expect("a Unix socket");
    let _silent = (TcpStream::connect(address), std::os::unix::net::UnixStream::connect(&path));
    let flags = format!("--workers 1 {}", backend.address);
    let mut process = passing(&[&tcp, &unix], Some("http:http"), &flags);
    process.stderr.line_with("listening on ");
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    assert_eq!(Wire::connect_unix(&path).get("/").text(), "b");
    stop(&mut process);
}

#[test]
fn systemd_socket_activate_starts_ronde_with_its_first_client() {
    ronde_only!();
    needs!(SocketActivate);
    let (backend, address) = (Backend::named("b"), free_address());
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &address.to_string(), "--fdname", "http", env!("CARGO_BIN_EXE_ronde")]);
    let mut process = Process::spawn(command.arg(backend.address.to_string()));
    process.stderr.line_with("Listening on ");
    assert_eq!(Wire::connect(address).get("/").text(), "b");
    assert!(process.stderr.line_with("was passed to ronde as http").contains(&address.to_string()));
    stop(&mut process);
}

/// The clients of the restarts: some open a connection for each request, the others keep theirs until they are told that it
/// ends. Whatever goes wrong ends their thread with a panic, and so the test.
struct Clients<'a> {
    address: SocketAddr,
    is_over: &'a AtomicBool,
    served: &'a AtomicUsize,
}

impl Clients<'_> {
    fn spawn<'scope>(&'scope self, scope: &'scope thread::Scope<'scope, '_>) {
        for _ in 0..4 {
            scope.spawn(|| self.ask(|mut wire| drop(self.get(&mut wire))));
            scope.spawn(|| {
                self.ask(|mut wire| {
                    let is_last =
                        |response: Message| response.members("connection").contains(&"close".to_owned());
                    while !is_last(self.get(&mut wire)) && !self.is_over.load(Ordering::Relaxed) {}
                });
            });
        }
    }

    /// Until the end.
    fn ask(&self, converse: impl Fn(Wire)) {
        while !self.is_over.load(Ordering::Relaxed) {
            let wire = Wire::connect(self.address);
            // As a connection ends here with what it has got, its port is free again at once.
            set_socket_linger(wire.stream(), Some(Duration::ZERO)).expect("SO_LINGER");
            converse(wire);
        }
    }

    fn get(&self, wire: &mut Wire) -> Message {
        let response = wire.get("/");
        assert_eq!(response.text(), "b");
        self.served.fetch_add(1, Ordering::Relaxed);
        response
    }
}

/// A ronde that opens its own port refuses hundreds of these.
#[test]
fn eight_restarts_under_load_refuse_and_reset_no_connection() {
    ronde_only!();
    let (backend, (listener, address)) = (Backend::named("b"), listener());
    let start = || {
        let flags = format!("--access-log off --workers 2 {}", backend.address);
        let process = passing(&[&listener], Some("http"), &flags);
        process.stderr.line_with("listening on ");
        process
    };
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = Clients { address, is_over: &is_over, served: &served };
    let mut process = start();
    thread::scope(|scope| {
        clients.spawn(scope);
        for _ in 0..8 {
            let before = served.load(Ordering::Relaxed);
            eventually("requests are served", || served.load(Ordering::Relaxed) > before + 200);
            stop(&mut process);
            process = start();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    stop(&mut process);
}

#[test]
fn wrk_sees_no_error_while_ronde_is_restarted() {
    ronde_only!();
    needs!(Wrk);
    let (backend, (listener, address)) = (Backend::named("b"), listener());
    let start = || {
        let process = passing(&[&listener], Some("http"), &format!("--access-log off {}", backend.address));
        process.stderr.line_with("listening on ");
        process
    };
    let mut process = start();
    let mut load = wrk(16, &format!("http://{address}/"));
    let mut restarts = 0;
    while load.is_running() {
        stop(&mut process);
        process = start();
        restarts += 1;
    }
    let report = load.success();
    assert!(restarts > 0, "wrk was gone before the first");
    assert!(
        report.contains("requests in") && !report.contains("errors") && !report.contains("Non-2xx"),
        "{report}"
    );
    stop(&mut process);
}

/// A client may have sent its request when the stop begins, and ronde has not seen it: closed at once it would be reset.
#[test]
fn a_request_that_comes_just_after_the_stop_is_served() {
    ronde_only!();
    let backend = Backend::named("b");
    let mut proxy = Proxy::start(&[backend.address]);
    let (mut kept, mut fresh) = (proxy.connect(), proxy.connect());
    assert_eq!(kept.get("/").text(), "b");
    proxy.process.signal(Signal::TERM);
    proxy.process.stderr.line_with("stopping");
    for client in [&mut kept, &mut fresh] {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.sole("connection").as_str()), ("b", "close"));
        client.expect_eof();
    }
    assert_eq!(proxy.process.exit().code(), Some(0));
}

/// A service manager's end of the reports.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new() -> Manager {
        let path = socket_path("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        Manager { socket, path }
    }

    fn start(&self, flags: &str, watchdog: Option<Duration>) -> Proxy {
        let ronde = Ronde::with(&format!("--listen 127.0.0.1:0 {flags}"));
        let ronde = ronde.env("NOTIFY_SOCKET", self.path.to_str().expect("a plain path"));
        match watchdog {
            None => ronde.serve(),
            Some(most) => ronde.env("WATCHDOG_USEC", &most.as_micros().to_string()).serve(),
        }
    }

    /// The next report, if it comes in time.
    fn report(&self, most: Duration) -> Option<String> {
        let mut room = [0; 4096];
        self.socket.set_read_timeout(Some(most)).expect("a timeout");
        let count = self.socket.recv(&mut room).ok()?;
        Some(String::from_utf8_lossy(&room[..count]).into_owned())
    }

    fn expect(&self, start: &str) -> String {
        let report = self.report(TIMEOUT).expect("a report");
        assert!(report.starts_with(start), "{report:?}");
        report
    }
}

#[test]
fn the_service_manager_hears_of_the_start_a_reload_and_the_stop() {
    ronde_only!();
    let (manager, origin) = (Manager::new(), Origin::start());
    let mut proxy = manager.start(&origin.address.to_string(), None);
    let ready = manager.expect("READY=1\nSTATUS=listening on 127.0.0.1:");
    assert!(ready.contains(&format!("{}; backends {}", proxy.plain, origin.address)), "{ready}");

    proxy.process.signal(Signal::HUP);
    let reloading = manager.expect("RELOADING=1\nMONOTONIC_USEC=");
    let time = reloading.trim_end().rsplit('=').next().and_then(|time| time.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 0), "{reloading}");
    manager.expect("READY=1\nSTATUS=listening on ");

    let mut client = Wire::connect(proxy.plain);
    client.send(GET);
    let (mut backend, _) = origin.request();
    proxy.process.signal(Signal::TERM);
    // Twice: each report has the service manager wait for the next, however long the grace.
    for _ in 0..2 {
        manager.expect("STOPPING=1\nEXTEND_TIMEOUT_USEC=10000000\nSTATUS=draining: 1 connection");
    }
    backend.send(ok("finished"));
    assert_eq!(client.response().text(), "finished");
    drop(client);
    assert_eq!(proxy.process.exit().code(), Some(0));
}

#[test]
fn a_reload_that_fails_is_over_and_one_that_does_not_says_what_is_served_now() {
    ronde_only!();
    let (manager, [one, other]) = (Manager::new(), ["one", "other"].map(Backend::named));
    let file = scratch_directory().join("ronde.toml");
    let write = |text: &str| fs::write(&file, text).expect("a file");
    write(&format!("backend = '{}'\n", one.address));
    let proxy = manager.start(&format!("--config {}", file.display()), None);
    manager.expect("READY=1\n");
    for (text, backend) in
        [("mistake".to_owned(), one.address), (format!("backend = '{}'\n", other.address), other.address)]
    {
        write(&text);
        proxy.process.signal(Signal::HUP);
        manager.expect("RELOADING=1\n");
        let ready = manager.expect("READY=1\nSTATUS=listening on ");
        assert!(ready.contains(&format!("backends {backend}")), "{ready}");
    }
}

#[test]
fn a_service_manager_that_is_gone_costs_a_line_and_nothing_else() {
    ronde_only!();
    let (manager, backend) = (Manager::new(), Backend::named("b"));
    fs::remove_file(&manager.path).expect("its file");
    let mut proxy = manager.start(&backend.address.to_string(), Some(Duration::from_millis(100)));
    proxy.process.stderr.line_with("the service manager (NOTIFY_SOCKET) cannot be told: No such file");
    assert_eq!(Wire::connect(proxy.plain).get("/").text(), "b");
    stop(&mut proxy.process);
}

/// After this time without a report the service manager takes ronde for dead.
const WATCHDOG: Duration = Duration::from_millis(800);

#[test]
fn an_idle_ronde_and_one_whose_backends_are_silent_are_alive() {
    ronde_only!();
    let (manager, origin) = (Manager::new(), Origin::start());
    let proxy = manager.start(&format!("--workers 1 {}", origin.address), Some(WATCHDOG));
    manager.expect("READY=1");
    let expect_alive =
        || (0..6).for_each(|_| assert_eq!(manager.report(WATCHDOG).as_deref(), Some("WATCHDOG=1\n")));
    expect_alive();
    let mut clients: Vec<Wire> = (0..20).map(|_| Wire::connect(proxy.plain)).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    let _silent: Vec<_> = (0..20).map(|_| origin.request()).collect();
    expect_alive();
}

/// Stops the workers of a ronde until the writer is dropped.
fn freeze_workers(proxy: &Proxy) -> (Process, PipeWriter) {
    let (reader, writer) = pipe().expect("a pipe");
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/clients/with_frozen_threads.py");
    let mut command = Command::new("python3");
    command.arg(script).args([&proxy.process.id().to_string(), "worker"]);
    let freezer = Process::spawn_between(reader.into(), Stdio::piped(), &mut command);
    let frozen = freezer.stdout.line_with("frozen ");
    assert_eq!(frozen, "frozen 3");
    (freezer, writer)
}

#[test]
fn a_ronde_whose_workers_hang_is_not_reported_alive_until_they_go_on() {
    ronde_only!();
    needs!(Python, Ptrace);
    let (manager, backend) = (Manager::new(), Backend::named("b"));
    let proxy = manager.start(&format!("--workers 3 {}", backend.address), Some(WATCHDOG));
    manager.expect("READY=1");
    manager.expect("WATCHDOG=1");
    let (mut freezer, writer) = freeze_workers(&proxy);
    // What was proved before they hung is still reported.
    eventually("the reports end", || manager.report(WATCHDOG / 2).is_none());
    let begun = Instant::now();
    while begun.elapsed() < 2 * WATCHDOG {
        assert_eq!(manager.report(WATCHDOG / 4), None, "after {:?}", begun.elapsed());
    }
    drop(writer);
    freezer.exit();
    manager.expect("WATCHDOG=1");
    assert_eq!(Wire::connect(proxy.plain).get("/").text(), "b");
}
