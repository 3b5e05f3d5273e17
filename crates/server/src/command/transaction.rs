//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC locks the partitions of all keys that its commands and watches name, in their order, and runs the commands one
//! after the other; no other client sees a state between. Blocked clients are answered after the last.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{
    Categories, Command, Flags, Group, KEY_ARGUMENTS_MAX, KeyUse, KeyUses, Keys, ReplyShape, Spec,
};
use sterna_protocol::{Args, OwnedArgs, Reply};

use super::script::{Place, ScriptCall, needs_engine};
use super::table::{Row, Runs, runs};
use super::{Call, Failure, Run};
use crate::connection::Connection;
use crate::connection::client::mark;
use crate::connection::transaction::Transaction;
use crate::partitions::{Indices, written};
use crate::scripts::engine;
use crate::shard::Shard;

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
    ..Spec::PLAIN
};

/// Keys that a connection may watch: EXEC locks and looks at each.
const WATCHED_MAX: usize = KEY_ARGUMENTS_MAX;

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
                .union(Flags::RUNS_QUEUE),
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
            ..BASE
        },
        run: Some(watch),
        subcommands: &[],
    },
    Command {
        spec: Spec {
            name: "unwatch",
            since: "2.2.0",
            flags: BASE.flags.difference(Flags::NOT_QUEUED),
            complexity: "O(N), N watched keys",
            summary: "Forgets all watched keys.",
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
    if watched + call.args.len() > WATCHED_MAX {
        return Err(Failure::text(format!(
            "ERR too many watched keys: a connection watches at most {WATCHED_MAX}"
        )));
    }
    let scene = call.shard.scene_of(call.slot, false);
    let server = Arc::clone(&call.shard.server);
    let shard = &mut *call.shard;
    let transaction = shard.connections[call.slot].transaction.get_or_insert_default();
    for key in call.args.iter().skip(1) {
        if transaction.watched.insert((scene.db as u8, key.into())) {
            server.partitions.watch(scene, key, &transaction.watch, &mut shard.changes);
        }
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
    call.shard.run_transaction(call.slot, &transaction, &mut call.reply)
}

impl Shard {
    /// Puts a command behind the others of the transaction. One that won't run in any case keeps none, as in Redis.
    pub(super) fn queue_command(&mut self, slot: usize, row: &'static Row, args: Args<'_>) {
        let connection = &mut self.connections[slot];
        connection.client.active_ms.store(self.clock.now_ms, Relaxed);
        let transaction = connection.transaction.get_or_insert_default();
        if transaction.is_lost() {
            return;
        }
        let owned = args.to_owned();
        transaction.has_debug |= row.spec.name == super::debug::NAME;
        transaction.queued_bytes += size_of::<(&Row, OwnedArgs)>() + owned.heap_bytes();
        transaction.queued.push((row, owned));
        connection.client.multi.store(transaction.queued.len() as i64, Relaxed);
        connection.client.multi_bytes.store(transaction.queued_bytes as u64, Relaxed);
        self.check_query_limit(slot);
    }

    fn run_transaction(
        &mut self,
        slot: usize,
        transaction: &Transaction,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let server = Arc::clone(&self.server);
        let partitions = &server.partitions;
        let mut needed = Indices::default();
        for (row, args) in &transaction.queued {
            if matches!(runs(row), Runs::Keys(_)) {
                needed.extend(partitions.needed_by(row.spec, args.args()));
            }
        }
        let publishes = |(row, args): &(&'static Row, OwnedArgs)| self.retained(row, args.args());
        let retained: Vec<Vec<u8>> = transaction.queued.iter().filter_map(publishes).collect();
        retained.iter().for_each(|key| needed.insert(partitions.index_of(key)));
        transaction.watched.iter().for_each(|(_, key)| needed.insert(partitions.index_of(key)));
        if transaction.queued.iter().any(|(row, _)| row.spec.group == Group::Server) {
            // INFO and MEMORY can't look while the partitions are held.
            server.note_keyspace();
        }
        let scene = self.scene_of(slot, false);
        // Before the partitions: see `lock::Level`.
        let changes_settings = transaction.queued.iter().any(|(row, _)| row.has(Flags::CHANGES_SETTINGS));
        let _turn = changes_settings.then(|| server.config_changes.lock());
        let commands = || transaction.queued.iter().filter(|(row, _)| matches!(runs(row), Runs::Keys(_)));
        let runs_script = |row: &Row| matches!(runs(row), Runs::Script(_)) && needs_engine(row);
        let mut turn = match transaction.queued.iter().any(|(row, _)| runs_script(row)) {
            true => Some(server.scripts.turn().map_err(Failure::of)?),
            false => None,
        };
        let mut held = match turn {
            Some(_) => partitions.hold_growing(),
            None => partitions.hold_for(needed, || {
                let written = commands().flat_map(|(row, args)| written(row.spec, args.args()));
                written.chain(retained.iter().map(Vec::as_slice))
            }),
        };
        if turn.is_some() {
            held.add(needed);
        }
        if partitions.is_busy() {
            drop(held);
            self.unwatch_all(transaction);
            return Err(Failure::of(server.scripts.busy_text()));
        }
        for (db, key) in &transaction.watched {
            held.expire_if_due(usize::from(*db), key, scene.now_ms, &mut self.changes);
        }
        if transaction.watch.is_broken() {
            held.serve_ready(scene.now_ms, &mut self.changes);
            drop(held);
            self.spread_changes();
            self.unwatch_all(transaction);
            reply.null_array();
            return Ok(());
        }
        reply.array(transaction.queued.len());
        for (row, args) in &transaction.queued {
            let args = args.args();
            let began = std::time::Instant::now();
            let result = match runs(row) {
                _ if let Err(failure) = self.check_again(slot, row, args) => Err(failure),
                _ if !retained.is_empty()
                    && let Some(key) = self.retained(row, args) =>
                {
                    let deliveries = self.publish_in(slot, &mut held, &key, args);
                    let mut reply = Reply::new(reply.out, self.connections[slot].proto);
                    deliveries.map(|deliveries| reply.int(deliveries as i64))
                }
                Runs::Keys(command) => {
                    self.remember_reads(slot, &command.spec, args);
                    let scene = self.scene_of(slot, false);
                    let mut reply = Reply::new(reply.out, self.connections[slot].proto);
                    let outcome = held.execute(command, args, scene, &mut self.changes, &mut reply);
                    self.spread_changes();
                    self.reads_end();
                    outcome.map(|_| ()).map_err(Failure::from)
                }
                Runs::Script(run) if let Some(turn) = &mut turn => {
                    let reply = Reply::new(reply.out, self.connections[slot].proto);
                    let place = Some(Place { engine: engine(turn, partitions.libraries()), held: &mut held });
                    run(&mut ScriptCall { shard: self, slot, row, args, reply, place })
                }
                _ => self.execute(slot, row, args, reply.out, true),
            };
            self.handle().commands.count(row.id, began.elapsed(), result.is_err());
            self.show_to_monitors(slot, row, args);
            match result {
                Ok(()) => {}
                Err(failure) => {
                    if !failure.is_counted() {
                        self.count_error(failure.wire());
                    }
                    Reply::new(reply.out, self.connections[slot].proto).error(failure.wire());
                }
            }
        }
        held.serve_ready(scene.now_ms, &mut self.changes);
        self.remember_served();
        drop(held);
        self.spread_changes();
        self.unwatch_all(transaction);
        Ok(())
    }

    /// Ends the connection's transaction and its watches.
    pub(crate) fn forget_transaction(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if let Some(transaction) = connection.transaction.take() {
            connection.note_transaction_over();
            self.unwatch_all(&transaction);
        }
    }

    fn forget_watches(&mut self, slot: usize) {
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

    fn unwatch_all(&self, transaction: &Transaction) {
        for (db, key) in &transaction.watched {
            self.server.partitions.unwatch(usize::from(*db), key, &transaction.watch);
        }
    }
}

impl Connection {
    fn note_transaction_over(&mut self) {
        self.client.set_mark(mark::MULTI, false);
        self.client.multi.store(-1, Relaxed);
        self.client.multi_bytes.store(0, Relaxed);
        self.client.watch.store(0, Relaxed);
    }
}
