//! CPU time, context switches and memory of processes, from `/proc`.
//!
//! A proxy counts as a process and all its descendants: nginx works in child processes, HAProxy and ronde in threads.
//! The CPU time of a process includes all its threads, also those that have ended; its context switches do not.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// `/proc` counts time in units of 1/`USER_HZ`, and `USER_HZ` is 100 on every architecture that Linux still supports,
/// except Alpha.
const TICK: Duration = Duration::from_millis(10);

/// User and system CPU time of a process and its living descendants.
///
/// # Errors
/// The process is gone.
pub fn cpu_time(root: u32) -> Result<Duration> {
    let tree = tree(root);
    anyhow::ensure!(!tree.is_empty(), "process {root} is gone");
    Ok(tree.iter().map(|process| process.cpu).sum())
}

/// Context switches so far, voluntary and involuntary, of all living threads of a process and its living descendants.
/// A thread that ends between two calls takes its own with it.
///
/// # Errors
/// A process has ended in the meantime.
pub fn context_switches(root: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in family(root) {
        let path = format!("/proc/{pid}/task");
        for thread in fs::read_dir(&path).context(path)? {
            // A thread may end at any time.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            // The lines begin with `voluntary` and `nonvoluntary`.
            let counts = status.lines().filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
            sum += counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(sum)
}

/// Proportional set size of a process and its living descendants, in bytes: a shared page is divided among the
/// processes that share it.
///
/// # Errors
/// A process has ended in the meantime.
pub fn memory(root: u32) -> Result<u64> {
    tree(root)
        .iter()
        .map(|process| {
            let path = format!("/proc/{}/smaps_rollup", process.pid);
            let rollup = fs::read_to_string(&path).with_context(|| path.clone())?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context(path)?;
            let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
            Ok(kib * 1024)
        })
        .sum()
}

/// A process and its living descendants.
pub fn family(root: u32) -> Vec<u32> {
    tree(root).iter().map(|process| process.pid).collect()
}

/// CPU time of this process, its living descendants, and the children it has waited for.
///
/// # Errors
/// `/proc` cannot be read.
pub fn own_cpu_time() -> Result<Duration> {
    let me = std::process::id();
    let reaped = Process::read(me).context("/proc/self/stat")?.reaped;
    Ok(cpu_time(me)? + reaped)
}

/// CPU time used by all processes on this machine, plus the time that the hypervisor gave to other machines (steal).
///
/// # Errors
/// `/proc` cannot be read.
pub fn machine_cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let total = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u32> = total.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        anyhow::bail!("/proc/stat has only {} columns", ticks.len());
    };
    Ok(TICK * (user + nice + system + irq + softirq + steal))
}

struct Process {
    pid: u32,
    parent: u32,
    cpu: Duration,
    reaped: Duration,
}

impl Process {
    /// Parses proc_pid_stat(5). The name, in parentheses, may contain anything, so columns are counted from behind it.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let columns: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
        let ticks = |column: usize| Some(TICK * columns.get(column)?.parse::<u32>().ok()?);
        Some(Self {
            pid,
            parent: columns.get(1)?.parse().ok()?,
            cpu: ticks(11)? + ticks(12)?,
            reaped: ticks(13)? + ticks(14)?,
        })
    }
}

/// A process and its living descendants, parents before their children.
fn tree(root: u32) -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut rest: Vec<Process> = pids.filter_map(Process::read).collect();
    let mut tree: Vec<Process> = rest.extract_if(.., |process| process.pid == root).collect();
    let mut seen = 0;
    while seen < tree.len() {
        let parent = tree[seen].pid;
        tree.extend(rest.extract_if(.., |process| process.parent == parent));
        seen += 1;
    }
    tree
}
