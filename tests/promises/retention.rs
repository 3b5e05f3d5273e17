//! A channel that remembers: what is sent to it is in its stream, in the order in which everybody is sent it.

use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes};
use sterna_tests::server::{Server, wait_for};

use crate::credit::{STAND_STILL, on_shard};

const SHARDS: [usize; 2] = [1, 3];

/// Connections of a test, so that some are on each shard.
const EACH: usize = 6;

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

/// The messages that `channel` remembers, oldest first.
fn history(client: &mut Client, channel: &str) -> Vec<String> {
    let entries = client.request(&["XRANGE", &format!("channel:{channel}"), "-", "+"]);
    let message = |entry: &Value| match entry.as_slice().expect("an entry") {
        [_, Value::Array(fields)] => match &fields[..] {
            [Value::Bulk(field), Value::Bulk(message)] if field == b"message" => {
                String::from_utf8(message.clone()).unwrap()
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    entries.as_slice().expect("entries").iter().map(message).collect()
}

fn subscribe(client: &mut Client, command: &str, name: &str) {
    client.send(&[command, name]);
    client.value();
}

/// The payload of the next message.
fn heard(client: &mut Client) -> String {
    match client.value() {
        Value::Array(parts) => match parts.last() {
            Some(Value::Bulk(payload)) => String::from_utf8(payload.clone()).unwrap(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sent_to_it_by_any_way_is_remembered_and_counted_as_ever() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &["--retain", "chat:*", "maxlen", "100", "--retain", "news"]);
        let mut listeners: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        listeners[..4].iter_mut().for_each(|listener| subscribe(listener, "SUBSCRIBE", "chat:1"));
        listeners[4..].iter_mut().for_each(|listener| subscribe(listener, "PSUBSCRIBE", "chat*"));
        let mut client = server.connect();
        assert_eq!(client.int(&["PUBLISH", "chat:1", "plain"]), EACH as i64);
        client.request(&["MULTI"]);
        for request in
            [&["PUBLISH", "chat:1", "queued"][..], &["PUBLISH", "other", "x"], &["XLEN", "channel:chat:1"]]
        {
            client.request(request);
        }
        let ints = |numbers: &[i64]| Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect());
        assert_eq!(client.request(&["EXEC"]), ints(&[EACH as i64, 0, 2]));
        let script = "return redis.call('publish', ARGV[1], 'scripted')";
        assert_eq!(client.int(&["EVAL", script, "0", "chat:1"]), EACH as i64);
        assert_eq!(client.int(&["PUBLISH", "news", "nobody listens"]), 0);
        // In another database it is the same channel.
        client.request(&["SELECT", "3"]);
        assert_eq!(client.int(&["PUBLISH", "chat:1", "elsewhere"]), EACH as i64);
        assert_eq!(client.int(&["DBSIZE"]), 0);
        client.request(&["SELECT", "0"]);
        for listener in &mut listeners {
            let all: Vec<String> = (0..4).map(|_| heard(listener)).collect();
            assert_eq!(all, ["plain", "queued", "scripted", "elsewhere"]);
            listener.assert_quiet();
        }
        assert_eq!(history(&mut client, "chat:1"), ["plain", "queued", "scripted", "elsewhere"]);
        assert_eq!(history(&mut client, "news"), ["nobody listens"]);
        assert_eq!(client.int(&["EXISTS", "channel:other"]), 0, "it matches no rule");
        assert_eq!(client.int(&["SPUBLISH", "chat:2", "sharded"]), 0);
        assert_eq!(client.int(&["EXISTS", "channel:chat:2"]), 0, "sharded channels are others");
    }
}

#[test]
fn a_message_that_is_too_long_to_be_remembered_is_refused_and_nobody_is_sent_it() {
    const MOST: usize = 8 << 20;
    for shards in SHARDS {
        let server = Server::sterna(shards, &["--retain", "c"]);
        let mut listener = server.connect();
        subscribe(&mut listener, "SUBSCRIBE", "c");
        let mut client = server.connect();
        let long = "x".repeat(MOST + 1);
        let text =
            format!("ERR the message is too long: a channel that remembers takes at most {MOST} bytes");
        client.send(&["PUBLISH", "c", &long]);
        assert_eq!(client.error(), text);
        client.send(&["EVAL", "return redis.pcall('PUBLISH', 'c', ARGV[1])", "0", &long]);
        assert_eq!(client.error(), text);
        client.request(&["MULTI"]);
        client.request(&["PUBLISH", "c", &long]);
        client.request(&["PUBLISH", "c", &long[..MOST]]);
        let replies = client.request(&["EXEC"]);
        assert_eq!(replies, Value::Array(vec![Value::Error(text.into_bytes()), Value::Int(1)]));
        assert_eq!(heard(&mut listener).len(), MOST);
        listener.assert_quiet();
        assert_eq!(client.int(&["XLEN", "channel:c"]), 1);
    }
}

#[test]
fn every_listener_hears_what_it_remembers_in_its_order_whoever_sends() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 500;
    let server = Server::sterna(3, &["--retain", "c"]);
    let mut listeners: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
    for (nth, listener) in listeners.iter_mut().enumerate() {
        let (command, name) = [("SUBSCRIBE", "c"), ("PSUBSCRIBE", "c*")][nth % 2];
        subscribe(listener, command, name);
    }
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let mut client = server.connect();
            scope.spawn(move || {
                for round in 0..MESSAGES {
                    // Beside it to a channel that forgets: one publisher's messages keep their order over both.
                    let text = format!("{sender}-{round}");
                    match round % 5 {
                        4 => client.send(&["EVAL", "return redis.call('publish', 'c', ARGV[1])", "0", &text]),
                        _ => client.send(&["PUBLISH", "c", &text]),
                    }
                    client.send(&["PUBLISH", "cc", &text]);
                }
                (0..2 * MESSAGES).for_each(|_| assert!(matches!(client.value(), Value::Int(_))));
            });
        }
    });
    let remembered = history(&mut server.connect(), "c");
    assert_eq!(remembered.len(), SENDERS * MESSAGES);
    for (nth, listener) in listeners.iter_mut().enumerate() {
        let (mut to_c, mut to_cc) = (Vec::new(), Vec::new());
        while to_c.len() < remembered.len() || nth % 2 == 1 && to_cc.len() < remembered.len() {
            let Value::Array(parts) = listener.value() else { panic!("a message") };
            let Value::Bulk(payload) = parts.last().unwrap() else { panic!("a payload") };
            let payload = String::from_utf8(payload.clone()).unwrap();
            match &parts[parts.len() - 2] {
                Value::Bulk(channel) if channel == b"cc" => {
                    assert!(to_c.contains(&payload), "{payload} of the second channel came first");
                    to_cc.push(payload);
                }
                _ => to_c.push(payload),
            }
        }
        assert_eq!(to_c, remembered, "listener {nth}");
    }
}

