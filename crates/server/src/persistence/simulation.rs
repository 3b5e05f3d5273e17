//! The simulated disk under the real keyspace: commands, their effects, replay, stamps.
//!
//! The journal's own stories (`sterna_journal::simulation`) with this keyspace as what is journaled: random commands on a
//! few keys, snapshots while they run, crashes at any operation of the disk. After each opening the keys must be, byte
//! for byte, what they were after the last record found. A seed that fails plays again:
//!
//! ```text
//! STERNA_JOURNAL_SEED=4711 cargo test -p sterna-server one_seed -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sterna_journal::simulation::schedule::{self, Tally};
use sterna_journal::simulation::{Capture, Dice, Planted, Subject};
use sterna_journal::{Lsn, Rejected, Restore, SnapshotInfo};
use sterna_keyspace::stream::{ConsumerId, Group};
use sterna_keyspace::{COMMANDS, Caller, Changes, Effect, Value, Wants, write_state};
use sterna_protocol::{OwnedArgs, Proto, Reply};

use super::planted::Bug;
use super::restore::Target;
use super::snapshot::DATABASES_ITEM;
use super::{Loading, Rebuild};
use crate::partitions::{EffectLog, Indices, Partitions, Scene, keys_of};

const DATABASES: usize = 2;
const KEYS: usize = 7;
const START_MS: u64 = 1_700_000_000_000;

static LOADING: LazyLock<Loading> = LazyLock::new(Loading::default);

/// The keyspace, and the record that the last write made.
struct Keyspace {
    rebuild: Rebuild<'static, Arc<Partitions>>,
    partitions: Arc<Partitions>,
    record: Arc<Mutex<Vec<u8>>>,
    changes: Changes,
    /// Records made or replayed: what the time is counted by, so that it repeats.
    records: u64,
}

/// A journal that keeps one record.
#[derive(Debug)]
struct Last(Arc<Mutex<Vec<u8>>>);

impl EffectLog for Last {
    fn append(&self, effects: &[u8]) -> u64 {
        self.0.lock().extend_from_slice(effects);
        0
    }
}

impl Target for Arc<Partitions> {
    fn apply(&mut self, effect: Effect<'_>) -> bool {
        Partitions::apply(self, effect)
    }

    fn remove_where(&mut self, db: usize, doomed: &mut dyn FnMut(&[u8]) -> bool) {
        Partitions::remove_where(self, db, doomed);
    }

    fn databases(&self) -> usize {
        Partitions::databases(self)
    }
}

impl Keyspace {
    fn now_ms(&self) -> u64 {
        START_MS + 10 * self.records
    }

    fn scene(&self, db: usize) -> Scene {
        let caller = Caller { client: 1, shard: 0, proto: Proto::Resp2, may_block: false, touches: true };
        Scene { db, now_ms: self.now_ms(), caller }
    }

    /// Runs commands as one transaction. Most errors are as good as any other outcome.
    fn run(&mut self, db: usize, lines: &[String]) {
        let scene = self.scene(db);
        let requests: Vec<OwnedArgs> = lines.iter().map(|line| line.split(' ').collect()).collect();
        let rows: Vec<_> = requests
            .iter()
            .map(|request| {
                let (name, sub) = (request.args().get(0).unwrap_or_default(), request.args().get(1));
                let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == name);
                let row = row.unwrap_or_else(|| panic!("{}", name.escape_ascii()));
                let sub = row.subcommands.iter().find(|row| Some(row.spec.name.as_bytes()) == sub);
                sub.unwrap_or(row)
            })
            .collect();
        let mut needed = Indices::default();
        for (row, request) in rows.iter().zip(&requests) {
            assert!(keys_of(&row.spec, request.args()).len() <= KEYS);
            needed.extend(self.partitions.needed_by(&row.spec, request.args()));
        }
        let mut held = self.partitions.hold(needed);
        for (row, request) in rows.iter().zip(&requests) {
            let mut out = Vec::new();
            let _ = held.execute(
                row,
                request.args(),
                scene,
                &mut self.changes,
                &mut Reply::new(&mut out, Proto::Resp2),
            );
        }
        held.serve_ready(scene.now_ms, &mut self.changes);
        drop(held);
        self.changes.clear();
    }

    /// Every key's state, by the number its database is stored under and name, after `edit`; and which databases show those,
    /// where that isn't themselves.
    fn states(&self, edit: fn(&mut Value)) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut states = BTreeMap::new();
        let shown = self.partitions.shown();
        if !shown.is_empty() {
            states.insert(DATABASES_ITEM.to_vec(), [&[0], &*shown].concat());
        }
        for index in 0..self.partitions.count() {
            for db in 0..DATABASES {
                self.partitions.visit_settled(index, db, 0, usize::MAX, |record| {
                    let mut state = vec![0];
                    let mut value = record.value().clone();
                    edit(&mut value);
                    write_state(&mut state, &value, record.expire_at_ms(), &mut |_| {});
                    states.insert([&[db as u8], record.key()].concat(), state);
                });
            }
        }
        states
    }
}

