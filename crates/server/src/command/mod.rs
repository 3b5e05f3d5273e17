//! Commands: the table, how one is found and checked, and those that concern connections and the server.
//!
//! Commands on keys live with the state they change, in `sterna-keyspace`; one table lists both.

pub(crate) mod acl;
mod admission;
pub(crate) mod blocking;
mod client;
mod cluster;
#[allow(clippy::module_inception)] // The command is called COMMAND.
pub mod command;
mod config;
mod connection;
mod copies;
mod copying;
pub(crate) mod debug;
mod dispatch;
mod exec;
mod failure;
mod fieldset;
mod groups;
mod help;
mod http;
mod info;
pub(crate) mod latency;
mod memory;
mod monitor;
mod node;
mod nodes;
mod notify;
mod ordinary;
mod passing;
mod published;
mod pubsub;
mod redaction;
mod retention;
mod rights;
mod rounds;
pub(crate) mod saving;
pub(crate) mod script;
mod settings_files;
pub(crate) mod slowlog;
pub mod table;
mod taken;
pub(crate) mod transaction;
mod transaction_size;

use sterna_command::{Command, Flags};
use sterna_protocol::{Args, Reply};

use crate::connection::Connection;
use crate::lock::MutexGuard;
use crate::server::Server;
use crate::shard::Shard;
use crate::shard::current::QueuedParts;
pub(crate) use failure::Failure;
use table::Row;

/// The rows of this crate.
fn rows() -> impl Iterator<Item = &'static Command<Run>> {
    [
        connection::ROWS,
        acl::ROWS,
        client::ROWS,
        cluster::ROWS,
        pubsub::ROWS,
        transaction::ROWS,
        command::ROWS,
        config::ROWS,
        copies::ROWS,
        copying::ROWS,
        debug::ROWS,
        fieldset::ROWS,
        info::ROWS,
        latency::ROWS,
        memory::ROWS,
        node::ROWS,
        monitor::ROWS,
        saving::ROWS,
        slowlog::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// What runs a command of this crate. A command that isn't done when it returns has changed its connection's state.
pub type Run = fn(&mut Call<'_>) -> Result<(), Failure>;

/// A command being executed for a connection.
pub struct Call<'a> {
    pub(crate) shard: &'a mut Shard,
    /// The connection's place in the shard.
    pub(crate) slot: usize,
    pub(crate) row: &'static Row,
    /// The arguments, the name first.
    pub(crate) args: Args<'a>,
    pub(crate) reply: Reply<'a>,
    /// Between MULTI and EXEC nothing may wait.
    pub(crate) in_exec: bool,
}

impl Call<'_> {
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.shard.connections[self.slot]
    }

    pub(crate) fn server(&self) -> &Server {
        &self.shard.server
    }

    /// Whether what takes long may be worked off in parts: not in a transaction that is one piece, nor in a script.
    pub(crate) fn may_take_parts(&self) -> bool {
        !self.in_exec || matches!(self.shard.current.queued_parts, QueuedParts::Allowed)
    }

    /// Waits until no other change of the configuration or of the users is under way, and keeps others waiting. A
    /// transaction has done so before it locked its keys.
    pub(crate) fn turn_to_change<'s>(&self, server: &'s Server) -> Option<MutexGuard<'s, ()>> {
        debug_assert!(
            self.row.has(Flags::CHANGES_SETTINGS),
            "EXEC can't see what {} does",
            self.row.full_name
        );
        (!self.in_exec).then(|| server.config_changes.lock())
    }
}
