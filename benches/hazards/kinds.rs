//! What one client of a crowd does, for as long as the proxy lets it; a client that is cut off comes back a second later.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks once and stays.
    Idle,
    /// Connects and says nothing.
    Silent,
    /// A request head, a byte at a time, without end.
    SlowHead,
    /// A body of 10 KB at a few bytes a second.
    SlowBody,
    /// A body of 50 MB at 13 KB/s: slow, but honest.
    SlowUpload,
    /// 20 MB, taken at 3 KB/s through a small buffer.
    SlowReader,
    /// An upgraded connection on which nothing is said, until the crowd is told to.
    Tunnel,
    /// An event a second.
    Events,
    /// Asks as fast as it is answered.
    Asker,
    /// Asks for what takes the backend 500 ms; after a 503 it waits a second.
    LateAsker,
    /// 8 MB, taken at 1 KB/s over a path with segments of 1400 bytes, as the Internet has.
    ThinReader,
    /// 16 MB, taken at 20 KB/s over such a path, with the system's buffers.
    SteadyReader,
    /// A body of 50 MB at 700 bytes a second.
    ThinUpload,
    /// The same, in chunks of 700 bytes.
    ChunkedUpload,
    /// An event every 5 s.
    EventStream,
    /// Waits for an answer that the backend holds back.
    Poll,
    /// Begins a TLS handshake and does not go on with it.
    HalfHandshake,
    /// The same, a byte at a time.
    SlowHandshake,
    /// Begins handshakes, one after the other, and leaves each when it was answered: all the work is the proxy's.
    Handshakes,
}

const UPLOAD: usize = 50 << 20;
/// A body that ends within a row. At 700 bytes a second it takes six minutes.
const SHORT_UPLOAD: usize = 256 << 10;

/// So many of a crowd go on at the end of a row.
pub const GO_ON: usize = 300;

/// Whether this client of a crowd is among the [`GO_ON`] that finish; they are spread over all kinds of the crowd.
pub fn goes_on(index: usize, size: usize) -> bool {
    let step = (size / GO_ON).max(1);
    index.is_multiple_of(step) && index / step < GO_ON
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Idle,
        Self::Silent,
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowUpload,
        Self::SlowReader,
        Self::Tunnel,
        Self::Events,
        Self::Asker,
        Self::LateAsker,
        Self::ThinReader,
        Self::SteadyReader,
        Self::ThinUpload,
        Self::ChunkedUpload,
        Self::EventStream,
        Self::Poll,
        Self::HalfHandshake,
        Self::SlowHandshake,
        Self::Handshakes,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
    }

    /// The first words on a connection, or the next request.
    pub fn request(self, goes_on: bool) -> String {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let post = |path: &str, body: &str| format!("POST {path} HTTP/1.1\r\nHost: bench\r\n{body}\r\n\r\n");
        match self {
            Self::Silent | Self::HalfHandshake | Self::SlowHandshake | Self::Handshakes => String::new(),
            Self::Idle | Self::Asker => get("/100"),
            Self::LateAsker => get("/late"),
            Self::SlowHead => "GET /100 HTTP/1.1\r\nHost: bench\r\nX-Slow: ".to_owned(),
            Self::SlowBody => post("/100", "Content-Length: 10240"),
            Self::SlowUpload => post("/100", "Content-Length: 52428800"),
            Self::SlowReader => get("/long"),
            Self::Tunnel => UPGRADE.to_owned(),
            Self::Events => get("/events"),
            // What it takes in a row, the backend has sent in the first second.
            Self::ThinReader if !goes_on => get(&format!("/drip/{}", self.length(goes_on))),
            Self::ThinReader | Self::SteadyReader => get(&format!("/bytes/{}", self.length(goes_on))),
            Self::ThinUpload => post("/count", &format!("Content-Length: {}", self.length(goes_on))),
            Self::ChunkedUpload => post("/count", "Transfer-Encoding: chunked"),
            Self::EventStream => get("/stream"),
            Self::Poll => get("/poll"),
        }
    }

    /// Length of a body that is checked at its other end.
    pub fn length(self, goes_on: bool) -> usize {
        match self {
            Self::ThinReader => 8 << 20,
            Self::SteadyReader => 16 << 20,
            Self::ThinUpload | Self::ChunkedUpload if goes_on => SHORT_UPLOAD,
            Self::ThinUpload | Self::ChunkedUpload => UPLOAD,
            _ => 0,
        }
    }

    /// Bytes at a time, and the pause between two times, of a client that is slow.
    pub fn trickle(self) -> Option<(usize, Duration)> {
        let (bytes, milliseconds) = match self {
            Self::SlowHead | Self::SlowHandshake => (1, 300),
            Self::SlowBody => (6, 300),
            Self::SlowUpload => (4096, 300),
            Self::SlowReader => (900, 300),
            // Once a second: more would cost the machine more than the proxy does.
            Self::ThinReader => (1024, 1000),
            Self::SteadyReader => (5 << 10, 250),
            Self::ThinUpload | Self::ChunkedUpload => (700, 1000),
            _ => return None,
        };
        Some((bytes, Duration::from_millis(milliseconds)))
    }

    /// Begins TLS.
    pub fn shakes_hands(self) -> bool {
        matches!(self, Self::HalfHandshake | Self::SlowHandshake | Self::Handshakes)
    }

    pub fn asks(self) -> bool {
        matches!(self, Self::Asker | Self::LateAsker)
    }

    /// Reads a body that is checked.
    pub fn reads(self) -> bool {
        matches!(self, Self::ThinReader | Self::SteadyReader)
    }

    /// Sends a body that is checked.
    pub fn uploads(self) -> bool {
        matches!(self, Self::ThinUpload | Self::ChunkedUpload)
    }

    /// The backend, not the client, decides that it ends.
    pub fn is_ended_by_backend(self) -> bool {
        matches!(self, Self::Poll | Self::EventStream)
    }
}

pub const UPGRADE: &str = "GET /tunnel HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
