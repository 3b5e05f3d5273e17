//! The server in figures for Prometheus: what INFO tells, as families of samples.
//!
//! A family has the name that the widespread exporter for Redis gives it (`redis_…`), where Redis counts the same: dashboards
//! and alerts made for that work. What only Sterna has is `sterna_…`.
//!
//! How many samples there are is bounded by what is compiled in and configured: a label is a command of the table, the first
//! word of an error (of which 128 are kept), a reason, a database, a shard. Never a key, a channel, a group, a client or a user.
//!
//! Cost: O(commands × shards + connections), some 200 KiB at most; the partitions are locked one by one.

mod commands;
mod messages;
mod persistence;
mod sheet;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

pub use sheet::MetricsFormat;
use sheet::{Sheet, Type};

use crate::VERSION;
use crate::connection::CloseReason;
use crate::connection::client::mark;
use crate::hooks::memory_stats;
use crate::process::{cpu_time, resident_bytes};
use crate::server::{KeyspaceFigures, Server};

/// The text. Waits for each partition in turn: a script may hold some for as long as it runs.
pub(crate) fn text(server: &Server, format: MetricsFormat) -> String {
    server.note_keyspace();
    let mut sheet = Sheet::new(format);
    let keyspace = server.keyspace_figures();
    process(&mut sheet, server);
    clients(&mut sheet, server);
    traffic(&mut sheet, server);
    memory(&mut sheet, server, &keyspace);
    keys(&mut sheet, &keyspace);
    pubsub(&mut sheet, server);
    messages::families(&mut sheet, server);
    commands::families(&mut sheet, server);
    persistence::families(&mut sheet, server);
    sheet.end()
}

fn process(sheet: &mut Sheet, server: &Server) {
    sheet.gauge("redis_up", "Whether the server answers.", 1);
    sheet.family(Type::Gauge, "redis_instance_info", "Versions, as labels.");
    let labels = [
        ("redis_version", VERSION.redis),
        ("sterna_version", VERSION.sterna),
        ("redis_mode", "standalone"),
        ("role", "master"),
        ("run_id", &server.run_id),
    ];
    sheet.sample("", &labels, 1);
    sheet.gauge("redis_uptime_in_seconds", "Time since the start.", server.started.elapsed().as_secs());
    let cpu = cpu_time();
    sheet.counter("redis_cpu_sys_seconds", "CPU time in the kernel.", cpu.system);
    sheet.counter("redis_cpu_user_seconds", "CPU time outside of it.", cpu.user);
    sheet.family(Type::Gauge, "sterna_shard_connections", "Connections of each shard.");
    per_shard(sheet, server, "", |shard| shard.connections.load(Relaxed) as u64);
    sheet.family(Type::Counter, "sterna_shard_commands", "Commands that each shard has run.");
    per_shard(sheet, server, "_total", |shard| shard.commands.calls());
}

fn per_shard(
    sheet: &mut Sheet,
    server: &Server,
    suffix: &str,
    of: impl Fn(&crate::server::ShardHandle) -> u64,
) {
    for (index, shard) in server.shards.iter().enumerate() {
        sheet.sample(suffix, &[("shard", &index.to_string())], of(shard));
    }
}

fn clients(sheet: &mut Sheet, server: &Server) {
    let clients = server.clients();
    let marked = |bit| clients.iter().filter(|client| client.has_mark(bit)).count();
    let config = server.config();
    sheet.gauge("redis_connected_clients", "Connections.", server.connected.load(Relaxed));
    sheet.gauge("redis_config_maxclients", "`maxclients`.", config.maxclients);
    sheet.gauge("redis_blocked_clients", "Clients that wait in a command.", server.blocked.load(Relaxed));
    sheet.gauge("redis_pubsub_clients", "Clients that have subscribed.", marked(mark::PUBSUB));
    sheet.gauge("redis_tracking_clients", "Clients that cache what they read.", marked(mark::TRACKING));
    let most = |of: fn(&crate::connection::client::Client) -> u64| {
        clients.iter().map(|client| of(client)).max().unwrap_or(0)
    };
    sheet.gauge(
        "redis_client_recent_max_input_buffer_bytes",
        "The largest input buffer of a client.",
        most(|client| client.input_capacity.load(Relaxed)),
    );
    sheet.gauge(
        "redis_client_recent_max_output_buffer_bytes",
        "The most that waits to be sent to one client.",
        most(|client| client.output_bytes.load(Relaxed)),
    );
    sheet.gauge(
        "sterna_detached_clients",
        "Subscribers whose connection broke and who may resume.",
        server.resumables.detached.load(Relaxed),
    );
    sheet.counter(
        "sterna_resumed_clients",
        "Subscribers who have resumed.",
        server.resumables.resumed.load(Relaxed),
    );
    sheet.counter(
        "redis_connections_received",
        "Connections accepted.",
        server.accepted_connections.load(Relaxed),
    );
    sheet.counter(
        "redis_rejected_connections",
        "Connections beyond maxclients.",
        server.rejected_connections.load(Relaxed),
    );
    sheet.family(Type::Counter, "sterna_connections_closed", "Connections closed, by reason.");
    for reason in CloseReason::ALL {
        let closed: u64 = server.shards.iter().map(|shard| shard.closed.of(reason)).sum();
        sheet.sample("_total", &[("reason", reason.name())], closed);
    }
    sheet.counter("redis_acl_access_denied_auth", "Failed logins.", server.failed_logins.load(Relaxed));
    sheet.family(Type::Counter, "sterna_acl_denied", "Requests denied, by what they may not use.");
    for (index, what) in ["command", "key", "channel"].into_iter().enumerate() {
        let denied: u64 = server.shards.iter().map(|shard| shard.denied[index].load(Relaxed)).sum();
        sheet.sample("_total", &[("what", what)], denied);
    }
}

