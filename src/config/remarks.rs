//! What is allowed, and surely not meant.
//!
//! The problem: some mistakes are no errors. Each is within its bounds, and so it serves; but an admin wants to know.
//!
//! Not here: errors (`value`, `command`).

use super::value::time_text;
use super::{Action, Config, Host, Listen, row};

impl Config {
    /// One warning each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let idle = self.idle_checks().into_iter().chain(self.idle_mode()).chain(self.idle_admin());
        let checks = idle.chain(self.with_routes().find_map(Config::long_check));
        let odd = self.odd_access_lists().into_iter().chain(self.remarks_on_backends());
        let odd = odd.chain(self.odd_https_port()).chain(self.refused_health()).chain(self.circles());
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

    /// Settings of an admin listener that there is none of.
    fn idle_admin(&self) -> Option<String> {
        let idle = match self {
            Config { admin: Some(_), .. } => None,
            Config { admin_allow_changes: true, .. } => Some(&row::admin_allow_changes),
            _ if !self.admin_allow.is_empty() => Some(&row::admin_allow),
            _ if !self.admin_host.is_empty() => Some(&row::admin_host),
            _ => None,
        };
        idle.map(|row| format!("{} changes nothing without {}", row.flag, row::admin.flag))
    }

    /// Routes that send clients of a host to the same host, by a scheme that they come back by. Without TLS, `https` may be
    /// another program's.
    fn circles(&self) -> impl Iterator<Item = String> {
        self.route.iter().filter_map(|route| {
            let Action::Redirect(origin) = &route.action else { return None };
            let (scheme, authority) = origin.split_once("://")?;
            let comes_back = scheme == "http" || !self.tls_listen.is_empty();
            let is_own = |host: &Host| matches!(host, Host::Exact(own) if own.eq_ignore_ascii_case(authority));
            (comes_back && route.hosts.iter().any(is_own)).then(|| {
                format!(
                    "the route {route} redirects to its own host, in circles; for clients without TLS there is {}",
                    row::redirect_to_https.flag
                )
            })
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
