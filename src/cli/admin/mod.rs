//! The commands that speak with the running ronde: `ronde status`, `drain`, `undrain`, `reload`.
//!
//! The problem: an admin has a terminal, and wants to know and to change things without writing requests. So each command is
//! a request to the admin listener, which is found by the configuration that the running ronde has; whatever can be done here
//! can be done with curl.
//!
//! Reading order: this module (what each command does), `talk` (requests and answers), `table` (the status for a person).
//!
//! Not here: parsing the command line (`config::instruction`), the listener (`server::admin`).

mod table;
mod talk;

use crate::config::value::{count_text, time_text};
use crate::config::{Address, Config, Instruction, Listen, Wait};
use crate::server::admin::status::Changed;
use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use talk::{Follow, get, post, post_patiently};

/// The admin listener of the demo, and the one that is tried where none is configured.
pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// Why a command failed.
#[derive(Debug)]
pub enum Failed {
    /// Nothing says where the admin listener is, and at the usual address there is none.
    NotConfigured,
    /// `--admin` with port 0: only the running ronde knows the port.
    AnyPort,
    /// The connect failed, or the connection broke before the answer was complete.
    Unreachable(Address, io::Error),
    /// No complete answer within [`waits::ADMIN_ANSWER`](crate::config::waits::ADMIN_ANSWER) (5 s).
    TimedOut(Address),
    /// What answers is no admin listener of ronde.
    Foreign(Address),
    /// It was refused: the status, and why.
    Refused(u16, String),
    /// So many requests were still under way at the end of `--wait=TIME`.
    StillBusy(usize, Duration),
    /// These addresses were removed during `--wait`, with requests under way.
    Removed(String),
    /// Standard output is closed.
    Output,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => write!(
                f,
                "no admin listener is configured, and at {DEFAULT} there is none: start ronde with --admin {DEFAULT}, \
                 and say the same here (--admin, RONDE_ADMIN or --config FILE)"
            ),
            Self::AnyPort => f.write_str(
                "--admin has port 0: the log of the running ronde says which it is; give that port here",
            ),
            Self::Unreachable(address, error) => match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                    write!(f, "nothing listens on {address}: does ronde run, and with this --admin?")
                }
                _ => write!(f, "cannot ask ronde at {address}: {error}"),
            },
            Self::TimedOut(address) => write!(f, "ronde at {address} does not answer"),
            Self::Foreign(address) => {
                write!(
                    f,
                    "what answers at {address} is not the admin of a ronde; give the address of its --admin"
                )
            }
            Self::Refused(_, why) => f.write_str(why),
            Self::StillBusy(count, waited) => write!(
                f,
                "{} still under way after {}; the backend stays drained",
                count_text(*count, "request"),
                time_text(*waited)
            ),
            Self::Removed(addresses) => write!(
                f,
                "{addresses} is no backend any more: a reload, or its name, has taken it out with requests under way; \
                 ronde cannot say when these end"
            ),
            Self::Output => f.write_str("standard output is closed"),
        }
    }
}

impl std::error::Error for Failed {}

/// Whether a command has no setting beside it, so that in a container it takes over those of process 1.
pub fn is_bare(arguments: &[OsString]) -> bool {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    let is_own = |word: &str| !word.starts_with('-') || word.starts_with("--wa");
    match words.first().map(|word| &**word) {
        Some("status" | "reload") => words[1..].iter().all(|word| word.starts_with("--wa")),
        Some("drain" | "undrain") => words.len() > 1 && words[1..].iter().all(|word| is_own(word)),
        _ => false,
    }
}

/// What is wrong with a second backend behind `drain` or `undrain`. Elsewhere on the line it may be one of the settings.
pub fn too_many_backends(arguments: &[OsString]) -> Option<String> {
    let mut words = arguments.iter().map(|word| word.to_string_lossy());
    let command = words.next().filter(|command| command == "drain" || command == "undrain")?;
    let is_backend = |word: &Cow<'_, str>| !word.starts_with('-') && word.contains([':', '/']);
    let second = words.filter(|word| !word.starts_with("--wait")).take_while(is_backend).nth(1)?;
    Some(format!("ronde {command} takes one backend; for {second} call it again"))
}

/// Carries out a command.
///
/// # Errors
/// See [`Failed`].
pub fn run(config: &Config, instruction: &Instruction, out: &mut impl Write) -> Result<(), Failed> {
    let at = address(config)?;
    match carry_out(&at, instruction, out) {
        Err(Failed::Unreachable(..)) if config.admin.is_none() => Err(Failed::NotConfigured),
        outcome => outcome,
    }
}

fn carry_out(at: &Address, instruction: &Instruction, out: &mut impl Write) -> Result<(), Failed> {
    match instruction {
        Instruction::Status { watch: false } => say(out, table::text(&get(at, "/status")?).trim_end()),
        Instruction::Status { watch: true } => watch(at, out),
        Instruction::Drain { backend, wait } => {
            let changed = change(at, backend, "drain", out)?;
            match wait {
                Wait::No => Ok(()),
                Wait::Forever => wait_for_the_last(at, &changed, None, out),
                Wait::For(most) => wait_for_the_last(at, &changed, Some(*most), out),
            }
        }
        Instruction::Undrain { backend } => change(at, backend, "undrain", out).map(drop),
        Instruction::Reload => say(out, String::from_utf8_lossy(&post_patiently(at, "/reload")?).trim()),
    }
}

