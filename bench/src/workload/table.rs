//! The workloads as rows.
use super::Measure;
use super::fanout::{FanOut, Through};
use super::membership::{Churn, ManyChannels};
use super::memory::Idle;
use super::paced::{Beside, P99, Paced};
use super::patterns::{PastPatterns, Shape};
use crate::limit::Failure;
use crate::peer::PeerId;
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
}

impl Section {
    pub const ALL: [Section; 4] =
        [Section::FanOut, Section::Patterns, Section::Latency, Section::Connections];

    pub fn title(self) -> &'static str {
        match self {
            Section::FanOut => "Fan-out",
            Section::Patterns => "PUBLISH past patterns that don't match",
            Section::Latency => "Latency and fairness",
            Section::Connections => "Connections, subscriptions and their memory",
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
