//! `ronde status`, `drain`, `undrain` and `reload`, as programs of their own beside the ronde that runs.
//!
//! Not here: what a drain does to requests (`x_drain`).

use crate::harness::{
    ADMIN, Admin, Backend, Process, Proxy, Ronde, eventually, free_address, ronde_only, scratch_directory,
    socket_path,
};
use rustix::process::Signal;
use std::thread;
use std::time::Duration;

fn setup(flags: &str) -> (Backend, Proxy, Admin) {
    let backend = Backend::named("app");
    let proxy = Proxy::with(&format!("{ADMIN} {flags}"), &[backend.address]);
    let admin = Admin::of(&proxy);
    (backend, proxy, admin)
}

fn command(words: &str, admin: &Admin) -> Process {
    Ronde::with(&format!("{words} --admin {}", admin.address)).spawn()
}

/// Its exit code and what it says on standard error.
fn failed(mut process: Process) -> (i32, String) {
    let code = process.exit().code().expect("a code");
    (code, process.stderr.text())
}

#[test]
fn status_is_a_table() {
    ronde_only!();
    let (backend, proxy, admin) = setup("");
    proxy.get("/");
    eventually("it is counted", || admin.status()["requests"]["total"] == 1);
    let table = command("status", &admin).success();
    for part in
        ["ronde 0.1.0, running for", "1 since the start, 0 failed", "resting", &backend.address.to_string()]
    {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn a_watch_goes_on_until_ctrl_c_or_until_ronde_ends() {
    ronde_only!();
    let (_backend, proxy, admin) = setup("");
    let tables =
        |watch: &Process| watch.stdout.all().iter().filter(|line| line.contains("running for")).count();
    let mut stopped = command("status --watch", &admin);
    eventually("a few tables", || tables(&stopped) >= 3);
    stopped.signal(Signal::INT);
    stopped.exit();
    let mut watch = command("status --watch", &admin);
    eventually("a table", || tables(&watch) >= 1);
    proxy.process.signal(Signal::TERM);
    assert_eq!(watch.exit().code(), Some(1));
    assert!(watch.stderr.text().contains("nothing listens on"), "{}", watch.stderr.text());
}

/// Its page was printed as the reason of the refusal.
#[test]
fn another_server_is_not_taken_for_the_admin() {
    ronde_only!();
    let page = |status: &'static str| {
        Backend::start(move |wire, _| {
            wire.send(format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<!doctype html>"
            ))
        })
    };
    for status in ["404 Not Found", "200 OK"] {
        let other = page(status);
        for words in ["status", "status --watch", "reload", "drain app:1"] {
            let (code, said) = failed(Ronde::with(&format!("{words} --admin {}", other.address)).spawn());
            let expected = format!("ronde: what answers at {} is not the admin of a ronde", other.address);
            assert!(code == 1 && said.starts_with(&expected), "{words}: {said}");
        }
    }
}

