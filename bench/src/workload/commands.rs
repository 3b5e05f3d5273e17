//! Commands on keys and streams: pipelined or not, over one connection or many, in memory or journaled.
//!
//! Each command is a [`Verb`]: what has to be there first, what the nth request is, and how many lines answer it. The
//! streams it reads are filled with explicit IDs, `1-1`, `2-1`, …, so that every place in them can be named.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Group, Meter, command};
use crate::peer::{Durability, Settings};
use std::time::Instant;

/// A stream of commands of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commands {
    pub verb: Verb,
    pub connections: usize,
    pub pipeline: usize,
    pub durability: Durability,
    pub cost: Cost,
}

/// What the figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// Server CPU for each command, in nanoseconds.
    CpuNs,
    /// Time for each command as the clients see it, all together, in microseconds.
    WallUs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Set,
    Get,
    Add,
    AddTrimmed,
    /// XREADGROUP COUNT 10 `>`.
    ReadGroup,
    /// XREAD COUNT 100 from anywhere in a stream of so many entries.
    Read {
        entries: usize,
    },
    /// XRANGE COUNT 100 from anywhere in it.
    Range {
        entries: usize,
    },
    /// XDEL of one entry anywhere in it.
    Delete {
        entries: usize,
    },
    /// XTRIM MINID of the hundred oldest of it.
    TrimOldest {
        entries: usize,
    },
    /// XACK of ten.
    Ack,
    /// XAUTOCLAIM of 100, out of so many pending.
    AutoClaim {
        pending: usize,
    },
    /// A command that has nothing to do with what the stream has so much of.
    Amid {
        what: Crowd,
        count: usize,
    },
}

/// What a stream can have much of, and the command whose cost must not grow with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowd {
    /// XREADGROUP COUNT 1 in one of the groups.
    Groups,
    /// XADD IDMP of one of the producers.
    Producers,
    /// XADD MAXLEN ~ 10 ACKED behind entries that nobody has read.
    Unread,
    /// XREADGROUP CLAIM beside pending entries that were deleted.
    Stale,
    /// XGROUP CREATECONSUMER in a group of consumers.
    Consumers,
}

impl Commands {
    /// One connection, in memory, CPU; a pipeline so deep that what is measured is the commands, not the server's falling
    /// asleep between batches.
    pub(super) const fn pipelined(verb: Verb) -> Self {
        Self { verb, connections: 1, pipeline: 256, durability: Durability::Memory, cost: Cost::CpuNs }
    }
}

/// Entries that commands which use them up find.
const STOCK: usize = 400_000;
const KEYS: usize = 10_000;
const VALUE: &[u8; 20] = b"abcdefghijklmnopqrst";

/// Lines of an entry with one field in a reply: array, ID, array of fields, name, value.
const ENTRY_LINES: u64 = 8;

impl Verb {
    /// Entries of the stream before the timed part.
    fn entries(self) -> usize {
        match self {
            Verb::Set | Verb::Get | Verb::Add | Verb::AddTrimmed => 0,
            Verb::ReadGroup | Verb::Ack => STOCK,
            Verb::Read { entries }
            | Verb::Range { entries }
            | Verb::Delete { entries }
            | Verb::TrimOldest { entries }
            | Verb::AutoClaim { pending: entries } => entries,
            Verb::Amid { what: Crowd::Groups, .. } => STOCK,
            Verb::Amid { what: Crowd::Unread | Crowd::Stale, count } => count,
            Verb::Amid { what: Crowd::Producers | Crowd::Consumers, .. } => 1000,
        }
    }

    /// Requests that a stream of `entries` is good for.
    fn requests_max(self, entries: usize) -> usize {
        match self {
            Verb::ReadGroup | Verb::Ack => entries / 10,
            Verb::TrimOldest { .. } => entries / 100,
            Verb::Delete { .. } => entries / 2,
            Verb::Amid { what: Crowd::Groups, .. } => entries,
            _ => usize::MAX,
        }
    }

