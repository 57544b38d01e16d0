//! The rules that no compiler knows: file heads, file sizes, which folder may import which, which file may name a socket.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `src` from the roof down; folders in one row stand side by side and do not know each other. A file
/// imports from the rows below its own, and from its own folder.
const FLOORS: [&[&str]; 8] = [
    &["cli"],
    &["server"],
    &["proxy"],
    &["backend"],
    &["pool"],
    &["net", "http1"],
    &["observe"],
    &["config"],
];

/// Folders of pure functions and plain data. They may name an address; they may not name what reads, writes or waits.
const PURE: [&str; 2] = ["http1", "config"];

/// It reads the files of the settings, one of which may be a pipe; the only one in these folders that waits.
const READER: &str = "config/contents.rs";

const SOCKETS: [&str; 8] =
    ["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "Socket", "OwnedFd", "BorrowedFd", "rustix"];

/// Words with which a socket is created or given an option. Only `net` uses them.
const SOCKET_OPTIONS: [&str; 8] = [
    "sockopt",
    "set_nodelay",
    "set_read_timeout",
    "set_write_timeout",
    "set_nonblocking",
    "socket_with",
    "RecvFlags",
    "SendFlags",
];

/// A stand-in for an application: its sockets are no part of the proxy.
const APPLICATIONS: [&str; 1] = ["cli/demo.rs"];

const MOST_LINES: usize = 430;

struct Source {
    /// Below `src`, with `/` between folders.
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The folder directly below `src`; the roof (`main.rs`, `lib.rs`) has none.
    fn folder(&self) -> Option<&str> {
        let mut parts = self.path.iter();
        let first = parts.next()?.to_str()?;
        parts.next().map(|_| first)
    }

    /// The text before the unit tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    fn code_lines(&self) -> impl Iterator<Item = &str> {
        self.code().lines().filter(|line| !line.trim_start().starts_with("//"))
    }

    /// The folders that it names behind `crate::`.
    fn imports(&self) -> impl Iterator<Item = &str> {
        let paths = self.code_lines().flat_map(|line| line.split("crate::").skip(1));
        paths.map(|path| words(path).next().unwrap_or_default())
    }

    /// The modules that it has files for, but those for tests alone.
    fn modules(&self) -> impl Iterator<Item = &str> {
        let lines = self.code().lines().zip(self.code().lines().skip(1));
        let named = lines.filter(|(before, _)| *before != "#[cfg(test)]").map(|(_, line)| line);
        named.filter_map(|line| line.strip_suffix(';')?.trim_start_matches("pub ").strip_prefix("mod "))
    }

    fn is_tests(&self) -> bool {
        self.path.file_stem().is_some_and(|stem| stem == "tests")
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|mark: char| !mark.is_alphanumeric() && mark != '_').filter(|word| !word.is_empty())
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
                let text = fs::read_to_string(&path).expect("its text");
                found.push(Source {
                    path: path.strip_prefix(&root).expect("a path below src").to_owned(),
                    text,
                });
            }
        }
    }
    found
}

/// Counted from the roof.
fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|row| row.contains(&folder))
}

#[track_caller]
fn assert_none(what: &str, offenders: impl IntoIterator<Item = String>) {
    let offenders: Vec<_> = offenders.into_iter().collect();
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    let sources = sources();
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    assert_none("no `//!` at its head", silent.map(Source::name));
}

#[test]
fn a_reading_order_leaves_no_module_out() {
    let sources = sources();
    let orders = sources.iter().filter(|source| source.text.contains("//! Reading order: "));
    let missing = orders.flat_map(|source| {
        let head: String = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let is_missing = move |module: &&str| !head.contains(&format!("`{module}`"));
        source.modules().filter(is_missing).map(|module| format!("{}: {module}", source.name()))
    });
    assert_none("not in the reading order of its folder", missing);
}

#[test]
fn no_file_holds_two_ideas() {
    let sources = sources();
    let sizes = sources.iter().filter(|source| !source.is_tests()).map(|s| (s, s.code().lines().count()));
    let large = sizes.filter(|(_, lines)| *lines > MOST_LINES);
    assert_none("longer than it may be", large.map(|(s, lines)| format!("{}: {lines} lines", s.name())));
}

#[test]
fn the_folders_are_the_floors() {
    let sources = sources();
    let there: BTreeSet<_> = sources.iter().filter_map(Source::folder).collect();
    let told: BTreeSet<_> = FLOORS.into_iter().flatten().copied().collect();
    assert_eq!(there, told);
    let roof = sources.iter().filter(|source| source.folder().is_none());
    assert_eq!(
        roof.map(Source::name).collect::<BTreeSet<_>>(),
        ["lib.rs", "main.rs"].map(String::from).into()
    );
}

#[test]
fn imports_point_strictly_down() {
    let sources = sources();
    let below_the_roof = sources.iter().filter_map(|source| Some((source, source.folder()?)));
    let up = below_the_roof.flat_map(|(source, from)| {
        let up = source.imports().filter(move |to| *to != from && floor(from) >= floor(to));
        up.map(move |to| format!("{}: {to}", source.name()))
    });
    assert_none("imports that do not point down", up);
}

#[test]
fn pure_folders_name_no_socket() {
    let sources = sources();
    let is_pure = |source: &&Source| source.folder().is_some_and(|folder| PURE.contains(&folder));
    let pure = sources.iter().filter(is_pure).filter(|source| source.name() != READER);
    let named = pure.flat_map(|source| {
        let sockets = source.code_lines().flat_map(words).filter(|word| SOCKETS.contains(word));
        sockets.map(move |word| format!("{}: {word}", source.name()))
    });
    assert_none("sockets in pure folders", named);
}

#[test]
fn socket_options_are_named_in_net_alone() {
    let sources = sources();
    let others = sources
        .iter()
        .filter(|source| source.folder() != Some("net") && !APPLICATIONS.contains(&source.name().as_str()));
    let named = others.flat_map(|source| {
        let options = source.code_lines().flat_map(words).filter(|word| SOCKET_OPTIONS.contains(word));
        options.map(move |word| format!("{}: {word}", source.name()))
    });
    assert_none("socket options outside of net", named);
}

#[test]
fn unsafe_code_is_forbidden() {
    for root in ["lib.rs", "main.rs"] {
        let sources = sources();
        let text = &sources.iter().find(|source| source.name() == root).expect("the root").text;
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root}");
    }
}
