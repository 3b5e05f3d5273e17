//! What this node listens to, and who knows it.
//!
//! Interest has a version that rises when it grows or shrinks. A node that has acknowledged a version knows every bucket that was
//! added up to it. What has been added is *known* when every live node has acknowledged it; whoever waits for that is let go
//! then, or when it has waited for long enough.
//!
//! Pure: the time is passed in.

use std::time::Instant;

use sterna_server::{BUCKETS, BucketSet};

/// Who waits until buckets are known.
struct Waiter<T> {
    buckets: BucketSet,
    until: Instant,
    then: T,
}

/// See the module.
pub(super) struct Interest<T> {
    version: u64,
    buckets: BucketSet,
    /// The version with which each bucket was added.
    added: [u64; BUCKETS],
    waiters: Vec<Waiter<T>>,
}

impl<T> Interest<T> {
    pub(super) fn new() -> Interest<T> {
        // Version 0 is what nobody has acknowledged.
        Interest { version: 1, buckets: BucketSet::default(), added: [0; BUCKETS], waiters: Vec::new() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn buckets(&self) -> &BucketSet {
        &self.buckets
    }

    /// Adds buckets; true if some are new, so that other nodes have to be told.
    pub(super) fn add(&mut self, buckets: &BucketSet) -> bool {
        if self.buckets.contains_all(buckets) {
            return false;
        }
        self.version += 1;
        for bucket in buckets.iter().filter(|bucket| !self.buckets.contains(*bucket)) {
            self.added[usize::from(bucket)] = self.version;
        }
        self.buckets = self.buckets.union(buckets);
        true
    }

    /// Keeps these only.
    pub(super) fn retain(&mut self, buckets: &BucketSet) {
        self.version += 1;
        self.buckets = BucketSet(std::array::from_fn(|word| self.buckets.0[word] & buckets.0[word]));
    }

    /// What every node knows that has acknowledged `version`.
    pub(super) fn known(&self, version: u64) -> BucketSet {
        let mut known = BucketSet::default();
        for bucket in self.buckets.iter().filter(|bucket| self.added[usize::from(*bucket)] <= version) {
            known.insert(bucket);
        }
        known
    }

    pub(super) fn wait(&mut self, buckets: BucketSet, until: Instant, then: T) {
        self.waiters.push(Waiter { buckets, until, then });
    }

    /// Those who need wait no more, and whether in vain.
    pub(super) fn let_go(&mut self, known: &BucketSet, now: Instant) -> Vec<(T, bool)> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| known.contains_all(&waiter.buckets) || waiter.until <= now);
        self.waiters = stay;
        gone.into_iter().map(|waiter| (waiter.then, !known.contains_all(&waiter.buckets))).collect()
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn set(buckets: &[u8]) -> BucketSet {
        let mut set = BucketSet::default();
        buckets.iter().for_each(|bucket| set.insert(*bucket));
        set
    }

    #[test]
    fn a_bucket_is_known_to_who_has_acknowledged_it_or_what_came_later() {
        let mut interest = Interest::<()>::new();
        assert!(interest.add(&set(&[1, 2])));
        let first = interest.version();
        assert!(!interest.add(&set(&[2])) && interest.add(&set(&[2, 200])));
        assert_eq!(interest.known(first), set(&[1, 2]));
        assert_eq!(interest.known(first - 1), set(&[]));
        assert_eq!(interest.known(u64::MAX), set(&[1, 2, 200]));
        interest.retain(&set(&[1]));
        assert_eq!(interest.known(u64::MAX), set(&[1]));
        // What was withdrawn has to be acknowledged again.
        interest.add(&set(&[2]));
        assert_eq!(interest.known(first), set(&[1]));
    }

    #[test]
    fn who_waits_is_let_go_when_it_is_known_or_too_late() {
        let (mut interest, now) = (Interest::new(), Instant::now());
        let later = now + Duration::from_secs(1);
        interest.wait(set(&[1]), later, "known");
        interest.wait(set(&[9]), later, "late");
        assert!(interest.let_go(&set(&[]), now).is_empty());
        assert_eq!(interest.let_go(&set(&[1]), now), [("known", false)]);
        assert_eq!(interest.let_go(&set(&[1]), later), [("late", true)]);
        assert!(!interest.has_waiters());
    }
}