    /// Lines that answer one request.
    fn lines(self) -> u64 {
        match self {
            Verb::Set | Verb::Ack | Verb::Delete { .. } | Verb::TrimOldest { .. } => 1,
            Verb::Get | Verb::Add | Verb::AddTrimmed => 2,
            Verb::ReadGroup => 5 + 10 * ENTRY_LINES,
            Verb::Read { .. } => 5 + 100 * ENTRY_LINES,
            Verb::Range { .. } => 1 + 100 * ENTRY_LINES,
            // Array, cursor, array of entries, array of deleted ones.
            Verb::AutoClaim { .. } => 5 + 100 * ENTRY_LINES,
            Verb::Amid { what: Crowd::Consumers, .. } => 1,
            Verb::Amid { what: Crowd::Producers | Crowd::Unread, .. } => 2,
            Verb::Amid { what: Crowd::Groups, .. } => 5 + ENTRY_LINES,
            // With how long it was idle and how often delivered.
            Verb::Amid { what: Crowd::Stale, .. } => 5 + ENTRY_LINES + 2,
        }
    }

    /// Appends the `n`th request; the stream was filled with `entries`.
    fn request(self, out: &mut Vec<u8>, n: usize, entries: usize) {
        // A walk in strides that share no factor with the sizes, so that places repeat late and look random.
        let anywhere = |room: usize| format!("{}-1", 1 + n.wrapping_mul(7919) % room.max(1));
        match self {
            Verb::Set => command(out, &[b"SET", key(n).as_bytes(), VALUE]),
            Verb::Get => command(out, &[b"GET", key(n).as_bytes()]),
            Verb::Add => command(out, &[b"XADD", b"s", b"*", b"field", VALUE]),
            Verb::AddTrimmed => {
                command(out, &[b"XADD", b"s", b"MAXLEN", b"~", b"10000", b"*", b"field", VALUE]);
            }
            Verb::ReadGroup => {
                command(out, &[b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"10", b"STREAMS", b"s", b">"]);
            }
            Verb::Read { .. } => {
                let from = anywhere(entries.saturating_sub(101));
                command(out, &[b"XREAD", b"COUNT", b"100", b"STREAMS", b"s", from.as_bytes()]);
            }
            Verb::Range { .. } => {
                let from = anywhere(entries.saturating_sub(101));
                command(out, &[b"XRANGE", b"s", from.as_bytes(), b"+", b"COUNT", b"100"]);
            }
            Verb::Delete { .. } => command(out, &[b"XDEL", b"s", anywhere(entries).as_bytes()]),
            Verb::TrimOldest { .. } => {
                let oldest = format!("{}-1", 1 + (n + 1) * 100);
                command(out, &[b"XTRIM", b"s", b"MINID", oldest.as_bytes()]);
            }
            Verb::Ack => {
                let ids: Vec<String> = (1..=10).map(|i| format!("{}-1", n * 10 + i)).collect();
                let mut words: Vec<&[u8]> = vec![b"XACK", b"s", b"g"];
                words.extend(ids.iter().map(String::as_bytes));
                command(out, &words);
            }
            Verb::AutoClaim { .. } => {
                let from = anywhere(entries.saturating_sub(101));
                command(out, &[b"XAUTOCLAIM", b"s", b"g", b"d", b"0", from.as_bytes(), b"COUNT", b"100"]);
            }
            Verb::Amid { what, count } => what.request(out, n, count),
        }
    }
}

impl Crowd {
    fn request(self, out: &mut Vec<u8>, n: usize, count: usize) {
        match self {
            Crowd::Groups => {
                command(out, &[b"XREADGROUP", b"GROUP", b"g7", b"c", b"COUNT", b"1", b"STREAMS", b"s", b">"]);
            }
            Crowd::Producers => {
                let iid = (count + n).to_string();
                command(out, &[b"XADD", b"s", b"IDMP", b"p7", iid.as_bytes(), b"*", b"field", VALUE]);
            }
            Crowd::Unread => {
                command(out, &[b"XADD", b"s", b"MAXLEN", b"~", b"10", b"ACKED", b"*", b"field", VALUE]);
            }
            Crowd::Stale => {
                let words: [&[u8]; 9] =
                    [b"XREADGROUP", b"GROUP", b"g", b"d", b"CLAIM", b"0", b"STREAMS", b"s", b">"];
                command(out, &words);
            }
            Crowd::Consumers => {
                let name = format!("c{:07}", count + n);
                command(out, &[b"XGROUP", b"CREATECONSUMER", b"s", b"g", name.as_bytes()]);
            }
        }
    }

