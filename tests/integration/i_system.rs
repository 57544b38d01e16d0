//! What the system refuses: calls under a filter, ports, addresses, files.
//!
//! Not here: mistakes in the settings (`i_commands`).

use crate::harness::{Backend, Process, Proxy, needs, python, ronde_only};
use std::os::unix::process::ExitStatusExt;

/// The calls of systemd's `@resources` that ronde could make.
const OPTIONAL: &str = "sched_setscheduler,sched_setattr,sched_setparam,setpriority";

const SIGSYS: i32 = 31;

/// ronde under a filter that refuses the optional calls with an error, or kills for them.
fn filtered(action: &str, flags: &str) -> Process {
    let line = format!("{action} {OPTIONAL} {} --listen 127.0.0.1:0 {flags}", env!("CARGO_BIN_EXE_ronde"));
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

/// It said that it was listening, and died of its first worker.
#[test]
fn a_filter_that_kills_for_an_optional_call_kills_before_clients_come() {
    ronde_only!();
    needs!(Python);
    let mut process = filtered("kill", "127.0.0.1:1");
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

/// 3 is SCHED_BATCH (sched(7)); the policy is the 41st field of proc_pid_stat(5).
#[test]
fn workers_and_acceptor_inherit_the_batch_policy() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    proxy.get("/");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.process.id())).expect("its threads");
    let policy_of = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let name = name.rsplit_once('(')?.1.to_owned();
        Some((name, rest.split_whitespace().nth(38)?.to_owned()))
    };
    let policies: Vec<_> = tasks.filter_map(policy_of).collect();
    let serving = policies.iter().filter(|(name, _)| name.starts_with("worker") || name == "acceptor");
    assert!(serving.clone().count() > 4, "{policies:?}");
    assert!(serving.clone().all(|(_, policy)| policy == "3"), "{policies:?}");
}
