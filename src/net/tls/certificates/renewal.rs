//! Renewed certificates, taken without a restart.
//!
//! The problem: a program such as certbot writes new files every other month and expects that somebody notices. It
//! writes two of them, one after the other; between the two, the new certificate stands beside the old key. And a
//! certificate that nothing renews has to be told of, in time and not a thousand times.
//!
//! The idea: a look at each pair every minute. It costs a stat(2) a file. What changed is read whole; a pair that does
//! not fit together is refused, and told of once, while the old one stays and the next look tries again.
//!
//! Not here: the minute, and the log (`server`). What a look finds is returned.

use super::fault::Fault;
use super::pair::Pair;
use super::remark::Remark;
use super::{Certificates, Shown};
use crate::config::CertificateFiles;
use crate::observe::date::Date;
use rustls::crypto::CryptoProvider;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Between two remarks on the same dates.
const REMARK_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Looks after the certificates that are shown.
#[derive(Debug)]
pub struct Renewal {
    watched: Vec<Watched>,
    shown: Arc<Shown>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Watched {
    /// That is shown.
    pair: Pair,
    /// Of the files when they were read last; `None`: before the first look.
    stamps: Option<[Stamp; 2]>,
    /// Why the files of now are refused.
    fault: Option<String>,
    /// When its dates were remarked on.
    remarked: SystemTime,
}

/// What a look has found.
#[derive(Debug)]
pub enum News {
    /// This one is shown from now on.
    Taken(Pair),
    /// The files are no pair; the one before is still shown.
    Refused(Fault),
    Remark(Remark),
}

impl Renewal {
    pub(super) fn new(
        pairs: &[Pair],
        shown: Arc<Shown>,
        provider: Arc<CryptoProvider>,
        now: SystemTime,
    ) -> Self {
        let watch = |pair: &Pair| Watched { pair: pair.clone(), stamps: None, fault: None, remarked: now };
        Self { watched: pairs.iter().map(watch).collect(), shown, provider }
    }

    /// Reads what has changed since the last look.
    pub fn look(&mut self, now: SystemTime) -> Vec<News> {
        let news: Vec<_> =
            self.watched.iter_mut().flat_map(|watched| watched.look(&self.provider, now)).collect();
        if news.iter().any(|news| matches!(news, News::Taken(_))) {
            self.shown.replace(self.watched.iter().map(|watched| &watched.pair));
        }
        news
    }

    /// Which of these, that are to be shown instead, are renewed ones of those that are looked after.
    pub fn news_of(&self, certificates: &Certificates) -> Vec<News> {
        let is_renewed = |pair: &&Pair| {
            let same = self.watched.iter().find(|watched| watched.pair.files == pair.files);
            same.is_some_and(|watched| watched.pair.certified.cert != pair.certified.cert)
        };
        certificates.pairs.iter().filter(is_renewed).cloned().map(News::Taken).collect()
    }
}

impl Watched {
    fn look(&mut self, provider: &CryptoProvider, now: SystemTime) -> Vec<News> {
        let found = self.take_renewed(provider);
        let is_due = now.duration_since(self.remarked).is_ok_and(|pause| pause >= REMARK_PAUSE);
        let remarks = match &found {
            Some(News::Taken(pair)) => Remark::all(pair, now),
            _ if is_due => Remark::of_age(&self.pair, now).into_iter().collect(),
            _ => Vec::new(),
        };
        if !remarks.is_empty() {
            self.remarked = now;
        }
        found.into_iter().chain(remarks.into_iter().map(News::Remark)).collect()
    }

    fn take_renewed(&mut self, provider: &CryptoProvider) -> Option<News> {
        // Before the files are read: what is written meanwhile is seen by the next look.
        let stamps = Some(Stamp::of_both(&self.pair.files));
        // What was refused is tried again even so: perhaps there was no descriptor left to read it.
        if stamps == self.stamps && self.fault.is_none() {
            return None;
        }
        self.stamps = stamps;
        match Pair::read(&self.pair.files, provider) {
            Ok(pair) => {
                self.fault = None;
                let is_new = pair.certified.cert != self.pair.certified.cert;
                is_new.then(|| {
                    self.pair = pair.clone();
                    News::Taken(pair)
                })
            }
            Err(fault) => {
                let told = fault.to_string();
                let is_new = self.fault.as_ref() != Some(&told);
                self.fault = Some(told);
                is_new.then_some(News::Refused(fault))
            }
        }
    }
}

/// What changes when a file does. The time of its last change of any kind (ctime) cannot be set back, as `cp -p` and
/// `rsync -t` do with that of its content; and with it a change of its owner or mode is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(u64, u64, u64, i64, i64)>);

impl Stamp {
    fn of_both(files: &CertificateFiles) -> [Self; 2] {
        [Self::of(&files.certificate), Self::of(&files.key)]
    }

