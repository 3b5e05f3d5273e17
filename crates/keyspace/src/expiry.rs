//! When keys expire: an index by time, for the active cycle.
//!
//! Every key with an expiry has one entry (time, hash), in order of time, so that the cycle finds what is due
//! without looking at anything else. The hash stands for the key, which the table finds by it; two keys that agree in
//! all 64 bits and in the millisecond share an entry, and the one that is left over goes on its next access.
//!
//! ```text
//! runs, by their lower bounds      entries, in order, 12 bytes each
//!   (1 700 000 000 000, …)  ─────► [ time, low 32 bits │ hash ][ … ] …        at most 128
//!   (1 700 000 004 711, …)  ─────► [ … ] …
//! ```
//!
//! Invariants (`check`)
//! - A run has an entry. Its entries are in order, not below its bound, and below the bound of the next.
//! - The times of a run agree in all bits above 32, an *era* of 49 days.
//!
//! For keys the times are [`rounded`] up to 128 ms: the cycle comes by only a few times a second, and a key whose expiry is set again
//! and again (a session, a rate limiter) keeps its entry for that long. Whoever asks for the key is told by the millisecond, by its
//! record.
//!
//! Cost: O(log n) per expiry set or removed, moving a run of 1.5 KiB at worst; about 15 bytes an entry. Redis samples at
//! random instead, which costs no index but leaves expired keys lying about.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use crate::value::NEVER;

/// Most entries of a run.
const RUN_MAX: usize = 128;
/// Below this a run joins the next, if both together are far from being split.
const RUN_SPARSE: usize = RUN_MAX / 4;

/// The times of keys are multiples of so many milliseconds, less one.
pub(crate) const ROUNDED_MS: u64 = 128;

/// A time and a hash.
type Key = (u64, u64);

/// The time that a key with this expiry has in the index: it is due by then.
#[inline]
pub(crate) fn rounded(expiry_ms: u64) -> u64 {
    match expiry_ms {
        NEVER => NEVER,
        at_ms => (at_ms | (ROUNDED_MS - 1)).min(NEVER - 1),
    }
}

/// The expiries of one database in one partition.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    /// By lower bound.
    runs: BTreeMap<Key, Run>,
    len: usize,
    /// Sum of the times, for their average.
    sum_ms: u128,
}

/// Entries of one era, in order.
#[derive(Debug, Default)]
struct Run(Vec<Entry>);

/// The low half of the time, and the two halves of the hash, the higher first: in order as time and hash are.
type Entry = [u32; 3];

const _: () = assert!(size_of::<Entry>() == 12, "an entry has no padding");

fn entry(key: Key) -> Entry {
    [key.0 as u32, (key.1 >> 32) as u32, key.1 as u32]
}

/// Entries are in the order of this.
#[inline]
fn rank([time, high, low]: Entry) -> u128 {
    u128::from(time) << 64 | u128::from(high) << 32 | u128::from(low)
}

fn era(key: Key) -> u64 {
    key.0 >> 32
}

/// The entry of a run with this bound, as it was put in.
fn key(bound: Key, [time, high, low]: Entry) -> Key {
    (era(bound) << 32 | u64::from(time), u64::from(high) << 32 | u64::from(low))
}

fn keys_of<'a>((&bound, run): (&'a Key, &'a Run)) -> impl Iterator<Item = Key> + 'a {
    run.0.iter().map(move |&entry| key(bound, entry))
}

impl Run {
    /// Where an entry is, or where it would be.
    #[inline]
    fn search(&self, entry: Entry) -> Result<usize, usize> {
        self.0.binary_search_by_key(&rank(entry), |&other| rank(other))
    }

    fn insert(&mut self, at: usize, entry: Entry) {
        let Run(entries) = self;
        if entries.len() == entries.capacity() {
            entries.reserve_exact((entries.len() / 4).clamp(4, RUN_MAX / 8));
        }
        entries.insert(at, entry);
    }
}

