//! The commands on HyperLogLogs.

use super::*;
use crate::string::hll::{Damaged, Edit, Hll};
use sterna_command::{KeyUse, KeyUses};

pub(super) mod add;
pub(super) mod count;
pub(super) mod debug;
pub(super) mod merge;

/// What the rows have in common.
const SPEC: Spec = Spec {
    keys: Keys::at(1),
    acl: Categories::HYPERLOGLOG,
    group: Group::Hyperloglog,
    since: "2.8.9",
    reply: &[ReplyShape::Integer],
    ..Spec::PLAIN
};

impl From<Damaged> for Error {
    fn from(_: Damaged) -> Error {
        Error::HllDamaged
    }
}

/// The bytes of a value, which must be a string.
fn bytes_of(value: ValueRef<'_>) -> Result<Bytes<'_>, Error> {
    value.text().ok_or(Error::WrongType)
}

/// The HyperLogLog that the bytes of a string are.
fn hll_of<'a>(bytes: &'a Bytes<'_>) -> Result<Hll<'a>, Error> {
    // The longest is short: of a long string no copy is made.
    if bytes.len() >= crate::string::PART_BYTES {
        return Err(Error::NotHll);
    }
    Hll::of(bytes).ok_or(Error::NotHll)
}

type Bytes<'a> = crate::string::Text<'a>;

/// Keeps what was changed under the key of `slot`, and tells of it.
fn store(slot: &mut Slot<'_>, new: Vec<u8>, changes: u64) {
    let old = slot.value().and_then(ValueRef::text).filter(|old| old.len() <= new.len());
    let change = old.map(|old| {
        let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let longest = if old.len() == new.len() { old.len() - same } else { 0 };
        let ends = old.iter().rev().zip(new.iter().rev()).take(longest);
        same..new.len() - ends.take_while(|(a, b)| a == b).count()
    });
    match change {
        Some(change) => {
            slot.write(change.start, &new[change]);
            slot.patched(changes, event::PFADD);
        }
        None => {
            let expire_at_ms = slot.expire_at_ms();
            slot.set(Value::Grown(Arc::new(new)), expire_at_ms, event::PFADD);
            slot.count_changes(changes.saturating_sub(1));
        }
    }
}
