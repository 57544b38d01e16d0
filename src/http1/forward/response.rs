//! The head of a response, as ronde writes it for the client.
//!
//! The problem: the backend describes its own connection, in its own version. The client's connection is another one,
//! and may have another version: ronde has to say whether that one persists, and how the body ends on it.
//!
//! Not here: requests, and the code that both share (`forward`).

use super::{ConnectionOptions, coding, line, put, write_length, write_upgrade};
use crate::http1::fields::{Fields, Name};
use crate::http1::framing::{Coding, Framing, OfResponse};
use crate::http1::head::{Method, Response, Version};
use crate::observe::date::Date;
use crate::observe::failure::Failure;

/// How the body of a response reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// No body; the length that a response to HEAD or a 304 declares is forwarded.
    Bodiless(Option<u64>),
    Length(u64),
    Chunked,
    /// A body of unknown length, for an HTTP/1.0 client: it ends with the connection.
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

/// Whether the client's connection persists. HTTP/1.0 has to be told that it does, HTTP/1.1 that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Persist,
    Close,
}

/// Writes the head of a final response for a client.
///
/// # Errors
/// [`Failure::ResponseOptions`] for more than 32 members in `Connection`.
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
    // A 426 must name the protocols (RFC 9110 §15.5.22). Elsewhere `Upgrade` is an offer that ronde does not make.
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

/// Writes the head of the 101 that ends HTTP on a connection.
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

/// The status line, in ronde's own version whatever the backend's (RFC 9110 §2.5), and the fields that are forwarded.
fn write_response_fields(out: &mut Vec<u8>, head: &Response<'_>) -> Result<(), Failure> {
    let options = ConnectionOptions::of(head.fields).map_err(|_| Failure::ResponseOptions)?;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason);
    out.extend_from_slice(b"\r\n");
    for (name, text, value) in head.fields.iter() {
        let is_dropped = name.is_of_connection() || name == Name::ContentLength;
        if !is_dropped && !options.is_nominated(name, text) {
            line(out, text, value);
        }
    }
    Ok(())
}
