//! The reload: the configuration is read again, and what it makes takes the place of what there is, without a request lost.
//!
//! The problem: a file that is wrong, a certificate that does not fit its key or an address that cannot be had must change
//! nothing, though half of it has been done by then. And reading files, looking up names and first checks take seconds in
//! which a stop must be heard.
//!
//! ```text
//! order ─▶ a thread builds the new site: file, certificates, names, first checks ─▶ listeners open
//!       ─▶ backends take over from those before ─▶ the site is in force ─▶ what is gone closes
//! ```
//!
//! Up to the last but one step everything can be dropped again. A worker takes the new site with its next batch; a request
//! that is under way, a tunnel too, ends with the route that it has.
//!
//! Not here: what a worker holds (`proxy::site`), which backend is which (`backend::succession`), and closing listeners
//! (`acceptor`).

use super::certificates::{self, begin_renewal};
use super::listeners::{Entrance, Reached, StartError, listen_all, refuse_all_myself, withdraw_new};
use super::orders::{Asker, Outcome};
use super::{activation, bound_by_descriptors};
use crate::config::value::count_text;
use crate::config::{Config, Listen, row};
use crate::net::tls::{News, Renewal};
use crate::net::waker::Waker;
use crate::observe::metrics::Metrics;
use crate::proxy::route::Routes;
use crate::proxy::shared::Shared;
use crate::proxy::site::Site;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

/// The configuration, read again from where it was read at the start.
pub struct Reread {
    /// Or the first mistake in it, in one line.
    pub config: Result<Config, String>,
    /// Warnings, one line each.
    pub notes: Vec<String>,
}

/// Reads it again.
pub type Reader = Arc<dyn Fn() -> Reread + Send + Sync>;

/// Carries out the orders to reload, and looks after the certificates in force.
pub(super) struct Reloads<'a> {
    pub shared: &'a Shared,
    pub read: Reader,
    pub renewal: Option<Renewal>,
    pub entrances: Vec<Entrance>,
    pub reached: Reached,
    pub acceptor: Sender<Vec<Entrance>>,
    pub waker: &'a Waker,
    under_way: Option<UnderWay>,
}

/// A reload that is being prepared, and where its outcome is told.
struct UnderWay {
    built: Receiver<Built>,
    askers: Vec<Asker>,
}

type Built = Result<New, String>;

/// What is to be in force.
pub(super) struct New {
    site: Site,
    /// What reading the configuration brought to light, which the log has already.
    notes: Vec<String>,
    /// What the admin has to hear of it, when it is.
    remarks: Vec<String>,
}

impl<'a> Reloads<'a> {
    pub fn new(
        shared: &'a Shared,
        read: Reader,
        entrances: Vec<Entrance>,
        acceptor: Sender<Vec<Entrance>>,
        waker: &'a Waker,
    ) -> Self {
        let renewal = begin_renewal(&shared.site.get(), &entrances);
        let reached = Reached::default();
        reached.set(&entrances);
        Self { shared, read, renewal, entrances, reached, acceptor, waker, under_way: None }
    }

    /// Where the new site comes from, while it is being built.
    pub fn under_way(&self) -> Option<&Receiver<Built>> {
        self.under_way.as_ref().map(|under_way| &under_way.built)
    }

    /// Has the new site built by another thread. That one is not joined: it may look at a file system that hangs.
    pub fn begin(&mut self, askers: Vec<Asker>) {
        let (done, built) = bounded(1);
        let (before, read) = (self.shared.site.get(), Arc::clone(&self.read));
        let (metrics, passed) = (Arc::clone(&self.shared.metrics), activation::passed(&self.entrances));
        let build = move || {
            let _ = done.send(build(&before, &passed, &read, &metrics));
        };
        match thread::Builder::new().name("reload".into()).spawn(build) {
            Ok(_) => self.under_way = Some(UnderWay { built, askers }),
            Err(error) => tell(&askers, &Err(format!("the system has no thread for it: {error}"))),
        }
    }

