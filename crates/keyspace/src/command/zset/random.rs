//! ZRANDMEMBER.

use std::collections::HashSet;

use super::*;

pub(in crate::command) const ZRANDMEMBER: Command<Run> = row(
    Spec {
        name: "zrandmember",
        arity: -2,
        since: "6.2.0",
        complexity: "O(M log N) for M members answered",
        summary: "Answers random members: different ones, or with a negative count each time any.",
        syntax: "key [count [WITHSCORES]]",
        reply: &[ReplyShape::Bulk, ReplyShape::Array, ReplyShape::Null],
        tips: &["nondeterministic_output"],
        ..SPEC
    },
    zrandmember,
);

/// Members that a negative count may ask for: the reply has to be held.
const REPEATED_MAX: u64 = 1_000_000;

fn zrandmember(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    if args.len() == 2 {
        return one(ctx, &args[1], reply);
    }
    let count = integer_at(args, 2)?;
    if count == i64::MIN {
        return Err(ZsetError::CountNotSymmetric.into());
    }
    let with_scores = match (args.get(3), args.get(4)) {
        (None, _) => false,
        (Some(word), None) if is(word, "WITHSCORES") => true,
        _ => return Err(Error::Syntax),
    };
    let out_of_range = with_scores && count.unsigned_abs() > i64::MAX as u64 / 2;
    if out_of_range || count < 0 && count.unsigned_abs() > REPEATED_MAX {
        return Err(ZsetError::CountOutOfRange.into());
    }
    let mut seed = ctx.space.of(&args[1]).0.random();
    let shape = Shape::of(with_scores, reply);
    let caller = ctx.caller;
    let Some(zset) = read_zset(ctx, &args[1])? else {
        reply.array(0);
        return Ok(Outcome::Replied);
    };
    let drawn = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    caller.check_work(if count < 0 { drawn } else { drawn.min(zset.len()) })?;
    let ranks = ranks(count, zset.len(), || next(&mut seed));
    shape.write_header(reply, ranks.len());
    for rank in ranks {
        zset.visit(rank..rank + 1, Direction::Forward, |member, score| shape.write(reply, member, score));
    }
    Ok(Outcome::Replied)
}

fn one(ctx: &mut Ctx<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let random = ctx.space.of(key).0.random();
    match read_zset(ctx, key)? {
        None => reply.null(),
        Some(zset) => {
            let rank = below(random, zset.len());
            zset.visit(rank..rank + 1, Direction::Forward, |member, _| reply.bulk(member));
        }
    }
    Ok(Outcome::Replied)
}

/// The ranks of random elements of `len`, which is not 0: as many different ones as `count` says, or with repetitions if
/// it is negative.
fn ranks(count: i64, len: usize, mut random: impl FnMut() -> u64) -> Vec<usize> {
    if count < 0 {
        return (0..count.unsigned_abs()).map(|_| below(random(), len)).collect();
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count >= len {
        return (0..len).collect();
    }
    // Floyd's way to draw different numbers: one draw for each.
    let mut drawn = HashSet::new();
    let mut ranks = Vec::with_capacity(count);
    for last in len - count..len {
        let rank = below(random(), last + 1);
        let rank = if drawn.insert(rank) { rank } else { last };
        drawn.insert(rank);
        ranks.push(rank);
    }
    ranks
}

/// A number below `len` from uniform bits.
fn below(random: u64, len: usize) -> usize {
    ((u128::from(random) * len as u128) >> 64) as usize
}

/// The next of a sequence of uniform numbers. Source: SplitMix64 (Steele, Lea, Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_is_drawn_and_no_rank_twice() {
        let mut seed = 7;
        let mut times = [0; 10];
        for _ in 0..3000 {
            let drawn = ranks(4, 10, || next(&mut seed));
            assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 4);
            drawn.iter().for_each(|&rank| times[rank] += 1);
        }
        assert!(times.iter().all(|&times| (1000..1400).contains(&times)), "{times:?}");
        assert_eq!(ranks(20, 3, || 0), [0, 1, 2]);
        assert_eq!(ranks(-5, 3, || next(&mut seed)).len(), 5);
    }
}
