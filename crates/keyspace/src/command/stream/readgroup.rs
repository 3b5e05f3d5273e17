//! XREADGROUP.

use super::blocked::{self, GroupReading};
use super::read::{
    Budget, Limits, ReadOptions, finish_streams, work_above, write_stream_key, write_streams_header,
};
use super::*;
use crate::stream::effect::Deliver;
use crate::stream::{Claim, ClaimTarget, Consumer, Pending};
use sterna_command::{KeyUse, KeyUses};

pub(in crate::command) const XREADGROUP: Command<Run> = row(
    Spec {
        name: "xreadgroup",
        arity: -7,
        flags: Flags::WRITE.union(Flags::BLOCKING).union(Flags::MOVABLE_KEYS),
        keys: Keys::AfterStreams { from: 4 },
        uses: KeyUses::Each(KeyUse::READS),
        complexity: "O(M log N) a stream, for M entries answered and N pending",
        summary: "Reads entries as a consumer of a group, new ones or those still pending, or waits for some.",
        syntax: "GROUP group consumer [COUNT count] [MAXCOUNT maxcount] [MAXSIZE maxsize] [BLOCK milliseconds] \
                 [CLAIM min-idle-time] [NOACK] STREAMS key [key ...] id [id ...]",
        reply: &[ReplyShape::Map, ReplyShape::Null],
        ..SPEC
    },
    xreadgroup,
);

/// What a consumer reads of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `>`: what nobody has got.
    New,
    /// Any other ID: what is pending for the consumer above it.
    History(EntryId),
}

/// How a consumer reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) group: &'a [u8],
    pub(super) consumer: &'a [u8],
    pub(super) noack: bool,
    pub(super) claim_ms: Option<u64>,
}

fn wanted(id: &[u8]) -> Result<Wanted, Error> {
    match id {
        b">" => Ok(Wanted::New),
        b"$" => Err(StreamError::MeaninglessId { id: '$' }.into()),
        b"+" => Err(StreamError::MeaninglessId { id: '+' }.into()),
        // The last of all IDs, behind which there is nothing, stands for `>` in Redis.
        id => Ok(match EntryId::parse_strict(id, 0).ok_or(StreamError::InvalidId)? {
            EntryId::MAX => Wanted::New,
            after => Wanted::History(after),
        }),
    }
}

/// The group in a stream that is read, or the error of it.
pub(super) fn check_group(stream: Option<&Stream>, key: &[u8], group: &[u8]) -> Result<(), Error> {
    if stream.is_some_and(|stream| stream.group(group).is_some()) {
        return Ok(());
    }
    Err(StreamError::NoGroup { key: key.into(), group: group.into(), reading: true }.into())
}

fn xreadgroup(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let options = ReadOptions::read(args, true, ctx.now_ms)?;
    let (group, consumer) = options.group.ok_or(StreamError::GroupMissing)?;
    let reader = Reader { group, consumer, noack: options.noack, claim_ms: options.claim_ms };
    let mut all_wanted = SmallVec::<[Wanted; 4]>::new();
    let (mut work, now_ms) = (0, ctx.now_ms);
    for place in 0..options.streams {
        let (key, id) = options.stream(args, place);
        let stream = read_stream(ctx, key)?;
        check_group(stream, key, group)?;
        all_wanted.push(wanted(id)?);
        let wanted = all_wanted[place];
        if let Some(stream) = stream.filter(|_| work < APART_MIN) {
            work += work_of(stream, reader, wanted, options.limits, now_ms, options.streams);
        }
    }
    ctx.caller.check_work(work)?;
    let start = reply.out.len();
    write_streams_header(reply, options.streams);
    let mut budget = Budget::new(options.limits, reply);
    let mut served = 0;
    for (place, &wanted) in all_wanted.iter().enumerate() {
        if budget.is_spent(reply) {
            break;
        }
        let (key, _) = options.stream(args, place);
        served += usize::from(serve(ctx, reply, key, reader, wanted, &mut budget));
    }
    if served > 0 {
        finish_streams(reply, start, options.streams, served);
        return Ok(Outcome::Replied);
    }
    reply.out.truncate(start);
    let Some(block_ms) = options.block_ms.filter(|_| ctx.caller.may_block) else {
        reply.null_array();
        return Ok(Outcome::Replied);
    };
    let keys: Vec<Box<[u8]>> =
        (0..options.streams).map(|place| options.stream(args, place).0.into()).collect();
    let reading = GroupReading::new(reader, options.limits, keys.clone());
    Ok(blocked::wait(ctx, keys, block_ms, Box::new(reading)))
}