#[test]
fn it_remembers_as_much_as_its_rule_says_and_rules_change_at_run_time() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &[]);
        let mut client = server.connect();
        client.int(&["PUBLISH", "c", "forgotten"]);
        client.request(&["CONFIG", "SET", "retain", "c maxlen 3 d maxage 1"]);
        assert_eq!(client.text_at(&["CONFIG", "GET", "retain"], 1), "c maxlen 3 d maxage 1");
        // Shards take a new configuration over at their next turn.
        let mut others: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        others.iter_mut().for_each(|other| drop(other.request(&["PING"])));
        for (nth, other) in others.iter_mut().enumerate() {
            other.int(&["PUBLISH", "c", &nth.to_string()]);
        }
        assert_eq!(history(&mut client, "c"), ["3", "4", "5"]);
        // Within its second; who is slower finds it or not.
        let remembers = |client: &mut Client, text: &str| {
            let before = Instant::now();
            client.int(&["PUBLISH", "d", text]);
            client.send(&["XGROUP", "CREATE", "channel:d", "g", "0"]);
            client.value();
            let found = history(client, "d");
            let is_in_time = before.elapsed() < Duration::from_millis(800);
            assert!(found == [text] || found.is_empty() && !is_in_time, "{text}: {found:?}");
        };
        remembers(&mut client, "old");
        wait_for("the end of its time", || (client.int(&["XLEN", "channel:d"]) == 0).then_some(()));
        remembers(&mut client, "young");
        let groups = client.request(&["XINFO", "GROUPS", "channel:d"]);
        assert_eq!(groups.as_slice().map(<[Value]>::len), Some(1), "a group outlives the messages");
        client.request(&["CONFIG", "SET", "retain", ""]);
        client.int(&["PUBLISH", "c", "forgotten"]);
        assert_eq!(client.int(&["XLEN", "channel:c"]), 3);
    }
}

