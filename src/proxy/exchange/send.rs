//! Sending a request.
//!
//! The problem: a request that is in hand goes out in one write where the backend takes it, and may be sent again. One whose
//! body streams goes out as it comes, and is gone. A backend that takes no more of either may have answered already, so
//! that is no failure: what it said is read next.
//!
//! Not here: what the backend says meanwhile (`ask`).

use super::ask::Asking;
use super::{Exchange, upload_failure};
use crate::http1::chunked::Decoder;
use crate::http1::reframer::Reframer;
use crate::net::conn::{Block, Sent};
use crate::observe::failure::Failure;
use crate::proxy::client::Client;
use crate::proxy::relay::{Broken, Direction, Pipe};
use crate::proxy::request::Body;
use crate::proxy::scratch::Scratch;
use std::io::IoSlice;
use std::time::Duration;

/// How much of the request has gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// So many bytes of what is in hand; a body that streams keeps its own count.
    Partly(usize),
    All,
    /// The backend takes no more. It may have answered before.
    Refused,
}

impl Exchange {
    /// Sends what is there and what the backend takes; returns how many bytes that was.
    pub(super) fn send(
        &mut self,
        asking: &mut Asking,
        client: &Client,
        scratch: &mut Scratch,
    ) -> Result<usize, Failure> {
        let Outgoing::Partly(sent) = asking.outgoing else { return Ok(0) };
        let count = match &self.upload {
            None => self.send_in_hand(sent, asking, scratch),
            Some(_) => self.send_streaming(asking, client, scratch)?,
        };
        if count > 0 {
            self.timer.restart();
        }
        Ok(count)
    }

    /// Of a request in hand, `sent` bytes are out.
    fn send_in_hand(&self, sent: usize, asking: &mut Asking, scratch: &Scratch) -> usize {
        let head = &self.request.head;
        let body = &scratch.from_client.filled()[..self.request.meta.in_hand()];
        let head_left = head.get(sent..).unwrap_or_default();
        let body_left = &body[sent.saturating_sub(head.len())..];
        let parts = [IoSlice::new(head_left), IoSlice::new(body_left)];
        let parts =
            if body_left.is_empty() { &parts[..1] } else { &parts[usize::from(head_left.is_empty())..] };
        let (outgoing, count) = match asking.conn.send(parts, Block::Never) {
            Ok(Sent::Bytes(count)) if sent + count == head.len() + body.len() => (Outgoing::All, count),
            Ok(Sent::Bytes(count)) => (Outgoing::Partly(sent + count), count),
            Ok(Sent::Nothing) => (asking.outgoing, 0),
            Err(_) => (Outgoing::Refused, 0),
        };
        asking.outgoing = outgoing;
        count
    }

    /// Of a body that streams, what the client has sent goes out.
    fn send_streaming(
        &mut self,
        asking: &mut Asking,
        client: &Client,
        scratch: &mut Scratch,
    ) -> Result<usize, Failure> {
        let Some(upload) = &mut self.upload else { return Ok(0) };
        let mut pipe = Pipe { direction: upload, buffer: &mut scratch.from_client, lead: &self.request.head };
        let count = match pipe.pump(&client.conn, &asking.conn) {
            Ok(count) => count,
            Err(Broken::Sink) => {
                asking.outgoing = Outgoing::Refused;
                return Ok(0);
            }
            Err(broken) => return Err(upload_failure(broken)),
        };
        // Only the time counts in which it was the client that was waited for.
        let waited = asking.awaits_client.take().map_or(Duration::ZERO, |since| since.elapsed());
        if !self.rate.is_kept(upload.moved(), waited) {
            return Err(Failure::BodyTooSlow);
        }
        if upload.is_over() {
            asking.outgoing = Outgoing::All;
        }
        Ok(count)
    }

    /// A response has begun when only `sent` bytes of a request in hand were out. The rest goes out beside the response, like
    /// a body that streams.
    pub(super) fn stream_rest(&mut self, sent: usize, scratch: &mut Scratch) {
        let head = &self.request.head;
        let reframer =
            Reframer::new(Decoder::new(self.request.meta.framing), self.request.meta.coding, head.len());
        let mut direction = Direction::new(reframer);
        let mut pipe = Pipe { direction: &mut direction, buffer: &mut scratch.from_client, lead: head };
        // What is in hand was never chunked: its length is known, and so nothing of it is malformed.
        if pipe.load().is_ok() {
            pipe.settle(sent);
            self.request.meta.body = Body::Gone;
            self.upload = Some(Box::new(direction));
        }
    }
}
