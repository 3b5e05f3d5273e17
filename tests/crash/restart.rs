//! Restarts in order, and what can be changed about the journal while the server runs.

use std::fs;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

fn launch() -> Launch {
    Launch::shards(2).args(&["--dir", "{folder}", "--enable-debug-command", "yes"])
}

/// One of everything that a key can hold.
const EVERYTHING: [&str; 40] = [
    "SET string value",
    "SET number 5",
    "INCR number",
    "SET long abcdefghijklmnopqrstuvwxyz",
    "APPEND string more",
    "SET expires soon EX 1000",
    "SELECT 3",
    "SET elsewhere 1",
    "SELECT 0",
    "XADD stream 1-1 a 1 b 2",
    "XADD stream 2-1 a 3 b 4",
    "XADD stream 3-1 c 5",
    "XDEL stream 2-1",
    "XGROUP CREATE stream g 0",
    "XREADGROUP GROUP g alice COUNT 1 STREAMS stream >",
    "XREADGROUP GROUP g bob STREAMS stream >",
    "XACK stream g 1-1",
    "XADD trimmed MAXLEN 2 1-1 a 1",
    "RPUSH list a b 3 -70000 a",
    "LREM list 1 a",
    "LMOVE list moved LEFT RIGHT",
    "SADD integers 1 -2 70000 9999999999",
    "SADD set 1 two 3",
    "SPOP set",
    "SMOVE integers set 70000",
    "HSET hash f v n 2 expires soon",
    "HINCRBYFLOAT hash n 0.5",
    "HPEXPIREAT hash 9999999999999 FIELDS 1 expires",
    "HDEL hash f",
    "ZADD sorted 1 a 2.5 b -inf c inf d",
    "ZINCRBY sorted 4 a",
    "ZPOPMIN sorted",
    "ZRANGESTORE part sorted 0 1",
    "SETBIT bits 1000 1",
    "BITFIELD bits SET u8 #3 200",
    "PFADD loglog a b c d",
    "GEOADD places 13.361389 38.115556 Palermo",
    "COPY hash copied",
    "EXPIRE copied 1000",
    "SETRANGE long 40 there",
];

fn fill(client: &mut Client) {
    for line in EVERYTHING {
        let words: Vec<&str> = line.split(' ').collect();
        client.request(&words);
    }
    for number in 2..2000 {
        client.request(&["XADD", "trimmed", "MAXLEN", "~", "300", &format!("{number}-1"), "field", "value"]);
    }
    for number in 0..1000 {
        let (n, name) = (number.to_string(), format!("name of number {number}"));
        client.request(&["RPUSH", "large:list", &name]);
        client.request(&["SADD", "large:set", &name]);
        client.request(&["HSET", "large:hash", &name, &n]);
        client.request(&["ZADD", "large:sorted", &format!("{}.5", number % 7), &name]);
    }
    client.request(&["SET", "gone", "1"]);
    client.request(&["DEL", "gone"]);
}

/// Everything that can be seen of the keys.
fn picture(client: &mut Client) -> Vec<Value> {
    let looks: &[&[&str]] = &[
        &["DBSIZE"],
        &["GET", "string"],
        &["GET", "number"],
        &["OBJECT", "ENCODING", "number"],
        &["STRLEN", "long"],
        &["EXPIRETIME", "expires"],
        &["GET", "long"],
        &["LRANGE", "list", "0", "-1"],
        &["LRANGE", "moved", "0", "-1"],
        &["SORT", "integers"],
        &["SORT", "set", "ALPHA"],
        &["HGET", "hash", "n"],
        &["HLEN", "hash"],
        &["HPEXPIRETIME", "hash", "FIELDS", "2", "expires", "n"],
        &["HGET", "copied", "expires"],
        &["EXPIRETIME", "copied"],
        &["ZRANGE", "sorted", "0", "-1", "WITHSCORES"],
        &["ZRANGE", "part", "0", "-1", "WITHSCORES"],
        &["GET", "bits"],
        &["PFCOUNT", "loglog"],
        &["GEOPOS", "places", "Palermo"],
        &["LRANGE", "large:list", "0", "-1"],
        &["SORT", "large:set", "ALPHA"],
        &["HLEN", "large:hash"],
        &["HGET", "large:hash", "name of number 777"],
        &["ZRANGE", "large:sorted", "0", "-1", "WITHSCORES"],
        &["XRANGE", "stream", "-", "+"],
        &["XINFO", "STREAM", "stream", "FULL"],
        &["XPENDING", "stream", "g"],
        &["XRANGE", "trimmed", "-", "+"],
        &["XLEN", "trimmed"],
        &["EXISTS", "gone"],
        &["SELECT", "3"],
        &["GET", "elsewhere"],
        &["SELECT", "0"],
    ];
    looks.iter().map(|look| client.request(look)).collect()
}