#[test]
fn it_remembers_across_restarts_and_groups_work_on_it() {
    for shards in SHARDS {
        let mut server =
            Server::sterna(shards, &["--retain", "jobs", "--appendonly", "yes", "--appendfsync", "always"]);
        let mut client = server.connect();
        client.request(&["XGROUP", "CREATE", "channel:jobs", "g", "$", "MKSTREAM"]);
        let mut workers: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        for (nth, worker) in workers.iter_mut().enumerate() {
            let consumer = format!("w{nth}");
            worker.send(&[
                "XREADGROUP",
                "GROUP",
                "g",
                &consumer,
                "BLOCK",
                "0",
                "STREAMS",
                "channel:jobs",
                ">",
            ]);
            // In the order of their waits.
            wait_for("a worker that waits", || {
                let blocked = client.text(&["INFO", "clients"]);
                blocked.contains(&format!("blocked_clients:{}\r\n", nth + 1)).then_some(())
            });
        }
        let mut publisher = server.connect();
        for nth in 0..EACH {
            publisher.int(&["PUBLISH", "jobs", &nth.to_string()]);
        }
        for (nth, worker) in workers.iter_mut().enumerate() {
            let read = format!("{:?}", worker.value());
            assert!(read.contains(&format!("{:?}", bulk(&nth.to_string()))), "worker {nth}: {read}");
        }
        server.kill();
        server.start_again();
        let mut client = server.connect();
        let expected: Vec<String> = (0..EACH).map(|nth| nth.to_string()).collect();
        assert_eq!(history(&mut client, "jobs"), expected);
    }
}

#[test]
fn what_can_not_be_remembered_is_refused_and_nobody_hears_it() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &["--retain", "c", "--retain", "taken", "--maxmemory", "100mb"]);
        let mut listener = server.connect();
        subscribe(&mut listener, "PSUBSCRIBE", "*");
        let mut client = server.connect();
        client.request(&["SET", "channel:taken", "a string"]);
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        client.send(&["PUBLISH", "taken", "x"]);
        assert_eq!(client.error(), wrong);
        client.send(&["EVAL", "return redis.pcall('publish', 'taken', 'x')", "0"]);
        assert!(client.error().starts_with(wrong));
        client.request(&["MULTI"]);
        client.request(&["PUBLISH", "taken", "x"]);
        let Value::Array(replies) = client.request(&["EXEC"]) else { panic!("no array") };
        assert_eq!(replies, [Value::Error(wrong.as_bytes().to_vec())]);
        client.request(&["CONFIG", "SET", "maxmemory", "1"]);
        client.send(&["PUBLISH", "c", "x"]);
        assert!(client.error().starts_with("OOM command not allowed"));
        client.send(&["EVAL", "return redis.call('publish', 'c', 'x')", "0"]);
        assert!(client.error().starts_with("OOM command not allowed"));
        // A transaction is asked when it is executed, as for any command that needs memory.
        for (channel, may) in [("c", false), ("forgets", true)] {
            client.request(&["CONFIG", "SET", "maxmemory", "0"]);
            client.request(&["MULTI"]);
            client.request(&["PUBLISH", channel, "x"]);
            server.connect().request(&["CONFIG", "SET", "maxmemory", "1"]);
            client.send(&["EXEC"]);
            match client.value() {
                Value::Error(text) => {
                    let text = String::from_utf8_lossy(&text);
                    assert!(!may && text.starts_with("EXECABORT") && text.contains(": OOM "), "{text}");
                }
                replies => assert!(may, "{channel}: {replies:?}"),
            }
        }
        assert_eq!(heard(&mut listener), "x");
        listener.assert_quiet();
        assert_eq!(client.int(&["PUBLISH", "forgets", "x"]), 1, "what isn't kept needs no memory");
        assert_eq!(heard(&mut listener), "x");
    }
}

#[test]
fn its_history_is_for_those_who_may_listen_or_were_given_the_stream() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &["--retain", "secret"]);
        let mut admin = server.connect();
        admin.int(&["PUBLISH", "secret", "x"]);
        for (user, rules) in [
            ("everykey", &["~*"][..]),
            ("listener", &["&secret"]),
            ("named", &["%R~channel:*"]),
            ("other", &["~*", "&other"]),
        ] {
            let fixed = ["ACL", "SETUSER", user, "on", "nopass", "resetchannels", "+@all"];
            admin.request(&[&fixed[..], rules].concat());
        }
        for (user, may) in [("everykey", false), ("listener", true), ("named", true), ("other", false)] {
            let mut client = server.connect();
            client.request(&["AUTH", user, "any"]);
            for request in [
                &["XRANGE", "channel:secret", "-", "+"][..],
                &["XREAD", "STREAMS", "channel:secret", "0"],
                &["DUMP", "channel:secret"],
                &["COPY", "channel:secret", "mine"],
                &["EVAL", "return redis.call('xrange', 'channel:secret', '-', '+')", "0"],
            ] {
                client.send(request);
                let is_refused = match client.value() {
                    Value::Error(text) => String::from_utf8_lossy(&text).contains("permission"),
                    _ => false,
                };
                // Who has no key of its own can't copy to one.
                let may = may && request[0] != "COPY";
                assert_eq!(is_refused, !may, "{user}: {request:?}");
            }
        }
    }
}

