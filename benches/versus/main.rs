//! ronde against nginx and HAProxy: `cargo bench --bench versus`, with `-- --help` for its flags.
//!
//! The problem: on a machine that does other things too, two runs of the same program differ by more than two programs
//! do. So the runs of a cell are interleaved: each round has every proxy once, in an order that rotates, each freshly
//! started; what counts is the ratio to the better peer **of the same round**, and of these the median. How much CPU
//! others used meanwhile is measured and said, and a run with a single error makes its cell invalid.
//!
//! - [`cells`]: what is asked, by whom; [`idle`] and [`slow`] are clients and backends of the unusual ones
//! - [`run`]: one proxy in one cell; [`wrk`] asks, [`stage`] has the processes
//! - [`results`], [`report`]: numbers, ratios, tables

mod cells;
mod idle;
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
use run::{Contender, Stage};
use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    match bench() {
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

    let [nginx, haproxy, wrk] = stage::tools::find(["nginx", "haproxy", "wrk"])?;
    let contenders = Contender::all(&options, &nginx, &haproxy);
    let machine = machine::describe(&contenders, &wrk);
    println!("{machine}");
    let stage = Stage::set(&options, &nginx, wrk)?;
    let mut results =
        Results::new(options.cells.clone(), contenders.iter().map(|one| one.name.clone()).collect());
    for round in 0..options.rounds {
        for (row, &cell) in options.cells.iter().enumerate() {
            for turn in 0..contenders.len() {
                let who = (round + row + turn) % contenders.len();
                let sample = stage
                    .run(cell, &contenders[who])
                    .with_context(|| format!("{} in {}", contenders[who].name, cell.name))?;
                anyhow::ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
                eprintln!(
                    "{}/{} {:9} {:8} {sample}",
                    round + 1,
                    options.rounds,
                    cell.name,
                    contenders[who].name
                );
                results.add(row, who, sample);
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
