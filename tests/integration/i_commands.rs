//! The command line and the file: which settings are accepted, which are refused, and with which message.

use crate::harness::{
    Backend, Origin, Port, Process, Proxy, Ronde, each_row, needs, ok, ronde_only, scratch_directory,
};
use std::process::Command;

/// Runs ronde to its end: the exit code, standard output, standard error.
fn run(ronde: Ronde) -> (i32, String, String) {
    let mut process = ronde.spawn();
    let code = process.exit().code().expect("an exit code");
    (code, process.stdout.text(), process.stderr.text())
}

/// Command lines that are refused, and a word that the one line of the message must contain.
const REFUSED: &[(&str, &str)] = &[
    ("", "backend"),
    ("--nope 127.0.0.1:1", "--nope"),
    ("--workerz 3 127.0.0.1:1", "--workers"),
    ("--workers", "--workers"),
    ("--workers --listen 127.0.0.1:0 127.0.0.1:1", "--workers"),
    ("--workers 0 127.0.0.1:1", "--workers"),
    ("--workers -1 127.0.0.1:1", "--workers"),
    ("--workers many 127.0.0.1:1", "--workers"),
    ("--workers=99999999 127.0.0.1:1", "--workers"),
    ("--head-timeout 5 127.0.0.1:1", "--head-timeout"),
    ("--head-timeout 5parsecs 127.0.0.1:1", "--head-timeout"),
    ("--max-head 1x 127.0.0.1:1", "--max-head"),
    ("--access-log loud 127.0.0.1:1", "--access-log"),
    ("--log-level loud 127.0.0.1:1", "--log-level"),
    ("--trust-proxy 300.0.0.0/8 127.0.0.1:1", "--trust-proxy"),
    ("--trust-proxy 10.0.0.0/33 127.0.0.1:1", "--trust-proxy"),
    ("--listen nowhere 127.0.0.1:1", "--listen"),
    ("--listen 127.0.0.1:99999 127.0.0.1:1", "--listen"),
    ("--backend", "--backend"),
    ("--backend app1", "app1"),
    ("app1:99999", "app1:99999"),
    ("127.0.0.1:1 127.0.0.1:1", "127.0.0.1:1"),
    ("--config /nonexistent.toml", "/nonexistent.toml"),
];

#[test]
fn a_wrong_command_line_is_one_clear_line_and_exit_code_2() {
    ronde_only!();
    each_row(REFUSED, |(flags, named)| {
        let (code, stdout, stderr) = run(Ronde::with(flags));
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
        assert!(stderr.contains(named), "{named} in {stderr}");
    });
}

/// `ronde --man > ronde.1` on a full disk left a part of the page, and said that all was well.
#[test]
fn a_text_that_cannot_be_written_is_a_failure() {
    ronde_only!();
    let rows = ["--help", "--version", "--man", "--completions zsh"].map(|flags| (flags, "standard output"));
    each_row(
        &[&rows[..], &[("check 127.0.0.1:1", "the check was not finished")]].concat(),
        |(flags, what)| {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
            let mut command = Command::new(env!("CARGO_BIN_EXE_ronde"));
            command.args(flags.split_whitespace()).stdout(full);
            let output = command.output().expect("it runs");
            assert_eq!(output.status.code(), Some(1));
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(stderr.contains(&format!("ronde: {what}: No space left on device")), "{stderr}");
        },
    );
}

