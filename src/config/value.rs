//! Parses texts into values: counts, sizes, times, words; one, maybe one, or a list of them.
//!
//! The problem: `--idle-timeout 30` is 30 milliseconds to one reader and 30 seconds to another. So a time always has a
//! unit, and a size is in bytes unless a letter follows. Numbers are whole: `1.5s` is written `1500ms`, and no limit
//! ever depends on a float.
//!
//! Not here: which setting takes which of these (the table in `config`), and addresses (`address`).

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;

use super::entry::Entry;
use super::error::{Error, shown};
use super::{RawValue, Setting, Source};

/// Parses one raw value, or says what is wrong with it.
pub(super) type Reader<T> = fn(&RawValue, &Setting) -> Result<T, String>;

/// Reads one setting: its default, overridden by each source that sets it, the weakest source first.
///
/// Every source is read, even one that a stronger source overrides: otherwise a mistake in the file would show only on
/// the day when the flag that hides it is removed, and that is a bad day to find it.
pub(super) fn from_sources<T, V>(
    row: &Setting,
    sources: &[&Source],
    read: impl Fn(&[RawValue], &Setting, Reader<T>) -> Result<V, Error>,
    reader: Reader<T>,
) -> Result<V, Error> {
    let default: Vec<RawValue> =
        row.default.split_terminator(',').map(|text| RawValue::new(text, "default")).collect();
    let mut value = read(&default, row, reader)?;
    for raw in sources.iter().filter_map(|source| source.get(row.flag)) {
        value = read(raw, row, reader)?;
    }
    Ok(value)
}

/// How many values a setting takes.
pub(super) trait Arity {
    /// See [`Setting::separator`].
    const SEPARATOR: Option<char>;

    /// What it is in the file.
    type Written: Into<Entry>;
}

/// A setting that takes exactly one value.
pub(super) struct One;
/// A setting that takes one value, or the word that is its default and means `None`: `unlimited`, `off`, `auto`. The
/// word can be given like any value, so that a stronger source can undo the value of a weaker one.
pub(super) struct Maybe;
/// A setting that takes a list.
pub(super) struct Each;
/// A setting that takes a list beside another one: the places count, so a value may come twice.
pub(super) struct Series;

impl Arity for One {
    const SEPARATOR: Option<char> = None;
    type Written = Entry;
}

impl One {
    pub(super) fn from_sources<T>(row: &Setting, sources: &[&Source], reader: Reader<T>) -> Result<T, Error> {
        from_sources(row, sources, Self::read, reader)
    }

    pub(super) fn read<T>(raw: &[RawValue], row: &Setting, reader: Reader<T>) -> Result<T, Error> {
        match raw {
            [only] => read(only, row, reader),
            [_, second, ..] => Err(Error::at(&second.place, "given twice; it takes one value")),
            [] => Err(Error::at(row.flag, "needs a value")),
        }
    }
}

impl Arity for Maybe {
    const SEPARATOR: Option<char> = None;
    type Written = Entry;
}

impl Maybe {
    pub(super) fn from_sources<T>(
        row: &Setting,
        sources: &[&Source],
        reader: Reader<T>,
    ) -> Result<Option<T>, Error> {
        from_sources(row, sources, Self::read, reader)
    }

    pub(super) fn read<T>(raw: &[RawValue], row: &Setting, reader: Reader<T>) -> Result<Option<T>, Error> {
        match raw {
            [only] if only.text == row.default => Ok(None),
            _ => One::read(raw, row, reader).map(Some),
        }
    }
}

impl Arity for Each {
    const SEPARATOR: Option<char> = Some(',');
    type Written = Entry;
}

impl Each {
    pub(super) fn from_sources<T: Display>(
        row: &Setting,
        sources: &[&Source],
        reader: Reader<T>,
    ) -> Result<Vec<T>, Error> {
        from_sources(row, sources, Self::read, reader)
    }

