//! XDEL, XDELEX and XACKDEL: entries removed by their IDs.

use super::*;
use crate::stream::DeleteOutcome;
use sterna_command::{KeyUse, KeyUses};

pub(in crate::command) const XDEL: Command<Run> = row(
    Spec {
        name: "xdel",
        arity: -3,
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        flags: Flags::WRITE.union(Flags::FAST),
        complexity: "O(log N) for each ID, N being the entries of the stream",
        summary: "Removes entries from a stream and answers how many there were.",
        syntax: "key id [id ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    xdel,
);

pub(in crate::command) const XDELEX: Command<Run> = row(
    Spec {
        name: "xdelex",
        arity: -5,
        uses: KeyUses::Each(KeyUse::DELETES_FROM),
        since: "8.2.0",
        summary: "Removes entries, and pending entries that refer to them, as an option says.",
        syntax: "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        reply: &[ReplyShape::Array],
        ..XDEL.spec
    },
    xdelex,
);

pub(in crate::command) const XACKDEL: Command<Run> = row(
    Spec {
        name: "xackdel",
        arity: -6,
        uses: KeyUses::Each(KeyUse::UPDATES.union(KeyUse::DELETE)),
        summary: "Acknowledges entries for a group and removes them from the stream, as an option says.",
        syntax: "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        ..XDELEX.spec
    },
    xackdel,
);

/// `[KEEPREF | DELREF | ACKED] IDS numids id…`, read but for the IDs themselves.
struct IdsBlock {
    references: References,
    first: usize,
    count: usize,
}

impl IdsBlock {
    fn read(args: Args<'_>, from: usize) -> Result<IdsBlock, Error> {
        let (mut references, mut ids) = (None, None);
        let mut index = from;
        while index < args.len() {
            let option = &args[index];
            if let Some(found) = references_of(option) {
                if references.replace(found).is_some() {
                    return Err(Error::Syntax);
                }
                index += 1;
            } else if is(option, "IDS") && index + 1 < args.len() {
                let (first, count) = counted_ids(args, index + 1)?;
                ids = Some((first, count));
                index = first + count;
            } else {
                return Err(Error::Syntax);
            }
        }
        let (first, count) = ids.ok_or(Error::Syntax)?;
        Ok(IdsBlock { references: references.unwrap_or_default(), first, count })
    }

    /// How much work it is in a stream with so many groups.
    fn work(&self, groups: usize) -> usize {
        let asked = if self.references == References::Keep { 0 } else { groups };
        self.count.saturating_mul(WORK_PER_ID + asked)
    }

    fn ids(&self, args: Args<'_>) -> Result<Ids, Error> {
        (self.first..self.first + self.count).map(|index| id_at(args, index)).collect()
    }
}

/// Reads `numids id…` at `index`: where the IDs are, and how many.
fn counted_ids(args: Args<'_>, index: usize) -> Result<(usize, usize), Error> {
    let count =
        integer(&args[index]).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(StreamError::NumIds)?;
    if count > args.len() - index - 1 {
        return Err(StreamError::NumIdsMismatch.into());
    }
    Ok((index + 1, count))
}

fn xdel(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    if stream_in(&slot)?.is_none() {
        reply.int(0);
        return Ok(Outcome::Replied);
    }
    let ids = ids_from(args, 2)?;
    caller.check_work(ids.len() * WORK_PER_ID)?;
    let deleted = slot.edit_stream(|stream, recorder| {
        let deleted: Ids = ids.into_iter().filter(|&id| stream.delete(id)).collect();
        if !deleted.is_empty() {
            recorder.record(&Change::Delete { ids: (&deleted[..]).into() });
        }
        deleted.len()
    });
    note_deleted(&mut slot, deleted.unwrap_or(0));
    reply.int(deleted.unwrap_or(0) as i64);
    Ok(Outcome::Replied)
}

fn note_deleted(slot: &mut Slot<'_>, deleted: usize) {
    if deleted > 0 {
        slot.count_changes(deleted as u64 - 1);
        slot.touch();
        slot.event(event::XDEL);
    }
}

fn xdelex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    let mut slot = ctx.slot(&args[1]);
    let groups = stream_in(&slot)?.map(|stream| stream.groups().len());
    let block = IdsBlock::read(args, 2)?;
    let Some(groups) = groups else {
        write_missing(reply, block.count);
        return Ok(Outcome::Replied);
    };
    let ids = block.ids(args)?;
    caller.check_work(block.work(groups))?;
    reply.array(ids.len());
    let deleted = slot.edit_stream(|stream, recorder| {
        let outcomes = ids.iter().map(|&id| delete(stream, recorder, id, block.references));
        outcomes.filter(|&outcome| write_outcome(reply, outcome)).count()
    });
    note_deleted(&mut slot, deleted.unwrap_or(0));
    Ok(Outcome::Replied)
}

fn xackdel(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (group, caller) = (&args[2], ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    let with_group = |stream: &&Stream| stream.group(group).is_some();
    let groups = stream_in(&slot)?.filter(with_group).map(|stream| stream.groups().len());
    let block = IdsBlock::read(args, 3)?;
    let Some(groups) = groups else {
        write_missing(reply, block.count);
        return Ok(Outcome::Replied);
    };
    let ids = block.ids(args)?;
    caller.check_work(block.work(groups))?;
    reply.array(ids.len());
    let mut acked: Ids = Ids::new();
    let deleted = slot.edit_stream(|stream, recorder| {
        let mut deleted = 0;
        for id in ids {
            if !stream.group_mut(group).is_some_and(|mut group| group.ack(id)) {
                write_outcome(reply, DeleteOutcome::Missing);
                continue;
            }
            acked.push(id);
            recorder.record(&Change::Ack { group, ids: (&[id][..]).into() });
            match delete(stream, recorder, id, block.references) {
                DeleteOutcome::Referenced => write_outcome(reply, DeleteOutcome::Referenced),
                outcome => {
                    deleted += usize::from(outcome == DeleteOutcome::Deleted);
                    // It was acknowledged, whether the entry was still there or not.
                    write_outcome(reply, DeleteOutcome::Deleted)
                }
            };
        }
        deleted
    });
    let deleted = deleted.unwrap_or(0);
    slot.count_changes((acked.len() - deleted) as u64);
    note_deleted(&mut slot, deleted);
    Ok(Outcome::Replied)
}

/// Deletes one entry and notes what became of it and of what referred to it.
fn delete(
    stream: &mut Stream,
    recorder: &mut Recorder<'_>,
    id: EntryId,
    references: References,
) -> DeleteOutcome {
    if references == References::Drop && stream.unreference(id) {
        recorder.record(&Change::Unreference { ids: (&[id][..]).into() });
    }
    let outcome = stream.delete_with(id, references);
    if outcome == DeleteOutcome::Deleted {
        recorder.record(&Change::Delete { ids: (&[id][..]).into() });
    }
    outcome
}

fn write_outcome(reply: &mut Reply<'_>, outcome: DeleteOutcome) -> bool {
    reply.int(outcome as i64);
    outcome == DeleteOutcome::Deleted
}

fn write_missing(reply: &mut Reply<'_>, count: usize) {
    reply.array(count);
    (0..count).for_each(|_| reply.int(DeleteOutcome::Missing as i64));
}
