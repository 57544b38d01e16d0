//! `ronde health`: asks the running ronde whether it is well.
//!
//! The problem: an image made `FROM scratch` has no shell and no curl, and a health check that reached a backend would
//! take a turn in the round. So the only program in the image sends the request itself: `OPTIONS *` with
//! `Max-Forwards: 0`, which a proxy must answer and not forward (RFC 9110 §7.6.2).
//!
//! And an image has one health check for all containers that are made of it. It sees their variables, but not the arguments
//! they were started with: `docker run IMAGE --listen :9000` would be unhealthy for ever. So a bare `ronde health` takes
//! over the arguments of the ronde that is process 1.
//!
//! Not here: the response (`proxy::session`).

use crate::config::waits;
use crate::config::{Address, Config, Listen};
use crate::http1::head::{self, Lines, Scan};
use crate::http1::proxy_header;
use crate::net::buffer::Buffer;
use crate::net::conn::{Block, Conn, Received};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

/// What this program is called.
const NAME: &[u8] = env!("CARGO_PKG_NAME").as_bytes();

const REQUEST: &[u8] =
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n";

/// Why ronde is not healthy.
#[derive(Debug)]
pub enum Unhealthy {
    /// The connect failed, or the connection broke before a valid response head.
    Unreachable(Address, io::Error),
    /// No complete response head within [`waits::HEALTH_ANSWER`] (2 s).
    TimedOut(Address),
    /// A response other than 200: its status and the part of its body that came with the head.
    Status(Address, u16, String),
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(address, error) => write!(f, "cannot reach ronde at {address}: {error}"),
            Self::TimedOut(address) => {
                write!(f, "ronde at {address} does not answer within {} s", waits::HEALTH_ANSWER.as_secs())
            }
            Self::Status(address, status, text) => write!(f, "ronde at {address} answers {status}: {text}"),
        }
    }
}

impl std::error::Error for Unhealthy {}

/// The arguments of the ronde that is process 1, or that an init (`docker run --init`) which is process 1 was told to start.
/// Empty where there is none, as outside of a container.
pub fn arguments_of_the_container() -> Vec<OsString> {
    fs::read("/proc/1/cmdline").map_or_else(|_| Vec::new(), |line| arguments_of_ronde(&line))
}

/// The arguments behind the word that names this program, without the command `serve` or `demo`. Each word of the line is
/// ended by a NUL (proc_pid_cmdline(5)).
fn arguments_of_ronde(line: &[u8]) -> Vec<OsString> {
    let is_ronde = |word: &&[u8]| word.rsplit(|&byte| byte == b'/').next() == Some(NAME);
    let words = line.strip_suffix(b"\0").unwrap_or(line).split(|&byte| byte == 0);
    let arguments = words.skip_while(|word| !is_ronde(word)).skip(1).enumerate();
    let settings = arguments.filter(|(index, word)| *index > 0 || !matches!(*word, b"serve" | b"demo"));
    settings.map(|(_, word)| OsString::from_vec(word.to_vec())).collect()
}

/// Asks the ronde that runs with this configuration, at its first listening address; returns that address.
///
/// # Errors
/// See [`Unhealthy`].
pub fn ask(config: &Config) -> Result<Address, Unhealthy> {
    let default = || SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080).into();
    let asked = config.asked_for_health();
    let address = asked.map_or_else(default, Listen::reachable);
    let is_expected = asked.is_some_and(|listen| config.proxy_protocol.contains(listen));
    let header = if is_expected { proxy_header::LOCAL } else { b"" };
    let deadline = Instant::now() + waits::HEALTH_ANSWER;
    let unreachable = |error| Unhealthy::Unreachable(address.clone(), error);
    let conn = Conn::connect_by(&address, deadline).map_err(unreachable)?;
    conn.send(&[IoSlice::new(header), IoSlice::new(REQUEST)], Block::Briefly).map_err(unreachable)?;
    let mut buffer = Buffer::new(4096);
    while Instant::now() < deadline {
        if let Scan::Complete { end, .. } = head::scan(buffer.filled()) {
            let mut lines = Lines::new();
            let (head, body) = buffer.filled_mut().split_at_mut(end);
            return match head::response(head, &mut lines).map(|response| response.status) {
                Ok(200) => Ok(address),
                Ok(status) => {
                    Err(Unhealthy::Status(address, status, String::from_utf8_lossy(body).trim().to_owned()))
                }
                Err(failure) => Err(unreachable(io::Error::other(failure))),
            };
        }
        match conn.receive(buffer.room(), Block::Briefly).map_err(unreachable)? {
            Received::Bytes(count) => buffer.grew(count),
            Received::Nothing => {}
            Received::End => return Err(unreachable(io::ErrorKind::UnexpectedEof.into())),
        }
    }
    Err(Unhealthy::TimedOut(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_process_1() {
        for (line, arguments) in [
            ("/ronde\0--listen\0:9000\0a:1\0", &["--listen", ":9000", "a:1"][..]),
            ("ronde\0", &[]),
            ("/ronde\0demo\0--listen\0:9000\0", &["--listen", ":9000"]),
            ("/ronde\0serve\0demo:1\0", &["demo:1"]),
            ("/sbin/docker-init\0--\0/ronde\0--listen=:9000\0", &["--listen=:9000"]),
            ("/ronde\0--config\0/ronde\0", &["--config", "/ronde"]),
            ("/usr/lib/systemd/systemd\0--system\0", &[]),
            ("sh\0-c\0ronde --listen :9000\0", &[]),
            ("", &[]),
        ] {
            assert_eq!(arguments_of_ronde(line.as_bytes()), arguments, "{line:?}");
        }
    }
}