    /// Makes so much of it; the stream has its `entries`.
    fn prepare(self, scene: &mut Scene, count: usize, entries: usize) -> Result<(), Failure> {
        match self {
            Crowd::Groups => scene.ask("groups", count, 1, |out, n| {
                command(out, &[b"XGROUP", b"CREATE", b"s", format!("g{n}").as_bytes(), b"0"]);
            }),
            Crowd::Producers => scene.ask("producers", count, 2, |out, n| {
                let producer = format!("p{n}");
                command(out, &[b"XADD", b"s", b"IDMP", producer.as_bytes(), b"0", b"*", b"field", VALUE]);
            }),
            Crowd::Unread => create_group(scene),
            Crowd::Stale => {
                create_group(scene)?;
                deliver_all(scene, entries)?;
                scene.ask("entries to be deleted", entries - 1, 1, |out, n| {
                    command(out, &[b"XDEL", b"s", format!("{}-1", n + 1).as_bytes()]);
                })
            }
            Crowd::Consumers => {
                create_group(scene)?;
                scene.ask("consumers", count, 1, |out, n| Crowd::Consumers.request(out, n, 0))
            }
        }
    }
}

fn key(n: usize) -> String {
    format!("key:{:05}", n % KEYS)
}

impl Measure for Commands {
    fn heavy(&self) -> bool {
        self.verb.entries() >= 10_000_000
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings { durability: self.durability, ..Settings::default() })?;
        let entries = match self.verb.entries() {
            0 => 0,
            full => bench.count(full).next_multiple_of(1000),
        };
        self.prepare(&mut scene, entries)?;
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            let id = scene.connect(Group::Publisher)?;
            scene.swarm.measure(id, Meter::Lines);
            clients.push(Client { id, lines_due: 0 });
        }
        let mut run = Run { commands: self, scene, clients, entries, sent: 0 };
        let disk = run.scene.server.disk_bytes();
        let cpu = run.scene.cpu()?;
        let begun = Instant::now();
        // What the disk takes part in is given longer, to see more than one of the syncs of every second.
        let time = if self.durability == Durability::Memory { bench.time() } else { 4 * bench.time() };
        while begun.elapsed() < time && run.send()? {}
        run.drain()?;
        let (us, sent) = (begun.elapsed().as_secs_f64() * 1e6, run.sent as f64);
        let ns = run.scene.cpu()?.since(&cpu) as f64;
        let figures = match self.cost {
            Cost::CpuNs => Figures::new(ns / sent).also("ops/s", sent * 1e6 / us),
            Cost::WallUs => Figures::new(us / sent).also("CPU µs/op", ns / sent / 1000.0),
        };
        Ok(match self.durability {
            Durability::Memory => figures,
            _ => {
                // What is written is not yet in the file's length.
                std::thread::sleep(std::time::Duration::from_millis(1100));
                let written = run.scene.server.disk_bytes().saturating_sub(disk);
                figures.also("bytes on disk/op", written as f64 / sent)
            }
        })
    }
}

impl Commands {
    fn prepare(&self, scene: &mut Scene, entries: usize) -> Result<(), Failure> {
        match self.verb {
            Verb::Get => {
                scene.ask("keys", KEYS, 1, |out, n| command(out, &[b"SET", key(n).as_bytes(), VALUE]))?;
            }
            _ if entries > 0 => fill_stream(scene, entries)?,
            _ => {}
        }
        match self.verb {
            Verb::ReadGroup => create_group(scene),
            Verb::Ack | Verb::AutoClaim { .. } => {
                create_group(scene)?;
                deliver_all(scene, entries)
            }
            Verb::Amid { what, count } => what.prepare(scene, count, entries),
            _ => Ok(()),
        }
    }
}

/// Adds entries `1-1` to `entries-1` to the stream `s`.
pub(super) fn fill_stream(scene: &mut Scene, entries: usize) -> Result<(), Failure> {
    scene.ask("a stream to be filled", entries, 2, |out, n| {
        // Values differ, so that none of them is measured with what compression makes of one.
        let value = format!("{:020}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        command(out, &[b"XADD", b"s", format!("{}-1", n + 1).as_bytes(), b"field", value.as_bytes()]);
    })
}

/// A group `g` that has read nothing.
pub(super) fn create_group(scene: &mut Scene) -> Result<(), Failure> {
    scene.ask("a group", 1, 1, |out, _| command(out, &[b"XGROUP", b"CREATE", b"s", b"g", b"0"]))
}

/// Delivers the whole stream to consumer `c`, so that all of it is pending; `entries` are whole thousands.
pub(super) fn deliver_all(scene: &mut Scene, entries: usize) -> Result<(), Failure> {
    let lines = 5 + 1000 * ENTRY_LINES;
    scene.ask("a group to read all", entries / 1000, lines, |out, _| {
        command(out, &[b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"1000", b"STREAMS", b"s", b">"]);
    })
}

struct Client {
    id: ConnId,
    lines_due: u64,
}

struct Run<'a> {
    commands: &'a Commands,
    scene: Scene,
    clients: Vec<Client>,
    entries: usize,
    sent: usize,
}

