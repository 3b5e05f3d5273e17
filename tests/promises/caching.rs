//! Client-side caching across shards: whatever readers and writers do at the same time, no copy stays that isn't true.
//!
//! Readers keep what they read until they are told that it has changed. Between rounds, when every write has been
//! answered, what they must be told is on its way, and each of their copies is soon what the server says, or gone.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use std::thread;

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

const SHARDS: usize = 4;
const READERS: usize = 6;
const WRITERS: usize = 3;
const ROUNDS: usize = 25;
const STEPS: usize = 120;
/// Few enough that readers and writers meet at them all the time.
const KEYS: usize = 16;

fn key(number: usize) -> String {
    format!("key:{number}")
}

/// A client that keeps what it reads.
struct Reader {
    client: Client,
    /// Key → value, `Null` for one that isn't there.
    copies: HashMap<Vec<u8>, Value>,
    told: usize,
}

impl Reader {
    fn start(server: &Server, mode: &[&str]) -> Reader {
        let mut client = server.connect_resp3();
        client.request(&[&["CLIENT", "TRACKING", "ON"], mode].concat());
        Reader { client, copies: HashMap::new(), told: 0 }
    }

    /// The reply to a request; what came before it has been heeded.
    fn ask(&mut self, request: &[&str]) -> Value {
        self.client.send(request);
        loop {
            match self.client.value() {
                Value::Push(parts) => self.heed(&parts),
                reply => return reply,
            }
        }
    }

    fn heed(&mut self, parts: &[Value]) {
        assert_eq!(parts[0].as_bytes(), Some(&b"invalidate"[..]));
        self.told += 1;
        match &parts[1] {
            Value::Null => self.copies.clear(),
            keys => {
                for key in keys.as_slice().expect("a list of keys") {
                    self.copies.remove(key.as_bytes().expect("a key"));
                }
            }
        }
    }

    fn read(&mut self, key: &str) {
        if !self.copies.contains_key(key.as_bytes()) {
            let value = self.ask(&["GET", key]);
            self.copies.insert(key.as_bytes().to_vec(), value);
        }
    }

    /// Heeds what it is told until that is so: what it must be told may still be on its way from another shard.
    fn heed_until(&mut self, what: &str, is_so: impl Fn(&Reader) -> bool) {
        wait_for(what, || {
            self.ask(&["PING"]);
            is_so(self).then_some(())
        });
    }
}

fn write(client: &mut Client, random: &mut Rng, number: usize) {
    let (one, other) = (key(random.usize(..KEYS)), key(random.usize(..KEYS)));
    let value = format!("{number}");
    match random.u8(..20) {
        0..8 => drop(client.request(&["SET", &one, &value])),
        8..11 => drop(client.request(&["MSET", &one, &value, &other, &value])),
        11 | 12 => drop(client.request(&["DEL", &one, &other])),
        13 => drop(client.request(&["SET", &one, &value, "PX", "1"])),
        14 => drop(client.request(&["APPEND", &one, "x"])),
        15 | 16 => {
            client.request(&["MULTI"]);
            client.request(&["SET", &one, &value]);
            client.request(&["GET", &one]);
            client.request(&["SET", &other, &value]);
            client.request(&["EXEC"]);
        }
        17 if random.u8(..10) == 0 => drop(client.request(&["FLUSHALL"])),
        _ => drop(client.request(&["INCRBY", &format!("count:{}", random.usize(..KEYS)), "1"])),
    }
}

/// Readers and writers take turns at the barrier: all at once, then only comparing.
fn run(mode: &'static [&'static str]) {
    let server = Arc::new(Launch::shards(SHARDS).start());
    let barrier = Arc::new(Barrier::new(READERS + WRITERS));
    let told = thread::scope(|scope| {
        for seed in 0..WRITERS {
            let (server, barrier) = (Arc::clone(&server), Arc::clone(&barrier));
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed as u64);
                let mut client = server.connect();
                for round in 0..ROUNDS {
                    (0..STEPS).for_each(|step| write(&mut client, &mut random, round * STEPS + step));
                    barrier.wait();
                    barrier.wait();
                }
            });
        }
        let readers: Vec<_> = (0..READERS)
            .map(|seed| {
                let (server, barrier) = (Arc::clone(&server), Arc::clone(&barrier));
                scope.spawn(move || {
                    let mut random = Rng::with_seed(100 + seed as u64);
                    let mut reader = Reader::start(&server, mode);
                    let mut asker = server.connect_resp3();
                    let mut is_true = true;
                    for _ in 0..ROUNDS {
                        (0..STEPS).for_each(|_| reader.read(&key(random.usize(..KEYS))));
                        barrier.wait();
                        // The others would wait at the barrier for one that has panicked.
                        let compared = catch_unwind(AssertUnwindSafe(|| compare(&mut reader, &mut asker)));
                        is_true &= compared.is_ok();
                        barrier.wait();
                    }
                    assert!(is_true, "a reader has found a copy that stays");
                    reader.told
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("a reader finds no stale copy")).sum::<usize>()
    });
    assert!(told > READERS * ROUNDS, "{told} messages: the copies have hardly been put to the test");
}

