//! Nodes and NATS servers that go, and lines that are cut.

use std::time::Duration;

use sterna_tests::client::{Client, Frame};
use sterna_tests::line::{End, Line};
use sterna_tests::nats::Nats;
use sterna_tests::server::{PATIENCE, wait_for};
use sterna_tests::skipped;

use crate::passing::{LEADER, await_led, leader};
use crate::tools::{await_joined, count, figure, name, nats, node, nodes, payload, subscribe};

/// Publishes until the subscriber has received something.
fn publish_until_received(publisher: &mut Client, subscriber: &mut Client, channel: &str) {
    wait_for("messages to arrive again", || {
        publisher.request(&["PUBLISH", channel, "again"]);
        let frame = subscriber.frame(Duration::from_millis(50));
        matches!(frame, Frame::Bytes(_)).then_some(())
    });
}

#[test]
fn a_node_that_is_killed_holds_nobody_up_and_is_there_again_when_it_starts() {
    let Some(nats) = nats() else { return };
    let mut nodes = nodes(nats, 3);
    nodes[2].kill();
    let mut subscriber = nodes[0].connect();
    subscribe(&mut subscriber, "SUBSCRIBE", "survives");
    nodes[1].connect().request(&["PUBLISH", "survives", "x"]);
    assert_eq!(payload(&mut subscriber), b"x");
    nodes[2].start_again();
    publish_until_received(&mut nodes[2].connect(), &mut subscriber, "survives");
}

#[test]
fn a_node_that_stops_in_order_has_sent_what_it_answered() {
    let Some(nats) = nats() else { return };
    let mut nodes = nodes(nats, 2);
    let mut subscriber = nodes[0].connect();
    subscribe(&mut subscriber, "SUBSCRIBE", "last");
    let mut publisher = nodes[1].connect();
    (0..500).for_each(|n| publisher.send(&["PUBLISH", "last", &n.to_string()]));
    (0..500).for_each(|_| drop(publisher.value()));
    let stopped = nodes.remove(1);
    stopped.signal(rustix::process::Signal::TERM);
    (0..500).for_each(|n| assert_eq!(payload(&mut subscriber), n.to_string().as_bytes()));
    assert!(stopped.wait().status.success());
    wait_for("the other to know", || (count(&nodes[0], "cluster_nodes") == 1).then_some(()));
}

#[test]
fn a_nats_server_that_is_killed_is_replaced_by_another() {
    let Some(mut nats) = Nats::start(3) else { return skipped("needs NATS_SERVER; ./test installs one") };
    let nodes = nodes(&nats, 2);
    let mut subscriber = nodes[1].connect();
    subscribe(&mut subscriber, "SUBSCRIBE", "goes-on");
    nats.kill(0);
    let mut publisher = nodes[0].connect();
    publish_until_received(&mut publisher, &mut subscriber, "goes-on");
    await_joined(&nodes);
    // A SUBSCRIBE that is confirmed now gets the first message again.
    for trial in 0..20 {
        let channel = format!("first:{trial}");
        let mut fresh = nodes[trial % 2].connect();
        subscribe(&mut fresh, "SUBSCRIBE", &channel);
        nodes[(trial + 1) % 2].connect().request(&["PUBLISH", &channel, "first"]);
        assert_eq!(payload(&mut fresh), b"first");
    }
}

#[test]
fn without_nats_a_node_serves_alone_and_says_so() {
    let Some(mut nats) = Nats::start(1) else { return skipped("needs NATS_SERVER; ./test installs one") };
    let nodes = nodes(&nats, 2);
    nats.kill(0);
    let mut subscribers = Vec::new();
    for node in &nodes {
        wait_for("the loss to be known", || (figure(node, "cluster_state")? == "disconnected").then_some(()));
        let mut subscriber = node.connect();
        subscribe(&mut subscriber, "SUBSCRIBE", "alone");
        assert_eq!(node.connect().int(&["PUBLISH", "alone", "x"]), 1);
        assert_eq!(payload(&mut subscriber), b"x");
        assert_eq!(node.connect().int(&["PUBSUB", "NUMPAT"]), 0);
        node.await_log("the loss in the log", |log| log.contains("the connection to NATS is lost"));
        subscribers.push(subscriber);
    }
    nats.start_again(0);
    await_joined(&nodes);
    let mut subscriber = nodes[0].connect();
    subscribe(&mut subscriber, "SUBSCRIBE", "together");
    nodes[1].connect().request(&["PUBLISH", "together", "x"]);
    assert_eq!(payload(&mut subscriber), b"x");
    // Who subscribed while it was away is known now, too.
    nodes[1].connect().request(&["PUBLISH", "alone", "later"]);
    assert_eq!(payload(&mut subscribers[0]), b"later");
}

