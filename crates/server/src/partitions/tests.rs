//! What the locks of the keyspace promise.

use std::collections::HashMap;
use std::thread;

use sterna_keyspace::{
    COMMANDS, Effects, Eviction, KeyGroup, Look, Order, Policy, Presence, Settings, Stride, Wants,
    WhoIsServed,
};
use sterna_protocol::{Limits, Parser, Proto};

use super::*;

const LIMITS: Limits = Limits {
    bulk_bytes_max: 1 << 20,
    multibulk_len_max: 100,
    inline_bytes_max: 1 << 16,
    unauthenticated: false,
};
const SCENE: Scene = Scene {
    db: 0,
    now_ms: 1_700_000_000_000,
    caller: Caller {
        client: 1,
        shard: 0,
        proto: Proto::Resp2,
        may_block: true,
        may_yield: true,
        touches: true,
        group: KeyGroup::WHOLE,
    },
};

/// Parses an inline request and passes its row and arguments on.
fn with_request<R>(request: &str, run: impl FnOnce(&'static Command<Run>, Args<'_>) -> R) -> R {
    let line = format!("{request}\r\n");
    let mut parser = Parser::default();
    parser.parse(line.as_bytes(), &LIMITS).expect("a request");
    let args = parser.args(line.as_bytes());
    let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == &args[0]).expect("a command");
    run(row, args)
}

fn execute(partitions: &Partitions, request: &str, log: &mut Changes) -> String {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    let result = with_request(request, |row, args| partitions.execute(row, args, SCENE, log, &mut reply));
    result.expect("a reply");
    String::from_utf8(out).expect("ASCII")
}

/// Keeps records as they come.
#[derive(Debug, Default)]
struct Records(Arc<parking_lot::Mutex<Vec<Vec<u8>>>>);

impl EffectLog for Records {
    fn append(&self, effects: &[u8]) -> u64 {
        let mut records = self.0.lock();
        records.push(effects.to_vec());
        records.len() as u64
    }
}

fn journaled(count: usize) -> (Partitions, Arc<parking_lot::Mutex<Vec<Vec<u8>>>>) {
    let (partitions, records) = (Partitions::new(count, 16), Arc::default());
    partitions.set_journal(Box::new(Records(Arc::clone(&records))));
    partitions.cut(true, || {});
    (partitions, records)
}

fn effects_wanted() -> Changes {
    Changes::new(Wants { effects: true, ..Wants::default() })
}

#[test]
fn indices_come_out_rising_and_once() {
    let mut indices = Indices::default();
    assert_eq!(indices.iter().next(), None);
    [200, 3, 64, 63, 3, 0, 255].into_iter().for_each(|index| indices.insert(index));
    let mut more = Indices::default();
    more.insert(7);
    indices.extend(more);
    assert_eq!(indices.iter().collect::<Vec<_>>(), [0, 3, 7, 63, 64, 200, 255]);
}

#[test]
fn a_command_needs_the_partitions_of_its_keys() {
    let partitions = Partitions::new(100, 16);
    assert_eq!(partitions.count(), 128);
    let needed = |request| with_request(request, |row, args| partitions.needed_by(&row.spec, args));
    assert_eq!(needed("dbsize"), partitions.all());
    assert_eq!(partitions.all().iter().count(), 128);
    assert_eq!(needed("get a").iter().collect::<Vec<_>>(), [partitions.index_of(b"a")]);
    let mut both = Indices::default();
    both.insert(partitions.index_of(b"a"));
    both.insert(partitions.index_of(b"b"));
    assert_eq!(needed("mset a 1 b 2 a 3"), both);
}

/// Overlapping sets of keys in every order: whoever locked in the order of its arguments would wait for ever.
#[test]
fn commands_on_the_same_keys_in_any_order_never_wait_for_each_other_in_a_circle() {
    let partitions = Partitions::new(8, 16);
    thread::scope(|scope| {
        for thread in 0..4 {
            let partitions = &partitions;
            scope.spawn(move || {
                let mut random = thread * 7919 + 1u64;
                let mut next = || {
                    random = (random * 1_103_515_245 + 12345) % (1 << 31);
                    random / 65536 % 12
                };
                let mut log = Changes::default();
                for round in 0..3_000 {
                    let (a, b, c) = (next(), next(), next());
                    let request = match round % 5 {
                        0 => format!("mset {a} {thread} {b} {thread} {c} {thread}"),
                        1 => format!("copy {a} {b}x replace"),
                        2 => format!("del {c} {b} {a}"),
                        3 => format!("mget {a} {b} {c}"),
                        _ if round % 500 == 4 => "flushall".to_owned(),
                        _ => "dbsize".to_owned(),
                    };
                    execute(partitions, &request, &mut log);
                    log.clear();
                }
            });
        }
    });
}

