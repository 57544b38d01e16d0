//! A backend that the test drives, connection by connection and byte by byte.
//!
//! It reserves its port for its whole life, so that it can refuse connections and come back without a race against
//! other tests for the number.
//!
//! Not here: a backend that runs by itself (`backend`).

use super::message::Message;
use super::tls;
use super::wire::{End, Wire};
use super::{SILENCE, TIMEOUT};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustls::ServerConfig;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// A port that is bound and refuses connections; [`Port::listen`] opens it.
#[derive(Debug)]
pub struct Port {
    pub address: SocketAddr,
    _reserved: OwnedFd,
}

impl Port {
    pub fn reserve() -> Port {
        Port::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port")
    }

    /// Reserves this port, or any free port of the address if it is 0.
    pub fn at(address: SocketAddr) -> std::io::Result<Port> {
        let reserved = reusable_socket(address);
        net::bind(&reserved, &address)?;
        let address = net::getsockname(&reserved)?.try_into()?;
        Ok(Port { address, _reserved: reserved })
    }

    pub fn listen(&self, backlog: i32) -> TcpListener {
        let socket = reusable_socket(self.address);
        net::bind(&socket, &self.address).expect("the reserved port");
        net::listen(&socket, backlog).expect("a listener");
        TcpListener::from(socket)
    }
}

fn reusable_socket(address: SocketAddr) -> OwnedFd {
    let flags = net::SocketFlags::CLOEXEC;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
    socket
}

#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    port: Port,
    listener: Option<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
}

impl Origin {
    /// With TLS, whatever this run is.
    pub fn with_tls(config: Arc<ServerConfig>) -> Origin {
        Origin { tls: Some(config), ..Origin::start() }
    }

    pub fn start() -> Origin {
        let origin = Origin::down();
        Origin { listener: Some(origin.port.listen(1024)), ..origin }
    }

    /// From the next connection on.
    pub fn show(&mut self, config: Arc<ServerConfig>) {
        self.tls = Some(config);
    }

    /// An origin that refuses connections.
    pub fn down() -> Origin {
        let port = Port::reserve();
        Origin { address: port.address, port, listener: None, tls: tls::of_backends() }
    }

    /// The next connection of the proxy, as it comes.
    pub fn accept_bare(&self) -> std::net::TcpStream {
        let listener = self.listener.as_ref().expect("a listener");
        let timeout = Timespec::try_from(TIMEOUT).expect("a timeout");
        let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)).expect("poll");
        assert!(ready > 0, "no connection to {}", self.address);
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        stream
    }

    /// The next connection of the proxy.
    pub fn accept(&self) -> Wire {
        self.accept_within(TIMEOUT).unwrap_or_else(|| panic!("no connection to {}", self.address))
    }

    /// The next connection with a request, and that request. Probes that close without a byte are ignored.
    pub fn request(&self) -> (Wire, Message) {
        loop {
            let mut wire = self.accept();
            match wire.try_request() {
                Ok(request) => return (wire, request),
                Err(cut) if cut.so_far.is_none() && cut.end == End::Eof && wire.received.is_empty() => {}
                Err(cut) => panic!("a request, not {cut:#?}"),
            }
        }
    }

    /// Accepts a connection, reads a request and sends the response.
    pub fn answer(&self, response: impl AsRef<[u8]>) -> (Wire, Message) {
        let (mut wire, request) = self.request();
        wire.send(response);
        (wire, request)
    }

    /// No connection comes.
    pub fn expect_no_connection(&self) {
        let connection = self.accept_within(SILENCE);
        assert!(connection.is_none(), "a connection: {connection:?}");
    }

    fn accept_within(&self, timeout: Duration) -> Option<Wire> {
        let listener = self.listener.as_ref().expect("a listener");
        let timeout = Timespec::try_from(timeout).expect("a timeout");
        let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)).expect("poll");
        (ready > 0).then(|| {
            let (stream, _) = listener.accept().expect("a connection");
            Wire::accepted(stream, self.tls.clone())
        })
    }
}
