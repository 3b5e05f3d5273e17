//! Messages that very many patterns match, or whose patterns take long to match: they go on in slices, and nobody who listens can tell.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::Server;

use crate::credit::on_shard;

/// More patterns than are matched at once; they match what begins with `c` or `_`.
const PATTERNS: usize = 8_000;

fn listener(server: &Server) -> Client {
    let mut client = server.connect_resp3();
    for from in (0..PATTERNS).step_by(1_000) {
        let names: Vec<String> = (from..from + 1_000).map(|number| format!("[c_{number}]*")).collect();
        let request: Vec<&str> =
            std::iter::once("PSUBSCRIBE").chain(names.iter().map(String::as_str)).collect();
        client.send(&request);
        (0..1_000).for_each(|_| drop(client.value()));
    }
    client.send(&["SUBSCRIBE", "ch", "other"]);
    (0..2).for_each(|_| drop(client.value()));
    client
}

/// Channel and payload of what comes next: by its channel's name, or once by each pattern.
fn next_message(client: &mut Client) -> (String, String) {
    let text = |value: &Value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned();
    let mut read = || match client.value() {
        Value::Push(parts) if parts[0].as_bytes() == Some(b"message") => {
            (None, text(&parts[1]), text(&parts[2]))
        }
        Value::Push(parts) => (Some(text(&parts[1])), text(&parts[2]), text(&parts[3])),
        other => panic!("{other:?} is no message"),
    };
    let (pattern, channel, payload) = read();
    let of_it = (channel, payload);
    let is_by_name = pattern.is_none();
    if is_by_name && of_it.0 != "ch" {
        return of_it;
    }
    let mut patterns: BTreeSet<String> = pattern.into_iter().collect();
    while patterns.len() < PATTERNS {
        let (pattern, channel, payload) = read();
        assert_eq!((&channel, &payload), (&of_it.0, &of_it.1));
        assert!(patterns.insert(pattern.expect("it has come by name")), "each pattern once");
    }
    of_it
}

#[test]
fn what_very_many_patterns_match_comes_once_by_each_in_its_order_and_is_counted() {
    for shards in [1, 2] {
        let server = Server::sterna(
            shards,
            &["--client-output-buffer-limit", "pubsub", "0", "0", "0", "--notify-keyspace-events", "KEA"],
        );
        // One on each shard, if there are two.
        let mut listeners = [listener(&server), listener(&server)];
        let mut publisher = server.connect();
        let many = 2 * (PATTERNS as i64 + 1);
        for request in [
            &["PUBLISH", "ch", "1"][..],
            &["PUBLISH", "other", "2"],
            &["MULTI"],
            &["PUBLISH", "ch", "3"],
            &["PUBLISH", "other", "4"],
            &["EXEC"],
            &["EVAL", "return {redis.call('PUBLISH', 'ch', '5'), redis.call('PUBLISH', 'other', '6')}", "0"],
            &["SET", "key", "value"],
            &["PUBLISH", "other", "7"],
            &["SPUBLISH", "ch", "nobody"],
        ] {
            publisher.send(request);
        }
        let pair = || Value::Array(vec![Value::Int(many), Value::Int(2)]);
        assert_eq!([(); 2].map(|()| publisher.value()), [Value::Int(many), Value::Int(2)], "{shards} shards");
        (0..3).for_each(|_| drop(publisher.value()));
        assert_eq!([(); 2].map(|()| publisher.value()), [pair(), pair()]);
        assert_eq!(publisher.value(), Value::Simple(b"OK".to_vec()));
        assert_eq!([(); 2].map(|()| publisher.value()), [Value::Int(2), Value::Int(0)]);
        for client in &mut listeners {
            let expected = [
                ("ch", "1"),
                ("other", "2"),
                ("ch", "3"),
                ("other", "4"),
                ("ch", "5"),
                ("other", "6"),
                ("__keyspace@0__:key", "set"),
                ("__keyevent@0__:set", "key"),
                ("other", "7"),
            ];
            for (channel, payload) in expected {
                assert_eq!(next_message(client), (channel.into(), payload.into()), "{shards} shards");
            }
        }
    }
}

