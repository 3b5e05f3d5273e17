//! Keys that are those of all nodes: `cluster-keys yes`. `STERNA_CRASH_ROUNDS=200` is the long form of what survives.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::line::{End, Line};
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, PATIENCE, Server, sterna_tool, wait_for};
use sterna_tests::{crash_rounds, skipped};

use crate::tools::{await_joined, count, figure, name, node};

/// What a node is started with whose keys are the cluster's.
pub(crate) const KEYS: [&str; 8] = [
    "--cluster-keys",
    "yes",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--enable-debug-command",
    "yes",
];

/// NATS servers with a log; its name.
pub(crate) fn log(count: usize) -> Option<(Nats, String)> {
    let Some(nats) = Nats::start_storing(count, "always") else {
        skipped("needs NATS_SERVER; ./test installs one");
        return None;
    };
    let name = name();
    make_log(&nats, &name, count);
    Some((nats, name))
}

/// Makes the log, as soon as JetStream has a leader.
pub(crate) fn make_log(nats: &Nats, name: &str, replicas: usize) {
    let (url, replicas) = (nats.url(0), replicas.to_string());
    let words = ["cluster", "init", "--url", &url, "--name", name, "--replicas", &replicas];
    wait_for("a log to be made", || sterna_tool(&words).status.success().then_some(()));
}

/// A node of it, which reaches NATS at this address.
pub(crate) fn keys_node(name: &str, url: &str) -> Launch {
    node(name, url).args(&KEYS)
}

fn keys_nodes(nats: &Nats, name: &str, count: usize) -> Vec<Server> {
    let nodes: Vec<Server> = (0..count).map(|at| keys_node(name, &nats.url(at)).start()).collect();
    await_joined(&nodes);
    nodes
}

/// Which of these leads, as soon as one says so.
pub(crate) fn leader<'a>(nodes: impl IntoIterator<Item = &'a Server> + Clone) -> &'a Server {
    wait_for("a node to lead", || {
        nodes.clone().into_iter().find(|node| figure(node, "cluster_keys").as_deref() == Some("me"))
    })
}

/// A client that reads what the node has.
pub(crate) fn reader(node: &Server) -> Client {
    let mut client = node.connect();
    assert_eq!(client.text(&["READONLY"]), "OK");
    client
}

/// Waits until all of them have the same keys, and gives back what names these.
pub(crate) fn await_same<'a>(nodes: impl IntoIterator<Item = &'a Server> + Clone) -> String {
    wait_for("all nodes to have the same keys", || {
        let digests = nodes.clone().into_iter().map(|node| node.connect().text(&["DEBUG", "DIGEST"]));
        let mut digests = digests.collect::<Vec<_>>();
        digests.dedup();
        if digests.len() == 1 { digests.pop() } else { None }
    })
}

fn ids(node: &Server, key: &str) -> Vec<String> {
    let entries = reader(node).request(&["XRANGE", key, "-", "+"]);
    let text = |entry: &Value| {
        let fields = entry.as_slice().and_then(|entry| entry[1].as_slice()).expect("an entry has fields");
        String::from_utf8_lossy(fields[1].as_bytes().expect("a value")).into_owned()
    };
    entries.as_slice().expect("entries").iter().map(text).collect()
}

/// Waits until more has been written to one of the keys. All nodes run; which one leads may change.
fn await_more(nodes: &[Server], key: &str, more: i64) {
    let length_at = |node: &Server| {
        let mut reader = reader(node);
        reader.send(&["XLEN", key]);
        // The reply of one that is about to lead no more is an error.
        reader.value().as_int()
    };
    let length = || nodes.iter().filter_map(length_at).max().unwrap_or(0);
    let before = length();
    wait_for("writes", || (length() > before + more).then_some(()));
}

/// What is done to nodes and NATS under load.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Leader,
    Follower,
    Majority,
    All,
    /// The leader stands still until another leads.
    Pause,
    /// A NATS server is killed.
    Nats,
}

const FAULTS: [Fault; 6] =
    [Fault::Leader, Fault::Follower, Fault::Majority, Fault::All, Fault::Pause, Fault::Nats];

