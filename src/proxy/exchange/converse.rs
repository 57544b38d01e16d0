//! The conversation with one backend: the request goes out, the head of the response comes in.
//!
//! The problem: neither side waits for the other to finish. A client may still be sending its body when the backend
//! answers; a backend may say `100 Continue` or `103 Early Hints` first, or close a kept connection without a word,
//! or say nothing for a minute while the client goes away. Each of these is an event in one loop here, and the loop
//! ends with a final response or with why there is none.
//!
//! Not here: which backend, and what to do when it did not answer (`exchange`).

use super::{Exchange, Fate, Missed, Response};
use crate::backend::{Holds, Turn};
use crate::config::waits;
use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::fields::Name;
use crate::http1::forward::{self, Delivery, Persistence};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{self, Lines, Scan, Version};
use crate::http1::reframer::Reframer;
use crate::net::conn::{Arrived, Conn, Departed};
use crate::observe::failure::Failure;
use crate::pool::min_rate::MinRate;
use crate::proxy::in_flight::{Age, Answer, BodyPlan, Expectation, Out};
use crate::proxy::relay::{self, Broke, Broken, Direction, Ends, Pumped};
use crate::proxy::scratch::Scratch;
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// Interim responses to one request. Each is a write to the client that the backend does not pay for.
const MAX_INTERIM: u32 = 32;

/// What `take_head` found.
enum Head {
    Interim,
    Final(Response),
}

