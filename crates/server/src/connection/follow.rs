//! What a page follows from a position on: channels that remember, and streams.
//!
//! ```text
//!   channel   Behind ── all read, under the lock of its stream ──► Live      a subscriber like any other
//!   stream    Behind ── all read ──► Waits ── an entry is added ──► Behind ──► …
//! ```
//!
//! A place that is *behind* reads on in the stream, a slice at a time, when its connection has room (`shard/follow.rs`). So
//! what a page misses is held by nobody for it but the stream. A channel goes live under the lock under which messages get
//! their IDs: what has an ID by then has been read, what gets one later is delivered.
//!
//! Invariants
//! - Places are in order (channels, then streams, each by name), and no two are alike.
//! - `at` is the position of the last message that was queued, or of where it began. A live channel's is kept only where
//!   the connection writes IDs of its own (`has_own_ids`), in its circle once all are live (`circle.rs`); else they are in the
//!   frames that all share.

use std::sync::Arc;

use sterna_keyspace::Waiter;
use sterna_keyspace::stream::{EntryId, Stream};
use sterna_protocol::event::json_string;

use super::Connection;
use crate::placed::Placement;
use crate::position::{self, At, Since};

/// Bytes of a buffer.
pub(crate) type Span = std::ops::Range<usize>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Follow {
    places: Box<[Place]>,
    /// Checksum of their names.
    names: u32,
    /// Each message has an ID line that is this connection's alone.
    pub(crate) has_own_ids: bool,
    /// In the shard's list of those that read on.
    pub(crate) is_listed: bool,
    /// The place that is next to read on.
    next: usize,
    /// What `Server::retain_version` was when it began.
    pub(crate) retain_version: u64,
}

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Channel,
    Stream,
}

/// One of what is followed.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) name: Box<[u8]>,
    pub(crate) at: EntryId,
    /// How many entries the stream had ever been given when `at` was its last; known once that has been so.
    added: Option<u64>,
    pub(crate) stage: Stage,
    /// Entries read since it was last up to date.
    pub(crate) read: u64,
    /// The number of the last placement (`placed.rs`) when `at` was found in the stream.
    pub(crate) placement: u64,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// There may be more behind `at`.
    Behind,
    /// A channel: messages come as they are published.
    Live,
    /// A stream: nothing is behind `at`, and whoever adds something tells.
    Waits(Arc<Waiter>),
}

/// Where a place begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    at: EntryId,
    added: Option<u64>,
    /// All that came behind the position asked for is there.
    pub(crate) recovered: bool,
}

/// What a position asks of one place.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// Nothing: what comes from now on.
    New,
    First,
    /// Behind an ID that somebody else has made.
    Above(EntryId),
    /// Behind an ID that was handed out, under this epoch.
    Behind(EntryId),
    /// Behind something that can't be found any more.
    Lost,
}

