//! What reaches an old connection whose line is dead, though nothing tells so, while its client comes back.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::line::{End, Line};
use sterna_tests::server::{PATIENCE, Server, wait_for};

use super::{NOTICES, SHARDS, got, named, next, server, subscribe};
use crate::credit::{on_shard, shard_of};
use crate::turns::{end_script, run_on_first};

/// A subscriber with this name, on this shard, whose line is dead; all that it was sent has been acknowledged.
fn with_dead_line(server: &Server, shard: usize, requests: &[&[&str]]) {
    let line = Line::to(server.address().port());
    let mut others = Vec::new();
    let mut client = loop {
        let mut client = Client::to(line.port);
        if shard_of(&mut client) == shard {
            break named(client, "me", "2");
        }
        others.push(client);
    };
    requests.iter().for_each(|request| subscribe(&mut client, request));
    client.assert_quiet();
    line.cut(End::Silence(PATIENCE));
}

#[test]
fn what_is_published_between_two_requests_of_who_comes_back_beside_a_dead_line_is_not_lost() {
    for shards in SHARDS {
        let server = server(shards, &["--resume-buffer", "20kb"]);
        let mut client = server.connect();
        let requests: [&[&str]; 3] =
            [&["SUBSCRIBE", "a", "b", "c"], &["PSUBSCRIBE", "p*"], &["SSUBSCRIBE", "s"]];
        with_dead_line(&server, 0, &requests);
        let mut second = named(server.connect(), "me", "3");
        subscribe(&mut second, &["SUBSCRIBE", "a"]);
        for (channel, text, count) in [("a", "1", 2), ("b", "2", 1), ("p1", "3", 1), ("a", "4", 2)] {
            assert_eq!(client.int(&["PUBLISH", channel, text]), count);
        }
        assert_eq!(client.int(&["SPUBLISH", "s", "5"]), 1);
        assert_eq!(next(&mut second), got("message", "a", "1"));
        assert_eq!(next(&mut second), got("message", "a", "4"));
        // Once, and only what it had not subscribed to; what is unsubscribed from is forgotten.
        subscribe(&mut second, &["SUBSCRIBE", "a", "b"]);
        assert_eq!(next(&mut second), got("message", "b", "2"));
        subscribe(&mut second, &["PSUBSCRIBE", "p*"]);
        assert_eq!(next(&mut second), got("pmessage", "p*", "3"));
        // What would not be kept for anybody is told.
        let padding = "x".repeat(1000);
        for number in 0..40 {
            assert_eq!(client.int(&["PUBLISH", "c", &format!("{number}:{padding}")]), 1);
        }
        subscribe(&mut second, &["SUBSCRIBE", "c"]);
        let (name, text) = next(&mut second);
        assert_eq!(name, format!("message {NOTICES}"));
        let dropped =
            text.strip_prefix("dropped ").and_then(|text| text.parse::<usize>().ok()).expect("a number");
        let first =
            next(&mut second).1.split(':').next().and_then(|text| text.parse::<usize>().ok()).expect("one");
        // Of others, too.
        assert!(
            (first..=first + 5).contains(&dropped) && first < 40,
            "{dropped} dropped, then from {first} on"
        );
        (first + 1..40).for_each(|_| drop(next(&mut second)));
        subscribe(&mut second, &["SUNSUBSCRIBE", "s"]);
        subscribe(&mut second, &["SSUBSCRIBE", "s"]);
        second.assert_quiet();
    }
}

#[test]
fn what_is_published_while_who_comes_back_is_on_its_way_to_the_shard_of_a_dead_line_is_not_lost() {
    let server = server(3, &["--busy-reply-threshold", "600000"]);
    let (mut publisher, mut admin) = (on_shard(&server, 0), on_shard(&server, 2));
    with_dead_line(&server, 0, &[&["SUBSCRIBE", "a"]]);
    let mut second = named(on_shard(&server, 1), "me", "2");
    let id = second.int(&["CLIENT", "ID"]).to_string();
    // It comes to the shard of the old one, which has yet to see it.
    let mut runs = run_on_first(&server, &mut admin);
    second.send(&["SUBSCRIBE", "a"]);
    wait_for("it to move", || {
        admin.text(&["CLIENT", "LIST", "ID", &id]).contains(" io-thread=0 ").then_some(())
    });
    publisher.send(&["PUBLISH", "a", "1"]);
    end_script(&mut admin, &mut runs);
    assert!(matches!(publisher.value(), Value::Int(1..)));
    assert_eq!(second.value().as_slice().and_then(|parts| parts[2].as_int()), Some(1));
    assert_eq!(next(&mut second), got("message", "a", "1"));
    second.assert_quiet();
}
