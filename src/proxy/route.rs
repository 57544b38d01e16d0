//! The routes of the running program: what a request needs of the configuration, as one value that travels with it.
//!
//! The problem: each route has settings and backends of its own. Looked up at each step they could differ between two
//! steps of one request; and a configuration that changes must not change what is under way. So a request gets its route
//! once, when its head is understood, and keeps it to its end.
//!
//! Not here: how the route is found (`http1::routing`), and what a user writes (`config::route`).

use crate::backend::{Backends, Planned, Registry};
use crate::config::{self, Action, Config};
use crate::http1::forward::{Edits, Scheme};
use crate::http1::head::Request;
use crate::http1::https::{self, Detour, Detours};
use crate::http1::routing::Table;
use crate::http1::target;
use crate::observe::failure::Failure;
use crate::observe::metrics::{Metrics, RouteCounts};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// See the module. Every request changes the count of its owners, on any core, and reads what is in it; on a cache line of
/// their own, the reads need not wait for the count.
#[repr(align(64))]
pub struct Route {
    /// Its number among all routes that there ever were; it names the queue of the requests that wait for its backends.
    pub number: usize,
    /// As a user writes it; empty for one that no user wrote.
    label: String,
    /// What is taken off the path on the way to a backend; empty: nothing.
    pub strip: String,
    /// What becomes of the request; `None`: there is no place for it.
    pub action: Option<Action>,
    /// The route's own settings, and for the rest those of the top level.
    pub config: Arc<Config>,
    /// What the admin changes in the heads of requests and of responses; `None`: nothing.
    pub request_edits: Option<Arc<Edits>>,
    pub response_edits: Option<Arc<Edits>>,
    pub backends: Arc<Backends>,
    /// What is counted of its requests, under its label.
    pub counts: Arc<RouteCounts>,
}

/// The labels of routes that no user has written: for everything else, for `--acme-challenge`, for `--redirect-to-https`.
const REST: &str = "default";
const CHALLENGES: &str = "acme-challenge";
const TO_HTTPS: &str = "redirect-to-https";

/// All routes. There is always one for everything else, which is the last.
pub struct Routes {
    table: Table<Arc<Route>>,
    all: Vec<Arc<Route>>,
    rest: Arc<Route>,
    paths: Paths,
    /// For plain requests, whatever the table says: a detour each.
    challenge: Option<Arc<Route>>,
    to_https: Option<Arc<Route>>,
    /// What their backends share with those before and after a reload.
    registry: Arc<Registry>,
    next_number: usize,
}

/// Which paths a request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paths {
    Any,
    /// Those with one reading only, on all routes: some route has an access list, and a backend that reads `//admin` as
    /// `/admin` may be that of any route.
    Plain,
}

impl Routes {
    /// Starts the backends of all routes; see [`Backends::start`]. After a reload they follow those of the routes `before`.
    ///
    /// # Errors
    /// The system has no thread left, or no descriptor.
    pub fn start(config: &Config, before: Option<&Self>, metrics: &Metrics) -> io::Result<Self> {
        let registry = before.map_or_else(Arc::default, |before| Arc::clone(&before.registry));
        let first_number = before.map_or(0, |before| before.next_number);
        let rest = if config.route.is_empty() { "" } else { REST };
        let labels = config.route.iter().map(ToString::to_string).chain([rest.to_owned()]);
        let labels: Vec<_> = labels.collect();
        let planned = config.with_routes().zip(&labels).zip(predecessors(config, before));
        let planned = planned.map(|((config, route), predecessor)| Planned { route, config, predecessor });
        let old: Vec<_> = before.into_iter().flat_map(Self::configured).cloned().collect();
        let mut all_backends = Backends::start(planned, &old, &registry)?.into_iter();
        let mut table = Table::default();
        let mut all = Vec::new();
        for (route, backends) in config.route.iter().zip(&mut all_backends) {
            let own = Arc::new(Route::of(route, first_number + all.len(), backends, metrics));
            table.insert(&route.hosts, &route.path, Arc::clone(&own));
            all.push(own);
        }
        let backends = all_backends.next().ok_or(io::ErrorKind::Other)?;
        let has_place = all.is_empty() || !config.backend.is_empty();
        let rest = Arc::new(Route {
            number: first_number + all.len(),
            label: String::new(),
            strip: String::new(),
            action: has_place.then_some(Action::Proxy(config::Prefix::Kept)),
            config: Arc::new(Config { route: Vec::new(), ..config.clone() }),
            request_edits: Edits::of_requests(config),
            response_edits: Edits::of_responses(config),
            backends,
            counts: metrics.route(REST),
        });
        all.push(Arc::clone(&rest));
        let challenge = config.challenges().map(|config| {
            let predecessor = before.and_then(|before| before.challenge.as_ref());
            let predecessor = predecessor.map(|route| Arc::clone(&route.backends));
            Route::to_challenges(config, first_number + all.len(), predecessor, &registry, metrics)
        });
        let challenge = challenge.transpose()?;
        all.extend(challenge.clone());
        let to_https = config.redirect_to_https.then(|| Arc::new(rest.to_https(metrics)));
        let next_number = first_number + all.len();
        let paths = if config.has_any_access_list() { Paths::Plain } else { Paths::Any };
        Ok(Self { table, all, rest, paths, challenge, to_https, registry, next_number })
    }