fn traffic(sheet: &mut Sheet, server: &Server) {
    let counters = server.counters();
    sheet.counter("redis_commands_processed", "Commands run.", counters.commands);
    sheet.counter("redis_net_input_bytes", "Bytes read from clients.", counters.in_bytes);
    sheet.counter("redis_net_output_bytes", "Bytes written to clients.", counters.out_bytes);
    let mut errors = BTreeMap::new();
    server.shards.iter().for_each(|shard| shard.errors.add_to(&mut errors));
    sheet.family(Type::Counter, "redis_errors", "Error replies, by their first word.");
    for (word, count) in errors {
        sheet.sample("_total", &[("err", &word)], count);
    }
    let slow = server.slowlog.lock();
    let (kept, seen) = (slow.entries.len(), slow.next_id);
    drop(slow);
    sheet.gauge("redis_slowlog_length", "Commands in SLOWLOG.", kept);
    sheet.counter("sterna_slow_commands", "Commands that have been put into SLOWLOG.", seen);
}

fn memory(sheet: &mut Sheet, server: &Server, keyspace: &KeyspaceFigures) {
    let (used, allocator) = (server.memory.read(), memory_stats());
    sheet.gauge("redis_memory_used_bytes", "Memory that the allocator has given.", used.used_bytes);
    sheet.gauge("redis_memory_used_peak_bytes", "The most that it was.", used.peak_bytes);
    sheet.gauge("redis_memory_used_rss_bytes", "Physical memory of the process.", resident_bytes());
    sheet.gauge("redis_memory_used_dataset_bytes", "Memory of keys and values.", keyspace.used_bytes);
    sheet.gauge("redis_memory_max_bytes", "`maxmemory`; 0 is no limit.", server.config().maxmemory);
    sheet.gauge("redis_allocator_active_bytes", "Pages that hold any of it.", allocator.active);
    sheet.gauge("redis_mem_clients_normal", "Memory of all clients together.", server.client_bytes());
    let scripts = server.scripts.figures();
    let lua_bytes = scripts.used_bytes + server.scripts.functions_used_bytes();
    sheet.gauge("redis_memory_used_lua_bytes", "Memory of the Lua states.", lua_bytes);
    sheet.gauge("redis_number_of_cached_scripts", "Scripts that EVALSHA knows.", scripts.scripts);
}

fn keys(sheet: &mut Sheet, keyspace: &KeyspaceFigures) {
    let databases: Vec<_> = (keyspace.fills.iter().enumerate())
        .filter(|(_, fill)| fill.keys > 0)
        .map(|(db, fill)| (format!("db{db}"), fill))
        .collect();
    sheet.family(Type::Gauge, "redis_db_keys", "Keys of each database that has any.");
    databases.iter().for_each(|(db, fill)| sheet.sample("", &[("db", db)], fill.keys));
    sheet.family(Type::Gauge, "redis_db_keys_expiring", "Keys of each that expire.");
    databases.iter().for_each(|(db, fill)| sheet.sample("", &[("db", db)], fill.expires));
    let stats = &keyspace.stats;
    sheet.counter("redis_expired_keys", "Keys that have expired.", stats.expired);
    sheet.counter("redis_evicted_keys", "Keys removed above maxmemory.", stats.evicted);
    sheet.counter("redis_keyspace_hits", "Keys that were asked for and there.", stats.hits);
    sheet.counter("redis_keyspace_misses", "Keys that were asked for and not there.", stats.misses);
}

fn pubsub(sheet: &mut Sheet, server: &Server) {
    let directory = &server.directory;
    sheet.gauge("redis_pubsub_channels", "Channels with subscribers.", directory.channels.len());
    sheet.gauge("redis_pubsub_patterns", "Patterns with subscribers.", directory.patterns.len());
    sheet.gauge("redis_pubsubshard_channels", "Sharded channels with subscribers.", directory.sharded.len());
    sheet.gauge("redis_tracking_total_keys", "Keys that clients cache.", server.tracking.keys());
}