/// Every copy is what the server says, or the reader is told of its change, and the next round begins with these copies.
fn compare(reader: &mut Reader, asker: &mut Client) {
    // A key that has just expired is told of when somebody finds it expired, and this finds it.
    let values: Vec<Value> = (0..KEYS).map(|number| asker.request(&["GET", &key(number)])).collect();
    reader.heed_until("a copy that is the value, or gone", |reader| {
        let is_true =
            |(number, value)| reader.copies.get(key(number).as_bytes()).is_none_or(|copy| copy == value);
        values.iter().enumerate().all(is_true)
    });
}

#[test]
fn no_copy_outlives_its_value_whoever_writes() {
    run(&[]);
}

#[test]
fn no_copy_outlives_its_value_when_all_is_broadcast() {
    run(&["BCAST"]);
}

#[test]
fn the_table_keeps_to_its_limit_and_tells_of_what_it_forgets() {
    const LIMIT: usize = 10;
    const READ: usize = 200;
    let server = Launch::shards(SHARDS).args(&["--tracking-table-max-keys", &LIMIT.to_string()]).start();
    let mut reader = Reader::start(&server, &[]);
    let mut asker = server.connect();
    for number in 0..READ {
        reader.read(&key(number));
        assert!(field(&mut asker, "tracking_total_keys") <= LIMIT);
    }
    reader.heed_until("what was forgotten", |reader| reader.copies.len() == LIMIT);
    assert_eq!(field(&mut asker, "tracking_total_keys"), LIMIT);
    assert_eq!(field(&mut asker, "tracking_clients"), 1);
    // Each key that was forgotten was told of, once.
    assert_eq!((reader.copies.len(), reader.told), (LIMIT, READ - LIMIT));

    // Those it still remembers are told of when they change, and the others aren't.
    let kept: BTreeSet<Vec<u8>> = reader.copies.keys().cloned().collect();
    for number in 0..READ {
        asker.request(&["SET", &key(number), "x"]);
    }
    reader.heed_until("what has changed", |reader| reader.copies.is_empty());
    assert_eq!((kept.len(), reader.told), (LIMIT, READ));
    assert_eq!(field(&mut asker, "tracking_total_items"), 0);

    // A limit lowered at run time is reached as reads go on; 0 is no limit.
    asker.request(&["CONFIG", "SET", "tracking-table-max-keys", "0"]);
    (0..READ).for_each(|number| reader.read(&key(number)));
    assert_eq!(field(&mut asker, "tracking_total_keys"), READ);
    asker.request(&["CONFIG", "SET", "tracking-table-max-keys", "5"]);
    (0..READ).for_each(|number| reader.read(&key(READ + number)));
    reader.heed_until("what was forgotten", |reader| reader.copies.len() == 5);
    assert_eq!(field(&mut asker, "tracking_total_keys"), 5);
}

#[test]
fn of_clients_that_leave_nothing_is_told_and_nothing_stays() {
    let server = Launch::shards(SHARDS).start();
    let mut asker = server.connect();
    for round in 0..20 {
        let modes: [&[&str]; 3] = [&[], &["BCAST", "PREFIX", "key:", "PREFIX", "x"], &["NOLOOP"]];
        let mut reader = Reader::start(&server, modes[round % 3]);
        reader.read(&key(1));
        reader.client.leave();
    }
    wait_for("all have left", || (field(&mut asker, "tracking_clients") == 0).then_some(()));
    assert_eq!(field(&mut asker, "tracking_total_prefixes"), 0);
    // The table forgets them with the key's next change, which tracking must still be on for.
    let _other = Reader::start(&server, &[]);
    asker.request(&["SET", &key(1), "x"]);
    assert_eq!((field(&mut asker, "tracking_total_keys"), field(&mut asker, "tracking_total_items")), (0, 0));
}