/// The slow command ends only after the others have run: were a partition held behind it, nobody would go on.
#[test]
fn who_waits_for_a_slow_command_holds_up_nobody_else() {
    for request in ["dbsize", "scan 0", "keys *", "randomkey", "flushall"] {
        let partitions = Partitions::new(8, 16);
        let slow = partitions.part(7);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| execute(&partitions, request, &mut Changes::default()));
            let others = scope.spawn(|| {
                let mut log = Changes::default();
                let keys = (0..10_000).map(|number| number.to_string());
                let quick = keys.filter(|key| partitions.index_of(key.as_bytes()) != 7);
                quick.for_each(|key| drop(execute(&partitions, &format!("get {key}"), &mut log)));
            });
            others.join().expect("a thread that ends");
            assert!(!waiting.is_finished(), "{request} needs the partition that is held");
            drop(slow);
        });
    }
}

#[test]
fn several_keys_change_as_one() {
    let partitions = Partitions::new(64, 16);
    let mut log = Changes::default();
    execute(&partitions, "mset a 0 b 0 c 0 d 0", &mut log);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut log = Changes::default();
            for round in 0..2_000 {
                execute(&partitions, &format!("mset d {round} b {round} a {round} c {round}"), &mut log);
            }
        });
        while !writer.is_finished() {
            let reply = execute(&partitions, "mget a b c d", &mut log);
            let mut values = reply.split("\r\n").skip(2).step_by(2).take(4);
            let first = values.next();
            assert!(values.all(|value| Some(value) == first), "{reply:?}");
        }
    });
}

#[test]
fn the_journal_has_the_writes_of_a_key_in_the_order_they_were_made() {
    let (partitions, records) = journaled(4);
    thread::scope(|scope| {
        for thread in 0..3 {
            let partitions = &partitions;
            scope.spawn(move || {
                let mut log = effects_wanted();
                for round in 0..1_000 {
                    execute(partitions, &format!("set key:{} {thread}-{round}", round % 3), &mut log);
                    assert!(log.lsn().is_some());
                    log.clear();
                    assert!(log.effects().is_empty());
                }
            });
        }
    });
    let replayed = Partitions::new(1, 16);
    for record in records.lock().iter() {
        Effects::new(record).for_each(|effect| assert!(replayed.apply(effect.expect("an effect"))));
    }
    let mut log = Changes::default();
    let request = "mget key:0 key:1 key:2";
    assert_eq!(execute(&partitions, request, &mut log), execute(&replayed, request, &mut log));
}

#[test]
fn a_transaction_is_one_record() {
    let (partitions, records) = journaled(16);
    let mut log = effects_wanted();
    let mut held = partitions.hold(partitions.all());
    let mut out = Vec::new();
    for request in ["set a 1", "incr a", "set b 1", "del b"] {
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        with_request(request, |row, args| held.execute(row, args, SCENE, &mut log, &mut reply))
            .expect("a reply");
        // As the server does between the commands, to publish their events.
        log.clear();
    }
    held.serve_ready(SCENE.now_ms, &mut log);
    assert_eq!(log.lsn(), Some(1));
    let records = records.lock();
    assert_eq!(records.len(), 1);
    assert_eq!(Effects::new(&records[0]).count(), 4);
}

#[test]
fn reads_write_no_record_and_an_expiry_writes_one() {
    let (partitions, records) = journaled(2);
    let mut log = effects_wanted();
    for request in ["get a", "mget a b", "dbsize", "del a", "exists a", "scan 0"] {
        execute(&partitions, request, &mut log);
    }
    assert_eq!((records.lock().len(), log.lsn()), (0, None));
    execute(&partitions, "set a 1 px 10", &mut log);
    let later = SCENE.now_ms + 10 + 128;
    let removed: usize = (0..2).map(|index| partitions.expire_due(index, later, 10, &mut log)).sum();
    assert_eq!((removed, records.lock().len()), (1, 2));
}

