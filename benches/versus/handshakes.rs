//! Clients that shake hands for each request: the load of two cells.
//!
//! The problem: wrk resumes its sessions as soon as it has a ticket, and no flag keeps it from that. So these cells have
//! clients of their own, a thread each, that are the same for all proxies. They check what they want to measure: a
//! handshake of the other kind is an error, and makes the cell invalid.
//!
//! Not here: kept connections, which wrk loads over TLS as well.

use crate::cells::{Cell, Handshake};
use crate::stage::tls;
use crate::wrk::{Errors, Outcome};
use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Running clients. Dropping them lets them end by themselves.
#[derive(Debug)]
pub struct Handshakes {
    begun: Instant,
    clients: Vec<JoinHandle<Seen>>,
}

/// What one client has met with.
#[derive(Debug, Default)]
struct Seen {
    times: Vec<Duration>,
    errors: Errors,
}

impl Handshakes {
    /// Starts the clients of a cell.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(cell: &Cell, kind: Handshake, address: SocketAddr, seconds: u64) -> Result<Self> {
        let begun = Instant::now();
        let end = begun + Duration::from_secs(seconds);
        let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", cell.path);
        let start = |_| {
            let (config, request) = (config(kind)?, request.clone());
            let run = move || run(address, &config, kind, &request, end);
            thread::Builder::new().name("client".to_owned()).spawn(run).context("starting a client")
        };
        Ok(Self { begun, clients: (0..cell.clients).map(start).collect::<Result<_>>()? })
    }

    /// Waits for the clients to end.
    ///
    /// # Errors
    /// A client panicked, or none was answered.
    pub fn finish(self) -> Result<Outcome> {
        let seen: Vec<Seen> = self
            .clients
            .into_iter()
            .map(|client| client.join().ok().context("a client panicked"))
            .collect::<Result<_>>()?;
        let duration = self.begun.elapsed();
        let errors = seen.iter().map(|seen| seen.errors).sum();
        let mut times: Vec<Duration> = seen.into_iter().flat_map(|seen| seen.times).collect();
        times.sort_unstable();
        let percentile = |part: usize| times.get(times.len() * part / 100).copied();
        let (p50, p99) = percentile(50).zip(percentile(99)).context("no client was answered")?;
        Ok(Outcome { requests: times.len() as u64, duration, p50, p99, errors })
    }
}

/// Each client has its own tickets.
fn config(kind: Handshake) -> Result<Arc<ClientConfig>> {
    tls::client(match kind {
        Handshake::Full => Resumption::disabled(),
        Handshake::Resumed => Resumption::in_memory_sessions(1),
    })
}

fn run(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    kind: Handshake,
    request: &str,
    end: Instant,
) -> Seen {
    let mut seen = Seen::default();
    // The first one has no ticket.
    let mut expected = HandshakeKind::Full;
    while Instant::now() < end {
        let begun = Instant::now();
        match ask(address, config, request) {
            Ok(handshake) if handshake == expected => seen.times.push(begun.elapsed()),
            Ok(_) => seen.errors.status += 1,
            Err(_) => seen.errors.read += 1,
        }
        if kind == Handshake::Resumed {
            expected = HandshakeKind::Resumed;
        }
    }
    seen
}

/// One connection with one request, to its end.
fn ask(address: SocketAddr, config: &Arc<ClientConfig>, request: &str) -> Result<HandshakeKind> {
    let mut client = tls::connect(address, config)?;
    client.write_all(request.as_bytes())?;
    let mut response = Vec::with_capacity(1024);
    match client.read_to_end(&mut response) {
        // Not every proxy says the end of what it has announced with a length.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        end => drop(end?),
    }
    ensure!(response.starts_with(b"HTTP/1.1 200") && response.ends_with(b"\n"), "not a whole response");
    client.conn.handshake_kind().context("no handshake")
}
