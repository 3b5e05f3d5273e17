//! The commands on streams, and what several of them need: arguments that are IDs, entries in replies.
//!
//! | file | commands |
//! |---|---|
//! | `add` | XADD |
//! | `trim` | XTRIM, and how far to trim |
//! | `delete` | XDEL, XDELEX, XACKDEL |
//! | `range` | XLEN, XRANGE, XREVRANGE |
//! | `read`, `readgroup`, `blocked` | XREAD, XREADGROUP, and what waits |
//! | `ack` | XACK, XNACK |
//! | `pending`, `claim` | XPENDING, XCLAIM, XAUTOCLAIM |
//! | `group`, `info` | XGROUP, XINFO |
//! | `configure` | XSETID, XCFGSET |
//! | `remember` | no command: what PUBLISH keeps |
//!
//! An entry in a reply is written straight from its block, without a copy in between.

use smallvec::SmallVec;

use super::*;
use crate::apart::APART_MIN;
use crate::partition::StreamSettings;
use crate::recorder::Recorder;
use crate::stream::effect::Change;
use crate::stream::{ConsumerId, Entry, EntryId, Group as ConsumerGroup, ID_TEXT_MAX, References, Stream};

pub(super) mod ack;
pub(super) mod add;
mod blocked;
pub(super) mod claim;
pub(super) mod configure;
pub(super) mod delete;
mod entry;
mod error;
pub(super) mod group;
pub(super) mod info;
pub(super) mod pending;
pub(super) mod range;
pub(super) mod read;
pub(super) mod readgroup;
mod remember;
pub(super) mod trim;

use entry::{EntryWriter, write_entries, write_entry, write_range};
pub use error::StreamError;
pub use remember::{Retention, remember};

/// IDs of one request; more than these go to the heap.
type Ids = SmallVec<[EntryId; 16]>;

/// Arguments from some index on, one after the other; cheap to clone, so that they can be walked more than once.
#[derive(Debug, Clone, Copy)]
struct Texts<'a> {
    args: Args<'a>,
    next: usize,
}

impl<'a> Texts<'a> {
    fn from(args: Args<'a>, next: usize) -> Texts<'a> {
        Texts { args, next }
    }
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.args.get(self.next)?;
        self.next += 1;
        Some(text)
    }

    #[inline]
    fn nth(&mut self, skipped: usize) -> Option<&'a [u8]> {
        self.next += skipped;
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.args.len().saturating_sub(self.next);
        (left, Some(left))
    }

    fn count(self) -> usize {
        self.size_hint().0
    }
}

/// Argument `index`, which is there, for as long as the request is.
fn text_at(args: Args<'_>, index: usize) -> &[u8] {
    args.get(index).unwrap_or_default()
}

/// An ID without the ends `-` and `+`.
fn id_at(args: Args<'_>, index: usize) -> Result<EntryId, Error> {
    Ok(EntryId::parse_strict(&args[index], 0).ok_or(StreamError::InvalidId)?)
}

impl Ctx<'_> {
    /// What is configured about streams.
    fn stream_settings(&mut self, key: &[u8]) -> StreamSettings {
        self.space.of(key).0.settings.streams
    }
}

/// The IDs from `first` up to the end, all of which must be well formed.
fn ids_from(args: Args<'_>, first: usize) -> Result<Ids, Error> {
    (first..args.len()).map(|index| id_at(args, index)).collect()
}

/// The stream in a slot; `None` if there is nothing.
fn stream_in<'s>(slot: &'s Slot<'_>) -> Result<Option<&'s Stream>, Error> {
    match slot.value() {
        None => Ok(None),
        Some(value) => value.stream().map(Some).ok_or(Error::WrongType),
    }
}

/// A stream, for a command that reads it; `None` if there is nothing.
fn read_stream<'s>(ctx: &'s mut Ctx<'_>, key: &'s [u8]) -> Result<Option<&'s Stream>, Error> {
    match ctx.read(key) {
        None => Ok(None),
        Some(value) => value.stream().map(Some).ok_or(Error::WrongType),
    }
}

/// The group of a stream, which must be there, for commands that say NOGROUP.
fn group_of<'s>(stream: Option<&'s Stream>, key: &[u8], group: &[u8]) -> Result<&'s ConsumerGroup, Error> {
    let found = stream.and_then(|stream| stream.group(group));
    Ok(found.ok_or_else(|| StreamError::NoGroup { key: key.into(), group: group.into(), reading: false })?)
}

/// The consumer `name` of a group that is there, made if there is none: then `true` comes with it.
fn join(
    stream: &mut Stream,
    recorder: &mut Recorder<'_>,
    group: &[u8],
    name: &[u8],
    now_ms: u64,
) -> Option<(ConsumerId, bool)> {
    let mut state = stream.group_mut(group)?;
    if let Some(id) = state.consumer_id(name) {
        state.touch(id, now_ms, false);
        return Some((id, false));
    }
    let id = state.create_consumer(name, now_ms)?;
    recorder.record(&Change::CreateConsumer { group, consumer: name, seen_ms: now_ms });
    Some((id, true))
}

/// A range of a stream that a command answers.
#[derive(Debug, Clone, Copy)]
struct Wide {
    start: EntryId,
    end: EntryId,
    /// Entries at most.
    count: usize,
}

impl Wide {
    /// All entries above an ID, up to so many.
    fn above(after: EntryId, count: usize) -> Wide {
        Wide { start: after.next().unwrap_or(EntryId::MAX), end: EntryId::MAX, count }
    }

    /// About how many elements of work it is, as far as it matters (see `Caller::check_work`) where it is one of so many ranges
    /// that are answered together. Costs next to nothing for a stream in which no range is long.
    fn work(self, stream: &Stream, of: usize) -> usize {
        let (len, bytes) = (usize::try_from(stream.len()).unwrap_or(usize::MAX), stream.heap_bytes());
        let is_small = len.saturating_mul(of) < APART_MIN && bytes.saturating_mul(of) < APART_MIN * 256;
        if is_small { 0 } else { stream.work_of_range((self.start, self.end), self.count, APART_MIN) }
    }

    /// The same, if it is read from its end.
    fn work_backward(self, stream: &Stream) -> usize {
        let is_small = stream.len() < APART_MIN as u64 && stream.heap_bytes() < APART_MIN * 256;
        if is_small {
            0
        } else {
            stream.work_of_range_backward((self.start, self.end), self.count, APART_MIN)
        }
    }
}

/// Work that an entry is which is looked up by its ID and changed, in elements.
const WORK_PER_ID: usize = 4;

/// What an option says about references, if it is one that does.
fn references_of(option: &[u8]) -> Option<References> {
    if is(option, "KEEPREF") {
        Some(References::Keep)
    } else if is(option, "DELREF") {
        Some(References::Drop)
    } else if is(option, "ACKED") {
        Some(References::Acked)
    } else {
        None
    }
}

/// Writes an ID.
#[inline]
fn write_id(reply: &mut Reply<'_>, id: EntryId) {
    reply.bulk(id.format(&mut [0; ID_TEXT_MAX]));
}

/// Writes the fields of an entry.
#[inline]
fn write_fields(reply: &mut Reply<'_>, entry: Entry<'_>) {
    reply.array(2 * entry.len());
    for (name, value) in entry.fields() {
        reply.bulk(name);
        reply.bulk(value);
    }
}

/// What the rows of this file's folder have in common.
const SPEC: Spec = Spec {
    name: "",
    arity: -1,
    flags: Flags::WRITE,
    keys: Keys::at(1),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[],
    tips: &[],
    ..Spec::PLAIN
};
