//! The thread `backends`: when the backends of each route are looked after.
//!
//! The problem: a look is due every [`waits::BACKEND_WATCH`], and a check after an interval that each route sets. A reload brings
//! other routes, and must neither put off a check that was nearly due nor have all of them begin at once.
//!
//! Not here: what is looked at, and how (`backend::checks`).

use crate::backend::Backends;
use crate::backend::checks::Probe;
use crate::config::waits;
use crate::pool::park::Wait;
use crate::proxy::conversation::Task;
use crate::proxy::shared::Shared;
use crate::proxy::site::Site;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::Instant;

/// Looks after the backends until the other end of `ended` is gone.
pub(super) fn run(shared: &Shared, ended: &Receiver<()>) {
    let mut site = shared.site.get();
    let mut watched = watch_all(&site, &[]);
    loop {
        let next = watched.iter().map(Watched::next).min();
        let pause = next.map_or(waits::BACKEND_WATCH, |next| next.saturating_duration_since(Instant::now()));
        match ended.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let before = Arc::as_ptr(&site);
        if !std::ptr::eq(shared.site.renew(&mut site), before) {
            watched = watch_all(&site, &watched);
        }
        let now = Instant::now();
        // At a stop no finding matters.
        let park = |probe, wait| drop(shared.waiter.park(Task::Probe(probe), wait));
        watched.iter_mut().for_each(|watched| watched.look(now, park));
        // A backend that has come back, or is drained no more, has room that nothing else tells of.
        shared.waiter.let_on();
    }
}

/// After a reload, the next check of what was watched before comes when it was due, or after the interval of now. Those that are new
/// are spread over their interval: a backend of a thousand routes would have to answer a thousand checks at once, and be out for
/// want of time.
fn watch_all(site: &Site, before: &[Watched]) -> Vec<Watched> {
    let (now, count) = (Instant::now(), site.routes.backends().count() as u32);
    let watch = |(place, backends): (usize, &Arc<Backends>)| {
        let before = before.iter().find(|before| backends.follows(&before.backends));
        let due = before.and_then(|before| before.next_check);
        let next_check = backends.check_interval().map(|interval| match due {
            Some(due) => due.min(now + interval),
            None => now + interval * (place as u32 + 1) / count,
        });
        Watched { backends: Arc::clone(backends), next_look: now + waits::BACKEND_WATCH, next_check }
    };
    site.routes.backends().enumerate().map(watch).collect()
}

/// The backends of one route, and when they are looked after.
struct Watched {
    backends: Arc<Backends>,
    next_look: Instant,
    next_check: Option<Instant>,
}

impl Watched {
    fn next(&self) -> Instant {
        self.next_check.map_or(self.next_look, |next_check| next_check.min(self.next_look))
    }

    /// Does what is due `now`.
    fn look(&mut self, now: Instant, park: impl Fn(Box<Probe>, Wait)) {
        if self.next_look <= now {
            self.next_look = now + waits::BACKEND_WATCH;
            self.backends.look_after(&park);
        }
        if self.next_check.is_some_and(|next_check| next_check <= now) {
            self.next_check = self.backends.check_interval().map(|interval| now + interval);
            self.backends.check(&park);
        }
    }
}
