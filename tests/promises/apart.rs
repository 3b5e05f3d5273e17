//! Commands that take long are run apart: others are served meanwhile, and still nobody sees half of one.

use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

use crate::transactions::served_until_told;

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
        let mut other = server.connect();
        // One may be done before this process is given the processor again.
        let is_watched = (0..200).any(|_| {
            client.send(&["ZUNIONSTORE", "sum", "2", "a", "b"]);
            client.send(&["ZSCORE", "sum", "member:7"]);
            let mut answered_before = 0;
            loop {
                match other.int(&["ZCARD", "sum"]) {
                    0 => answered_before += 1,
                    card => break assert_eq!(card, MEMBERS as i64, "nobody sees a part of it"),
                }
            }
            println!("on {shards} shards others were answered {answered_before} times before it was done");
            assert_eq!(client.value(), Value::Int(MEMBERS as i64));
            assert_eq!(client.value(), Value::Bulk(b"14".to_vec()), "the client's requests keep their order");
            client.request(&["DEL", "sum"]);
            answered_before > 0
        });
        assert!(is_watched, "nobody was answered before it was done");
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

const ENTRIES: usize = 20_000;

/// A stream of so many entries, 1-0 to 20000-0, with a group that has read nothing.
fn fill_stream(client: &mut Client, key: &str) {
    for from in (1..=ENTRIES).step_by(1_000) {
        (from..from + 1_000)
            .for_each(|id| client.send(&["XADD", key, &format!("{id}-0"), "field", "some value"]));
        (0..1_000).for_each(|_| drop(client.value()));
    }
    client.request(&["XGROUP", "CREATE", key, "g", "0"]);
}

/// Another client is answered while a request runs; which may be over before that one has asked, so it is sent again.
fn assert_answered_beside(client: &mut Client, other: &mut Client, request: &[&str]) {
    let is_answered = (0..500).any(|_| answered_beside(client, other, request) > 0);
    assert!(is_answered, "{:?}", &request[..2]);
}

/// Another client of the same shard is answered many times while a request runs: whoever is held up is answered once or twice,
/// before it begins.
fn assert_served_beside(client: &mut Client, other: &mut Client, request: &[&str]) {
    let is_served = (0..200).any(|_| answered_beside(client, other, request) >= 4);
    assert!(is_served, "{:?}", &request[..2]);
}

/// Sends a request, whose reply is skipped, and counts what another client is answered before that is done.
fn answered_beside(client: &mut Client, other: &mut Client, request: &[&str]) -> usize {
    other.request(&["DEL", "done"]);
    client.send(&["CLIENT", "REPLY", "SKIP"]);
    client.send(request);
    client.send(&["SET", "done", "1"]);
    let mut answered = 0;
    while other.request(&["EXISTS", "done"]) == Value::Int(0) {
        answered += 1;
    }
    assert_eq!(client.value(), Value::Simple(b"OK".to_vec()), "the client's requests keep their order");
    answered
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        other => panic!("an array, not {other:?}"),
    }
}

#[test]
fn who_reads_all_of_a_long_stream_keeps_nobody_waiting_and_sees_one_moment() {
    for shards in [1, 2] {
        let server = launched(shards);
        let (mut client, mut other) = (server.connect(), server.connect());
        fill_stream(&mut client, "s");
        let key_and_entries = |value: Value| elements(elements(value).remove(0)).remove(1);
        let read = |client: &mut Client, request: &[&str]| {
            let reply = client.request(request);
            let entries = if request[0].starts_with("XREAD") { key_and_entries(reply) } else { reply };
            assert_eq!(elements(entries).len(), ENTRIES, "{request:?}");
        };
        read(&mut client, &["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"]);
        for request in [
            &["XRANGE", "s", "-", "+"][..],
            &["XREVRANGE", "s", "+", "-"],
            &["XREAD", "STREAMS", "s", "0"],
            &["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", "0"],
            &["XPENDING", "s", "g", "-", "+", "1000000"],
        ] {
            assert_answered_beside(&mut client, &mut other, request);
            read(&mut client, request);
        }
        let claim = ["XAUTOCLAIM", "s", "g", "d", "0", "0", "COUNT", "1000000", "JUSTID"];
        assert_answered_beside(&mut client, &mut other, &claim);
        let summary = elements(client.request(&["XPENDING", "s", "g"])).remove(3);
        let [Value::Array(owner)] = &elements(summary)[..] else { panic!("one consumer") };
        assert_eq!(owner[0], Value::Bulk(b"d".to_vec()));
    }
}

