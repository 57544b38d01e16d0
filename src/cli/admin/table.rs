//! The state of ronde as a text for a terminal.
//!
//! The problem: the first look at a proxy that may be ill should show what is wrong, and not a page of zeros. So what is
//! zero is left out, and each backend that takes no turns says why.
//!
//! Not here: asking for it (`talk`).

use crate::config::value::{count_text, size_text};
use crate::server::admin::status::{Backend, Status};
use std::fmt::Write;

/// See the module.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_all(&mut text, status);
    // A name or a cause could contain what controls a terminal.
    text.chars()
        .map(|character| if character.is_control() && character != '\n' { '?' } else { character })
        .collect()
}

fn write_all(text: &mut String, status: &Status) -> std::fmt::Result {
    let listeners: Vec<_> = status
        .listeners
        .iter()
        .map(|listener| format!("{}://{}", listener.scheme, listener.address))
        .collect();
    let Status { version, phase, requests, connections, limits, bytes, .. } = status;
    writeln!(text, "{version}, {phase} for {}, on {}", lasting(status.uptime), listeners.join(", "))?;
    writeln!(text)?;
    writeln!(
        text,
        "requests     {:.1} a second; {} since the start, {} failed",
        requests.per_second, requests.total, requests.failed
    )?;
    let mut places = vec![(connections.with_worker, "with a worker"), (connections.queued, "queued")];
    places.extend(connections.parked.iter().map(|(kind, count)| (*count, &**kind)));
    let places = places.iter().filter(|(count, _)| *count > 0);
    let places: Vec<_> =
        places.map(|(count, place)| format!("{count} {}", place.replace('_', " "))).collect();
    let places = if places.is_empty() { String::new() } else { format!(": {}", places.join(", ")) };
    writeln!(text, "connections  {} of {}{places}", connections.clients, limits.connections)?;
    writeln!(text, "workers      {}", workers(status))?;
    writeln!(
        text,
        "parked       {} kB of {}",
        status.parked_memory.div_ceil(1000),
        size_text(limits.parked_memory as u64)
    )?;
    writeln!(
        text,
        "bytes        {} to clients, {} from them",
        amount(bytes.to_clients),
        amount(bytes.from_clients)
    )?;
    for route in status.routes.iter().filter(|route| !route.backends.is_empty() || route.requests > 0) {
        let requests = count_text(route.requests, "request");
        // One that redirects, or responds by itself, has no round.
        if route.backends.is_empty() {
            writeln!(text, "\n{}: {requests}", route.name)?;
            continue;
        }
        writeln!(text, "\n{}, {}: {requests}", route.name, route.balance)?;
        backends(text, &route.backends)?;
    }
    if !status.failures.is_empty() {
        writeln!(text, "\nlatest failures")?;
    }
    for failure in status.failures.iter().take(FAILURES) {
        let status = failure.status.map_or("-".to_owned(), |status| status.to_string());
        let backend = failure.backend.as_ref().map_or(String::new(), |backend| format!(", {backend}"));
        let ago = format!("{} ago", lasting(failure.ago));
        writeln!(text, "  {ago:>12}  {status:<3}  {} ({}{backend})", failure.cause, failure.route)?;
    }
    if !status.certificates.is_empty() {
        writeln!(text, "\ncertificates")?;
    }
    for certificate in &status.certificates {
        writeln!(text, "  until {}  {}", certificate.ends, certificate.names.join(", "))?;
    }
    Ok(())
}

/// More of them do not fit beside the rest.
const FAILURES: usize = 8;

/// `4 resting, 2 waiting (the longest for 1.2s)`
fn workers(status: &Status) -> String {
    let told = ["resting", "reading", "waiting", "relaying"].into_iter().filter_map(|doing| {
        let those: Vec<_> = status.workers.iter().filter(|worker| worker.doing == doing).collect();
        let longest = those.iter().map(|worker| worker.since).fold(0.0, f64::max);
        let longest = match doing {
            "resting" => String::new(),
            _ if longest < 0.1 => String::new(),
            _ => format!(" (the longest for {})", lasting(longest)),
        };
        (!those.is_empty()).then(|| format!("{} {doing}{longest}", those.len()))
    });
    told.collect::<Vec<_>>().join(", ")
}

