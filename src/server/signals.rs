//! What signals mean to a server.
//!
//! The problem: one wish to stop often comes as two signals. `timeout 60 ronde` signals its child and then the whole
//! process group, a service manager signals after a stop command that did so already, and a wrapper passes a Ctrl-C on
//! that the terminal has sent to both. A server that takes the second signal for impatience cuts requests that it had
//! time to finish. Only a person at a terminal means more by a second Ctrl-C.
//!
//! | signal | meaning |
//! |---|---|
//! | `TERM`, `QUIT` (nginx's word) | stop: finish what is in flight |
//! | `INT` (Ctrl-C) | the same; another one after [`waits::SECOND_CTRL_C`] ends the process at once |
//! | `HUP` | reload: read the whole configuration again, certificates included (nginx's meaning). Its default would end the process |
//! | `USR1` | open the files of the logs again (nginx's meaning); without any, a line in the log. The same |
//! | `USR2` | none: a line in the log. The same |
//! | `XFSZ` | none: the write that is too large fails, and the logger reports that |
//!
//! A signal that is ignored when ronde starts stays ignored: that is how `nohup` keeps a process alive when its
//! terminal closes, and how a shell keeps a Ctrl-C from its background jobs.
//!
//! A signal that is blocked then does not stay so. A thread library or a supervisor blocks signals for its own threads, and its
//! child inherits that by mistake: it would hear no wish to stop until the kill that follows.
//!
//! As PID 1 a process has no default action for these signals, so without handlers a container would not stop.
//!
//! Not here: carrying orders out (`orders`), and how the process ends at once (`main`).

use super::Commander;
use crate::config::waits;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::ffi::c_int;
use std::fs;
use std::io;
use std::thread;
use std::time::Instant;

/// The signals with a handler beside `INT`, which ctrlc handles.
const HANDLED: [c_int; 6] = [SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ];

/// Handles signals from here on, on two threads that end with the process. `end_at_once` is for the second Ctrl-C.
///
/// # Errors
/// The system refused a handler or a thread.
pub fn handle(commander: Commander, mut end_at_once: impl FnMut() + Send + 'static) -> io::Result<()> {
    // Read before any handler is set, because a handler ends the ignoring.
    let inherited = Ignored::inherited();
    for signal in HANDLED.into_iter().chain([SIGINT]).filter(|signal| inherited.contains(*signal)) {
        let instead = if signal == SIGHUP { "; `ronde reload` does without it" } else { "" };
        log::info!("{} was ignored when ronde was started, and stays so{instead}", name(signal));
    }
    if !inherited.contains(SIGINT) {
        let (commander, mut presses) = (commander.clone(), CtrlC::default());
        let handler = move || match presses.press(Instant::now()) {
            Wish::Stop => commander.stop(),
            Wish::EndAtOnce => end_at_once(),
        };
        ctrlc::set_handler(handler).map_err(io::Error::other)?;
    }
    let handled = HANDLED.into_iter().filter(|signal| !inherited.contains(*signal));
    let mut signals = Signals::new(handled)?;
    let heed_all = move || signals.forever().for_each(|signal| heed(signal, &commander));
    thread::Builder::new().name("signals".into()).spawn(heed_all)?;
    // Last, because what has come meanwhile is delivered now. One thread that does not block them is enough.
    let all = HANDLED.into_iter().chain([SIGINT]).filter_map(|signal| Signal::try_from(signal).ok());
    Ok(all.collect::<SigSet>().thread_unblock()?)
}

fn heed(signal: c_int, commander: &Commander) {
    match signal {
        SIGTERM | SIGQUIT => commander.stop(),
        SIGHUP => drop(commander.reload()),
        SIGUSR1 => commander.reopen(),
        SIGXFSZ => {}
        _ => log::warn!("{} has no meaning for ronde, and is ignored", name(signal)),
    }
}

fn name(signal: c_int) -> &'static str {
    signal_name(signal).unwrap_or("a signal")
}

/// What a Ctrl-C asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    EndAtOnce,
}

/// The Ctrl-C so far.
#[derive(Default)]
struct CtrlC {
    first: Option<Instant>,
}

impl CtrlC {
    fn press(&mut self, now: Instant) -> Wish {
        let first = *self.first.get_or_insert(now);
        if now.saturating_duration_since(first) < waits::SECOND_CTRL_C { Wish::Stop } else { Wish::EndAtOnce }
    }
}

/// A set of ignored signals: bit 0 is signal 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ignored(u64);

impl Ignored {
    /// The signals that the parent process left ignored. Without /proc, as in a bare chroot, none is known.
    fn inherited() -> Self {
        Self::read(&fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or_default()
    }

    /// From the text of proc_pid_status(5).
    fn read(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok().map(Self)
    }

    fn contains(self, signal: c_int) -> bool {
        self.0 >> (signal - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_a_later_second_ctrl_c_ends_at_once() {
        let start = Instant::now();
        let wishes = |pauses: &[Duration]| {
            let mut presses = CtrlC::default();
            pauses.iter().map(|pause| presses.press(start + *pause)).collect::<Vec<_>>()
        };
        let (same, later) = (waits::SECOND_CTRL_C / 2, waits::SECOND_CTRL_C);
        assert_eq!(wishes(&[Duration::ZERO, Duration::ZERO, same]), [Wish::Stop; 3]);
        assert_eq!(wishes(&[Duration::ZERO, same, later]), [Wish::Stop, Wish::Stop, Wish::EndAtOnce]);
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "SigBlk:\t0000000000000004\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000000000\n";
        let ignored = Ignored::read(status).unwrap();
        assert!(ignored.contains(SIGHUP) && ignored.contains(SIGINT));
        assert!(!ignored.contains(SIGQUIT) && !ignored.contains(SIGTERM) && !ignored.contains(SIGXFSZ));
        for unreadable in ["", "SigIgn:", "SigIgn:\tx", "SigCgt:\t0000000000000001"] {
            assert_eq!(Ignored::read(unreadable), None, "{unreadable:?}");
        }
    }
}
