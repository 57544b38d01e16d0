//! What an admin should hear of a certificate that is shown.
//!
//! The problem: a certificate that has run out takes down no server. It serves, and every browser refuses; so somebody
//! has to be told, in words with a date, before it happens.
//!
//! To serve it is still right. To refuse would take down every other site, too, and the clients that do not look.
//!
//! Not here: what cannot be shown (`fault`).

use super::leaf::Age;
use super::pair::{Chain, Pair};
use crate::observe::date::Date;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

/// See the module. The path is that of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    NotYet(PathBuf, SystemTime),
    Late(PathBuf, SystemTime),
    Ended(PathBuf, SystemTime),
    Nameless(PathBuf),
    Alone(PathBuf),
    /// See [`Chain::Stray`].
    Disordered(PathBuf, usize),
}

impl Remark {
    /// All that there is to say `now`.
    pub fn all(pair: &Pair, now: SystemTime) -> Vec<Self> {
        let file = || pair.files.certificate.clone();
        let nameless = pair.leaf.names.is_empty().then(|| Self::Nameless(file()));
        let chain = match pair.chain {
            Chain::Whole => None,
            Chain::Alone => Some(Self::Alone(file())),
            Chain::Stray(place) => Some(Self::Disordered(file(), place)),
        };
        Self::of_age(pair, now).into_iter().chain(nameless).chain(chain).collect()
    }

    /// What there is to say of its dates.
    pub fn of_age(pair: &Pair, now: SystemTime) -> Option<Self> {
        let (file, leaf) = (pair.files.certificate.clone(), &pair.leaf);
        match leaf.age(now) {
            Age::Good => None,
            Age::NotYet => Some(Self::NotYet(file, leaf.from)),
            Age::Late => Some(Self::Late(file, leaf.until)),
            Age::Ended => Some(Self::Ended(file, leaf.until)),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = |time: &SystemTime| Date::from(*time).imf();
        match self {
            Self::NotYet(file, from) => write!(
                f,
                "the certificate in {} begins on {}; until then browsers refuse it, if the clock is right",
                file.display(),
                date(from)
            ),
            Self::Late(file, until) => write!(
                f,
                "the certificate in {} runs out on {}; look why nothing has renewed it",
                file.display(),
                date(until)
            ),
            Self::Ended(file, until) => write!(
                f,
                "the certificate in {} ran out on {}; browsers refuse it: renew it, ronde takes the new one",
                file.display(),
                date(until)
            ),
            Self::Nameless(file) => write!(
                f,
                "the certificate in {} names no host (subjectAltName); browsers refuse it",
                file.display()
            ),
            Self::Alone(file) => write!(
                f,
                "the certificate in {} comes without that of its issuer, which many clients lack: give the whole \
                 chain (certbot's fullchain.pem)",
                file.display()
            ),
            Self::Disordered(file, place) => write!(
                f,
                "certificate {place} in {} did not issue the one before it; some clients want each followed by its \
                 issuer",
                file.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Folder, made, made_between};
    use super::*;
    use rustls::crypto::ring::default_provider;
    use std::time::{Duration, UNIX_EPOCH};

    /// An hour after the beginning of 2030.
    fn new_year() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_893_456_000 + 3600)
    }

    #[test]
    fn a_certificate_is_remarked_on_with_its_date() {
        let folder = Folder::new();
        for (made, remarks) in [
            (made(&["a.example"]), &[][..]),
            (
                made_between(&["a.example"], 2031, 2032),
                &[
                    "the certificate in DIR/a.pem begins on Wed, 01 Jan 2031 00:00:00 GMT; until then browsers refuse it, \
                   if the clock is right",
                ],
            ),
            (
                made_between(&["a.example"], 2028, 2030),
                &[
                    "the certificate in DIR/a.pem ran out on Tue, 01 Jan 2030 00:00:00 GMT; browsers refuse it: renew it, \
                   ronde takes the new one",
                ],
            ),
            (
                made_between(&[], 2028, 2030),
                &[
                    "the certificate in DIR/a.pem ran out on Tue, 01 Jan 2030 00:00:00 GMT; browsers refuse it: renew \
                     it, ronde takes the new one",
                    "the certificate in DIR/a.pem names no host (subjectAltName); browsers refuse it",
                ],
            ),
        ] {
            let pair = Pair::read(&folder.write_pair("a", &made), &default_provider()).unwrap();
            let told = Remark::all(&pair, new_year());
            let told: Vec<_> = told
                .iter()
                .map(|remark| remark.to_string().replace(&*folder.path("").to_string_lossy(), "DIR/"))
                .collect();
            assert_eq!(told, remarks);
        }
    }
}
