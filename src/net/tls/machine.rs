//! rustls on one connection, as its server or as its client.
//!
//! The problem: rustls has a type for each side, with the same methods under different names of types. The records of a
//! connection to a client and of one to a backend move in the same way, and a copy of them would drift. So what differs is
//! [`Side`], which is one call; everything else is written once over it, and the rest of ronde sees a [`Machine`].
//!
//! Not here: the queues and the socket (`records`), and what each side is set up with (`certificates`, `trust`).

use super::queue::Queue;
use rustls::HandshakeKind;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use std::io::{self, ErrorKind};
use std::ops::Deref;

/// What the records of as much plaintext may add to it: 29 bytes each at most (TLS 1.2, AES-GCM), and what rustls has to say
/// itself.
const OVERHEAD: usize = 512;

/// See the module. `incoming` is the ciphertext that came and is not taken apart.
pub(super) trait Machine {
    fn is_handshaking(&self) -> bool;

    /// Whether the handshake took up a session of an earlier connection.
    fn is_resumed(&self) -> bool;

    /// Does the next thing that rustls asks for.
    fn step(
        &mut self,
        incoming: &mut Vec<u8>,
        plaintext: &mut Queue,
        outgoing: &mut Queue,
    ) -> Result<Advance, rustls::Error>;

    /// Adds what rustls has to say of an error. Asked for more, it would meet the same error again.
    fn give_up(&mut self, incoming: &mut [u8], outgoing: &mut Queue) -> Result<(), rustls::Error>;

    /// Adds the records of `piece` to what goes out.
    fn encrypt(&mut self, piece: &[u8], incoming: &mut [u8], outgoing: &mut Queue) -> io::Result<()>;

    /// Adds close_notify, if there is TLS.
    fn say_end(&mut self, incoming: &mut [u8], outgoing: &mut Queue) -> io::Result<()>;
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    GoesOn,
    /// The peer said that it sends no more.
    PeerClosed,
    /// Nothing is to be done until more comes, or is to be sent.
    Rests,
}

/// A side of a connection.
pub(super) trait Side: Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl<S: Side> Machine for S {
    fn is_handshaking(&self) -> bool {
        (**self).is_handshaking()
    }

    fn is_resumed(&self) -> bool {
        self.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn step(
        &mut self,
        incoming: &mut Vec<u8>,
        plaintext: &mut Queue,
        outgoing: &mut Queue,
    ) -> Result<Advance, rustls::Error> {
        let UnbufferedStatus { mut discard, state, .. } = self.process(incoming);
        let advance = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plaintext.push(record.payload);
                }
                Ok(Advance::GoesOn)
            }
            Ok(ConnectionState::EncodeTlsData(mut message)) => {
                encode(outgoing, |room| message.encode(room))?;
                Ok(Advance::GoesOn)
            }
            // It stands in `outgoing`, in front of everything later.
            Ok(ConnectionState::TransmitTlsData(message)) => {
                message.done();
                Ok(Advance::GoesOn)
            }
            Ok(ConnectionState::PeerClosed) => Ok(Advance::PeerClosed),
            Ok(_) => Ok(Advance::Rests),
            Err(error) => Err(error),
        };
        incoming.drain(..discard);
        advance
    }

    fn give_up(&mut self, incoming: &mut [u8], outgoing: &mut Queue) -> Result<(), rustls::Error> {
        while self.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut message)) = self.process(incoming).state
        {
            encode(outgoing, |room| message.encode(room))?;
        }
        Ok(())
    }

    fn encrypt(&mut self, piece: &[u8], incoming: &mut [u8], outgoing: &mut Queue) -> io::Result<()> {
        let mut traffic = traffic(self, incoming).ok_or(ErrorKind::BrokenPipe)?;
        let encrypted = outgoing.push_with(piece.len() + OVERHEAD, |room| traffic.encrypt(piece, room));
        encrypted.map_err(refused)
    }

    fn say_end(&mut self, incoming: &mut [u8], outgoing: &mut Queue) -> io::Result<()> {
        traffic(self, incoming).map_or(Ok(()), |mut traffic| {
            let said = outgoing.push_with(OVERHEAD, |room| traffic.queue_close_notify(room));
            said.map_err(refused)
        })
    }
}

/// What may be sent with, where there is TLS.
fn traffic<'c, S: Side>(side: &'c mut S, incoming: &mut [u8]) -> Option<WriteTraffic<'c, S::Data>> {
    match side.process(incoming).state {
        Ok(ConnectionState::WriteTraffic(traffic)) => Some(traffic),
        _ => None,
    }
}

fn encode(
    outgoing: &mut Queue,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let unusable = |error: EncodeError| rustls::Error::General(error.to_string());
    match outgoing.push_with(OVERHEAD, &mut write) {
        Err(EncodeError::InsufficientSize(error)) => {
            outgoing.push_with(error.required_size, write).map_err(unusable)
        }
        written => written.map_err(unusable),
    }
}

/// The keys are used up, which is the end of the connection. Room there is enough.
fn refused(error: EncryptError) -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, error)
}
