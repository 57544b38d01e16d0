//! How much the kernel holds of what a backend sends.
//!
//! Not here: when which window is right (`proxy::exchange`).

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
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::Automatic => None,
            Self::Wide => Some(1024 * 1024),
            Self::Narrow => Some(208 * 1024),
        }
    }
}
