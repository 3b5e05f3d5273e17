//! The workloads as rows.
use super::commands::{Commands, Cost, Crowd, Verb, Wake};
use super::fanout::{FanOut, Through};
use super::kept::{DISK, EntryMemory, From, Of, Restart};
use super::keyed::{ElementMemory, Kept, KeyMemory, Type};
use super::membership::{Churn, ManyChannels};
use super::memory::Idle;
use super::paced::{Beside, P99, Paced};
use super::patterns::{PastPatterns, Shape};
use super::pressure_table::ROWS as PRESSURE;
use super::row::{Section, Target, Unit, Workload};
use super::scripts::Scripts;
use super::snapshot::{GROWTH, Snapshot};
use crate::limit::Failure;
use crate::peer::{Durability, PeerId};
use PeerId::{Floor, Kevy, Nats, Redis, Redis8, Sterna, Valkey};

const ALL: &[PeerId] = &[Floor, Sterna, Redis, Valkey, Redis8, Kevy, Nats];
const WITH_STREAMS: &[PeerId] = &[Sterna, Valkey, Redis8];
/// What no other server has, or has in this way.
const SOLO: &[PeerId] = &[Sterna];
const IN_MEMORY: &[PeerId] = &[Sterna, Valkey, Redis8, Kevy];
const REDIS_FAMILY: &[PeerId] = &[Sterna, Redis, Valkey, Redis8];
const ALL_BUT_FLOOR: &[PeerId] = &[Sterna, Redis, Valkey, Redis8, Kevy, Nats];

/// How much more the same may cost where there is a hundred or a thousand times as much: colder caches, a few levels more
/// of a tree, and nothing that grows with the size.
const FLAT: f64 = 5.0;

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
        title: "1 publisher (pipeline 64) → 100 subscribers, 1 KiB",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::Floor(1.15), Target::BestRedis(0.55)],
        work: &FanOut::one_channel(100, 64, 1024),
    },
    Workload {
        name: "fan-out-16k",
        title: "1 publisher (pipeline 64) → 100 subscribers, 16 KiB",
        section: Section::FanOut,
        unit: Unit::NsPerDelivery,
        peers: ALL,
        targets: &[Target::Floor(1.15)],
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
        title: "PUBLISH past no pattern",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &PastPatterns { patterns: 0, shape: Shape::Prefix },
    },
    Workload {
        name: "past-prefix-1k",
        title: "PUBLISH past 1 000 × `user:N:*`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &PastPatterns { patterns: 1000, shape: Shape::Prefix },
    },
    Workload {
        name: "past-prefix-10k",
        title: "PUBLISH past 10 000 × `user:N:*`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[],
        work: &PastPatterns { patterns: 10_000, shape: Shape::Prefix },
    },
    Workload {
        name: "past-prefix-1m",
        title: "PUBLISH past 1 000 000 × `user:N:*`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: ALL_BUT_FLOOR,
        targets: &[Target::Own("past-none", 1.3), Target::AlsoAtMost("bytes/pattern", 1024.0)],
        work: &PastPatterns { patterns: 1_000_000, shape: Shape::Prefix },
    },
    Workload {
        name: "past-hostile-1k",
        title: "PUBLISH past 1 000 × `*N*a*b`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: REDIS_FAMILY,
        targets: &[],
        work: &PastPatterns { patterns: 1000, shape: Shape::Hostile },
    },
    Workload {
        name: "past-hostile-10k",
        title: "PUBLISH past 10 000 × `*N*a*b`",
        section: Section::Patterns,
        unit: Unit::UsPerPublish,
        peers: REDIS_FAMILY,
        targets: &[Target::BestRedis(0.05)],
        work: &PastPatterns { patterns: 10_000, shape: Shape::Hostile },
    },
    Workload {
        name: "past-hostile-1m",
        title: "PUBLISH past 1 000 000 × `*N*a*b`",
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
        peers: IN_MEMORY,
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
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(1.0)],
        work: &Commands { connections: 50, pipeline: 1, ..Commands::pipelined(Verb::Add) },
    },
    Workload {
        name: "xreadgroup",
        title: "XREADGROUP COUNT 10 `>`",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.3)],
        work: &Commands::pipelined(Verb::ReadGroup),
    },
    Workload {
        name: "xread",
        title: "XREAD COUNT 100, anywhere in 100 000 entries",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: IN_MEMORY,
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
        targets: &[Target::Own("xrange-10k", FLAT)],
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
        targets: &[Target::BestRedis(0.5), Target::Own("xautoclaim-10k", FLAT)],
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
        targets: &[Target::Own("xdel-10k", FLAT)],
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
        targets: &[Target::Own("xtrim-10k", FLAT)],
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
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.8)],
        work: &Commands::pipelined(Verb::Set),
    },
    Workload {
        name: "get",
        title: "GET, 20 bytes, pipelined",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: IN_MEMORY,
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
        name: "groups-100",
        title: "XREADGROUP COUNT 1 beside 100 groups",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Groups, count: 100 }),
    },
    Workload {
        name: "groups-10k",
        title: "XREADGROUP COUNT 1 beside 10 000 groups",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[Target::Own("groups-100", 1.5)],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Groups, count: 10_000 }),
    },
    Workload {
        name: "producers-100",
        title: "XADD IDMP beside 100 producers",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Producers, count: 100 }),
    },
    Workload {
        name: "producers-10k",
        title: "XADD IDMP beside 10 000 producers",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[Target::Own("producers-100", 1.5)],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Producers, count: 10_000 }),
    },
    Workload {
        name: "acked-lag-1k",
        title: "XADD `MAXLEN ~ 10 ACKED` behind 1 000 unread entries",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Unread, count: 1_000 }),
    },
    Workload {
        name: "acked-lag-500k",
        title: "XADD `MAXLEN ~ 10 ACKED` behind 500 000 unread entries",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[Target::Own("acked-lag-1k", 1.5)],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Unread, count: 500_000 }),
    },
    Workload {
        name: "claim-stale-1k",
        title: "XREADGROUP CLAIM beside 1 000 deleted entries that are pending",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Stale, count: 1_000 }),
    },
    Workload {
        name: "claim-stale-300k",
        title: "XREADGROUP CLAIM beside 300 000 deleted entries that are pending",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[Target::Own("claim-stale-1k", 1.5)],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Stale, count: 300_000 }),
    },
    Workload {
        name: "consumers-100",
        title: "XGROUP CREATECONSUMER beside 100 consumers",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Consumers, count: 100 }),
    },
    Workload {
        name: "consumers-10k",
        title: "XGROUP CREATECONSUMER beside 10 000 consumers",
        section: Section::Streams,
        unit: Unit::NsPerOp,
        peers: SOLO,
        targets: &[Target::Own("consumers-100", 1.5)],
        work: &Commands::pipelined(Verb::Amid { what: Crowd::Consumers, count: 10_000 }),
    },
    Workload {
        name: "string-memory-1m",
        title: "1 000 000 strings of 10 bytes",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 1_000_000, of: Kept::Text { bytes: 10 } },
    },
    Workload {
        name: "string-memory-1500k",
        title: "1 500 000 strings of 10 bytes",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 1_500_000, of: Kept::Text { bytes: 10 } },
    },
    Workload {
        name: "string-memory-2m",
        title: "2 000 000 strings of 10 bytes",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 2_000_000, of: Kept::Text { bytes: 10 } },
    },
    Workload {
        name: "expiring-memory",
        title: "2 000 000 strings of 10 bytes with an expiry",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 2_000_000, of: Kept::Expiring },
    },
    Workload {
        name: "string-100-memory",
        title: "2 000 000 strings of 100 bytes",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 2_000_000, of: Kept::Text { bytes: 100 } },
    },
    Workload {
        name: "hash-memory",
        title: "200 000 hashes of 10 fields",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 200_000, of: Kept::Ten(Type::Hash) },
    },
    Workload {
        name: "list-memory",
        title: "200 000 lists of 10 elements",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 200_000, of: Kept::Ten(Type::List) },
    },
    Workload {
        name: "set-memory",
        title: "200 000 sets of 10 members",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 200_000, of: Kept::Ten(Type::Set) },
    },
    Workload {
        name: "zset-memory",
        title: "200 000 sorted sets of 10 members",
        section: Section::Memory,
        unit: Unit::BytesPerKey,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &KeyMemory { keys: 200_000, of: Kept::Ten(Type::Zset) },
    },
    Workload {
        name: "large-hash-memory",
        title: "one hash of 1 000 000 fields",
        section: Section::Memory,
        unit: Unit::BytesPerElement,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &ElementMemory { elements: 1_000_000, of: Type::Hash },
    },
    Workload {
        name: "large-list-memory",
        title: "one list of 1 000 000 elements",
        section: Section::Memory,
        unit: Unit::BytesPerElement,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &ElementMemory { elements: 1_000_000, of: Type::List },
    },
    Workload {
        name: "large-set-memory",
        title: "one set of 1 000 000 members",
        section: Section::Memory,
        unit: Unit::BytesPerElement,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &ElementMemory { elements: 1_000_000, of: Type::Set },
    },
    Workload {
        name: "large-zset-memory",
        title: "one sorted set of 1 000 000 members",
        section: Section::Memory,
        unit: Unit::BytesPerElement,
        peers: IN_MEMORY,
        targets: &[Target::BestRedis(0.9)],
        work: &ElementMemory { elements: 1_000_000, of: Type::Zset },
    },
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

