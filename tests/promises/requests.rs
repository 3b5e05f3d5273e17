//! No request stops a shard: what names very much is executed in parts or refused, and nothing grows with its square.

use std::io::Write as _;
use std::net::TcpStream;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Launch, Server, wait_for};

/// Servers with one shard and with several.
fn servers() -> impl Iterator<Item = Server> {
    [1, 3]
        .into_iter()
        .map(|shards| Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]))
}

fn names(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// `words`, then `rest`.
fn request(words: &[&str], rest: &[String]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).chain(rest.iter().cloned()).collect()
}

/// Arguments of a request that is too long for any row.
const MANY: usize = 50_000;

/// differs=arguments-max
#[test]
fn a_request_with_more_arguments_than_its_row_takes_is_refused_before_anything_is_done() {
    for server in servers() {
        let mut client = server.connect();
        let refused: [(&[&str], usize); 8] = [
            (&["MSET"], 20_480),
            (&["SINTERSTORE"], 4_352),
            (&["BLPOP"], 4_352),
            (&["XADD", "s", "*"], 20_480),
            (&["CONFIG", "GET"], 1024),
            (&["COMMAND", "DOCS"], 1024),
            (&["ACL", "SETUSER", "u"], 1024),
            (&["CLIENT", "KILL", "ID"], 1024),
        ];
        for (words, most) in refused {
            let name = words[..words.len().min(2)].join("|").to_lowercase();
            let name = if most == 1024 { name } else { words[0].to_lowercase() };
            client.send(&request(words, &names(MANY, "")));
            let expected = format!(
                "ERR wrong number of arguments for '{name}' command: it takes at most {most} in one request"
            );
            assert_eq!(client.error(), expected);
        }
        assert_eq!(client.int(&["DBSIZE"]), 0);
        // Ten thousand pairs are taken, and a transaction doesn't let more in.
        let pairs: Vec<String> =
            names(10_000, "k").into_iter().flat_map(|key| [key, "v".to_owned()]).collect();
        client.request(&request(&["MSET"], &pairs));
        assert_eq!(client.int(&["DBSIZE"]), 10_000);
        client.request(&["MULTI"]);
        client.send(&request(&["MSET"], &names(MANY, "k")));
        assert!(client.error().starts_with("ERR wrong number of arguments for 'mset' command"));
        client.send(&["EXEC"]);
        assert!(client.error().starts_with("EXECABORT"));
    }
}

/// differs=request-bytes-max
#[test]
fn a_request_about_connections_or_the_server_that_is_longer_than_it_can_use_is_refused_before_anything_is_done()
 {
    for server in servers() {
        let mut client = server.connect();
        let long = "x".repeat(2 << 20);
        let refused: [(&[&str], &str, usize); 7] = [
            (&["AUTH", &long], "auth", 2 << 20),
            (&["CLIENT", "SETNAME", &long], "client|setname", 2 << 20),
            (&["CONFIG", "SET", "requirepass", &long], "config|set", 2 << 20),
            (&["CONFIG", "GET", &long[..17_000]], "config|get", 16_384),
            (&["ACL", "SETUSER", &long], "acl|setuser", 2 << 20),
            (&["ECHO", &long], "echo", 2 << 20),
            (&["SCAN", "0", "MATCH", &long], "scan", 2 << 20),
        ];
        for (words, name, most) in refused {
            client.send(words);
            let expected = format!("ERR the request is too long: '{name}' takes at most {most} bytes");
            assert_eq!(client.error(), expected);
        }
        assert!(client.text(&["CLIENT", "INFO"]).contains(" name= "));
        assert_eq!(client.request(&["ACL", "USERS"]), Value::Array(vec![Value::Bulk(b"default".to_vec())]));
        // What carries a value, a message or code has no such limit, and neither has what is executed in parts.
        assert_eq!(client.int(&["PUBLISH", "channel", &long]), 0);
        client.request(&["SET", &long, &long]);
        assert_eq!(
            client.request(&["KEYS", &long]),
            Value::Array(vec![Value::Bulk(long.clone().into_bytes())])
        );
        let code = format!("return #ARGV[1] --{}", &long[..1 << 19]);
        assert_eq!(client.int(&["EVAL", &code, "0", &long]), long.len() as i64);
    }
}

