//! PUBSUB tells of all nodes.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::Server;

use crate::tools::{nats, nodes as start, subscribe, undisturbed};

fn words(reply: &Value) -> Vec<String> {
    let text = |value: &Value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned();
    let mut words: Vec<String> = reply.as_slice().expect("an array").iter().map(text).collect();
    words.sort();
    words
}

#[test]
fn pubsub_counts_and_names_what_is_listened_to_anywhere() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 3);
        let mut subscribers: Vec<Client> = nodes.iter().map(Server::connect).collect();
        for (at, subscriber) in subscribers.iter_mut().enumerate() {
            subscribe(subscriber, "SUBSCRIBE", "everywhere");
            subscribe(subscriber, "SUBSCRIBE", &format!("only:{at}"));
            subscribe(subscriber, "SSUBSCRIBE", "sharded");
            subscribe(subscriber, "PSUBSCRIBE", &format!("pattern:{at}:*"));
        }
        for node in nodes.iter() {
            let mut client = node.connect();
            let reply = client.request(&["PUBSUB", "NUMSUB", "everywhere", "only:1", "nowhere"]);
            let counts: Vec<Option<i64>> =
                reply.as_slice().expect("an array").iter().map(Value::as_int).collect();
            assert_eq!(counts, [None, Some(3), None, Some(1), None, Some(0)]);
            assert_eq!(
                words(&client.request(&["PUBSUB", "CHANNELS"])),
                ["everywhere", "only:0", "only:1", "only:2"]
            );
            assert_eq!(
                words(&client.request(&["PUBSUB", "CHANNELS", "only:*"])),
                ["only:0", "only:1", "only:2"]
            );
            assert_eq!(client.int(&["PUBSUB", "NUMPAT"]), 3);
            assert_eq!(words(&client.request(&["PUBSUB", "SHARDCHANNELS"])), ["sharded"]);
            let reply = client.request(&["PUBSUB", "SHARDNUMSUB", "sharded"]);
            assert_eq!(reply.as_slice().and_then(|reply| reply[1].as_int()), Some(3));
            // What goes wrong leaves nothing behind.
            client.send(&["PUBSUB", "CHANNELS", "a", "b"]);
            assert!(client.error().starts_with("ERR unknown subcommand"));
            assert_eq!(client.int(&["PUBSUB", "NUMPAT"]), 3);
            // Who publishes is told of its own node's subscribers.
            assert_eq!(client.int(&["PUBLISH", "everywhere", "x"]), 1);
        }
    });
}

#[test]
fn long_questions_and_long_answers_are_whole() {
    const CHANNELS: usize = 3000;
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 2);
        let mut subscriber = nodes[1].connect();
        let names: Vec<String> = (0..CHANNELS).map(|n| format!("long:{n:04}")).collect();
        let mut request = vec!["SUBSCRIBE"];
        request.extend(names.iter().map(String::as_str));
        subscriber.send(&request);
        names.iter().for_each(|_| drop(subscriber.value()));
        let mut client = nodes[0].connect();
        assert_eq!(words(&client.request(&["PUBSUB", "CHANNELS"])), names);
        let mut question = vec!["PUBSUB", "NUMSUB"];
        question.extend(names.iter().map(String::as_str));
        let reply = client.request(&question);
        let reply = reply.as_slice().expect("an array");
        assert_eq!(reply.len(), 2 * CHANNELS);
        for (pair, name) in reply.chunks(2).zip(&names) {
            assert_eq!((pair[0].as_bytes(), pair[1].as_int()), (Some(name.as_bytes()), Some(1)));
        }
    });
}
