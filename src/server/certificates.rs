//! The certificates of the listeners with TLS: read at the start and by a reload, and then looked after.
//!
//! The problem: a certificate that is configured and not shown to anybody need not even exist; and a listener whose TLS a reload has
//! taken away may still have handshakes under way.
//!
//! Not here: reading them, and which one a client is shown (`net::tls`).

use super::activation;
use super::listeners::{Entrance, StartError};
use crate::config::Config;
use crate::net::tls::{Certificates, Renewal};
use crate::proxy::site::Site;
use std::time::SystemTime;

/// What the listeners with TLS show; nothing is read without one. Then there may still be handshakes from `before` a reload.
pub(super) fn load(
    config: &Config,
    entrances: &[Entrance],
    before: Option<&Certificates>,
) -> Result<Option<Certificates>, StartError> {
    if !activation::is_tls_served(config, entrances) {
        config.idle_tls().iter().for_each(|remark| log::warn!("{remark}"));
        return Ok(before.map(Certificates::withdrawn));
    }
    let files = config.certificates();
    let loaded = before.map_or_else(|| Certificates::load(&files), |before| before.reload(&files));
    loaded.map(Some).map_err(StartError::Certificates)
}

/// Looks after the certificates from now on, where a listener shows them. What there is to say of them is said before.
pub(super) fn begin_renewal(site: &Site, entrances: &[Entrance]) -> Option<Renewal> {
    let shown = site.certificates.as_ref().filter(|_| activation::is_tls_served(&site.config, entrances));
    shown.map(|certificates| {
        let now = SystemTime::now();
        certificates.remarks(&site.config, now).iter().for_each(|remark| log::warn!("{remark}"));
        certificates.renewal(now)
    })
}
