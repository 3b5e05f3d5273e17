//! Locks: whatever clients do on whichever shards, no two of them wait for each other.
//!
//! A debug build of the server asserts the order of its locks each time it takes one. So the second test needs no luck:
//! it runs every command of the table in such a server, alone and in transactions that hold keys.

use std::thread;

use sterna_command::Flags;
use sterna_config::Config;
use sterna_protocol::decode::Value;
use sterna_server::command::table::{Row, table};
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, PATIENCE, Server, free_port, wait_for};
use sterna_tests::skipped;

const ROUNDS: usize = 600;
/// Requests on their way at once.
const PIPELINE: usize = 20;

/// Sends each of `requests` again and again and reads the replies: as many as there are requests.
fn run(server: &Server, requests: &[&[&str]]) {
    let mut client = server.connect();
    for _ in 0..ROUNDS / PIPELINE {
        for _ in 0..PIPELINE {
            requests.iter().for_each(|request| client.send(request));
        }
        for nth in 0..PIPELINE * requests.len() {
            let request = requests[nth % requests.len()];
            let reply = client.value();
            assert!(!matches!(reply, Value::Error(_)), "{request:?}: {reply:?}");
        }
    }
}

#[test]
fn changes_of_settings_in_and_outside_transactions_do_not_wait_for_each_other() {
    let inside: [&[&str]; 3] = [
        &["CONFIG", "SET", "stream-node-max-entries", "50"],
        &["ACL", "SETUSER", "alice", "on", "~a*"],
        &["CONFIG", "REWRITE"],
    ];
    for shards in [1, 2, 3] {
        let launch = Launch::shards(shards).file("redis.conf", "").config("{folder}/redis.conf");
        let server = launch.args(&["--appendonly", "no"]).start();
        thread::scope(|scope| {
            for change in inside {
                let server = &server;
                scope.spawn(move || {
                    let pairs = (0..64).flat_map(|n| [format!("key:{n}"), "x".to_owned()]);
                    let set: Vec<String> = ["MSET".to_owned()].into_iter().chain(pairs).collect();
                    let set: Vec<&str> = set.iter().map(String::as_str).collect();
                    run(server, &[&["MULTI"], &set, change, &["EXEC"]]);
                });
            }
            for _ in 0..shards {
                scope.spawn(|| run(&server, &[&["CONFIG", "SET", "stream-node-max-entries", "60"]]));
            }
        });
        server.connect().assert_quiet();
    }
}

/// A request for the command: its name, and as many words as it takes at least, or one more.
fn request_of(row: &Row, more: usize) -> Vec<String> {
    let mut words: Vec<String> = row.full_name.split('|').map(str::to_owned).collect();
    let len = row.spec.arity.unsigned_abs() as usize + more;
    words.extend((words.len()..len).map(|at| if at == 1 { "k" } else { "1" }.to_owned()));
    words
}

/// Commands that end the connection or the server, or after which replies can't be counted.
const LEFT_OUT: [&str; 15] = [
    "shutdown",
    "quit",
    "monitor",
    "reset",
    "hello",
    "auth",
    "client|reply",
    "client|kill",
    "debug",
    "exec",
    "multi",
    "discard",
    "sync",
    "psync",
    "backup|stream",
];

fn requests() -> Vec<Vec<String>> {
    let rows = table().rows().iter().filter(|row| {
        row.subcommands.is_empty()
            && !LEFT_OUT.contains(&row.full_name.as_str())
            && !row.spec.flags.contains(Flags::PUBSUB)
            && row.spec.accepts(row.spec.arity.unsigned_abs() as usize)
    });
    let mut requests: Vec<Vec<String>> =
        rows.flat_map(|row| [request_of(row, 0), request_of(row, 1)]).collect();
    let more = [
        "XADD s * f v",
        "XGROUP CREATE s g $",
        "XREADGROUP GROUP g c BLOCK 1 STREAMS s >",
        "PUBLISH c m",
        "SUBSCRIBE c",
        "PSUBSCRIBE c*",
        "UNSUBSCRIBE c",
        "PUNSUBSCRIBE c*",
        "CLIENT TRACKING on",
        "GET k",
        "SET k v",
        "CLIENT TRACKING off",
        "CLIENT KILL ID 1000000",
        "CONFIG SET maxclients 100 notify-keyspace-events KEA slowlog-log-slower-than 0 latency-monitor-threshold 1",
        "CONFIG SET appendfsync always",
        "CONFIG REWRITE",
        "ACL SETUSER alice on nopass ~* &* +@all",
        "ACL DELUSER alice",
        "ACL LIST",
        "INFO everything",
        "MEMORY STATS",
        "BGSAVE SCHEDULE",
        "FLUSHALL",
    ];
    requests.extend(more.iter().map(|request| request.split(' ').map(str::to_owned).collect()));
    requests
}

/// Sends and reads until a PING behind it is answered, whatever replies and pushes come.
fn settle<A: AsRef<[u8]>>(client: &mut Client, requests: &[&[A]]) {
    requests.iter().for_each(|request| client.send(request));
    client.send(&["ECHO", "settled"]);
    loop {
        match client.frame(PATIENCE) {
            Frame::Bytes(bytes) if bytes == b"$7\r\nsettled\r\n" => return,
            Frame::Bytes(_) => {}
            other => panic!("{:?}: {other:?}", requests.iter().map(|r| words(r)).collect::<Vec<_>>()),
        }
    }
}

fn words<A: AsRef<[u8]>>(request: &[A]) -> String {
    let words: Vec<_> = request.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
    words.join(" ")
}

#[test]
fn no_command_breaks_the_order_of_locks_alone_or_in_a_transaction() {
    if !cfg!(debug_assertions) {
        return skipped("a release build does not look at the order of locks");
    }
    for shards in ["1", "2"] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, "").expect("it can be written");
        let port = free_port();
        let args = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--threads", shards];
        let args = args.map(str::to_owned).into_iter();
        let dir = ["--dir".to_owned(), folder.path().display().to_string()];
        let args: Vec<String> = args.chain(dir).collect();
        let loaded = Config::load(&args, sterna_server::LINE_CHECKS).expect("these options are right");
        let running = sterna_server::start(loaded.config, Some(file)).expect("it starts");
        let mut clients: Vec<Client> = (0..2)
            .map(|_| {
                let mut client = wait_for("a connection", || Client::try_to(port).ok());
                client.request(&["HELLO", "3"]);
                client
            })
            .collect();
        for request in requests() {
            let request: Vec<&str> = request.iter().map(String::as_str).collect();
            for client in &mut clients {
                settle(client, &[&request]);
                settle(client, &[&["MULTI"], &["MSET", "a", "1", "b", "2", "k", "3"], &request, &["EXEC"]]);
            }
        }
        running.stop();
        running.join(|| ()).expect("no shard has failed");
    }
}
