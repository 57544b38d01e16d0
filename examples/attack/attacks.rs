//! The attacks, in the order of the ladder. Step N falls to the Nth, and step N + 1 stands.

use crate::arena::{Arena, LINE, Verdict};
use crate::backend::Health;
use crate::client::{Client, PATIENCE};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, socket};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

pub struct Attack {
    pub name: &'static str,
    pub what: &'static str,
    pub play: fn(&mut Arena) -> io::Result<Verdict>,
}

pub const ATTACKS: [Attack; 11] = [
    Attack { name: "silent", what: "one client connects and says nothing", play: silent },
    Attack { name: "burst", what: "100 clients connect, and all ask at the same moment", play: burst },
    Attack { name: "idle", what: "4 clients connect and say nothing", play: idle },
    Attack { name: "drip", what: "8 clients send a request that never ends, a byte at a time", play: drip },
    Attack { name: "dead-backend", what: "one of the two backends dies", play: dead_backend },
    Attack { name: "reuse", what: "one client sends ten requests on one connection", play: reuse },
    Attack {
        name: "browsers",
        what: "32 clients keep their connections, and ask now and then",
        play: browsers,
    },
    Attack { name: "late", what: "64 clients ask for what takes the backend a second", play: late },
    Attack { name: "slow-readers", what: "24 clients read a large answer slowly", play: slow_readers },
    Attack {
        name: "stop",
        what: "the proxy is told to end, with 16 requests in flight and an idle client",
        play: stop,
    },
    Attack {
        name: "hung-backend",
        what: "one of the two backends accepts and never answers",
        play: hung_backend,
    },
];

fn silent(arena: &mut Arena) -> io::Result<Verdict> {
    let _clients = connect_many(1, arena)?;
    Ok(arena.outcome())
}

fn idle(arena: &mut Arena) -> io::Result<Verdict> {
    let _clients = connect_many(4, arena)?;
    Ok(arena.outcome())
}

fn connect_many(count: usize, arena: &mut Arena) -> io::Result<Vec<Client>> {
    let connect = |_| {
        let client = Client::connect(arena.proxy.address)?;
        arena.keep(&client.stream)?;
        Ok(client)
    };
    (0..count).map(connect).collect()
}

/// More than any proxy needs for a hundred requests.
const MANY_THREADS: usize = 50;

fn burst(arena: &mut Arena) -> io::Result<Verdict> {
    let mut clients = connect_many(100, arena)?;
    // Time to accept them all, and less than the timeout of a request.
    arena.wait(Duration::from_millis(200), |_| false);
    for client in &mut clients {
        client.ask("/", "close")?;
    }
    let answered = count(clients, |mut client| client.answer());
    arena.wait(2 * PATIENCE, |_| answered.is_over());
    // A last line, which shows how it went on.
    arena.wait(LINE, |_| false);
    Ok(match arena.threads {
        Some(threads) if threads > MANY_THREADS => {
            Verdict::Falls(format!("it had {threads} threads for 100 clients"))
        }
        _ if answered.good() < 100 => {
            Verdict::Falls(format!("{} of 100 clients were answered", answered.good()))
        }
        Some(threads) => Verdict::Stands(format!("100 of 100 clients were answered by {threads} threads")),
        None => Verdict::Stands("100 of 100 clients were answered".into()),
    })
}

fn drip(arena: &mut Arena) -> io::Result<Verdict> {
    for (count, pause) in [(2, 200), (6, 1)] {
        let mut clients = connect_many(count, arena)?;
        for client in &mut clients {
            client.send("GET /")?;
        }
        thread::spawn(move || {
            loop {
                for client in &mut clients {
                    // A client that was cut does not come again.
                    let _ = client.send("x");
                }
                thread::sleep(Duration::from_millis(pause));
            }
        });
    }
    Ok(arena.outcome())
}

fn dead_backend(arena: &mut Arena) -> io::Result<Verdict> {
    arena.backends[0].turn(Health::Dead)?;
    Ok(arena.outcome())
}

fn reuse(arena: &mut Arena) -> io::Result<Verdict> {
    // The body looks like a request. If a backend sees that as one, the end of the first request was not found.
    let body = "GET /smuggled HTTP/1.1\r\nHost: attack\r\n\r\n";
    let first =
        format!("POST /first HTTP/1.1\r\nHost: attack\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answered = count(connect_many(1, arena)?, move |mut client| {
        client.send(&first)?;
        client.answer()?;
        for _ in 1..10 {
            client.ask("/again", "keep-alive")?;
            client.answer()?;
        }
        Ok(())
    });
    arena.wait(2 * PATIENCE, |_| answered.is_over());
    let requests = arena.backends.iter().flat_map(|backend| backend.requests()).collect::<Vec<_>>();
    let arrived = requests.iter().filter(|request| *request == "GET /again").count();
    Ok(if requests.iter().any(|request| request.ends_with("/smuggled")) {
        Verdict::Falls("a backend took the body of a request for another request".into())
    } else if answered.good() == 0 {
        Verdict::Falls(format!("the connection ended after {} of 10 requests", 1 + arrived))
    } else {
        Verdict::Stands("10 of 10 requests were answered on one connection".into())
    })
}