#[test]
fn a_key_with_a_longer_name_than_requests_take_is_within_reach_of_scripts() {
    for server in servers() {
        let mut client = server.connect();
        let name = "k".repeat(3 << 20);
        let mut by_script =
            |call: &str| client.request(&["EVAL", &format!("return redis.call({call})"), "0", &name]);
        assert_eq!(by_script("'set', ARGV[1], 'v'"), Value::Simple(b"OK".to_vec()));
        assert_eq!(by_script("'get', ARGV[1]"), Value::Bulk(b"v".to_vec()));
        let mut other = server.connect();
        other.send(&["DEL", &name]);
        assert!(other.error().starts_with("ERR the request is too long"));
        assert_eq!(other.request(&["KEYS", "*"]), Value::Array(vec![Value::Bulk(name.clone().into_bytes())]));
        assert_eq!(by_script("'del', ARGV[1]"), Value::Int(1));
        assert_eq!(other.int(&["DBSIZE"]), 0);
    }
}

/// differs=client-name-bytes
#[test]
fn a_name_of_a_client_that_is_longer_than_lists_of_clients_can_have_is_refused() {
    let (longest, longer) = ("n".repeat(1024), "n".repeat(1025));
    for server in servers() {
        let mut client = server.connect();
        for (request, what) in [
            (&["CLIENT", "SETNAME"][..], "Client names"),
            (&["CLIENT", "SETINFO", "LIB-NAME"][..], "LIB-NAME"),
            (&["CLIENT", "SETINFO", "LIB-VER"][..], "LIB-VER"),
            (&["HELLO", "2", "SETNAME"][..], "Client names"),
        ] {
            let with = |name| [request, &[name]].concat();
            assert!(!matches!(client.request(&with(&longest)), Value::Error(_)), "{request:?}");
            client.send(&with(&longer));
            assert_eq!(client.error(), format!("ERR {what} cannot be longer than 1024 bytes."));
        }
        let line = client.text(&["CLIENT", "INFO"]);
        assert_eq!(
            line.matches(&format!("={longest} ")).count() + line.matches(&format!("={longest}\n")).count(),
            3
        );
        // Nor does an entry of SLOWLOG hold more.
        client.request(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
        client.request(&["PING"]);
        client.request(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
        let entries = client.request(&["SLOWLOG", "GET", "1"]);
        assert!(format!("{entries:?}").len() < 10_000);
    }
}

/// differs=name-bytes
#[test]
fn a_name_that_is_longer_than_is_copied_at_once_is_refused_before_anything_is_done() {
    const MOST: usize = 2 << 20;
    let is_refused = |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with(b"ERR the request is too long"));
    for server in servers() {
        let mut client = server.connect();
        let (longest, longer) = ("k".repeat(MOST), "k".repeat(MOST + 1));
        assert_eq!(client.request(&["SET", &longest, "v"]), Value::Simple(b"OK".to_vec()));
        for request in [
            &["SET", &longer, "v"][..],
            &["GET", &longer],
            &["DEL", "other", &longer],
            &["MSET", &longest, "v", &longest, "v", "one more", "v"],
            &["XREAD", "STREAMS", &longer, "0"],
            &["EVAL", "return 1", "1", &longer],
            &["PUBLISH", &longer, "message"],
            &["SUBSCRIBE", &longer],
            &["KEYS", &longer],
            // A pattern that is subscribed to is taken apart.
            &["PSUBSCRIBE", "short", &longer[..(256 << 10) + 1]],
        ] {
            client.send(request);
            assert!(is_refused(&client.value()), "{}", request[0]);
        }
        assert_eq!(client.int(&["PUBSUB", "NUMPAT"]), 0);
        // Those of a request in parts are as many as there are.
        let many = ["EXISTS", &longest, &longest, &longest, &longest, "other"];
        assert_eq!(client.int(&many), 4);
        client.request(&["MULTI"]);
        client.send(&many);
        assert!(is_refused(&client.value()));
        client.send(&["EXEC"]);
        assert!(client.error().starts_with("EXECABORT"));
        // A value is as long as it is.
        assert_eq!(client.request(&["SET", "other", &longer]), Value::Simple(b"OK".to_vec()));
        assert_eq!(client.int(&["DEL", &longest, "other"]), 2);
    }
}

/// differs=pattern-steps
#[test]
fn a_pattern_is_given_up_where_it_nearly_matches_again_and_again_for_very_long() {
    for server in servers() {
        let mut client = server.connect();
        for (bytes, len, is_found) in [(5_000, 200, true), (5_000, 1_000, false), (1_000_000, 200, false)] {
            let key = "a".repeat(bytes) + "b";
            client.request(&["SET", &key, "v"]);
            // What stands for itself is searched for, which takes no steps.
            let pattern = format!("*{}b", "a?".repeat(len / 2));
            let Value::Array(found) = client.request(&["KEYS", &pattern]) else { panic!("an array") };
            assert_eq!(found.len(), usize::from(is_found), "KEYS with {len} bytes, of {bytes}");
            let Value::Array(scanned) = client.request(&["SCAN", "0", "MATCH", &pattern, "COUNT", "1000"])
            else {
                panic!("an array")
            };
            assert!(scanned[1] == Value::Array(found) || scanned[0] != Value::Bulk(b"0".to_vec()));
            client.request(&["DEL", &key]);
        }
    }
}

#[test]
fn thousands_of_keys_are_watched_as_one_and_any_of_them_breaks_the_transaction() {
    for server in servers() {
        let (mut client, mut other) = (server.connect(), server.connect());
        let keys = names(10_000, "k");
        for broken in [false, true] {
            client.request(&request(&["WATCH"], &keys));
            // Again: a key that is watched already counts once.
            client.request(&request(&["WATCH"], &keys[..200]));
            client.request(&request(&["WATCH"], &names(240, "more")));
            client.send(&["WATCH", "another"]);
            assert_eq!(client.error(), "ERR too many watched keys: a connection watches at most 10240");
            let line = client.text(&["CLIENT", "INFO"]);
            assert!(line.contains(" watch=10240 "), "{line}");
            if broken {
                other.request(&["SET", "k7777", "touched"]);
            }
            client.request(&["MULTI"]);
            client.request(&["PING"]);
            let result = client.request(&["EXEC"]);
            assert_eq!(matches!(result, Value::Null), broken, "{result:?}");
        }
    }
}

#[test]
fn ten_thousand_prefixes_are_broadcast_each_with_its_keys() {
    for server in servers() {
        let mut client = server.connect_resp3();
        let mut other = server.connect();
        for first in (0..10_000).step_by(500) {
            let prefixes = (first..first + 500).flat_map(|n| ["PREFIX".to_owned(), format!("p{n}:")]);
            client.request(&request(&["CLIENT", "TRACKING", "ON", "BCAST"], &prefixes.collect::<Vec<_>>()));
        }
        client.send(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "more"]);
        assert_eq!(client.error(), "ERR too many prefixes: a client has at most 10000");
        for n in [0, 4711, 9_999] {
            other.request(&["SET", &format!("p{n}:key"), "v"]);
            other.request(&["SET", &format!("q{n}:key"), "v"]);
            let push = client.value();
            let key = match &push {
                Value::Push(parts) => parts[1].as_slice().and_then(|keys| keys[0].as_bytes()),
                _ => None,
            };
            assert_eq!(key, Some(format!("p{n}:key").as_bytes()), "{push:?}");
        }
        client.assert_quiet();
    }
}

