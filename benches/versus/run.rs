//! Runs one proxy in one cell.

use crate::cells::{Cell, Speed};
use crate::floor;
use crate::idle;
use crate::load::Load;
use crate::options::{Lifetime, Options};
use crate::results::Sample;
use crate::slow::{self, Late};
use crate::stage::backends::Backends;
use crate::stage::proxies::{Kind, Proxy};
use crate::stage::site::Site;
use crate::stage::tls::Pair;
use crate::stage::tools::{Tool, given_or_found};
use crate::stage::{account, raise_descriptor_limit};
use anyhow::Result;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Seconds of load before the measurement, so that pools fill, buffers grow and the clock rate rises.
const WARM_UP: u64 = 1;

/// A run is calm if other processes use at most this share of the machine. The kernel schedules all threads alike, so
/// other processes slow down a proxy with two threads more than one with many, and skew the ratios.
pub const CALM: f64 = 0.05;

/// The most runs with `--calm`; the calmest of them counts.
const ATTEMPTS: usize = 5;

/// A proxy in the comparison.
#[derive(Clone, Debug)]
pub struct Contender {
    pub name: String,
    pub kind: Kind,
}

impl Contender {
    /// ronde first, then its peers, then the floor, then the second ronde.
    ///
    /// # Errors
    /// A peer is missing, or the system does not tell where this program is.
    pub fn all(options: &Options) -> Result<Vec<Self>> {
        let ronde = |path: &Path| Kind::Ronde { program: Tool::at(path.to_owned(), "--version") };
        let contender = |name: &str, kind| Self { name: name.to_owned(), kind };
        let mut all = vec![contender("ronde", ronde(&options.ronde))];
        if options.with_peers {
            let nginx = given_or_found(options.nginx.as_deref(), "nginx")?;
            let haproxy = given_or_found(options.haproxy.as_deref(), "haproxy")?;
            all.push(contender("nginx", Kind::Nginx { program: nginx }));
            all.push(contender("haproxy", Kind::Haproxy { program: haproxy }));
        }
        let program = Tool { path: env::current_exe()?, version: "(benches/versus/floor.rs)".to_owned() };
        all.push(contender("floor", Kind::Floor { program, argument: floor::ARGUMENT }));
        all.extend(options.beside.iter().map(|path| contender("beside", ronde(path))));
        Ok(all)
    }

    /// Whether it has a run in this cell.
    pub fn takes_part(&self, cell: &Cell) -> bool {
        cell.has_floor() || !matches!(self.kind, Kind::Floor { .. })
    }
}

/// Everything that a run needs besides the proxy.
#[derive(Debug)]
pub struct Setup {
    /// With [`Lifetime::AllRuns`]; one of each contender before each kind of backends, with TLS or
    /// without.
    running: HashMap<(String, Speed, Site, bool), Rc<Proxy>>,
    lifetime: Lifetime,
    fast: Backends,
    /// Each pair is started by the first cell that needs it.
    late: HashMap<Late, [SocketAddr; 2]>,
    /// Only where a cell needs them.
    many: Option<Backends>,
    wrk: Tool,
    scratch: TempDir,
    /// For all proxies.
    pair: Pair,
    seconds: u64,
    attempts: usize,
    flags: String,
    descriptors: u64,
}

impl Setup {
    /// Starts the backends.
    ///
    /// # Errors
    /// A backend does not start.
    pub fn start(options: &Options, nginx: &Tool, wrk: Tool) -> Result<Self> {
        let descriptors = raise_descriptor_limit()?;
        let scratch = tempfile::Builder::new().prefix("ronde-bench-wrk-").tempdir()?;
        Ok(Self {
            running: HashMap::new(),
            lifetime: options.lifetime,
            fast: Backends::two(nginx)?,
            late: HashMap::new(),
            many: match options.cells.iter().any(|cell| cell.site == Site::Backends) {
                true => Some(Backends::many(nginx)?),
                false => None,
            },
            wrk,
            pair: Pair::make(scratch.path())?,
            scratch,
            seconds: options.seconds,
            attempts: if options.calm { ATTEMPTS } else { 1 },
            flags: options.flags.clone(),
            descriptors,
        })
    }

    /// Runs one proxy in one cell, with `--calm` until a run is calm.
    ///
    /// # Errors
    /// The proxy or wrk does not start, or the proxy has ended before the measurement.
    pub fn run(&mut self, cell: &Cell, contender: &Contender) -> Result<Sample> {
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

    fn attempt(&mut self, cell: &Cell, contender: &Contender) -> Result<Sample> {
        let proxy = self.proxy(cell, contender)?;
        let idle = idle::open(cell, proxy.address, self.descriptors)?;
        self.load(cell, &proxy, WARM_UP)?.finish()?;

        let (machine, own) = (account::machine_cpu_time()?, account::own_cpu_time()?);
        let process = proxy.process.id();
        let (cpu, switches) = (account::cpu_time(process)?, account::context_switches(process)?);
        let load = self.load(cell, &proxy, self.seconds)?;
        thread::sleep(Duration::from_secs(self.seconds) * 3 / 4);
        let memory = account::memory(process)?;
        let outcome = load.finish()?;
        let cpu = account::cpu_time(process)? - cpu;
        let switches = account::context_switches(process)?.saturating_sub(switches);
        let (machine, own) = (account::machine_cpu_time()? - machine, account::own_cpu_time()? - own);
        drop(idle);

        let cores = thread::available_parallelism()?.get() as f64;
        let requests = outcome.requests.max(1) as f64;
        let capacity = outcome.duration.as_secs_f64() * cores;
        Ok(Sample {
            rate: outcome.requests as f64 / outcome.duration.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / requests,
            p50: outcome.p50.as_secs_f64() * 1e3,
            p99: outcome.p99.as_secs_f64() * 1e3,
            memory: memory as f64 / f64::from(1 << 20),
            switches: switches as f64 / requests,
            errors: outcome.errors,
            others: machine.saturating_sub(own).as_secs_f64() / capacity,
        })
    }

    /// A proxy that runs since an earlier run, or a new one.
    fn proxy(&mut self, cell: &Cell, contender: &Contender) -> Result<Rc<Proxy>> {
        let key = (contender.name.clone(), cell.backends, cell.site, cell.tls.is_some());
        if let Some(proxy) = self.running.get(&key) {
            return Ok(Rc::clone(proxy));
        }
        let backends = match (cell.site, cell.backends, &self.many) {
            (Site::Backends, _, Some(many)) => &many.addresses,
            (_, Speed::Fast, _) => &self.fast.addresses,
            (_, Speed::Late(late), _) => match self.late.entry(late) {
                Entry::Occupied(backends) => &backends.into_mut()[..],
                Entry::Vacant(place) => &place.insert(slow::start(late)?)[..],
            },
        };
        let flags: Vec<_> = self.flags.split_whitespace().collect();
        let proxy = Rc::new(Proxy::start(
            &contender.kind,
            cell.site,
            cell.tls.map(|_| &self.pair),
            backends,
            &flags,
        )?);
        if self.lifetime == Lifetime::AllRuns {
            self.running.insert(key, Rc::clone(&proxy));
        }
        Ok(proxy)
    }

    fn load(&self, cell: &Cell, proxy: &Proxy, seconds: u64) -> Result<Load> {
        Load::start(&self.wrk, cell, proxy.address, seconds, self.scratch.path())
    }
}
