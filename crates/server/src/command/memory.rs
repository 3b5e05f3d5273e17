//! MEMORY STATS, DOCTOR, MALLOC-STATS, PURGE: where memory goes. MEMORY USAGE is a command on a key and lives with them.
//!
//! The allocator gives freed memory back by itself, some seconds later; PURGE has it do so at once, on a thread of its
//! own: for gigabytes the kernel needs longer than a shard may stand still.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sterna_command::{Categories, Command, Flags, Group, Keys, Place, ReplyShape, Spec};

use super::help::help;
use super::{Call, Failure, Run};
use crate::budget::MemoryUse;
use crate::connection::state::Wait;
use crate::hooks::memory_stats;
use crate::mailbox::{Ack, Mail};
use crate::process::resident_bytes;

const BASE: Spec = Spec {
    name: "",
    arity: 2,
    flags: Flags::empty(),
    keys: Keys::None,
    acl: Categories::empty(),
    group: Group::Server,
    since: "4.0.0",
    complexity: "O(N), N connections",
    summary: "",
    syntax: "",
    reply: &[ReplyShape::Verbatim],
    tips: FROM_ALL_SHARDS,
    place: Place::Node,
    ..Spec::PLAIN
};

const FROM_ALL_SHARDS: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const fn row(spec: Spec, run: Run) -> Command<Run> {
    Command { spec, run: Some(run), subcommands: &[] }
}

/// Rows of this file.
pub(super) static ROWS: &[Command<Run>] = &[Command {
    spec: Spec {
        name: "memory",
        arity: -2,
        complexity: "Depends on the subcommand.",
        summary: "Tells where memory goes.",
        reply: &[],
        tips: &[],
        ..BASE
    },
    run: None,
    subcommands: &[
        row(Spec { name: "doctor", summary: "Describes the use of memory for people.", ..BASE }, doctor),
        row(
            Spec {
                name: "help",
                flags: Flags::LOADING.union(Flags::STALE),
                complexity: "O(1)",
                summary: "Prints this text.",
                reply: &[ReplyShape::Array],
                tips: &[],
                ..BASE
            },
            help,
        ),
        row(
            Spec {
                name: "malloc-stats",
                complexity: "O(1)",
                summary: "Shows the allocator's figures.",
                ..BASE
            },
            malloc_stats,
        ),
        row(
            Spec {
                name: "purge",
                complexity: "Depends on how much memory was freed and has not gone back yet.",
                summary: "Gives memory that was freed back to the system at once.",
                reply: &[ReplyShape::Ok],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                ..BASE
            },
            purge,
        ),
        row(
            Spec {
                name: "stats",
                summary: "Tells in figures where memory goes.",
                reply: &[ReplyShape::Map],
                ..BASE
            },
            stats,
        ),
    ],
}];

/// Everything that STATS and DOCTOR look at.
struct Figures {
    used: MemoryUse,
    startup_bytes: usize,
    resident_bytes: usize,
    dataset_bytes: usize,
    clients_bytes: u64,
    keys: usize,
}

impl Figures {
    fn of(call: &Call<'_>) -> Figures {
        let server = call.server();
        // EXEC holds partitions, and has taken the figures before it did.
        if !call.in_exec {
            server.note_keyspace();
        }
        let keyspace = server.keyspace_figures();
        let clients = server.clients();
        Figures {
            used: server.memory.read(),
            startup_bytes: server.memory.start_bytes(),
            resident_bytes: resident_bytes(),
            dataset_bytes: keyspace.used_bytes,
            clients_bytes: clients
                .iter()
                .map(|client| client.own_bytes.load(Relaxed) + client.output_bytes.load(Relaxed))
                .sum(),
            keys: keyspace.fills.iter().map(|fill| fill.keys).sum(),
        }
    }

    fn fragmentation(&self) -> f64 {
        ratio(self.resident_bytes, self.used.used_bytes)
    }
}

fn ratio(a: usize, b: usize) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// A figure of MEMORY STATS.
enum Figure {
    Count(usize),
    Share(f64),
}

