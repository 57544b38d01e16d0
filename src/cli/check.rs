//! `ronde check`: tries everything that can be tried without serving, once.
//!
//! The problem: a mistyped name or a closed port only shows up as a 502 on the first request of the night, and a health
//! check that no backend passes as a round without backends. This command shows it while the configuration is being
//! written. Backends are tried side by side: twenty silent ones take as long as one, the `--connect-timeout`.
//!
//! Not here: checks while ronde serves (`backend::checks`).

use crate::backend::checks::Check;
use crate::backend::resolve;
use crate::cli::routes;
use crate::config::{Address, Backend, CheckScope, Config, Endpoint, Transport};
use crate::net::conn::Conn;
use crate::net::tls::{Certificates, Identity, Refusal, Trust, Trusts};
use crate::observe::destination::Destination;
use crate::server::rehearsal;
use std::collections::HashSet;
use std::fmt::Display;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::slice::from_ref;
use std::thread;
use std::time::{Instant, SystemTime};

/// What is wrong, one line each. None: ronde could listen on every address, every certificate can be shown, every log written,
/// every backend name resolves, and every address accepts connections, has the certificate that it should have, and passes
/// the health check, if there is one.
pub type Faults = Vec<String>;

/// A line about a name or an address, or its fault.
type Line = Result<String, String>;

/// What has been found so far. What is well is printed at once. The faults come together behind all of it, where the eye
/// rests: the first line of twenty is not read when the last one looks well.
struct Report<'a, W> {
    out: &'a mut W,
    faults: Faults,
}

impl<W: Write> Report<'_, W> {
    fn say(&mut self, about: &str, line: impl Display) -> io::Result<()> {
        writeln!(self.out, "{about:<8} {line}")
    }
}

/// Prints the addresses, the logs, the certificates and the routes; resolves every backend once, connects to each of its
/// addresses within `--connect-timeout`, with TLS where it has TLS, makes the health check if there is one, and prints the
/// results. With a URL, of its route alone. Offline, nothing behind the routes. That the configuration is valid is said last,
/// when it has proved to be. The faults are returned.
///
/// # Errors
/// Writing to `out` failed, or the system has no thread left.
pub fn run(config: &Config, scope: &CheckScope, out: &mut impl Write) -> io::Result<Faults> {
    let mut report = Report { out, faults: Vec::new() };
    let tried = match &scope.url {
        Some(url) => routes::explain(config, url, report.out)?,
        None => {
            check_listeners(config, &mut report)?;
            check_logs(config, &mut report)?;
            check_certificates(config, &mut report)?;
            routes::list_detours(config, report.out)?;
            routes::list(config, report.out)?
        }
    };
    check_backends(tried, scope, &mut report)?;
    if report.faults.is_empty() {
        writeln!(report.out, "the configuration is valid")?;
    }
    Ok(report.faults)
}

/// Prints where ronde would listen, and finds what a start would refuse of it.
fn check_listeners(config: &Config, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    let header = |listen| {
        let is_expected = config.proxy_protocol.contains(listen);
        if is_expected { ", expects the PROXY protocol" } else { "" }
    };
    for listen in &config.listen {
        report.say("listen", format_args!("{listen}{}", header(listen)))?;
    }
    for listen in &config.tls_listen {
        report.say("listen", format_args!("{listen} with TLS{}", header(listen)))?;
    }
    if let Some(listen) = &config.admin {
        report.say("admin", listen)?;
    }
    report.faults.extend(rehearsal::refused(config).iter().map(ToString::to_string));
    Ok(())
}

/// Prints the files of the logs that can be written.
fn check_logs(config: &Config, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    for destination in [Destination::of_access_lines(config), Destination::of_diagnostics(config)] {
        match (&destination, destination.try_out()) {
            (Destination::StandardOutput | Destination::StandardError, _) => {}
            (Destination::File(_), Ok(())) => report.say("log", &destination)?,
            (Destination::File(_), Err(error)) => report.faults.push(error.to_string()),
        }
    }
    Ok(())
}

/// Prints the certificates and the remarks on them, or finds the fault of each pair that has one. A remark is no fault: it
/// would serve.
fn check_certificates(config: &Config, report: &mut Report<'_, impl Write>) -> io::Result<()> {
    if let Some(remark) = config.idle_tls() {
        report.say("tls", remark)?;
    }
    let files = config.certificates();
    if files.is_empty() {
        return Ok(());
    }
    match Certificates::load(&files) {
        Ok(certificates) => {
            for line in certificates.lines() {
                report.say("tls", line)?;
            }
            for remark in certificates.remarks(config, SystemTime::now()) {
                report.say("tls", remark)?;
            }
        }
        Err(_) => {
            // Each alone, so that the fault of one hides no other's.
            let errors = files.iter().filter_map(|pair| Certificates::load(from_ref(pair)).err());
            report.faults.extend(errors.map(|error| error.to_string()));
        }
    }
    Ok(())
}

