//! The scripts that EVALSHA finds.
//!
//! A script is compiled once and kept under its SHA1. Those that SCRIPT LOAD brought stay until SCRIPT FLUSH; of those that
//! EVAL brought, the one unused for longest goes when there are [`EVALS_MAX`].

use std::collections::{BTreeMap, HashMap};

use sha1::{Digest, Sha1};

use crate::api::hex;
use crate::shebang::Header;

/// Scripts kept that only EVAL brought. Source: Redis 7.4 and later.
pub(crate) const EVALS_MAX: usize = 500;

/// The SHA1 of a script, as forty lower-case digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha([u8; 20]);

impl Sha {
    /// That of a script's text.
    pub fn of(body: &[u8]) -> Sha {
        Sha(Sha1::digest(body).into())
    }

    /// Reads forty hexadecimal digits of either case.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        if text.len() != 40 {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, digits) in bytes.iter_mut().zip(text.chunks(2)) {
            let digit = |at: usize| (digits[at] as char).to_digit(16);
            *byte = (digit(0)? * 16 + digit(1)?) as u8;
        }
        Some(Sha(bytes))
    }
}

impl std::fmt::Display for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A compiled script.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// Its place in the engine's table of functions.
    pub(crate) id: i64,
    pub(crate) header: Header,
    /// Bytes of its text.
    pub(crate) bytes: usize,
    /// When EVAL used it last; `None`: it stays.
    used: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    scripts: HashMap<Sha, Cached>,
    /// Those that EVAL brought, by last use.
    evals: BTreeMap<u64, Sha>,
    clock: u64,
    pub(crate) evicted: u64,
    bytes: usize,
}

impl Cache {
    /// The script, used now.
    pub(crate) fn find(&mut self, sha: Sha) -> Option<&Cached> {
        let cached = self.scripts.get_mut(&sha)?;
        // The last one used is the last one already.
        if let Some(used) = cached.used
            && used != self.clock
        {
            self.evals.remove(&used);
            self.clock += 1;
            cached.used = Some(self.clock);
            self.evals.insert(self.clock, sha);
        }
        Some(cached)
    }

    pub(crate) fn has(&self, sha: Sha) -> bool {
        self.scripts.contains_key(&sha)
    }

    /// Keeps a new script. Returns the place of the one that went for it.
    pub(crate) fn insert(
        &mut self,
        sha: Sha,
        id: i64,
        header: Header,
        bytes: usize,
        stays: bool,
    ) -> Option<i64> {
        self.clock += 1;
        let used = (!stays).then_some(self.clock);
        if !stays {
            self.evals.insert(self.clock, sha);
        }
        self.bytes += bytes;
        self.scripts.insert(sha, Cached { id, header, bytes, used });
        if self.evals.len() <= EVALS_MAX {
            return None;
        }
        let (_, oldest) = self.evals.pop_first()?;
        self.evicted += 1;
        let gone = self.scripts.remove(&oldest)?;
        self.bytes -= gone.bytes;
        Some(gone.id)
    }

    /// SCRIPT LOAD of a script that is here: it stays.
    pub(crate) fn keep(&mut self, sha: Sha) {
        if let Some(used) = self.scripts.get_mut(&sha).and_then(|cached| cached.used.take()) {
            self.evals.remove(&used);
        }
    }

    pub(crate) fn clear(&mut self) {
        let evicted = self.evicted;
        *self = Cache { evicted, ..Cache::default() };
    }

    /// The places of all scripts.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.scripts.values().map(|cached| cached.id)
    }

    pub(crate) fn len(&self) -> usize {
        self.scripts.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(number: usize) -> Sha {
        Sha::of(number.to_string().as_bytes())
    }

    #[test]
    fn of_the_scripts_that_eval_brought_the_one_unused_for_longest_goes() {
        let mut cache = Cache::default();
        assert_eq!(cache.insert(sha(0), 0, Header::default(), 10, true), None);
        for number in 1..=EVALS_MAX {
            assert_eq!(cache.insert(sha(number), number as i64, Header::default(), 10, false), None);
        }
        assert!(cache.find(sha(1)).is_some(), "used now");
        cache.keep(sha(2));
        assert_eq!(cache.insert(sha(1000), 1000, Header::default(), 10, false), None, "one stays now");
        assert_eq!(cache.insert(sha(1001), 1001, Header::default(), 10, false), Some(3));
        assert!(cache.has(sha(0)) && cache.has(sha(1)) && cache.has(sha(2)) && !cache.has(sha(3)));
        assert_eq!((cache.len(), cache.evicted, cache.bytes()), (EVALS_MAX + 2, 1, 10 * (EVALS_MAX + 2)));
        cache.clear();
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    #[test]
    fn a_sha_is_read_in_either_case() {
        let text = sha(1).to_string();
        assert_eq!(Sha::parse(text.as_bytes()), Some(sha(1)));
        assert_eq!(Sha::parse(text.to_ascii_uppercase().as_bytes()), Some(sha(1)));
        assert_eq!(Sha::parse(&text.as_bytes()[1..]), None);
        assert_eq!(Sha::parse("g".repeat(40).as_bytes()), None);
    }
}
