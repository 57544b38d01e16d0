//! Resolves names in the background.
//!
//! The problem: getaddrinfo(3) blocks for as long as a name server is silent and cannot be interrupted; in a worker,
//! every look-up would delay a client. And an address that was right at the start is wrong once the backend's container
//! has been recreated, which nginx notices only when it is restarted. So each name has a thread that does nothing but
//! look it up again and again, and a slow name delays no other.
//!
//! "There is no such name" is an answer: the container is gone, and its address may be a stranger's by now. A name server
//! that is silent or fails says nothing, and takes no backend out. The answer must last for a while (`--resolve-hold`),
//! because a name server that has just started, or of several the one that is not up to date, denies names that exist.
//!
//! These threads are not joined: a look-up cannot be cancelled, so a pending one ends with the process.
//!
//! Not here: what becomes of the addresses (`backend::membership`).

use crate::config::waits;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How often a name is looked up (`--resolve-interval`), and how long a denial must last (`--resolve-hold`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub interval: Duration,
    pub hold: Duration,
}

/// Why a name has no addresses.
#[derive(Debug)]
pub enum Unresolved {
    /// An answer: the name does not exist, or has no address.
    NoSuchName,
    /// No answer: the name server is silent or fails, or none is reached.
    NoAnswer(io::Error),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => f.write_str("there is no such name, or it has no address"),
            Self::NoAnswer(error) => error.fmt(f),
        }
    }
}

impl From<LookupError> for Unresolved {
    fn from(error: LookupError) -> Self {
        match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => Self::NoSuchName,
            _ => Self::NoAnswer(error.into()),
        }
    }
}

/// What the look-ups of a name have come to.
#[derive(Debug)]
pub enum Finding {
    /// Its addresses, sorted, without duplicates.
    Addresses(Vec<SocketAddr>),
    /// None to go by: the last addresses stay.
    Unknown(Unresolved),
    /// There has been no such name for so long that its last addresses count no more.
    Gone,
}