#[test]
#[should_panic(expected = "a command uses only the keys its row names")]
fn a_key_that_is_not_held_is_not_touched() {
    let partitions = Partitions::new(256, 16);
    let key = (0..).map(|n| n.to_string()).find(|key| partitions.index_of(key.as_bytes()) != 0).expect("one");
    let mut first = Indices::default();
    first.insert(0);
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    let mut log = Changes::default();
    let _ = with_request(&format!("get {key}"), |row, args| {
        partitions.hold(first).execute(row, args, SCENE, &mut log, &mut reply)
    });
}

/// Who is answered by a request, and with what.
fn served(partitions: &Partitions, request: &str, log: &mut Changes) -> Vec<String> {
    log.clear();
    execute(partitions, request, log);
    log.served()
        .map(|served| String::from_utf8(served.answer.reply().expect("short").to_vec()).expect("ASCII"))
        .collect()
}

#[test]
fn an_element_that_is_moved_on_passes_a_whole_chain_of_clients_in_one_record() {
    let (partitions, records) = journaled(64);
    let mut log = effects_wanted();
    for from in 0..20 {
        let wait = format!("blmove key:{from} key:{} left right 0", from + 1);
        assert_eq!(execute(&partitions, &wait, &mut log), "");
    }
    assert_eq!(served(&partitions, "rpush key:0 x", &mut log), ["$1\r\nx\r\n"; 20]);
    assert_eq!(execute(&partitions, "lrange key:20 0 -1", &mut log), "*1\r\n$1\r\nx\r\n");
    assert_eq!(records.lock().len(), 1, "who is told of the push is told of what became of it");
    // Nobody waits any more.
    assert!(served(&partitions, "rpush key:0 y", &mut log).is_empty());
    assert!(partitions.each().all(|part| !part.has_links()));
}

/// Clients with even numbers have left.
#[derive(Debug)]
struct OddAreThere;

impl Presence for OddAreThere {
    fn has_left(&self, caller: &Caller, _: &mut Look, _: &mut dyn Iterator<Item = &Caller>) -> bool {
        caller.client.is_multiple_of(2)
    }
}

/// Everybody is there. Notes who is asked about, and with whom.
#[derive(Debug, Default)]
struct AllAreThere(parking_lot::Mutex<Vec<Vec<u64>>>);

impl Presence for AllAreThere {
    fn has_left(&self, caller: &Caller, look: &mut Look, next: &mut dyn Iterator<Item = &Caller>) -> bool {
        let mut together = vec![caller.client];
        together.extend(next.take(look.ahead).map(|caller| caller.client));
        self.0.lock().push(together);
        look.ahead += 1;
        false
    }
}

#[test]
fn who_is_in_line_can_be_asked_about_with_who_is_served_until_something_else_is_read() {
    let partitions = Partitions::new(64, 16);
    let all = Arc::new(AllAreThere::default());
    let presence: Arc<dyn Presence> = all.clone();
    partitions.set_presence(&presence);
    let mut log = Changes::default();
    for client in 1..=7 {
        let scene = Scene { caller: Caller { client, ..SCENE.caller }, ..SCENE };
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        with_request("blpop k 0", |row, args| partitions.execute(row, args, scene, &mut log, &mut reply))
            .expect("it waits");
    }
    log.begin_look(1);
    execute(&partitions, "rpush k one two", &mut log);
    execute(&partitions, "rpush k three", &mut log);
    log.clear();
    execute(&partitions, "rpush k four", &mut log);
    log.begin_look(2);
    execute(&partitions, "rpush k five", &mut log);
    assert_eq!(*all.0.lock(), [&[1][..], &[2, 3], &[3, 4, 5], &[4, 5, 6, 7], &[5]]);
}

#[test]
fn what_others_could_have_is_given_to_no_client_that_has_left() {
    let partitions = Partitions::new(64, 16);
    let presence: Arc<dyn Presence> = Arc::new(OddAreThere);
    partitions.set_presence(&presence);
    let mut log = Changes::default();
    let waits = [
        ("blpop k 0", "rpush k one two three", "llen k", ":2\r\n"),
        ("brpop j k 0", "rpush k one two three", "llen k", ":2\r\n"),
        ("blmove k other left right 0", "rpush k one two three", "llen k", ":2\r\n"),
        ("blmpop 0 1 k left count 2", "rpush k one two three", "llen k", ":1\r\n"),
        ("bzpopmin k 0", "zadd k 1 one 2 two 3 three", "zcard k", ":2\r\n"),
        ("bzmpop 0 1 k max count 2", "zadd k 1 one 2 two 3 three", "zcard k", ":1\r\n"),
    ];
    for (wait, write, len, left) in waits {
        for client in [2, 4, 5, 6] {
            let scene = Scene { caller: Caller { client, ..SCENE.caller }, ..SCENE };
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, Proto::Resp2);
            with_request(wait, |row, args| partitions.execute(row, args, scene, &mut log, &mut reply))
                .expect("it waits");
        }
        log.clear();
        execute(&partitions, write, &mut log);
        let served: Vec<u64> = log.served().map(|served| served.waiter.caller.client).collect();
        assert_eq!(served, [5], "{wait}");
        assert_eq!(execute(&partitions, len, &mut log), left, "{wait}");
        execute(&partitions, "flushall", &mut log);
    }
}

