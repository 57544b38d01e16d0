//! What to run, from the command line.

use crate::cells::{CELLS, Cell};
use anyhow::{Result, ensure};
use pico_args::Arguments;
use std::ffi::OsString;
use std::path::PathBuf;

const HELP: &str = "\
cargo bench --bench versus -- [CELL ...] [FLAGS]

  CELL           a cell by its name, or several by a part of it; all without
  --rounds N     every proxy so often in every cell [3]
  --seconds S    of load in one run, after one to warm up [5]
  --quick        one round of one second
  --calm         repeat a run, up to five times, in which others used more than 5 % of the machine
  --list         name the cells, run nothing
  --write        write docs/performance.md

To compare versions and settings of ronde:
  --ronde PROGRAM    another build of ronde instead of the one in this directory
  --beside PROGRAM   another build of ronde as well; it is no peer to which ratios are taken
  --flags \"FLAGS\"    flags for ronde, after those of the cell
  --no-peers         only ronde
";

#[derive(Clone, Debug)]
pub struct Options {
    pub cells: Vec<&'static Cell>,
    pub rounds: usize,
    pub seconds: u64,
    pub calm: bool,
    pub write: bool,
    pub ronde: PathBuf,
    pub beside: Option<PathBuf>,
    pub flags: String,
    pub with_peers: bool,
}

impl Options {
    /// `None` when there is nothing to run.
    ///
    /// # Errors
    /// Flags that are none, cells that are none.
    pub fn from_arguments(arguments: Vec<OsString>) -> Result<Option<Self>> {
        let mut arguments = Arguments::from_vec(arguments);
        let is_bench = arguments.contains("--bench");
        if arguments.contains(["-h", "--help"]) {
            print!("{HELP}");
            return Ok(None);
        }
        if arguments.contains("--list") {
            CELLS.iter().for_each(|cell| println!("{:9}  {}", cell.name, cell.about));
            return Ok(None);
        }
        if !is_bench {
            // `cargo test --all-targets` starts benches to see whether they start.
            println!("nothing is measured without --bench, which `cargo bench` adds");
            return Ok(None);
        }
        let is_quick = arguments.contains("--quick");
        let rounds = arguments.opt_value_from_str("--rounds")?.unwrap_or(if is_quick { 1 } else { 3 });
        let seconds = arguments.opt_value_from_str("--seconds")?.unwrap_or(if is_quick { 1 } else { 5 });
        ensure!(rounds > 0 && seconds > 0, "--rounds and --seconds begin at 1");
        let mut options = Self {
            cells: Vec::new(),
            rounds,
            seconds,
            calm: arguments.contains("--calm"),
            write: arguments.contains("--write"),
            ronde: arguments
                .opt_value_from_str("--ronde")?
                .unwrap_or_else(|| env!("CARGO_BIN_EXE_ronde").into()),
            beside: arguments.opt_value_from_str("--beside")?,
            flags: arguments.opt_value_from_str("--flags")?.unwrap_or_default(),
            with_peers: !arguments.contains("--no-peers"),
        };
        let names: Vec<_> =
            arguments.finish().iter().map(|name| name.to_string_lossy().into_owned()).collect();
        options.cells = select(&names)?;
        Ok(Some(options))
    }
}

/// The cells of these names, in the order of the table. A name that is one means that one: `get-1` is not `get-16`.
fn select(names: &[String]) -> Result<Vec<&'static Cell>> {
    for name in names {
        ensure!(!name.starts_with('-'), "no such flag: {name}");
        ensure!(CELLS.iter().any(|cell| cell.name.contains(name.as_str())), "no such cell: {name}");
    }
    let is_meant = |cell: &&Cell| {
        names.is_empty()
            || names.iter().any(|name| match CELLS.iter().any(|cell| cell.name == name) {
                true => cell.name == name,
                false => cell.name.contains(name.as_str()),
            })
    };
    Ok(CELLS.iter().filter(is_meant).collect())
}
