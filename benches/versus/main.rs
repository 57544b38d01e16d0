//! ronde against nginx and HAProxy: `cargo bench --bench versus`, with `-- --help` for its flags.
//!
//! The problem: on a machine with other work, two runs of the same program differ more than two programs do. So the
//! runs of a cell are interleaved: each round runs every proxy once, freshly started unless `--run-on` is given, in an
//! order that rotates. The result is the ratio to the better peer **of the same round**, and the median of these
//! ratios. The bench also measures and reports the CPU time that other processes used, and a single error in a run
//! makes its cell invalid.
//!
//! - [`cells`]: the kinds of load; [`idle`] and [`slow`]: clients and backends for two special cells
//! - [`floor`]: a relay that understands nothing, as a measure of the machine
//! - [`run`]: one proxy in one cell; [`wrk`] or [`handshakes`] make the [`load`], [`stage`] starts the processes
//! - [`results`], [`report`]: numbers, ratios, tables

mod cells;
mod floor;
mod handshakes;
mod idle;
mod load;
mod machine;
mod options;
mod report;
mod results;
mod run;
mod slow;
#[path = "../stage/mod.rs"]
mod stage;
mod wrk;

use anyhow::{Context, Result};
use options::Options;
use results::Results;
use run::{Contender, Setup};
use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let is_floor = env::args_os().nth(1).is_some_and(|argument| argument == floor::ARGUMENT);
    match if is_floor { floor::run(env::args().skip(2)) } else { bench() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let Some(options) = Options::from_arguments(env::args_os().skip(1).collect())? else { return Ok(()) };
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("handling signals")?;

    let [nginx, wrk] = stage::tools::find(["nginx", "wrk"])?;
    let contenders = Contender::all(&options)?;
    let machine = machine::describe(&contenders, &wrk);
    println!("{machine}");
    let mut setup = Setup::start(&options, &nginx, wrk)?;
    let mut results = Results::new(
        options.cells.clone(),
        contenders.iter().map(|contender| contender.name.clone()).collect(),
    );
    for round in 0..options.rounds {
        for (row, &cell) in options.cells.iter().enumerate() {
            let turns = (0..contenders.len()).map(|turn| (round + row + turn) % contenders.len());
            for proxy in turns.filter(|&proxy| contenders[proxy].takes_part(cell)) {
                let sample = setup
                    .run(cell, &contenders[proxy])
                    .with_context(|| format!("{} in {}", contenders[proxy].name, cell.name))?;
                anyhow::ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
                eprintln!(
                    "{}/{} {:14} {:8} {sample}",
                    round + 1,
                    options.rounds,
                    cell.name,
                    contenders[proxy].name
                );
                results.add(row, proxy, sample);
            }
        }
    }
    println!("{}", report::details(&results));
    println!("{}", report::summary(&results));
    if options.write {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
        report::write(path, &machine, &options, &results)?;
        println!("written: {path}");
    }
    Ok(())
}