/// Writers that go on at whichever node leads. Each has a stream of its own, or several; what was acknowledged to it is in order.
pub(crate) struct Load {
    pub(crate) is_over: AtomicBool,
    pub(crate) ports: Mutex<Vec<u16>>,
    /// What the names of a writer's streams begin with: each is written to in turn.
    streams: &'static [&'static str],
}

/// What was acknowledged to a writer, and what may have been stored or not. What is in neither was said to have had no effect.
pub(crate) type Story = (Vec<String>, Vec<String>);

/// Ends the writers, also where the test fails.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stored,
    /// It is said to have had no effect.
    Denied,
    Unknown,
}

impl Load {
    /// For these nodes, to streams whose names begin so.
    pub(crate) fn new(nodes: &[Server], streams: &'static [&'static str]) -> Load {
        Load {
            is_over: AtomicBool::new(false),
            ports: Mutex::new(nodes.iter().map(|node| node.address().port()).collect()),
            streams,
        }
    }

    /// The node has come back.
    pub(crate) fn note_port(&self, at: usize, node: &Server) {
        self.ports.lock().expect("nothing panics with it")[at] = node.address().port();
    }

    fn streams_of(&self, writer: usize) -> Vec<String> {
        self.streams.iter().map(|begins| format!("{begins}stream:{writer}")).collect()
    }

    /// Waits until more has been written to each stream of the first writers.
    pub(crate) fn await_writes(&self, nodes: &[Server], writers: usize) {
        let more = if self.streams.len() == 1 && writers == 1 { 100 } else { 20 };
        for key in (0..writers).flat_map(|writer| self.streams_of(writer)) {
            await_more(nodes, &key, more);
        }
    }

    /// Checks that all of a node's streams hold what these stories say.
    pub(crate) fn check_all(&self, node: &Server, stories: &[Story]) {
        for (writer, story) in stories.iter().enumerate() {
            check(node, writer, &self.streams_of(writer), story);
        }
    }

    /// One writer's story.
    pub(crate) fn write(&self, writer: usize) -> Story {
        let (mut stored, mut unknown) = (Vec::new(), Vec::new());
        let keys = self.streams_of(writer);
        let mut client: Option<Client> = None;
        let (mut at, mut n) = (writer, 0);
        while !self.is_over.load(SeqCst) {
            let Some(connected) = &mut client else {
                let ports = self.ports.lock().expect("nothing panics with it").clone();
                at += 1;
                client = Client::try_to(ports[at % ports.len()]).ok();
                continue;
            };
            // Alone, in a pipeline, or two at once.
            let count = [1, 1, 3, 2][n % 4];
            let values: Vec<String> = (n..n + count).map(|n| format!("{writer}-{n}")).collect();
            let key_of = |n: usize| keys[n % keys.len()].as_str();
            let outcomes = match count {
                2 => vec![write_both(connected, key_of(n), &values); 2],
                _ => write_each(connected, &(n..n + count).map(key_of).collect::<Vec<_>>(), &values),
            };
            n += count;
            for (value, outcome) in values.into_iter().zip(&outcomes) {
                match outcome {
                    Outcome::Stored => stored.push(value),
                    Outcome::Denied => {}
                    Outcome::Unknown => unknown.push(value),
                }
            }
            if outcomes.iter().any(|outcome| *outcome != Outcome::Stored) {
                client = None;
                thread::sleep(Duration::from_millis(5));
            }
        }
        (stored, unknown)
    }
}

fn write_each(client: &mut Client, keys: &[&str], values: &[String]) -> Vec<Outcome> {
    keys.iter().zip(values).for_each(|(key, value)| client.send(&["XADD", key, "*", "value", value]));
    values.iter().map(|_| outcome(client, b'$')).collect()
}

fn write_both(client: &mut Client, key: &str, values: &[String]) -> Outcome {
    const SCRIPT: &str =
        "for _, value in ipairs(ARGV) do redis.call('XADD', KEYS[1], '*', 'value', value) end return 1";
    client.send(&["EVAL", SCRIPT, "1", key, &values[0], &values[1]]);
    outcome(client, b':')
}

