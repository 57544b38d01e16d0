//! Every holder at its full size, before ronde, nginx and HAProxy: `cargo bench --bench hazards`.
//!
//! While a crowd holds what it can of a proxy, a prober comes as a new client again and again. What it waits for is
//! what the crowd has taken. The first hazards want to starve ronde's eight workers; there the promise is: p95 within
//! 100 ms, the worst within a second, none fails. The hazards from `slow-readers-8000` on are thousands of honest slow
//! clients before a proxy with its defaults: p95 within 10 ms, all are held, and 300 of them finish at the end.
//!
//! - [`hazards`]: what there is, and how much of it, of these [`kinds`]
//! - [`crowd`]: the [`client`]s on one epoll; they answer as [`hearing`] says, and keep a [`tally`]
//! - [`prober`] measures, [`witnesses`] notice
//! - [`backend`]: two backends that upgrade, stream, delay and hang, each [`connection`] with its [`body`]
//! - [`pattern`]: bodies that are checked; [`sockets`]: clients from many addresses, over a narrow path
//! - [`network`]: all of it in a network of its own
//! - [`helper`]: crowd and backends are this program again, in processes of their own, which [`gathering`] starts
//! - [`measure`] and [`hold`]: one proxy before one hazard; [`proxies`] with the timeouts one would give them, at
//!   what [`cost`]

mod backend;
mod body;
mod client;
mod connection;
mod cost;
mod crowd;
mod gathering;
mod hazards;
mod hearing;
mod helper;
mod hold;
mod kinds;
mod measure;
mod network;
mod options;
mod pattern;
mod prober;
mod proxies;
mod sockets;
#[allow(dead_code, reason = "each bench has a use for a part of it")]
#[path = "../stage/mod.rs"]
mod stage;
mod tally;
mod witnesses;

use anyhow::{Result, ensure};
use hazards::{Also, HAZARDS, Hazard};
use options::{HELP, Options};
use pico_args::Arguments;
use std::process::ExitCode;

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
        HAZARDS.iter().for_each(|hazard| println!("{:18} {:?}", hazard.name, hazard.crowds));
        return Ok(());
    }
    if !arguments.contains("--bench") {
        // `cargo test --all-targets` starts benches to see whether they start.
        println!("nothing is measured without --bench, which `cargo bench` adds");
        return Ok(());
    }
    if !arguments.contains("--this-network") {
        eprintln!("in {}", network::enter());
    }
    let options = Options::read(&mut arguments, stage::raise_descriptor_limit()?)?;
    let names = arguments.finish();
    let hazards = select(names.iter().map(|name| name.to_string_lossy().into_owned()).collect())?;

    println!("| hazard | proxy | p50 ms | p95 ms | max ms | failed | verdict | notes |");
    println!("|---|---|--:|--:|--:|--:|---|---|");
    for hazard in hazards {
        for proxy in &options.proxies {
            let row = match hazard.also {
                Also::Hold | Also::HoldLong => hold::measure(hazard, proxy, &options),
                _ => measure::measure(hazard, proxy, &options),
            };
            match row {
                Ok(row) => println!("{row}"),
                Err(error) => {
                    let proxy = options.programs.label(proxy);
                    println!("| {} | {proxy} | | | | | broke | {error:#} |", hazard.name);
                }
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