    /// The same value twice is an error: it is always a mistake, and a backend given twice would silently get two
    /// turns.
    pub(super) fn read<T: Display>(
        raw: &[RawValue],
        row: &Setting,
        reader: Reader<T>,
    ) -> Result<Vec<T>, Error> {
        let mut values: Vec<T> = Vec::new();
        let mut names = Vec::new();
        for raw in raw {
            let value = read(raw, row, reader)?;
            let name = value.to_string();
            if names.contains(&name) {
                return Err(Error::at(&raw.place, format_args!("{name} is given twice")));
            }
            names.push(name);
            values.push(value);
        }
        Ok(values)
    }
}

impl Arity for Series {
    // What it takes may have a comma in it. The file has tables for several.
    const SEPARATOR: Option<char> = None;
    type Written = Entry;
}

impl Series {
    pub(super) fn from_sources<T>(
        row: &Setting,
        sources: &[&Source],
        reader: Reader<T>,
    ) -> Result<Vec<T>, Error> {
        from_sources(row, sources, Self::read, reader)
    }

    fn read<T>(raw: &[RawValue], row: &Setting, reader: Reader<T>) -> Result<Vec<T>, Error> {
        raw.iter().map(|raw| read(raw, row, reader)).collect()
    }
}

fn read<T>(raw: &RawValue, row: &Setting, reader: Reader<T>) -> Result<T, Error> {
    if raw.text.is_empty() {
        return Err(Error::at(&raw.place, "the value is empty"));
    }
    reader(raw, row).map_err(|fault| Error::at(&raw.place, fault))
}

/// A whole number.
pub(super) fn count<N: TryFrom<u64>>(raw: &RawValue, row: &Setting) -> Result<N, String> {
    bounded(&raw.text, row, whole)
}

/// A size in bytes, or in a power of 1024: `500`, `64k`, `1m`, `2g`, `1t`.
pub(super) fn size<N: TryFrom<u64>>(raw: &RawValue, row: &Setting) -> Result<N, String> {
    bounded(&raw.text, row, bytes)
}

/// `500ms`, `2s`, `1m`, `1h`.
pub(super) fn time(raw: &RawValue, row: &Setting) -> Result<Duration, String> {
    bounded(&raw.text, row, millis).map(Duration::from_millis)
}

/// `true` or `false`; the bare flag is `true`.
pub(super) fn switch(raw: &RawValue, _: &Setting) -> Result<bool, String> {
    word(&raw.text, "true or false")
}

/// One of the words of [`AccessLog`].
pub(super) fn access_log(raw: &RawValue, _: &Setting) -> Result<AccessLog, String> {
    word(&raw.text, "off, plain, combined or json")
}

/// One of the words of [`Scheduling`].
pub(super) fn scheduling(raw: &RawValue, _: &Setting) -> Result<Scheduling, String> {
    word(&raw.text, "batch or inherit")
}

/// One of the words of [`Balance`].
pub(super) fn balance(raw: &RawValue, _: &Setting) -> Result<Balance, String> {
    word(&raw.text, "round-robin, least-connections or client-address")
}

/// `true`, `false` or a number; the bare flag is `true`.
pub(super) fn explain(raw: &RawValue, _: &Setting) -> Result<Explain, String> {
    word(&raw.text, "true, false or a number of requests")
}

/// The level of the diagnostics.
pub(super) fn level(raw: &RawValue, _: &Setting) -> Result<LevelFilter, String> {
    word(&raw.text, "off, error, warn, info, debug or trace")
}

/// The format of the access log, on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// No access log.
    Off,
    /// A line for a person: the request, its outcome, and where the time went.
    Plain,
    /// The combined format of Apache and nginx, for the tools that read it.
    Combined,
    /// A JSON object per line.
    Json,
}

impl FromStr for AccessLog {
    type Err = ();

