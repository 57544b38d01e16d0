//! The smallest calls on sockets, in a file of their own for the steps from 7 on.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// The longest request, and the longest head of an answer, in bytes.
const MAX_LENGTH: usize = 64 * 1024;

/// The most that one read takes, in bytes.
const PIECE: usize = 16 * 1024;

/// Between an `accept` that has failed and the next one.
const PAUSE: Duration = Duration::from_millis(100);

/// A client, if `accept` returned one. If not, no descriptor may be left (EMFILE), and a next call would fail at once.
pub fn accepted(client: io::Result<TcpStream>) -> Option<TcpStream> {
    client.inspect_err(|_| thread::sleep(PAUSE)).ok()
}

/// One read of a message that has not ended.
pub fn receive(from: &mut impl Read, received: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; PIECE];
    let room = MAX_LENGTH.saturating_sub(received.len()).min(PIECE);
    if room == 0 {
        return Err(ErrorKind::InvalidData.into());
    }
    match uninterrupted(|| from.read(&mut piece[..room]))? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => {
            received.extend_from_slice(&piece[..count]);
            Ok(())
        }
    }
}

/// Calls again after a signal. It interrupts a call on a socket that has a timeout, whatever its handler asks for
/// (`signal(7)`); only `write_all` and `io::copy` see to that themselves.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