#[test]
fn a_client_that_leaves_with_thousands_of_watches_and_prefixes_leaves_none_of_them() {
    for server in servers() {
        let (mut client, mut other) = (server.connect_resp3(), server.connect());
        client.request(&request(&["WATCH"], &names(10_000, "k")));
        for first in (0..2_000).step_by(500) {
            let prefixes = (first..first + 500).flat_map(|n| ["PREFIX".to_owned(), format!("p{n}:")]);
            client.request(&request(&["CLIENT", "TRACKING", "ON", "BCAST"], &prefixes.collect::<Vec<_>>()));
        }
        let info = other.text(&["INFO"]);
        assert!(
            info.contains("total_watched_keys:10000\r\n")
                && info.contains("tracking_total_prefixes:2000\r\n")
        );
        client.leave();
        wait_for("nothing of it", || {
            let info = other.text(&["INFO"]);
            let is_left = |field: &str| !info.contains(&format!("{field}:0\r\n"));
            let fields =
                ["total_watched_keys", "watching_clients", "tracking_clients", "tracking_total_prefixes"];
            (!fields.into_iter().any(is_left)).then_some(())
        });
        other.request(&request(&["MSET"], &names(2_000, "k")));
    }
}

/// What a million names would do, with fewer: each is confirmed in its place, and another client is answered between.
#[test]
fn a_subscription_to_very_many_names_is_confirmed_name_by_name_and_left_in_the_same_way() {
    const NAMES: usize = 60_000;
    for server in servers() {
        for (join, leave) in
            [("SUBSCRIBE", "UNSUBSCRIBE"), ("PSUBSCRIBE", "PUNSUBSCRIBE"), ("SSUBSCRIBE", "SUNSUBSCRIBE")]
        {
            let mut client = server.connect();
            let channels = names(NAMES, "c:");
            client.send(&request(&[join], &channels));
            client.send(&["PING", "behind"]);
            for (index, channel) in channels.iter().enumerate() {
                assert_confirmed(&client.value(), join, channel.as_bytes(), index + 1);
            }
            assert_pong(&mut client, b"behind");
            client.send(&[leave]);
            client.send(&["PING", "left"]);
            let mut left: Vec<Vec<u8>> = (0..NAMES)
                .map(|index| {
                    let value = client.value();
                    let parts = value.as_slice().expect("a confirmation").to_vec();
                    assert_eq!(parts[2].as_int(), Some((NAMES - 1 - index) as i64));
                    parts[1].as_bytes().expect("a name").to_vec()
                })
                .collect();
            left.sort_unstable();
            let mut expected: Vec<Vec<u8>> = channels.iter().map(|name| name.as_bytes().to_vec()).collect();
            expected.sort_unstable();
            assert!(left == expected, "each name is left once");
            assert_pong(&mut client, b"left");
        }
    }
}

