//! Step 11: the end, in order.
//!
//! At the signal the listener closes: new clients are refused, and find the next instance. Requests in flight are finished,
//! and their connections close behind the answer. Idle clients are let go. Each conversation holds one end of a channel on
//! which nothing is ever sent: when the last one has ended, the channel ends, and the main thread knows. If that takes too
//! long, the grace ends it. (The answer has moved to `answer/mod.rs`.)
//!
//! What is still missing is ronde.

mod answer;
mod message;
mod round;
mod socket;
mod waiter;

use answer::{Answer, send_all};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use message::Request;
use round::Round;
use rustix::event::epoll::EventFlags;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use socket::{accepted, receive};
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
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

/// How long requests in flight may take to end.
const GRACE: Duration = Duration::from_secs(8);

/// When the signal came, once it has.
static STOPPED: OnceLock<Instant> = OnceLock::new();

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
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (running, all_ended) = bounded(0);
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
        scope.spawn(|| accept(&listener, &waiter, running));
        // Waits until one arrives.
        signals.forever().next();
        let _ = STOPPED.set(Instant::now());
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Read)?;
        let is_late = all_ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout);
        std::process::exit(i32::from(is_late));
    })
}

fn is_stopping() -> bool {
    STOPPED.get().is_some()
}

/// Begins conversations until the listener is shut down.
fn accept(listener: &TcpListener, waiter: &Waiter<Conversation>, running: Sender<Infallible>) {
    for client in listener.incoming().take_while(|_| !is_stopping()).filter_map(accepted) {
        let _ = Conversation::begin(client, waiter, running.clone());
    }
}

/// A client, and how far it has come.
struct Conversation {
    client: TcpStream,
    received: Vec<u8>,
    answer: Option<Answer>,
    deadline: Instant,
    /// Dropped with the conversation, which is all that it is for.
    _running: Sender<Infallible>,
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
        let is_idle = self.answer.is_none() && self.received.is_empty();
        // A time in the past: the waiter drops the conversation at its next tick.
        STOPPED.get().copied().filter(|_| is_idle).unwrap_or(self.deadline)
    }
}

impl Conversation {
    fn begin(client: TcpStream, waiter: &Waiter<Self>, running: Sender<Infallible>) -> io::Result<()> {
        client.set_read_timeout(Some(MOMENT))?;
        client.set_write_timeout(Some(MOMENT))?;
        // Or the kernel would keep a small write back until the client confirms the one before (Nagle).
        client.set_nodelay(true)?;
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        waiter.park(Self { client, received: Vec::new(), answer: None, deadline, _running: running })
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
                if answer.is_last || is_stopping() {
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
