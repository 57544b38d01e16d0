//! What a health check asks, and which answers are well or count as none, as users write it.
//!
//! The problem: a path, a Host and a status go into a request line, a field line and a comparison. What would break the
//! first two, or could never be true in the third, is refused where it was written.
//!
//! Not here: checking (`backend::checks`).

use std::fmt;
use std::ops::RangeInclusive;

use super::authority::is_authority;
use super::error::shown;
use super::{RawValue, Setting};

/// The reader of `--health-path`. A byte that would break the request line is refused.
pub(super) fn path(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let text = &raw.text;
    if !text.starts_with('/') {
        return Err(format!("{} is not a path; give one that begins with /, as in /health", shown(text)));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(format!("{} has a character that no path may have; percent-encode it", shown(text)));
    }
    Ok(text.clone())
}

/// The reader of `--health-host`: a name or an address, and perhaps a port (RFC 9110 §7.2).
pub(super) fn host(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let text = &raw.text;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    match is_authority(text.as_bytes()) && text.bytes().all(is_part) {
        true => Ok(text.clone()),
        false => {
            Err(format!("{} is not a host; give one such as app.example or app.example:8000", shown(text)))
        }
    }
}

/// The reader of `--health-status` and `--retry-status`.
pub(super) fn statuses(raw: &RawValue, row: &Setting) -> Result<Statuses, String> {
    let bounds = row.bounds.ok_or("its row in the table has no bounds")?;
    Statuses::parse(&raw.text, bounds)
}

/// A status, or a range of them: `401`, `200-399`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(RangeInclusive<u16>);

impl Statuses {
    /// Of three digits are bounds and statuses, so as texts they have the order that they have as numbers.
    fn parse(text: &str, (least, most): (&str, &str)) -> Result<Self, String> {
        let status = |digits: &str| {
            let is_one = digits.len() == 3 && (least..=most).contains(&digits);
            digits.parse().ok().filter(|_| is_one)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!(
                "{} is no status; give {least} to {most}, or a range such as 502-504",
                shown(text)
            )),
        }
    }

    pub fn contains(&self, status: u16) -> bool {
        self.0.contains(&status)
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.start() == self.0.end() {
            true => write!(f, "{}", self.0.start()),
            false => write!(f, "{}-{}", self.0.start(), self.0.end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Statuses;

    #[test]
    fn a_status_or_a_range() {
        for (text, well, ill) in [("401", 401, 400), ("200-399", 399, 400), ("200-599", 200, 600)] {
            let statuses = Statuses::parse(text, ("200", "599")).unwrap();
            assert!(statuses.contains(well) && !statuses.contains(ill), "{text}");
            assert_eq!(statuses.to_string(), text);
        }
        for text in
            ["", "2xx", "-", "200-", "-200", "199", "100-300", "600", "399-200", "0200", "+20", "200-300-400"]
        {
            assert!(Statuses::parse(text, ("200", "599")).is_err(), "{text}");
        }
        for text in ["399", "399-400", "200", "599-600"] {
            assert!(Statuses::parse(text, ("400", "599")).is_err(), "{text}");
        }
    }
}
