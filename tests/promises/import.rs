//! HIMPORT: fields that are stated once, on one connection, and hashes made of them wherever their keys are.
//!
//! Source: redis.io/docs/latest/commands/himport, and the errors as clients match them.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The reply, which may be an error.
fn ask<A: AsRef<[u8]>>(client: &mut Client, args: &[A]) -> Value {
    client.send(args);
    client.value()
}

fn says(client: &mut Client, line: &str, expected: &str) {
    let said = match ask(client, &words(line)) {
        Value::Simple(text) | Value::Error(text) | Value::Bulk(text) => {
            String::from_utf8_lossy(&text).into_owned()
        }
        Value::Int(number) => number.to_string(),
        Value::Array(elements) => format!("{} elements", elements.len()),
        Value::Null => "null".to_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(said, expected, "{line}");
}

const NO_FIELDSET: &str = "ERR no such fieldset";

#[test]
fn a_fieldset_is_its_connections_and_goes_with_what_ends_it() {
    for shards in [1, 3] {
        let server = Server::sterna(shards, &[]);
        let (mut client, mut other) = (server.connect(), server.connect());
        says(&mut client, "HIMPORT PREPARE u name email 3", "OK");
        for key in ["user:1", "user:2", "elsewhere", "{x}"] {
            says(&mut client, &format!("HIMPORT SET {key} u alice a@example.com 30"), "OK");
            says(&mut other, &format!("HGET {key} name"), "alice");
            says(&mut other, &format!("HGET {key} 3"), "30");
            says(&mut other, &format!("HLEN {key}"), "3");
        }
        says(&mut other, "HIMPORT SET user:1 u x y z", NO_FIELDSET);
        says(&mut client, "HIMPORT PREPARE twice a b a", "ERR duplicate field name in fieldset");
        says(&mut client, "HIMPORT SET k twice 1 2 3", NO_FIELDSET);
        says(&mut client, "HIMPORT SET k u 1 2", "ERR value count does not match fieldset field count");
        says(&mut client, "HIMPORT PREPARE u only", "OK");
        says(&mut client, "HIMPORT SET user:2 u 1", "OK");
        says(&mut other, "HLEN user:2", "1");
        says(&mut client, "HIMPORT DISCARD u", "1");
        says(&mut client, "HIMPORT DISCARD u", "0");
        says(&mut client, "HIMPORT SET k u 1", NO_FIELDSET);
        says(&mut client, "HIMPORT PREPARE a x", "OK");
        says(&mut client, "HIMPORT PREPARE b x y", "OK");
        says(&mut client, "HIMPORT DISCARDALL", "2");
        says(&mut client, "HIMPORT DISCARDALL", "0");
        says(&mut client, "HIMPORT PREPARE a x", "OK");
        says(&mut client, "RESET", "RESET");
        says(&mut client, "HIMPORT SET k a 1", NO_FIELDSET);
        says(&mut client, "HIMPORT", "ERR wrong number of arguments for 'himport' command");
        says(&mut client, "HIMPORT PREPARE a", "ERR wrong number of arguments for 'himport|prepare' command");
        says(&mut client, "HIMPORT SET k a", "ERR wrong number of arguments for 'himport|set' command");
        says(&mut client, "HIMPORT FOO", "ERR unknown subcommand 'FOO'. Try HIMPORT HELP.");
    }
}

#[test]
fn transactions_share_the_fieldsets_of_their_connection_and_each_script_has_its_own() {
    let server = Server::sterna(2, &[]);
    let mut client = server.connect();
    for line in ["MULTI", "HIMPORT PREPARE f a b", "HIMPORT SET h f 1 2", "HIMPORT SET g f 1"] {
        client.request(&words(line));
    }
    let Value::Array(replies) = client.request(&["EXEC"]) else { panic!("EXEC answers an array") };
    assert!(matches!(&replies[2], Value::Error(text) if text.starts_with(b"ERR value count")), "{replies:?}");
    says(&mut client, "HGET h b", "2");
    says(&mut client, "HIMPORT SET i f 1 2", "OK");
    let set = "return redis.call('HIMPORT','SET',KEYS[1],'f',1,2)";
    for (script, expected) in [
        (set, None),
        ("redis.call('HIMPORT','PREPARE','f','x','y')", Some(())),
        (set, None),
        (&format!("redis.call('HIMPORT','PREPARE','f','x','y') {set}"), Some(())),
    ] {
        let reply = ask(&mut client, &["EVAL", script, "1", "s"]);
        let is_error = matches!(&reply, Value::Error(text) if text.starts_with(b"ERR no such fieldset"));
        assert_eq!(is_error, expected.is_none(), "{script}: {reply:?}");
    }
    says(&mut client, "HGET s y", "2");
    says(&mut client, "HIMPORT SET i f 3 4", "OK");
    says(&mut client, "HGET i a", "3");
}

/// Values of megabytes: the command is run apart, on copies.
#[test]
fn long_values_are_imported_and_what_was_imported_is_there_after_a_kill() {
    let mut server = Launch::shards(2).args(&["--appendonly", "yes"]).start();
    let mut client = server.connect();
    client.request(&["HIMPORT", "PREPARE", "f", "long", "short"]);
    let long = "x".repeat(3 << 20);
    client.request(&["SET", "text", "t"]);
    assert!(matches!(client.request(&["HIMPORT", "SET", "h", "f", &long, "1"]), Value::Simple(_)));
    for (key, fieldset, expected) in [("text", "f", "WRONGTYPE"), ("h", "none", "ERR no such fieldset")] {
        let reply = ask(&mut client, &["HIMPORT", "SET", key, fieldset, &long, "1"]);
        assert!(
            matches!(&reply, Value::Error(text) if text.starts_with(expected.as_bytes())),
            "{key}: {reply:?}"
        );
    }
    client.request(&["HSET", "k", "old", "1"]);
    client.request(&["EXPIRE", "k", "100"]);
    says(&mut client, "HIMPORT SET k f a b", "OK");
    server.kill();
    server.start_again();
    let mut client = server.connect();
    assert_eq!(client.int(&["HSTRLEN", "h", "long"]), 3 << 20);
    says(&mut client, "HGET k short", "b");
    says(&mut client, "HLEN k", "2");
    says(&mut client, "TTL k", "-1");
    says(&mut client, "GET text", "t");
}

fn total_memory(client: &mut Client) -> u64 {
    let line = client.text(&["CLIENT", "INFO"]);
    let field = line.split(' ').find_map(|field| field.strip_prefix("tot-mem="));
    field.and_then(|bytes| bytes.parse().ok()).expect("a client has a total")
}

#[test]
fn fieldsets_count_as_memory_of_their_client_and_have_an_end() {
    let server = Server::sterna(1, &[]);
    let mut client = server.connect();
    let before = total_memory(&mut client);
    let mut request: Vec<String> = ["HIMPORT", "PREPARE", "f0"].map(String::from).to_vec();
    request.extend((0..2_000).map(|nth| format!("field_{nth:05}")));
    client.request(&request);
    let one = wait_for("the fieldset to be counted", || {
        let grown = total_memory(&mut client).saturating_sub(before);
        (grown > 20_000).then_some(grown)
    });
    let mut prepared = 1;
    while {
        request[2] = format!("f{prepared}");
        matches!(ask(&mut client, &request), Value::Simple(_))
    } {
        prepared += 1;
        assert!(prepared * one < 8 << 20, "{prepared} fieldsets of {one} bytes");
    }
    assert!(prepared > 10);
    says(&mut client, "HIMPORT DISCARD f1", "1");
    says(&mut client, "HIMPORT PREPARE f0 other", "OK");
    assert_eq!(client.int(&["HIMPORT", "DISCARDALL"]), prepared as i64 - 1);
    wait_for("the fieldsets to be gone", || (total_memory(&mut client) < before + one).then_some(()));
}

/// Who takes over from a connection that broke goes to its shard, and what it has prepared goes along.
#[test]
fn a_fieldset_goes_along_when_its_connection_moves_to_another_shard() {
    let server = Server::sterna(3, &["--resume-window", "60"]);
    let mut other = server.connect();
    let detached = |client: &mut Client| {
        let text = client.text(&["INFO", "clients"]);
        text.lines().any(|line| line == "detached_clients:1")
    };
    // Of so many connections some are of another shard than the one that they take over from.
    for round in 0..12 {
        let name = format!("me-{round}");
        let mut first = server.connect();
        first.request(&["HELLO", "3", "SETNAME", &name]);
        first.request(&["SUBSCRIBE", "a"]);
        drop(first);
        wait_for("it to be detached", || detached(&mut other).then_some(()));
        let mut second = server.connect();
        second.request(&["HELLO", "3", "SETNAME", &name]);
        says(&mut second, "HIMPORT PREPARE u name age", "OK");
        // What comes behind it is read where it has moved to.
        second.send(&["SUBSCRIBE", "a"]);
        second.send(&["HIMPORT", "SET", &name, "u", "alice", "30"]);
        assert!(matches!(second.value(), Value::Push(_)), "the subscription");
        assert_eq!(second.value(), Value::Simple(b"OK".to_vec()), "round {round}");
        assert!(!detached(&mut other), "it has taken over");
        says(&mut other, &format!("HGET {name} age"), "30");
        other.request(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
}
