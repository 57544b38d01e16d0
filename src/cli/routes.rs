//! The routes as `ronde check` tells them: as a table, and which of them a URL takes.
//!
//! The problem: which of twenty routes a request takes is known when it has gone wrong. Asked beforehand, the program
//! itself must answer, with the same function that serves.
//!
//! Not here: trying the backends (`check`).

use crate::config::{Action, Backend, Config, Host, Prefix, Url};
use crate::http1::forward::Scheme;
use crate::http1::https::{self, Detour, Detours};
use crate::http1::routing::Table;
use std::io::{self, Write};

/// Prints a line for each route. Returns the settings whose backends serve.
///
/// # Errors
/// Writing to `out` failed.
pub fn list<'a>(config: &'a Config, out: &mut impl Write) -> io::Result<Vec<&'a Config>> {
    let mut lines: Vec<_> =
        config.route.iter().map(|route| (route.to_string(), told(&route.action, &route.config))).collect();
    if !lines.is_empty() {
        lines.push(("everything else".to_owned(), rest(config)));
    } else if config.has_access_list() {
        lines.push(("everything".to_owned(), rest(config)));
    }
    let width = lines.iter().map(|(said, _)| said.chars().count()).max().unwrap_or_default();
    for (said, told) in lines {
        writeln!(out, "route    {said:<width$}  {told}")?;
    }
    Ok(config.with_routes().collect())
}

/// Prints what requests without TLS get whatever their route is.
///
/// # Errors
/// Writing to `out` failed.
pub fn list_detours(config: &Config, out: &mut impl Write) -> io::Result<()> {
    if let Some(server) = &config.acme_challenge {
        writeln!(out, "plain    /.well-known/acme-challenge/  to {server}")?;
    }
    if config.redirect_to_https {
        let what = if config.acme_challenge.is_some() { "everything else" } else { "everything" };
        writeln!(out, "plain    {what}  {}", told(&Action::ToHttps, config))?;
    }
    Ok(())
}

/// Prints which route a URL takes, and why; or what all requests without TLS get. Returns the settings of the route whose backends
/// serve it.
///
/// # Errors
/// Writing to `out` failed.
pub fn explain<'a>(config: &'a Config, url: &Url, out: &mut impl Write) -> io::Result<Vec<&'a Config>> {
    writeln!(out, "url      {url}")?;
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    let detours = Detours { challenge: config.acme_challenge.is_some(), redirect: config.redirect_to_https };
    match (https::detour(scheme, &url.path, detours), &config.acme_challenge) {
        (Some(Detour::Challenge), Some(server)) => {
            writeln!(out, "route    none: a challenge without TLS goes to {server}")?;
            return Ok(vec![]);
        }
        (Some(_), _) => {
            writeln!(out, "route    none: without TLS it is {}", told(&Action::ToHttps, config))?;
            return Ok(vec![]);
        }
        (None, _) => {}
    }
    let mut table = Table::default();
    for route in &config.route {
        for host in &route.hosts {
            table.insert(std::slice::from_ref(host), &route.path, (route, Some(host)));
        }
        if route.hosts.is_empty() {
            table.insert(&[], &route.path, (route, None));
        }
    }
    let found = match table.find_plain(&url.authority, &url.path) {
        Err(failure) if config.has_any_access_list() => {
            writeln!(out, "route    none: {} because {failure}", failure.status())?;
            return Ok(vec![]);
        }
        _ => table.find(&url.authority, &url.path),
    };
    let Some((route, host)) = found else {
        writeln!(out, "route    everything else: no route fits  {}", rest(config))?;
        return Ok(vec![config]);
    };
    let host = match host {
        Some(Host::Exact(name)) => format!("the host is {name}"),
        Some(Host::Below(name)) => format!("the host is a name below {name}"),
        None => "no other route fits the host".to_owned(),
    };
    let path = match &*route.path {
        "" => "no longer path of it fits".to_owned(),
        path => format!("{path} is the longest path that fits"),
    };
    writeln!(out, "route    {route}: {host}, and {path}  {}", told(&route.action, &route.config))?;
    Ok(vec![&route.config])
}

fn rest(config: &Config) -> String {
    let action = match config.backend.is_empty() {
        true => "404".to_owned(),
        false => backends(config),
    };
    with_access(action, config)
}

fn told(action: &Action, config: &Config) -> String {
    let action = match action {
        Action::Proxy(prefix) => match prefix {
            Prefix::Kept => backends(config),
            Prefix::Stripped => format!("{}, without the path", backends(config)),
        },
        Action::Redirect(origin) => format!("308 to {origin}"),
        Action::ToHttps => "308 to https".to_owned(),
        Action::Respond { status, text } if text.is_empty() => status.to_string(),
        Action::Respond { status, text } => format!("{status} {text:?}"),
    };
    with_access(action, config)
}

/// What becomes of a request, and behind it the clients that it is for, if there are lists.
fn with_access(action: String, config: &Config) -> String {
    match config.access_text() {
        Some(lists) => format!("{action}  {lists}"),
        None => action,
    }
}

fn backends(config: &Config) -> String {
    let names: Vec<_> = config.backend.iter().map(Backend::to_string).collect();
    format!("to {}", names.join(", "))
}
