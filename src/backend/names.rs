//! One look-up thread for each name with its port, however many routes have it, and for as long as one has it.
//!
//! The problem: a reload makes every route anew. What a name resolves to must not be forgotten meanwhile, and the thread
//! that looks it up, which nothing can interrupt, must neither be left behind nor be there twice. And a thousand routes
//! that name one server need its address once.
//!
//! The idea: a name belongs to those that follow it. It hands each finding to all of them, and a new follower what is known
//! already. When the last one leaves, its channel is gone, and that ends the thread.
//!
//! Not here: look-ups (`resolve`), and what becomes of the addresses (`membership`).

use super::lock;
use super::resolve::{self, Finding, Timing, Unresolved};
use crate::config::Address;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::thread;

/// All names that are followed, with their ports.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<(String, u16), Weak<Name>>>);

/// One follower's interest in a name; it leaves when this is dropped.
pub(super) struct Following(Arc<Name>);

struct Name {
    host: String,
    state: Mutex<State>,
    /// Asks for an early look-up.
    wanted: Sender<()>,
}

struct State {
    /// What the last follower says that is there.
    timing: Timing,
    /// `None`: the first look-up has not ended.
    addresses: Option<Vec<Address>>,
    resolved: Resolved,
    followers: Vec<Follower>,
}

/// Whether the last look-up of a name brought addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved {
    Yes,
    No,
}

struct Follower {
    /// Gone when it has left.
    following: Weak<Following>,
    timing: Timing,
    tell: Tell,
}

/// Takes the addresses that a name has at present.
pub(super) type Tell = Box<dyn Fn(&[Address]) + Send>;

impl Names {
    /// Follows a name: `tell` gets what it resolves to, as soon as that is known, and whenever it was looked up. The last
    /// follower says how often that is.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn follow(
        &self,
        (host, port): (&str, u16),
        timing: Timing,
        tell: Tell,
    ) -> io::Result<Arc<Following>> {
        let mut names = lock(&self.0);
        let known = names.get(&(host.to_owned(), port)).and_then(Weak::upgrade);
        let name = match known {
            Some(name) => name,
            None => {
                names.retain(|_, name| name.strong_count() > 0);
                let name = Name::start(host, port, timing)?;
                names.insert((host.to_owned(), port), Arc::downgrade(&name));
                name
            }
        };
        drop(names);
        Ok(name.join(timing, tell))
    }
}

impl Following {
    /// Asks for an early look-up.
    pub fn look_up_again(&self) {
        // If the channel is full, a look-up is pending already.
        let _ = self.0.wanted.try_send(());
    }
}

/// It may have said how often the name is looked up, as that of a reload that was refused in the end. The thread asks the
/// rest when it has looked the name up; to look here would lock what the one that drops it may have locked.
impl Drop for Following {
    fn drop(&mut self) {
        self.look_up_again();
    }
}

impl Name {
    fn start(host: &str, port: u16, timing: Timing) -> io::Result<Arc<Self>> {
        let (wanted, asked) = bounded(1);
        let state = State { timing, addresses: None, resolved: Resolved::Yes, followers: Vec::new() };
        let name = Arc::new(Self { host: host.to_owned(), state: Mutex::new(state), wanted });
        let (host, weak) = (host.to_owned(), Arc::downgrade(&name));
        let look_up = move || look_up_for(&weak, (&host, port), timing, &asked);
        thread::Builder::new().name(format!("resolve {}", name.host)).spawn(look_up)?;
        Ok(name)
    }

    fn join(self: Arc<Self>, timing: Timing, tell: Tell) -> Arc<Following> {
        let following = Arc::new(Following(Arc::clone(&self)));
        let mut state = lock(&self.state);
        if state.timing != timing {
            state.timing = timing;
            following.look_up_again();
        }
        if let Some(addresses) = &state.addresses {
            tell(addresses);
        }
        state.followers.push(Follower { following: Arc::downgrade(&following), timing, tell });
        following
    }

    /// What a look-up found. Only a change is worth a line in the log. The followers are told under the lock, so that none
    /// gets an old finding after a new one.
    fn note(&self, finding: Finding) -> Timing {
        let (host, mut state) = (&self.host, lock(&self.state));
        let before = state.addresses.take().unwrap_or_default();
        let say = |why: &Unresolved| {
            if state.resolved == Resolved::Yes {
                log::warn!("{host} does not resolve, ronde keeps trying: {why}");
            }
        };
        let (resolved, addresses) = match finding {
            Finding::Addresses(addresses) => {
                (Resolved::Yes, addresses.into_iter().map(Address::from).collect())
            }
            // A name server that is down takes no backend out.
            Finding::Unknown(why) => {
                say(&why);
                (Resolved::No, before.clone())
            }
            Finding::Gone => {
                say(&Unresolved::NoSuchName);
                if !before.is_empty() {
                    log::warn!("{host} is gone: its last addresses may be another's by now");
                }
                (Resolved::No, Vec::new())
            }
        };
        state.resolved = resolved;
        say_change(host, &before, &addresses);
        state.followers.retain(|follower| follower.following.strong_count() > 0);
        state.followers.iter().for_each(|follower| (follower.tell)(&addresses));
        state.addresses = Some(addresses);
        if let Some(last) = state.followers.last() {
            state.timing = last.timing;
        }
        state.timing
    }
}

/// The thread of a name.
fn look_up_for(name: &Weak<Name>, to: (&str, u16), timing: Timing, asked: &Receiver<()>) {
    resolve::follow(to, timing, asked, |finding| name.upgrade().map(|name| name.note(finding)));
}

fn say_change(host: &str, before: &[Address], after: &[Address]) {
    let say = |sign: char, of: &[Address], others: &[Address]| {
        let changed = of.iter().filter(|address| !others.contains(address)).filter_map(Address::ip);
        changed.for_each(|ip| log::info!("{host}: {sign} {ip}"));
    };
    say('-', before, after);
    say('+', after, before);
}
