//! HSETEX: fields with an expiry.

use super::named::{Asked, Condition, Grammar, Options};
use super::*;
use sterna_command::Lifetime;

pub(in super::super) const HSETEX: Command<Run> = row(
    Spec {
        name: "hsetex",
        arity: -6,
        lifetime: Lifetime::Options { from: 2, pairs: None, per_field: 2 },
        flags: SPEC.flags.union(Flags::DENYOOM),
        since: "8.0.0",
        complexity: "O(1) for each field",
        summary: "Sets fields of a hash and when they expire, if all or none of them are there.",
        syntax: "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
                 | KEEPTTL] FIELDS numfields field value [field value ...]",
        reply: &[ReplyShape::Integer],
        ..SPEC
    },
    hsetex,
);

const GRAMMAR: Grammar = Grammar { command: "hsetex", width: 2, sets: true, twice: HashError::ExpiryTwice };

fn hsetex(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let now_ms = ctx.now_ms;
    let options = Options::parse(args, &GRAMMAR, now_ms)?;
    let fields = options.named.pairs(args);
    let expiry = match options.expiry {
        Some(Asked::At(at_ms)) => Expiry::At(at_ms),
        Some(Asked::Keep) => Expiry::Keep,
        Some(Asked::Persist) | None => Expiry::Clear,
    };
    let mut slot = ctx.slot(&args[1]);
    let hash = slot.elements::<Hash>()?;
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.field(name, now_ms).is_some());
    let holds = match options.condition {
        None => true,
        Some(Condition::AllPresent) => fields.clone().all(|(name, _)| is_there(name)),
        Some(Condition::AllMissing) => !fields.clone().any(|(name, _)| is_there(name)),
    };
    if !holds {
        slot.expire_fields_of(fields.map(|(name, _)| name));
        reply.int(0);
        return Ok(Outcome::Replied);
    }
    let is_new = slot.is_empty();
    let (mut is_over, mut set) = (false, 0..0);
    let (mut expired, mut expired_names) = (0, 0..0);
    let edited = slot.edit_value(|hash: &mut Hash, edits| {
        if options.condition.is_some() {
            expired = hash.replace_due_of(edits, fields.clone().map(|(name, _)| name));
            expired_names = edits.subkeys.clone();
        }
        match expiry {
            Expiry::At(at_ms) if at_ms <= now_ms => {
                is_over = true;
                hash.set(edits, fields.clone(), Expiry::Clear);
                let count = edits.count;
                set = edits.subkeys.clone();
                hash.delete(edits, fields.map(|(name, _)| name));
                // That the fields went at once is no change of its own.
                edits.count = count;
            }
            expiry => {
                hash.set(edits, fields, expiry);
                set = edits.subkeys.clone();
            }
        }
    })?;
    if is_new {
        slot.event(event::NEW);
    }
    if expired > 0 {
        slot.count_expired_fields(expired);
        slot.event_of(event::HEXPIRED, expired_names);
    }
    slot.event_of(event::HSET, set);
    if is_over {
        slot.count_expired_fields(options.named.pairs(args).len());
        slot.event_of(event::HDEL, edited.subkeys.clone());
    } else if matches!(expiry, Expiry::At(_)) {
        slot.event_of(event::HEXPIRE, edited.subkeys.clone());
    }
    if edited.is_gone || is_new && !edited.is_new {
        slot.event(event::DEL);
    }
    reply.int(1);
    Ok(Outcome::Replied)
}
