//! What every shard may see of a client: the record behind CLIENT LIST, KILL and INFO.
//!
//! The shard that owns the connection writes, any shard reads. The gauges are written with relaxed stores by that one
//! shard only, so keeping them true costs a `mov`; a reader may see one a moment old, never a torn one. Text that
//! seldom changes is behind a mutex.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed,
};
use std::sync::{Arc, OnceLock};

use super::CloseReason;
use super::state::ConnectionRef;
use super::transport::{Peer, have_left};
use crate::lock::{Level, Mutex};

/// Number of a client: given once, never reused, rising.
pub(crate) type ClientId = u64;

/// Where a client comes from and what it reached.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp { peer: SocketAddr, local: SocketAddr },
    Unix { path: Arc<Path> },
}

impl Address {
    /// The `addr` field.
    pub(crate) fn peer(&self) -> String {
        match self {
            Address::Tcp { peer, .. } => peer.to_string(),
            Address::Unix { path } => format!("{}:0", path.display()),
        }
    }

    /// The `laddr` field.
    pub(crate) fn local(&self) -> String {
        match self {
            Address::Tcp { local, .. } => local.to_string(),
            Address::Unix { path } => format!("{}:0", path.display()),
        }
    }

    /// Where it comes from; nowhere, over a Unix socket.
    pub(crate) fn ip_address(&self) -> Option<IpAddr> {
        match self {
            Address::Tcp { peer, .. } => Some(peer.ip()),
            Address::Unix { .. } => None,
        }
    }

    /// Both ends; those of a Unix socket are this machine.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        match self {
            Address::Tcp { peer, local } => (*peer, *local),
            Address::Unix { .. } => {
                let here = SocketAddr::from(([127, 0, 0, 1], 0));
                (here, here)
            }
        }
    }

    /// The host of the `addr` field.
    pub(crate) fn ip(&self) -> String {
        match self {
            Address::Tcp { peer, .. } => peer.ip().to_string(),
            Address::Unix { path } => path.display().to_string(),
        }
    }

    /// Whether the peer is on this machine, for `protected-mode`.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Address::Tcp { peer, .. } => match peer.ip() {
                IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
                v4 => v4.is_loopback(),
            },
            Address::Unix { .. } => true,
        }
    }
}

/// Names a client gave itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) name: Box<str>,
    pub(crate) lib_name: Box<str>,
    pub(crate) lib_ver: Box<str>,
    pub(crate) user: Box<str>,
}

impl Names {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.name.len() + self.lib_name.len() + self.lib_ver.len() + self.user.len()
    }
}

/// Bits of [`Client::marks`]; each is a letter of CLIENT LIST's `flags`, or a switch set from outside.
pub(crate) mod mark {
    pub(crate) const MONITOR: u32 = 1 << 0;
    pub(crate) const PUBSUB: u32 = 1 << 1;
    pub(crate) const MULTI: u32 = 1 << 2;
    pub(crate) const BLOCKED: u32 = 1 << 3;
    pub(crate) const DIRTY_CAS: u32 = 1 << 4;
    pub(crate) const CLOSE_AFTER_REPLY: u32 = 1 << 5;
    pub(crate) const UNIX: u32 = 1 << 6;
    pub(crate) const NO_EVICT: u32 = 1 << 7;
    pub(crate) const NO_TOUCH: u32 = 1 << 8;
    pub(crate) const TRACKING: u32 = 1 << 9;
    pub(crate) const TRACKING_BROKEN: u32 = 1 << 10;
    pub(crate) const TRACKING_BROADCAST: u32 = 1 << 11;
    /// Held back by CLIENT PAUSE, which CLIENT UNBLOCK does not end.
    pub(crate) const PAUSED: u32 = 1 << 12;
    /// Its socket is gone, and its subscriptions go on.
    pub(crate) const DETACHED: u32 = 1 << 13;
    /// A page that is sent events, which no letter tells.
    pub(crate) const EVENTS: u32 = 1 << 14;
    /// A page by Pusher's protocol.
    pub(crate) const PUSHER: u32 = 1 << 15;
    /// It is closed as soon as its shard comes to that: nothing is handed to it any more.
    pub(crate) const CONDEMNED: u32 = 1 << 16;
}

