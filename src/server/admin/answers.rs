//! What the admin listener is asked for, and what it answers.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page, which draws what `/events` says |
//! | `GET /status` | the state, in JSON |
//! | `GET /events` | the same, an event a second |
//! | `GET /metrics` | the counters, for Prometheus |
//! | `POST /backends/ADDRESS/drain`, `/undrain` | takes the backends of that address or name out, or back in |
//! | `POST /reload` | has the configuration read again, and says what came of it |
//!
//! Not here: who may ask (`guard`), and bytes on the wire (`response`, `connection`).

use super::guard::{May, Refusal};
use super::response::Response;
use super::snapshot;
use super::status::Changed;
use crate::backend::Backends;
use crate::config::{Address, Peer};
use crate::http1::framing::{self, Framing};
use crate::http1::head::{self, Lines, Method, Request};
use crate::http1::target::{asked, path_of};
use crate::observe::failure::Failure;
use crate::observe::metrics::{RouteTotals, text};
use crate::proxy::shared::Shared;
use crate::server::Outcome;
use crate::server::listeners::Reached;
use crate::server::orders::Reloader;
use crossbeam_channel::Receiver;
use serde::Serialize;
use std::rc::Rc;
use std::time::Instant;

/// What there is, for a client that asks for something else.
const THERE_IS: &str = "there is GET /, /status, /events and /metrics, and POST /backends/ADDRESS/drain and /undrain, and /reload";

/// What becomes of a request.
pub enum Answer {
    /// This is sent, and then comes that.
    Now { bytes: Rc<[u8]>, then: Then },
    /// What this brings is the answer.
    Later(Receiver<Outcome>),
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Close,
    Events,
}

impl Answer {
    /// To what is no request.
    pub fn failed(failure: Failure) -> Self {
        Self::of(Response::text(failure.status(), failure.text()).bytes())
    }

    fn of(bytes: Vec<u8>) -> Self {
        Self::Now { bytes: bytes.into(), then: Then::Close }
    }
}

/// Answers requests.
pub struct Answers<'s> {
    shared: &'s Shared,
    reached: Reached,
    reloader: Reloader,
    rate: Rate,
}

/// Requests a second, by two looks at their count.
struct Rate {
    looked: Instant,
    total: u64,
    per_second: f64,
}

impl<'s> Answers<'s> {
    pub fn new(reached: Reached, shared: &'s Shared, reloader: Reloader) -> Self {
        let rate = Rate { looked: Instant::now(), total: 0, per_second: 0.0 };
        Self { shared, reached, reloader, rate }
    }

    /// What a client at this address may do; `None`: nothing.
    pub fn may(&self, peer: Peer) -> Option<May> {
        May::of(peer, &self.shared.site.get().config)
    }

    /// To be called about once a second.
    pub fn note_rate(&mut self, now: Instant) {
        let total = self.shared.metrics.routes().iter().map(RouteTotals::count).sum();
        let elapsed = now.saturating_duration_since(self.rate.looked).as_secs_f64();
        if elapsed > 0.0 {
            let fresh = u64::saturating_sub(total, self.rate.total) as f64;
            self.rate = Rate { looked: now, total, per_second: (fresh / elapsed * 10.0).round() / 10.0 };
        }
    }

    /// The state as one event (WHATWG HTML §9.2.5). JSON has no line ends.
    pub fn event(&self) -> Rc<[u8]> {
        [b"data: ".as_slice(), &self.status(), b"\n\n"].concat().into()
    }

    /// Answers a request, of which this is the whole head.
    pub fn answer(&mut self, head: &[u8], may: May) -> Answer {
        let mut lines = Lines::new();
        let request = match head::request(head, &mut lines) {
            Ok(request) => request,
            Err(failure) => return Answer::failed(failure),
        };
        let response = match self.respond(&request, may) {
            Ok(Found::Events) if request.method == Method::Get => {
                let bytes = [&Response::events().head(), &*self.event()].concat();
                return Answer::Now { bytes: bytes.into(), then: Then::Events };
            }
            Ok(Found::Outcome(outcome)) => return Answer::Later(outcome),
            Ok(Found::Events) => Response::events(),
            Ok(Found::Response(response)) => response,
            Err(refusal) => Response::text(refusal.status(), refusal.text()),
        };
        Answer::of(if request.method == Method::Head { response.head() } else { response.bytes() })
    }

