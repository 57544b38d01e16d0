//! One connection of a backend: reads a request, and is in a state that says how it is answered.
//!
//! | path | answer |
//! |---|---|
//! | `/late` | 100 bytes after 500 ms |
//! | `/poll` | 100 bytes when the backend is told to |
//! | `/long`, `/bytes/N` | 20 MB, or N bytes, of the pattern |
//! | `/drip/N` | the same, but slowly after the first 160 KB |
//! | `/events`, `/stream` | an event a second, or every 5 s, until the backend is told to end |
//! | `/count` | the length of the request body, and whether it was the pattern |
//! | any other | 100 bytes after the request body |
//!
//! A request with `Upgrade` becomes a tunnel that echoes.

use crate::body::Body;
use crate::pattern;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SendFlags, send};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

const LATE: Duration = Duration::from_millis(500);
const LONG: usize = 20 << 20;
/// What one long response writes before the others have their turn.
const PIECE: usize = 64 << 10;
/// The same, and the send buffer (which the kernel doubles), of a response to a crowd.
const SMALL_PIECE: usize = 16 << 10;
/// What a proxy gets at once of a response to a client of 1 KB/s, and then at that client's rate: enough that nginx and
/// HAProxy have their buffers full (with 128 KB HAProxy has not). Without a bound their receive buffers would be full as
/// well, and at 8,000 clients all sockets would be at the kernel's limit for TCP (2.2 GB here): it drops packets then, and
/// what is measured is the wait for retransmissions. So it is near `tcp_mem`'s middle number, with a few.
const AHEAD: usize = 160 << 10;
const DRIP: usize = 8 << 10;
const DRIPPING: Duration = Duration::from_secs(8);

pub struct Connection {
    pub stream: TcpStream,
    pub side: usize,
    pub seen: Vec<u8>,
    pub state: State,
}

pub enum State {
    Head,
    /// A request body; its end is answered with what is known about it, or with 100 bytes.
    Body {
        body: Body,
        is_counted: bool,
    },
    Late,
    Poll,
    /// A response of `length` bytes, of which so many are gone, in pieces; more than `limit` may not go yet.
    Long {
        sent: usize,
        limit: usize,
        length: usize,
        piece: usize,
    },
    Tunnel,
    Events {
        period: Duration,
    },
    Hung,
}

/// HAProxy takes no 101 without Sec-WebSocket-Accept. This one belongs to the key that all clients of the bench send:
/// both are the example of RFC 6455, section 1.3.
const ACCEPT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// When a connection has something to do.
#[derive(Clone, Copy)]
pub enum When {
    In(Duration),
    /// Somewhere in the first period: the server spreads them.
    Within(Duration),
}

impl Connection {
    pub fn new(stream: TcpStream, side: usize) -> Self {
        Self { stream, side, seen: Vec::new(), state: State::Head }
    }

    /// Reads all that has come, and answers. An error is the end of the connection.
    pub fn progress(&mut self, is_hung: bool) -> io::Result<Option<When>> {
        let mut room = [0; 16 << 10];
        let mut when = None;
        loop {
            let count = match self.stream.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            match &mut self.state {
                State::Head => {
                    self.seen.extend_from_slice(&room[..count]);
                    when = self.understand(is_hung)?.or(when);
                }
                State::Body { body, .. } => {
                    body.take(&room[..count]);
                    self.end_of_body()?;
                }
                // A word fits into any send buffer.
                State::Tunnel => self.stream.write_all(&room[..count])?,
                _ => {}
            }
        }
        Ok(when)
    }

