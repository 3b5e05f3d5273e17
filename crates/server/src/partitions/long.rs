//! Requests that are run apart because of their mere size.

use sterna_command::{Flags, Group, Keys, Spec};
use sterna_keyspace::{Ctx, Error};
use sterna_protocol::Args;

use super::keys_of;

/// From so many bytes on a request to write is run apart, whatever it writes: they are copied into memory that has to be had
/// first, which takes about a millisecond.
pub(super) const LONG_REQUEST_BYTES: usize = 2 << 20;

/// From so many arguments on a request about one key is run apart: each is looked up, which takes some 2 µs in a packed hash of 512
/// fields, and may be a change.
pub(super) const MANY_ARGUMENTS: usize = 2_048;

/// Whether a request may be one: most are told by this alone.
#[inline]
pub(super) fn is_large(args: Args<'_>) -> bool {
    args.extent() >= LONG_REQUEST_BYTES || args.len() >= MANY_ARGUMENTS
}

/// Whether a request takes long by its mere size, and is about its own database alone. More keys would have to be copied.
#[cold]
pub(super) fn is_long(spec: &Spec, args: Args<'_>) -> bool {
    let writes = spec.flags.contains(Flags::WRITE);
    (writes && args.extent() >= LONG_REQUEST_BYTES || keys_of(spec, args).len() == 1)
        && !spec.flags.intersects(Flags::BLOCKING.union(Flags::ALL_KEYS).union(Flags::IN_PARTS))
        && spec.keys != Keys::None
        && spec.group != Group::Generic
}

/// Refuses such a request before it has looked at its key. What reads it is counted here: what is run apart counts on its copies.
#[cold]
pub(super) fn refuse_long(ctx: &mut Ctx<'_>, spec: &Spec, args: Args<'_>) -> Error {
    if spec.flags.contains(Flags::READONLY) {
        for key in keys_of(spec, args) {
            ctx.read(key);
        }
    }
    Error::TooLong
}