#[test]
fn more_links_than_are_followed_lock_everything() {
    let partitions = Partitions::new(64, 16);
    let mut log = Changes::default();
    for worker in 0..100 {
        execute(&partitions, &format!("brpoplpush jobs worker:{worker} 0"), &mut log);
    }
    for worker in 0..100 {
        let reply = served(&partitions, &format!("lpush jobs {worker}"), &mut log);
        assert_eq!(reply.len(), 1);
        let kept = execute(&partitions, &format!("lindex worker:{worker} 0"), &mut log);
        assert!(kept.ends_with(&format!("\r\n{worker}\r\n")), "the first who came is served first: {kept}");
    }
}

#[test]
fn moves_in_a_circle_end_and_a_client_that_moves_within_one_list_is_served_once() {
    let partitions = Partitions::new(64, 16);
    let mut log = Changes::default();
    for wait in [
        "blmove a b left left 0",
        "blmove b c left left 0",
        "blmove c a left left 0",
        "blmove d d left right 0",
    ] {
        execute(&partitions, wait, &mut log);
    }
    assert_eq!(served(&partitions, "rpush a x", &mut log).len(), 3);
    assert_eq!(execute(&partitions, "lrange a 0 -1", &mut log), "*1\r\n$1\r\nx\r\n");
    assert_eq!(served(&partitions, "rpush d y z", &mut log).len(), 1);
    assert_eq!(execute(&partitions, "lrange d 0 -1", &mut log), "*2\r\n$1\r\nz\r\n$1\r\ny\r\n");
}

#[test]
fn threads_that_push_and_move_between_each_other_s_lists_neither_wait_for_ever_nor_lose_an_element() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 2_000;
    let partitions = Partitions::new(16, 16);
    let ends = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (partitions, ends) = (&partitions, Arc::clone(&ends));
            scope.spawn(move || {
                let mut log = Changes::default();
                for round in 0..ROUNDS {
                    let (from, to) = ((thread + round) % 5, (thread + 3 * round + 1) % 5);
                    let wait = format!("blmove k:{from} k:{to} left right 0");
                    let moved = execute(partitions, &wait, &mut log);
                    let push = format!("rpush k:{to} {thread}:{round}");
                    let reply = served(partitions, &push, &mut log);
                    ends.fetch_add(reply.len() + usize::from(!moved.is_empty()), Ordering::Relaxed);
                }
            });
        }
    });
    let mut log = Changes::default();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for key in 0..5 {
        let list = execute(&partitions, &format!("lrange k:{key} 0 -1"), &mut log);
        let texts = list.split("\r\n").filter(|line| line.contains(':'));
        texts.for_each(|text| *seen.entry(text.to_owned()).or_default() += 1);
    }
    assert_eq!(seen.len(), THREADS * ROUNDS);
    assert!(seen.values().all(|&times| times == 1));
    assert!(ends.load(Ordering::Relaxed) <= THREADS * ROUNDS, "nobody is answered twice");
}

#[test]
fn a_visit_shows_every_key_once() {
    let partitions = Partitions::new(4, 16);
    let mut log = Changes::default();
    (0..1_000).for_each(|number| drop(execute(&partitions, &format!("set key:{number} {number}"), &mut log)));
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for index in 0..partitions.count() {
        let mut from = Some(0);
        while let Some(position) = from {
            let next =
                partitions.visit(index, 0, position, &mut Stride::new(7, usize::MAX, None), |_, record| {
                    *seen.entry(record.key().to_vec()).or_default() += 1;
                });
            from = next.expect("nobody has it to himself");
        }
    }
    assert_eq!(seen.len(), 1_000);
    assert!(seen.values().all(|&times| times == 1));
    assert_eq!(partitions.fill(SCENE.now_ms)[0].keys, 1_000);
    assert!((20_000..64_000).contains(&partitions.used_bytes()), "a key takes some 30 bytes");
}