    /// What was being built is ready, or its thread has panicked.
    pub fn finish(&mut self, built: Option<Built>) {
        let Some(UnderWay { askers, .. }) = self.under_way.take() else { return };
        let built = built.unwrap_or_else(|| Err("its thread panicked: please report this".to_owned()));
        let outcome = built.and_then(|new| self.put_in_force(new).map_err(|error| error.to_string()));
        tell(&askers, &outcome);
    }

    /// Takes renewed certificates.
    pub fn look_at_certificates(&mut self) {
        if let Some(renewal) = &mut self.renewal {
            report(renewal.look(SystemTime::now()));
        }
    }

    /// Returns what is told of it: a line, and one for each note and remark.
    fn put_in_force(&mut self, New { site, notes, remarks }: New) -> Result<String, StartError> {
        let (shared, config) = (self.shared, &site.config);
        let entrances = listen_all(config, &self.entrances)?;
        if let Err(error) = refuse_all_myself(config, &entrances)
            .and_then(|()| shared.logger.change_form(config.access_log).map_err(StartError::Log))
        {
            withdraw_new(&entrances, &self.entrances);
            return Err(error);
        }
        // From here on nothing fails.
        log::set_max_level(config.log_level);
        shared.waiter.set_budget(config.parked_memory);
        for entrance in &entrances {
            entrance.listener.set_mode(config.listen_mode);
        }
        let held = shared.site.get();
        let said = told(&held, &site, &self.entrances, &entrances);
        site.routes.take_over();
        let before = shared.site.replace(site);
        let site = shared.site.get();
        before.routes.retire(&site.routes);
        let gone = self.entrances.iter().filter(|entrance| !entrance.is_among(&entrances));
        gone.for_each(|entrance| entrance.closing.set());
        self.entrances.clone_from(&entrances);
        self.reached.set(&entrances);
        // It is there until the stop.
        let _ = self.acceptor.send(entrances);
        self.waker.wake();
        remarks.iter().for_each(|remark| log::warn!("{remark}"));
        if let (Some(renewal), Some(certificates)) = (&self.renewal, &site.certificates) {
            report(renewal.news_of(certificates));
        }
        self.renewal = begin_renewal(&site, &self.entrances);
        log::info!("{said}");
        Ok([vec![said], notes, remarks].concat().join("\n"))
    }
}

/// Makes a site of the configuration as it is now, for the sockets that were passed to ronde and those that it names.
/// Nothing of the site before is changed.
fn build(before: &Site, passed: &[Entrance], read: &Reader, metrics: &Metrics) -> Built {
    let Reread { config, notes } = read();
    notes.iter().for_each(|note| log::warn!("{note}"));
    let mut config = config?;
    let remarks = keep_what_stays(&mut config, &before.config);
    if let (Some(admin), Some(flag)) = (&config.admin, config.which_takes_admin()) {
        return Err(format!(
            "{admin} of {flag} is the admin listener's, which stays where it is until a restart"
        ));
    }
    bound_by_descriptors(&mut config, Some(&before.config));
    let certificates = activation::check(passed, &config)
        .and_then(|()| certificates::load(&config, passed, before.certificates.as_ref()))
        .map_err(|error| error.to_string())?;
    let routes = Routes::start(&config, Some(&before.routes), metrics)
        .map_err(|error| format!("the system refuses what the backends need: {error}"))?;
    Ok(New { site: Site::new(config, routes, certificates), notes, remarks })
}

