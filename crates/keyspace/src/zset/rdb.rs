//! A sorted set in Redis's database file.
//!
//! ```text
//!  3   count │ (member │ score: length u8, digits; 253 NaN, 254 +∞, 255 −∞)…      before Redis 3.2
//!  5   count │ (member │ score f64 LE)…                                           large
//! 12   string: ziplist of member, score…                                          before Redis 7.0
//! 17   string: listpack of member, score…                                         small
//! ```
//!
//! Types 5 and 17 are written, a large set from its last element on, as Redis does: whoever reads it inserts at the front
//! of a skiplist. Elements that were small elsewhere and are not here become large, and the other way round.

use super::small::Small;
use super::{Direction, Zset, ZsetRef};
use crate::collection::{Elements, Form, Limits};
use crate::listpack::{self, Element};
use crate::packed::Packed;
use crate::rdb::{read_length, read_string, write_length, write_string};
use crate::ziplist;

const TYPE_TEXT: u8 = 3;
const TYPE_BINARY: u8 = 5;
const TYPE_ZIPLIST: u8 = 12;
const TYPE_LISTPACK: u8 = 17;

/// The oldest versions that have the types: that of Redis 7.0 for both, as for strings.
const VERSION: u16 = 10;

pub(super) fn write(zset: ZsetRef<'_>, out: &mut Vec<u8>) -> u16 {
    match zset.0 {
        Form::Small(small) => {
            out.push(TYPE_LISTPACK);
            let mut listpack = Vec::new();
            small.rows().write_listpack(&mut listpack);
            write_string(out, &listpack);
        }
        Form::Large(large) => {
            out.push(TYPE_BINARY);
            write_length(out, large.len() as u64);
            zset.visit(0..large.len(), Direction::Backward, |member, score| {
                write_string(out, member);
                out.extend_from_slice(&score.to_le_bytes());
            });
        }
    }
    VERSION
}

pub(super) fn read(kind: u8, from: &mut &[u8], limits: &Limits) -> Option<Zset> {
    match kind {
        TYPE_TEXT => read_elements(from, limits, read_text),
        TYPE_BINARY => read_elements(from, limits, read_binary),
        TYPE_ZIPLIST => read_ziplist(&read_string(from)?, limits),
        TYPE_LISTPACK => read_listpack(&read_string(from)?, limits),
        _ => None,
    }
}

fn read_elements(
    from: &mut &[u8],
    limits: &Limits,
    read_score: fn(&mut &[u8]) -> Option<f64>,
) -> Option<Zset> {
    let count = read_length(from)?;
    let mut zset = Zset::default();
    // What will be large is so from the first element on: a small set has no −0.
    if count > limits.zset_entries || has_long_member(from, count, limits, read_score)? {
        zset = Zset(Form::Large(Box::default()));
    }
    for _ in 0..count {
        let member = read_string(from)?;
        let score = read_score(from).filter(|score| !score.is_nan())?;
        if zset.set(&member, score, limits).is_some() {
            return None;
        }
    }
    (zset.view().len() > 0).then_some(zset)
}

fn has_long_member(
    mut ahead: &[u8],
    count: u64,
    limits: &Limits,
    read_score: fn(&mut &[u8]) -> Option<f64>,
) -> Option<bool> {
    for _ in 0..count {
        if read_string(&mut ahead)?.len() as u64 > limits.zset_value_bytes {
            return Some(true);
        }
        read_score(&mut ahead)?;
    }
    Some(false)
}

fn read_text(from: &mut &[u8]) -> Option<f64> {
    match *from.split_off_first()? {
        253 => None,
        254 => Some(f64::INFINITY),
        255 => Some(f64::NEG_INFINITY),
        len => std::str::from_utf8(from.split_off(..usize::from(len))?).ok()?.parse().ok(),
    }
}

fn read_binary(from: &mut &[u8]) -> Option<f64> {
    Some(f64::from_le_bytes(from.split_off(..8)?.try_into().ok()?))
}

/// Scores are set one by one: older servers wrote them with other digits than are kept here.
fn read_ziplist(bytes: &[u8], limits: &Limits) -> Option<Zset> {
    let (elements, count) = ziplist::elements(bytes)?;
    let (mut rest, mut zset) = (&elements[..], Zset::default());
    if count as u64 / 2 > limits.zset_entries {
        zset = Zset(Form::Large(Box::default()));
    }
    while !rest.is_empty() {
        let (member, score) = (listpack::read(&mut rest)?, listpack::read(&mut rest)?);
        let score: f64 = std::str::from_utf8(&score.to_bytes()).ok()?.parse().ok()?;
        if score.is_nan() || zset.set(&member.to_bytes(), score, limits).is_some() {
            return None;
        }
    }
    (zset.view().len() > 0).then_some(zset)
}

fn read_listpack(listpack: &[u8], limits: &Limits) -> Option<Zset> {
    let packed = Packed::read_listpack(listpack)?;
    let small = Small::of_packed(packed.view())?;
    let is_short = |member: Element<'_>| member.to_bytes().len() as u64 <= limits.zset_value_bytes;
    let is_small = small.rows().len() as u64 <= limits.zset_entries
        && small.rows().items(0..small.rows().len()).all(|(member, _)| is_short(member));
    let mut zset = Zset(Form::Small(small));
    if !is_small {
        zset.enlarge();
    }
    Some(zset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ziplist::tests::ziplist;

    fn read_entries(entries: &[&[u8]]) -> Option<Zset> {
        let mut payload = Vec::new();
        write_string(&mut payload, &ziplist(entries));
        read(TYPE_ZIPLIST, &mut &payload[..], &Limits::DEFAULT)
    }

    #[test]
    fn sorted_sets_of_the_oldest_servers_are_read() {
        // A score as older servers wrote it, with all its digits.
        let zset =
            read_entries(&[b"\x01a", b"\xf2", b"\x01b", b"\x122.2999999999999998"]).expect("a sorted set");
        zset.check();
        assert_eq!(
            (zset.view().len(), zset.view().score(b"a"), zset.view().score(b"b")),
            (2, Some(1.0), Some(2.3))
        );
    }

    #[test]
    fn damaged_ones_are_refused() {
        for entries in [
            &[][..],
            &[&b"\x01a"[..]],
            &[b"\x01a", b"\x03nan"],
            &[b"\x01a", b"\x01x"],
            &[b"\x01a", b"\xf2", b"\x01a", b"\xf3"],
        ] {
            assert!(read_entries(entries).is_none(), "{entries:?}");
        }
    }
}