fn stats(call: &mut Call<'_>) -> Result<(), Failure> {
    let figures = Figures::of(call);
    let allocator = memory_stats();
    let used = figures.used.used_bytes;
    let net = used.saturating_sub(figures.startup_bytes);
    let rows = [
        ("peak.allocated", Figure::Count(figures.used.peak_bytes)),
        ("total.allocated", Figure::Count(used)),
        ("startup.allocated", Figure::Count(figures.startup_bytes)),
        ("replication.backlog", Figure::Count(0)),
        ("clients.slaves", Figure::Count(0)),
        ("clients.normal", Figure::Count(usize::try_from(figures.clients_bytes).unwrap_or(usize::MAX))),
        ("aof.buffer", Figure::Count(0)),
        ("overhead.total", Figure::Count(used.saturating_sub(figures.dataset_bytes))),
        ("keys.count", Figure::Count(figures.keys)),
        ("keys.bytes-per-key", Figure::Count(net.checked_div(figures.keys).unwrap_or(0))),
        ("dataset.bytes", Figure::Count(figures.dataset_bytes)),
        ("dataset.percentage", Figure::Share(100.0 * ratio(figures.dataset_bytes, net))),
        ("peak.percentage", Figure::Share(100.0 * ratio(used, figures.used.peak_bytes))),
        ("allocator.allocated", Figure::Count(allocator.allocated)),
        ("allocator.active", Figure::Count(allocator.active)),
        ("allocator.resident", Figure::Count(allocator.resident)),
        ("allocator-fragmentation.ratio", Figure::Share(ratio(allocator.active, allocator.allocated))),
        (
            "allocator-fragmentation.bytes",
            Figure::Count(allocator.active.saturating_sub(allocator.allocated)),
        ),
        ("allocator-rss.ratio", Figure::Share(ratio(allocator.resident, allocator.active))),
        ("allocator-rss.bytes", Figure::Count(allocator.resident.saturating_sub(allocator.active))),
        ("rss-overhead.ratio", Figure::Share(ratio(figures.resident_bytes, allocator.resident))),
        ("rss-overhead.bytes", Figure::Count(figures.resident_bytes.saturating_sub(allocator.resident))),
        ("fragmentation", Figure::Share(figures.fragmentation())),
        ("fragmentation.bytes", Figure::Count(figures.resident_bytes.saturating_sub(used))),
    ];
    call.reply.map(rows.len());
    for (name, figure) in rows {
        call.reply.bulk(name.as_bytes());
        match figure {
            Figure::Count(count) => call.reply.int(count as i64),
            Figure::Share(share) => call.reply.double(share),
        }
    }
    Ok(())
}

/// Below so many bytes nothing can be said: what every server needs outweighs the rest. Source: Redis's doctor.
const SMALL_BYTES: usize = 5 << 20;

/// Resident memory above so many times the memory in use deserves a word. Source: Redis's doctor.
const FRAGMENTATION_MAX: f64 = 1.4;

/// A peak above so many times the memory in use deserves a word. Source: Redis's doctor.
const PEAK_MAX: f64 = 1.5;

/// Bytes a connection above which clients deserve a word. Source: Redis's doctor.
const CLIENT_BYTES_MAX: u64 = 200 << 10;

fn doctor(call: &mut Call<'_>) -> Result<(), Failure> {
    let figures = Figures::of(call);
    let clients = call.server().connected.load(Relaxed) as u64;
    let mut advice = Vec::new();
    if ratio(figures.used.peak_bytes, figures.used.used_bytes) > PEAK_MAX {
        advice.push(
            "- Memory was once used much more than now. The allocator keeps some of what was freed, so the process may \
             be larger than its data; a restart would shrink it.",
        );
    }
    if figures.fragmentation() > FRAGMENTATION_MAX {
        advice.push(
            "- The process takes much more memory than is in use: pages are only partly filled, or freed ones have not \
             gone back to the system yet.",
        );
    }
    if figures.clients_bytes > CLIENT_BYTES_MAX * clients.max(1) {
        advice.push(
            "- Connections hold much memory: clients that read slowly, or huge requests. CLIENT LIST shows whose, in \
             omem and tot-mem; client-output-buffer-limit closes the slow ones.",
        );
    }
    let text = if figures.used.used_bytes < SMALL_BYTES {
        "Too little memory is in use for its distribution to mean anything.\n".to_owned()
    } else if advice.is_empty() {
        "Nothing about the use of memory is unusual.\n".to_owned()
    } else {
        format!("{}\n", advice.join("\n"))
    };
    call.reply.verbatim(text.as_bytes());
    Ok(())
}

fn malloc_stats(call: &mut Call<'_>) -> Result<(), Failure> {
    let figures = memory_stats();
    let text = if figures.allocated == 0 {
        "The allocator keeps no figures.\n".to_owned()
    } else {
        format!(
            "allocated: {}\nactive: {}\nresident: {}\n",
            figures.allocated, figures.active, figures.resident
        )
    };
    call.reply.verbatim(text.as_bytes());
    Ok(())
}

fn purge(call: &mut Call<'_>) -> Result<(), Failure> {
    let server = Arc::clone(&call.shard.server);
    let ack = Ack { shard: call.shard.index, who: call.connection().me };
    // In a transaction nothing waits; it goes on without the end of it.
    let waits = !call.in_exec;
    let asking = Arc::clone(&server);
    let done = waits.then(|| -> Box<dyn FnOnce() + Send> {
        Box::new(move || asking.shards[ack.shard].mailbox.push(Mail::Done(ack)))
    });
    server
        .purges
        .ask(done)
        .map_err(|error| Failure::text(format!("ERR Error purging dirty pages: {error}")))?;
    if waits {
        call.shard.wait(call.slot, Wait::Acks { remaining: 1 }, None);
    }
    call.reply.ok();
    Ok(())
}