fn assert_same(server: &Server, before: &[Value], when: &str) {
    let after = picture(&mut server.connect());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after, "{when}");
    }
}

#[test]
fn a_restart_brings_everything_back_from_log_and_from_snapshot() {
    let mut server = launch().start();
    fill(&mut server.connect());
    let before = picture(&mut server.connect());
    server.restart();
    assert_same(&server, &before, "from the log");
    server.connect().request(&["DEBUG", "LOADAOF"]);
    assert_same(&server, &before, "loaded again from the log");
    server.connect().request(&["SAVE"]);
    assert_same(&server, &before, "after a snapshot");
    server.restart();
    assert_same(&server, &before, "from a snapshot");
    server.connect().request(&["DEBUG", "RELOAD"]);
    assert_same(&server, &before, "loaded again from a snapshot");
    server.connect().request(&["SET", "number", "7"]);
    server.connect().request(&["SET", "number", "6"]);
    server.connect().request(&["BGREWRITEAOF"]);
    wait_for("the snapshot", || {
        server.connect().text(&["INFO", "persistence"]).contains("aof_rewrites:1").then_some(())
    });
    server.connect().request(&["FLUSHALL"]);
    server.restart();
    assert_eq!(server.connect().int(&["DBSIZE"]), 0);
}

#[test]
fn a_journal_is_turned_on_and_off_while_the_server_runs() {
    let mut server = launch().args(&["--appendonly", "no"]).start();
    let mut client = server.connect();
    client.request(&["SET", "early", "1"]);
    assert!(!fs::exists(server.path("appendonlydir")).expect("the folder can be read"));
    client.request(&["CONFIG", "SET", "appendonly", "yes"]);
    client.request(&["SET", "late", "1"]);
    client.request(&["WAITAOF", "1", "0", "0"]);
    server.kill();
    let mut server = server.again_with(&["--appendonly", "yes"]);
    let mut client = server.connect();
    assert_eq!(client.int(&["EXISTS", "early", "late"]), 2);
    client.request(&["CONFIG", "SET", "appendonly", "no"]);
    client.request(&["SET", "unheard", "1"]);
    client.request(&["DEL", "early"]);
    client.request(&["CONFIG", "SET", "appendonly", "yes"]);
    client.request(&["CONFIG", "SET", "appendfsync", "always"]);
    client.request(&["SET", "last", "1"]);
    server.kill();
    server.start_again();
    let mut client = server.connect();
    assert_eq!(client.int(&["EXISTS", "early"]), 0);
    assert_eq!(client.int(&["EXISTS", "unheard", "late", "last"]), 3);
}

#[test]
fn what_expired_before_a_restart_does_not_come_back() {
    let mut server = launch().start();
    let mut client = server.connect();
    client.request(&["SET", "short", "1", "PX", "1"]);
    wait_for("the key to expire", || (client.int(&["EXISTS", "short"]) == 0).then_some(()));
    client.request(&["SET", "kept", "1", "PX", "1000000"]);
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.int(&["EXISTS", "short", "kept"]), 1);
    assert!(client.int(&["PTTL", "kept"]) > 0);
}

#[test]
fn a_blocked_reader_answered_by_a_write_is_in_that_writes_record() {
    let mut server = launch().args(&["--appendfsync", "always"]).start();
    let mut reader = server.connect();
    reader.request(&["XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"]);
    reader.send(&["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"]);
    let mut writer = server.connect();
    wait_for("the reader to block", || {
        writer.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    writer.request(&["XADD", "s", "1-1", "f", "v"]);
    assert!(reader.value().as_slice().is_some());
    server.kill();
    server.start_again();
    let pending = server.connect().request(&["XPENDING", "s", "g", "-", "+", "10"]);
    assert_eq!(pending.as_slice().map(<[Value]>::len), Some(1));
}
