//! Events that name the fields they are about, on every shard.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::Server;

/// The next message: its channel and payload.
fn message(client: &mut Client) -> (String, String) {
    let Value::Array(parts) = client.value() else { panic!("a message is an array") };
    let texts: Vec<String> = parts
        .iter()
        .map(|part| match part {
            Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("{other:?} in a message"),
        })
        .collect();
    let [_, _, channel, payload] = &texts[..] else { panic!("{texts:?} is no message to a pattern") };
    (channel.clone(), payload.clone())
}

fn listener(server: &Server, pattern: &str) -> Client {
    let mut client = server.connect();
    client.request(&["PSUBSCRIBE", pattern]);
    client
}

/// Source: the channels and payloads of redis.io/docs/latest/develop/pubsub/subkeyspace-notifications.
#[test]
fn subscribers_are_told_which_fields_changed_in_the_form_they_asked_for() {
    for shards in [1, 3] {
        let server = Server::sterna(shards, &["--notify-keyspace-events", "hSTIV"]);
        let mut writer = server.connect();
        let mut listeners: Vec<Client> = (0..shards).map(|_| listener(&server, "__*key*@*")).collect();
        let key = "k|\r,ey";
        writer.request(&["SELECT", "2"]);
        writer.request(&["HSET", key, "", "1", "a,1:b", "2"]);
        writer.request(&["HDEL", "other\nline", "x"]);
        writer.request(&["HSET", "other\nline", "x", "1"]);
        let expected = [
            ("__subkeyspace@2__:k|\r,ey", "hset|0:,5:a,1:b"),
            ("__subkeyevent@2__:hset", "6:k|\r,ey|0:,5:a,1:b"),
            ("__subkeyspaceitem@2__:k|\r,ey\n", "hset"),
            ("__subkeyspaceitem@2__:k|\r,ey\na,1:b", "hset"),
            ("__subkeyspaceevent@2__:hset|k|\r,ey", "0:,5:a,1:b"),
            ("__subkeyspace@2__:other\nline", "hset|1:x"),
            ("__subkeyevent@2__:hset", "10:other\nline|1:x"),
            ("__subkeyspaceevent@2__:hset|other\nline", "1:x"),
        ];
        for listener in &mut listeners {
            for (channel, payload) in expected {
                assert_eq!(message(listener), (channel.to_owned(), payload.to_owned()));
            }
        }
        writer.request(&["CONFIG", "SET", "notify-keyspace-events", "KSg"]);
        writer.request(&["HSET", key, "f", "1"]);
        writer.request(&["DEL", key]);
        for listener in &mut listeners {
            let expected = ("__keyspace@2__:k|\r,ey".to_owned(), "del".to_owned());
            assert_eq!(
                message(listener),
                expected,
                "an event that is about no field, and none of another class"
            );
            listener.assert_quiet();
        }
    }
}

#[test]
fn fields_that_expire_and_those_that_transactions_and_scripts_change_are_named() {
    let server = Server::sterna(2, &["--notify-keyspace-events", "hT"]);
    let (mut listener, mut writer) = (listener(&server, "__subkeyevent@0__:*"), server.connect());
    for request in [
        &["MULTI"][..],
        &["HSET", "h", "a", "1", "b", "2"],
        &["HPEXPIRE", "h", "1", "FIELDS", "1", "a"],
        &["EXEC"],
        &["EVAL", "return redis.call('HINCRBY', KEYS[1], 'b', 1)", "1", "h"],
    ] {
        writer.request(request);
    }
    let mut told: Vec<_> = (0..4).map(|_| message(&mut listener)).collect();
    // When the field goes is a matter of time.
    told[2..].sort_unstable();
    let expected = [("hset", "1:a,1:b"), ("hexpire", "1:a"), ("hexpired", "1:a"), ("hincrby", "1:b")];
    for (told, (event, fields)) in told.iter().zip(expected) {
        assert_eq!(*told, (format!("__subkeyevent@0__:{event}"), format!("1:h|{fields}")));
    }
}

#[test]
fn very_many_events_of_one_write_come_in_their_order_and_before_those_of_whatever_is_written_next() {
    const KEYS: usize = 3_000;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--notify-keyspace-events", "KE$hgI"]);
        let (mut writer, mut other) = (server.connect(), server.connect());
        let mut listeners: Vec<Client> = (0..shards).map(|_| listener(&server, "__*key*@*")).collect();
        let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
        let pairs = keys.iter().flat_map(|key| [key.as_str(), "v"]);
        writer.send(&["MSET"].into_iter().chain(pairs).collect::<Vec<_>>());
        writer.send(&["DEL", "key:1"]);
        let fields = keys.iter().flat_map(|field| [field.as_str(), "v"]);
        writer.send(&["HSET", "h"].into_iter().chain(fields).collect::<Vec<_>>());
        writer.send(&["SET", "last", "v"]);
        (0..4).for_each(|_| drop(writer.value()));
        // Another client's write comes behind, too, where it is made on the same shard: on one, that is so.
        if shards == 1 {
            other.request(&["SET", "of-other", "v"]);
        }
        for listener in &mut listeners {
            let mut expect = |channel: &str, payload: &str| {
                assert_eq!(message(listener), (channel.to_owned(), payload.to_owned()), "{shards} shards");
            };
            for key in &keys {
                expect(&format!("__keyspace@0__:{key}"), "set");
                expect("__keyevent@0__:set", key);
            }
            expect("__keyspace@0__:key:1", "del");
            expect("__keyevent@0__:del", "key:1");
            expect("__keyspace@0__:h", "hset");
            expect("__keyevent@0__:hset", "h");
            for key in &keys {
                expect(&format!("__subkeyspaceitem@0__:h\n{key}"), "hset");
            }
            expect("__keyspace@0__:last", "set");
            expect("__keyevent@0__:set", "last");
            if shards == 1 {
                expect("__keyspace@0__:of-other", "set");
                expect("__keyevent@0__:set", "of-other");
            }
        }
    }
}
