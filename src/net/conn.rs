//! One connection, to a client or to a backend, by TCP or a Unix socket, with waits that end.
//!
//! The problem: a blocking call blocks for as long as the peer likes. SO_RCVTIMEO and SO_SNDTIMEO bound one call, so every
//! socket gets them once, and a call here does one of two things: it waits for [`waits::ONE_CALL`] at most, or not at
//! all. When nothing came, the caller decides what to do next: nearly always, to park the connection.
//!
//! Why socket timeouts and not poll(2) in front of every call: a request costs two receives and two sends, and with poll
//! it would cost twice that. A client's socket even inherits the timeouts from its listener.
//!
//! To the rest of ronde the two kinds are one. Here they differ: a Unix socket needs no TCP_NODELAY and no window, its
//! listener passes no options on (unix(7)), its connect is decided at once, and nothing tells the other end that a close was
//! no regular one.
//!
//! Not here: listeners (`listener`), buffers, messages, deadlines.

use crate::config::{Address, waits};
use crate::net::descriptors::Descriptor;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix};
use rustix::net::{SocketFlags, SocketType, connect, getpeername, getsockname};
use rustix::net::{recv, send, sendmsg, shutdown, socket_with, sockopt};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much the kernel may hold of a peer's bytes while nothing reads them, because a client does not.
///
/// It has to be settled before the connect: shrinking the buffer of a live connection makes the kernel drop what was promised
/// room, and the peer waits for seconds to send it again. The kernel doubles what is asked for, and grants no more than
/// rmem_max.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// As the kernel thinks best, up to six megabytes. For a peer far away a fixed window would be slow: 8 MB/s at 50 ms,
    /// where rmem_max is as it comes.
    Automatic,
    /// A megabyte: a response that fits costs a third less than one for which the peer has to wait for room.
    Wide,
    /// 208 KB: 8,000 slow readers with wide ones use up all memory that TCP may have.
    Narrow,
}

impl Window {
    fn size(self) -> Option<usize> {
        match self {
            Self::Automatic => None,
            Self::Wide => Some(1024 * 1024),
            Self::Narrow => Some(208 * 1024),
        }
    }
}

/// Whether a call may wait for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Never,
    /// For [`waits::ONE_CALL`].
    Briefly,
}

/// Bytes of a message that is copied into one piece before it is sent: most heads with a short body.
const SHORT: usize = 1024;

/// What a receive brought. The error says that the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Bytes(usize),
    /// No byte is there, yet.
    Nothing,
    /// The peer sends no more; it may still read.
    End,
}

/// What a send took. The error says that the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Bytes(usize),
    /// The peer does not read fast enough: no byte went out.
    Nothing,
}

/// How far a connect came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    Yes,
    /// The socket becomes writable when it is decided.
    NotYet,
}

/// A stream socket in blocking mode, with both timeouts set.
#[derive(Debug)]
pub struct Conn {
    socket: OwnedFd,
    kind: Kind,
    pub registration: Cell<Registration>,
    _descriptor: Descriptor,
}

/// What a connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Unix,
}

/// Whether an epoll knows the socket. It keeps it until the socket is closed, so that waiting again is one call (MOD) and
/// not two (ADD and DEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Unknown,
    Known,
}

impl Conn {
    /// A connection from one of ronde's own listeners, which passes on its options.
    pub fn accepted(stream: TcpStream) -> Self {
        Self::over(stream.into(), Kind::Tcp, Descriptor::count())
    }

