//! What TLS needs of the configuration: certificates with their keys, and what goes with them.
//!
//! ```toml
//! [[tls]]
//! certificate = "/etc/letsencrypt/live/example.com/fullchain.pem"
//! key = "/etc/letsencrypt/live/example.com/privkey.pem"
//! ```
//!
//! The problem: a certificate and its key are two files, and two flags. So they are two rows of the table, whose values
//! belong together by their places; a `[[tls]]` of the file adds a value to each.
//!
//! Not here: what is in the files (`net::tls`).

use super::error::{Error, shown};
use super::{Config, RawValue, Setting, row};
use std::path::PathBuf;

/// A certificate chain and its key, as files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The reader of `--tls-certificate` and `--tls-key`.
pub(super) fn pem_file(raw: &RawValue, _: &Setting) -> Result<PathBuf, String> {
    let text = &raw.text;
    match text.starts_with("-----BEGIN") {
        true => Err("this is a certificate or a key itself; give the name of its file".to_owned()),
        false => Ok(PathBuf::from(text)),
    }
}

/// The reader of `--hsts`: the directives of RFC 6797 §6.1. An unknown one is a mistake: browsers would ignore it.
pub(super) fn hsts(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let text = &raw.text;
    let advice = "give max-age=SECONDS, and perhaps includeSubDomains and preload, divided by semicolons";
    let mut seen = Vec::new();
    for directive in text.split(';').map(str::trim) {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (directive, None),
        };
        let name = name.to_ascii_lowercase();
        let is_valid = match &*name {
            "max-age" => value.is_some_and(is_seconds),
            "includesubdomains" | "preload" => value.is_none(),
            _ => false,
        };
        if !is_valid {
            return Err(format!("{} is no directive of it; {advice}", shown(directive)));
        }
        if seen.contains(&name) {
            return Err(format!("{name} is given twice"));
        }
        seen.push(name);
    }
    match seen.iter().any(|name| name == "max-age") {
        true => Ok(text.clone()),
        false => Err(format!("{} has no max-age; {advice}", shown(text))),
    }
}

/// Up to ten digits: three centuries, and a number for every browser.
fn is_seconds(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Config {
    /// Every certificate with its key. The first is for clients that name no host, or one that no certificate has.
    pub fn certificates(&self) -> Vec<CertificateFiles> {
        let pairs = self.tls_certificate.iter().zip(&self.tls_key);
        pairs
            .map(|(certificate, key)| CertificateFiles { certificate: certificate.clone(), key: key.clone() })
            .collect()
    }

    /// The settings of what goes to `--acme-challenge`. Its server may run for the minute of a renewal alone, so
    /// nothing takes it out of the round, and nothing asks whether it is well. An issuer asks from addresses that it does not
    /// tell (RFC 8555 §10.2), so no list keeps it out.
    pub fn challenges(&self) -> Option<Config> {
        let backend = vec![self.acme_challenge.clone()?];
        let (route, allow, deny) = (Vec::new(), Vec::new(), Vec::new());
        let (health_path, health_interval, max_fails) = (None, None, 0);
        Some(Config { backend, route, allow, deny, health_path, health_interval, max_fails, ..self.clone() })
    }

    /// # Errors
    /// There is a certificate without a key, or one twice.
    pub(super) fn check_certificates(&self) -> Result<(), Error> {
        let (certificates, keys) = (&self.tls_certificate, &self.tls_key);
        let fault = |row: &Setting, fault: String| Err(Error::at(row.flag, fault));
        match (certificates.len(), keys.len()) {
            (0, 0) => return Ok(()),
            _ if cfg!(not(feature = "tls")) => {
                return fault(&row::tls_certificate, WITHOUT_TLS.to_owned());
            }
            (1.., 0) => {
                return fault(&row::tls_certificate, format!("has no key; add {}", row::tls_key.flag));
            }
            (0, 1..) => {
                let flag = row::tls_certificate.flag;
                return fault(&row::tls_key, format!("has no certificate; add {flag}"));
            }
            (some, others) if some != others => {
                return fault(
                    &row::tls_key,
                    format!("{others} for {some} certificates; give one for each, in the same order"),
                );
            }
            _ => {}
        }
        let repeated =
            certificates.iter().enumerate().find(|(place, file)| certificates[..*place].contains(file));
        match repeated {
            Some((_, file)) => fault(&row::tls_certificate, format!("{} is given twice", file.display())),
            None => Ok(()),
        }
    }

    /// # Errors
    /// Something listens with TLS, and has no certificate to show; or this build has no TLS.
    pub(super) fn check_tls_listeners(&self) -> Result<(), Error> {
        match self.tls_listen.is_empty() {
            false if cfg!(not(feature = "tls")) => Err(Error::at(row::tls_listen.flag, WITHOUT_TLS)),
            false if self.tls_certificate.is_empty() => {
                let fault =
                    "needs a certificate; add --tls-certificate and --tls-key, or [[tls]] in the file";
                Err(Error::at(row::tls_listen.flag, fault))
            }
            _ => Ok(()),
        }
    }

    /// A setting that does nothing without TLS, unless a socket is passed for it: of that only the server knows.
    pub fn idle_tls(&self) -> Option<String> {
        if !self.tls_listen.is_empty() {
            return None;
        }
        let listen = format!("{}, or a socket that is passed as https", row::tls_listen.flag);
        // Behind a proxy that speaks TLS for ronde, what came to that without is redirected.
        if self.redirect_to_https && self.trust_proxy.is_empty() {
            let flag = row::redirect_to_https.flag;
            return Some(format!("{flag} sends clients where nothing listens; add {listen}"));
        }
        let idle =
            [(&row::tls_certificate, !self.tls_certificate.is_empty()), (&row::hsts, self.hsts.is_some())];
        let (row, _) = idle.into_iter().find(|(_, is_given)| *is_given)?;
        Some(format!("{} changes nothing without {listen}", row.flag))
    }

    /// A redirect to https names no port (`http1::https`). Whether 443 leads to another one is known to what is in front.
    pub(super) fn odd_https_port(&self) -> Option<String> {
        const HTTPS: u16 = 443;
        let other = self.tls_listen.first()?;
        let is_there = self.tls_listen.iter().any(|listen| listen.port() == Some(HTTPS));
        (self.redirect_to_https && self.trust_proxy.is_empty() && !is_there).then(|| {
            format!(
                "{} sends clients to port {HTTPS}, and no {} has it; see that something leads from there to {other}",
                row::redirect_to_https.flag,
                row::tls_listen.flag
            )
        })
    }
}

const WITHOUT_TLS: &str = "this ronde was built without TLS";
