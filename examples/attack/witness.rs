//! Everybody else: clients that come, ask once, and go, while the attack is on.

use crate::client::Client;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// So many at once, at most.
pub const CLIENTS: usize = 16;

/// Between one client and the next in its place.
const PAUSE: Duration = Duration::from_millis(200);

/// What was seen in some stretch of time.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    pub answered: usize,
    pub failed: usize,
    pub longest: Duration,
    /// Since when the client has waited that waits longest at this moment.
    waiting: Option<Instant>,
}

impl Seen {
    /// The longest wait, those that are not over included.
    pub fn longest(&self) -> Duration {
        self.longest.max(self.waiting.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    pub fn add(&mut self, new: Self) {
        self.answered += new.answered;
        self.failed += new.failed;
        self.longest = self.longest.max(new.longest);
        self.waiting = new.waiting;
    }
}

/// What was seen, and since when each client waits.
type State = (Seen, [Option<Instant>; CLIENTS]);

#[derive(Default)]
pub struct Witness(Arc<Mutex<State>>);

impl Witness {
    /// Its threads end with the process.
    pub fn watch(proxy: SocketAddr) -> Self {
        let witness = Self::default();
        for place in 0..CLIENTS {
            let state = Arc::clone(&witness.0);
            thread::spawn(move || {
                // Not all at the same moment.
                thread::sleep(PAUSE * place as u32 / CLIENTS as u32);
                loop {
                    let since = Instant::now();
                    lock(&state).1[place] = Some(since);
                    let is_answered = ask_once(proxy).is_ok();
                    note(&mut lock(&state), place, since, is_answered);
                    thread::sleep(PAUSE);
                }
            });
        }
        witness
    }

    /// What it has seen since the last call.
    pub fn take(&self) -> Seen {
        let (seen, waiting) = &mut *lock(&self.0);
        let longest_waiting = waiting.iter().flatten().min().copied();
        Seen { waiting: longest_waiting, ..std::mem::take(seen) }
    }
}

/// The client in a place has its answer, or will not get one.
fn note((seen, waiting): &mut State, place: usize, since: Instant, is_answered: bool) {
    waiting[place] = None;
    seen.longest = seen.longest.max(since.elapsed());
    *if is_answered { &mut seen.answered } else { &mut seen.failed } += 1;
}

fn ask_once(proxy: SocketAddr) -> io::Result<()> {
    let mut client = Client::connect(proxy)?;
    client.ask("/", "close")?;
    client.answer()
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
