//! The simulated disk under the real keyspace: commands, their effects, replay, stamps.
//!
//! The journal's own stories (`sterna_journal::simulation`) with this keyspace as what is journaled: random commands of every
//! type on a few keys, in transactions, in scripts and on two threads at once; keys and fields that expire by themselves;
//! libraries of functions; snapshots while all of it runs; recording that is turned on and off; crashes at any operation of
//! the disk. After each opening the keys must be, byte for byte, what they were after the last record found, or before what
//! was recorded for a snapshot that came to nothing. A seed that fails plays again:
//!
//! ```text
//! STERNA_JOURNAL_SEED=4711 cargo test -p sterna-server one_seed -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sterna_command::Command;
use sterna_journal::simulation::{Capture, Dice, Planted, Subject, Tally, schedule};
use sterna_journal::{Lsn, Rejected, Restore, SnapshotInfo};
use sterna_keyspace::stream::{ConsumerId, Group};
use sterna_keyspace::{
    COMMANDS, Caller, Changes, Effect, KeyGroup, LIBRARIES, Run, Value, Wants, write_state,
};
use sterna_protocol::{OwnedArgs, Proto, Reply};

use super::Rebuild;
use super::planted::Bug;
use super::restore::Target;
use super::snapshot::DATABASES_ITEM;
use crate::journaling::Loading;
use crate::partitions::{EffectLog, Held, Indices, Partitions, Scene, keys_of};

const DATABASES: usize = 2;
const KEYS: usize = 7;
const START_MS: u64 = 1_700_000_000_000;

static LOADING: LazyLock<Loading> = LazyLock::new(Loading::default);

/// The keyspace, and the records that the last writes made.
struct Keyspace {
    rebuild: Rebuild<'static, Arc<Partitions>>,
    partitions: Arc<Partitions>,
    records: Arc<Mutex<Vec<Vec<u8>>>>,
    changes: Changes,
    /// Records made or replayed: what the time is counted by, so that it repeats.
    ticks: u64,
}

/// A journal that keeps the last records.
#[derive(Debug)]
struct Last(Arc<Mutex<Vec<Vec<u8>>>>);

impl EffectLog for Last {
    fn append(&self, effects: &[u8]) -> u64 {
        self.0.lock().push(effects.to_vec());
        0
    }
}

/// Words of a command.
type Request = Vec<Vec<u8>>;

/// Every key's state by its name.
type States = BTreeMap<Vec<u8>, Vec<u8>>;

/// How the commands of one record are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// With all their partitions locked from the start.
    Transaction,
    /// With each command's partitions locked as it is named.
    Script,
}

/// A command with its row.
type Prepared = (&'static Command<Run>, OwnedArgs);

fn prepare(requests: &[Request]) -> Vec<Prepared> {
    let prepare = |request: &Request| {
        let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        let args = OwnedArgs::from_slices(&words);
        let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == words[0]);
        let row = row.unwrap_or_else(|| panic!("{}", words[0].escape_ascii()));
        let sub = row.subcommands.iter().find(|row| Some(row.spec.name.as_bytes()) == words.get(1).copied());
        let row = sub.unwrap_or(row);
        assert!(keys_of(&row.spec, args.args()).len() <= KEYS);
        (row, args)
    };
    requests.iter().map(prepare).collect()
}

