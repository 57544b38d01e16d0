//! Every holder at its full size, before ronde, nginx and HAProxy: `cargo bench --bench hazards`.
//!
//! While a crowd holds what it can of a proxy, a prober comes as a new client again and again. What it waits for is
//! what the crowd has taken. For ronde, with eight workers, the promise is: p95 within 100 ms, the worst within a
//! second, none fails.
//!
//! - [`hazards`]: what there is, and how much of it; [`crowd`] holds it and keeps a [`tally`], [`prober`] measures
//! - [`backend`]: two backends that upgrade, stream, delay and hang
//! - [`helper`]: crowd and backends are this program again, in processes of their own
//! - [`measure`]: one proxy before one hazard; [`proxies`] with the timeouts one would give them

mod backend;
mod crowd;
mod hazards;
mod helper;
mod measure;
mod prober;
mod proxies;
#[allow(dead_code, reason = "each bench has a use for a part of it")]
#[path = "../stage/mod.rs"]
mod stage;
mod tally;

use anyhow::{Result, ensure};
use hazards::{HAZARDS, Hazard};
use pico_args::Arguments;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
cargo bench --bench hazards -- [HAZARD ...] [FLAGS]

  HAZARD           by its name; all without
  --proxies LIST   of these, with commas [ronde,nginx,haproxy]; ronde has 8 workers, ronde-256 has 256
  --seconds S      that a prober asks before each hazard [10]
  --list           name the hazards, run nothing
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("backends") => backend::run(&arguments[1..]),
        Some("crowd") => crowd::run(&arguments[1..]),
        _ => {
            if let Err(error) = bench() {
                eprintln!("hazards: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn bench() -> Result<()> {
    let mut arguments = Arguments::from_env();
    if arguments.contains(["-h", "--help"]) {
        print!("{HELP}");
        return Ok(());
    }
    if arguments.contains("--list") {
        HAZARDS.iter().for_each(|hazard| println!("{:15} {:?}", hazard.name, hazard.crowds));
        return Ok(());
    }
    if !arguments.contains("--bench") {
        // `cargo test --all-targets` starts benches to see whether they start.
        println!("nothing is measured without --bench, which `cargo bench` adds");
        return Ok(());
    }
    let proxies: Option<String> = arguments.opt_value_from_str("--proxies")?;
    let proxies = proxies.unwrap_or_else(|| proxies::NAMES.join(","));
    let seconds: u64 = arguments.opt_value_from_str("--seconds")?.unwrap_or(10);
    let hazards =
        select(arguments.finish().iter().map(|name| name.to_string_lossy().into_owned()).collect())?;

    stage::raise_descriptor_limit()?;
    println!("| hazard | proxy | p50 ms | p95 ms | max ms | failed | verdict | notes |");
    println!("|---|---|--:|--:|--:|--:|---|---|");
    for hazard in hazards {
        for proxy in proxies.split(',') {
            match measure::measure(hazard, proxy, Duration::from_secs(seconds)) {
                Ok(row) => println!("{row}"),
                Err(error) => println!("| {} | {proxy} | | | | | broke | {error:#} |", hazard.name),
            }
        }
    }
    Ok(())
}

fn select(names: Vec<String>) -> Result<Vec<&'static Hazard>> {
    for name in &names {
        ensure!(HAZARDS.iter().any(|hazard| hazard.name == name), "no such hazard: {name}");
    }
    let is_meant = |hazard: &&Hazard| names.is_empty() || names.iter().any(|name| hazard.name == name);
    Ok(HAZARDS.iter().filter(is_meant).collect())
}
