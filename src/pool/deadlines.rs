//! Which of the parked values is due first.
//!
//! The problem: ten thousand deadlines, most of which never come, and of which a dripping client sets the same one again
//! at every byte. An ordered set costs a logarithm for each, some hundred nanoseconds among ten thousand; a list in order
//! of arrival is cheaper, but a deadline that is set again would have to be walked to its place. So the deadlines stand in
//! ordered sets: a logarithm, and never a walk. There is a set for each class, because the first of a class is also the one
//! that gives way when something runs out.
//!
//! Not here: clocks. The instants are the caller's.

use crate::pool::slots::Key;
use std::collections::BTreeSet;
use std::time::Instant;

/// What a value waits for, as far as others are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A client with no request under way: it gives way when connections run out.
    Idle,
    /// A client whose TLS handshake is not over. It has no request under way; but all must come through here, and its deadline is
    /// near, so those that are idle give way before it.
    Handshake,
    /// A client that sends or takes bytes slowly: it gives way first when memory runs out.
    Slow,
    /// A backend that is at its limit. Those that wait for one have the same time, so the next to expire is the first that
    /// came.
    Queued,
    /// A backend: the last to give way, as its client has done all it can.
    Busy,
    /// A client that was told all, and only has to close: the first to give way when connections run out.
    Lingering,
}

impl Class {
    const COUNT: usize = 6;

    /// In the order in which they give way when memory runs out: what keeps most and loses least first.
    pub const BY_LOSS: [Self; Self::COUNT] =
        [Self::Slow, Self::Idle, Self::Lingering, Self::Handshake, Self::Queued, Self::Busy];

    /// For these a shutdown waits only for a moment.
    pub const WITHOUT_REQUEST: [Self; 2] = [Self::Idle, Self::Handshake];
}

/// The deadlines of each class, in order.
#[derive(Debug, Default)]
pub struct Deadlines([BTreeSet<(Instant, Key)>; Class::COUNT]);

impl Deadlines {
    pub fn insert(&mut self, class: Class, deadline: Instant, key: Key) {
        self.0[class as usize].insert((deadline, key));
    }

    pub fn remove(&mut self, class: Class, deadline: Instant, key: Key) {
        self.0[class as usize].remove(&(deadline, key));
    }

    /// How many there are of a class.
    pub fn count(&self, class: Class) -> usize {
        self.0[class as usize].len()
    }

    /// The next to expire of a class.
    pub fn first_of(&self, class: Class) -> Option<Key> {
        self.0[class as usize].first().map(|(_, key)| *key)
    }

    /// The last to expire of a class.
    pub fn last_of(&self, class: Class) -> Option<(Instant, Key)> {
        self.0[class as usize].last().copied()
    }

    /// The next to expire of all.
    pub fn first(&self) -> Option<(Instant, Key)> {
        self.0.iter().filter_map(|class| class.first()).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::slots::Slots;
    use std::time::Duration;

    #[test]
    fn the_earliest_is_first_whatever_came_first() {
        let (start, mut slots, mut deadlines) = (Instant::now(), Slots::new(), Deadlines::default());
        let keys: Vec<_> = (0..4).map(|number| slots.insert(number)).collect();
        let at = |seconds| start + Duration::from_secs(seconds);
        deadlines.insert(Class::Idle, at(60), keys[0]);
        deadlines.insert(Class::Slow, at(30), keys[1]);
        deadlines.insert(Class::Slow, at(20), keys[2]);
        // Two at the same instant are two.
        deadlines.insert(Class::Slow, at(20), keys[3]);
        assert_eq!(deadlines.first(), Some((at(20), keys[2])));
        assert_eq!(deadlines.first_of(Class::Idle), Some(keys[0]));
        assert_eq!(deadlines.first_of(Class::Busy), None);
        deadlines.remove(Class::Slow, at(20), keys[2]);
        assert_eq!(deadlines.first_of(Class::Slow), Some(keys[3]));
        deadlines.remove(Class::Slow, at(20), keys[3]);
        assert_eq!(deadlines.first(), Some((at(30), keys[1])));
    }
}
