//! Requests of a pipeline that are read before their turn: what the look-up of a key will read is fetched into the caches while
//! the requests before it are executed; otherwise each would be waited for.
//!
//! ```text
//!   bytes   [ request │ request │ request │ request │ … ]
//!             │         │                   └ has just been read: the index of its key's partition is fetched
//!             │         └ its record is fetched
//!             └ is executed
//! ```
//!
//! Nothing is done of a request before its turn but reading it, which no other request can change. Which key it is about is a
//! guess: whatever it is wrong about (another database has been selected, another segment has the key), the wrong place is fetched, and
//! nothing else. If the batch ends before a request that has been read, it is read again when the connection goes on.
//!
//! Only in batches of several requests, and where there are many keys: a few are in the caches anyway, and reading ahead costs 10 to 20 ns
//! a request. That is asked once for each batch, and all others are served by the loop in `serve.rs`, which knows nothing of this.
//!
//! **Elements.** Where the first request of a batch names an element of a large collection, those that follow are taken to do so as well.
//! They are read eight at a time, and what the look-ups of their elements will read is fetched for all of them together
//! (`partitions/fetch.rs`), before the first is executed: a chain of six places and more, which is not waited for once for each.
//!
//! ```text
//!   bytes   [ request │ request │ … 8 │ request │ … ]
//!             └────────────────────┘     └ is read when the eight have been executed
//!               read, fetched together
//! ```
//!
//! Invariants
//! - `count` requests have been read and not executed. They end at `end`, and what is behind them has not been parsed, unless
//!   `stop` says why it is no request.
//! - A parser has a place in an incomplete request only if it is next and `stop` is [`Stop::Incomplete`].
//!
//! Cost: two locks that are free for a key, none for the key of the request before; for the elements of eight requests one for each partition of their keys.

use smallvec::SmallVec;
use sterna_protocol::{Args, Limits, Parser, Progress, ProtocolError};

use super::Shard;
use super::serve::{End, Serving};
use crate::partitions::{ELEMENTS_MAX, Fetch};

/// Room for as many requests that are read and not executed, that which is executed included. A power of two.
const READ_MAX: usize = ELEMENTS_MAX;

/// So many are, where keys are fetched.
const KEYS_READ_MAX: usize = 4;

const _: () = assert!(READ_MAX.is_power_of_two() && KEYS_READ_MAX <= READ_MAX, "they are read into a ring");

/// Bytes that are read ahead, as long as none of the requests is longer: reading many arguments takes long itself.
const READ_BYTES_MAX: usize = 4_096;

/// A batch of fewer bytes has hardly more than two requests.
const PIPELINE_BYTES_MIN: usize = 128;

/// Bytes of a batch whose first request is looked at for an element: it is read once more for that, which is to be little of what the
/// batch takes.
const ELEMENTS_BYTES_MIN: usize = if cfg!(debug_assertions) { PIPELINE_BYTES_MIN } else { 2_048 };

/// What is fetched for the requests of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    Keys,
    Elements,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// A ring, of which `at` is the first.
    parsers: [Parser; READ_MAX],
    read: [Read; READ_MAX],
    at: usize,
    count: usize,
    /// Where the last ends in the bytes of the batch.
    end: usize,
    stop: Option<Stop>,
    /// The hash of the key of the last one; whatever it is at the beginning, it decides but what is fetched.
    hash: u64,
}

/// A request that has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    /// Where it lies in the bytes of the batch.
    start: usize,
    end: usize,
    /// What is to be fetched next, and the hash of its key.
    fetch: Option<(Fetch, u64)>,
}

/// Why nothing more is read.
#[derive(Debug)]
enum Stop {
    /// What follows is the beginning of a request.
    Incomplete,
    /// What follows is none.
    Failed(ProtocolError),
}

impl Requests {
    /// The one that is to be executed, and where it lies.
    #[inline]
    fn first<'a>(&'a self, bytes: &'a [u8]) -> Option<(Args<'a>, usize, usize)> {
        let Read { start, end, .. } = self.read[self.at];
        (self.count > 0).then(|| (self.parsers[self.at].args(&bytes[start..]), start, end))
    }

    /// Reads another request, if there is one and it may be read: no more than `most`, and none behind many bytes. Returns where in
    /// the ring it is.
    #[inline]
    fn read_next(&mut self, bytes: &[u8], limits: &Limits, most: usize) -> Option<usize> {
        let may_read = self.count < most
            && self.end < bytes.len()
            && self.stop.is_none()
            && (self.count == 0 || self.end - self.read[self.at].start < READ_BYTES_MAX);
        if !may_read {
            return None;
        }
        let (start, at) = (self.end, (self.at + self.count) % READ_MAX);
        match self.parsers[at].parse(&bytes[start..], limits) {
            Ok(Progress::Request { consumed }) => {
                self.end = start + consumed;
                self.read[at] = Read { start, end: self.end, fetch: None };
                self.count += 1;
                return Some(at);
            }
            Ok(Progress::Incomplete { .. }) => self.stop = Some(Stop::Incomplete),
            Err(error) => self.stop = Some(Stop::Failed(error)),
        }
        None
    }

    #[inline]
    fn drop_first(&mut self) {
        self.at = (self.at + 1) % READ_MAX;
        self.count -= 1;
    }

    /// Forgets what has been read and not executed; the next request begins at `start`.
    fn begin_at(&mut self, start: usize) {
        if let Some(Stop::Incomplete) = self.stop.take() {
            self.parsers[(self.at + self.count) % READ_MAX] = Parser::default();
        }
        (self.count, self.end) = (0, start);
    }

    /// The parser of the first request, be it an incomplete one.
    fn take_parser(&mut self) -> Parser {
        std::mem::take(&mut self.parsers[self.at])
    }
}

