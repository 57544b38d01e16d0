//! What one may ask of the bench.

use crate::proxies::{self, Programs};
use anyhow::{Result, ensure};
use pico_args::Arguments;
use std::time::Duration;

pub const HELP: &str = "\
cargo bench --bench hazards -- [HAZARD ...] [FLAGS]

  HAZARD               by its name; all without
  --proxies LIST       of these, with commas [ronde,nginx,haproxy]. ronde has 8 workers before the first hazards and
                       its default before those from slow-readers-8000 on; ronde-4 has 4 before all of them
  --ronde PATH         this program as ronde, not the one that cargo built
  --beside PATH        one more ronde, by the name beside (beside-4 has 4 workers)
  --seconds S          that a prober asks before each hazard [10]
  --size N             clients of the hazards that hold 8,000 [8000]
  --steady-seconds S   that steady-readers lasts [180; at most 400, then its responses end]
  --this-network       use the machine's network; without, root gets one of its own, with Reno
  --list               name the hazards, run nothing
";

/// A third of a response of 16 MB is in buffers; the rest lasts so long at 20 KB/s.
const LONGEST: u64 = 400;

pub struct Options {
    pub proxies: Vec<String>,
    pub programs: Programs,
    pub duration: Duration,
    pub steady: Duration,
    /// What the crowds of 8,000 are to be.
    pub size: usize,
    /// Descriptors a process may have.
    pub descriptors: u64,
}

impl Options {
    /// # Errors
    /// A flag without its value, or with a wrong one.
    pub fn read(arguments: &mut Arguments, descriptors: u64) -> Result<Self> {
        let path = |text: &str| Ok::<_, std::convert::Infallible>(text.into());
        let ronde = arguments.opt_value_from_fn("--ronde", path)?;
        let beside = arguments.opt_value_from_fn("--beside", path)?;
        let proxies: Option<String> = arguments.opt_value_from_str("--proxies")?;
        let mut proxies: Vec<String> = match proxies {
            Some(proxies) => proxies.split(',').map(str::to_owned).collect(),
            None => proxies::NAMES.map(str::to_owned).to_vec(),
        };
        if beside.is_some() && !proxies.iter().any(|name| name.starts_with("beside")) {
            proxies.insert(1.min(proxies.len()), "beside".to_owned());
        }
        let steady = arguments.opt_value_from_str("--steady-seconds")?.unwrap_or(180);
        ensure!(steady <= LONGEST, "--steady-seconds is at most {LONGEST}");
        Ok(Self {
            proxies,
            programs: Programs::new(ronde, beside),
            duration: Duration::from_secs(arguments.opt_value_from_str("--seconds")?.unwrap_or(10)),
            steady: Duration::from_secs(steady),
            size: arguments.opt_value_from_str("--size")?.unwrap_or(8_000),
            descriptors,
        })
    }
}
