//! The sections Stats, Messages and Keyspace.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Call, Sheet};
use crate::connection::CloseReason;
use crate::histogram::Durations;
use crate::stats::traffic::Traffic;

pub(super) fn stats(sheet: &mut Sheet, call: &mut Call<'_>) {
    let server = call.server();
    let counters = server.counters();
    let rates = server.rates.lock().current();
    let keyspace = server.keyspace_figures().stats;
    let closed = |reason| -> u64 { server.shards.iter().map(|shard| shard.closed.of(reason)).sum() };
    let mut errors = BTreeMap::new();
    server.shards.iter().for_each(|shard| shard.errors.add_to(&mut errors));
    sheet.field("total_connections_received", server.accepted_connections.load(Relaxed));
    sheet.field("total_commands_processed", counters.commands);
    sheet.field("instantaneous_ops_per_sec", rates.commands_per_s);
    sheet.field("total_net_input_bytes", counters.in_bytes);
    sheet.field("total_net_output_bytes", counters.out_bytes);
    sheet.field("instantaneous_input_kbps", format_args!("{:.2}", rates.in_kib_per_s));
    sheet.field("instantaneous_output_kbps", format_args!("{:.2}", rates.out_kib_per_s));
    sheet.field("rejected_connections", server.rejected_connections.load(Relaxed));
    sheet.field("expired_keys", keyspace.expired);
    sheet.field("expired_subkeys", keyspace.expired_fields);
    sheet.field("evicted_keys", keyspace.evicted);
    sheet.field("evicted_scripts", server.scripts.figures().evicted_scripts);
    sheet.field("evicted_clients", closed(CloseReason::Evicted));
    sheet.field("keyspace_hits", keyspace.hits);
    sheet.field("keyspace_misses", keyspace.misses);
    sheet.field("pubsub_channels", server.directory.channels.len());
    sheet.field("pubsub_patterns", server.directory.patterns.len());
    sheet.field("pubsubshard_channels", server.directory.sharded.len());
    sheet.field("tracking_total_keys", server.tracking.keys());
    sheet.field("tracking_total_items", server.tracking.items());
    sheet.field("tracking_total_prefixes", server.tracking.prefixes());
    sheet.field("total_error_replies", errors.values().sum::<u64>());
    sheet.field("client_query_buffer_limit_disconnections", closed(CloseReason::QueryLimit));
    sheet.field("client_output_buffer_limit_disconnections", closed(CloseReason::OutputLimit));
    sheet.field("acl_access_denied_auth", server.failed_logins.load(Relaxed));
    // Turns of all shards together; what they waited for something to do is not in them.
    let commands_ns: u64 = server.shards.iter().map(|shard| shard.commands.ns()).sum();
    sheet.field("eventloop_cycles", counters.turns);
    sheet.field("eventloop_duration_sum", counters.turns_ns / 1000);
    sheet.field("eventloop_duration_cmd_sum", commands_ns / 1000);
    sheet.field("instantaneous_eventloop_cycles_per_sec", rates.turns_per_s);
    sheet.field("instantaneous_eventloop_duration_usec", rates.turn_us);
    for (index, what) in ["cmd", "key", "channel"].into_iter().enumerate() {
        let denied: u64 = server.shards.iter().map(|shard| shard.denied[index].load(Relaxed)).sum();
        sheet.field(&format!("acl_access_denied_{what}"), denied);
    }
}

/// What was published, and what came of it.
pub(super) fn messages(sheet: &mut Sheet, call: &mut Call<'_>) {
    // What this shard has done in this turn is to be in it.
    call.shard.note_traffic();
    let percents = call.shard.config.latency_tracking_info_percentiles.0.clone();
    let shards = &call.server().shards;
    let sum = |of: fn(&Traffic) -> &AtomicU64| -> u64 {
        shards.iter().map(|shard| of(&shard.traffic).load(Relaxed)).sum()
    };
    sheet.field("published_messages", sum(|traffic| &traffic.published));
    sheet.field("published_bytes", sum(|traffic| &traffic.published_bytes));
    sheet.field("delivered_messages", sum(|traffic| &traffic.deliveries));
    let durations = Durations::sum(shards.iter().map(|shard| &shard.traffic.latency));
    sheet.field("delivery_latency_samples", durations.count);
    if durations.count > 0 {
        let us = |percent: f64| durations.percentile(percent) as f64 / 1000.0;
        let shown: Vec<_> =
            percents.iter().map(|&percent| format!("p{percent}={:.3}", us(percent))).collect();
        sheet.field("delivery_latency_percentiles_usec", shown.join(","));
        // As in LATENCY HISTOGRAM: how many took at most so long.
        let steps: Vec<_> = durations.doublings().iter().map(|(us, count)| format!("{us}={count}")).collect();
        sheet.field("delivery_latency_histogram_usec", steps.join(","));
    }
}

/// A line for each database that has keys.
pub(super) fn keyspace(sheet: &mut Sheet, call: &mut Call<'_>) {
    for (db, fill) in call.server().keyspace_figures().fills.iter().enumerate() {
        if fill.keys == 0 {
            continue;
        }
        let mean_ttl_ms = fill.ttl_sum_ms.checked_div(fill.expires as u128).unwrap_or(0);
        sheet.field(
            &format!("db{db}"),
            format_args!(
                "keys={},expires={},avg_ttl={mean_ttl_ms},subexpiry={}",
                fill.keys, fill.expires, fill.parts_expiring
            ),
        );
    }
}
