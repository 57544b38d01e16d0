//! What a certificate says of itself: the names that it is for, and from when until when.
//!
//! The problem: rustls shows a certificate and does not tell what is in it; but which one a client is shown depends on
//! the names, and what an admin has to hear of on the dates.
//!
//! Not here: whether anybody believes it. That is for the client to judge.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::time::ASN1Time;

/// What ronde needs to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// In lower case, each as a route would write it: `example.com`, `*.example.com`, `192.0.2.1`, `[::1]`. The common
    /// name is not among them: no browser has looked at it since 2017.
    pub names: Vec<String>,
    pub from: SystemTime,
    pub until: SystemTime,
}

/// Where a moment lies in the life of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    NotYet,
    Good,
    /// It ends soon, and something should have renewed it by now.
    Late,
    Ended,
}

/// A certificate for 90 days is renewed a month before its end.
const LATE: Duration = Duration::from_secs(14 * 24 * 3600);

impl Leaf {
    /// `None`: it is none, or has dates that no calendar has.
    pub fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let validity = certificate.validity();
        Some(Self {
            names: names(certificate),
            from: time(validity.not_before)?,
            until: time(validity.not_after)?,
        })
    }

    /// The last second belongs to its life (RFC 5280 §4.1.2.5).
    pub fn age(&self, now: SystemTime) -> Age {
        let whole = self.until.duration_since(self.from).unwrap_or_default();
        // One for six days would be late all its life.
        let late = LATE.min(whole / 3);
        match self.until.duration_since(now) {
            _ if now < self.from => Age::NotYet,
            Err(past) if past.duration() >= Duration::from_secs(1) => Age::Ended,
            Ok(left) if left > late => Age::Good,
            _ => Age::Late,
        }
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    // An extension that cannot be read names nothing, for clients neither.
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| &extension.value.general_names[..]).unwrap_or_default();
    names.iter().filter_map(host).collect()
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => {
            let name = name.to_ascii_lowercase();
            Some(name.strip_suffix('.').unwrap_or(&name).to_owned())
        }
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => Some(IpAddr::from(v4).to_string()),
            (_, Ok(v6)) => Some(format!("[{}]", IpAddr::from(v6))),
            _ => None,
        },
        _ => None,
    }
}

fn time(time: ASN1Time) -> Option<SystemTime> {
    let seconds = time.timestamp();
    let since = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(since) } else { UNIX_EPOCH.checked_add(since) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_late_two_weeks_before_its_end_or_in_its_last_third() {
        const DAY: i64 = 24 * 3600;
        let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap());
        let from = 1_000 * DAY;
        for (life, moments) in [
            (
                90 * DAY,
                &[
                    (-1, Age::NotYet),
                    (0, Age::Good),
                    (76 * DAY - 1, Age::Good),
                    (76 * DAY, Age::Late),
                    (90 * DAY, Age::Late),
                    (90 * DAY + 1, Age::Ended),
                ][..],
            ),
            (6 * DAY, &[(4 * DAY - 1, Age::Good), (4 * DAY, Age::Late), (7 * DAY, Age::Ended)][..]),
            // Backwards: it is never good.
            (-DAY, &[(-1, Age::NotYet), (0, Age::Ended)][..]),
        ] {
            let leaf = Leaf { names: vec![], from: at(from), until: at(from + life) };
            for (moment, age) in moments {
                assert_eq!(leaf.age(at(from + moment)), *age, "{life} {moment}");
            }
        }
    }
}
