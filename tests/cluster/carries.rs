//! What is published on one node and listened to on another.

use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Server, wait_for};

use crate::tools::{
    await_joined, count, figure, name, nats, node, nodes as start, payload, payload_of, subscribe,
    undisturbed,
};

/// First messages after a SUBSCRIBE.
fn trials() -> usize {
    std::env::var("STERNA_CLUSTER_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Trials with the same nodes: few enough that most channels lie in buckets that nobody has announced yet.
const ROUND: usize = 60;

#[test]
fn a_confirmed_subscription_gets_the_first_message_that_is_published_on_any_other_node() {
    let Some(nats) = nats() else { return };
    let trials: Vec<usize> = (0..trials()).collect();
    for round in trials.chunks(ROUND) {
        undisturbed(|nodes| {
            *nodes = start(nats, 3);
            round.iter().for_each(|&trial| try_first_message(nodes, trial));
            for node in nodes {
                assert_eq!(count(node, "cluster_unconfirmed_subscribes"), 0);
                assert_eq!(
                    (count(node, "cluster_missed_messages"), count(node, "cluster_dropped_messages")),
                    (0, 0)
                );
            }
        });
    }
}

fn try_first_message(nodes: &[Server], trial: usize) {
    // A pattern is the last of a round: from there on its node gets everything.
    let kinds = [("SUBSCRIBE", "PUBLISH"), ("SSUBSCRIBE", "SPUBLISH"), ("PSUBSCRIBE", "PUBLISH")];
    let kind = if trial % ROUND == ROUND - 1 { 2 } else { trial % 2 };
    let (subscribes, publishes) = kinds[kind];
    let (here, there) = (trial % 3, (trial + 1 + trial / 3 % 2) % 3);
    let mut publisher = nodes[there].connect();
    // It is served before the subscription is there.
    publisher.request(&["PING"]);
    let channel = format!("first:{trial}:{}", fastrand::u32(..));
    let mut subscriber = nodes[here].connect();
    let wanted = if kind == 2 { format!("{channel}*") } else { channel.clone() };
    subscribe(&mut subscriber, subscribes, &wanted);
    publisher.request(&[publishes, &channel, "first"]);
    assert_eq!(payload(&mut subscriber), b"first", "trial {trial}: {here} from {there}");
}

#[test]
fn a_subscription_of_a_transaction_and_one_behind_other_requests_wait_for_the_other_nodes_too() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 2);
        let mut publisher = nodes[1].connect();
        for trial in 0..20 {
            let mut subscriber = nodes[0].connect_resp3();
            let (queued, piped) = (format!("queued:{trial}"), format!("piped:{trial}"));
            for args in
                [&["MULTI"][..], &["SUBSCRIBE", &queued], &["EXEC"], &["SUBSCRIBE", &piped], &["PING"]]
            {
                subscriber.send(args);
            }
            let read: Vec<String> = (0..5).map(|_| format!("{:?}", subscriber.value())).collect();
            let place = |word: &str| {
                let bytes = format!("{:?}", word.as_bytes());
                read.iter()
                    .position(|frame| frame.contains(&bytes))
                    .unwrap_or_else(|| panic!("{word} in {read:?}"))
            };
            let places = ["QUEUED", &queued, &piped, "PONG"].map(place);
            assert!(places.is_sorted(), "{read:?}");
            for channel in [&queued, &piped] {
                publisher.request(&["PUBLISH", channel, "x"]);
                assert_eq!(payload(&mut subscriber), b"x");
            }
        }
    });
}

#[test]
fn messages_of_a_publisher_keep_their_order_across_channels_and_shards() {
    const MESSAGES: usize = 12_000;
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 3);
        let mut subscribers: Vec<Client> = Vec::new();
        for node in &nodes[1..] {
            // Several, so that every shard has some.
            for _ in 0..3 {
                let mut subscriber = node.connect();
                (0..7)
                    .for_each(|channel| subscribe(&mut subscriber, "SUBSCRIBE", &format!("order:{channel}")));
                subscribers.push(subscriber);
            }
        }
        let mut by_pattern = nodes[2].connect();
        subscribe(&mut by_pattern, "PSUBSCRIBE", "order:*");
        subscribers.push(by_pattern);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut publisher = nodes[0].connect();
                for batch in (0..MESSAGES).collect::<Vec<_>>().chunks(100) {
                    let requests: Vec<u8> = batch
                        .iter()
                        .flat_map(|n| {
                            request_bytes(&["PUBLISH", &format!("order:{}", n % 7), &n.to_string()])
                        })
                        .collect();
                    publisher.send_bytes(&requests);
                    batch.iter().for_each(|_| drop(publisher.value()));
                }
            });
            for subscriber in &mut subscribers {
                threads.spawn(move || {
                    for n in 0..MESSAGES {
                        assert_eq!(payload(subscriber), n.to_string().as_bytes());
                    }
                });
            }
        });
        assert_eq!(
            count(&nodes[1], "cluster_missed_messages") + count(&nodes[2], "cluster_missed_messages"),
            0
        );
    });
}

