//! Rows about the journal: what a write costs, a restart, a snapshot.

use super::super::commands::{Commands, Cost, Verb};
use super::super::kept::{DISK, From, Restart};
use super::super::row::{Section, Target, Unit, Workload};
use super::super::snapshot::{GROWTH, Snapshot};
use super::WITH_STREAMS;
use crate::peer::Durability;

pub(super) const ROWS: &[Workload] = &[
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
        targets: &[Target::BestRedis(0.333), Target::AlsoBestRedis(DISK, 1.0)],
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
    Workload {
        name: "snapshot",
        title: "XADD at 20 000/s while a snapshot of 2 GiB is taken",
        section: Section::Journal,
        unit: Unit::P99Added,
        peers: WITH_STREAMS,
        targets: &[Target::AtMost(3000.0), Target::AlsoAtMost(GROWTH, 10.0)],
        work: &Snapshot { keys: 500_000, per_second: 20_000 },
    },
];