fn outcome(client: &mut Client, begins: u8) -> Outcome {
    match client.frame(PATIENCE) {
        Frame::Bytes(bytes) if bytes[0] == begins => Outcome::Stored,
        Frame::Bytes(bytes) if bytes.starts_with(b"-CLUSTERDOWN") => Outcome::Denied,
        _ => Outcome::Unknown,
    }
}

/// Every acknowledged write is in one of its writer's streams, once and in order; what else is there was not answered, or in a way that leaves
/// it open.
fn check(node: &Server, writer: usize, keys: &[String], (stored, unknown): &Story) {
    let streams: Vec<Vec<String>> = keys.iter().map(|key| ids(node, key)).collect();
    let named = |values: &[String]| values.iter().cloned().collect::<BTreeSet<String>>();
    let there = streams.concat();
    let (kept, stored_once, unknown) = (named(&there), named(stored), named(unknown));
    let at = node.name();
    let mut once = BTreeSet::new();
    let twice: Vec<_> = there.iter().filter(|value| !once.insert(*value)).collect();
    assert!(twice.is_empty(), "there twice: {twice:?}, writer {writer} at {at}");
    let lost: Vec<_> = stored_once.difference(&kept).collect();
    let denied: Vec<_> = kept.difference(&stored_once).filter(|value| !unknown.contains(*value)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}, writer {writer} at {at}");
    assert!(denied.is_empty(), "stored, and said to have had no effect: {denied:?}, writer {writer} at {at}");
    for stream in streams {
        let of_stream = named(&stream);
        let known: Vec<&String> = stream.iter().filter(|value| stored_once.contains(*value)).collect();
        let acknowledged: Vec<&String> = stored.iter().filter(|value| of_stream.contains(*value)).collect();
        assert!(known == acknowledged, "not in order: writer {writer} at {at}");
    }
}

#[test]
fn what_was_acknowledged_survives_the_leader_and_is_on_every_node_in_order() {
    const WRITERS: usize = 8;
    let Some((mut nats, name)) = log(3) else { return };
    let mut nodes = keys_nodes(&nats, &name, 3);
    leader(&nodes);
    let load = Load::new(&nodes, &[""]);
    let stories = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let load = &load;
                    move || load.write(writer)
                })
            })
            .collect();
        let ends = Ends(&load.is_over);
        for round in 0..crash_rounds(2) {
            let leading = leader(&nodes).pid();
            let at = nodes.iter().position(|node| node.pid() == leading).expect("it is one of them");
            load.await_writes(&nodes, 1);
            if round % 4 == 1 {
                // A snapshot of its own, from which it starts, and goes on with the log.
                nodes[(at + 1) % 3].connect().request(&["BGREWRITEAOF"]);
                nodes[at].connect().request(&["SAVE"]);
            }
            let fault =
                if round < 2 { Fault::Leader } else { fastrand::choice(FAULTS).expect("there are some") };
            println!("round {round}: {fault:?}");
            let (others, server) = ([(at + 1) % 3, (at + 2) % 3], fastrand::usize(..3));
            let killed: &[usize] = match fault {
                Fault::Leader => &[at],
                Fault::Follower => &others[..1],
                Fault::Majority => &[at, others[0]],
                Fault::All => &[0, 1, 2],
                Fault::Pause | Fault::Nats => &[],
            };
            killed.iter().for_each(|at| nodes[*at].kill());
            match fault {
                Fault::Pause => nodes[at].freeze(),
                Fault::Nats => nats.kill(server),
                _ => {}
            }
            let began = Instant::now();
            if matches!(fault, Fault::Leader | Fault::Pause) {
                leader(others.iter().map(|at| &nodes[*at]));
                println!("another leads after {:?}", began.elapsed());
            }
            match fault {
                Fault::Pause => nodes[at].signal(Signal::CONT),
                Fault::Nats => {
                    load.await_writes(&nodes, 1);
                    nats.start_again(server);
                }
                _ => {}
            }
            for at in killed {
                nodes[*at].start_again();
                load.note_port(*at, &nodes[*at]);
            }
        }
        load.await_writes(&nodes, 1);
        drop(ends);
        writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect::<Vec<_>>()
    });
    await_same(&nodes);
    nodes.iter().for_each(|node| load.check_all(node, &stories));
    // An empty node reads the log from its beginning.
    let fresh = keys_node(&name, &nats.url(0)).start();
    await_same(nodes.iter().chain([&fresh]));
    println!("{} acknowledged", stories.iter().map(|(stored, _)| stored.len()).sum::<usize>());
}