/// Were the end not told, nobody here would come to one.
#[test]
fn who_waits_for_the_end_of_a_script_is_woken_by_it() {
    for _ in 0..200 {
        let partitions = Partitions::new(4, 16);
        let mut script = partitions.hold_growing();
        script.begin_busy();
        thread::scope(|scope| {
            let visits = scope.spawn(|| partitions.visit_settled(0, 0, 0, 1, |_| {}));
            let cuts = scope.spawn(|| partitions.cut(true, || {}));
            assert!(!visits.is_finished() && !cuts.is_finished(), "nobody comes between");
            script.end_busy();
            drop(script);
            assert_eq!(visits.join().expect("a thread that ends"), None);
            cuts.join().expect("a thread that ends");
        });
    }
}

#[test]
fn what_a_script_keeps_is_busy_for_others_and_all_else_is_free() {
    let partitions = Partitions::new(16, 16);
    let mut log = Changes::default();
    let other = elsewhere(&partitions, "k");
    let (own, others) = (partitions.index_of(b"k"), partitions.index_of(other.as_bytes()));
    execute(&partitions, &format!("mset k 1 {other} 2"), &mut log);
    let requests = ["get k", "set k 3", &format!("mget {other} k"), "dbsize", &format!("copy {other} k")];
    let refused = |request: &str| {
        let (mut out, mut log) = (Vec::new(), Changes::default());
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let result =
            with_request(request, |row, args| partitions.execute(row, args, SCENE, &mut log, &mut reply));
        matches!(result, Err(Error::Busy))
    };
    let mut script = partitions.hold_growing();
    script.add(only(own));
    script.keep();
    assert!(requests.iter().all(|request| refused(request)));
    assert_eq!(execute(&partitions, &format!("get {other}"), &mut log), "$1\r\n2\r\n");
    assert_eq!(partitions.evict(own, SCENE.now_ms, 1, &mut log), None);
    assert!(partitions.peek(0, b"k", SCENE.now_ms, |_| ()).is_err());
    assert!(partitions.visit(own, 0, 0, &mut Stride::unbounded(), |_, _| ()).is_err());
    // It names another one, and keeps that, too.
    script.take_again(only(others));
    script.release();
    assert!(refused(&format!("get {other}")) && refused("get k"));
    script.end_keeping();
    drop(script);
    assert!(!requests.iter().any(|request| refused(request)));
}

/// Between the removal of the last key that may go and its being freed, who needs room is to wait for that, not to be refused.
#[test]
fn who_finds_no_key_to_evict_any_more_knows_of_those_that_are_being_freed() {
    let partitions = Partitions::new(1, 16);
    let policy = Some(Policy { only_volatile: false, order: Order::Random });
    let eviction = Eviction { policy, ..Eviction::default() };
    partitions.set_settings(Settings { eviction, ..Settings::default() });
    let (mut log, mut other) = (Changes::default(), Changes::default());
    execute(&partitions, "set k 1", &mut log);
    assert!(!partitions.is_evicting());
    assert!(partitions.evict(0, SCENE.now_ms, 1, &mut log).is_some_and(|bytes| bytes > 0));
    // Another shard looks for one.
    assert_eq!(partitions.evict(0, SCENE.now_ms, 1, &mut other), Some(0));
    assert!(partitions.is_evicting());
    partitions.end_eviction();
    assert!(!partitions.is_evicting());
}

