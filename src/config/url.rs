//! A URL as a user gives it to ask which route it takes.
//!
//! Not here: what a request may ask for (`http1::head`).

use super::error::shown;
use std::fmt;
use std::str::FromStr;

/// The parts of `http://example.com/api?x` by which a route is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub is_https: bool,
    /// `example.com`, with a port if there is one.
    pub authority: String,
    /// With the query; begins with `/`.
    pub path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_https = scheme.eq_ignore_ascii_case("https");
        let is_scheme = is_https || scheme.eq_ignore_ascii_case("http");
        // A fragment is not sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let is_sent = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_scheme || authority.is_empty() || authority.contains('@') || !is_sent {
            return Err(format!("{} is not a URL; give http://example.com/api", shown(text)));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { is_https, authority: authority.to_owned(), path: format!("{slash}{path}") })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn the_parts_of_a_url() {
        for (text, shown) in [
            ("http://a/b?c#d", "http://a/b?c"),
            ("https://a:8443", "https://a:8443/"),
            ("a/b", "http://a/b"),
            ("a?b", "http://a/?b"),
            ("[::1]:80/x", "http://[::1]:80/x"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), shown);
        }
        for text in ["", "/api", "http://", "ftp://a/", "http://me@a/", "http://a/ b", "http://ä/"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
