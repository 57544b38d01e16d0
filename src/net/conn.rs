//! One TCP connection, to a client or to a backend, with waits that end.
//!
//! The problem: a blocking call blocks for as long as the peer likes. SO_RCVTIMEO and SO_SNDTIMEO bound one call,
//! not a message: they start again at every byte. So here a call waits for one *slice* at most, says "nothing yet"
//! when the slice is over, and the caller adds the slices up against a deadline of its own.
//!
//! Why socket timeouts and not poll(2) in front of every call: a request costs two receives and two sends, and
//! with poll it would cost twice that. The option is set only when the slice changes, which on the steady path it
//! never does; a client's socket even inherits it from the listener.
//!
//! Not here: buffers, messages, deadlines. This is the only module that names the options of a TCP socket.

use crate::config::waits;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sockopt};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Connections that the kernel holds for us between two calls of accept. std asks for 128, which a burst of
/// clients overruns: each connection too many waits a second for its SYN to be sent again.
pub const BACKLOG: u16 = 4096;

/// What the kernel may hold of a backend's response that a client does not take, in bytes. Left to itself it takes six
/// megabytes for each: five hundred slow readers of large files fill a small host's memory, and filling it is what
/// everybody else waits for. A backend is near: this is a gigabyte a second at a millisecond.
const RECEIVED: usize = 1024 * 1024;

/// What a receive brought. That nobody is there any more is the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    Bytes(usize),
    /// The slice is over, or nothing was there for a call that does not wait.
    Nothing,
    /// The peer sends no more; it may still read.
    End,
}

/// What a send took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departed {
    Bytes(usize),
    /// The peer reads too slowly: the slice is over and no byte went out.
    Nothing,
}

/// A connected TCP socket and the slices that are set on it.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    receive_slice: Duration,
    send_slice: Duration,
    pub registration: Registration,
}

/// Whether the waiter's epoll knows the socket. It keeps it until the socket is closed, so that waiting again is
/// one call (MOD) and not two (ADD and DEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Unknown,
    Known,
}

impl Conn {
    /// A connection from a listener made by [`listen`], which passes on its options.
    pub fn accepted(stream: TcpStream) -> Self {
        Self {
            stream,
            receive_slice: waits::NEXT_REQUEST,
            send_slice: waits::NEXT_REQUEST,
            registration: Registration::Unknown,
        }
    }

