//! The head of a response, as it goes on to the client.
//!
//! The problem: the backend speaks of its connection and in its version, and the client has to be told about another
//! connection, in a version of its own: whether it lives on, and how the end of the body is found on it.
//!
//! Not here: requests, and what both have in common (`forward`).

use super::{Options, coding, line, put, write_length, write_upgrade};
use crate::http1::fields::{Fields, Name};
use crate::http1::framing::{Coding, Framing, OfResponse};
use crate::http1::head::{Method, Response, Version};
use crate::observe::date::Date;
use crate::observe::failure::Failure;

/// How a response's body reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// No body; the length that HEAD and 304 declare is passed on.
    Bodiless(Option<u64>),
    Length(u64),
    Chunked,
    /// An HTTP/1.0 client learns the end of a body of unknown length by the end of the connection.
    UntilClose,
}

impl Delivery {
    pub fn of(client: Version, asked: Method, status: u16, response: OfResponse) -> Self {
        match response.framing {
            _ if status < 200 || status == 204 => Self::Bodiless(None),
            _ if status == 304 || asked == Method::Head => Self::Bodiless(response.declared_length),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked | Framing::UntilClose if client == Version::Http11 => Self::Chunked,
            Framing::Chunked | Framing::UntilClose => Self::UntilClose,
        }
    }

    pub fn coding(self, fields: Fields<'_>) -> Coding {
        match self {
            Self::Chunked => coding(fields, Framing::Chunked),
            Self::Bodiless(_) | Self::Length(_) | Self::UntilClose => Coding::Plain,
        }
    }
}

/// What the client is told about its connection. HTTP/1.0 has to be told that it stays, HTTP/1.1 that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Persist,
    Close,
}

/// Writes the head of a final response for a client.
///
/// # Errors
/// [`Failure::ResponseOptions`], as the response's `Connection` field is bounded like a request's.
pub fn response(
    out: &mut Vec<u8>,
    head: &Response<'_>,
    client: Version,
    delivery: Delivery,
    persistence: Persistence,
) -> Result<(), Failure> {
    out.clear();
    write_response_fields(out, head)?;
    if !head.fields.contains(Name::Date) {
        put(out, format_args!("Date: {}\r\n", Date::now().imf()));
    }
    match delivery {
        Delivery::Bodiless(None) | Delivery::UntilClose => {}
        Delivery::Bodiless(Some(length)) | Delivery::Length(length) => {
            write_length(out, length);
        }
        Delivery::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    match (persistence, client) {
        (Persistence::Persist, Version::Http11) => {}
        (Persistence::Persist, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (Persistence::Close, _) => out.extend_from_slice(b"Connection: close\r\n"),
    }
    // What Upgrade Required requires (RFC 9110 §15.5.22). Elsewhere an offer, which is the backend's and not ronde's.
    if head.status == 426 {
        write_upgrade(out, head.fields);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes an interim response (RFC 9110 §15.2) other than 101.
///
/// # Errors
/// As [`response`].
pub fn interim(out: &mut Vec<u8>, head: &Response<'_>) -> Result<(), Failure> {
    out.clear();
    write_response_fields(out, head)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the 101 that ends HTTP on a connection.
///
/// # Errors
/// As [`response`].
pub fn switch(out: &mut Vec<u8>, head: &Response<'_>) -> Result<(), Failure> {
    out.clear();
    write_response_fields(out, head)?;
    write_upgrade(out, head.fields);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The status line, in ronde's own version whatever the backend's (RFC 9110 §2.5), and the fields that go on.
fn write_response_fields(out: &mut Vec<u8>, head: &Response<'_>) -> Result<(), Failure> {
    let options = Options::of(head.fields).map_err(|_| Failure::ResponseOptions)?;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason);
    out.extend_from_slice(b"\r\n");
    for (name, text, value) in head.fields.iter() {
        let is_framing = name.is_of_connection() || name == Name::ContentLength;
        if !is_framing && !options.nominate(name, text) {
            line(out, text, value);
        }
    }
    Ok(())
}
