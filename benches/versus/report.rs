//! Formats the tables for the terminal and for `docs/performance.md`.

use crate::options::{Lifetime, Options};
use crate::results::{CPU, METRICS, Metric, RATE, Ratio, Results, SWITCHES};
use crate::run::CALM;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Ratios are taken to the better of these.
const PEERS: [&str; 2] = ["nginx", "haproxy"];
const FLOOR: [&str; 1] = ["floor"];

/// In place of a number, where there is none.
const NONE: &str = "–";

/// The numbers of every proxy in every cell: medians over the rounds.
pub fn details(results: &Results) -> String {
    let metrics = || METRICS.iter().chain([&SWITCHES]);
    let header = ["cell", "proxy"].into_iter().chain(metrics().map(|metric| metric.name)).chain(["errors"]);
    let mut rows = Vec::new();
    for (row, cell) in results.cells.iter().enumerate() {
        for (proxy, name) in results.names.iter().enumerate() {
            let values = metrics().map(|metric| match results.median(row, proxy, metric) {
                Some(value) => grouped(value, metric.decimals),
                None => NONE.to_owned(),
            });
            let cell = if proxy == 0 { cell.about } else { "" };
            let texts = [cell.to_owned(), name.clone()].into_iter();
            rows.push(texts.chain(values).chain([results.errors(row, proxy).to_string()]).collect());
        }
    }
    table(&header.collect::<Vec<_>>(), 2, &rows)
}

/// The ratios of ronde to the better peer and to the floor, the worst cell, and the reasons to distrust the numbers.
pub fn summary(results: &Results) -> String {
    let peers = METRICS.iter().map(|metric| Column { to: &PEERS, metric });
    let floor = [RATE, CPU].iter().map(|metric| Column { to: &FLOOR, metric });
    let beside = METRICS.iter().map(|metric| Column { to: &["beside"], metric });
    let mut text = ratios(results, peers.chain(floor));
    let beside = ratios(results, beside);
    if !beside.is_empty() {
        text += &format!("\nronde to the other ronde:\n\n{beside}");
    }
    text + "\n" + &verdict(results)
}

/// The ratios of ronde to the better of some others.
struct Column {
    to: &'static [&'static str],
    metric: &'static Metric,
}

impl Column {
    fn header(&self) -> String {
        let metric = self.metric.name.split(' ').next().unwrap_or_default();
        if self.to == FLOOR { format!("floor: {metric}") } else { metric.to_owned() }
    }

    /// Bold if ronde is behind. The floor is no peer: nobody can serve HTTP with it.
    fn value(&self, ratio: Ratio) -> String {
        let value = format!("{:.2}", ratio.median);
        if self.to != FLOOR && self.metric.is_behind(ratio.median) { format!("**{value}**") } else { value }
    }
}

/// A table with those of the columns whose others ran at all.
fn ratios(results: &Results, columns: impl Iterator<Item = Column>) -> String {
    let has_run = |name: &&str| results.names.iter().any(|known| known == name);
    let columns: Vec<Column> = columns.filter(|column| column.to.iter().any(has_run)).collect();
    let Some(first) = columns.first() else { return String::new() };
    let headers: Vec<String> = columns.iter().map(Column::header).collect();
    let header = ["cell"].into_iter().chain(headers.iter().map(String::as_str)).chain(["rounds differ by"]);
    let rows = results.cells.iter().enumerate().map(|(row, cell)| {
        let ratio = |column: &Column| results.ratio(row, column.to, column.metric);
        let validity = if results.is_valid(row) { "" } else { " (invalid: errors)" };
        let spread = ratio(first).map(|ratio| format!("{:.2} to {:.2}", ratio.least, ratio.most));
        let values = columns.iter().map(|column| ratio(column).map(|ratio| column.value(ratio)));
        let values = values.chain([spread]).map(|value| value.unwrap_or_else(|| NONE.to_owned()));
        std::iter::once(format!("{}{validity}", cell.about)).chain(values).collect()
    });
    table(&header.collect::<Vec<_>>(), 1, &rows.collect::<Vec<_>>())
}