/// The letter of each mark, in the order of the `flags` field.
const MARK_LETTERS: [(u32, char); 15] = [
    (mark::MONITOR, 'O'),
    (mark::PUBSUB, 'P'),
    (mark::MULTI, 'x'),
    (mark::BLOCKED, 'b'),
    (mark::PAUSED, 'b'),
    (mark::TRACKING, 't'),
    (mark::TRACKING_BROKEN, 'R'),
    (mark::TRACKING_BROADCAST, 'B'),
    (mark::DIRTY_CAS, 'd'),
    (mark::CLOSE_AFTER_REPLY, 'c'),
    (mark::CONDEMNED, 'A'),
    (mark::UNIX, 'U'),
    (mark::NO_EVICT, 'e'),
    (mark::NO_TOUCH, 'T'),
    (mark::DETACHED, 'D'),
];

/// Every letter that a client can have in `flags`: those of Redis and Valkey, and `D`.
pub(crate) const LETTERS: &str = "bcdeirtuxABDEIMNOPRSTU";

/// One client, as every shard may see it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) shard: u16,
    /// Its place in its shard; set once the shard has taken it in.
    pub(crate) slot: AtomicU32,
    pub(crate) fd: AtomicI32,
    /// Its socket's other end, from the moment that its shard has taken it in.
    pub(super) peer: OnceLock<Peer>,
    /// The last look at it, by whichever shard, and in the lowest bit whether it had left by then: see `Presence`.
    seen: AtomicU64,
    pub(crate) address: Address,
    /// Unix time, milliseconds.
    pub(crate) connected_ms: u64,
    pub(crate) names: Mutex<Names, { Level::ClientNames as u8 }>,
    /// Set by CLIENT KILL before the owner is told of it, so that a second KILL doesn't count it again.
    pub(crate) is_killed: AtomicBool,
    /// Set by CLIENT UNBLOCK before the owner is told of it; the next wait clears it.
    pub(crate) is_unblocked: AtomicBool,
    pub(crate) marks: AtomicU32,
    pub(crate) resp: AtomicU8,
    pub(crate) db: AtomicU8,
    pub(crate) channels: AtomicU32,
    pub(crate) patterns: AtomicU32,
    pub(crate) sharded: AtomicU32,
    /// Commands queued by MULTI, or -1 outside.
    pub(crate) multi: AtomicI64,
    pub(crate) watch: AtomicU32,
    /// The client that gets its invalidation messages; 0: itself, -1: it doesn't track.
    pub(crate) redirect: AtomicI64,
    /// Index in the command table of the last command, plus one; 0 before the first.
    pub(crate) last_command: AtomicU32,
    /// Unix time of the last request, milliseconds.
    pub(crate) active_ms: AtomicU64,
    pub(crate) input_bytes: AtomicU64,
    pub(crate) input_capacity: AtomicU64,
    pub(crate) argv_bytes: AtomicU64,
    pub(crate) multi_bytes: AtomicU64,
    pub(crate) output_bytes: AtomicU64,
    pub(crate) output_ranges: AtomicU64,
    pub(crate) own_bytes: AtomicU64,
    pub(crate) net_in_bytes: AtomicU64,
    pub(crate) net_out_bytes: AtomicU64,
    pub(crate) commands: AtomicU64,
    /// The sum over its shard's clients of what they hold, which this one's part is in.
    shard_bytes: Arc<AtomicU64>,
}

/// CLIENT LIST's classes, for TYPE filters and output limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientType {
    Normal,
    Replica,
    Pubsub,
    Master,
}

impl ClientType {
    /// Reads the word of a filter.
    pub(crate) fn parse(word: &[u8]) -> Option<ClientType> {
        let words: [(&[u8], ClientType); 6] = [
            (b"normal", ClientType::Normal),
            (b"slave", ClientType::Replica),
            (b"replica", ClientType::Replica),
            (b"pubsub", ClientType::Pubsub),
            (b"master", ClientType::Master),
            (b"primary", ClientType::Master),
        ];
        words.into_iter().find(|(text, _)| word.eq_ignore_ascii_case(text)).map(|(_, class)| class)
    }
}

