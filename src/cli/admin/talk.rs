//! Requests to the admin listener, and what it answers.
//!
//! The problem: a command must end. Whatever is at the other end, a ronde that is stopped or a server of another kind, each
//! wait has a deadline, and an answer that broke off is not taken for a whole one.
//!
//! Not here: what is asked (`admin`).

use super::Failed;
use crate::config::{Address, waits};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{self, Lines, Method, Scan};
use crate::net::conn::{Block, Conn, Received, Sent};
use crate::server::admin::response::is_ours;
use crate::server::admin::status::Status;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Instant;

/// The longest body of an answer, and the longest event: a thousand routes have a few hundred kilobytes.
const MOST: usize = 64 * 1024 * 1024;

/// The longest head of an answer.
const MOST_HEAD: usize = 16 * 1024;

/// The state.
///
/// # Errors
/// See [`Failed`].
pub fn get(at: &Address, path: &str) -> Result<Status, Failed> {
    let body = Talk::begin(at, "GET", path)?.whole_body()?;
    serde_json::from_slice(&body).map_err(|_| Failed::Foreign(at.clone()))
}

/// Has something changed. Returns the body of the answer.
///
/// # Errors
/// See [`Failed`].
pub fn post(at: &Address, path: &str) -> Result<Vec<u8>, Failed> {
    Talk::begin(at, "POST", path)?.whole_body()
}

/// The same for what takes as long as [`waits::ADMIN_RELOAD`].
///
/// # Errors
/// See [`Failed`].
pub fn post_patiently(at: &Address, path: &str) -> Result<Vec<u8>, Failed> {
    let deadline = Instant::now() + waits::ADMIN_RELOAD + waits::ADMIN_ANSWER;
    Talk::begin_by(deadline, at, "POST", path)?.whole_body()
}

/// The state, every second.
pub struct Follow {
    talk: Talk,
}

impl Follow {
    /// # Errors
    /// See [`Failed`].
    pub fn begin(at: &Address) -> Result<Self, Failed> {
        Ok(Self { talk: Talk::begin(at, "GET", "/events")? })
    }

    /// The next event. Where the stream has given way to another client, it begins anew.
    ///
    /// # Errors
    /// [`Failed::TimedOut`] at the deadline, too.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Status, Failed> {
        loop {
            if let Some(status) = self.talk.take_event() {
                return Ok(status);
            }
            let next = Instant::now() + waits::ADMIN_ANSWER;
            let next = deadline.map_or(next, |deadline| deadline.min(next));
            match self.talk.receive(next)? {
                Received::Bytes(_) | Received::Nothing => {}
                Received::End => self.talk = Talk::begin_by(next, &self.talk.at, "GET", "/events")?,
            }
        }
    }
}

/// One request, and its answer as far as it has come.
struct Talk {
    at: Address,
    conn: Conn,
    received: Vec<u8>,
    /// Of the body; `None`: it goes on until the end.
    length: Option<usize>,
}

impl Talk {
    fn begin(at: &Address, method: &str, path: &str) -> Result<Self, Failed> {
        Self::begin_by(Instant::now() + waits::ADMIN_ANSWER, at, method, path)
    }

    /// Sends a request, and waits for the head of the answer until then.
    fn begin_by(deadline: Instant, at: &Address, method: &str, path: &str) -> Result<Self, Failed> {
        let host = match at {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Ronde-Admin: 1\r\nContent-Length: 0\r\n\r\n"
        );
        let unreachable = |error| Failed::Unreachable(at.clone(), error);
        let conn = Conn::connect_by(at, deadline).map_err(unreachable)?;
        match conn.send(&[IoSlice::new(request.as_bytes())], Block::Briefly) {
            // A few hundred bytes fit into any socket that is empty.
            Ok(Sent::Bytes(count)) if count == request.len() => {}
            Ok(_) => return Err(Failed::TimedOut(at.clone())),
            Err(error) => return Err(unreachable(error)),
        }
        let mut talk = Self { at: at.clone(), conn, received: Vec::new(), length: None };
        loop {
            match head::scan(&talk.received) {
                Scan::Complete { start: 0, end } => {
                    talk.understand(end)?;
                    return Ok(talk);
                }
                Scan::Partial if talk.received.len() < MOST_HEAD => {}
                Scan::Partial | Scan::Complete { .. } | Scan::Hopeless(_) => {
                    return Err(Failed::Foreign(at.clone()));
                }
            }
            if talk.receive(deadline)? == Received::End {
                return Err(unreachable(ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Takes the head off.
    fn understand(&mut self, end: usize) -> Result<(), Failed> {
        let foreign = || Failed::Foreign(self.at.clone());
        let mut head: Vec<_> = self.received.drain(..end).collect();
        let mut lines = Lines::new();
        let response = head::response(&mut head, &mut lines).map_err(|_| foreign())?;
        if !is_ours(&response.fields) {
            return Err(foreign());
        }
        let framed = framing::of_response(Method::Other, response.status, response.version, response.fields);
        self.length = match framed.map_err(|_| foreign())?.framing {
            Framing::Length(length) => Some(usize::try_from(length).map_err(|_| foreign())?),
            Framing::UntilClose => None,
            Framing::Chunked => return Err(foreign()),
        };
        let status = response.status;
        if status == 200 || status == 202 {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&self.rest()?).trim().to_owned();
        Err(Failed::Refused(status, why))
    }

    fn whole_body(mut self) -> Result<Vec<u8>, Failed> {
        self.rest()
    }

    /// The body, to its end.
    fn rest(&mut self) -> Result<Vec<u8>, Failed> {
        let deadline = Instant::now() + waits::ADMIN_ANSWER;
        while self.length.is_none_or(|length| self.received.len() < length) {
            if self.receive(deadline)? == Received::End {
                match self.length {
                    None => break,
                    Some(_) => return Err(self.unreachable(ErrorKind::UnexpectedEof.into())),
                }
            }
        }
        Ok(std::mem::take(&mut self.received))
    }

    /// The state of the last event that is there as a whole.
    fn take_event(&mut self) -> Option<Status> {
        let end = self.received.windows(2).rposition(|pair| pair == b"\n\n")?;
        let events: Vec<_> = self.received.drain(..end + 2).collect();
        let last = events.split(|&byte| byte == b'\n').rev().find_map(|line| line.strip_prefix(b"data: "))?;
        serde_json::from_slice(last).ok()
    }

    fn receive(&mut self, deadline: Instant) -> Result<Received, Failed> {
        let mut room = [0; 16 * 1024];
        loop {
            if self.received.len() > MOST {
                return Err(Failed::Foreign(self.at.clone()));
            }
            // Before each read: a stranger on that port may send without an end.
            if Instant::now() >= deadline {
                return Err(Failed::TimedOut(self.at.clone()));
            }
            match self.conn.receive(&mut room, Block::Briefly) {
                Ok(Received::Nothing) => {}
                Ok(received) => {
                    if let Received::Bytes(count) = received {
                        self.received.extend_from_slice(&room[..count]);
                    }
                    return Ok(received);
                }
                Err(error) => return Err(self.unreachable(error)),
            }
        }
    }

    fn unreachable(&self, error: io::Error) -> Failed {
        Failed::Unreachable(self.at.clone(), error)
    }
}
