//! Which names are the busiest, without a counter for each: a space-saving summary of a sample.
//!
//! ```text
//!   current   name → messages, deliveries, bytes      at most NAMES_MAX; a new name takes the place of the least
//!   last      the same of the window before           a rate is the mean over both, as far as they reach
//! ```
//!
//! A window begins empty every [`WINDOW`], so that names that were busy once go. A name that takes another's place begins with
//! its messages, so that a name may be shown with too many messages and never with too few: by at most a share of
//! 1/`NAMES_MAX` of all messages of the window.
//!
//! Cost: O(NAMES_MAX) where a name takes another's place, else a look in a hash table; 2 × `NAMES_MAX` names of at most
//! `NAME_BYTES_MAX`. Source: Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data
//! streams", 2005.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

/// Names that are kept of one window.
const NAMES_MAX: usize = 128;

/// Bytes of a name that are kept; names that begin with the same are taken for one.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// How long counts are collected.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);

/// What was counted under a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
}

type Names = HashMap<Box<[u8]>, Counts>;

/// The busiest names of one shard.
#[derive(Debug, Default)]
pub(crate) struct Top {
    current: Names,
    last: Names,
    /// When the current window began; `None`: nothing has been counted.
    since: Option<Instant>,
}

impl Top {
    /// Counts `counts` for `name`.
    pub(crate) fn count(&mut self, name: &[u8], counts: Counts, now: Instant) {
        self.turn_over(now);
        let name = &name[..name.len().min(NAME_BYTES_MAX)];
        if let Some(so_far) = self.current.get_mut(name) {
            so_far.messages += counts.messages;
            so_far.deliveries += counts.deliveries;
            so_far.bytes += counts.bytes;
            return;
        }
        let mut first = counts;
        if self.current.len() >= NAMES_MAX {
            let least = self.current.iter().min_by_key(|(_, counts)| counts.messages);
            if let Some((least, inherited)) = least.map(|(name, counts)| (name.clone(), *counts)) {
                self.current.remove(&least);
                first.messages += inherited.messages;
            }
        }
        self.current.insert(name.into(), first);
    }

    /// Begins a new window if the current one is over.
    fn turn_over(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age < WINDOW {
            return;
        }
        self.last = std::mem::take(&mut self.current);
        if age >= 2 * WINDOW {
            self.last = Names::default();
        }
        self.since = Some(now);
    }

    /// Adds the counts of the last [`WINDOW`] to `sums`: of the window before, the part that it still reaches into.
    pub(crate) fn add_to(&self, sums: &mut HashMap<Box<[u8]>, Counts>, now: Instant) {
        let Some(since) = self.since else { return };
        let age = now.saturating_duration_since(since);
        if age >= 2 * WINDOW {
            return;
        }
        let rest = WINDOW.saturating_sub(age).as_secs_f64() / WINDOW.as_secs_f64();
        let is_over = age >= WINDOW;
        let current = if is_over { (2 * WINDOW - age).as_secs_f64() / WINDOW.as_secs_f64() } else { 1.0 };
        for (names, share) in [(&self.current, current), (&self.last, if is_over { 0.0 } else { rest })] {
            for (name, counts) in names {
                let part = |n: u64| (n as f64 * share).round() as u64;
                let sum = sums.entry(name.clone()).or_default();
                sum.messages += part(counts.messages);
                sum.deliveries += part(counts.deliveries);
                sum.bytes += part(counts.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Counts {
        Counts { messages: 1, deliveries: 2, bytes: 3 }
    }

    fn sums(top: &Top, now: Instant) -> HashMap<Box<[u8]>, Counts> {
        let mut sums = HashMap::new();
        top.add_to(&mut sums, now);
        sums
    }

    #[test]
    fn a_busy_name_among_ever_new_ones_is_kept_and_has_all_its_messages() {
        let (mut top, now) = (Top::default(), Instant::now());
        for i in 0..100_000_u32 {
            top.count(if i % 10 == 0 { b"busy" } else { b"" }, one(), now);
            top.count(&i.to_be_bytes(), one(), now);
        }
        let sums = sums(&top, now);
        assert!(sums.len() <= NAMES_MAX);
        let (busy, most) = (sums[&b"busy"[..]].messages, 10_000 + 200_000 / NAMES_MAX as u64);
        assert!((10_000..=most).contains(&busy), "{busy}");
        assert_eq!(sums[&b""[..]].deliveries, 180_000);
    }

    #[test]
    fn what_was_busy_is_forgotten_after_two_windows() {
        let (mut top, start) = (Top::default(), Instant::now());
        (0..100).for_each(|_| top.count(b"a", one(), start));
        assert_eq!(sums(&top, start)[&b"a"[..]].messages, 100);
        top.count(b"b", one(), start + WINDOW);
        assert_eq!(sums(&top, start + WINDOW + WINDOW / 2)[&b"a"[..]].messages, 50);
        top.count(b"b", one(), start + 4 * WINDOW);
        let late = sums(&top, start + 4 * WINDOW);
        assert_eq!((late.len(), late[&b"b"[..]].messages), (1, 1));
        assert_eq!(sums(&top, start + 6 * WINDOW).len(), 0);
    }

    #[test]
    fn names_are_kept_as_far_as_they_are_short() {
        let (mut top, now) = (Top::default(), Instant::now());
        top.count(&[b'x'; 100_000], one(), now);
        top.count(&[b'x'; 1000], one(), now);
        assert_eq!(sums(&top, now)[&[b'x'; NAME_BYTES_MAX][..]].messages, 2);
    }
}
