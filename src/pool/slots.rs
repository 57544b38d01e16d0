//! A slab whose keys outlive their values.
//!
//! The problem: the kernel hands a key back some time after it was given one, and by then the value may be gone and its
//! slot may hold another. So a key names a slot and a generation of it; a key of an earlier generation finds nothing.
//!
//! Not here: what a key is attached to (`waiter`).

/// Room for so many values is reserved from the start. It takes a few megabytes of addresses, and no memory before it is
/// used. A list that grows by doubling copies itself with the lock held, and leaves a hole of its old size: with 10,000 idle
/// clients, a seventh of what they keep.
pub(super) const ROOM: usize = 1 << 16;

/// A slot and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Key {
    /// 30 bits, so that a key packed into 64 bits leaves two free.
    pub(super) const GENERATIONS: u32 = 1 << 30;

    /// The key in the upper 62 bits, and a tag of two.
    pub fn with_tag(self, tag: u8) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation) << 2 | u64::from(tag & 3)
    }

    pub fn from_bits(bits: u64) -> (Self, u8) {
        (Self { slot: (bits >> 32) as u32, generation: bits as u32 >> 2 }, bits as u8 & 3)
    }
}

/// Values by key.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub fn new() -> Self {
        Self { slots: Vec::with_capacity(ROOM), vacant: Vec::new() }
    }

    pub fn insert(&mut self, value: T) -> Key {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            // Each value holds a descriptor, of which there are at most 2^31.
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(value);
        Key { slot, generation: entry.generation }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.slots.get(key.slot as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.slots.get_mut(key.slot as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let entry = &mut self.slots[key.slot as usize];
        entry.generation = (entry.generation + 1) % Key::GENERATIONS;
        self.vacant.push(key.slot);
        entry.value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The model is a plain list of keys and values.
        #[test]
        fn behaves_like_a_list(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 0..300)) {
            let mut slots = Slots::new();
            let mut model: Vec<(Key, usize)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Some(index) if !model.is_empty() => {
                        let (key, value) = model.remove(index.index(model.len()));
                        prop_assert_eq!(slots.remove(key), Some(value));
                        prop_assert_eq!(slots.remove(key), None);
                        prop_assert_eq!(slots.get(key), None);
                    }
                    _ => model.push((slots.insert(number), number)),
                }
                for (key, value) in &model {
                    prop_assert_eq!(slots.get(*key), Some(value));
                    for tag in 0..4 {
                        prop_assert_eq!(Key::from_bits(key.with_tag(tag)), (*key, tag));
                    }
                }
            }
        }
    }
}