#[test]
fn who_subscribes_behind_a_message_by_very_many_patterns_does_not_get_it_and_who_has_left_neither() {
    let server = Server::sterna(1, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let mut client = listener(&server);
    // The one who publishes is answered before it is handed out.
    let mut publisher = server.connect_resp3();
    publisher.send(&["PUBLISH", "ch", "1"]);
    publisher.send(&["SUBSCRIBE", "ch"]);
    publisher.send(&["PUBLISH", "ch", "2"]);
    assert_eq!(publisher.value(), Value::Int(PATTERNS as i64 + 1));
    assert!(matches!(publisher.value(), Value::Push(_)));
    assert_eq!(publisher.value(), Value::Int(PATTERNS as i64 + 2));
    let Value::Push(parts) = publisher.value() else { panic!("its own message follows the reply") };
    assert_eq!(parts[2].as_bytes(), Some(&b"2"[..]));
    publisher.assert_quiet();
    for payload in ["1", "2"] {
        assert_eq!(next_message(&mut client), ("ch".into(), payload.into()));
    }
    client.send(&["PUNSUBSCRIBE"]);
    (0..PATTERNS).for_each(|_| drop(client.value()));
    assert_eq!(publisher.int(&["PUBLISH", "ch", "3"]), 2);
}

#[test]
fn a_publisher_that_leaves_while_its_patterns_are_tried_keeps_nobody_from_publishing() {
    let server = Server::sterna(1, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let mut client = listener(&server);
    for _ in 0..8 {
        let mut leaving = server.connect();
        leaving.send(&["PUBLISH", "ch", "left"]);
        leaving.leave();
    }
    let mut publisher = server.connect();
    assert_eq!(publisher.int(&["PUBLISH", "ch", "1"]), PATTERNS as i64 + 1);
    while next_message(&mut client).1 != "1" {}
}

#[test]
fn a_script_and_a_channel_that_remembers_are_answered_before_very_many_patterns_have_their_message() {
    for shards in [1, 2] {
        let args = ["--client-output-buffer-limit", "pubsub", "0", "0", "0", "--retain", "c:*"];
        let server = Server::sterna(shards, &args);
        let mut listeners = [listener(&server), listener(&server)];
        let (mut publisher, mut other) = (server.connect(), server.connect());
        let mut delivered = || -> i64 {
            let stats = other.text(&["INFO", "messages"]);
            let line = stats.lines().find_map(|line| line.strip_prefix("delivered_messages:"));
            line.and_then(|count| count.parse().ok()).expect("a number of deliveries")
        };
        for request in [
            &["EVAL", "return redis.call('PUBLISH', 'c1', 'x')", "0"][..],
            &["PUBLISH", "c:1", "x"],
            &["EVAL", "return redis.call('PUBLISH', 'c:1', 'x')", "0"],
        ] {
            let is_seen = (0..100).any(|_| {
                let before = delivered();
                let all = publisher.int(request);
                let so_far = delivered() - before;
                assert_eq!(all, 2 * PATTERNS as i64);
                for client in &mut listeners {
                    (0..PATTERNS).for_each(|_| drop(client.value()));
                }
                assert_eq!(delivered() - before, all);
                so_far < all
            });
            assert!(is_seen, "all was always handed out before the reply to {request:?}, {shards} shards");
        }
    }
}

#[test]
fn what_a_channel_remembers_comes_by_very_many_patterns_in_its_order_whoever_sends() {
    const SENDERS: usize = 2;
    for shards in [1, 2] {
        let args = ["--client-output-buffer-limit", "pubsub", "0", "0", "0", "--retain", "ch"];
        let server = Server::sterna(shards, &args);
        let mut listeners = [listener(&server), listener(&server)];
        let listening = 2 * (PATTERNS as i64 + 1);
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let mut client = server.connect();
                scope.spawn(move || {
                    let [first, second, third] = [0, 1, 2].map(|nth| format!("{sender}{nth}"));
                    let script = "return {redis.call('PUBLISH', 'ch', ARGV[1]), redis.call('PUBLISH', 'other', ARGV[1])}";
                    for request in [
                        &["PUBLISH", "ch", &first][..],
                        &["PUBLISH", "other", &first],
                        &["EVAL", script, "0", &second],
                        &["MULTI"],
                        &["PUBLISH", "ch", &third],
                        &["PUBLISH", "other", &third],
                        &["EXEC"],
                    ] {
                        client.send(request);
                    }
                    let pair = Value::Array(vec![Value::Int(listening), Value::Int(2)]);
                    assert_eq!([(); 2].map(|()| client.value()), [Value::Int(listening), Value::Int(2)]);
                    assert_eq!(client.value(), pair);
                    (0..3).for_each(|_| drop(client.value()));
                    assert_eq!(client.value(), pair);
                });
            }
        });
        let entries = server.connect().request(&["XRANGE", "channel:ch", "-", "+"]);
        let message = |entry: &Value| {
            let fields = entry.as_slice().and_then(|entry| entry[1].as_slice()).expect("an entry");
            String::from_utf8_lossy(fields[1].as_bytes().expect("a message")).into_owned()
        };
        let remembered: Vec<String> = entries.as_slice().expect("entries").iter().map(message).collect();
        for client in &mut listeners {
            let came: Vec<_> = (0..2 * 3 * SENDERS).map(|_| next_message(client)).collect();
            let of_channel: Vec<&String> =
                came.iter().filter(|(channel, _)| channel == "ch").map(|(_, text)| text).collect();
            assert!(of_channel.into_iter().eq(&remembered), "{came:?}, {remembered:?}, {shards} shards");
            for sender in 0..SENDERS {
                let own = came.iter().filter(|(_, text)| text.starts_with(&sender.to_string()));
                let own: Vec<(&str, &str)> = own.map(|(channel, text)| (&**channel, &**text)).collect();
                let [first, second, third] = [0, 1, 2].map(|nth| format!("{sender}{nth}"));
                let pairs = [first, second, third].map(|text| [("ch", text.clone()), ("other", text)]);
                let expected: Vec<(&str, &str)> =
                    pairs.iter().flatten().map(|(channel, text)| (*channel, &**text)).collect();
                assert_eq!(own, expected, "{shards} shards");
            }
        }
    }
}

