//! What a proxy stands in front of, and how each proxy is told.
//!
//! Two backends are the usual site. The others are what a hosting company has: a thousand names, or a thousand backends.
//! They show whether a request costs more where there is more to choose from.
//!
//! Not here: settings that are the same for every site (`nginx.conf`, `haproxy.cfg`).

use crate::stage::tls::Pair;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// How many names or backends the large sites have.
pub const MANY: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// Two backends for whatever name.
    Small,
    /// [`MANY`] names with a route each, and the same two backends behind all of them.
    Names,
    /// [`MANY`] backends for whatever name.
    Backends,
}

impl Site {
    /// Names that it serves.
    pub fn names(self) -> Vec<String> {
        match self {
            Self::Small | Self::Backends => vec!["bench".to_owned()],
            Self::Names => (0..MANY).map(|number| format!("site-{number}.example")).collect(),
        }
    }

    /// ronde's file, where there is one; otherwise the backends are arguments.
    pub fn ronde(self, backends: &[SocketAddr]) -> Option<String> {
        if self != Self::Names {
            return None;
        }
        let backends = backends.iter().map(|backend| format!("{:?}", backend.to_string()));
        let backends = backends.collect::<Vec<_>>().join(", ");
        let route = |name: String| format!("[[route]]\nhost = {name:?}\nbackend = [{backends}]\n");
        Some(self.names().into_iter().map(route).collect())
    }

    /// nginx's upstream servers, and its `server` blocks made of this one.
    pub fn nginx(self, listen: SocketAddr, backends: &[SocketAddr], block: &str) -> (String, String) {
        let servers = lines(backends.iter().map(|backend| format!("server {backend};")));
        let mut blocks = String::new();
        for (number, name) in self.names().iter().enumerate() {
            // Only one of the blocks may say how the socket is opened.
            let options = if number == 0 { " backlog=4096" } else { "" };
            blocks += &block.replace("@LISTEN@", &format!("{listen}{options}")).replace("@NAME@", name);
        }
        (servers, blocks)
    }

    /// HAProxy's rule that chooses among its backends, and its servers.
    pub fn haproxy(self, backends: &[SocketAddr], map: &str) -> (String, String) {
        let rule = match self {
            Self::Small | Self::Backends => "default_backend backends".to_owned(),
            Self::Names => format!("use_backend %[req.hdr(host),map_str({map})]"),
        };
        let server = |(number, backend)| format!("server server{number} {backend} pool-purge-delay 1h");
        (rule, lines(backends.iter().enumerate().map(server)))
    }

    /// HAProxy's map from names to backends.
    pub fn haproxy_map(self) -> String {
        lines(self.names().into_iter().map(|name| format!("{name} backends")))
    }
}

/// What nginx is told of TLS: an option of its listeners, and lines for all of them.
pub fn nginx_tls(pair: Option<&Pair>) -> (&'static str, String) {
    let Some(Pair { certificate, key, .. }) = pair else { return ("", String::new()) };
    let lines = [
        format!("ssl_certificate {};", certificate.display()),
        format!("ssl_certificate_key {};", key.display()),
        "ssl_protocols TLSv1.3;".to_owned(),
        "ssl_ecdh_curve X25519;".to_owned(),
    ];
    (" ssl", lines.join("\n    "))
}

/// What HAProxy is told of TLS: options of its listener, and the scheme for the backends.
pub fn haproxy_tls(pair: Option<&Pair>) -> (String, &'static str) {
    let Some(Pair { both, .. }) = pair else { return (String::new(), "http") };
    (format!(" ssl crt {} ssl-min-ver TLSv1.3 curves X25519", both.display()), "https")
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}
