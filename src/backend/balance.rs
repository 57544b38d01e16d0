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
//! Not here: which members can take a turn (`backend`). Pure: no clock but the virtual one.

use std::cmp::Reverse;

/// One round, in ticks of the virtual clock. Where a weight does not divide it, a step is rounded down by less than one
/// tick, and all steps of a round (256, the largest weight) by less than 2^-52 of the round.
const ROUND: u128 = 1 << 60;

/// The members and the due times of their next turns.
#[derive(Debug)]
pub struct Round<T> {
    members: Vec<Member<T>>,
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

impl<T> Round<T> {
    /// A new round of these members and their weights, in this order. A weight of 0 counts as 1.
    pub fn new(members: impl IntoIterator<Item = (T, u32)>) -> Self {
        let mut round = Self { members: Vec::new(), now: 0, turns: 0 };
        round.replace(members);
        round
    }

    /// Starts a new round with these members; earlier due times are forgotten.
    pub fn replace(&mut self, members: impl IntoIterator<Item = (T, u32)>) {
        let member = |(value, weight): (T, u32)| Member { value, weight: weight.max(1), due: 0 };
        self.members = members.into_iter().map(member).collect();
        for index in 0..self.members.len() {
            let weight = self.members[index].weight;
            let is_equal = |member: &&Member<T>| member.weight == weight;
            let rank = self.members[..index].iter().filter(is_equal).count() as u128;
            let equals = self.members.iter().filter(is_equal).count() as u128;
            self.members[index].due = self.now + step(weight) * (rank + 1) / equals;
        }
    }

    /// Gives the next turn to one of the members that can take it. `None` if none can.
    pub fn next(&mut self, can_take: impl Fn(&T) -> bool) -> Option<&T> {
        let now = self.now;
        for member in self.members.iter_mut().filter(|member| member.due < now) {
            // Turns missed while it was out are skipped, not caught up.
            let step = step(member.weight);
            member.due += (now - member.due).div_ceil(step) * step;
        }
        let candidates = self.members.iter_mut().filter(|member| can_take(&member.value));
        let chosen = candidates
            // On a tie the heavier member goes first: it is due again sooner.
            .min_by_key(|member| (member.due, Reverse(member.weight)))?;
        self.now = chosen.due;
        self.turns += 1;
        chosen.due += step(chosen.weight);
        Some(&chosen.value)
    }

    /// The number of the last turn.
    pub fn turns(&self) -> u64 {
        self.turns
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

    proptest! {
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
