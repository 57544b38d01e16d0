//! The admin listener of a running ronde, as a client sees it.
//!
//! Not here: the commands that speak with it, which are programs of their own.

use super::{Message, Proxy, Wire};
use serde_json::Value;
use std::net::SocketAddr;

/// The flag that gives a ronde an admin listener on any port.
pub const ADMIN: &str = "--admin 127.0.0.1:0";

pub struct Admin {
    pub address: SocketAddr,
}

impl Admin {
    /// Of this ronde, by its log.
    pub fn of(proxy: &Proxy) -> Admin {
        let line = proxy.process.stderr.line_with("; admin on ");
        let (_, listed) = line.split_once("; admin on ").expect("an address");
        let address = listed.split(';').next().and_then(|address| address.parse().ok());
        Admin { address: address.expect("an address") }
    }

    /// A request line and fields; Host is the address.
    pub fn begin(&self, line: &str, fields: &str) -> Wire {
        let mut wire = Wire::connect_plain(self.address);
        wire.send(format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.address));
        wire
    }

    pub fn ask(&self, line: &str, fields: &str) -> Message {
        let method = line.split(' ').next().expect("a method");
        self.begin(line, fields).response_to(method)
    }

    pub fn status(&self) -> Value {
        let response = self.ask("GET /status", "");
        assert_eq!(response.status(), 200, "{}", response.text());
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// The backend at this address, in the first route that has it.
    pub fn backend(&self, address: impl ToString) -> Value {
        let (status, address) = (self.status(), address.to_string());
        let routes = status["routes"].as_array().expect("routes");
        let all = routes.iter().flat_map(|route| route["backends"].as_array().expect("backends"));
        all.clone()
            .find(|backend| backend["address"] == *address)
            .unwrap_or_else(|| panic!("{status}"))
            .clone()
    }

    /// No request has failed by the fault of this backend, and it is in the round.
    #[track_caller]
    pub fn assert_not_blamed(&self, address: impl ToString) {
        let backend = self.backend(address);
        assert_eq!((&backend["state"], &backend["failures"]), (&"in".into(), &0.into()), "{backend}");
    }

    /// An event stream whose head was read.
    pub fn events(&self) -> Wire {
        let mut wire = self.begin("GET /events", "");
        let head = wire.response_head();
        assert_eq!((head.status(), &*head.sole("Content-Type")), (200, "text/event-stream"));
        wire
    }

    pub fn post(&self, path: &str) -> Message {
        self.ask(&format!("POST {path}"), "X-Ronde-Admin: 1\r\n")
    }

    #[track_caller]
    pub fn drain(&self, backend: impl ToString) {
        assert_eq!(self.post(&format!("/backends/{}/drain", backend.to_string())).status(), 200);
    }

    #[track_caller]
    pub fn undrain(&self, backend: impl ToString) {
        assert_eq!(self.post(&format!("/backends/{}/undrain", backend.to_string())).status(), 200);
    }
}

/// The next event of a stream.
pub fn next_event(stream: &mut Wire) -> Value {
    let mut event = stream.take(6);
    assert_eq!(event, b"data: ");
    event.clear();
    while !event.ends_with(b"\n\n") {
        event.extend(stream.take(1));
    }
    serde_json::from_slice(&event).expect("JSON")
}
