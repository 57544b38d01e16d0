//! The backends of `ronde demo`: just enough of an HTTP server to watch the round.
//!
//! The problem: a first look at a load balancer needs something to balance. So the demo runs two backends in its own
//! process. They speak the minimum of HTTP/1.1 that makes a correct backend: connections persist, request bodies are
//! read to the end, HEAD has no body.
//!
//! Not here: a model for real backends. One thread per connection is exactly what ronde is there to protect.

use super::admin::DEFAULT;
use crate::http1::chunked::Decoder;
use crate::http1::fields::{Fields, Name};
use crate::http1::framing;
use crate::http1::head::{self, Lines, Method, Scan};
use crate::net::buffer::Buffer;
use crate::net::listener::{self, Claim, Family, Listener};
use crate::observe::date::Date;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts a backend on a free port of 127.0.0.1. It runs until the process ends.
///
/// # Errors
/// The system has no port or no thread left.
pub fn start_backend(number: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name(format!("demo {number}")).spawn(move || {
        for stream in listener.incoming().flatten() {
            // Without a thread the connection is closed, and ronde tries the other backend.
            let _ =
                thread::Builder::new().name(format!("demo {number}")).spawn(move || serve(stream, number));
        }
    })?;
    Ok(address)
}

/// The admin listener of the demo: at the address that the documentation names, or at any port if that is taken. It is
/// opened here, since the port could be taken between a look at it and the start of the server.
///
/// # Errors
/// The system has no port left.
pub fn admin_listener() -> io::Result<Listener> {
    let open = |address| listener::listen(address, Family::Own, Claim::Existing);
    let usual = open(DEFAULT);
    usual.or_else(|_| open(SocketAddr::new(DEFAULT.ip(), 0))).map(Listener::Tcp)
}

fn serve(mut stream: TcpStream, number: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Buffer::new(64 * 1024);
    while let Some((response, mut body)) = next_request(&mut stream, &mut buffer, number)? {
        while !body.is_over() {
            let Ok(decoded) = body.decode(buffer.filled_mut()) else { return Ok(()) };
            buffer.consume(decoded.consumed);
            if !decoded.ended && !read_more(&mut stream, &mut buffer)? {
                return Ok(());
            }
        }
        stream.write_all(&response)?;
    }
    Ok(())
}

/// Reads a request head. Returns the response, and the decoder for the request body. ronde sends only valid requests,
/// so anything else closes the connection.
fn next_request(
    stream: &mut TcpStream,
    buffer: &mut Buffer,
    number: usize,
) -> io::Result<Option<(Vec<u8>, Decoder)>> {
    loop {
        if let Scan::Complete { start, end } = head::scan(buffer.filled()) {
            let mut lines = Lines::new();
            let Ok(request) = head::request(&buffer.filled()[start..end], &mut lines) else {
                return Ok(None);
            };
            let Ok(framing) = framing::of_request(request.version, request.fields) else { return Ok(None) };
            let response = respond(number, request.method, request.fields);
            if request.fields.has_member(Name::Expect, "100-continue") {
                // At once: the client waits for it before it sends the body.
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            buffer.consume(end);
            return Ok(Some((response, Decoder::new(framing))));
        }
        if !read_more(stream, buffer)? {
            return Ok(None);
        }
    }
}

fn read_more(stream: &mut TcpStream, buffer: &mut Buffer) -> io::Result<bool> {
    let count = stream.read(buffer.room())?;
    buffer.grew(count);
    Ok(count > 0)
}

/// A line for curl, a page for a browser. The page has an empty icon: a request for `/favicon.ico` after each page
/// would take every second turn, and the browser would always see the same backend.
fn respond(number: usize, method: Method, fields: Fields<'_>) -> Vec<u8> {
    let is_browser = fields.members(Name::Accept).any(|kind| kind.starts_with(b"text/html"));
    let (kind, body) = match is_browser {
        true => ("text/html; charset=utf-8", page(number)),
        false => ("text/plain", format!("Backend {number}\n")),
    };
    let (date, length) = (Date::now().imf(), body.len());
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    let body = if method == Method::Head { "" } else { &body };
    [head.as_bytes(), body.as_bytes()].concat()
}

fn page(number: usize) -> String {
    let color = ["#b3541e", "#1e6fb3"][number % 2];
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <link rel=icon href=data:,><title>Backend {number}</title>\
         <body style=\"margin:0;height:100vh;display:grid;place-content:center;text-align:center;\
         font:1.2rem system-ui;background:{color};color:#fff\">\
         <h1>Backend {number}</h1><p>Reload: it is the other backend's turn.</p></body></html>\n"
    )
}
