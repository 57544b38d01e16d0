//! Which route a request takes.
//!
//! The problem: a reading of all routes, one after the other, costs a thousand comparisons where there are a thousand. And
//! the rule must be told in one sentence: an exact host goes before a wildcard (the longer one first), a wildcard before
//! any host; then the longest path wins.
//!
//! The idea: a map of hosts, and for each a tree of path segments, which a path walks down once. So a request pays for its
//! host and its path, not for the routes.
//!
//! A path is compared as it came, byte by byte: neither decoded nor normalised. ronde forwards it as it came, too, and a
//! backend may see `/%61pi`, `//api` and `/x/../api` as three paths or as one; a proxy that guessed would route by one
//! meaning a request that is served by another. So `/api/../admin` takes the route of `/api`. Where routes have access lists,
//! a path of which there are two readings is refused instead (`plain_path`).
//!
//! Not here: what a route is (`config::route`), and what becomes of the request (`proxy`).

use crate::config::Host;
use crate::http1::plain_path;
use crate::http1::target::{host_of, path_of};
use crate::observe::failure::Failure;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::Ipv6Addr;

/// The routes, each as a value of the caller.
#[derive(Debug)]
pub struct Table<T> {
    exact: HashMap<String, Paths<T>>,
    /// By what follows `*.`.
    below: HashMap<String, Paths<T>>,
    /// The most bytes of a key of `below`. A host of 64 KB is not looked up at each of its dots.
    longest_below: usize,
    any: Paths<T>,
}

/// The paths of one host: a tree of their segments.
#[derive(Debug)]
struct Paths<T> {
    value: Option<T>,
    segments: HashMap<String, Paths<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        let (exact, below) = (HashMap::new(), HashMap::new());
        Self { exact, below, longest_below: 0, any: Paths::default() }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { value: None, segments: HashMap::new() }
    }
}

impl<T: Clone> Table<T> {
    /// Adds a route with these hosts (none: any) and this path (empty: any). A later one takes the place of an earlier one
    /// that says the same.
    pub fn insert(&mut self, hosts: &[Host], path: &str, value: T) {
        if hosts.is_empty() {
            self.any.insert(path, value.clone());
        }
        for host in hosts {
            let paths = match host {
                Host::Exact(name) => self.exact.entry(name.clone()).or_default(),
                Host::Below(name) => {
                    self.longest_below = self.longest_below.max(name.len());
                    self.below.entry(name.clone()).or_default()
                }
            };
            paths.insert(path, value.clone());
        }
    }

    /// The route of a request for this authority and this path. Only what stands before a `?` counts of the path.
    pub fn find(&self, authority: &str, path: &str) -> Option<&T> {
        let (path, host) = (path_of(path), compared(authority));
        self.exact
            .get(&*host)
            .and_then(|paths| paths.find(path))
            .or_else(|| self.find_below(&host, path))
            .or_else(|| self.any.find(path))
    }

    /// The same where access is restricted: of a host and a path that have one reading only, so that no backend can take them for
    /// those of another route.
    ///
    /// # Errors
    /// [`Failure::PathAmbiguous`]; [`Failure::HostInvalid`] of a host with `%`, which is another one to a server that decodes (RFC
    /// 3986 §6.2.2.2) and which no client sends.
    pub fn find_plain(&self, authority: &str, path: &str) -> Result<Option<&T>, Failure> {
        let found = self.find(authority, path);
        let is_same = |other: String| {
            plain_path::is_plain(&other)
                && self.find(authority, &other).map(std::ptr::from_ref) == found.map(std::ptr::from_ref)
        };
        if authority.contains('%') {
            return Err(Failure::HostInvalid);
        }
        let is_plain = plain_path::is_plain(path) && plain_path::other_readings(path).all(is_same);
        if is_plain { Ok(found) } else { Err(Failure::PathAmbiguous) }
    }