#[test]
fn what_a_cut_line_loses_is_counted_exactly_and_told_to_who_asks() {
    const LOST: usize = 30;
    let Some(nats) = nats() else { return };
    let (name, line) = (name(), Line::to(nats.ports()[0]));
    let sender = node(&name, &nats.url(1)).start();
    let receiver = node(&name, &format!("nats://127.0.0.1:{}", line.port)).start();
    let nodes = [sender, receiver];
    await_joined(&nodes);
    let mut subscriber = nodes[1].connect();
    subscribe(&mut subscriber, "SUBSCRIBE", "cut");
    let mut watcher = nodes[1].connect();
    subscribe(&mut watcher, "SUBSCRIBE", "__cluster__:gap");
    let mut publisher = nodes[0].connect();
    publisher.request(&["PUBLISH", "cut", "before"]);
    assert_eq!(payload(&mut subscriber), b"before");
    line.cut(End::Closed);
    for _ in 0..LOST {
        publisher.request(&["PUBLISH", "cut", "lost"]);
    }
    line.mend();
    await_joined(&nodes);
    let mut told = 0;
    while told < LOST as u64 {
        let text = String::from_utf8(payload(&mut watcher)).expect("it is text");
        let number =
            text.split("\"missed\":").nth(1).and_then(|rest| rest.trim_end_matches('}').parse::<u64>().ok());
        told += number.unwrap_or_else(|| panic!("{text}"));
    }
    assert_eq!(told, LOST as u64);
    publisher.request(&["PUBLISH", "cut", "after"]);
    assert_eq!(payload(&mut subscriber), b"after");
    assert_eq!(count(&nodes[1], "cluster_missed_messages"), LOST as u64);
    nodes[1].await_log("the gap in the log", |log| log.contains("messages of another node are missing here"));
}

#[test]
fn a_node_that_stands_still_delays_publishers_for_a_moment_only() {
    let Some(nats) = nats() else { return };
    let nodes = nodes(nats, 2);
    let mut subscriber = nodes[1].connect();
    subscribe(&mut subscriber, "SUBSCRIBE", "stall");
    nodes[1].freeze();
    let mut publisher = nodes[0].connect();
    let payload_bytes = vec![b'x'; 100_000];
    for _ in 0..100 {
        publisher.request(&[b"PUBLISH", &b"stall"[..], &payload_bytes]);
    }
    assert!(
        wait_for("a drop", || Some(count(&nodes[0], "cluster_dropped_messages")).filter(|n| *n > 0)) <= 100
    );
    nodes[1].signal(rustix::process::Signal::CONT);
    publish_until_received(&mut publisher, &mut subscriber, "stall");
}

/// `databases` is to be the same on all nodes; what comes of another number is an error of whoever uses it.
#[test]
fn a_client_in_a_database_that_the_node_that_leads_does_not_have_is_refused_and_nobody_else() {
    let Some(nats) = nats() else { return };
    let name = name();
    let leads = leader(&name, nats).args(&["--databases", "1"]).start();
    let of_it = ["--cluster-leader", LEADER, "--cluster-leader-wait", "1"];
    let passes = node(&name, &nats.url(1)).args(&of_it).start();
    await_led(&passes);
    let mut beyond = passes.connect();
    beyond.request(&["SELECT", "5"]);
    beyond.send(&["SET", "k", "1"]);
    assert!(beyond.error().starts_with("CLUSTERDOWN"));
    let (mut has_session, mut other) = (passes.connect(), passes.connect());
    assert_eq!((has_session.int(&["INCR", "n"]), other.int(&["INCR", "n"])), (1, 2));
    has_session.request(&["SELECT", "5"]);
    has_session.send(&["INCR", "n"]);
    let refused = has_session.frame(PATIENCE);
    assert!(
        matches!(&refused, Frame::Bytes(told) if told.starts_with(b"-CLUSTERDOWN"))
            || refused == Frame::Closed,
        "{refused:?}"
    );
    assert_eq!((other.int(&["INCR", "n"]), leads.connect().int(&["INCR", "n"])), (3, 4));
}
