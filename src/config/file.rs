//! The configuration file: TOML, one key for each row of the table.
//!
//! ```toml
//! listen = ":8080"
//! queue-timeout = "500ms"
//!
//! [[backend]]
//! address = "app1:8000"
//! weight = 2
//!
//! [[route]]
//! path = "/api"
//! backend = ["app2:8000", "app3:8000"]
//! ```
//!
//! The problem: a file is written once and puzzled over for years. So it is read strictly: an unknown key is an error
//! with a position, and is not silently ignored. Every value keeps its position, because its bounds are checked long
//! after TOML has been parsed.
//!
//! Not here: a second set of types and bounds. Serde gives the keys; a value becomes the text that a flag would have
//! had (`workers = 64` and `workers = "64"` are `--workers 64`), and the same reader parses it. So `idle-timeout = 30`
//! gets the same error as `--idle-timeout 30`: it has no unit.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use toml::Spanned;

use super::contents;
use super::entry::{BackendTable, Entry, Field, PairTable, RouteTable};
use super::error::{Error, did_you_mean, shown};
use super::fields;
use super::retired::Retired;
use super::settings::Document;
use super::{RawValue, Setting, Source, TABLE, route, row};

/// The options in a `[[backend]]` table. Flags and variables cannot set them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackendOptions {
    pub weight: u32,
    pub backup: bool,
    pub max_connections: Option<usize>,
}

impl Default for BackendOptions {
    fn default() -> BackendOptions {
        BackendOptions { weight: 1, backup: false, max_connections: None }
    }
}

/// Reads the file at `path`; and adds a note for each setting of an older version in it.
pub(super) fn read(path: &str, notes: &mut Vec<String>) -> Result<Source, Error> {
    let text = contents(path)?;
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    let lines = [0].into_iter().chain(ends.map(|(end, _)| end + 1)).collect();
    let file = ConfigFile { path, text: &text, lines };
    let mut document: Document = toml::from_str(&text).map_err(|error| file.error(error))?;
    let note =
        |retired: &Retired| retired.note(&format!("{} in {}", &retired.flag[2..], path.escape_debug()));
    notes.extend(document.retired().map(note));
    let pairs = document.take_pairs();
    let values = document.entries().map(|(row, entry)| Ok((row.flag, file.raw_values(row, entry)?)));
    file.with_pairs(values.collect::<Result<_, Error>>()?, pairs)
}

fn contents(path: &str) -> Result<String, Error> {
    let name = path.escape_debug();
    match contents::read(Path::new(path)) {
        Err(error) => {
            let remedy = remedy(&error, path);
            Err(Error::at(format_args!("cannot read {name}"), format_args!("{error}{remedy}")))
        }
        Ok(bytes) if bytes.len() > contents::MOST => Err(Error::at(
            format_args!("cannot read {name}"),
            "it is larger than 1 MiB, the limit for a configuration file",
        )),
        // TOML has no NUL, so this is no text: UTF-16 perhaps, or what a crash left of a file.
        Ok(bytes) if bytes.contains(&0) => {
            let (line, column) = position(&bytes, bytes.iter().take_while(|byte| **byte != 0).count());
            let fault = "a NUL byte, so this is no text file; save it as UTF-8";
            Err(Error::at(format_args!("{name}:{line}:{column}"), fault))
        }
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            let (line, column) = position(error.as_bytes(), error.utf8_error().valid_up_to());
            Error::at(format_args!("{name}:{line}:{column}"), "not UTF-8; save the file as UTF-8")
        }),
    }
}

/// What to do about an error, where its own words do not say.
fn remedy(error: &io::Error, path: &str) -> String {
    match error.kind() {
        ErrorKind::IsADirectory => {
            "; Docker makes a directory where the file to mount does not exist on the host".to_string()
        }
        ErrorKind::PermissionDenied => match (fs::metadata(path), fs::metadata("/proc/self")) {
            (Ok(file), Ok(process)) => format!(
                "; it belongs to user {} with mode {:o}, and ronde runs as user {}: chmod o+r, or chown",
                file.uid(),
                file.mode() & 0o7777,
                process.uid()
            ),
            (Err(_), _) | (_, Err(_)) => "; a directory on its path is closed to ronde's user".to_string(),
        },
        _ => String::new(),
    }
}

