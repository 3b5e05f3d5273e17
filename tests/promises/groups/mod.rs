//! Waiting readers, writers and killers on all shards: every entry reaches each group exactly once before its ACK, and
//! nobody sleeps past one.
//!
//! ```text
//!   writers ──XADD, MULTI … EXEC──▶  4 streams  ──▶ 2 groups, 3 consumers each: XREADGROUP BLOCK, XACK
//!       ▲                                │     ╲──▶ 3 tail readers: XREAD BLOCK from where they were
//!       │ waits for its readers          ▼
//!       └──────── ledger ◀──── a rescuer for each group: claims what is pending for too long, and acknowledges it
//!
//!   killers: CLIENT KILL, UNBLOCK and PAUSE, connections dropped in the middle of a wait, and a stream beside the
//!            others that is deleted, retyped and made anew while the same readers wait for it
//! ```
//!
//! A consumer's name says which connection it was, so that an entry whose reply was lost with its connection can be
//! told from one that was delivered twice. `STERNA_TEST_SECONDS=60` has each test go on for the minute.

mod ledger;
mod readers;
mod writers;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Server, wait_for};

use ledger::{Id, Ledger};

/// The streams that the checker knows.
const STREAMS: [&str; 4] = ["orders", "payments", "parcels", "returns"];
/// The groups of each.
const GROUPS: [&str; 2] = ["billing", "audit"];
/// A stream that comes and goes.
const MAYFLY: &str = "mayfly";
/// A group of the first stream that comes and goes.
const PASSING: &str = "passing";

const CONSUMERS: usize = 3;
/// Readers without a group.
const TAILS: usize = 3;
const WRITERS: usize = 3;
/// Readers of what comes and goes.
const OBSERVERS: usize = 2;

/// What the threads share.
struct Scene {
    server: Server,
    ledger: Ledger,
    /// The connections of readers, which a killer may pick.
    targets: Mutex<Vec<i64>>,
    connections: AtomicU64,
    /// Writers and killers stop.
    is_written: AtomicBool,
    /// Onlookers and rescuers stop; readers wait for as long as it takes.
    is_calm: AtomicBool,
    /// Everybody stops.
    is_over: AtomicBool,
}

/// Ends the scene if its thread fails, so that the others don't wait for what will never be.
struct Alarm<'s>(&'s Scene);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            [&self.0.is_written, &self.0.is_calm, &self.0.is_over]
                .iter()
                .for_each(|flag| flag.store(true, SeqCst));
        }
    }
}

/// A connection of a reader: known to the killers while it lasts.
struct Target<'s> {
    scene: &'s Scene,
    client: Client,
    id: i64,
    /// No other connection has it.
    name: String,
}

