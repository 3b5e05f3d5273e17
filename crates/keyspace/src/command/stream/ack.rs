//! XACK and XNACK: pending entries that are done, and such that somebody else is to have.

use super::delete::counted_ids;
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
    let group = &args[2];
    let mut slot = ctx.slot(&args[1]);
    if stream_in(&slot)?.is_none_or(|stream| stream.group(group).is_none()) {
        reply.int(0);
        return Ok(Outcome::Replied);
    }
    let ids = ids_from(args, 3)?;
    let acked = slot.edit_stream(Stream::heap_bytes, |stream, recorder| {
        let Some(state) = stream.group_mut(group) else { return 0 };
        let acked: Ids = ids.into_iter().filter(|&id| state.ack(id)).collect();
        if !acked.is_empty() {
            recorder.record(&Change::Ack { group, ids: (&acked[..]).into() });
        }
        acked.len()
    });
    let acked = acked.unwrap_or(0);
    if acked > 0 {
        slot.count_change();
    }
    reply.int(acked as i64);
    Ok(Outcome::Replied)
}

/// The options of XNACK behind its mode.
struct NackOptions {
    first: usize,
    count: usize,
    retry_count: Option<u64>,
    force: bool,
}

impl NackOptions {
    fn read(args: Args<'_>) -> Result<NackOptions, Error> {
        if !is(&args[4], "IDS") {
            return Err(Error::Syntax);
        }
        let (first, count) = counted_ids(args, 5)?;
        let mut options = NackOptions { first, count, retry_count: None, force: false };
        let mut index = first + count;
        while index < args.len() {
            if is(&args[index], "FORCE") {
                options.force = true;
                index += 1;
            } else if is(&args[index], "RETRYCOUNT") && index + 1 < args.len() {
                let count = u64::try_from(integer_at(args, index + 1)?);
                options.retry_count = Some(count.map_err(|_| Error::NotInteger)?);
                index += 2;
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

fn mode(word: &[u8]) -> Option<Nack> {
    let modes = [("SILENT", Nack::Decrement), ("FAIL", Nack::Unchanged), ("FATAL", Nack::Highest)];
    modes.into_iter().find(|(name, _)| is(word, name)).map(|(_, nack)| nack)
}

fn xnack(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let group = &args[2];
    let mode = mode(&args[3]).ok_or(StreamError::NackMode)?;
    let options = NackOptions::read(args)?;
    let nack = options.retry_count.map_or(mode, Nack::Set);
    let mut slot = ctx.slot(&args[1]);
    group_of(stream_in(&slot)?, &args[1], group)?;
    let ids: Ids = (options.first..options.first + options.count)
        .map(|index| id_at(args, index))
        .collect::<Result<_, _>>()?;
    let released = slot.edit_stream(Stream::heap_bytes, |stream, recorder| {
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
        slot.count_change();
        slot.note_ready();
    }
    reply.int(released as i64);
    Ok(Outcome::Replied)
}

fn release(stream: &mut Stream, group: &[u8], id: EntryId, nack: Nack, force: bool) -> bool {
    let create = force && stream.contains(id);
    let Some(state) = stream.group_mut(group) else { return false };
    if state.release(id, nack) {
        return true;
    }
    if create {
        state.insert_released(id, nack);
    }
    create
}
