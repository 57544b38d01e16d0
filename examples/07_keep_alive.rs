//! Step 7: a connection is used again.
//!
//! A new connection costs a round trip, so HTTP/1.1 keeps the old one. The end of the connection then no longer says where
//! a message ends, and the proxy has to read the message to find out: `message/mod.rs` does. What was received behind one
//! request is the beginning of the next.
//!
//! Falls to `browsers`: clients that keep their connections, as they should, and send a request now and then. Each of them
//! holds a worker. Timeouts and deadlines do not help: nobody is late.

mod message;
mod round;
mod socket;

use crossbeam_channel::bounded;
use message::Request;
use round::Round;
use socket::{accepted, receive};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that serve clients.
const WORKERS: usize = 4;

/// Clients that may wait for a worker.
const QUEUE: usize = 256;

/// The longest wait for a whole request, from the end of the last answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait for the next bytes of an answer.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest wait for a client that does not read.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// What a client is told when there is no backend for it.
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    let addresses = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<_>, _>>()?;
    let [listen, backends @ ..] = &addresses[..] else { return Err("usage: LISTEN BACKEND...".into()) };
    let round = Round::of(backends);
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

/// Requests and their answers, one after the other.
fn serve(mut client: TcpStream, round: &Round) -> io::Result<()> {
    client.set_write_timeout(Some(STALL_TIMEOUT))?;
    // Or the kernel would keep a small write back until the client confirms the one before (Nagle).
    client.set_nodelay(true)?;
    let mut received = Vec::new();
    loop {
        let request = read_request(&mut client, &mut received)?;
        let Some(mut backend) = round.connect() else { return client.write_all(BAD_GATEWAY) };
        backend.set_read_timeout(Some(BACKEND_TIMEOUT))?;
        backend.set_write_timeout(Some(BACKEND_TIMEOUT))?;
        backend.write_all(&request.bytes)?;
        relay(backend, &mut client)?;
        if request.is_last {
            return Ok(());
        }
    }
}

/// Relays an answer. It is an error when only the end of the connection can say that the answer has ended.
fn relay(mut backend: TcpStream, client: &mut TcpStream) -> io::Result<()> {
    let mut received = Vec::new();
    let to_come = loop {
        receive(&mut backend, &mut received)?;
        if let Some(to_come) = message::begin_answer(&mut received)? {
            break to_come;
        }
    };
    client.write_all(&received)?;
    let came = io::copy(&mut backend.take(to_come), client)?;
    if came == to_come { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Reads up to the end of a request. What came behind it stays in `received`.
fn read_request(client: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Request> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        if let Some(request) = message::take_request(received)? {
            return Ok(request);
        }
        client.set_read_timeout(Some(left(deadline)?))?;
        receive(client, received)?;
    }
}

/// The time until a deadline. None left is an error: to the kernel, a timeout of zero means no timeout.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