#[test]
fn messages_reach_a_subscriber_from_each_confirmation_on_while_the_rest_is_still_joined() {
    const NAMES: usize = 60_000;
    for server in servers() {
        let mut client = server.connect();
        let mut publisher = server.connect();
        client.send(&request(&["SUBSCRIBE"], &names(NAMES, "c:")));
        assert_confirmed(&client.value(), "SUBSCRIBE", b"c:0", 1);
        assert_eq!(publisher.int(&["PUBLISH", "c:0", "early"]), 1);
        let mut confirmed = 1;
        let mut heard = 0;
        while confirmed < NAMES || heard == 0 {
            let value = client.value();
            match value.as_slice().and_then(|parts| parts[0].as_bytes()) {
                Some(b"subscribe") => confirmed += 1,
                Some(b"message") => heard += 1,
                _ => panic!("{value:?}"),
            }
        }
        assert_eq!((confirmed, heard), (NAMES, 1));
    }
}

#[test]
fn a_subscriber_of_very_many_channels_leaves_nothing_behind() {
    const NAMES: usize = 60_000;
    for server in servers() {
        let mut client = server.connect();
        let mut other = server.connect();
        client.send(&request(&["SUBSCRIBE"], &names(NAMES, "c:")));
        (0..NAMES).for_each(|_| drop(client.value()));
        client.send(&request(&["PSUBSCRIBE"], &names(NAMES, "p:")));
        (0..NAMES).for_each(|_| drop(client.value()));
        drop(client);
        wait_for("its subscriptions to go", || {
            let channels = other.request(&["PUBSUB", "CHANNELS"]);
            let none = channels.as_slice().is_some_and(<[Value]>::is_empty);
            (none && other.int(&["PUBSUB", "NUMPAT"]) == 0).then_some(())
        });
        // Its place is free, and who gets it gets nothing that was meant for the one before.
        let mut next = server.connect();
        assert_eq!(other.int(&["PUBLISH", "c:1", "x"]), 0);
        next.assert_quiet();
    }
}

