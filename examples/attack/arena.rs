//! What all attacks have in common: two backends, a proxy in front of them, everybody else, and the line every half second
//! that says how they are served.

use crate::backend::Backend;
use crate::client::PATIENCE;
use crate::target::{Proxy, Target};
use crate::witness::{CLIENTS, Seen, Witness};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the witness is watched before an attack.
const CALM: Duration = Duration::from_secs(1);

/// How long an attack goes on when nobody suffers from it.
const HOLD: Duration = Duration::from_secs(4);

/// Between two lines.
pub const LINE: Duration = Duration::from_millis(500);

/// Between two looks at what an attack waits for.
const LOOK: Duration = Duration::from_millis(10);

pub enum Verdict {
    Stands(String),
    Falls(String),
}

pub struct Arena {
    pub proxy: Proxy,
    pub backends: [Arc<Backend>; 2],
    witness: Witness,
    began: Instant,
    /// Since the last line.
    seen: Seen,
    line_due: Instant,
    /// Since the attack began.
    pub total: Seen,
    /// The most that the proxy had, if that is known.
    pub threads: Option<usize>,
    held: Vec<TcpStream>,
}

impl Arena {
    pub fn open(against: &str) -> io::Result<Self> {
        let target = Target::named(against)?;
        let [first, second] = target.backends();
        let backends = [Backend::start(first)?, Backend::start(second)?];
        let proxy = Proxy::start(&target, &backends.each_ref().map(|backend| backend.address))?;
        println!("against {against} at {}, in front of two backends\n", proxy.address);
        println!("           everybody else:                   the proxy:   the attack:");
        println!("     time   answers   failed   longest wait     threads         holds");
        let (witness, began) = (Witness::watch(proxy.address), Instant::now());
        let (seen, total, line_due, threads) = (Seen::default(), Seen::default(), began + LINE, None);
        Ok(Self { proxy, backends, witness, began, seen, line_due, total, threads, held: Vec::new() })
    }

    /// # Errors
    /// Nobody is served even without an attack.
    pub fn watch_calm(&mut self) -> io::Result<()> {
        self.wait(CALM, |_| false);
        if self.total.answered == 0 {
            return Err(io::Error::other("it does not serve"));
        }
        (self.total, self.threads) = (Seen::default(), None);
        Ok(())
    }

    /// Waits until something is true, and looks at everybody else meanwhile. Returns whether it became true in time.
    pub fn wait(&mut self, at_most: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            self.look();
            if is_so(self) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    /// Goes on with the attack until clients wait in vain, or until its time is over and the next client was served.
    pub fn outcome(&mut self) -> Verdict {
        self.wait(HOLD, |arena| arena.is_vain());
        let served = self.total.answered;
        let is_served = self.wait(2 * PATIENCE, |arena| arena.is_vain() || arena.total.answered > served);
        if is_served && !self.is_vain() {
            Verdict::Stands(format!(
                "everybody else is served, and waits {} at most",
                time(self.total.longest())
            ))
        } else if self.total.longest() >= PATIENCE {
            Verdict::Falls(format!("a client has waited {} in vain", time(self.total.longest())))
        } else {
            Verdict::Falls(format!("{} clients got no answer", self.total.failed))
        }
    }

    /// Each of the clients may have been on its way to a backend that has just died. More failures than that are a verdict.
    fn is_vain(&self) -> bool {
        self.total.longest() >= PATIENCE || self.total.failed > CLIENTS
    }

    fn look(&mut self) {
        let new = self.witness.take();
        for seen in [&mut self.seen, &mut self.total] {
            seen.add(new);
        }
        self.threads = self.threads.max(self.proxy.threads());
        if Instant::now() >= self.line_due {
            // A line that was missed on a busy machine stays away.
            while self.line_due <= Instant::now() {
                self.line_due += LINE;
            }
            let Seen { answered, failed, .. } = self.seen;
            let (at, longest) = (self.began.elapsed().as_secs_f64(), time(self.seen.longest()));
            let threads = self.proxy.threads().map_or("?".into(), |count| count.to_string());
            let holds = self.held.iter().filter(|client| is_open(client)).count();
            println!("{at:>7.1} s {answered:>9} {failed:>8} {longest:>14} {threads:>11} {holds:>13}");
            self.seen = Seen::default();
        }
    }

    /// Counts a connection among those that the attack holds, as long as it is open.
    pub fn keep(&mut self, client: &TcpStream) -> io::Result<()> {
        self.held.push(client.try_clone()?);
        Ok(())
    }
}

/// Whether the proxy has not closed it, and bytes may be on their way.
fn is_open(client: &TcpStream) -> bool {
    match recv(client, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, count)) => count > 0,
        Err(error) => error == Errno::AGAIN,
    }
}

pub fn time(duration: Duration) -> String {
    match duration.as_millis() {
        0..1000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}
