//! DUMP and RESTORE: a value as bytes that another server understands.

use super::time::Clock;
use super::*;
use crate::rdb;
use sterna_command::{KeyUse, KeyUses, Lifetime};

pub(super) const DUMP: Command<Run> = row(
    Spec {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::at(1),
        acl: Categories::KEYSPACE,
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(N) for a value of N bytes",
        summary: "Answers the value of a key in the format of a Redis database file, for RESTORE.",
        syntax: "key",
        reply: &[ReplyShape::Bulk, ReplyShape::Null],
        tips: &["nondeterministic_output"],
        ..Spec::PLAIN
    },
    dump,
);

pub(super) const RESTORE: Command<Run> = row(
    Spec {
        name: "restore",
        arity: -4,
        lifetime: Lifetime::Unless { word: "absttl", from: 4 },
        flags: Flags::WRITE.union(Flags::DENYOOM),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::OVERWRITES),
        acl: Categories::KEYSPACE.union(Categories::DANGEROUS),
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(N) for a value of N bytes",
        summary: "Stores a value that DUMP gave, here or on another server.",
        syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        reply: &[ReplyShape::Ok],
        tips: &[],
        ..Spec::PLAIN
    },
    restore,
);

/// Bytes of a payload that are as much work as an element: few of them are shorter.
const PAYLOAD_BYTES_PER_ELEMENT: usize = 8;

#[derive(Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

fn dump(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let caller = ctx.caller;
    match ctx.inspect(&args[1]) {
        Some(record) => {
            let value = record.value();
            caller.check_bytes(value.text().map_or_else(|| value.heap_bytes(), |text| text.len()))?;
            reply.bulk(&rdb::dump(record.value()));
        }
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}

fn restore(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let options = Options::parse(args)?;
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    let limits = *slot.limits();
    if !slot.is_empty() && !options.replace {
        return Err(Error::BusyKey);
    }
    let ttl = integer_at(args, 2)?;
    if ttl < 0 {
        return Err(Error::InvalidTtl);
    }
    caller.check_work(args[3].len() / PAYLOAD_BYTES_PER_ELEMENT)?;
    let value = rdb::restore(&args[3], &limits)?;
    let clock = if options.absolute { Clock::UnixMillis } else { Clock::Millis };
    let expire_at_ms = match ttl {
        0 => None,
        ttl => clock.unix_ms(ttl, now_ms).and_then(|ms| u64::try_from(ms).ok()),
    };
    if expire_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        slot.delete(event::DEL);
    } else {
        let displaced = slot.place(value, expire_at_ms);
        slot.event(event::NEW);
        slot.event(event::RESTORE);
        slot.event_displaced(displaced);
        slot.mark_idle(options.idle_s.unwrap_or(0));
        if let Some(frequency) = options.frequency {
            slot.mark_frequency(frequency);
        }
    }
    reply.ok();
    Ok(Outcome::Replied)
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 4;
        while let Some(word) = args.get(at) {
            let number = args.get(at + 1);
            if is(word, "replace") {
                options.replace = true;
            } else if is(word, "absttl") {
                options.absolute = true;
            } else if let (true, Some(number), None) = (is(word, "idletime"), number, options.frequency) {
                let idle_s = integer(number).ok_or(Error::NotInteger)?;
                options.idle_s = Some(u64::try_from(idle_s).map_err(|_| Error::InvalidIdleTime)?);
                at += 1;
            } else if let (true, Some(number), None) = (is(word, "freq"), number, options.idle_s) {
                let frequency = integer(number).ok_or(Error::NotInteger)?;
                options.frequency = Some(u8::try_from(frequency).map_err(|_| Error::InvalidFrequency)?);
                at += 1;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}
