//! One end of a connection: sends raw bytes, reads strictly parsed messages.
//!
//! Not here: the grammar (`message`).

use super::message::{Framing, Message, field_lines};
use super::tls::{self, Secured};
use super::{SILENCE, TIMEOUT};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustls::ServerConfig;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How the other end stopped sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
    Silence,
    Illegal(String),
}

/// A message that did not arrive whole: the part that came, and how it ended.
#[derive(Debug)]
pub struct Cut {
    pub so_far: Option<Box<Message>>,
    pub end: End,
}

/// What the bytes go over: the socket, or the TLS on it.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Secured),
}

/// The socket, for its options and its state.
impl Deref for Stream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(secured) => secured.stream(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl Read for &Stream {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => (&*stream).read(room),
            Stream::Tls(secured) => secured.read(room),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => (&*stream).write(bytes),
            Stream::Tls(secured) => secured.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    unread: Vec<u8>,
    /// All bytes that arrived, verbatim.
    pub received: Vec<u8>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Wire {
        Wire::over_tls_if(tls::is_secured(address), TcpStream::connect(address).expect("a connection"))
    }

    /// With SO_RCVBUF, which the kernel doubles. On a connection that exists already a smaller buffer makes the kernel
    /// drop bytes that it had promised room for, and send them again seconds later.
    pub fn connect_narrow(address: SocketAddr, buffer: usize) -> Wire {
        Wire::over_tls_if(tls::is_secured(address), narrow(address, buffer))
    }

    pub fn connect_plain(address: SocketAddr) -> Wire {
        Wire::over_tls_if(false, TcpStream::connect(address).expect("a connection"))
    }

    pub fn connect_tls(address: SocketAddr) -> Wire {
        Wire::over_tls_if(true, TcpStream::connect(address).expect("a connection"))
    }

    pub fn connect_tls_narrow(address: SocketAddr, buffer: usize) -> Wire {
        Wire::over_tls_if(true, narrow(address, buffer))
    }

    fn over_tls_if(is_secured: bool, stream: TcpStream) -> Wire {
        if !is_secured {
            return Wire::over(stream);
        }
        stream.set_nodelay(true).expect("TCP_NODELAY");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(TIMEOUT)).expect("a timeout");
        }
        Wire::over_secured(Secured::over(stream))
    }

    /// The server's end of a connection, with TLS if it has a configuration for it.
    pub fn accepted(stream: TcpStream, config: Option<Arc<ServerConfig>>) -> Wire {
        let Some(config) = config else { return Wire::over(stream) };
        stream.set_nodelay(true).expect("TCP_NODELAY");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(TIMEOUT)).expect("a timeout");
        }
        Wire::over_secured(Secured::accept(stream, config))
    }

    /// A handshake that fails is seen by the first read.
    pub fn over_secured(secured: Secured) -> Wire {
        let _seen_later = secured.shake_hands();
        Wire { stream: Stream::Tls(secured), unread: Vec::new(), received: Vec::new() }
    }

    pub fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Wire::over_any(stream)
    }

    pub fn connect_unix(path: &Path) -> Wire {
        Wire::over_unix(UnixStream::connect(path).expect("a connection"))
    }

    /// What a test does with a stream are the same calls on any stream socket.
    pub fn over_unix(stream: UnixStream) -> Wire {
        Wire::over_any(TcpStream::from(OwnedFd::from(stream)))
    }

    fn over_any(stream: TcpStream) -> Wire {
        let wire = Wire { stream: Stream::Plain(stream), unread: Vec::new(), received: Vec::new() };
        wire.set_timeout(TIMEOUT);
        wire
    }

    pub fn set_timeout(&self, timeout: Duration) {
        self.stream().set_read_timeout(Some(timeout)).expect("a read timeout");
        self.stream().set_write_timeout(Some(timeout)).expect("a write timeout");
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A second handle of this end, for a thread that sends while another receives.
    pub fn twin(&self) -> Wire {
        let stream = match &self.stream {
            Stream::Plain(stream) => Stream::Plain(stream.try_clone().expect("a second handle")),
            Stream::Tls(secured) => Stream::Tls(secured.clone()),
        };
        Wire { stream, unread: Vec::new(), received: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("bytes sent");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        (&self.stream).write_all(bytes.as_ref())
    }

    /// Sends the parts so that they arrive separately, as over a slow link.
    pub fn send_apart(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.send(part);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Half-closes: the other end reads EOF, and this end can still read.
    pub fn finish(&self) {
        match &self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(secured) => secured.finish(),
        }
        .expect("a half-close");
    }

    /// Closes with RST instead of FIN.
    pub fn reset(self) {
        set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("SO_LINGER");
        if let Stream::Tls(secured) = &self.stream {
            secured.die();
        }
    }

    /// The next request, whole.
    pub fn request(&mut self) -> Message {
        self.try_message(None).unwrap_or_else(|cut| panic!("a request, not {cut:#?}"))
    }

    /// The next request, or how the connection ended instead.
    pub fn try_request(&mut self) -> Result<Message, Cut> {
        self.try_message(None)
    }

    /// The head of the next request; its body stays unread.
    pub fn request_head(&mut self) -> Message {
        self.head(None).unwrap_or_else(|end| panic!("a request's head, not {end:?} after {}", self.shown()))
    }

    /// The next response, interim ones included.
    pub fn response(&mut self) -> Message {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Message {
        self.try_message(Some(method))
            .unwrap_or_else(|cut| panic!("a response, not {cut:#?}, of {}", self.shown()))
    }

    pub fn try_response(&mut self) -> Result<Message, Cut> {
        self.try_message(Some("GET"))
    }

    /// The head of the next response; its body stays unread.
    pub fn response_head(&mut self) -> Message {
        self.head(Some("GET"))
            .unwrap_or_else(|end| panic!("a response's head, not {end:?} after {}", self.shown()))
    }

    /// Sends a request and reads its response.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request);
        self.response()
    }

    /// Sends `GET target` and reads the response.
    pub fn get(&mut self, target: &str) -> Message {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    /// Reads exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            self.fill().unwrap_or_else(|end| panic!("{count} bytes, not {end:?} after {}", self.shown()));
        }
        self.unread.drain(..count).collect()
    }

    /// The data of the next chunk.
    pub fn chunk(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        self.chunk_into(&mut data)
            .unwrap_or_else(|end| panic!("a chunk, not {end:?} after {}", self.shown()));
        data
    }

    /// All bytes until the other end stops, and how it stopped.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// Reads `count` bytes without keeping them.
    pub fn discard(&mut self, mut count: u64) {
        count -= self.unread.drain(..).count() as u64;
        let mut buffer = vec![0; 1 << 18];
        while count > 0 {
            let wanted = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            match (&self.stream).read(&mut buffer[..wanted]) {
                Ok(0) => panic!("EOF with {count} bytes to come"),
                Ok(read) => count -= read as u64,
                Err(error) => panic!("{error} with {count} bytes to come"),
            }
        }
    }

    /// The other end closes with FIN and sends nothing before.
    pub fn expect_eof(&mut self) {
        let (rest, end) = self.rest();
        assert!(rest.is_empty() && end == End::Eof, "EOF, not {} and {end:?}", shown(&rest));
    }

    /// The other end closes or resets and sends nothing before.
    pub fn expect_end(&mut self) {
        let (rest, end) = self.rest();
        assert!(
            rest.is_empty() && matches!(end, End::Eof | End::Reset),
            "{end:?} with {:?} before",
            shown(&rest)
        );
    }

    /// Nothing arrives, and the connection stays open.
    pub fn expect_silence(&mut self) {
        self.set_timeout(SILENCE);
        let (rest, end) = self.rest();
        assert!(rest.is_empty() && end == End::Silence, "silence, not {} and {end:?}", shown(&rest));
        self.set_timeout(TIMEOUT);
    }

    /// Tells a cut response from a whole one: `None` when the response looks whole.
    pub fn cut(&mut self, method: &str) -> Option<Cut> {
        self.try_message(Some(method)).err()
    }

    fn shown(&self) -> String {
        shown(&self.received)
    }

    fn fill(&mut self) -> Result<(), End> {
        let mut buffer = [0; 1 << 14];
        loop {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Err(End::Eof),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(End::Silence),
                Err(_) => return Err(End::Reset),
            }
        }
    }

    fn through(&mut self, delimiter: &[u8]) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = self.unread.windows(delimiter.len()).position(|window| window == delimiter) {
                return Ok(self.unread.drain(..at + delimiter.len()).collect());
            }
            self.fill()?;
        }
    }

    fn head(&mut self, request_method: Option<&str>) -> Result<Message, End> {
        let head = self.through(b"\r\n\r\n")?;
        Message::parse(&head, request_method).map_err(End::Illegal)
    }

    fn try_message(&mut self, request_method: Option<&str>) -> Result<Message, Cut> {
        let mut message = self.head(request_method).map_err(|end| Cut { so_far: None, end })?;
        match self.body_into(&mut message) {
            Ok(()) => Ok(message),
            Err(end) => Err(Cut { so_far: Some(Box::new(message)), end }),
        }
    }

    fn body_into(&mut self, message: &mut Message) -> Result<(), End> {
        match message.framing {
            Framing::Nothing => {}
            Framing::Length(length) => {
                let length = usize::try_from(length).expect("a length that fits");
                while message.body.len() < length {
                    if self.unread.is_empty() {
                        self.fill()?;
                    }
                    let count = self.unread.len().min(length - message.body.len());
                    message.body.extend(self.unread.drain(..count));
                }
            }
            Framing::Chunked => {
                while self.chunk_into(&mut message.body)? > 0 {}
                let mut lines = Vec::new();
                while !lines.ends_with(b"\r\n\r\n") && lines != b"\r\n" {
                    lines.extend(self.through(b"\r\n")?);
                }
                if let Some(lines) = lines.strip_suffix(b"\r\n\r\n") {
                    message.trailers = field_lines(lines).map_err(End::Illegal)?;
                }
            }
            Framing::Close => match self.rest() {
                (body, End::Eof) => message.body = body,
                (body, end) => {
                    message.body = body;
                    return Err(end);
                }
            },
        }
        Ok(())
    }

    fn chunk_into(&mut self, data: &mut Vec<u8>) -> Result<usize, End> {
        let line = self.through(b"\r\n")?;
        let digits = std::str::from_utf8(&line[..line.len() - 2]).unwrap_or_default();
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| plain);
        let size = size.ok_or_else(|| End::Illegal(format!("chunk size {:?}", shown(&line))))?;
        if size > 0 {
            let target = data.len() + size;
            while data.len() < target {
                if self.unread.is_empty() {
                    self.fill()?;
                }
                let count = self.unread.len().min(target - data.len());
                data.extend(self.unread.drain(..count));
            }
            if self.through(b"\r\n")? != b"\r\n" {
                return Err(End::Illegal("no CRLF after a chunk".to_owned()));
            }
        }
        Ok(size)
    }
}

fn narrow(address: SocketAddr, buffer: usize) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    set_socket_recv_buffer_size(&socket, buffer).expect("SO_RCVBUF");
    connect(&socket, &address).expect("a connection");
    TcpStream::from(socket)
}

fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(2000)];
    format!("{:?} ({} bytes)", String::from_utf8_lossy(cut), bytes.len())
}
