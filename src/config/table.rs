//! What becomes of a row of the settings: its description, a field of `Config`, and a key of the file.
//!
//! The problem: the rows are data, but each has a type of its own, so no list of values could hold them. A macro turns them
//! into what a patient author would have written by hand in four places.
//!
//! Not here: the rows (`config`).

/// A row begins with its comment: the help shows the first line, the README all of it. Left of the arrow is what a user
/// sees; `per Route` allows the setting in a route, too. Right of it are the field of `Config`, its type, whether it takes
/// one value, maybe one, or a list (`One`, `Maybe`, `Each`, `FieldLines`), and the reader that parses a value.
macro_rules! settings {
    ($( $group:literal { $(
        #[doc = $what:literal] $(#[doc = $why:literal])*
        $flag:literal $form:literal, $(per $scope:ident,)? default $default:literal $([$least:literal to $most:literal])?
            => $field:ident: $type:ty = $arity:ident($reader:ident);
    )* } )*) => {
        /// The rows by name, as in `row::listen.flag`.
        #[allow(non_upper_case_globals)]
        pub mod row {
            use super::{Arity, Each, FieldLines, Maybe, One, Routes, Scope, Series, Setting};

            $($(
                #[doc = $what]
                pub static $field: Setting = Setting {
                    group: $group,
                    flag: $flag,
                    form: $form,
                    default: $default,
                    bounds: [$(Some(($least, $most)),)? None][0],
                    what: $what.trim_ascii(),
                    why: concat!($($why),*).trim_ascii(),
                    separator: $arity::SEPARATOR,
                    scope: [$(Scope::$scope,)? Scope::Top][0],
                };
            )*)*
        }

        /// All rows, in the order of the help.
        pub static TABLE: &[&Setting] = &[$($( &row::$field ),*),*];

        /// Every setting, typed and within its bounds.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {$($(
            #[doc = $what] #[doc = ""] $(#[doc = $why])* #[doc = ""]
            #[doc = concat!("`", $flag, " ", $form, "`, default `", $default, "`" $(, ", `", $least, "` to `", $most, "`")?)]
            pub $field: $type,
        )*)*}

        impl Config {
            /// Reads every setting from its sources, the weakest first.
            pub(super) fn from_sources(sources: &[&Source]) -> Result<Config, Error> {
                Ok(Config {$($( $field: $arity::from_sources(&row::$field, sources, $reader)?, )*)*})
            }
        }

        /// The configuration file: one key for each row, and no other.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(super) struct Document {
            $($( $field: Option<Spanned<<$arity as Arity>::Written>>, )*)*
            tls: Option<Vec<Spanned<PairTable>>>,
            max_transfers: Option<IgnoredAny>,
            max_per_backend: Option<IgnoredAny>,
        }

        impl Document {
            /// The settings of older versions that the file has.
            pub(super) fn retired(&self) -> impl Iterator<Item = &'static Retired> + use<> {
                let there = [self.max_transfers.is_some(), self.max_per_backend.is_some()];
                RETIRED.iter().zip(there).filter_map(|(retired, is_there)| is_there.then_some(retired))
            }

            /// The `[[tls]]` tables.
            pub(super) fn take_pairs(&mut self) -> Vec<Spanned<PairTable>> {
                self.tls.take().unwrap_or_default()
            }

            /// The rows that the file sets, each with its entry.
            pub(super) fn entries(self) -> impl Iterator<Item = (&'static Setting, Spanned<Entry>)> {
                let entries = [$($( (&row::$field, self.$field.map(entry::entry)) ),*),*];
                entries.into_iter().filter_map(|(row, entry)| Some((row, entry?)))
            }
        }
    };
}

pub(super) use settings;
