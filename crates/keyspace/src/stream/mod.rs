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
//! - `sealed_bytes` = sum of the sealed blocks' heap bytes; `groups_bytes` = sum of the groups' and their names'.
//!
//! A copy shares all but the open block and the maps of groups and producers: a snapshot, COPY and DUMP take one under the
//! lock and read it outside.
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
#[cfg(test)]
mod model;
mod pending;
mod range;
mod rdb;
mod references;
mod runs;
mod shared;
mod snapshot;
mod trim;
pub(crate) mod varint;

use std::collections::BTreeMap;
use std::sync::Arc;

use block::Block;
use references::ReferenceIndex;
use runs::Runs;

use crate::value::NEVER;

pub use append::AddError;
pub use block::{BlockLimits, Entry, Fields};
pub use group::{
    AutoClaimed, Claim, ClaimTarget, Claimed, Consumer, ConsumerId, Delivery, Group, GroupMut, Nack,
};
pub(crate) use id::ID_TEXT_MAX;
pub use id::{EntryId, IdRequest};
pub use idempotence::{Idempotence, IdempotenceConfig, content_iid};
pub use pending::{Idle, IdleSearch, Pending, PendingList};
pub use range::{Backward, Forward};
pub use trim::{DeleteOutcome, References, Trim, TrimBound, Trimmed};

