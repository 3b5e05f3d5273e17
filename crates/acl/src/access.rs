//! What a request does with a key, as far as users' rules care.
//!
//! Source: as in Redis, a key is read if its *value* reaches the client (`access`), and written if it may change
//! (`insert`, `delete`, `update`); EXISTS or TYPE do neither.

use sterna_command::KeyUse;

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

/// What a request that uses a key so asks of it.
pub(super) fn key_access(uses: KeyUse) -> Access {
    Access { read: uses.needs_read(), write: uses.needs_write() }
}
