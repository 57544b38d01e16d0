//! One client of a crowd: what it has asked, said and taken.
//!
//! Not here: when it does something (`crowd`), and what its kind is (`kinds`).

use crate::connection::micros;
use crate::kinds::Kind;
use crate::pattern;
use crate::tally::Tally;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub struct Client {
    pub kind: Kind,
    /// Its body is short enough to end within a row.
    pub goes_on: bool,
    pub stream: Option<TcpStream>,
    pub serial: u64,
    pub is_connected: bool,
    /// When it asked what is not answered yet.
    pub asked: Option<Instant>,
    /// When it was told to go on.
    pub told: Option<Instant>,
    /// Has finished, and does not come back.
    pub is_done: bool,
    pub seen: Vec<u8>,
    /// Bytes of a handshake that were sent one by one.
    pub said: usize,
    /// Bytes of the body that it has taken, or has put into `unsent`.
    moved: usize,
    unsent: Vec<u8>,
}

impl Client {
    pub fn new(kind: Kind, goes_on: bool) -> Self {
        Self {
            kind,
            goes_on,
            stream: None,
            serial: 0,
            is_connected: false,
            asked: None,
            told: None,
            is_done: false,
            seen: Vec::new(),
            said: 0,
            moved: 0,
            unsent: Vec::new(),
        }
    }

    /// As before it connected.
    pub fn reset(&mut self) {
        let (serial, is_done) = (self.serial, self.is_done);
        *self = Self { serial, is_done, ..Self::new(self.kind, self.goes_on) };
    }

    pub fn stream(&mut self) -> io::Result<&mut TcpStream> {
        self.stream.as_mut().ok_or(io::ErrorKind::NotConnected.into())
    }

    /// Whether it is where its kind wants to be.
    pub fn is_held(&self) -> bool {
        self.is_connected
            && match self.kind {
                Kind::Idle | Kind::Tunnel | Kind::Events | Kind::EventStream => self.asked.is_none(),
                kind if kind.reads() => self.moved > 0,
                _ => true,
            }
    }

    /// A word that no other client says.
    pub fn word(index: usize) -> String {
        format!("a word of client {index:05}")
    }

    /// Takes a little more of a body that is checked.
    pub fn take(&mut self, room: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        let count = self.stream()?.read(room)?;
        let mut bytes = &room[..count];
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(asked) = self.asked {
            self.seen.extend_from_slice(bytes);
            let Some((status, end)) = self.head() else { return Ok(()) };
            tally.answered(status, asked.elapsed());
            if status != 200 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.asked = None;
            bytes = &bytes[count - (self.seen.len() - end)..];
            self.seen = Vec::new();
        }
        if !pattern::is_right(self.moved, bytes) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.moved += bytes.len();
        Ok(())
    }

    pub fn has_moved_all(&self) -> bool {
        self.moved == self.kind.length(self.goes_on)
    }

    /// Sends up to `most` bytes of a body that is checked, or what is left of the piece before.
    pub fn give(&mut self, most: usize) -> io::Result<()> {
        if self.unsent.is_empty() {
            self.unsent = self.next_piece(most);
        }
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let count = stream.write(&self.unsent)?;
        self.unsent.drain(..count);
        Ok(())
    }

    pub fn give_all(&mut self) -> io::Result<()> {
        while !(self.unsent.is_empty() && self.has_moved_all()) {
            self.give(pattern::PIECE)?;
        }
        Ok(())
    }

    fn next_piece(&mut self, most: usize) -> Vec<u8> {
        let left = self.kind.length(self.goes_on) - self.moved;
        let piece = pattern::piece(self.moved, most.min(left));
        self.moved += piece.len();
        if self.kind != Kind::ChunkedUpload {
            return piece.to_vec();
        }
        let size = format!("{:x}\r\n", piece.len());
        let end: &[u8] = if piece.len() == left { b"\r\n0\r\n\r\n" } else { b"\r\n" };
        [size.as_bytes(), piece, end].concat()
    }

    /// Status of the response in `seen`, and where its head ends.
    pub fn head(&self) -> Option<(u16, usize)> {
        let end = self.seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let status = self.seen.get(9..12).and_then(|code| str::from_utf8(code).ok());
        Some((status.and_then(|code| code.parse().ok()).unwrap_or(0), end))
    }

    /// Events say when they were sent. Returns whether the stream has ended as it should.
    pub fn hear_events(&mut self, tally: &mut Tally) -> bool {
        while let Some(end) = self.seen.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.seen.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // The last chunk.
            if line.trim() == "0" {
                return true;
            }
            if let Some(sent) = line.strip_prefix("data: ").and_then(|sent| sent.trim().parse().ok()) {
                tally.delays.push(Duration::from_micros(micros().saturating_sub(sent)));
            }
        }
        false
    }
}
