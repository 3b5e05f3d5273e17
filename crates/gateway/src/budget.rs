//! Bytes of bodies and replies that all requests together hold, or of heads that are unfinished.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The sum, and what it may be.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    pub(crate) fn of(bytes_max: usize) -> Budget {
        Budget { bytes: AtomicUsize::new(0), bytes_max }
    }
}

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn new(budget: &Arc<Budget>) -> Held {
        Held { budget: Arc::clone(budget), bytes: 0 }
    }

    /// What it is a part of.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How many it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds `bytes` in all, more or fewer than before. False: there are not so many, and nothing has changed.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let sum = &self.budget.bytes;
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            if sum.fetch_add(more, Relaxed).saturating_add(more) > self.budget.bytes_max {
                sum.fetch_sub(more, Relaxed);
                return false;
            }
        } else {
            sum.fetch_sub(self.bytes - bytes, Relaxed);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_hold_has_a_bound_and_is_given_back() {
        const MAX: usize = 1000;
        let budget = Arc::new(Budget::of(MAX));
        let (mut one, mut other) = (Held::new(&budget), Held::new(&budget));
        assert!(one.set(MAX - 10) && other.set(10));
        assert!(!one.set(MAX) && !other.set(11));
        assert!(one.set(5) && other.set(11));
        drop((one, other));
        assert_eq!(budget.bytes.load(Relaxed), 0);
    }
}