/// A stream; see the module.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    sealed: Runs<Arc<Block>>,
    open: Option<Block>,
    len: u64,
    last_id: EntryId,
    /// Highest ID that XDEL or its kin removed; `0-0` if none. Trimming does not count.
    max_deleted_id: EntryId,
    /// Entries ever added.
    entries_added: u64,
    groups: BTreeMap<Arc<[u8]>, Arc<Group>>,
    /// Which entries a group still refers to, once a trim or a deletion has asked.
    references: Option<Box<ReferenceIndex>>,
    idempotence: Option<Box<Idempotence>>,
    /// Milliseconds after which an entry goes by itself; 0 for never.
    max_age_ms: u64,
    sealed_bytes: usize,
    groups_bytes: usize,
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
        let front = self.sealed.first_entry().map(|(_, block)| &**block).or(self.open.as_ref());
        front.filter(|block| block.live() > 0).map_or(EntryId::MIN, |block| block.id_at(block.head()))
    }

    /// Milliseconds that an entry stays, counted from its ID; 0 for good.
    pub fn max_age_ms(&self) -> u64 {
        self.max_age_ms
    }

    /// From here on entries stay for `max_age_ms` milliseconds; 0: for good.
    pub(crate) fn set_max_age(&mut self, max_age_ms: u64) {
        self.max_age_ms = max_age_ms;
    }

    /// When the first entry goes by itself, Unix time in milliseconds, or [`NEVER`].
    #[inline]
    pub(crate) fn soonest_ms(&self) -> u64 {
        match self.max_age_ms {
            0 => NEVER,
            _ if self.len == 0 => NEVER,
            max_age_ms => self.first_id().ms.saturating_add(max_age_ms),
        }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.sealed.len() + usize::from(self.open.is_some())
    }

    /// The blocks, in order.
    pub(crate) fn blocks_from_first(&self) -> impl Iterator<Item = &Block> {
        self.sealed.from(EntryId::MIN).map(|(_, block)| &**block).chain(&self.open)
    }

    /// Nodes of the radix tree that Redis would keep the blocks in, by the 16 bytes of their first IDs. O(blocks).
    ///
    /// Such a tree has a leaf for each key, a node for each place where keys part, and one for each stretch of bytes
    /// that several, or one, share between those.
    pub fn radix_nodes(&self) -> u64 {
        let keys = self.blocks_from_first().map(Block::first_id);
        let keys: Vec<[u8; 16]> =
            keys.map(|id| (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()).collect();
        if keys.is_empty() { 1 } else { radix_nodes(&keys, 0) }
    }

    /// Sets what XSETID sets. Errors are the command's to find: nothing is checked here.
    pub fn set_id(&mut self, last_id: EntryId, entries_added: Option<u64>, max_deleted_id: Option<EntryId>) {
        if last_id < self.last_id {
            // An ID that is gone may come again.
            self.forget_references();
            self.groups.values_mut().filter(|group| group.pending().has_gone()).for_each(|group| {
                Arc::make_mut(group).pending_mut().unmark_gone();
            });
        }
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
        self.groups.get(name).map(|group| &**group)
    }

    /// The group `name`, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<GroupMut<'_>> {
        let group = Arc::make_mut(self.groups.get_mut(name)?);
        Some(GroupMut::new(group, &mut self.groups_bytes, self.references.as_deref_mut()))
    }

    /// The groups, in the byte order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    /// Creates a group whose cursor stands at `last_id`; `false`, and no change, if the name is taken.
    pub fn create_group(&mut self, name: &[u8], last_id: EntryId, entries_read: Option<u64>) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.insert_group(name, Group::new(last_id, entries_read));
        true
    }

    /// Removes a group with its PEL and returns it; `None` if there is none.
    pub fn destroy_group(&mut self, name: &[u8]) -> Option<Arc<Group>> {
        let group = self.groups.remove(name)?;
        self.groups_bytes -= group_bytes(name, &group);
        self.forget_references();
        Some(group)
    }

    /// Puts in a group whose name is free.
    pub(crate) fn insert_group(&mut self, name: &[u8], mut group: Group) {
        match &mut self.references {
            Some(references) if group.pending().is_empty() => {
                group.pending_mut().collect_moves(true);
                references.add_cursor(group.last_id());
            }
            _ => self.forget_references(),
        }
        self.groups_bytes += group_bytes(name, &group);
        self.groups.insert(name.into(), Arc::new(group));
    }

    /// The idempotence settings and maps, if they were ever used.
    pub fn idempotence(&self) -> Option<&Idempotence> {
        self.idempotence.as_deref()
    }

    /// The idempotence settings and maps, created with `defaults` if this is their first use.
    pub fn idempotence_mut(&mut self, defaults: IdempotenceConfig) -> &mut Idempotence {
        self.idempotence.get_or_insert_with(|| Box::new(Idempotence::new(defaults)))
    }

    /// Memory held on the heap, in bytes. O(1).
    pub fn heap_bytes(&self) -> usize {
        let idempotence = self.idempotence.as_ref().map_or(0, |maps| maps.heap_bytes());
        let references = self.references.as_ref().map_or(0, |references| references.heap_bytes());
        self.entries_bytes() + self.groups_bytes + references + idempotence
    }

    /// How much work it is to write so many entries to a reply, wherever they lie: see [`work_of_taking`](crate::apart::work_of_taking).
    pub(crate) fn work_of_entries(&self, entries: usize) -> usize {
        let all = usize::try_from(self.len()).unwrap_or(usize::MAX);
        let bytes = (self.entries_bytes() / all.max(1)).saturating_mul(entries.min(all));
        entries.max(bytes / crate::apart::COPIED_BYTES_PER_ELEMENT)
    }

    /// The part of it that the entries take.
    fn entries_bytes(&self) -> usize {
        // Behind an `Arc`, with its counts, and a place in the map.
        const SEALED_SHARE: usize = size_of::<Block>() + 16 + 26;
        let open = self.open.as_ref().map_or(0, Block::heap_bytes);
        self.sealed_bytes + self.sealed.len() * SEALED_SHARE + open
    }

    /// Panics unless the invariants hold.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) {
        assert!(self.open.is_some() || self.sealed.len() == 0);
        self.sealed.check();
        let blocks: Vec<&Block> = self.blocks_from_first().collect();
        for block in &blocks {
            block.check();
            assert!(block.last_id() <= self.last_id);
        }
        assert!(blocks.windows(2).all(|pair| pair[0].last_id() < pair[1].first_id()));
        let mut sealed = self.sealed.from(EntryId::MIN);
        assert!(sealed.all(|(first, block)| first == block.first_id() && block.live() > 0));
        assert_eq!(self.len, blocks.iter().map(|block| block.live() as u64).sum::<u64>());
        let sealed = self.sealed.from(EntryId::MIN).map(|(_, block)| block.heap_bytes());
        assert_eq!(self.sealed_bytes, sealed.sum::<usize>());
        self.groups.values().for_each(|group| group.check());
        let groups = self.groups.iter().map(|(name, group)| group_bytes(name, group));
        assert_eq!(self.groups_bytes, groups.sum::<usize>());
        self.idempotence.iter().for_each(|maps| maps.check());
        self.check_references();
    }
}

/// What a group takes, with its name and its place in the map.
fn group_bytes(name: &[u8], group: &Group) -> usize {
    name.len() + size_of::<Group>() + 2 * 16 + 48 + group.heap_bytes()
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