#[test]
fn keys_by_the_ten_thousand_are_counted_read_and_deleted_as_by_one_request_each() {
    const KEYS: usize = 70_000;
    for server in servers() {
        let mut client = server.connect();
        let keys = names(KEYS, "k");
        for part in keys.chunks(5000) {
            let pairs: Vec<String> = part.iter().flat_map(|key| [key.clone(), format!("v{key}")]).collect();
            client.request(&request(&["MSET"], &pairs));
        }
        // Every second one is missing.
        let mixed: Vec<String> = keys.iter().flat_map(|key| [key.clone(), format!("no{key}")]).collect();
        assert_eq!(client.int(&request(&["EXISTS"], &mixed)), KEYS as i64);
        assert_eq!(client.int(&request(&["TOUCH"], &mixed)), KEYS as i64);
        let values = client.request(&request(&["MGET"], &mixed));
        let values = values.as_slice().expect("an array");
        assert_eq!(values.len(), 2 * KEYS);
        for (index, value) in values.iter().enumerate() {
            let expected = (index % 2 == 0).then(|| format!("vk{}", index / 2));
            assert_eq!(value.as_bytes(), expected.as_deref().map(str::as_bytes), "{index}");
        }
        assert_eq!(client.int(&request(&["UNLINK"], &mixed[..KEYS])), KEYS as i64 / 2);
        assert_eq!(client.int(&request(&["DEL"], &mixed)), KEYS as i64 / 2);
        assert_eq!(client.int(&["DBSIZE"]), 0);
    }
}

#[test]
fn what_follows_a_request_in_parts_in_the_pipeline_is_answered_behind_it_and_sees_all_of_it() {
    const KEYS: usize = 40_000;
    for server in servers() {
        let mut client = server.connect();
        let keys = names(KEYS, "k");
        client.send(&["SET", "k1", "1"]);
        client.send(&request(&["DEL"], &keys));
        client.send(&["EXISTS", "k1"]);
        client.send(&request(&["EXISTS"], &keys));
        client.send(&["PING"]);
        client.value();
        assert_eq!(client.value().as_int(), Some(1));
        assert_eq!(client.value().as_int(), Some(0));
        assert_eq!(client.value().as_int(), Some(0));
        assert_eq!(client.value().as_bytes(), Some(&b"PONG"[..]));
    }
}

