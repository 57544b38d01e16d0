//! A backend: a small server with a thread for each connection, and a switch that makes it fail.

use httparse::{EMPTY_HEADER, Request, Status};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// How long the answer to `/late` takes.
pub const LATE: Duration = Duration::from_secs(1);

/// The length of the answer to `/large`, in bytes: more than all the buffers between a backend and a client hold.
const LARGE: usize = 64 * 1024 * 1024;

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Health {
    #[default]
    Well,
    /// Accepts, reads, and never answers.
    Hung,
    /// Neither listens nor answers.
    Dead,
}

pub struct Backend {
    pub address: SocketAddr,
    listener: TcpListener,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    health: Health,
    /// The targets of all requests so far, with their methods.
    requests: Vec<String>,
}

impl Backend {
    pub fn start(at: SocketAddr) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind(at)?;
        let address = listener.local_addr()?;
        let backend = Arc::new(Self { address, listener, state: Mutex::default() });
        let accepting = Arc::clone(&backend);
        thread::spawn(move || {
            while accepting.state().health != Health::Dead {
                if let Ok((stream, _)) = accepting.listener.accept() {
                    let serving = Arc::clone(&accepting);
                    thread::spawn(move || serving.serve(stream));
                }
            }
        });
        Ok(backend)
    }

    pub fn turn(&self, health: Health) -> io::Result<()> {
        self.state().health = health;
        if health == Health::Dead {
            // accept(2) returns, and further connections are refused.
            rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Read)?;
        }
        Ok(())
    }

    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut received = Vec::new();
        loop {
            let Asked { line, closes } = read_request(&mut stream, &mut received)?;
            let health = self.state().health;
            match health {
                Health::Well => self.state().requests.push(line.clone()),
                Health::Hung => loop {
                    thread::park();
                },
                Health::Dead => return Ok(()),
            }
            let length = if line.ends_with(" /large") { LARGE } else { 6 };
            if line.ends_with(" /late") {
                thread::sleep(LATE);
            }
            let connection = if closes { "close" } else { "keep-alive" };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
            )?;
            let piece = [b'.'; 64 * 1024];
            let mut left = length;
            while left > 0 {
                left -= stream.write(&piece[..left.min(piece.len())])?;
            }
            if closes {
                return Ok(());
            }
        }
    }
}

/// A request: its method and target, and whether the connection is to be closed.
struct Asked {
    line: String,
    closes: bool,
}

fn read_request(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Asked> {
    loop {
        let mut fields = [EMPTY_HEADER; 64];
        let mut request = Request::new(&mut fields);
        if let Status::Complete(head) = request.parse(received).map_err(io::Error::other)? {
            let value = |name: &str| {
                let field = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
                field.map(|field| String::from_utf8_lossy(field.value).to_ascii_lowercase())
            };
            let body: usize = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if received.len() >= head + body {
                let line = format!("{} {}", request.method.unwrap_or(""), request.path.unwrap_or(""));
                let closes = value("connection").is_some_and(|options| options.contains("close"));
                received.drain(..head + body);
                return Ok(Asked { line, closes });
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&piece[..count]),
        }
    }
}