/// Every workload, in the order of the report.
fn all() -> impl Iterator<Item = &'static Workload> {
    TABLE.iter().chain(PRESSURE)
}

/// The workloads whose names begin with one of `only`; all of them if it is empty.
pub(crate) fn select(only: &[String]) -> Result<Vec<&'static Workload>, Failure> {
    let matches = |workload: &Workload, prefix: &String| workload.name.starts_with(prefix.as_str());
    for prefix in only {
        if !all().any(|workload| matches(workload, prefix)) {
            return Err(Failure::Unknown(prefix.clone()));
        }
    }
    let chosen =
        |workload: &&Workload| only.is_empty() || only.iter().any(|prefix| matches(workload, prefix));
    Ok(all().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_each_selects_its_row() {
        for workload in all() {
            assert_eq!(all().filter(|other| other.name == workload.name).count(), 1, "{}", workload.name);
            let selected = select(&[workload.name.to_owned()]).unwrap();
            assert!(selected.iter().any(|other| other.name == workload.name));
        }
        assert!(matches!(select(&["nothing".to_owned()]), Err(Failure::Unknown(_))));
    }

    #[test]
    fn targets_name_workloads_that_exist() {
        for workload in all() {
            for target in workload.targets {
                if let Target::Own(other, _) | Target::AlsoOwn(_, other, _) = target {
                    assert!(all().any(|row| row.name == *other), "{}: {other}", workload.name);
                }
            }
        }
    }

    #[test]
    fn a_row_stands_with_the_others_of_its_section() {
        let sections: Vec<Section> = all().map(|workload| workload.section).collect();
        assert!(sections.is_sorted());
    }
}
