//! The admin listener's settings: by which names it may be asked, and who reaches it.
//!
//! The problem: whatever reaches the admin listener sees everything, and there is no password. So an address that other
//! machines reach is refused unless the admin says which of them may come in; that this is a decision must show in the
//! configuration.
//!
//! Not here: requests (`server::admin`).

use super::error::{Error, shown};
use super::{Config, Listen, RawValue, Setting, row};

/// The reader of `--admin-host`: a name without a port, in lower case.
pub(super) fn admin_host(raw: &RawValue, _: &Setting) -> Result<String, String> {
    let name = raw.text.to_ascii_lowercase();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match is_name && name.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(name.strip_suffix('.').map(str::to_owned).unwrap_or(name)),
        false => Err(format!("{} is no host name; give one without a port, such as ronde", shown(&raw.text))),
    }
}

impl Listen {
    /// Whether only this host reaches it.
    pub fn is_of_this_host(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Localhost(_) => true,
            Self::At(address) => address.ip().is_loopback(),
            Self::Every(_) => false,
        }
    }
}

impl Config {
    /// # Errors
    /// The admin listener is open to other machines, and nothing says to which; or it is another listener's address.
    pub(super) fn check_admin(&self) -> Result<(), Error> {
        let Some(admin) = &self.admin else { return Ok(()) };
        let fault = |fault: String| Err(Error::at(row::admin.flag, fault));
        if let Some(flag) = self.which_takes_admin() {
            return fault(format!("{admin} is an address of {flag}, too"));
        }
        match admin.is_of_this_host() || !self.admin_allow.is_empty() {
            true => Ok(()),
            false => fault(format!(
                "{admin} is reached by other machines; say which may read it, with {} CIDR, or listen on 127.0.0.1",
                row::admin_allow.flag
            )),
        }
    }

    /// The flag of the listener for clients that has the admin listener's address, too.
    pub fn which_takes_admin(&self) -> Option<&'static str> {
        let admin = self.admin.as_ref()?;
        let all = [(&self.listen, row::listen.flag), (&self.tls_listen, row::tls_listen.flag)];
        let takes = |listens: &[Listen]| listens.iter().any(|listen| admin.overlaps(listen));
        all.into_iter().find(|(listens, _)| takes(listens)).map(|(_, flag)| flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(admin: &str, allow: &str) -> Config {
        Config {
            admin: Some(admin.parse().unwrap()),
            admin_allow: allow.split_whitespace().map(|range| range.parse().unwrap()).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn what_other_machines_reach_needs_to_say_which_may() {
        for (admin, allow, is_allowed) in [
            ("127.0.0.1:9180", "", true),
            ("127.1.2.3:9180", "", true),
            ("[::1]:9180", "", true),
            ("localhost:9180", "", true),
            ("unix:/run/admin.sock", "", true),
            (":9180", "", false),
            ("0.0.0.0:9180", "", false),
            ("[::]:9180", "", false),
            ("192.0.2.7:9180", "", false),
            (":9180", "10.0.0.0/8", true),
            // The default of --listen.
            ("127.0.0.1:8080", "", false),
            (":8080", "10.0.0.0/8", false),
        ] {
            assert_eq!(config(admin, allow).check_admin().is_ok(), is_allowed, "{admin} {allow}");
        }
    }

    #[test]
    fn names_have_no_port_and_no_case() {
        let read = |text: &str| admin_host(&RawValue::new(text, "here"), &row::admin_host);
        for (text, name) in [("ronde", "ronde"), ("Ronde.Example.", "ronde.example"), ("a_b-1", "a_b-1")] {
            assert_eq!(read(text).as_deref(), Ok(name));
        }
        for text in ["ronde:9180", "http://ronde", "*", ".", "a b", "\u{e4}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
