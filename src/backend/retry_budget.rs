//! How many requests may be sent a second time.
//!
//! The problem: a retry on another backend hides one backend's failure from the client. When all backends fail, it
//! hides nothing and doubles the load that kills them. So retries are limited to a fifth of the responses: every
//! response adds a token, and a retry takes five. The budget starts full, so that a small site with one request a
//! minute can retry, too. (The retry budgets of Finagle and Envoy are alike.)
//!
//! Not here: failed connects. Nothing was sent, so another backend can be tried without a budget.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Tokens that one retry takes. A response adds one.
const TOKENS_PER_RETRY: usize = 5;

/// A bucket of tokens, shared by all workers.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: AtomicUsize,
    capacity: usize,
}

impl RetryBudget {
    /// Holds at most this many retries, and starts full. Enough for the requests that are under way to one backend when it
    /// restarts.
    pub fn new(retries: usize) -> Self {
        let capacity = retries * TOKENS_PER_RETRY;
        Self { tokens: AtomicUsize::new(capacity), capacity }
    }

    /// A response arrived. The bucket is nearly always full, and then it is only looked at, which is cheap.
    pub fn earn(&self) {
        let add = |tokens: usize| (tokens < self.capacity).then_some(tokens + 1);
        let _full = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes the tokens of one retry, if there are enough. Returns whether the request may be sent again.
    pub fn spend(&self) -> bool {
        let take = |tokens: usize| tokens.checked_sub(TOKENS_PER_RETRY);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_every_request_fails_the_load_is_not_doubled() {
        let budget = RetryBudget::new(8);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 8);
        (0..50).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 8, "the bucket does not overflow");
        (0..10).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 2);
    }
}