    /// Connects, waiting until `deadline` at most. `give_up` is asked after every slice.
    ///
    /// A blocking connect(2) observes SO_SNDTIMEO and can be called again to wait on (Linux, tcp(7) by way of
    /// socket(7)): two calls less than the way by O_NONBLOCK and poll(2).
    ///
    /// # Errors
    /// What connect(2) says; [`ErrorKind::TimedOut`] at the deadline or when `give_up` says so.
    pub fn connect(to: SocketAddr, deadline: Instant, mut give_up: impl FnMut() -> bool) -> io::Result<Self> {
        let family =
            if to.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, rustix::net::SocketType::STREAM, flags, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVED)?;
        let mut set = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || give_up() {
                return Err(ErrorKind::TimedOut.into());
            }
            // Rounded up to a millisecond, as zero would mean "for ever".
            let slice = left.min(waits::ONE_CALL).max(Duration::from_millis(1));
            if set != Some(slice) {
                sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(slice))?;
                set = Some(slice);
            }
            match rustix::net::connect(&socket, &to) {
                Ok(()) | Err(rustix::io::Errno::ISCONN) => break,
                // The slice is over (the first call says INPROGRESS, those that wait on say ALREADY).
                Err(
                    rustix::io::Errno::INPROGRESS
                    | rustix::io::Errno::ALREADY
                    | rustix::io::Errno::AGAIN
                    | rustix::io::Errno::INTR,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let (receive_slice, send_slice) = (Duration::ZERO, set.unwrap_or_default());
        let mut conn = Self { stream, receive_slice, send_slice, registration: Registration::Unknown };
        conn.receive_within(waits::RESPONSE_HEAD)?;
        Ok(conn)
    }

    /// Receives into `room`, waiting one slice at most; not at all if that is zero.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn receive(&mut self, room: &mut [u8], slice: Duration) -> io::Result<Arrived> {
        if slice < waits::KERNEL_TICK {
            self.wait_for_input(slice);
            return self.receive_now(room);
        }
        self.receive_within(slice)?;
        loop {
            match self.stream.read(room) {
                Ok(0) => return Ok(Arrived::End),
                Ok(count) => return Ok(Arrived::Bytes(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Arrived::Nothing),
                // A receive with a timeout is interrupted by signals even under SA_RESTART (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives what is there, without waiting.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn receive_now(&self, room: &mut [u8]) -> io::Result<Arrived> {
        self.receive_flagged(room, RecvFlags::DONTWAIT)
    }

    /// Looks at what is there without taking it and without waiting.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peek(&self) -> io::Result<Arrived> {
        self.receive_flagged(&mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn receive_flagged(&self, room: &mut [u8], flags: RecvFlags) -> io::Result<Arrived> {
        loop {
            match rustix::net::recv(&self.stream, &mut *room, flags) {
                Ok((0, _)) => return Ok(Arrived::End),
                Ok((count, _)) => return Ok(Arrived::Bytes(count)),
                Err(rustix::io::Errno::AGAIN) => return Ok(Arrived::Nothing),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends some of `parts` in one call, waiting one slice at most; not at all if that is zero.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, parts: &[IoSlice<'_>], slice: Duration) -> io::Result<Departed> {
        if slice.is_zero() {
            return self.send_now(parts);
        }
        self.send_within(slice)?;
        loop {
            // One piece is not gathered: send(2) is 0.2 µs cheaper than writev(2).
            let sent = match parts {
                [piece] => self.stream.write(piece),
                pieces => self.stream.write_vectored(pieces),
            };
            match sent {
                Ok(count) => return Ok(Departed::Bytes(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Departed::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what fits, without waiting.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_now(&self, parts: &[IoSlice<'_>]) -> io::Result<Departed> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::sendmsg(&self.stream, parts, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => return Ok(Departed::Bytes(count)),
                Err(rustix::io::Errno::AGAIN) => return Ok(Departed::Nothing),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Until something is there to be received, or so long.
    fn wait_for_input(&self, most: Duration) {
        let timeout = Timespec::try_from(most).ok();
        if !most.is_zero() {
            // Whatever it says, the receive says it better.
            let _ = poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], timeout.as_ref());
        }
    }

    /// Whether the peer is gone for good: a reset, where a half-close leaves the connection alive. A receive cannot
    /// tell: behind a FIN it says [`Arrived::End`] for ever.
    pub fn is_gone(&self) -> bool {
        // No flag is asked for: errors and hang-ups are always reported.
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|count| count > 0)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes with a reset, so that the peer cannot take what it has for a complete message (FIN would say so).
    pub fn cut(self) {
        // When this fails the peer is gone already.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    /// Has the kernel find out about a peer that vanished without a word.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn keep_alive(&self) -> io::Result<()> {
        Ok(sockopt::set_socket_keepalive(&self.stream, true)?)
    }

    /// The address on this side; a v4 address of a dual-stack listener is a v4 address.
    pub fn local(&self) -> Option<SocketAddr> {
        let address = self.stream.local_addr().ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    fn receive_within(&mut self, slice: Duration) -> io::Result<()> {
        if self.receive_slice != slice {
            self.stream.set_read_timeout(Some(slice))?;
            self.receive_slice = slice;
        }
        Ok(())
    }

    fn send_within(&mut self, slice: Duration) -> io::Result<()> {
        if self.send_slice != slice {
            self.stream.set_write_timeout(Some(slice))?;
            self.send_slice = slice;
        }
        Ok(())
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A listener whose connections need no options of their own: on Linux an accepted socket is a copy of its
/// listener, TCP_NODELAY and timeouts included, so three calls per connection are three calls per listener.
///
/// accept itself does not wait: the acceptor waits for all its listeners at once.
///
/// # Errors
/// The address is in use, not ours, or not permitted.
pub fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    use rustix::net;
    let family = if at.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
    let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, net::SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if at.is_ipv6() {
        // `[::]` means every address, v4 as well, whatever /proc/sys/net/ipv6/bindv6only says.
        sockopt::set_ipv6_v6only(&socket, !at.ip().is_unspecified())?;
    }
    net::bind(&socket, &at)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(waits::NEXT_REQUEST))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(waits::NEXT_REQUEST))?;
    net::listen(&socket, BACKLOG.into())?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn pair() -> (Conn, TcpStream) {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
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
        assert!(conn.stream.nodelay().unwrap());
        for timeout in [conn.stream.read_timeout(), conn.stream.write_timeout()] {
            let set = timeout.unwrap().unwrap();
            assert!(
                set >= waits::NEXT_REQUEST && set < waits::NEXT_REQUEST + Duration::from_millis(20),
                "{set:?}"
            );
        }
    }

    #[test]
    fn nothing_bytes_end_and_gone_are_four_outcomes() {
        let (mut conn, mut peer) = pair();
        let mut room = [0; 8];
        assert_eq!(conn.receive(&mut room, waits::NEXT_REQUEST).unwrap(), Arrived::Nothing);
        assert_eq!(conn.receive_now(&mut room).unwrap(), Arrived::Nothing);
        peer.write_all(b"abc").unwrap();
        assert_eq!(conn.receive(&mut room, waits::ONE_CALL).unwrap(), Arrived::Bytes(3));
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(conn.receive(&mut room, waits::ONE_CALL).unwrap(), Arrived::End);
        assert!(!conn.is_gone());
        assert_eq!(conn.send(&[IoSlice::new(b"x")], waits::ONE_CALL).unwrap(), Departed::Bytes(1));
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        assert!(conn.is_gone());
        assert!(conn.send(&[IoSlice::new(b"x")], waits::ONE_CALL).is_err());
        let (mut conn, peer) = pair();
        Conn::accepted(peer).cut();
        assert!(conn.receive(&mut room, waits::ONE_CALL).is_err());
    }

    #[test]
    fn a_peer_that_does_not_read_ends_the_slice_not_the_bytes() {
        let (mut conn, peer) = pair();
        let bytes = vec![7; 1 << 20];
        let mut sent = 0;
        while let Departed::Bytes(count) = conn.send(&[IoSlice::new(&bytes)], waits::NEXT_REQUEST).unwrap() {
            sent += count;
        }
        drop(conn);
        let received = std::io::copy(&mut peer.take(u64::MAX), &mut std::io::sink()).unwrap();
        assert_eq!(received, sent as u64);
    }

    #[test]
    fn connecting_ends_at_its_deadline_and_says_what_was_refused() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let soon = || Instant::now() + Duration::from_millis(200);
        assert!(Conn::connect(address, soon(), || false).is_ok());
        assert_eq!(Conn::connect(address, soon(), || true).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(listener);
        assert_eq!(
            Conn::connect(address, soon(), || false).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        // A backlog of zero that is full swallows SYNs: the silent address.
        let full = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&full, 0).unwrap();
        let address = full.local_addr().unwrap();
        let mut held = vec![];
        let error = loop {
            match Conn::connect(address, soon(), || false) {
                Ok(conn) => held.push(conn),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
