//! The sections Clients and Connections: who is there, and why others have gone.

use std::sync::atomic::Ordering::Relaxed;

use super::{Call, Sheet};
use crate::connection::CloseReason;
use crate::connection::client::mark;
use crate::pause::PauseMode;

pub(super) fn clients(sheet: &mut Sheet, call: &mut Call<'_>) {
    let server = call.server();
    let clients = server.clients();
    let most = |of: fn(&crate::connection::client::Client) -> u64| {
        clients.iter().map(|client| of(client)).max().unwrap_or(0)
    };
    let marked = |bit| clients.iter().filter(|client| client.has_mark(bit)).count();
    sheet.field("connected_clients", server.connected.load(Relaxed));
    sheet.field("cluster_connections", 0);
    sheet.field("maxclients", call.shard.config.maxclients);
    sheet.field("client_recent_max_input_buffer", most(|client| client.input_capacity.load(Relaxed)));
    sheet.field("client_recent_max_output_buffer", most(|client| client.output_bytes.load(Relaxed)));
    sheet.field("blocked_clients", server.blocked.load(Relaxed));
    sheet.field("tracking_clients", marked(mark::TRACKING));
    sheet.field("pubsub_clients", marked(mark::PUBSUB));
    sheet.field("watching_clients", clients.iter().filter(|client| client.watch.load(Relaxed) > 0).count());
    let watched: u64 = clients.iter().map(|client| u64::from(client.watch.load(Relaxed))).sum();
    sheet.field("total_watched_keys", watched);
    let (awaited, told_of_no_key) = server.keyspace_figures().awaited;
    sheet.field("total_blocking_keys", awaited);
    sheet.field("total_blocking_keys_on_nokey", told_of_no_key);
    sheet.field("detached_clients", server.resumables.detached.load(Relaxed));
    sheet.field("resumed_clients", server.resumables.resumed.load(Relaxed));
    let (reason, actions, left_ms) = match server.pause.describe(call.shard.clock.instant) {
        Some((PauseMode::All, left_ms)) => ("client_pause", "all", left_ms),
        Some((PauseMode::Write, left_ms)) => ("client_pause", "write", left_ms),
        None => ("none", "none", 0),
    };
    sheet.field("paused_reason", reason);
    sheet.field("paused_actions", actions);
    sheet.field("paused_timeout_milliseconds", left_ms);
}

/// Connections closed so far, by reason.
pub(super) fn connections(sheet: &mut Sheet, call: &mut Call<'_>) {
    for reason in CloseReason::ALL {
        let closed: u64 = call.server().shards.iter().map(|shard| shard.closed.of(reason)).sum();
        sheet.field(&format!("closed_{}", reason.name()), closed);
    }
}
