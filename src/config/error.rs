//! The one line that a user reads when a setting is wrong.
//!
//! It says where (flag, variable, or file:line:column and key), what was given, and what to write instead.
//!
//! The problem: a value comes from outside and may contain anything. So it is quoted and cut: the line stays one line,
//! and cannot control the terminal.
//!
//! Not here: an enum of causes. No code tells one mistake in a setting from another; people read the line.

use std::fmt;

/// What is wrong with the settings, in one line without the program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    pub(super) fn new(line: impl Into<String>) -> Error {
        Error(line.into())
    }

    /// `place` is a flag, a variable, or a position in the file and a key.
    pub(super) fn at(place: impl fmt::Display, fault: impl fmt::Display) -> Error {
        Error(format!("{place}: {fault}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A user's text for a message: quoted, escaped, and at most 60 characters of it.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// `; did you mean --workers?` if one of `names` is near enough to `word`; otherwise an empty text.
pub(super) fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, names).map_or(String::new(), |name| format!("; did you mean {name}?"))
}

/// The nearest of `names`, if it is near enough. Up to a third of the letters wrong is a typing error. More is another
/// word, and a wrong guess is worse than none.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = names.into_iter().map(|name| (distance(word, name), name)).min()?;
    (distance <= name.len() / 3).then_some(name)
}

/// The edit distance in which two neighbours that have changed places are one error, as they are for a hand (optimal string
/// alignment). A word is cut at 64 bytes: a longer one is no typing error, and the cost is length times length.
fn distance(word: &str, name: &str) -> usize {
    let (word, name) = (&word.as_bytes()[..word.len().min(64)], name.as_bytes());
    let mut above: Vec<usize> = (0..=name.len()).collect();
    let mut above_that = Vec::new();
    for (i, a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in name.iter().enumerate() {
            let replaced = above[j] + usize::from(a != b);
            let one_more = above[j + 1].min(row[j]) + 1;
            let is_swapped = i > 0 && j > 0 && *a == name[j - 1] && *b == word[i - 1];
            let swapped = if is_swapped { above_that[j - 1] + 1 } else { replaced };
            row.push(replaced.min(one_more).min(swapped));
        }
        above_that = std::mem::replace(&mut above, row);
    }
    above[name.len()]
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, distance, shown};

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("drian", "drain", 1),
            ("ba", "ab", 1),
            ("bca", "abc", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["--workers", "--queue", "--queue-timeout"];
        assert_eq!(did_you_mean("--worker", names), "; did you mean --workers?");
        assert_eq!(did_you_mean("--queue_timeout", names), "; did you mean --queue-timeout?");
        assert_eq!(did_you_mean("--tls", names), "");
        assert_eq!(did_you_mean("", []), "");
    }

    #[test]
    fn a_shown_text_is_one_short_line() {
        assert_eq!(shown("a\n\x1b[2J\"b\""), r#""a\n\u{1b}[2J\"b\"""#);
        assert_eq!(shown(&"ü".repeat(61)), format!("\"{}\"…", "ü".repeat(60)));
    }
}
