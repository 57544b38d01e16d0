//! What stands behind a key of the configuration file, as serde reads it: texts, lists and tables, with their positions.
//!
//! The problem: serde's own way to read a value of several kinds goes through a buffer, which loses the positions, and its
//! errors then point nowhere. So the kinds are told apart by hand, and a number is kept as the text that it is for a flag.
//!
//! Not here: what the values mean for a row, and errors in the words of ronde (`file`).

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::fields::{self, FieldTable};
use super::route;

/// A key with its value.
pub(super) type Field = (Spanned<String>, Spanned<Entry>);

/// The value of a key: any single value as its text, a list, a `[[backend]]` table, all `[[route]]` tables, or a table of
/// header fields.
pub(super) enum Entry {
    Text(String),
    List(Vec<Spanned<Entry>>),
    Table(BackendTable),
    Routes(Vec<Spanned<RouteTable>>),
    Fields(Vec<Field>),
}

/// What was written for a row, whatever it may be.
pub(super) fn entry<W: Into<Entry>>(written: Spanned<W>) -> Spanned<Entry> {
    Spanned::new(written.span(), written.into_inner().into())
}

/// All `[[route]]` tables.
pub(super) struct RouteEntries(Vec<Spanned<RouteTable>>);

impl<'de> Deserialize<'de> for RouteEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RouteEntries, D::Error> {
        deserializer.deserialize_seq(RoutesVisitor)
    }
}

struct RoutesVisitor;

impl<'de> Visitor<'de> for RoutesVisitor {
    type Value = RouteEntries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tables, each under [[route]]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RouteEntries, A::Error> {
        let mut tables = Vec::new();
        while let Some(table) = list.next_element()? {
            tables.push(table);
        }
        Ok(RouteEntries(tables))
    }
}

impl From<RouteEntries> for Entry {
    fn from(RouteEntries(tables): RouteEntries) -> Entry {
        Entry::Routes(tables)
    }
}

/// The keys of a `[[route]]`, with their positions.
pub(super) struct RouteTable(pub Vec<Field>);

impl<'de> Deserialize<'de> for RouteTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RouteTable, D::Error> {
        deserializer.deserialize_map(RouteVisitor)
    }
}

struct RouteVisitor;

impl<'de> Visitor<'de> for RouteVisitor {
    type Value = RouteTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table [[route]]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<RouteTable, A::Error> {
        let mut keys: Vec<Field> = Vec::new();
        while let Some(key) = table.next_key::<Spanned<String>>()? {
            let value = match route::row_of(key.get_ref()) {
                Some(row) if fields::is_table(row) => entry(table.next_value::<Spanned<FieldTable>>()?),
                _ => table.next_value()?,
            };
            keys.push((key, value));
        }
        Ok(RouteTable(keys))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BackendTable {
    pub address: Spanned<String>,
    pub weight: Option<Spanned<i128>>,
    #[serde(default)]
    pub backup: bool,
    pub max_connections: Option<Spanned<i128>>,
}

/// A `[[tls]]` table: a certificate and its key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PairTable {
    pub certificate: Spanned<String>,
    pub key: Spanned<String>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, true, false, a list or a table")
    }

    fn visit_str<E>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Text(text.to_string()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Entry, E> {
        Ok(Entry::Text(value.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Entry, E> {
        Ok(Entry::Text(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Entry, E> {
        Ok(Entry::Text(number.to_string()))
    }

    // Longer ones have the bounds of their rows as well.
    fn visit_i128<E>(self, number: i128) -> Result<Entry, E> {
        Ok(Entry::Text(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Entry, E> {
        Ok(Entry::Text(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Entry, E> {
        Ok(Entry::Text(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entry, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Entry::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Entry, A::Error> {
        BackendTable::deserialize(MapAccessDeserializer::new(table)).map(Entry::Table)
    }
}
