//! A response of the admin listener, as bytes.
//!
//! The problem: every one of them is about this moment and for one reader, and some contain what clients sent. So none may be
//! stored, guessed to be another type, framed by a page, or run anything; a response that forgot one of these fields would
//! be the hole. All are written here.
//!
//! What all of them have is a signature, too: a command that is told the wrong port sees by it that another server answers.
//!
//! Not here: what it says (`answers`).

use super::page;
use crate::http1::fields::Fields;
use crate::http1::reply::reason;
use crate::observe::date::Date;
use crate::observe::metrics::text;
use crate::server::Outcome;
use std::io::Write;

/// What every response has.
const FIELDS: [(&str, &str); 4] = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// Whether a response with these fields is one of the admin of a ronde.
pub fn is_ours(fields: &Fields<'_>) -> bool {
    let has = |(name, value): (&str, &str)| {
        fields.iter().any(|(_, other, found)| other.eq_ignore_ascii_case(name) && found == value.as_bytes())
    };
    FIELDS.into_iter().all(has)
}

/// What a response without a page needs of a browser: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// See the module. Each ends its connection: the few that there are need no other.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    kind: &'static str,
    policy: &'static str,
    /// Of a 405.
    allowed: Option<&'static str>,
    /// `None`: it goes on for as long as the connection does.
    body: Option<Vec<u8>>,
}

impl Response {
    fn new(status: u16, kind: &'static str, body: Option<Vec<u8>>) -> Self {
        Self { status, kind, policy: NOTHING, allowed: None, body }
    }

    /// A sentence, for a person.
    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Some(format!("{text}\n").into_bytes()))
    }

    pub fn json(status: u16, json: Vec<u8>) -> Self {
        Self::new(status, "application/json", Some(json))
    }

    /// What Prometheus reads.
    pub fn metrics(text: String) -> Self {
        Self::new(200, text::CONTENT_TYPE, Some(text.into_bytes()))
    }

    /// What came of a reload. A configuration that is wrong is no fault of the request (RFC 9110 §15.5.21), and no error of
    /// the server.
    pub fn outcome(outcome: Outcome) -> Self {
        match outcome {
            Ok(said) => Self::text(200, &said),
            Err(why) => Self::text(422, &format!("not reloaded, and nothing has changed: {why}")),
        }
    }

    /// The live page.
    pub fn page() -> Self {
        let html = Self::new(200, "text/html; charset=utf-8", Some(page::HTML.into()));
        Self { policy: page::POLICY, ..html }
    }

    /// The head of an event stream.
    pub fn events() -> Self {
        Self::new(200, "text/event-stream", None)
    }

    /// Another method would do (RFC 9110 §15.5.6).
    pub fn only(allowed: &'static str) -> Self {
        let text = format!("the only method here is {allowed}");
        Self { allowed: Some(allowed), ..Self::text(405, &text) }
    }

    /// Head and body.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// The head alone: the answer to HEAD.
    pub fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        let (status, reason, date) = (self.status, reason(self.status), Date::now().imf());
        let _ = write!(
            head,
            "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nContent-Type: {}\r\nContent-Security-Policy: {}\r\n",
            self.kind, self.policy
        );
        for (name, value) in FIELDS {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(allowed) = self.allowed {
            let _ = write!(head, "Allow: {allowed}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.extend_from_slice(b"Connection: close\r\n\r\n");
        head
    }
}
