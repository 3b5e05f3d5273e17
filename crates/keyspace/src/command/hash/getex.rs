//! HGETEX and HGETDEL: reading fields and changing what becomes of them.

use super::expire::parse_fields;
use super::named::{Asked, Grammar, Options};
use super::*;
use crate::collection::Collection;
use crate::event::EventKind;
use crate::fields::FieldChange;
use crate::wait::Caller;
use sterna_command::{KeyUse, KeyUses, Lifetime};

pub(in super::super) const HGETEX: Command<Run> = row(
    Spec {
        name: "hgetex",
        arity: -5,
        lifetime: Lifetime::options(2),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        since: "8.0.0",
        complexity: "O(1) for each field",
        summary: "Answers the values of fields of a hash and sets or clears when they expire.",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] \
                 FIELDS numfields field [field ...]",
        reply: &[ReplyShape::Array],
        ..SPEC
    },
    hgetex,
);

pub(in super::super) const HGETDEL: Command<Run> = row(
    Spec {
        name: "hgetdel",
        lifetime: Lifetime::None,
        uses: KeyUses::Each(KeyUse::TAKES),
        summary: "Answers the values of fields of a hash and removes them.",
        syntax: "key FIELDS numfields field [field ...]",
        ..HGETEX.spec
    },
    hgetdel,
);

const GRAMMAR: Grammar =
    Grammar { command: "hgetex", width: 1, sets: false, twice: HashError::ExpiryOrPersistTwice };

fn hgetex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    slot.elements::<Hash>()?;
    let options = Options::parse(args, &GRAMMAR, now_ms)?;
    let names = options.named.names(args);
    let (event, change) = match options.expiry {
        Some(Asked::At(at_ms)) if at_ms <= now_ms => (event::HDEL, FieldChange::Remove),
        Some(Asked::At(at_ms)) => (event::HEXPIRE, FieldChange::Expire(Some(at_ms))),
        Some(Asked::Persist) => (event::HPERSIST, FieldChange::Expire(None)),
        Some(Asked::Keep) | None => {
            slot.expire_fields_of(names.clone());
            let hash = slot.elements::<Hash>()?;
            check_values(hash, names.clone(), now_ms, caller)?;
            reply.array(names.len());
            names.for_each(|name| write_or_null(reply, hash.and_then(|hash| hash.get(name, now_ms))));
            return Ok(Outcome::Replied);
        }
    };
    check_values(slot.elements::<Hash>()?, names.clone(), now_ms, caller)?;
    let changed = answer_and_change(&mut slot, names, event, change, reply)?;
    if change == FieldChange::Remove {
        slot.count_expired_fields(changed);
    }
    Ok(Outcome::Replied)
}

fn hgetdel(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    let mut slot = ctx.slot(&args[1]);
    slot.elements::<Hash>()?;
    let names = parse_fields(args, 2, HashError::NumFieldsNotPositive)?;
    check_values(slot.elements::<Hash>()?, names.clone(), now_ms, caller)?;
    answer_and_change(&mut slot, names, event::HDEL, FieldChange::Remove, reply)?;
    Ok(Outcome::Replied)
}

/// Refuses to answer values here that are long.
fn check_values<'a>(
    hash: Option<HashRef<'_>>,
    names: impl Iterator<Item = &'a [u8]>,
    now_ms: u64,
    caller: Caller,
) -> Result<(), Error> {
    // A small hash has no long values.
    let Some(hash) = hash.filter(|hash| caller.check_copy(hash.heap_bytes()).is_err()) else { return Ok(()) };
    let bytes = names.filter_map(|name| hash.get(name, now_ms)).map(|value| value.text().len()).sum();
    caller.check_copy(bytes)
}

/// Answers the values and makes the change of those fields that it is one of. Returns how many.
fn answer_and_change<'a>(
    slot: &mut Slot<'_>,
    names: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    event: EventKind,
    change: FieldChange,
    reply: &mut Reply<'_>,
) -> Result<usize, Error> {
    slot.expire_fields_of(names.clone());
    slot.edit(event, |hash: &mut Hash, edits| {
        reply.array(names.len());
        hash.change_each(edits, names, change, |field| {
            write_or_null(reply, field.map(|field| field.value));
            field.is_some_and(|field| change != FieldChange::Expire(None) || field.expiry().is_some())
        })
    })
}
