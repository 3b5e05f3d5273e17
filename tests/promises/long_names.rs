//! A name may have megabytes: who walks past many such names does so a few at a time, and nobody waits for the end of it.

use std::collections::BTreeSet;

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::Server;

const NAMES: usize = 100;

/// A name of 300 KB, or a pattern.
fn name(nth: usize) -> String {
    format!("{nth:08}{}", "a".repeat(300_000))
}

fn elements(value: &Value) -> &[Value] {
    let Value::Array(elements) = value else { panic!("{value:?} is no array") };
    elements
}

fn text(value: &Value) -> String {
    let Value::Bulk(bytes) = value else { panic!("{value:?} is no text") };
    String::from_utf8(bytes.to_vec()).expect("it was text")
}

/// A walk from its first step to its last: what was answered, and how much by the longest step.
fn walk(client: &mut Client, step: &[&str], width: usize) -> (Vec<String>, usize) {
    let (mut cursor, mut all, mut longest) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let at = usize::from(step[0] != "SCAN");
        let (head, options) = step.split_at(1 + at);
        let request = [head, &[&*cursor], options].concat();
        let reply = client.request(&request);
        let [next, found] = elements(&reply) else { panic!("a cursor and names") };
        let found = elements(found);
        longest = longest.max(found.len() / width);
        all.extend(found.iter().step_by(width).map(text));
        cursor = text(next);
        if cursor == "0" {
            return (all, longest);
        }
    }
}

#[test]
fn a_step_of_a_walk_past_long_names_ends_after_a_few_and_the_walk_has_met_each_once() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut client = server.connect();
        let all: BTreeSet<String> = (0..NAMES).map(name).collect();
        for name in &all {
            client.request(&["SET", name, "v"]);
            client.request(&["SADD", "set", name]);
            client.request(&["HSET", "hash", name, "v"]);
            client.request(&["ZADD", "zset", "1", name]);
        }
        let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
        let walks: [(&[&str], usize); 4] = [
            (&["SCAN", "COUNT", "10000", "MATCH", "0*"], 1),
            (&["SSCAN", "set", "COUNT", "10000"], 1),
            (&["HSCAN", "hash", "COUNT", "10000"], 2),
            (&["ZSCAN", "zset", "COUNT", "10000"], 2),
        ];
        for (step, width) in walks {
            let (met, longest) = walk(&mut client, step, width);
            assert!(longest <= 8, "{} names in a step of {}", longest, step[0]);
            assert_eq!(met.len(), NAMES, "{}", step[0]);
            assert_eq!(met.iter().map(String::as_str).collect::<BTreeSet<_>>(), all);
        }
        // Where names are short a step is as long as it is asked for.
        for first in 0..20 {
            let names: Vec<String> = (0..100).map(|nth| format!("short:{first}:{nth}")).collect();
            client.request(
                &[&["SADD", "short"], &*names.iter().map(String::as_str).collect::<Vec<_>>()].concat(),
            );
        }
        let (met, longest) = walk(&mut client, &["SSCAN", "short", "COUNT", "1000"], 1);
        assert_eq!((met.len(), longest >= 1000), (2000, true));
    }
}

#[test]
fn who_asks_beside_a_walk_past_long_names_is_answered_before_its_end() {
    let server = Server::sterna(1, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let mut other = server.connect();
    let mut subscriber = server.connect();
    for nth in 0..NAMES {
        other.request(&["SET", &name(nth), "v"]);
        subscriber.request(&["SUBSCRIBE", &name(nth)]);
    }
    let requests: [&[&[&str]]; 4] = [
        &[&["KEYS", "*"]],
        &[&["PUBSUB", "CHANNELS"]],
        &[&["PUBSUB", "CHANNELS", "*a"]],
        &[&["MULTI"], &["KEYS", "*"], &["EXEC"]],
    ];
    for request in requests {
        let mut walker = server.connect();
        walker.request(&["CLIENT", "SETNAME", "walker"]);
        // Else it would be served behind those who ask for little.
        (0..64).for_each(|_| walker.assert_quiet());
        let (last, first) = request.split_last().expect("a request");
        first.iter().for_each(|request| drop(walker.request(request)));
        (0..64).for_each(|_| other.assert_quiet());
        // Both are there when the server goes on, the walk before the question.
        server.freeze();
        walker.send(last);
        other.send(&["CLIENT", "LIST"]);
        server.signal(Signal::CONT);
        let clients = text(&other.value());
        let line = clients.lines().find(|line| line.contains(" name=walker ")).expect("the walker");
        let queued =
            line.split(" omem=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        assert!(queued.expect("a number") < 8 << 20, "{request:?}: {line}");
        let reply = walker.value();
        let names = match elements(&reply) {
            [Value::Array(names)] => names,
            names => names,
        };
        assert_eq!(names.len(), NAMES, "{request:?}");
    }
    // Who leaves that many does so a few at a time.
    (0..64).for_each(|_| drop(subscriber.request(&["PING"])));
    server.freeze();
    subscriber.send(&["UNSUBSCRIBE"]);
    other.send(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    server.signal(Signal::CONT);
    let line = text(&other.value());
    let left = line.split(" sub=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    assert!(left.is_some_and(|left| left > NAMES / 2), "{line}");
    (0..NAMES).for_each(|_| drop(subscriber.value()));
}
