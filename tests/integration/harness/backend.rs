//! A backend that runs by itself: a thread for each connection, a closure for each request.
//!
//! Not here: a backend that the test drives step by step (`origin`).

use super::eventually;
use super::gate::Gate;
use super::message::{Message, ok};
use super::origin::Port;
use super::tls;
use super::wire::{End, Wire};
use rustix::net::Shutdown;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

type Handler = dyn Fn(&mut Wire, &Message) + Send + Sync;

/// Counts its requests and connections. Fails its test when the proxy sends it anything but strictly valid requests.
pub struct Backend {
    pub address: SocketAddr,
    port: Port,
    listener: Option<Arc<TcpListener>>,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    tls: Option<Arc<ServerConfig>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    complaints: Vec<String>,
    connections: HashMap<u64, TcpStream>,
    accepted: u64,
}

impl Backend {
    /// The handler writes the response itself.
    pub fn start(handler: impl Fn(&mut Wire, &Message) + Send + Sync + 'static) -> Backend {
        Backend::on(Port::reserve(), handler)
    }

    /// On a port that is already reserved.
    pub fn on(port: Port, handler: impl Fn(&mut Wire, &Message) + Send + Sync + 'static) -> Backend {
        Backend::with(tls::of_backends(), port, handler)
    }

    /// With TLS, whatever this run is.
    pub fn with_tls(
        config: Arc<ServerConfig>,
        handler: impl Fn(&mut Wire, &Message) + Send + Sync + 'static,
    ) -> Backend {
        Backend::with(Some(config), Port::reserve(), handler)
    }

    fn with(
        tls: Option<Arc<ServerConfig>>,
        port: Port,
        handler: impl Fn(&mut Wire, &Message) + Send + Sync + 'static,
    ) -> Backend {
        let shared = Arc::new(Shared { handler: Box::new(handler), tls, state: Mutex::default() });
        let mut backend = Backend { address: port.address, port, listener: None, shared };
        backend.come_up();
        backend
    }

    /// The handler can have its request wait until the test opens the gate.
    pub fn gated(handler: impl Fn(&mut Wire, &Message, &Gate) + Send + Sync + 'static) -> (Gate, Backend) {
        let gate = Gate::default();
        let guard = gate.clone();
        (gate, Backend::start(move |wire, request| handler(wire, request, &guard)))
    }

    /// Responds to every request with this name.
    pub fn named(name: &str) -> Backend {
        let name = name.to_owned();
        Backend::start(move |wire, _| wire.send(ok(&name)))
    }

    /// The same when the test opens the gate.
    pub fn gated_named(name: &str) -> (Gate, Backend) {
        let name = name.to_owned();
        Self::gated(move |wire, _, gate| {
            gate.pass();
            wire.send(ok(&name));
        })
    }

    /// Responds to every request with the request itself: the start line, the fields, the body, the trailers.
    pub fn mirror() -> Backend {
        Backend::start(|wire, request| wire.send(ok(&request.to_string())))
    }

    pub fn come_up(&mut self) {
        let listener = Arc::new(self.port.listen(4096));
        self.listener = Some(Arc::clone(&listener));
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.converse(stream));
            }
        });
    }

    /// Like a killed process: the port refuses connections, and every open connection ends at once.
    pub fn go_down(&mut self) {
        if let Some(listener) = self.listener.take() {
            rustix::net::shutdown(&*listener, Shutdown::Both).expect("an end of listening");
        }
        for (_, stream) in self.shared.state.lock().unwrap().connections.drain() {
            let _already_closed = stream.shutdown(std::net::Shutdown::Both);
        }
        // On a busy machine the kernel delivers a FIN some milliseconds late, even on the loopback. A request sent before
        // that would be a request to a backend that has not gone down yet.
        eventually("all peers know", || !has_peers(self.address));
    }

    /// How many requests arrived.
    pub fn count(&self) -> usize {
        self.shared.state.lock().unwrap().requests.len()
    }

    /// The targets of all requests, in the order of their arrival.
    pub fn targets(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.state.lock().unwrap().accepted
    }
}

/// Whether some connection to this address has not seen its end: `/proc/net/tcp` has the peer's address in its third
/// column and the state in its fourth, where 01 is established.
fn has_peers(address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else { return false };
    let port = address.port();
    let address = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.ip().octets()));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections of this host");
    table.lines().any(|line| {
        let columns: Vec<_> = line.split_whitespace().skip(2).take(2).collect();
        columns == [&*address, "01"]
    })
}

impl Shared {
    fn converse(&self, stream: TcpStream) {
        let Ok(kept) = stream.try_clone() else { return };
        let number = {
            let mut state = self.state.lock().unwrap();
            state.accepted += 1;
            let number = state.accepted;
            state.connections.insert(number, kept);
            number
        };
        let mut wire = Wire::accepted(stream, self.tls.clone());
        wire.set_timeout(std::time::Duration::from_secs(60));
        loop {
            match wire.try_request() {
                Ok(request) => {
                    self.state.lock().unwrap().requests.push(request.target().to_owned());
                    (self.handler)(&mut wire, &request);
                    wire.received.clear();
                }
                Err(cut) => {
                    if let End::Illegal(why) = cut.end {
                        self.state.lock().unwrap().complaints.push(why);
                    }
                    break;
                }
            }
        }
        self.state.lock().unwrap().connections.remove(&number);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.go_down();
        let complaints = std::mem::take(&mut self.shared.state.lock().unwrap().complaints);
        assert!(complaints.is_empty() || thread::panicking(), "illegal requests: {complaints:#?}");
    }
}