/// When a consumer was last seen without being given anything is not journaled: a poll that finds nothing writes nothing.
fn without_seen_times(value: &mut Value) {
    let Value::Stream(stream) = value else { return };
    let names = |group: (&[u8], &Group)| (group.0.to_vec(), group.1.consumers().map(|(id, _)| id).collect());
    let groups: Vec<(Vec<u8>, Vec<ConsumerId>)> = stream.groups().map(names).collect();
    for (name, consumers) in groups {
        let mut group = stream.group_mut(&name).expect("it was there a moment ago");
        consumers.into_iter().for_each(|id| group.touch(id, 0, false));
    }
}

/// One command, without a key that is certain to be of its type.
fn command(dice: &mut Dice) -> String {
    let mut key = || format!("k{}", dice.below(KEYS));
    let (key, other) = (key(), key());
    let (few, many) = (1 + dice.below(4), dice.below(120));
    let text = "x".repeat(many);
    match dice.below(56) {
        0 | 1 => format!("set {key} {text}{few}"),
        2 => format!("set {key} {few} px {}", 1 + dice.below(300)),
        3 | 4 => format!("append {key} {text}y"),
        5 => format!("incr {key}"),
        6 => format!("getex {key} px {}", 1 + few * 50),
        7 => format!("del {key} {other}"),
        8 => format!("pexpire {key} {}", 1 + dice.below(300)),
        9 => format!("persist {key}"),
        10 => format!("rename {key} {other}"),
        11 => format!("copy {key} {other} replace"),
        12 => format!("getdel {key}"),
        13 if dice.once_in(4) => "flushall".to_owned(),
        13 if dice.once_in(2) => "flushdb".to_owned(),
        13 => format!("swapdb {} {}", dice.below(DATABASES), dice.below(DATABASES)),
        14..19 => format!("xadd {key} * f {text}v g{few} {few}"),
        19 => format!("xadd {key} maxlen {few} * f {few}"),
        20 | 21 => format!("xgroup create {key} g 0 mkstream"),
        22 => format!("xgroup createconsumer {key} g c{few}"),
        23 => format!("xgroup delconsumer {key} g c{few}"),
        24 => format!("xgroup setid {key} g $"),
        25..28 => format!("xreadgroup group g c{few} count {few} streams {key} >"),
        28 => format!("xautoclaim {key} g c{few} 0 0 count {few}"),
        29 => format!("xack {key} g {}", id(dice)),
        30 => format!("xdel {key} {}", id(dice)),
        31 => format!("xtrim {key} minid {}", id(dice)),
        32 => format!("xclaim {key} g c{few} 0 {} force", id(dice)),
        33 | 34 => format!("xadd {key} idmp p{few} i{} * f {text}", dice.below(6)),
        35 => format!("xadd {key} idmpauto p{few} * f {few}"),
        36 => format!("xcfgset {key} idmp-duration {few} idmp-maxsize {few}"),
        37 => format!("xnack {key} g {} ids 1 {}", ["silent", "fail", "fatal"][dice.below(3)], id(dice)),
        38 => format!("xnack {key} g fail ids 1 {} force", id(dice)),
        39 => format!("xdelex {key} {} ids 1 {}", ["keepref", "delref", "acked"][dice.below(3)], id(dice)),
        40 => format!("xackdel {key} g {} ids 1 {}", ["keepref", "delref", "acked"][dice.below(3)], id(dice)),
        41 => format!("xsetid {key} {} entriesadded {} maxdeletedid 0-0", id(dice), 100 + many),
        42 | 43 => format!("xreadgroup group g c{few} count {few} claim 0 streams {key} >"),
        44 => format!("xadd {key} maxlen ~ {few} acked * f {text}"),
        45 => format!("xgroup destroy {key} g"),
        46..49 => format!("hset {key} f{few} {text} g{} {few}", dice.below(20)),
        49 => format!("hset {key} f{few} {}", "y".repeat(2 * many)),
        50 => format!("hdel {key} f{few} g{}", dice.below(20)),
        51 => format!("hincrby {key} n{few} {few}"),
        52 => format!("hsetex {key} px {} fields 1 f{few} {text}", 1 + dice.below(300)),
        53 => format!("hpexpire {key} {} fields 2 f{few} g{}", dice.below(300), dice.below(20)),
        54 => format!("hpersist {key} fields 1 f{few}"),
        _ => format!("hgetdel {key} fields 2 f{few} n{few}"),
    }
}

