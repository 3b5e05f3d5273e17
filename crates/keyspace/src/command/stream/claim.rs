//! XCLAIM and XAUTOCLAIM: pending entries that change hands.

use super::readgroup::record_pending;
use super::*;
use crate::stream::{AutoClaimed, Claim, ClaimTarget, Claimed};
use sterna_command::{KeyUse, KeyUses};

pub(in crate::command) const XCLAIM: Command<Run> = row(
    Spec {
        name: "xclaim",
        arity: -6,
        uses: KeyUses::Each(KeyUse::UPDATES_AND_REVEALS),
        flags: Flags::WRITE.union(Flags::FAST),
        complexity: "O(log N) for each ID, N being the entries pending in the group",
        summary: "Makes a consumer the owner of pending entries that were idle for long enough.",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] \
                 [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        reply: &[ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    xclaim,
);

pub(in crate::command) const XAUTOCLAIM: Command<Run> = row(
    Spec {
        name: "xautoclaim",
        uses: KeyUses::Each(KeyUse::DELETES_AND_REVEALS),
        since: "6.2.0",
        complexity: "O(log N + M) for M entries claimed, N being the entries pending in the group",
        summary: "Makes a consumer the owner of whatever pending entries were idle for long enough.",
        syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        ..XCLAIM.spec
    },
    xautoclaim,
);

/// What XCLAIM's arguments say.
struct ClaimOptions {
    min_idle_ms: u64,
    ids: Ids,
    delivered_ms: u64,
    retry_count: Option<u64>,
    force: bool,
    just_ids: bool,
    last_id: Option<EntryId>,
}

/// A number of milliseconds; below 0 is 0.
fn millis(args: Args<'_>, index: usize, argument: &'static str, command: &'static str) -> Result<u64, Error> {
    let number = integer(&args[index]).ok_or(StreamError::ClaimArgument { argument, command })?;
    Ok(u64::try_from(number).unwrap_or(0))
}

impl ClaimOptions {
    fn read(args: Args<'_>, now_ms: u64) -> Result<ClaimOptions, Error> {
        let min_idle_ms = millis(args, 4, "min-idle-time", "XCLAIM")?;
        let ids: Ids = Texts::from(args, 5).map_while(|text| EntryId::parse_strict(text, 0)).collect();
        let mut index = 5 + ids.len();
        let (retry_count, force, just_ids, last_id) = (None, false, false, None);
        let mut options =
            ClaimOptions { min_idle_ms, ids, delivered_ms: now_ms, retry_count, force, just_ids, last_id };
        while index < args.len() {
            index = options.read_one(args, index, now_ms)?;
        }
        Ok(options)
    }

    /// Reads the option at `index`; returns the index behind it.
    fn read_one(&mut self, args: Args<'_>, index: usize, now_ms: u64) -> Result<usize, Error> {
        let option = &args[index];
        let has_value = index + 1 < args.len();
        if is(option, "FORCE") {
            self.force = true;
            return Ok(index + 1);
        }
        if is(option, "JUSTID") {
            self.just_ids = true;
            return Ok(index + 1);
        }
        if has_value && is(option, "IDLE") {
            let argument = StreamError::ClaimArgument { argument: "IDLE option", command: "XCLAIM" };
            let idle_ms = integer(&args[index + 1]).ok_or(argument)?;
            // A time that has not come, or came before 1970, is the present.
            self.delivered_ms =
                now_ms.checked_add_signed(idle_ms.saturating_neg()).unwrap_or(now_ms).min(now_ms);
        } else if has_value && is(option, "TIME") {
            let argument = StreamError::ClaimArgument { argument: "TIME option", command: "XCLAIM" };
            let at_ms = integer(&args[index + 1]).ok_or(argument)?;
            self.delivered_ms = u64::try_from(at_ms).unwrap_or(now_ms).min(now_ms);
        } else if has_value && is(option, "RETRYCOUNT") {
            let argument = StreamError::ClaimArgument { argument: "RETRYCOUNT option", command: "XCLAIM" };
            let count = integer(&args[index + 1]).ok_or(argument)?;
            self.retry_count = u64::try_from(count).ok();
        } else if has_value && is(option, "LASTID") {
            self.last_id = Some(id_at(args, index + 1)?);
        } else {
            return Err(StreamError::ClaimOption { option: option.into() }.into());
        }
        Ok(index + 2)
    }

    fn target(&self) -> ClaimTarget {
        match self.retry_count {
            Some(count) => ClaimTarget::Set(count),
            None if self.just_ids => ClaimTarget::Unchanged,
            None => ClaimTarget::Increment,
        }
    }
}

fn xclaim(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let (group, name) = (&args[2], &args[3]);
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    group_of(stream_in(&slot)?, &args[1], group)?;
    let options = ClaimOptions::read(args, now_ms)?;
    let answered = if options.just_ids { 0 } else { options.ids.len() };
    let copied = stream_in(&slot)?.map_or(0, |stream| stream.work_of_entries(answered));
    caller.check_work((options.ids.len() * WORK_PER_ID).max(copied))?;
    let mut joined = false;
    let changed = slot.edit_stream(|stream, recorder| {
        let raised = raise_cursor(stream, recorder, group, options.last_id);
        let Some((consumer, created)) = join(stream, recorder, group, name, now_ms) else { return 0 };
        joined = created;
        let claim = Claim {
            consumer,
            min_idle_ms: options.min_idle_ms,
            delivered_ms: options.delivered_ms,
            now_ms,
            target: options.target(),
            force: options.force,
        };
        let (mut claimed, mut gone) = (Ids::new(), Ids::new());
        for &id in &options.ids {
            match stream.claim(group, id, claim) {
                Claimed::Yes => claimed.push(id),
                Claimed::Gone => gone.push(id),
                Claimed::No => {}
            }
        }
        finish(stream, recorder, group, consumer, &claimed, &gone, now_ms);
        write_claimed(reply, stream, &claimed, options.just_ids);
        // A claim says where the cursor is, so that this is no change beside it.
        claimed.len() + gone.len() + usize::from(raised && claimed.is_empty())
    });
    note(&mut slot, joined, changed.unwrap_or(0));
    Ok(Outcome::Replied)
}

fn raise_cursor(
    stream: &mut Stream,
    recorder: &mut Recorder<'_>,
    group: &[u8],
    last_id: Option<EntryId>,
) -> bool {
    let (Some(last_id), Some(mut state)) = (last_id, stream.group_mut(group)) else { return false };
    let raised = state.raise_id(last_id);
    if raised {
        let entries_read = state.entries_read();
        recorder.record(&Change::SetGroup { group, last_id, entries_read });
    }
    raised
}

/// Notes what was claimed, and what was found to be gone.
fn finish(
    stream: &mut Stream,
    recorder: &mut Recorder<'_>,
    group: &[u8],
    consumer: ConsumerId,
    claimed: &[EntryId],
    gone: &[EntryId],
    now_ms: u64,
) {
    let Some(mut state) = stream.group_mut(group) else { return };
    if !claimed.is_empty() {
        state.touch(consumer, now_ms, true);
        record_pending(recorder, &state, group, consumer, claimed);
    }
    if !gone.is_empty() {
        recorder.record(&Change::Ack { group, ids: gone.into() });
    }
}

fn note(slot: &mut Slot<'_>, joined: bool, changed: usize) {
    if joined {
        slot.event(event::XGROUP_CREATECONSUMER);
    }
    slot.count_changes(u64::from(joined) + changed as u64);
}

fn write_claimed(reply: &mut Reply<'_>, stream: &Stream, ids: &[EntryId], just_ids: bool) {
    let (mut entries, mut writer) = (stream.finder(), EntryWriter::default());
    reply.array(ids.len());
    for &id in ids {
        match entries.find(id).filter(|_| !just_ids) {
            Some(entry) => writer.write(reply, entry),
            None => write_id(reply, id),
        }
    }
}

/// How many entries XAUTOCLAIM claims unless told, and the most that leaves its arithmetic safe.
const COUNT_DEFAULT: usize = 100;
const COUNT_MAX: i64 = i64::MAX / 64;

fn xautoclaim(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    slot.note_read();
    let (group, name) = (&args[2], &args[3]);
    let min_idle_ms = millis(args, 4, "min-idle-time", "XAUTOCLAIM")?;
    let start = range::start_at(args, 5)?;
    let (mut count, mut just_ids) = (COUNT_DEFAULT, false);
    let mut index = 6;
    while index < args.len() {
        if is(&args[index], "COUNT") && index + 1 < args.len() {
            let given = integer(&args[index + 1]).filter(|count| (1..=COUNT_MAX).contains(count));
            count =
                given.and_then(|count| usize::try_from(count).ok()).ok_or(StreamError::CountNotPositive)?;
            index += 2;
        } else if is(&args[index], "JUSTID") {
            just_ids = true;
            index += 1;
        } else {
            return Err(Error::Syntax);
        }
    }
    let pending = group_of(stream_in(&slot)?, &args[1], group)?.pending().len();
    let answered = if just_ids { 0 } else { count.min(pending) };
    let copied = stream_in(&slot)?.map_or(0, |stream| stream.work_of_entries(answered));
    // It looks at ten times as many as it claims.
    let looked_at = count.min(pending) * WORK_PER_ID + count.saturating_mul(10).min(pending) / 10;
    caller.check_work(looked_at.max(copied))?;
    let mut joined = false;
    let changed = slot.edit_stream(|stream, recorder| {
        let Some((consumer, created)) = join(stream, recorder, group, name, now_ms) else { return 0 };
        joined = created;
        let target = if just_ids { ClaimTarget::Unchanged } else { ClaimTarget::Increment };
        let claim = Claim { consumer, min_idle_ms, delivered_ms: now_ms, now_ms, target, force: false };
        let AutoClaimed { claimed, deleted, next } = stream.auto_claim(group, start, count, claim);
        reply.array(3);
        write_id(reply, next);
        write_claimed(reply, stream, &claimed, just_ids);
        reply.array(deleted.len());
        deleted.iter().for_each(|&id| write_id(reply, id));
        finish(stream, recorder, group, consumer, &claimed, &deleted, now_ms);
        claimed.len() + deleted.len()
    });
    note(&mut slot, joined, changed.unwrap_or(0));
    Ok(Outcome::Replied)
}
