//! The clients that hold a hazard: thousands, on one epoll, in a process of their own.
//!
//! Each has at most one thing to do next and a time for it. Who is cut off is counted and comes back a second later,
//! so that the hazard lasts as long as the crowd does.

use crate::backend::micros;
use crate::hazards::Kind;
use crate::tally::Tally;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two bytes, or a few, of those who are slow.
const TRICKLE: Duration = Duration::from_millis(300);
/// A new connection so often, until the crowd is there: 5,000 a second.
const ARRIVAL: Duration = Duration::from_micros(200);
/// Who was cut off, or was told 503, waits this long.
const RETURN: Duration = Duration::from_secs(1);
/// How long a client that asks waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The loop looks at least so often whether it is told something.
const GLANCE: Duration = Duration::from_millis(20);

/// Holds the crowds until standard input ends. `mark` there forgets what was counted, `tell` tells it, and both are
/// answered with a line.
pub fn run(arguments: &[String]) {
    crate::stage::raise_descriptor_limit().expect("descriptors");
    let address = arguments[0].parse().expect("an address");
    let kinds = arguments[1..].iter().flat_map(|crowd| {
        let (name, count) = crowd.split_once('=').expect("KIND=COUNT");
        let kind = Kind::from_name(name).expect("a kind");
        std::iter::repeat_n(kind, count.parse().expect("a count"))
    });
    let (sender, orders) = mpsc::channel();
    thread::spawn(move || {
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    Crowd::new(address, kinds).and_then(|crowd| crowd.run(&orders)).expect("epoll");
}

struct Crowd {
    epoll: OwnedFd,
    address: SocketAddr,
    clients: Vec<Client>,
    /// What to do, for whom, unless something else was planned for the client since: then its serial is another.
    due: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    tally: Tally,
}

struct Client {
    kind: Kind,
    stream: Option<TcpStream>,
    serial: u64,
    is_connected: bool,
    /// When it asked what is not answered yet.
    asked: Option<Instant>,
    seen: Vec<u8>,
}

impl Crowd {
    fn new(address: SocketAddr, kinds: impl Iterator<Item = Kind>) -> io::Result<Self> {
        let client = |kind| Client {
            kind,
            stream: None,
            serial: 0,
            is_connected: false,
            asked: None,
            seen: Vec::new(),
        };
        let clients: Vec<_> = kinds.map(client).collect();
        let begun = Instant::now();
        let arrivals = (0..).zip(0..clients.len());
        let due = arrivals.map(|(turn, index)| Reverse((begun + ARRIVAL * turn, index, 0))).collect();
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, address, clients, due, tally: Tally::default() })
    }

    fn run(mut self, orders: &Receiver<String>) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            let next = self.due.peek().map_or(GLANCE, |Reverse((due, ..))| {
                due.saturating_duration_since(Instant::now()).min(GLANCE)
            });
            match epoll::wait(
                &self.epoll,
                spare_capacity(&mut events),
                Timespec::try_from(next).ok().as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or_default();
                let outcome = self.progress(index);
                self.settle(index, outcome);
            }
            let now = Instant::now();
            while let Some(&Reverse((due, index, serial))) = self.due.peek()
                && due <= now
            {
                self.due.pop();
                if self.clients[index].serial == serial {
                    let outcome = self.act(index);
                    self.settle(index, outcome);
                }
            }
            match orders.try_recv() {
                Ok(order) => {
                    if order == "mark" {
                        self.tally = Tally::default();
                    }
                    self.tally.held = self.clients.iter().filter(|client| client.is_held()).count();
                    println!("{}", self.tally);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    fn plan(&mut self, index: usize, pause: Duration) {
        let client = &mut self.clients[index];
        client.serial += 1;
        self.due.push(Reverse((Instant::now() + pause, index, client.serial)));
    }

    /// An error is the end of a connection.
    fn settle(&mut self, index: usize, outcome: io::Result<()>) {
        let Err(error) = outcome else { return };
        let client = &mut self.clients[index];
        if !client.is_connected {
            self.tally.refused += 1;
        } else if client.kind.asks() && error.kind() == io::ErrorKind::TimedOut {
            self.tally.unanswered += 1;
        } else if client.asked.is_some() && client.kind.asks() {
            self.tally.broken += 1;
        } else {
            self.tally.cut += 1;
        }
        client.stream = None;
        client.is_connected = false;
        client.asked = None;
        client.seen = Vec::new();
        self.plan(index, RETURN);
    }

    /// What was planned: to come, to ask, to say a little more, to take a little more, or to lose patience.
    fn act(&mut self, index: usize) -> io::Result<()> {
        if self.clients[index].stream.is_none() {
            return self.open(index);
        }
        if !self.clients[index].is_connected {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let client = &mut self.clients[index];
        match client.kind {
            Kind::Asker | Kind::LateAsker if client.asked.is_some() => Err(io::ErrorKind::TimedOut.into()),
            Kind::Asker | Kind::LateAsker => self.ask(index),
            Kind::SlowHead => self.say(index, b"x"),
            Kind::SlowBody => self.say(index, b"a body"),
            Kind::SlowUpload => self.say(index, &[0; 4096]),
            Kind::SlowReader => {
                match client.stream()?.read(&mut [0; 900]) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Ok(_) | Err(_) => {}
                }
                self.plan(index, TRICKLE);
                Ok(())
            }
            Kind::Idle | Kind::Silent | Kind::Tunnel | Kind::Events => Ok(()),
        }
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        let mut flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if self.clients[index].kind == Kind::SlowReader {
            sockopt::set_socket_recv_buffer_size(&socket, 4096)?;
            flags = EventFlags::OUT | EventFlags::ET;
        }
        match connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), flags)?;
        self.clients[index].stream = Some(socket.into());
        self.plan(index, PATIENCE);
        Ok(())
    }

    /// Something can be read, or written for the first time.
    fn progress(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        if client.stream.is_none() {
            return Ok(());
        }
        if !client.is_connected {
            if let Some(error) = client.stream()?.take_error()? {
                return Err(error);
            }
            client.is_connected = true;
            self.ask(index)?;
        }
        if self.clients[index].kind == Kind::SlowReader {
            return Ok(());
        }
        let mut room = [0; 16 << 10];
        loop {
            match self.clients[index].stream()?.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.hear(index, &room[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.clients[index].stream.is_none() {
                return Ok(());
            }
        }
    }

    /// The first words on a connection, or the next request.
    fn ask(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        let text: &str = match client.kind {
            Kind::Silent => "",
            Kind::Idle | Kind::Asker => "GET /100 HTTP/1.1\r\nHost: bench\r\n\r\n",
            Kind::LateAsker => "GET /late HTTP/1.1\r\nHost: bench\r\n\r\n",
            Kind::SlowHead => "GET /100 HTTP/1.1\r\nHost: bench\r\nX-Slow: ",
            Kind::SlowBody => "POST /100 HTTP/1.1\r\nHost: bench\r\nContent-Length: 10240\r\n\r\n",
            Kind::SlowUpload => "POST /100 HTTP/1.1\r\nHost: bench\r\nContent-Length: 52428800\r\n\r\n",
            Kind::SlowReader => "GET /long HTTP/1.1\r\nHost: bench\r\n\r\n",
            Kind::Tunnel => {
                "GET /tunnel HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
            Kind::Events => "GET /events HTTP/1.1\r\nHost: bench\r\n\r\n",
        };
        client.stream()?.write_all(text.as_bytes())?;
        client.asked = Some(Instant::now());
        match client.kind {
            Kind::Asker | Kind::LateAsker => self.plan(index, PATIENCE),
            Kind::SlowHead | Kind::SlowBody | Kind::SlowUpload | Kind::SlowReader => {
                self.plan(index, TRICKLE)
            }
            // What was planned was to lose patience with connecting.
            Kind::Idle | Kind::Silent | Kind::Tunnel | Kind::Events => client.serial += 1,
        }
        Ok(())
    }

    /// Says a little more. Whom the proxy does not listen to keeps trying.
    fn say(&mut self, index: usize, text: &[u8]) -> io::Result<()> {
        match self.clients[index].stream()?.write(text) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.plan(index, TRICKLE);
        Ok(())
    }

    fn hear(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let client = &mut self.clients[index];
        client.seen.extend_from_slice(bytes);
        let Some(asked) = client.asked else { return client.hear_event(&mut self.tally) };
        let Some(end) = client.seen.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&client.seen[..end]).to_ascii_lowercase();
        let status: u16 = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let length = head.split_once("content-length:").and_then(|(_, rest)| rest.lines().next());
        let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if client.seen.len() < end + 4 + length {
            return Ok(());
        }
        self.tally.answered(status, asked.elapsed());
        client.asked = None;
        client.seen.drain(..end + 4 + length);
        match client.kind {
            Kind::Asker | Kind::LateAsker => {
                let is_served = status == 200;
                if head.contains("connection: close") {
                    client.stream = None;
                    client.is_connected = false;
                    client.seen = Vec::new();
                }
                match is_served {
                    true => self.plan(index, Duration::ZERO),
                    false => self.plan(index, RETURN),
                }
                Ok(())
            }
            Kind::Tunnel | Kind::Idle => {
                client.seen = Vec::new();
                Ok(())
            }
            Kind::Events => client.hear_event(&mut self.tally),
            // Whatever the answer to half a request is, it is the end.
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl Kind {
    fn asks(self) -> bool {
        matches!(self, Self::Asker | Self::LateAsker)
    }
}

impl Client {
    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        self.stream.as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }

    /// Whether it is where its kind wants to be.
    fn is_held(&self) -> bool {
        match self.kind {
            Kind::Idle | Kind::Tunnel | Kind::Events => self.is_connected && self.asked.is_none(),
            _ => self.is_connected,
        }
    }

    /// Events say when they were sent.
    fn hear_event(&mut self, tally: &mut Tally) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.seen);
        for line in text.lines() {
            if let Some(sent) = line.strip_prefix("data: ").and_then(|sent| sent.parse().ok()) {
                tally.delays.push(Duration::from_micros(micros().saturating_sub(sent)));
            }
        }
        self.seen.clear();
        Ok(())
    }
}