/// A number that INFO tells.
fn field(asker: &mut Client, name: &str) -> usize {
    let info = asker.text(&["INFO", "everything"]);
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
}

/// differs=swapped-caches
#[test]
fn databases_that_are_swapped_make_every_copy_doubtful() {
    let server = Server::sterna(2, &[]);
    let mut readers: Vec<Reader> = (0..4).map(|_| Reader::start(&server, &[])).collect();
    let mut admin = server.connect();
    admin.request(&["SET", "k", "zero"]);
    for reader in &mut readers {
        reader.ask(&["GET", "k"]);
    }
    admin.request(&["SWAPDB", "0", "1"]);
    for reader in &mut readers {
        reader.ask(&["PING"]);
        assert_eq!(reader.told, 1);
        assert_eq!(reader.ask(&["GET", "k"]), Value::Null);
    }
}

/// The keys of each push that comes before the reply to a PING, in order.
fn told(client: &mut Client) -> Vec<Vec<String>> {
    client.send(&["PING"]);
    let mut pushes = Vec::new();
    loop {
        match client.value() {
            Value::Push(parts) => {
                let Some(Value::Array(keys)) = parts.get(1) else { panic!("{parts:?}") };
                let name = |key: &Value| match key {
                    Value::Bulk(key) => String::from_utf8_lossy(key).into_owned(),
                    other => panic!("{other:?}"),
                };
                pushes.push(keys.iter().map(name).collect());
            }
            _ => return pushes,
        }
    }
}

#[test]
fn what_expires_is_told_of_where_nothing_is_recorded() {
    let server = Server::sterna(1, &["--appendonly", "no"]);
    let (mut reader, mut writer) = (Reader::start(&server, &[]), server.connect());
    let is_read = |reader: &mut Reader| reader.ask(&["GET", "k"]) != Value::Null;
    loop {
        writer.request(&["SET", "k", "v", "PX", "100"]);
        if is_read(&mut reader) {
            break;
        }
    }
    let Value::Push(parts) = reader.client.value() else { panic!("no push") };
    assert_eq!(parts[1], Value::Array(vec![Value::Bulk(b"k".to_vec())]));
}

#[test]
fn many_who_broadcast_are_told_the_same_but_for_what_they_may_not_read_or_have_changed_themselves() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let mut admin = server.connect();
        admin.request(&["ACL", "SETUSER", "alice", "on", "nopass", "~a:*", "+@all"]);
        let mut clients: Vec<(Client, bool, bool)> = Vec::new();
        for number in 0..12 {
            let (is_alice, is_spared) = (number % 2 == 0, number % 3 == 0);
            let mut client = server.connect_resp3();
            if is_alice {
                client.request(&["AUTH", "alice", "any"]);
            }
            let request = ["CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP"];
            client.request(&request[..if is_spared { 5 } else { 4 }]);
            clients.push((client, is_alice, is_spared));
        }
        for writer in 0..clients.len() {
            let (client, is_alice, _) = &mut clients[writer];
            let written: &[&str] = if *is_alice { &["a:1", "a:2"] } else { &["a:1", "a:2", "b:1"] };
            let pairs: Vec<&str> = written.iter().flat_map(|key| [*key, "v"]).collect();
            client.send(&[&["MSET"], &pairs[..]].concat());
            let own = match client.value() {
                // The reply comes first.
                Value::Simple(ok) => ok,
                other => panic!("{other:?}"),
            };
            assert_eq!(own, b"OK");
            for (reader, (client, is_alice, is_spared)) in clients.iter_mut().enumerate() {
                let known: Vec<String> = written
                    .iter()
                    .filter(|key| !*is_alice || key.starts_with("a:"))
                    .map(|key| (*key).to_owned())
                    .collect();
                let expected = if reader == writer && *is_spared { vec![] } else { vec![known] };
                let mut pushes = Vec::new();
                wait_for("what a client is told", || {
                    pushes.append(&mut told(client));
                    (pushes.len() >= expected.len()).then_some(())
                });
                assert_eq!(pushes, expected, "writer {writer}, reader {reader}, {shards} shards");
            }
        }
    }
}
