//! The hazards. The first are at the size that the issue "A fixed pool that nothing can starve" asks for, those from
//! `slow-readers-8000` on at the number of slow clients that a proxy should hold without a thread for each.

use crate::kinds::Kind;

/// What is asked of a proxy beside the prober's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    Nothing,
    /// Memory per connection, and CPU while nothing happens.
    Cost,
    /// One backend hangs; what is lost of the throughput.
    Hang,
    /// The prober's numbers are taken a second after the load has ended.
    Overload,
    /// All are held, the witnesses see nothing of it, and 300 go on (`hold`). These crowds grow with `--size`.
    Hold,
    /// The same for `--steady-seconds`, with a crowd of this size.
    HoldLong,
}

#[derive(Debug)]
pub struct Hazard {
    pub name: &'static str,
    pub crowds: &'static [(Kind, usize)],
    pub also: Also,
}

pub const HAZARDS: &[Hazard] = &[
    Hazard { name: "calm", crowds: &[], also: Also::Nothing },
    Hazard { name: "idle-keepalive", crowds: &[(Kind::Idle, 10_000)], also: Also::Cost },
    Hazard { name: "silent", crowds: &[(Kind::Silent, 10_000)], also: Also::Cost },
    Hazard { name: "slow-heads", crowds: &[(Kind::SlowHead, 1_000)], also: Also::Nothing },
    Hazard { name: "slow-bodies", crowds: &[(Kind::SlowBody, 500)], also: Also::Nothing },
    Hazard { name: "slow-uploads", crowds: &[(Kind::SlowUpload, 100)], also: Also::Nothing },
    Hazard { name: "slow-readers", crowds: &[(Kind::SlowReader, 500)], also: Also::Nothing },
    Hazard { name: "tunnels", crowds: &[(Kind::Tunnel, 500)], also: Also::Nothing },
    Hazard { name: "event-streams", crowds: &[(Kind::Events, 500)], also: Also::Nothing },
    Hazard { name: "half-handshakes", crowds: &[(Kind::HalfHandshake, 5_000)], also: Also::Nothing },
    Hazard { name: "slow-handshakes", crowds: &[(Kind::SlowHandshake, 5_000)], also: Also::Nothing },
    Hazard { name: "handshakes", crowds: &[(Kind::Handshakes, 64)], also: Also::Nothing },
    Hazard { name: "hung-backend", crowds: &[(Kind::Asker, 64)], also: Also::Hang },
    Hazard { name: "overload", crowds: &[(Kind::LateAsker, 2_000)], also: Also::Overload },
    Hazard {
        name: "all",
        crowds: &[
            (Kind::Idle, 2_000),
            (Kind::Silent, 2_000),
            (Kind::SlowHead, 200),
            (Kind::SlowBody, 100),
            (Kind::SlowUpload, 20),
            (Kind::SlowReader, 100),
            (Kind::Tunnel, 100),
            (Kind::Events, 100),
            (Kind::Asker, 13),
        ],
        also: Also::Hang,
    },
    Hazard { name: "slow-readers-8000", crowds: &[(Kind::ThinReader, 8_000)], also: Also::Hold },
    Hazard { name: "steady-readers", crowds: &[(Kind::SteadyReader, 500)], also: Also::HoldLong },
    Hazard {
        name: "uploads-8000",
        crowds: &[(Kind::ThinUpload, 6_000), (Kind::ChunkedUpload, 2_000)],
        also: Also::Hold,
    },
    Hazard { name: "event-streams-8000", crowds: &[(Kind::EventStream, 8_000)], also: Also::Hold },
    Hazard { name: "websockets-8000", crowds: &[(Kind::Tunnel, 8_000)], also: Also::Hold },
    Hazard { name: "late-answers-8000", crowds: &[(Kind::Poll, 8_000)], also: Also::Hold },
];
