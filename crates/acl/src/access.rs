//! What a request does with its keys and channels, as far as users' rules care.
//!
//! Source: the key specifications of COMMAND INFO in Redis 8.2: a key is read if its *value* reaches the client
//! (`access`), and written if it may change (`insert`, `delete`, `update`); EXISTS or TYPE do neither.

use sterna_command::Flags;
use sterna_protocol::Args;

use sterna_command::Row;

/// Reading, writing, both, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Access {
    pub(super) const NEITHER: Access = Access { read: false, write: false };
    pub(super) const READ: Access = Access { read: true, write: false };
    pub(super) const WRITE: Access = Access { read: false, write: true };
    pub(super) const BOTH: Access = Access { read: true, write: true };

    pub(super) fn includes(self, other: Access) -> bool {
        (self.read || !other.read) && (self.write || !other.write)
    }

    pub(super) fn or(self, other: Access) -> Access {
        Access { read: self.read || other.read, write: self.write || other.write }
    }
}

/// What the request does with its `nth` key, counted from 0.
///
/// The flags say it but for the exceptions below: commands that look at a key without its value, that answer the value
/// they change, or that treat their keys differently.
pub(super) fn key_access(row: &Row, args: Args<'_>, nth: usize) -> Access {
    match row.full_name.as_str() {
        "exists" | "strlen" | "touch" | "type" | "xlen" | "memory|usage" => Access::NEITHER,
        name if name.starts_with("object|") => Access::NEITHER,
        "decr" | "decrby" | "getdel" | "getex" | "getset" | "incr" | "incrby" | "incrbyfloat" => Access::BOTH,
        "set" if args.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"GET")) => Access::BOTH,
        "rename" | "renamenx" if nth == 0 => Access::BOTH,
        "copy" if nth == 0 => Access::READ,
        "xreadgroup" => Access::READ,
        _ if row.spec.flags.contains(Flags::WRITE) => Access::WRITE,
        _ if row.spec.flags.contains(Flags::READONLY) => Access::READ,
        _ => Access::NEITHER,
    }
}

/// The channels of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelUse {
    /// No channel that a rule could forbid.
    None,
    /// The first argument.
    First,
    /// Every argument.
    Each,
    /// Every argument, and they are patterns.
    EachPattern,
}

/// Unsubscribing is always allowed.
pub(super) fn channel_use(row: &Row) -> ChannelUse {
    match row.full_name.as_str() {
        "publish" | "spublish" => ChannelUse::First,
        "subscribe" | "ssubscribe" => ChannelUse::Each,
        "psubscribe" => ChannelUse::EachPattern,
        _ => ChannelUse::None,
    }
}
