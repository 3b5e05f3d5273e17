//! A whole sorted set in bytes: what a snapshot keeps of it, and a `set` effect.
//!
//! ```text
//! small   0 │ listpack elements: member, score, member, score…
//! large   1 │ count v │ (score f64 LE │ length v │ member)…           in order
//! ```
//!
//! Reading checks everything: the bytes come from a file.

use super::effect::read_member;
use super::large::Large;
use super::leaf::Key;
use super::small::{self, Digits};
use super::{Direction, Zset, ZsetRef};
use crate::collection::Form;
use crate::effect::{read_varint, write_varint};
use crate::packed::{Packed, PackedRef};

const SMALL: u8 = 0;
const LARGE: u8 = 1;

/// Elements between two looks at what has been written.
const PAUSE_ELEMENTS: usize = 256;

pub(super) fn write(zset: ZsetRef<'_>, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
    match zset.0 {
        Form::Small(packed) => {
            out.push(SMALL);
            packed.write_listpack(out);
        }
        Form::Large(large) => {
            out.push(LARGE);
            write_varint(out, large.len() as u64);
            let mut count = 0;
            zset.visit(0..large.len(), Direction::Forward, |member, score| {
                out.extend_from_slice(&score.to_le_bytes());
                write_varint(out, member.len() as u64);
                out.extend_from_slice(member);
                count += 1;
                if count % PAUSE_ELEMENTS == 0 {
                    pause(out);
                }
            });
        }
    }
}

pub(super) fn read(from: &[u8]) -> Option<Zset> {
    match from.split_first()? {
        (&SMALL, listpack) => {
            let packed = Packed::read_listpack(listpack)?;
            is_in_order(packed.view()).then_some(Zset(Form::Small(packed)))
        }
        (&LARGE, mut rest) => {
            let count = usize::try_from(read_varint(&mut rest)?).ok()?;
            let mut large = Large::default();
            for _ in 0..count {
                let score = f64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?);
                let member = read_member(&mut rest)?;
                if score.is_nan() || large.set(member, score).is_some() {
                    return None;
                }
            }
            (rest.is_empty() && count > 0).then(|| Zset(Form::Large(Box::new(large))))
        }
        _ => None,
    }
}

/// Whether a packed sequence is what a small set looks like: in order, no member twice, and every score a number.
pub(super) fn is_in_order(packed: PackedRef<'_>) -> bool {
    if packed.is_empty() || !packed.len().is_multiple_of(2) {
        return false;
    }
    let mut scores = packed.iter().skip(1).step_by(2);
    if !scores.all(|(_, score)| small::score_of(score).is_some()) {
        return false;
    }
    let (mut before, mut here) = (Digits::default(), Digits::default());
    let items = || small::iter(packed);
    let mut pairs = items().zip(items().skip(1));
    let in_order = pairs.all(|((_, left, left_score), (_, right, right_score))| {
        let left = before.bytes(left);
        Key::of(right_score, here.bytes(right)).is_behind(left_score, || left)
    });
    in_order && has_no_member_twice(packed)
}

fn has_no_member_twice(packed: PackedRef<'_>) -> bool {
    let mut members: Vec<Vec<u8>> = small::iter(packed).map(|(_, member, _)| member.to_bytes()).collect();
    members.sort_unstable();
    members.windows(2).all(|pair| pair[0] != pair[1])
}