#[test]
fn a_node_gets_nothing_that_nobody_there_listens_to() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 3);
        let mut subscriber = nodes[1].connect();
        subscribe(&mut subscriber, "SUBSCRIBE", "only:here");
        let mut publisher = nodes[0].connect();
        for n in 0..100 {
            publisher.request(&["PUBLISH", "only:here", &n.to_string()]);
        }
        (0..100).for_each(|n| assert_eq!(payload(&mut subscriber), n.to_string().as_bytes()));
        wait_for("the figures", || (count(&nodes[1], "cluster_received_messages") == 100).then_some(()));
        wait_for("the figures", || (count(&nodes[0], "cluster_sent_messages") == 100).then_some(()));
        assert_eq!(count(&nodes[2], "cluster_received_messages"), 0);
        assert_eq!(count(&nodes[1], "cluster_unwanted_messages"), 0);
    });
}

#[test]
fn large_payloads_and_empty_ones_arrive_as_they_are() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 2);
        let mut subscriber = nodes[1].connect();
        subscribe(&mut subscriber, "SUBSCRIBE", "large");
        let mut publisher = nodes[0].connect();
        for length in [0, 1, 40_000, 262_144, 300_000, 1 << 20, 3_000_001, 6 << 20, 2] {
            let sent: Vec<u8> = (0..length).map(|n: usize| ((n / 256) ^ n) as u8).collect();
            publisher.request(&[b"PUBLISH", &b"large"[..], &sent]);
            assert!(payload(&mut subscriber) == sent, "{length} bytes");
        }
    });
}

#[test]
fn who_may_not_subscribe_gets_nothing_from_elsewhere_either() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 2);
        let mut admin = nodes[1].connect();
        admin.request(&["ACL", "SETUSER", "reader", "on", ">pw", "&mine:*", "+@all"]);
        let mut reader = nodes[1].connect();
        reader.request(&["AUTH", "reader", "pw"]);
        reader.send(&["SUBSCRIBE", "theirs"]);
        assert!(reader.error().starts_with("NOPERM"));
        subscribe(&mut reader, "SUBSCRIBE", "mine:1");
        let mut publisher = nodes[0].connect();
        publisher.request(&["PUBLISH", "theirs", "no"]);
        publisher.request(&["PUBLISH", "mine:1", "yes"]);
        assert_eq!(payload(&mut reader), b"yes");
        // Whose right goes, goes with it.
        admin.request(&["ACL", "SETUSER", "reader", "resetchannels"]);
        assert_eq!(reader.rest(), b"");
    });
}

#[test]
fn what_happens_to_keys_is_told_on_their_own_node_only() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        *nodes = start(nats, 2);
        let mut subscribers: Vec<Client> = nodes.iter().map(Server::connect).collect();
        for (node, subscriber) in nodes.iter().zip(&mut subscribers) {
            node.connect().request(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
            subscribe(subscriber, "PSUBSCRIBE", "*");
        }
        let mut writer = nodes[0].connect();
        writer.request(&["SET", "key", "value"]);
        writer.request(&["PUBLISH", "end", "end"]);
        let mut read = |at: usize| -> Vec<Vec<u8>> {
            let mut payloads = Vec::new();
            while payloads.last().is_none_or(|last: &Vec<u8>| last != b"end") {
                payloads.push(payload_of(&subscribers[at].value()));
            }
            payloads
        };
        assert_eq!(read(0), [&b"set"[..], b"key", b"end"]);
        assert_eq!(read(1), [b"end"]);
    });
}

#[test]
fn clusters_of_two_names_know_nothing_of_each_other() {
    let Some(nats) = nats() else { return };
    let (first, second) = (start(nats, 1), start(nats, 1));
    let mut subscribers = [first[0].connect(), second[0].connect()];
    subscribers.iter_mut().for_each(|subscriber| subscribe(subscriber, "SUBSCRIBE", "c"));
    first[0].connect().request(&["PUBLISH", "c", "first"]);
    second[0].connect().request(&["PUBLISH", "c", "second"]);
    assert_eq!(payload(&mut subscribers[0]), b"first");
    assert_eq!(payload(&mut subscribers[1]), b"second");
}

#[test]
fn a_node_that_comes_later_hears_at_once_and_is_heard() {
    let Some(nats) = nats() else { return };
    undisturbed(|nodes| {
        let name = name();
        nodes.push(node(&name, &nats.url(0)).start());
        await_joined(nodes);
        let mut subscriber = nodes[0].connect();
        subscribe(&mut subscriber, "SUBSCRIBE", "late");
        // What it publishes at once is kept until it knows who is there.
        nodes.push(node(&name, &nats.url(1)).start());
        let (first, second) = (&nodes[0], &nodes[1]);
        second.connect().request(&["PUBLISH", "late", "from the second"]);
        assert_eq!(payload(&mut subscriber), b"from the second");
        let mut other = second.connect();
        subscribe(&mut other, "SUBSCRIBE", "early");
        first.connect().request(&["PUBLISH", "early", "from the first"]);
        assert_eq!(payload(&mut other), b"from the first");
    });
}

#[test]
fn without_a_cluster_nothing_is_said_of_one() {
    let server = Server::sterna(2, &[]);
    assert_eq!(server.connect().text(&["INFO", "cluster"]), "# Cluster\r\ncluster_enabled:0\r\n");
    assert_eq!(figure(&server, "cluster_state"), None);
}
