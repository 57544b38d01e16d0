//! One connection, to a client or to a backend, by TCP or a Unix socket, with waits that end.
//!
//! The problem: a blocking call blocks for as long as the peer likes. SO_RCVTIMEO and SO_SNDTIMEO bound one call, so every
//! socket gets them once, and a call here waits for [`waits::ONE_CALL`] at most, for less, or not at all ([`Block`]). When
//! nothing came, the caller decides what to do next: nearly always, to park the connection.
//!
//! A connection is more than its socket: over TLS, bytes that were decrypted stand in a [`Session`] and no event tells of
//! them, and bytes that were encrypted may have to wait for the socket. Callers see what is inside; what they have to know
//! beside is [`Conn::has_unread`] and [`Conn::has_unsent`].
//!
//! Why socket timeouts and not poll(2) in front of every call: a request costs two receives and two sends, and with poll
//! it would cost twice that. A client's socket even inherits the timeouts from its listener.
//!
//! To the rest of ronde the two kinds are one. Here they differ: a Unix socket needs no TCP_NODELAY and no window, its
//! listener passes no options on (unix(7)), its connect is decided at once, and nothing tells the other end that a close was
//! no regular one.
//!
//! Not here: the calls themselves (`socket`), TLS (`tls`), listeners (`listener`), buffers, messages, deadlines.

use crate::config::{Address, waits};
use crate::net::descriptors::Descriptor;
use crate::net::moved::Moved;
use crate::net::socket::{self, Left};
pub use crate::net::socket::{Block, Received, Sent};
use crate::net::tls::{Certificates, Handshake, HandshakeError, Identity, Session};
pub use crate::net::window::Window;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{connect, getpeername, getsockname, socket_with, sockopt};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

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
    /// By the last receive without TLS.
    left: Cell<Left>,
    session: Option<Box<Session>>,
    pub moved: Moved,
    _descriptor: Descriptor,
}

/// A peer that leaves so many questions for a sign of life without an answer is gone.
const PROBES: u32 = 4;

/// What a connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Unix,
}

