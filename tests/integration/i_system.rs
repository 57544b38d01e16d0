//! What the system refuses: calls under a filter, ports, addresses, files.
//!
//! Not here: mistakes in the settings (`i_commands`).

use crate::harness::{
    Backend, Port, Process, Proxy, Ronde, Thread, Wire, each_row, eventually, needs, ok, python, ronde_only,
};
use std::fs::Permissions;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The calls of systemd's `@resources` that ronde could make.
const OPTIONAL: &str = "sched_setscheduler,sched_setattr,sched_setparam,setpriority";

const SIGSYS: i32 = 31;

/// ronde under a filter that refuses the optional calls with an error, or kills for them.
fn filtered(action: &str, flags: &str) -> Process {
    without(OPTIONAL, action, flags)
}

fn without(calls: &str, action: &str, flags: &str) -> Process {
    let line = format!("{action} {calls} {} --listen 127.0.0.1:0 {flags}", env!("CARGO_BIN_EXE_ronde"));
    let arguments: Vec<&str> = line.split_whitespace().collect();
    python("tests/integration/clients/with_filter.py", &arguments)
}

#[test]
fn optional_calls_that_are_refused_cost_nothing_but_speed() {
    ronde_only!();
    needs!(Python);
    let backend = Backend::named("b");
    let proxy = Proxy::of(filtered("errno", &backend.address.to_string()));
    assert_eq!(proxy.get("/").text(), "b");
}

/// Under a list of allowed calls without splice(2), nearly every response above 64 KB was cut, and its backend blamed.
#[test]
fn long_responses_were_cut_where_splice_is_refused() {
    ronde_only!();
    needs!(Python);
    let body = "x".repeat(8 << 20);
    let response = ok(&body);
    let backend = Backend::start(move |wire, _| wire.send(&response));
    let proxy = Proxy::of(without("splice", "errno", &backend.address.to_string()));
    for _ in 0..4 {
        assert!(proxy.get("/").text() == body);
    }
}

/// It said that it was listening, and died of its first worker.
#[test]
fn a_filter_that_kills_for_an_optional_call_kills_before_clients_come() {
    ronde_only!();
    needs!(Python);
    let mut process = filtered("kill", "127.0.0.1:1");
    if is_nice() {
        Proxy::of(process);
        return;
    }
    assert_eq!(process.exit().signal(), Some(SIGSYS));
    assert!(!process.stderr.text().contains("listening"), "{}", process.stderr.text());
}

#[test]
fn no_optional_call_is_made_where_the_policy_is_inherited() {
    ronde_only!();
    needs!(Python);
    let backend = Backend::named("b");
    let proxy = Proxy::of(filtered("kill", &format!("--scheduling inherit {}", backend.address)));
    assert_eq!(proxy.get("/").text(), "b");
}

/// Whether the tests were made nicer on purpose, and so what they start: such a ronde makes no optional call.
fn is_nice() -> bool {
    rustix::process::getpriority_process(None) != Ok(0)
}

/// The scheduling policy of a thread: the 41st field of proc_pid_stat(5), of which the 2nd, in brackets, is the name.
fn policy_of(thread: &Thread) -> Option<String> {
    let stat = thread.proc_file("stat")?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().nth(38)?.to_owned())
}

/// 3 is SCHED_BATCH (sched(7)), and 0 what a ronde keeps that is nicer on purpose. A thread may name itself after another one has served: the test took unnamed workers for missing
/// ones.
#[test]
fn workers_and_acceptor_inherit_the_batch_policy() {
    ronde_only!();
    let proxy = Proxy::with("--workers 6", &["127.0.0.1:1".parse().unwrap()]);
    let mut serving = Vec::new();
    eventually("six workers and the acceptor have their names", || {
        serving = proxy.process.threads();
        serving.retain(|thread| thread.name.starts_with("worker") || thread.name == "acceptor");
        serving.len() == 7
    });
    let policy = if is_nice() { "0" } else { "3" };
    for thread in &serving {
        assert_eq!(policy_of(thread).as_deref(), Some(policy), "{}", thread.name);
    }
}

/// Listeners, `P` for the same port, and the addresses that clients reach them by. They were said to be in use by another
/// program, which was ronde itself.
const OVERLAPPING: &[(&str, &[&str])] = &[
    ("--listen 0.0.0.0:P --listen [::]:P", &["127.0.0.1", "::1"]),
    ("--listen [::]:P --listen 0.0.0.0:P", &["127.0.0.1", "::1"]),
    ("--listen [::]:P --listen 127.0.0.1:P", &["127.0.0.1", "::1"]),
    ("--listen 127.0.0.1:P --listen :P", &["127.0.0.1", "::1"]),
    ("--listen :P --listen 0.0.0.0:P --listen [::]:P", &["127.0.0.1", "::1"]),
    ("--listen 0.0.0.0:P --listen 127.0.0.1:P", &["127.0.0.1"]),
    ("--listen 0.0.0.0:P --listen [::1]:P", &["127.0.0.1", "::1"]),
    ("--listen localhost:P --listen 127.0.0.1:P", &["127.0.0.1", "::1"]),
    ("--listen [::1]:P --listen localhost:P", &["127.0.0.1", "::1"]),
    ("--listen localhost:P --listen 0.0.0.0:P", &["127.0.0.1", "::1"]),
    ("--listen localhost:P --listen :P", &["127.0.0.1", "::1"]),
    ("--listen [::ffff:127.0.0.1]:P", &["127.0.0.1"]),
];

