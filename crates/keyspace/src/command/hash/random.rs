//! HRANDFIELD.

use super::*;
use crate::fields::Field;
use sterna_protocol::Proto;

pub(in super::super) const HRANDFIELD: Command<Run> = row(
    Spec {
        name: "hrandfield",
        arity: -2,
        flags: Flags::READONLY,
        since: "6.2.0",
        complexity: "O(N) for N fields that are answered; of a large hash at most as much as for all",
        summary: "Answers random fields of a hash: one, some without repetition, or some that may repeat.",
        syntax: "key [count [WITHVALUES]]",
        reply: &[ReplyShape::Bulk, ReplyShape::Null, ReplyShape::Array],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    hrandfield,
);

/// Fields that one call draws with repetition, whatever is asked for: the count alone decides how long that takes.
const REPEATED_MAX: u64 = 1_000_000;
/// A large hash is drawn from directly; in any other fields are found by walking, which is done once.
const DRAWS_MAX: usize = 16;
/// Fields that are due and that one call removes; what is left then is passed over.
const REMOVED_MAX: usize = 1000;

fn hrandfield(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let Some(count) = args.get(2) else { return one(ctx, &args[1], reply) };
    let count = integer(count).ok_or(Error::NotInteger)?;
    if count == i64::MIN {
        return Err(Error::NotBetween { least: -i64::MAX, most: i64::MAX });
    }
    let with_values = match args.get(3) {
        None => false,
        Some(word) if args.len() == 4 && is(word, "withvalues") => true,
        Some(_) => return Err(Error::Syntax),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::OutOfRange);
    }
    let mut random = ctx.space.of(&args[1]).0.random();
    let (now_ms, caller) = (ctx.now_ms, ctx.caller);
    read_expired(ctx, &args[1], expire_some, |hash| {
        let mut writer = FieldWriter { reply, with_values };
        let Some(hash) = hash.filter(|_| count != 0) else {
            writer.begin(0);
            return Ok(Outcome::Replied);
        };
        if count < 0 && count.unsigned_abs() > REPEATED_MAX {
            return Err(Error::OutOfRange);
        }
        let live = hash.live_len(now_ms);
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        caller.check_work(if count < 0 { wanted } else { wanted.min(live) })?;
        if count < 0 {
            repeated(hash, now_ms, wanted, live, &mut random, &mut writer);
        } else {
            distinct(hash, now_ms, wanted.min(live), live, &mut random, &mut writer);
        }
        Ok(Outcome::Replied)
    })?
}

/// Removes fields that are due, for a command that may meet any of them.
fn expire_some(slot: &mut Slot<'_>) {
    slot.expire_parts(REMOVED_MAX);
}

fn one(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let mut random = ctx.space.of(key).0.random();
    let now_ms = ctx.now_ms;
    read_expired(ctx, key, expire_some, |hash| {
        let drawn = |hash| draw(hash, now_ms, &mut random).or_else(|| hash.fields(now_ms).next());
        write_or_null(reply, hash.and_then(drawn).map(|field| field.name));
        Ok(Outcome::Replied)
    })?
}

/// A random field that is not due; `None` if none was met in some draws.
fn draw<'h>(hash: HashRef<'h>, now_ms: u64, random: &mut u64) -> Option<Field<'h>> {
    (0..DRAWS_MAX).find_map(|_| hash.sample(next(random)).filter(|field| !field.is_due(now_ms)))
}

/// Draws `count` fields, each from all of them.
fn repeated(
    hash: HashRef<'_>,
    now_ms: u64,
    count: usize,
    live: usize,
    random: &mut u64,
    writer: &mut FieldWriter<'_, '_>,
) {
    let count = if live == 0 { 0 } else { count };
    writer.begin(count);
    // Where it costs less than the draws, or fields are due, all are laid out to be drawn from.
    let all: Vec<Field<'_>> = match live <= 2 * count || hash.may_have_due(now_ms) {
        true => hash.fields(now_ms).collect(),
        false => Vec::new(),
    };
    for _ in 0..count {
        let field = match all.len() {
            0 => hash.sample(next(random)),
            len => all.get((next(random) % len as u64) as usize).copied(),
        };
        if let Some(field) = field {
            writer.write(field);
        }
    }
}

/// Draws `count` fields without repetition, at most all of them.
fn distinct(
    hash: HashRef<'_>,
    now_ms: u64,
    count: usize,
    live: usize,
    random: &mut u64,
    writer: &mut FieldWriter<'_, '_>,
) {
    writer.begin(count);
    if 3 * count < live && !hash.may_have_due(now_ms) {
        let mut drawn = std::collections::HashSet::with_capacity(count);
        while drawn.len() < count {
            let Some(field) = hash.sample(next(random)) else { break };
            if drawn.insert(field.name) {
                writer.write(field);
            }
        }
        return;
    }
    // One walk, in which every field is taken with the chance that is left to it: Knuth's algorithm S.
    let (mut wanted, mut left) = (count as u64, live as u64);
    for field in hash.fields(now_ms) {
        if next(random) % left.max(1) < wanted {
            writer.write(field);
            wanted -= 1;
        }
        left -= 1;
    }
}

/// Another number, each bit of which depends on every bit of the state; the state counts up.
///
/// Source: SplitMix64 (Steele, Lea, Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes names, or names and values: pairs in RESP3, and flat in RESP2.
struct FieldWriter<'r, 'o> {
    reply: &'r mut Reply<'o>,
    with_values: bool,
}

impl FieldWriter<'_, '_> {
    fn begin(&mut self, count: usize) {
        let is_flat = self.with_values && self.reply.proto == Proto::Resp2;
        self.reply.array(if is_flat { 2 * count } else { count });
    }

    fn write(&mut self, field: Field<'_>) {
        if self.with_values && self.reply.proto == Proto::Resp3 {
            self.reply.array(2);
        }
        write_element(self.reply, field.name);
        if self.with_values {
            write_element(self.reply, field.value);
        }
    }
}
