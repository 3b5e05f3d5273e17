//! XSETID and XCFGSET: what a stream knows about itself.

use super::*;
use crate::stream::IdempotenceConfig;

pub(in crate::command) const XSETID: Command<Run> = row(
    Spec {
        name: "xsetid",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        summary: "Sets a stream's last ID, and what it counts; for internal use.",
        syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        reply: &[ReplyShape::Ok],
        ..SPEC
    },
    xsetid,
);

pub(in crate::command) const XCFGSET: Command<Run> = row(
    Spec {
        name: "xcfgset",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        since: "8.6.0",
        summary: "Sets how long and how many messages a stream recognises when they are sent again.",
        syntax: "key [IDMP-DURATION duration] [IDMP-MAXSIZE maxsize]",
        reply: &[ReplyShape::Ok],
        ..SPEC
    },
    xcfgset,
);

fn xsetid(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let last_id = id_at(args, 2)?;
    let (mut entries_added, mut max_deleted_id) = (None, None);
    let mut index = 3;
    while index < args.len() {
        let has_value = index + 1 < args.len();
        if has_value && is(&args[index], "ENTRIESADDED") {
            let added = integer_at(args, index + 1)?;
            entries_added = Some(u64::try_from(added).map_err(|_| StreamError::EntriesAddedNegative)?);
        } else if has_value && is(&args[index], "MAXDELETEDID") {
            let id = id_at(args, index + 1)?;
            if last_id < id {
                return Err(StreamError::MaxDeletedTooLarge.into());
            }
            max_deleted_id = Some(id);
        } else {
            return Err(Error::Syntax);
        }
        index += 2;
    }
    let mut slot = ctx.slot(&args[1]);
    let stream = stream_in(&slot)?.ok_or(StreamError::NoSuchKey)?;
    if last_id < stream.max_deleted_id() {
        return Err(StreamError::SetIdDeleted.into());
    }
    if stream.last_entry().is_some_and(|entry| last_id < entry.id) {
        return Err(StreamError::SetIdTooSmall.into());
    }
    if entries_added.is_some_and(|added| !stream.is_empty() && stream.len() > added) {
        return Err(StreamError::EntriesAddedTooSmall.into());
    }
    slot.edit_stream(|stream, recorder| {
        stream.set_id(last_id, entries_added, max_deleted_id.filter(|&id| id != EntryId::MIN));
        recorder.record(&Change::SetId {
            last_id,
            entries_added: stream.entries_added(),
            max_deleted_id: stream.max_deleted_id(),
        });
    });
    slot.touch();
    slot.event(event::XSETID);
    reply.ok();
    Ok(Outcome::Replied)
}

fn xcfgset(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let defaults = ctx.stream_settings(&args[1]).idempotence;
    let mut slot = ctx.slot(&args[1]);
    stream_in(&slot)?.ok_or(StreamError::NoSuchKey)?;
    let (mut duration, mut size) = (Parameter::DURATION, Parameter::MAXSIZE);
    let mut index = 2;
    while index < args.len() {
        let parameter = [&mut duration, &mut size].into_iter().find(|known| is(&args[index], known.option));
        let parameter = parameter.filter(|_| index + 1 < args.len()).ok_or(Error::Syntax)?;
        parameter.set(args, index + 1)?;
        index += 2;
    }
    if duration.value.is_none() && size.value.is_none() {
        return Err(StreamError::ConfigNone.into());
    }
    let changed = slot.edit_stream(|stream, recorder| {
        let maps = stream.idempotence_mut(defaults);
        let before = maps.config();
        let config = IdempotenceConfig {
            duration_s: duration.value.unwrap_or(before.duration_s),
            entries_max: size.value.unwrap_or(before.entries_max),
        };
        maps.configure(config);
        // Though it be what it was: from now on it is the stream's own.
        recorder.record(&Change::Configure(config));
        config != before
    });
    if changed == Some(true) {
        slot.count_change();
    }
    reply.ok();
    Ok(Outcome::Replied)
}

/// What XCFGSET can set, once.
struct Parameter {
    option: &'static str,
    range: std::ops::RangeInclusive<u32>,
    unit: &'static str,
    value: Option<u32>,
}

impl Parameter {
    const DURATION: Parameter = Parameter {
        option: "IDMP-DURATION",
        range: IdempotenceConfig::DURATION_S,
        unit: "seconds",
        value: None,
    };
    const MAXSIZE: Parameter = Parameter {
        option: "IDMP-MAXSIZE",
        range: IdempotenceConfig::ENTRIES_MAX,
        unit: "entries",
        value: None,
    };

    fn set(&mut self, args: Args<'_>, index: usize) -> Result<(), Error> {
        let Parameter { option, unit, .. } = *self;
        if self.value.is_some() {
            return Err(StreamError::ConfigTwice { option }.into());
        }
        let number = u32::try_from(integer_at(args, index)?).ok();
        self.value = number.filter(|number| self.range.contains(number));
        let (&least, &most) = (self.range.start(), self.range.end());
        self.value.map(drop).ok_or(StreamError::ConfigRange { option, least, most, unit }.into())
    }
}