/// Runs one of several commands. Most errors are as good as any other outcome.
fn execute(held: &mut Held<'_>, (row, args): &Prepared, scene: Scene, changes: &mut Changes) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = held.execute(row, args.args(), scene, changes, &mut Reply::new(&mut out, Proto::Resp2));
    out
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
        START_MS + 10 * self.ticks
    }

    fn scene(&self, db: usize) -> Scene {
        let caller = Caller {
            client: 1,
            shard: 0,
            proto: Proto::Resp2,
            may_block: false,
            may_yield: false,
            touches: true,
            group: KeyGroup::WHOLE,
        };
        Scene { db, now_ms: self.now_ms(), caller }
    }

    fn needed_by(&self, commands: &[Prepared]) -> Indices {
        let mut needed = Indices::default();
        for (row, args) in commands {
            needed.extend(self.partitions.needed_by(&row.spec, args.args()));
        }
        needed
    }

    /// Runs commands so that they are one record. Returns the last reply.
    fn run(&mut self, db: usize, requests: &[Request], manner: Manner) -> Vec<u8> {
        let (scene, commands) = (self.scene(db), prepare(requests));
        let mut last = Vec::new();
        let mut held = match manner {
            Manner::Transaction => self.partitions.hold(self.needed_by(&commands)),
            Manner::Script => self.partitions.hold_growing(),
        };
        for command in &commands {
            if manner == Manner::Script {
                held.add(self.partitions.needed_by(&command.0.spec, command.1.args()));
            }
            last = execute(&mut held, command, scene, &mut self.changes);
        }
        held.serve_ready(scene.now_ms, &mut self.changes);
        drop(held);
        self.changes.clear();
        last
    }

    /// A key becomes a copy of another, by way of a payload; perhaps with a time to live that is over already.
    fn restore(&mut self, dice: &mut Dice, db: usize) {
        let (from, to) = (key(dice), key(dice));
        let reply = self.run(db, &[vec![b"dump".to_vec(), from]], Manner::Transaction);
        let Some(at) = reply.iter().position(|&byte| byte == b'\n').filter(|_| reply.len() > 10) else {
            return;
        };
        let payload = reply[at + 1..reply.len() - 2].to_vec();
        let ttl = if dice.once_in(3) { 1 + dice.below(300) } else { 0 };
        let mut request = vec![b"restore".to_vec(), to, ttl.to_string().into_bytes(), payload];
        request.push(b"replace".to_vec());
        self.run(db, &[request], Manner::Transaction);
    }

    /// A library comes, changes or goes, beside a write of keys.
    fn change_library(&mut self, dice: &mut Dice, db: usize) {
        let (scene, commands) = (self.scene(db), prepare(&[command(dice)]));
        let mut held = self.partitions.hold_growing();
        let name = format!("l{}", dice.below(3));
        let code = format!("code {}", dice.below(100));
        let code = (!dice.once_in(4)).then_some(code.as_bytes());
        held.set_library(name.as_bytes(), code, &mut self.changes);
        held.add(self.needed_by(&commands));
        execute(&mut held, &commands[0], scene, &mut self.changes);
        held.serve_ready(scene.now_ms, &mut self.changes);
        drop(held);
        self.changes.clear();
    }

    /// What is due goes by itself: a record for each partition that has any.
    fn expire(&mut self) -> Vec<(Vec<u8>, u64)> {
        let mut made = Vec::new();
        for index in 0..self.partitions.count() {
            self.partitions.expire_due(index, self.now_ms(), 3, &mut self.changes);
            self.changes.clear();
            for record in std::mem::take(&mut *self.records.lock()) {
                made.push((record, self.digest()));
            }
        }
        made
    }

    /// Two threads have their partitions locked at the same time, run their commands, and are done in either order; which of
    /// the two is first in the journal is what counts. `None`: they have a partition in common.
    fn run_two_at_once(&mut self, dice: &mut Dice) -> Option<Vec<(Vec<u8>, u64)>> {
        let scene = self.scene(0);
        let commands = [prepare(&[command(dice), command(dice)]), prepare(&[command(dice), command(dice)])];
        let needed = [self.needed_by(&commands[0]), self.needed_by(&commands[1])];
        if needed.iter().any(|needed| needed.iter().next().is_none())
            || needed[0].iter().any(|index| needed[1].iter().any(|other| other == index))
        {
            return None;
        }
        let before = self.states(without_seen_times);
        let first = dice.below(2);
        let (both_hold, one_is_done) = (Barrier::new(2), Barrier::new(2));
        let records: Vec<Option<Vec<u8>>> = thread::scope(|scope| {
            let threads = [0, 1].map(|number| {
                let (partitions, records, commands) = (&self.partitions, &self.records, &commands[number]);
                let (both_hold, one_is_done, needed) = (&both_hold, &one_is_done, needed[number]);
                scope.spawn(move || {
                    let mut changes = Changes::new(Wants { effects: true, ..Wants::default() });
                    let mut held = partitions.hold(needed);
                    both_hold.wait();
                    for command in commands {
                        execute(&mut held, command, scene, &mut changes);
                    }
                    if number != first {
                        one_is_done.wait();
                    }
                    held.serve_ready(scene.now_ms, &mut changes);
                    drop(held);
                    let record = records.lock().pop();
                    if number == first {
                        one_is_done.wait();
                    }
                    record
                })
            });
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let after = self.states(without_seen_times);
        // Between the two, the keys of the one are changed and those of the other not yet.
        let is_of_first = |name: &[u8]| {
            let index = self.partitions.index_of(&name[1..]);
            needed[first].iter().any(|of| of == index)
        };
        let mut between: States = before;
        between.retain(|name, _| !is_of_first(name));
        between
            .extend(after.iter().filter(|(name, _)| is_of_first(name)).map(|(n, s)| (n.clone(), s.clone())));
        let digests = [digest_of(&between), digest_of(&after)];
        let in_order = [records[first].clone(), records[1 - first].clone()];
        Some(in_order.into_iter().map(Option::unwrap_or_default).zip(digests).collect())
    }

    /// Every key's state, by the number its database is stored under and name, after `edit`; which databases show those,
    /// where that isn't themselves; and the libraries.
    fn states(&self, edit: fn(&mut Value)) -> States {
        let mut states = BTreeMap::new();
        let shown = self.partitions.shown();
        if !shown.is_empty() {
            states.insert(DATABASES_ITEM.to_vec(), [&[0], &*shown].concat());
        }
        for (name, code) in self.partitions.libraries().all().0 {
            states.insert([&[LIBRARIES], &*name].concat(), [&[0], &*code].concat());
        }
        for index in 0..self.partitions.count() {
            for db in 0..DATABASES {
                let end = self.partitions.visit_settled(index, db, 0, usize::MAX, |record| {
                    let mut state = vec![0];
                    let mut value = record.value().to_value();
                    edit(&mut value);
                    write_state(&mut state, &value, record.expire_at_ms(), &mut |_| {});
                    states.insert([&[db as u8], record.key()].concat(), state);
                });
                assert_eq!(end, None, "it has few keys");
            }
        }
        states
    }
}

fn digest_of(states: &States) -> u64 {
    let mut hasher = DefaultHasher::new();
    states.hash(&mut hasher);
    hasher.finish()
}

/// When a consumer was last seen without being given anything is not journaled: a poll that finds nothing writes nothing.
/// Neither is it that a number is kept as text, which SETBIT and its like make of it even where they change no bit.
fn without_seen_times(value: &mut Value) {
    if let Some(text) = value.text().map(|text| text.to_vec()) {
        *value = Value::string(&text);
    }
    let Value::Stream(stream) = value else { return };
    let names = |group: (&[u8], &Group)| (group.0.to_vec(), group.1.consumers().map(|(id, _)| id).collect());
    let groups: Vec<(Vec<u8>, Vec<ConsumerId>)> = stream.groups().map(names).collect();
    for (name, consumers) in groups {
        let mut group = stream.group_mut(&name).expect("it was there a moment ago");
        consumers.into_iter().for_each(|id| group.touch(id, 0, false));
    }
}

/// Words with a space between each two.
fn words(line: &str) -> Request {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn key(dice: &mut Dice) -> Vec<u8> {
    format!("k{}", dice.below(KEYS)).into_bytes()
}

/// One command, with a key that need not be of its type.
fn command(dice: &mut Dice) -> Request {
    let line = match dice.below(12) {
        0..3 => of_any_type(dice),
        3..6 => of_streams(dice),
        6 => of_hashes(dice),
        7 | 8 => of_lists(dice),
        9 => of_sets(dice),
        10 => of_sorted_sets(dice),
        _ => of_groups(dice),
    };
    words(&line)
}

/// Names and numbers that commands are made of.
struct Parts {
    key: String,
    other: String,
    few: usize,
    text: String,
}

fn parts(dice: &mut Dice) -> Parts {
    let mut key = || format!("k{}", dice.below(KEYS));
    let (key, other) = (key(), key());
    let few = 1 + dice.below(4);
    Parts { key, other, few, text: "x".repeat(dice.below(120)) }
}

fn of_any_type(dice: &mut Dice) -> String {
    let Parts { key, other, few, text } = parts(dice);
    match dice.below(20) {
        0 | 1 => format!("set {key} {text}{few}"),
        2 => format!("set {key} {few} px {}", 1 + dice.below(300)),
        3 => format!("append {key} {text}y"),
        4 => format!("incr {key}"),
        5 => format!("getex {key} px {}", 1 + few * 50),
        6 => format!("del {key} {other}"),
        7 => format!("pexpire {key} {}", 1 + dice.below(300)),
        8 => format!("persist {key}"),
        9 => format!("rename {key} {other}"),
        10 => format!("copy {key} {other} replace"),
        11 => format!("getdel {key}"),
        12 if dice.once_in(4) => "flushall".to_owned(),
        12 if dice.once_in(2) => "flushdb".to_owned(),
        12 => format!("swapdb {} {}", dice.below(DATABASES), dice.below(DATABASES)),
        13 => format!("setrange {key} {} {text}z", dice.below(40)),
        14 => format!("setbit {key} {} {}", dice.below(400), dice.below(2)),
        15 => format!("bitfield {key} incrby u4 #{} {few} overflow fail set i8 0 {few}", dice.below(9)),
        16 => format!("bitop xor {key} {key} {other}"),
        17 => format!("pfadd {key} {text} {few} {}", dice.below(100)),
        18 => format!("move {key} {}", dice.below(DATABASES)),
        _ => format!("sort {other} alpha limit 0 {few} store {key}"),
    }
}

fn of_lists(dice: &mut Dice) -> String {
    let Parts { key, other, few, text } = parts(dice);
    let side = |dice: &mut Dice| ["left", "right"][dice.below(2)];
    match dice.below(13) {
        0..3 => format!("rpush {key} {text}a {few} c"),
        3 => format!("lpush {key} {few} {}", "y".repeat(dice.below(300))),
        4 => format!("lpop {key} {few}"),
        5 => format!("rpop {key}"),
        6 => format!("linsert {key} before {few} {text}b"),
        7 => format!("lset {key} -{few} {text}"),
        8 => format!("lrem {key} {} c", dice.below(5) as i64 - 2),
        9 => format!("ltrim {key} {} -{few}", dice.below(3)),
        10 | 11 => format!("lmove {key} {other} {} {}", side(dice), side(dice)),
        _ => format!("lmpop 2 {key} {other} {} count {few}", side(dice)),
    }
}

fn of_sets(dice: &mut Dice) -> String {
    let Parts { key, other, few, text } = parts(dice);
    match dice.below(11) {
        0..3 => format!("sadd {key} {few} {} {}", dice.below(30), dice.below(70_000)),
        3 => format!("sadd {key} m{few} {text}m"),
        4 => format!("srem {key} {few} m{few} {}", dice.below(30)),
        5 | 6 => format!("spop {key} {few}"),
        7 => format!("smove {key} {other} {few}"),
        8 => format!("sunionstore {key} {key} {other}"),
        9 => format!("sinterstore {key} {key} {other}"),
        _ => format!("sdiffstore {key} {other} {key}"),
    }
}

fn of_sorted_sets(dice: &mut Dice) -> String {
    let Parts { key, other, few, text } = parts(dice);
    match dice.below(13) {
        0..3 => format!("zadd {key} {few} m{} {}.5 {text}m inf top", dice.below(20), dice.below(9)),
        3 => format!("zadd {key} gt ch {few} m{few} -{few} m1"),
        4 => format!("zincrby {key} -{few}.25 m{few}"),
        5 => format!("zrem {key} m{few} top m{}", dice.below(20)),
        6 => format!("zpopmin {key} {few}"),
        7 => format!("zpopmax {key}"),
        8 => format!("zremrangebyrank {key} 0 {}", dice.below(2)),
        9 => format!("zremrangebyscore {key} ({few} 5"),
        10 => format!("zunionstore {key} 2 {key} {other} weights 2 -{few} aggregate max"),
        11 => format!("zrangestore {key} {other} 0 {few} rev"),
        _ => format!("geoadd {key} {few}.5 {few} m{few} -{few} 70 pole"),
    }
}

fn of_hashes(dice: &mut Dice) -> String {
    let Parts { key, few, text, .. } = parts(dice);
    match dice.below(12) {
        0..3 => format!("hset {key} f{few} {text} g{} {few}", dice.below(20)),
        3 => format!("hset {key} f{few} {}", "y".repeat(2 * dice.below(120))),
        4 => format!("hdel {key} f{few} g{}", dice.below(20)),
        5 => format!("hincrby {key} n{few} {few}"),
        6 => format!("hincrbyfloat {key} n{few} -{few}.5"),
        7 => format!("hsetex {key} px {} fields 1 f{few} {text}", 1 + dice.below(300)),
        8 => format!("hpexpire {key} {} fields 2 f{few} g{}", dice.below(300), dice.below(20)),
        9 => format!("hpersist {key} fields 1 f{few}"),
        10 => format!("hgetex {key} px {} fields 1 f{few}", 1 + dice.below(300)),
        _ => format!("hgetdel {key} fields 2 f{few} n{few}"),
    }
}

fn of_streams(dice: &mut Dice) -> String {
    let Parts { key, few, text, .. } = parts(dice);
    match dice.below(13) {
        0..4 => format!("xadd {key} * f {text}v g{few} {few}"),
        4 => format!("xadd {key} maxlen {few} * f {few}"),
        5 | 6 => format!("xadd {key} idmp p{few} i{} * f {text}", dice.below(6)),
        7 => format!("xadd {key} idmpauto p{few} * f {few}"),
        8 => format!("xcfgset {key} idmp-duration {few} idmp-maxsize {few}"),
        9 => format!("xdel {key} {}", id(dice)),
        10 => format!("xtrim {key} minid {}", id(dice)),
        11 => format!("xsetid {key} {} entriesadded {} maxdeletedid 0-0", id(dice), 100 + few),
        _ => format!("xadd {key} maxlen ~ {few} acked * f {text}"),
    }
}

fn of_groups(dice: &mut Dice) -> String {
    let Parts { key, few, .. } = parts(dice);
    match dice.below(19) {
        0 | 1 => format!("xgroup create {key} g 0 mkstream"),
        2 => format!("xgroup createconsumer {key} g c{few}"),
        3 => format!("xgroup delconsumer {key} g c{few}"),
        4 => format!("xgroup setid {key} g $"),
        5..8 => format!("xreadgroup group g c{few} count {few} streams {key} >"),
        8 => format!("xautoclaim {key} g c{few} 0 0 count {few}"),
        9 => format!("xack {key} g {}", id(dice)),
        10 => format!("xclaim {key} g c{few} 0 {} force", id(dice)),
        11 => format!("xnack {key} g {} ids 1 {}", ["silent", "fail", "fatal"][dice.below(3)], id(dice)),
        12 => format!("xnack {key} g fail ids 1 {} force", id(dice)),
        13 => format!("xdelex {key} {} ids 1 {}", ["keepref", "delref", "acked"][dice.below(3)], id(dice)),
        14 => format!("xackdel {key} g {} ids 1 {}", ["keepref", "delref", "acked"][dice.below(3)], id(dice)),
        15 | 16 => format!("xreadgroup group g c{few} count {few} claim 0 streams {key} >"),
        17 => format!("xtrim {key} maxlen = {few} delref"),
        _ => format!("xgroup destroy {key} g"),
    }
}

/// An ID of an entry that may have been added lately.
fn id(dice: &mut Dice) -> String {
    format!("{}-0", START_MS + 10 * dice.below(60) as u64)
}

impl Subject for Keyspace {
    fn empty() -> Self {
        let partitions = Arc::new(Partitions::new(2, DATABASES));
        let records = Arc::default();
        partitions.set_journal(Box::new(Last(Arc::clone(&records))));
        partitions.cut(true, || {});
        let rebuild = Rebuild::new(Arc::clone(&partitions), None, 0, &LOADING);
        Keyspace {
            rebuild,
            partitions,
            records,
            changes: Changes::new(Wants { effects: true, ..Wants::default() }),
            ticks: 0,
        }
    }

    fn write(&mut self, dice: &mut Dice) -> Vec<u8> {
        let db = usize::from(dice.once_in(5));
        match dice.below(20) {
            0 => self.restore(dice, db),
            1 => self.change_library(dice, db),
            _ => {
                let last = if dice.once_in(5) { dice.below(4) } else { 0 };
                let requests: Vec<Request> = (0..=last).map(|_| command(dice)).collect();
                let manner = if dice.once_in(4) { Manner::Script } else { Manner::Transaction };
                self.run(db, &requests, manner);
            }
        }
        self.ticks += 1;
        std::mem::take(&mut *self.records.lock()).concat()
    }

    fn write_at_once(&mut self, dice: &mut Dice) -> Vec<(Vec<u8>, u64)> {
        let made = if dice.once_in(2) { Some(self.expire()) } else { self.run_two_at_once(dice) };
        match made {
            Some(made) => {
                self.ticks += made.len() as u64;
                made
            }
            None => vec![(self.write(dice), self.digest())],
        }
    }

    const SWITCHES: bool = true;

    fn record_writes(&mut self, records: bool) {
        self.partitions.cut(records, || {});
    }

    fn suspend() -> Vec<u8> {
        sterna_keyspace::suspend()
    }

    fn resume() -> Vec<u8> {
        sterna_keyspace::resume()
    }

    fn is_suspended(&self) -> bool {
        self.rebuild.is_suspended()
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
        digest_of(&self.states(without_seen_times))
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
        self.ticks = lsn.0;
        self.rebuild.record(lsn, payload)
    }
}

/// Stories in a test run; all of them must fit into the time.
const STORIES: u64 = 100_000;
const LONGEST: Duration = Duration::from_secs(110);

/// Plays stories on as many threads as there are cores; panics at the first that goes wrong.
fn play(first: u64, count: u64) -> (Tally, u64) {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
    let began = Instant::now();
    let results = thread::scope(|scope| {
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
    assert!(tally.switches > played / 10 && tally.suspended > 0 && tally.at_once > played, "{tally:?}");
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
