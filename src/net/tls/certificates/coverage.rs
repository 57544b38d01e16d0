//! Whether the names of the certificates fit the hosts of the routes.
//!
//! The problem: a certificate for `www.example.com` and a route for `example.com` are each valid. Together every
//! browser refuses the site, and nothing in a log says why.
//!
//! Not here: whether a certificate is good in itself (`remark`).

use crate::config::{Config, Host};

/// A line for each host of a route that no certificate names, and for each name that no route is for.
pub fn remarks(config: &Config, names: &[String]) -> Vec<String> {
    let hosts: Vec<&Host> = config.route.iter().flat_map(|route| &route.hosts).collect();
    let takes_any = !config.backend.is_empty() || config.route.iter().any(|route| route.hosts.is_empty());
    let bare = hosts.iter().filter(|host| !names.iter().any(|name| is_for(name, host)));
    let bare = bare.map(|host| format!("no certificate names {host}, for which there is a route"));
    let idle = names.iter().filter(|name| !takes_any && !hosts.iter().any(|host| is_for(name, host)));
    let idle = idle.map(|name| format!("no route is for {name}, which a certificate names"));
    let mut lines: Vec<_> = bare.chain(idle).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Whether a certificate with this name is for this host, or for a part of what the host stands for.
fn is_for(name: &str, host: &Host) -> bool {
    let label_above = |name: &str, below: &str| {
        name.strip_suffix(below)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty() && !label.contains('.'))
    };
    match (name.strip_prefix("*."), host) {
        (None, Host::Exact(host)) => name == host,
        (Some(below), Host::Exact(host)) => label_above(host, below),
        (None, Host::Below(host)) => name.strip_suffix(&**host).is_some_and(|rest| rest.ends_with('.')),
        (Some(below), Host::Below(host)) => {
            below == host || below.strip_suffix(&**host).is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_for_a_host() {
        let (exact, below) = (|name: &str| Host::Exact(name.into()), |name: &str| Host::Below(name.into()));
        for (name, host, expected) in [
            ("example.com", exact("example.com"), true),
            ("www.example.com", exact("example.com"), false),
            ("*.example.com", exact("www.example.com"), true),
            ("*.example.com", exact("example.com"), false),
            ("*.example.com", exact("a.b.example.com"), false),
            ("*.example.com", exact("wwwexample.com"), false),
            ("[::1]", exact("[::1]"), true),
            // A route for all names below one is served in part.
            ("a.example.com", below("example.com"), true),
            ("a.b.example.com", below("example.com"), true),
            ("example.com", below("example.com"), false),
            ("notexample.com", below("example.com"), false),
            ("*.example.com", below("example.com"), true),
            ("*.a.example.com", below("example.com"), true),
            ("*.notexample.com", below("example.com"), false),
            ("*.com", below("example.com"), false),
        ] {
            assert_eq!(is_for(name, &host), expected, "{name} {host}");
        }
    }
}