#[test]
fn help_fits_a_few_screens() {
    ronde_only!();
    let (code, stdout, stderr) = run(Ronde::with("--help"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(
        stdout.lines().count() <= 110 && stdout.lines().all(|line| line.chars().count() <= 100),
        "{stdout}"
    );
    for flag in ["--listen", "--backend", "--config", "--workers", "--shutdown-grace", "--access-log"] {
        assert!(stdout.contains(flag), "{flag} in {stdout}");
    }
}

#[test]
fn version_is_the_crates() {
    ronde_only!();
    let (code, stdout, _) = run(Ronde::with("--version"));
    assert_eq!((code, stdout.as_str()), (0, concat!("ronde ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_port_in_use_names_the_address_and_the_flag_and_exits_1() {
    ronde_only!();
    let taken = Origin::start().address;
    let origin = Origin::start();
    let (code, _, stderr) = run(Ronde::with(&format!("--listen {} {taken}", origin.address)));
    assert_eq!(code, 1);
    assert!(stderr.contains(&origin.address.to_string()) && stderr.contains("--listen"), "{stderr}");
}

/// The second address gets the port of the first.
#[test]
fn localhost_has_one_port_of_the_systems_choice_for_both_of_its_addresses() {
    ronde_only!();
    let proxy = Ronde::with("--listen localhost:0 127.0.0.1:1").serve();
    let [first, second] = proxy.addresses[..] else { panic!("{:?}", proxy.addresses) };
    assert!(first.port() == second.port() && first.ip() != second.ip(), "{first} {second}");
}

#[test]
fn the_start_line_says_what_is_running() {
    ronde_only!();
    let (first, second) = (Backend::named("1"), Backend::named("2"));
    let proxy = Proxy::with("--workers 7", &[first.address, second.address]);
    let line = proxy.process.stderr.line_with("listening on");
    for part in [proxy.address.to_string(), first.address.to_string(), second.address.to_string()] {
        assert!(line.contains(&part), "{part} in {line}");
    }
    assert!(line.contains("7 workers") && line.contains("memory"), "{line}");
}

#[test]
fn backends_can_be_arguments_or_flags_and_values_can_follow_an_equals_sign() {
    ronde_only!();
    let (first, second) = (Backend::named("1"), Backend::named("2"));
    let flags = format!("--listen=127.0.0.1:0 --workers=3 --backend {} {}", first.address, second.address);
    let proxy = Ronde::with(&flags).serve();
    let mut answers = [proxy.get("/").text(), proxy.get("/").text()];
    answers.sort();
    assert_eq!(answers, ["1", "2"]);
}

#[test]
fn every_listen_address_is_served() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Ronde::with(&format!("--listen 127.0.0.1:0 --listen [::1]:0 {}", backend.address)).serve();
    assert_eq!(proxy.addresses.len(), 2);
    for address in &proxy.addresses {
        assert_eq!(crate::harness::Wire::connect(*address).get("/").text(), "b");
    }
}

#[test]
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    ronde_only!();
    let (filed, named, flagged) =
        (Backend::named("file"), Backend::named("environment"), Backend::named("flag"));
    let file = scratch_directory().join("ronde.toml");
    let text =
        format!("listen = \"127.0.0.1:0\"\nworkers = 3\n[[backend]]\naddress = \"{}\"\n", filed.address);
    std::fs::write(&file, text).unwrap();
    let with = |more: String| Ronde::with(&format!("--config {} {more}", file.display()));
    let answer = |ronde: Ronde| ronde.serve().get("/").text();
    assert_eq!(answer(with(String::new())), "file");
    assert_eq!(answer(with(String::new()).env("RONDE_BACKEND", &named.address.to_string())), "environment");
    let flag = format!("--backend {}", flagged.address);
    assert_eq!(answer(with(flag).env("RONDE_BACKEND", &named.address.to_string())), "flag");
}

/// Files that are refused, the line of the error, and a word that the message must contain.
const BROKEN_FILES: &[(&str, u32, &str)] = &[
    ("workers = 3\nworkerz = 3\n", 2, "workers"),
    ("workers = \"many\"\n", 1, "workers"),
    ("workers = 0\n", 1, "workers"),
    ("head-timeout = \"5\"\n", 1, "head-timeout"),
    ("[[backend]]\naddress = \"127.0.0.1:1\"\nadress = \"x\"\n", 3, "adress"),
    ("listen = [\n", 1, ""),
];

#[test]
fn an_error_in_the_file_names_the_file_the_line_and_the_nearest_valid_key() {
    ronde_only!();
    each_row(BROKEN_FILES, |(text, line, named)| {
        let file = scratch_directory().join("broken.toml");
        std::fs::write(&file, text).unwrap();
        let (code, _, stderr) = run(Ronde::with(&format!("--config {} 127.0.0.1:1", file.display())));
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("broken.toml") && stderr.contains(named), "{stderr}");
        assert!(
            stderr.contains(&format!(":{line}:")) || stderr.contains(&format!("line {line}")),
            "{stderr}"
        );
    });
}

#[test]
fn check_tries_every_backend_and_serves_nothing() {
    ronde_only!();
    let (backend, down) = (Backend::named("b"), Origin::down());
    let (code, stdout, _) = run(Ronde::with(&format!("check --listen 127.0.0.1:0 {}", backend.address)));
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains(&backend.address.to_string()), "{stdout}");
    let (code, stdout, stderr) = run(Ronde::with(&format!("check {} {}", backend.address, down.address)));
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(format!("{stdout}{stderr}").contains(&down.address.to_string()), "{stdout}{stderr}");
}

/// The health check of an image sees no argument of its container: it asked port 8080, whatever `--listen` said.
#[test]
fn health_follows_the_arguments_of_process_1() {
    ronde_only!();
    needs!(Unshare);
    let (backend, port) = (Backend::named("b"), Port::reserve());
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", env!("CARGO_BIN_EXE_ronde")]);
    command.args(["--listen", &port.address.to_string(), &backend.address.to_string()]);
    let proxy = Proxy::of(Process::spawn(&mut command));
    let outer = proxy.process.id();
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).expect("a child");
    let mut health = Command::new("nsenter");
    health.args(["--pid", "--mount", "--target", children.trim(), env!("CARGO_BIN_EXE_ronde"), "health"]);
    let said = Process::spawn(&mut health).success();
    assert_eq!(said, format!("ronde at {} is well", port.address));
}

