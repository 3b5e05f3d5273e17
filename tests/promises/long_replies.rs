//! A reply that is made as a whole before any of it is sent has an end: that of what its client may have queued, or its own.

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::memory::resident_bytes_at_most;
use sterna_tests::server::{Server, wait_for};

const VALUE: usize = 1 << 20;

/// Times that the value is asked for: a reply of 600 MB.
const TIMES: usize = 600;

/// More than the server, the value and twice the limit need, and less than half of the reply.
const MEMORY: u64 = 250 << 20;

fn server(shards: usize) -> Server {
    let server = Server::sterna(
        shards,
        &["--client-output-buffer-limit", "normal", "40mb", "0", "0", "--appendonly", "no"],
    );
    let mut client = server.connect();
    let value = "x".repeat(VALUE);
    client.request(&["SET", "k", &value]);
    client.request(&["HSET", "h", "f", &value]);
    client.request(&["HSET", "mixed", "f", &value]);
    for first in 0..200 {
        // So many short ones that the mean is short.
        let fields: Vec<String> = (0..100).map(|nth| format!("{first}:{nth}")).collect();
        let pairs: Vec<&str> = fields.iter().flat_map(|field| [&**field, "v"]).collect();
        client.request(&[vec!["HSET", "mixed"], pairs].concat());
    }
    client.request(&["SADD", "s", &value]);
    (0..60).for_each(|_| drop(client.request(&["RPUSH", "l", &value])));
    server
}

fn named(client: &mut Client, name: &str) -> bool {
    client.text(&["CLIENT", "LIST"]).lines().any(|line| line.contains(&format!("name={name} ")))
}

#[test]
fn of_a_reply_that_is_longer_than_its_client_may_have_queued_no_more_is_made_and_the_client_is_closed() {
    for shards in [1, 2] {
        let server = server(shards);
        let mut other = server.connect();
        let (count, number) = (format!("-{TIMES}"), TIMES.to_string());
        let mget = [vec!["MGET"], vec!["k"; TIMES]].concat();
        let hmget = [vec!["HMGET", "h"], vec!["f"; TIMES]].concat();
        let requests: [&[&str]; 5] = [
            &mget,
            &hmget,
            &["HRANDFIELD", "h", &count, "WITHVALUES"],
            &["SRANDMEMBER", "s", &count],
            &["LPOP", "l", &number],
        ];
        for (at, request) in requests.into_iter().enumerate() {
            for in_transaction in [false, true] {
                let (mut greedy, name) = (server.connect(), format!("greedy-{at}-{in_transaction}"));
                greedy.request(&["CLIENT", "SETNAME", &name]);
                assert!(named(&mut other, &name));
                if in_transaction {
                    greedy.request(&["MULTI"]);
                    greedy.request(request);
                    greedy.send(&["EXEC"]);
                } else {
                    greedy.send(request);
                }
                wait_for("the end of a client over its limit", || (!named(&mut other, &name)).then_some(()));
            }
        }
        assert_eq!(other.int(&["LLEN", "l"]), 60, "of what could not be answered nothing has happened");
        let most = resident_bytes_at_most(server.pid());
        assert!(most < MEMORY, "{most} bytes");
        // What is within the limit is answered.
        let Value::Array(elements) = other.request(&["LPOP", "l", "30"]) else { panic!("an array") };
        assert_eq!((elements.len(), other.int(&["LLEN", "l"])), (30, 30));
    }
}

#[test]
fn a_transaction_that_answers_one_long_field_of_many_again_and_again_is_not_made_in_one_piece() {
    for shards in [1, 2] {
        let server = server(shards);
        let mut other = server.connect();
        let mut greedy = server.connect();
        greedy.request(&["CLIENT", "SETNAME", "greedy"]);
        assert!(named(&mut other, "greedy"));
        greedy.request(&["MULTI"]);
        (0..200).for_each(|_| drop(greedy.request(&["HGET", "mixed", "f"])));
        greedy.send(&["EXEC"]);
        wait_for("the end of a client over its limit", || (!named(&mut other, "greedy")).then_some(()));
        let most = resident_bytes_at_most(server.pid());
        println!("{shards} shards: {most} bytes");
        assert!(most < MEMORY, "{most} bytes");
    }
}

#[test]
fn who_is_not_answered_has_no_reply_that_is_too_long() {
    let server = server(1);
    let mut client = server.connect();
    client.send(&["CLIENT", "REPLY", "OFF"]);
    client.send(&["LPOP", "l", "60"]);
    client.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(client.value(), Value::Simple(b"OK".to_vec()));
    assert_eq!(client.int(&["LLEN", "l"]), 0);
}

