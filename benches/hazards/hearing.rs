//! What a client of a crowd makes of the bytes that come.
//!
//! Not here: long responses, which are taken and checked without being kept (`client`).

use crate::client::Client;
use crate::crowd::{Crowd, RETURN};
use crate::kinds::Kind;
use std::io;
use std::time::{Duration, Instant};

impl Crowd {
    pub fn hear(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let client = &mut self.clients[index];
        match client.kind {
            Kind::HalfHandshake => return Ok(()),
            Kind::SlowHandshake => return Err(io::ErrorKind::ConnectionAborted.into()),
            Kind::Handshakes => {
                self.tally.handshakes += 1;
                client.reset();
                self.plan(index, Duration::ZERO);
                return Ok(());
            }
            _ => {}
        }
        client.seen.extend_from_slice(bytes);
        match client.asked {
            Some(asked) => self.hear_answer(index, asked),
            None => self.hear_more(index),
        }
    }

    fn hear_answer(&mut self, index: usize, asked: Instant) -> io::Result<()> {
        let client = &mut self.clients[index];
        let Some((status, end)) = client.head() else { return Ok(()) };
        let head = String::from_utf8_lossy(&client.seen[..end]).to_ascii_lowercase();
        let length = head.split_once("content-length:").and_then(|(_, rest)| rest.lines().next());
        let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if client.seen.len() < end + length {
            return Ok(());
        }
        self.tally.answered(status, asked.elapsed());
        client.asked = None;
        let body: Vec<u8> = client.seen.drain(..end + length).skip(end).collect();
        match client.kind {
            Kind::Asker | Kind::LateAsker => {
                if head.contains("connection: close") {
                    client.stream = None;
                    client.is_connected = false;
                    client.seen = Vec::new();
                }
                self.plan(index, if status == 200 { Duration::ZERO } else { RETURN });
                Ok(())
            }
            Kind::Idle => {
                client.seen = Vec::new();
                Ok(())
            }
            Kind::Tunnel if status == 101 => self.hear_more(index),
            Kind::Events | Kind::EventStream if status == 200 => self.hear_more(index),
            kind if client.told.is_some() && status == 200 => {
                let expected = match kind {
                    Kind::Poll => "x".repeat(100),
                    _ => format!("{} right", kind.length(client.goes_on)),
                };
                if body != expected.as_bytes() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.finish(index);
                Ok(())
            }
            // Whatever the answer to half a request is, it is the end.
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// What comes after the head: events, or the echo of a word.
    fn hear_more(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        if client.kind == Kind::Tunnel {
            let word = Client::word(index);
            if !word.as_bytes().starts_with(&client.seen) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if client.seen.len() == word.len() {
                client.seen.clear();
                self.finish(index);
            }
            return Ok(());
        }
        if client.hear_events(&mut self.tally) {
            return match client.told {
                Some(_) => {
                    self.finish(index);
                    Ok(())
                }
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        Ok(())
    }
}
