//! Step 6: several backends take turns, and one that cannot be connected to loses its turn to the next.
//!
//! While nothing was sent, another backend may have the request. As soon as a byte was sent, nobody knows what the backend
//! did with it, so the request is not sent again. When no backend can be connected to, the client is told (502).
//!
//! Falls to `reuse`: a second request on the same connection. Each request pays for a connection of its own.

use crossbeam_channel::bounded;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that serve clients.
const WORKERS: usize = 4;

/// Clients that may wait for a worker.
const QUEUE: usize = 256;

/// The longest wait for a whole request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait for a backend: to connect, and for the next bytes of its answer.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest wait for a client that does not read.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// What a client is told when there is no backend for it.
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The longest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Between an `accept` that has failed and the next one.
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let addresses = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
    let [listen, backends @ ..] = &addresses[..] else { return Err("usage: LISTEN BACKEND...".into()) };
    let round = Round { backends: backends.to_vec(), turn: AtomicUsize::new(0) };
    let listener = TcpListener::bind(listen)?;
    eprintln!("listening on {}", listener.local_addr()?);
    let (queue, clients) = bounded(QUEUE);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                for client in &clients {
                    // A failure ends this conversation, and no other.
                    let _ = serve(client, &round);
                }
            });
        }
        for client in listener.incoming().filter_map(accepted) {
            queue.send(client)?;
        }
        Ok(())
    })
}

/// A client, if `accept` returned one. If not, no descriptor may be left (EMFILE), and a next call would fail at once.
fn accepted(client: io::Result<TcpStream>) -> Option<TcpStream> {
    client.inspect_err(|_| thread::sleep(PAUSE)).ok()
}

/// The backends in the order of their turns.
struct Round {
    backends: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Round {
    /// Connects to the backend whose turn it is, or else to the first one behind it that can be connected to.
    fn connect(&self) -> Option<TcpStream> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let all = self.backends.len();
        let mut order = (0..all).map(|place| self.backends[(turn + place) % all]);
        order.find_map(|backend| TcpStream::connect_timeout(&backend, BACKEND_TIMEOUT).ok())
    }
}

/// One request, and its answer up to the end of the backend's connection.
fn serve(mut client: TcpStream, round: &Round) -> io::Result<()> {
    client.set_write_timeout(Some(STALL_TIMEOUT))?;
    let request = read_request(&mut client)?;
    let Some(mut backend) = round.connect() else { return client.write_all(BAD_GATEWAY) };
    backend.set_read_timeout(Some(BACKEND_TIMEOUT))?;
    backend.set_write_timeout(Some(BACKEND_TIMEOUT))?;
    // One more field asks the backend to close: the end of its connection is then the end of the answer.
    backend.write_all(&[&request[..request.len() - 2], b"Connection: close\r\n\r\n"].concat())?;
    io::copy(&mut backend, &mut client)?;
    Ok(())
}

/// Reads up to the empty line that ends a head (RFC 9112 §2.1). A request with a body is for a later step.
fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        client.set_read_timeout(Some(left(deadline)?))?;
        let mut piece = [0; 4096];
        match client.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&piece[..count]),
        }
        if received.len() > MAX_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    Ok(received)
}

/// The time until a deadline. None left is an error: to the kernel, a timeout of zero means no timeout.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