#[test]
fn what_a_group_acknowledges_while_all_of_it_is_claimed_stays_acknowledged() {
    let server = launched(2);
    let (mut client, mut other) = (server.connect(), server.connect());
    fill_stream(&mut client, "s");
    client.request(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"]);
    let mut acked = 0;
    for round in 0..5 {
        let consumer = format!("claimer:{round}");
        client.send(&["XAUTOCLAIM", "s", "g", &consumer, "0", "0", "COUNT", "1000000", "JUSTID"]);
        // By a script that does not name the key: it does not wait for the claim, which begins anew.
        let script = "return redis.call('XACK', 's', 'g', ARGV[1])";
        for _ in 0..10 {
            acked += 1;
            assert_eq!(other.int(&["EVAL", script, "0", &format!("{acked}-0")]), 1);
        }
        let claimed = elements(elements(client.value()).remove(1)).len();
        assert!(claimed >= ENTRIES - acked && claimed <= ENTRIES - acked + 10, "{claimed} of {acked}");
        let pending = elements(client.request(&["XPENDING", "s", "g"])).remove(0);
        assert_eq!(pending, Value::Int((ENTRIES - acked) as i64), "what is acknowledged is not claimed back");
    }
}

#[test]
fn a_long_command_waits_for_the_end_of_a_pause_and_does_not_happen_to_who_lost_the_right_meanwhile() {
    let server = launched(2);
    let mut admin = server.connect();
    fill(&mut admin, "a");
    for round in 0..100 {
        admin.request(&["ACL", "SETUSER", "alice", "on", "nopass", "~*", "+@all"]);
        let mut alice = server.connect();
        alice.request(&["AUTH", "alice", "x"]);
        let destination = format!("sum:{round}");
        alice.send(&["ZUNIONSTORE", &destination, "2", "a", "a"]);
        alice.send(&["PING"]);
        admin.request(&["CLIENT", "PAUSE", "100000", "WRITE"]);
        admin.request(&["ACL", "SETUSER", "alice", "-zunionstore"]);
        admin.request(&["CLIENT", "UNPAUSE"]);
        let reply = alice.value();
        assert_eq!(alice.value(), Value::Simple(b"PONG".to_vec()));
        let card = admin.int(&["ZCARD", &destination]);
        match reply {
            Value::Int(members) => assert_eq!(card, members),
            Value::Error(text) => {
                assert!(text.starts_with(b"NOPERM"), "{}", text.escape_ascii());
                assert_eq!(card, 0, "it has not happened");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("the right was never lost in time");
}

#[test]
fn the_reply_of_a_command_that_was_run_apart_counts_for_its_client_who_does_not_read_it() {
    let server = launched(1);
    let (mut client, mut other) = (server.connect(), server.connect());
    fill_stream(&mut client, "s");
    client.request(&["CLIENT", "SETNAME", "greedy"]);
    (0..20).for_each(|_| client.send(&["XRANGE", "s", "-", "+"]));
    let omem = |other: &mut Client| {
        let list = other.text(&["CLIENT", "LIST"]);
        let line = list.lines().find(|line| line.contains("name=greedy")).map(str::to_owned)?;
        line.split(' ').find_map(|field| field.strip_prefix("omem=")?.parse::<usize>().ok())
    };
    // Where the sockets take no more it stays above what lets the next request go on, which is half of 256 KB: how far above, they say.
    wait_for("a reply that nobody reads", || omem(&mut other).filter(|&bytes| bytes > 128 << 10));
    // The requests behind it wait until it has been read.
    for _ in 0..50 {
        assert!(
            omem(&mut other).expect("the client") < 3 << 20,
            "a reply is 1 MB, and twenty were asked for"
        );
    }
    (0..20).for_each(|_| assert_eq!(elements(client.value()).len(), ENTRIES));
    other.request(&["CONFIG", "SET", "client-output-buffer-limit", "normal 500kb 0 0"]);
    (0..20).for_each(|_| client.send(&["XRANGE", "s", "-", "+"]));
    wait_for("the end of a client over its limit", || omem(&mut other).is_none().then_some(()));
}

#[test]
fn a_long_value_is_written_and_read_apart_in_the_order_of_its_client() {
    let server = launched(2);
    let (mut client, mut other) = (server.connect(), server.connect());
    let (long, tail) = ("v".repeat(40 << 20), "t".repeat(5 << 20));
    assert_answered_beside(&mut client, &mut other, &["SET", "k", &long]);
    for request in
        [&["APPEND", "k", &tail][..], &["STRLEN", "k"], &["GETRANGE", "k", "1", "-1"], &["GETDEL", "k"]]
    {
        client.send(request);
    }
    let bytes = (long.len() + tail.len()) as i64;
    assert_eq!([client.value(), client.value()], [Value::Int(bytes), Value::Int(bytes)]);
    let whole = Value::Bulk([long.as_bytes(), tail.as_bytes()].concat());
    let Value::Bulk(part) = client.value() else { panic!("a string") };
    assert!(client.value() == whole && part == [&long.as_bytes()[1..], tail.as_bytes()].concat());
    assert_eq!(client.int(&["EXISTS", "k"]), 0);
}

#[test]
fn a_request_with_very_many_arguments_holds_nobody() {
    let server = launched(1);
    let (mut client, mut other) = (server.connect(), server.connect());
    let members: Vec<String> = (0..10_000).map(|number| format!("member:{number}")).collect();
    let pairs: Vec<&str> = members.iter().flat_map(|member| ["1", member.as_str()]).collect();
    let names: Vec<&str> = members.iter().map(String::as_str).collect();
    let values: Vec<&str> = members.iter().flat_map(|member| [member.as_str(), "v"]).collect();
    for (add, words, remove, count) in [
        ("ZADD", pairs, "ZREM", "ZCARD"),
        ("SADD", names.clone(), "SREM", "SCARD"),
        ("HSET", values, "HDEL", "HLEN"),
    ] {
        let add = [&[add, "k"], &words[..]].concat();
        let remove = [&[remove, "k"], &names[..]].concat();
        let is_answered = (0..200).any(|_| {
            let beside = answered_beside(&mut client, &mut other, &add);
            assert_eq!(client.int(&[count, "k"]), 10_000);
            let beside = beside.min(answered_beside(&mut client, &mut other, &remove));
            assert_eq!(client.int(&["EXISTS", "k"]), 0);
            beside > 0
        });
        assert!(is_answered, "{}", add[0]);
    }
}

#[test]
fn what_is_read_apart_counts_as_a_read() {
    let server = launched(1);
    let mut client = server.connect();
    let names: Vec<String> = (0..12_000).map(|number| format!("member:{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for some in names.chunks(1_000) {
        client.request(&[&["SADD", "set"], some].concat());
        client.request(&[&["RPUSH", "list"], some].concat());
    }
    let counts = |client: &mut Client| {
        let info = client.text(&["INFO", "stats"]);
        ["keyspace_hits:", "keyspace_misses:"].map(|name| {
            let number = info.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
            number.expect("a number")
        })
    };
    for (request, expected) in [
        ([&["SMISMEMBER", "set"], &names[..3_000]].concat(), [1, 0]),
        ([&["SMISMEMBER", "missing"], &names[..3_000]].concat(), [0, 1]),
        ([&["HMGET", "missing"], &names[..3_000]].concat(), [0, 1]),
        (vec!["SORT", "list", "ALPHA", "LIMIT", "0", "1"], [1, 0]),
        (vec!["SUNIONSTORE", "to", "set", "missing"], [1, 1]),
        ([&["SADD", "set"], &names[..3_000]].concat(), [0, 0]),
    ] {
        let before = counts(&mut client);
        client.request(&request);
        let after = counts(&mut client);
        assert_eq!([after[0] - before[0], after[1] - before[1]], expected, "{:?}", &request[..2]);
    }
}

#[test]
fn what_is_little_of_each_of_many_keys_or_patterns_holds_nobody() {
    let server = launched(1);
    let (mut client, mut other) = (server.connect(), server.connect());
    let members: Vec<String> = (0..2_000).map(|number| format!("member:{number}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let keys: Vec<String> = (0..200).map(|number| format!("set:{}", number % 20)).collect();
    for key in &keys[..20] {
        client.request(&[&["SADD", key], &members[..]].concat());
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let own: Vec<String> = (0..2_000).map(|number| format!("own:{number}")).collect();
    client.request(&[&["SADD", "own"], &own.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    // What a difference begins with is in none of the others: each is asked for each.
    for (word, first, found) in
        [("SINTER", "set:0", 2_000), ("SUNION", "own", 4_000), ("SDIFF", "own", 2_000)]
    {
        let request = [&[word, first], &keys[..]].concat();
        assert_served_beside(&mut client, &mut other, &request);
        assert_eq!(elements(client.request(&request)).len(), found, "{word}");
    }
    let patterns: Vec<&str> = (0..200).flat_map(|_| ["GET", "none:*"]).collect();
    let sort = [&["SORT", "set:0", "BY", "nosort"], &patterns[..]].concat();
    // It has all keys to itself: who needs none is served.
    let mut told = server.connect_resp3();
    told.request(&["SUBSCRIBE", "done"]);
    let is_served = (0..200).any(|_| {
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        client.send(&sort);
        client.send(&["PUBLISH", "done", "x"]);
        let served = served_until_told(&mut told);
        assert_eq!(client.value(), Value::Int(1));
        served >= 4
    });
    assert!(is_served, "nobody was served beside SORT");
    assert_eq!(elements(client.request(&sort)).len(), 400_000);
    let entries = ["XADD", "stream:0", "*", "f", "v"];
    (0..2_000).for_each(|_| client.send(&entries));
    (0..2_000).for_each(|_| drop(client.value()));
    let streams: Vec<String> = (0..100).map(|number| format!("stream:{number}")).collect();
    streams[1..].iter().for_each(|stream| drop(client.request(&["COPY", "stream:0", stream])));
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    let read = [&["XREAD", "STREAMS"], &streams[..], &["0"; 100]].concat();
    assert_served_beside(&mut client, &mut other, &read);
    assert_eq!(elements(client.request(&read)).len(), 100);
}

#[test]
fn who_sends_no_more_gets_the_replies_to_what_it_has_sent_however_long_that_takes() {
    for shards in [1, 2] {
        let server = launched(shards);
        let mut client = server.connect();
        fill(&mut client, "a");
        let long = "x".repeat(3 << 20);
        let (union, set) = (&["ZUNIONSTORE", "sum", "1", "a"][..], ["SET", "long", &long]);
        let requests = [
            (vec![union], ":60000\r\n"),
            (vec![union, &["ECHO", "e"], union], ":60000\r\n$1\r\ne\r\n:60000\r\n"),
            (vec![&["COPY", "a", "b", "REPLACE"]], ":1\r\n"),
            (vec![&set[..]], "+OK\r\n"),
            (vec![&["MULTI"], union, &["EXEC"]], "+OK\r\n+QUEUED\r\n*1\r\n:60000\r\n"),
            (vec![&["EVAL", "for i = 1, 1e6 do end return 1", "0"]], ":1\r\n"),
        ];
        for (requests, replies) in &requests {
            for _ in 0..3 {
                let mut leaving = server.connect();
                requests.iter().for_each(|request| leaving.send(request));
                // Others have the keys, or the scripts, at the same time.
                let mut other = server.connect();
                other.send(union);
                leaving.finish();
                assert_eq!(String::from_utf8_lossy(&leaving.rest()), *replies, "{shards} shards");
                assert_eq!(other.value(), Value::Int(MEMBERS as i64));
            }
        }
    }
}