    fn respond(&mut self, request: &Request<'_>, may: May) -> Result<Found, Refusal> {
        May::ask(request, &self.shared.site.get().config)?;
        match framing::of_request(request.version, request.fields) {
            Ok(Framing::Length(0)) => {}
            Ok(_) => return Ok(Response::text(413, "a request has no body here").into()),
            Err(failure) => return Ok(Response::text(failure.status(), failure.text()).into()),
        }
        let (_, target) = asked(request);
        let path = path_of(target);
        let change = change(path);
        let is_read = matches!(request.method, Method::Get | Method::Head);
        Ok(match (path, change) {
            (_, Some(change)) if request.token == "POST" => {
                may.change(request)?;
                self.carry_out(change)
            }
            (_, Some(_)) => Response::only("POST").into(),
            ("/" | "/status" | "/events" | "/metrics", None) if !is_read => Response::only("GET").into(),
            ("/", None) => Response::page().into(),
            ("/status", None) => Response::json(200, self.status()).into(),
            ("/events", None) => Found::Events,
            ("/metrics", None) => Response::metrics(text::write(&self.shared.snapshot())).into(),
            _ => Response::text(404, THERE_IS).into(),
        })
    }

    fn carry_out(&self, change: Change) -> Found {
        let site = self.shared.site.get();
        let (name, carry_out): (_, fn(&Backends, &str) -> Vec<Address>) = match &change {
            Change::Drain(name) => (name, Backends::drain),
            Change::Undrain(name) => (name, Backends::undrain),
            // Nothing carries it out any more.
            Change::Reload if !self.shared.is_running() => return Response::text(503, "ronde stops").into(),
            Change::Reload => return Found::Outcome(self.reloader.reload()),
        };
        if !site.routes.backends().any(|backends| backends.knows(name)) {
            let text = format!("no backend is called {name}; there is {}", self.known());
            return Response::text(404, &text).into();
        }
        let changed = site.routes.backends().flat_map(|backends| carry_out(backends, name));
        let mut changed: Vec<_> = changed.map(|address| address.to_string()).collect();
        changed.sort_unstable();
        changed.dedup();
        Response::json(200, written(&Changed { backends: changed })).into()
    }

    /// What backends are called, for a request that names another.
    fn known(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for state in self.shared.snapshot().backends {
            let name = match state.address.map(|address| address.to_string()) {
                Some(address) if address != state.name => format!("{} ({address})", state.name),
                _ => state.name,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    fn status(&self) -> Vec<u8> {
        let status = snapshot::status(self.shared, &self.reached.all(), self.rate.per_second);
        written(&status)
    }
}

/// Maps here have texts for keys, so there is nothing that JSON cannot say.
fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What was found for a request.
enum Found {
    Events,
    /// Of a reload.
    Outcome(Receiver<Outcome>),
    Response(Response),
}

impl From<Response> for Found {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// What a request would change.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Drain(String),
    Undrain(String),
    Reload,
}

/// The change that a path names.
fn change(path: &str) -> Option<Change> {
    if path == "/reload" {
        return Some(Change::Reload);
    }
    let (name, verb) = path.strip_prefix("/backends/")?.rsplit_once('/')?;
    match verb {
        "drain" => Some(Change::Drain(decoded(name)?)),
        "undrain" => Some(Change::Undrain(decoded(name)?)),
        _ => None,
    }
}

/// A text with percent-encoding (RFC 3986 §2.1); `None` if that is broken, or no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_change_something() {
        let drain = |name: &str| Some(Change::Drain(name.to_owned()));
        for (path, expected) in [
            ("/backends/app1:8000/drain", drain("app1:8000")),
            ("/backends/app1%3A8000/drain", drain("app1:8000")),
            ("/backends/[::1]:8000/drain", drain("[::1]:8000")),
            ("/backends/%5b::1%5d:8000/drain", drain("[::1]:8000")),
            ("/backends/unix:%2Frun%2Fapp.sock/drain", drain("unix:/run/app.sock")),
            ("/backends/unix:/run/app.sock/drain", drain("unix:/run/app.sock")),
            ("/backends/app1:8000/undrain", Some(Change::Undrain("app1:8000".to_owned()))),
            ("/backends/app1:8000", None),
            ("/backends/app1:8000/stop", None),
            ("/backends/%/drain", None),
            ("/backends/%4/drain", None),
            ("/backends/%zz/drain", None),
            ("/backends/%+1/drain", None),
            ("/backends/%ff/drain", None),
            ("/backends/%\u{e4}x/drain", None),
            ("/reload", Some(Change::Reload)),
            ("/", None),
        ] {
            assert_eq!(change(path), expected, "{path}");
        }
    }
}