#[test]
fn who_waits_for_what_it_remembers_is_told_when_the_right_to_listen_goes() {
    for shards in SHARDS {
        let server = Server::sterna(shards, &["--retain", "secret"]);
        let mut admin = server.connect();
        admin.request(&["ACL", "SETUSER", "listener", "on", "nopass", "resetchannels", "&secret", "+@all"]);
        let mut readers: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        for reader in &mut readers {
            reader.request(&["AUTH", "listener", "any"]);
            reader.send(&["XREAD", "BLOCK", "0", "STREAMS", "channel:secret", "$"]);
        }
        let all = format!("blocked_clients:{EACH}\r\n");
        wait_for("all to wait", || admin.text(&["INFO", "clients"]).contains(&all).then_some(()));
        admin.request(&["ACL", "SETUSER", "listener", "resetchannels", "&other"]);
        admin.int(&["PUBLISH", "secret", "x"]);
        for reader in &mut readers {
            assert!(reader.error().starts_with("NOPERM"));
        }
    }
}

#[test]
fn a_listener_that_does_not_read_holds_nobody_and_takes_nothing_from_what_is_remembered() {
    const MESSAGES: usize = 2_000;
    for shards in SHARDS {
        let limit = ["--client-output-buffer-limit", "pubsub 1mb 0 0"];
        let server = Server::sterna(shards, &[&["--retain", "c maxlen 3000"][..], &limit].concat());
        let mut stalled: Vec<Client> = (0..EACH).map(|_| server.connect()).collect();
        stalled.iter_mut().for_each(|client| subscribe(client, "SUBSCRIBE", "c"));
        let mut listener = server.connect();
        subscribe(&mut listener, "SUBSCRIBE", "c");
        let mut publisher = server.connect();
        let padding = "x".repeat(10_000);
        for number in 0..MESSAGES {
            publisher.send(&["PUBLISH", "c", &format!("{number} {padding}")]);
            assert!(heard(&mut listener).starts_with(&format!("{number} ")));
        }
        let last = (0..MESSAGES).map(|_| publisher.value()).last();
        assert_eq!(last, Some(Value::Int(1)), "those that did not read were closed");
        assert_eq!(publisher.int(&["XLEN", "channel:c"]), MESSAGES as i64);
        for (number, message) in history(&mut publisher, "c").iter().enumerate() {
            assert!(message.starts_with(&format!("{number} ")));
        }
    }
}

/// It has arrived when a script publishes to a channel that remembers, and part of it is handed out before that: the rest comes without
/// anything more to wake the shard.
#[test]
fn a_long_message_of_another_shard_comes_whole_beside_what_a_channel_remembers() {
    const LONG: usize = 32 << 20;
    let server = Server::sterna(
        2,
        &["--retain", "kept maxlen 10", "--client-output-buffer-limit", "pubsub", "0", "0", "0"],
    );
    let mut listener = on_shard(&server, 0);
    subscribe(&mut listener, "SUBSCRIBE", "long");
    let (mut near, mut far, mut admin) = (on_shard(&server, 0), on_shard(&server, 1), on_shard(&server, 1));
    let id = near.int(&["CLIENT", "ID"]).to_string();
    let long = request_bytes(&["PUBLISH", "long", &"x".repeat(LONG)]);
    let script =
        format!("local function wait() {STAND_STILL} end wait() return redis.call('PUBLISH', 'kept', 'm')");
    wait_for("a message that arrives while the script runs", || {
        near.send(&["EVAL", &script, "0", "1000"]);
        wait_for("the script", || {
            admin.text(&["CLIENT", "LIST", "ID", &id]).contains("cmd=eval ").then_some(())
        });
        far.send_bytes(&long);
        assert_eq!(far.value(), Value::Int(1));
        let is_in_time = near.frame(Duration::ZERO) == Frame::Nothing;
        assert!(!is_in_time || near.value() == Value::Int(0));
        assert_eq!(heard(&mut listener).len(), LONG);
        is_in_time.then_some(())
    });
}
