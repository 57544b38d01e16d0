//! Clients that send each request once and never retry, so that every duplicate comes from the proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A persistent connection.
pub struct Conn(BufReader<TcpStream>);

impl Conn {
    pub fn to(address: SocketAddr) -> Option<Conn> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        Some(Conn(BufReader::new(stream)))
    }

    /// Sends a request. Returns the status and body of the response; `None` if the connection failed and must not be
    /// used again.
    pub fn ask(&mut self, request: &[u8]) -> Option<(u16, String)> {
        self.0.get_mut().write_all(request).ok()?;
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        loop {
            line.clear();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some((status, String::from_utf8(body).ok()?))
    }
}

/// Sends `requests` GETs from `clients` clients. Returns how many were not answered with 200.
pub fn get(address: SocketAddr, clients: usize, requests: usize) -> usize {
    let (next, errors) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut conn = None;
                while next.fetch_add(1, Ordering::Relaxed) < requests {
                    conn = conn.or_else(|| Conn::to(address));
                    let answer = conn
                        .as_mut()
                        .and_then(|conn: &mut Conn| conn.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
                    if answer.as_ref().is_none_or(|(status, _)| *status != 200) {
                        errors.fetch_add(1, Ordering::Relaxed);
                        conn = None;
                    }
                }
            });
        }
    });
    errors.into_inner()
}

/// Clients that send POSTs, each with a unique id, until [`Posts::finish`].
pub struct Posts {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<(String, u16)>>>,
}

impl Posts {
    pub fn start(address: SocketAddr, clients: usize) -> Posts {
        let over = Arc::new(AtomicBool::new(false));
        let client = |client| {
            let over = Arc::clone(&over);
            thread::spawn(move || post(address, client, &over))
        };
        Posts { clients: (0..clients).map(client).collect(), over }
    }

    /// Every id and the status of its response; 0 if there was none.
    pub fn finish(self) -> Vec<(String, u16)> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    }
}

fn post(address: SocketAddr, client: usize, over: &AtomicBool) -> Vec<(String, u16)> {
    let mut outcomes = Vec::new();
    let mut conn = None;
    while !over.load(Ordering::Relaxed) {
        let id = format!("{client}-{}", outcomes.len());
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{id}", id.len());
        conn = conn.or_else(|| Conn::to(address));
        let answer = conn.as_mut().and_then(|conn: &mut Conn| conn.ask(request.as_bytes()));
        if answer.is_none() {
            conn = None;
        }
        outcomes.push((id, answer.map_or(0, |(status, _)| status)));
    }
    outcomes
}
