//! Messages, how long they take to their subscribers' sockets, and what that costs the shards.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::commands::{BUCKET_POWERS, seconds};
use super::sheet::{Sheet, Type};
use crate::histogram::Durations;
use crate::server::Server;
use crate::stats::traffic::Traffic;

pub(super) fn families(sheet: &mut Sheet, server: &Server) {
    let sum = |of: fn(&Traffic) -> &AtomicU64| -> u64 {
        server.shards.iter().map(|shard| of(&shard.traffic).load(Relaxed)).sum()
    };
    sheet.counter("sterna_published_messages", "Messages published.", sum(|traffic| &traffic.published));
    sheet.counter("sterna_published_bytes", "Bytes of them.", sum(|traffic| &traffic.published_bytes));
    sheet.counter(
        "sterna_delivered_messages",
        "Messages queued for subscribers, one for each subscription.",
        sum(|traffic| &traffic.deliveries),
    );
    sheet.family(
        Type::Histogram,
        "sterna_delivery_latency_seconds",
        "From PUBLISH to a subscriber's socket, of a sample.",
    );
    let durations = Durations::sum(server.shards.iter().map(|shard| &shard.traffic.latency));
    for power in BUCKET_POWERS.step_by(2) {
        sheet.sample("_bucket", &[("le", &seconds(1 << power).to_string())], durations.below(power));
    }
    sheet.sample("_bucket", &[("le", "+Inf")], durations.count);
    sheet.sample("_sum", &[], seconds(durations.total()));
    sheet.sample("_count", &[], durations.count);
    sheet.family(
        Type::Counter,
        "sterna_shard_idle_seconds",
        "Time that each shard waited for something to do.",
    );
    for (index, shard) in server.shards.iter().enumerate() {
        let idle = seconds(shard.traffic.idle_ns.load(Relaxed));
        sheet.sample("_total", &[("shard", &index.to_string())], idle);
    }
}
