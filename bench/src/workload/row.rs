//! What a workload's row says: its name, its unit, who can do it, and what Sterna must reach.
use super::Measure;
use super::paced::P99;
use crate::machine::Cost;
use crate::peer::PeerId;

/// A row of the report.
pub(crate) struct Workload {
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
pub(crate) enum Section {
    FanOut,
    Patterns,
    Latency,
    Connections,
    Streams,
    Types,
    Memory,
    Scripts,
    Journal,
    Pressure,
    Pauses,
}

impl Section {
    pub(crate) const ALL: [Section; 11] = [
        Section::FanOut,
        Section::Patterns,
        Section::Latency,
        Section::Connections,
        Section::Streams,
        Section::Types,
        Section::Memory,
        Section::Scripts,
        Section::Journal,
        Section::Pressure,
        Section::Pauses,
    ];

    /// Name of its chart's file.
    pub(crate) fn file_stem(self) -> &'static str {
        match self {
            Section::FanOut => "fan-out",
            Section::Patterns => "patterns",
            Section::Latency => "latency",
            Section::Connections => "connections",
            Section::Streams => "streams",
            Section::Types => "types",
            Section::Memory => "memory",
            Section::Scripts => "scripts",
            Section::Journal => "journal",
            Section::Pressure => "pressure",
            Section::Pauses => "pauses",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Section::FanOut => "Fan-out",
            Section::Patterns => "PUBLISH past patterns that don't match",
            Section::Latency => "Latency and fairness",
            Section::Connections => "Connections, subscriptions and their memory",
            Section::Streams => "Streams and keys, in memory",
            Section::Types => "Strings, lists, hashes, sets and sorted sets, pipelined, in memory",
            Section::Memory => "Memory of keys",
            Section::Scripts => "Scripts and functions, pipelined",
            Section::Journal => "Streams, journaled",
            Section::Pressure => "Under pressure: what a quiet client waits, and what memory grows by",
            Section::Pauses => "Pauses: the longest wait of a quiet client beside one request, or one moment",
        }
    }
}

/// What a figure is; smaller is better in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
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
    /// Resident memory for each key.
    BytesPerKey,
    /// Resident memory for each element.
    BytesPerElement,
    /// Time to start, nanoseconds for each entry.
    NsPerEntry,
    /// 99th percentile during a snapshot, less that before it.
    P99Added,
    /// What a quiet client waits for an answer, 99th percentile, milliseconds.
    QuietP99,
    /// The most that the server is busy while a quiet client waits, milliseconds of a core.
    Busiest,
    /// Cost of the last thousand over that of the first.
    Growth,
}

impl Unit {
    /// Whether it is the server's work, which can be counted in instructions as well.
    pub(crate) fn is_work(self) -> bool {
        use Unit::{NsPerDelivery, NsPerOp, NsPerWake, UsPerLife, UsPerPublish};
        matches!(self, NsPerDelivery | UsPerPublish | UsPerLife | NsPerOp | NsPerWake)
    }

    pub(crate) fn label(self, cost: Cost) -> &'static str {
        match self {
            Unit::NsPerDelivery if cost == Cost::Instructions => "instructions/delivery",
            Unit::UsPerPublish if cost == Cost::Instructions => "thousand instructions/PUBLISH",
            Unit::UsPerLife if cost == Cost::Instructions => "thousand instructions/connection",
            Unit::NsPerOp if cost == Cost::Instructions => "instructions/op",
            Unit::NsPerWake if cost == Cost::Instructions => "instructions/wake-up",
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
            Unit::BytesPerKey => "bytes/key",
            Unit::BytesPerElement => "bytes/element",
            Unit::NsPerEntry => "ns/entry, wall",
            Unit::P99Added => "µs added to p99",
            Unit::QuietP99 => "p99 ms of a quiet client",
            Unit::Busiest => "ms CPU, longest pause",
            Unit::Growth => "last ÷ first",
        }
    }
}

/// What Sterna's figure must be at most.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
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
    /// So many times the best of Redis and Valkey, for one that stands beside the main one.
    AlsoBestRedis(&'static str, f64),
    /// So many times Sterna's main figure in another workload, for one that stands beside the main one.
    AlsoOwn(&'static str, &'static str, f64),
}
