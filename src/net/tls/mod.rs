//! TLS inside of a connection: records on the socket, plaintext for the caller.
//!
//! The problem: TLS adds a layer between the socket and the conversation, and both have to know: ciphertext that is no
//! whole record is nothing to read, plaintext in hand is something to read though the socket is silent, and what was
//! encrypted is not sent yet. All of that is kept in one [`Session`] beside the socket, and [`Conn`](super::conn::Conn)
//! tells the rest of ronde what it means.
//!
//! Only this folder knows rustls. A build without the feature `tls` has `without_tls` in its place.
//!
//! Not here: what is said inside (`proxy`), and how it is waited for (`pool`).

pub mod certificates;
mod handshake;
mod machine;
mod queue;
mod records;
mod refusal;
mod session;
mod trust;

pub use certificates::{Certificates, LoadError, News, Renewal};
pub use handshake::{Handshake, HandshakeError};
pub use refusal::Refusal;
pub use session::Session;
pub use trust::{Identity, Trust, TrustError, Trusts};
