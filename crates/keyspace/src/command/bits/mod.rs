//! The commands on the bits of strings.

use super::*;
use crate::value::STRING_BYTES_MAX;
use sterna_command::{KeyUse, KeyUses};

/// Bytes of a string that are as much work as an element (`Caller::check_work`): they are read eight at a time or more.
const BYTES_PER_ELEMENT: usize = 256;

pub(super) mod bitfield;
pub(super) mod bitop;
pub(super) mod count;
pub(super) mod setbit;

/// What the rows have in common.
const SPEC: Spec = Spec {
    keys: Keys::at(1),
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    reply: &[ReplyShape::Integer],
    ..Spec::PLAIN
};

/// An offset in bits, within the longest string.
fn bit_offset(text: &[u8]) -> Result<usize, Error> {
    let offset = integer(text).and_then(|offset| usize::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < STRING_BYTES_MAX).ok_or(Error::BitOffset)
}
