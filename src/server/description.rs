//! The line in which a server says what it is: where it listens, in front of what, and what it may cost.
//!
//! The problem: who reads the log of last night has no configuration of last night beside it. And the most memory that the
//! settings allow is in none of them: it is a sum.
//!
//! Not here: when the line is told (`main`, `manager`).

use super::STACK;
use super::listeners::Entrance;
use crate::config::{Address, Backend, Config};
use crate::http1::forward::Scheme;
use crate::observe::logger;
use crate::proxy::conversation::{Opening, Task};
use crate::proxy::scratch::Scratch;
use std::time::Instant;

/// `listening on 127.0.0.1:8080; backends ...; 6 workers ...`
pub(super) fn describe(config: &Config, entrances: &[Entrance], admin: &[Address]) -> String {
    let addresses = |is_meant: &dyn Fn(&Entrance) -> bool| {
        let entrances = entrances.iter().filter(|entrance| is_meant(entrance));
        let addresses = entrances.filter_map(|entrance| entrance.listener.address());
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
    };
    let [plain, secured] = [Scheme::Http, Scheme::Https].map(|scheme| addresses(&|it| it.scheme == scheme));
    let mut listening = match (plain, secured) {
        (plain, secured) if secured.is_empty() => format!("on {plain}"),
        (plain, secured) if plain.is_empty() => format!("with TLS on {secured}"),
        (plain, secured) => format!("on {plain}; with TLS on {secured}"),
    };
    let headed = addresses(&|it| it.opening == Opening::ProxyHeader);
    if !headed.is_empty() {
        listening += &format!("; the PROXY protocol is expected on {headed}");
    }
    if let Some(admin) = admin.first() {
        listening += &format!("; admin on {admin}");
    }
    let backends: Vec<_> = config.backend.iter().map(Backend::with_options).collect();
    let mut served = Vec::new();
    if !backends.is_empty() || config.route.is_empty() {
        served.push(format!("backends {}", backends.join(", ")));
    }
    if !config.route.is_empty() {
        served.push(format!("routes {}", config.route.len()));
    }
    format!(
        "listening {listening}; {}; {} workers; at most {} connections and {} MB of memory \
         (and what the kernel takes for sockets)",
        served.join("; "),
        config.worker_count(),
        config.max_connections,
        memory_ceiling(config).div_ceil(1_000_000),
    )
}

/// The most user-space memory that these settings can make ronde use, in bytes.
fn memory_ceiling(config: &Config) -> usize {
    /// A connection's place in the waiter and among its deadlines, rounded up. What it keeps beside counts as parked.
    const CONNECTION: usize = 256;
    config.worker_count() * (STACK + Scratch::size(config))
        + config.max_connections * CONNECTION
        + config.queue * (size_of::<Task>() + size_of::<Instant>())
        + config.parked_memory
        + logger::MEMORY
}
