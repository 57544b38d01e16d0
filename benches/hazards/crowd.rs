//! The clients that hold a hazard: thousands, on one epoll, in a process of their own.
//!
//! Each has at most one thing to do next and a time for it. A client that is cut off is counted and comes back a second
//! later, so that the hazard lasts as long as the crowd does.
//!
//! Not here: what a client makes of an answer (`hearing`).

use crate::client::Client;
use crate::kinds::{GO_ON, Kind, goes_on};
use crate::pattern::PIECE;
use crate::sockets;
use crate::stage::tls;
use crate::tally::Tally;
use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{SocketFlags, connect, sockopt};
use rustls::ClientConnection;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// A new connection so often, until the crowd is there: 5,000 a second.
const ARRIVAL: Duration = Duration::from_micros(200);
/// A client that was cut off, or was told 503, waits this long.
pub const RETURN: Duration = Duration::from_secs(1);
/// How long a client that asks waits for its answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The loop looks for orders at least this often.
const LOOK: Duration = Duration::from_millis(20);

/// Holds the crowds until standard input ends. Each line there is answered with the tally:
///
/// - `tell`: nothing else
/// - `mark`: forget what was counted
/// - `go N`: N clients, or all, finish or say a word; how many have, the tally says later
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
    Crowd::new(address, kinds.collect()).and_then(|crowd| crowd.run(&orders)).expect("epoll");
}

pub struct Crowd {
    epoll: OwnedFd,
    address: SocketAddr,
    pub clients: Vec<Client>,
    /// What to do, for which client, unless something else was planned for it since: then its serial is another.
    due: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    pub tally: Tally,
    /// For one read at a time.
    room: Vec<u8>,
    /// The first flight of a TLS handshake. All send the same.
    hello: Vec<u8>,
}

