//! What one write tells thousands of: in slices, between which others are served, and before whatever is published behind it.

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Launch, Server};

const LISTENERS: usize = 600;
const KEYS: usize = 80;

/// Tries until others are served between the write and the message that its client publishes behind it: a busy machine may not get to that.
const ROUNDS_MAX: usize = 50;

fn mset(round: usize) -> Vec<String> {
    let pairs = (0..KEYS).flat_map(|key| [format!("key:{key}"), round.to_string()]);
    ["MSET".to_owned()].into_iter().chain(pairs).collect()
}

/// Whether one of those who are told reads on the only shard what the write has left before it is told of its last key. A message is
/// published behind the write.
fn is_served_between(writer: &mut Client, other: &mut Client, round: usize) -> bool {
    let last = format!("key:{}", KEYS - 1);
    other.request_past_pushes(&["GET", &last]);
    let requests = [mset(round), ["PUBLISH", "done", "x"].map(str::to_owned).to_vec()];
    writer.send_bytes(&requests.iter().flat_map(|request| request_bytes(request)).collect::<Vec<u8>>());
    let (mut is_told, mut is_between) = (false, false);
    while !is_told {
        other.send(&["GET", &last]);
        let value = loop {
            match other.value() {
                Value::Push(push) => is_told |= names(&push, last.as_bytes()),
                value => break value,
            }
        };
        is_between |= !is_told && value == Value::Bulk(round.to_string().into_bytes());
    }
    assert_eq!(writer.value(), Value::Simple(b"OK".to_vec()));
    writer.value();
    is_between
}

/// Whether a push ends with a key, or a list of it.
fn names(push: &[Value], key: &[u8]) -> bool {
    let last = push.last().expect("a push");
    let listed = last.as_slice().and_then(<[Value]>::first);
    listed.unwrap_or(last).as_bytes() == Some(key)
}

fn listeners(server: &Server, request: &[&str]) -> Vec<Client> {
    let mut listeners: Vec<Client> = (0..LISTENERS).map(|_| server.connect_resp3()).collect();
    listeners.iter_mut().for_each(|listener| drop(listener.request(request)));
    listeners
}

#[test]
fn thousands_who_have_read_what_a_write_changes_are_told_in_slices_and_before_what_is_published_behind_it() {
    let server = Launch::shards(1).start();
    let mut writer = server.connect();
    let mut readers = listeners(&server, &["SUBSCRIBE", "done"]);
    let read: Vec<String> =
        std::iter::once("MGET".to_owned()).chain((0..KEYS).map(|key| format!("key:{key}"))).collect();
    readers.iter_mut().for_each(|reader| drop(reader.request(&["CLIENT", "TRACKING", "ON"])));
    let mut other = server.connect_resp3();
    other.request(&["CLIENT", "TRACKING", "ON"]);
    let is_between = (0..ROUNDS_MAX).any(|round| {
        readers.iter_mut().for_each(|reader| drop(reader.request(&read)));
        let is_between = is_served_between(&mut writer, &mut other, round);
        for reader in &mut readers {
            let mut told = std::collections::BTreeSet::new();
            while told.len() < KEYS {
                let Value::Push(push) = reader.value() else { panic!("no push") };
                assert_eq!(push[0].as_bytes(), Some(&b"invalidate"[..]), "the message comes behind all keys");
                told.insert(push[1].as_slice().expect("keys")[0].as_bytes().expect("a key").to_vec());
            }
            let Value::Push(push) = reader.value() else { panic!("no push") };
            assert_eq!(push[0].as_bytes(), Some(&b"message"[..]));
        }
        is_between
    });
    assert!(is_between, "nobody was served before all were told");
}

#[test]
fn thousands_who_listen_to_the_events_of_a_write_are_told_in_slices_and_before_what_is_published_behind_it() {
    let server = Launch::shards(1).args(&["--notify-keyspace-events", "E$"]).start();
    let mut writer = server.connect();
    let mut subscribers = listeners(&server, &["PSUBSCRIBE", "*"]);
    let mut other = server.connect_resp3();
    other.request(&["PSUBSCRIBE", "__key*"]);
    let is_between = (0..ROUNDS_MAX).any(|round| {
        let is_between = is_served_between(&mut writer, &mut other, round);
        for subscriber in &mut subscribers {
            let messages: Vec<Vec<u8>> = (0..=KEYS)
                .map(|_| {
                    let Value::Push(push) = subscriber.value() else { panic!("no push") };
                    push[3].as_bytes().expect("a message").to_vec()
                })
                .collect();
            let keys = (0..KEYS).map(|key| format!("key:{key}").into_bytes());
            assert_eq!(messages, keys.chain([b"x".to_vec()]).collect::<Vec<_>>());
        }
        is_between
    });
    assert!(is_between, "nobody was served before all were told");
}

#[test]
fn thousands_of_keys_under_as_many_prefixes_are_told_each_once() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut writer, mut client) = (server.connect(), server.connect_resp3());
        for from in (0..4_000).step_by(400) {
            let prefixes = (from..from + 400).flat_map(|number| ["PREFIX".to_owned(), format!("{number}:")]);
            let request =
                ["CLIENT", "TRACKING", "ON", "BCAST"].map(str::to_owned).into_iter().chain(prefixes);
            client.request(&request.collect::<Vec<_>>());
        }
        let pairs = (0..4_000).flat_map(|number| [format!("{number}:key"), "v".to_owned()]);
        writer.request(&["MSET".to_owned()].into_iter().chain(pairs).collect::<Vec<_>>());
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 4_000 {
            let Value::Push(push) = client.value() else { panic!("no push") };
            for key in push[1].as_slice().expect("keys") {
                assert!(told.insert(key.as_bytes().expect("a key").to_vec()), "it is told once");
            }
        }
        client.assert_quiet();
    }
}
