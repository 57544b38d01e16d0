//! What is parked, by what it waits for.
//!
//! The problem: "ten thousand are parked" says nothing. That nine thousand of them wait for the answer of a backend does.
//!
//! Not here: parking (`pool`), and which kind a conversation is (`proxy`).

/// What a parked value waits for, as an admin would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client between two requests.
    Idle,
    /// A client in its TLS handshake, or whose proxy has not named it yet.
    Handshake,
    /// The rest of a request: its head, or a body that is collected.
    Request,
    /// Room at a backend that is at its limit.
    Room,
    /// A connection to a backend.
    Connect,
    /// The rest of a body that streams to a backend.
    Upload,
    /// A backend's response.
    Response,
    /// The rest of a response: its backend pauses.
    Body,
    /// A client that does not take its response.
    SlowClient,
    /// Either side of a tunnel.
    Tunnel,
    /// The end of a connection on which everything was said.
    Closing,
    /// A backend that is looked at, without a client.
    Probe,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Idle,
        Self::Handshake,
        Self::Request,
        Self::Room,
        Self::Connect,
        Self::Upload,
        Self::Response,
        Self::Body,
        Self::SlowClient,
        Self::Tunnel,
        Self::Closing,
        Self::Probe,
    ];

    /// The word for it, as a label and for a person.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Room => "room",
            Self::Connect => "connect",
            Self::Upload => "upload",
            Self::Response => "response",
            Self::Body => "body",
            Self::SlowClient => "slow_client",
            Self::Tunnel => "tunnel",
            Self::Closing => "closing",
            Self::Probe => "probe",
        }
    }

    /// Whether there is a client's connection in it.
    pub fn has_client(self) -> bool {
        self != Self::Probe
    }
}

/// How many there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census([usize; Kind::ALL.len()]);

impl Census {
    pub fn enter(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub fn leave(&mut self, kind: Kind) {
        self.0[kind as usize] -= 1;
    }

    pub fn of(&self, kind: Kind) -> usize {
        self.0[kind as usize]
    }

    /// How many of them are clients' connections.
    pub fn clients(&self) -> usize {
        Kind::ALL.into_iter().filter(|kind| kind.has_client()).map(|kind| self.of(kind)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        let mut census = Census::default();
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            census.enter(kind);
        }
        assert_eq!(census.clients(), Kind::ALL.len() - 1);
        census.leave(Kind::Idle);
        assert_eq!((census.of(Kind::Idle), census.of(Kind::Probe)), (0, 1));
    }
}