/// An ID of an entry that may have been added lately.
fn id(dice: &mut Dice) -> String {
    format!("{}-0", START_MS + 10 * dice.below(60) as u64)
}

impl Subject for Keyspace {
    fn empty() -> Self {
        let partitions = Arc::new(Partitions::new(2, DATABASES));
        let record = Arc::default();
        partitions.set_journal(Box::new(Last(Arc::clone(&record))));
        partitions.cut(true, || {});
        let rebuild = Rebuild::new(Arc::clone(&partitions), None, 0, &LOADING);
        Keyspace {
            rebuild,
            partitions,
            record,
            changes: Changes::new(Wants { effects: true, ..Wants::default() }),
            records: 0,
        }
    }

    fn write(&mut self, dice: &mut Dice) -> Vec<u8> {
        let db = usize::from(dice.once_in(5));
        let lines: Vec<String> =
            (0..=if dice.once_in(5) { dice.below(4) } else { 0 }).map(|_| command(dice)).collect();
        self.run(db, &lines);
        self.records += 1;
        std::mem::take(&mut *self.record.lock())
    }

    fn capture(&self, place: &mut Capture, item: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        // In the order of names, which repeats; the server's walk is in that of hashes.
        let states = self.states(|_| {});
        let after = place.after.take();
        let next = states.iter().find(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
        let Some((name, state)) = next else { return false };
        if state.len() > 60 {
            // In two parts.
            let (head, tail) = state.split_at(30);
            item(name, &[&[1], &head[1..]].concat());
            item(name, &[&[0], tail].concat());
        } else {
            item(name, state);
        }
        place.after = Some(name.clone());
        true
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.states(without_seen_times).hash(&mut hasher);
        hasher.finish()
    }
}

impl Restore for Keyspace {
    /// With the snapshot's end the rule is on that refuses a start: behind it every effect must fit.
    fn begin(&mut self, snapshot: Option<SnapshotInfo>) {
        self.rebuild.begin(snapshot);
    }

    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        self.rebuild.item(key, stamp, value)
    }

    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        self.records = lsn.0;
        self.rebuild.record(lsn, payload)
    }
}

/// Stories in a test run; all of them must fit into the time.
const STORIES: u64 = 100_000;
const LONGEST: Duration = Duration::from_secs(110);

/// Plays stories on as many threads as there are cores; panics at the first that goes wrong.
fn play(first: u64, count: u64) -> (Tally, u64) {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
    let began = Instant::now();
    let results = std::thread::scope(|scope| {
        let play = |thread: u64| {
            let (mut tally, mut played) = (Tally::default(), 0);
            for seed in (first + thread..first + count).step_by(threads as usize) {
                if began.elapsed() > LONGEST {
                    break;
                }
                match schedule::run::<Keyspace>(seed, false) {
                    Ok(story) => tally.add(&story),
                    Err(error) => panic!("STERNA_JOURNAL_SEED={seed}: {error}"),
                }
                played += 1;
            }
            (tally, played)
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || play(thread))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a story went wrong")).collect::<Vec<_>>()
    });
    let mut sum = (Tally::default(), 0);
    for (tally, played) in results {
        sum.0.add(&tally);
        sum.1 += played;
    }
    sum
}

#[test]
fn no_schedule_of_crashes_and_faults_loses_or_invents_a_write() {
    let stories =
        std::env::var("STERNA_JOURNAL_STORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(STORIES);
    let began = Instant::now();
    let (tally, played) = play(0, stories);
    println!("{played} stories in {} ms: {tally:?}", began.elapsed().as_millis());
    assert!(tally.snapshots > played / 50 && tally.torn > 0 && tally.crashes_in_recovery > 0, "{tally:?}");
}

#[test]
fn one_seed() {
    let seed = std::env::var("STERNA_JOURNAL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    schedule::run::<Keyspace>(seed, true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

#[test]
fn planted_bugs_are_found() {
    for planted in Planted::ALL {
        let found =
            planted.during(|| (0..20_000).find(|&seed| schedule::run::<Keyspace>(seed, false).is_err()));
        println!("{planted:?}: found by seed {found:?}");
        assert!(found.is_some(), "{planted:?}");
    }
}

#[test]
fn bugs_planted_in_loading_are_found() {
    for bug in Bug::ALL {
        let found = bug.during(|| (0..20_000).find(|&seed| schedule::run::<Keyspace>(seed, false).is_err()));
        println!("{bug:?}: found by seed {found:?}");
        assert!(found.is_some(), "{bug:?}");
    }
}
