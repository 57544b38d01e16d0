//! Two slow backends: every response comes after the same delay, or one of several does.
//!
//! They share one thread, one epoll and one queue; a queue is enough because all waits are equally long. They must not
//! be the bottleneck: the thread wakes once for all responses that are due, and a request costs two system calls.

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

const BODY: &str =
    "A hundred bytes of text, late. ................................................................. end\n";

/// Which responses are late, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Late {
    /// 1: each of them. 10: nine come at once, as from an application with a database behind some of its pages.
    pub one_in: u64,
    pub delay: Duration,
}

/// Starts both backends; they run until the bench ends.
///
/// # Errors
/// The system has no port, no epoll or no thread left.
pub fn start(late: Late) -> Result<[SocketAddr; 2]> {
    let listeners =
        [TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
    let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
    let server = Server::new(listeners, late)?;
    thread::Builder::new().name("slow backends".to_owned()).spawn(move || {
        let error = server.run();
        eprintln!("the slow backends ended: {error:?}");
    })?;
    Ok(addresses)
}

struct Server {
    epoll: OwnedFd,
    listeners: [TcpListener; 2],
    connections: HashMap<u64, Connection>,
    next: u64,
    due: VecDeque<(Instant, u64)>,
    late: Late,
    requests: u64,
    response: String,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Server {
    fn new(listeners: [TcpListener; 2], late: Late) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (key, listener) in (0..).zip(&listeners) {
            rustix::net::listen(listener, 4096)?;
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, EventData::new_u64(key), EventFlags::IN)?;
        }
        let next = listeners.len() as u64;
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len());
        let (connections, due) = (HashMap::new(), VecDeque::new());
        Ok(Self { epoll, listeners, connections, next, due, late, requests: 0, response })
    }

    fn run(mut self) -> io::Error {
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), self.pause().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return error.into(),
            }
            for event in &events {
                match event.data.u64() {
                    key @ (0 | 1) => self.accept(usize::from(key == 1)),
                    key => self.read(key),
                }
            }
            self.answer();
        }
    }

    fn pause(&self) -> Option<Timespec> {
        let (due, _) = self.due.front()?;
        let pause = due.saturating_duration_since(Instant::now());
        Timespec::try_from(pause).ok()
    }

    fn accept(&mut self, listener: usize) {
        while let Ok((stream, _)) = self.listeners[listener].accept() {
            let key = self.next;
            let is_ready = stream.set_nonblocking(true).is_ok()
                && stream.set_nodelay(true).is_ok()
                && epoll::add(&self.epoll, &stream, EventData::new_u64(key), EventFlags::IN).is_ok();
            if is_ready {
                self.next += 1;
                self.connections.insert(key, Connection { stream, received: Vec::with_capacity(1024) });
            }
        }
    }

    /// Takes an empty line at the end of the received bytes as the end of a request: proxies send one request at a
    /// time.
    fn read(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let mut room = [0; 4096];
        match connection.stream.read(&mut room) {
            Ok(0) => drop(self.connections.remove(&key)),
            Ok(count) => {
                connection.received.extend_from_slice(&room[..count]);
                if connection.received.ends_with(b"\r\n\r\n") {
                    connection.received.clear();
                    self.requests += 1;
                    match self.requests.is_multiple_of(self.late.one_in) {
                        true => self.due.push_back((Instant::now() + self.late.delay, key)),
                        false => self.respond(key),
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => drop(self.connections.remove(&key)),
        }
    }

    fn answer(&mut self) {
        let now = Instant::now();
        while let Some(&(due, key)) = self.due.front()
            && due <= now
        {
            self.due.pop_front();
            self.respond(key);
        }
    }

    fn respond(&mut self, key: u64) {
        if let Some(connection) = self.connections.get_mut(&key) {
            // A response of 150 bytes fits into the send buffer, so this fails only if the connection is gone.
            let _ = connection.stream.write_all(self.response.as_bytes());
        }
    }
}
