//! XREAD and XREADGROUP that wait: what wakes them, and what they then answer.
//!
//! Readers of one stream from one ID share their reply. Consumers of a group are served one by one, in the order they
//! came, each getting what the ones before left; a group or a key that goes away wakes them with the error that asking
//! again would give. A transaction that adds to several streams of a reader wakes it once, with all of them: a stream
//! that is not among the ready keys has nothing new, or its reader would not be waiting.

use super::read::{Budget, Limits, finish_streams, work_above, write_after, write_streams_header};
use super::readgroup::{Reader, Wanted, check_group, serve, work_of};
use super::*;
use crate::wait::Blocked;

/// Lets a command wait for any of `keys`.
pub(super) fn wait(
    ctx: &mut Ctx<'_>,
    mut keys: Vec<Box<[u8]>>,
    block_ms: u64,
    blocked: Box<dyn Blocked>,
) -> Outcome {
    keys.sort_unstable();
    keys.dedup();
    let deadline_ms = (block_ms > 0).then(|| ctx.now_ms.saturating_add(block_ms));
    let outcome = ctx.wait(keys.into(), deadline_ms, blocked);
    if let Outcome::Wait(waiter) = &outcome {
        waiter.plan(ctx);
    }
    outcome
}

/// An XREAD that waits.
#[derive(Debug)]
pub(super) struct Reading {
    /// Keys, and the IDs above which to read.
    pub(super) positions: Vec<(Box<[u8]>, EntryId)>,
    pub(super) limits: Limits,
}

impl Reading {
    pub(super) fn keys(&self) -> Vec<Box<[u8]>> {
        self.positions.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Those of the reader's streams that were written to, in the order it named them, with the IDs above which to read.
    fn ready(&self, ctx: &Ctx<'_>, key: &[u8]) -> Vec<(&[u8], EntryId)> {
        let positions = self.positions.iter().map(|(other, after)| (&**other, *after));
        positions.filter(|&(other, _)| other == key || ctx.log.is_ready(ctx.db, other)).collect()
    }

    fn positions_in<'s>(&'s self, key: &'s [u8]) -> impl Iterator<Item = EntryId> {
        self.positions.iter().filter(move |(other, _)| **other == *key).map(|&(_, after)| after)
    }
}

impl Blocked for Reading {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        let Some(stream) = ctx.peek(key).and_then(|record| record.value().stream()) else { return false };
        let last = stream.last_entry().map(|entry| entry.id);
        self.positions_in(key).any(|after| last.is_some_and(|last| last > after))
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        let ready = self.ready(ctx, key);
        let start = reply.out.len();
        write_streams_header(reply, ready.len());
        let mut budget = Budget::new(self.limits, reply);
        let mut served = 0;
        for &(key, after) in &ready {
            // One of them may be gone again, or of another type.
            let Some(stream) = ctx.peek(key).and_then(|record| record.value().stream()) else { continue };
            if !budget.is_spent(reply) {
                served += usize::from(write_after(reply, key, stream, after, &mut budget));
            }
        }
        if served == 0 {
            reply.out.truncate(start);
            reply.null_array();
            return Ok(());
        }
        finish_streams(reply, start, ready.len(), served);
        Ok(())
    }

    fn work(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> usize {
        let mut work = 0;
        let ready = self.ready(ctx, key);
        for &(key, after) in &ready {
            let stream = ctx.peek(key).and_then(|record| record.value().stream());
            work += stream.map_or(0, |stream| work_above(stream, after, self.limits, ready.len()));
            if work >= APART_MIN {
                break;
            }
        }
        work
    }

    fn writes(&self) -> bool {
        false
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        let [(_, after)] = &self.positions[..] else { return None };
        let Limits { count, max_count, max_bytes: None } = self.limits else { return None };
        Some([after.ms, after.seq, count.min(max_count)])
    }
}

/// An XREADGROUP that waits.
#[derive(Debug)]
pub(super) struct GroupReading {
    group: Box<[u8]>,
    consumer: Box<[u8]>,
    noack: bool,
    claim_ms: Option<u64>,
    limits: Limits,
    /// Its streams, in the order it named them.
    keys: Vec<Box<[u8]>>,
}

