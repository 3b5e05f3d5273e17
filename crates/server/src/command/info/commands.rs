//! The sections Commandstats, Errorstats and Latencystats: what was called, what failed, how long it took.

use std::collections::BTreeMap;

use super::super::table::table;
use super::{Call, Sheet};
use crate::histogram::Durations;
use crate::stats::CommandTotals;

pub(super) fn commandstats(sheet: &mut Sheet, call: &mut Call<'_>) {
    for row in table().rows() {
        let mut totals = CommandTotals::default();
        call.server().shards.iter().for_each(|shard| shard.commands.add_to(row.id, &mut totals));
        if totals.calls + totals.rejected == 0 {
            continue;
        }
        let us = totals.ns / 1000;
        let us_per_call = if totals.calls == 0 { 0.0 } else { us as f64 / totals.calls as f64 };
        sheet.field(
            &format!("cmdstat_{}", row.full_name),
            format_args!(
                "calls={},usec={us},usec_per_call={us_per_call:.2},rejected_calls={},failed_calls={}",
                totals.calls, totals.rejected, totals.failed
            ),
        );
    }
}

pub(super) fn errorstats(sheet: &mut Sheet, call: &mut Call<'_>) {
    let mut errors = BTreeMap::new();
    call.server().shards.iter().for_each(|shard| shard.errors.add_to(&mut errors));
    for (word, count) in errors {
        sheet.field(&format!("errorstat_{word}"), format_args!("count={count}"));
    }
}

pub(super) fn latencystats(sheet: &mut Sheet, call: &mut Call<'_>) {
    if !call.shard.config.latency_tracking {
        return;
    }
    let percents = call.shard.config.latency_tracking_info_percentiles.0.clone();
    for row in table().rows() {
        let shards = call.server().shards.iter();
        let durations = Durations::sum(shards.map(|shard| shard.commands.durations(row.id)));
        if durations.count == 0 {
            continue;
        }
        let us = |percent: f64| durations.percentile(percent) as f64 / 1000.0;
        let shown: Vec<_> =
            percents.iter().map(|&percent| format!("p{percent}={:.3}", us(percent))).collect();
        sheet.field(&format!("latency_percentiles_usec_{}", row.full_name), shown.join(","));
    }
}