fn verdict(results: &Results) -> String {
    let rates = (0..results.cells.len())
        .filter(|&row| results.is_valid(row))
        .filter_map(|row| Some((results.cells[row], results.ratio(row, &PEERS, &RATE)?.median)));
    let mut text = match rates.min_by(|(_, one), (_, other)| one.total_cmp(other)) {
        Some((cell, ratio)) => {
            format!("Worst cell: {}, {ratio:.2} of the better peer's requests per second.\n", cell.about)
        }
        None => String::new(),
    };
    for (row, cell) in results.cells.iter().enumerate().filter(|(row, _)| !results.is_valid(*row)) {
        let errors = results
            .names
            .iter()
            .enumerate()
            .map(|(proxy, name)| (name, results.errors(row, proxy).to_string()));
        let errors: Vec<_> = errors.filter(|(_, errors)| !errors.is_empty()).collect();
        let errors: Vec<_> = errors.iter().map(|(name, errors)| format!("{name}: {errors}")).collect();
        text += &format!("Invalid cell: {} ({}).\n", cell.about, errors.join("; "));
    }
    let disturbance = results.disturbance();
    if disturbance > CALM {
        text += &format!(
            "The machine was not calm: other processes used up to {:.0} % of it during a run.\n",
            disturbance * 100.0
        );
    }
    text
}

/// Writes `docs/performance.md`.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: impl AsRef<Path>, machine: &str, options: &Options, results: &Results) -> Result<()> {
    let path = path.as_ref();
    let (rounds, seconds) = (options.rounds, options.seconds);
    let lifetime = match options.lifetime {
        Lifetime::OneRun => {
            "Each run starts its proxy afresh; with `--run-on`, proxies run on through all cells."
        }
        Lifetime::AllRuns => "Proxies run on through all cells and rounds (`--run-on`), as in production.",
    };
    let (summary, details) = (summary(results), details(results));
    let page = format!(
        "# Performance

Written by `cargo bench --bench versus -- --write`, which measures every number anew.

{machine}
## Against the better of nginx and HAProxy

Ratios of ronde to whichever peer is better, for each metric on its own, taken within a round; the median of {rounds}
rounds. More is better for requests; less is better for CPU time, latency and memory. Bold is behind.

The last ratios are to the floor, a relay that understands nothing: two threads, each with its own epoll, a read and a
write each way. It shows what the machine can do, so these ratios can be compared from machine to machine. A dash is
where it shows nothing: new, idle and waiting connections are what a proxy manages, and the floor manages nothing; it has
no TLS either.

{summary}
## All numbers

Medians of {rounds} rounds of {seconds} s.

{details}
Thousands of slow clients at once, and what all others see meanwhile: [hazards.md](hazards.md).

## How it is measured

- wrk, the proxy, and an nginx that serves as both backends share the machine. All traffic is on 127.0.0.1.
- {lifetime}
- Each run begins with a second of warm-up. Within a round, every proxy has its run in a cell before the next cell
  begins, in an order that rotates.
- The floor is the bench itself as another process (`benches/versus/floor.rs`). It is no peer: nobody can serve HTTP
  with it.
- Equal settings: 2 worker processes (nginx), `nbthread 2` (HAProxy), ronde with its defaults. No access log, a backlog
  of 4096, kept connections to the backends. The settings of the peers are in `benches/stage`.
- CPU time is the user and system time of all threads and processes of the proxy. Memory is its proportional set size
  (PSS) under load.
- Context switches are voluntary and involuntary ones, of all threads that live before and after the run. System calls
  are not counted, as that costs time. To count them, start a proxy and its load by hand, and divide by the requests:
  `perf stat -e raw_syscalls:sys_enter -p PID -- sleep 5`, or `strace -f -c -p PID` by kind, where only the proportions
  count.
- With TLS: version 1.3, TLS_AES_256_GCM_SHA384, X25519, the same certificate with an ECDSA key on P-256 for all, and
  tickets. wrk loads the kept connections. It resumes its sessions whenever it has a ticket, so the cells with a
  handshake per request have clients of the bench itself (rustls, a thread each), which check the kind of every
  handshake. An idle client with TLS takes what the cell with idle ones takes beyond the one without, by 10,000.
- 1000 clients that start at once, with backends that take 100 ms, remain one burst every 100 ms; the sooner the first
  requests of the burst are served, the narrower it is. In that cell, wrk without any proxy reaches 1.01 of its rate
  through the better peer. So the best possible rate is only a hundredth higher, and CPU time and memory say more.
- A cell is invalid if any proxy had an error in it (connect, read, write, a timeout of 10 s, a status of 400 or more).
"
    );
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, page).with_context(|| path.display().to_string())
}

/// A number with commas between its thousands.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

/// A Markdown table with aligned columns. The first `words` columns are text, the rest numbers.
fn table(header: &[&str], words: usize, rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count(), 3]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells =
            cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column < words {
                true => format!(" {cell:<width$} "),
                false => format!(" {cell:>width$} "),
            });
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().enumerate().map(|(column, &width)| match column < words {
        true => "-".repeat(width),
        false => format!("{}:", "-".repeat(width - 1)),
    });
    let rule: Vec<String> = rule.collect();
    let mut text = line(header.to_vec()) + &line(rule.iter().map(String::as_str).collect());
    text.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    text
}
