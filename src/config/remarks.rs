//! What is allowed, and surely not meant.
//!
//! The problem: some mistakes are no errors. Each is within its bounds, and so it serves; but an admin wants to know.
//!
//! Not here: errors (`value`, `command`).

use super::value::time_text;
use super::{Config, Listen};

impl Config {
    /// One warning each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let idle = self.idle_checks().into_iter().chain(self.idle_mode());
        let checks = idle.chain(self.with_routes().find_map(Config::long_check));
        let odd = self.odd_access_lists().into_iter().chain(self.remarks_on_backends());
        let odd = odd.chain(self.odd_https_port()).chain(self.refused_health());
        self.many_workers().into_iter().chain(checks).chain(odd).chain(self.remarks_on_fields()).collect()
    }

    /// Settings of a check that there is none of.
    fn idle_checks(&self) -> Option<String> {
        let unused = |flag: &str, other: &str| Some(format!("{flag} changes nothing without {other}"));
        // A route may have a check of its own, and inherits what it does not say about it.
        let has_path = self.with_routes().any(|config| config.health_path.is_some());
        let has_checks = self.with_routes().any(|config| config.check_interval().is_some());
        match self {
            Config { health_host: Some(_), .. } if !has_path => unused("--health-host", "--health-path"),
            _ if !has_path && self.health_status != Config::default().health_status => {
                unused("--health-status", "--health-path")
            }
            Config { health_timeout: Some(_), .. } if !has_checks => {
                unused("--health-timeout", "--health-path or --health-interval")
            }
            _ => None,
        }
    }

    /// A mode of files that there are none of.
    fn idle_mode(&self) -> Option<String> {
        let mut listens = self.listen.iter().chain(&self.tls_listen);
        let has_file = listens.any(|listen| matches!(listen, Listen::Unix(_)));
        (!has_file && self.listen_mode != Config::default().listen_mode).then(|| {
            "--listen-mode changes nothing without a Unix socket in --listen or --tls-listen".to_string()
        })
    }

    fn long_check(&self) -> Option<String> {
        let (timeout, interval) = (self.health_timeout?, self.check_interval()?);
        (timeout > interval).then(|| {
            format!(
                "--health-timeout {} is longer than --health-interval {}: a check ends when the next one begins",
                time_text(timeout),
                time_text(interval)
            )
        })
    }
}
