//! Whether ronde could listen where it is to listen, without listening there: for `ronde check`.
//!
//! The problem: a directory that is missing and an address that the machine does not have are mistakes in the settings, and
//! a start refuses them. But a check runs beside the ronde that serves, and must neither need its ports nor take them for a
//! moment. So it asks for the address without the port, and looks at the path of a Unix socket without making one.
//!
//! Not here: listening, and the words of the errors (`listeners`).

use super::listeners::StartError;
use crate::config::{Address, Config, Listen};
use crate::net::listener::{Claim, try_address, try_path};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The addresses that a start would refuse. A port in use is none of them, nor one that needs a privilege.
pub fn refused(config: &Config) -> Vec<StartError> {
    let clients = [&config.listen, &config.tls_listen].into_iter().flat_map(|wanted| {
        // What another includes is not opened.
        wanted.iter().filter(|listen| !wanted.iter().any(|other| other.includes(listen)))
    });
    let clients = clients.filter_map(|listen| refusal(listen, config));
    let admin = config.admin.iter().filter_map(|admin| refusal(admin, config));
    clients.chain(admin.map(|error| StartError::Admin(Box::new(error)))).collect()
}

fn refusal(listen: &Listen, config: &Config) -> Option<StartError> {
    let (address, tried) = match listen {
        Listen::At(address) => (Address::Tcp(*address), try_address(*address, Claim::of(config))),
        Listen::Unix(path) => (Address::Unix(Arc::clone(path)), excuse(path, try_path(path))),
        // Every machine has these.
        Listen::Every(_) | Listen::Localhost(_) => return None,
    };
    tried.err().map(|error| StartError::Bind(address, error))
}

/// A directory below /run may be made by the start itself (`RuntimeDirectory=` of the unit), and is gone with its service.
fn excuse(path: &Path, tried: io::Result<()>) -> io::Result<()> {
    let is_fleeting = ["/run", "/var/run"].iter().any(|run| path.starts_with(run));
    match tried {
        Err(error) if error.kind() == ErrorKind::NotFound && is_fleeting => Ok(()),
        tried => tried,
    }
}