/// They were in the file and nowhere else.
#[test]
fn an_offline_check_tries_no_backend_and_reads_all_the_rest() {
    ronde_only!();
    let down = Origin::down();
    let nobody = down.address;
    let (code, stdout, stderr) = run(Ronde::with(&format!("check --offline {nobody}")));
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("no backend is tried") && !stdout.contains("connect"), "{stdout}");
    let (code, stdout, _) = run(Ronde::with(&format!("check --offline --url http://a/x {nobody}")));
    assert!(code == 0 && stdout.contains("http://a/x"), "{stdout}");
    // Nor where something else is wrong.
    let (code, stdout, stderr) =
        run(Ronde::with(&format!("check --offline --log-file /none/ronde.log {nobody}")));
    assert!(code == 1 && stdout.contains("no backend is tried"), "{stdout}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// It stood on the eighth line of standard output, below "the configuration is valid", and standard error was empty.
#[test]
fn the_faults_that_check_finds_stand_on_standard_error_and_behind_all_else() {
    ronde_only!();
    let (well, down) = (Backend::named("b"), Origin::down());
    let files = "--tls-certificate /none.pem --tls-key /none.key --log-file /none/ronde.log";
    let (code, stdout, stderr) =
        run(Ronde::with(&format!("check {files} {} {}", well.address, down.address)));
    assert!(code == 1 && stdout.contains(&format!("backend  {}", well.address)), "{stdout}");
    assert!(!stdout.contains("valid") && !stdout.contains("cannot"), "{stdout}");
    let faults: Vec<_> = stderr.lines().collect();
    let expected = [
        "ronde: /none/ronde.log cannot be opened to write a log: ".to_owned(),
        "ronde: cannot read /none.pem: No such file or directory".to_owned(),
        format!("ronde: the backend {}: cannot connect: ", down.address),
    ];
    assert_eq!(faults.len(), expected.len(), "{stderr}");
    faults.iter().zip(&expected).for_each(|(fault, begin)| assert!(fault.starts_with(begin), "{stderr}"));
    let (code, stdout, stderr) = run(Ronde::with(&format!("check {}", well.address)));
    assert_eq!((code, stderr.as_str(), stdout.lines().last()), (0, "", Some("the configuration is valid")));
}

#[test]
fn the_start_line_and_check_say_the_options_of_a_backend() {
    ronde_only!();
    let backend = Backend::named("b");
    let file = scratch_directory().join("options.toml");
    let text = format!(
        "listen = '127.0.0.1:0'\n[[backend]]\naddress = '{}'\nweight = 2\nbackup = true\nmax-connections = 9\n",
        backend.address
    );
    std::fs::write(&file, text).unwrap();
    let options = format!("{} (weight 2, backup, max-connections 9)", backend.address);
    let proxy = Ronde::with(&format!("--config {}", file.display())).serve();
    proxy.process.stderr.line_with(&options);
    let (code, stdout, _) = run(Ronde::with(&format!("check --config {}", file.display())));
    assert!(code == 0 && stdout.contains(&options), "{stdout}");
    let (_, help, _) = run(Ronde::with("--help"));
    for key in ["weight", "backup", "max-connections"] {
        assert!(help.contains(key), "{key} in {help}");
    }
}

#[test]
fn check_says_every_address_that_ronde_would_listen_on() {
    ronde_only!();
    let backend = Backend::named("b");
    let flags = "--listen 127.0.0.1:1 --admin 127.0.0.1:2";
    let (code, stdout, _) = run(Ronde::with(&format!("check {flags} {}", backend.address)));
    assert!(code == 0 && stdout.contains("listen   127.0.0.1:1\nadmin    127.0.0.1:2\n"), "{stdout}");
}

/// It approved what the start then refused.
#[test]
fn check_refuses_addresses_in_the_words_of_the_start() {
    ronde_only!();
    let (backend, taken, directory) = (Backend::named("b"), Origin::start(), scratch_directory());
    let (file, own) = (directory.join("app.py"), directory.join("ronde.sock"));
    std::fs::write(&file, "precious").unwrap();
    let _serves = std::os::unix::net::UnixListener::bind(&own).unwrap();
    let check = |flags: &str| run(Ronde::with(&format!("check {flags} {}", backend.address)));
    let rows = [
        ("unix:/nodir/x.sock".to_owned(), "there is no such directory"),
        (format!("unix:{}", file.display()), "there is a file that is no socket"),
        ("192.0.2.1:80".to_owned(), "192.0.2.1:80 is no address of this machine"),
    ];
    for (address, why) in &rows {
        let (code, _, stderr) = check(&format!("--listen {address}"));
        assert!(code == 1 && stderr.contains(why) && stderr.contains("with --listen"), "{stderr}");
        let (_, _, started) = run(Ronde::with(&format!("--listen {address} {}", backend.address)));
        assert!(started.lines().any(|line| line == stderr), "{started} is not {stderr}");
        let (code, _, stderr) = check(&format!("--admin {address} --admin-allow 10.0.0.0/8"));
        assert!(code == 1 && stderr.contains(why) && stderr.contains("with --admin"), "{stderr}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    // What the ronde that serves has, what will be there, and what another address includes.
    for flags in [
        format!("--listen {} --listen unix:{}", taken.address, own.display()),
        "--listen 192.0.2.1:80 --freebind".to_owned(),
        "--listen :80 --listen 192.0.2.1:80".to_owned(),
        "--listen unix:/run/no-such-service/ronde.sock".to_owned(),
    ] {
        let (code, _, stderr) = check(&flags);
        assert_eq!((code, stderr.as_str()), (0, ""), "{flags}");
    }
}

/// It was mentioned among the things that are no news.
#[test]
fn a_backend_that_was_never_up_is_one_warning() {
    ronde_only!();
    let (mut backend, down) = (Backend::named("b"), Origin::down());
    let proxy = Proxy::with("", &[backend.address, down.address]);
    let said = " has accepted no connection yet: nothing listens on its port";
    let line = proxy.process.stderr.line_with(said);
    assert!(line.contains("[WARN]") && line.contains(&down.address.to_string()), "{line}");
    (0..10).for_each(|_| assert_eq!(proxy.get("/").text(), "b"));
    // One that has worked is told of when it goes out, and not again.
    backend.go_down();
    (0..10).for_each(|_| assert_eq!(proxy.get("/").status(), 502));
    backend.come_up();
    proxy.process.stderr.line_with(&format!("{} is in the round", backend.address));
    let lines = proxy.process.stderr.all();
    assert_eq!(lines.iter().filter(|line| line.contains(said)).count(), 1, "{lines:#?}");
}

/// `ronde check` said that all was valid, and a start failed without the hint.
#[test]
fn hints_come_before_a_failure_and_with_a_check() {
    ronde_only!();
    let hint = "ronde: unknown variable \"RONDE_BACKENDS\" is ignored; did you mean RONDE_BACKEND?";
    let (code, _, stderr) = run(Ronde::with("").env("RONDE_BACKENDS", "127.0.0.1:1"));
    assert_eq!((code, stderr.lines().next()), (2, Some(hint)), "{stderr}");
    assert!(stderr.lines().nth(1).is_some_and(|line| line.contains("no backends")), "{stderr}");

    let backend = Backend::named("b");
    let check = Ronde::with(&format!("check {}", backend.address)).env("RONDE_LISTN", ":80");
    let (code, _, stderr) = run(check);
    let hint = "ronde: unknown variable \"RONDE_LISTN\" is ignored; did you mean RONDE_LISTEN?";
    assert_eq!((code, stderr.as_str()), (0, hint));

    let port = Port::reserve();
    let health = Ronde::with(&format!("health --listen {}", port.address)).env("RONDE_LISTN", ":80");
    let (code, _, stderr) = run(health);
    assert!(code == 1 && stderr.starts_with(hint), "{stderr}");
}

#[test]
fn the_backends_of_the_demo_respond_in_turn() {
    ronde_only!();
    let proxy = Ronde::with("demo --listen 127.0.0.1:0").serve();
    let answers: Vec<_> = (0..4).map(|_| proxy.get("/").text().trim().to_owned()).collect();
    assert_eq!(answers, ["Backend 1", "Backend 2", "Backend 1", "Backend 2"]);
    proxy.process.stderr.line_with("turn 4 of the round");
    assert!(proxy.process.stdout.line_with("curl").contains(&proxy.address.to_string()));
    // A client that asks first is told to go on before it sends its body.
    let mut asks = proxy.connect();
    asks.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(asks.response_head().status(), 100);
    asks.send("body");
    assert_eq!(asks.response().text().trim(), "Backend 1");
    let page = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n").text();
    assert!(page.contains("rel=icon") || page.contains("rel=\"icon\""), "{page}");
}

/// The steps of an explanation, without their times.
fn steps(log: &[String]) -> Vec<String> {
    let is_step = |line: &&String| line.starts_with(' ');
    let text = |line: &String| line.split_once(" ms  ").expect("a time").1.to_owned();
    log.iter().filter(is_step).map(text).collect()
}

#[test]
fn explain_tells_what_became_of_the_first_requests() {
    ronde_only!();
    let backend = Backend::start(|wire, request| match request.target() {
        "/closed" => wire.finish(),
        _ => wire.send(ok("hello")),
    });
    let proxy = Proxy::with("--explain=2 --workers 1 --max-fails 0", &[backend.address]);
    let mut client = proxy.connect();
    for target in ["/", "/closed", "/"] {
        client.get(target);
    }
    proxy.process.stderr.line_with("the connection is kept");
    crate::harness::eventually("two are explained", || {
        proxy.process.stderr.all().iter().filter(|line| line.contains("the connection is")).count() == 2
    });
    let log = proxy.process.stderr.all();
    let titles: Vec<_> = log.iter().filter_map(|line| line.split_once("[INFO] request ")).collect();
    let titles: Vec<_> = titles.iter().map(|(_, title)| *title).collect();
    assert_eq!(titles, ["1 GET / HTTP/1.1", "2 GET /closed HTTP/1.1"]);
    // On a busy machine an answer may be late, and its request is parked.
    let is_trip = |step: &String| step.starts_with("parked, ") || step.ends_with(" goes on");
    let told = steps(&log).into_iter().filter(|step| !is_trip(step)).collect::<Vec<_>>().join("\n");
    let address = backend.address;
    for expected in [
        "a new connection, which waited ",
        "worker 1 has read a head of ",
        &format!("turn 1 of the round: {address}, on a new connection\nconnected after "),
        "the request is sent\nstatus 200, ",
        "relayed: 5 bytes of body in 1 piece\nthe connection is kept\na connection that was kept\n",
        &format!("turn 2 of the round: {address}, on a connection that was kept\nthe request is sent\n"),
        "no response: the backend closed the connection without a response\n",
        "failed: the backend closed the connection without a response\nthe connection is kept",
    ] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
}

#[test]
fn a_backend_that_is_ronde_itself_is_refused_or_a_loop() {
    ronde_only!();
    let port = Port::reserve();
    let mut process: Process = Ronde::with(&format!("--listen {0} {0}", port.address)).spawn();
    let is_logged = || process.stderr.all().iter().any(|line| line.contains(&port.address.to_string()));
    crate::harness::eventually("ronde logs its address", is_logged);
    let refused = std::net::TcpStream::connect(port.address).is_err();
    if refused {
        assert_ne!(process.exit().code(), Some(0));
    } else {
        assert_eq!(crate::harness::Wire::connect(port.address).get("/").status(), 508);
    }
    let own = Port::reserve().address;
    for flags in [
        format!("--listen {own} --acme-challenge {own} 127.0.0.1:1"),
        format!("check --offline --listen {own} --acme-challenge {own} 127.0.0.1:1"),
        // `ronde check` said that it was valid.
        format!("check --offline --listen :{} 127.0.0.1:1 {own}", own.port()),
        format!("check --offline --listen localhost:{} --route /a={own} 127.0.0.1:1", own.port()),
        "check --offline --listen unix:/run/a.sock unix:/run/a.sock".to_owned(),
    ] {
        let (code, _, stderr) = run(Ronde::with(&flags));
        assert!(code == 1 && stderr.contains("is ronde's own address"), "{flags}: {stderr}");
    }
}
