//! The workloads as rows.
use super::Measure;
use super::fanout::{FanOut, Through};
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
}

impl Section {
    pub fn title(self) -> &'static str {
        match self {
            Section::FanOut => "Fan-out",
        }
    }
}

/// What a figure is; smaller is better in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Server CPU, nanoseconds for each delivery.
    NsPerDelivery,
}

impl Unit {
    pub fn label(self) -> &'static str {
        match self {
            Unit::NsPerDelivery => "ns/delivery",
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
    /// So many times Sterna's own in another workload.
    Own(&'static str, f64),
}

const ALL: &[PeerId] = &[Floor, Sterna, Redis, Valkey, Redis8, Nats];
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
