//! Step 9: an answer that is late has no thread either.
//!
//! A conversation has two sockets while its request is with a backend, and it is parked with the one on which the next byte
//! has to come. A worker sends the request, parks the conversation, and turns to the next one. When the answer begins,
//! some worker, probably another one, relays it. (The waiter has moved to `waiter/mod.rs`: it asks what it parks for the
//! socket, and did not change otherwise.)
//!
//! Falls to `slow-readers`: clients that take their answers slowly. The socket of such a client is full most of the time,
//! and a worker waits in `write` until there is room.

mod message;
mod round;
mod socket;
mod waiter;

use crossbeam_channel::bounded;
use round::Round;
use rustix::event::epoll::EventFlags;
use socket::{accepted, receive};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use waiter::{Park, Waiter};

/// Threads that serve clients.
const WORKERS: usize = 4;

/// Conversations that may wait for a worker.
const QUEUE: usize = 256;

/// The longest wait of an idle client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for a whole request, from its first byte.
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
    let waiter = Waiter::new()?;
    let (queue, ready) = bounded::<Conversation>(QUEUE);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                for conversation in &ready {
                    // A failure ends this conversation, and no other.
                    let _ = conversation.serve(&round, &waiter);
                }
            });
        }
        scope.spawn(|| waiter.run(queue));
        for client in listener.incoming().filter_map(accepted) {
            let _ = Conversation::begin(client, &waiter);
        }
        Ok(())
    })
}

/// A client, and how far it has come.
struct Conversation {
    client: TcpStream,
    received: Vec<u8>,
    /// Has the request, and owes the answer.
    backend: Option<TcpStream>,
    is_last: bool,
    deadline: Instant,
}

impl Park for Conversation {
    fn awaited(&self) -> (&TcpStream, EventFlags) {
        (self.backend.as_ref().unwrap_or(&self.client), EventFlags::IN)
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Conversation {
    fn begin(client: TcpStream, waiter: &Waiter<Self>) -> io::Result<()> {
        client.set_write_timeout(Some(STALL_TIMEOUT))?;
        // Or the kernel would keep a small write back until the client confirms the one before (Nagle).
        client.set_nodelay(true)?;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        waiter.park(Self { client, received: Vec::new(), backend: None, is_last: false, deadline })
    }

    /// Goes on where it stopped: something has arrived.
    fn serve(mut self, round: &Round, waiter: &Waiter<Self>) -> io::Result<()> {
        if let Some(backend) = self.backend.take() {
            relay(backend, &mut self.client)?;
            if self.is_last {
                return Ok(());
            }
            self.deadline = Instant::now() + IDLE_TIMEOUT;
        } else {
            receive(&mut self.client, &mut self.received)?;
            // The first byte of a request brings the deadline nearer. The others do not move it.
            self.deadline = self.deadline.min(Instant::now() + REQUEST_TIMEOUT);
        }
        if let Some(request) = message::take_request(&mut self.received)? {
            let Some(mut backend) = round.connect() else { return self.client.write_all(BAD_GATEWAY) };
            backend.set_read_timeout(Some(BACKEND_TIMEOUT))?;
            backend.set_write_timeout(Some(BACKEND_TIMEOUT))?;
            backend.write_all(&request.bytes)?;
            (self.backend, self.is_last) = (Some(backend), request.is_last);
            self.deadline = Instant::now() + BACKEND_TIMEOUT;
        }
        waiter.park(self)
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
