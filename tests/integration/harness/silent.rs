//! A backend whose host drops every SYN.
//!
//! Not here: one that accepts and says nothing (`origin`).

use super::origin::Port;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// An address that drops every SYN, like one that has vanished: a listener whose queue is full.
pub struct Silent {
    pub port: Port,
    pub listener: TcpListener,
    _filling: TcpStream,
}

impl Silent {
    pub fn start() -> Silent {
        Silent::at(Port::reserve())
    }

    pub fn at(port: Port) -> Silent {
        let listener = port.listen(0);
        let filling = TcpStream::connect(port.address).expect("the only slot of the queue");
        Silent { port, listener, _filling: filling }
    }

    pub fn some(count: usize) -> Vec<Silent> {
        (0..count).map(|_| Silent::start()).collect()
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address
    }
}
