//! What ACL LOG shows: what was denied lately, to whom.

use std::collections::VecDeque;

use crate::limits::LOG_ENTRIES_MAX;

/// Bytes kept of a client's line.
const CLIENT_BYTES_MAX: usize = 4096;

/// Within so long the same thing is the same entry, milliseconds.
const SAME_MS: u64 = 60_000;

/// What was denied, newest first.
#[derive(Debug, Default)]
pub(crate) struct AclLog {
    pub(crate) entries: VecDeque<Entry>,
    next_id: i64,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) count: i64,
    pub(crate) denial: Denial,
    /// The client's line of CLIENT LIST, the last time.
    pub(crate) client: String,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// Something denied to someone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) reason: &'static str,
    pub(crate) context: &'static str,
    pub(crate) object: Vec<u8>,
    pub(crate) user: Vec<u8>,
}

impl AclLog {
    pub(crate) fn add(&mut self, denial: Denial, mut client: String, now_ms: u64, entries_max: u64) {
        client.truncate(client.floor_char_boundary(CLIENT_BYTES_MAX));
        let same = (self.entries.iter())
            .position(|entry| entry.denial == denial && now_ms.saturating_sub(entry.updated_ms) <= SAME_MS);
        let entry = match same.and_then(|at| self.entries.remove(at)) {
            Some(old) => Entry { count: old.count + 1, client, updated_ms: now_ms, ..old },
            None => {
                self.next_id += 1;
                let id = self.next_id - 1;
                Entry { id, count: 1, denial, client, created_ms: now_ms, updated_ms: now_ms }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(LOG_ENTRIES_MAX.min(entries_max as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(object: &str) -> Denial {
        Denial { reason: "key", context: "toplevel", object: object.into(), user: b"bob".to_vec() }
    }

    #[test]
    fn the_same_thing_within_a_minute_is_one_entry_that_comes_to_the_front() {
        let mut log = AclLog::default();
        for (object, at_ms) in [("a", 0), ("b", 10), ("a", 20), ("a", 20 + SAME_MS), ("b", 11 + SAME_MS)] {
            log.add(denial(object), String::new(), at_ms, 128);
        }
        let shown: Vec<(i64, i64, u64)> =
            log.entries.iter().map(|entry| (entry.id, entry.count, entry.created_ms)).collect();
        assert_eq!(shown, [(2, 1, 11 + SAME_MS), (0, 3, 0), (1, 1, 10)]);
    }

    #[test]
    fn only_so_many_entries_are_kept() {
        let mut log = AclLog::default();
        (0..1000).for_each(|n| log.add(denial(&n.to_string()), "é".repeat(CLIENT_BYTES_MAX), 0, 7));
        assert_eq!((log.entries.len(), log.entries[0].id), (7, 999));
        assert!(log.entries.iter().all(|entry| entry.client.len() <= CLIENT_BYTES_MAX));
        log.add(denial("x"), String::new(), 0, 0);
        assert!(log.entries.is_empty());
    }
}
