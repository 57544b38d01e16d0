//! The floor: a relay that understands nothing, and so a measure of what relaying costs on this machine.
//!
//! The problem: requests per second say as much about the machine as about the proxy. The floor does what no proxy can
//! leave out, a read and a write each way, as an event loop does it: two threads, each with its own epoll, and a
//! backend connection for each client connection. The ratio to it can be compared from machine to machine. It is not a
//! bound: a proxy that wakes less often than an event loop can be ahead of it.
//!
//! It is this program again, in a process of its own, so that its CPU time is counted as that of the peers is.
//!
//! Not here: HTTP, reuse of backend connections, patience. A write blocks its thread until the peer has taken all.

use anyhow::{Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// The first argument that makes this program the floor.
pub const ARGUMENT: &str = "floor";

/// The most bytes of one read. Only the cells with long bodies have as many.
const ROOM: usize = 256 << 10;

/// The two ends of a relayed connection. Their keys in the epoll are twice the number of the pair, plus the index here.
type Pair = [TcpStream; 2];

/// Relays until the process is ended. The arguments are the addresses to listen on and of the two backends.
///
/// # Errors
/// An argument is no address, or the system refuses a socket or a thread.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<()> {
    let addresses: Vec<SocketAddr> = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [listen, first, second] = addresses[..] else { bail!("{ARGUMENT} needs three addresses") };
    let listener = TcpListener::bind(listen)?;
    rustix::net::listen(&listener, 4096)?;
    let relays = [Relay::start()?, Relay::start()?];
    // By turns, so that two relays and two backends make four equal shares.
    let shares = [(first, &relays[0]), (first, &relays[1]), (second, &relays[0]), (second, &relays[1])];
    for (number, (backend, relay)) in (0..).zip(shares.iter().cycle()) {
        let (client, _) = listener.accept()?;
        relay.add(number, [client, TcpStream::connect(backend)?])?;
    }
    Ok(())
}

/// One thread that relays, seen from the thread that accepts.
struct Relay {
    epoll: Arc<OwnedFd>,
    pairs: Sender<(u64, Pair)>,
}

impl Relay {
    fn start() -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let (sender, receiver) = mpsc::channel();
        let relay = Self { epoll: Arc::clone(&epoll), pairs: sender };
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let error = relay_all(&epoll, &receiver);
            eprintln!("a relay ended: {error}");
        })?;
        Ok(relay)
    }

    fn add(&self, number: u64, pair: Pair) -> Result<()> {
        for (key, end) in (2 * number..).zip(&pair) {
            end.set_nodelay(true)?;
            epoll::add(&self.epoll, end, EventData::new_u64(key), EventFlags::IN)?;
        }
        Ok(self.pairs.send((number, pair))?)
    }
}

/// Relays what arrives on the pairs that come from `added`. An event may come before its pair; the epoll is
/// level-triggered, so that the event comes again.
fn relay_all(epoll: &OwnedFd, added: &Receiver<(u64, Pair)>) -> io::Error {
    let mut pairs: HashMap<u64, Pair> = HashMap::new();
    let mut room = vec![0; ROOM];
    let mut events = Vec::with_capacity(128);
    loop {
        events.clear();
        match epoll::wait(epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return error.into(),
        }
        pairs.extend(added.try_iter());
        for event in &events {
            let key = event.data.u64();
            let Some([client, backend]) = pairs.get(&(key / 2)) else { continue };
            let (from, to) = if key % 2 == 0 { (client, backend) } else { (backend, client) };
            if relay(from, to, &mut room).is_err() {
                pairs.remove(&(key / 2));
            }
        }
    }
}

/// One read and one write. An end of the bytes is an error like the others: it ends both connections.
fn relay(mut from: &TcpStream, mut to: &TcpStream, room: &mut [u8]) -> io::Result<()> {
    match from.read(room)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => to.write_all(&room[..count]),
    }
}