#[test]
fn every_kind_of_write_is_on_every_node_and_any_node_takes_it() {
    let Some((nats, name)) = log(1) else { return };
    let nodes = keys_nodes(&nats, &name, 2);
    let leading = leader(&nodes);
    let other = nodes.iter().find(|node| node.pid() != leading.pid()).expect("there are two");
    let mut client = leading.connect();
    let writes: &[&[&str]] = &[
        &["SET", "string", "x", "EX", "1000"],
        &["APPEND", "string", "y"],
        &["RPUSH", "list", "a", "b", "c"],
        &["HSET", "hash", "f", "1"],
        &["HEXPIRE", "hash", "1000", "FIELDS", "1", "f"],
        &["SADD", "set", "1", "2"],
        &["ZADD", "zset", "1", "a", "2", "b"],
        &["XADD", "stream", "*", "f", "v"],
        &["XGROUP", "CREATE", "stream", "g", "0"],
        &["XREADGROUP", "GROUP", "g", "c", "STREAMS", "stream", ">"],
        &["PFADD", "log", "a"],
        &["GEOADD", "geo", "1", "1", "a"],
        &[
            "EVAL",
            "redis.call('SET', KEYS[1], 'by script'); return redis.call('INCR', KEYS[2])",
            "2",
            "script",
            "n",
        ],
        &[
            "FUNCTION",
            "LOAD",
            "#!lua name=lib\nredis.register_function('f', function(k) return redis.call('INCR', k[1]) end)",
        ],
        &["FCALL", "f", "1", "counted"],
        &["MULTI"],
        &["SET", "in", "transaction"],
        &["INCR", "n"],
        &["EXEC"],
        &["SELECT", "3"],
        &["SET", "elsewhere", "x"],
        &["SWAPDB", "3", "4"],
        &["SELECT", "0"],
        &["DEL", "set"],
        &["PEXPIRE", "zset", "1"],
    ];
    for write in writes {
        client.request(write);
    }
    // More than a frame of the log holds.
    let long = vec![b'l'; 1_500_000];
    client.request(&[b"SET".as_slice(), b"long", &long]);
    client.request(&["SET", "last", "x"]);
    wait_for("the key to expire everywhere", || {
        let is_gone = |node: &Server| reader(node).int(&["EXISTS", "zset"]) == 0;
        nodes.iter().all(is_gone).then_some(())
    });
    await_same(&nodes);
    let mut stale = reader(other);
    assert_eq!(stale.request(&["GET", "long"]).as_bytes(), Some(&long[..]));
    assert_eq!(stale.text(&["GET", "in"]), "transaction");
    let libraries = stale.request(&["FUNCTION", "LIST"]);
    assert_eq!(libraries.as_slice().map(<[Value]>::len), Some(1), "{libraries:?}");

    // Any node takes any command: the leader runs it.
    let mut asks = other.connect();
    assert_eq!(asks.int(&["INCR", "n"]), 3);
    assert_eq!(client.int(&["INCR", "n"]), 4);
    assert_eq!(asks.text(&["GET", "n"]), "4", "nothing old is shown to who has not asked for it");
    assert_eq!(asks.int(&["FCALL", "f", "1", "counted"]), 2);
    asks.request(&["MULTI"]);
    asks.request(&["INCR", "n"]);
    asks.request(&["PING"]);
    assert_eq!(asks.request(&["EXEC"]).as_slice().map(<[Value]>::len), Some(2));
    asks.send(&["BLPOP", "waited", "0"]);
    client.request(&["RPUSH", "waited", "x"]);
    assert_eq!(asks.value().as_slice().map(<[Value]>::len), Some(2));
    // Who reads what is here is told where to write.
    stale.send(&["SET", "string", "z"]);
    assert!(stale.error().starts_with("MOVED "));
    assert_eq!(stale.text(&["READWRITE"]), "OK");
    stale.request(&["SET", "string", "z"]);
    assert_eq!(client.text(&["GET", "string"]), "z");
    asks.request(&["FLUSHALL"]);
    wait_for("the others to be empty", || (reader(other).int(&["DBSIZE"]) == 0).then_some(()));

    // What is not the cluster's does not become it.
    let alone = node(&name, &nats.url(0)).args(&["--appendonly", "yes"]).start();
    alone.connect().request(&["SET", "own", "x"]);
    alone.signal(Signal::TERM);
    let mut alone = alone;
    alone.wait_for_end();
    let ended = alone.start_and_end_with(&KEYS);
    assert!(ended.log.contains("begins with an empty directory"), "{}", ended.log);
}

