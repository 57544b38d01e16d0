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
use std::collections::HashSet;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::slice::from_ref;
use std::thread;
use std::time::{Instant, SystemTime};

/// The outcome of a check; the worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every certificate can be shown, every log written, every backend name resolves, and every address accepts
    /// connections, has the certificate that it should have, and passes the health check, if there is one.
    Sound,
    /// One of these is not so.
    Faulty,
}

/// A line about a name or an address.
type Line = (String, Verdict);

/// Prints the logs, the certificates and the routes; resolves every backend once, connects to each of its addresses within
/// `--connect-timeout`, with TLS where it has TLS, makes the health check if there is one, and prints the results. With a
/// URL, of its route alone. Offline, nothing behind the routes.
///
/// # Errors
/// Writing to `out` failed, or the system has no thread left.
pub fn run(config: &Config, scope: &CheckScope, out: &mut impl Write) -> io::Result<Verdict> {
    writeln!(out, "the configuration is valid")?;
    let mut verdict = Verdict::Sound;
    let tried = match &scope.url {
        Some(url) => {
            routes::list_detours(config, out)?;
            routes::explain(config, url, out)?
        }
        None => {
            for listen in &config.listen {
                writeln!(out, "listen   {listen}")?;
            }
            for listen in &config.tls_listen {
                writeln!(out, "listen   {listen} with TLS")?;
            }
            verdict = check_logs(config, out)?.max(check_certificates(config, out)?);
            routes::list_detours(config, out)?;
            routes::list(config, out)?
        }
    };
    let mut trusts = Trusts::default();
    let mut all = Vec::new();
    for (backend, config) in once_each(tried) {
        match trusts.of(config) {
            Ok(trust) => all.push((backend, trust, config)),
            Err(error) => {
                // ronde would not start.
                writeln!(out, "tls      {error}")?;
                return Ok(Verdict::Faulty);
            }
        }
    }
    if scope.offline {
        writeln!(out, "no backend is tried, because of --offline")?;
        return Ok(verdict);
    }
    let check = |(backend, trust, config): &(&Backend, Option<Trust>, &Config)| {
        check_backend(backend, trust.as_ref(), config)
    };
    for lines in side_by_side(&all, check)? {
        for (line, found) in lines? {
            writeln!(out, "backend  {line}")?;
            if found == Verdict::Faulty {
                verdict = Verdict::Faulty;
            }
        }
    }
    Ok(verdict)
}

/// Prints the files of the logs, and whether they can be written.
fn check_logs(config: &Config, out: &mut impl Write) -> io::Result<Verdict> {
    let mut verdict = Verdict::Sound;
    for destination in [Destination::of_access_lines(config), Destination::of_diagnostics(config)] {
        match (&destination, destination.try_out()) {
            (Destination::StandardOutput | Destination::StandardError, _) => {}
            (Destination::File(_), Ok(())) => writeln!(out, "log      {destination}")?,
            (Destination::File(_), Err(error)) => {
                writeln!(out, "log      {error}")?;
                verdict = Verdict::Faulty;
            }
        }
    }
    Ok(verdict)
}

/// Prints the certificates and the remarks on them, or the fault of each pair that has one. A remark is no fault: it would
/// serve.
fn check_certificates(config: &Config, out: &mut impl Write) -> io::Result<Verdict> {
    if let Some(remark) = config.idle_tls() {
        writeln!(out, "tls      {remark}")?;
    }
    let files = config.certificates();
    if files.is_empty() {
        return Ok(Verdict::Sound);
    }
    match Certificates::load(&files) {
        Ok(certificates) => {
            for line in certificates.lines() {
                writeln!(out, "tls      {line}")?;
            }
            for remark in certificates.remarks(config, SystemTime::now()) {
                writeln!(out, "tls      {remark}")?;
            }
            Ok(Verdict::Sound)
        }
        Err(_) => {
            // Each alone, so that the fault of one hides no other's.
            for error in files.iter().filter_map(|pair| Certificates::load(from_ref(pair)).err()) {
                writeln!(out, "tls      {error}")?;
            }
            Ok(Verdict::Faulty)
        }
    }
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
        Err(error) => return Ok(vec![(error.to_string(), Verdict::Faulty)]),
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
        Err(why) => {
            Ok(vec![(format!("{}  does not resolve: {why}", backend.with_options()), Verdict::Faulty)])
        }
    }
}

fn check_address(backend: &Backend, address: &Address, identity: Option<&Identity>, config: &Config) -> Line {
    let (begun, shown) = (Instant::now(), backend.with_options());
    let deadline = begun + config.connect_timeout;
    let mut conn = match Conn::connect_by(address, deadline) {
        Ok(conn) => conn,
        Err(error) => {
            return (format!("{shown}  {address}  cannot connect: {error}"), Verdict::Faulty);
        }
    };
    if let Some(Err(error)) = identity.map(|identity| conn.secure_by(identity, deadline)) {
        let Refusal { cause, .. } = error.into();
        return (format!("{shown}  {address}  no TLS: {cause}"), Verdict::Faulty);
    }
    let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
    let line = format!("{shown}  {address}  connected in {milliseconds:.1} ms");
    let Some(check) = Check::configured(config).filter(|check| check.path.is_some()) else {
        return (line, Verdict::Sound);
    };
    match check.run_once(address.clone(), identity.cloned(), conn, &backend.authority()) {
        Ok(()) => (format!("{line}, passes the health check"), Verdict::Sound),
        Err(why) => (format!("{line}, does not pass the health check: {why}"), Verdict::Faulty),
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
