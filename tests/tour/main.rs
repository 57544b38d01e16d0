//! Plays the ladder of `examples/`: step N falls to the Nth attack, step N + 1 stands, the last step keeps what the others
//! have won, and ronde stands against all.
//!
//! The verdicts are those that a reader of `docs/tour/` gets: the exit codes of `examples/attack`.
//!
//! The chapters quote the steps. Above each quotation stands what it is made of, such as
//! `<!-- 04_timeouts.rs: fn serve, const REQUEST_TIMEOUT -->`; `UPDATE_TOUR=1 cargo test --test tour` makes it anew.

mod bridge;
#[path = "../../examples/message/mod.rs"]
mod message;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

/// What each step falls to. The next step stands against it; behind the last step is ronde.
const LADDER: [(&str, &str); 11] = [
    ("01_one_at_a_time", "silent"),
    ("02_thread_per_client", "burst"),
    ("03_fixed_pool", "idle"),
    ("04_timeouts", "drip"),
    ("05_deadlines", "dead-backend"),
    ("06_round", "reuse"),
    ("07_keep_alive", "browsers"),
    ("08_parking", "late"),
    ("09_late_answers", "slow-readers"),
    ("10_slow_readers", "stop"),
    ("11_drain", "hung-backend"),
];

/// What an earlier step has won, and a later one that goes about it in another way could lose: step 10 reads in a loop
/// again, as step 5 did, and step 11 is the last word of the ladder.
const KEPT: [(&str, &str); 10] = [
    ("10_slow_readers", "drip"),
    ("11_drain", "silent"),
    ("11_drain", "burst"),
    ("11_drain", "idle"),
    ("11_drain", "drip"),
    ("11_drain", "dead-backend"),
    ("11_drain", "reuse"),
    ("11_drain", "browsers"),
    ("11_drain", "late"),
    ("11_drain", "slow-readers"),
];

/// The lines of code of a step are fewer.
const MOST_LINES: usize = 150;

/// Attacks at once. They mostly wait, so this is more than there are cores.
const AT_ONCE: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stands,
    Falls,
}

#[test]
fn each_step_falls_to_its_attack_and_the_next_one_stands() {
    build_examples();
    let mut matches = Vec::new();
    for (place, (step, attack)) in LADDER.into_iter().enumerate() {
        matches.push((attack, example(step), Verdict::Falls));
        if let Some((next, _)) = LADDER.get(place + 1) {
            matches.push((attack, example(next), Verdict::Stands));
        }
        matches.push((attack, env!("CARGO_BIN_EXE_ronde").into(), Verdict::Stands));
    }
    matches.extend(KEPT.map(|(step, attack)| (attack, example(step), Verdict::Stands)));
    let unexpected: Vec<_> = matches.chunks(AT_ONCE).flat_map(play).collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

/// Plays some matches side by side, and returns what was said in those that did not end as they should.
fn play(matches: &[(&str, PathBuf, Verdict)]) -> Vec<String> {
    thread::scope(|scope| {
        let playing = matches.iter().map(|(attack, program, expected)| {
            scope.spawn(move || {
                let output = Command::new(example("attack"))
                    .args([attack.as_ref(), program.as_os_str()])
                    .stdin(Stdio::null())
                    .output()
                    .expect("an attack");
                (verdict(&output) != Some(*expected)).then(|| {
                    let said = [output.stdout, output.stderr].concat();
                    format!("not as expected ({expected:?}):\n{}", String::from_utf8_lossy(&said))
                })
            })
        });
        let playing: Vec<_> = playing.collect();
        playing.into_iter().filter_map(|attack| attack.join().expect("a match")).collect()
    })
}

fn verdict(output: &Output) -> Option<Verdict> {
    match output.status.code()? {
        0 => Some(Verdict::Stands),
        1 => Some(Verdict::Falls),
        _ => None,
    }
}

/// A plain `cargo test` has built them already; `cargo test --test tour` has not.
fn build_examples() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--examples"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if built().ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo").success(), "the examples do not build");
}

fn example(name: &str) -> PathBuf {
    built().join("examples").join(name)
}

/// The folder of all that is built in the profile of this test, which is in its folder `deps`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.ancestors().nth(2).expect("the folder of the profile").to_owned()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[test]
fn the_ladder_is_all_the_steps_and_each_is_short() {
    let files = fs::read_dir(examples()).expect("the examples").flatten().map(|entry| entry.path());
    let mut steps: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect();
    steps.sort();
    assert_eq!(steps, LADDER.map(|(step, _)| examples().join(step).with_extension("rs")));
    let long: Vec<_> = steps.iter().filter(|step| code_lines(step) >= MOST_LINES).collect();
    assert!(long.is_empty(), "{long:?}");
}

