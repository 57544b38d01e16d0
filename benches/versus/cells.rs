//! The cells of the table: one kind of load each.

use crate::slow::Late;
use crate::stage::site::Site;
use std::time::Duration;

/// One kind of load.
#[derive(Debug)]
pub struct Cell {
    pub name: &'static str,
    pub about: &'static str,
    /// Connections that send the next request as soon as they have a response.
    pub clients: usize,
    pub path: &'static str,
    /// Body length of a POST, in bytes; `None` means GET.
    pub body: Option<usize>,
    /// Field lines in the request, Host included.
    pub fields: usize,
    pub connections: Connections,
    /// With TLS to the clients; `None` means plain.
    pub tls: Option<Handshake>,
    pub backends: Speed,
    /// Requests are spread over its names.
    pub site: Site,
    /// Further connections that sent one request and are idle during the run.
    pub idle: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    Kept,
    OnePerRequest,
}

/// The handshake of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Of a client that comes for the first time.
    Full,
    /// Of one that shows the ticket of the connection before.
    Resumed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speed {
    Fast,
    /// Some responses are late, or all.
    Late(Late),
}

const fn late(one_in: u64, milliseconds: u64) -> Speed {
    Speed::Late(Late { one_in, delay: Duration::from_millis(milliseconds) })
}

impl Cell {
    /// Whether the floor says something about this cell: it relays on kept connections. New connections, idle ones and
    /// waiting ones are what a proxy manages, and so are names; the floor manages nothing, and knows two backends and no
    /// TLS.
    pub fn has_floor(&self) -> bool {
        let is_small = self.idle == 0 && self.site == Site::Small && self.tls.is_none();
        self.connections == Connections::Kept && self.backends == Speed::Fast && is_small
    }
}

const GET: Cell = Cell {
    name: "",
    about: "",
    clients: 64,
    path: "/100",
    body: None,
    fields: 1,
    connections: Connections::Kept,
    tls: None,
    backends: Speed::Fast,
    site: Site::Small,
    idle: 0,
};

const TLS: Cell = Cell { tls: Some(Handshake::Full), ..GET };

pub const CELLS: &[Cell] = &[
    Cell { name: "get-1", about: "GET of 100 bytes, 1 client", clients: 1, ..GET },
    Cell { name: "get-16", about: "GET of 100 bytes, 16 clients", clients: 16, ..GET },
    Cell { name: "get-64", about: "GET of 100 bytes, 64 clients", ..GET },
    Cell { name: "get-256", about: "GET of 100 bytes, 256 clients", clients: 256, ..GET },
    Cell { name: "get-1000", about: "GET of 100 bytes, 1000 clients", clients: 1000, ..GET },
    Cell {
        name: "new-64",
        about: "a new connection per request, 64 clients",
        connections: Connections::OnePerRequest,
        ..GET
    },
    Cell { name: "10k-64", about: "GET of 10 KB, 64 clients", path: "/10k", ..GET },
    Cell { name: "1m-8", about: "GET of 1 MB, 8 clients", path: "/1m", clients: 8, ..GET },
    Cell { name: "100m-2", about: "GET of 100 MB, 2 clients", path: "/100m", clients: 2, ..GET },
    Cell {
        name: "post-16",
        about: "POST of 64 KB, 16 clients",
        path: "/upload",
        body: Some(64 << 10),
        clients: 16,
        ..GET
    },
    Cell { name: "fields-64", about: "GET with 30 field lines, 64 clients", fields: 30, ..GET },
    Cell {
        name: "slow-1000",
        about: "backends that take 100 ms, 1000 clients",
        clients: 1000,
        backends: late(1, 100),
        ..GET
    },
    Cell {
        name: "mixed-256",
        about: "one response in ten takes 100 ms, 256 clients",
        clients: 256,
        backends: late(10, 100),
        ..GET
    },
    Cell {
        name: "mixed-64",
        about: "one response in ten takes 5 ms, 64 clients",
        backends: late(10, 5),
        ..GET
    },
    Cell {
        name: "steady-256",
        about: "backends that take 2 ms, 256 clients",
        clients: 256,
        backends: late(1, 2),
        ..GET
    },
    Cell { name: "idle-64", about: "64 clients while 10,000 others idle", idle: 10_000, ..GET },
    Cell {
        name: "routes-1000",
        about: "1,000 names with a route each, 64 clients",
        site: Site::Names,
        ..GET
    },
    Cell { name: "backends-1000", about: "1,000 backends, 64 clients", site: Site::Backends, ..GET },
    Cell { name: "tls-64", about: "TLS: GET of 100 bytes, 64 clients", ..TLS },
    Cell {
        name: "tls-new-64",
        about: "TLS: a full handshake per request, 64 clients",
        connections: Connections::OnePerRequest,
        ..TLS
    },
    Cell {
        name: "tls-resumed-64",
        about: "TLS: a resumed session per request, 64 clients",
        connections: Connections::OnePerRequest,
        tls: Some(Handshake::Resumed),
        ..TLS
    },
    Cell { name: "tls-1m-8", about: "TLS: GET of 1 MB, 8 clients", path: "/1m", clients: 8, ..TLS },
    Cell { name: "tls-idle-64", about: "TLS: 64 clients while 10,000 others idle", idle: 10_000, ..TLS },
];
