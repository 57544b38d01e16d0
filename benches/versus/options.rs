//! The command line of the bench.

use crate::cells::{CELLS, Cell};
use anyhow::{Result, ensure};
use pico_args::Arguments;
use std::ffi::OsString;
use std::path::PathBuf;

const HELP: &str = "\
cargo bench --bench versus -- [CELL ...] [FLAGS]

  CELL           a cell by name, or all cells with this part in their names [all]
  --rounds N     runs of every proxy in every cell [3]
  --seconds S    length of a run, after one second of warm-up [5]
  --quick        one round of one second
  --calm         if other processes use more than 5 % of the machine during a run, repeat it: up to five
                 runs, the calmest counts
  --run-on       proxies run on through all cells and rounds, as in production, instead of being started
                 afresh for each run
  --list         list the cells and exit
  --write        write docs/performance.md

To compare with other peers than the installed ones:
  --nginx PROGRAM    this nginx [nginx in PATH]; the backends remain the installed one
  --haproxy PROGRAM  this HAProxy [haproxy in PATH]

To compare versions and settings of ronde:
  --ronde PROGRAM    another build of ronde instead of the one in this directory
  --beside PROGRAM   a second build of ronde, with ratios of its own; it is not one of the peers
  --flags \"FLAGS\"    further flags for ronde
  --no-peers         without nginx and HAProxy; the floor remains
";

/// How long a proxy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    OneRun,
    AllRuns,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub cells: Vec<&'static Cell>,
    pub rounds: usize,
    pub seconds: u64,
    pub calm: bool,
    pub lifetime: Lifetime,
    pub write: bool,
    pub ronde: PathBuf,
    pub beside: Option<PathBuf>,
    /// Instead of the installed ones.
    pub nginx: Option<PathBuf>,
    pub haproxy: Option<PathBuf>,
    pub flags: String,
    pub with_peers: bool,
}

impl Options {
    /// Parses the arguments. `None` if there is nothing to run.
    ///
    /// # Errors
    /// An unknown flag or cell, or an invalid value.
    pub fn from_arguments(arguments: Vec<OsString>) -> Result<Option<Self>> {
        let mut arguments = Arguments::from_vec(arguments);
        let is_bench = arguments.contains("--bench");
        if arguments.contains(["-h", "--help"]) {
            print!("{HELP}");
            return Ok(None);
        }
        if arguments.contains("--list") {
            CELLS.iter().for_each(|cell| println!("{:14}  {}", cell.name, cell.about));
            return Ok(None);
        }
        if !is_bench {
            // `cargo test --all-targets` starts the benches, too, without `--bench`.
            println!("nothing is measured without --bench, which `cargo bench` adds");
            return Ok(None);
        }
        let is_quick = arguments.contains("--quick");
        let rounds = arguments.opt_value_from_str("--rounds")?.unwrap_or(if is_quick { 1 } else { 3 });
        let seconds = arguments.opt_value_from_str("--seconds")?.unwrap_or(if is_quick { 1 } else { 5 });
        ensure!(rounds > 0 && seconds > 0, "--rounds and --seconds must be at least 1");
        let mut options = Self {
            cells: Vec::new(),
            rounds,
            seconds,
            calm: arguments.contains("--calm"),
            lifetime: if arguments.contains("--run-on") { Lifetime::AllRuns } else { Lifetime::OneRun },
            write: arguments.contains("--write"),
            ronde: program(&mut arguments, "--ronde")?.unwrap_or_else(|| env!("CARGO_BIN_EXE_ronde").into()),
            beside: program(&mut arguments, "--beside")?,
            nginx: program(&mut arguments, "--nginx")?,
            haproxy: program(&mut arguments, "--haproxy")?,
            flags: arguments.opt_value_from_str("--flags")?.unwrap_or_default(),
            with_peers: !arguments.contains("--no-peers"),
        };
        let names: Vec<_> =
            arguments.finish().iter().map(|name| name.to_string_lossy().into_owned()).collect();
        options.cells = select(&names)?;
        Ok(Some(options))
    }
}

/// The path behind a flag. A path without a program would show only when a proxy does not answer.
fn program(arguments: &mut Arguments, flag: &'static str) -> Result<Option<PathBuf>> {
    let path: Option<PathBuf> = arguments.opt_value_from_str(flag)?;
    if let Some(path) = &path {
        ensure!(path.is_file(), "{flag}: no file at {}", path.display());
    }
    Ok(path)
}

/// The cells with these names, in the order of the table. An exact name selects only its cell: `get-1` does not select
/// `get-16`.
fn select(names: &[String]) -> Result<Vec<&'static Cell>> {
    for name in names {
        ensure!(!name.starts_with('-'), "no such flag: {name}");
        ensure!(CELLS.iter().any(|cell| cell.name.contains(name.as_str())), "no such cell: {name}");
    }
    let is_selected = |cell: &&Cell| {
        names.is_empty()
            || names.iter().any(|name| match CELLS.iter().any(|cell| cell.name == name) {
                true => cell.name == name,
                false => cell.name.contains(name.as_str()),
            })
    };
    Ok(CELLS.iter().filter(is_selected).collect())
}
