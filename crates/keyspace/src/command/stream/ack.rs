//! XACK and XNACK: pending entries that are done, and such that somebody else is to have.

use super::*;
use crate::stream::Nack;

pub(in crate::command) const XACK: Command<Run> = row(
    Spec {
        name: "xack",
        arity: -4,
        flags: Flags::WRITE.union(Flags::FAST),
        complexity: "O(log N) for each ID, N being the entries pending in the group",
        summary: "Acknowledges entries for a group and answers how many were pending.",
        syntax: "key group id [id ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    xack,
);

pub(in crate::command) const XNACK: Command<Run> = row(
    Spec {
        name: "xnack",
        arity: -7,
        since: "8.8.0",
        summary: "Gives pending entries back to their group, for any consumer to claim at once.",
        syntax: "key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE]",
        ..XACK.spec
    },
    xnack,
);

fn xack(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (group, caller) = (&args[2], ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    if stream_in(&slot)?.is_none_or(|stream| stream.group(group).is_none()) {
        reply.int(0);
        return Ok(Outcome::Replied);
    }
    let ids = ids_from(args, 3)?;
    caller.check_work(ids.len() * WORK_PER_ID)?;
    let acked = slot.edit_stream(|stream, recorder| {
        let Some(mut state) = stream.group_mut(group) else { return 0 };
        let acked: Ids = ids.into_iter().filter(|&id| state.ack(id)).collect();
        if !acked.is_empty() {
            recorder.record(&Change::Ack { group, ids: (&acked[..]).into() });
        }
        acked.len()
    });
    let acked = acked.unwrap_or(0);
    slot.count_changes(acked as u64);
    reply.int(acked as i64);
    Ok(Outcome::Replied)
}

/// The options of XNACK behind its mode, in any order.
struct NackOptions {
    first: usize,
    count: usize,
    retry_count: Option<u64>,
    force: bool,
}

impl NackOptions {
    fn read(args: Args<'_>) -> Result<NackOptions, Error> {
        let mut options = NackOptions { first: 0, count: 0, retry_count: None, force: false };
        let mut index = 4;
        while index < args.len() {
            let (option, has_value) = (&args[index], index + 1 < args.len());
            if has_value && is(option, "IDS") {
                (options.first, options.count) = counted_ids(args, index + 1)?;
                index = options.first + options.count;
            } else if is(option, "FORCE") {
                options.force = true;
                index += 1;
            } else if has_value && is(option, "RETRYCOUNT") {
                let count = u64::try_from(integer_at(args, index + 1)?);
                options.retry_count = Some(count.map_err(|_| StreamError::NackRetryCount)?);
                index += 2;
            } else {
                return Err(StreamError::NackOption { option: option.into() }.into());
            }
        }
        if options.count == 0 {
            return Err(StreamError::NackIdsMissing.into());
        }
        Ok(options)
    }
}

/// Reads `numids id…` at `index`: where the IDs are, and how many, which is not none.
fn counted_ids(args: Args<'_>, index: usize) -> Result<(usize, usize), Error> {
    let count = integer(&args[index]).and_then(|count| i32::try_from(count).ok());
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(StreamError::NackNumIds)?;
    if count > args.len() - index - 1 {
        return Err(StreamError::NackNumIdsMismatch.into());
    }
    Ok((index + 1, count))
}

fn mode(word: &[u8]) -> Option<Nack> {
    let modes = [("SILENT", Nack::Decrement), ("FAIL", Nack::Unchanged), ("FATAL", Nack::Highest)];
    modes.into_iter().find(|(name, _)| is(word, name)).map(|(_, nack)| nack)
}

fn xnack(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (group, caller) = (&args[2], ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    group_of(stream_in(&slot)?, &args[1], group)?;
    let mode = mode(&args[3]).ok_or(StreamError::NackMode)?;
    let options = NackOptions::read(args)?;
    let nack = options.retry_count.map_or(mode, Nack::Set);
    let ids: Ids = (options.first..options.first + options.count)
        .map(|index| id_at(args, index))
        .collect::<Result<_, _>>()?;
    caller.check_work(ids.len() * WORK_PER_ID)?;
    let released = slot.edit_stream(|stream, recorder| {
        let released: Ids =
            ids.into_iter().filter(|&id| release(stream, group, id, nack, options.force)).collect();
        let Some(state) = stream.group(group).filter(|_| !released.is_empty()) else { return 0 };
        let known = |&id: &EntryId| state.pending().get(id).map(|pending| (id, pending.deliveries));
        let entries: Vec<(EntryId, u64)> = released.iter().filter_map(known).collect();
        recorder.record(&Change::Release { group, entries: entries.into() });
        released.len()
    });
    let released = released.unwrap_or(0);
    if released > 0 {
        slot.count_changes(released as u64);
        slot.note_ready();
    }
    reply.int(released as i64);
    Ok(Outcome::Replied)
}

fn release(stream: &mut Stream, group: &[u8], id: EntryId, nack: Nack, force: bool) -> bool {
    let create = force && stream.contains(id);
    let Some(mut state) = stream.group_mut(group) else { return false };
    if state.release(id, nack) {
        return true;
    }
    if create {
        state.insert_released(id, nack);
    }
    create
}
