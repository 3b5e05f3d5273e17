//! While the keys are being loaded: what needs none is served.

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, wait_for};

/// The words of a message that has come.
fn message(client: &mut Client) -> Vec<String> {
    let value = client.value();
    let text = |part: &Value| String::from_utf8_lossy(part.as_bytes().unwrap_or_default()).into_owned();
    value.as_slice().expect("a message").iter().map(text).collect()
}

#[test]
fn while_the_keys_are_loaded_channels_of_both_kinds_work_and_keys_are_refused() {
    for shards in [1, 2] {
        let launch = Launch::shards(shards).args(&["--dir", "{folder}"]);
        let (launch, faults) = Faults::under(launch, "appendonlydir");
        let mut server = launch.start();
        server.connect().request(&["SET", "k", "v"]);
        server.kill();
        // No read ends before this is taken back.
        faults.delay_reads(Duration::from_millis(700));
        server.begin_again();
        let (mut subscriber, mut sharded, mut client) =
            (server.connect(), server.connect(), server.connect());
        let is_loading = |client: &mut Client| {
            assert!(client.text(&["INFO", "persistence"]).contains("loading:1"), "it has loaded already");
        };
        is_loading(&mut client);
        subscriber.request(&["SUBSCRIBE", "c"]);
        subscriber.request(&["PSUBSCRIBE", "d*"]);
        sharded.request(&["SSUBSCRIBE", "c"]);
        assert_eq!(client.int(&["PUBLISH", "c", "plain"]), 1);
        assert_eq!(client.int(&["PUBLISH", "d1", "pattern"]), 1);
        assert_eq!(client.int(&["SPUBLISH", "c", "sharded"]), 1);
        let queued = [&["MULTI"][..], &["SPUBLISH", "c", "queued"], &["EXEC"]];
        queued.iter().for_each(|request| drop(client.request(request)));
        assert_eq!(message(&mut subscriber), ["message", "c", "plain"]);
        assert_eq!(message(&mut subscriber), ["pmessage", "d*", "d1", "pattern"]);
        for expected in ["sharded", "queued"] {
            assert_eq!(message(&mut sharded), ["smessage", "c", expected]);
        }
        for request in [&["PUBSUB", "SHARDCHANNELS"][..], &["PUBSUB", "CHANNELS"]] {
            assert_eq!(client.request(request).as_slice().map(<[_]>::len), Some(1), "{request:?}");
        }
        // Keys that have yet to come are no reason to be told of memory.
        client.request(&["CONFIG", "SET", "maxmemory", "1mb"]);
        for request in [&["GET", "k"][..], &["SET", "k", "w"], &["PING"]] {
            client.send(request);
            let error = client.error();
            assert!(error.starts_with("LOADING "), "{request:?}: {error}");
        }
        client.request(&["CONFIG", "SET", "maxmemory", "0"]);
        is_loading(&mut client);
        faults.mend();
        wait_for("the keys", || match client.try_request(&["GET", "k"])? {
            Value::Error(_) => None,
            value => {
                assert_eq!(value.as_bytes(), Some(&b"v"[..]));
                Some(())
            }
        });
        // Who subscribed before is a subscriber still.
        assert_eq!(client.int(&["SPUBLISH", "c", "after"]), 1);
        assert_eq!(message(&mut sharded), ["smessage", "c", "after"]);
    }
}