#[test]
fn what_a_leader_did_that_is_cut_off_never_happened_and_it_shows_nothing_old() {
    let Some((nats, name)) = log(1) else { return };
    let line = Line::to(nats.ports()[0]);
    let cut_off = keys_node(&name, &format!("nats://127.0.0.1:{}", line.port)).start();
    leader([&cut_off]);
    let other = keys_node(&name, &nats.url(0)).start();
    cut_off.connect().request(&["SET", "key", "stored"]);
    await_same([&cut_off, &other]);
    let mut blocked = cut_off.connect();
    blocked.send(&["BLPOP", "list", "0"]);
    wait_for("a client to block", || {
        cut_off.connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });

    line.cut(End::Closed);
    // Its lease goes on: it executes, and may tell nobody.
    let mut writers = [cut_off.connect(), cut_off.connect()];
    writers[0].send(&["APPEND", "never", "x"]);
    writers[1].send(&["INCR", "counter"]);
    let mut pipeline = cut_off.connect();
    pipeline.send(&["SELECT", "1"]);
    pipeline.send(&["INCR", "counter"]);
    // It may have been read before that.
    let mut sees = cut_off.connect();
    sees.send(&["GET", "never"]);
    assert_eq!(leader([&other]).pid(), other.pid());
    let mut reads = cut_off.connect();
    reads.send(&["GET", "key"]);
    let mut there = other.connect();
    assert_eq!(there.text(&["GET", "key"]), "stored");
    there.request(&["SET", "key", "later"]);
    line.mend();
    // Each was undone, and says so; on a machine that took its time, it was not executed before there was another leader.
    let outcomes = writers.map(|mut writer| writer.frame(PATIENCE));
    let seen = sees.value();
    assert_eq!(reads.value().as_bytes(), Some(&b"later"[..]), "it has waited for a node that leads");
    assert!(blocked.error().starts_with("UNBLOCKED force unblock"));
    await_same([&cut_off, &other]);
    let mut here = reader(&cut_off);
    assert_eq!(here.text(&["GET", "key"]), "later");
    for (key, outcome) in [("never", &outcomes[0]), ("counter", &outcomes[1])] {
        let is_there = here.int(&["EXISTS", key]) == 1;
        match outcome {
            Frame::Bytes(bytes) if bytes.starts_with(b"-CLUSTERDOWN") => assert!(!is_there, "{key}"),
            Frame::Bytes(bytes) => assert!(is_there, "{key}: {}", bytes.escape_ascii()),
            // It was passed on to the one that led before.
            _ => {}
        }
    }
    // Of several commands that were answered at once nobody says that they had no effect: one of them may have had.
    match pipeline.frame(PATIENCE) {
        Frame::Closed => {}
        Frame::Bytes(bytes) => assert_eq!(bytes, b"+OK\r\n"),
        Frame::Nothing => panic!("no reply"),
    }
    if here.int(&["EXISTS", "never"]) == 0 {
        assert!(seen.as_bytes().is_none(), "{seen:?}");
    }

    // The same from its journal.
    let mut cut_off = cut_off;
    cut_off.kill();
    cut_off.start_again();
    await_same([&cut_off, &other]);
}

