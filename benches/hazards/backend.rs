//! Two backends on one thread and one epoll, in a process of their own.
//!
//! The problem: they hold as many connections as the proxy, and are not what is measured. So nothing here costs a thread
//! or a large buffer per connection, and a long response writes one piece before the others have their turn: a small
//! answer must not wait until the buffers of 8,000 long ones are full.
//!
//! Not here: what a request is answered with (`connection`).

use crate::connection::{Connection, State, When};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::io::{self, BufRead};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// The loop looks for orders at least this often.
const LOOK: Duration = Duration::from_millis(20);
/// Part of a circle such that any number of steps is spread evenly over it.
const GOLDEN: f64 = 0.618_033_988_75;

/// Serves until its standard input ends. Each line there is answered with a line:
///
/// - `hang`: the second backend answers no request any more
/// - `end N`: answer N of the polls, or end N of the event streams
/// - `held`: how many requests are not answered to the end
pub fn run(addresses: &[String]) {
    crate::stage::raise_descriptor_limit().expect("descriptors");
    let listeners = [0, 1].map(|side: usize| {
        let address: SocketAddr = addresses[side].parse().expect("an address");
        TcpListener::bind(address).expect("a listener")
    });
    let server = Server::new(listeners).expect("a server");
    println!("ready");
    let (sender, orders) = mpsc::channel();
    thread::spawn(move || {
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    server.run(&orders).expect("epoll");
}

struct Server {
    epoll: OwnedFd,
    listeners: [TcpListener; 2],
    hangs: bool,
    connections: HashMap<u64, Connection>,
    next: u64,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Event streams so far.
    streams: u32,
    /// Connections that can write more at once, each of them once.
    pouring: VecDeque<u64>,
    is_pouring: HashSet<u64>,
}

impl Server {
    fn new(listeners: [TcpListener; 2]) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (key, listener) in (0..).zip(&listeners) {
            rustix::net::listen(listener, 4096)?;
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, EventData::new_u64(key), EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            listeners,
            hangs: false,
            connections: HashMap::new(),
            next: 2,
            due: BinaryHeap::new(),
            streams: 0,
            pouring: VecDeque::new(),
            is_pouring: HashSet::new(),
        })
    }

    fn run(mut self, orders: &Receiver<String>) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            let pause = self
                .due
                .peek()
                .map_or(LOOK, |Reverse((due, _))| due.saturating_duration_since(Instant::now()).min(LOOK));
            let pause = if self.pouring.is_empty() { pause } else { Duration::ZERO };
            let pause = Timespec::try_from(pause).ok();
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
            self.look_what_is_due();
            self.pour();
            match orders.try_recv() {
                Ok(order) => println!("{}", self.obey(&order)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    fn obey(&mut self, order: &str) -> String {
        match order.split_once(' ') {
            Some(("end", count)) => self.end(count.parse().unwrap_or(0)),
            _ if order == "hang" => self.hangs = true,
            _ => {
                let is_held = |connection: &&Connection| !matches!(connection.state, State::Head);
                return format!("held={}", self.connections.values().filter(is_held).count());
            }
        }
        "done".to_owned()
    }

    fn end(&mut self, count: usize) {
        let can_end =
            |connection: &&mut Connection| matches!(connection.state, State::Poll | State::Events { .. });
        for connection in self.connections.values_mut().filter(can_end).take(count) {
            // If the connection is gone, the loop sees it too.
            let _ = connection.end();
        }
    }

    /// A piece of each long response that is not waiting for its reader.
    fn pour(&mut self) {
        for _ in 0..self.pouring.len() {
            let Some(key) = self.pouring.pop_front() else { break };
            self.is_pouring.remove(&key);
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            match connection.pour() {
                Ok(true) => self.pour_later(key),
                Ok(false) => {}
                Err(_) => drop(self.connections.remove(&key)),
            }
        }
    }

    fn pour_later(&mut self, key: u64) {
        if self.is_pouring.insert(key) {
            self.pouring.push_back(key);
        }
    }

    fn accept(&mut self, side: usize) {
        while let Ok((stream, _)) = self.listeners[side].accept() {
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let is_ready = stream.set_nonblocking(true).is_ok()
                && stream.set_nodelay(true).is_ok()
                && epoll::add(&self.epoll, &stream, EventData::new_u64(self.next), flags).is_ok();
            if is_ready {
                self.connections.insert(self.next, Connection::new(stream, side));
                self.next += 1;
            }
        }
    }

    fn progress(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let is_hung = connection.side == 1 && self.hangs;
        match connection.progress(is_hung) {
            Ok(Some(when)) => {
                let pause = self.pause(when);
                self.due.push(Reverse((Instant::now() + pause, key)));
                self.pour_later(key);
            }
            Ok(None) if matches!(connection.state, State::Long { .. }) => self.pour_later(key),
            Ok(None) => {}
            Err(_) => drop(self.connections.remove(&key)),
        }
    }

    fn pause(&mut self, when: When) -> Duration {
        match when {
            When::In(pause) => pause,
            When::Within(period) => {
                self.streams += 1;
                period.mul_f64((f64::from(self.streams) * GOLDEN).fract())
            }
        }
    }

    fn look_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, key))) = self.due.peek()
            && due <= now
        {
            self.due.pop();
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            match connection.is_due() {
                // Counted from when it was due, not from now: streams that were spread stay spread.
                Ok(Some(period)) => {
                    self.due.push(Reverse((due + period, key)));
                    self.pour_later(key);
                }
                Ok(None) => {}
                Err(_) => drop(self.connections.remove(&key)),
            }
        }
    }
}
