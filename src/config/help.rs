//! The help and the README's list of settings, both made from the table.
//!
//! The problem: a help text written by hand is right on the day it is written. This one cannot name a default that the
//! program does not have. It gives what a user needs to choose a value: what the setting is, its default, and its
//! bounds.
//!
//! Not here: the reasons for the defaults. The help has one line per setting; the reasons are in the table and in the
//! README.

use super::commands::CommandRow;
use super::{COMMANDS, OwnFlag, Scope, Setting, TABLE, TEXTS};

/// What `--version` prints.
pub const VERSION: &str = concat!("ronde ", env!("CARGO_PKG_VERSION"));

/// When it was finished, for the heads of the man pages. `packaging/changelog` has the same day.
pub(super) const RELEASED: &str = "2026-11-26";

const INTRODUCTION: &str = "ronde forwards HTTP/1.1 requests to backends in round-robin order.\n";

const SOURCES: &str = "\
Each flag is also a variable (RONDE_QUEUE_TIMEOUT=2s, lists with commas) and a key of the file that
--config FILE names (queue-timeout = \"2s\"). Flags win over variables, variables over the file.
A [[backend]] of the file has three more: weight = 1..256, backup = true, max-connections = N.
A [[route]] of the file has host, path, and one of backend (strip = true), redirect, or respond with
text; and of its own, where they differ: the settings with a + below.
A TIME is 500ms, 2s, 1m or 1h; a SIZE is bytes, or 64k, 1m, 2g. [default; least..most]
";

const ITS_SETTINGS: &str = "\
It also takes the settings that `ronde --help` shows, as flags, variables or in --config FILE. A ronde
that runs is found by them: give the same here. `ronde --man` prints the whole manual.
";

/// What `--help` prints beside a command.
pub(super) fn of(command: &CommandRow) -> String {
    let CommandRow { name, usage, what, flags, .. } = command;
    // Serving is what all the settings are for.
    if *name == COMMANDS[0].name {
        return text();
    }
    let own: String = flags.iter().map(|own| format!("  {:<16}{}\n", own.to_string(), own.what)).collect();
    let space = if own.is_empty() { "" } else { "\n" };
    format!("{usage}: {what}\n{space}{own}\n{ITS_SETTINGS}")
}

/// What `--help` prints.
fn text() -> String {
    let mut text = format!("{INTRODUCTION}\n");
    for row in COMMANDS {
        let own: String = row.flags.iter().map(|own| format!(" [{own}]")).collect();
        text.push_str(&format!("  {:<32} {}{own}\n", row.usage, row.what));
    }
    let texts: Vec<_> = TEXTS.iter().map(OwnFlag::to_string).collect();
    text.push_str(&format!("  ronde {}\n\n{SOURCES}", texts.join(" | ")));
    let mut group = "";
    for row in TABLE.iter() {
        if row.group != group {
            group = row.group;
            text.push_str(&format!("\n{group}\n"));
        }
        let flag = format!("{} {}", row.flag, row.form);
        let mark = if row.scope == Scope::Route { '+' } else { ' ' };
        text.push_str(format!(" {mark}{flag:<35}{}{}", row.what, range(row)).trim_end());
        text.push('\n');
    }
    text
}

/// ` [auto; 1..4096]`, without the parts that the row does not have.
fn range(row: &Setting) -> String {
    match (row.default, row.bounds) {
        ("", _) => String::new(),
        (default, None) => format!(" [{default}]"),
        (default, Some((least, most))) => format!(" [{default}; {least}..{most}]"),
    }
}

/// The settings as a Markdown table, for the README.
pub fn markdown_table() -> String {
    let mut table = String::from(
        "| setting | default | allowed | what it is, and why the default |\n|---|---|---|---|\n",
    );
    for row in TABLE.iter() {
        let allowed = row.bounds.map_or(String::new(), |(least, most)| format!("{least} to {most}"));
        let flag = format!("{} {}", row.flag, row.form);
        let (flag, what) = (flag.trim_end(), row.what);
        let why = match row.scope {
            Scope::Top => row.why.to_owned(),
            Scope::Route => format!("{} A route may have its own.", row.why),
        };
        table.push_str(&format!("| `{flag}` | {} | {allowed} | {what}. {why} |\n", row.default));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, TABLE, markdown_table, of, text};

    #[test]
    fn the_help_fits_a_few_screens() {
        let text = text();
        assert!(text.lines().count() <= 110, "{} lines", text.lines().count());
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
            assert_eq!(line.trim_end(), line);
        }
    }

    #[test]
    fn the_help_of_a_command_is_its_own() {
        let of = |name| of(COMMANDS.iter().find(|row| row.name == name).expect("a command"));
        assert!(of("drain").starts_with(
            "ronde drain HOST:PORT [FLAGS]: have it give this backend no new requests\n\n  --wait[=TIME]   return when"
        ));
        assert!(
            of("reload").starts_with("ronde reload [FLAGS]: have it read its configuration again\n\nIt also")
        );
        assert_eq!(of("serve"), text());
    }

    #[test]
    fn the_help_names_every_setting() {
        let text = text();
        assert!(text.contains("\n  --workers N                        "));
        assert!(text.contains("[auto; 1..4096]\n"));
        assert!(TABLE.iter().all(|row| text.contains(&format!("{} ", row.flag))));
    }

    #[test]
    fn the_markdown_table_has_a_row_per_setting() {
        let table = markdown_table();
        assert!(table.contains("| `--queue-timeout TIME` | 1s | 10ms to 1h | how long"));
        assert!(table.lines().all(|line| line.matches('|').count() == 5));
    }
}