impl Client {
    /// `shard_bytes`: the sum of what its shard's clients hold.
    pub(crate) fn new(
        id: ClientId,
        shard: usize,
        fd: i32,
        address: Address,
        now_ms: u64,
        shard_bytes: Arc<AtomicU64>,
    ) -> Client {
        let marks = if matches!(address, Address::Unix { .. }) { mark::UNIX } else { 0 };
        Client {
            id,
            shard: shard as u16,
            slot: AtomicU32::new(u32::MAX),
            fd: AtomicI32::new(fd),
            peer: OnceLock::new(),
            seen: AtomicU64::new(0),
            address,
            connected_ms: now_ms,
            names: Mutex::new(Names { user: "default".into(), ..Names::default() }),
            is_killed: AtomicBool::new(false),
            is_unblocked: AtomicBool::new(false),
            marks: AtomicU32::new(marks),
            resp: AtomicU8::new(2),
            db: AtomicU8::new(0),
            channels: AtomicU32::new(0),
            patterns: AtomicU32::new(0),
            sharded: AtomicU32::new(0),
            multi: AtomicI64::new(-1),
            watch: AtomicU32::new(0),
            redirect: AtomicI64::new(-1),
            last_command: AtomicU32::new(0),
            active_ms: AtomicU64::new(now_ms),
            input_bytes: AtomicU64::new(0),
            input_capacity: AtomicU64::new(0),
            argv_bytes: AtomicU64::new(0),
            multi_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            output_ranges: AtomicU64::new(0),
            own_bytes: AtomicU64::new(0),
            net_in_bytes: AtomicU64::new(0),
            net_out_bytes: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            shard_bytes,
        }
    }

    /// The same client on another shard, where it has no place yet.
    ///
    /// `shard_bytes`: the sum of what the clients there hold.
    pub(crate) fn moved_to(&self, shard: usize, shard_bytes: Arc<AtomicU64>) -> Client {
        let moved = Client::new(
            self.id,
            shard,
            self.fd.load(Relaxed),
            self.address.clone(),
            self.connected_ms,
            shard_bytes,
        );
        let names = self.names.lock().clone();
        *moved.names.lock() = names;
        moved.is_killed.store(self.is_killed.load(Relaxed), Relaxed);
        moved.marks.store(self.marks.load(Relaxed), Relaxed);
        moved.resp.store(self.resp.load(Relaxed), Relaxed);
        moved.db.store(self.db.load(Relaxed), Relaxed);
        moved.last_command.store(self.last_command.load(Relaxed), Relaxed);
        moved.active_ms.store(self.active_ms.load(Relaxed), Relaxed);
        moved.commands.store(self.commands.load(Relaxed), Relaxed);
        moved
    }

    /// Its connection, by the name that its shard knows.
    pub(crate) fn place(&self) -> ConnectionRef {
        ConnectionRef { slot: self.slot.load(Relaxed) as usize, id: self.id }
    }

