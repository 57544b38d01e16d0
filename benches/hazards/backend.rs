//! Two backends on one thread, in a process of their own: they upgrade, stream, delay, and one of them can hang.

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const LATE: Duration = Duration::from_millis(500);
const BETWEEN_EVENTS: Duration = Duration::from_secs(1);
const LONG: usize = 20 << 20;
/// What one long response writes before the others have their turn: a real backend has a thread for each, and lets no
/// small answer wait until the buffers of five hundred long ones are full.
const PIECE: usize = 64 << 10;

/// Serves until its standard input ends; the line `hang` there makes the second backend answer nobody any more.
pub fn run(addresses: &[String]) {
    let hangs = Arc::new(AtomicBool::new(false));
    let listeners = [0, 1].map(|side: usize| {
        let address: SocketAddr = addresses[side].parse().expect("an address");
        TcpListener::bind(address).expect("a listener")
    });
    let server = Server::new(listeners, Arc::clone(&hangs)).expect("a server");
    println!("ready");
    thread::spawn(move || server.run().expect("epoll"));
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        hangs.store(line == "hang", Ordering::Relaxed);
        println!("done");
    }
}

struct Server {
    epoll: OwnedFd,
    listeners: [TcpListener; 2],
    hangs: Arc<AtomicBool>,
    connections: HashMap<u64, Connection>,
    next: u64,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Those that can write more at once.
    pouring: VecDeque<u64>,
}

struct Connection {
    stream: TcpStream,
    side: usize,
    seen: Vec<u8>,
    state: State,
}

enum State {
    Head,
    /// So many bytes of the request are still to come.
    Body(usize),
    Late,
    /// So many bytes of the response are still to go.
    Long(usize),
    Tunnel,
    Events,
    Hung,
}

impl Server {
    fn new(listeners: [TcpListener; 2], hangs: Arc<AtomicBool>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (key, listener) in (0..).zip(&listeners) {
            rustix::net::listen(listener, 4096)?;
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, EventData::new_u64(key), EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            listeners,
            hangs,
            connections: HashMap::new(),
            next: 2,
            due: BinaryHeap::new(),
            pouring: VecDeque::new(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            let pause: Option<Timespec> = self
                .due
                .peek()
                .and_then(|Reverse((due, _))| due.saturating_duration_since(Instant::now()).try_into().ok());
            let pause = if self.pouring.is_empty() { pause } else { Some(Timespec::default()) };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), pause.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    side @ (0 | 1) => self.accept(usize::from(side == 1)),
                    key => self.progress(key),
                }
            }
            self.what_is_due();
            self.pour();
        }
    }

    /// A piece of each long response that is not waiting for its reader.
    fn pour(&mut self) {
        for _ in 0..self.pouring.len() {
            let Some(key) = self.pouring.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            match connection.pour() {
                Ok(true) => self.pouring.push_back(key),
                Ok(false) => {}
                Err(_) => drop(self.connections.remove(&key)),
            }
        }
    }

    fn accept(&mut self, side: usize) {
        while let Ok((stream, _)) = self.listeners[side].accept() {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let is_ready = stream.set_nonblocking(true).is_ok()
                && stream.set_nodelay(true).is_ok()
                && epoll::add(&self.epoll, &stream, EventData::new_u64(self.next), flags).is_ok();
            if is_ready {
                let connection = Connection { stream, side, seen: Vec::new(), state: State::Head };
                self.connections.insert(self.next, connection);
                self.next += 1;
            }
        }
    }

    fn progress(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let is_hung = connection.side == 1 && self.hangs.load(Ordering::Relaxed);
        match connection.progress(is_hung) {
            Ok(Some(pause)) => self.due.push(Reverse((Instant::now() + pause, key))),
            Ok(None) if matches!(connection.state, State::Long(_)) => {
                if !self.pouring.contains(&key) {
                    self.pouring.push_back(key);
                }
            }
            Ok(None) => {}
            Err(_) => drop(self.connections.remove(&key)),
        }
    }

    fn what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, key))) = self.due.peek()
            && due <= now
        {
            self.due.pop();
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            match connection.state {
                State::Late => {
                    connection.state = State::Head;
                    // A response of 150 bytes fits into any socket that is still there.
                    let _ = connection.stream.write_all(&small());
                }
                State::Events => {
                    let event = format!("data: {}\n\n", micros());
                    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                    match connection.stream.write_all(chunk.as_bytes()) {
                        Ok(()) => self.due.push(Reverse((due + BETWEEN_EVENTS, key))),
                        Err(_) => drop(self.connections.remove(&key)),
                    }
                }
                _ => {}
            }
        }
    }
}

impl Connection {
    /// Reads what is there, and answers; an error is the end, a time is when to look again.
    fn progress(&mut self, is_hung: bool) -> io::Result<Option<Duration>> {
        let mut room = [0; 16 << 10];
        let mut pause = None;
        loop {
            let count = match self.stream.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            match &mut self.state {
                State::Head => {
                    self.seen.extend_from_slice(&room[..count]);
                    pause = self.understand(is_hung)?.or(pause);
                }
                State::Body(left) => {
                    *left = left.saturating_sub(count);
                    self.end_of_body()?;
                }
                _ => {}
            }
        }
        Ok(pause)
    }

    /// Writes a piece of a long response, and says whether more would go at once.
    fn pour(&mut self) -> io::Result<bool> {
        let State::Long(left) = &mut self.state else { return Ok(false) };
        match self.stream.write(&[b'x'; PIECE][..PIECE.min(*left)]) {
            Ok(count) => *left -= count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if *left == 0 {
            self.state = State::Head;
        }
        Ok(matches!(self.state, State::Long(_)))
    }

    /// Proxies send one request at a time.
    fn understand(&mut self, is_hung: bool) -> io::Result<Option<Duration>> {
        let Some(end) = self.seen.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.seen[..end + 4]).to_ascii_lowercase();
        let body = self.seen.len() - end - 4;
        self.seen.clear();
        if is_hung {
            self.state = State::Hung;
            return Ok(None);
        }
        if head.contains("\r\nupgrade:") {
            self.state = State::Tunnel;
            self.stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )?;
            return Ok(None);
        }
        match head.split(' ').nth(1).unwrap_or_default() {
            "/late" => {
                self.state = State::Late;
                Ok(Some(LATE))
            }
            "/long" => {
                self.state = State::Long(LONG);
                self.stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n").as_bytes())?;
                Ok(None)
            }
            "/events" => {
                self.state = State::Events;
                // nginx would collect events, were it not for X-Accel-Buffering.
                self.stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\
                      Transfer-Encoding: chunked\r\n\r\n",
                )?;
                Ok(Some(Duration::ZERO))
            }
            _ => {
                let length = head.split_once("\r\ncontent-length:").map_or("0", |(_, rest)| rest);
                let length = length.split("\r\n").next().unwrap_or_default().trim().parse().unwrap_or(0);
                self.state = State::Body(usize::saturating_sub(length, body));
                self.end_of_body()?;
                Ok(None)
            }
        }
    }

    fn end_of_body(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Body(0)) {
            self.state = State::Head;
            self.stream.write_all(&small())?;
        }
        Ok(())
    }
}

fn small() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "x".repeat(100)).into_bytes()
}

/// A clock that the clients, in another process, have too.
pub fn micros() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX)
}