impl Follow {
    /// Of channels and streams, in any order.
    pub(crate) fn new(mut names: Vec<(Kind, Box<[u8]>)>, has_own_ids: bool) -> Follow {
        names.sort_unstable();
        names.dedup();
        let sum = position::checksum(names.iter().map(|(_, name)| &**name));
        let place = |(kind, name)| Place {
            kind,
            name,
            at: EntryId::MIN,
            added: None,
            stage: Stage::Behind,
            read: 0,
            placement: 0,
        };
        let places = names.into_iter().map(place).collect();
        Follow { places, names: sum, has_own_ids, is_listed: false, next: 0, retain_version: 0 }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn place_mut(&mut self, index: usize) -> Option<&mut Place> {
        self.places.get_mut(index)
    }

    /// The next place that is behind, of all in turn.
    pub(crate) fn next_behind(&mut self) -> Option<usize> {
        let count = self.places.len();
        let found = (0..count).map(|i| (self.next + i) % count);
        let found = found.into_iter().find(|&index| matches!(self.places[index].stage, Stage::Behind))?;
        self.next = found + 1;
        Some(found)
    }

    /// Whether any place is behind.
    pub(crate) fn is_behind(&self) -> bool {
        self.places.iter().any(|place| matches!(place.stage, Stage::Behind))
    }

    /// The place whose waiter this is reads on. False: it is nobody's.
    pub(crate) fn wake(&mut self, waiter: &Arc<Waiter>) -> bool {
        let is_its = |place: &Place| matches!(&place.stage, Stage::Waits(own) if Arc::ptr_eq(own, waiter));
        let Some(index) = self.places.iter().position(is_its) else { return false };
        self.places[index].stage = Stage::Behind;
        true
    }

    /// The waiters of all places, which stop waiting.
    pub(crate) fn take_waiters(&mut self) -> Vec<Arc<Waiter>> {
        let stages = self.places.iter_mut().map(|place| std::mem::replace(&mut place.stage, Stage::Behind));
        stages
            .filter_map(|stage| if let Stage::Waits(waiter) = stage { Some(waiter) } else { None })
            .collect()
    }

    /// The checksum of their names.
    pub(crate) fn names(&self) -> u32 {
        self.names
    }

    /// Whether `other` is of the same names.
    pub(crate) fn is_of_the_names_of(&self, other: &Follow) -> bool {
        let mut pairs = self.places.iter().zip(&other.places);
        self.places.len() == other.places.len()
            && pairs.all(|(one, other)| (one.kind, &one.name) == (other.kind, &other.name))
    }

    /// Whether all places are live channels.
    pub(crate) fn is_live(&self) -> bool {
        self.places.iter().all(|place| matches!(place.stage, Stage::Live))
    }

    /// Stands where this or `other` has come to, whichever is further: `other` is of the same names.
    pub(crate) fn advance_to(&mut self, other: &Follow) {
        for (place, other) in self.places.iter_mut().zip(&other.places) {
            place.at = place.at.max(other.at);
        }
    }

    /// A live channel has been handed out up to `at`.
    #[inline]
    pub(crate) fn stand(&mut self, index: usize, at: EntryId) {
        if let Some(place) = self.places.get_mut(index) {
            place.at = at;
        }
    }

    #[inline]
    pub(crate) fn find(&self, kind: Kind, name: &[u8]) -> Option<usize> {
        self.places.binary_search_by(|place| (place.kind, &*place.name).cmp(&(kind, name))).ok()
    }

    /// What `since` asks of a place.
    fn wanted(&self, index: usize, since: Option<&Since>, epoch: u64) -> Wanted {
        match since {
            None => Wanted::New,
            Some(Since::Earliest) => Wanted::First,
            Some(Since::Id(id)) => Wanted::Above(id.0),
            Some(Since::Position { epoch: then, .. }) if *then != epoch => Wanted::Lost,
            Some(Since::Position { at: At::One(id), .. }) if self.places.len() == 1 => Wanted::Behind(id.0),
            Some(Since::Position { at: At::Each { names, ids }, .. }) if *names == self.names => {
                let found = ids.iter().find(|(number, _)| *number == index);
                found.map_or(Wanted::Lost, |(_, id)| Wanted::Behind(id.0))
            }
            Some(_) => Wanted::Lost,
        }
    }

    /// Has a place begin where `since` says, in what is there of its stream.
    pub(crate) fn begin(
        &mut self,
        index: usize,
        since: Option<&Since>,
        epoch: u64,
        stream: Option<&Stream>,
        last: Placement,
    ) -> Begin {
        let wanted = match self.wanted(index, since, epoch) {
            Wanted::Behind(at) if last.number > 0 && at <= last.until => Wanted::Lost,
            wanted => wanted,
        };
        let begin = begin_in(stream, wanted);
        if let Some(place) = self.places.get_mut(index) {
            (place.at, place.added, place.placement) = (begin.at, begin.added, last.number);
        }
        begin
    }

    /// The position of all places. Returns where the ID of the place `index` stands in `out`.
    pub(crate) fn write_position(&self, out: &mut Vec<u8>, epoch: u64, index: usize) -> Span {
        let mut span = Span::default();
        position::write_epoch(out, epoch);
        out.push(b':');
        if let [only] = &*self.places {
            let start = out.len();
            position::write_id(out, only.at);
            return start..out.len();
        }
        position::write_names(out, self.names);
        for (number, place) in self.places.iter().enumerate() {
            position::write_number(out, number);
            let start = out.len();
            position::write_id(out, place.at);
            if number == index {
                span = start..out.len();
            }
        }
        span
    }

    /// The line of the position of all places. Returns the same.
    pub(crate) fn write_id_line(&self, out: &mut Vec<u8>, epoch: u64, index: usize) -> Span {
        out.extend_from_slice(b"id: ");
        let span = self.write_position(out, epoch, index);
        out.push(b'\n');
        span
    }

    /// The event that says whether all is there behind where each of `of` was, by its index; `live` are names that have no position.
    pub(crate) fn write_resume<'n>(
        &self,
        out: &mut Vec<u8>,
        epoch: u64,
        of: &[(usize, bool)],
        live: impl Iterator<Item = &'n [u8]>,
    ) {
        let is_recovered = !of.is_empty() && of.iter().all(|&(_, recovered)| recovered);
        begin_resume(out, Some(self), epoch, is_recovered);
        out.extend_from_slice(br#","from":""#);
        self.write_position(out, epoch, 0);
        out.push(b'"');
        for (nth, &(index, recovered)) in of.iter().enumerate() {
            let Some(place) = self.places.get(index) else { continue };
            out.extend_from_slice(if nth > 0 { b"," } else { br#","names":["# });
            out.extend_from_slice(match place.kind {
                Kind::Channel => br#"{"channel":"#,
                Kind::Stream => br#"{"stream":"#,
            });
            json_string(out, &place.name);
            out.extend_from_slice(if recovered {
                br#","recovered":true,"from":""#
            } else {
                br#","recovered":false,"from":""#
            });
            position::write_id(out, place.at);
            out.extend_from_slice(br#""}"#);
        }
        out.extend_from_slice(if of.is_empty() { b"" } else { b"]" });
        end_resume(out, live);
    }

    /// What a line may take.
    pub(crate) fn line_bytes(&self) -> usize {
        64 + 48 * self.places.len()
    }

    /// Bytes that it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        let names: usize = self.places.iter().map(|place| place.name.len()).sum();
        size_of::<Follow>() + self.places.len() * size_of::<Place>() + names
    }
}

/// The same event where nothing that is listened to has a position.
pub(crate) fn write_resume_of_none<'n>(out: &mut Vec<u8>, epoch: u64, live: impl Iterator<Item = &'n [u8]>) {
    begin_resume(out, None, epoch, false);
    end_resume(out, live);
}

fn begin_resume(out: &mut Vec<u8>, follow: Option<&Follow>, epoch: u64, is_recovered: bool) {
    out.extend_from_slice(b"event: resume\n");
    if let Some(follow) = follow {
        follow.write_id_line(out, epoch, 0);
    }
    out.extend_from_slice(br#"data: {"recovered":"#);
    out.extend_from_slice(if is_recovered { b"true" } else { b"false" });
    out.extend_from_slice(br#","epoch":""#);
    position::write_epoch(out, epoch);
    out.push(b'"');
}

fn end_resume<'n>(out: &mut Vec<u8>, live: impl Iterator<Item = &'n [u8]>) {
    let mut count = 0;
    for name in live {
        out.extend_from_slice(if count > 0 { b"," } else { br#","live":["# });
        json_string(out, name);
        count += 1;
    }
    out.extend_from_slice(if count > 0 { b"]}\n\n" } else { b"}\n\n" });
}

impl Place {
    /// Whether nothing that was added behind `at` has been removed again.
    ///
    /// It is not known for certain where what was trimmed reaches up to `at` or beyond; then nothing is claimed, unless the number
    /// of entries ever added tells.
    pub(crate) fn is_continuous(&self, stream: Option<&Stream>) -> bool {
        match (stream, self.added) {
            (None, added) => self.at == EntryId::MIN && added.unwrap_or(0) == 0,
            (Some(stream), Some(added)) if stream.last_id() >= self.at => {
                stream.first_id() <= self.at && !stream.is_empty()
                    || stream.last_id() == self.at
                    || stream.entries_added().checked_sub(added) == Some(stream.len())
            }
            (Some(stream), _) => has_all_behind(stream, self.at),
        }
    }

    /// Everything that `stream` holds has been read.
    pub(crate) fn caught_up(&mut self, stream: Option<&Stream>) {
        self.read = 0;
        self.added = stream.map(Stream::entries_added);
        self.at = stream.map_or(self.at, |stream| stream.last_id().max(self.at));
    }

    /// An entry has been read, with nothing missing between it and the one before.
    pub(crate) fn pass(&mut self, id: EntryId) {
        self.at = id;
        self.read += 1;
        self.added = self.added.map(|added| added + 1);
    }

    /// Goes on with what comes from now on.
    pub(crate) fn skip(&mut self, stream: Option<&Stream>, last: Placement) {
        self.placement = last.number;
        self.at = stream.map_or(EntryId::MIN, Stream::last_id);
        self.caught_up(stream);
    }
}

/// Whether everything is there that was ever added behind `at`, as far as the stream itself can tell.
fn has_all_behind(stream: &Stream, at: EntryId) -> bool {
    let has_older = !stream.is_empty() && stream.first_id() <= at;
    stream.last_id() >= at && (has_older || stream.last_id() == at)
        || at == EntryId::MIN && has_lost_nothing(stream)
}

fn has_lost_nothing(stream: &Stream) -> bool {
    stream.entries_added() == stream.len()
}

fn begin_in(stream: Option<&Stream>, wanted: Wanted) -> Begin {
    let now = Begin {
        at: stream.map_or(EntryId::MIN, Stream::last_id),
        added: Some(stream.map_or(0, Stream::entries_added)),
        recovered: false,
    };
    let behind = |at| Begin { added: now.added.filter(|_| at == now.at), at, recovered: true };
    match (wanted, stream) {
        (Wanted::New | Wanted::Lost, _) => now,
        (Wanted::First, Some(stream)) if !stream.is_empty() => Begin {
            at: stream.first_id().prev().unwrap_or(EntryId::MIN),
            added: stream.entries_added().checked_sub(stream.len()),
            recovered: true,
        },
        (Wanted::First, _) => Begin { recovered: true, ..now },
        // What never was is not missing.
        (Wanted::Above(_) | Wanted::Behind(EntryId::MIN), None) => Begin { recovered: true, ..now },
        (Wanted::Behind(_), None) => now,
        (Wanted::Above(at), Some(stream)) if at > stream.last_id() || has_lost_nothing(stream) => {
            let added = (at < stream.first_id()).then_some(0);
            Begin { at: at.min(stream.last_id()), added, recovered: true }
        }
        (Wanted::Above(at) | Wanted::Behind(at), Some(stream)) => {
            if has_all_behind(stream, at) {
                behind(at)
            } else {
                now
            }
        }
    }
}

impl Connection {
    /// How long the line of its own is that stands before a message with an ID, if one does.
    #[inline]
    pub(crate) fn own_line_bytes(&self) -> Option<usize> {
        match (&self.circle, &self.follow) {
            (Some(circle), _) => Some(circle.line_bytes()),
            (None, Some(follow)) if follow.has_own_ids => Some(follow.line_bytes()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_keyspace::stream::{BlockLimits, Trim, TrimBound};

    const LIMITS: BlockLimits = BlockLimits { bytes_max: 4096, entries_max: 4 };

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    fn add(stream: &mut Stream, ids: std::ops::RangeInclusive<u64>) {
        for ms in ids {
            stream.append(id(ms), [&b"f"[..], b"v"].into_iter(), LIMITS).unwrap();
        }
    }

    fn trim(stream: &mut Stream, most: u64) {
        let bound = TrimBound::MaxLen(most);
        stream.trim(Trim { bound, whole_blocks: None, references: Default::default() });
    }

    fn place(begin: Begin) -> Place {
        let Begin { at, added, .. } = begin;
        Place {
            kind: Kind::Stream,
            name: Box::default(),
            at,
            added,
            stage: Stage::Behind,
            read: 0,
            placement: 0,
        }
    }

    #[test]
    fn a_position_is_recovered_if_all_behind_it_is_there() {
        let mut stream = Stream::new();
        add(&mut stream, 10..=20);
        for (at, is_recovered) in [(0, true), (9, false), (10, true), (15, true), (20, true), (21, false)] {
            assert_eq!(begin_in(Some(&stream), Wanted::Behind(id(at))).recovered, is_recovered, "{at}");
            assert!(begin_in(Some(&stream), Wanted::Above(id(at))).recovered, "{at}");
        }
        trim(&mut stream, 5);
        for (at, is_recovered) in [(0, false), (15, false), (16, true), (20, true), (21, false)] {
            assert_eq!(begin_in(Some(&stream), Wanted::Behind(id(at))).recovered, is_recovered, "{at}");
        }
        trim(&mut stream, 0);
        for (at, is_recovered) in [(19, false), (20, true)] {
            assert_eq!(begin_in(Some(&stream), Wanted::Behind(id(at))).recovered, is_recovered, "{at}");
        }
        assert!(
            begin_in(None, Wanted::Behind(id(0))).recovered
                && !begin_in(None, Wanted::Behind(id(1))).recovered
        );
    }

    #[test]
    fn a_place_that_is_up_to_date_knows_whether_anything_was_trimmed_that_it_has_not_read() {
        let mut stream = Stream::new();
        add(&mut stream, 1..=10);
        let mut place = place(begin_in(Some(&stream), Wanted::New));
        add(&mut stream, 11..=13);
        trim(&mut stream, 3);
        assert!(place.is_continuous(Some(&stream)), "all three are there");
        trim(&mut stream, 2);
        assert!(!place.is_continuous(Some(&stream)), "the first of three is not");
        place.skip(Some(&stream), Placement::default());
        assert!(place.at == id(13) && place.is_continuous(Some(&stream)));
        let mut other = Stream::new();
        add(&mut other, 14..=15);
        assert!(!place.is_continuous(Some(&other)) && !place.is_continuous(None), "it was begun again");
    }

    #[test]
    fn a_position_from_before_the_stream_came_to_its_key_is_not_recovered() {
        let mut stream = Stream::new();
        add(&mut stream, 1..=10);
        let mut follow = Follow::new(vec![(Kind::Channel, Box::from(&b"c"[..]))], false);
        let since = |ms| Since::Position { epoch: 7, at: At::One(position::Id(id(ms))) };
        let last = Placement { number: 1, until: id(6) };
        for (at, last, is_recovered) in
            [(6, Placement::default(), true), (6, last, false), (7, last, true), (0, last, false)]
        {
            assert_eq!(
                follow.begin(0, Some(&since(at)), 7, Some(&stream), last).recovered,
                is_recovered,
                "{at}"
            );
        }
    }

    #[test]
    fn whatever_is_there_is_read_from_the_earliest_on() {
        let mut stream = Stream::new();
        add(&mut stream, 1..=10);
        trim(&mut stream, 4);
        let mut place = place(begin_in(Some(&stream), Wanted::First));
        assert!(place.is_continuous(Some(&stream)));
        place.pass(id(7));
        trim(&mut stream, 3);
        assert!(place.is_continuous(Some(&stream)));
        trim(&mut stream, 2);
        assert!(!place.is_continuous(Some(&stream)));
    }
}
