//! Tables, the same on the terminal and in `docs/performance.md`.

use crate::options::Options;
use crate::results::{METRICS, Metric, Ratio, Results};
use crate::run::CALM;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// To the better of these all ratios are taken.
const PEERS: [&str; 2] = ["nginx", "haproxy"];

/// Every proxy in every cell, medians over the rounds.
pub fn details(results: &Results) -> String {
    let header =
        ["cell", "proxy"].into_iter().chain(METRICS.iter().map(|metric| metric.name)).chain(["errors"]);
    let mut rows = Vec::new();
    for (row, cell) in results.cells.iter().enumerate() {
        for (who, name) in results.names.iter().enumerate() {
            let values =
                METRICS.iter().map(|metric| grouped(results.median(row, who, metric), metric.decimals));
            let cell = if who == 0 { cell.about } else { "" };
            let texts = [cell.to_owned(), name.clone()].into_iter();
            rows.push(texts.chain(values).chain([results.errors(row, who).to_string()]).collect());
        }
    }
    table(&header.collect::<Vec<_>>(), 2, &rows)
}

/// Ratios of ronde to the better peer, and what is worst.
pub fn summary(results: &Results) -> String {
    let mut text = ratios(results, &PEERS);
    if results.names.iter().any(|name| name == "beside") {
        text += &format!("\nronde to the other ronde:\n\n{}", ratios(results, &["beside"]));
    }
    text + "\n" + &verdict(results)
}

fn ratios(results: &Results, peers: &[&str]) -> String {
    let names = METRICS.iter().map(|metric| metric.name.split(' ').next().unwrap_or_default());
    let header: Vec<_> = std::iter::once("cell").chain(names).chain(["rounds differ by"]).collect();
    let rows: Vec<Vec<String>> = (0..results.cells.len())
        .filter_map(|row| {
            let ratios: Vec<(&Metric, Ratio)> = METRICS
                .iter()
                .map(|metric| Some((metric, results.ratio(row, peers, metric)?)))
                .collect::<Option<_>>()?;
            let rate = ratios[0].1;
            let values = ratios.iter().map(|(metric, ratio)| {
                let value = format!("{:.2}", ratio.median);
                if metric.is_behind(ratio.median) { format!("**{value}**") } else { value }
            });
            let validity = if results.is_valid(row) { "" } else { " (invalid: errors)" };
            let name = format!("{}{validity}", results.cells[row].about);
            let spread = format!("{:.2} to {:.2}", rate.least, rate.most);
            Some(std::iter::once(name).chain(values).chain([spread]).collect())
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(&header, 1, &rows) }
}

fn verdict(results: &Results) -> String {
    let rates = (0..results.cells.len())
        .filter(|&row| results.is_valid(row))
        .filter_map(|row| Some((results.cells[row], results.ratio(row, &PEERS, &METRICS[0])?.median)));
    let mut text = match rates.min_by(|(_, one), (_, other)| one.total_cmp(other)) {
        Some((cell, ratio)) => {
            format!("Worst cell: {}, {ratio:.2} of the better peer's requests per second.\n", cell.about)
        }
        None => String::new(),
    };
    for (row, cell) in results.cells.iter().enumerate().filter(|(row, _)| !results.is_valid(*row)) {
        let errors =
            results.names.iter().enumerate().map(|(who, name)| (name, results.errors(row, who).to_string()));
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

/// Writes the page.
///
/// # Errors
/// The page cannot be written.
pub fn write(path: impl AsRef<Path>, machine: &str, options: &Options, results: &Results) -> Result<()> {
    let path = path.as_ref();
    let (rounds, seconds) = (options.rounds, options.seconds);
    let (summary, details) = (summary(results), details(results));
    let page = format!(
        "# Performance

Written by `cargo bench --bench versus -- --write`; every number can be had again with it.

{machine}
## Against the better of nginx and HAProxy

Ratios of ronde to whichever peer is better, for each metric by itself, taken within a round; the median of {rounds}
rounds. More is better for requests; less is better for CPU time, latency and memory. Bold is behind.

{summary}
## All numbers

Medians of {rounds} rounds of {seconds} s.

{details}
## How it is measured

- wrk, the proxy and an nginx that is both backends share the machine. Everything is on 127.0.0.1.
- Each run starts the proxy afresh and warms it up for a second. In each round every proxy has its run in a cell before
  the next cell begins, in an order that rotates.
- Equal means: 2 worker processes (nginx), `nbthread 2` (HAProxy), ronde with its defaults. No access log, a backlog of 4096,
  kept connections to the backends. The settings of the peers are in `benches/stage`.
- CPU time is user and system time of the proxy, all threads and processes. Memory is its proportional set size under
  load.
- 1000 clients that begin at once before backends that take 100 ms remain one burst every 100 ms, the narrower, the faster
  the first of it was served. In that cell wrk without any proxy sees 1.01 of what it sees through the better peer, so a
  hundredth is all there is between good and bad, and CPU time and memory say more.
- A cell in which anybody had an error (connect, read, write, a timeout of 10 s, a status of 400 or more) is invalid.
"
    );
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, page).with_context(|| path.display().to_string())
}

/// `12345.6` with its thousands apart.
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

/// A Markdown table that reads well as text. The first columns are words, the others numbers.
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
