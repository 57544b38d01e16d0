//! The routes of the running program: what a request needs of the configuration, as one value that travels with it.
//!
//! The problem: each route has settings and backends of its own. Looked up at each step they could differ between two
//! steps of one request; and a configuration that changes must not change what is under way. So a request gets its route
//! once, when its head is understood, and keeps it to its end.
//!
//! Not here: how the route is found (`http1::routing`), and what a user writes (`config::route`).

use crate::backend::Backends;
use crate::config::{self, Action, Config};
use crate::http1::forward::Edits;
use crate::http1::head::Request;
use crate::http1::routing::{self, Table};
use crate::observe::failure::Failure;
use std::io;
use std::sync::Arc;

/// See the module. Every request changes the count of its owners, on any core, and reads what is in it; on a cache line of
/// their own, the reads need not wait for the count.
#[repr(align(64))]
pub struct Route {
    /// Its place among all routes; it names the queue of the requests that wait for its backends.
    pub number: usize,
    /// What is taken off the path on the way to a backend; empty: nothing.
    pub strip: String,
    /// What becomes of the request; `None`: there is no place for it.
    pub action: Option<Action>,
    /// The route's own settings, and for the rest those of the top level.
    pub config: Config,
    /// What the admin changes in the heads of requests and of responses; `None`: nothing.
    pub request_edits: Option<Arc<Edits>>,
    pub response_edits: Option<Arc<Edits>>,
    pub backends: Arc<Backends>,
}

/// All routes. There is always one for everything else, which is the last.
pub struct Routes {
    table: Table<Arc<Route>>,
    all: Vec<Arc<Route>>,
    rest: Arc<Route>,
    paths: Paths,
    /// How many of them have backends with limits.
    limited: usize,
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
    /// Starts the backends of all routes; see [`Backends::start`].
    ///
    /// # Errors
    /// The system has no thread left, or no descriptor.
    pub fn start(config: &Config) -> io::Result<Self> {
        let configs = config.route.iter().map(|route| &route.config).chain([config]);
        let mut all_backends = Backends::start(configs)?.into_iter();
        let mut table = Table::default();
        let mut all = Vec::new();
        for (route, backends) in config.route.iter().zip(&mut all_backends) {
            let own = Arc::new(Route::of(route, all.len(), backends));
            table.insert(&route.hosts, &route.path, Arc::clone(&own));
            all.push(own);
        }
        let backends = all_backends.next().ok_or(io::ErrorKind::Other)?;
        let has_place = all.is_empty() || !config.backend.is_empty();
        let rest = Arc::new(Route {
            number: all.len(),
            strip: String::new(),
            action: has_place.then_some(Action::Proxy(config::Prefix::Kept)),
            config: Config { route: Vec::new(), ..config.clone() },
            request_edits: Edits::of_requests(config),
            response_edits: Edits::of_responses(config),
            backends,
        });
        all.push(Arc::clone(&rest));
        let limited = all.iter().filter(|route| route.backends.has_limits()).count();
        let paths = if config.has_any_access_list() { Paths::Plain } else { Paths::Any };
        Ok(Self { table, all, rest, paths, limited })
    }

    /// The route of a request.
    ///
    /// # Errors
    /// [`Failure::PathAmbiguous`], where access is by path.
    pub fn of(&self, head: &Request<'_>) -> Result<&Arc<Route>, Failure> {
        // Where there is no other, nothing is looked up.
        if self.all.len() == 1 && self.paths == Paths::Any {
            return Ok(&self.rest);
        }
        let (authority, path) = routing::asked(head);
        let found = match self.paths {
            Paths::Any => self.table.find(authority, path),
            Paths::Plain => self.table.find_plain(authority, path)?,
        };
        Ok(found.unwrap_or(&self.rest))
    }

    /// The backends of all routes.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backends>> {
        self.all.iter().map(|route| &route.backends)
    }

    /// Whether requests may have to wait for room at a backend.
    pub fn has_limits(&self) -> bool {
        self.limited > 0
    }

    /// How many requests of this queue there is room for.
    pub fn room(&self, queue: usize) -> usize {
        self.all.get(queue).map_or(0, |route| route.backends.room())
    }

    /// Whether no backend is known, though one is needed.
    pub fn knows_no_backend(&self) -> bool {
        let mut proxied =
            self.all.iter().filter(|route| matches!(route.action, Some(Action::Proxy(_)))).peekable();
        proxied.peek().is_some() && proxied.all(|route| route.backends.count() == 0)
    }

    /// Closes the kept connections to all backends, as descriptors have run out. Returns whether there were any.
    pub fn let_go(&self) -> bool {
        self.backends().filter(|backends| backends.let_go()).count() > 0
    }
}

impl Route {
    fn of(route: &config::Route, number: usize, backends: Arc<Backends>) -> Self {
        let strips = route.action == Action::Proxy(config::Prefix::Stripped);
        Self {
            number,
            strip: if strips { route.path.clone() } else { String::new() },
            action: Some(route.action.clone()),
            config: route.config.clone(),
            request_edits: Edits::of_requests(&route.config),
            response_edits: Edits::of_responses(&route.config),
            backends,
        }
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("number", &self.number).finish_non_exhaustive()
    }
}
