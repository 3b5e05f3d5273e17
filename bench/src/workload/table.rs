//! The workloads as rows.
use super::Measure;
use super::commands::{Commands, Cost, Verb, Wake};
use super::fanout::{FanOut, Through};
use super::kept::{EntryMemory, From, Of, Restart};
use super::membership::{Churn, ManyChannels};
use super::memory::Idle;
use super::paced::{Beside, P99, Paced};
use super::patterns::{PastPatterns, Shape};
use crate::limit::Failure;
use crate::peer::{Durability, PeerId};
use PeerId::{Floor, Nats, Redis, Redis8, Sterna, Valkey};

/// A row of the report.
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub section: Section,
    pub unit: Unit,
    /// Who can do it at all.
    pub peers: &'static [PeerId],
    pub targets: &'static [Target],
    pub work: &'static dyn Measure,
}

/// A table of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    FanOut,
    Patterns,
    Latency,
    Connections,
    Streams,
    Journal,
}

impl Section {
    pub const ALL: [Section; 6] = [
        Section::FanOut,
        Section::Patterns,
        Section::Latency,
        Section::Connections,
        Section::Streams,
        Section::Journal,
    ];

    /// Name of its chart's file.
    pub fn file_stem(self) -> &'static str {
        match self {
            Section::FanOut => "fan-out",
            Section::Patterns => "patterns",
            Section::Latency => "latency",
            Section::Connections => "connections",
            Section::Streams => "streams",
            Section::Journal => "journal",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Section::FanOut => "Fan-out",
            Section::Patterns => "PUBLISH past patterns that don't match",
            Section::Latency => "Latency and fairness",
            Section::Connections => "Connections, subscriptions and their memory",
            Section::Streams => "Streams and keys, in memory",
            Section::Journal => "Streams, journaled",
        }
    }
}

/// What a figure is; smaller is better in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Server CPU, nanoseconds for each delivery.
    NsPerDelivery,
    /// Server CPU, microseconds for each command.
    UsPerPublish,
    /// Server CPU, microseconds from connecting to leaving.
    UsPerLife,
    /// 99th percentile, microseconds from sending to arrival.
    P99,
    /// Resident memory for each subscriber.
    KibPerSubscriber,
    /// Growth of resident memory.
    Mib,
    /// Server CPU, nanoseconds for each command.
    NsPerOp,
    /// Time that passes, microseconds for each command of all clients together.
    WallUsPerOp,
    /// Server CPU, nanoseconds for each blocked reader woken and blocked again.
    NsPerWake,
    /// Resident memory for each entry.
    BytesPerEntry,
    /// Time to start, nanoseconds for each entry.
    NsPerEntry,
    /// Cost of the last thousand over that of the first.
    Growth,
}

impl Unit {
    pub fn label(self) -> &'static str {
        match self {
            Unit::NsPerDelivery => "ns/delivery",
            Unit::UsPerPublish => "µs/PUBLISH",
            Unit::UsPerLife => "µs/connection",
            Unit::P99 => P99,
            Unit::KibPerSubscriber => "KiB/subscriber",
            Unit::Mib => "MiB",
            Unit::NsPerOp => "ns/op",
            Unit::WallUsPerOp => "µs/op, wall",
            Unit::NsPerWake => "ns/wake-up",
            Unit::BytesPerEntry => "bytes/entry",
            Unit::NsPerEntry => "ns/entry, wall",
            Unit::Growth => "last ÷ first",
        }
    }
}

