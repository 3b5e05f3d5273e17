//! The commands on lists, and what several of them need.
//!
//! | file | commands |
//! |---|---|
//! | `push`, `pop` | LPUSH, RPUSH, LPUSHX, RPUSHX; LPOP, RPOP |
//! | `range`, `find` | LLEN, LINDEX, LRANGE; LPOS |
//! | `change` | LSET, LINSERT, LREM, LTRIM |
//! | `transfer` | LMOVE, RPOPLPUSH, LMOVEM |
//! | `many` | LMPOP |
//! | `blocking` | those of them that wait: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH, BLMOVEM |

use super::*;
use smallvec::SmallVec;

use crate::collection::{Edits, Elements};
use crate::event::EventKind;
use crate::list::{End, List, ListRef, edit};
use crate::listpack::Element;
use sterna_command::{KeyUse, KeyUses, Taken};

pub(super) mod blocking;
pub(super) mod change;
pub(super) mod find;
pub(super) mod many;
pub(super) mod pop;
pub(super) mod push;
pub(super) mod range;
pub(super) mod transfer;

/// What the rows of this file's folder have in common.
const SPEC: Spec = Spec {
    name: "",
    arity: -3,
    flags: Flags::WRITE,
    keys: Keys::at(1),
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[],
    tips: &[],
    ..Spec::PLAIN
};

/// A list, for a command that reads it; `None` if there is nothing.
fn read_list<'s>(ctx: &'s mut Ctx<'_>, key: &'s [u8]) -> Result<Option<ListRef<'s>>, Error> {
    match ctx.read(key) {
        None => Ok(None),
        Some(value) => List::seen(value).map(Some).ok_or(Error::WrongType),
    }
}

/// LEFT or RIGHT.
fn end_at(args: Args<'_>, index: usize) -> Result<End, Error> {
    match args.get(index) {
        Some(word) if is(word, "LEFT") => Ok(End::Front),
        Some(word) if is(word, "RIGHT") => Ok(End::Back),
        _ => Err(Error::Syntax),
    }
}

/// The element that an index names, which counts from the end if it is negative; `None`: it is beyond an end.
fn place_of(index: i64, len: u64) -> Option<u64> {
    let place = if index < 0 { len.checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
    Some(place).filter(|&place| place < len)
}

/// The first element of a range and how many it has, of a list of `len`: its ends count from the end if they are negative,
/// and what is beyond the list is left out.
fn range_of(start: i64, stop: i64, len: u64) -> (u64, u64) {
    let from_end = |index: i64| match index {
        0.. => Some(index.unsigned_abs()),
        _ => len.checked_sub(index.unsigned_abs()),
    };
    let start = from_end(start).unwrap_or(0);
    match from_end(stop) {
        Some(stop) if start <= stop && start < len => (start, stop.min(len - 1) - start + 1),
        _ => (0, 0),
    }
}

/// Writes an element as the client once sent it.
#[inline]
fn write_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Int(number) => reply.bulk_int(number),
        Element::Text(text) => reply.bulk(text),
    }
}

/// What taking from an end is known by.
fn popped(end: End) -> EventKind {
    match end {
        End::Front => event::LPOP,
        End::Back => event::RPOP,
    }
}

/// What adding at an end is known by.
fn pushed(end: End) -> EventKind {
    match end {
        End::Front => event::LPUSH,
        End::Back => event::RPUSH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_and_ranges_count_from_both_ends_and_stay_within_the_list() {
        for (index, place) in
            [(0, Some(0)), (2, Some(2)), (3, None), (-1, Some(2)), (-3, Some(0)), (-4, None)]
        {
            assert_eq!(place_of(index, 3), place, "{index}");
        }
        assert_eq!((place_of(i64::MIN, 3), place_of(i64::MAX, 3), place_of(0, 0)), (None, None, None));
        for (start, stop, range) in [
            (0, -1, (0, 3)),
            (1, 1, (1, 1)),
            (-2, 10, (1, 2)),
            (i64::MIN, i64::MAX, (0, 3)),
            (2, 1, (0, 0)),
            (3, 5, (0, 0)),
            (0, -4, (0, 0)),
            (-5, -3, (0, 1)),
        ] {
            assert_eq!(range_of(start, stop, 3), range, "{start} {stop}");
        }
        assert_eq!(range_of(0, -1, 0), (0, 0));
    }
}