    /// All it holds, output included (CLIENT LIST's `tot-mem`, and what `maxmemory-clients` counts).
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.own_bytes.load(Relaxed) + self.output_bytes.load(Relaxed)
    }

    /// Sets what it holds of its own and has yet to take. Only the owning shard does so.
    pub(crate) fn set_memory(&self, own_bytes: u64, output_bytes: u64) {
        let grown = (own_bytes + output_bytes).wrapping_sub(self.memory_bytes());
        Client::add(&self.shard_bytes, grown);
        self.own_bytes.store(own_bytes, Relaxed);
        self.output_bytes.store(output_bytes, Relaxed);
    }

    /// Adds to a gauge that only the owning shard writes: a load and a store, no locked instruction.
    #[inline]
    pub(crate) fn add(gauge: &AtomicU64, n: u64) {
        gauge.store(gauge.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Sets or clears a bit of `marks`. Only the owning shard does so.
    pub(crate) fn set_mark(&self, bit: u32, on: bool) {
        let marks = self.marks.load(Relaxed);
        self.marks.store(if on { marks | bit } else { marks & !bit }, Relaxed);
    }

    pub(crate) fn has_mark(&self, bit: u32) -> bool {
        self.marks.load(Relaxed) & bit != 0
    }

    /// Whether its connection has been told to be closed.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_killed.load(Relaxed) || self.has_mark(mark::CONDEMNED)
    }

    /// Whether the client had ended its connection at this look (`Presence`); `None`: that was not asked.
    pub(crate) fn had_left(&self, look: u64) -> Option<bool> {
        let seen = self.seen.load(Relaxed);
        (look != 0 && seen >> 1 == look).then_some(seen & 1 == 1)
    }

    /// Looks which of these have ended their connections, which their shards may have yet to see. Whether the first has.
    pub(crate) fn look(clients: &[Arc<Client>], look: u64) -> bool {
        let mut has_first = false;
        let have_left = have_left(clients.iter().map(|client| client.peer.get()));
        for (nth, (client, has_left)) in clients.iter().zip(have_left).enumerate() {
            client.seen.store(look << 1 | u64::from(has_left), Relaxed);
            has_first |= nth == 0 && has_left;
        }
        has_first
    }

    /// Its class. A client with any subscription is `Pubsub`, as in Redis.
    pub(crate) fn class(&self) -> ClientType {
        if self.has_mark(mark::PUBSUB) { ClientType::Pubsub } else { ClientType::Normal }
    }

    /// The `flags` field: a letter for each mark, or `N`.
    pub(crate) fn letters(&self) -> String {
        let marks = self.marks.load(Relaxed);
        let letters: String =
            MARK_LETTERS.iter().filter(|(bit, _)| marks & bit != 0).map(|(_, letter)| letter).collect();
        if letters.is_empty() { "N".to_owned() } else { letters }
    }

    /// The line of CLIENT LIST, without its end. `io-thread` is the shard.
    ///
    /// Source: the fields and their order are Redis 8's and Valkey 9's.
    pub(crate) fn describe<'a>(
        &'a self,
        now_ms: u64,
        command: &'a dyn Fn(u32) -> String,
    ) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            let names = self.names.lock();
            let number = |gauge: &AtomicU64| gauge.load(Relaxed);
            let events = if number(&self.output_bytes) > 0 { "rw" } else { "r" };
            let last = self.last_command.load(Relaxed);
            let command_name = if last == 0 { "NULL".to_owned() } else { command(last - 1) };
            let memory = self.memory_bytes();
            write!(
                f,
                "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} watch={} \
                 qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs=0 rbp=0 obl=0 oll={} omem={} tot-mem={} events={} \
                 cmd={} user={} redir={} resp={} lib-name={} lib-ver={} io-thread={} tot-net-in={} tot-net-out={} \
                 tot-cmds={}",
                self.id,
                self.address.peer(),
                self.address.local(),
                self.fd.load(Relaxed),
                names.name,
                now_ms.saturating_sub(self.connected_ms) / 1000,
                now_ms.saturating_sub(number(&self.active_ms)) / 1000,
                self.letters(),
                self.db.load(Relaxed),
                self.channels.load(Relaxed),
                self.patterns.load(Relaxed),
                self.sharded.load(Relaxed),
                self.multi.load(Relaxed),
                self.watch.load(Relaxed),
                number(&self.input_bytes),
                number(&self.input_capacity).saturating_sub(number(&self.input_bytes)),
                number(&self.argv_bytes),
                number(&self.multi_bytes),
                number(&self.output_ranges),
                number(&self.output_bytes),
                memory,
                events,
                command_name,
                names.user,
                self.redirect.load(Relaxed),
                self.resp.load(Relaxed),
                names.lib_name,
                names.lib_ver,
                self.shard,
                number(&self.net_in_bytes),
                number(&self.net_out_bytes),
                number(&self.commands),
            )
        })
    }
}

/// Counts of closed connections by reason; one per shard, written by it alone.
#[derive(Debug, Default)]
pub(crate) struct CloseCounts([AtomicU64; CloseReason::ALL.len()]);

impl CloseCounts {
    pub(crate) fn count(&self, reason: CloseReason) {
        Client::add(&self.0[reason as usize], 1);
    }

    pub(crate) fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, Relaxed));
    }
}
