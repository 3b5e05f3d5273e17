//! An overview of the server, for people: everything that the dashboard shows and INFO has no place for.
//!
//! An [`Observer`] is one watcher's: what it remembers between two looks makes rates and percentiles of what has happened
//! since the last. It runs on its caller's thread, and takes from the shards no more than locks that are held for as long
//! as it takes to copy a list of pointers, or a stripe of the directory.
//!
//! Bounds: [`ROWS_MAX`] rows of each list. Which channels have the most subscribers is found by a walk over the directory in
//! slices of [`WALK_TIME_MAX`]; with a million channels it takes some dozens of looks.
//!
//! Cost: O(connections + shards), and a slice of the walk.
#![expect(missing_docs, reason = "figures whose names say what they are")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::connection::CloseReason;
use crate::connection::client::{Client, mark};
use crate::directory::STRIPES;
use crate::histogram::Durations;
use crate::process::resident_bytes;
use crate::server::Server;
use crate::stats::CommandTotals;
use crate::stats::top::{Counts, NAME_BYTES_MAX, Top, WINDOW};
use crate::stats::traffic::Busiest;
use crate::time::unix_ms;

/// Rows of each list.
pub(crate) const ROWS_MAX: usize = 20;

/// Time for the walk over the directory in one look.
const WALK_TIME_MAX: Duration = Duration::from_millis(2);

/// Patterns whose subscribers are counted; no PSUBSCRIBE can begin meanwhile.
const PATTERNS_MAX: usize = 10_000;

/// Looks at the server. See the module.
pub struct Observer {
    server: Arc<Server>,
    /// Times of messages as of the last look.
    latency: Durations,
    walk: Walk,
}

/// A walk over the directory, and what the one before has found.
#[derive(Default)]
struct Walk {
    stripe: usize,
    best: Vec<Subscribed>,
    found: Vec<Subscribed>,
}

/// What an observer has seen.
#[derive(Debug)]
pub struct Overview {
    /// Unix time, milliseconds.
    pub at_ms: u64,
    pub uptime_ms: u64,
    pub totals: Totals,
    /// Since the last look; `None`: no message has been measured since.
    pub latency: Option<Latency>,
    pub shards: Vec<ShardLoad>,
    pub connected: u64,
    pub maxclients: u64,
    pub blocked: u64,
    pub kinds: Vec<Kind>,
    /// Connections closed so far, by reason.
    pub closed: Vec<(&'static str, u64)>,
    /// Those for whom the most is queued.
    pub waiting: Vec<Waiting>,
    pub channels: u64,
    pub patterns: u64,
    pub busy_channels: Vec<Busy>,
    pub busy_patterns: Vec<Busy>,
    pub subscribed_channels: Vec<Subscribed>,
    pub subscribed_patterns: Vec<Subscribed>,
    pub memory: Memory,
    pub journal: Option<Journal>,
}

/// Counters over all shards, since the start or CONFIG RESETSTAT.
#[derive(Debug, Default)]
pub struct Totals {
    pub commands: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub published: u64,
    pub published_bytes: u64,
    pub deliveries: u64,
    /// Calls of XADD.
    pub appended: u64,
}

/// From PUBLISH to a subscriber's socket, nanoseconds.
#[derive(Debug)]
pub struct Latency {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
}

/// One shard.
#[derive(Debug)]
pub struct ShardLoad {
    pub connections: u64,
    pub commands: u64,
    pub published: u64,
    pub deliveries: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    /// Time spent waiting for something to do, since the start.
    pub idle_ns: u64,
}

/// Connections of one kind.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub count: u64,
}

/// A client that has yet to take what is queued for it.
#[derive(Debug)]
pub struct Waiting {
    pub id: u64,
    pub address: String,
    pub name: String,
    pub user: String,
    pub kind: &'static str,
    pub shard: usize,
    pub queued_bytes: u64,
    pub subscriptions: u64,
    pub age_ms: u64,
}

/// A channel or a pattern, with what was published to it or matched it lately, each a second.
#[derive(Debug)]
pub struct Busy {
    /// Cut after 256 bytes.
    pub name: Vec<u8>,
    pub messages: f64,
    pub deliveries: f64,
    pub bytes: f64,
    /// `None`: it is not known, because the name is cut.
    pub subscribers: Option<u64>,
}