/// Were the next script to begin at once, those who wait for the end of this one would hardly ever find one.
#[test]
fn who_waits_for_the_end_of_a_script_comes_before_the_next_one() {
    let partitions = Partitions::new(4, 16);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut script = partitions.hold_growing();
                script.add(partitions.all());
                script.keep();
                thread::yield_now();
                script.end_keeping();
            }
        });
        for _ in 0..100 {
            assert_eq!(partitions.visit_settled(0, 0, 0, 1, |_| {}), None);
            partitions.cut(true, || {});
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Whatever a command that only reads would answer, if it is long it is not copied while the keys are locked; and where nobody
/// may be served meanwhile, it is.
#[test]
fn a_long_reply_of_a_command_that_reads_is_made_without_the_locks_and_a_short_one_with_them() {
    const LONG: usize = LONG_REPLY_BYTES + 500_000;
    let run = |partitions: &Partitions, words: &[&[u8]], may_yield: bool| {
        let bytes = encode_request(words);
        let mut parser = Parser::default();
        let limits = Limits { bulk_bytes_max: 1 << 30, ..LIMITS };
        parser.parse(&bytes, &limits).expect("a request");
        let args = parser.args(&bytes);
        let name = args[0].to_ascii_lowercase();
        let row = COMMANDS.iter().find(|row| row.spec.name.as_bytes() == name).expect("a command");
        let mut out = b"before".to_vec();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let mut scene = SCENE;
        scene.caller.may_yield = may_yield;
        let outcome = partitions.execute(row, args, scene, &mut Changes::default(), &mut reply);
        (outcome.expect("no error"), out)
    };
    let long = vec![b'x'; LONG];
    let short: &[u8] = b"short";
    let partitions = Partitions::new(4, 16);
    let fills: [&[&[u8]]; 6] = [
        &[b"HSET", b"h", b"long", &long, b"short", short],
        &[b"RPUSH", b"l", &long, short],
        &[b"SADD", b"s", &long],
        &[b"ZADD", b"z", b"1", &long, b"2", short],
        &[b"XADD", b"x", b"1-1", b"f", &long],
        &[b"XADD", b"x", b"2-1", b"f", short],
    ];
    fills.into_iter().for_each(|words| drop(run(&partitions, words, false)));
    let is_long: [&[&[u8]]; 11] = [
        &[b"HGET", b"h", b"long"],
        &[b"HMGET", b"h", b"short", b"long"],
        &[b"HVALS", b"h"],
        &[b"HSCAN", b"h", b"0"],
        &[b"LINDEX", b"l", b"0"],
        &[b"SRANDMEMBER", b"s"],
        &[b"SSCAN", b"s", b"0"],
        &[b"ZSCAN", b"z", b"0"],
        &[b"XRANGE", b"x", b"-", b"+", b"COUNT", b"1"],
        &[b"XREAD", b"COUNT", b"2", b"STREAMS", b"x", b"0"],
        &[b"ZRANGE", b"z", b"0", b"0"],
    ];
    for words in is_long {
        let (outcome, out) = run(&partitions, words, true);
        assert!(
            matches!(outcome, Outcome::Apart(_)),
            "{} is not run apart",
            String::from_utf8_lossy(words[0])
        );
        assert_eq!(out, b"before");
        let (outcome, out) = run(&partitions, words, false);
        assert!(matches!(outcome, Outcome::Replied), "{}", String::from_utf8_lossy(words[0]));
        assert!(out.len() > LONG);
    }
    // Commands that write say it themselves, and have changed nothing.
    run(&partitions, &[b"SET", b"k", &long], false);
    run(&partitions, &[b"ZADD", b"y", b"1", &long], false);
    run(&partitions, &[b"RPUSH", b"q", &long], false);
    let writes: [&[&[u8]]; 9] = [
        &[b"HGETDEL", b"h", b"FIELDS", b"1", b"long"],
        &[b"HGETEX", b"h", b"FIELDS", b"1", b"long"],
        &[b"HGETEX", b"h", b"PERSIST", b"FIELDS", b"1", b"long"],
        &[b"LPOP", b"q"],
        &[b"BLPOP", b"none", b"q", b"0"],
        &[b"SPOP", b"s"],
        &[b"ZPOPMAX", b"y"],
        &[b"DELEX", b"k", b"IFDEQ", b"0123456789abcdef"],
        &[b"GETDEL", b"k"],
    ];
    for words in writes {
        let (outcome, out) = run(&partitions, words, true);
        assert!(
            matches!(outcome, Outcome::Apart(_)),
            "{} is not run apart",
            String::from_utf8_lossy(words[0])
        );
        assert_eq!(out, b"before");
    }
    let is_short: [&[&[u8]]; 4] = [
        &[b"HGET", b"h", b"short"],
        &[b"HSTRLEN", b"h", b"long"],
        &[b"LINDEX", b"l", b"1"],
        &[b"XREVRANGE", b"x", b"+", b"-", b"COUNT", b"1"],
    ];
    for words in is_short {
        let (outcome, out) = run(&partitions, words, true);
        assert!(matches!(outcome, Outcome::Replied), "{}", String::from_utf8_lossy(words[0]));
        assert!(out.len() > b"before".len());
    }
}

fn encode_request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Has so many clients wait, numbered from 1.
fn have_wait(partitions: &Partitions, clients: u64, request: &str, log: &mut Changes) {
    for client in 1..=clients {
        let scene = Scene { caller: Caller { client, ..SCENE.caller }, ..SCENE };
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let run = |row, args: Args<'_>| partitions.execute(row, args, scene, log, &mut reply);
        assert!(matches!(with_request(request, run), Ok(Outcome::Wait(_))));
    }
}

/// Who has been answered, in their order.
fn answered(log: &mut Changes) -> Vec<u64> {
    log.served().map(|served| served.waiter.caller.client).collect()
}

fn elements(count: u64) -> String {
    (1..=count).map(|number| format!(" {number}")).collect()
}

/// A key whose partition is another than that of `key`.
fn elsewhere(partitions: &Partitions, key: &str) -> String {
    let is_elsewhere =
        |other: &String| partitions.index_of(other.as_bytes()) != partitions.index_of(key.as_bytes());
    (0..).map(|number| number.to_string()).find(is_elsewhere).expect("one of many")
}

const THOUSANDS: u64 = 2_000;

#[test]
fn thousands_whom_one_write_wakes_are_served_in_slices_and_have_the_key_to_themselves_meanwhile() {
    let (partitions, records) = journaled(16);
    let mut log = effects_wanted();
    have_wait(&partitions, THOUSANDS, "blpop k 0", &mut log);
    execute(&partitions, &format!("rpush k{}", elements(THOUSANDS + 1)), &mut log);
    let mut all = answered(&mut log);
    assert!(log.take_unserved() && !all.is_empty() && all.len() < THOUSANDS as usize / 4, "{}", all.len());
    let mut slices = 1;
    loop {
        for request in ["llen k", "rpush k late", "lpop k", "blpop k 0", "flushall", "dbsize", "get k"] {
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, Proto::Resp2);
            let run = |row, args: Args<'_>| partitions.execute(row, args, SCENE, &mut log, &mut reply);
            assert!(matches!(with_request(request, run), Err(Error::Busy)), "{request}");
        }
        assert_eq!(partitions.expire_due(partitions.index_of(b"k"), u64::MAX, 10, &mut log), 0);
        assert_eq!(
            execute(&partitions, &format!("incr {}", elsewhere(&partitions, "k")), &mut log),
            format!(":{slices}\r\n")
        );
        let mut held = partitions.hold_unserved(0).expect("some are left");
        let is_over = held.serve_some(WhoIsServed::All, &mut log);
        drop(held);
        all.extend(answered(&mut log));
        slices += 1;
        if is_over {
            break;
        }
    }
    assert_eq!(all, (1..=THOUSANDS).collect::<Vec<_>>(), "in the order they came");
    assert!(partitions.hold_unserved(0).is_none());
    assert_eq!(execute(&partitions, "lrange k 0 -1", &mut log), format!("*1\r\n$4\r\n{}\r\n", THOUSANDS + 1));
    let replayed = Partitions::new(1, 16);
    for record in records.lock().iter() {
        Effects::new(record).for_each(|effect| assert!(replayed.apply(effect.expect("an effect"))));
    }
    assert_eq!(execute(&replayed, "lrange k 0 -1", &mut log), format!("*1\r\n$4\r\n{}\r\n", THOUSANDS + 1));
}

