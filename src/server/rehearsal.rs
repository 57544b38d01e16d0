//! Whether ronde could listen where it is to listen, without listening there: for `ronde check`.
//!
//! The problem: a directory that is missing, an address that the machine does not have and a backend that is ronde itself
//! are mistakes in the settings, and a start refuses them. But a check runs beside the ronde that serves, and must neither
//! need its ports nor take them for a moment. So it asks for the address without the port, and looks at the path of a Unix
//! socket without making one.
//!
//! Not here: listening, and the words of the errors (`listeners`).

use super::listeners::{Refused, StartError};
use crate::config::{Address, Config, Listen, row};
use crate::net::listener::{Claim, reaches, try_address, try_path};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The addresses that a start would refuse. A port in use is none of them, nor one that needs a privilege.
pub fn refused(config: &Config) -> Vec<StartError> {
    let mut refused = refused_listens(config);
    refused.extend(own_backends(config).into_iter().map(StartError::Myself));
    refused
}

/// The backends that lead straight back to what is to be listened on.
fn own_backends(config: &Config) -> Vec<Address> {
    let own: Vec<_> = config.listen.iter().chain(&config.tls_listen).flat_map(Listen::addresses).collect();
    let leads_back = |address: &Address| {
        own.iter().any(|own| match (own, address) {
            (Address::Tcp(own), Address::Tcp(address)) => reaches(*own, *address),
            (own, address) => own == address,
        })
    };
    let challenges = config.challenges();
    let backends = config.with_routes().chain(&challenges).flat_map(|config| &config.backend);
    let mut found: Vec<_> = backends.filter_map(|it| it.endpoint.address()).filter(leads_back).collect();
    found.dedup();
    found
}

fn refused_listens(config: &Config) -> Vec<StartError> {
    let admin: Vec<_> = config.admin.iter().cloned().collect();
    let all = [
        (row::listen.flag, &config.listen),
        (row::tls_listen.flag, &config.tls_listen),
        (row::admin.flag, &admin),
    ];
    let refused = all.into_iter().flat_map(|(flag, wanted)| {
        // What another includes is not opened.
        let opened = wanted.iter().filter(|listen| !wanted.iter().any(|other| other.includes(listen)));
        opened.filter_map(move |listen| Some(StartError::Bind(flag, refusal(listen, config)?)))
    });
    refused.collect()
}

fn refusal(listen: &Listen, config: &Config) -> Option<Refused> {
    let (address, tried) = match listen {
        Listen::At(address) => (Address::Tcp(*address), try_address(*address, Claim::of(config))),
        Listen::Unix(path) => (Address::Unix(Arc::clone(path)), excuse(path, try_path(path))),
        // Every machine has these.
        Listen::Every(_) | Listen::Localhost(_) => return None,
    };
    tried.err().map(|error| Refused { address, error })
}

/// A directory below /run may be made by the start itself (`RuntimeDirectory=` of the unit), and is gone with its service.
fn excuse(path: &Path, tried: io::Result<()>) -> io::Result<()> {
    let is_fleeting = ["/run", "/var/run"].iter().any(|run| path.starts_with(run));
    match tried {
        Err(error) if error.kind() == ErrorKind::NotFound && is_fleeting => Ok(()),
        tried => tried,
    }
}