impl Expiries {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, at_ms: u64, hash: u64) {
        let key = (at_ms, hash);
        let before = self.runs.range_mut(..=key).next_back().filter(|(bound, _)| era(**bound) == era(key));
        let Some((&bound, run)) = before else {
            self.insert_first(key);
            return;
        };
        let Err(at) = run.search(entry(key)) else { return };
        self.len += 1;
        self.sum_ms += u128::from(at_ms);
        if run.0.len() < RUN_MAX {
            run.insert(at, entry(key));
        } else if at == RUN_MAX {
            // Times mostly rise: runs that are full stay full.
            self.runs.insert(key, Run(vec![entry(key)]));
        } else {
            let mut upper = Run(run.0.split_off(RUN_MAX / 2));
            run.0.shrink_to(RUN_MAX * 5 / 8);
            let upper_bound = self::key(bound, upper.0[0]);
            if at <= RUN_MAX / 2 {
                run.insert(at, entry(key));
            } else {
                upper.insert(at - RUN_MAX / 2, entry(key));
            }
            self.runs.insert(upper_bound, upper);
        }
    }

    /// Adds what is below all others of its era.
    fn insert_first(&mut self, key: Key) {
        self.len += 1;
        self.sum_ms += u128::from(key.0);
        let next = self.runs.range(key..).next().map(|(&bound, run)| (bound, run.0.len()));
        let mut run = Run::default();
        if let Some((bound, len)) = next
            && era(bound) == era(key)
            && len < RUN_MAX
        {
            run = self.runs.remove(&bound).unwrap_or_default();
        }
        run.insert(0, entry(key));
        self.runs.insert(key, run);
    }

    pub(crate) fn remove(&mut self, at_ms: u64, hash: u64) {
        let key = (at_ms, hash);
        let before = self.runs.range_mut(..=key).next_back().filter(|(bound, _)| era(**bound) == era(key));
        let Some((&bound, run)) = before else { return };
        let Ok(at) = run.search(entry(key)) else { return };
        run.0.remove(at);
        self.len -= 1;
        self.sum_ms -= u128::from(at_ms);
        match run.0.len() {
            0 => {
                self.runs.remove(&bound);
            }
            // Not at every removal: a run that is used up from its beginning joins nobody.
            len if len < RUN_SPARSE && len % 8 == 0 => self.join_next(bound, len),
            _ => {}
        }
    }

    /// What expired at one time expires at another; either may be [`NEVER`].
    #[inline]
    pub(crate) fn reindex(&mut self, old_ms: u64, new_ms: u64, hash: u64) {
        match (old_ms, new_ms) {
            _ if old_ms == new_ms => {}
            (NEVER, _) => self.insert(new_ms, hash),
            (_, NEVER) => self.remove(old_ms, hash),
            _ if self.move_within_run((old_ms, hash), (new_ms, hash)) => {}
            _ => {
                self.remove(old_ms, hash);
                self.insert(new_ms, hash);
            }
        }
    }

    /// Has an entry become another, if both are in one run; false, and nothing is changed: they are not.
    fn move_within_run(&mut self, old: Key, new: Key) -> bool {
        let run = self.runs.range_mut(..=old.max(new)).next_back();
        let is_of_both = |bound: Key| bound <= old.min(new) && era(bound) == era(old.max(new));
        let Some((_, run)) = run.filter(|&(&bound, _)| is_of_both(bound)) else { return false };
        let (Ok(from), Err(to)) = (run.search(entry(old)), run.search(entry(new))) else { return false };
        let Run(entries) = run;
        if from < to {
            entries.copy_within(from + 1..to, from);
            entries[to - 1] = entry(new);
        } else {
            entries.copy_within(to..from, to + 1);
            entries[to] = entry(new);
        }
        self.sum_ms = self.sum_ms - u128::from(old.0) + u128::from(new.0);
        true
    }

    /// Has the run of this bound, of so many entries, take those of the next.
    fn join_next(&mut self, bound: Key, len: usize) {
        let Some((&next, run)) = self.runs.range((Excluded(bound), Unbounded)).next() else { return };
        if era(next) != era(bound) || len + run.0.len() > RUN_MAX / 2 {
            return;
        }
        let Run(entries) = self.runs.remove(&next).unwrap_or_default();
        if let Some(run) = self.runs.get_mut(&bound) {
            run.0.reserve_exact(entries.len());
            run.0.extend(entries);
            run.0.shrink_to_fit();
        }
    }

    /// The earliest time and the hash of its key.
    pub(crate) fn first(&self) -> Option<Key> {
        self.iter().next()
    }

    fn last(&self) -> Option<Key> {
        let (&bound, run) = self.runs.last_key_value()?;
        Some(key(bound, *run.0.last()?))
    }

    fn iter(&self) -> impl Iterator<Item = Key> {
        self.runs.iter().flat_map(keys_of)
    }

    /// Some neighbours near a random time, or fewer, with the hashes of their keys.
    pub(crate) fn draw(&self, random: u64, count: usize) -> impl Iterator<Item = Key> {
        let ends = self.first().zip(self.last());
        let at = ends.map_or((0, 0), |(first, last)| (first.0 + random % (last.0 - first.0 + 1), random));
        let begin = self.runs.range(..=at).next_back().map_or((0, 0), |(&bound, _)| bound);
        let from = self.runs.range(begin..).flat_map(keys_of).filter(move |&key| key >= at);
        from.chain(self.iter().take_while(move |&key| key < at)).take(count)
    }

    /// Sum of the times to live at `now_ms`; those past count as nothing together with what they lack.
    pub(crate) fn ttl_sum_ms(&self, now_ms: u64) -> u128 {
        self.sum_ms.saturating_sub(u128::from(now_ms) * self.len as u128)
    }

    /// Panics unless these are the expiries, and every invariant of the module holds.
    pub(crate) fn check(&self, expected: impl Iterator<Item = Key>) {
        let mut expected: Vec<Key> = expected.collect();
        expected.sort_unstable();
        expected.dedup();
        assert!(self.iter().eq(expected.iter().copied()));
        assert_eq!(self.len, expected.len());
        assert_eq!(self.sum_ms, expected.iter().map(|&(at_ms, _)| u128::from(at_ms)).sum());
        for (bound, run) in &self.runs {
            assert!((1..=RUN_MAX).contains(&run.0.len()) && key(*bound, run.0[0]) >= *bound);
            let last = key(*bound, run.0[run.0.len() - 1]);
            assert!(self.runs.range(last..).all(|(next, _)| *next > last || next == bound));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Times that rise, times at random over several eras, and few times with many keys.
    #[test]
    fn entries_are_those_of_a_plain_set_through_growth_and_shrinkage() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..12u64 {
            let (mut expiries, mut model) = (Expiries::default(), BTreeSet::new());
            for step in 0..6_000u64 {
                let mut at_ms = || match round % 3 {
                    0 => 1_700_000_000_000 + step,
                    1 => random.u64(..1 << 35),
                    _ => random.u64(..20),
                };
                let (at_ms, later_ms) = (at_ms(), at_ms());
                let key = (at_ms, random.u64(..1 << (2 + 5 * (round % 12))));
                expiries.insert(key.0, key.1);
                model.insert(key);
                let moved = expiries.draw(random.u64(..), 1).next().filter(|_| step % 3 == 0);
                if let Some(moved) = moved {
                    model.remove(&moved);
                    model.insert((later_ms, moved.1));
                    expiries.reindex(moved.0, later_ms, moved.1);
                }
                // From the middle on more go than come, some the earliest, some any.
                for _ in 0..if step > 3_000 { 2 } else { 0 } {
                    let gone = if random.bool() {
                        expiries.first()
                    } else {
                        expiries.draw(random.u64(..), 1).next()
                    };
                    let Some(gone) = gone else { break };
                    assert!(model.remove(&gone));
                    expiries.remove(gone.0, gone.1);
                    expiries.remove(gone.0, gone.1);
                }
                assert_eq!(expiries.first(), model.first().copied());
                if step % 500 == 0 {
                    expiries.check(model.iter().copied());
                }
            }
            expiries.check(model.iter().copied());
        }
    }

    #[test]
    fn a_draw_goes_around_and_shows_nothing_twice() {
        let mut expiries = Expiries::default();
        (0..300).for_each(|number| expiries.insert(number << 30, number));
        for (random, count) in [(0, 5), (1 << 37, 300), (u64::MAX, 1_000)] {
            let drawn: Vec<Key> = expiries.draw(random, count).collect();
            assert_eq!(drawn.len(), count.min(300));
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
        }
    }

    #[test]
    fn an_entry_takes_about_14_bytes_however_they_come() {
        let mut random = fastrand::Rng::with_seed(7);
        for rising in [true, false] {
            let mut expiries = Expiries::default();
            for number in 0..100_000 {
                expiries.insert(if rising { number } else { random.u64(..1 << 32) }, random.u64(..));
            }
            let entries: usize =
                expiries.runs.values().map(|run| run.0.capacity() * size_of::<Entry>()).sum();
            // An entry of the tree of runs is 40 bytes, and a node of it two thirds full.
            let bytes = entries + expiries.runs.len() * 60;
            assert!(bytes < 100_000 * 15, "{} bytes an entry", bytes as f64 / 100_000.0);
        }
    }
}