/// How much work it is to serve a consumer from a stream, one of so many; nothing where there is nothing for it: then it may have to wait.
pub(super) fn work_of(
    stream: &Stream,
    reader: Reader<'_>,
    wanted: Wanted,
    limits: Limits,
    now_ms: u64,
    of: usize,
) -> usize {
    let Some(group) = stream.group(reader.group) else { return 0 };
    let most = usize::try_from(limits.count.min(limits.max_count)).unwrap_or(usize::MAX);
    match wanted {
        Wanted::New => {
            let until_ms = reader.claim_ms.map(|idle_ms| now_ms.saturating_sub(idle_ms));
            let claimed = until_ms.map_or(0, |until_ms| work_of_claims(stream, group, until_ms, most, of));
            claimed + work_above(stream, group.last_id(), limits, of * WORK_PER_DELIVERY) * WORK_PER_DELIVERY
        }
        Wanted::History(after) => {
            let owner = group.consumer_id(reader.consumer);
            let owned = owner.map_or(0, |owner| group.pending().len_of(owner)).min(most);
            match owner {
                Some(owner) if owned.saturating_mul(WORK_PER_ID * of) >= APART_MIN => {
                    let start = after.next().unwrap_or(EntryId::MAX);
                    let ids = group.pending().ids_of(owner, start).take(owned.min(APART_MIN)).count();
                    (ids * WORK_PER_ID).max(stream.work_of_entries(ids))
                }
                _ => stream.work_of_entries(owned),
            }
        }
    }
}

/// Work that a new entry is, which becomes pending.
const WORK_PER_DELIVERY: usize = 2;

/// The same for what has been idle since then; entries that are gone count for nothing.
fn work_of_claims(stream: &Stream, group: &ConsumerGroup, until_ms: u64, most: usize, of: usize) -> usize {
    let enough = APART_MIN / WORK_PER_ID;
    if most.min(group.pending().len()).saturating_mul(of) < enough {
        return 0;
    }
    let idle = group.pending().idle_since(stream.first_id(), until_ms).take(APART_MIN.div_ceil(of));
    idle.filter(|&(id, _)| stream.contains(id)).take(enough).count() * WORK_PER_ID
}

/// Serves a consumer from one stream, in which its group is; `false` if there was nothing for it.
pub(super) fn serve(
    ctx: &mut Ctx<'_>,
    reply: &mut Reply<'_>,
    key: &[u8],
    reader: Reader<'_>,
    wanted: Wanted,
    budget: &mut Budget,
) -> bool {
    let now_ms = ctx.now_ms;
    let mut slot = ctx.slot(key);
    // As in Redis, a stream is counted when its group is looked for, and when it is read.
    slot.note_read();
    let mut joined = false;
    let served = slot.edit_stream(|stream, recorder| {
        let (consumer, created) = join(stream, recorder, reader.group, reader.consumer, now_ms)?;
        joined = created;
        let mut work = Work { stream, recorder, reader, consumer, now_ms };
        Some(match wanted {
            Wanted::History(after) => work.history(reply, key, after, budget),
            Wanted::New => work.new_entries(reply, key, budget),
        })
    });
    let served = served.flatten().unwrap_or(false);
    if joined {
        slot.event(event::XGROUP_CREATECONSUMER);
    }
    // What is read once more is no change, though it is recorded.
    let delivered = served && wanted == Wanted::New;
    slot.count_changes(u64::from(joined) + u64::from(delivered));
    served
}

