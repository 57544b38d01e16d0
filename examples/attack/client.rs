//! One client: a connection on which it asks, and reads answers whose length is declared.

use httparse::{EMPTY_HEADER, Response, Status};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long anybody waits for an answer before giving up.
pub const PATIENCE: Duration = Duration::from_secs(5);

pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Asks for a target. The connection may be used again, unless `connection` is `close`.
    pub fn ask(&mut self, target: &str, connection: &str) -> io::Result<()> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: attack\r\nConnection: {connection}\r\n\r\n"))
    }

    /// A whole answer. Anything but 200 is an error, and so is the end of the patience.
    pub fn answer(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = end_of_answer(&self.received)? {
                self.received.drain(..end);
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Where the first answer ends, if all of it is there.
fn end_of_answer(received: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [EMPTY_HEADER; 64];
    let mut answer = Response::new(&mut fields);
    let Status::Complete(head) = answer.parse(received).map_err(io::Error::other)? else { return Ok(None) };
    if answer.code != Some(200) {
        return Err(io::Error::other("an answer other than 200"));
    }
    let length = answer.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    let end = head + length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    Ok((received.len() >= end).then_some(end))
}
