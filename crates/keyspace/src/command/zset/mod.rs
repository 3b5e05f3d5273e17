//! The commands on sorted sets, and what several of them need: values, numbers and ranges in arguments, elements in replies.
//!
//! | file | commands |
//! |---|---|
//! | `add` | ZADD, ZINCRBY |
//! | `score`, `rank` | ZSCORE, ZMSCORE, ZCARD; ZRANK, ZREVRANK |
//! | `count` | ZCOUNT, ZLEXCOUNT |
//! | `range` | ZRANGE, its older forms, ZRANGESTORE |
//! | `remove` | ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX |
//! | `pop`, `blocked` | ZPOPMIN, ZPOPMAX, ZMPOP, and their forms that wait |
//! | `combine` | ZUNION, ZINTER, ZDIFF, what stores their results, ZINTERCARD |
//! | `random`, `scan` | ZRANDMEMBER, ZSCAN |

use std::ops::Range;

use sterna_command::{KeyUse, KeyUses, Taken};
use sterna_protocol::Proto;

use super::*;
use crate::event::EventKind;
use crate::zset::effect::{Members, Scores, record_ranks};
use crate::zset::{Direction, Lex, LexRange, ScoreRange, Zset, ZsetRef, float};

pub(super) mod add;
pub(super) mod blocked;
pub(super) mod combine;
pub(super) mod count;
mod error;
pub(super) mod pop;
pub(super) mod random;
pub(super) mod range;
pub(super) mod rank;
pub(super) mod remove;
pub(super) mod scan;
pub(super) mod score;

pub use error::ZsetError;

/// A sorted set, for a command that reads it; `None` if there is nothing.
#[inline]
pub(super) fn read_zset<'s>(ctx: &'s mut Ctx<'_>, key: &'s [u8]) -> Result<Option<ZsetRef<'s>>, Error> {
    match ctx.read(key) {
        None => Ok(None),
        Some(ValueRef::Zset(zset)) => Ok(Some(zset)),
        Some(_) => Err(Error::WrongType),
    }
}

/// Argument `index`, which is there, for as long as the request is.
pub(super) fn text_at(args: Args<'_>, index: usize) -> &[u8] {
    args.get(index).unwrap_or_default()
}

/// Argument `index`, which must be a score.
fn score_at(args: Args<'_>, index: usize) -> Result<f64, Error> {
    float::score(&args[index]).ok_or(Error::NotFloat)
}

/// Two arguments from `index` on, which must be ends of a range of scores.
fn score_range_at(args: Args<'_>, min: usize, max: usize) -> Result<ScoreRange, Error> {
    let (min, above) = score_bound(&args[min])?;
    let (max, below) = score_bound(&args[max])?;
    Ok(ScoreRange { min, max, above, below })
}

/// A score, and whether it is itself left out.
fn score_bound(text: &[u8]) -> Result<(f64, bool), Error> {
    let (text, excluded) = match text {
        [b'(', rest @ ..] => (rest, true),
        text => (text, false),
    };
    Ok((float::bound(text).ok_or(ZsetError::RangeNotFloat)?, excluded))
}

/// Two arguments, which must be ends of a range of members.
fn lex_range_at(args: Args<'_>, min: usize, max: usize) -> Result<LexRange<'_>, Error> {
    Ok(LexRange { min: lex_bound(text_at(args, min))?, max: lex_bound(text_at(args, max))? })
}

fn lex_bound(text: &[u8]) -> Result<Lex<'_>, Error> {
    match text {
        b"-" => Ok(Lex::Lowest),
        b"+" => Ok(Lex::Highest),
        [b'[', member @ ..] => Ok(Lex::Including(member)),
        [b'(', member @ ..] => Ok(Lex::Excluding(member)),
        _ => Err(ZsetError::RangeNotLex.into()),
    }
}

/// The ranks from `start` to `stop`, both included, of `len` elements; negative ones count from the end.
fn ranks_of(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_start = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
    let (start, stop) = (from_start(start).max(0), from_start(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

/// The ranks that, counted from the last element, are these.
fn ranks_from_end(ranks: Range<usize>, len: usize) -> Range<usize> {
    len - ranks.end..len - ranks.start
}

/// How a reply shows elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Members.
    Members,
    /// Member, score, member, score….
    Flat,
    /// [member, score], [member, score]….
    Pairs,
}

impl Shape {
    /// How a command shows scores: RESP3 has pairs.
    fn with_scores(reply: &Reply<'_>) -> Shape {
        if reply.proto == Proto::Resp3 { Shape::Pairs } else { Shape::Flat }
    }

    /// What WITHSCORES asks for, or not.
    fn of(scores: bool, reply: &Reply<'_>) -> Shape {
        if scores { Shape::with_scores(reply) } else { Shape::Members }
    }

    /// Writes the header for `len` elements.
    fn write_header(self, reply: &mut Reply<'_>, len: usize) {
        reply.array(if self == Shape::Flat { 2 * len } else { len });
    }

    /// Writes an element.
    #[inline]
    fn write(self, reply: &mut Reply<'_>, member: &[u8], score: f64) {
        if self == Shape::Pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if self != Shape::Members {
            reply.double(score);
        }
    }
}

/// What the rows of this file's folder have in common.
const SPEC: Spec = Spec {
    arity: 4,
    flags: Flags::READONLY,
    keys: Keys::at(1),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    ..Spec::PLAIN
};
