//! Plays the ladder of `examples/`: step N falls to the Nth attack, step N + 1 stands, and ronde stands against all.
//!
//! The verdicts are those that a reader of `docs/tour/` gets: the exit codes of `examples/attack`.

use std::collections::BTreeMap;
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

/// The most lines of code in a step: neither comments nor empty lines.
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
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(examples()).expect("the examples").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a step");
            assert!(text.starts_with("//! Step "), "{} does not say which step it is", path.display());
            let code = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
            lines.insert(path.file_stem().expect("a name").to_str().expect("ASCII").to_owned(), code.count());
        }
    }
    assert_eq!(lines.keys().collect::<Vec<_>>(), LADDER.map(|(step, _)| step).iter().collect::<Vec<_>>());
    let long: Vec<_> = lines.iter().filter(|(_, lines)| **lines >= MOST_LINES).collect();
    assert!(long.is_empty(), "{long:?}");
}
