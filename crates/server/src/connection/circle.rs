//! Circles: the pages of one shard that follow the same channels, all of them live.
//!
//! ```text
//!   page ─┐
//!   page ─┼──► Circle { news stands at 5-1, chat at 7-0 } ──► "id: EPOCH:NAMES:0.5-1,1.7-0"  made once a message
//!   page ─┘
//! ```
//!
//! A page gives back the last `id:` it has seen, so the line before each message says where all of the page's names stand. Once a
//! page is up to date, that is where the shard has handed them out to, and the same for all pages of the same names: they
//! share a [`Follow`], and the bytes of each message with its line.
//!
//! Invariants
//! - All places of a circle are live channels. A page that reads on has a `Follow` of its own, and streams are always read so.
//! - `at` of each is the last message that was handed out here, or where a member began that came later: what lies between these
//!   was given to nobody (an entry of XADD), or to every member before the newcomer's turn.
//!
//! Cost: a message is framed once a circle. Pages that have no names in common have each a circle to itself: their bytes are
//! copied behind each other, so that a burst is one range for each of them all the same.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::Connection;
use super::chunk::{Appender, CHUNK_BYTES, Range};
use super::follow::{Follow, Kind, Span};
use crate::position::{self, Position};

/// Messages longer than this are not copied: each is a range behind the range of its line.
pub(crate) const COPIED_BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Circle {
    follow: RefCell<Follow>,
    /// The round in which something was made for it, and its number there.
    made: Cell<(u64, usize)>,
}

/// The circles of a shard, by the checksum of their names.
#[derive(Debug, Default)]
pub(crate) struct Circles(HashMap<u32, Vec<Rc<Circle>>>);

impl Circles {
    /// Has the connection, whose places are all live channels, enter the circle of its names.
    pub(crate) fn enter(&mut self, connection: &mut Connection) {
        let Some(follow) = connection.follow.take_if(|follow| follow.has_own_ids && follow.is_live()) else {
            return;
        };
        let alike = self.0.entry(follow.names()).or_default();
        let circle = match alike.iter().find(|circle| circle.follow.borrow().is_of_the_names_of(&follow)) {
            Some(circle) => {
                circle.follow.borrow_mut().advance_to(&follow);
                Rc::clone(circle)
            }
            None => {
                let circle = Circle { follow: RefCell::new(*follow), made: Cell::default() };
                alike.push(Rc::new(circle));
                Rc::clone(&alike[alike.len() - 1])
            }
        };
        connection.circle = Some(circle);
    }

    /// Has it leave. The last one ends the circle.
    pub(crate) fn leave(&mut self, connection: &mut Connection) {
        let Some(circle) = connection.circle.take() else { return };
        // The list's and this one.
        if Rc::strong_count(&circle) > 2 {
            return;
        }
        let names = circle.follow.borrow().names();
        if let Some(alike) = self.0.get_mut(&names) {
            alike.retain(|other| !Rc::ptr_eq(other, &circle));
            if alike.is_empty() {
                self.0.remove(&names);
            }
        }
    }
}

impl Circle {
    pub(crate) fn line_bytes(&self) -> usize {
        self.follow.borrow().line_bytes()
    }

    /// A member's part of the bytes that it holds.
    pub(crate) fn heap_bytes(self: &Rc<Circle>) -> usize {
        let all = size_of::<Circle>() + self.follow.borrow().heap_bytes();
        all / (Rc::strong_count(self) - 1).max(1)
    }
}

/// Messages of one channel that lie behind each other in a range of frames: where each stands, and where its frame ends there.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<(Position, usize)>);

impl Kept {
    pub(crate) fn push(&mut self, position: Position, frame_bytes: usize) {
        let before = self.0.last().map_or(0, |&(_, end)| end);
        self.0.push((position, before + frame_bytes));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// So many that lines of up to `line_bytes` are enough for one range.
    pub(crate) fn is_full(&self, line_bytes: usize) -> bool {
        self.0.len() * line_bytes >= CHUNK_BYTES
    }
}

/// Where bytes go that are of one circle, or of one page alone, and what was made in this round.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    appender: Appender,
    round: u64,
    made: Vec<Option<Range>>,
}