/// How an epoll knows the socket. It keeps it until the socket is closed, so that waiting again is one call (MOD) and
/// not two (ADD and DEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Unknown,
    /// For one event; then it is to be armed again.
    OneShot,
    /// For all events, each once.
    Edge,
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
        let registration = Cell::new(Registration::Unknown);
        let left = Cell::new(Left::Unknown);
        let moved = Moved::default();
        Self { socket, kind, registration, left, session: None, moved, _descriptor: descriptor }
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

    /// Receives into `room`; over TLS, what is inside.
    ///
    /// # Errors
    /// The connection is gone. [`ErrorKind::UnexpectedEof`] says that TLS has an end, and the peer has not sent it: a part
    /// of what it said may be missing (RFC 8446 §6.1).
    pub fn receive(&self, room: &mut [u8], block: Block) -> io::Result<Received> {
        let received = match &self.session {
            None => {
                let size = room.len();
                let received = socket::receive(&self.socket, block, |flags| {
                    socket::take(&self.socket, &mut *room, flags)
                });
                self.left.set(Left::by(&received, size));
                received
            }
            Some(session) => session.receive(&self.socket, room, block),
        };
        if let Ok(Received::Bytes(count)) = received {
            self.moved.add_received(count);
        }
        received
    }

    /// Whether it goes over a Unix socket.
    pub fn is_local(&self) -> bool {
        self.kind == Kind::Unix
    }

    /// Whether all that came has been received: what comes later is an event of its own.
    pub fn is_drained(&self) -> bool {
        let left = self.session.as_ref().map_or(self.left.get(), |session| session.left());
        left == Left::Nothing
    }

    /// Looks at what is there without taking it and without waiting.
    ///
    /// # Errors
    /// See [`Self::receive`].
    pub fn peek(&self) -> io::Result<Received> {
        match &self.session {
            None => socket::peek(&self.socket),
            Some(session) => session.peek(&self.socket),
        }
    }

    /// Sends some of `parts` in one call. What it does not take has to come again, with the same bytes in front: over TLS
    /// they may be encrypted already.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&self, parts: &[IoSlice<'_>], block: Block) -> io::Result<Sent> {
        let sent = match &self.session {
            None => socket::send(&self.socket, parts, block),
            Some(session) => session.send(&self.socket, parts, block),
        };
        if let Ok(Sent::Bytes(count)) = sent {
            self.moved.add_sent(count);
        }
        sent
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        match &self.session {
            None => socket::finish(&self.socket),
            Some(session) => session.finish(&self.socket),
        }
    }

    /// Says before a close that the end is a regular one, as far as the socket takes it at once. Without TLS the close says so.
    pub fn say_end(&self) {
        if let Some(session) = &self.session {
            // A peer that is gone need not know.
            let _ = session.finish(&self.socket);
        }
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

    /// Begins TLS, with what was read of it already.
    ///
    /// # Errors
    /// The settings of these certificates contradict each other.
    pub fn secure(&mut self, certificates: &Certificates, first: &[u8]) -> Result<(), HandshakeError> {
        self.session = Some(Box::new(Session::accept(certificates, first)?));
        // These are none of the client's own words.
        self.moved.discount(first.len());
        Ok(())
    }

    /// Begins TLS with a backend, which has to prove this identity, or goes on with it.
    ///
    /// # Errors
    /// Why there will be no TLS.
    pub fn secured_to(&mut self, identity: &Identity, block: Block) -> Result<Handshake, HandshakeError> {
        if self.session.is_none() {
            self.session = Some(Box::new(Session::connect(identity)?));
        }
        self.shake_hands(block)
    }

    /// Whether TLS has begun, and is not agreed on.
    pub fn is_handshaking(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_handshaking())
    }

    /// Whether TLS has begun.
    pub fn is_secured(&self) -> bool {
        self.session.is_some()
    }

    /// Goes on with the handshake. Without TLS there is none.
    ///
    /// # Errors
    /// Why there will be no TLS.
    pub fn shake_hands(&self, block: Block) -> Result<Handshake, HandshakeError> {
        self.session.as_ref().map_or(Ok(Handshake::Done), |session| session.shake_hands(&self.socket, block))
    }

    /// Whether the handshake took up a session of an earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_resumed())
    }

    /// Sends what TLS has encrypted and the socket did not take, as far as it takes it now.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&self) -> io::Result<()> {
        self.session.as_ref().map_or(Ok(()), |session| session.flush(&self.socket))
    }

    /// Whether the socket is to be written to though the caller has nothing to send.
    pub fn has_unsent(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_unsent())
    }

    /// Whether a receive brings something of which no event of the socket tells.
    pub fn has_unread(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_unread())
    }

    /// Whether the end of what the peer sends, of which the socket tells, is one that it meant. Over TLS it has to say so.
    pub fn is_half_closed(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.is_half_closed(&self.socket))
    }

    /// Bytes of memory that it keeps, beside itself.
    pub fn weight(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.weight())
    }

    /// Has the kernel find out about a peer that vanished without a word, in some minutes
    /// ([`waits::TUNNEL_PROBE`]). The peer of a Unix socket cannot.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn keep_alive(&self) -> io::Result<()> {
        if self.kind == Kind::Tcp {
            sockopt::set_tcp_keepidle(&self.socket, waits::TUNNEL_PROBE)?;
            sockopt::set_tcp_keepintvl(&self.socket, waits::TUNNEL_PROBE_AGAIN)?;
            sockopt::set_tcp_keepcnt(&self.socket, PROBES)?;
            sockopt::set_socket_keepalive(&self.socket, true)?;
        }
        Ok(())
    }

    /// Whether its bytes are the peer's as they are, and the kernel can pass them on from one such socket to another.
    pub fn is_plain_tcp(&self) -> bool {
        self.kind == Kind::Tcp && self.session.is_none()
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

fn new_socket(family: AddressFamily, block: Block) -> io::Result<OwnedFd> {
    let flags = match block {
        Block::Never => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        // connect(2) knows no wait but the timeout of the socket.
        Block::Briefly | Block::For(_) => SocketFlags::CLOEXEC,
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
    use crate::net::fixtures::pair;
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

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
    fn a_peer_that_vanished_from_a_tunnel_is_missed_in_seven_minutes() {
        let (conn, _peer) = pair();
        conn.keep_alive().unwrap();
        assert!(sockopt::socket_keepalive(&conn.socket).unwrap());
        let [first, again] = [sockopt::tcp_keepidle(&conn.socket), sockopt::tcp_keepintvl(&conn.socket)];
        let all = again.unwrap() * sockopt::tcp_keepcnt(&conn.socket).unwrap();
        assert_eq!(first.unwrap() + all, Duration::from_secs(7 * 60));
    }

    #[test]
    fn nothing_bytes_end_and_gone_are_four_outcomes() {
        let (conn, mut peer) = pair();
        let mut room = [0; 8];
        assert_eq!(conn.receive(&mut room, Block::Briefly).unwrap(), Received::Nothing);
        assert_eq!(conn.receive(&mut room, Block::Never).unwrap(), Received::Nothing);
        peer.write_all(b"abc").unwrap();
        assert_eq!(conn.receive(&mut room, Block::Briefly).unwrap(), Received::Bytes(3));
        let shortly = Block::For(Duration::from_micros(100));
        assert_eq!(conn.receive(&mut room, shortly).unwrap(), Received::Nothing);
        peer.write_all(b"de").unwrap();
        assert_eq!(conn.receive(&mut room, shortly).unwrap(), Received::Bytes(2));
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
    fn a_receive_that_was_filled_may_have_left_something() {
        let (conn, mut peer) = pair();
        assert!(!conn.is_drained());
        peer.write_all(b"abc").unwrap();
        for (room, count, is_drained) in [(2, 2, false), (1, 1, false), (4, 0, true)] {
            let expected = if count == 0 { Received::Nothing } else { Received::Bytes(count) };
            assert_eq!(conn.receive(&mut vec![0; room], Block::Never).unwrap(), expected);
            assert_eq!(conn.is_drained(), is_drained);
        }
        peer.write_all(b"abc").unwrap();
        assert_eq!(conn.receive(&mut [0; 4], Block::Briefly).unwrap(), Received::Bytes(3));
        assert!(conn.is_drained());
    }

    #[test]
    fn a_short_wait_ends_when_the_bytes_come() {
        let (conn, mut peer) = pair();
        let patiently = Block::For(Duration::from_secs(60));
        let writer = std::thread::spawn(move || peer.write_all(b"abc").map(|()| peer));
        assert_eq!(conn.receive(&mut [0; 8], patiently).unwrap(), Received::Bytes(3));
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_connect_that_has_met_itself_is_refused() {
        let socket = new_socket(AddressFamily::INET, Block::Briefly).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let own = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        connect(&socket, &own).unwrap();
        let conn = Conn::over(socket, Kind::Tcp, Descriptor::count());
        assert_eq!(conn.finish_connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_full_socket_takes_nothing() {
        let (conn, _peer) = pair();
        let piece = vec![0; 1 << 16];
        while conn.send(&[IoSlice::new(&piece)], Block::Never).unwrap() != Sent::Nothing {}
        for block in [Block::Briefly, Block::For(Duration::from_micros(100))] {
            assert_eq!(conn.send(&[IoSlice::new(&piece)], block).unwrap(), Sent::Nothing);
        }
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
        let begun = std::time::Instant::now();
        assert_eq!(conn.receive(&mut [0; 1], Block::Briefly).unwrap(), Received::Nothing);
        assert!(begun.elapsed() >= waits::ONE_CALL / 2, "{:?}", begun.elapsed());
        drop(listener);
        let refused = Conn::connect(&address, Window::Wide, Block::Briefly).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
