//! A connection on its way to another shard: all that it is, without what only its shard knows.

use std::sync::Arc;

use sterna_protocol::Proto;

use super::chunk::Range;
use super::client::{Client, ClientId};
use super::dependence::Dependence;
use super::fieldsets::Fieldsets;
use super::input::{Partial, Unread};
use super::pace::Pace;
use super::state::ConnectionRef;
use super::transport::Transport;
use super::{Connection, ReplyMode};
use crate::acl::User;

/// See the module. It has no subscription, transaction or tracking, and its request waits in its input.
#[derive(Debug)]
pub(crate) struct Mover {
    /// Its record, as the shard that it goes to has it.
    pub(crate) client: Arc<Client>,
    transport: Transport,
    user: Option<Arc<User>>,
    partial: Option<Box<Partial>>,
    unread: Option<Box<Unread>>,
    fieldsets: Option<Box<Fieldsets>>,
    /// Replies that it has not been sent yet.
    unsent: Vec<u8>,
    depends_on: Dependence,
    group: u16,
    proto: Proto,
    db: u8,
    reply_mode: ReplyMode,
    reads_stale: bool,
    declines_resuming: bool,
    challenged: ClientId,
    net_in_bytes: u64,
    net_out_bytes: u64,
    unproven_since_ms: u64,
    read_closed: bool,
    pace: Pace,
}

impl Connection {
    /// Takes it from its shard; `client` is its record on the next one.
    pub(crate) fn leave_shard(mut self, client: Arc<Client>) -> Mover {
        debug_assert!(self.may_succeed());
        Mover {
            client,
            unsent: self.output.take(),
            transport: self.transport,
            user: self.user,
            partial: self.partial,
            unread: self.unread,
            fieldsets: self.fieldsets,
            depends_on: self.depends_on,
            group: self.group,
            proto: self.proto,
            db: self.db,
            reply_mode: self.reply_mode,
            reads_stale: self.reads_stale,
            declines_resuming: self.declines_resuming,
            challenged: self.challenged,
            net_in_bytes: self.net_in_bytes,
            net_out_bytes: self.net_out_bytes,
            unproven_since_ms: self.unproven_since_ms,
            read_closed: self.read_closed,
            pace: self.pace,
        }
    }

    /// The connection, where it arrives.
    pub(crate) fn of_mover(me: ConnectionRef, mover: Mover) -> Connection {
        let mut connection =
            Connection::new(me, mover.transport, mover.client, mover.user, mover.unproven_since_ms);
        connection.partial = mover.partial;
        connection.unread = mover.unread;
        connection.fieldsets = mover.fieldsets;
        connection.depends_on = mover.depends_on;
        connection.group = mover.group;
        connection.proto = mover.proto;
        connection.db = mover.db;
        connection.reply_mode = mover.reply_mode;
        connection.reads_stale = mover.reads_stale;
        connection.declines_resuming = mover.declines_resuming;
        connection.challenged = mover.challenged;
        connection.net_in_bytes = mover.net_in_bytes;
        connection.net_out_bytes = mover.net_out_bytes;
        connection.read_closed = mover.read_closed;
        connection.pace = mover.pace;
        if !mover.unsent.is_empty() {
            connection.output.push(Range::of(mover.unsent));
        }
        connection
    }
}
