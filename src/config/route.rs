//! Routes as users write them: which requests, and what becomes of them.
//!
//! ```toml
//! [[route]]
//! host = ["example.com", "*.example.com"]
//! path = "/api"
//! backend = "app1:8000"
//! response-timeout = "5s"
//! ```
//!
//! The problem: a route has settings of its own, and all the others it inherits. Two sets of readers and defaults would
//! soon differ. So the keys of a route are one more [`Source`], stronger than those of the top level, and the settings of
//! a route are a whole [`Config`]. The few keys that only a route has are rows of the same kind (`KEYS`).
//!
//! Not here: which route a request takes (`http1::routing`).

use super::address::is_name;
use super::authority::is_authority;
use super::entry::RouteEntries;
use super::error::{Error, shown};
use super::value::{Arity, Each, One, count, switch};
use super::{Backend, Config, RawValue, Scope, Setting, Source, row};
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The requests that belong together, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Empty: any host.
    pub hosts: Vec<Host>,
    /// A prefix that ends with a segment, such as `/api`; empty: any path.
    pub path: String,
    pub action: Action,
    /// Every setting: the route's own, and for the rest those of the top level. Its backends are the route's. A kilobyte: a
    /// route shares it with the one before it where nothing differs.
    pub config: Arc<Config>,
}

/// A host as it is compared: in lower case, without port and trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `example.com`, `192.0.2.1`, `[::1]`.
    Exact(String),
    /// `*.example.com`: every name below this one, at any depth, and not the name itself.
    Below(String),
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to the backends.
    Proxy(Prefix),
    /// 308 to the same path and query at this origin, such as `https://www.example.com`.
    Redirect(String),
    /// 308 to the same host, path and query over https. No route of a user says so: it is for `--redirect-to-https`.
    ToHttps,
    /// This status and text.
    Respond { status: u16, text: String },
}

/// What becomes of a route's path on the way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Kept,
    Stripped,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl fmt::Display for Route {
    /// As on the command line: `example.com,*.example.com/api`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        match (hosts.is_empty(), self.path.is_empty()) {
            (true, true) => f.write_str("everything"),
            _ => write!(f, "{}{}", hosts.join(","), self.path),
        }
    }
}

/// A setting that takes routes: a list of what has lists of its own, so not the comma divides it.
pub(super) struct Routes;

impl Arity for Routes {
    const SEPARATOR: Option<char> = Some(';');
    type Written = RouteEntries;
}

/// Reads one route, with the sources of the settings that it inherits.
pub(super) type RouteReader = fn(&RawValue, &[&Source]) -> Result<Route, Error>;

impl Routes {
    /// As [`super::value::from_sources`]: every source is read, and the strongest counts.
    pub(super) fn from_sources(
        row: &Setting,
        sources: &[&Source],
        read: RouteReader,
    ) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        let written: Vec<_> = sources.iter().filter_map(|source| source.get(row.flag)).collect();
        if written.is_empty() {
            return Ok(routes);
        }
        let inherited: Vec<_> = sources.iter().map(|source| without_routes(source)).collect();
        let inherited: Vec<_> = inherited.iter().collect();
        let has_others = sources.iter().any(|source| source.contains_key(row::backend.flag));
        for raws in written {
            routes.clear();
            let mut places = HashMap::new();
            for raw in raws {
                let mut route = read(raw, &inherited)?;
                if let Some(before) = routes.last().filter(|before: &&Route| before.config == route.config) {
                    route.config = Arc::clone(&before.config);
                }
                if has_others && route.hosts.is_empty() && route.path.is_empty() {
                    let fault = "takes every request, so no other backend gets any; give it a host or a path";
                    return Err(Error::at(&raw.place, fault));
                }
                for said in said_by(&route) {
                    if let Some(before) = places.insert(said.clone(), &raw.place) {
                        let earlier = if *before == raw.place { "" } else { &format!(", first at {before}") };
                        return Err(Error::at(&raw.place, format_args!("{said} is routed twice{earlier}")));
                    }
                }
                routes.push(route);
            }
        }
        Ok(routes)
    }
}

/// Each host with the path: what no other route may say.
fn said_by(route: &Route) -> Vec<String> {
    match &route.hosts[..] {
        [] => vec![route.to_string()],
        hosts => hosts.iter().map(|host| format!("{host}{}", route.path)).collect(),
    }
}

/// A route inherits every setting but these.
fn without_routes(source: &Source) -> Source {
    let is_own = |flag: &str| flag == row::route.flag || flag == row::backend.flag;
    let inherited = source.iter().filter(|(flag, _)| !is_own(flag));
    inherited.map(|(flag, raws)| (*flag, raws.clone())).collect()
}

