//! Which backend suits a request best, where not the turn alone decides.
//!
//! The problem: with answers of very different length, even turns are uneven load; and an application that remembers its
//! clients in memory wants each of them back. A table of clients would have to be kept, bounded and shared; a remainder
//! (`hash % count`) moves nearly every client when one backend comes or goes.
//!
//! So a client is hashed with each backend, and the best result wins (rendezvous hashing). A backend that goes moves only
//! its own clients, each to the next in its own order; one that comes takes its share and moves nobody else.
//!
//! Not here: which backends can be asked (`backend`). Pure.

use crate::config::{Address, Peer};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How busy a backend would be with one more request, for its weight.
pub fn load(active: usize, weight: u32) -> f64 {
    (active as f64 + 1.0) / f64::from(weight)
}

/// How far a client is from a backend: the nearest one serves it. Backends get clients in proportion to their weights,
/// since the least of some exponential variables is each in proportion to its rate.
pub fn distance(client: Peer, backend: &Address, weight: u32) -> f64 {
    // `new` has the same keys in every process, so a restart of ronde moves nobody. One that was built with another release of
    // Rust may, which promises no algorithm.
    let mut hasher = DefaultHasher::new();
    (client, backend).hash(&mut hasher);
    // The upper 53 bits, as a number above 0 and up to 1.
    let fraction = ((hasher.finish() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    -fraction.ln() / f64::from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, SocketAddr};

    fn clients() -> impl Iterator<Item = Peer> {
        (0..4000u32).map(|number| Peer::from(IpAddr::from((0x0a00_0000 + number).to_be_bytes())))
    }

    fn nearest(client: Peer, backends: &[(u16, u32)]) -> u16 {
        let distance = |&(port, weight): &(u16, u32)| {
            distance(client, &SocketAddr::from(([192, 0, 2, 1], port)).into(), weight)
        };
        let nearest = backends.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
        nearest.unwrap().0
    }

    #[test]
    fn clients_are_shared_by_weight() {
        let backends = [(1, 1), (2, 1), (3, 2)];
        let share = |port| clients().filter(|client| nearest(*client, &backends) == port).count();
        for (port, expected) in [(1, 1000), (2, 1000), (3, 2000usize)] {
            assert!(share(port).abs_diff(expected) < 150, "{port}: {}", share(port));
        }
    }

    #[test]
    fn a_backend_that_goes_moves_only_its_own_clients() {
        let (all, rest) = ([(1, 1), (2, 1), (3, 1), (4, 3)], [(1, 1), (2, 1), (4, 3)]);
        let mut moved = 0;
        for client in clients() {
            match nearest(client, &all) {
                3 => moved += 1,
                stayed => assert_eq!(nearest(client, &rest), stayed),
            }
        }
        assert!((1..1000).contains(&moved), "{moved}");
    }

    #[test]
    fn the_load_is_that_with_one_more() {
        assert!(load(0, 2) < load(0, 1) && load(1, 2) == load(0, 1) && load(2, 1) > load(1, 1));
    }
}