#[test]
fn a_long_hgetall_is_what_was_there_when_it_ran_and_what_follows_is_answered_behind_it() {
    const FIELDS: usize = 20_000;
    for server in servers() {
        let mut client = server.connect();
        for part in names(FIELDS, "f").chunks(1000) {
            let fields: Vec<String> =
                part.iter().flat_map(|name| [name.clone(), format!("{name} v")]).collect();
            client.request(&request(&["HSET", "h"], &fields));
        }
        client.send(&["HGETALL", "h"]);
        client.send(&["HDEL", "h", "f0"]);
        client.send(&["HLEN", "h"]);
        let all = client.value();
        let all: Vec<&[u8]> = all.as_slice().expect("an array").iter().filter_map(Value::as_bytes).collect();
        let mut found: Vec<String> = Vec::new();
        for pair in all.chunks(2) {
            assert_eq!([pair[0], b" v"].concat(), pair[1]);
            found.push(String::from_utf8_lossy(pair[0]).into_owned());
        }
        let mut expected = names(FIELDS, "f");
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(client.value(), Value::Int(1));
        assert_eq!(client.value(), Value::Int(FIELDS as i64 - 1));

        for command in ["HKEYS", "HVALS"] {
            let reply = client.request(&[command, "h"]);
            assert_eq!(reply.as_slice().map(<[Value]>::len), Some(FIELDS - 1), "{command}");
        }
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        client.send(&["HGETALL", "h"]);
        client.send(&["PING", "after a reply that was skipped"]);
        assert_pong(&mut client, b"after a reply that was skipped");
        client.request(&["MULTI"]);
        client.request(&["HKEYS", "h"]);
        let replies = client.request(&["EXEC"]);
        let keys = replies.as_slice().and_then(|replies| replies.first()?.as_slice());
        assert_eq!(keys.map(<[Value]>::len), Some(FIELDS - 1));
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_request_takes_the_rest_of_it_along() {
    for server in servers() {
        let mut other = server.connect();
        for _ in 0..5 {
            let mut client = server.connect();
            client.send(&request(&["SUBSCRIBE"], &names(100_000, "c:")));
            client.value();
            drop(client);
        }
        wait_for("their subscriptions to go", || {
            let channels = other.request(&["PUBSUB", "CHANNELS"]);
            channels.as_slice().is_some_and(<[Value]>::is_empty).then_some(())
        });
    }
}

#[test]
fn a_blocked_command_is_as_silent_as_client_reply_asked_for() {
    for server in servers() {
        let (mut client, mut other) = (server.connect(), server.connect());
        let blocked = |client: &mut Client, timeout_ms: &str| {
            client.send(&["XREAD", "BLOCK", timeout_ms, "STREAMS", "s", "$"]);
        };
        // One that times out and one that is served; what comes next is the first thing to be answered.
        client.send(&["CLIENT", "REPLY", "SKIP"]);
        blocked(&mut client, "20");
        client.send(&["PING", "after skip"]);
        assert_eq!(client.value().as_bytes(), Some(&b"after skip"[..]));
        client.send(&["CLIENT", "REPLY", "OFF"]);
        blocked(&mut client, "0");
        wait_for("the client to block", || {
            other.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        other.request(&["XADD", "s", "*", "field", "value"]);
        client.send(&["CLIENT", "REPLY", "ON"]);
        assert_eq!(client.value().as_bytes(), Some(&b"OK"[..]));
        // And the one after that is answered again.
        blocked(&mut client, "20");
        assert_eq!(client.value(), Value::Null);
        client.assert_quiet();
    }
}

fn assert_confirmed(value: &Value, verb: &str, name: &[u8], count: usize) {
    let parts = value.as_slice().unwrap_or_else(|| panic!("{value:?}"));
    assert_eq!(parts[0].as_bytes(), Some(verb.to_lowercase().as_bytes()));
    assert_eq!((parts[1].as_bytes(), parts[2].as_int()), (Some(name), Some(count as i64)));
}

/// In a subscription of RESP2 a PING is answered with an array.
fn assert_pong(client: &mut Client, text: &[u8]) {
    let value = client.value();
    let pong = match &value {
        Value::Array(parts) => parts.last().and_then(Value::as_bytes),
        other => other.as_bytes(),
    };
    assert_eq!(pong, Some(text), "{value:?}");
}

#[test]
fn many_clients_and_users_are_listed_a_few_at_a_time_and_completely() {
    const CLIENTS: usize = 700;
    const USERS: usize = 200;
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        let others: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
        (0..USERS).for_each(|user| drop(client.request(&["ACL", "SETUSER", &format!("user:{user}")])));
        wait_for("every client", || {
            (client.text(&["CLIENT", "LIST"]).lines().count() == CLIENTS + 1).then_some(())
        });
        let users = |value: Value| match value {
            Value::Array(lines) => lines.len(),
            other => panic!("an array, not {other:?}"),
        };
        client.send(&["ACL", "LIST"]);
        client.send(&["PING"]);
        assert_eq!(users(client.value()), USERS + 1);
        assert_eq!(client.value(), Value::Simple(b"PONG".to_vec()), "the client's requests keep their order");
        for listing in [&["CLIENT", "LIST"], &["ACL", "LIST"]] {
            client.send(&["CLIENT", "REPLY", "SKIP"]);
            client.send(listing);
            assert_eq!(client.request(&["PING"]), Value::Simple(b"PONG".to_vec()), "{listing:?} is skipped");
            client.request(&["MULTI"]);
            client.request(listing);
            let Value::Array(replies) = client.request(&["EXEC"]) else { panic!("an array") };
            match &replies[..] {
                [Value::Bulk(lines)] => {
                    assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), CLIENTS + 1);
                }
                [Value::Array(lines)] => assert_eq!(lines.len(), USERS + 1),
                other => panic!("one reply, not {other:?}"),
            }
        }
        drop(others);
    }
}

/// differs=slowlog-count
#[test]
fn slowlog_says_how_many_arguments_a_request_had_that_it_shows_cut_off() {
    let server = Launch::shards(1).args(&["--slowlog-log-slower-than", "0"]).start();
    let mut client = server.connect();
    client.request(&["MSET", "a", "1", "b", "2"]);
    client.request(&request(&["DEL"], &names(40, "k")));
    let entries = client.request(&["SLOWLOG", "GET", "-1"]);
    let of = |entry: &Value| {
        let parts = entry.as_slice()?;
        Some((parts[3].as_slice()?.len(), parts[6].as_int()?))
    };
    let entries: Vec<_> = entries.as_slice().expect("entries").iter().filter_map(of).collect();
    assert!(entries.starts_with(&[(32, 41), (5, 5)]), "{entries:?}");
}

/// What a client has sent while its request waited is executed behind it in its order, however much it is and wherever it was
/// cut, and so is a long request that waits itself.
#[test]
fn what_is_sent_behind_a_request_that_waits_is_executed_in_its_order_however_long_it_is() {
    for server in servers() {
        let stream = TcpStream::connect(server.address()).expect("it listens");
        let mut writer = stream.try_clone().expect("a second handle");
        let (mut client, mut other) = (Client::over(stream), server.connect());
        let long = "x".repeat(3_000_000);
        let mut pipeline = request_bytes(&["BLPOP", "wakes", "0"]);
        let mut expected = 0;
        for n in 0..40_000 {
            pipeline.extend(request_bytes(&["APPEND", "sum", &(n % 10).to_string()]));
            expected += 1;
            if n % 15_000 == 7_000 {
                pipeline.extend(request_bytes(&["MSET", "first", &long, "second", &long]));
                pipeline.extend(request_bytes(&["BLPOP", "wakes", "0"]));
            }
        }
        let sending = std::thread::spawn(move || {
            pipeline.chunks(70_001).for_each(|piece| writer.write_all(piece).expect("it goes on reading"));
        });
        for round in 0..=3 {
            let blocked = |other: &mut Client| other.text(&["INFO", "clients"]).contains("blocked_clients:1");
            wait_for("the client to wait", || blocked(&mut other).then_some(()));
            other.request(&["RPUSH", "wakes", "1"]);
            assert!(matches!(client.value(), Value::Array(_)), "the answer to BLPOP");
            let until = [7_001, 22_001, 37_001, 40_000][round];
            let from = [0, 7_001, 22_001, 37_001][round];
            for n in from..until {
                assert_eq!(client.value(), Value::Int(n + 1));
            }
            if round < 3 {
                assert_eq!(client.value(), Value::Simple("OK".into()));
            }
        }
        sending.join().expect("all is sent");
        assert_eq!(client.int(&["STRLEN", "sum"]), expected);
        let digits: String = (0..40_000).map(|n| char::from(b'0' + (n % 10) as u8)).collect();
        assert_eq!(client.text(&["GET", "sum"]), digits);
        assert_eq!(client.int(&["STRLEN", "second"]), long.len() as i64);
        let line = client.text(&["CLIENT", "INFO"]);
        assert!(line.contains(" qbuf-free=0 "), "nothing of it is left: {line}");
    }
}