/// A channel or a pattern, and its subscribers.
#[derive(Debug, Clone)]
pub struct Subscribed {
    /// Cut after 256 bytes.
    pub name: Vec<u8>,
    pub subscribers: u64,
}

/// Bytes by owner.
#[derive(Debug)]
pub struct Memory {
    pub used: u64,
    pub peak: u64,
    pub resident: u64,
    pub max: u64,
    /// Keys and values, as of the last INFO.
    pub dataset: u64,
    /// Connections without their output.
    pub clients: u64,
    /// What is queued for clients; a message that many wait for counts for each.
    pub output: u64,
    pub scripts: u64,
    /// Removed, and not yet freed.
    pub reclaiming: u64,
    /// Of the journal, not yet synced.
    pub unsynced: u64,
}

/// The journal.
#[derive(Debug)]
pub struct Journal {
    pub last_lsn: u64,
    pub durable_lsn: u64,
    pub syncs: u64,
    pub sync_ns: u64,
    pub last_sync_ns: u64,
    pub unsynced_bytes: u64,
    pub log_bytes: u64,
    pub segments: u64,
    pub failures: u64,
}

type IsKind = fn(&Client) -> bool;

/// Kinds of connections, each client's the first that is true of it.
const KINDS: [(&str, IsKind); 10] = [
    ("detached", |client| client.has_mark(mark::DETACHED)),
    ("pages (SSE)", |client| client.has_mark(mark::EVENTS)),
    ("pages (WebSocket)", |client| client.has_mark(mark::PUSHER)),
    ("HTTP requests", |client| client.fd.load(Relaxed) < 0),
    ("monitors", |client| client.has_mark(mark::MONITOR)),
    ("subscribers (RESP3)", |client| client.has_mark(mark::PUBSUB) && client.resp.load(Relaxed) == 3),
    ("subscribers (RESP2)", |client| client.has_mark(mark::PUBSUB)),
    ("blocked", |client| client.has_mark(mark::BLOCKED)),
    ("clients (RESP3)", |client| client.resp.load(Relaxed) == 3),
    ("clients (RESP2)", |_| true),
];

fn kind_of(client: &Client) -> usize {
    // The last is true of all.
    KINDS.iter().position(|(_, is)| is(client)).unwrap_or(KINDS.len() - 1)
}

impl Observer {
    pub(crate) fn new(server: Arc<Server>) -> Observer {
        let latency = latency_of(&server);
        Observer { server, latency, walk: Walk::default() }
    }

    /// The server as it is now.
    pub fn observe(&mut self) -> Overview {
        let server = Arc::clone(&self.server);
        let now = Instant::now();
        let (kinds, waiting, output) = clients(&server);
        let (busy_channels, busy_patterns) = busiest(&server, now);
        self.walk.go_on(&server, now + WALK_TIME_MAX);
        let journal = server.journaling.journal().map(|journal| {
            let stats = journal.stats();
            Journal {
                last_lsn: journal.last_lsn().0,
                durable_lsn: journal.durable_lsn().0,
                syncs: stats.syncs,
                sync_ns: stats.sync_time.as_nanos() as u64,
                last_sync_ns: stats.last_sync_time.as_nanos() as u64,
                unsynced_bytes: stats.unsynced_bytes as u64,
                log_bytes: stats.log_bytes,
                segments: stats.segments as u64,
                failures: stats.failures,
            }
        });
        let unsynced = journal.as_ref().map_or(0, |journal| journal.unsynced_bytes);
        let closed = |reason| server.shards.iter().map(|shard| shard.closed.of(reason)).sum();
        Overview {
            at_ms: unix_ms(),
            uptime_ms: server.started.elapsed().as_millis() as u64,
            totals: totals(&server),
            latency: self.latency_since(),
            shards: loads(&server),
            connected: server.connected.load(Relaxed) as u64,
            maxclients: u64::from(server.config().maxclients),
            blocked: server.blocked.load(Relaxed) as u64,
            kinds,
            closed: CloseReason::ALL.iter().map(|&reason| (reason.name(), closed(reason))).collect(),
            waiting,
            channels: (server.directory.channels.len() + server.directory.sharded.len()) as u64,
            patterns: server.directory.patterns.len() as u64,
            busy_channels,
            busy_patterns,
            subscribed_channels: self.walk.found.clone(),
            subscribed_patterns: patterns(&server),
            memory: memory(&server, output, unsynced),
            journal,
        }
    }

