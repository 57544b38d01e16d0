//! Sockets that another process has opened, and passes to ronde when it starts it (`sd_listen_fds(3)`).
//!
//! The problem: a port that ronde opens is closed when ronde ends, and until the next ronde has it, clients are refused. A
//! socket of the service manager stays: meanwhile the kernel completes connections, and they wait in its queue. But what is
//! passed are numbers and names in variables, and anything may be behind a number.
//!
//! Not here: what a name means (`server::activation`).

use crate::net::listener::Listener;
use listenfd::ListenFd;
use rustix::net::sockopt;
use std::env;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

/// The number of the first one.
const FIRST_DESCRIPTOR: usize = 3;

/// How many there are, for which process, and their names, divided by colons.
const COUNT: &str = "LISTEN_FDS";
const PROCESS: &str = "LISTEN_PID";
const NAMES: &str = "LISTEN_FDNAMES";

/// A listener that was passed.
#[derive(Debug)]
pub struct Passed {
    pub listener: Listener,
    /// `FileDescriptorName=` of the socket's unit; `None` if there are no names.
    pub name: Option<String>,
}

/// What was passed cannot be used.
#[derive(Debug)]
pub enum PassedError {
    /// The variable says this, which is no number of sockets.
    Count(String),
    Socket {
        descriptor: usize,
        name: Option<String>,
        why: Why,
    },
}

/// Why a passed socket cannot be used.
#[derive(Debug)]
pub enum Why {
    /// It is a file, a datagram socket, or not there.
    NoStream,
    /// It is a connection, as with `Accept=yes`.
    NoListener,
    /// It is a Unix socket without a path, which has no mode, so that every program of the machine could connect.
    NoPath,
    /// The others have names. Without one it would be served without TLS, and it may be meant for `https` or `admin`.
    NoName,
    System(io::Error),
}

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (descriptor, name, why) = match self {
            Self::Count(count) => {
                return write!(f, "{COUNT}={count} is no number of sockets; give 0 to {}", u16::MAX);
            }
            Self::Socket { descriptor, name, why } => (descriptor, name, why),
        };
        write!(f, "descriptor {descriptor}")?;
        if let Some(name) = name {
            write!(f, " ({name})")?;
        }
        f.write_str(" was passed to ronde, and cannot be used: ")?;
        match why {
            Why::NoStream => f.write_str("it is no stream socket; give ListenStream= in its unit"),
            Why::NoListener => f.write_str("it does not listen; give Accept=no in its unit"),
            Why::NoPath => f.write_str("it is a Unix socket without a path; give it one"),
            Why::NoName => write!(f, "{NAMES} has fewer names than sockets were passed"),
            Why::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PassedError {}

/// Takes the sockets that were passed to this process, in their order. To be called before any thread is started: it takes
/// the variables out of the environment, so that no process that ronde starts mistakes them for its own.
///
/// # Errors
/// The number is none, or the first that is no listener of streams.
pub fn take() -> Result<Vec<Passed>, PassedError> {
    let names: Option<Vec<String>> =
        env::var_os(NAMES).map(|names| names.to_string_lossy().split(':').map(str::to_owned).collect());
    check_count()?;
    let mut descriptors = ListenFd::from_env();
    let count = descriptors.len();
    let take_one = |place| {
        let name = names.as_ref().and_then(|names| names.get(place)).cloned();
        let listener = match listener(&mut descriptors, place) {
            Ok(_) if names.is_some() && name.is_none() => Err(Why::NoName),
            listener => listener,
        };
        match listener {
            Ok(listener) => Ok(Passed { listener, name }),
            Err(why) => Err(PassedError::Socket { descriptor: FIRST_DESCRIPTOR + place, name, why }),
        }
    };
    (0..count).map(take_one).collect()
}

/// The library takes what is no number for none, and makes a list of as many as there are said to be.
fn check_count() -> Result<(), PassedError> {
    let Some(count) = env::var_os(COUNT) else { return Ok(()) };
    let own = std::process::id().to_string();
    let is_for_another = env::var_os(PROCESS).is_some_and(|process| !process.is_empty() && process != *own);
    let is_number = count.to_str().is_some_and(|count| count.parse::<u16>().is_ok());
    if is_number || is_for_another { Ok(()) } else { Err(PassedError::Count(count.display().to_string())) }
}

fn listener(descriptors: &mut ListenFd, place: usize) -> Result<Listener, Why> {
    if let Ok(Some(listener)) = descriptors.take_tcp_listener(place) {
        return tcp(listener);
    }
    match descriptors.take_unix_listener(place) {
        Ok(Some(listener)) => unix(listener),
        Ok(None) | Err(_) => Err(Why::NoStream),
    }
}

fn tcp(listener: TcpListener) -> Result<Listener, Why> {
    must_listen(&listener)?;
    listener.set_nonblocking(true).map_err(Why::System)?;
    Ok(Listener::PassedTcp(listener))
}

fn unix(listener: UnixListener) -> Result<Listener, Why> {
    must_listen(&listener)?;
    listener.set_nonblocking(true).map_err(Why::System)?;
    let address = listener.local_addr().map_err(Why::System)?;
    let path = address.as_pathname().ok_or(Why::NoPath)?.into();
    Ok(Listener::PassedUnix(listener, path))
}

fn must_listen(socket: impl AsFd) -> Result<(), Why> {
    match sockopt::socket_acceptconn(socket) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Why::NoListener),
        Err(error) => Err(Why::System(error.into())),
    }
}
