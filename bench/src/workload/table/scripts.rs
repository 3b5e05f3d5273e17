//! Rows about scripts.

use super::super::row::{Section, Target, Unit, Workload};
use super::super::scripts::Scripts;
use super::WITH_STREAMS;

pub(super) const ROWS: &[Workload] = &[
    Workload {
        name: "eval-one",
        title: "EVAL of `return 1`",
        section: Section::Scripts,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(1.0)],
        work: &Scripts::One,
    },
    Workload {
        name: "eval-fixed-window",
        title: "EVAL of a rate limiter: GET, INCR, PEXPIRE",
        section: Section::Scripts,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Scripts::FixedWindow,
    },
    Workload {
        name: "eval-sliding-window",
        title: "EVAL of a rate limiter: ZREMRANGEBYSCORE, ZCARD, ZADD, PEXPIRE",
        section: Section::Scripts,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Scripts::SlidingWindow,
    },
    Workload {
        name: "fcall-fixed-window",
        title: "FCALL of the rate limiter with GET, INCR, PEXPIRE",
        section: Section::Scripts,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Scripts::Function,
    },
    Workload {
        name: "bullmq-add",
        title: "BullMQ's `addStandardJob`, as the library sends it",
        section: Section::Scripts,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Scripts::AddJob,
    },
    Workload {
        name: "bullmq-take",
        title: "BullMQ's `moveToActive`, as the library sends it",
        section: Section::Scripts,
        unit: Unit::NsPerOp,
        peers: WITH_STREAMS,
        targets: &[Target::BestRedis(0.8)],
        work: &Scripts::TakeJob,
    },
];
