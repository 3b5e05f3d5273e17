//! What an observer has seen, as JSON. Names that are not UTF-8 are replaced in part.

use serde_json::{Value as Json, json};
use sterna_server::{Busy, Overview, Subscribed};

pub(super) fn json(seen: &Overview) -> String {
    let totals = &seen.totals;
    let latency = seen.latency.as_ref().map(|latency| {
        json!({ "count": latency.count, "p50": latency.p50, "p90": latency.p90, "p99": latency.p99, "p999": latency.p999 })
    });
    let shards: Vec<Json> = (seen.shards.iter())
        .map(|shard| {
            json!({
                "connections": shard.connections, "commands": shard.commands, "published": shard.published,
                "deliveries": shard.deliveries, "inBytes": shard.in_bytes, "outBytes": shard.out_bytes,
                "idleNs": shard.idle_ns,
            })
        })
        .collect();
    let kinds: Vec<Json> =
        seen.kinds.iter().map(|kind| json!({ "name": kind.name, "count": kind.count })).collect();
    let closed: Vec<Json> =
        seen.closed.iter().map(|(reason, count)| json!({ "reason": reason, "count": count })).collect();
    json!({
        "atMs": seen.at_ms,
        "uptimeMs": seen.uptime_ms,
        "totals": {
            "commands": totals.commands, "inBytes": totals.in_bytes, "outBytes": totals.out_bytes,
            "published": totals.published, "publishedBytes": totals.published_bytes,
            "deliveries": totals.deliveries, "appended": totals.appended,
        },
        "latency": latency,
        "shards": shards,
        "connected": seen.connected,
        "maxclients": seen.maxclients,
        "blocked": seen.blocked,
        "kinds": kinds,
        "closed": closed,
        "waiting": waiting(seen),
        "channels": seen.channels,
        "patterns": seen.patterns,
        "busyChannels": busy(&seen.busy_channels),
        "busyPatterns": busy(&seen.busy_patterns),
        "subscribedChannels": subscribed(&seen.subscribed_channels),
        "subscribedPatterns": subscribed(&seen.subscribed_patterns),
        "memory": memory(seen),
        "journal": journal(seen),
    })
    .to_string()
}

fn waiting(seen: &Overview) -> Vec<Json> {
    let row = |client: &sterna_server::Waiting| {
        json!({
            "id": client.id, "address": client.address, "name": client.name, "user": client.user,
            "kind": client.kind, "shard": client.shard, "queuedBytes": client.queued_bytes,
            "subscriptions": client.subscriptions, "ageMs": client.age_ms,
        })
    };
    seen.waiting.iter().map(row).collect()
}

fn busy(rows: &[Busy]) -> Vec<Json> {
    let row = |row: &Busy| {
        json!({
            "name": String::from_utf8_lossy(&row.name), "messages": row.messages,
            "deliveries": row.deliveries, "bytes": row.bytes, "subscribers": row.subscribers,
        })
    };
    rows.iter().map(row).collect()
}

fn subscribed(rows: &[Subscribed]) -> Vec<Json> {
    let row = |row: &Subscribed| json!({ "name": String::from_utf8_lossy(&row.name), "subscribers": row.subscribers });
    rows.iter().map(row).collect()
}

fn memory(seen: &Overview) -> Json {
    let memory = &seen.memory;
    json!({
        "used": memory.used, "peak": memory.peak, "resident": memory.resident, "max": memory.max,
        "dataset": memory.dataset, "clients": memory.clients, "output": memory.output,
        "scripts": memory.scripts, "reclaiming": memory.reclaiming, "unsynced": memory.unsynced,
    })
}

fn journal(seen: &Overview) -> Option<Json> {
    seen.journal.as_ref().map(|journal| {
        json!({
            "lastLsn": journal.last_lsn, "durableLsn": journal.durable_lsn, "syncs": journal.syncs,
            "syncNs": journal.sync_ns, "lastSyncNs": journal.last_sync_ns,
            "unsyncedBytes": journal.unsynced_bytes, "logBytes": journal.log_bytes,
            "segments": journal.segments, "failures": journal.failures,
        })
    })
}
