//! Finding the patterns that match a channel where that takes long: each pattern is tried by itself, some at a time, and patterns may come
//! and go meanwhile.
//!
//! The trie finds matches in no order that it could go on in, and what it has to do for patterns with many stars grows with their length
//! times that of the channel. Trying each pattern costs more where most don't match, and has an end.

use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::directory::{Elsewhere, PatternDirectory};
use crate::parcel::ManyMatches;

/// Steps of a match that is done at once, some 2 ms of the slowest: 5 000 patterns that match.
pub(crate) const STEPS_AT_ONCE: usize = 32_768;

/// Very many patterns that match, and who has them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) patterns: ManyMatches,
    /// Subscriptions on this shard.
    pub(crate) here: usize,
    pub(crate) elsewhere: Elsewhere,
}

/// Patterns being tried.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    found: Found,
    /// The next one; `None`: all have been.
    place: Option<usize>,
    /// It is this one's turn while it holds what the shard has a weak reference to.
    turn: Option<Arc<()>>,
}

impl Matching {
    pub(crate) fn begin() -> Matching {
        Matching { place: Some(0), ..Matching::default() }
    }

    /// As [`begin`](Self::begin), for a script, for which others would wait.
    pub(crate) fn begin_with_turn() -> Matching {
        Matching { turn: Some(Arc::default()), ..Matching::begin() }
    }

    /// Whether all patterns have been tried.
    pub(crate) fn is_done(&self) -> bool {
        self.place.is_none()
    }

    /// All patterns have been tried.
    pub(crate) fn ended(found: Found) -> Matching {
        Matching { found, ..Matching::default() }
    }

    /// Whether it is its turn, see [`take_turn`](Self::take_turn).
    pub(crate) fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// From here on to its end it is the one that goes on in slices; what is returned tells until when that is.
    pub(crate) fn take_turn(&mut self) -> Weak<()> {
        Arc::downgrade(self.turn.insert(Arc::new(())))
    }

    /// Tries some patterns, until the time is up; true: all have been tried. `shard`: the one that publishes.
    pub(crate) fn go_on(
        &mut self,
        directory: &PatternDirectory,
        shard: usize,
        channel: &[u8],
        until: Option<Instant>,
    ) -> bool {
        let Found { patterns, here, elsewhere } = &mut self.found;
        while let Some(place) = self.place {
            self.place = directory.read().match_some(channel, place, |name, interest| {
                *here += interest.counts.on(shard) as usize;
                elsewhere.add(&interest.counts, shard);
                patterns.push(Arc::clone(name));
            });
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
        if self.is_done() {
            self.turn = None;
        }
        self.is_done()
    }

    /// What matches, if all patterns have been tried.
    pub(crate) fn end(self) -> Found {
        self.found
    }
}
