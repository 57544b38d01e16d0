//! Chapter 12 is about the source of ronde, and this holds it to the source.
//!
//! Each failure names what is to be changed in `docs/tour/12_ronde.md`. `UPDATE_TOUR=1 cargo test --test tour` makes the
//! table of waits anew; everything else is prose, and is for a person to change.

use super::{read, tour};
use ronde::config::Address;
use ronde::observe::explain::{Awaits, Body, Connection, Ending, Step};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CHAPTER: &str = "docs/tour/12_ronde.md";

/// The enums of which the chapter says where each variant belongs: their files, and the type that the chapter writes
/// before a variant.
const ENUMS: [(&str, &str); 5] = [
    ("src/proxy/conversation.rs", "Stage"),
    ("src/proxy/exchange/mod.rs", "Stage"),
    ("src/pool/deadlines.rs", "Class"),
    ("src/pool/park.rs", "Woken"),
    ("src/observe/explain.rs", "Step"),
];

const WAITS_BEGIN: &str = "<!-- waits: made from src/config/waits.rs by tests/tour -->\n";
const WAITS_END: &str = "<!-- /waits -->";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn chapter() -> String {
    read(&root(CHAPTER))
}

#[test]
fn the_tour_leads_to_the_last_chapter() {
    for page in ["README.md", "11_drain.md"] {
        assert!(read(&tour().join(page)).contains("(12_ronde.md)"), "docs/tour/{page} does not");
    }
    assert!(
        read(&root("README.md")).contains("(docs/tour/README.md)"),
        "README.md does not lead to the tour"
    );
}

#[test]
fn each_file_and_function_of_the_last_chapter_exists() {
    let mut missing = Vec::new();
    let mut count = 0;
    for (file, names) in named(&chapter()) {
        let path = root(&file);
        if !path.is_file() {
            missing.push(file);
            continue;
        }
        let code = read(&path);
        count += names.len();
        missing.extend(
            names.iter().filter(|name| !defines(&code, name)).map(|name| format!("{name} in {file}")),
        );
    }
    assert!(count >= 25, "the hops of {CHAPTER} are no longer read: {count} functions");
    assert!(missing.is_empty(), "{CHAPTER} has to follow the source: there is no {}", missing.join(", no "));
}

/// Each link to a source file, with the names in the same cell of the table.
fn named(text: &str) -> Vec<(String, Vec<String>)> {
    let links = text.split("](../../src/").skip(1);
    links
        .map(|rest| {
            let (file, rest) = rest.split_once(')').expect("the end of a link");
            let cell = rest.split(['|', '[', '\n']).next().unwrap_or_default();
            let names = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (format!("src/{file}"), names)
        })
        .collect()
}

