//! How many requests may be sent a second time.
//!
//! The problem: sending a request again to another backend hides one backend's failure from the client. When all
//! backends fail, it hides nothing and doubles the load that kills them. So what is sent again is paid for: every
//! response earns a fifth of a retry, and there is a purse that starts full, so that a small site with one request a
//! minute is covered too (Finagle's retry budgets and Envoy's are alike).
//!
//! Not here: failed connects. Nothing was sent, so trying elsewhere is free.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The price of a retry, in what one response earns.
const PRICE: usize = 5;

/// See the module.
#[derive(Debug)]
pub struct RetryBudget {
    purse: AtomicUsize,
    full: usize,
}

impl RetryBudget {
    /// Holds this many retries, which should be one for each worker: all of them may be under way to a backend at the
    /// moment it is restarted.
    pub fn new(retries: usize) -> Self {
        let full = retries * PRICE;
        Self { purse: AtomicUsize::new(full), full }
    }

    /// A response came. Looking is cheaper than writing, and the purse is nearly always full.
    pub fn earn(&self) {
        if self.purse.load(Ordering::Relaxed) < self.full {
            self.purse.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a request may be sent again.
    pub fn spend(&self) -> bool {
        let pay = |purse: usize| purse.checked_sub(PRICE);
        self.purse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_general_failure_is_not_doubled() {
        let budget = RetryBudget::new(8);
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 8);
        (0..50).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 8, "the purse does not grow beyond its size");
        (0..10).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 2);
    }
}