    /// A connection from a Unix socket, which passes on none.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn accepted_locally(stream: UnixStream) -> io::Result<Self> {
        set_timeouts(&stream)?;
        Ok(Self::over(stream.into(), Kind::Unix, Descriptor::count()))
    }

    fn over(socket: OwnedFd, kind: Kind, descriptor: Descriptor) -> Self {
        Self { socket, kind, registration: Cell::new(Registration::Unknown), _descriptor: descriptor }
    }

    /// Begins to connect.
    ///
    /// A blocking connect(2) observes SO_SNDTIMEO (socket(7)), which saves two calls where the backend is near.
    ///
    /// # Errors
    /// What connect(2) says; `EMFILE` when no descriptor is left. [`ErrorKind::WouldBlock`] says that the backlog of a Unix
    /// socket is full: it is to be tried again a little later, for no event tells of room in it.
    pub fn connect(to: &Address, window: Window, block: Block) -> io::Result<(Self, Connected)> {
        match to {
            Address::Tcp(address) => Self::connect_tcp(*address, window, block),
            Address::Unix(path) => Ok((Self::connect_unix(path, block)?, Connected::Yes)),
        }
    }

    fn connect_tcp(to: SocketAddr, window: Window, block: Block) -> io::Result<(Self, Connected)> {
        let descriptor = Descriptor::take().ok_or(Errno::MFILE)?;
        let socket =
            new_socket(if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }, block)?;
        // What only makes it faster may be refused.
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        if let Some(size) = window.size() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, size);
        }
        let connected = match connect(&socket, &to) {
            Ok(()) => Connected::Yes,
            // A signal interrupts the call and not the connect, which goes on (connect(2)).
            Err(Errno::INPROGRESS | Errno::AGAIN | Errno::INTR) => Connected::NotYet,
            Err(error) => return Err(error.into()),
        };
        let conn = Self::over(socket, Kind::Tcp, descriptor);
        if connected == Connected::Yes {
            conn.become_ready()?;
        }
        Ok((conn, connected))
    }

    fn connect_unix(path: &Path, block: Block) -> io::Result<Self> {
        let descriptor = Descriptor::take().ok_or(Errno::MFILE)?;
        let socket = new_socket(AddressFamily::UNIX, block)?;
        connect(&socket, &SocketAddrUnix::new(path)?).map_err(|error| match error {
            // What a signal interrupts while it waits for room in the backlog goes not on by itself.
            Errno::INTR => Errno::AGAIN,
            error => error,
        })?;
        let conn = Self::over(socket, Kind::Unix, descriptor);
        conn.become_ready()?;
        Ok(conn)
    }

    /// Connects, and waits until that is decided: for the commands that have nothing else to do.
    ///
    /// # Errors
    /// What connect(2) says; [`ErrorKind::TimedOut`] at the deadline.
    pub fn connect_by(to: &Address, deadline: Instant) -> io::Result<Self> {
        let time_left = || {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() { Err(io::Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
        };
        let (conn, mut connected) = loop {
            match Self::connect(to, Window::Automatic, Block::Briefly) {
                // It has waited for one call.
                Err(error) if error.kind() == ErrorKind::WouldBlock => time_left()?,
                connected => break connected?,
            };
        };
        while connected == Connected::NotYet {
            let left = time_left()?;
            poll(&mut [PollFd::new(&conn, PollFlags::OUT)], Timespec::try_from(left).ok().as_ref())?;
            connected = conn.finish_connect()?;
        }
        Ok(conn)
    }

    /// Looks whether a connect that was [`Connected::NotYet`] has come to its end.
    ///
    /// # Errors
    /// Why it failed.
    pub fn finish_connect(&self) -> io::Result<Connected> {
        sockopt::socket_error(&self.socket)??;
        if getpeername(&self.socket).is_err() {
            return Ok(Connected::NotYet);
        }
        self.become_ready()?;
        Ok(Connected::Yes)
    }

    fn become_ready(&self) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&self.socket, false)?;
        match self.kind {
            Kind::Tcp => self.refuse_itself(),
            Kind::Unix => Ok(()),
        }
    }

    /// A connect to a port of this host on which nothing listens can be given that very port as its own, and is then
    /// connected to itself (a simultaneous open, RFC 9293 §3.5).
    fn refuse_itself(&self) -> io::Result<()> {
        match Some(getsockname(&self.socket)?) == getpeername(&self.socket)? {
            true => Err(ErrorKind::ConnectionRefused.into()),
            false => Ok(()),
        }
    }

    /// Receives into `room`.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn receive(&self, room: &mut [u8], block: Block) -> io::Result<Received> {
        match block {
            Block::Never => self.receive_flagged(room, RecvFlags::DONTWAIT),
            Block::Briefly => self.receive_flagged(room, RecvFlags::empty()),
        }
    }

    /// Looks at what is there without taking it and without waiting.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peek(&self) -> io::Result<Received> {
        self.receive_flagged(&mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn receive_flagged(&self, room: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        match recv(&self.socket, room, flags) {
            Ok((0, _)) => Ok(Received::End),
            Ok((count, _)) => Ok(Received::Bytes(count)),
            // A receive with a timeout is interrupted by signals even under SA_RESTART (signal(7)): as if its time were over.
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends some of `parts` in one call.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&self, parts: &[IoSlice<'_>], block: Block) -> io::Result<Sent> {
        let flags = match block {
            Block::Never => SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            Block::Briefly => SendFlags::NOSIGNAL,
        };
        // send(2) is 0.3 µs cheaper than sendmsg(2), and a short message is copied together in less.
        let sent = match parts {
            [piece] => send(&self.socket, piece, flags),
            pieces if pieces.iter().map(|piece| piece.len()).sum::<usize>() <= SHORT => {
                send(&self.socket, gather(pieces, &mut [0; SHORT]), flags)
            }
            pieces => sendmsg(&self.socket, pieces, &mut SendAncillaryBuffer::default(), flags),
        };
        match sent {
            Ok(count) => Ok(Sent::Bytes(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Sent::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        Ok(shutdown(&self.socket, Shutdown::Write)?)
    }

    /// From now on, closing is a reset, which tells the peer that something is missing. It also throws away what has not
    /// left yet; so the socket becomes writable only when all of that has, but for a last packet. A Unix socket knows no
    /// reset: its peer reads all that was sent, and then an ordinary end.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn close_abortively(&self) -> io::Result<()> {
        sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO))?;
        // A socket is writable while a third of its buffer is free (`sk_stream_is_writeable`). The smallest buffer that the
        // kernel grants has no room for two packets.
        Ok(sockopt::set_socket_send_buffer_size(&self.socket, 0)?)
    }

    /// Has the kernel find out about a peer that vanished without a word.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn keep_alive(&self) -> io::Result<()> {
        Ok(sockopt::set_socket_keepalive(&self.socket, true)?)
    }

    /// Whether its bytes are the peer's as they are, and the kernel can pass them on from one such socket to another.
    pub fn is_plain_tcp(&self) -> bool {
        self.kind == Kind::Tcp
    }

    /// The address on this side, if it has one; a v4 address of a dual-stack listener is a v4 address.
    pub fn local(&self) -> Option<SocketAddr> {
        let address = SocketAddr::try_from(getsockname(&self.socket).ok()?).ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The pieces, which fit, as one.
fn gather<'a>(pieces: &[IoSlice<'_>], room: &'a mut [u8; SHORT]) -> &'a [u8] {
    let mut length = 0;
    for piece in pieces {
        room[length..][..piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    &room[..length]
}

fn new_socket(family: AddressFamily, block: Block) -> io::Result<OwnedFd> {
    let flags = match block {
        Block::Never => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Block::Briefly => SocketFlags::CLOEXEC,
    };
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_timeouts(&socket)?;
    Ok(socket)
}

/// One call on this socket waits for [`waits::ONE_CALL`] at most.
pub(super) fn set_timeouts(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(waits::ONE_CALL))?;
    Ok(sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(waits::ONE_CALL))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listener::{Claim, Family, listen};
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

    fn pair() -> (Conn, TcpStream) {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Family::Own, Claim::Existing).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        };
        (Conn::accepted(stream), peer)
    }

    #[test]
    fn an_accepted_socket_has_the_options_of_its_listener() {
        let (conn, _peer) = pair();
        let stream = TcpStream::from(conn.socket);
        assert!(stream.nodelay().unwrap());
        for timeout in [stream.read_timeout(), stream.write_timeout()] {
            let set = timeout.unwrap().unwrap();
            assert!(set >= waits::ONE_CALL && set < waits::ONE_CALL + Duration::from_millis(20), "{set:?}");
        }
    }

    #[test]
    fn nothing_bytes_end_and_gone_are_four_outcomes() {
        let (conn, mut peer) = pair();
        let mut room = [0; 8];
        assert_eq!(conn.receive(&mut room, Block::Briefly).unwrap(), Received::Nothing);
        assert_eq!(conn.receive(&mut room, Block::Never).unwrap(), Received::Nothing);
        peer.write_all(b"abc").unwrap();
        assert_eq!(conn.receive(&mut room, Block::Briefly).unwrap(), Received::Bytes(3));
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(conn.receive(&mut room, Block::Briefly).unwrap(), Received::End);
        assert_eq!(conn.send(&[IoSlice::new(b"x")], Block::Never).unwrap(), Sent::Bytes(1));
        drop(peer); // with an unread byte, which makes it a reset
        let gone = loop {
            if let Err(error) = conn.send(&[IoSlice::new(b"x")], Block::Briefly) {
                break error;
            }
        };
        assert!(matches!(gone.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_full_socket_takes_nothing() {
        let (conn, _peer) = pair();
        let piece = vec![0; 1 << 16];
        while conn.send(&[IoSlice::new(&piece)], Block::Never).unwrap() != Sent::Nothing {}
        assert_eq!(conn.send(&[IoSlice::new(&piece)], Block::Briefly).unwrap(), Sent::Nothing);
    }

    #[test]
    fn a_connect_is_decided_at_once_or_later() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        assert_eq!(Conn::connect(&address, Window::Wide, Block::Briefly).unwrap().1, Connected::Yes);
        let (conn, mut connected) = Conn::connect(&address, Window::Wide, Block::Never).unwrap();
        while connected == Connected::NotYet {
            connected = conn.finish_connect().unwrap();
        }
        // In blocking mode again.
        assert_eq!(conn.receive(&mut [0; 1], Block::Briefly).unwrap(), Received::Nothing);
        drop(listener);
        let refused = Conn::connect(&address, Window::Wide, Block::Briefly).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
