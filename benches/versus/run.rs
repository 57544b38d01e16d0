//! One proxy in one cell.

use crate::cells::{Cell, Speed};
use crate::idle;
use crate::options::Options;
use crate::results::Sample;
use crate::slow;
use crate::stage::backends::Backends;
use crate::stage::proxies::{Kind, Proxy};
use crate::stage::tools::Tool;
use crate::stage::{account, raise_descriptor_limit};
use crate::wrk::Wrk;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Seconds of load before anything is measured: pools fill, buffers grow, the clock rate rises.
const WARM_UP: u64 = 1;

/// Above this share of the machine in the hands of others, a run is not calm. Threads are scheduled as equals,
/// whosever they are, so a proxy of many threads suffers less from company than one of two: a ratio is skewed.
pub const CALM: f64 = 0.05;

/// Runs, until the calmest of them is taken.
const ATTEMPTS: usize = 5;

/// A proxy that takes part.
#[derive(Clone, Debug)]
pub struct Contender {
    pub name: String,
    pub kind: Kind,
}

impl Contender {
    /// ronde first, then its peers, then another ronde.
    pub fn all(options: &Options, nginx: &Tool, haproxy: &Tool) -> Vec<Self> {
        let ronde = |path: &Path| Kind::Ronde { program: Tool::at(path.to_owned(), "--version") };
        let one = |name: &str, kind| Self { name: name.to_owned(), kind };
        let mut all = vec![one("ronde", ronde(&options.ronde))];
        if options.with_peers {
            all.push(one("nginx", Kind::Nginx { program: nginx.clone() }));
            all.push(one("haproxy", Kind::Haproxy { program: haproxy.clone() }));
        }
        all.extend(options.beside.iter().map(|path| one("beside", ronde(path))));
        all
    }
}

/// Everything but the proxies.
#[derive(Debug)]
pub struct Stage {
    fast: Backends,
    slow: [SocketAddr; 2],
    wrk: Tool,
    scratch: TempDir,
    seconds: u64,
    attempts: usize,
    flags: String,
    descriptors: u64,
}

impl Stage {
    /// # Errors
    /// A backend does not start.
    pub fn set(options: &Options, nginx: &Tool, wrk: Tool) -> Result<Self> {
        let descriptors = raise_descriptor_limit()?;
        Ok(Self {
            fast: Backends::start(nginx)?,
            slow: slow::start()?,
            wrk,
            scratch: tempfile::Builder::new().prefix("ronde-bench-wrk-").tempdir()?,
            seconds: options.seconds,
            attempts: if options.calm { ATTEMPTS } else { 1 },
            flags: options.flags.clone(),
            descriptors,
        })
    }

    /// # Errors
    /// The proxy or wrk does not start, or the proxy is gone when it should be measured.
    pub fn run(&self, cell: &Cell, contender: &Contender) -> Result<Sample> {
        let mut calmest = self.attempt(cell, contender)?;
        for _ in 1..self.attempts {
            if calmest.others <= CALM {
                break;
            }
            let again = self.attempt(cell, contender)?;
            if again.others < calmest.others {
                calmest = again;
            }
        }
        Ok(calmest)
    }

    fn attempt(&self, cell: &Cell, contender: &Contender) -> Result<Sample> {
        let backends = match cell.backends {
            Speed::Fast => self.fast.addresses,
            Speed::Slow => self.slow,
        };
        let flags: Vec<_> = self.flags.split_whitespace().collect();
        let proxy = Proxy::start(&contender.kind, backends, &flags)?;
        let idle = idle::open(cell.idle, proxy.address, cell.path, self.descriptors)?;
        self.load(cell, &proxy, WARM_UP)?.finish()?;

        let (machine, ours) = (account::machine_cpu_time()?, account::own_cpu_time()?);
        let cpu = account::cpu_time(proxy.process.id())?;
        let wrk = self.load(cell, &proxy, self.seconds)?;
        thread::sleep(Duration::from_secs(self.seconds) * 3 / 4);
        let memory = account::memory(proxy.process.id())?;
        let seen = wrk.finish()?;
        let cpu = account::cpu_time(proxy.process.id())? - cpu;
        let (machine, ours) = (account::machine_cpu_time()? - machine, account::own_cpu_time()? - ours);
        drop(idle);

        let cores = thread::available_parallelism()?.get() as f64;
        let capacity = seen.duration.as_secs_f64() * cores;
        Ok(Sample {
            rate: seen.requests as f64 / seen.duration.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / seen.requests.max(1) as f64,
            p50: seen.p50.as_secs_f64() * 1e3,
            p99: seen.p99.as_secs_f64() * 1e3,
            memory: memory as f64 / f64::from(1 << 20),
            errors: seen.errors,
            others: machine.saturating_sub(ours).as_secs_f64() / capacity,
        })
    }

    fn load(&self, cell: &Cell, proxy: &Proxy, seconds: u64) -> Result<Wrk> {
        Wrk::start(&self.wrk, cell, proxy.address, seconds, self.scratch.path())
    }
}
