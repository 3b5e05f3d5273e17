//! Rows about clients: their latency, and what a connection takes.

use super::super::membership::{Churn, ManyChannels};
use super::super::memory::Idle;
use super::super::paced::{Beside, P99, Paced};
use super::super::row::{Section, Target, Unit, Workload};
use super::{ALL, ALL_BUT_FLOOR};
use crate::peer::PeerId::{Redis, Sterna};

pub(super) const ROWS: &[Workload] = &[
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
            messages: 2000,
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
        work: &Idle { subscribers: 10_000, tls: false },
    },
    Workload {
        name: "idle-tls",
        title: "3 000 idle subscribers over TLS 1.3",
        section: Section::Connections,
        unit: Unit::KibPerSubscriber,
        peers: &[Sterna, Redis],
        targets: &[Target::AtMost(9.0)],
        work: &Idle { subscribers: 3_000, tls: true },
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