    fn from_str(text: &str) -> Result<AccessLog, ()> {
        match text {
            "off" => Ok(AccessLog::Off),
            "plain" => Ok(AccessLog::Plain),
            "combined" => Ok(AccessLog::Combined),
            "json" => Ok(AccessLog::Json),
            _ => Err(()),
        }
    }
}

/// Which requests are explained in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    Nothing,
    /// The first so many since the start.
    First(u64),
    Everything,
}

impl FromStr for Explain {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "true" => Ok(Self::Everything),
            "false" => Ok(Self::Nothing),
            number => number.parse().map(Self::First).map_err(drop),
        }
    }
}

/// Which backend a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// By turns.
    RoundRobin,
    /// To the one with the fewest requests in flight, for its weight; by turns among equals.
    LeastConnections,
    /// Always to the same one, as long as that is in the round.
    ClientAddress,
}

impl FromStr for Balance {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "round-robin" => Ok(Self::RoundRobin),
            "least-connections" => Ok(Self::LeastConnections),
            "client-address" => Ok(Self::ClientAddress),
            _ => Err(()),
        }
    }
}

/// The scheduling policy of ronde's threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// `SCHED_BATCH` (sched(7)), where the system permits it.
    Batch,
    /// The policy that ronde was started with; no call is made.
    Inherit,
}

impl FromStr for Scheduling {
    type Err = ();

    fn from_str(text: &str) -> Result<Scheduling, ()> {
        match text {
            "batch" => Ok(Scheduling::Batch),
            "inherit" => Ok(Scheduling::Inherit),
            _ => Err(()),
        }
    }
}

fn word<T: FromStr>(text: &str, words: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{} is unknown; give {words}", shown(text)))
}

/// Parses a number with `read`, and its bounds with the same function.
fn bounded<N: TryFrom<u64>>(
    text: &str,
    row: &Setting,
    read: fn(&str) -> Result<u64, String>,
) -> Result<N, String> {
    let Some((least, most)) = row.bounds else {
        return Err("its row in the table has no bounds".into());
    };
    // A default that is not a number is the word of a `Maybe`.
    let is_number = row.default.is_empty() || read(row.default).is_ok();
    let or = if is_number { String::new() } else { format!(", or {}", row.default) };
    let allowed = format!("give {least} to {most}{or}");
    let number = read(text).map_err(|fault| format!("{} {fault}; {allowed}", shown(text)))?;
    if number < read(least)? || number > read(most)? {
        return Err(format!("{} is out of bounds; {allowed}", shown(text)));
    }
    N::try_from(number).map_err(|_| format!("{} is too large for this machine", shown(text)))
}

fn whole(text: &str) -> Result<u64, String> {
    // `parse` alone would accept a plus sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number".into());
    }
    text.parse().map_err(|_| "is far too large".into())
}

/// The units of a size, the largest first.
const SIZES: [(&str, u64); 5] = [("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10), ("", 1)];
/// The units of a time in milliseconds, the largest first.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A unit as other programs write it, and what it is here: so many of that unit.
type Alias = (&'static [&'static str], u64, &'static str);

/// For hints only: MB is 1000000 to one reader and 1048576 to another.
const SIZE_ALIASES: [Alias; 5] = [
    (&["b"], 1, ""),
    (&["k", "kb", "kib"], 1, "k"),
    (&["m", "mb", "mib"], 1, "m"),
    (&["g", "gb", "gib"], 1, "g"),
    (&["t", "tb", "tib"], 1, "t"),
];
const TIME_ALIASES: [Alias; 5] = [
    (&["ms", "msec"], 1, "ms"),
    (&["s", "sec", "secs", "second", "seconds"], 1, "s"),
    (&["m", "min", "mins", "minute", "minutes"], 1, "m"),
    (&["h", "hr", "hour", "hours"], 1, "h"),
    (&["d", "day", "days"], 24, "h"),
];

fn bytes(text: &str) -> Result<u64, String> {
    scaled(&text.to_ascii_lowercase(), &SIZES)
        .unwrap_or_else(|| Err(misread(text, "size", &SIZE_ALIASES, "500, 64k or 1m")))
}

pub(super) fn millis(text: &str) -> Result<u64, String> {
    if whole(text).is_ok() {
        return Err(format!("has no unit, as in {text}s or {text}ms"));
    }
    scaled(text, &TIMES).unwrap_or_else(|| Err(misread(text, "time", &TIME_ALIASES, "500ms, 2s, 1m or 1h")))
}

/// A number and a unit, as the factor says; `None` if it is anything else.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<Result<u64, String>> {
    let (number, unit) = number_and_unit(text)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number.checked_mul(*factor).ok_or_else(|| "is far too large".into()))
}