/// Looks a name up every interval, and [`waits::RESOLVE_PAUSE`] (200 ms) after each message on `wanted`. A failed
/// look-up is repeated after [`waits::RESOLVE_RETRY`] (1 s), or the interval if that is shorter. `found` gets every
/// finding and says how to go on, if at all. It ends, too, when the other end of `wanted` is gone.
pub fn follow(
    (host, port): (&str, u16),
    mut timing: Timing,
    wanted: &Receiver<()>,
    mut found: impl FnMut(Finding) -> Option<Timing>,
) {
    let mut denials = Denials { hold: timing.hold, since: None };
    let mut last = Vec::new();
    loop {
        let answer = look_up(host, port).map(|found| with_unanswered((host, port), found, &last));
        let finding = denials.judge(answer, Instant::now());
        match &finding {
            Finding::Addresses(addresses) => last.clone_from(addresses),
            Finding::Gone => last.clear(),
            Finding::Unknown(_) => {}
        }
        let is_found = matches!(finding, Finding::Addresses(_));
        match found(finding) {
            Some(next) => timing = next,
            None => return,
        }
        denials.hold = timing.hold;
        let pause = if is_found { timing.interval } else { timing.interval.min(waits::RESOLVE_RETRY) };
        match wanted.recv_timeout(pause) {
            Ok(()) => thread::sleep(waits::RESOLVE_PAUSE),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// For how long it has been said that there is no such name.
struct Denials {
    hold: Duration,
    since: Option<Instant>,
}

impl Denials {
    /// Only addresses contradict a denial. A silence between two of them does not: nothing says that the name was back.
    fn judge(&mut self, answer: Result<Vec<SocketAddr>, Unresolved>, now: Instant) -> Finding {
        match answer {
            Ok(addresses) => {
                self.since = None;
                Finding::Addresses(addresses)
            }
            Err(Unresolved::NoSuchName) => {
                let since = *self.since.get_or_insert(now);
                match now.duration_since(since) >= self.hold {
                    true => Finding::Gone,
                    false => Finding::Unknown(Unresolved::NoSuchName),
                }
            }
            Err(unanswered) => Finding::Unknown(unanswered),
        }
    }
}

/// All addresses of a name, sorted, without duplicates.
///
/// glibc says "no data" also where only one of its two questions, A and AAAA, was denied and the other got no answer. So
/// after a denial each is asked alone, and only two denials are one. Asked alone from the start, a name server would be
/// asked for the AAAA of a name that `/etc/hosts` has by its IPv4 address.
///
/// # Errors
/// The name does not resolve, or has no address.
pub fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Unresolved> {
    let mut answer = ask(host, port, ANY_FAMILY);
    for family in FAMILIES {
        if let Err(Unresolved::NoSuchName) = answer {
            answer = ask(host, port, family.into());
        }
    }
    answer
}

/// What was found; and of a family about which nothing was, though it had `last` addresses, what that family alone is
/// answered with, or those if it is not answered. To glibc one answer to its two questions is enough.
fn with_unanswered(
    (host, port): (&str, u16),
    mut found: Vec<SocketAddr>,
    last: &[SocketAddr],
) -> Vec<SocketAddr> {
    for family in FAMILIES {
        let is_of = |address: &&SocketAddr| address.is_ipv4() == matches!(family, AddrFamily::Inet);
        let last: Vec<_> = last.iter().filter(is_of).collect();
        if last.is_empty() || found.iter().any(|address| is_of(&address)) {
            continue;
        }
        match ask(host, port, family.into()) {
            Ok(addresses) => found.extend(addresses),
            Err(Unresolved::NoAnswer(_)) => found.extend(last),
            Err(Unresolved::NoSuchName) => {}
        }
    }
    found.sort_unstable();
    found
}

const FAMILIES: [AddrFamily; 2] = [AddrFamily::Inet, AddrFamily::Inet6];

/// `AF_UNSPEC` of getaddrinfo(3).
const ANY_FAMILY: i32 = 0;

/// One call of getaddrinfo(3).
fn ask(host: &str, port: u16, family: i32) -> Result<Vec<SocketAddr>, Unresolved> {
    // Without a socket type each address would come three times.
    let hints =
        AddrInfoHints { socktype: SockType::Stream.into(), address: family, ..AddrInfoHints::default() };
    let mut addresses = Vec::new();
    for found in getaddrinfo(Some(host), None, Some(hints))? {
        let mut address = found.map_err(Unresolved::NoAnswer)?.sockaddr;
        address.set_port(port);
        addresses.push(address);
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err(Unresolved::NoSuchName) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(denials: &mut Denials, answer: Result<(), Unresolved>, at: Instant) -> &'static str {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        match denials.judge(answer.map(|()| vec![address]), at) {
            Finding::Addresses(_) => "addresses",
            Finding::Unknown(_) => "unknown",
            Finding::Gone => "gone",
        }
    }

    #[test]
    fn only_a_denial_that_lasts_takes_the_addresses_away() {
        let start = Instant::now();
        let mut denials = Denials { hold: Duration::from_secs(3), since: None };
        let none = || Err(Unresolved::NoSuchName);
        let silence = || Err(Unresolved::NoAnswer(io::ErrorKind::TimedOut.into()));
        let rows = [
            (0, Ok(()), "addresses"),
            (1, none(), "unknown"),
            (3, none(), "unknown"),
            (4, none(), "gone"),
            (5, silence(), "unknown"),
            (6, none(), "gone"),
            (7, Ok(()), "addresses"),
            (8, none(), "unknown"),
            (9, silence(), "unknown"),
            (99, silence(), "unknown"),
            (100, none(), "gone"),
        ];
        for (second, answer, expected) in rows {
            let at = start + Duration::from_secs(second);
            assert_eq!(judged(&mut denials, answer, at), expected, "second {second}");
        }
    }

    #[test]
    fn without_a_hold_the_first_denial_counts() {
        let mut denials = Denials { hold: Duration::ZERO, since: None };
        assert_eq!(judged(&mut denials, Err(Unresolved::NoSuchName), Instant::now()), "gone");
    }
}
