//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! What is queued is run by EXEC (`exec.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{
    Categories, Command, Flags, Group, KEY_ARGUMENTS_MAX, KeyUse, KeyUses, Keys, Place, ReplyShape, Spec,
};
use sterna_keyspace::Garbage;
use sterna_protocol::{Args, OwnedArgs};

use super::table::Row;
use super::{Call, Failure, Run};
use crate::connection::Connection;
use crate::connection::client::mark;
use crate::connection::transaction::Transaction;
use crate::shard::Shard;
use crate::shard::parts::PART_WATCHES;

const BASE: Spec = Spec {
    name: "",
    arity: 1,
    flags: Flags::NOSCRIPT
        .union(Flags::LOADING)
        .union(Flags::STALE)
        .union(Flags::FAST)
        .union(Flags::ALLOW_BUSY)
        .union(Flags::NOT_QUEUED),
    keys: Keys::None,
    acl: Categories::TRANSACTION,
    group: Group::Transactions,
    since: "1.2.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Ok],
    tips: &[],
    place: Place::Connection,
    ..Spec::PLAIN
};

/// Keys that a connection may watch: WATCH and EXEC lock and look at each, a quarter of a microsecond.
const WATCHED_MAX: usize = KEY_ARGUMENTS_MAX / 2;

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[
    Command {
        spec: Spec {
            name: "multi",
            summary: "Begins a transaction: commands are queued until EXEC.",
            ..BASE
        },
        run: Some(multi),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "exec",
            flags: Flags::NOSCRIPT
                .union(Flags::LOADING)
                .union(Flags::STALE)
                .union(Flags::SKIP_SLOWLOG)
                .union(Flags::NOT_QUEUED)
                .union(Flags::RUNS_QUEUE)
                .union(Flags::ENDS_WATCHES),
            complexity: "Depends on the queued commands.",
            summary: "Runs the queued commands as one, unless a watched key was touched.",
            reply: &[ReplyShape::Array, ReplyShape::Null],
            ..BASE
        },
        run: Some(exec),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "discard",
            since: "2.0.0",
            complexity: "O(N), N queued commands",
            summary: "Ends a transaction without running it.",
            flags: BASE.flags.union(Flags::ENDS_WATCHES),
            ..BASE
        },
        run: Some(discard),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "watch",
            arity: -2,
            since: "2.2.0",
            keys: Keys::from(1),
            uses: KeyUses::Each(KeyUse::EXAMINES),
            complexity: "O(N), N keys",
            summary: "Has the next EXEC fail if one of these keys is touched before it.",
            syntax: "key [key ...]",
            place: Place::Session,
            flags: BASE.flags.union(Flags::WATCHES),
            ..BASE
        },
        run: Some(watch),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "unwatch",
            since: "2.2.0",
            flags: BASE.flags.difference(Flags::NOT_QUEUED).union(Flags::ENDS_WATCHES),
            complexity: "O(N), N watched keys",
            summary: "Forgets all watched keys.",
            place: Place::Session,
            ..BASE
        },
        run: Some(unwatch),
        subcommands: &[],
    },
];

fn multi(call: &mut Call<'_>) -> Result<(), Failure> {
    let connection = call.connection();
    if connection.in_multi() {
        return Err(Failure::of("ERR MULTI calls can not be nested"));
    }
    connection.transaction.get_or_insert_default().is_open = true;
    connection.client.set_mark(mark::MULTI, true);
    connection.client.multi.store(0, Relaxed);
    call.reply.ok();
    Ok(())
}

fn discard(call: &mut Call<'_>) -> Result<(), Failure> {
    if !call.connection().in_multi() {
        return Err(Failure::of("ERR DISCARD without MULTI"));
    }
    call.shard.forget_transaction(call.slot);
    call.reply.ok();
    Ok(())
}

fn watch(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.connection().in_multi() {
        return Err(Failure::of("ERR WATCH inside MULTI is not allowed"));
    }
    let watched = call.connection().transaction.as_ref().map_or(0, |transaction| transaction.watched.len());
    if watched + call.args.len() - 1 > WATCHED_MAX {
        return Err(Failure::text(format!(
            "ERR too many watched keys: a connection watches at most {WATCHED_MAX}"
        )));
    }
    let scene = call.shard.scene_of(call.slot, false);
    let server = Arc::clone(&call.shard.server);
    let shard = &mut *call.shard;
    let transaction = shard.connections[call.slot].transaction.get_or_insert_default();
    for key in call.args.iter().skip(1) {
        let watched = (scene.db as u8, Box::from(key));
        if transaction.watched.contains(&watched) {
            continue;
        }
        if server.partitions.watch(scene, key, &transaction.watch, &mut shard.changes).is_err() {
            // Those before it are watched by then.
            shard.spread_changes();
            return Err(shard.keys_taken());
        }
        transaction.watched.insert(watched);
    }
    let watched = transaction.watched.len() as u32;
    call.connection().client.watch.store(watched, Relaxed);
    call.shard.spread_changes();
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_>) -> Result<(), Failure> {
    if !call.in_exec {
        call.shard.forget_watches(call.slot);
    }
    call.reply.ok();
    Ok(())
}