#[test]
fn who_is_served_in_slices_keeps_what_it_writes_to_as_well() {
    let partitions = Partitions::new(16, 16);
    let (from, mut log) = (elsewhere(&partitions, "to"), Changes::default());
    have_wait(&partitions, THOUSANDS, &format!("blmove {from} to left right 0"), &mut log);
    execute(&partitions, &format!("rpush {from}{}", elements(THOUSANDS)), &mut log);
    assert!(log.take_unserved());
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    let result =
        with_request("llen to", |row, args| partitions.execute(row, args, SCENE, &mut log, &mut reply));
    assert!(matches!(result, Err(Error::Busy)));
    while let Some(mut held) = partitions.hold_unserved(0) {
        held.serve_some(WhoIsServed::All, &mut log);
    }
    assert_eq!(answered(&mut log), (1..=THOUSANDS).collect::<Vec<_>>());
    assert_eq!(execute(&partitions, "llen to", &mut log), format!(":{THOUSANDS}\r\n"));
    assert!(partitions.each().all(|part| !part.has_links()));
}

#[test]
fn a_script_that_comes_to_a_key_whose_waiters_are_served_in_slices_serves_the_rest_first() {
    let partitions = Partitions::new(16, 16);
    let mut log = Changes::default();
    have_wait(&partitions, THOUSANDS, "blpop k 0", &mut log);
    execute(&partitions, &format!("rpush k{}", elements(THOUSANDS)), &mut log);
    let mut held = partitions.hold_growing();
    held.add(only(partitions.index_of(elsewhere(&partitions, "k").as_bytes())));
    held.settle(&mut log);
    assert!(partitions.has_unserved(), "they are served from other keys than it has locked");
    held.add(only(partitions.index_of(b"k")));
    held.settle(&mut log);
    assert!(!partitions.has_unserved());
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, Proto::Resp2);
    with_request("exists k", |row, args| held.execute(row, args, SCENE, &mut log, &mut reply))
        .expect("a reply");
    assert_eq!(out, b":0\r\n");
    drop(held);
    assert_eq!(answered(&mut log).len(), THOUSANDS as usize);
}

