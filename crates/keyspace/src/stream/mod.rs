//! Streams: an append-only sequence of entries under a key, with consumer groups.
//!
//! ```text
//! sealed  [1000-0 → Arc block][1031-2 → Arc block] …     ordered by first ID
//! open                                            [block]  the last one: appends go here
//! groups  name → cursor, consumers, PEL
//! ```
//!
//! Only the open block changes by appending. A sealed block is shared behind an `Arc`: whoever holds a clone (a snapshot,
//! a long read) keeps it as it was, and a delete in it copies it first. A block whose entries are all deleted goes away,
//! and if it was the open one, the block before it is opened again, as Redis appends to whatever node is last.
//!
//! Invariants
//! - `open` is `None` only if there is no block at all; `sealed` holds no block at or above `open`'s first ID.
//! - Every block has an entry that is alive, the open one perhaps not (see `trim.rs`); `len` = their sum.
//! - `last_id` ≥ the ID of every entry, alive or not, and never falls except by XSETID.
//! - `sealed_bytes` = sum of the sealed blocks' heap bytes.
//!
//! Cost, for n entries: append O(1) amortised; find, delete, and the start of a range O(log n); trim O(blocks removed +
//! entries removed from a block in part).
//!
//! A stream never reads a clock: time is passed in, in Unix milliseconds.

mod append;
mod block;
pub mod effect;
mod group;
mod id;
mod idempotence;
mod listpack;
#[cfg(test)]
mod model;
mod pending;
mod range;
mod rdb;
mod runs;
mod snapshot;
mod trim;
mod varint;

use std::collections::BTreeMap;
use std::sync::Arc;

use block::Block;

pub use append::AddError;
pub use block::{BlockLimits, Entry, Fields};
pub use group::{AutoClaimed, Claim, ClaimTarget, Claimed, Consumer, ConsumerId, Delivery, Group, Nack};
pub(crate) use id::ID_TEXT_MAX;
pub use id::{EntryId, IdRequest};
pub use idempotence::{Idempotence, IdempotenceConfig, content_iid};
pub use pending::{Pending, PendingList};
pub use range::{Backward, Forward};
pub use rdb::RDB_TYPE_STREAM;
pub use trim::{DeleteOutcome, References, Trim, TrimBound, Trimmed};

/// A stream; see the module.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    sealed: BTreeMap<EntryId, Arc<Block>>,
    open: Option<Block>,
    len: u64,
    last_id: EntryId,
    /// Highest ID that XDEL or its kin removed; `0-0` if none. Trimming does not count.
    max_deleted_id: EntryId,
    /// Entries ever added.
    entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
    idempotence: Option<Box<Idempotence>>,
    sealed_bytes: usize,
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Entries that are alive.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no entry is alive. An empty stream is still a stream: it keeps its last ID and its groups.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Highest ID ever given.
    pub fn last_id(&self) -> EntryId {
        self.last_id
    }

    /// Highest ID that was deleted one by one; `0-0` if none.
    pub fn max_deleted_id(&self) -> EntryId {
        self.max_deleted_id
    }

    /// Entries ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The ID of the first entry; `0-0` if there is none.
    pub fn first_id(&self) -> EntryId {
        let front = self.sealed.first_key_value().map(|(_, block)| &**block).or(self.open.as_ref());
        front.filter(|block| block.live() > 0).map_or(EntryId::MIN, |block| block.id_at(block.head()))
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.sealed.len() + usize::from(self.open.is_some())
    }

    /// Nodes of the radix tree that Redis would keep the blocks in, by the 16 bytes of their first IDs. O(blocks).
    ///
    /// Such a tree has a leaf for each key, a node for each place where keys part, and one for each stretch of bytes
    /// that several, or one, share between those.
    pub fn radix_nodes(&self) -> u64 {
        let keys = self.sealed.keys().copied().chain(self.open.as_ref().map(Block::first_id));
        let keys: Vec<[u8; 16]> =
            keys.map(|id| (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()).collect();
        if keys.is_empty() { 1 } else { radix_nodes(&keys, 0) }
    }

    /// Sets what XSETID sets. Errors are the command's to find: nothing is checked here.
    pub fn set_id(&mut self, last_id: EntryId, entries_added: Option<u64>, max_deleted_id: Option<EntryId>) {
        self.last_id = last_id;
        if let Some(entries_added) = entries_added {
            self.entries_added = entries_added;
        }
        if let Some(max_deleted_id) = max_deleted_id {
            self.max_deleted_id = max_deleted_id;
        }
    }

    /// The group `name`.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The group `name`, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// The groups, in the byte order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// Creates a group whose cursor stands at `last_id`; `false`, and no change, if the name is taken.
    pub fn create_group(&mut self, name: &[u8], last_id: EntryId, entries_read: Option<u64>) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.groups.insert(name.into(), Group::new(last_id, entries_read));
        true
    }

    /// Removes a group with its PEL; `false` if there is none.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        self.groups.remove(name).is_some()
    }

    /// The idempotence settings and maps, if they were ever used.
    pub fn idempotence(&self) -> Option<&Idempotence> {
        self.idempotence.as_deref()
    }

    /// The idempotence settings and maps, created with `defaults` if this is their first use.
    pub fn idempotence_mut(&mut self, defaults: IdempotenceConfig) -> &mut Idempotence {
        self.idempotence.get_or_insert_with(|| Box::new(Idempotence::new(defaults)))
    }

    /// Memory held on the heap, in bytes. O(groups), not entries.
    pub fn heap_bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|(name, group)| name.len() + group.heap_bytes()).sum();
        let idempotence = self.idempotence.as_ref().map_or(0, |maps| maps.heap_bytes());
        self.entries_bytes() + groups + idempotence
    }

    /// The part of it that the entries take. O(1).
    pub(crate) fn entries_bytes(&self) -> usize {
        // A B-tree node holds six to eleven blocks; about 45 bytes of it are one block's share.
        const SEALED_SHARE: usize = size_of::<Block>() + 16 + 45;
        let open = self.open.as_ref().map_or(0, Block::heap_bytes);
        self.sealed_bytes + self.sealed.len() * SEALED_SHARE + open
    }

    /// Panics unless the invariants hold.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        assert!(self.open.is_some() || self.sealed.is_empty());
        let blocks: Vec<&Block> = self.sealed.values().map(|block| &**block).chain(&self.open).collect();
        for block in &blocks {
            block.check();
            assert!(block.last_id() <= self.last_id);
        }
        assert!(blocks.windows(2).all(|pair| pair[0].last_id() < pair[1].first_id()));
        assert!(self.sealed.iter().all(|(first, block)| *first == block.first_id() && block.live() > 0));
        assert_eq!(self.len, blocks.iter().map(|block| block.live() as u64).sum::<u64>());
        assert_eq!(self.sealed_bytes, self.sealed.values().map(|block| block.heap_bytes()).sum::<usize>());
        self.groups.values().for_each(Group::check);
    }
}

/// Nodes below and with the one at which `keys`, sorted and alike in their first `depth` bytes, are together.
fn radix_nodes(keys: &[[u8; 16]], depth: usize) -> u64 {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 0 };
    // Sorted, so what the first and the last share, all share.
    let shared = (depth..16).take_while(|&byte| first[byte] == last[byte]).count();
    if shared > 0 {
        return 1 + radix_nodes(keys, depth + shared);
    }
    if depth == 16 {
        return 1;
    }
    let branches = keys.chunk_by(|one, other| one[depth] == other[depth]);
    1 + branches.map(|keys| radix_nodes(keys, depth + 1)).sum::<u64>()
}
