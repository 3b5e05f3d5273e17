//! ZADD and ZINCRBY.

use super::*;

pub(in crate::command) const ZADD: Command<Run> = row(
    Spec {
        name: "zadd",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        element: ElementAt::Scored,
        since: "1.2.0",
        complexity: "O(log N) a member",
        summary: "Gives members scores, and makes the sorted set if there is none.",
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        reply: &[ReplyShape::Integer, ReplyShape::Double, ReplyShape::Null],
        ..SPEC
    },
    zadd,
);

pub(in crate::command) const ZINCRBY: Command<Run> = row(
    Spec {
        name: "zincrby",
        arity: 4,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
        uses: KeyUses::Each(KeyUse::READS_AND_UPDATES),
        element: ElementAt::Index(3),
        since: "1.2.0",
        complexity: "O(log N)",
        summary: "Adds to the score of a member, which starts at 0.",
        syntax: "key increment member",
        reply: &[ReplyShape::Double],
        ..SPEC
    },
    zincrby,
);

/// Which of the pairs of a request count.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::command) struct Conditions {
    /// Only new members.
    pub(in crate::command) nx: bool,
    /// Only members that are there.
    pub(in crate::command) xx: bool,
    /// Only to a higher score.
    pub(in crate::command) gt: bool,
    /// Only to a lower score.
    pub(in crate::command) lt: bool,
    /// Add to the score.
    pub(in crate::command) incr: bool,
}

/// What became of the pairs of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::command) struct Done {
    pub(in crate::command) added: i64,
    pub(in crate::command) updated: i64,
    /// The score of the last pair, unless a condition kept it from being set.
    score: Option<f64>,
}

impl Conditions {
    fn check(self, arguments: usize) -> Result<(), Error> {
        if arguments == 0 || !arguments.is_multiple_of(2) {
            return Err(Error::Syntax);
        }
        if self.nx && self.xx {
            return Err(ZsetError::NxExcludesXx.into());
        }
        if self.nx && (self.gt || self.lt) || self.gt && self.lt {
            return Err(ZsetError::NxGtLt.into());
        }
        if self.incr && arguments > 2 {
            return Err(ZsetError::IncrementsSeveral.into());
        }
        Ok(())
    }

    /// Whether every member is to have the score that is named with it.
    fn are_none(self) -> bool {
        !(self.nx || self.xx || self.gt || self.lt || self.incr)
    }

    /// The score that a member is to have, if it is to have one; it has `old`.
    fn decide(self, old: Option<f64>, score: f64) -> Result<Option<f64>, Error> {
        let Some(old) = old else { return Ok((!self.xx).then_some(score)) };
        if self.nx {
            return Ok(None);
        }
        let score = if self.incr { old + score } else { score };
        if score.is_nan() {
            return Err(ZsetError::ResultNotNumber.into());
        }
        let is_kept = self.gt && score <= old || self.lt && score >= old;
        Ok((!is_kept).then_some(score))
    }
}

fn zadd(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    let (mut conditions, mut counts_changes, mut at) = (Conditions::default(), false, 2);
    // Hardly a score begins with a letter.
    while let Some(word) = args.get(at).filter(|word| word.first().is_some_and(u8::is_ascii_alphabetic)) {
        let option = match word {
            _ if is(word, "NX") => &mut conditions.nx,
            _ if is(word, "XX") => &mut conditions.xx,
            _ if is(word, "GT") => &mut conditions.gt,
            _ if is(word, "LT") => &mut conditions.lt,
            _ if is(word, "CH") => &mut counts_changes,
            _ if is(word, "INCR") => &mut conditions.incr,
            _ => break,
        };
        *option = true;
        at += 1;
    }
    conditions.check(args.len() - at)?;
    let done = add(ctx, args, at, conditions)?;
    match done.score {
        _ if !conditions.incr => reply.int(done.added + if counts_changes { done.updated } else { 0 }),
        Some(score) => reply.double(score),
        None => reply.null(),
    }
    Ok(Outcome::Replied)
}

fn zincrby(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Result<Outcome, Error> {
    // Redis takes one of ZADD's options here for one, and then the pair has no end.
    if ["nx", "xx", "gt", "lt", "ch", "incr"].iter().any(|word| is(&args[2], word)) {
        return Err(Error::Syntax);
    }
    let done = add(ctx, args, 2, Conditions { incr: true, ..Conditions::default() })?;
    reply.double(done.score.unwrap_or(0.0));
    Ok(Outcome::Replied)
}

/// Gives the members their scores, of which the pairs begin at `from`.
fn add(ctx: &mut Ctx<'_>, args: Args<'_>, from: usize, conditions: Conditions) -> Result<Done, Error> {
    let mut pairs = smallvec::SmallVec::<[_; 4]>::new();
    for at in (from..args.len()).step_by(2) {
        pairs.push((score_at(args, at)?, text_at(args, at + 1)));
    }
    set_scores(ctx, &args[1], &pairs, conditions)
}

/// Gives members scores, as far as the conditions let them have one.
pub(in crate::command) fn set_scores(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    pairs: &[(f64, &[u8])],
    conditions: Conditions,
) -> Result<Done, Error> {
    let event = if conditions.incr { event::ZINCR } else { event::ZADD };
    ctx.slot(key).edit(event, |zset: &mut Zset, edits| -> Result<Done, Error> {
        let mut done = Done::default();
        let mut changed = Scores::new(edits);
        // The effect then names as many, so that it makes the set large, too.
        let grows = !conditions.xx && zset.make_room(pairs.len(), edits.limits);
        for &(score, member) in pairs {
            let mut set = None;
            let likely = conditions.are_none().then_some(score);
            let old = zset.update(member, likely, edits.limits, |old| -> Result<_, Error> {
                // Only an increment can be refused here, and then it is the only pair.
                done.score = conditions.decide(old, score)?;
                set = done.score.filter(|&score| old != Some(score));
                Ok(set)
            })?;
            if let Some(score) = set.or(old.filter(|_| grows)) {
                changed.push(member, score);
            }
            if set.is_none() {
                continue;
            }
            *(if old.is_some() { &mut done.updated } else { &mut done.added }) += 1;
        }
        if done.added + done.updated > 0 {
            changed.record(edits);
        }
        Ok(done)
    })?
}
