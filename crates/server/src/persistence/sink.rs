//! Where the partitions put their effects: the journal's end.

use std::fmt;
use std::sync::{Arc, Weak};

use sterna_journal::{Journal, PAYLOAD_BYTES_MAX, Refusal};
use sterna_keyspace::Effects;

use crate::partitions::EffectLog;
use crate::server::Server;

/// The number of a record that is not in the journal: a reply that depends on it never leaves.
pub(crate) const NEVER_DURABLE: u64 = u64::MAX;

/// The journal, as the partitions see it.
pub(super) struct Sink {
    pub(super) journal: Arc<Journal>,
    pub(super) server: Weak<Server>,
}

impl EffectLog for Sink {
    #[inline]
    fn append(&self, effects: &[u8]) -> u64 {
        match self.journal.append(effects) {
            Ok(lsn) => lsn.0,
            Err(refusal) => self.append_anyhow(effects, refusal),
        }
    }
}

impl Sink {
    /// The write has been made and can't be taken back. What is too large for a record becomes several; a single effect that
    /// is too large leaves a gap, which only a snapshot closes: no write is taken before there is one.
    #[cold]
    fn append_anyhow(&self, effects: &[u8], refusal: Refusal) -> u64 {
        if refusal == Refusal::TooLarge
            && let Some(lsn) = append_in_parts(&self.journal, effects, PAYLOAD_BYTES_MAX)
        {
            return lsn;
        }
        if let Some(server) = self.server.upgrade() {
            server.leave_gap();
        }
        NEVER_DURABLE
    }
}

/// Appends effects as several records, each as large as it may be; `None`: an effect doesn't fit into any.
fn append_in_parts(journal: &Journal, effects: &[u8], bytes_max: usize) -> Option<u64> {
    let mut lsn = None;
    for part in split(effects, bytes_max) {
        lsn = Some(journal.append(part?).ok()?.0);
    }
    lsn
}

/// Parts of `effects` that end where an effect ends; `None` for an effect that is longer than a part may be.
fn split(effects: &[u8], bytes_max: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut walk = Effects::new(effects);
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut end = start;
        while walk.offset() - start <= bytes_max {
            end = walk.offset();
            if walk.next().is_none() {
                break;
            }
        }
        let part = effects.get(start..end).filter(|part| !part.is_empty());
        if part.is_none() && start < effects.len() {
            start = effects.len();
            return Some(None);
        }
        // The effect that did not fit begins the next part.
        start = end;
        part.map(Some)
    })
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({})", self.journal.last_lsn())
    }
}

#[cfg(test)]
mod tests {
    use sterna_keyspace::{Value, write_set};

    use super::*;

    #[test]
    fn effects_are_split_where_one_ends() {
        let mut effects = Vec::new();
        let mut ends = vec![0];
        for len in [10, 30, 1, 1, 25] {
            write_set(&mut effects, 0, b"key", &Value::string(&vec![b'x'; len]), None);
            ends.push(effects.len());
        }
        for bytes_max in 40..=effects.len() {
            let parts: Vec<&[u8]> = split(&effects, bytes_max).map(|part| part.expect("it fits")).collect();
            assert_eq!(parts.concat(), effects, "{bytes_max}");
            let mut end = 0;
            for part in &parts {
                end += part.len();
                assert!(part.len() <= bytes_max && ends.contains(&end), "{bytes_max}");
            }
        }
        assert_eq!(split(&effects, effects.len()).count(), 1);
        assert!(split(&effects, 30).any(|part| part.is_none()));
    }
}
