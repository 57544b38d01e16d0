//! Which backends of a new configuration are those of the one before.
//!
//! The problem: a backend that stays must keep its health, its counts and its place in the round, or a reload forgets
//! which of them hang and begins the round anew. But each route has backends of its own, and one server may be in several:
//! known by its name and address alone, it would inherit from a stranger.
//!
//! The idea: a route inherits from the one that it follows. What that no longer has, or what belonged to a route that is
//! gone, is there for the first route that names it: a backend that moves from one route to another takes its standing
//! along.
//!
//! Not here: which route follows which (`proxy::route`), and what is taken over (`membership`).

use super::{Backend, Backends, lock};
use std::sync::Arc;

/// Tells the new ones what they may inherit of these before.
pub(super) fn arrange(new: &[Arc<Backends>], before: &[Arc<Backends>]) {
    let mut orphans = Vec::new();
    for old in before {
        let heir = new.iter().find(|backends| backends.follows(old));
        let has_heir =
            |backend: &Arc<Backend>| heir.is_some_and(|heir| heir.membership.has_name(&backend.name));
        orphans.extend(old.all().into_iter().filter(|backend| !has_heir(backend)));
    }
    for backends in new {
        let predecessor = lock(&backends.predecessor).upgrade();
        let mut from = predecessor.map_or_else(Vec::new, |predecessor| predecessor.all());
        let adopted = |orphan: &mut Arc<Backend>| {
            backends.membership.has_name(&orphan.name) && !from.iter().any(|own| own.name == orphan.name)
        };
        let adopted: Vec<_> = orphans.extract_if(.., adopted).collect();
        from.extend(adopted);
        backends.membership.inherit(from);
    }
}