/// Line and column of a byte, both counted from 1; a column is a character.
fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let is_char_start = |byte: &&u8| **byte & 0xC0 != 0x80;
    (line + 1, before[line_start..].iter().filter(is_char_start).count() + 1)
}

/// The file's path and text, which together give the position of an error.
struct ConfigFile<'a> {
    path: &'a str,
    text: &'a str,
    /// Where each line begins: a thousand routes ask for thousands of positions.
    lines: Vec<usize>,
}

impl ConfigFile<'_> {
    fn at(&self, offset: usize) -> String {
        let line = self.lines.partition_point(|begin| *begin <= offset).max(1);
        let begin = self.lines.get(line - 1).copied().unwrap_or_default();
        let (_, column) = position(&self.text.as_bytes()[begin..], offset.saturating_sub(begin));
        format!("{}:{line}:{column}", self.path.escape_debug())
    }

    /// The values of one key, each with its own place.
    fn raw_values(&self, row: &Setting, entry: Spanned<Entry>) -> Result<Vec<RawValue>, Error> {
        let place = format!("{}: {}", self.at(entry.span().start), row.key());
        match entry.into_inner() {
            Entry::Text(text) => Ok(vec![RawValue::new(text, place)]),
            Entry::Table(table) if row.flag == row::backend.flag => Ok(vec![self.backend(table)?]),
            Entry::Routes(tables) => tables.into_iter().map(|table| self.route(table)).collect(),
            Entry::Fields(fields) => fields.into_iter().map(|field| self.field(row, field)).collect(),
            Entry::Table(_) => Err(Error::at(place, "takes a value, not a table")),
            Entry::List(_) if row.separator.is_none() => Err(Error::at(place, "takes one value, not a list")),
            Entry::List(entries) if entries.is_empty() && !fields::may_be_empty(row) => {
                Err(Error::at(place, "the list is empty; leave the key out instead"))
            }
            Entry::List(entries) => {
                let values: Result<Vec<_>, _> =
                    entries.into_iter().map(|entry| self.raw_values(row, entry)).collect();
                Ok(values?.into_iter().flatten().collect())
            }
        }
    }

    fn backend(&self, table: BackendTable) -> Result<RawValue, Error> {
        let BackendTable { address, weight, backup, max_connections } = table;
        let out_of_bounds = |value: Spanned<i128>, key: &str, allowed: &str| {
            let place = format!("{}: backend.{key}", self.at(value.span().start));
            Error::at(place, format_args!("{} is out of bounds; give {allowed}", value.get_ref()))
        };
        let mut options = BackendOptions { backup, ..BackendOptions::default() };
        if let Some(weight) = weight {
            options.weight = match u32::try_from(*weight.get_ref()) {
                Ok(number @ 1..=256) => number,
                _ => return Err(out_of_bounds(weight, "weight", "1 to 256")),
            };
        }
        if let Some(most) = max_connections {
            options.max_connections = match usize::try_from(*most.get_ref()) {
                Ok(number @ 1..=1_048_576) => Some(number),
                _ => return Err(out_of_bounds(most, "max-connections", "1 to 1048576")),
            };
        }
        let place = format!("{}: backend.address", self.at(address.span().start));
        Ok(RawValue { options, ..RawValue::new(address.into_inner(), place) })
    }

    /// A field of a table, as it stands in a flag.
    fn field(&self, row: &Setting, (name, value): Field) -> Result<RawValue, Error> {
        let place = format!("{}: {}", self.at(value.span().start), row.key());
        let name = name.into_inner();
        // A table takes each line up to the next header, so the `allow` of a route below its fields would be one of them.
        if is_of_the_top(&name) || route::row_of(&name).is_some() {
            let fault = format!(
                "{name} is a setting, and here it would be a field; move it above the table, or write {} for the field",
                capitalised(&name)
            );
            return Err(Error::at(place, fault));
        }
        match value.into_inner() {
            // In a flag the name ends with the first one.
            Entry::Text(_) if name.contains(':') => {
                Err(Error::at(place, format_args!("{} has a colon in its name", shown(&name))))
            }
            Entry::Text(value) => Ok(RawValue::new(format!("{name}:{value}"), place)),
            _ => Err(Error::at(place, format_args!("{} takes one value", shown(&name)))),
        }
    }

    /// Adds each `[[tls]]` as one more value of its two rows.
    fn with_pairs(&self, mut source: Source, pairs: Vec<Spanned<PairTable>>) -> Result<Source, Error> {
        let rows = [&row::tls_certificate, &row::tls_key];
        if let (Some(first), Some(row)) =
            (pairs.first(), rows.iter().find(|row| source.contains_key(row.flag)))
        {
            let fault = format!("{} stands at the top, too; give either it or [[tls]]", row.key());
            return Err(Error::at(format_args!("{}: tls", self.at(first.span().start)), fault));
        }
        for PairTable { certificate, key } in pairs.into_iter().map(Spanned::into_inner) {
            for (row, name, file) in [(rows[0], "certificate", certificate), (rows[1], "key", key)] {
                let place = format!("{}: tls.{name}", self.at(file.span().start));
                source.entry(row.flag).or_default().push(RawValue::new(file.into_inner(), place));
            }
        }
        Ok(source)
    }

    /// The keys of a `[[route]]`, each like a setting of the top level.
    fn route(&self, table: Spanned<RouteTable>) -> Result<RawValue, Error> {
        let place = format!("{}: route", self.at(table.span().start));
        let mut keys = Source::new();
        for (key, entry) in table.into_inner().0 {
            let (at, key) = (self.at(key.span().start), key.into_inner());
            let Some(row) = route::row_of(&key) else { return Err(not_of_a_route(&at, &key)) };
            keys.insert(row.flag, self.raw_values(row, entry)?);
        }
        Ok(RawValue { route: Some(keys), ..RawValue::new("[[route]]", place) })
    }

    /// An error of TOML or serde, as one line in ronde's words.
    fn error(&self, mut error: toml::de::Error) -> Error {
        let span = error.span().unwrap_or_default();
        let place = self.at(span.start);
        // Without its input the error prints its message and, below it, the key.
        error.set_input(None);
        let printed = error.to_string();
        let message = error.message();
        let within = match printed.strip_prefix(message).unwrap_or_default().trim() {
            "" => String::new(),
            key => format!(" {key}"),
        };

        // The message of `deny_unknown_fields`: unknown field `a`, expected one of `b`, `c`.
        if message.starts_with("unknown field `") {
            let mut names = message.split('`').skip(1).step_by(2);
            let key = names.next().unwrap_or_default();
            // The toml crate represents a date as a table with one private key.
            if key.starts_with("$__toml_private") {
                return Error::at(place, format!("a date is not allowed{within}"));
            }
            if !within.is_empty() && is_of_the_top(key) {
                return Error::at(place, format!("{key} is unknown{within}; {TO_THE_TOP}"));
            }
            let guess = did_you_mean(key, names);
            return Error::at(place, format!("unknown key {}{within}{guess}", shown(key)));
        }
        // One table, where a list of them may stand.
        let is_single =
            |name: &&str| message.starts_with("invalid type: map") && within == format!(" in `{name}`");
        if let Some(name) = ["tls", "route"].into_iter().find(is_single) {
            return Error::at(
                place,
                format!("write [[{name}]]: there may be several, and one is written the same way"),
            );
        }
        let message: String = message.replace(char::is_control, " ").chars().take(200).collect();
        // Serde names Rust's types, which do not occur in a TOML file.
        let message = message.replace("expected i128", "expected a whole number");
        let message = message.replace("expected a sequence", "expected a list");
        let message = message.replace("integer number overflowed", "the number is out of bounds");
        match self.text.get(span) {
            Some(culprit) if within.is_empty() && !culprit.trim().is_empty() => {
                Error::at(place, format!("{message}: {}", shown(culprit)))
            }
            _ => Error::at(place, format!("{message}{within}")),
        }
    }
}

/// What follows the header of a table belongs to it, up to the next header: a setting of the top level that stands there by
/// accident would have no effect.
const TO_THE_TOP: &str = "move it to the top of the file, before the first [[...]]";

/// `X-Name` of `x-name`, as fields are mostly written.
fn capitalised(name: &str) -> String {
    let part = |part: &str| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

fn is_of_the_top(key: &str) -> bool {
    TABLE.iter().any(|row| row.key() == key)
}

fn not_of_a_route(place: &str, key: &str) -> Error {
    if is_of_the_top(key) {
        return Error::at(place, format!("{key} is for all routes; {TO_THE_TOP}"));
    }
    let guess = did_you_mean(key, route::keys().map(Setting::key));
    Error::at(place, format!("unknown key {} in `route`{guess}", shown(key)))
}