/// The time was looked at only when nothing came.
#[test]
fn a_server_that_never_pauses_kept_the_command() {
    ronde_only!();
    let other = Backend::start(|wire, _| {
        while wire.try_send("a").is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let (code, said) = failed(Ronde::with(&format!("status --admin {}", other.address)).spawn());
    assert!(code == 1 && said.contains("does not answer"), "{said}");
}

#[test]
fn the_same_configuration_finds_the_running_ronde() {
    ronde_only!();
    let backend = Backend::named("app");
    let (file, path) = (scratch_directory().join("ronde.toml"), socket_path("admin.sock"));
    let text = format!("admin = \"unix:{}\"\nbackend = [\"{}\"]\n", path.display(), backend.address);
    std::fs::write(&file, text).expect("the file");
    let _proxy = Proxy::with(&format!("--config {}", file.display()), &[]);
    let by_file = Ronde::with(&format!("status --config {}", file.display())).spawn().success();
    let by_variable =
        Ronde::with("status").env("RONDE_ADMIN", &format!("unix:{}", path.display())).spawn().success();
    assert!(by_file.contains("running for") && by_variable.contains("running for"));
}

#[test]
fn a_drain_waits_for_the_last_answer() {
    ronde_only!();
    let (gate, backend) = Backend::gated_named("late");
    let proxy = Proxy::with(ADMIN, &[backend.address]);
    let admin = Admin::of(&proxy);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the backend has it", || backend.count() == 1);
    let (code, why) = failed(command(&format!("drain {} --wait=300ms", backend.address), &admin));
    assert_eq!(code, 1);
    assert!(why.contains("1 request still under way after 300ms; the backend stays drained"), "{why}");
    // A ronde that does not answer is no backend that is busy.
    let silenced = command(&format!("drain {} --wait=10m", backend.address), &admin);
    silenced.stdout.line_with("1 under way");
    proxy.process.signal(Signal::STOP);
    let (code, why) = failed(silenced);
    proxy.process.signal(Signal::CONT);
    assert!(code == 1 && why.contains("does not answer"), "{why}");
    let waiting = command(&format!("drain {} --wait", backend.address), &admin);
    waiting.stdout.line_with("1 under way");
    gate.open();
    let said = waiting.success();
    assert!(said.ends_with("nothing is under way"), "{said}");
    assert_eq!(client.response().text(), "late");
    let said = command(&format!("undrain {}", backend.address), &admin).success();
    assert_eq!(said, format!("{} gets requests again", backend.address));
    assert_eq!(admin.backend(backend.address)["state"], "in");
}

#[test]
fn a_drain_does_not_take_a_backend_that_a_reload_has_removed_for_one_that_has_ended() {
    ronde_only!();
    let (gate, slow) = Backend::gated_named("late");
    let other = Backend::named("other");
    let file = scratch_directory().join("ronde.toml");
    let write = |list: &str| std::fs::write(&file, format!("backend = [{list}]\n")).expect("the file");
    write(&format!("'{}', '{}'", slow.address, other.address));
    let proxy = Proxy::with(&format!("{ADMIN} --config {}", file.display()), &[]);
    let admin = Admin::of(&proxy);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the backend has it", || slow.count() == 1);
    let waiting = command(&format!("drain {} --wait", slow.address), &admin);
    waiting.stdout.line_with("1 under way");
    write(&format!("'{}'", other.address));
    assert_eq!(admin.post("/reload").status(), 200);
    let (code, why) = failed(waiting);
    assert_eq!(code, 1);
    assert!(why.contains(&format!("{} is no backend any more", slow.address)), "{why}");
    gate.open();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn a_reload_says_what_came_of_it_and_a_drain_outlasts_it() {
    ronde_only!();
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let file = scratch_directory().join("ronde.toml");
    let write = |backends: &[&Backend], more: &str| {
        let list: Vec<_> = backends.iter().map(|backend| format!("\"{}\"", backend.address)).collect();
        std::fs::write(&file, format!("backend = [{}]\n{more}", list.join(", "))).expect("the file");
    };
    write(&[&one], "");
    let proxy = Proxy::with(&format!("{ADMIN} --config {}", file.display()), &[]);
    let admin = Admin::of(&proxy);
    assert_eq!(proxy.get("/").text(), "one");
    admin.drain(one.address);
    write(&[&one, &two], "");
    let said = command("reload", &admin).success();
    assert!(said.contains("2 backends (1 new)"), "{said}");
    assert_eq!(admin.backend(one.address)["state"], "drained");
    (0..4).for_each(|_| assert_eq!(proxy.get("/").text(), "two"));
    write(&[&one, &two], "health-host = 'a'\n");
    let said = command("reload", &admin).success();
    assert!(said.contains("\n--health-host changes nothing without --health-path"), "{said}");
    write(&[&one, &two], "queue = 7\n");
    let said = command("reload", &admin).success();
    assert!(
        said.starts_with("reloaded: ") && said.contains("\nqueue is another now, which takes a restart"),
        "{said}"
    );
    proxy.process.stderr.line_with("[WARN] queue is another now");
    write(&[&one, &two], "max-head = \"large\"\n");
    let (code, why) = failed(command("reload", &admin));
    assert!(code == 1 && why.contains("nothing has changed") && why.contains("max-head"), "{code} {why}");
    assert_eq!(proxy.get("/").text(), "two");
    let refused = admin.ask("POST /reload", "");
    assert_eq!(refused.status(), 403, "without the field");
}

#[test]
fn a_command_that_fails_says_why() {
    ronde_only!();
    let (backend, proxy, admin) = setup("");
    let nobody = free_address();
    let at = admin.address;
    for (words, code, part) in [
        (format!("status --admin {nobody}"), 1, format!("nothing listens on {nobody}")),
        (format!("status --admin {}", proxy.plain), 1, "is not the admin of a ronde".into()),
        ("status --admin 127.0.0.1:0".into(), 1, "the log of the running ronde says".into()),
        ("status --admin unix:/nowhere/admin.sock".into(), 1, "nothing listens on unix:/nowhere".into()),
        (
            format!("drain app9:1 --admin {at}"),
            1,
            format!("no backend is called app9:1; there is {}", backend.address),
        ),
        (format!("drain --admin {at}"), 2, "ronde drain needs a backend".into()),
        (format!("drain a:1 --wait=2 --admin {at}"), 2, "has no unit".into()),
        (format!("status --wait --admin {at}"), 2, "--wait: is for `ronde drain` alone".into()),
        (format!("serve drain {} --admin {at}", backend.address), 2, "is not a backend".into()),
    ] {
        let (found, why) = failed(Ronde::with(&words).spawn());
        assert!(found == code && why.contains(&part), "{words}: {found} {why}");
    }
}
