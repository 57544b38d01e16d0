//! Step 8: a client that has nothing to say has no thread.
//!
//! Between two calls, a conversation is a value: a socket, the bytes in hand, a deadline. It is parked in a map, and an
//! epoll watches its socket. When something arrives, one thread takes the value out of the map and sends it through the
//! channel; the worker that gets it makes one read, which does not wait. The rest of the code still reads from top to
//! bottom. An idle client costs a descriptor and a few hundred bytes, so it may stay for a minute now.
//!
//! Falls to `late`: more slow answers than there are workers. Each worker waits for a backend.

mod message;
mod round;
mod socket;

use crossbeam_channel::{Sender, bounded};
use round::Round;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::retry_on_intr;
use socket::{accepted, receive};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Threads that serve clients.
const WORKERS: usize = 4;

/// Conversations that may wait for a worker.
const QUEUE: usize = 256;

/// How often deadlines are looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

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
    let waiter = Waiter { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, parked: Mutex::default() };
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

/// The place of the conversations that have nothing for a worker to do.
struct Waiter {
    epoll: OwnedFd,
    parked: Mutex<HashMap<u64, Conversation>>,
}

impl Waiter {
    /// Keeps a conversation until its client sends something.
    fn park(&self, conversation: Conversation) -> io::Result<()> {
        // While the conversation is parked its socket is open, so no other one has this number.
        let key = conversation.client.as_raw_fd() as u64;
        let mut parked = self.parked.lock().unwrap();
        epoll::add(&self.epoll, &conversation.client, EventData::new_u64(key), EventFlags::IN)?;
        parked.insert(key, conversation);
        Ok(())
    }

    /// Sends to the workers what is ready, and drops what is late, which closes it.
    fn run(&self, queue: Sender<Conversation>) {
        let mut events = Vec::with_capacity(64);
        loop {
            // Other errors than an interruption are mistakes of this program (EBADF, EINVAL): a panic shows them.
            retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TICK))).unwrap();
            let mut parked = self.parked.lock().unwrap();
            let ready: Vec<_> =
                events.drain(..).filter_map(|event| parked.remove(&event.data.u64())).collect();
            parked.retain(|_, conversation| Instant::now() < conversation.deadline);
            // Not under the lock: the channel may be full of work for workers that wait for the lock.
            drop(parked);
            for conversation in ready {
                let _ = epoll::delete(&self.epoll, &conversation.client);
                let _ = queue.send(conversation);
            }
        }
    }
}

/// A client, and how far it has come.
struct Conversation {
    client: TcpStream,
    received: Vec<u8>,
    deadline: Instant,
}

impl Conversation {
    fn begin(client: TcpStream, waiter: &Waiter) -> io::Result<()> {
        client.set_write_timeout(Some(STALL_TIMEOUT))?;
        // Or the kernel would keep a small write back until the client confirms the one before (Nagle).
        client.set_nodelay(true)?;
        waiter.park(Self { client, received: Vec::new(), deadline: Instant::now() + REQUEST_TIMEOUT })
    }

    /// Goes on where it stopped: something has arrived.
    fn serve(mut self, round: &Round, waiter: &Waiter) -> io::Result<()> {
        receive(&mut self.client, &mut self.received)?;
        // The first byte of a request brings the deadline nearer. The others do not move it.
        self.deadline = self.deadline.min(Instant::now() + REQUEST_TIMEOUT);
        while let Some(request) = message::take_request(&mut self.received)? {
            let Some(mut backend) = round.connect() else { return self.client.write_all(BAD_GATEWAY) };
            backend.set_read_timeout(Some(BACKEND_TIMEOUT))?;
            backend.set_write_timeout(Some(BACKEND_TIMEOUT))?;
            backend.write_all(&request.bytes)?;
            relay(backend, &mut self.client)?;
            if request.is_last {
                return Ok(());
            }
            self.deadline = Instant::now() + IDLE_TIMEOUT;
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
