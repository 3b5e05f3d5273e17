//! What a request has to settle with other nodes before it is executed.

use std::sync::Arc;

use sterna_command::{Channels, Flags};
use sterna_protocol::Args;

use super::pubsub::question_of;
use super::table::Row;
use crate::nodes::{BucketSet, bucket_of};
use crate::shard::Shard;

impl Shard {
    /// Whether the request may go on: other nodes know what it is about to listen to, or have answered what it asks them. If not,
    /// the connection waits. Asked where there are other nodes.
    #[cold]
    pub(super) fn is_settled_with_nodes(&mut self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        if row.has(Flags::ASKS_NODES) {
            return self.is_answered(slot, || question_of(row, args));
        }
        let mut buckets = BucketSet::default();
        add_buckets(&mut buckets, row, args);
        if row.has(Flags::RUNS_QUEUE)
            && let Some(transaction) = &self.connections[slot].transaction
        {
            for (row, args) in &transaction.queued {
                add_buckets(&mut buckets, row, args.args());
            }
        }
        buckets.is_empty() || self.is_announced(slot, &buckets)
    }
}

/// Adds the buckets that a request listens to. A pattern may match channels of any.
fn add_buckets(buckets: &mut BucketSet, row: &Row, args: Args<'_>) {
    match row.spec.channels {
        Channels::SubscribedPatterns => *buckets = BucketSet::all(),
        Channels::Subscribed => {
            for name in args.iter().skip(1) {
                buckets.insert(bucket_of(name));
                if *buckets == BucketSet::all() {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Arguments as names that outlive the request.
pub(super) fn names(args: Args<'_>) -> Vec<Arc<[u8]>> {
    args.iter().map(Arc::from).collect()
}
