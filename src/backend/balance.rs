//! Whose turn it is.
//!
//! The problem: a round must keep strict turns, it must spread the turns of a heavy member between those of the others
//! instead of giving them in a row, and it must stay even when a member is out. Probing "the next index" gives a dead
//! backend's share to its neighbour, which then gets twice as much as the rest.
//!
//! The idea is a virtual clock that all members share. A member of weight w is due every 1/w of a round, and the next
//! turn goes to the member with the earliest due time among those that can take it. Members of equal weight are due at
//! even distances, so equals come once a round each, in their order. Weights 4, 1 and 1 make the round `a a b a a c`. A
//! member that is out has no turns meanwhile; it comes back at its next due time and does not catch up.
//!
//! The members stand in the order of their due times, so a turn costs the same with a thousand members as with ten.
//!
//! Not here: which members can take a turn (`backend`). Pure: no clock but the virtual one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

/// One round, in ticks of the virtual clock. Where a weight does not divide it, a step is rounded down by less than one
/// tick, and all steps of a round (256, the largest weight) by less than 2^-52 of the round.
const ROUND: u128 = 1 << 60;

/// The members and the due times of their next turns.
#[derive(Debug)]
pub struct Round<T> {
    members: Vec<Member<T>>,
    /// The members by their index, the next one due at the front. Equals leave at the front and come back at the end, so
    /// nothing is moved for a turn; a heavier member comes back somewhere between.
    order: VecDeque<usize>,
    /// The virtual time of the last turn.
    now: u128,
    /// How many turns there were.
    turns: u64,
}

#[derive(Debug)]
struct Member<T> {
    value: T,
    weight: u32,
    due: u128,
}

/// A member that was found in the order of the round, and may take its turn until the round changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

impl<T> Round<T> {
    /// A new round of these members and their weights, in this order. A weight of 0 counts as 1.
    pub fn new(members: impl IntoIterator<Item = (T, u32)>) -> Self {
        let member = |(value, weight): (T, u32)| Member { value, weight: weight.max(1), due: 0 };
        let mut members: Vec<_> = members.into_iter().map(member).collect();
        let mut equals = BTreeMap::new();
        for member in &mut members {
            let count = equals.entry(member.weight).or_insert(0);
            *count += 1;
            // Its rank among its equals, from 1 on.
            member.due = *count;
        }
        for member in &mut members {
            let count = equals.get(&member.weight).copied().unwrap_or(1);
            member.due = step(member.weight) * member.due / count;
        }
        let mut order: VecDeque<_> = (0..members.len()).collect();
        order.make_contiguous().sort_unstable_by_key(|index| rank(&members, *index));
        Self { members, order, now: 0, turns: 0 }
    }

    /// Goes on where another round stands. A member that is in both, by its key, and weighs the same is due when it was; a new
    /// one is due within its first step from now.
    pub fn go_on_from<K: Hash + Eq>(&mut self, before: &Self, key: impl Fn(&T) -> K) {
        let known: HashMap<_, _> = before.members.iter().map(|member| (key(&member.value), member)).collect();
        for member in &mut self.members {
            let stayed = known.get(&key(&member.value)).filter(|known| known.weight == member.weight);
            member.due = stayed.map_or(before.now + (member.due - self.now), |known| known.due);
        }
        (self.now, self.turns) = (before.now, before.turns);
        self.order.make_contiguous().sort_unstable_by_key(|index| rank(&self.members, *index));
    }

    /// Turns that were missed by a member that was out are skipped, not caught up. To be called before a member is looked
    /// for.
    pub fn skip_missed(&mut self) {
        while let Some(&index) = self.order.front().filter(|index| self.members[**index].due < self.now) {
            let member = &mut self.members[index];
            let step = step(member.weight);
            member.due += (self.now - member.due).div_ceil(step) * step;
            self.put_in_order(0);
        }
    }

    /// The member whose turn is next among those that can take it. Where all can, that is the first one looked at.
    pub fn first(&self, can_take: impl Fn(&T) -> bool) -> Option<Place> {
        self.order.iter().position(|index| can_take(&self.members[*index].value)).map(Place)
    }

    /// The member with the least cost, and of those with the same the one whose turn is next. It looks at all of them.
    pub fn cheapest<C: PartialOrd>(&self, cost: impl Fn(&T) -> Option<C>) -> Option<Place> {
        let costs = self.order.iter().enumerate();
        let costs =
            costs.filter_map(|(place, index)| Some((cost(&self.members[*index].value)?, Place(place))));
        costs.reduce(|least, other| if other.0 < least.0 { other } else { least }).map(|(_, place)| place)
    }

