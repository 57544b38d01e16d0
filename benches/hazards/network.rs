//! A network of the bench's own, where root may make one.
//!
//! The problem: 8,000 slow readers fill the send buffers of a proxy, and how large these are is up to the machine's
//! congestion control. With BBR they grow to three times the congestion window, which grows with every byte that a slow
//! reader takes: after half a minute the sockets have all the memory that the kernel gives TCP, and what is measured is a
//! machine that drops packets. Reno, which every kernel has, leaves a window that is not used as it is. In a namespace the
//! bench may choose it without changing the machine, and no port or TIME-WAIT of another program is in the way.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs};

/// Set inside: the most pages that sockets may have, which cannot be seen from there.
const VARIABLE: &str = "RONDE_HAZARDS_TCP_MEM";
const LOOPBACK: &str = "ip link set lo up && echo reno > /proc/sys/net/ipv4/tcp_congestion_control";

/// Starts this program again in a network of its own, unless that is where it is; returns what it is in.
pub fn enter() -> &'static str {
    if env::var_os(VARIABLE).is_some() {
        return "a network of its own, with Reno";
    }
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]);
        command
    };
    if !inside(LOOPBACK).output().is_ok_and(|output| output.status.success()) {
        return "the machine's network, as no other can be made";
    }
    // Returns only if it fails.
    let _ = inside(&format!("{LOOPBACK} && exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap_or_default())
        .args(env::args_os().skip(1))
        .env(VARIABLE, most_socket_pages().to_string())
        .exec();
    "the machine's network"
}

/// The most pages that the kernel gives all sockets.
pub fn most_socket_pages() -> u64 {
    let limits = env::var(VARIABLE).or_else(|_| fs::read_to_string("/proc/sys/net/ipv4/tcp_mem"));
    let most = limits.ok().and_then(|limits| limits.split_whitespace().last()?.parse().ok());
    most.unwrap_or(u64::MAX)
}
