//! The house rules that no compiler knows: file heads, file sizes, who may import whom, who may name a socket.

use std::fs;
use std::path::{Path, PathBuf};

/// From the roof down. A module imports from lower floors, and on its own floor only what stands to its right: so
/// imports point strictly down and never in a circle.
const FLOORS: [&[&str]; 6] = [
    &["main"],
    &["server", "acceptor", "worker", "demo", "check", "probe"],
    &["session", "exchange", "tunnel", "relay"],
    &["house", "desk", "errand", "backend"],
    &[
        "seats", "waiter", "client", "conn", "buffer", "reply", "passage", "forward", "body", "framing",
        "head",
    ],
    &["journal", "failure", "fields", "config", "clock", "pace", "stop", "bell"],
];

/// Pure functions over bytes.
const MESSAGE_MODULES: [&str; 6] = ["head", "framing", "body", "passage", "reply", "forward"];

/// Addresses are data and may be named; what reads, writes or waits may not.
const SOCKETS: [&str; 8] =
    ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "Socket", "OwnedFd", "BorrowedFd", "rustix"];

const MOST_LINES: usize = 450;

struct Source {
    /// The top-level module that the file belongs to.
    module: String,
    path: PathBuf,
    text: String,
}

impl Source {
    /// The text before the unit tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    /// The top-level modules that it names behind `crate::`, outside of comments.
    fn imports(&self) -> Vec<&str> {
        let lines = self.code().lines().filter(|line| !line.trim_start().starts_with("//"));
        let paths = lines.flat_map(|line| line.split("crate::").skip(1));
        paths.map(|path| words(path).next().unwrap_or_default()).collect()
    }

    fn is_tests(&self) -> bool {
        self.path.file_stem().is_some_and(|stem| stem == "tests")
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|mark: char| !mark.is_alphanumeric() && mark != '_')
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let within = path.strip_prefix(&root).expect("a path below src");
                let top = within.iter().next().expect("a name").to_string_lossy();
                let module = top.trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).expect("its text");
                found.push(Source { module, path: within.to_owned(), text });
            }
        }
    }
    found
}

/// The floor, counted from the roof, and the place on it.
fn place(module: &str) -> Option<(usize, usize)> {
    FLOORS
        .iter()
        .enumerate()
        .find_map(|(floor, row)| Some((floor, row.iter().position(|this| *this == module)?)))
}

#[track_caller]
fn assert_none(what: &str, offenders: impl Iterator<Item = String>) {
    let offenders: Vec<_> = offenders.collect();
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    assert_none(
        "no `//!` at its head",
        sources().iter().filter(|s| silent(s)).map(|s| s.path.display().to_string()),
    );
}

#[test]
fn no_file_holds_two_ideas() {
    let sources = sources();
    let sizes = sources.iter().filter(|source| !source.is_tests()).map(|s| (s, s.code().lines().count()));
    let large = sizes.filter(|(_, lines)| *lines > MOST_LINES);
    assert_none(
        "longer than it may be",
        large.map(|(s, lines)| format!("{}: {lines} lines", s.path.display())),
    );
}

#[test]
fn every_module_has_its_place_and_every_place_its_module() {
    let sources = sources();
    let placeless = sources.iter().filter(|source| source.module != "lib" && place(&source.module).is_none());
    assert_none("not in the table", placeless.map(|source| source.module.clone()));
    let gone = FLOORS.iter().flat_map(|row| row.iter()).filter(|m| !sources.iter().any(|s| s.module == **m));
    assert_none("only in the table", gone.map(|module| (*module).to_owned()));
}

#[test]
fn imports_point_strictly_down() {
    let sources = sources();
    let edges = sources
        .iter()
        .filter(|s| s.module != "lib")
        .flat_map(|s| s.imports().into_iter().map(move |to| (s, to)));
    let up = edges.filter(|(from, to)| from.module != *to && place(&from.module) >= place(to));
    assert_none(
        "imports that do not point down",
        up.map(|(from, to)| format!("{}: {to}", from.path.display())),
    );
}

#[test]
fn message_modules_name_no_socket() {
    let sources = sources();
    let messages = sources.iter().filter(|source| MESSAGE_MODULES.contains(&source.module.as_str()));
    let named = messages
        .flat_map(|s| words(s.code()).filter(|word| SOCKETS.contains(word)).map(move |word| (s, word)));
    assert_none("sockets in message modules", named.map(|(s, word)| format!("{}: {word}", s.path.display())));
}

#[test]
fn unsafe_code_is_forbidden() {
    let text =
        |name: &str| sources().into_iter().find(|source| source.module == name).expect("the root").text;
    assert!(
        text("lib").contains("#![forbid(unsafe_code)]") && text("main").contains("#![forbid(unsafe_code)]")
    );
}
