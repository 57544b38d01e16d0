//! The backends that one request has tried.
//!
//! The problem: each other backend is asked at most once. A request knows its own history, and nobody else does.
//!
//! Not here: whether another one may be asked (`backend`).

use super::Backend;
use std::sync::Arc;

/// The backends that a request has tried.
#[derive(Debug, Default)]
pub struct Tried {
    last: Option<Arc<Backend>>,
    /// Those before, so that the first turn allocates nothing.
    before: Vec<Arc<Backend>>,
}

impl Tried {
    /// Whether there is none.
    pub fn is_first(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn is_free(&self, backend: &Backend) -> bool {
        !self.before.iter().chain(&self.last).any(|tried| std::ptr::eq(&**tried, backend))
    }

    pub(super) fn note(&mut self, backend: &Arc<Backend>) {
        self.before.extend(self.last.replace(Arc::clone(backend)));
    }
}