    /// Times of messages since the last look.
    fn latency_since(&mut self) -> Option<Latency> {
        let all = latency_of(&self.server);
        let new = all.since(&self.latency);
        self.latency = all;
        (new.count > 0).then(|| Latency {
            count: new.count,
            p50: new.percentile(50.0),
            p90: new.percentile(90.0),
            p99: new.percentile(99.0),
            p999: new.percentile(99.9),
        })
    }
}

fn latency_of(server: &Server) -> Durations {
    Durations::sum(server.shards.iter().map(|shard| &shard.traffic.latency))
}

fn totals(server: &Server) -> Totals {
    let counters = server.counters();
    let mut totals = Totals {
        commands: counters.commands,
        in_bytes: counters.in_bytes,
        out_bytes: counters.out_bytes,
        ..Totals::default()
    };
    let mut appended = CommandTotals::default();
    let row = server.table.rows().iter().find(|row| row.full_name == "xadd");
    for shard in &server.shards {
        totals.published += shard.traffic.published.load(Relaxed);
        totals.published_bytes += shard.traffic.published_bytes.load(Relaxed);
        totals.deliveries += shard.traffic.deliveries.load(Relaxed);
        if let Some(row) = row {
            shard.commands.add_to(row.id, &mut appended);
        }
    }
    totals.appended = appended.calls;
    totals
}

fn loads(server: &Server) -> Vec<ShardLoad> {
    let load = |shard: &crate::server::ShardHandle| ShardLoad {
        connections: shard.connections.load(Relaxed) as u64,
        commands: shard.commands.calls(),
        published: shard.traffic.published.load(Relaxed),
        deliveries: shard.traffic.deliveries.load(Relaxed),
        in_bytes: shard.net_in_bytes.load(Relaxed),
        out_bytes: shard.net_out_bytes.load(Relaxed),
        idle_ns: shard.traffic.idle_ns.load(Relaxed),
    };
    server.shards.iter().map(load).collect()
}

/// How many there are of each kind, those for whom the most is queued, and what is queued for all.
fn clients(server: &Server) -> (Vec<Kind>, Vec<Waiting>, u64) {
    let mut counts = [0; KINDS.len()];
    let (mut waiting, mut output) = (Vec::new(), 0);
    for shard in &server.shards {
        // Copied, so that the shard is not kept from accepting and closing meanwhile.
        let clients: Vec<Arc<Client>> = shard.clients.lock().values().cloned().collect();
        for client in clients {
            counts[kind_of(&client)] += 1;
            let queued = client.output_bytes.load(Relaxed);
            output += queued;
            if queued > 0 {
                waiting.push((queued, client));
            }
        }
        let most = |(queued, client): &(u64, Arc<Client>)| (std::cmp::Reverse(*queued), client.id);
        waiting.sort_unstable_by_key(most);
        waiting.truncate(ROWS_MAX);
    }
    let kinds = KINDS.iter().zip(counts).map(|(&(name, _), count)| Kind { name, count }).collect();
    let now_ms = unix_ms();
    let waiting = waiting.into_iter().map(|(queued, client)| describe(&client, queued, now_ms)).collect();
    (kinds, waiting, output)
}

fn describe(client: &Client, queued_bytes: u64, now_ms: u64) -> Waiting {
    let names = client.names.lock().clone();
    let subscriptions = [&client.channels, &client.patterns, &client.sharded];
    Waiting {
        id: client.id,
        address: client.address.peer(),
        name: names.name.into(),
        user: names.user.into(),
        kind: KINDS[kind_of(client)].0,
        shard: usize::from(client.shard),
        queued_bytes,
        subscriptions: subscriptions.iter().map(|count| u64::from(count.load(Relaxed))).sum(),
        age_ms: now_ms.saturating_sub(client.connected_ms),
    }
}

/// The busiest channels and patterns.
fn busiest(server: &Server, now: Instant) -> (Vec<Busy>, Vec<Busy>) {
    let sum = |of: fn(&Busiest) -> &Top| {
        let mut sums = HashMap::new();
        for shard in &server.shards {
            shard.traffic.with_busiest(|busiest| of(busiest).add_to(&mut sums, now));
        }
        let mut rows: Vec<(Box<[u8]>, Counts)> = sums.into_iter().collect();
        rows.retain(|(_, counts)| counts.messages > 0);
        rows.sort_unstable_by(|(a, one), (b, other)| other.messages.cmp(&one.messages).then(a.cmp(b)));
        rows.truncate(ROWS_MAX);
        rows
    };
    let directory = &server.directory;
    let channels = sum(|busiest| &busiest.channels).into_iter().map(|(name, counts)| {
        let hash = sterna_pubsub::hash(&name);
        let subscribers = directory.channels.total(hash, &name) + directory.sharded.total(hash, &name);
        busy(name, counts, subscribers as u64)
    });
    let channels = channels.collect();
    let patterns = sum(|busiest| &busiest.patterns).into_iter().map(|(name, counts)| {
        let subscribers = directory.patterns.read().get(&name).map_or(0, |interest| interest.counts.total());
        busy(name, counts, subscribers)
    });
    (channels, patterns.collect())
}