/// One consumer's reading of one stream.
struct Work<'w, 'r, 'a> {
    stream: &'w mut Stream,
    recorder: &'w mut Recorder<'r>,
    reader: Reader<'a>,
    consumer: ConsumerId,
    now_ms: u64,
}

impl Work<'_, '_, '_> {
    /// What is pending for the consumer above `after`: always answered, even if it is nothing.
    fn history(&mut self, reply: &mut Reply<'_>, key: &[u8], after: EntryId, budget: &mut Budget) -> bool {
        let Some(group) = self.stream.group(self.reader.group) else { return false };
        write_stream_key(reply, key);
        let header = reply.array_deferred();
        let start = after.next().unwrap_or(EntryId::MAX);
        let owned =
            group.pending().ids_of(self.consumer, start).filter(|&id| id > after).take(budget.entries());
        let mut writer = EntryWriter::default();
        let (mut count, mut redelivered) = (0, Ids::new());
        let mut entries = self.stream.finder();
        for id in owned {
            let entry = entries.find(id);
            let written = budget.write(reply, |reply| match entry {
                Some(entry) => writer.write(reply, entry),
                None => {
                    reply.array(2);
                    write_id(reply, id);
                    reply.null_array();
                }
            });
            if !written {
                break;
            }
            count += 1;
            if entry.is_some() {
                redelivered.push(id);
            }
        }
        reply.array_finish(header, count);
        self.redeliver(&redelivered);
        true
    }

    fn redeliver(&mut self, ids: &[EntryId]) {
        let Some(mut group) = self.stream.group_mut(self.reader.group).filter(|_| !ids.is_empty()) else {
            return;
        };
        ids.iter().for_each(|&id| group.redeliver(id, self.now_ms));
        drop(group);
        self.record_pending(ids);
    }

    /// Notes what is now known of pending entries of the consumer.
    fn record_pending(&mut self, ids: &[EntryId]) {
        let Some(group) = self.stream.group(self.reader.group).filter(|_| !ids.is_empty()) else { return };
        record_pending(self.recorder, group, self.reader.group, self.consumer, ids);
    }

    /// Entries idle for too long, if they are to be claimed, then entries that are new to the group.
    fn new_entries(&mut self, reply: &mut Reply<'_>, key: &[u8], budget: &mut Budget) -> bool {
        let before = reply.out.len();
        write_stream_key(reply, key);
        let header = reply.array_deferred();
        let most = budget.entries();
        let claimed = self.claim_idle(reply, most, budget);
        let delivered = self.deliver_new(reply, most - claimed.len(), &claimed, budget);
        if claimed.len() + delivered == 0 {
            reply.out.truncate(before);
            return false;
        }
        reply.array_finish(header, claimed.len() + delivered);
        true
    }

    /// Claims and writes up to `most` entries, the longest idle first; returns which. What is gone from the stream stays
    /// pending, for XCLAIM and XAUTOCLAIM to find.
    fn claim_idle(&mut self, reply: &mut Reply<'_>, most: usize, budget: &mut Budget) -> Ids {
        let mut claimed = Ids::new();
        let Some(min_idle_ms) = self.reader.claim_ms.filter(|_| most > 0) else { return claimed };
        let until_ms = self.now_ms.saturating_sub(min_idle_ms);
        self.stream.search_idle(self.reader.group, until_ms, |entry, pending| {
            let written = budget.write(reply, |reply| write_claimed(reply, entry, pending, self.now_ms));
            if written {
                claimed.push(entry.id);
            }
            written && claimed.len() < most
        });
        self.take_over(&claimed);
        claimed
    }

    fn take_over(&mut self, claimed: &[EntryId]) {
        let group = self.reader.group;
        let claim = Claim {
            consumer: self.consumer,
            min_idle_ms: 0,
            delivered_ms: self.now_ms,
            now_ms: self.now_ms,
            target: ClaimTarget::Increment,
            force: false,
        };
        for &id in claimed {
            self.stream.claim(group, id, claim);
        }
        if let Some(mut state) = self.stream.group_mut(group).filter(|_| !claimed.is_empty()) {
            state.touch(self.consumer, self.now_ms, true);
        }
        self.record_pending(claimed);
    }

    /// Writes up to `most` entries above the group's cursor and hands them to the consumer; returns how many.
    ///
    /// What is above the cursor and was claimed a moment ago (XNACK FORCE had made it pending) is in the reply already: the
    /// cursor passes it, and it stays as it was claimed.
    fn deliver_new(
        &mut self,
        reply: &mut Reply<'_>,
        most: usize,
        claimed: &[EntryId],
        budget: &mut Budget,
    ) -> usize {
        let group = self.stream.group(self.reader.group);
        let Some(start) = group.and_then(|group| group.last_id().next()).filter(|_| most > 0) else {
            return 0;
        };
        let extended = self.reader.claim_ms.is_some();
        let mut writer = EntryWriter::default();
        let (mut ids, mut passed) = (Ids::new(), Ids::new());
        let above_cursor = |id: &EntryId| *id >= start;
        let claimed: Ids = claimed.iter().copied().filter(above_cursor).collect();
        self.stream.range(start, EntryId::MAX).visit(|entry| {
            if !claimed.is_empty() && claimed.contains(&entry.id) {
                ids.push(entry.id);
                passed.push(entry.id);
                return true;
            }
            let written = budget.write(reply, |reply| match extended {
                false => writer.write(reply, entry),
                true => write_new_extended(reply, entry),
            });
            if written {
                ids.push(entry.id);
            }
            written && ids.len() - passed.len() < most
        });
        if ids.is_empty() {
            return 0;
        }
        let known = |&id: &EntryId| Some((id, self.stream.group(self.reader.group)?.pending().get(id)?));
        let kept: Vec<(EntryId, Pending)> = passed.iter().filter_map(known).collect();
        let Reader { group, consumer, noack, .. } = self.reader;
        if let Some(delivery) = self.stream.deliver(group, self.consumer, &ids, self.now_ms, noack) {
            self.recorder.record(&Change::Deliver(Deliver {
                group,
                consumer,
                at_ms: self.now_ms,
                acked: noack,
                last_id: delivery.last_id,
                entries_read: delivery.entries_read,
                ids: (&ids[..]).into(),
            }));
        }
        if let Some(mut group) = self.stream.group_mut(group).filter(|_| !kept.is_empty()) {
            kept.into_iter().for_each(|(id, pending)| group.pending_mut().set(id, pending));
        }
        self.record_pending(&passed);
        ids.len() - passed.len()
    }
}

