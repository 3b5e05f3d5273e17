//! The workloads under pressure, and the pauses, as rows.
use super::super::pauses::{Cause, Pause, Request};
use super::super::pressure::{Apart, CLOSED, Greedy, PEAK_MIB, Placement, Unread, What};
use super::super::row::{Section, Target, Unit, Workload};
use super::super::tls_storm::Storm;
use crate::peer::PeerId::{self, Kevy, Redis, Redis8, Sterna, Valkey};

const PEERS: &[PeerId] = &[Sterna, Redis, Valkey, Redis8, Kevy];
const WITH_TLS: &[PeerId] = &[Sterna, Redis];

/// What nothing that a client or the clock causes may exceed, milliseconds.
const PAUSE_MAX: Target = Target::AtMost(5.0);

/// A row about a pause.
const fn pause(name: &'static str, title: &'static str, work: &'static Pause) -> Workload {
    Workload {
        name,
        title,
        section: Section::Pauses,
        unit: Unit::Busiest,
        peers: PEERS,
        targets: &[PAUSE_MAX],
        work,
    }
}

const fn request(words: &'static [&'static str]) -> Cause {
    Cause::Request(Request::of_names(words))
}

const fn filled(words: &'static [&'static str], each: &'static [&'static str]) -> Cause {
    Cause::Request(Request { words, each, filled: true })
}

const fn each(words: &'static [&'static str], each: &'static [&'static str]) -> Cause {
    Cause::Request(Request { words, each, filled: false })
}

const MILLION: usize = 1_000_000;