fn busy(name: Box<[u8]>, counts: Counts, subscribers: u64) -> Busy {
    let a_second = |n: u64| n as f64 / WINDOW.as_secs_f64();
    Busy {
        subscribers: (name.len() < NAME_BYTES_MAX).then_some(subscribers),
        name: name.into(),
        messages: a_second(counts.messages),
        deliveries: a_second(counts.deliveries),
        bytes: a_second(counts.bytes),
    }
}

/// Keeps the `ROWS_MAX` with the most subscribers, the first of them first.
#[derive(Default)]
struct Best(Vec<(u64, Arc<[u8]>)>);

impl Best {
    fn offer(&mut self, name: &Arc<[u8]>, subscribers: u64) {
        let is_better = |&(other, _): &(u64, _)| other < subscribers;
        if self.0.len() == ROWS_MAX && !self.0.last().is_some_and(is_better) {
            return;
        }
        let at = self.0.iter().position(is_better).unwrap_or(self.0.len());
        self.0.insert(at, (subscribers, Arc::clone(name)));
        self.0.truncate(ROWS_MAX);
    }

    fn into_rows(self) -> impl Iterator<Item = Subscribed> {
        let cut = |name: Arc<[u8]>| name[..name.len().min(NAME_BYTES_MAX)].to_vec();
        self.0.into_iter().map(move |(subscribers, name)| Subscribed { name: cut(name), subscribers })
    }
}

impl Walk {
    fn go_on(&mut self, server: &Server, until: Instant) {
        let mut best = Best::default();
        let begun = std::mem::take(&mut self.best);
        begun.iter().for_each(|row| best.offer(&Arc::from(&row.name[..]), row.subscribers));
        while self.stripe < STRIPES {
            for directory in [&server.directory.channels, &server.directory.sharded] {
                directory.for_each_count_in(self.stripe, |name, subscribers| best.offer(name, subscribers));
            }
            self.stripe += 1;
            if self.stripe.is_multiple_of(64) && Instant::now() >= until {
                break;
            }
        }
        self.best = best.into_rows().collect();
        if self.stripe == STRIPES {
            self.stripe = 0;
            self.found = std::mem::take(&mut self.best);
        }
    }
}

fn patterns(server: &Server) -> Vec<Subscribed> {
    let mut best = Best::default();
    let trie = server.directory.patterns.read();
    trie.iter().take(PATTERNS_MAX).for_each(|(name, interest)| best.offer(name, interest.counts.total()));
    drop(trie);
    best.into_rows().collect()
}

fn memory(server: &Server, output: u64, unsynced: u64) -> Memory {
    let used = server.memory.read();
    let scripts = server.scripts.figures();
    Memory {
        used: used.used_bytes as u64,
        peak: used.peak_bytes as u64,
        resident: resident_bytes() as u64,
        max: server.config().maxmemory,
        dataset: server.keyspace_figures().used_bytes as u64,
        clients: server.client_bytes().saturating_sub(output),
        output,
        scripts: (scripts.used_bytes
            + server.scripts.functions_used_bytes()
            + scripts.text_bytes
            + scripts.library_bytes) as u64,
        reclaiming: server.reclaimer.pending_bytes().load(Relaxed) as u64,
        unsynced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_with_the_most_subscribers_are_kept_in_order() {
        let mut best = Best::default();
        for i in 0..1000_u64 {
            let subscribers = i * 7919 % 1000;
            best.offer(&Arc::from(subscribers.to_string().into_bytes()), subscribers);
        }
        let rows: Vec<u64> = best.into_rows().map(|row| row.subscribers).collect();
        let expected: Vec<u64> = (1000 - ROWS_MAX as u64..1000).rev().collect();
        assert_eq!(rows, expected);
    }
}
