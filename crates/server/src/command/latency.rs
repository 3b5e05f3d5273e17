//! LATENCY: what took long, and how long commands take.
//!
//! An event is a kind of delay: `fast-command` for commands that should take constant time, `command` for the others.
//! One that reaches `latency-monitor-threshold` is recorded, with the worst of each second.
//!
//! Source: redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor. GRAPH and DOCTOR say it in
//! our own words.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};

use super::help::help;
use super::table::{Row, table};
use super::{Call, Failure, Run};
use crate::histogram::Durations;
use crate::history::delays::Latencies;
use crate::server::Server;
use crate::shard::Shard;
use crate::stats::CommandTotals;

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "2.8.13",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Array],
    tips: FROM_ALL_NODES,
    place: Place::Node,
    ..Spec::PLAIN
};

const FROM_ALL_NODES: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "latency",
        arity: -2,
        flags: Flags::empty(),
        complexity: "Depends on the subcommand.",
        summary: "Tells what took long.",
        reply: &[],
        tips: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        row(
            Spec {
                name: "doctor",
                summary: "Describes the delays on record for people.",
                reply: &[ReplyShape::Verbatim],
                ..BASE
            },
            doctor,
        ),
        row(
            Spec {
                name: "graph",
                arity: 3,
                summary: "Draws the delays of an event.",
                syntax: "event",
                reply: &[ReplyShape::Verbatim],
                ..BASE
            },
            graph,
        ),
        row(
            Spec {
                name: "help",
                flags: Flags::LOADING.union(Flags::STALE),
                summary: "Prints this text.",
                tips: &[],
                ..BASE
            },
            help,
        ),
        row(
            Spec {
                name: "histogram",
                arity: -2,
                since: "7.0.0",
                complexity: "O(N), N commands",
                summary: "Tells how long commands took: all that were called, or those named.",
                syntax: "[command [command ...]]",
                reply: &[ReplyShape::Map],
                ..BASE
            },
            histogram,
        ),
        row(
            Spec {
                name: "history",
                arity: 3,
                summary: "Lists the delays of an event: the second, and the worst in it in milliseconds.",
                syntax: "event",
                ..BASE
            },
            history,
        ),
        row(
            Spec {
                name: "latest",
                summary: "Lists the events: the second and the milliseconds of the latest delay, and of the worst.",
                ..BASE
            },
            latest,
        ),
        row(
            Spec {
                name: "reset",
                arity: -2,
                summary: "Forgets events, all or those named, and counts them.",
                syntax: "[event [event ...]]",
                reply: &[ReplyShape::Integer],
                tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
                ..BASE
            },
            reset,
        ),
    ],
}];

impl Shard {
    /// Keeps a command that took so long, if that was too long.
    pub(super) fn note_latency(&self, row: &Row, took: Duration) {
        let threshold_ms = self.config.latency_monitor_threshold;
        let took_ms = took.as_millis() as u64;
        if threshold_ms > 0 && took_ms >= threshold_ms {
            let event = if row.has(Flags::FAST) { "fast-command" } else { "command" };
            self.server.delays.lock().add(event, self.clock.now_ms / 1000, took_ms);
        }
    }
}

fn latest(call: &mut Call<'_>) -> Result<(), Failure> {
    let delays = call.shard.server.delays.lock();
    let rows = || delays.0.iter().filter_map(|(name, event)| Some((name, event, event.samples.back()?)));
    call.reply.array(rows().count());
    for (name, event, &(at_s, took_ms)) in rows() {
        call.reply.array(4);
        call.reply.bulk(name.as_bytes());
        [at_s, took_ms, event.worst_ms].into_iter().for_each(|number| call.reply.int(number as i64));
    }
    drop(delays);
    Ok(())
}

fn history(call: &mut Call<'_>) -> Result<(), Failure> {
    let delays = call.shard.server.delays.lock();
    let samples = delays.event(&call.args[2]).map(|event| &event.samples);
    call.reply.array(samples.map_or(0, VecDeque::len));
    for &(at_s, took_ms) in samples.into_iter().flatten() {
        call.reply.array(2);
        call.reply.int(at_s as i64);
        call.reply.int(took_ms as i64);
    }
    drop(delays);
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let mut delays = call.shard.server.delays.lock();
    let before = delays.0.len();
    delays.0.retain(|event, _| !names.is_empty() && names.iter().all(|name| name != event.as_bytes()));
    let forgotten = before - delays.0.len();
    drop(delays);
    call.reply.int(forgotten as i64);
    Ok(())
}

