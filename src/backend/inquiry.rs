//! One question to one backend, and its answer: whether it accepts a connection, and TLS on it where it should have TLS, or
//! with which status it answers a GET.
//!
//! The problem: a backend that hangs must not hold the thread that asks, and a command that has only this to do may well
//! block. So a question is a value that goes on as far as it can, and says what it waits for.
//!
//! Not here: when to ask, and what the answer means (`checks`).

use super::connect_failure;
use crate::config::Address;
use crate::http1::framing;
use crate::http1::head::{self, Lines, Method, Scan};
use crate::net::conn::{Block, Conn, Connected, Received, Sent, Window};
use crate::net::tls::{Handshake, Identity, Refusal};
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use std::io::{ErrorKind, IoSlice};

/// The longest response head that is read.
const MAX_HEAD: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Inquiry {
    address: Address,
    /// What it has to prove, if it is to speak TLS.
    identity: Option<Identity>,
    conn: Option<Conn>,
    question: Question,
}

/// What is asked once the connect has succeeded.
#[derive(Debug)]
enum Question {
    /// Nothing: the connect is the answer.
    None,
    /// Not sent yet, or only in part.
    Request(Vec<u8>),
    /// What has come of the response.
    Response(Vec<u8>),
}

/// How far a question came.
pub(super) enum Advance {
    Connected,
    /// The status of its response.
    Answered(u16),
    Failed(Failure),
    /// There is no TLS, and why not.
    Refused(Refusal),
    Waits(Want),
    /// For room in a Unix socket's backlog, of which no event tells: to be tried again.
    Retries,
}

impl Inquiry {
    /// Only a connect.
    pub fn connect(address: Address, identity: Option<Identity>) -> Self {
        Self { address, identity, conn: None, question: Question::None }
    }

    /// A GET for `path`, over `conn` if there is one already.
    pub fn get(
        address: Address,
        identity: Option<Identity>,
        conn: Option<Conn>,
        path: &str,
        host: &str,
    ) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ronde-health\r\nConnection: close\r\n\r\n"
        );
        Self { address, identity, conn, question: Question::Request(request.into_bytes()) }
    }

    pub fn conn(&self) -> Option<&Conn> {
        self.conn.as_ref()
    }

    /// Bytes of memory that it keeps beside itself.
    pub fn weight(&self) -> usize {
        let question = match &self.question {
            Question::None => 0,
            Question::Request(bytes) | Question::Response(bytes) => bytes.capacity(),
        };
        question + self.conn.as_ref().map_or(0, Conn::weight)
    }

    /// The failure when what it waits for does not come.
    pub fn overdue(&self) -> Failure {
        match self.question {
            _ if self.conn.as_ref().is_some_and(Conn::is_handshaking) => Failure::BackendTlsTimeout,
            Question::None | Question::Request(_) => Failure::ConnectTimeout,
            Question::Response(_) => Failure::ResponseTimeout,
        }
    }

    /// Connects, shakes hands, sends, receives: as far as it comes.
    pub fn advance(&mut self, block: Block) -> Advance {
        let connected = match &self.conn {
            None => Conn::connect(&self.address, Window::Automatic, block).map(|(conn, connected)| {
                self.conn = Some(conn);
                connected
            }),
            Some(conn) => conn.finish_connect(),
        };
        let conn = match (connected, &mut self.conn) {
            (Ok(Connected::Yes), Some(conn)) => conn,
            (Ok(_), _) => return Advance::Waits(Want::Write),
            (Err(error), None) if error.kind() == ErrorKind::WouldBlock => return Advance::Retries,
            (Err(error), _) => return Advance::Failed(connect_failure(&self.address, &error)),
        };
        if let Some(identity) = &self.identity {
            match conn.secured_to(identity, block) {
                Ok(Handshake::Done) => {}
                Ok(Handshake::Waits) => return Advance::Waits(Want::Read),
                Err(error) => return Advance::Refused(error.into()),
            }
        }
        loop {
            match &mut self.question {
                Question::None => return Advance::Connected,
                Question::Request(request) => match conn.send(&[IoSlice::new(request)], block) {
                    Ok(Sent::Bytes(count)) if count == request.len() => {
                        self.question = Question::Response(Vec::new());
                    }
                    Ok(Sent::Bytes(count)) => drop(request.drain(..count)),
                    Ok(Sent::Nothing) => return Advance::Waits(Want::Write),
                    Err(_) => return Advance::Failed(Failure::BackendReset),
                },
                Question::Response(response) => {
                    let mut room = [0; 4096];
                    match conn.receive(&mut room, block) {
                        Ok(Received::Bytes(count)) => response.extend_from_slice(&room[..count]),
                        Ok(Received::Nothing) => return Advance::Waits(Want::Read),
                        Ok(Received::End) => return Advance::Failed(Failure::BackendClosed),
                        Err(_) => return Advance::Failed(Failure::BackendReset),
                    }
                    match status(response) {
                        Ok(Some(status)) => return Advance::Answered(status),
                        // One read, and then the deadline: a backend that sends interim responses without an end would keep
                        // the thread.
                        Ok(None) => return Advance::Waits(Want::Read),
                        Err(failure) => return Advance::Failed(failure),
                    }
                }
            }
        }
    }
}

/// The final status, once its head is there. A head that a request would be refused is none, or a backend that serves nothing but
/// 502 would be well. The heads of interim responses are dropped (RFC 9110 §15.2), but for a 101, which is final and was not asked
/// for.
fn status(bytes: &mut Vec<u8>) -> Result<Option<u16>, Failure> {
    loop {
        match head::scan(bytes) {
            Scan::Complete { start: 0, end } => {
                let mut lines = Lines::new();
                let response = head::response(&mut bytes[..end], &mut lines)?;
                framing::of_response(Method::Get, response.status, response.version, response.fields)?;
                match response.status {
                    100 | 102..=199 => drop(bytes.drain(..end)),
                    status => return Ok(Some(status)),
                }
            }
            Scan::Partial if !head::may_be_response(bytes) => return Err(Failure::ResponseMalformed),
            Scan::Partial if bytes.len() > MAX_HEAD => return Err(Failure::ResponseHeadTooLarge),
            Scan::Partial => return Ok(None),
            Scan::Complete { .. } | Scan::Hopeless(_) => return Err(Failure::ResponseMalformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_status_counts() {
        let rows: [(&str, Result<Option<u16>, Failure>); 12] = [
            ("", Ok(None)),
            ("HTTP/1.1 200 OK\r\n", Ok(None)),
            ("HTTP/1.1 200 OK\r\n\r\nbody", Ok(Some(200))),
            ("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", Ok(None)),
            (
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 401 No\r\n\r\n",
                Ok(Some(401)),
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Ok(Some(101))),
            ("HTTP/1.1 100 Continue\r\n\r\ngarbage\r\n\r\n", Err(Failure::ResponseMalformed)),
            ("garbage\r\n\r\n", Err(Failure::ResponseMalformed)),
            ("garbage", Err(Failure::ResponseMalformed)),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(Failure::ResponseMalformed)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                Err(Failure::ResponseFraming),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Err(Failure::ResponseCoding)),
        ];
        for (bytes, expected) in rows {
            assert_eq!(status(&mut bytes.into()), expected, "{bytes}");
        }
        assert_eq!(
            status(&mut [b"HTTP/1.1 200 ", &[b'a'; MAX_HEAD][..]].concat()),
            Err(Failure::ResponseHeadTooLarge)
        );
    }
}
