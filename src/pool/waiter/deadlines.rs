//! Who waits, and whose time is up first.
//!
//! The problem: ten thousand deadlines, most of which never come. A heap costs a logarithm for each of them; but
//! deadlines of equal length come due in the order in which they were set, so a queue for each length is enough:
//! entering and leaving cost the same, however many wait (Apache's event MPM does this). The queues are lists
//! linked through the slots, because one that leaves early must leave at once: lazy deletion would keep as many
//! dead entries as clients come within a timeout.
//!
//! Not here: sockets and clocks. The instants are the caller's.

use std::time::Instant;

/// A slot and its generation: a key that outlives its guest finds nobody, even if the slot has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// As the number that epoll carries for us.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Guests in `QUEUES` queues, each in the order of its deadlines.
#[derive(Debug)]
pub struct Deadlines<T, const QUEUES: usize> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
    queues: [Queue; QUEUES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    first: Option<u32>,
    last: Option<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    guest: Option<Guest<T>>,
}

#[derive(Debug)]
struct Guest<T> {
    value: T,
    queue: usize,
    deadline: Instant,
    before: Option<u32>,
    behind: Option<u32>,
}

impl<T, const QUEUES: usize> Deadlines<T, QUEUES> {
    pub fn new() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new(), queues: [Queue::default(); QUEUES] }
    }

    /// Takes a guest into a queue.
    ///
    /// # Errors
    /// The guest comes back when four billion are there.
    pub fn enter(&mut self, queue: usize, deadline: Instant, value: T) -> Result<Key, T> {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                let Ok(slot) = u32::try_from(self.slots.len()) else { return Err(value) };
                self.slots.push(Slot { generation: 0, guest: None });
                slot
            }
        };
        let place = &mut self.slots[slot as usize];
        place.guest = Some(Guest { value, queue, deadline, before: None, behind: None });
        let key = Key { slot, generation: place.generation };
        self.append(slot);
        Ok(key)
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.guest_mut(key).map(|guest| &mut guest.value)
    }

    pub fn leave(&mut self, key: Key) -> Option<T> {
        self.guest_mut(key)?;
        self.unlink(key.slot);
        let place = &mut self.slots[key.slot as usize];
        place.generation = place.generation.wrapping_add(1);
        self.vacant.push(key.slot);
        place.guest.take().map(|guest| guest.value)
    }

    /// Gives a guest a new deadline, at the end of its queue.
    pub fn renew(&mut self, key: Key, deadline: Instant) {
        if self.guest_mut(key).is_none() {
            return;
        }
        self.unlink(key.slot);
        if let Some(guest) = self.guest_mut(key) {
            guest.deadline = deadline;
        }
        self.append(key.slot);
    }

    /// Whose time in this queue is up first.
    pub fn first(&self, queue: usize) -> Option<(Key, Instant)> {
        let slot = self.queues[queue].first?;
        let place = &self.slots[slot as usize];
        let guest = place.guest.as_ref()?;
        Some((Key { slot, generation: place.generation }, guest.deadline))
    }

    /// The first deadline of all queues.
    pub fn next_deadline(&self) -> Option<Instant> {
        (0..QUEUES).filter_map(|queue| self.first(queue)).map(|(_, deadline)| deadline).min()
    }

    pub fn is_empty(&self) -> bool {
        self.vacant.len() == self.slots.len()
    }

    fn guest_mut(&mut self, key: Key) -> Option<&mut Guest<T>> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation == key.generation { place.guest.as_mut() } else { None }
    }

    fn at(&mut self, slot: u32) -> Option<&mut Guest<T>> {
        self.slots[slot as usize].guest.as_mut()
    }

    /// Links a guest in behind those whose deadlines are not later. These are all of them, but for guests who came
    /// from different threads in the same moment.
    fn append(&mut self, slot: u32) {
        let Some((queue, deadline)) = self.at(slot).map(|guest| (guest.queue, guest.deadline)) else {
            return;
        };
        let mut behind = None;
        let mut before = self.queues[queue].last;
        while let Some(last) =
            before.and_then(|before| self.at(before)).filter(|last| last.deadline > deadline)
        {
            let further = last.before;
            behind = before;
            before = further;
        }
        match before.and_then(|before| self.at(before)) {
            Some(before) => before.behind = Some(slot),
            None => self.queues[queue].first = Some(slot),
        }
        match behind.and_then(|behind| self.at(behind)) {
            Some(behind) => behind.before = Some(slot),
            None => self.queues[queue].last = Some(slot),
        }
        if let Some(guest) = self.at(slot) {
            (guest.before, guest.behind) = (before, behind);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Some((queue, before, behind)) =
            self.at(slot).map(|guest| (guest.queue, guest.before, guest.behind))
        else {
            return;
        };
        match before.and_then(|before| self.at(before)) {
            Some(before) => before.behind = behind,
            None => self.queues[queue].first = behind,
        }
        match behind.and_then(|behind| self.at(behind)) {
            Some(behind) => behind.before = before,
            None => self.queues[queue].last = before,
        }
    }
}

impl<T, const QUEUES: usize> Default for Deadlines<T, QUEUES> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Step {
        /// Into this queue, this much earlier than its turn.
        Enter(usize, u64),
        Leave(prop::sample::Index),
        Renew(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0usize..3, prop_oneof![4 => Just(0), 1 => 0u64..4]).prop_map(|(queue, early)| Step::Enter(queue, early)),
            2 => any::<prop::sample::Index>().prop_map(Step::Leave),
            1 => any::<prop::sample::Index>().prop_map(Step::Renew),
        ]
    }

    proptest! {
        /// The model is a plain list of (queue, key, value, deadline) in the order of deadlines.
        #[test]
        fn behaves_like_a_list(steps in prop::collection::vec(step(), 0..200)) {
            let start = Instant::now();
            let mut deadlines = Deadlines::<usize, 3>::new();
            let mut model: Vec<(usize, Key, usize, Instant)> = vec![];
            for (time, step) in steps.into_iter().enumerate() {
                let mut deadline = start + Duration::from_secs(10 + time as u64);
                match step {
                    Step::Enter(queue, early) => {
                        deadline -= Duration::from_secs(early);
                        model.push((queue, deadlines.enter(queue, deadline, time).unwrap(), time, deadline));
                    }
                    Step::Leave(index) if !model.is_empty() => {
                        let (_, key, value, _) = model.remove(index.index(model.len()));
                        prop_assert_eq!(deadlines.leave(key), Some(value));
                        prop_assert_eq!(deadlines.leave(key), None);
                        prop_assert!(deadlines.get_mut(key).is_none());
                    }
                    Step::Renew(index) if !model.is_empty() => {
                        let mut guest = model.remove(index.index(model.len()));
                        deadlines.renew(guest.1, deadline);
                        guest.3 = deadline;
                        model.push(guest);
                    }
                    Step::Leave(_) | Step::Renew(_) => {}
                }
                model.sort_by_key(|guest| guest.3);
                for queue in 0..3 {
                    let expected = model.iter().find(|guest| guest.0 == queue).map(|guest| guest.1);
                    prop_assert_eq!(deadlines.first(queue).map(|(key, _)| key), expected);
                }
                prop_assert_eq!(deadlines.is_empty(), model.is_empty());
            }
            while let Some((queue, key, value, _)) = (!model.is_empty()).then(|| model.remove(0)) {
                prop_assert_eq!(deadlines.first(queue).map(|(key, _)| key), Some(key));
                prop_assert_eq!(Key::from_bits(key.to_bits()), key);
                prop_assert_eq!(deadlines.leave(key), Some(value));
            }
        }
    }
}