impl<'s> Target<'s> {
    /// `None` if a killer was faster.
    fn connect(scene: &'s Scene, role: &str) -> Option<Target<'s>> {
        let mut client = scene.server.connect();
        let id = client.try_request(&["CLIENT", "ID"])?.as_int()?;
        let name = format!("{role}-{}", scene.connections.fetch_add(1, SeqCst));
        scene.targets.lock().expect("no thread fails with it").push(id);
        Some(Target { scene, client, id, name })
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        if let Ok(mut targets) = self.scene.targets.lock() {
            targets.retain(|&id| id != self.id);
        }
    }
}

impl Scene {
    fn start(server: Server) -> Scene {
        let mut client = server.connect();
        for stream in STREAMS {
            for group in GROUPS {
                client.request(&["XGROUP", "CREATE", stream, group, "0", "MKSTREAM"]);
            }
        }
        Scene {
            server,
            ledger: Ledger::default(),
            targets: Mutex::default(),
            connections: AtomicU64::new(0),
            is_written: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Lets everybody do their part until `deadline`, then lets them come to rest.
    fn play(&self, seed: u64, deadline: Instant) {
        let _alarm = Alarm(self);
        thread::scope(|scope| {
            let mut random = Rng::with_seed(seed);
            let mut rng = move || random.fork();
            for group in 0..GROUPS.len() {
                for _ in 0..CONSUMERS {
                    let rng = rng();
                    scope.spawn(move || readers::consume(self, group, rng));
                }
            }
            for tail in 0..TAILS {
                let rng = rng();
                scope.spawn(move || readers::follow(self, tail, rng));
            }
            let mut passing = Vec::new();
            for group in 0..GROUPS.len() {
                let rng = rng();
                passing.push(scope.spawn(move || readers::rescue(self, group, rng)));
            }
            for _ in 0..OBSERVERS {
                let rng = rng();
                passing.push(scope.spawn(move || readers::observe(self, rng)));
            }
            let mut busy = vec![];
            for number in 0..WRITERS {
                let rng = rng();
                busy.push(scope.spawn(move || writers::write(self, number, rng)));
            }
            let rng = rng();
            busy.push(scope.spawn(move || writers::kill(self, rng)));

            let _alarm = Alarm(self);
            self.ledger_grows_until(deadline);
            self.is_written.store(true, SeqCst);
            busy.into_iter().for_each(|thread| thread.join().expect("writers and killers do their part"));
            self.come_to_rest();
            self.is_calm.store(true, SeqCst);
            passing
                .into_iter()
                .for_each(|thread| thread.join().expect("rescuers and onlookers do their part"));
            self.one_last_entry();
            self.is_over.store(true, SeqCst);
            self.wake_everybody();
        });
    }

    fn ledger_grows_until(&self, deadline: Instant) {
        while Instant::now() < deadline && !self.is_over.load(SeqCst) {
            self.ledger.await_count(usize::MAX);
        }
    }

    /// Waits until nothing is undelivered, and nothing pending.
    fn come_to_rest(&self) {
        let mut client = self.server.connect();
        for stream in STREAMS {
            wait_for("a group to have delivered everything, and everything acknowledged", || {
                let groups = client.request(&["XINFO", "GROUPS", stream]);
                let groups = groups.as_slice().unwrap_or_default().iter().filter(|group| is_checked(group));
                let idle = |group: &Value| {
                    (field(group, "lag")?.as_int()? == 0 && field(group, "pending")?.as_int()? == 0)
                        .then_some(())
                };
                groups.map(idle).collect::<Option<Vec<()>>>().map(drop)
            });
        }
    }

    /// Readers that wait for nothing in particular are all woken by what comes at last.
    fn one_last_entry(&self) {
        let mut client = self.server.connect();
        let readers = (GROUPS.len() * CONSUMERS + TAILS) as i64;
        for (index, stream) in STREAMS.iter().enumerate() {
            self.await_waiters(&mut client, readers);
            let id = parse_id(&client.request(&["XADD", stream, "*", "last", "1"]));
            self.ledger.added(index, id);
            self.ledger.await_readers(index, id);
        }
        self.await_waiters(&mut client, readers);
    }

    fn await_waiters(&self, client: &mut Client, count: i64) {
        wait_for("all readers to wait", || {
            let info = client.text(&["INFO", "clients"]);
            let blocked = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
            (blocked?.trim().parse() == Ok(count)).then_some(())
        });
    }

    fn wake_everybody(&self) {
        let mut client = self.server.connect();
        wait_for("all readers to leave", || {
            let targets = self.targets.lock().expect("no thread fails with it").clone();
            for id in &targets {
                client.request(&["CLIENT", "UNBLOCK", &id.to_string()]);
            }
            targets.is_empty().then_some(())
        });
        self.await_waiters(&mut client, 0);
    }

    /// What the server has in its books is what the clients have in theirs.
    fn audit(&self) {
        let all = self.ledger.audit();
        let mut client = self.server.connect();
        for (stream, ids) in STREAMS.iter().zip(all) {
            let entries = client.request(&["XRANGE", stream, "-", "+"]);
            let there = entries.as_slice().unwrap_or_default().iter().map(|entry| parse_id(&list(entry)[0]));
            assert!(ids.iter().copied().eq(there), "{stream} has other entries than were added");
            let groups = client.request(&["XINFO", "GROUPS", stream]);
            for group in groups.as_slice().unwrap_or_default().iter().filter(|group| is_checked(group)) {
                let number = |name| field(group, name).and_then(Value::as_int);
                assert_eq!(number("entries-read"), Some(ids.len() as i64), "{stream}: {group:?}");
                assert_eq!((number("pending"), number("lag")), (Some(0), Some(0)), "{stream}: {group:?}");
                let last = ids.last().copied();
                assert_eq!(field(group, "last-delivered-id").map(parse_id), last, "{stream}: {group:?}");
            }
        }
    }
}

/// Whether a row of XINFO GROUPS is one of [`GROUPS`].
fn is_checked(group: &Value) -> bool {
    let name = field(group, "name").and_then(Value::as_bytes).unwrap_or_default();
    GROUPS.iter().any(|checked| checked.as_bytes() == name)
}

/// The value behind a name in a flat array.
fn field<'v>(pairs: &'v Value, name: &str) -> Option<&'v Value> {
    let pairs = pairs.as_slice()?.chunks_exact(2);
    pairs
        .map(|pair| (&pair[0], &pair[1]))
        .find(|(key, _)| key.as_bytes() == Some(name.as_bytes()))
        .map(|(_, value)| value)
}

/// The elements of an array. Panics if it is none.
fn list(value: &Value) -> &[Value] {
    value.as_slice().unwrap_or_else(|| panic!("{value:?} is no array"))
}

/// The ID that a reply is. Panics if it is none.
fn parse_id(value: &Value) -> Id {
    let text = value.as_bytes().and_then(|text| std::str::from_utf8(text).ok());
    let parts = text.and_then(|text| text.split_once('-'));
    let id = parts.and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)));
    id.unwrap_or_else(|| panic!("{value:?} is no ID"))
}

fn text_of((ms, seq): Id) -> String {
    format!("{ms}-{seq}")
}

fn play_on(server: Server) {
    let seed = sterna_tests::seed(server.name().len() as u64);
    let mut scene = Scene::start(server);
    scene.play(seed, Instant::now() + sterna_tests::duration(3));
    scene.audit();
    println!(
        "{}: {} entries, {} connections of readers",
        scene.server.name(),
        scene.ledger.count(),
        scene.connections.load(SeqCst)
    );
    if scene.server.path("appendonlydir").exists() {
        scene.server.restart();
        scene.audit();
    }
}

#[test]
fn every_entry_reaches_each_group_once_and_nobody_sleeps_past_one_on_one_shard() {
    play_on(Server::sterna(1, &[]));
}

#[test]
fn every_entry_reaches_each_group_once_and_nobody_sleeps_past_one_on_two_shards() {
    play_on(Server::sterna(2, &[]));
}

#[test]
fn every_entry_reaches_each_group_once_and_nobody_sleeps_past_one_on_four_shards_and_after_a_restart() {
    play_on(Server::sterna(4, &["--appendonly", "yes"]));
}