fn graph(call: &mut Call<'_>) -> Result<(), Failure> {
    let delays = call.shard.server.delays.lock();
    let name = &call.args[2];
    let Some(event) = delays.event(name) else {
        return Err(Failure::text([b"ERR No samples available for event '", name, b"'"].concat()));
    };
    let text = chart(&String::from_utf8_lossy(name), event, call.shard.clock.now_ms / 1000);
    drop(delays);
    call.reply.verbatim(text.as_bytes());
    Ok(())
}

/// Lines of the chart's bars.
const CHART_HEIGHT: u64 = 4;

/// Columns of the chart: the latest delays.
const CHART_WIDTH: usize = 72;

/// A column for each delay, as high as it was long; below it how long ago it was.
fn chart(name: &str, event: &Latencies, now_s: u64) -> String {
    let shown = event.samples.iter().skip(event.samples.len().saturating_sub(CHART_WIDTH));
    let shown: Vec<(u64, u64)> = shown.copied().collect();
    let took = || shown.iter().map(|&(_, ms)| ms);
    let (high_ms, low_ms) = (took().max().unwrap_or(0), took().min().unwrap_or(0));
    let mut text =
        format!("{name} - high {high_ms} ms, low {low_ms} ms (all time high {} ms)\n", event.worst_ms);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", "-".repeat(80));
    let range_ms = (high_ms - low_ms).max(1);
    for line in (0..CHART_HEIGHT).rev() {
        let bar = |ms: u64| if (ms - low_ms) * (CHART_HEIGHT - 1) / range_ms >= line { '#' } else { ' ' };
        text.extend(took().map(bar));
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<String> = shown.iter().map(|&(at_s, _)| age(now_s.saturating_sub(at_s))).collect();
    for line in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        text.extend(ages.iter().map(|age| age.chars().nth(line).unwrap_or(' ')));
        text.push('\n');
    }
    text
}

/// Seconds as the largest unit that fits: `59s`, `3m`, `5h`, `2d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn doctor(call: &mut Call<'_>) -> Result<(), Failure> {
    let text = diagnosis(call.server(), call.shard.config.latency_monitor_threshold);
    call.reply.verbatim(text.as_bytes());
    Ok(())
}

fn diagnosis(server: &Server, threshold_ms: u64) -> String {
    if threshold_ms == 0 {
        return "Delays are not being recorded. CONFIG SET latency-monitor-threshold <milliseconds> starts it.\n".to_owned();
    }
    let delays = server.delays.lock();
    if delays.0.is_empty() {
        return format!("No command has taken {threshold_ms} ms or longer since delays are recorded.\n");
    }
    let mut text = format!("Commands that took {threshold_ms} ms or longer:\n\n");
    for (name, event) in &delays.0 {
        let count = event.samples.len() as u64;
        let sum_ms: u64 = event.samples.iter().map(|&(_, ms)| ms).sum();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "- {name}: in {count} different seconds, {} ms on average, {} ms at worst.",
            sum_ms / count.max(1),
            event.worst_ms
        );
    }
    text.push_str("\nSLOWLOG GET shows the commands themselves, if slowlog-log-slower-than is low enough.\n");
    text
}

fn histogram(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let mut found = Vec::new();
    for row in rows_of(names) {
        let shards = &call.server().shards;
        let durations = Durations::sum(shards.iter().map(|shard| shard.commands.durations(row.id)));
        let mut totals = CommandTotals::default();
        shards.iter().for_each(|shard| shard.commands.add_to(row.id, &mut totals));
        if durations.count > 0 {
            found.push((row, totals.calls, durations));
        }
    }
    call.reply.map(found.len());
    for (row, calls, durations) in found {
        call.reply.bulk(row.full_name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.int(calls as i64);
        call.reply.bulk(b"histogram_usec");
        let doublings = durations.doublings();
        call.reply.map(doublings.len());
        for (us, count) in doublings {
            call.reply.int(us as i64);
            call.reply.int(count as i64);
        }
    }
    Ok(())
}

/// The rows named, and for a container those of its subcommands; every row if none is named.
fn rows_of(names: sterna_protocol::Args<'_>) -> Vec<&'static Row> {
    if names.is_empty() {
        return table().rows().iter().collect();
    }
    let named = names.iter().filter_map(|name| table().find_full(name));
    named
        .flat_map(|row| {
            let own = row.subcommands.is_empty().then_some(row);
            own.into_iter().chain(row.subcommands.iter().map(|&id| table().row(id)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_is_as_high_as_the_delay_was_long() {
        let event = Latencies { samples: [(100, 10), (160, 20), (170, 50)].into(), worst_ms: 60 };
        let chart = chart("command", &event, 170);
        let lines: Vec<&str> = chart.lines().collect();
        assert_eq!(lines[0], "command - high 50 ms, low 10 ms (all time high 60 ms)");
        assert_eq!(&lines[2..], ["  #", "  #", "  #", "###", "", "110", "m0s", " s "]);
    }
}
