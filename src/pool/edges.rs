//! Edge-triggered registrations: those of idle clients, which stay while requests follow each other.
//!
//! The problem: a registration that is good for one event costs a call for each request, to arm it again. With a thousand
//! clients that is 6 % of a request, most of it the kernel's way to the descriptor among all others. One that stays costs
//! nothing, but its events also come while a worker has the client, and then they must not be lost: the next such event
//! may never come.
//!
//! So for each descriptor stands here whether its client is parked, and under which key; or else whether an event has come
//! since it was taken out. Then it is armed anew, and arming looks at what is there already. What is armed has a number, so
//! that a late event of an earlier client with the same descriptor names nothing.
//!
//! Not here: all other waits. Each of these is for one event, and nothing happens while a worker has the client.

use crate::pool::slots::Key;
use std::os::fd::RawFd;

/// By descriptor.
#[derive(Clone, Debug, Default)]
pub struct Edges(Vec<Edge>);

#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    arming: u32,
    client: Client,
}

/// Where the client is.
#[derive(Clone, Copy, Debug, Default)]
enum Client {
    /// With a worker, or parked and waited for in another way.
    #[default]
    Out,
    /// The same, and an event has come meanwhile.
    OutOfDate,
    /// Idle, under this key among what is parked.
    Parked(Key),
}

/// Whether what was armed before still says when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arming {
    Holds,
    /// Something has happened already.
    Spent,
}

impl Edges {
    /// Parks a client that has been armed before, if that still holds.
    pub fn park(&mut self, descriptor: RawFd, key: Key) -> Arming {
        let edge = self.edge(descriptor);
        if let Client::OutOfDate = edge.client {
            return Arming::Spent;
        }
        edge.client = Client::Parked(key);
        Arming::Holds
    }

    /// Parks a client that is armed now. Returns the name of its events.
    pub fn arm(&mut self, descriptor: RawFd, key: Key) -> Key {
        let edge = self.edge(descriptor);
        edge.arming = (edge.arming + 1) % Key::GENERATIONS;
        edge.client = Client::Parked(key);
        Key { slot: descriptor as u32, generation: edge.arming }
    }

    /// An event has come. Returns the key of its client if that is parked.
    pub fn fire(&mut self, event: Key) -> Option<Key> {
        let edge = self.0.get_mut(event.slot as usize).filter(|edge| edge.arming == event.generation)?;
        match edge.client {
            Client::Parked(key) => Some(key),
            Client::Out | Client::OutOfDate => {
                edge.client = Client::OutOfDate;
                None
            }
        }
    }

    /// The client is taken out.
    pub fn leave(&mut self, descriptor: RawFd) {
        let edge = self.edge(descriptor);
        if let Client::Parked(_) = edge.client {
            edge.client = Client::Out;
        }
    }