/// Sets `key`. A node that has begun to lead a moment ago may still pass it on to the one before, and then tell that it may be lost, or
/// close the connection.
fn set_key(node: &Server, value: &str) {
    wait_for("a write", || {
        let reply = node.connect().try_request(&["SET", "key", value])?;
        (reply == Value::Simple(b"OK".to_vec())).then_some(())
    });
}

#[test]
fn a_leader_that_stood_still_beyond_its_lease_acknowledges_nothing_and_shows_nothing_old() {
    let Some((nats, name)) = log(1) else { return };
    let nodes = keys_nodes(&nats, &name, 2);
    let leading = leader(&nodes);
    let other = nodes.iter().find(|node| node.pid() != leading.pid()).expect("there are two");
    let mut clients: Vec<Client> = (0..20).map(|_| leading.connect()).collect();
    clients[0].request(&["SET", "key", "old"]);
    for _ in 0..2 {
        leading.freeze();
        for (n, client) in clients.iter_mut().enumerate() {
            match n % 2 {
                0 => client.send(&["GET", "key"]),
                _ => client.send(&["APPEND", "key", "never"]),
            }
        }
        leader([other]);
        set_key(other, "new");
        let mut there = other.connect();
        leading.signal(Signal::CONT);
        // What it had not executed it may have passed on.
        let (mut appended, mut unknown) = (0, 0);
        for client in &mut clients {
            let reply = match client.frame(PATIENCE) {
                Frame::Closed => {
                    unknown += 1;
                    *client = leading.connect();
                    continue;
                }
                Frame::Bytes(reply) => value_of(&reply),
                Frame::Nothing => panic!("no reply"),
            };
            match reply {
                Value::Error(text) => assert!(text.starts_with(b"CLUSTERDOWN"), "{}", text.escape_ascii()),
                Value::Int(_) => appended += 1,
                value => {
                    let bytes = value.as_bytes().expect("a value");
                    assert!(bytes.starts_with(b"new"), "{}", bytes.escape_ascii());
                }
            }
        }
        await_same(&nodes);
        let length = there.text(&["GET", "key"]).len() - "new".len();
        let never = length / "never".len();
        assert!((appended..=appended + unknown).contains(&never), "{appended} of {never}, {unknown} unknown");
        // The first one is to lead again.
        other.freeze();
        leader([leading]);
        other.signal(Signal::CONT);
        set_key(leading, "old");
        wait_for("the other to follow", || (figure(other, "cluster_keys")? == "other").then_some(()));
    }
}

