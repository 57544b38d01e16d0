//! Whose turn it is.
//!
//! The problem: a round must be fair to the request ("each in strict turn"), to the weights (three turns of one
//! spread out between the turns of the others, not in a row) and to those who remain when one is out: probing "the
//! next index" gives a dead backend's share to its neighbour, which then has twice as much as the rest.
//!
//! The answer is a clock that all members share. A member of weight w has its turn every 1/w of a round, at moments
//! of its own; the next turn is the earliest moment among those who can take it. Members of equal weight have their
//! moments evenly apart, so of equals each comes once a round, in their order, and of 4, 1 and 1 the round is
//! `a a b a a c`. Whoever is out simply has no turns meanwhile, and comes back at its next moment, with no arrears.
//!
//! Not here: who can take a turn (`backend`). No clock but the one above: pure.

use std::cmp::Reverse;

/// One round, in ticks. A weight that does not divide it rounds its step down by less than 2^-50 of a round.
const ROUND: u128 = 1 << 60;

/// The members and the moments of their next turns.
#[derive(Debug)]
pub struct Round<T> {
    members: Vec<Member<T>>,
    /// The moment of the last turn.
    now: u128,
}

#[derive(Debug)]
struct Member<T> {
    value: T,
    weight: u32,
    next: u128,
}

impl<T> Round<T> {
    /// A new round of these members and their weights (at least 1), in this order.
    pub fn new(members: impl IntoIterator<Item = (T, u32)>) -> Self {
        let mut round = Self { members: Vec::new(), now: 0 };
        round.replace(members);
        round
    }

    /// Begins anew with these members.
    pub fn replace(&mut self, members: impl IntoIterator<Item = (T, u32)>) {
        let member = |(value, weight): (T, u32)| Member { value, weight: weight.max(1), next: 0 };
        self.members = members.into_iter().map(member).collect();
        for index in 0..self.members.len() {
            let weight = self.members[index].weight;
            let is_equal = |member: &&Member<T>| member.weight == weight;
            let rank = self.members[..index].iter().filter(is_equal).count() as u128;
            let equals = self.members.iter().filter(is_equal).count() as u128;
            self.members[index].next = self.now + step(weight) * (rank + 1) / equals;
        }
    }

    /// The next turn, of those who can take one.
    pub fn next(&mut self, can_take: impl Fn(&T) -> bool) -> Option<&T> {
        let now = self.now;
        for member in self.members.iter_mut().filter(|member| member.next < now) {
            // Turns that it could not take, a while ago, are gone.
            let step = step(member.weight);
            member.next += (now - member.next).div_ceil(step) * step;
        }
        let candidates = self.members.iter_mut().filter(|member| can_take(&member.value));
        let chosen = candidates
            // Of two at the same moment the heavier is first, because it has to be on its way again sooner.
            .min_by_key(|member| (member.next, Reverse(member.weight)))?;
        self.now = chosen.next;
        chosen.next += step(chosen.weight);
        Some(&chosen.value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.members.iter().map(|member| &member.value)
    }
}

fn step(weight: u32) -> u128 {
    ROUND / u128::from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(round: &mut Round<usize>, count: usize, can_take: impl Fn(&usize) -> bool) -> Vec<usize> {
        (0..count).filter_map(|_| round.next(&can_take).copied()).collect()
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
    fn a_fallback_is_followed_by_whoever_comes_behind_it() {
        let mut round = of_weights(&[1, 1, 1]);
        assert_eq!(round.next(|_| true), Some(&0));
        assert_eq!(round.next(|member| *member != 0), Some(&1), "0 failed, and this is the fallback");
        assert_eq!(turns(&mut round, 4, |_| true), [2, 0, 1, 2]);
    }

    #[test]
    fn the_share_of_one_that_is_out_is_spread_evenly_and_it_returns_without_arrears() {
        let mut round = of_weights(&[1, 1, 1]);
        turns(&mut round, 4, |_| true);
        assert_eq!(turns(&mut round, 6, |member| *member != 1), [2, 0, 2, 0, 2, 0]);
        assert_eq!(turns(&mut round, 6, |_| true), [1, 2, 0, 1, 2, 0]);
    }

    proptest! {
        #[test]
        fn each_has_its_share_in_every_round(
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
        fn a_turn_never_comes_late(weights in prop::collection::vec(1u32..20, 2..6)) {
            let total: u32 = weights.iter().sum();
            let turns = turns(&mut of_weights(&weights), total as usize * 10, |_| true);
            for (member, weight) in weights.iter().enumerate() {
                let places: Vec<_> = (0..turns.len()).filter(|place| turns[*place] == member).collect();
                let widest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
                // Its step of the round, and every other may squeeze in once more.
                prop_assert!(widest <= (total.div_ceil(*weight)) as usize + weights.len(), "{weights:?}: {widest}");
            }
        }

        #[test]
        fn with_some_out_the_others_share_evenly(
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
