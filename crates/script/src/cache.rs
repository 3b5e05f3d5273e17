//! The scripts that EVALSHA finds.
//!
//! A script is compiled once and kept under its SHA1. Those that SCRIPT LOAD brought stay until SCRIPT FLUSH; of those that
//! EVAL brought, the one unused for longest goes when there are [`EVALS_MAX`], or more than [`TEXT_BYTES_MAX`] of their text.
//!
//! EVAL sends the text each time. A few that were sent last are found by a quicker hash of it, and by the text itself:
//! the SHA1 of a kilobyte costs as much as a command.

use std::collections::{BTreeMap, HashMap};

use sha1::{Digest, Sha1};

use crate::api::hex;
use crate::shebang::Header;

/// Scripts kept that only EVAL brought. Source: Redis 7.4 and later.
pub(crate) const EVALS_MAX: usize = 500;

/// Bytes of the text of scripts that EVAL brought, but for the last, and of those that stay.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 20;

/// The SHA1 of a script, as forty lower-case digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha([u8; 20]);

impl Sha {
    /// Digits of its text.
    pub const TEXT_BYTES: usize = 40;

    /// That of a script's text.
    pub fn of(body: &[u8]) -> Sha {
        Sha(Sha1::digest(body).into())
    }

    /// Reads forty hexadecimal digits of either case.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        if text.len() != Sha::TEXT_BYTES {
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
#[derive(Debug)]
pub(crate) struct Cached {
    /// Its place in the engine's table of functions.
    pub(crate) id: i64,
    pub(crate) header: Header,
    text: Box<[u8]>,
    /// When EVAL used it last; `None`: it stays.
    used: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cache {
    scripts: HashMap<Sha, Cached>,
    /// Those that EVAL brought, by last use.
    evals: BTreeMap<u64, Sha>,
    clock: u64,
    pub(crate) evicted: u64,
    bytes: usize,
    /// What of them is the text of those that stay.
    staying_bytes: usize,
    /// What was sent last, each at the place that the hash of its text says.
    recent: [Option<Sha>; RECENT],
}

/// Texts that are found without their SHA1, unless two of them have one place. A power of two.
const RECENT: usize = 64;

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            scripts: HashMap::new(),
            evals: BTreeMap::new(),
            clock: 0,
            evicted: 0,
            bytes: 0,
            staying_bytes: 0,
            recent: [None; RECENT],
        }
    }
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

    /// The SHA1 of a text, quickly if it was asked for lately and the script is here.
    pub(crate) fn sha_of(&mut self, text: &[u8]) -> Sha {
        let place = xxhash_rust::xxh3::xxh3_64(text) as usize % RECENT;
        if let Some(sha) = self.recent[place]
            && self.scripts.get(&sha).is_some_and(|cached| *cached.text == *text)
        {
            return sha;
        }
        let sha = Sha::of(text);
        self.recent[place] = Some(sha);
        sha
    }

    pub(crate) fn has(&self, sha: Sha) -> bool {
        self.scripts.contains_key(&sha)
    }

    /// Whether there is room for a script with this text that stays.
    pub(crate) fn has_room_to_stay(&self, sha: Sha, text: &[u8]) -> bool {
        let stays = self.scripts.get(&sha).is_some_and(|cached| cached.used.is_none());
        stays || self.staying_bytes + text.len() <= TEXT_BYTES_MAX
    }

    /// Keeps a new script. Returns the places of those that went for it.
    pub(crate) fn insert(&mut self, sha: Sha, id: i64, header: Header, text: &[u8], stays: bool) -> Vec<i64> {
        self.clock += 1;
        let used = (!stays).then_some(self.clock);
        if stays {
            self.staying_bytes += text.len();
        } else {
            self.evals.insert(self.clock, sha);
        }
        self.bytes += text.len();
        self.scripts.insert(sha, Cached { id, header, text: text.into(), used });
        let mut gone = Vec::new();
        // The last one is about to run.
        while self.evals.len() > EVALS_MAX
            || self.bytes - self.staying_bytes > TEXT_BYTES_MAX && self.evals.len() > 1
        {
            let Some((_, oldest)) = self.evals.pop_first() else { break };
            self.evicted += 1;
            if let Some(script) = self.scripts.remove(&oldest) {
                self.bytes -= script.text.len();
                gone.push(script.id);
            }
        }
        gone
    }

    /// SCRIPT LOAD of a script that is here: it stays.
    pub(crate) fn keep(&mut self, sha: Sha) {
        if let Some(cached) = self.scripts.get_mut(&sha)
            && let Some(used) = cached.used.take()
        {
            self.evals.remove(&used);
            self.staying_bytes += cached.text.len();
        }
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

    const TEXT: &[u8] = b"return 1  ";
    const NONE: [i64; 0] = [];

    fn sha(number: usize) -> Sha {
        Sha::of(number.to_string().as_bytes())
    }

    #[test]
    fn of_the_scripts_that_eval_brought_the_one_unused_for_longest_goes() {
        let mut cache = Cache::default();
        assert_eq!(cache.insert(sha(0), 0, Header::default(), TEXT, true), NONE);
        for number in 1..=EVALS_MAX {
            assert_eq!(cache.insert(sha(number), number as i64, Header::default(), TEXT, false), NONE);
        }
        assert!(cache.find(sha(1)).is_some(), "used now");
        cache.keep(sha(2));
        assert_eq!(cache.insert(sha(1000), 1000, Header::default(), TEXT, false), NONE, "one stays now");
        assert_eq!(cache.insert(sha(1001), 1001, Header::default(), TEXT, false), [3]);
        assert!(cache.has(sha(0)) && cache.has(sha(1)) && cache.has(sha(2)) && !cache.has(sha(3)));
        assert_eq!((cache.len(), cache.evicted, cache.bytes()), (EVALS_MAX + 2, 1, 10 * (EVALS_MAX + 2)));
        cache = Cache::default();
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    #[test]
    fn the_text_of_scripts_has_an_end_in_bytes_and_the_last_one_is_there() {
        let mut cache = Cache::default();
        let long = vec![b' '; TEXT_BYTES_MAX / 2];
        let mut insert = |number: usize, text: &[u8], stays| {
            let gone = cache.insert(sha(number), number as i64, Header::default(), text, stays);
            (gone, cache.len(), cache.bytes())
        };
        assert_eq!(insert(1, &long, false), (vec![], 1, long.len()));
        assert_eq!(insert(2, &long, false), (vec![], 2, 2 * long.len()));
        assert_eq!(insert(3, TEXT, false), (vec![1], 2, long.len() + TEXT.len()));
        assert_eq!(insert(4, &[&long[..], &long[..], TEXT].concat(), false).0, [2, 3]);
        assert_eq!(insert(5, &long, true).0, NONE, "those that stay are counted apart");
        assert!(
            cache.has_room_to_stay(sha(6), &long)
                && cache.has_room_to_stay(sha(5), &[&long[..], TEXT].concat())
        );
        cache.insert(sha(6), 6, Header::default(), &long, true);
        assert!(!cache.has_room_to_stay(sha(7), TEXT) && cache.has_room_to_stay(sha(6), &long));
        assert!(!cache.has_room_to_stay(sha(4), TEXT), "one that EVAL brought would stay");
        cache = Cache::default();
        assert!(cache.has_room_to_stay(sha(7), &long));
    }

    #[test]
    fn the_sha_of_a_text_is_its_own_however_it_is_found() {
        let mut cache = Cache::default();
        let texts: Vec<Vec<u8>> = (0..4 * RECENT).map(|number| number.to_string().into_bytes()).collect();
        for text in &texts {
            let sha = cache.sha_of(text);
            cache.insert(sha, 1, Header::default(), text, true);
        }
        for text in texts.iter().chain(&texts) {
            assert_eq!(cache.sha_of(text), Sha::of(text));
            assert_eq!(cache.sha_of(text), Sha::of(text));
        }
        cache = Cache::default();
        assert_eq!(cache.sha_of(&texts[0]), Sha::of(&texts[0]));
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
