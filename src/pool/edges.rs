//! Edge-triggered registrations: those of clients, which stay while requests follow each other.
//!
//! The problem: a registration that is good for one event costs a call for each request, to arm it again, and two for a
//! request that waits for its backend meanwhile. With a thousand clients that is 6 % of a request, most of it the kernel's
//! way to the descriptor among all others. One that stays costs nothing, but its events also come while a worker has the
//! client, and then they must not be lost: the next such event may never come.
//!
//! For each descriptor this table keeps the key of its parked client, the events that take the client out, and whether an event
//! has come that took no client out. After such an event the next wait registers the socket again, and epoll then looks at what is
//! there. Each registration has a number, so that a late event of an earlier client with the same descriptor names nothing.
//!
//! Not here: all other waits. Each of these is for one event, and nothing happens while a worker has the client.

use crate::pool::slots::{Key, ROOM};
use std::os::fd::RawFd;

/// By descriptor.
#[derive(Clone, Debug)]
pub struct Edges(Vec<Edge>);

#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    /// The number of its registration.
    generation: u32,
    /// Under which key the client is parked, if it is, and waited for in this way.
    parked: Option<(Key, Interest)>,
    registered: Arming,
}

/// Which events bring a client out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All: it is idle.
    Any,
    /// The end of the connection, or of one direction: its backend is waited for. What the client sends meanwhile can wait.
    End,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Bytes,
    End,
}

/// Whether what was armed before still says when something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arming {
    #[default]
    Holds,
    /// Something has happened already.
    Spent,
}

impl Edges {
    pub fn new() -> Self {
        Self(Vec::with_capacity(ROOM))
    }

    /// Parks a client that has been armed before, if that still holds.
    pub fn park(&mut self, descriptor: RawFd, key: Key, interest: Interest) -> Arming {
        let edge = self.edge(descriptor);
        if edge.registered == Arming::Holds {
            edge.parked = Some((key, interest));
        }
        edge.registered
    }

    /// Parks a client that is armed now. Returns the name of its events.
    pub fn arm(&mut self, descriptor: RawFd, key: Key, interest: Interest) -> Key {
        let edge = self.edge(descriptor);
        let generation = (edge.generation + 1) % Key::GENERATIONS;
        *edge = Edge { generation, parked: Some((key, interest)), registered: Arming::Holds };
        Key { slot: descriptor as u32, generation }
    }

    /// An event has come. Returns the key of the client that it brings out.
    pub fn fire(&mut self, event: Key, happened: Happened) -> Option<Key> {
        let edge = self.0.get_mut(event.slot as usize).filter(|edge| edge.generation == event.generation)?;
        let key = match (edge.parked, happened) {
            (Some((key, Interest::Any)), _) | (Some((key, Interest::End)), Happened::End) => Some(key),
            (Some((_, Interest::End)), Happened::Bytes) | (None, _) => None,
        };
        // An end is the last event, and one that takes no client out is used up: the next wait has to look at what is there.
        if key.is_none() || happened == Happened::End {
            edge.registered = Arming::Spent;
        }
        key
    }

