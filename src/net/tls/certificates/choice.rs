//! Which certificate a client is shown.
//!
//! The problem: one address serves many hosts, and a client says in its first message which one it wants (SNI, RFC 6066
//! §3). A list of hosts beside each pair of files would be one more thing to keep true. So the names in the
//! certificates themselves decide:
//!
//! 1. the certificate that has the very name;
//! 2. else the one with a wildcard for it, which stands for one label (RFC 9525 §6.3);
//! 3. else the first. The same for a client that names no host.
//!
//! Of two with the same name, the first is shown. A client that asked for another name sees at once which certificate
//! it got; an alert (RFC 6066 allows it) would only say that something is wrong.
//!
//! Not here: what the names are (`leaf`).

use std::collections::HashMap;

/// The certificates, as values of the caller.
#[derive(Debug)]
pub struct Choice<T> {
    first: T,
    exact: HashMap<String, T>,
    /// By what follows `*.`.
    below: HashMap<String, T>,
}

impl<T: Clone> Choice<T> {
    /// Of these, each with its names. `None`: there are none.
    pub fn new<'a>(all: impl IntoIterator<Item = (&'a [String], T)>) -> Option<Self> {
        let mut choice: Option<Self> = None;
        for (names, value) in all {
            let choice = choice.get_or_insert_with(|| Self {
                first: value.clone(),
                exact: HashMap::new(),
                below: HashMap::new(),
            });
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(below) => (&mut choice.below, below),
                    None => (&mut choice.exact, &**name),
                };
                map.entry(name.to_owned()).or_insert_with(|| value.clone());
            }
        }
        choice
    }

    /// For a client that asks for this host, if it names one.
    pub fn of(&self, host: Option<&str>) -> &T {
        host.and_then(|host| self.named(host)).unwrap_or(&self.first)
    }

    fn named(&self, host: &str) -> Option<&T> {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let below = || host.split_once('.').and_then(|(_, below)| self.below.get(below));
        self.exact.get(host).or_else(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_the_certificates_decide() {
        let names = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let all = [
            (names("first.example"), 0),
            (names("*.example.com example.com"), 1),
            (names("a.example.com"), 2),
            (names("*.b.example.com"), 3),
            (names("a.example.com *.example.com [::1]"), 4),
        ];
        let choice = Choice::new(all.iter().map(|(names, number)| (&names[..], *number))).unwrap();
        for (host, number) in [
            (None, 0),
            (Some("first.example"), 0),
            (Some("other.example"), 0),
            (Some(""), 0),
            (Some("."), 0),
            (Some("com"), 0),
            (Some("example.com"), 1),
            (Some("EXAMPLE.com."), 1),
            (Some("x.example.com"), 1),
            (Some("A.Example.Com"), 2),
            (Some("x.b.example.com"), 3),
            // A wildcard stands for one label, not for two and not for none.
            (Some("x.y.example.com"), 0),
            (Some("b.example.com"), 1),
            (Some(".example.com"), 1),
            (Some("*.example.com"), 1),
        ] {
            assert_eq!(*choice.of(host), number, "{host:?}");
        }
        assert!(Choice::<u8>::new([]).is_none());
    }
}
