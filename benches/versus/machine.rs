//! Describes the machine and the programs that the numbers come from.

use crate::run::Contender;
use crate::stage::tools::Tool;
use ronde::observe::date::Date;
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// The machine, the programs and the date, as a Markdown list.
pub fn describe(contenders: &[Contender], wrk: &Tool) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let models: Vec<&str> = values(&cpus, "model name").collect();
    let memory = values(&memory, "MemTotal").next().unwrap_or_default();
    let gib = memory.trim_end_matches(" kB").parse().unwrap_or(0.0) / f64::from(1 << 20);

    let mut text = String::new();
    let _ =
        writeln!(text, "- {} cores, {}, {gib:.0} GiB", models.len(), models.first().unwrap_or(&"unknown"));
    let _ = writeln!(text, "- Linux {}", read("/proc/sys/kernel/osrelease").trim());
    for contender in contenders {
        let _ =
            writeln!(text, "- {} {}{}", contender.name, contender.kind.program().version, commit(contender));
    }
    let _ = writeln!(text, "- wrk {}", wrk.version);
    let _ = writeln!(text, "- {}", Date::now().imf());
    text
}

/// The values of all lines of the form `key : value`.
fn values<'a>(lines: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    lines.lines().filter_map(move |line| Some(line.strip_prefix(key)?.trim_start().strip_prefix(':')?.trim()))
}

fn commit(contender: &Contender) -> String {
    if contender.name != "ronde" {
        return String::new();
    }
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"]);
    match git.output() {
        Ok(output) if output.status.success() => {
            format!(" (commit {})", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => String::new(),
    }
}