    fn of(file: &Path) -> Self {
        let stamp = fs::metadata(file).map(|it| (it.dev(), it.ino(), it.size(), it.ctime(), it.ctime_nsec()));
        Self(stamp.ok())
    }
}

impl News {
    /// Whether an admin has to do something.
    pub fn is_a_warning(&self) -> bool {
        !matches!(self, Self::Taken(_))
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(pair) => write!(
                f,
                "the certificate in {} was renewed, and new connections get it; it is good until {}",
                pair.files.certificate.display(),
                Date::from(pair.leaf.until).imf()
            ),
            Self::Refused(fault) => {
                write!(f, "{fault}; the certificate that was there before is still shown")
            }
            Self::Remark(remark) => remark.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Certificates;
    use super::super::fixtures::{Folder, made, made_between};
    use super::*;
    use std::time::UNIX_EPOCH;

    const DAY: u64 = 24 * 3600;

    /// The beginning of the day that is so many days before 2040.
    fn days_before_2040(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(2_208_988_800 - days * DAY)
    }

    fn told(news: &[News]) -> Vec<&'static str> {
        let word = |news: &News| match news {
            News::Taken(_) => "taken",
            News::Refused(Fault::WrongKey { .. }) => "wrong key",
            News::Refused(Fault::BrokenPem(..)) => "broken",
            News::Refused(Fault::Unreadable(..)) => "unreadable",
            News::Refused(_) => "refused",
            News::Remark(Remark::Late(..)) => "late",
            News::Remark(Remark::Ended(..)) => "ended",
            News::Remark(_) => "remark",
        };
        news.iter().map(word).collect()
    }

    /// What handshakes are shown now.
    fn shown(renewal: &Renewal) -> Vec<Vec<u8>> {
        renewal.watched.iter().map(|it| it.pair.certified.cert[0].to_vec()).collect()
    }

    #[test]
    fn a_renewed_pair_is_taken_and_what_is_half_written_is_not() {
        let folder = Folder::new();
        let (old, new, other) = (made(&["a.example"]), made(&["a.example"]), made(&["b.example"]));
        let files = [folder.write_pair("a", &old), folder.write_pair("b", &other)];
        let now = days_before_2040(1000);
        let certificates = Certificates::load(&files).unwrap();
        let mut renewal = certificates.renewal(now);
        let at_first = shown(&renewal);
        let mut look = |news: &[&str]| assert_eq!(told(&renewal.look(now)), news);
        look(&[]);
        look(&[]);
        // The new certificate stands beside the old key: told once.
        folder.write("a.pem", &new.chain);
        look(&["wrong key"]);
        look(&[]);
        folder.write("a.key", &new.key[..40]);
        look(&["broken"]);
        std::fs::remove_file(folder.path("a.key")).unwrap();
        look(&["unreadable"]);
        look(&[]);
        folder.write("a.key", &new.key);
        look(&["taken"]);
        look(&[]);
        // Written again as it was.
        folder.write("a.key", &new.key);
        look(&[]);
        let at_last = shown(&renewal);
        assert!(at_first[0] != at_last[0] && at_first[1] == at_last[1]);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_renewal() {
        let folder = Folder::new();
        let files =
            [folder.write_pair("1", &made(&["a.example"])), folder.write_pair("2", &made(&["a.example"]))];
        let live = CertificateFiles { certificate: folder.path("live.pem"), key: folder.path("live.key") };
        let link = |files: &CertificateFiles| {
            for (from, to) in [(&files.certificate, &live.certificate), (&files.key, &live.key)] {
                let _ = std::fs::remove_file(to);
                std::os::unix::fs::symlink(from, to).unwrap();
            }
        };
        link(&files[0]);
        let now = days_before_2040(1000);
        let certificates = Certificates::load(std::slice::from_ref(&live)).unwrap();
        let mut renewal = certificates.renewal(now);
        assert_eq!(told(&renewal.look(now)), [""; 0]);
        link(&files[1]);
        assert_eq!(told(&renewal.look(now)), ["taken"]);
    }

    #[test]
    fn of_others_that_are_shown_instead_those_with_the_same_files_are_renewed() {
        let folder = Folder::new();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.write_pair(name, &made(&["a.example"])));
        let now = days_before_2040(1000);
        let certificates = Certificates::load(&[a.clone(), b.clone()]).unwrap();
        let mut renewal = certificates.renewal(now);
        assert_eq!(told(&renewal.news_of(&certificates)), [""; 0]);
        folder.write_pair("b", &made(&["a.example"]));
        let instead = certificates.reload(&[c, b, a]).unwrap();
        assert_eq!(told(&renewal.news_of(&instead)), ["taken"]);
        // It was told of already.
        renewal.look(now);
        assert_eq!(told(&renewal.news_of(&instead)), [""; 0]);
    }

    #[test]
    fn a_certificate_that_nothing_renews_is_told_of_once_a_day() {
        let folder = Folder::new();
        let files = folder.write_pair("a", &made(&["a.example"]));
        let start = days_before_2040(20) + Duration::from_secs(1);
        let mut renewal = Certificates::load(&[files]).unwrap().renewal(start);
        let mut news = Vec::new();
        // A look an hour, for 25 days.
        for hour in 0..25 * 24 {
            news.extend(told(&renewal.look(start + Duration::from_secs(hour * 3600))));
        }
        assert_eq!(news.iter().filter(|word| **word == "late").count(), 14);
        assert_eq!(news.iter().filter(|word| **word == "ended").count(), 5);
        assert_eq!(news.len(), 19);
        // The new one is bad in its own way, and told of at once; then a day of silence.
        let now = start + Duration::from_secs(25 * DAY);
        folder.write_pair("a", &made_between(&["a.example"], 2030, 2039));
        assert_eq!(told(&renewal.look(now)), ["taken", "ended"]);
        assert_eq!(told(&renewal.look(now + Duration::from_secs(60))), [""; 0]);
    }
}