    /// The longest of the wildcards goes first.
    fn find_below(&self, host: &str, path: &str) -> Option<&T> {
        let from = host.len().saturating_sub(self.longest_below + 1);
        let dots = host.bytes().enumerate().skip(from.max(1)).filter(|(_, byte)| *byte == b'.');
        let mut names = dots.map(|(dot, _)| &host[dot + 1..]);
        names.find_map(|name| self.below.get(name)?.find(path))
    }
}

impl<T> Paths<T> {
    fn insert(&mut self, path: &str, value: T) {
        let segments = path.split('/').skip(1);
        let end = segments.fold(self, |node, segment| node.segments.entry(segment.to_owned()).or_default());
        end.value = Some(value);
    }

    fn find(&self, path: &str) -> Option<&T> {
        let mut node = self;
        let mut found = self.value.as_ref();
        for segment in path.split('/').skip(1) {
            let Some(next) = node.segments.get(segment) else { break };
            node = next;
            found = node.value.as_ref().or(found);
        }
        found
    }
}

/// A host as it is compared: without port and trailing dot, in lower case; an IPv6 address in its usual form.
fn compared(authority: &str) -> Cow<'_, str> {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|text| text.split_once(']'))
        && let Ok(address) = address.parse::<Ipv6Addr>()
    {
        return Cow::Owned(format!("[{address}]"));
    }
    let name = host_of(authority);
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of `host/path`, with an empty host for any.
    fn parts(route: &str) -> (Option<Host>, String) {
        let (host, path) = route.split_at(route.find('/').unwrap_or(route.len()));
        let host = match host.strip_prefix("*.") {
            _ if host.is_empty() => None,
            Some(name) => Some(Host::Below(name.into())),
            None => Some(Host::Exact(host.into())),
        };
        (host, path.into())
    }

    fn table<'a>(routes: &[&'a str]) -> Table<&'a str> {
        let mut table = Table::default();
        for route in routes {
            let (host, path) = parts(route);
            table.insert(host.as_slice(), &path, *route);
        }
        table
    }

    /// The naive reading: filter all, sort by specificity, take the first.
    fn naive<'a>(routes: &[&'a str], host: &str, path: &str) -> Option<&'a str> {
        let fits = |route: &&&str| {
            let (wanted, prefix) = parts(route);
            let fits_host = match &wanted {
                None => true,
                Some(Host::Exact(name)) => host == name,
                Some(Host::Below(name)) => host.len() > name.len() + 1 && host.ends_with(&format!(".{name}")),
            };
            let fits_path =
                path.strip_prefix(&*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            fits_host && (prefix.is_empty() || fits_path)
        };
        let specificity = |route: &&&str| {
            let (host, path) = parts(route);
            let host = match host {
                None => (0, 0),
                Some(Host::Below(name)) => (1, name.len()),
                Some(Host::Exact(_)) => (2, 0),
            };
            (host, path.len())
        };
        routes.iter().filter(fits).max_by_key(specificity).copied()
    }

    #[test]
    fn a_parameter_is_refused_where_it_hides_a_route() {
        let table = table(&["/admin", "/app", "/app/x"]);
        for (path, found) in [
            ("/app/y;a=1/z;b?c;d", Ok(Some("/app"))),
            ("/app/x/;s=1", Ok(Some("/app/x"))),
            ("/;s=1", Ok(None)),
            ("/y;s=1/admin", Ok(None)),
            ("/admin;s=1", Err(())),
            ("/admin%3fs=1", Err(())),
            ("/admin%23", Err(())),
            ("/app/y%3Fz%23", Ok(Some("/app"))),
            ("/C%23", Ok(None)),
            ("/admin%3bs/x", Err(())),
            ("/admin;s%3Ft", Err(())),
            ("/admin%3bs%23t", Err(())),
            ("/admin;s%3Ft/x", Err(())),
            ("/app/y;s%3Ft", Ok(Some("/app"))),
            // `/app` to a server that finds the end and then resolves the dots.
            ("/app/x/..%3Fs", Err(())),
            ("/app/x/..;s%23t", Err(())),
            ("/app;s=1/y", Err(())),
            ("/app/x;s=1", Err(())),
            ("/app/../admin", Err(())),
        ] {
            let plain = table.find_plain("a", path);
            assert_eq!(plain.map(Option::<&&str>::copied).map_err(|_| ()), found, "{path}");
        }
    }

    #[test]
    fn an_encoded_host_is_refused_where_it_may_hide_a_route() {
        let table = table(&["admin.example.com"]);
        for host in ["%61dmin.example.com", "admin%2Eexample.com", "admin.example.com:%3880"] {
            assert_eq!(table.find_plain(host, "/").err(), Some(Failure::HostInvalid), "{host}");
        }
        assert!(table.find_plain("admin.example.com:80", "/").is_ok_and(|found| found.is_some()));
    }

    #[test]
    fn the_most_specific_wins() {
        let all = [
            "example.com",
            "example.com/api",
            "example.com/api/v2",
            "*.example.com",
            "*.example.com/api",
            "*.a.example.com",
            "/api",
            "/a/b/c",
            "[::1]",
            "192.0.2.1",
        ];
        let table = table(&all);
        for (host, path, route) in [
            ("example.com", "/", Some("example.com")),
            ("example.com", "/api", Some("example.com/api")),
            ("example.com", "/api/", Some("example.com/api")),
            ("example.com", "/api?x=/v2", Some("example.com/api")),
            ("example.com", "/apix", Some("example.com")),
            ("example.com", "/API", Some("example.com")),
            ("example.com", "/api/v2/x", Some("example.com/api/v2")),
            ("example.com", "/api/v22", Some("example.com/api")),
            ("example.com", "/api/../admin", Some("example.com/api")),
            ("example.com", "/x/../api", Some("example.com")),
            ("example.com", "//api", Some("example.com")),
            ("example.com", "/%61pi", Some("example.com")),
            ("example.com", "", Some("example.com")),
            ("EXAMPLE.com.:8080", "/api/x", Some("example.com/api")),
            ("example.com:", "/", Some("example.com")),
            ("example.com..", "/", None),
            ("www.example.com", "/x", Some("*.example.com")),
            ("a.b.example.com", "/api", Some("*.example.com/api")),
            ("a.example.com", "/x", Some("*.example.com")),
            ("b.a.example.com", "/api", Some("*.a.example.com")),
            (".example.com", "/x", None),
            ("badexample.com", "/x", None),
            ("other", "/api/x", Some("/api")),
            ("other", "/x", None),
            ("other", "/a/b/c/d", Some("/a/b/c")),
            ("other", "/a/b", None),
            ("", "/api", Some("/api")),
            ("", "", None),
            ("[0:0::1]:80", "/", Some("[::1]")),
            ("192.0.2.1:80", "/", Some("192.0.2.1")),
        ] {
            assert_eq!(table.find(host, path).copied(), route, "{host} {path}");
        }
    }

    const HOSTS: [&str; 7] = ["", "b", "a.b", "c.a.b", "*.b", "*.a.b", "*.c.a.b"];
    const PATHS: [&str; 7] = ["", "/x", "/x/y", "/x/y/x", "/y", "/y/x", "/xy"];

    proptest! {
        #[test]
        fn it_is_the_naive_reading(
            chosen in prop::collection::vec(0usize..49, 0..20),
            host in prop::sample::select(&["b", "a.b", "c.a.b", "d.c.a.b", "e.d.c.a.b", "z.b", "ab", "c", ""][..]),
            path in "(/|/x|/y|/xy|x){0,5}",
        ) {
            let all: Vec<_> = chosen.iter().map(|at| format!("{}{}", HOSTS[at / 7], PATHS[at % 7])).collect();
            let mut all: Vec<_> = all.iter().map(String::as_str).collect();
            all.sort_unstable();
            all.dedup();
            let path = format!("/{path}");
            prop_assert_eq!(table(&all).find(host, &path).copied(), naive(&all, host, &path));
        }
    }
}