#[test]
fn listeners_that_share_a_port_do_not_take_it_from_each_other() {
    ronde_only!();
    let backend = Backend::named("b");
    each_row(OVERLAPPING, |(flags, reached_by)| {
        let reserved =
            Port::at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("a port of both families");
        let port = reserved.address.port();
        let flags = flags.replace('P', &port.to_string());
        let _proxy = Ronde::with(&format!("{flags} {}", backend.address)).serve();
        for ip in *reached_by {
            let address = SocketAddr::new(ip.parse().unwrap(), port);
            assert_eq!(Wire::connect(address).get("/").text(), "b", "{address}");
        }
    });
}

/// localhost was served on one of its two addresses only, without a word.
#[test]
fn localhost_of_which_one_address_is_taken_is_refused() {
    ronde_only!();
    let taken = TcpListener::bind("[::1]:0").expect("an IPv6 loopback");
    let port = taken.local_addr().unwrap().port();
    let mut process = Ronde::with(&format!("--listen localhost:{port} 127.0.0.1:1")).spawn();
    assert_eq!(process.exit().code(), Some(1));
    process.stderr.line_with(&format!("[::1]:{port} is in use by another program"));
}

/// 192.0.2.0/24 and 2001:db8::/32 are for documentation (RFC 5737, RFC 3849).
#[test]
fn an_address_that_does_not_exist_yet_is_refused_or_claimed() {
    ronde_only!();
    each_row(&["192.0.2.213:0", "[2001:db8::213]:0"], |address| {
        let mut process = Ronde::with(&format!("--listen {address} 127.0.0.1:1")).spawn();
        assert_eq!(process.exit().code(), Some(1));
        process.stderr.line_with("--freebind");
        let claimed = Ronde::with(&format!("--freebind --listen {address} 127.0.0.1:1")).serve();
        assert_eq!(claimed.address.ip(), address.parse::<SocketAddr>().unwrap().ip());
    });
}

/// A copy of ronde, because the directory of the build may be closed to others.
fn program_for_every_user() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory that every user may enter");
    let program = directory.path().join("ronde");
    std::fs::copy(env!("CARGO_BIN_EXE_ronde"), &program).expect("a copy of ronde");
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("permissions");
    (directory, program)
}

/// A container's user reads what belongs to the user of the host.
#[test]
fn a_file_that_is_closed_to_rondes_user_names_both_users() {
    ronde_only!();
    needs!(Setpriv);
    let (directory, program) = program_for_every_user();
    let file = directory.path().join("ronde.toml");
    std::fs::write(&file, "queue = 1").expect("a file");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("permissions");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=54321", "--regid=54321", "--clear-groups"])
        .arg(program)
        .arg("--config")
        .arg(&file);
    let mut process = Process::spawn(&mut command);
    assert_eq!(process.exit().code(), Some(2));
    process.stderr.line_with("it belongs to user 0 with mode 600, and ronde runs as user 54321: chmod o+r");
}

#[test]
fn a_port_below_1024_says_how_to_get_the_privilege() {
    ronde_only!();
    needs!(Setpriv);
    let (_directory, program) = program_for_every_user();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--clear-groups", "--bounding-set=-net_bind_service"]).arg(program);
    let mut process = Process::spawn(command.args(["--listen", "127.0.0.1:1", "127.0.0.1:2"]));
    assert_eq!(process.exit().code(), Some(1));
    process.stderr.line_with("setcap cap_net_bind_service=+ep");
}

#[test]
fn a_socket_that_is_closed_to_rondes_user_says_so() {
    ronde_only!();
    needs!(Setpriv);
    let (directory, program) = program_for_every_user();
    let socket = directory.path().join("app.sock");
    let _listener = UnixListener::bind(&socket).expect("a Unix socket");
    std::fs::set_permissions(&socket, Permissions::from_mode(0o600)).expect("permissions");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]).arg(program);
    command.args(["--listen", "127.0.0.1:0"]).arg(format!("unix:{}", socket.display()));
    let proxy = Proxy::of(Process::spawn(&mut command));
    let response = proxy.get("/");
    assert_eq!(response.status(), 502);
    assert!(response.text().contains("does not let this proxy in"), "{response}");
}