#[test]
fn what_a_script_publishes_to_its_own_client_follows_the_reply_in_the_client_s_protocol() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let mut client = listener(&server);
        let script = "local n = {} for i = 1, 4 do n[i] = redis.call('PUBLISH', KEYS[i], i) end return n";
        let channels = ["other", "ch", "ch", "other"];
        client.send(&[&["EVAL", script, "4"], &channels[..]].concat());
        let first = client.value();
        let many = PATTERNS as i64 + 1;
        assert_eq!(first, Value::Array([1, many, many, 1].map(Value::Int).to_vec()), "{shards} shards");
        for (channel, payload) in channels.into_iter().zip(["1", "2", "3", "4"]) {
            assert_eq!(next_message(&mut client), (channel.into(), payload.into()), "{shards} shards");
        }
    }
}

/// Each star may be left at every byte of the channel: patterns times bytes is too much to be matched at once.
#[test]
fn a_pattern_that_nearly_matches_a_long_channel_at_every_byte_keeps_nobody_waiting() {
    let hostile = format!("{}b", "*a?".repeat(900));
    let channel = "a".repeat(200_000);
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--notify-keyspace-events", "KA"]);
        let mut listeners = [server.connect_resp3(), server.connect_resp3()];
        for client in &mut listeners {
            client.send(&["PSUBSCRIBE", &hostile, "*a", "__key*"]);
            (0..3).for_each(|_| drop(client.value()));
        }
        let mut publisher = server.connect();
        publisher.send(&["PUBLISH", &channel, "1"]);
        publisher.send(&["SET", &channel, ""]);
        publisher.send(&["EVAL", "return redis.call('PUBLISH', ARGV[1], '2')", "0", &channel]);
        assert_eq!(publisher.value(), Value::Int(2));
        assert_eq!(publisher.value(), Value::Simple(b"OK".to_vec()));
        assert_eq!(publisher.value(), Value::Int(2));
        for client in &mut listeners {
            let came: Vec<_> = (0..4)
                .map(|_| {
                    let parts = client.value();
                    let parts = parts.as_slice().expect("a push").to_vec();
                    (parts[1].as_bytes().map(<[u8]>::to_vec), parts[3].as_bytes().map(<[u8]>::to_vec))
                })
                .collect();
            let of = |pattern: &str, payload: &str| (Some(pattern.into()), Some(payload.into()));
            assert_eq!(came[0], of("*a", "1"), "{shards} shards");
            let events: BTreeSet<_> = came[1..3].iter().cloned().collect();
            assert_eq!(events, BTreeSet::from([of("*a", "set"), of("__key*", "set")]), "{shards} shards");
            assert_eq!(came[3], of("*a", "2"), "{shards} shards");
        }
    }
}