/// Whether a function, type or constant of this name begins in the code.
fn defines(code: &str, name: &str) -> bool {
    ["fn", "enum", "struct", "trait", "const"].iter().any(|kind| {
        let begin = format!("{kind} {name}");
        code.match_indices(&begin)
            .any(|(at, _)| !code[at + begin.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

#[test]
fn each_place_of_a_connection_is_in_the_last_chapter_and_no_other() {
    let text = chapter();
    let exist: BTreeSet<_> = ENUMS
        .iter()
        .flat_map(|(file, name)| {
            let variants = variants(&read(&root(file)), name);
            assert!(variants.len() > 2, "{file} has no {name} any more: see {CHAPTER}");
            variants.into_iter().map(move |variant| format!("{name}::{variant}"))
        })
        .collect();
    let said: BTreeSet<_> = ENUMS.iter().flat_map(|(_, name)| qualified(&text, name)).collect();
    let unsaid: Vec<_> = exist.difference(&said).collect();
    let stale: Vec<_> = said.difference(&exist).collect();
    assert!(
        unsaid.is_empty(),
        "{CHAPTER} has to say where these belong, and the arrows to and from them: {unsaid:?}"
    );
    assert!(stale.is_empty(), "{CHAPTER} has what is no longer in the source: {stale:?}");
}

#[test]
fn what_explain_prints_in_the_last_chapter_is_what_it_would_print() {
    let (took, worker) = (Duration::ZERO, 0);
    let backend = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let steps = [
        Step::Accepted { queued: took },
        Step::Came,
        Step::Read { worker, head: 0, body: Body::Collected(0) },
        Step::Read { worker, head: 0, body: Body::Streams },
        Step::Turn { turn: 0, backend: backend.clone(), connection: Connection::Kept },
        Step::Turn { turn: 0, backend, connection: Connection::Fresh },
        Step::Connected { took },
        Step::Sent,
        Step::Parked { awaits: Awaits::Bytes },
        Step::Parked { awaits: Awaits::Response },
        Step::Resumed { worker },
        Step::Answered { status: 0, took },
        Step::Dropped,
        Step::Relayed { bytes: 0, pieces: 1 },
        Step::Ended { connection: Ending::Kept },
    ];
    let worded: BTreeSet<_> = steps.iter().map(|step| without_numbers(&step.to_string())).collect();
    let text = chapter();
    let printed: Vec<_> =
        text.lines().filter_map(|line| line.starts_with("   ").then(|| line.split_once(" ms  "))?).collect();
    assert!(printed.len() >= 15, "{CHAPTER} no longer shows what --explain prints");
    let stale: Vec<_> =
        printed.iter().filter(|(_, words)| !worded.contains(&without_numbers(words))).collect();
    assert!(stale.is_empty(), "run the commands of {CHAPTER} again; --explain does not print {stale:?}");
}

/// The line with the same mark in place of every number and address.
fn without_numbers(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.starts_with(|c: char| c.is_ascii_digit()) {
        true => "N",
        false => word.trim_end_matches([',', ';']),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The variants of an enum: what begins with a capital letter, one step in.
fn variants(code: &str, name: &str) -> Vec<String> {
    let begin = format!("enum {name} {{\n");
    let Some((_, block)) = code.split_once(&begin) else { return Vec::new() };
    let lines = block.lines().take_while(|line| *line != "}").filter_map(|line| line.strip_prefix("    "));
    lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())).map(identifier).collect()
}

/// What the text names as `Name::Variant`.
fn qualified(text: &str, name: &str) -> Vec<String> {
    let begin = format!("{name}::");
    text.split(&begin).skip(1).map(|rest| begin.clone() + &identifier(rest)).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn the_table_of_waits_is_the_one_in_the_source() {
    let text = chapter();
    let (before, rest) = text.split_once(WAITS_BEGIN).expect("the begin of the waits");
    let (old, after) = rest.split_once(WAITS_END).expect("the end of the waits");
    let table = waits(&read(&root("src/config/waits.rs")));
    if std::env::var_os("UPDATE_TOUR").is_some() {
        let new = [before, WAITS_BEGIN, &table, WAITS_END, after].concat();
        fs::write(root(CHAPTER), new).expect("the chapter");
    } else {
        assert!(
            old == table,
            "run UPDATE_TOUR=1 cargo test --test tour: the waits of {CHAPTER} are not those of the source"
        );
    }
}

/// A row for each constant, with its comment, below the heading that stands over it in the source.
fn waits(code: &str) -> String {
    let mut table = "| of | wait | how long | what and why |\n|---|---|--:|---|\n".to_owned();
    let (mut heading, mut comment, mut rows) = ("", Vec::new(), 0);
    for line in code.lines() {
        if let Some(words) = line.strip_prefix("/// ") {
            comment.push(words);
        } else if let Some(words) = line.strip_prefix("// ") {
            heading = words.trim_end_matches('.');
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            let (name, value) = constant.split_once(": Duration = ").expect("a duration");
            let words = comment.join(" ").replace("[`", "`").replace("`]", "`");
            table += &format!("| {heading} | `{name}` | {} | {words} |\n", time(value));
            comment.clear();
            rows += 1;
        }
    }
    assert!(rows > 0, "src/config/waits.rs has no wait that this test can read");
    table
}

/// `milliseconds(10);` is 10 ms.
fn time(value: &str) -> String {
    let (unit, count) = value.trim_end_matches(");").split_once('(').expect("a unit and a count");
    match unit {
        "microseconds" => format!("{count} µs"),
        "milliseconds" => format!("{count} ms"),
        "seconds" => format!("{count} s"),
        _ => panic!("src/config/waits.rs has a unit that this test does not know: {unit}"),
    }
}