#[test]
fn very_many_long_values_are_read_whole_and_in_their_order() {
    let server = Server::sterna(2, &["--appendonly", "no"]);
    let mut client = server.connect();
    let long = "v".repeat(100_000);
    client.request(&["MSET", "long", &long, "short", "s", "empty", ""]);
    let names: Vec<&str> = (0..9_000)
        .map(|at| match at {
            0..100 | 8_000..8_050 => "long",
            at if at % 3 == 0 => "short",
            at if at % 3 == 1 => "empty",
            _ => "none",
        })
        .collect();
    let request = [vec!["MGET"], names.clone()].concat();
    let Value::Array(values) = client.request(&request) else { panic!("an array") };
    assert_eq!(values.len(), names.len());
    for (value, name) in values.iter().zip(names) {
        let is_right = match name {
            "long" => *value == Value::Bulk(long.clone().into_bytes()),
            "short" => *value == Value::Bulk(b"s".to_vec()),
            "empty" => *value == Value::Bulk(Vec::new()),
            _ => matches!(value, Value::Null),
        };
        assert!(is_right, "{name}");
    }
}

#[test]
fn long_values_behind_very_many_that_are_missing_are_not_read_all_at_once() {
    let server = server(1);
    let mut other = server.connect();
    let mut greedy = server.connect();
    greedy.request(&["CLIENT", "SETNAME", "greedy"]);
    let request = [vec!["MGET"], vec!["none"; 9_000], vec!["k"; TIMES]].concat();
    assert!(named(&mut other, "greedy"));
    greedy.send(&request);
    wait_for("the end of a client over its limit", || (!named(&mut other, "greedy")).then_some(()));
    let most = resident_bytes_at_most(server.pid());
    println!("{most} bytes");
    assert!(most < MEMORY, "{most} bytes");
}

#[test]
fn a_transaction_that_takes_what_is_long_of_much_that_is_short_is_not_made_in_one_piece() {
    const LONG: usize = 100;
    let server = Server::sterna(1, &["--appendonly", "no"]);
    let mut other = server.connect();
    let text = "x".repeat(VALUE);
    // What is short in front hides nothing.
    other.request(&["RPUSH", "list", "short"]);
    other.request(&["ZADD", "zset", "-1", "short"]);
    for nth in 0..LONG {
        other.request(&["RPUSH", "list", &text]);
        other.request(&["ZADD", "zset", "0", &format!("{nth}{text}")]);
        other.request(&["XADD", "stream", "*", "f", &text[..100_000]]);
    }
    for first in 0..60 {
        let names: Vec<String> = (0..1000).map(|nth| format!("{first}:{nth}")).collect();
        let elements = names.iter().map(String::as_str);
        other.request(&[vec!["RPUSH", "list"], elements.clone().collect()].concat());
        let scored = elements.flat_map(|name| ["1", name]);
        other.request(&[vec!["ZADD", "zset"], scored.collect()].concat());
    }
    other.request(&["XGROUP", "CREATE", "stream", "g", "0"]);
    other.request(&["XREADGROUP", "GROUP", "g", "one", "COUNT", "1000", "STREAMS", "stream", ">"]);
    let requests: [(&[&str], usize); 3] = [
        (&["LPOP", "list"], 1 + LONG),
        (&["ZPOPMIN", "zset"], 1 + LONG),
        (&["XAUTOCLAIM", "stream", "g", "two", "0", "0"], 1),
    ];
    for (request, times) in requests {
        let mut taker = server.connect();
        taker.request(&["CLIENT", "SETNAME", "taker"]);
        // Else it would be served behind those who ask for little.
        (0..64).for_each(|_| taker.assert_quiet());
        taker.request(&["MULTI"]);
        (0..times).for_each(|_| drop(taker.request(request)));
        (0..64).for_each(|_| other.assert_quiet());
        // Both are there when the server goes on, the transaction before the question.
        server.freeze();
        taker.send(&["EXEC"]);
        other.send(&["CLIENT", "LIST"]);
        server.signal(Signal::CONT);
        let clients = other.value();
        let clients = String::from_utf8_lossy(clients.as_bytes().expect("a text")).into_owned();
        let line = clients.lines().find(|line| line.contains(" name=taker ")).expect("the taker");
        let queued =
            line.split(" omem=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        assert!(queued.expect("a number") < 1 << 20, "{request:?}: {line}");
        let Value::Array(replies) = taker.value() else { panic!("an array") };
        assert_eq!(replies.len(), times);
    }
}
