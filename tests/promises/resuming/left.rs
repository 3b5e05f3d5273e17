//! Subscriptions that end while nobody is connected: by a transaction that goes on without its client, or by who has come back.

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Server, wait_for};

use super::{SHARDS, await_detached, detached, field, got, named, next, server, subscribe};

/// Commands that make a transaction take slices.
const WRITES: usize = 20_000;

/// A transaction may be over when its client's end is seen: so often it is tried again.
const ROUNDS_MAX: usize = 50;

/// Notes how many clients are detached while the transaction runs.
const NOTE: &str =
    "redis.call('SET', KEYS[1], string.match(redis.call('INFO', 'clients'), 'detached_clients:(%d+)'))";

/// A subscriber to `a` and `b` runs a transaction with these commands behind others, and breaks amid it.
fn break_amid(server: &Server, commands: &[&[&str]]) {
    let mut other = server.connect();
    let was_amid = (0..ROUNDS_MAX).any(|_| {
        // The end of the one before may be seen late.
        wait_for("the one before to be gone", || {
            other.request(&["CLIENT", "KILL", "FLAGS", "D"]);
            (!is_listed(&mut other, "me")).then_some(())
        });
        other.request(&["DEL", "note"]);
        let mut client = named(server.connect(), "me", "3");
        subscribe(&mut client, &["SUBSCRIBE", "a", "b"]);
        client.request(&["MULTI"]);
        (0..WRITES).for_each(|number| client.send(&["SET", &format!("k{number}"), "v"]));
        client.send(&["EVAL", NOTE, "1", "note"]);
        commands.iter().for_each(|command| client.send(command));
        let queued = WRITES + 1 + commands.len();
        (0..queued).for_each(|_| assert_eq!(client.value(), Value::Simple(b"QUEUED".to_vec())));
        // Its end is there as soon as EXEC is.
        server.freeze();
        client.send(&["EXEC"]);
        drop(client);
        server.signal(Signal::CONT);
        let note = wait_for("the transaction", || match other.request(&["GET", "note"]) {
            Value::Bulk(note) => Some(note),
            _ => None,
        });
        note == b"1"
    });
    assert!(was_amid, "it never breaks amid its transaction");
}

fn is_listed(client: &mut Client, name: &str) -> bool {
    client.text(&["CLIENT", "LIST"]).contains(&format!("name={name} "))
}

#[test]
fn who_leaves_all_its_channels_in_a_transaction_amid_which_it_breaks_is_gone_when_that_has_ended() {
    for (shards, leave) in SHARDS.into_iter().zip([&["UNSUBSCRIBE"][..], &["UNSUBSCRIBE", "b", "a"]]) {
        let server = server(shards, &[]);
        let mut client = server.connect();
        break_amid(&server, &[leave]);
        wait_for("the client to be gone", || (!is_listed(&mut client, "me")).then_some(()));
        await_detached(&mut client, 0);
        assert_eq!(client.int(&["PUBLISH", "a", "1"]), 0);
        // Its name is free.
        let mut back = named(server.connect(), "me", "3");
        subscribe(&mut back, &["SUBSCRIBE", "a"]);
        back.assert_quiet();
    }
}

#[test]
fn who_leaves_a_channel_in_a_transaction_amid_which_it_breaks_comes_back_to_the_others() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        let end: [&[&str]; 4] =
            [&["PUBLISH", "a", "1"], &["UNSUBSCRIBE", "a"], &["PUBLISH", "a", "2"], &["PUBLISH", "b", "3"]];
        break_amid(&server, &end);
        assert_eq!(field(&mut client, "clients", "detached_clients"), 1);
        assert_eq!([client.int(&["PUBLISH", "a", "4"]), client.int(&["PUBLISH", "b", "5"])], [0, 1]);
        let mut back = named(server.connect(), "me", "3");
        subscribe(&mut back, &["SUBSCRIBE", "a", "b"]);
        let messages = [next(&mut back), next(&mut back)];
        assert_eq!(messages, [got("message", "b", "3"), got("message", "b", "5")]);
        back.assert_quiet();
        assert_eq!([client.int(&["PUBLISH", "a", "6"]), client.int(&["PUBLISH", "b", "7"])], [1, 1]);
    }
}

#[test]
fn whose_channels_are_all_left_by_who_has_come_back_is_gone() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut client = server.connect();
        detached(&server, "me", "3", &["SUBSCRIBE", "a", "b"]);
        let mut back = named(server.connect(), "me", "3");
        subscribe(&mut back, &["SUBSCRIBE", "c"]);
        assert_eq!(field(&mut client, "clients", "detached_clients"), 1);
        back.request(&["UNSUBSCRIBE", "a"]);
        assert_eq!(field(&mut client, "clients", "detached_clients"), 1, "it may come back to b");
        back.request(&["UNSUBSCRIBE", "b"]);
        await_detached(&mut client, 0);
        assert_eq!(client.int(&["PUBLISH", "c", "1"]), 1);
        assert_eq!(next(&mut back), got("message", "c", "1"));
    }
}