/// The rows, those about pressure first.
pub(super) static ROWS: &[Workload] = &[
    Workload {
        name: "apart-256",
        title: "1 publisher (pipeline 256) → 1 000 subscribers on another shard, beside a quiet client",
        section: Section::Pressure,
        unit: Unit::QuietP99,
        peers: PEERS,
        targets: &[
            Target::BestPeer(1.0),
            Target::AlsoAtMost(PEAK_MIB, 64.0),
            Target::AlsoAtMost(CLOSED, 0.0),
        ],
        work: &Apart { subscribers: 1000, pipeline: 256, payload_bytes: 64, placement: Placement::Opposite },
    },
    Workload {
        name: "apart-16",
        title: "the same, pipeline 16",
        section: Section::Pressure,
        unit: Unit::QuietP99,
        peers: PEERS,
        targets: &[Target::AlsoAtMost(PEAK_MIB, 64.0), Target::AlsoAtMost(CLOSED, 0.0)],
        work: &Apart { subscribers: 1000, pipeline: 16, payload_bytes: 64, placement: Placement::Opposite },
    },
    Workload {
        name: "balanced-16",
        title: "1 publisher (pipeline 16) → 400 subscribers, half of them on each of two shards",
        section: Section::Pressure,
        unit: Unit::QuietP99,
        peers: PEERS,
        targets: &[Target::AlsoAtMost(PEAK_MIB, 64.0), Target::AlsoAtMost(CLOSED, 0.0)],
        work: &Apart { subscribers: 400, pipeline: 16, payload_bytes: 64, placement: Placement::Balanced },
    },
    Workload {
        name: "greedy-300",
        title: "300 clients (SET, pipeline 256) beside a quiet one",
        section: Section::Pressure,
        unit: Unit::QuietP99,
        peers: PEERS,
        targets: &[Target::BestPeer(1.0)],
        work: &Greedy { clients: 300, pipeline: 256 },
    },
    Workload {
        name: "unread-small",
        title: "a subscriber of 4 000 small messages reads nothing, each followed by 60 KB to another",
        section: Section::Pressure,
        unit: Unit::Mib,
        peers: PEERS,
        targets: &[Target::AtMost(16.0)],
        work: &Unread { clients: 1, what: What::SmallBetweenLarge { messages: 4000, large_bytes: 60_000 } },
    },
    Workload {
        name: "unread-pongs",
        title: "20 clients read none of 100 000 answers to PING each",
        section: Section::Pressure,
        unit: Unit::Mib,
        peers: PEERS,
        targets: &[],
        work: &Unread { clients: 20, what: What::Pongs { each: 100_000 } },
    },
    Workload {
        name: "unread-values",
        title: "50 clients read none of 40 values of 1 MB each",
        section: Section::Pressure,
        unit: Unit::Mib,
        peers: PEERS,
        targets: &[Target::BestPeer(1.0)],
        work: &Unread { clients: 50, what: What::Values { each: 40, bytes: 1_000_000 } },
    },
    Workload {
        name: "tls-storm",
        title: "5 000 TLS clients come back with their tickets, beside a quiet one",
        section: Section::Pressure,
        unit: Unit::QuietP99,
        peers: WITH_TLS,
        targets: &[Target::AtMost(10.0)],
        work: &Storm { clients: 5000 },
    },
    pause(
        "pause-subscribe",
        "SUBSCRIBE with 1 000 000 names",
        &Pause { of: request(&["SUBSCRIBE"]), count: MILLION },
    ),
    pause(
        "pause-psubscribe",
        "PSUBSCRIBE with 1 000 000 names",
        &Pause { of: each(&["PSUBSCRIBE"], &["key:#:*"]), count: MILLION },
    ),
    pause(
        "pause-leave",
        "a subscriber of 1 000 000 channels leaves",
        &Pause { of: Cause::Leave, count: MILLION },
    ),
    pause("pause-watch", "WATCH of 100 000 keys", &Pause { of: request(&["WATCH"]), count: 100_000 }),
    pause(
        "pause-tracking",
        "CLIENT TRACKING ON BCAST with 50 000 prefixes",
        &Pause { of: each(&["CLIENT", "TRACKING", "ON", "BCAST"], &["PREFIX", "p#:"]), count: 50_000 },
    ),
    pause(
        "pause-mset",
        "MSET of 500 000 keys",
        &Pause { of: each(&["MSET"], &["key:#", "v"]), count: 500_000 },
    ),
    pause(
        "pause-mget",
        "MGET of 1 000 000 keys",
        &Pause { of: filled(&["MGET"], &["key:#"]), count: MILLION },
    ),
    pause("pause-del", "DEL of 1 000 000 keys", &Pause { of: filled(&["DEL"], &["key:#"]), count: MILLION }),
    pause(
        "pause-unlink",
        "UNLINK of 1 000 000 keys",
        &Pause { of: filled(&["UNLINK"], &["key:#"]), count: MILLION },
    ),
    pause(
        "pause-exists",
        "EXISTS of 1 000 000 keys",
        &Pause { of: filled(&["EXISTS"], &["key:#"]), count: MILLION },
    ),
    pause(
        "pause-keys",
        "KEYS over 1 000 000 keys",
        &Pause { of: filled(&["KEYS", "*7*"], &[]), count: MILLION },
    ),
    pause(
        "pause-scan",
        "SCAN COUNT 1 000 000",
        &Pause { of: filled(&["SCAN", "0", "COUNT", "1000000"], &[]), count: MILLION },
    ),
    pause(
        "pause-flushall",
        "FLUSHALL ASYNC of 3 000 000 keys",
        &Pause { of: filled(&["FLUSHALL", "ASYNC"], &[]), count: 3 * MILLION },
    ),
    pause(
        "pause-numsub",
        "PUBSUB NUMSUB of 1 000 000 channels",
        &Pause { of: request(&["PUBSUB", "NUMSUB"]), count: MILLION },
    ),
    pause(
        "pause-config-get",
        "CONFIG GET of 100 000 patterns",
        &Pause { of: each(&["CONFIG", "GET"], &["max*#"]), count: 100_000 },
    ),
    pause(
        "pause-command-docs",
        "COMMAND DOCS of 100 000 names",
        &Pause { of: each(&["COMMAND", "DOCS"], &["get"]), count: 100_000 },
    ),
    pause(
        "pause-setuser",
        "ACL SETUSER with 100 000 rules",
        &Pause { of: each(&["ACL", "SETUSER", "u"], &["~key:#:*"]), count: 100_000 },
    ),
    pause(
        "pause-xadd",
        "XADD of 250 000 fields",
        &Pause { of: each(&["XADD", "s", "*"], &["f#", "v"]), count: 250_000 },
    ),
    pause("pause-expiry", "2 000 000 keys expire together", &Pause { of: Cause::Expiry, count: 2 * MILLION }),
    pause(
        "pause-timeouts",
        "10 000 blocked readers time out together",
        &Pause { of: Cause::Timeouts, count: 10_000 },
    ),
];
