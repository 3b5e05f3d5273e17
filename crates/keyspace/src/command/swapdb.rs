//! SWAPDB.

use super::*;
use crate::changes::PlacedStream;
use crate::stream::EntryId;

pub(super) const SWAPDB: Command<Run> = row(
    Spec {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::ALL_KEYS),
        keys: Keys::None,
        acl: Categories::KEYSPACE.union(Categories::DANGEROUS),
        group: Group::Server,
        since: "4.0.0",
        complexity: "O(N) for N keys that clients watch or wait for",
        summary: "Exchanges two databases: whoever has selected one sees the other's keys.",
        syntax: "index1 index2",
        reply: &[ReplyShape::Ok],
        tips: &[],
        ..Spec::PLAIN
    },
    swap,
);

fn swap(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let number = |at: usize, refused| integer(&args[at]).and_then(|n| i32::try_from(n).ok()).ok_or(refused);
    let (a, b) = (number(1, Error::FirstDbInvalid)?, number(2, Error::SecondDbInvalid)?);
    let databases = ctx.space.partition(0).databases();
    let db = |number| usize::try_from(number).ok().filter(|&db| db < databases).ok_or(Error::DbOutOfRange);
    let (a, b) = (db(a)?, db(b)?);
    reply.ok();
    if a == b {
        ctx.log.count_one();
        return Ok(Outcome::Replied);
    }
    if a.min(b) == 0 {
        ctx.log.note_placed(PlacedStream { key: None, until: EntryId::new(ctx.now_ms, u64::MAX) });
    }
    for index in 0..ctx.space.count() {
        ctx.space.partition(index).swap(a, b, ctx.now_ms, ctx.log);
    }
    ctx.log.note_databases(ctx.space.partition(0).shown());
    Ok(Outcome::Replied)
}