impl Crowd {
    fn new(address: SocketAddr, kinds: Vec<Kind>) -> io::Result<Self> {
        let size = kinds.len();
        let clients = kinds.into_iter().enumerate();
        let clients = clients.map(|(index, kind)| Client::new(kind, goes_on(index, size))).collect();
        let begun = Instant::now();
        let due =
            (0..).zip(0..size).map(|(turn, index)| Reverse((begun + ARRIVAL * turn, index, 0))).collect();
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            address,
            clients,
            due,
            tally: Tally::default(),
            room: vec![0; PIECE],
            hello: hello().map_err(io::Error::other)?,
        })
    }

    fn run(mut self, orders: &Receiver<String>) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            let next = self
                .due
                .peek()
                .map_or(LOOK, |Reverse((due, ..))| due.saturating_duration_since(Instant::now()).min(LOOK));
            let next = Timespec::try_from(next).ok();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), next.as_ref()) {
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
                    self.obey(&order);
                    self.tally.held = self.clients.iter().filter(|client| client.is_held()).count();
                    println!("{}", self.tally);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    fn obey(&mut self, order: &str) {
        match order.split_once(' ') {
            Some(("go", count)) => self.go(count.parse().unwrap_or(0)),
            _ if order == "mark" => self.tally = Tally::default(),
            _ => {}
        }
    }

    /// Clients go on. Which of the polls and event streams do, the backend decides, so all of these are told.
    fn go(&mut self, count: usize) {
        let begun = Instant::now();
        self.tally.finished.clear();
        let size = self.clients.len();
        for index in 0..size {
            let client = &mut self.clients[index];
            let is_chosen = count > GO_ON || goes_on(index, size) || client.kind.is_ended_by_backend();
            if is_chosen && client.is_held() {
                client.told = Some(begun);
                let outcome = self.go_on(index);
                self.settle(index, outcome);
            }
        }
    }

    fn go_on(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        if client.kind == Kind::Tunnel {
            return client.stream()?.write_all(Client::word(index).as_bytes());
        }
        if client.kind.reads() {
            sockets::widen(client.stream()?)?;
            // A reader does not hear of arriving bytes while it is slow.
            let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            let key = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, self.clients[index].stream()?, key, flags)?;
            return Ok(());
        }
        self.progress(index)
    }

    pub fn plan(&mut self, index: usize, pause: Duration) {
        let client = &mut self.clients[index];
        client.serial += 1;
        self.due.push(Reverse((Instant::now() + pause, index, client.serial)));
    }

    /// A client that was told to go on has finished.
    pub fn finish(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(told) = client.told.take() else { return };
        self.tally.finished.push(told.elapsed());
        if client.kind != Kind::Tunnel {
            client.is_done = true;
            client.serial += 1;
            client.reset();
        }
    }

    /// An error is the end of a connection.
    fn settle(&mut self, index: usize, outcome: io::Result<()>) {
        let Err(error) = outcome else { return };
        let client = &mut self.clients[index];
        let is_late = error.kind() == io::ErrorKind::TimedOut;
        match error.kind() {
            _ if !client.is_connected => self.tally.refused += 1,
            io::ErrorKind::InvalidData => self.tally.wrong += 1,
            _ if client.kind.asks() && is_late => self.tally.unanswered += 1,
            _ if client.kind.asks() && client.asked.is_some() => self.tally.broken += 1,
            _ => self.tally.cut += 1,
        }
        client.reset();
        self.plan(index, RETURN);
    }

    /// What was planned: to come, to ask, to say a little more, to take a little more, or to lose patience.
    fn act(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        if client.stream.is_none() {
            return self.open(index);
        }
        if !client.is_connected {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if client.kind.asks() {
            return if client.asked.is_some() {
                Err(io::ErrorKind::TimedOut.into())
            } else {
                self.ask(index)
            };
        }
        let Some((bytes, pause)) = client.kind.trickle().filter(|_| client.told.is_none()) else {
            return Ok(());
        };
        let outcome = match client.kind {
            Kind::SlowHead => client.stream()?.write(b"x").map(drop),
            Kind::SlowHandshake => {
                // The last byte never comes.
                let byte = self.hello[client.said.min(self.hello.len() - 2)];
                client.said += 1;
                client.stream()?.write(&[byte]).map(drop)
            }
            Kind::SlowBody => client.stream()?.write(b"a body").map(drop),
            Kind::SlowUpload => client.stream()?.write(&[0; 4096]).map(drop),
            Kind::SlowReader => match client.stream()?.read(&mut self.room[..bytes]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                read => read.map(drop),
            },
            kind if kind.reads() => client.take(&mut self.room[..bytes], &mut self.tally),
            _ => client.give(bytes),
        };
        // A client keeps trying, also when the proxy does not listen to it.
        or_not_yet(outcome)?;
        self.plan(index, pause);
        Ok(())
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let socket = sockets::socket(index, SocketFlags::NONBLOCK)?;
        let kind = self.clients[index].kind;
        let mut flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        match kind {
            Kind::SlowReader => sockopt::set_socket_recv_buffer_size(&socket, 4096)?,
            Kind::ThinReader => sockets::narrow(&socket)?,
            Kind::SteadyReader => sockets::shorten(&socket)?,
            _ => {}
        }
        if kind == Kind::SlowReader || kind.reads() {
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

    /// Something can be read, or written.
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
        let client = &mut self.clients[index];
        match client.kind {
            Kind::SlowReader => return Ok(()),
            kind if kind.reads() && client.told.is_none() => return Ok(()),
            kind if kind.reads() => return or_not_yet(self.take_all(index)),
            kind if kind.uploads() && client.told.is_some() => or_not_yet(client.give_all())?,
            _ => {}
        }
        let mut room = [0; 16 << 10];
        loop {
            match self.clients[index].stream()?.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.hear(index, &room[..count])?,
                Err(error) => return or_not_yet(Err(error)),
            }
            if self.clients[index].stream.is_none() {
                return Ok(());
            }
        }
    }

    fn take_all(&mut self, index: usize) -> io::Result<()> {
        while !self.clients[index].has_moved_all() {
            self.clients[index].take(&mut self.room, &mut self.tally)?;
        }
        self.finish(index);
        Ok(())
    }

    fn ask(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        let text = client.kind.request(client.goes_on);
        match client.kind {
            Kind::HalfHandshake | Kind::Handshakes => client.stream()?.write_all(&self.hello)?,
            _ => client.stream()?.write_all(text.as_bytes())?,
        }
        client.asked = Some(Instant::now());
        match client.kind.trickle() {
            Some((_, pause)) => self.plan(index, pause),
            None if client.kind.asks() => self.plan(index, PATIENCE),
            // What was planned was to lose patience with connecting.
            None => client.serial += 1,
        }
        Ok(())
    }
}

/// The first flight of a handshake.
fn hello() -> Result<Vec<u8>> {
    let config = tls::client(Resumption::disabled())?;
    let mut session = ClientConnection::new(config, ServerName::try_from("bench")?)?;
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    Ok(hello)
}

/// Whether it could be done now or not.
fn or_not_yet(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        outcome => outcome,
    }
}
