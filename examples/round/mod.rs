//! The round of step 6, in a file of its own for the steps from 7 on.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest wait for a connection to a backend.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The backends in the order of their turns.
pub struct Round {
    backends: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Round {
    pub fn of(backends: &[SocketAddr]) -> Self {
        Self { backends: backends.to_vec(), turn: AtomicUsize::new(0) }
    }

    /// Connects to the backend whose turn it is, or else to the first one behind it that can be connected to.
    pub fn connect(&self) -> Option<TcpStream> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let all = self.backends.len();
        let mut order = (0..all).map(|place| self.backends[(turn + place) % all]);
        order.find_map(|backend| TcpStream::connect_timeout(&backend, CONNECT_TIMEOUT).ok())
    }
}