impl Exchange<'_> {
    /// Sends the request, if it is whole, which may be left then. One whose body is on its way goes out as that comes.
    pub(super) fn send(&mut self, mut conn: Conn, turn: &Turn, age: Age) -> Result<Out, Missed> {
        let since = if age == Age::Kept { turn.since } else { Instant::now() };
        if let BodyPlan::InHand(length) = self.asked.body {
            self.send_request(&mut conn, length)?;
        }
        let leave = self.leave_to(turn);
        let answer = leave.unwrap_or(Answer::Soon);
        let out = Out { conn, since, age, answer, interims: 0, partial: Vec::new() };
        if leave.is_some() { Err(Missed::Later(out)) } else { Ok(out) }
    }

    /// Waits for the head of the final response. What a client streams passes through meanwhile, and the backend may
    /// answer at any moment of it.
    pub(super) fn await_response(&mut self, out: Out, turn: &Turn) -> Result<(Response, Conn), Missed> {
        let Out { mut conn, since: mut sent, age, mut answer, mut interims, partial } = out;
        // What another backend's connection left there is no answer.
        self.scratch.from_backend.refill(&partial);
        turn.holds(Holds::Moment);
        loop {
            let arrived = if self.is_uploading() {
                turn.holds(Holds::Nothing);
                let answered = self.stream_request(&conn, interims > 0)?;
                turn.holds(Holds::Moment);
                sent = Instant::now();
                if !answered {
                    self.look_around()?;
                    continue;
                }
                conn.receive_now(self.scratch.from_backend.one_read())
            } else {
                let slice = self.slice(answer);
                conn.receive(self.scratch.from_backend.one_read(), slice)
            };
            let has_spoken = interims > 0 || !self.scratch.from_backend.is_empty();
            match arrived {
                Ok(Arrived::Bytes(count)) => {
                    self.scratch.from_backend.grew(count);
                    // Who drips must not keep it from seeing the stop.
                    if self.shared.stop.is_over() {
                        return Err(Missed::Final(Failure::Cut));
                    }
                }
                Ok(Arrived::Nothing) => {
                    self.look_around()?;
                    turn.waited();
                    if answer == Answer::Soon && !self.is_uploading() {
                        turn.lost_a_moment();
                    }
                    if self.may_leave() && sent.elapsed() < self.shared.config.response_timeout {
                        let (answer, partial) = (Answer::Late, self.scratch.from_backend.filled().to_vec());
                        return Err(Missed::Later(Out { conn, since: sent, age, answer, interims, partial }));
                    }
                    answer = Answer::Held;
                    if !self.stall.is_aside() {
                        turn.holds(Holds::Worker);
                    }
                }
                Ok(Arrived::End) | Err(_) if has_spoken => {
                    return Err(Missed::Final(Failure::ResponseHeadCut));
                }
                Ok(Arrived::End) => return Err(Missed::Unanswered(Failure::BackendClosed)),
                Err(_) => return Err(Missed::Unanswered(Failure::BackendReset)),
            }
            while let Some(head) = self.take_head().map_err(Missed::Final)? {
                match head {
                    Head::Final(response) => {
                        self.record.waits.first_byte = response.since.saturating_duration_since(sent);
                        return Ok((response, conn));
                    }
                    Head::Interim if interims == MAX_INTERIM => {
                        return Err(Missed::Final(Failure::InterimFlood));
                    }
                    Head::Interim => {
                        interims += 1;
                        self.send_interim()?;
                    }
                }
            }
            if !self.is_uploading() && sent.elapsed() >= self.shared.config.response_timeout {
                return Err(Missed::Final(Failure::ResponseTimeout));
            }
        }
    }

    /// Sends head and body, which is in hand, in one write where the socket takes it.
    fn send_request(&mut self, conn: &mut Conn, length: usize) -> Result<(), Missed> {
        let body = &self.scratch.from_client.filled()[..length];
        let mut parts = [IoSlice::new(self.head), IoSlice::new(body)];
        let mut parts = if length == 0 { &mut parts[..1] } else { &mut parts[..] };
        let mut left = self.head.len() + length;
        let mut silence = Duration::ZERO;
        while left > 0 {
            match conn.send(parts, waits::ONE_CALL) {
                Ok(Departed::Bytes(count)) => {
                    left -= count;
                    silence = Duration::ZERO;
                    IoSlice::advance_slices(&mut parts, count);
                }
                Ok(Departed::Nothing) => {
                    silence += waits::ONE_CALL;
                    if silence >= self.shared.config.response_timeout {
                        return Err(Missed::Final(Failure::SendTimeout));
                    }
                    self.look_around()?;
                }
                // It may have answered before it closed: what it said is read next, and if that is nothing, that is
                // the failure.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// What one call may wait for an answer.
    fn slice(&self, answer: Answer) -> Duration {
        match answer {
            Answer::Late => Duration::ZERO,
            _ if self.stall.is_aside() => waits::ONE_CALL,
            Answer::Soon if self.shared.seats.is_wanted() && self.shared.seats.is_full() => {
                waits::RESPONSE_HEAD_WHEN_BUSY
            }
            Answer::Soon => waits::RESPONSE_HEAD,
            Answer::Held => waits::NEXT_REQUEST,
        }
    }

    pub(super) fn is_uploading(&self) -> bool {
        self.upload.as_ref().is_some_and(|reframer| !reframer.is_over())
    }

    /// Passes the request's head and body through until it ends, or until the backend has something to say: then
    /// the result is true. A client that waits for the backend's word before it sends its body is not slow: as long as
    /// the backend has not `spoken`, that is a wait for the backend.
    fn stream_request(&mut self, conn: &Conn, spoken: bool) -> Result<bool, Missed> {
        let Some(reframer) = &mut self.upload else { return Ok(false) };
        let config = &self.shared.config;
        let mut way = Direction::new(reframer, &mut self.scratch.from_client, self.head)
            .map_err(|broken| Missed::Final(upload_failure(broken)))?;
        let ends = Ends { client: &self.client.conn, backend: conn };
        let mut rate = MinRate::new(config.min_rate);
        let mut waits_for_word =
            self.asked.expectation == Expectation::Continue && !spoken && way.moved() == 0;
        self.stall.allow(if waits_for_word { config.response_timeout } else { config.body_timeout });
        while !way.is_done() {
            if waits_for_word && way.moved() > 0 {
                waits_for_word = false;
                self.stall.allow(config.body_timeout);
            }
            let (begun, for_client) = (Instant::now(), way.wants_input() && !waits_for_word);
            let spent = match (waits_for_word, for_client) {
                (true, _) => Failure::ResponseTimeout,
                (false, true) => Failure::BodyTimeout,
                (false, false) => Failure::SendTimeout,
            };
            match relay::pump_with_timer(
                ends,
                &mut way,
                None,
                &mut self.stall,
                spent,
                |snapped| match snapped {
                    Broke::Up(broken) | Broke::Down(broken) => upload_failure(broken),
                },
            ) {
                // Whatever the backend has to say is read: an answer, or nothing because it is gone.
                Ok(Pumped::Answer) | Err(Failure::BackendReset) => return Ok(true),
                Ok(Pumped::Moved | Pumped::Silence(_)) => {}
                Err(failure) => return Err(Missed::Final(failure)),
            }
            // Only the time counts in which it was the client that was waited for.
            let waited = if for_client { begun.elapsed() } else { Duration::ZERO };
            if !rate.is_kept(way.moved(), waited) {
                return Err(Missed::Final(Failure::BodyTooSlow));
            }
        }
        Ok(false)
    }

    /// Between two slices of a wait for the backend: is there anybody to wait for, and is there time?
    pub(super) fn look_around(&self) -> Result<(), Missed> {
        if self.shared.stop.is_over() {
            return Err(Missed::Final(Failure::Cut));
        }
        if self.client.conn.is_gone() {
            return Err(Missed::Final(Failure::ClientGone));
        }
        Ok(())
    }

    /// Takes a response head out of what the backend sent, if one is there, and writes it for the client.
    fn take_head(&mut self) -> Result<Option<Head>, Failure> {
        let is_uploading = self.is_uploading();
        let Scratch { from_backend, response: out, .. } = &mut *self.scratch;
        let bytes = from_backend.filled();
        let max_head = self.shared.config.max_head;
        let end = match head::scan(bytes) {
            Scan::Complete { start: 0, end } if end <= max_head => end,
            Scan::Complete { start: 0, .. } => return Err(Failure::ResponseHeadTooLarge),
            Scan::Partial if !head::may_be_response(bytes) => return Err(Failure::ResponseMalformed),
            Scan::Partial if bytes.len() > max_head || from_backend.is_full() => {
                return Err(Failure::ResponseHeadTooLarge);
            }
            Scan::Partial => return Ok(None),
            Scan::Complete { .. } | Scan::Hopeless(_) => return Err(Failure::ResponseMalformed),
        };
        let mut lines = Lines::new();
        let head = head::response(&bytes[..end], &mut lines)?;
        let framed = framing::of_response(self.asked.method, head.status, head.version, head.fields)?;
        let found = match head.status {
            101 if !forward::is_asked_for(&head, self.head) => return Err(Failure::UpgradeUnasked),
            101 => {
                forward::switch(out, &head)?;
                let (backend_persists, since) = (false, Instant::now());
                Head::Final(Response { delivery: None, backend_persists, fate: Fate::Close, since })
            }
            100..=199 => {
                forward::interim(out, &head)?;
                Head::Interim
            }
            status => {
                let delivery = Delivery::of(self.asked.version, self.asked.method, status, framed);
                // Decided once, from both halves of the exchange.
                let persists = self.asked.persistence == Persistence::Persist
                    && delivery != Delivery::UntilClose
                    && !is_uploading
                    && self.shared.stop.is_running();
                let (persistence, fate) = match persists {
                    true => (Persistence::Persist, Fate::Persist),
                    false => (Persistence::Close, Fate::Part),
                };
                if head.fields.lines(Name::ContentType).any(is_event_stream) {
                    self.stall.step_aside()?;
                }
                forward::response(out, &head, self.asked.version, delivery, persistence)?;
                let backend_persists = framing::persists(head.version, head.fields)
                    && framed.framing != Framing::UntilClose
                    && !is_uploading;
                let coding = delivery.coding(head.fields);
                self.download = Reframer::new(Decoder::new(framed.framing), coding, out.len());
                let since = Instant::now();
                Head::Final(Response { delivery: Some(delivery), backend_persists, fate, since })
            }
        };
        let status = head.status;
        from_backend.consume(end);
        if let Head::Final(Response { delivery, .. }) = &found {
            if delivery.is_some() {
                // What came along is looked at as long as its faults can still be answered with a status.
                self.download.load(from_backend.filled_mut()).map_err(super::malformed)?;
            }
            self.record.status = Some(status);
        }
        Ok(Some(found))
    }

    /// Sends the interim response in `scratch.response` at once. An HTTP/1.0 client knows none (RFC 9110 §15.2).
    fn send_interim(&mut self) -> Result<(), Missed> {
        if self.asked.version == Version::Http10 {
            return Ok(());
        }
        let mut sent = 0;
        self.stall.allow(self.shared.config.idle_timeout);
        while sent < self.scratch.response.len() {
            let slice = self.stall.slice();
            match self.client.conn.send(&[IoSlice::new(&self.scratch.response[sent..])], slice) {
                Ok(Departed::Bytes(count)) => sent += count,
                Ok(Departed::Nothing) => {
                    self.look_around()?;
                    self.stall.waited(slice, Failure::ClientStalled).map_err(Missed::Final)?;
                }
                Err(_) => return Err(Missed::Final(Failure::ClientGone)),
            }
        }
        Ok(())
    }
}

fn is_event_stream(content_type: &[u8]) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    content_type.get(..EVENT_STREAM.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
}

fn upload_failure(broken: Broken) -> Failure {
    match broken {
        Broken::Malformed(Malformed::Chunk) => Failure::ChunkInvalid,
        Broken::Malformed(Malformed::Trailer) => Failure::TrailerInvalid,
        Broken::Malformed(Malformed::Incomplete) => Failure::BodyIncomplete,
        Broken::Malformed(Malformed::TooLong) => Failure::BodyTooLarge,
        Broken::Source(_) => Failure::ClientGone,
        Broken::Sink(_) => Failure::BackendReset,
    }
}