/// What Sterna's figure must be at most.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// So many times the floor's.
    Floor(f64),
    /// So many times the best of Redis and Valkey, all versions.
    BestRedis(f64),
    /// So many times the best of all peers.
    BestPeer(f64),
    /// So many times Sterna's own in another workload.
    Own(&'static str, f64),
    /// This figure.
    AtMost(f64),
    /// This figure, for one that stands beside the main one.
    AlsoAtMost(&'static str, f64),
    /// So many times Sterna's main figure in another workload, for one that stands beside the main one.
    AlsoOwn(&'static str, &'static str, f64),
}

const ALL: &[PeerId] = &[Floor, Sterna, Redis, Valkey, Redis8, Nats];
const WITH_STREAMS: &[PeerId] = &[Sterna, Valkey, Redis8];
const REDIS_FAMILY: &[PeerId] = &[Sterna, Redis, Valkey, Redis8];
const ALL_BUT_FLOOR: &[PeerId] = &[Sterna, Redis, Valkey, Redis8, Nats];

static TABLE: &[Workload] = &[
    Workload {
        name: "fan-out-64",
        title: "1 publisher (pipeline 64) → 100 subscribers, 64 B",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::Floor(1.15), Target::BestRedis(0.55)],
        work: &FanOut::one_channel(100, 64, 64),
    },
    Workload {
        name: "fan-out-1k",
        title: "the same, 1 KiB",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::Floor(1.15), Target::BestRedis(0.55)],
        work: &FanOut::one_channel(100, 64, 1024),
    },
    Workload {
        name: "fan-out-16k",
        title: "the same, 16 KiB",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[],
        work: &FanOut::one_channel(100, 64, 16 * 1024),
    },
    Workload {
        name: "unpipelined-1000",
        title: "1 publisher (no pipeline) → 1 000 subscribers, 64 B",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::Floor(1.05)],
        work: &FanOut::one_channel(1000, 1, 64),
    },
    Workload {
        name: "one-to-one",
        title: "1 publisher (pipeline 512) → 1 subscriber, 64 B",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::BestRedis(0.6)],
        work: &FanOut::one_channel(1, 512, 64),
    },
    Workload {
        name: "one-to-one-64",
        title: "1 publisher (pipeline 64) → 1 subscriber, 64 B",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::BestRedis(0.6)],
        work: &FanOut::one_channel(1, 64, 64),
    },
    Workload {
        name: "channels-2000",
        title: "4 publishers (pipeline 64) → 2 000 channels, 1 subscriber each, 64 B",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::BestRedis(0.8)],
        work: &FanOut { channels: 2000, publishers: 4, ..FanOut::one_channel(1, 64, 64) },
    },
    Workload {
        name: "pattern-100",
        title: "1 publisher (pipeline 64) → 100 subscribers through one pattern, 64 B",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::Own("fan-out-64", 1.2)],
        work: &FanOut { through: Through::Pattern, ..FanOut::one_channel(100, 64, 64) },
    },
    Workload {
        name: "two-shards",
        title: "fan-out 64 B, subscribers spread over two shards",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: &[Sterna],
        targets: &[Target::Own("fan-out-64", 1.15)],
        work: &FanOut { threads: 2, ..FanOut::one_channel(100, 64, 64) },
    },
    Workload {
        name: "tls-fan-out",
        title: "fan-out 1 KiB over TLS 1.3 (AES-256-GCM)",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: &[Sterna, Redis],
        targets: &[Target::BestRedis(0.8)],
        work: &FanOut { tls: true, ..FanOut::one_channel(100, 64, 1024) },
    },
    Workload {
        name: "past-none",
        title: "no pattern",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &PastPatterns { patterns: 0, shape: Shape::Prefix },
    },
    Workload {
        name: "past-prefix-1k",
        title: "1 000 × `user:N:*`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &PastPatterns { patterns: 1000, shape: Shape::Prefix },
    },
    Workload {
        name: "past-prefix-10k",
        title: "10 000 × `user:N:*`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &PastPatterns { patterns: 10_000, shape: Shape::Prefix },
    },
    Workload {
        name: "past-prefix-1m",
        title: "1 000 000 × `user:N:*`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::Own("past-none", 1.3), Target::AlsoAtMost("bytes/pattern", 1024.0)],
        work: &PastPatterns { patterns: 1_000_000, shape: Shape::Prefix },
    },
    Workload {
        name: "past-hostile-1k",
        title: "1 000 × `*N*a*b`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: REDIS_FAMILY,
        targets: &[],
        work: &PastPatterns { patterns: 1000, shape: Shape::Hostile },
    },
    Workload {
        name: "past-hostile-10k",
        title: "10 000 × `*N*a*b`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: REDIS_FAMILY,
        targets: &[Target::BestRedis(0.05)],
        work: &PastPatterns { patterns: 10_000, shape: Shape::Hostile },
    },
    Workload {
        name: "past-hostile-1m",
        title: "1 000 000 × `*N*a*b`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: REDIS_FAMILY,
        targets: &[],
        work: &PastPatterns { patterns: 1_000_000, shape: Shape::Hostile },
    },
    Workload {
        name: "latency",
        title: "1 000 messages/s → 100 subscribers, 64 B",
        section: Section::Latency,
        unit: Unit::P99,
        peers: ALL,
        targets: &[Target::BestPeer(1.0)],
        work: &Paced { subscribers: 100, per_second: 1000, messages: 2000, beside: Beside::Nothing },
    },
    Workload {
        name: "fair-pipeline",
        title: "1 000 messages/s → 1 subscriber, beside a client with an endless pipeline",
        section: Section::Latency,
        unit: Unit::P99,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::AtMost(3000.0)],
        work: &Paced { subscribers: 1, per_second: 1000, messages: 2000, beside: Beside::EndlessPipeline },
    },
    Workload {
        name: "fair-backlog",
        title: "1 000 messages/s → 1 subscriber, while another takes a backlog of 64 MiB",
        section: Section::Latency,
        unit: Unit::P99,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::AtMost(3000.0)],
        work: &Paced {
            subscribers: 1,
            per_second: 1000,
            messages: 500,
            beside: Beside::Backlog { bytes: 64 << 20 },
        },
    },
    Workload {
        name: "stalled",
        title: "growth while 200 subscribers that don't read are sent 8 MiB each",
        section: Section::Connections,
        unit: Unit::Mib,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::AtMost(32.0), Target::AlsoOwn(P99, "latency", 2.0)],
        work: &Paced {
            subscribers: 100,
            per_second: 1000,
            messages: 4200,
            beside: Beside::Stalled { subscribers: 200, bytes_each: 8 << 20 },
        },
    },
    Workload {
        name: "idle-memory",
        title: "10 000 idle subscribers, a channel each",
        section: Section::Connections,
        unit: Unit::KibPerSubscriber,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::AtMost(1.5)],
        work: &Idle { subscribers: 10_000 },
    },
    Workload {
        name: "channels-100k",
        title: "100 000 channels joined and left on one connection",
        section: Section::Connections,
        unit: Unit::Growth,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::AtMost(1.5)],
        work: &ManyChannels { channels: 100_000 },
    },
    Workload {
        name: "churn",
        title: "connect, subscribe, leave; 50 at a time",
        section: Section::Connections,
        unit: Unit::UsPerLife,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &Churn { at_once: 50 },
    },
    Workload {
        name: "xadd",
        title: "XADD `*`, one field of 20 bytes, pipelined",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.6)],
        work: &Commands::pipelined(Verb::Add),
    },
    Workload {
        name: "xadd-maxlen",
        title: "XADD with `MAXLEN ~ 10000`, pipelined",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.6)],
        work: &Commands::pipelined(Verb::AddTrimmed),
    },
    Workload {
        name: "xadd-50",
        title: "XADD, 50 clients, no pipeline",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(1.0)],
        work: &Commands { connections: 50, pipeline: 1, ..Commands::pipelined(Verb::Add) },
    },
    Workload {
        name: "xreadgroup",
        title: "XREADGROUP COUNT 10 `>`",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.3)],
        work: &Commands::pipelined(Verb::ReadGroup),
    },
    Workload {
        name: "xread",
        title: "XREAD COUNT 100, anywhere in 100 000 entries",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.3)],
        work: &Commands::pipelined(Verb::Read { entries: 100_000 }),
    },
    Workload {
        name: "xrange-10k",
        title: "XRANGE COUNT 100, anywhere in 10 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.3)],
        work: &Commands::pipelined(Verb::Range { entries: 10_000 }),
    },
    Workload {
        name: "xrange-1m",
        title: "XRANGE COUNT 100, anywhere in 1 000 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.3)],
        work: &Commands::pipelined(Verb::Range { entries: 1_000_000 }),
    },
    Workload {
        name: "xrange-10m",
        title: "XRANGE COUNT 100, anywhere in 10 000 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: &[Sterna],
        targets: &[Target::Own("xrange-10k", 2.0)],
        work: &Commands::pipelined(Verb::Range { entries: 10_000_000 }),
    },
    Workload {
        name: "xack",
        title: "XACK of 10",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.5)],
        work: &Commands::pipelined(Verb::Ack),
    },
    Workload {
        name: "xautoclaim-10k",
        title: "XAUTOCLAIM of 100, 10 000 pending",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[],
        work: &Commands::pipelined(Verb::AutoClaim { pending: 10_000 }),
    },
    Workload {
        name: "xautoclaim-1m",
        title: "XAUTOCLAIM of 100, 1 000 000 pending",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.5), Target::Own("xautoclaim-10k", 2.0)],
        work: &Commands::pipelined(Verb::AutoClaim { pending: 1_000_000 }),
    },
    Workload {
        name: "xdel-10k",
        title: "XDEL, anywhere in 10 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[],
        work: &Commands::pipelined(Verb::Delete { entries: 10_000 }),
    },
    Workload {
        name: "xdel-1m",
        title: "XDEL, anywhere in 1 000 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[],
        work: &Commands::pipelined(Verb::Delete { entries: 1_000_000 }),
    },
    Workload {
        name: "xdel-10m",
        title: "XDEL, anywhere in 10 000 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: &[Sterna],
        targets: &[Target::Own("xdel-10k", 2.0)],
        work: &Commands::pipelined(Verb::Delete { entries: 10_000_000 }),
    },
    Workload {
        name: "xtrim-10k",
        title: "XTRIM MINID of the 100 oldest of 10 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[],
        work: &Commands::pipelined(Verb::TrimOldest { entries: 10_000 }),
    },
    Workload {
        name: "xtrim-1m",
        title: "XTRIM MINID of the 100 oldest of 1 000 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[],
        work: &Commands::pipelined(Verb::TrimOldest { entries: 1_000_000 }),
    },
    Workload {
        name: "xtrim-10m",
        title: "XTRIM MINID of the 100 oldest of 10 000 000",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: &[Sterna],
        targets: &[Target::Own("xtrim-10k", 2.0)],
        work: &Commands::pipelined(Verb::TrimOldest { entries: 10_000_000 }),
    },
    Workload {
        name: "wake-1000",
        title: "XADD to a stream with 1 000 readers in XREAD BLOCK",
        section: Section::Streams,
        unit: Unit::NsPerWake,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.6)],
        work: &Wake { readers: 1000 },
    },
    Workload {
        name: "set",
        title: "SET, 20 bytes, pipelined",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Commands::pipelined(Verb::Set),
    },
    Workload {
        name: "get",
        title: "GET, 20 bytes, pipelined",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Commands::pipelined(Verb::Get),
    },
    Workload {
        name: "entry-memory",
        title: "memory of an entry with one field of 20 bytes",
        section: Section::Streams,
        unit: Unit::BytesPerEntry,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(1.0)],
        work: &EntryMemory { entries: 1_000_000, of: Of::Entry },
    },
    Workload {
        name: "pending-memory",
        title: "memory of a pending entry",
        section: Section::Streams,
        unit: Unit::BytesPerEntry,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.6)],
        work: &EntryMemory { entries: 1_000_000, of: Of::Pending },
    },
    Workload {
        name: "xadd-everysec",
        title: "XADD, pipelined, synced every second",
        section: Section::Journal,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.5), Target::Own("xadd", 1.35)],
        work: &Commands { durability: Durability::EverySecond, ..Commands::pipelined(Verb::Add) },
    },
    Workload {
        name: "xreadgroup-everysec",
        title: "XREADGROUP COUNT 10 `>`, synced every second",
        section: Section::Journal,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.35)],
        work: &Commands { durability: Durability::EverySecond, ..Commands::pipelined(Verb::ReadGroup) },
    },
    Workload {
        name: "xadd-always-1",
        title: "XADD, 1 client, no pipeline, synced before each reply",
        section: Section::Journal,
        unit: Unit::WallUsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(1.0)],
        work: &Commands {
            connections: 1,
            pipeline: 1,
            durability: Durability::Always,
            cost: Cost::WallUs,
            ..Commands::pipelined(Verb::Add)
        },
    },
    Workload {
        name: "xadd-always-50",
        title: "XADD, 50 clients, no pipeline, synced before each reply",
        section: Section::Journal,
        unit: Unit::WallUsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.667)],
        work: &Commands {
            connections: 50,
            pipeline: 1,
            durability: Durability::Always,
            cost: Cost::WallUs,
            ..Commands::pipelined(Verb::Add)
        },
    },
    Workload {
        name: "xadd-always-500",
        title: "XADD, 500 clients, no pipeline, synced before each reply",
        section: Section::Journal,
        unit: Unit::WallUsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.667)],
        work: &Commands {
            connections: 500,
            pipeline: 1,
            durability: Durability::Always,
            cost: Cost::WallUs,
            ..Commands::pipelined(Verb::Add)
        },
    },
    Workload {
        name: "restart-log",
        title: "restart with 10 million small entries, from the log alone",
        section: Section::Journal,
        unit: Unit::NsPerEntry,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.333)],
        work: &Restart { entries: 10_000_000, from: From::Log },
    },
    Workload {
        name: "restart-snapshot",
        title: "restart with 10 million small entries, from a snapshot",
        section: Section::Journal,
        unit: Unit::NsPerEntry,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(1.0)],
        work: &Restart { entries: 10_000_000, from: From::Snapshot },
    },
];

pub fn table() -> &'static [Workload] {
    TABLE
}

/// The workloads whose names begin with one of `only`; all of them if it is empty.
pub fn select(only: &[String]) -> Result<Vec<&'static Workload>, Failure> {
    let matches = |workload: &Workload, prefix: &String| workload.name.starts_with(prefix.as_str());
    for prefix in only {
        if !TABLE.iter().any(|workload| matches(workload, prefix)) {
            return Err(Failure::Unknown(prefix.clone()));
        }
    }
    let chosen =
        |workload: &&Workload| only.is_empty() || only.iter().any(|prefix| matches(workload, prefix));
    Ok(TABLE.iter().filter(chosen).collect())
}