fn backends(text: &mut String, backends: &[Backend]) -> std::fmt::Result {
    let names: Vec<_> = backends.iter().map(called).collect();
    let width = names.iter().map(String::len).chain(["backend".len()]).max().unwrap_or_default();
    writeln!(
        text,
        "  {:<width$}  {:<8}  {:>6}  {:>6}  {:>9}  {:>8}  first byte",
        "backend", "state", "active", "kept", "turns", "failures"
    )?;
    for (backend, name) in backends.iter().zip(names) {
        let next = if backend.next { '>' } else { ' ' };
        let first_byte = backend.first_byte.map_or("-".to_owned(), |mean| format!("{:.1} ms", mean * 1000.0));
        let check = backend.check.as_ref().filter(|check| !check.passed).and_then(|check| check.why.as_ref());
        let why = backend.why.as_ref().or(check).map_or(String::new(), |why| format!("  {why}"));
        let line = format!(
            "{next} {name:<width$}  {:<8}  {:>6}  {:>6}  {:>9}  {:>8}  {first_byte:>10}{why}",
            backend.state, backend.active, backend.kept, backend.turns, backend.failures
        );
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `app1:8000 (172.18.0.5:8000), weight 2, backup`
fn called(backend: &Backend) -> String {
    let mut called = backend.name.clone();
    if !backend.address.is_empty() && backend.name != backend.address {
        called += &format!(" ({})", backend.address);
    }
    if backend.weight > 1 {
        called += &format!(", weight {}", backend.weight);
    }
    if backend.backup {
        called += ", backup";
    }
    called
}

/// The two largest units: `3d 4h`, `1m 5s`; below a minute `4.1s`.
fn lasting(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds as u64;
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let largest = units.iter().position(|(_, unit)| whole >= *unit).unwrap_or_default();
    let (name, unit) = units[largest];
    match units.get(largest + 1) {
        Some((smaller, part)) if whole % unit / part > 0 => {
            format!("{}{name} {}{smaller}", whole / unit, whole % unit / part)
        }
        _ => format!("{}{name}", whole / unit),
    }
}

/// `1.5 GB`
fn amount(bytes: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let bytes_f = bytes as f64;
    match units.into_iter().find(|(unit, _)| bytes_f >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes_f / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::admin::status::{Check, Failure, Listener, Route, Worker};

    #[test]
    fn times_and_sizes_are_short() {
        for (seconds, text) in [
            (0.04, "0.0s"),
            (4.12, "4.1s"),
            (60.0, "1m"),
            (65.9, "1m 5s"),
            (3600.0, "1h"),
            (273_600.0, "3d 4h"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2.0 GB")] {
            assert_eq!(amount(bytes), text);
        }
    }

    #[test]
    fn a_table_says_what_is_there_and_why_a_backend_is_out() {
        let backend = |name: &str, state: &str| Backend {
            name: name.into(),
            address: name.into(),
            state: state.into(),
            weight: 1,
            ..Backend::default()
        };
        let backends = vec![
            Backend { next: true, first_byte: Some(0.004), turns: 50, ..backend("10.0.0.1:80", "in") },
            Backend { why: Some("it was\x1b[2Jrefused".into()), ..backend("10.0.0.2:80", "out") },
            Backend {
                check: Some(Check { why: Some("it is ill".into()), ..Check::default() }),
                ..backend("10.0.0.3:80", "in")
            },
        ];
        let mut status =
            Status { version: "ronde 1".into(), phase: "running".into(), uptime: 65.0, ..Status::default() };
        status.listeners = vec![Listener { address: "127.0.0.1:80".into(), scheme: "http".into() }];
        status.workers = vec![Worker { number: 1, doing: "waiting".into(), since: 2.0 }];
        status.connections.clients = 3;
        status.connections.parked = [("idle".to_owned(), 3), ("slow_client".to_owned(), 0)].into();
        let route = |name: &str, requests, backends| {
            let (name, balance) = (name.into(), "round-robin".into());
            Route { name, balance, requests, backends }
        };
        status.routes =
            vec![route("default", 7, backends), route("/old", 1, vec![]), route("/never", 0, vec![])];
        status.failures = vec![Failure {
            ago: 4.0,
            cause: "a cause".into(),
            route: "default".into(),
            ..Failure::default()
        }];
        let text = text(&status);
        for expected in [
            "ronde 1, running for 1m 5s, on http://127.0.0.1:80\n",
            "connections  3 of 0: 3 idle\n",
            "workers      1 waiting (the longest for 2.0s)\n",
            "default, round-robin: 7 requests\n",
            "> 10.0.0.1:80  in        ",
            "4.0 ms\n",
            "  10.0.0.2:80  out       ",
            "-  it was?[2Jrefused\n",
            "-  it is ill\n",
            "\n/old: 1 request\n\n",
            "    4.0s ago  -    a cause (default)\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
        assert!(!text.contains("/never"), "{text}");
    }
}