    /// Descriptors are small numbers: the kernel gives the lowest that is free, and there are as many as connections.
    fn edge(&mut self, descriptor: RawFd) -> &mut Edge {
        let index = descriptor as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Edge::default());
        }
        &mut self.0[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Key = Key { slot: 0, generation: 1 };
    const SECOND: Key = Key { slot: 0, generation: 2 };

    #[test]
    fn an_event_brings_out_what_is_parked() {
        let mut edges = Edges::default();
        let event = edges.arm(7, FIRST);
        assert_eq!(edges.fire(event), Some(FIRST));
        edges.leave(7);
        assert_eq!(edges.park(7, SECOND), Arming::Holds, "nothing has come meanwhile");
        assert_eq!(edges.fire(event), Some(SECOND));
    }

    #[test]
    fn an_event_while_the_client_is_out_is_not_lost() {
        let mut edges = Edges::default();
        let event = edges.arm(7, FIRST);
        edges.leave(7);
        assert_eq!(edges.fire(event), None);
        assert_eq!(edges.park(7, SECOND), Arming::Spent);
        let anew = edges.arm(7, SECOND);
        assert_eq!(edges.fire(event), None, "of the first arming");
        assert_eq!(edges.fire(anew), Some(SECOND));
    }

    #[test]
    fn a_late_event_of_a_closed_connection_names_nothing() {
        let mut edges = Edges::default();
        let late = edges.arm(7, FIRST);
        edges.leave(7);
        let event = edges.arm(7, SECOND);
        assert_eq!(edges.fire(late), None);
        assert_eq!(edges.fire(event), Some(SECOND));
        assert_eq!(edges.fire(Key { slot: 9, generation: 0 }), None, "of no descriptor that was ever armed");
    }

    /// One descriptor, its clients one after the other, and a kernel that reports edges late: everything that can happen
    /// next, from every state. It explores the orders in which workers come to the lock, so no chance decides what is tried.
    #[derive(Clone)]
    struct World {
        edges: Edges,
        place: Place,
        /// What the client has sent and no worker has read.
        has_unread: bool,
        /// The name of the registration, if there is one, and whether the kernel has an event for it.
        registered: Option<Key>,
        is_ready: bool,
        /// Events that workers have, but have not come to the lock with.
        events: Vec<Key>,
        sends: usize,
        closes: usize,
        parks: u32,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Place {
        Parked,
        TakenOut,
        /// Read until nothing was there, and served.
        Drained,
    }

    impl World {
        fn begin() -> Self {
            Self {
                edges: Edges::default(),
                place: Place::Drained,
                has_unread: false,
                registered: None,
                is_ready: false,
                events: Vec::new(),
                sends: 3,
                closes: 1,
                parks: 0,
            }
        }

        /// As `Waiter::arm_edge` does it. The kernel looks at what is there when it registers.
        fn park(&mut self) {
            self.parks += 1;
            let key = Key { slot: 0, generation: self.parks };
            if self.registered.is_none() || self.edges.park(7, key) == Arming::Spent {
                self.registered = Some(self.edges.arm(7, key));
                self.is_ready = self.has_unread;
            }
            self.place = Place::Parked;
        }

        /// As `Waiter::sort` does it.
        fn come_with(&mut self, event: Key) {
            if self.edges.fire(event).is_some() {
                assert!(self.place == Place::Parked, "the client is with another worker");
                self.edges.leave(7);
                self.place = Place::TakenOut;
            }
        }

        /// Goes on in every way there is. Returns how many steps that took.
        fn explore(self) -> usize {
            let mut next = Vec::new();
            let mut then = |change: &dyn Fn(&mut Self)| {
                let mut world = self.clone();
                change(&mut world);
                next.push(world);
            };
            if self.is_ready {
                then(&|world| {
                    world.is_ready = false;
                    world.events.extend(world.registered);
                });
            }
            for index in 0..self.events.len() {
                then(&|world| {
                    let event = world.events.remove(index);
                    world.come_with(event);
                });
            }
            match self.place {
                Place::Parked => {}
                Place::TakenOut => then(&|world| (world.has_unread, world.place) = (false, Place::Drained)),
                Place::Drained => then(&Self::park),
            }
            if next.is_empty() {
                assert!(!self.has_unread, "a client has sent something, and no worker will ever know");
            }
            let mut then = |change: &dyn Fn(&mut Self)| {
                let mut world = self.clone();
                change(&mut world);
                next.push(world);
            };
            if self.sends > 0 {
                then(&|world| {
                    (world.has_unread, world.is_ready) = (true, world.registered.is_some());
                    world.sends -= 1;
                });
            }
            if self.closes > 0 && self.place == Place::Drained {
                // The next client has the same descriptor. The events of this one are on their way yet.
                then(&|world| {
                    (world.registered, world.is_ready, world.has_unread) = (None, false, false);
                    world.closes -= 1;
                });
            }
            1 + next.into_iter().map(Self::explore).sum::<usize>()
        }
    }

    #[test]
    fn in_no_order_is_a_client_left_behind() {
        assert!(World::begin().explore() > 10_000, "the search ended early");
    }
}