    /// The client is taken out.
    pub fn leave(&mut self, descriptor: RawFd) {
        if let Some(edge) = self.0.get_mut(descriptor as usize) {
            edge.parked = None;
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
        let mut edges = Edges::new();
        let event = edges.arm(7, FIRST, Interest::Any);
        assert_eq!(edges.fire(event, Happened::Bytes), Some(FIRST));
        edges.leave(7);
        assert_eq!(edges.park(7, SECOND, Interest::Any), Arming::Holds, "nothing has come meanwhile");
        assert_eq!(edges.fire(event, Happened::End), Some(SECOND));
        edges.leave(7);
        assert_eq!(edges.park(7, FIRST, Interest::End), Arming::Spent, "nothing follows an end");
    }

    #[test]
    fn an_event_while_the_client_is_out_is_not_lost() {
        let mut edges = Edges::new();
        let event = edges.arm(7, FIRST, Interest::Any);
        edges.leave(7);
        assert_eq!(edges.fire(event, Happened::Bytes), None);
        assert_eq!(edges.park(7, SECOND, Interest::Any), Arming::Spent);
        let anew = edges.arm(7, SECOND, Interest::Any);
        assert_eq!(edges.fire(event, Happened::Bytes), None, "of the first arming");
        assert_eq!(edges.fire(anew, Happened::Bytes), Some(SECOND));
    }

    #[test]
    fn what_a_client_sends_while_its_backend_is_waited_for_brings_it_out_later() {
        let mut edges = Edges::new();
        let event = edges.arm(7, FIRST, Interest::End);
        assert_eq!(edges.fire(event, Happened::Bytes), None);
        assert_eq!(edges.fire(event, Happened::End), Some(FIRST), "its end does so at once");
        edges.leave(7);
        assert_eq!(edges.park(7, SECOND, Interest::Any), Arming::Spent, "the bytes are there");
    }

    #[test]
    fn a_late_event_of_a_closed_connection_names_nothing() {
        let mut edges = Edges::new();
        let late = edges.arm(7, FIRST, Interest::Any);
        edges.leave(7);
        let event = edges.arm(7, SECOND, Interest::Any);
        assert_eq!(edges.fire(late, Happened::Bytes), None);
        assert_eq!(edges.fire(event, Happened::Bytes), Some(SECOND));
        let unknown = Key { slot: 9, generation: 0 };
        assert_eq!(edges.fire(unknown, Happened::Bytes), None, "of no descriptor that was ever armed");
    }

    /// One descriptor, its clients one after the other, and a kernel that reports edges late: everything that can happen
    /// next, from every state. It explores the orders in which workers come to the lock, so no chance decides what is tried.
    #[derive(Clone)]
    struct World {
        edges: Edges,
        place: Place,
        /// What the client has sent and no worker has read.
        has_unread: bool,
        /// Whether the client has ended the connection.
        has_ended: bool,
        /// The name of the registration, if there is one, and whether the kernel has an event for it.
        registered: Option<Key>,
        is_ready: bool,
        /// Events that workers have, but have not come to the lock with.
        events: Vec<(Key, Happened)>,
        left: Left,
        parks: u32,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Place {
        Parked(Interest),
        TakenOut,
        /// Read until nothing was there, and served.
        Drained,
        /// Read to its end.
        Closed,
    }

    /// How often each of these may happen yet.
    #[derive(Clone, Copy)]
    struct Left {
        sends: usize,
        waits_for_backend: usize,
        /// The next client has the same descriptor.
        successors: usize,
    }

    impl World {
        fn begin() -> Self {
            Self {
                edges: Edges::new(),
                place: Place::Drained,
                has_unread: false,
                has_ended: false,
                registered: None,
                is_ready: false,
                events: Vec::new(),
                left: Left { sends: 2, waits_for_backend: 1, successors: 1 },
                parks: 0,
            }
        }

        fn after(&self, change: impl FnOnce(&mut Self)) -> Self {
            let mut world = self.clone();
            change(&mut world);
            world
        }

        /// As `Epoll::arm_edge` does it. The kernel looks at what is there when it registers.
        fn park(&mut self, interest: Interest) {
            self.parks += 1;
            let key = Key { slot: 0, generation: self.parks };
            if self.registered.is_none() || self.edges.park(7, key, interest) == Arming::Spent {
                self.registered = Some(self.edges.arm(7, key, interest));
                self.is_ready = self.has_unread || self.has_ended;
            }
            self.place = Place::Parked(interest);
        }

        /// As `Waiter::sort` does it.
        fn come_with(&mut self, (event, happened): (Key, Happened)) {
            if self.edges.fire(event, happened).is_some() {
                assert!(matches!(self.place, Place::Parked(_)), "the client is with another worker");
                self.take_out(Place::TakenOut);
            }
        }

        fn take_out(&mut self, place: Place) {
            self.edges.leave(7);
            self.place = place;
        }

        /// What the kernel and the workers can do.
        fn steps(&self) -> Vec<Self> {
            let mut next = Vec::new();
            if self.is_ready {
                next.push(self.after(|world| {
                    world.is_ready = false;
                    let happened = if world.has_ended { Happened::End } else { Happened::Bytes };
                    world.events.extend(world.registered.map(|name| (name, happened)));
                }));
            }
            next.extend((0..self.events.len()).map(|index| {
                self.after(|world| {
                    let event = world.events.remove(index);
                    world.come_with(event);
                })
            }));
            match self.place {
                Place::Parked(Interest::Any) | Place::Closed => {}
                // The backend's response is there.
                Place::Parked(Interest::End) => {
                    next.push(self.after(|world| world.take_out(Place::Drained)));
                }
                Place::TakenOut => next.push(self.after(|world| {
                    world.has_unread = false;
                    world.place = if world.has_ended { Place::Closed } else { Place::Drained };
                })),
                Place::Drained => {
                    next.push(self.after(|world| world.park(Interest::Any)));
                    if self.left.waits_for_backend > 0 {
                        next.push(self.after(|world| {
                            world.left.waits_for_backend -= 1;
                            world.park(Interest::End);
                        }));
                    }
                }
            }
            next
        }

        /// What clients can do.
        fn surprises(&self) -> Vec<Self> {
            let mut next = Vec::new();
            if self.left.sends > 0 && !self.has_ended {
                next.push(self.after(|world| {
                    world.left.sends -= 1;
                    (world.has_unread, world.is_ready) = (true, world.registered.is_some());
                }));
            }
            if !self.has_ended {
                next.push(self.after(|world| {
                    (world.has_ended, world.is_ready) = (true, world.registered.is_some());
                }));
            }
            if self.left.successors > 0 && matches!(self.place, Place::Drained | Place::Closed) {
                // The events of this one are on their way yet.
                next.push(self.after(|world| {
                    world.left.successors -= 1;
                    (world.registered, world.is_ready) = (None, false);
                    (world.has_unread, world.has_ended, world.place) = (false, false, Place::Drained);
                }));
            }
            next
        }

        /// Goes on in every way there is. Returns how many steps that took.
        fn explore(self) -> usize {
            let steps = self.steps();
            let is_told_of = self.is_ready || !self.events.is_empty();
            if let Place::Parked(interest) = self.place
                && !is_told_of
            {
                assert!(!self.has_ended, "a client has gone, and no worker will know");
                assert!(
                    interest == Interest::End || !self.has_unread,
                    "a client has sent something, and no worker will ever know"
                );
            }
            1 + steps.into_iter().chain(self.surprises()).map(Self::explore).sum::<usize>()
        }
    }

    #[test]
    fn in_no_order_is_a_client_left_behind() {
        assert!(World::begin().explore() > 10_000, "the search ended early");
    }
}
