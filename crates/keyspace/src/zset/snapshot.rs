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
use super::small::Small;
use super::{Direction, Zset, ZsetRef};
use crate::collection::Form;
use crate::effect::{read_varint, write_varint};
use crate::packed::Packed;

const SMALL: u8 = 0;
const LARGE: u8 = 1;

/// Elements between two looks at what has been written.
const PAUSE_ELEMENTS: usize = 256;

pub(super) fn write(zset: ZsetRef<'_>, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
    match zset.0 {
        Form::Small(small) => {
            out.push(SMALL);
            small.rows().write_listpack(out);
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
            Some(Zset(Form::Small(Small::of_packed(packed.view())?)))
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
