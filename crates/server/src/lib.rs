//! The server: shards, connections, the command table, configuration, users and TLS; what joins the parts.
//!
//! Start reading at [`start`], then `shard/mod.rs` for a turn of the reactor, `shard/serve.rs` for a request,
//! `command/dispatch.rs` for a command and `shard/fanout.rs` for a message.
#![deny(unsafe_code)]

mod apart;
mod budget;
pub mod command;
mod connection;
mod directory;
mod engine;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod histogram;
mod history;
mod hooks;
mod inlet;
mod invalidation;
mod journaling;
mod late_events;
mod libraries;
mod limits;
mod lock;
mod log_limit;
mod logins;
mod mailbox;
mod matching;
mod metrics;
mod names;
mod net;
mod nodes;
mod overview;
mod pages;
mod parcel;
mod partitions;
mod pause;
mod persistence;
mod placed;
mod position;
mod prefetch;
mod process;
mod purge;
mod rates;
mod reclaim;
mod renames;
mod replication;
mod resumable;
mod scripts;
mod server;
mod settings_files;
mod shard;
mod signal;
mod slab;
mod slots;
mod start;
mod stats;
mod ticks;
mod time;
pub mod tls;
mod tracking;

use sterna_acl as acl;
use sterna_config as config;

pub use engine::{Engine, EventStream, InnerClient, Seat};
pub use hooks::{MemoryStats, on_log_level, set_memory_purge, set_memory_stats};
pub use inlet::{Answerer, Inlet};
pub use metrics::MetricsFormat;
pub use net::{HttpChange, HttpListener};
pub use nodes::{
    Answer, Asker, BUCKETS, BucketSet, ChannelKind, Forwarded, Lead, Member, Nodes, Question,
    RECORD_BYTES_MAX, ROOM_BYTES, Say, SessionId, TAKEN_UNKNOWN, WAIT_MAX, bucket_of, forwarded, records,
    shard_of, write_record,
};
pub use overview::{
    Busy, Journal, Kind, Latency, Memory, Observer, Overview, ShardLoad, Subscribed, Totals, Waiting,
};
pub use persistence::{
    Dataset, ForeignFiles, ImportError, JournalError, JournalFile, LoadError, LoadOptions, Loaded, LogSeat,
    OnProgress, SeatError, replay_at_rest, witness_of,
};
pub use position::{NAMES_WITH_POSITION_MAX, Since};
pub use replication::Leadership;
pub use start::{Connect, Control, LINE_CHECKS, Running, StartError, check, start, start_among};
pub use sterna_command::NAME_BYTES_MAX;
pub use sterna_journal::Error as CopyError;
pub use sterna_keyspace::KeyGroup;

/// Versions that the server tells of itself.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// Sterna's own.
    pub sterna: &'static str,
    /// The Redis whose commands and replies it follows: clients switch behaviour on this one.
    pub redis: &'static str,
}

/// The versions of this build.
pub const VERSION: Version = Version { sterna: env!("CARGO_PKG_VERSION"), redis: "8.2.0" };