impl Shard {
    /// What is fetched for a batch of a connection that has authenticated, by [`Shard::execute_reading_ahead`], if anything is.
    #[inline]
    pub(super) fn fetched_ahead(&mut self, slot: usize, bytes: &[u8], limits: &Limits) -> Option<Fetched> {
        // Rows are looked for by the names that they have.
        if bytes.len() < PIPELINE_BYTES_MIN || !self.server.renames.is_empty() {
            return None;
        }
        if bytes.len() >= ELEMENTS_BYTES_MIN && self.begins_with_element(slot, bytes, limits) {
            return Some(Fetched::Elements);
        }
        self.server.partitions.are_large(self.db_of(slot)).then_some(Fetched::Keys)
    }

    /// Whether the first request of a batch names an element of a large collection.
    #[inline(never)]
    fn begins_with_element(&mut self, slot: usize, bytes: &[u8], limits: &Limits) -> bool {
        let mut parser = Parser::default();
        if !matches!(parser.parse(bytes, limits), Ok(Progress::Request { .. })) {
            return false;
        }
        let wanted = self.element_of(parser.args(bytes));
        wanted.is_some_and(|wanted| self.server.partitions.has_large(self.db_of(slot), wanted.key))
    }

    /// As [`Shard::execute_all`], reading ahead. The parser is the caller's again unless the rest is an incomplete request.
    #[inline(never)]
    pub(super) fn execute_reading_ahead(
        &mut self,
        serving: &mut Serving,
        bytes: &[u8],
        limits: &Limits,
        parser: Parser,
        fetched: Fetched,
    ) -> (usize, End, Parser) {
        // Another is made beside a script that is answered by one of the requests.
        let mut requests = self.requests.take().unwrap_or_default();
        let (used, ended) = self.execute_read(serving, bytes, limits, &mut requests, fetched);
        let parser = if ended == End::Incomplete { requests.take_parser() } else { parser };
        requests.begin_at(0);
        self.requests = Some(requests);
        (used, ended, parser)
    }

    fn execute_read(
        &mut self,
        serving: &mut Serving,
        bytes: &[u8],
        limits: &Limits,
        requests: &mut Requests,
        fetched: Fetched,
    ) -> (usize, End) {
        let slot = serving.slot;
        let mut used = 0;
        while used < bytes.len() {
            match fetched {
                Fetched::Keys => self.read_ahead(slot, bytes, requests, limits),
                Fetched::Elements => self.read_together(slot, bytes, requests, limits),
            }
            let Some((args, start, end)) = requests.first(bytes) else {
                let Some(Stop::Failed(error)) = &requests.stop else { return (used, End::Incomplete) };
                self.refuse(serving, error);
                return (bytes.len(), End::Held);
            };
            if self.execute_one(serving, args) {
                used = end;
            }
            if self.awaits_request(slot) {
                let request = bytes[start..end].to_vec();
                self.hand_over(slot, request, 0, requests.take_parser());
            }
            if !self.goes_on(slot) {
                return (used, End::Held);
            }
            if used == end {
                requests.drop_first();
            } else {
                requests.begin_at(used);
            }
            if serving.is_over(self.clock.instant) {
                return (used, if used < bytes.len() { End::OutOfTime } else { End::Done });
            }
        }
        (used, End::Done)
    }

    /// Reads requests of the batch until as many have been read as may be, and fetches what they will need.
    #[inline]
    fn read_ahead(&mut self, slot: usize, bytes: &[u8], requests: &mut Requests, limits: &Limits) {
        while let Some(at) = requests.read_next(bytes, limits, KEYS_READ_MAX) {
            let start = requests.read[at].start;
            let args = requests.parsers[at].args(&bytes[start..]);
            requests.read[at].fetch = self.fetch_index(slot, args, &mut requests.hash);
        }
        let next = &mut requests.read[(requests.at + 1) % READ_MAX];
        if requests.count > 1
            && let Some((what, hash)) = next.fetch
        {
            next.fetch = self.fetch(slot, what, hash);
        }
    }

    /// When all have been executed that had been read, reads others, and fetches what the look-ups of their elements will read.
    #[inline]
    fn read_together(&mut self, slot: usize, bytes: &[u8], requests: &mut Requests, limits: &Limits) {
        if requests.count > 0 {
            return;
        }
        let mut read: SmallVec<[usize; ELEMENTS_MAX]> = SmallVec::new();
        while let Some(at) = requests.read_next(bytes, limits, ELEMENTS_MAX) {
            read.push(at);
        }
        let wanted = |at: &usize| {
            let start = requests.read[*at].start;
            self.element_of(requests.parsers[*at].args(&bytes[start..]))
        };
        let wanted: SmallVec<[_; ELEMENTS_MAX]> = read.iter().filter_map(wanted).collect();
        self.server.partitions.fetch_elements(self.db_of(slot), &wanted);
    }

    /// Fetches where the look-up of a request's key begins, if it is not that of the request before. Returns what is to be fetched next.
    #[inline]
    fn fetch_index(&mut self, slot: usize, args: Args<'_>, last: &mut u64) -> Option<(Fetch, u64)> {
        let hash = self.hash_of_key(args)?;
        if std::mem::replace(last, hash) == hash {
            return None;
        }
        self.fetch(slot, Fetch::Index, hash)
    }

    #[inline]
    fn fetch(&self, slot: usize, what: Fetch, hash: u64) -> Option<(Fetch, u64)> {
        let next = self.server.partitions.fetch(self.db_of(slot), hash, what)?;
        Some((next, hash))
    }

    #[inline]
    fn db_of(&self, slot: usize) -> usize {
        self.connections.get(slot).map_or(0, |connection| connection.db.into())
    }
}
