//! An ordered map from entry IDs, made for keys that arrive in order and leave in any.
//!
//! ```text
//! [1-0: 1-0 1-3 2-0 … 64 of them] [9-2: 9-2 9-7 …] …        a B-tree of sorted runs, keyed by a lower bound
//! ```
//!
//! A run that is full is cut in two; but one that is full at the very end is left full and a new one started, so that a
//! map filled in order has no slack: 16 bytes a key and the value, where a B-tree of single keys has about twice that.
//!
//! Invariants
//! - No run is empty; its key is ≤ its first ID, and > every ID of the run before.
//! - `len` = sum of the runs' lengths.
//!
//! Cost: O(log n) for everything by key, O(1) amortised behind the end.

use std::collections::{BTreeMap, btree_map};

use crate::stream::EntryId;

/// Keys in a run at most. A removal moves half of them on average: a few hundred bytes.
const RUN_MAX: usize = 64;

type Run<V> = Vec<(EntryId, V)>;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Runs<V> {
    runs: BTreeMap<EntryId, Run<V>>,
    len: usize,
}

impl<V> Default for Runs<V> {
    fn default() -> Runs<V> {
        Runs { runs: BTreeMap::new(), len: 0 }
    }
}

/// Keys and values from some ID on.
#[derive(Debug, Clone)]
pub(crate) struct From<'a, V> {
    run: &'a [(EntryId, V)],
    rest: btree_map::Range<'a, EntryId, Run<V>>,
}

impl<V: Copy> Runs<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&V> {
        let (_, run) = self.runs.range(..=id).next_back()?;
        let index = run.binary_search_by_key(&id, |&(key, _)| key).ok()?;
        Some(&run[index].1)
    }

    /// Sets the value of `id`, and returns the one it had.
    pub(crate) fn insert(&mut self, id: EntryId, value: V) -> Option<V> {
        if let Some(mut last) = self.runs.last_entry() {
            let run = last.get_mut();
            if run.last().is_some_and(|&(key, _)| key < id) {
                self.len += 1;
                if run.len() < RUN_MAX {
                    run.push((id, value));
                } else {
                    self.runs.insert(id, vec![(id, value)]);
                }
                return None;
            }
        }
        self.insert_within(id, value)
    }

    /// Inserts anywhere but behind the end.
    fn insert_within(&mut self, id: EntryId, value: V) -> Option<V> {
        let Some((_, run)) = self.runs.range_mut(..=id).next_back() else {
            // Below every run, or there is none.
            self.len += 1;
            self.runs.insert(id, vec![(id, value)]);
            return None;
        };
        match run.binary_search_by_key(&id, |&(key, _)| key) {
            Ok(index) => Some(std::mem::replace(&mut run[index].1, value)),
            Err(index) => {
                run.insert(index, (id, value));
                self.len += 1;
                if run.len() > RUN_MAX {
                    let upper = run.split_off(run.len() / 2);
                    self.runs.insert(upper[0].0, upper);
                }
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: EntryId) -> Option<V> {
        let (&key, run) = self.runs.range_mut(..=id).next_back()?;
        let index = run.binary_search_by_key(&id, |&(key, _)| key).ok()?;
        let (_, value) = run.remove(index);
        self.len -= 1;
        if run.is_empty() {
            self.runs.remove(&key);
        } else if run.capacity() > 8 && run.len() <= run.capacity() / 4 {
            run.shrink_to(run.len() * 2);
        }
        Some(value)
    }

    pub(crate) fn first(&self) -> Option<EntryId> {
        self.runs.first_key_value().and_then(|(_, run)| run.first()).map(|&(id, _)| id)
    }

    pub(crate) fn last(&self) -> Option<EntryId> {
        self.runs.last_key_value().and_then(|(_, run)| run.last()).map(|&(id, _)| id)
    }

    /// Everything at or above `start`, in order.
    pub(crate) fn from(&self, start: EntryId) -> From<'_, V> {
        let key = self.runs.range(..=start).next_back().map_or(start, |(&key, _)| key);
        let mut rest = self.runs.range(key..);
        let run = rest.next().map_or(&[][..], |(_, run)| &run[run.partition_point(|&(id, _)| id < start)..]);
        From { run, rest }
    }

    /// Memory held on the heap, in bytes; an estimate that looks at no run.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Key, vector and allocation of a run, and its share of a B-tree node.
        self.len * size_of::<(EntryId, V)>() + self.runs.len() * 90
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        let mut before = None;
        for (key, run) in &self.runs {
            assert!(!run.is_empty() && *key <= run[0].0 && before.is_none_or(|before| before < *key));
            assert!(run.windows(2).all(|pair| pair[0].0 < pair[1].0));
            before = run.last().map(|&(id, _)| id);
        }
        assert_eq!(self.len, self.runs.values().map(Vec::len).sum::<usize>());
    }
}

impl<'a, V: Copy> Iterator for From<'a, V> {
    type Item = (EntryId, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let [(id, value), rest @ ..] = self.run {
                self.run = rest;
                return Some((*id, value));
            }
            self.run = self.rest.next()?.1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_a_btree_map_does() {
        let mut random = 1u64;
        let mut next = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let mut runs = Runs::default();
        let mut model = BTreeMap::new();
        let mut highest = 0;
        for step in 0..20_000u32 {
            let anywhere = EntryId::new(next(600), next(3));
            match next(5) {
                0 | 1 => {
                    highest += next(2);
                    let id = EntryId::new(highest, u64::from(step));
                    assert_eq!(runs.insert(id, step), model.insert(id, step));
                }
                2 => assert_eq!(runs.insert(anywhere, step), model.insert(anywhere, step)),
                3 => assert_eq!(runs.remove(anywhere), model.remove(&anywhere)),
                _ => {
                    if let Some((&id, _)) = model.iter().nth(next(model.len().max(1) as u64) as usize) {
                        assert_eq!(runs.remove(id), model.remove(&id));
                    }
                }
            }
            assert_eq!(runs.get(anywhere), model.get(&anywhere));
            if step % 100 == 0 {
                runs.check();
                assert!(runs.from(anywhere).eq(model.range(anywhere..).map(|(id, value)| (*id, value))));
                assert_eq!(runs.first(), model.keys().next().copied());
                assert_eq!(runs.last(), model.keys().next_back().copied());
            }
        }
    }

    #[test]
    fn filled_in_order_there_is_no_slack() {
        let mut runs = Runs::default();
        (0..10_000).for_each(|ms| assert!(runs.insert(EntryId::new(ms, 0), ()).is_none()));
        assert_eq!(runs.runs.len(), 10_000usize.div_ceil(RUN_MAX));
    }
}