#[test]
fn a_log_that_is_too_large_is_trimmed_and_a_new_node_begins_with_a_backup_of_another() {
    const SIZE: &[&str] = &["--cluster-log-size", "1mb"];
    let Some((nats, name)) = log(1) else { return };
    let nodes: Vec<Server> = (0..2).map(|_| keys_node(&name, &nats.url(0)).args(SIZE).start()).collect();
    let mut client = leader(&nodes).connect();
    let long = vec![b'l'; 100_000];
    for n in 0..30 {
        client.request(&[b"SET", format!("long:{n}").as_bytes(), &long]);
    }
    nodes[0].await_log("the log to be trimmed", |_| {
        nodes.iter().any(|node| node.log().contains("the log is trimmed"))
    });
    // Both go on from their journals.
    let mut nodes = nodes;
    for node in &mut nodes {
        node.kill();
        node.start_again();
    }
    leader(&nodes).connect().request(&["SET", "key", "later"]);
    await_same(&nodes);

    let ended = keys_node(&name, &nats.url(0)).run();
    assert!(
        ended.log.contains("put a backup of another node in the place of its directory"),
        "{}",
        ended.log
    );
    let fresh = keys_node(&name, &nats.url(0));
    let [backup, place] = ["backup", "appendonlydir"].map(|name| fresh.path(name).display().to_string());
    let port = nodes[0].address().port().to_string();
    let made = sterna_tool(&["backup", "-p", &port, &backup]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let restored = sterna_tool(&["restore", &backup, "--into", &place]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let fresh = fresh.start();
    await_same(nodes.iter().chain([&fresh]));
    leader(&nodes).connect().request(&["SET", "key", "last"]);
    await_same(nodes.iter().chain([&fresh]));
    assert_eq!(reader(&fresh).text(&["GET", "key"]), "last");
}

#[test]
fn writes_wait_for_a_log_that_takes_nothing_and_the_leader_goes_on_when_it_is_there_again() {
    const WRITES: usize = 50;
    let Some((mut nats, name)) = log(1) else { return };
    let nodes = keys_nodes(&nats, &name, 1);
    let mut client = leader(&nodes).connect();
    client.request(&["SET", "key", "before"]);
    nats.kill(0);
    client.send(&["SET", "key", "while"]);
    let long = vec![b'l'; 1 << 20];
    let mut writers: Vec<Client> = (0..WRITES).map(|_| nodes[0].connect()).collect();
    for (n, writer) in writers.iter_mut().enumerate() {
        writer.send(&[b"SET", format!("long:{n}").as_bytes(), &long]);
    }
    wait_for("the lease to end", || (figure(&nodes[0], "cluster_keys")? == "suspended").then_some(()));
    let queued = count(&nodes[0], "cluster_log_queued_bytes");
    assert!(queued < 36 << 20, "{queued} bytes wait");
    let mut reads = nodes[0].connect();
    reads.send(&["GET", "key"]);
    nats.start_again(0);
    assert_eq!(reads.value().as_bytes(), Some(&b"while"[..]));
    assert_eq!(client.value().as_bytes(), Some(&b"OK"[..]));
    for writer in &mut writers {
        assert_eq!(writer.value().as_bytes(), Some(&b"OK"[..]));
    }
    wait_for("nothing to wait", || (count(&nodes[0], "cluster_log_queued_bytes") == 0).then_some(()));
}

/// Reads until a client is told to forget this key, or all of them.
pub(crate) fn await_forgotten(client: &mut Client, key: Option<&str>) {
    loop {
        let push = client.value();
        let Value::Push(words) = &push else { panic!("no push: {push:?}") };
        match (&words[1], key) {
            (Value::Null, None) => return,
            (Value::Array(keys), Some(key)) if keys[0].as_bytes() == Some(key.as_bytes()) => return,
            _ => {}
        }
    }
}

#[test]
fn what_clients_track_and_watch_holds_where_another_node_comes_to_lead() {
    let Some((nats, name)) = log(1) else { return };
    let nodes = keys_nodes(&nats, &name, 2);
    let led = leader(&nodes);
    let leads = nodes.iter().find(|node| node.pid() != led.pid()).expect("there are two");
    led.connect().request(&["SET", "key", "before"]);
    let mut clients: Vec<(Client, Client)> =
        [led, leads].map(|node| (node.connect_resp3(), node.connect())).into();
    for (tracks, watches) in &mut clients {
        tracks.request(&["CLIENT", "TRACKING", "ON"]);
        assert_eq!(tracks.text(&["GET", "key"]), "before");
        watches.request(&["WATCH", "key"]);
    }
    led.freeze();
    leader([leads]);
    let mut there = leads.connect();
    there.request(&["SET", "key", "meanwhile"]);
    led.signal(Signal::CONT);
    wait_for("the other to follow", || (figure(led, "cluster_keys")? == "other").then_some(()));
    for (tracks, watches) in &mut clients {
        await_forgotten(tracks, None);
        tracks.send(&["GET", "key"]);
        // It may be told more than once.
        let mut value = tracks.value();
        while matches!(value, Value::Push(_)) {
            value = tracks.value();
        }
        assert_eq!(value.as_bytes(), Some(&b"meanwhile"[..]));
        there.request(&["SET", "key", "later"]);
        await_forgotten(tracks, Some("key"));
        there.request(&["SET", "key", "meanwhile"]);
        watches.request(&["MULTI"]);
        watches.request(&["SET", "key", "unwatched"]);
        assert_eq!(watches.request(&["EXEC"]), Value::Null, "a watched key was touched");
        watches.request(&["MULTI"]);
        watches.request(&["SET", "other", "x"]);
        assert_eq!(watches.request(&["EXEC"]).as_slice().map(<[Value]>::len), Some(1));
    }
}