fn check_backends(
    tried: Vec<&Config>,
    scope: &CheckScope,
    report: &mut Report<'_, impl Write>,
) -> io::Result<()> {
    let mut trusts = Trusts::default();
    let mut all = Vec::new();
    for (backend, config) in once_each(tried) {
        match trusts.of(config) {
            Ok(trust) => all.push((backend, trust, config)),
            Err(error) => {
                // ronde would not start.
                report.faults.push(error.to_string());
                return Ok(());
            }
        }
    }
    if scope.offline {
        return writeln!(report.out, "no backend is tried, because of --offline");
    }
    let check = |(backend, trust, config): &(&Backend, Option<Trust>, &Config)| {
        check_backend(backend, trust.as_ref(), config)
    };
    for lines in side_by_side(&all, check)? {
        for line in lines? {
            match line {
                Ok(line) => report.say("backend", line)?,
                Err(fault) => report.faults.push(fault),
            }
        }
    }
    Ok(())
}

/// The backends of these configurations. One that several routes share is tried once, unless they check it differently.
fn once_each(configs: Vec<&Config>) -> Vec<(&Backend, &Config)> {
    let mut seen = HashSet::new();
    let all =
        configs.into_iter().flat_map(|config| config.backend.iter().map(move |backend| (backend, config)));
    all.filter(|(backend, config)| {
        let trust = (backend.transport == Transport::Tls)
            .then_some((&config.backend_ca, config.backend_tls_insecure));
        seen.insert((backend.with_options(), trust, format!("{:?}", Check::configured(config))))
    })
    .collect()
}

fn check_backend(backend: &Backend, trust: Option<&Trust>, config: &Config) -> io::Result<Vec<Line>> {
    let trust = trust.filter(|_| backend.transport == Transport::Tls);
    let identity = match trust.map(|trust| trust.in_host_of(&backend.endpoint)).transpose() {
        Ok(identity) => identity,
        Err(error) => return Ok(vec![Err(error.to_string())]),
    };
    let looked_up = match &backend.endpoint {
        Endpoint::Tcp { host, port } => resolve::look_up(host, *port)
            .map(|addresses| addresses.into_iter().map(Address::from).collect::<Vec<_>>()),
        Endpoint::Unix(path) => Ok(vec![Address::Unix(path.clone())]),
    };
    match looked_up {
        Ok(addresses) => {
            side_by_side(&addresses, |address| check_address(backend, address, identity.as_ref(), config))
        }
        Err(why) => Ok(vec![Err(format!("the backend {backend} does not resolve: {why}"))]),
    }
}

fn check_address(backend: &Backend, address: &Address, identity: Option<&Identity>, config: &Config) -> Line {
    let begun = Instant::now();
    let deadline = begun + config.connect_timeout;
    let whose = match backend.endpoint.address() {
        Some(_) => format!("the backend {backend}"),
        None => format!("the backend {backend} at {address}"),
    };
    let mut conn =
        Conn::connect_by(address, deadline).map_err(|error| format!("{whose}: cannot connect: {error}"))?;
    if let Some(Err(error)) = identity.map(|identity| conn.secure_by(identity, deadline)) {
        let Refusal { cause, .. } = error.into();
        return Err(format!("{whose}: no TLS: {cause}"));
    }
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let line = format!("{}  {address}  connected in {milliseconds:.1} ms", backend.with_options());
    let Some(check) = Check::configured(config).filter(|check| check.path.is_some()) else {
        return Ok(line);
    };
    match check.run_once(address.clone(), identity.cloned(), conn, &backend.authority()) {
        Ok(()) => Ok(format!("{line}, passes the health check")),
        Err(why) => Err(format!("{whose} does not pass the health check: {why}")),
    }
}

/// Does the same with each of them, in a thread of its own; the results are in their order.
///
/// # Errors
/// The system has no thread left.
fn side_by_side<T: Sync, R: Send>(all: &[T], check: impl Fn(&T) -> R + Sync) -> io::Result<Vec<R>> {
    let check = &check;
    thread::scope(|scope| {
        let begin = |one| thread::Builder::new().spawn_scoped(scope, move || check(one));
        let begun: Vec<_> = all.iter().map(begin).collect::<io::Result<_>>()?;
        Ok(begun.into_iter().map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect())
    })
}