    /// The member at this place, which keeps its turn.
    pub fn get(&self, Place(place): Place) -> Option<&T> {
        self.order.get(place).map(|index| &self.members[*index].value)
    }

    /// Gives a turn to a member that was found.
    pub fn take(&mut self, Place(place): Place) -> Option<&T> {
        let index = *self.order.get(place)?;
        let member = &mut self.members[index];
        self.now = member.due;
        self.turns += 1;
        member.due += step(member.weight);
        self.put_in_order(place);
        self.members.get(index).map(|member| &member.value)
    }

    /// The member at this place was given a later due time.
    fn put_in_order(&mut self, place: usize) {
        let Some(index) = self.order.remove(place) else { return };
        let key = rank(&self.members, index);
        let place = self.order.partition_point(|other| rank(&self.members, *other) < key);
        self.order.insert(place, index);
    }

    /// The number of the last turn.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// How many members there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.members.iter().map(|member| &member.value)
    }
}

/// By which the members are in order. On a tie the heavier member goes first: it is due again sooner.
fn rank<T>(members: &[Member<T>], index: usize) -> (u128, Reverse<u32>, usize) {
    (members[index].due, Reverse(members[index].weight), index)
}

fn step(weight: u32) -> u128 {
    ROUND / u128::from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl<T> Round<T> {
        fn next(&mut self, can_take: impl Fn(&T) -> bool) -> Option<&T> {
            self.skip_missed();
            let place = self.first(can_take)?;
            self.take(place)
        }
    }

    fn turns(round: &mut Round<usize>, count: usize, can_take: impl Fn(&usize) -> bool) -> Vec<usize> {
        (0..count).filter_map(|_| round.next(&can_take).copied()).collect()
    }

    /// The same round without an order: every member is looked at for every turn.
    struct Naive {
        /// Weight and due time.
        members: Vec<(u32, u128)>,
        now: u128,
    }

    impl Naive {
        fn of_weights(weights: &[u32]) -> Self {
            let equals =
                |members: &[u32], weight| members.iter().filter(|other| **other == weight).count() as u128;
            let due = |(index, &weight): (usize, &u32)| {
                (weight, step(weight) * equals(&weights[..=index], weight) / equals(weights, weight))
            };
            Self { members: weights.iter().enumerate().map(due).collect(), now: 0 }
        }

        fn next(&mut self, can_take: impl Fn(usize) -> bool) -> Option<usize> {
            for (weight, due) in self.members.iter_mut().filter(|(_, due)| *due < self.now) {
                *due += (self.now - *due).div_ceil(step(*weight)) * step(*weight);
            }
            let candidates = self.members.iter().enumerate().filter(|(index, _)| can_take(*index));
            let (index, (weight, due)) = candidates
                .min_by_key(|(_, (weight, due))| (*due, Reverse(*weight)))
                .map(|(at, found)| (at, *found))?;
            self.now = due;
            self.members[index].1 += step(weight);
            Some(index)
        }
    }

    fn of_weights(weights: &[u32]) -> Round<usize> {
        Round::new(weights.iter().copied().enumerate())
    }

    #[test]
    fn equals_take_strict_turns() {
        assert_eq!(turns(&mut of_weights(&[1, 1]), 4, |_| true), [0, 1, 0, 1]);
        assert_eq!(turns(&mut of_weights(&[3, 3, 3]), 7, |_| true), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(of_weights(&[]).next(|_| true), None);
    }

    #[test]
    fn weights_interleave() {
        assert_eq!(turns(&mut of_weights(&[4, 1, 1]), 12, |_| true), [0, 0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 2]);
        assert_eq!(turns(&mut of_weights(&[2, 1]), 6, |_| true), [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn after_a_fallback_the_round_goes_on_behind_it() {
        let mut round = of_weights(&[1, 1, 1]);
        assert_eq!(round.next(|_| true), Some(&0));
        assert_eq!(round.next(|member| *member != 0), Some(&1), "the fallback after 0 has failed");
        assert_eq!(turns(&mut round, 4, |_| true), [2, 0, 1, 2]);
    }

    #[test]
    fn the_share_of_an_absent_member_is_spread_evenly_and_it_does_not_catch_up() {
        let mut round = of_weights(&[1, 1, 1]);
        turns(&mut round, 4, |_| true);
        assert_eq!(turns(&mut round, 6, |member| *member != 1), [2, 0, 2, 0, 2, 0]);
        assert_eq!(turns(&mut round, 6, |_| true), [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_round_goes_on_in_another() {
        let mut before = of_weights(&[1, 1, 1]);
        turns(&mut before, 4, |_| true);
        let mut same = of_weights(&[1, 1, 1]);
        same.go_on_from(&before, |member| *member);
        assert_eq!((turns(&mut same, 5, |_| true), same.turns()), (vec![1, 2, 0, 1, 2], 9));
        let mut more = of_weights(&[1, 1, 1, 1]);
        more.go_on_from(&before, |member| *member);
        assert_eq!(turns(&mut more, 8, |_| true), [1, 2, 0, 3, 1, 2, 0, 3]);
        let mut fewer = of_weights(&[1, 1]);
        fewer.go_on_from(&before, |member| *member);
        assert_eq!(turns(&mut fewer, 4, |_| true), [1, 0, 1, 0]);
        let mut heavier = Round::new([(0, 1), (1, 1), (2, 2)]);
        heavier.go_on_from(&before, |member| *member);
        let taken = turns(&mut heavier, 8, |_| true);
        assert_eq!([0, 1, 2].map(|member| taken.iter().filter(|turn| **turn == member).count()), [2, 2, 4]);
    }

    #[test]
    fn the_cheapest_is_the_next_of_the_cheapest() {
        let mut round = of_weights(&[1, 1, 1]);
        round.next(|_| true);
        assert_eq!(round.cheapest(|_| Some(1)).and_then(|place| round.take(place)), Some(&1));
        assert_eq!(round.cheapest(|member| Some(2 - member)).and_then(|place| round.take(place)), Some(&2));
        let only = round.cheapest(|member| (*member == 1).then_some(0));
        assert_eq!(only.and_then(|place| round.take(place)), Some(&1));
        assert_eq!(round.cheapest(|_| None::<u32>), None);
    }

    proptest! {
        #[test]
        fn a_round_with_the_same_members_goes_on_as_if_nothing_had_happened(
            weights in prop::collection::vec(1u32..6, 1..8), before in 0usize..40,
        ) {
            let (mut round, mut next) = (of_weights(&weights), of_weights(&weights));
            turns(&mut round, before, |_| true);
            next.go_on_from(&round, |member| *member);
            prop_assert_eq!(turns(&mut next, 40, |_| true), turns(&mut round, 40, |_| true));
        }

        #[test]
        fn the_order_is_that_of_the_naive_round(
            weights in prop::collection::vec(1u32..6, 1..8), steps in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let (mut round, mut naive) = (of_weights(&weights), Naive::of_weights(&weights));
            for out in steps {
                // Mostly all are in, and then some are out for some turns.
                let out = if out % 3 == 0 { out } else { 0 };
                let can_take = |member: usize| out >> member & 1 == 0;
                prop_assert_eq!(round.next(|member| can_take(*member)).copied(), naive.next(can_take));
            }
        }

        #[test]
        fn each_member_gets_its_share(
            weights in prop::collection::vec(1u32..20, 1..8), rounds in 1usize..20,
        ) {
            let total: u32 = weights.iter().sum();
            let turns = turns(&mut of_weights(&weights), total as usize * rounds, |_| true);
            for (member, weight) in weights.iter().enumerate() {
                let count = turns.iter().filter(|turn| **turn == member).count();
                prop_assert!(count.abs_diff(*weight as usize * rounds) <= 1, "{member} of {weights:?}: {count}");
            }
        }

        #[test]
        fn the_gap_between_two_turns_is_bounded(weights in prop::collection::vec(1u32..20, 2..6)) {
            let total: u32 = weights.iter().sum();
            let turns = turns(&mut of_weights(&weights), total as usize * 10, |_| true);
            for (member, weight) in weights.iter().enumerate() {
                let positions: Vec<_> = (0..turns.len()).filter(|at| turns[*at] == member).collect();
                let widest = positions.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
                // Its step of the round; every other member may come once more in between.
                prop_assert!(widest <= (total.div_ceil(*weight)) as usize + weights.len(), "{weights:?}: {widest}");
            }
        }

        #[test]
        fn with_some_members_out_the_rest_share_evenly(
            count in 2usize..9, out in prop::collection::vec(any::<bool>(), 9), before in 0usize..20,
        ) {
            let mut round = Round::new((0..count).map(|member| (member, 1)));
            turns(&mut round, before, |_| true);
            let present = (0..count).filter(|member| !out[*member]).count();
            let taken = turns(&mut round, present * 10, |member| !out[*member]);
            for member in (0..count).filter(|member| !out[*member]) {
                prop_assert_eq!(taken.iter().filter(|turn| **turn == member).count(), 10);
            }
        }
    }
}