/// Notes what is now known of pending entries of a consumer, and when it was last active: reading its history is not.
pub(super) fn record_pending(
    recorder: &mut Recorder<'_>,
    state: &ConsumerGroup,
    group: &[u8],
    consumer: ConsumerId,
    ids: &[EntryId],
) {
    if ids.is_empty() || !recorder.wants_change() {
        return;
    }
    let known =
        |&id: &EntryId| state.pending().get(id).map(|pending| (id, pending.delivered_ms, pending.deliveries));
    let entries: Vec<(EntryId, u64, u64)> = ids.iter().filter_map(known).collect();
    let Some(Consumer { name, active_ms, .. }) = state.consumer(consumer) else { return };
    let active_ms = *active_ms;
    recorder.record(&Change::Pending { group, consumer: name, active_ms, entries: entries.into() });
}

/// An entry that was claimed, with how long it was idle and how often delivered before. One that was released counts as
/// delivered at 0.
fn write_claimed(reply: &mut Reply<'_>, entry: Entry<'_>, pending: Pending, now_ms: u64) {
    reply.array(4);
    write_id(reply, entry.id);
    write_fields(reply, entry);
    reply.int(now_ms.saturating_sub(pending.delivered_ms) as i64);
    reply.int(pending.deliveries as i64);
}

fn write_new_extended(reply: &mut Reply<'_>, entry: Entry<'_>) {
    reply.array(4);
    write_id(reply, entry.id);
    write_fields(reply, entry);
    reply.int(0);
    reply.int(0);
}
