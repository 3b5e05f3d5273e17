//! What a command is given, and what it gives back.

use std::sync::Arc;

use sterna_protocol::{Args, Reply};

use crate::apart::Apart;
use crate::changes::Changes;
use crate::collection::Limits;
use crate::error::Error;
use crate::long::{HeldSteps, Steps};
use crate::record::Record;
use crate::slot::Slot;
use crate::space::Space;
use crate::value::ValueRef;
use crate::wait::{Blocked, Caller, Waiter};

/// Runs a command. On an error nothing has been changed and nothing written to the reply.
pub type Run = fn(&mut Ctx<'_>, Args<'_>, &mut Reply<'_>) -> Result<Outcome, Error>;

/// How a command ended that was not refused.
#[derive(Debug)]
pub enum Outcome {
    /// Its reply is written.
    Replied,
    /// Its reply is made in steps from copies; nothing is written.
    Long(Box<dyn Steps>),
    /// It goes on in steps, for which its caller has all keys to itself; nothing is written.
    Held(Box<dyn HeldSteps>),
    /// It is to be run apart, on copies that were made of what its keys hold; nothing is written.
    Apart(Box<Apart>),
    /// It waits in the queues of its keys; nothing is written. The caller's shard keeps the waiter until somebody
    /// claims it.
    Wait(Arc<Waiter>),
}

/// The world of a command while it runs.
#[derive(Debug)]
pub struct Ctx<'a> {
    /// The partitions of its keys.
    pub space: Space<'a>,
    /// The client's database.
    pub db: usize,
    /// Unix time in milliseconds: the same for a whole transaction.
    pub now_ms: u64,
    /// Where changes are noted.
    pub log: &'a mut Changes,
    /// Who runs it.
    pub caller: Caller,
}

impl Ctx<'_> {
    /// The place of a key, to change it: marked as used.
    #[inline]
    pub fn slot<'s>(&'s mut self, key: &'s [u8]) -> Slot<'s> {
        self.slot_in(self.db, key)
    }

    /// The place of a key in another database, to change it.
    #[inline]
    pub fn slot_in<'s>(&'s mut self, db: usize, key: &'s [u8]) -> Slot<'s> {
        let touches = self.caller.touches;
        let mut slot = self.find(db, key);
        if touches {
            slot.mark_used();
        }
        slot
    }

    /// Where small collections become large: the same in every partition, of which that of `key` is locked.
    pub(crate) fn limits(&mut self, key: &[u8]) -> Limits {
        self.space.of(key).0.settings.limits
    }

    /// A value, for a command that reads it: counted as a hit or a miss, and marked as used.
    #[inline]
    pub fn read<'s>(&'s mut self, key: &'s [u8]) -> Option<ValueRef<'s>> {
        let touches = self.caller.touches;
        self.look_up(key, touches).map(Record::value)
    }

    /// A value that this command has just read, so that several can be held at once: it is not counted again.
    #[inline]
    pub(crate) fn again(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        let (partition, hash) = self.space.of_ref(key);
        partition.record(self.db, hash, key, self.now_ms).map(Record::value)
    }

    /// Has `expire` remove what is due of the value that this command has just read.
    #[cold]
    pub(crate) fn expire_parts(&mut self, key: &[u8], expire: impl FnOnce(&mut Slot<'_>)) {
        // As for keys: readers remove nothing in a pause.
        if !self.log.is_expiry_paused() {
            expire(&mut self.find(self.db, key));
        }
    }

    /// What is known of a key: counted as a hit or a miss, but not marked as used (TTL, TYPE).
    #[inline]
    pub fn inspect<'s>(&'s mut self, key: &'s [u8]) -> Option<Record<'s>> {
        self.look_up(key, false)
    }

    /// What is known of a key: counted as a hit or a miss of which there is no event, and not marked as used (OBJECT).
    pub(crate) fn inspect_silently<'s>(&'s mut self, key: &'s [u8]) -> Option<Record<'s>> {
        let is_there = self.peek(key).is_some();
        self.space.of(key).0.count_read(is_there);
        self.peek(key)
    }

    /// What is known of a key, leaving no trace (MEMORY USAGE).
    pub fn peek<'s>(&'s mut self, key: &'s [u8]) -> Option<Record<'s>> {
        if self.is_due_in_pause(key) {
            return None;
        }
        self.find(self.db, key).into_record()
    }

    /// Puts the command into the queues of `keys`, which have no repetitions, to be looked at again when one of them is
    /// touched.
    pub fn wait(
        &mut self,
        keys: Box<[Box<[u8]>]>,
        deadline_ms: Option<u64>,
        blocked: Box<dyn Blocked>,
    ) -> Outcome {
        let waiter = Arc::new(Waiter::new(self.caller, self.db, keys, deadline_ms, blocked));
        for key in &waiter.keys {
            let (partition, hash) = self.space.of(key);
            partition.waiters.push(hash, key, waiter.clone());
        }
        Outcome::Wait(waiter)
    }

    #[inline]
    fn look_up<'s>(&'s mut self, key: &'s [u8], mark_used: bool) -> Option<Record<'s>> {
        let Ctx { space, db, now_ms, log, .. } = self;
        let (partition, hash) = space.of(key);
        partition.read(*db, hash, key, *now_ms, mark_used, log)
    }

    /// Whether a reader finds a key that has expired and must not be removed now. Writers don't run in a pause.
    #[inline]
    fn is_due_in_pause(&mut self, key: &[u8]) -> bool {
        if !self.log.is_expiry_paused() {
            return false;
        }
        let (partition, hash) = self.space.of(key);
        partition.is_due(self.db, hash, key, self.now_ms)
    }

    #[inline]
    fn find<'s>(&'s mut self, db: usize, key: &'s [u8]) -> Slot<'s> {
        let (partition, hash) = self.space.of(key);
        partition.slot(db, hash, key, self.now_ms, self.log)
    }
}