    /// The route of a request that was asked for by this scheme.
    ///
    /// # Errors
    /// [`Failure::PathAmbiguous`], where access is by path; [`Failure::HostUnknown`], where it has to go to https and names
    /// no host.
    pub fn of(&self, head: &Request<'_>, scheme: Scheme) -> Result<&Arc<Route>, Failure> {
        let detours = Detours { challenge: self.challenge.is_some(), redirect: self.to_https.is_some() };
        // Where there is no other, nothing is looked up.
        if self.all.len() == 1 && !detours.redirect && self.paths == Paths::Any {
            return Ok(&self.rest);
        }
        let (authority, path) = target::asked(head);
        let detour = match https::detour(scheme, path, detours) {
            Some(Detour::Redirect) if authority.is_empty() => return Err(Failure::HostUnknown),
            Some(Detour::Redirect) => self.to_https.as_ref(),
            Some(Detour::Challenge) => self.challenge.as_ref(),
            None => None,
        };
        let found = match self.paths {
            _ if detour.is_some() => detour,
            Paths::Any => self.table.find(authority, path),
            Paths::Plain => self.table.find_plain(authority, path)?,
        };
        Ok(found.unwrap_or(&self.rest))
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Route>] {
        &self.all
    }

    /// The backends of all routes.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backends>> {
        self.all.iter().map(|route| &route.backends)
    }

    /// Those of them that the settings name as backends, and not as the server of `--acme-challenge`.
    fn configured(&self) -> impl Iterator<Item = &Arc<Backends>> {
        let challenge = self.challenge.as_ref().map(|route| route.number);
        let routes = self.all.iter().filter(move |route| Some(route.number) != challenge);
        routes.map(|route| &route.backends)
    }

    /// Whether no backend is known, though one is needed.
    pub fn knows_no_backend(&self) -> bool {
        let is_challenge =
            |route: &Arc<Route>| self.challenge.as_ref().is_some_and(|it| Arc::ptr_eq(it, route));
        let is_proxied =
            |route: &&Arc<Route>| matches!(route.action, Some(Action::Proxy(_))) && !is_challenge(route);
        let mut proxied = self.all.iter().filter(is_proxied).peekable();
        proxied.peek().is_some() && proxied.all(|route| route.backends.count() == 0)
    }

    /// They are about to be in force, and go on where those before stand.
    pub fn take_over(&self) {
        self.backends().for_each(|backends| backends.take_over());
    }

    /// They are in force no more; these are.
    pub fn retire(&self, after: &Self) {
        let stay = after.backends().flat_map(|backends| backends.kept()).collect();
        self.backends().for_each(|backends| backends.retire(&stay));
    }

    /// Closes the kept connections to all backends, as descriptors have run out. Returns whether there were any.
    pub fn let_go(&self) -> bool {
        self.backends().filter(|backends| backends.let_go()).count() > 0
    }
}

/// Those that the backends of each route follow, and last those of everything else: the backends of the route with the same
/// label, or else of one that is gone and had the same backends.
fn predecessors(config: &Config, before: Option<&Routes>) -> Vec<Option<Arc<Backends>>> {
    let labelled = before.iter().flat_map(|before| &before.all).filter(|route| !route.label.is_empty());
    let mut old: BTreeMap<_, _> = labelled.map(|route| (&*route.label, route)).collect();
    let same: Vec<_> = config.route.iter().map(|route| old.remove(&*route.to_string())).collect();
    let found = config.route.iter().zip(same).map(|(route, same)| {
        let same = same.or_else(|| {
            let is_renamed = |before: &Route| before.config.backend == route.config.backend;
            let label = *old.iter().find(|(_, before)| is_renamed(before))?.0;
            old.remove(label)
        });
        same.map(|route| Arc::clone(&route.backends))
    });
    found.chain([before.map(|before| Arc::clone(&before.rest.backends))]).collect()
}

impl Route {
    fn of(route: &config::Route, number: usize, backends: Arc<Backends>, metrics: &Metrics) -> Self {
        let strips = route.action == Action::Proxy(config::Prefix::Stripped);
        Self {
            number,
            label: route.to_string(),
            strip: if strips { route.path.clone() } else { String::new() },
            action: Some(route.action.clone()),
            config: Arc::clone(&route.config),
            request_edits: Edits::of_requests(&route.config),
            response_edits: Edits::of_responses(&route.config),
            backends,
            counts: metrics.route(&route.to_string()),
        }
    }

    /// Of what an issuer of certificates asks for.
    fn to_challenges(
        config: Config,
        number: usize,
        predecessor: Option<Arc<Backends>>,
        registry: &Arc<Registry>,
        metrics: &Metrics,
    ) -> io::Result<Arc<Self>> {
        let planned = Planned { route: CHALLENGES, config: &config, predecessor };
        let backends = Backends::start_occasional(planned, registry)?;
        let action = Some(Action::Proxy(config::Prefix::Kept));
        let (request_edits, response_edits) = (None, None);
        Ok(Arc::new(Self {
            number,
            label: String::new(),
            strip: String::new(),
            action,
            config: Arc::new(config),
            request_edits,
            response_edits,
            backends,
            counts: metrics.route(CHALLENGES),
        }))
    }

    /// Of what has to come again by https, which needs no backend. Which route it will take there is not asked, so neither a
    /// list nor a limit keeps anybody from it: it tells nothing of what is there.
    fn to_https(&self, metrics: &Metrics) -> Self {
        let (allow, deny, max_body) = (Vec::new(), Vec::new(), None);
        let config = Arc::new(Config { allow, deny, max_body, ..(*self.config).clone() });
        let backends = Arc::clone(&self.backends);
        Self {
            number: self.number,
            label: String::new(),
            strip: String::new(),
            action: Some(Action::ToHttps),
            config,
            request_edits: None,
            response_edits: self.response_edits.clone(),
            backends,
            counts: metrics.route(TO_HTTPS),
        }
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("number", &self.number).finish_non_exhaustive()
    }
}