/// A row that only a route has.
pub(super) const fn key(
    flag: &'static str,
    form: &'static str,
    separator: Option<char>,
    what: &'static str,
) -> Setting {
    let (group, default, bounds, why, scope) = ("Route", "", None, "", Scope::Route);
    Setting { group, flag, form, default, bounds, what, why, separator, scope }
}

static HOST: Setting =
    key("--host", "HOST", Each::SEPARATOR, "hosts; *.example.com takes all names below it");
static PATH: Setting = key("--path", "PATH", None, "a prefix of whole segments");
static STRIP: Setting = key("--strip", "", None, "take the path off on the way to the backend");
static REDIRECT: Setting = key("--redirect", "URL", None, "308 to the same path and query there");
static RESPOND: Setting = Setting {
    bounds: Some(("200", "599")),
    ..key("--respond", "STATUS", None, "this status instead of a backend's answer")
};
static TEXT: Setting = key("--text", "TEXT", None, "the sentence that goes with it");

/// The keys that only a route has.
pub(super) static KEYS: [&Setting; 6] = [&HOST, &PATH, &STRIP, &REDIRECT, &RESPOND, &TEXT];

/// The row of a key in a `[[route]]`.
pub(super) fn row_of(key: &str) -> Option<&'static Setting> {
    keys().find(|row| row.key() == key)
}

/// The keys that a route may have.
pub(super) fn keys() -> impl Iterator<Item = &'static Setting> {
    let inherited = super::TABLE.iter().filter(|row| row.scope == Scope::Route);
    KEYS.into_iter().chain(inherited.copied())
}

/// The keys of a route, from a flag or a variable: `example.com/api=app1:8000,app2:8000`.
fn on_one_line(raw: &RawValue) -> Result<Source, Error> {
    let text = &raw.text;
    let Some((said, backends)) = text.rsplit_once('=') else {
        let fault = format!("{} is not a route; give HOST/PATH=HOST:PORT,...", shown(text));
        return Err(Error::at(&raw.place, fault));
    };
    if let Some(scheme) = ["http://", "https://"].into_iter().find(|scheme| said.starts_with(scheme)) {
        let fault = format!("{} is a URL; give HOST/PATH without {scheme}", shown(said));
        return Err(Error::at(&raw.place, fault));
    }
    let (hosts, path) = said.split_at(said.find('/').unwrap_or(said.len()));
    let values = |text: &str| -> Vec<_> {
        text.split(',').map(|text| RawValue::new(text.trim(), raw.place.clone())).collect()
    };
    let mut keys = Source::from([(row::backend.flag, values(backends))]);
    if !hosts.is_empty() {
        keys.insert(HOST.flag, values(hosts));
    }
    if !path.is_empty() {
        keys.insert(PATH.flag, vec![RawValue::new(path, raw.place.clone())]);
    }
    Ok(keys)
}

/// The reader of `--route` and `[[route]]`.
pub(super) fn route(raw: &RawValue, inherited: &[&Source]) -> Result<Route, Error> {
    let line;
    let keys = match &raw.route {
        Some(keys) => keys,
        None => {
            line = on_one_line(raw)?;
            &line
        }
    };
    let sources: Vec<_> = inherited.iter().copied().chain([keys]).collect();
    let mut config = Config::from_sources(&sources)?;
    config.prefer_own_fields(keys).map_err(|fault| Error::at(&raw.place, fault))?;
    let hosts = keys.get(HOST.flag).map_or(Ok(vec![]), |raws| Each::read(raws, &HOST, host))?;
    let path = sole(keys, &PATH, path)?.unwrap_or_default();
    let action = action(raw, keys, &config.backend)?;
    if path.is_empty() && action == Action::Proxy(Prefix::Stripped) {
        return Err(Error::at(&raw.place, "strip takes the path off, and this route has none"));
    }
    Ok(Route { hosts, path, action, config: Arc::new(config) })
}

fn sole<T>(
    keys: &Source,
    row: &Setting,
    reader: fn(&RawValue, &Setting) -> Result<T, String>,
) -> Result<Option<T>, Error> {
    keys.get(row.flag).map(|raws| One::read(raws, row, reader)).transpose()
}

fn action(raw: &RawValue, keys: &Source, backends: &[Backend]) -> Result<Action, Error> {
    let strip = sole(keys, &STRIP, switch)?.unwrap_or_default();
    let redirect = sole(keys, &REDIRECT, origin)?;
    let status = sole(keys, &RESPOND, status)?;
    let said = sole(keys, &TEXT, text)?;
    let fault = match (backends, redirect, status) {
        ([_, ..], None, None) if said.is_none() => {
            return Ok(Action::Proxy(if strip { Prefix::Stripped } else { Prefix::Kept }));
        }
        ([], Some(origin), None) if said.is_none() && !strip => return Ok(Action::Redirect(origin)),
        ([], None, Some(status)) if !strip => {
            return Ok(Action::Respond { status, text: said.unwrap_or_default() });
        }
        ([], None, None) => "the route has nothing to do; give it a backend, redirect or respond",
        (_, _, None) if said.is_some() => "text changes nothing without respond",
        ([], ..) if strip => "strip changes nothing without a backend",
        _ => "backend, redirect and respond exclude each other; give one of them",
    };
    Err(Error::at(&raw.place, fault))
}