impl Lines {
    /// The next message, or run of messages.
    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
        self.made.clear();
    }

    /// Called once a turn, after flushing.
    pub(crate) fn recycle(&mut self) {
        self.made.clear();
        self.appender.recycle();
    }

    /// The line that stands before a message of `channel` for this connection, if one of its own does.
    #[inline]
    pub(crate) fn line(
        &mut self,
        connection: &mut Connection,
        channel: &[u8],
        position: Position,
    ) -> Option<Range> {
        self.make(connection, |follow, appender| {
            let index = follow.find(Kind::Channel, channel)?;
            follow.stand(index, position.id);
            let write = |out: &mut Vec<u8>| {
                follow.write_id_line(out, position.epoch, index);
            };
            Some(appender.append(follow.line_bytes(), write))
        })
    }

    /// `frames` with a line before each message.
    #[inline]
    pub(crate) fn run(
        &mut self,
        connection: &mut Connection,
        channel: &[u8],
        kept: &Kept,
        frames: &Range,
    ) -> Option<Range> {
        self.make(connection, |follow, appender| {
            let index = follow.find(Kind::Channel, channel)?;
            let bytes = frames.len() + kept.0.len() * follow.line_bytes();
            Some(appender.append(bytes, |out| write_run(out, follow, index, kept, &frames.bytes(0))))
        })
    }

    /// What is made of where the connection stands: once for each circle.
    #[inline]
    fn make(
        &mut self,
        connection: &mut Connection,
        make: impl FnOnce(&mut Follow, &mut Appender) -> Option<Range>,
    ) -> Option<Range> {
        let Some(circle) = &connection.circle else {
            let follow = connection.follow.as_mut().filter(|follow| follow.has_own_ids)?;
            return make(follow, &mut self.appender);
        };
        let (round, number) = circle.made.get();
        if round == self.round {
            return self.made.get(number).cloned().flatten();
        }
        let range = make(&mut circle.follow.borrow_mut(), &mut self.appender);
        circle.made.set((self.round, self.made.len()));
        self.made.push(range.clone());
        range
    }
}

/// The lines of one run differ in one ID: the others are copied from the first.
fn write_run(out: &mut Vec<u8>, follow: &mut Follow, index: usize, kept: &Kept, frames: &[u8]) {
    let mut first = None;
    let mut start = 0;
    for &(position, end) in &kept.0 {
        follow.stand(index, position.id);
        match &first {
            None => {
                let line = out.len();
                let id = follow.write_id_line(out, position.epoch, index);
                first = Some((line..id.start, id.end..out.len()));
            }
            Some((before, after)) => {
                let (before, after): (&Span, &Span) = (before, after);
                out.extend_from_within(before.clone());
                position::write_id(out, position.id);
                out.extend_from_within(after.clone());
            }
        }
        out.extend_from_slice(&frames[start..end]);
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use sterna_keyspace::stream::EntryId;

    use super::*;

    #[test]
    fn each_message_of_a_run_has_the_line_that_it_would_have_alone() {
        for names in [1, 2, 11] {
            let all =
                || (0..names).map(|n| (Kind::Channel, Box::from(format!("c{n:02}").as_bytes()))).collect();
            let (mut follow, mut alone) = (Follow::new(all(), true), Follow::new(all(), true));
            for index in 0..names {
                let channel = format!("c{index:02}");
                assert_eq!(follow.find(Kind::Channel, channel.as_bytes()), Some(index));
                let (mut frames, mut kept, mut expected) = (Vec::new(), Kept::default(), Vec::new());
                for n in 0..3_u64 {
                    let position = Position { epoch: 7, id: EntryId::new(5 + 99 * n, n) };
                    let frame = format!("data: {}\n\n", "x".repeat(3 * n as usize));
                    frames.extend_from_slice(frame.as_bytes());
                    kept.push(position, frame.len());
                    alone.stand(index, position.id);
                    alone.write_id_line(&mut expected, position.epoch, 0);
                    expected.extend_from_slice(frame.as_bytes());
                }
                let mut out = b"before".to_vec();
                write_run(&mut out, &mut follow, index, &kept, &frames);
                assert_eq!(out[6..].escape_ascii().to_string(), expected.escape_ascii().to_string());
            }
        }
    }
}
