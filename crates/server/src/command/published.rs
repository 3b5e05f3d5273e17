//! Messages of a transaction: published at once, or first prepared in slices where that takes long (`shard/long.rs`, `wide.rs`).

use std::time::Duration;

use sterna_command::{Channels, Flags};
use sterna_protocol::{Args, OwnedArgs, Reply};

use super::Failure;
use super::notify::{EVENTS_AT_ONCE, NAMES_BYTES_AT_ONCE};
use super::table::Row;
use crate::connection::transaction::Transaction;
use crate::parcel::Namespace;
use crate::partitions::Held;
use crate::shard::Shard;
use crate::shard::exec::{Course, Stage};
use crate::shard::long::Prepared;

/// What has become of a message.
pub(super) enum Message {
    /// It is published, or can't be.
    Published(Result<(), Failure>),
    /// It is to be prepared first.
    Long(Namespace),
}

impl Shard {
    /// Whether a transaction publishes what takes long to match.
    pub(super) fn publishes_widely(&mut self, transaction: &Transaction) -> bool {
        let published = |(row, args): &(&'static Row, OwnedArgs)| {
            let is_message = row.spec.channels == Channels::Published;
            is_message && args.args().get(1).is_some_and(|channel| self.would_be_wide(channel))
        };
        transaction.queued.iter().any(published)
    }

    /// Whether it may write so much that the keyspace events of that are told in slices, and then publishes something, which comes behind
    /// them.
    pub(super) fn tells_much_and_publishes(&self, transaction: &Transaction) -> bool {
        let queued = &transaction.queued;
        if self.server.event_classes().is_empty()
            || !queued.iter().any(|(row, _)| row.spec.channels == Channels::Published)
        {
            return false;
        }
        let writes = || queued.iter().filter(|(row, _)| row.has(Flags::WRITE));
        writes().map(|(_, args)| args.args().len()).sum::<usize>() > EVENTS_AT_ONCE
            || transaction.queued_bytes() > NAMES_BYTES_AT_ONCE && writes().next().is_some()
    }

    /// Publishes a message of a transaction, if that does not take long or nobody may be served before the next command.
    pub(super) fn publish_queued(
        &mut self,
        slot: usize,
        (row, args): (&'static Row, Args<'_>),
        is_retained: bool,
        held: &mut Held<'_>,
        out: &mut Vec<u8>,
        may_yield: bool,
    ) -> Message {
        if !may_yield {
            // In slices these are told of before the next one.
            self.tell_late_events();
        }
        if is_retained && let Some(key) = self.retained(row, args) {
            if may_yield && self.takes_long(Namespace::Channels, args, true) {
                return Message::Long(Namespace::Channels);
            }
            let deliveries = self.publish_in(slot, held, &key, args);
            let mut reply = Reply::new(out, self.connections[slot].proto);
            return Message::Published(deliveries.map(|deliveries| reply.int(deliveries as i64)));
        }
        self.fanout.may_postpone = may_yield;
        let result = self.execute(slot, row, args, out, true);
        self.fanout.may_postpone = false;
        self.fanout.postponed.take().map_or(Message::Published(result), Message::Long)
    }

    /// Goes on with the frames of a long message, and publishes it when they are made.
    pub(super) fn go_on_with_message(
        &mut self,
        slot: usize,
        course: &mut Course,
        held: &mut Held<'_>,
        (space, mut prepared, took): (Namespace, Prepared, Duration),
        out: &mut Vec<u8>,
    ) {
        let (row, args) = &course.transaction.queued[course.at];
        let (row, args) = (*row, args.args());
        if !self.makes_frames((space, args), &mut prepared) {
            course.stage = Stage::Message(space, prepared, took + course.pass());
            return;
        }
        let retained = if course.is_retained { self.retained(row, args) } else { None };
        // The user's rules may have changed since it began.
        let allowed = self.check_rights(slot, row, args);
        let published = allowed.and_then(|()| {
            self.with_frames(&args[1], &mut prepared, |shard| match retained {
                Some(key) => shard.publish_in(slot, held, &key, args),
                None => Ok(shard.publish(space, &args[1], &args[2])),
            })
        });
        self.free_matches(&mut prepared);
        let proto = self.connections[slot].proto;
        let result = published.map(|deliveries| Reply::new(out, proto).int(deliveries as i64));
        let took = took + course.pass();
        self.end_queued(slot, course, result, out, took);
    }
}