/// What has been found out for a message that did not need it, as it went with others of its channel, is not taken for the next one.
#[test]
fn messages_of_several_channels_in_a_row_each_come_by_their_own_pattern() {
    // More commands than a transaction may have that is run in one piece.
    const MESSAGES: usize = 400;
    let hostile = format!("{}b", "*a?".repeat(900));
    let channels = ["room:kept:of-one-kind", "room:kept:of-another", "news:of-one-kind", "news:of-another"];
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--retain", "room:kept:*", "maxlen", "10"]);
        let mut listener = server.connect_resp3();
        let patterns = channels.map(|channel| format!("{channel}*"));
        listener.send(&["PSUBSCRIBE", &hostile]);
        patterns.iter().for_each(|pattern| listener.send(&["PSUBSCRIBE", pattern]));
        (0..5).for_each(|_| drop(listener.value()));
        let mut publisher = server.connect();
        let mut random = fastrand::Rng::with_seed(sterna_tests::seed(16));
        let mut sent = Vec::new();
        let mut publish = |publisher: &mut Client| {
            let mut at = 0;
            for _ in 0..MESSAGES {
                if random.u8(..3) == 0 {
                    at = random.usize(..channels.len());
                }
                publisher.send(&["PUBLISH", channels[at], &sent.len().to_string()]);
                sent.push(at);
            }
        };
        publish(&mut publisher);
        (0..MESSAGES).for_each(|_| assert_eq!(publisher.value(), Value::Int(1)));
        publisher.send(&["MULTI"]);
        publish(&mut publisher);
        publisher.send(&["EXEC"]);
        (0..=MESSAGES).for_each(|_| assert!(matches!(publisher.value(), Value::Simple(_))));
        assert_eq!(publisher.value(), Value::Array(vec![Value::Int(1); MESSAGES]));
        for (number, at) in sent.into_iter().enumerate() {
            let message = listener.value();
            let parts: Vec<_> =
                message.as_slice().expect("a push").iter().skip(1).map(Value::as_bytes).collect();
            let number = number.to_string();
            let expected = [&patterns[at], channels[at], &number].map(|text| Some(text.as_bytes()));
            assert_eq!(parts, expected, "{message:?} on {shards} shards");
        }
        listener.assert_quiet();
    }
}

/// Ends a thread, also where the test has failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A script serves others while it looks for very many patterns, but within a transaction that changes settings.
#[test]
fn nobody_sees_the_middle_of_a_transaction_that_changes_settings_and_runs_a_script_by_very_many_patterns() {
    const ROUNDS: usize = 20;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
        let _listener = listener(&server);
        let (mut client, mut neighbour) = (on_shard(&server, 0), on_shard(&server, 0));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _ends = Ends(&is_over);
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    assert_eq!(neighbour.int(&["PUBLISH", "kept", "x"]), 0);
                }
            });
            for round in 0..ROUNDS {
                for request in [
                    &["MULTI"][..],
                    &["CONFIG", "SET", "retain", "kept"],
                    &["EVAL", "return redis.call('PUBLISH', 'ch', ARGV[1])", "0", "x"],
                    &["CONFIG", "SET", "retain", ""],
                    &["EXEC"],
                ] {
                    client.send(request);
                }
                (0..4).for_each(|_| assert!(matches!(client.value(), Value::Simple(_))));
                let ok = Value::Simple(b"OK".to_vec());
                let expected = Value::Array(vec![ok.clone(), Value::Int(PATTERNS as i64 + 1), ok]);
                assert_eq!(client.value(), expected, "round {round}, {shards} shards");
            }
        });
        assert_eq!(client.int(&["XLEN", "channel:kept"]), 0, "{shards} shards");
    }
}
