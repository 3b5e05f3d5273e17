//! What CLIENT TRACKING asked for.

use std::collections::BTreeSet;

use super::client::ClientId;

/// What a connection asked for. Exists only while it tracks.
#[derive(Debug)]
pub(crate) struct Mode {
    /// The connection that gets the messages instead of this one.
    pub(crate) redirect: Option<ClientId>,
    /// It is not told of changes of its own.
    pub(crate) no_loop: bool,
    pub(crate) reads: Reads,
    /// Of its prefixes, here and where all prefixes are.
    pub(crate) prefix_bytes: usize,
    /// CLIENT CACHING was called, for the next command or transaction.
    pub(crate) is_caching: bool,
}

/// Which keys a connection is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reads {
    /// What it reads.
    All,
    /// What it reads after CLIENT CACHING YES.
    OptIn,
    /// What it reads, but not after CLIENT CACHING NO.
    OptOut,
    /// What begins with one of these, whoever reads it. No prefix of a connection begins with another.
    Broadcast(BTreeSet<Box<[u8]>>),
}

/// What a prefix is counted as beside its bytes.
const PREFIX_BYTES: usize = 64;

/// Where a prefix is kept: here, in its shard's list and in that of the server.
const PREFIX_COPIES: usize = 3;

impl Reads {
    /// About what its prefixes are in memory.
    pub(crate) fn prefix_bytes(&self) -> usize {
        let Reads::Broadcast(prefixes) = self else { return 0 };
        prefixes.iter().map(|prefix| PREFIX_BYTES + PREFIX_COPIES * prefix.len()).sum()
    }
}

impl Mode {
    /// Whether what the connection reads now is to be remembered.
    pub(crate) fn remembers(&self) -> bool {
        match self.reads {
            Reads::All => true,
            Reads::OptIn => self.is_caching,
            Reads::OptOut => !self.is_caching,
            Reads::Broadcast(_) => false,
        }
    }

    pub(crate) fn is_broadcast(&self) -> bool {
        matches!(self.reads, Reads::Broadcast(_))
    }

    /// About what it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Mode>() + self.prefix_bytes
    }
}
