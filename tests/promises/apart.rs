//! Commands that take long are run apart: others are served meanwhile, and still nobody sees half of one.

use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

const MEMBERS: usize = 60_000;

/// A sorted set of so many members, each with its number as its score.
fn fill(client: &mut Client, key: &str) {
    for from in (0..MEMBERS).step_by(2_000) {
        let pairs = (from..from + 2_000).flat_map(|number| [number.to_string(), format!("member:{number}")]);
        let request: Vec<String> = ["ZADD".to_owned(), key.to_owned()].into_iter().chain(pairs).collect();
        client.request(&request);
    }
}

fn launched(shards: usize) -> Server {
    Launch::shards(shards).args(&["--notify-keyspace-events", "Kz"]).start()
}

#[test]
fn a_long_union_is_one_moment_to_those_who_watch_it_come() {
    for shards in [1, 2] {
        let server = launched(shards);
        let mut client = server.connect();
        fill(&mut client, "a");
        fill(&mut client, "b");
        client.send(&["ZUNIONSTORE", "sum", "2", "a", "b"]);
        client.send(&["ZSCORE", "sum", "member:7"]);
        let mut other = server.connect();
        let mut answered_before = 0;
        loop {
            match other.int(&["ZCARD", "sum"]) {
                0 => answered_before += 1,
                card => break assert_eq!(card, MEMBERS as i64, "nobody sees a part of it"),
            }
        }
        println!("on {shards} shards others were answered {answered_before} times before it was done");
        assert!(answered_before > 0);
        assert_eq!(client.value(), Value::Int(MEMBERS as i64));
        assert_eq!(client.value(), Value::Bulk(b"14".to_vec()), "the client's requests keep their order");
    }
}

#[test]
fn writes_to_the_keys_of_a_long_command_wait_for_it_and_are_in_the_next_one() {
    let server = launched(2);
    let mut client = server.connect();
    fill(&mut client, "a");
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = server.connect();
            (1..=30).for_each(|n| drop(writer.request(&["ZADD", "a", &n.to_string(), "counter"])));
        });
        let (mut last, mut rounds) = (0, 0);
        while !writer.is_finished() {
            assert!(client.int(&["ZUNIONSTORE", "copy", "1", "a"]) >= MEMBERS as i64);
            let score = match client.request(&["ZSCORE", "copy", "counter"]) {
                Value::Bulk(digits) => {
                    String::from_utf8_lossy(&digits).parse::<i64>().expect("a whole score")
                }
                _ => 0,
            };
            assert!(score >= last, "what was in one copy is in the next");
            (last, rounds) = (score, rounds + 1);
        }
        println!("{rounds} copies");
    });
    client.request(&["ZUNIONSTORE", "copy", "1", "a"]);
    assert_eq!(client.text(&["ZSCORE", "copy", "counter"]), "30");
}

#[test]
fn a_long_command_of_a_client_that_is_gone_happens_and_survives_a_restart() {
    let mut server = Launch::shards(2).args(&["--appendonly", "yes", "--appendfsync", "always"]).start();
    let mut client = server.connect();
    fill(&mut client, "a");
    client.send(&["ZREMRANGEBYSCORE", "a", "0", &(MEMBERS - 2).to_string()]);
    drop(client);
    let mut other = server.connect();
    wait_for("the removal", || (other.int(&["ZCARD", "a"]) == 1).then_some(()));
    assert_eq!(other.int(&["ZADD", "a", "1", "more"]), 1);
    drop(other);
    server.restart();
    let mut other = server.connect();
    assert_eq!(other.int(&["ZCARD", "a"]), 2);
}

#[test]
fn in_a_transaction_or_a_script_a_long_command_is_a_step_like_any_other() {
    let server = launched(2);
    let mut client = server.connect();
    fill(&mut client, "a");
    client.request(&["MULTI"]);
    client.request(&["ZUNIONSTORE", "b", "1", "a"]);
    client.request(&["ZCARD", "b"]);
    let members = Value::Int(MEMBERS as i64);
    assert_eq!(client.request(&["EXEC"]), Value::Array(vec![members.clone(), members.clone()]));
    let script = "redis.call('ZRANGESTORE', KEYS[2], KEYS[1], 0, -1) return redis.call('ZCARD', KEYS[2])";
    assert_eq!(client.request(&["EVAL", script, "2", "a", "c"]), members);
}

#[test]
fn a_long_command_is_silent_where_replies_are_off_and_wakes_who_waits_for_its_key() {
    let server = launched(2);
    let mut client = server.connect();
    fill(&mut client, "a");
    let mut waiting = server.connect();
    waiting.send(&["BZPOPMIN", "b", "0"]);
    wait_for("the wait", || client.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(()));
    client.send(&["CLIENT", "REPLY", "SKIP"]);
    client.send(&["ZUNIONSTORE", "b", "1", "a"]);
    assert_eq!(client.int(&["ZCARD", "b"]), MEMBERS as i64 - 1);
    let Value::Array(popped) = waiting.value() else { panic!("an array") };
    assert_eq!(popped[1], Value::Bulk(b"member:0".to_vec()));
}