fn host(raw: &RawValue, _: &Setting) -> Result<Host, String> {
    let text = &raw.text;
    let text_shown = shown(text);
    if let Some((_, rest)) = text.split_once("://") {
        let meant = rest.split('/').next().unwrap_or_default();
        return Err(format!("{text_shown} is a URL; a host is a name alone, such as {}", shown(meant)));
    }
    if let Some((name, path)) = text.split_once('/') {
        return Err(format!(
            "{text_shown} has a path; write host = {name:?} and path = {:?}",
            format!("/{path}")
        ));
    }
    if text == "*" {
        return Err(format!("{text_shown} is every host; leave the host out"));
    }
    if text == "_" {
        return Err(format!("{text_shown} is every other host to nginx; leave the host out"));
    }
    if !text.is_ascii() {
        return Err(format!(
            "{text_shown} is not ASCII; write it as browsers send it, which begins with xn--"
        ));
    }
    let lower = text.to_ascii_lowercase();
    if let Some(address) = lower.strip_prefix('[').and_then(|text| text.strip_suffix(']'))
        && let Ok(address) = address.parse::<Ipv6Addr>()
    {
        return Ok(Host::Exact(format!("[{address}]")));
    }
    if lower.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("{text_shown} has no brackets; write [{lower}]"));
    }
    if let Some((name, port)) = lower.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("{text_shown} has a port, which routes do not compare; write {name}"));
    }
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    match name.strip_prefix("*.") {
        Some(below) if is_name(below) => Ok(Host::Below(below.to_owned())),
        None if is_name(name) || name.parse::<Ipv4Addr>().is_ok() => Ok(Host::Exact(name.to_owned())),
        _ if name.contains('*') => {
            Err(format!("{text_shown} has a * elsewhere than in front of a whole name, as in *.example.com"))
        }
        _ => Err(format!("{text_shown} is not a host; give one such as example.com or *.example.com")),
    }
}

/// A path is compared as it comes, byte by byte. So what no request can have at the place of a prefix is a mistake: the
/// route would never be taken.
fn path(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let text = &raw.text;
    let text_shown = shown(text);
    if text == "/" {
        return Ok(String::new());
    }
    if !text.starts_with('/') {
        return Err(format!("{text_shown} is not a path; give one that begins with /, as in /api"));
    }
    if text.contains(['?', '#']) {
        return Err(format!("{text_shown} has a query or a fragment; a route is chosen by the path alone"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{text_shown} has a character that no path may have; percent-encode it"));
    }
    if let Some(meant) = text.strip_suffix("/*").or(text.strip_suffix('/')) {
        let meant = if meant.is_empty() { "/" } else { meant };
        return Err(format!(
            "{text_shown} has an end that no route needs; write {meant}, which takes what is below it, too"
        ));
    }
    Ok(text.clone())
}

/// A scheme and an authority, to which path and query of a request are added.
fn origin(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let text = &raw.text;
    let not_one = || format!("{} is not an origin; give https://www.example.com", shown(text));
    let (scheme, rest) = text.split_once("://").ok_or_else(not_one)?;
    if !["http", "https"].contains(&scheme) {
        return Err(not_one());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!("{} has a path; a request keeps its own path and query", shown(text)));
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if is_authority(authority.as_bytes()) && authority.bytes().all(is_part) {
        Ok(format!("{scheme}://{authority}"))
    } else {
        Err(not_one())
    }
}

/// Those that mean something without any further field.
fn status(raw: &RawValue, row: &Setting) -> Result<u16, String> {
    match count(raw, row)? {
        status @ (200 | 400..=599) => Ok(status),
        _ => Err(format!("{} needs more than a text; give 200, or 400 to 599", shown(&raw.text))),
    }
}

/// A page's worth: what is longer is a file.
const MOST_TEXT: usize = 4096;

fn text(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let text = &raw.text;
    if text.len() > MOST_TEXT {
        return Err(format!("{} is longer than {MOST_TEXT} bytes", shown(text)));
    }
    if text.contains(|letter: char| letter.is_control() && letter != '\n') {
        return Err(format!("{} has a control character", shown(text)));
    }
    Ok(text.clone())
}

impl Config {
    /// Whether there is neither a backend nor a route.
    pub(super) fn serves_nothing(&self) -> bool {
        self.backend.is_empty() && self.route.is_empty()
    }
}