/// Where the running ronde is asked.
fn address(config: &Config) -> Result<Address, Failed> {
    match config.admin.as_ref().map(Listen::reachable) {
        Some(Address::Tcp(address)) if address.port() == 0 => Err(Failed::AnyPort),
        Some(address) => Ok(address),
        None => Ok(DEFAULT.into()),
    }
}

/// A table every second, each over the one before, until Ctrl-C or until ronde ends.
fn watch(at: &Address, out: &mut impl Write) -> Result<(), Failed> {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
    let mut follow = Follow::begin(at)?;
    loop {
        let status = follow.next(None)?;
        say(out, &format!("{clear}{}", table::text(&status)))?;
    }
}

/// Returns the addresses that it concerns.
fn change(at: &Address, backend: &str, verb: &str, out: &mut impl Write) -> Result<Vec<String>, Failed> {
    let answer = post(at, &format!("/backends/{}/{verb}", encoded(backend)))?;
    let changed: Changed = serde_json::from_slice(&answer).map_err(|_| Failed::Foreign(at.clone()))?;
    let done = if verb == "drain" { "gets no new requests" } else { "gets requests again" };
    match &changed.backends[..] {
        [] => say(out, &format!("{backend} is not there now; when it comes back, it {done}"))?,
        [only] if only == backend => say(out, &format!("{backend} {done}"))?,
        addresses => say(out, &format!("{backend} ({}) {done}", addresses.join(", ")))?,
    }
    Ok(changed.backends)
}

/// Waits until nothing is under way at these addresses.
fn wait_for_the_last(
    at: &Address,
    addresses: &[String],
    most: Option<Duration>,
    out: &mut impl Write,
) -> Result<(), Failed> {
    let deadline = most.map(|most| Instant::now() + most);
    let mut follow = Follow::begin(at)?;
    let (mut told, mut busy) = (None, Vec::new());
    loop {
        let status = match (follow.next(deadline), most) {
            // Earlier than that it is ronde that does not answer.
            (Err(Failed::TimedOut(_)), Some(most)) if deadline.is_some_and(|at| Instant::now() >= at) => {
                return Err(Failed::StillBusy(told.unwrap_or_default(), most));
            }
            (status, _) => status?,
        };
        let backends = status.routes.iter().flat_map(|route| &route.backends);
        let ours: Vec<_> = backends.filter(|backend| addresses.contains(&backend.address)).collect();
        // Those that are busy, and those that were busy when they were last seen.
        busy.retain(|address| ours.iter().all(|backend| backend.address != *address));
        busy.extend(ours.iter().filter(|backend| backend.active > 0).map(|backend| backend.address.clone()));
        let active = ours.iter().map(|backend| backend.active).sum();
        if active == 0 {
            return match busy.is_empty() {
                true => say(out, "nothing is under way"),
                false => Err(Failed::Removed(busy.join(", "))),
            };
        }
        if told.replace(active) != Some(active) {
            say(out, &format!("{active} under way"))?;
        }
    }
}

/// A path segment: what is not plain is percent-encoded (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let plain = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(plain).collect()
}

/// A line at once, also into a pipe.
fn say(out: &mut impl Write, text: &str) -> Result<(), Failed> {
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|_| Failed::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_fits_into_one_segment_of_a_path() {
        for (text, segment) in [
            ("app1:8000", "app1:8000"),
            ("[::1]:80", "%5B::1%5D:80"),
            ("unix:/run/a.sock", "unix:%2Frun%2Fa.sock"),
        ] {
            assert_eq!(encoded(text), segment);
        }
    }

    #[test]
    fn a_second_backend_is_not_passed_over() {
        let fault =
            |line: &str| too_many_backends(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
        for line in
            ["drain a:1", "drain a:1 --wait --admin :1 b:1", "status a:1 b:1", "a:1 b:1", "drain a:1 2s", ""]
        {
            assert_eq!(fault(line), None, "{line}");
        }
        let drains = Some("ronde drain takes one backend; for b:1 call it again".to_owned());
        assert_eq!(fault("drain a:1 b:1"), drains);
        assert_eq!(fault("drain --wait=2s a:1 --wait b:1 --config r.toml"), drains);
        let undrains = Some("ronde undrain takes one backend; for unix:/b call it again".to_owned());
        assert_eq!(fault("undrain a:1 unix:/b c:1"), undrains);
    }

    #[test]
    fn only_a_command_without_settings_takes_over_others() {
        for (line, bare) in [
            ("status", true),
            ("status --watch", true),
            ("reload", true),
            ("drain app1:8000", true),
            ("drain app1:8000 --wait=2s", true),
            ("drain --wait app1:8000", true),
            ("drain", false),
            ("status --config a.toml", false),
            ("drain app1:8000 --admin 127.0.0.1:1", false),
            ("serve", false),
            ("", false),
        ] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(is_bare(&words), bare, "{line}");
        }
    }
}