#[test]
fn who_leaves_or_comes_while_others_are_served_in_slices_is_passed_over_or_stands_behind() {
    let partitions = Partitions::new(1, 16);
    let mut log = Changes::default();
    let mut out = Vec::new();
    let mut waiters = Vec::new();
    for client in 1..=THOUSANDS {
        let scene = Scene { caller: Caller { client, ..SCENE.caller }, ..SCENE };
        // Every other one waits for entries that are yet to come.
        let request = if client % 2 == 0 { "xread block 0 streams s 9" } else { "xread block 0 streams s 0" };
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        let run = |row, args: Args<'_>| partitions.execute(row, args, scene, &mut log, &mut reply);
        if let Ok(Outcome::Wait(waiter)) = with_request(request, run) {
            waiters.push(waiter);
        }
    }
    execute(&partitions, "xadd s 1-0 f v", &mut log);
    let mut all = answered(&mut log);
    assert!(log.take_unserved());
    for waiter in &waiters[THOUSANDS as usize - 10..] {
        assert!(waiter.claim());
        partitions.forget_waiter(waiter);
    }
    while let Some(mut held) = partitions.hold_unserved(0) {
        held.serve_some(WhoIsServed::Readers, &mut log);
    }
    all.extend(answered(&mut log));
    assert_eq!(all, (1..=THOUSANDS - 10).step_by(2).collect::<Vec<_>>());
    have_wait(&partitions, 1, "xread block 0 streams s 9", &mut log);
    execute(&partitions, "xadd s 10-0 f v", &mut log);
    while let Some(mut held) = partitions.hold_unserved(0) {
        held.serve_some(WhoIsServed::Readers, &mut log);
    }
    let evens: Vec<u64> = (2..=THOUSANDS - 10).step_by(2).chain([1]).collect();
    assert_eq!(answered(&mut log), evens, "those who were passed over wait on in their order");
}

#[test]
fn on_a_node_that_leads_no_more_nothing_is_taken_for_those_who_are_left() {
    let partitions = Partitions::new(4, 16);
    let mut log = Changes::default();
    have_wait(&partitions, THOUSANDS, "blpop k 0", &mut log);
    execute(&partitions, &format!("rpush k{}", elements(THOUSANDS)), &mut log);
    let taken = answered(&mut log).len();
    while let Some(mut held) = partitions.hold_unserved(0) {
        held.serve_some(WhoIsServed::Readers, &mut log);
    }
    assert!(answered(&mut log).is_empty());
    assert_eq!(execute(&partitions, "llen k", &mut log), format!(":{}\r\n", THOUSANDS as usize - taken));
}

#[test]
fn of_those_who_wait_for_thousands_of_keys_each_few_are_served_at_once() {
    let partitions = Partitions::new(64, 16);
    let mut log = Changes::default();
    let keys: Vec<String> = (0..2_000).map(|number| format!("k{number}")).collect();
    for client in 1..=100 {
        let scene = Scene { caller: Caller { client, ..SCENE.caller }, ..SCENE };
        let (mut out, request) = (Vec::new(), format!("blpop {} 0", keys.join(" ")));
        let mut reply = Reply::new(&mut out, Proto::Resp2);
        with_request(&request, |row, args| partitions.execute(row, args, scene, &mut log, &mut reply))
            .expect("it waits");
    }
    execute(&partitions, &format!("rpush k7 {}", "x ".repeat(100)), &mut log);
    let at_once = log.served().count();
    assert!((1..20).contains(&at_once), "each leaves 2 000 queues: {at_once}");
    assert!(log.take_unserved(), "the others are served in slices");
}