/// `is not a size; write 10m`, for `10 MB`.
fn misread(text: &str, kind: &str, aliases: &[Alias], examples: &str) -> String {
    let text = text.to_ascii_lowercase();
    let meant = number_and_unit(&text).and_then(|(number, unit)| {
        let (_, times, unit) = aliases.iter().find(|(names, ..)| names.contains(&unit.trim_start()))?;
        Some(format!("{}{unit}", number.checked_mul(*times)?))
    });
    match meant {
        Some(meant) => format!("is not a {kind}; write {meant}"),
        None => format!("is not a {kind}, such as {examples}"),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((whole(number).ok()?, unit))
}

/// A time as a user would write it, in whole milliseconds: `90s`, `500ms`, `1h`.
pub fn time_text(time: Duration) -> String {
    unscaled(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), &TIMES)
}

/// So many of something: `1 connection`, `2 connections`.
pub fn count_text(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A size as a user would write it, exact: `64k`, `1m`, `1000`.
pub fn size_text(size: u64) -> String {
    unscaled(size, &SIZES)
}

fn unscaled(number: u64, units: &[(&str, u64)]) -> String {
    let whole = |(_, factor): &&(&str, u64)| number >= *factor && number.is_multiple_of(*factor);
    match units.iter().find(whole) {
        Some((unit, factor)) => format!("{}{unit}", number / factor),
        None => format!("{number}{}", units[units.len() - 1].0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{bytes, count_text, millis, size_text, time_text, whole};

    #[test]
    fn one_is_one() {
        for (count, text) in [(0u64, "0 requests"), (1, "1 request"), (2, "2 requests")] {
            assert_eq!(count_text(count, "request"), text);
        }
    }

    #[test]
    fn numbers() {
        for (text, expected) in [("0", 0), ("007", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(whole(text), Ok(expected));
        }
        for text in ["", "+1", "-1", "1.5", " 1", "1_000", "0x10", "18446744073709551616", "१"] {
            assert!(whole(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [("0", 0), ("500", 500), ("64k", 65536), ("1M", 1 << 20), ("2g", 2 << 30)] {
            assert_eq!(bytes(text), Ok(expected));
        }
        for text in ["", "k", "64kb", "64 k", "1.5m", "-1k", "64KiB", "99999999999t", "1ſ"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, expected) in [("0s", 0), ("500ms", 500), ("2s", 2000), ("1m", 60_000), ("1h", 3_600_000)] {
            assert_eq!(millis(text), Ok(expected));
        }
        for text in
            ["", "s", "30", "0", "1.5s", "1 s", "1S", "1min", "-1s", "1d", "9999999999999999h", "1m30s"]
        {
            assert!(millis(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_as_it_was_written(size in any::<u64>()) {
            prop_assert_eq!(bytes(&size_text(size)), Ok(size));
        }

        #[test]
        fn a_time_reads_as_it_was_written(time in any::<u64>()) {
            prop_assert_eq!(millis(&time_text(Duration::from_millis(time))), Ok(time));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (whole(&text), bytes(&text), millis(&text));
        }
    }
}
