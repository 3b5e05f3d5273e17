//! What commands were called, how long they took, and how many failed.

use super::sheet::{Sheet, Type};
use crate::command::table::{Row, table};
use crate::histogram::Durations;
use crate::server::Server;
use crate::stats::CommandTotals;

/// Powers of two of nanoseconds up to which the histogram counts, 4 µs to 4 s: each is four times the one before.
pub(super) const BUCKET_POWERS: std::ops::RangeInclusive<u32> = 12..=32;

/// Commands that were called or refused. A row that never was has no sample.
pub(super) fn families(sheet: &mut Sheet, server: &Server) {
    let called: Vec<(&Row, CommandTotals)> = (table().rows().iter())
        .map(|row| {
            let mut totals = CommandTotals::default();
            server.shards.iter().for_each(|shard| shard.commands.add_to(row.id, &mut totals));
            (row, totals)
        })
        .filter(|(_, totals)| totals.calls + totals.rejected > 0)
        .collect();
    let mut counter = |name, help, of: fn(&CommandTotals) -> u64| {
        sheet.family(Type::Counter, name, help);
        called.iter().for_each(|(row, totals)| {
            sheet.sample("_total", &[("cmd", &row.full_name)], of(totals));
        });
    };
    counter("redis_commands", "Calls of each command.", |totals| totals.calls);
    counter("redis_commands_failed_calls", "Calls that were answered by an error.", |totals| totals.failed);
    counter("redis_commands_rejected_calls", "Requests refused before they ran.", |totals| totals.rejected);
    sheet.family(Type::Counter, "redis_commands_duration_seconds", "Time of all calls of each command.");
    for (row, totals) in &called {
        sheet.sample("_total", &[("cmd", &row.full_name)], seconds(totals.ns));
    }
    durations(sheet, server, &called);
}

/// How long calls took, without what `latency-tracking no` has not counted.
fn durations(sheet: &mut Sheet, server: &Server, called: &[(&Row, CommandTotals)]) {
    sheet.family(
        Type::Histogram,
        "sterna_command_duration_seconds",
        "How long the calls of each command took.",
    );
    for (row, totals) in called {
        let shards = server.shards.iter();
        let durations = Durations::sum(shards.map(|shard| shard.commands.durations(row.id)));
        if durations.count == 0 {
            continue;
        }
        let cmd = ("cmd", &row.full_name[..]);
        for power in BUCKET_POWERS.step_by(2) {
            let end = seconds(1 << power).to_string();
            sheet.sample("_bucket", &[cmd, ("le", &end)], durations.below(power));
        }
        sheet.sample("_bucket", &[cmd, ("le", "+Inf")], durations.count);
        sheet.sample("_sum", &[cmd], seconds(totals.ns));
        sheet.sample("_count", &[cmd], durations.count);
    }
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
