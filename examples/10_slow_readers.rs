//! Step 10: what waits for a client or for an answer is parked.
//!
//! Each socket gets a timeout of a moment, a few milliseconds. While bytes flow the calls return long before, and a worker
//! serves with plain blocking code. A call that times out says `WouldBlock`, and the question marks carry that out to
//! `serve`, which parks the conversation. It knows by itself what it waits for and where it goes on; so `io::copy`, which
//! would forget how far it came, has to go. One rule now serves idle clients, late answers and slow readers. (Two waits still
//! hold a worker: for a backend to accept, and to take the request.)
//!
//! Falls to `stop`: the proxy is told to end, and requests are cut in the middle.

mod message;
mod round;
mod socket;
mod waiter;

use crossbeam_channel::bounded;
use message::Request;
use round::Round;
use rustix::event::epoll::EventFlags;
use socket::{accepted, receive, uninterrupted};
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

/// The longest wait within an exchange, for either side. Longer than before, because it holds no thread.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest wait of a worker in one call.
const MOMENT: Duration = Duration::from_millis(5);

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
    answer: Option<Answer>,
    deadline: Instant,
}

/// An answer on its way.
struct Answer {
    backend: TcpStream,
    /// From the backend, and not yet with the client.
    in_hand: Vec<u8>,
    /// What is still to come from the backend; unknown until the head is there.
    to_come: Option<u64>,
    is_last: bool,
}

impl Park for Conversation {
    fn awaited(&self) -> (&TcpStream, EventFlags) {
        match &self.answer {
            Some(answer) if answer.has_output() => (&self.client, EventFlags::OUT),
            Some(answer) => (&answer.backend, EventFlags::IN),
            None => (&self.client, EventFlags::IN),
        }
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Conversation {
    fn begin(client: TcpStream, waiter: &Waiter<Self>) -> io::Result<()> {
        client.set_read_timeout(Some(MOMENT))?;
        client.set_write_timeout(Some(MOMENT))?;
        // Or the kernel would keep a small write back until the client confirms the one before (Nagle).
        client.set_nodelay(true)?;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        waiter.park(Self { client, received: Vec::new(), answer: None, deadline })
    }

    /// Goes on where it stopped, until it waits again or ends.
    fn serve(mut self, round: &Round, waiter: &Waiter<Self>) -> io::Result<()> {
        match self.converse(round) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => waiter.park(self),
            ended => ended,
        }
    }

    fn converse(&mut self, round: &Round) -> io::Result<()> {
        loop {
            if let Some(answer) = &mut self.answer {
                let relayed = answer.relay(&mut self.client);
                self.deadline = Instant::now() + STALL_TIMEOUT;
                relayed?;
                if answer.is_last {
                    return Ok(());
                }
                self.answer = None;
                self.deadline = Instant::now() + IDLE_TIMEOUT;
            }
            let request = self.read_request()?;
            let Some(backend) = round.connect() else { return send_all(&mut self.client, BAD_GATEWAY) };
            self.answer = Some(Answer::to(&request, backend)?);
        }
    }

    fn read_request(&mut self) -> io::Result<Request> {
        loop {
            if let Some(request) = message::take_request(&mut self.received)? {
                return Ok(request);
            }
            // A client that sends a byte in each moment is never parked, where its deadline is looked at.
            if !self.received.is_empty() && Instant::now() >= self.deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            receive(&mut self.client, &mut self.received)?;
            // The first byte of a request brings the deadline nearer. The others do not move it.
            self.deadline = self.deadline.min(Instant::now() + REQUEST_TIMEOUT);
        }
    }
}

impl Answer {
    /// Sends the request. The answer is for later.
    fn to(request: &Request, mut backend: TcpStream) -> io::Result<Self> {
        backend.set_read_timeout(Some(MOMENT))?;
        backend.set_write_timeout(Some(STALL_TIMEOUT))?;
        send_all(&mut backend, &request.bytes)?;
        Ok(Self { backend, in_hand: Vec::new(), to_come: None, is_last: request.is_last })
    }

    fn has_output(&self) -> bool {
        self.to_come.is_some() && !self.in_hand.is_empty()
    }

    /// Relays up to the end. It is an error when only the end of the connection can say that the answer has ended.
    fn relay(&mut self, client: &mut TcpStream) -> io::Result<()> {
        loop {
            match self.to_come {
                None => {
                    receive(&mut self.backend, &mut self.in_hand)?;
                    self.to_come = message::begin_answer(&mut self.in_hand)?;
                }
                Some(_) if !self.in_hand.is_empty() => {
                    let taken = uninterrupted(|| client.write(&self.in_hand))?;
                    self.in_hand.drain(..taken);
                }
                Some(0) => return Ok(()),
                Some(to_come) => {
                    receive(&mut (&self.backend).take(to_come), &mut self.in_hand)?;
                    self.to_come = Some(to_come - self.in_hand.len() as u64);
                }
            }
        }
    }
}

/// Sends all of it or fails. To wait is no reason to park here, since `write_all` does not say how much was sent.
fn send_all(to: &mut TcpStream, all: &[u8]) -> io::Result<()> {
    to.write_all(all).map_err(io::Error::other)
}
