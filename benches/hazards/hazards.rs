//! The hazards, at the size that the issue "A fixed pool that nothing can starve" asks for.

/// What one client of a crowd does, for as long as it is let; who is cut off comes back a second later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks once and stays.
    Idle,
    /// Connects and says nothing.
    Silent,
    /// A request head, a byte at a time, without end.
    SlowHead,
    /// A body of 10 KB at a few bytes a second.
    SlowBody,
    /// A body of 50 MB at 13 KB/s: slow, but honest.
    SlowUpload,
    /// 20 MB, taken at 3 KB/s through a small buffer.
    SlowReader,
    /// An upgraded connection on which nothing is said.
    Tunnel,
    /// An event a second.
    Events,
    /// Asks as fast as it is answered.
    Asker,
    /// Asks for what takes the backend 500 ms; after a 503 it waits a second.
    LateAsker,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Idle,
        Self::Silent,
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowUpload,
        Self::SlowReader,
        Self::Tunnel,
        Self::Events,
        Self::Asker,
        Self::LateAsker,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| format!("{kind:?}") == name)
    }
}

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
];