/// Neither comments nor empty lines.
fn code_lines(path: &Path) -> usize {
    let text = read(path);
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// The chapter of a step.
fn chapter(step: &str) -> PathBuf {
    tour().join(step).with_extension("md")
}

fn tour() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tour")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_step_has_a_chapter_which_plays_its_attack_and_the_index_leads_to_it() {
    let index = read(&tour().join("README.md"));
    for (place, (step, attack)) in LADDER.into_iter().enumerate() {
        let text = read(&chapter(step));
        let next = LADDER.get(place + 1).map_or("ronde", |(next, _)| &next[..2]);
        let row =
            index.lines().find(|line| line.contains(&format!("({step}.md)"))).expect("a row of the index");
        let lines = code_lines(&examples().join(step).with_extension("rs"));
        assert!(row.contains(&format!("| {lines} |")), "{step} has {lines} lines of code: {row}");
        for against in [&step[..2], next] {
            // Falling is shown where it happens, and standing in the chapter that brings it about.
            let command = format!("cargo run --example attack -- {attack} {against}");
            let standing = LADDER.get(place + 1).filter(|_| against == next);
            let text = standing.map_or_else(|| text.clone(), |(next, _)| read(&chapter(next)));
            assert!(text.contains(&command), "no chapter has the command {command:?}");
        }
    }
}

#[test]
fn what_the_chapters_quote_is_in_the_examples() {
    let mut stale = Vec::new();
    for (step, _) in LADDER {
        let path = chapter(step);
        let text = read(&path);
        let quoted = requoted(&text);
        if std::env::var_os("UPDATE_TOUR").is_some() {
            fs::write(&path, quoted).expect("a chapter");
        } else if quoted != text {
            stale.push(path.display().to_string());
        }
    }
    assert!(stale.is_empty(), "run UPDATE_TOUR=1 cargo test --test tour, and read what changed in {stale:?}");
}

/// The text with all its quotations made anew.
fn requoted(text: &str) -> String {
    const BEGIN: &str = "\n```rust\n";
    const END: &str = "```\n";
    let mut parts = text.split("<!-- ");
    let mut new = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (source, rest) = part.split_once(" -->").expect("the end of a comment");
        let (file, names) = source.split_once(": ").expect("a file and names");
        let rest = rest.strip_prefix(BEGIN).expect("a quotation behind its source");
        let (_, rest) = rest.split_once(END).expect("the end of a quotation");
        let code = read(&examples().join(file));
        let items: Vec<_> = names.split(", ").map(|name| item(&code, name)).collect();
        new += &["<!-- ", source, " -->", BEGIN, &items.join("\n"), END, rest].concat();
    }
    new
}

/// What begins with a line that begins with `name`, up to the end of its block, with its comment and without its
/// indentation.
fn item(code: &str, name: &str) -> String {
    let lines: Vec<_> = code.lines().collect();
    let is_first = |line: &&str| line.trim_start().trim_start_matches("pub ").starts_with(name);
    let first = lines.iter().position(is_first).unwrap_or_else(|| panic!("nothing begins with {name:?}"));
    let indentation = lines[first].len() - lines[first].trim_start().len();
    let is_last = |line: &&str| {
        let is_outermost = line.find(|mark: char| mark != ' ') == Some(indentation);
        is_outermost && (line.ends_with(['}', ';']) || line.trim_start().starts_with(['}', ')', ']']))
    };
    let last = first + lines[first..].iter().position(is_last).expect("the end of the block");
    let comments =
        lines[..first].iter().rev().take_while(|line| line.trim_start().starts_with("///")).count();
    let quoted = lines[first - comments..=last].iter();
    quoted.map(|line| line.get(indentation..).unwrap_or_default().to_owned() + "\n").collect()
}

#[test]
fn a_length_is_digits_of_content_length_and_nothing_else() {
    let take = |fields: &str| {
        let mut received = format!("POST / HTTP/1.1\r\n{fields}\r\nhello").into_bytes();
        message::take_request(&mut received).map(|request| request.map(|it| (it.bytes.len(), it.is_last)))
    };
    let sent = "POST / HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello".len();
    assert_eq!(take("Content-Length: 5\r\n").ok(), Some(Some((sent, false))));
    assert_eq!(take("Content-Length: 6\r\n").ok(), Some(None), "a byte is missing");
    for refused in [
        "Transfer-Encoding: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 99999999999999999999\r\n",
    ] {
        assert!(take(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn an_answer_has_the_version_of_the_proxy() {
    let mut answer = b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhe".to_vec();
    assert_eq!(message::begin_answer(&mut answer).ok(), Some(Some(3)));
    assert_eq!(answer, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
}