impl Run<'_> {
    /// Sends a batch on every connection that has its replies, then waits for one that has; false when all is used up.
    fn send(&mut self) -> Result<bool, Failure> {
        let Commands { verb, pipeline, .. } = *self.commands;
        let mut request = Vec::new();
        for client in &mut self.clients {
            if self.scene.swarm.seen(client.id) < client.lines_due {
                continue;
            }
            let count = pipeline.min(verb.requests_max(self.entries).saturating_sub(self.sent));
            if count == 0 {
                return Ok(false);
            }
            request.clear();
            for n in self.sent..self.sent + count {
                verb.request(&mut request, n, self.entries);
            }
            self.sent += count;
            client.lines_due += count as u64 * verb.lines();
            self.scene.swarm.send(client.id, &request)?;
        }
        let limit = self.scene.batch_limit("replies");
        let clients = &self.clients;
        self.scene
            .swarm
            .until(&limit, |swarm| clients.iter().any(|client| swarm.seen(client.id) >= client.lines_due))?;
        Ok(true)
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let limit = self.scene.batch_limit("the last replies");
        let clients = &self.clients;
        self.scene
            .swarm
            .until(&limit, |swarm| clients.iter().all(|client| swarm.seen(client.id) >= client.lines_due))
    }
}

/// So many readers blocked on one stream; each XADD wakes them all, and all block again: CPU of one wake-up in
/// nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wake {
    pub readers: usize,
}

/// Array of streams, name and entries, one entry: what XREAD answers.
const WOKEN_LINES: u64 = 5 + ENTRY_LINES;

impl Measure for Wake {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let writer = scene.connect(Group::Publisher)?;
        let mut readers = Vec::new();
        for _ in 0..bench.count(self.readers) {
            readers.push(scene.connect(Group::Subscriber)?);
        }
        block(&mut scene, &readers, 0)?;
        round(&mut scene, writer, &readers, 1)?;
        let cpu = scene.cpu()?;
        let begun = Instant::now();
        let mut rounds = 0;
        while begun.elapsed() < bench.time() {
            round(&mut scene, writer, &readers, rounds + 2)?;
            rounds += 1;
        }
        let wakes = (rounds * readers.len()) as f64;
        Ok(Figures::new(scene.cpu()?.since(&cpu) as f64 / wakes)
            .also("wake-ups/s", wakes / begun.elapsed().as_secs_f64()))
    }
}

/// Sets every reader to wait for what comes after entry `after-1`.
///
/// The ID is explicit: a reader whose `$` is read after the next XADD would wait for ever.
fn block(scene: &mut Scene, readers: &[ConnId], after: usize) -> Result<(), Failure> {
    let mut request = Vec::new();
    let from = format!("{after}-1");
    command(&mut request, &[b"XREAD", b"BLOCK", b"0", b"STREAMS", b"s", from.as_bytes()]);
    readers.iter().try_for_each(|&id| scene.swarm.send(id, &request))
}

/// Adds entry `n-1`, waits until every reader has it, and lets them wait for the next.
fn round(scene: &mut Scene, writer: ConnId, readers: &[ConnId], n: usize) -> Result<(), Failure> {
    let mut request = Vec::new();
    command(&mut request, &[b"XADD", b"s", format!("{n}-1").as_bytes(), b"field", VALUE]);
    let due = scene.swarm.total(Group::Subscriber) + WOKEN_LINES * readers.len() as u64;
    scene.swarm.send(writer, &request)?;
    let limit = scene.batch_limit("blocked readers");
    scene.swarm.until(&limit, |swarm| swarm.total(Group::Subscriber) >= due)?;
    block(scene, readers, n)
}
