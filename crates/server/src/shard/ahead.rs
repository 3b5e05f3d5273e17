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
//! Invariants
//! - `count` requests have been read and not executed. They end at `end`, and what is behind them has not been parsed, unless
//!   `stop` says why it is no request.
//! - A parser has a place in an incomplete request only if it is next and `stop` is [`Stop::Incomplete`].
//!
//! Cost: two locks that are free for a key, none for the key of the request before.

use sterna_protocol::{Args, Limits, Parser, Progress, ProtocolError};

use super::Shard;
use super::serve::{End, Serving};
use crate::partitions::Fetch;

/// Most requests that are read and not executed, that which is executed included. A power of two.
const READ_MAX: usize = 4;

/// Bytes that are read ahead, as long as none of the requests is longer: reading many arguments takes long itself.
const READ_BYTES_MAX: usize = 4_096;

/// A batch of fewer bytes has hardly more than two requests.
const PIPELINE_BYTES_MIN: usize = 128;

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
    /// Whether a batch of a connection that has authenticated is served by [`Shard::execute_reading_ahead`].
    #[inline]
    pub(super) fn reads_ahead(&self, slot: usize, bytes: &[u8]) -> bool {
        bytes.len() >= PIPELINE_BYTES_MIN
            && self.server.partitions.are_large(self.db_of(slot))
            // Rows are looked for by the names that they have.
            && self.server.renames.is_empty()
    }

    /// As [`Shard::execute_all`], reading ahead. The parser is the caller's again unless the rest is an incomplete request.
    #[inline(never)]
    pub(super) fn execute_reading_ahead(
        &mut self,
        serving: &mut Serving,
        bytes: &[u8],
        limits: &Limits,
        parser: Parser,
    ) -> (usize, End, Parser) {
        // Another is made beside a script that is answered by one of the requests.
        let mut requests = self.requests.take().unwrap_or_default();
        let (used, ended) = self.execute_read(serving, bytes, limits, &mut requests);
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
    ) -> (usize, End) {
        let slot = serving.slot;
        let mut used = 0;
        while used < bytes.len() {
            self.read_ahead(slot, bytes, requests, limits);
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
        while requests.count < READ_MAX
            && requests.end < bytes.len()
            && requests.stop.is_none()
            && (requests.count == 0 || requests.end - requests.read[requests.at].start < READ_BYTES_MAX)
        {
            let (start, at) = (requests.end, (requests.at + requests.count) % READ_MAX);
            match requests.parsers[at].parse(&bytes[start..], limits) {
                Ok(Progress::Request { consumed }) => {
                    requests.end = start + consumed;
                    let fetch = self.fetch_index(
                        slot,
                        requests.parsers[at].args(&bytes[start..]),
                        &mut requests.hash,
                    );
                    requests.read[at] = Read { start, end: requests.end, fetch };
                    requests.count += 1;
                }
                Ok(Progress::Incomplete { .. }) => requests.stop = Some(Stop::Incomplete),
                Err(error) => requests.stop = Some(Stop::Failed(error)),
            }
        }
        let next = &mut requests.read[(requests.at + 1) % READ_MAX];
        if requests.count > 1
            && let Some((what, hash)) = next.fetch
        {
            next.fetch = self.fetch(slot, what, hash);
        }
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