fn browsers(arena: &mut Arena) -> io::Result<Verdict> {
    for mut client in connect_many(32, arena)? {
        thread::spawn(move || -> io::Result<()> {
            loop {
                client.ask("/", "keep-alive")?;
                client.answer()?;
                thread::sleep(Duration::from_millis(300));
            }
        });
    }
    Ok(arena.outcome())
}

fn late(arena: &mut Arena) -> io::Result<Verdict> {
    let answered = ask_late(64, arena)?;
    Ok(match arena.outcome() {
        Verdict::Stands(_) if answered.good() < 64 => {
            Verdict::Falls(format!("{} of 64 late answers came", answered.good()))
        }
        verdict => verdict,
    })
}

fn ask_late(clients: usize, arena: &mut Arena) -> io::Result<Arc<Tally>> {
    let mut clients = connect_many(clients, arena)?;
    for client in &mut clients {
        client.ask("/late", "close")?;
    }
    Ok(count(clients, |mut client| client.answer()))
}

fn slow_readers(arena: &mut Arena) -> io::Result<Verdict> {
    let connect = |_| {
        let mut client = connect_narrow(arena.proxy.address)?;
        client.write_all(b"GET /large HTTP/1.1\r\nHost: attack\r\n\r\n")?;
        client.set_nonblocking(true)?;
        arena.keep(&client)?;
        Ok(client)
    };
    let mut clients = (0..24).map(connect).collect::<io::Result<Vec<_>>>()?;
    thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        loop {
            for client in &mut clients {
                let _ = client.read(&mut piece);
            }
            // 640 KB a second for each.
            thread::sleep(Duration::from_millis(100));
        }
    });
    Ok(arena.outcome())
}

/// A connection whose kernel buffers little on this side.
fn connect_narrow(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_recv_buffer_size(&socket, 64 * 1024)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket.into())
}

fn stop(arena: &mut Arena) -> io::Result<Verdict> {
    let mut idle = connect_many(1, arena)?;
    for client in &mut idle {
        client.ask("/", "keep-alive")?;
        client.answer()?;
    }
    let answered = ask_late(16, arena)?;
    let in_flight = |arena: &Arena| {
        let requests = arena.backends.iter().flat_map(|backend| backend.requests());
        requests.filter(|request| *request == "GET /late").count()
    };
    if !arena.wait(PATIENCE, |arena| in_flight(arena) == 16) {
        return Ok(Verdict::Falls(format!("{} of 16 requests reached a backend", in_flight(arena))));
    }
    arena.proxy.terminate()?;
    let mut ended = None;
    arena.wait(2 * PATIENCE, |arena| {
        ended = ended.or_else(|| arena.proxy.ended());
        ended.is_some() && answered.is_over()
    });
    Ok(match ended {
        _ if answered.good() < 16 => {
            Verdict::Falls(format!("{} of 16 requests in flight were answered", answered.good()))
        }
        None => Verdict::Falls("it did not end".into()),
        Some(status) if !status.success() => Verdict::Falls(format!("it ended with {status}")),
        Some(_) => Verdict::Stands("16 of 16 requests in flight were answered, and then it ended".into()),
    })
}

/// How many of 60 clients a backend that hangs may catch.
const CAUGHT: usize = 15;

fn hung_backend(arena: &mut Arena) -> io::Result<Verdict> {
    arena.backends[0].turn(Health::Hung)?;
    // One client after the other, as they come in life.
    let proxy = arena.proxy.address;
    let answered = count(0..60, move |place| {
        thread::sleep(place * Duration::from_millis(50));
        let mut client = Client::connect(proxy)?;
        client.ask("/", "close")?;
        client.answer()
    });
    arena.wait(3 * PATIENCE, |_| answered.is_over());
    let good = format!("{} of 60 clients were answered", answered.good());
    Ok(if answered.good() + CAUGHT < 60 { Verdict::Falls(good) } else { Verdict::Stands(good) })
}

/// Of some clients, how many are done and how many of these were served.
struct Tally {
    all: usize,
    good: AtomicUsize,
    bad: AtomicUsize,
}

impl Tally {
    fn good(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.good() + self.bad.load(Ordering::Relaxed) == self.all
    }
}

/// Gives each client a thread, and counts how it goes.
fn count<T: Send + 'static>(
    clients: impl IntoIterator<Item = T>,
    go: impl Fn(T) -> io::Result<()> + Clone + Send + 'static,
) -> Arc<Tally> {
    let clients: Vec<_> = clients.into_iter().collect();
    let tally = Arc::new(Tally { all: clients.len(), good: AtomicUsize::new(0), bad: AtomicUsize::new(0) });
    for client in clients {
        let (go, counting) = (go.clone(), Arc::clone(&tally));
        thread::spawn(move || {
            let done = if go(client).is_ok() { &counting.good } else { &counting.bad };
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    tally
}