/// What is made once, at the start, stays as it is. Returns a remark for each such setting that is another now.
fn keep_what_stays(config: &mut Config, before: &Config) -> Vec<String> {
    let is_another = [
        (&row::workers, config.worker_count() != before.worker_count()),
        (&row::scheduling, config.scheduling != before.scheduling),
        (&row::queue, config.queue != before.queue),
        (&row::admin, config.admin != before.admin),
        (&row::access_log_file, config.access_log_file != before.access_log_file),
        (&row::log_file, config.log_file != before.log_file),
    ];
    (config.workers, config.scheduling, config.queue) = (before.workers, before.scheduling, before.queue);
    config.admin.clone_from(&before.admin);
    config.access_log_file.clone_from(&before.access_log_file);
    config.log_file.clone_from(&before.log_file);
    let changed = is_another.into_iter().filter(|(_, is_another)| *is_another);
    let remark = |key| format!("{key} is another now, which takes a restart; all else is taken");
    changed.map(|(setting, _)| remark(setting.key())).collect()
}

/// `reloaded: 3 routes, 5 backends (1 new, 1 gone), 2 certificates, 1 listener`
fn told(before: &Site, now: &Site, listened: &[Entrance], listens: &[Entrance]) -> String {
    let backends = |config: &Config| -> BTreeSet<String> {
        config.with_routes().flat_map(|config| &config.backend).map(ToString::to_string).collect()
    };
    let wanted = |entrances: &[Entrance]| -> Vec<Listen> {
        let mut wanted: Vec<_> = entrances.iter().map(|entrance| entrance.wanted.clone()).collect();
        wanted.dedup();
        wanted
    };
    let routes = |config: &Config| config.route.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (old, new) = (&before.config, &now.config);
    let mut parts = Vec::new();
    if !old.route.is_empty() || !new.route.is_empty() {
        parts.push(counted("route", &routes(old), &routes(new)));
    }
    let [old_backends, new_backends] =
        [old, new].map(|config| backends(config).into_iter().collect::<Vec<_>>());
    parts.push(counted("backend", &old_backends, &new_backends));
    if !old.tls_certificate.is_empty() || !new.tls_certificate.is_empty() {
        parts.push(counted("certificate", &old.tls_certificate, &new.tls_certificate));
    }
    parts.push(counted("listener", &wanted(listened), &wanted(listens)));
    format!("reloaded: {}", parts.join(", "))
}

/// `5 backends (1 new, 1 gone)`
fn counted<T: PartialEq>(what: &str, before: &[T], now: &[T]) -> String {
    let missing = |of: &[T], from: &[T]| of.iter().filter(|one| !from.contains(one)).count();
    let changes = [(missing(now, before), "new"), (missing(before, now), "gone")];
    let changes: Vec<_> = changes
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let changes = if changes.is_empty() { String::new() } else { format!(" ({})", changes.join(", ")) };
    format!("{}{changes}", count_text(now.len(), what))
}

/// Says what came of a reload to all that have asked for it, and in the log why there was none.
fn tell(askers: &[Asker], outcome: &Outcome) {
    if let Err(error) = outcome {
        log::error!("not reloaded, and nothing has changed: {error}");
    }
    for asker in askers {
        let _ = asker.try_send(outcome.clone());
    }
}

fn report(news: Vec<News>) {
    for news in news {
        match news.is_a_warning() {
            true => log::warn!("{news}"),
            false => log::info!("{news}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_counted() {
        assert_eq!(counted("route", &["a"], &["a"]), "1 route");
        assert_eq!(counted("route", &["a", "b"], &["b", "c", "d"]), "3 routes (2 new, 1 gone)");
        assert_eq!(counted::<u8>("route", &[], &[]), "0 routes");
    }

    #[test]
    fn what_takes_a_restart_stays_and_is_named() {
        let before = Config { workers: Some(3), ..Config::default() };
        let mut config = Config { workers: Some(4), queue: 1, max_head: 1, ..Config::default() };
        let remarks = keep_what_stays(&mut config, &before);
        assert_eq!((config.workers, config.queue, config.max_head), (Some(3), before.queue, 1));
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(remarks[0].starts_with("workers is another now"), "{remarks:?}");
        assert_eq!(keep_what_stays(&mut config, &before), Vec::<String>::new());
    }
}
