//! What was taken out of a keyspace and is slow to free: it is handed over, for a thread that has the time.
//!
//! Freeing 500 MB or a stream with a million entries takes tens of milliseconds, in which a shard would answer nobody. So
//! nothing large is dropped where it was removed or displaced: it goes into [`Changes`](crate::Changes), from where the
//! server takes it. Small values are dropped at once, which is cheaper than handing them over.

use std::fmt;
use std::sync::Arc;

use crate::long::{HeldSteps, Steps};
use crate::partition::{Database, Partition};
use crate::stream::Group;
use crate::value::Value;

/// From so many bytes on a value is slow to free: some 20 µs.
const SLOW_BYTES: usize = 256 << 10;

/// Something that is slow to free; dropping it is all that can be done with it.
#[derive(Debug)]
pub struct Garbage(Kind);

#[derive(Debug)]
enum Kind {
    Value(Value),
    Group(Arc<Group>),
    Database(Box<Database>),
    Apart(#[expect(dead_code, reason = "it is held to be dropped")] Box<Partition>),
    Steps(#[expect(dead_code, reason = "it is held to be dropped")] Box<dyn Steps>),
    Held(#[expect(dead_code, reason = "it is held to be dropped")] Box<dyn HeldSteps>),
    Other(#[expect(dead_code, reason = "it is held to be dropped")] Box<dyn fmt::Debug + Send + Sync>, usize),
}

impl Garbage {
    /// About how many bytes dropping it frees; copies from which a reply was made mostly share theirs.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Value(value) => value.heap_bytes(),
            Kind::Group(group) => group.heap_bytes(),
            Kind::Database(database) => database.table.allocated_bytes() + database.heap_bytes,
            Kind::Steps(_) | Kind::Held(_) | Kind::Apart(_) => 0,
            Kind::Other(_, bytes) => *bytes,
        }
    }

    /// Keys and groups among it.
    pub fn objects(&self) -> usize {
        match &self.0 {
            Kind::Value(_) | Kind::Group(_) => 1,
            Kind::Database(database) => database.table.len(),
            Kind::Steps(_) | Kind::Held(_) | Kind::Apart(_) | Kind::Other(..) => 0,
        }
    }

    /// A value, if it is slow to free; any other is dropped here.
    pub(crate) fn of_value(value: Value) -> Option<Garbage> {
        (value.heap_bytes() >= SLOW_BYTES).then(|| Garbage(Kind::Value(value)))
    }

    /// A group, if it is slow to free.
    pub(crate) fn of_group(group: Arc<Group>) -> Option<Garbage> {
        (group.heap_bytes() >= SLOW_BYTES).then(|| Garbage(Kind::Group(group)))
    }

    /// Copies from which a reply was made: what they share may have been removed meanwhile.
    pub fn of_steps(steps: Box<dyn Steps>) -> Garbage {
        Garbage(Kind::Steps(steps))
    }

    /// What a command has collected in steps.
    pub fn of_held(steps: Box<dyn HeldSteps>) -> Garbage {
        Garbage(Kind::Held(steps))
    }

    /// Copies on which a command was run apart: what they share may have been removed meanwhile.
    pub(crate) fn of_copies(partition: Partition) -> Garbage {
        Garbage(Kind::Apart(Box::new(partition)))
    }

    /// Anything else that is slow to free, of about so many bytes.
    pub fn of_other(other: Box<dyn fmt::Debug + Send + Sync>, bytes: usize) -> Garbage {
        Garbage(Kind::Other(other, bytes))
    }

    /// All that a database held in one partition.
    pub(crate) fn of_database(database: Box<Database>) -> Garbage {
        Garbage(Kind::Database(database))
    }
}