    /// Writes a piece of a long response, and says whether more would go at once.
    pub fn pour(&mut self) -> io::Result<bool> {
        let State::Long { sent, limit, length, piece } = &mut self.state else { return Ok(false) };
        let bytes = pattern::piece(*sent, (*limit - *sent).min(*piece));
        if bytes.is_empty() {
            return Ok(false);
        }
        // With EOR the kernel does not append a piece to the one before, which it would do beyond the send buffer's end.
        match send(&self.stream, bytes, SendFlags::EOR | SendFlags::NOSIGNAL) {
            Ok(count) => *sent += count,
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if sent == length {
            self.state = State::Head;
        }
        Ok(matches!(self.state, State::Long { .. }))
    }

    /// Answers what was held back, or ends a stream of events.
    pub fn end(&mut self) -> io::Result<()> {
        match self.state {
            State::Poll => self.stream.write_all(&answer(&"x".repeat(100)))?,
            State::Events { .. } => self.stream.write_all(b"0\r\n\r\n")?,
            _ => {}
        }
        self.state = State::Head;
        Ok(())
    }

    /// What was put off is due; returns when it is due again.
    pub fn is_due(&mut self) -> io::Result<Option<Duration>> {
        match self.state {
            State::Late => {
                self.state = State::Head;
                // A response of 150 bytes fits into any socket that is still there.
                let _ = self.stream.write_all(&answer(&"x".repeat(100)));
                Ok(None)
            }
            State::Long { ref mut limit, length, .. } => {
                *limit = length.min(*limit + DRIP);
                Ok(Some(DRIPPING))
            }
            State::Events { period } => {
                let event = format!("data: {}\n\n", micros());
                self.stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
                Ok(Some(period))
            }
            _ => Ok(None),
        }
    }

    /// Proxies send one request at a time.
    fn understand(&mut self, is_hung: bool) -> io::Result<Option<When>> {
        let Some(end) = self.seen.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.seen[..end + 4]).to_ascii_lowercase();
        let rest = self.seen.split_off(end + 4);
        self.seen = Vec::new();
        if is_hung {
            self.state = State::Hung;
            return Ok(None);
        }
        if head.contains("\r\nupgrade:") {
            self.state = State::Tunnel;
            self.stream.write_all(ACCEPT)?;
            return Ok(None);
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/late" => {
                self.state = State::Late;
                return Ok(Some(When::In(LATE)));
            }
            "/poll" => self.state = State::Poll,
            "/long" => self.begin_long(LONG, PIECE)?,
            "/events" => {
                self.begin_events(Duration::from_secs(1))?;
                return Ok(Some(When::In(Duration::ZERO)));
            }
            "/stream" => {
                let period = Duration::from_secs(5);
                self.begin_events(period)?;
                return Ok(Some(When::Within(period)));
            }
            _ => {
                let length = |name| path.strip_prefix(name).and_then(|length| length.parse().ok());
                if let Some(length) = length("/bytes/") {
                    self.begin_long(length, SMALL_PIECE)?;
                } else if let Some(length) = length("/drip/") {
                    self.begin_long(length, SMALL_PIECE)?;
                    if let State::Long { limit, .. } = &mut self.state {
                        *limit = AHEAD.min(length);
                    }
                    return Ok(Some(When::Within(DRIPPING)));
                } else {
                    let mut body = body_of(&head);
                    body.take(&rest);
                    self.state = State::Body { body, is_counted: path == "/count" };
                    self.end_of_body()?;
                }
            }
        }
        Ok(None)
    }

    fn begin_long(&mut self, length: usize, piece: usize) -> io::Result<()> {
        if piece == SMALL_PIECE {
            set_socket_send_buffer_size(&self.stream, piece)?;
        }
        self.state = State::Long { sent: 0, limit: length, length, piece };
        self.stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
    }

    fn begin_events(&mut self, period: Duration) -> io::Result<()> {
        self.state = State::Events { period };
        // nginx would collect events, were it not for X-Accel-Buffering.
        self.stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\
              Transfer-Encoding: chunked\r\n\r\n",
        )
    }

    fn end_of_body(&mut self) -> io::Result<()> {
        let State::Body { body, is_counted } = &self.state else { return Ok(()) };
        if !body.has_ended() {
            return Ok(());
        }
        let text = if *is_counted { body.summary() } else { "x".repeat(100) };
        self.state = State::Head;
        self.stream.write_all(&answer(&text))
    }
}

fn body_of(head: &str) -> Body {
    if head.contains("\r\ntransfer-encoding:") {
        return Body::chunked();
    }
    let length = head.split_once("\r\ncontent-length:").map_or("0", |(_, rest)| rest);
    Body::of_length(length.split("\r\n").next().unwrap_or_default().trim().parse().unwrap_or(0))
}

fn answer(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// A clock that the clients, in another process, have too.
pub fn micros() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_micros().try_into().unwrap_or(u64::MAX)
}