impl GroupReading {
    pub(super) fn new(reader: Reader<'_>, limits: Limits, keys: Vec<Box<[u8]>>) -> GroupReading {
        let Reader { group, consumer, noack, claim_ms } = reader;
        GroupReading { group: group.into(), consumer: consumer.into(), noack, claim_ms, limits, keys }
    }

    fn reader(&self) -> Reader<'_> {
        let GroupReading { group, consumer, noack, claim_ms, .. } = self;
        Reader { group, consumer, noack: *noack, claim_ms: *claim_ms }
    }

    /// Those of its streams that were written to, in the order it named them.
    fn ready(&self, ctx: &Ctx<'_>, key: &[u8]) -> Vec<&[u8]> {
        let is_ready = |other: &&[u8]| *other == key || ctx.log.is_ready(ctx.db, other);
        self.keys.iter().map(|key| &**key).filter(is_ready).collect()
    }

    /// Whether something that is idle for long enough is there to be claimed.
    fn can_claim(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        let Some(min_idle_ms) = self.claim_ms else { return false };
        let until_ms = ctx.now_ms.saturating_sub(min_idle_ms);
        let found = ctx.slot(key).edit_stream(|stream, _| {
            let mut found = false;
            stream.search_idle(&self.group, until_ms, |_, _| {
                found = true;
                false
            });
            found
        });
        found == Some(true)
    }
}

impl Blocked for GroupReading {
    fn is_ready(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> bool {
        let Some(stream) = ctx.peek(key).and_then(|record| record.value().stream()) else {
            // Gone, or of another type: the error is the answer.
            return true;
        };
        let Some(group) = stream.group(&self.group) else { return true };
        stream.last_entry().is_some_and(|entry| entry.id > group.last_id()) || self.can_claim(ctx, key)
    }

    fn serve(&self, ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<(), Error> {
        let ready = self.ready(ctx, key);
        for key in &ready {
            check_group(read_stream(ctx, key)?, key, &self.group)?;
        }
        let start = reply.out.len();
        write_streams_header(reply, ready.len());
        let mut budget = Budget::new(self.limits, reply);
        let mut served = 0;
        for key in &ready {
            if !budget.is_spent(reply) {
                served += usize::from(serve(ctx, reply, key, self.reader(), Wanted::New, &mut budget));
            }
        }
        if served == 0 {
            reply.out.truncate(start);
            reply.null_array();
            return Ok(());
        }
        finish_streams(reply, start, ready.len(), served);
        Ok(())
    }

    fn work(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> usize {
        let (mut work, now_ms) = (0, ctx.now_ms);
        let ready = self.ready(ctx, key);
        for key in &ready {
            let stream = ctx.peek(key).and_then(|record| record.value().stream());
            work += stream.map_or(0, |stream| {
                work_of(stream, self.reader(), Wanted::New, self.limits, now_ms, ready.len())
            });
            if work >= APART_MIN {
                break;
            }
        }
        work
    }

    fn sharing(&self) -> Option<[u64; 3]> {
        None
    }

    /// When what is pending now will have been idle for long enough. Whatever is delivered meanwhile can't be before
    /// the whole time has passed, so that is the latest moment to check again.
    fn recheck_ms(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> Option<u64> {
        let min_idle_ms = self.claim_ms?;
        let now_ms = ctx.now_ms;
        let stream = ctx.peek(key).and_then(|record| record.value().stream())?;
        let next = stream.group(&self.group).and_then(|group| {
            let mut idle = group.pending().idle_since(stream.first_id(), u64::MAX);
            idle.next().map(|(_, pending)| pending.delivered_ms)
        });
        let due_ms = next.map(|delivered_ms| delivered_ms.saturating_add(min_idle_ms));
        Some(due_ms.unwrap_or(u64::MAX).min(now_ms.saturating_add(min_idle_ms)).max(now_ms + 1))
    }
}