fn exec(call: &mut Call<'_>) -> Result<(), Failure> {
    let connection = call.connection();
    if !connection.in_multi() {
        return Err(Failure::of("ERR EXEC without MULTI"));
    }
    let Some(transaction) = connection.transaction.take() else {
        return Err(Failure::of("ERR EXEC without MULTI"));
    };
    connection.note_transaction_over();
    if transaction.is_spoilt {
        call.shard.unwatch_all(&transaction);
        return Err(Failure::of("EXECABORT Transaction discarded because of previous errors."));
    }
    call.shard.run_transaction(call.slot, (call.row, call.args), transaction, &mut call.reply)
}

impl Shard {
    /// Puts a command behind the others of the transaction. One that won't run in any case keeps none, as in Redis.
    pub(super) fn queue_command(&mut self, slot: usize, row: &'static Row, args: Args<'_>) {
        let has_groups = self.has_groups();
        let connection = &mut self.connections[slot];
        connection.client.active_ms.store(self.clock.now_ms, Relaxed);
        let transaction = connection.transaction.get_or_insert_default();
        if transaction.is_lost() {
            return;
        }
        // With groups of keys it may be part of what was read.
        let is_long = args.extent() >= TAKEN_OVER_BYTES && !has_groups;
        let owned = if is_long { OwnedArgs::default() } else { args.to_owned() };
        transaction.has_debug |= row.has(Flags::DEBUGS);
        transaction.queued_bytes += size_of::<(&Row, OwnedArgs)>() + owned.heap_bytes();
        transaction.queued.push((row, owned));
        if is_long {
            self.current.queued_without_request = true;
        } else {
            self.note_queued(slot);
        }
    }

    /// Gives the command that was queued last its request, which is long and is not copied.
    pub(crate) fn hand_over_to_queue(&mut self, slot: usize, request: OwnedArgs) {
        self.current.queued_without_request = false;
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Some(transaction) = &mut connection.transaction else { return };
        transaction.queued_bytes += request.heap_bytes();
        if let Some((_, queued)) = transaction.queued.last_mut() {
            *queued = request;
        }
        self.note_queued(slot);
    }

    fn note_queued(&mut self, slot: usize) {
        let connection = &self.connections[slot];
        if let Some(transaction) = &connection.transaction {
            connection.client.multi.store(transaction.queued.len() as i64, Relaxed);
            connection.client.multi_bytes.store(transaction.queued_bytes as u64, Relaxed);
        }
        self.check_query_limit(slot);
    }

    /// Ends the connection's transaction and its watches.
    pub(crate) fn forget_transaction(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if let Some(transaction) = connection.transaction.take() {
            connection.note_transaction_over();
            self.unwatch_all(&transaction);
            if transaction.queued.len() > QUICKLY_FREED {
                let bytes = transaction.heap_bytes();
                self.server.reclaimer.free(vec![Garbage::of_other(transaction, bytes)]);
            }
        }
    }

    pub(super) fn forget_watches(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let Some(transaction) = &mut connection.transaction else { return };
        let forgotten = Transaction {
            watch: std::mem::take(&mut transaction.watch),
            watched: std::mem::take(&mut transaction.watched),
            ..Transaction::default()
        };
        if !transaction.is_open {
            connection.transaction = None;
        }
        connection.client.watch.store(0, Relaxed);
        self.unwatch_all(&forgotten);
    }

    /// Ends some of the connection's watches, [`PART_WATCHES`] of them or all that are left.
    pub(crate) fn forget_some_watches(&mut self, slot: usize) {
        let Some(transaction) = &mut self.connections[slot].transaction else { return };
        for (db, key) in transaction.watched.extract_if(|_| true).take(PART_WATCHES) {
            self.server.partitions.unwatch(usize::from(db), &key, &transaction.watch);
        }
    }

    pub(super) fn unwatch_all(&self, transaction: &Transaction) {
        for (db, key) in &transaction.watched {
            self.server.partitions.unwatch(usize::from(*db), key, &transaction.watch);
        }
    }
}

/// From so many bytes on a request that is queued is kept as it was read.
const TAKEN_OVER_BYTES: usize = 256 << 10;

/// Queued commands that are freed at once: some 0.1 ms.
const QUICKLY_FREED: usize = 4096;

impl Connection {
    pub(super) fn note_transaction_over(&mut self) {
        self.client.set_mark(mark::MULTI, false);
        self.client.multi.store(-1, Relaxed);
        self.client.multi_bytes.store(0, Relaxed);
        self.client.watch.store(0, Relaxed);
    }
}
