//! A connection and its peer, for the tests of this folder.

use crate::net::conn::Conn;
use crate::net::listener::{Claim, Family, listen};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};

/// One of ronde's connections, with its timeouts, and the other end.
pub fn pair() -> (Conn, TcpStream) {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Family::Own, Claim::Existing).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    };
    (Conn::accepted(stream), peer)
}
