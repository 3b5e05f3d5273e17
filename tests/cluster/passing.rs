//! Commands on keys at a node that does not lead them.

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes};
use sterna_tests::http::HttpServer;
use sterna_tests::line::{End, Line};
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};
use sterna_tests::skipped;
use sterna_tests::wire::Wire;

use crate::tools::{await_joined, count, figure, name, nats, node, payload, shown, subscribe};

/// What the node that leads announces: it is found by that, not by where it listens.
pub(crate) const LEADER: &str = "leader.test:7";

fn of_cluster(name: &str, nats: &Nats, at: usize) -> Launch {
    node(name, &nats.url(at)).args(&["--cluster-leader", LEADER])
}

pub(crate) fn leader(name: &str, nats: &Nats) -> Launch {
    of_cluster(name, nats, 0).args(&["--cluster-announce-ip", "leader.test", "--cluster-announce-port", "7"])
}

/// A node that leads, and one that does not and knows it.
fn pair(nats: &Nats) -> (Server, Server) {
    let name = name();
    let pair = [leader(&name, nats).start(), of_cluster(&name, nats, 1).start()];
    await_joined(&pair);
    await_led(&pair[1]);
    let [leads, passes] = pair;
    (leads, passes)
}

pub(crate) fn await_led(node: &Server) {
    wait_for("a node to know who leads", || {
        node.connect().text(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
    });
}

fn pipeline(client: &mut Client, requests: &[&[&str]]) -> Vec<String> {
    let bytes: Vec<u8> = requests.iter().flat_map(|args| request_bytes(args)).collect();
    client.send_bytes(&bytes);
    requests.iter().map(|_| shown(&client.value())).collect()
}

#[test]
fn what_concerns_keys_is_done_by_the_node_that_leads_and_replies_keep_their_order() {
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair(nats);
    let (mut there, mut here) = (leads.connect(), passes.connect());
    let replies = pipeline(
        &mut here,
        &[
            &["SET", "k", "1"],
            &["PING"],
            &["INCR", "k"],
            &["ECHO", "local"],
            &["GET", "k"],
            &["NOSUCH"],
            &["LPUSH", "k", "x"],
            &["SELECT", "3"],
            &["SET", "k", "in 3"],
            &["GET", "k"],
            &["SELECT", "0"],
            &["GET", "k"],
            &["MULTI"],
            &["INCR", "k"],
            &["PING"],
            &["SELECT", "3"],
            &["GET", "k"],
            &["EXEC"],
            &["GET", "k"],
            &["EVAL", "return redis.call('INCR', KEYS[1])", "1", "n"],
            &["SELECT", "0"],
            &["DBSIZE"],
        ],
    );
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let text = |at: usize| replies[at].as_str();
    assert_eq!((text(0), text(1), text(3), text(4)), ("OK", "PONG", "local", "2"), "{replies:?}");
    assert!(text(5).contains("unknown command") && text(6).contains(wrong_type), "{replies:?}");
    assert_eq!((text(9), text(11)), ("in 3", "2"), "{replies:?}");
    assert!(text(17).ends_with("PONG OK in 3]"), "{replies:?}");
    assert_eq!(text(18), "in 3", "SELECT of a transaction holds");
    assert_eq!(there.text(&["GET", "k"]), "3");
    // Nothing of it is here.
    assert!(!passes.connect().text(&["INFO", "keyspace"]).contains("db0"));

    // WATCH.
    for (touches, expected) in [(false, "[OK]"), (true, "Null")] {
        pipeline(&mut here, &[&["WATCH", "w"], &["GET", "w"]]);
        if touches {
            there.request(&["SET", "w", "touched"]);
        }
        let replies = pipeline(&mut here, &[&["MULTI"], &["SET", "w", "v"], &["EXEC"]]);
        assert!(replies[2].contains(expected), "{replies:?}");
    }
    let replies =
        pipeline(&mut here, &[&["WATCH", "w"], &["MULTI"], &["DISCARD"], &["MULTI"], &["NOSUCH"], &["EXEC"]]);
    assert!(replies[5].starts_with("EXECABORT"), "{replies:?}");

    // Long requests and replies, and one behind the other.
    let long = "x".repeat(20_000_000);
    here.request(&["SET", "long", &long]);
    here.send(&["GET", "long"]);
    here.send(&["PING"]);
    assert_eq!(here.value().as_bytes().map(<[u8]>::len), Some(long.len()));
    assert_eq!(shown(&here.value()), "PONG");

    // Blocked, served by another, and given up.
    here.send(&["BLPOP", "list", "0"]);
    here.send(&["PING"]);
    wait_for("a client to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    there.request(&["RPUSH", "list", "a"]);
    assert_eq!((shown(&here.value()), shown(&here.value())), ("[list a]".to_owned(), "PONG".to_owned()));
    let mut leaves = passes.connect();
    let id = leaves.int(&["CLIENT", "ID"]).to_string();
    leaves.send(&["BLPOP", "list", "0"]);
    wait_for("a client to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    assert_eq!(here.int(&["CLIENT", "UNBLOCK", &id, "ERROR"]), 1);
    assert!(leaves.error().starts_with("UNBLOCKED"));
    leaves.send(&["BLPOP", "list", "0"]);
    wait_for("a client to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    drop(leaves);
    wait_for("nobody to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:0").then_some(())
    });

    // Rights hold as here, in scripts too.
    here.request(&["ACL", "SETUSER", "few", "on", ">pw", "~mine:*", "+@all"]);
    let mut few = passes.connect();
    few.request(&["AUTH", "few", "pw"]);
    few.request(&["SET", "mine:1", "v"]);
    few.send(&["EVAL", "return redis.call('GET', 'k')", "0"]);
    assert!(few.error().contains("permission"));
    here.request(&["ACL", "SETUSER", "few", "resetkeys", "~other:*"]);
    few.send(&["EVAL", "return redis.call('GET', 'mine:1')", "0"]);
    assert!(few.error().contains("permission"));

    // Nobody is answered who asked for silence.
    let bytes: Vec<u8> = [&["CLIENT", "REPLY", "SKIP"][..], &["INCR", "silent"], &["GET", "silent"]]
        .iter()
        .flat_map(|args| request_bytes(args))
        .collect();
    here.send_bytes(&bytes);
    assert_eq!(shown(&here.value()), "1");

    // RESP3, and what a client holds copies of.
    let mut cached = passes.connect_resp3();
    cached.request(&["HSET", "h", "f", "v"]);
    cached.send(&["HGETALL", "h"]);
    assert!(matches!(cached.value(), Value::Map(_)));
    cached.request(&["CLIENT", "TRACKING", "ON"]);
    cached.request(&["GET", "k"]);
    there.request(&["SET", "k", "changed"]);
    assert!(shown_push(&cached.value()).contains("invalidate"));
}

pub(crate) fn shown_push(value: &Value) -> String {
    match value {
        Value::Push(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
        value => format!("{value:?}"),
    }
}

#[test]
fn what_is_passed_on_is_executed_once_though_the_network_delivers_it_twice() {
    const CLIENTS: usize = 300;
    let Some(nats) = nats() else { return };
    let name = name();
    let wire = Wire::to_nats(nats.ports()[0]);
    let leads = leader(&name, nats).start();
    let passes =
        node(&name, &format!("nats://127.0.0.1:{}", wire.port)).args(&["--cluster-leader", LEADER]).start();
    let pair = [leads, passes];
    await_joined(&pair);
    await_led(&pair[1]);
    let [leads, passes] = pair;
    wire.stutter(true);
    for client in 0..CLIENTS {
        // Of one that is closed it is not known; one that is told so was not executed.
        let mut connected = passes.connect();
        connected.send(&["RPUSH", "list", &client.to_string()]);
        connected.frame(PATIENCE);
    }
    wire.mend();
    let list = leads.connect().request(&["LRANGE", "list", "0", "-1"]);
    let pushed: Vec<String> = list.as_slice().expect("a list").iter().map(shown).collect();
    let mut once = pushed.clone();
    once.sort();
    once.dedup();
    assert_eq!(pushed.len(), once.len(), "{pushed:?}");
    assert!(pushed.len() > CLIENTS / 2, "{} of {CLIENTS} were executed", pushed.len());
}

/// The next key that it is told to forget. It may be told to forget all of them more often than once.
pub(crate) fn key_to_forget(client: &mut Client) -> String {
    loop {
        match shown_push(&client.value()) {
            all if all == "invalidate Null" => {}
            told => return told,
        }
    }
}

#[test]
fn a_client_that_reads_nothing_stops_its_own_session_and_nobody_else() {
    const VALUE: usize = 100_000;
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair(nats);
    let mut other = passes.connect();
    other.request(&["SET", "large", &"x".repeat(VALUE)]);
    let mut slow = passes.connect();
    // Far more than room, window and sockets hold; nothing is read meanwhile.
    let rounds = 600;
    let requests: Vec<u8> = (0..rounds).flat_map(|_| request_bytes(&["GET", "large"])).collect();
    slow.send_bytes(&requests);
    for n in 0..300 {
        assert_eq!(other.int(&["INCR", "n"]), n + 1);
    }
    let mut there = leads.connect();
    assert_eq!(there.text(&["GET", "n"]), "300");
    for _ in 0..rounds {
        assert_eq!(slow.value().as_bytes().map(<[u8]>::len), Some(VALUE));
    }
}

#[test]
fn a_node_that_leads_and_goes_is_waited_for_and_what_was_under_way_is_not_done_twice() {
    let Some(nats) = nats() else { return };
    let name = name();
    let journal = ["--appendonly", "yes", "--dir", "{folder}"];
    let mut leads = leader(&name, nats).args(&journal).start();
    let passes = of_cluster(&name, nats, 1).start();
    await_led(&passes);
    let mut here = passes.connect();
    here.request(&["RPUSH", "list", "before"]);
    let (mut blocked, mut watches) = (passes.connect(), passes.connect());
    pipeline(&mut watches, &[&["WATCH", "w"]]);
    blocked.send(&["BLPOP", "nothing", "0"]);
    blocked.send(&["GET", "list2"]);
    wait_for("a client to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    leads.kill();
    // Whether it was executed is not known: it is not done again, and its client is left as by a server that dies.
    assert_eq!(blocked.rest(), b"");
    let mut blocked = passes.connect();
    blocked.send(&["GET", "list2"]);
    // What comes meanwhile waits.
    here.send(&["RPUSH", "list", "after"]);
    leads.start_again();
    assert_eq!(shown(&here.value()), "2");
    assert_eq!(shown(&blocked.value()), "Null");
    let replies = pipeline(&mut watches, &[&["MULTI"], &["SET", "w", "v"], &["EXEC"], &["EXISTS", "w"]]);
    assert_eq!(replies[2..], ["Null", "0"], "a watched key may have been touched");
    // Or fails, clearly, after a time.
    here.request(&["CONFIG", "SET", "cluster-leader-wait", "0"]);
    leads.kill();
    wait_for("the node to notice", || {
        here.send(&["SET", "k", "v"]);
        match here.frame(PATIENCE) {
            Frame::Closed => here = passes.connect(),
            Frame::Bytes(reply) if reply.starts_with(b"-CLUSTERDOWN") => return Some(()),
            reply => assert_eq!(reply, Frame::Bytes(b"+OK\r\n".to_vec())),
        }
        None
    });
    assert_eq!(shown(&here.request(&["PING"])), "PONG");
}

#[test]
fn clients_that_know_of_clusters_are_told_who_leads() {
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair(nats);
    for node in [&leads, &passes] {
        let mut client = node.connect();
        let slots = shown(&client.request(&["CLUSTER", "SLOTS"]));
        assert!(slots.starts_with("[[0 16383 [leader.test 7 ") && slots.ends_with(" []]]]"), "{slots}");
        let id = client.text(&["CLUSTER", "MYID"]);
        assert_eq!(id.len(), 40);
        let nodes = client.text(&["CLUSTER", "NODES"]);
        assert_eq!(nodes.lines().filter(|line| line.contains(" connected 0-16383")).count(), 1, "{nodes}");
        assert_eq!(
            nodes.lines().filter(|line| line.starts_with(&id) && line.contains(" myself,master ")).count(),
            1
        );
        assert_eq!(client.request(&["CLUSTER", "SHARDS"]).as_slice().map(<[Value]>::len), Some(2));
        assert!(client.text(&["INFO", "cluster"]).contains("cluster_enabled:1"));
        assert_eq!(client.int(&["CLUSTER", "KEYSLOT", "a{b}c"]), 3300);
    }
    // Who asks for it is sent there.
    let mut client = passes.connect();
    client.request(&["READONLY"]);
    client.send(&["SET", "foo", "v"]);
    assert_eq!(client.error(), "MOVED 12182 leader.test:7");
    assert_eq!(shown(&client.request(&["GET", "foo"])), "Null");
    client.request(&["READWRITE"]);
    client.request(&["SET", "foo", "v"]);
    let alone = Server::sterna(1, &[]);
    let mut client = alone.connect();
    for request in [&["CLUSTER", "INFO"][..], &["CLUSTER", "KEYSLOT", "k"], &["READONLY"]] {
        client.send(request);
        assert_eq!(client.error(), "ERR This instance has cluster support disabled");
    }
}

#[test]
fn errors_keep_their_place_and_a_transaction_that_is_not_executed_selects_nothing() {
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair(nats);
    let (mut there, mut here) = (leads.connect(), passes.connect());
    here.request(&["ACL", "SETUSER", "few", "on", "nopass", "~mine:*", "+@all"]);
    let mut few = passes.connect();
    few.request(&["AUTH", "few", "any"]);
    for round in 0..50 {
        let (mine, n) = (format!("mine:{round}"), round.to_string());
        let replies = pipeline(
            &mut few,
            &[
                &["SET", &mine, &n],
                &["GET", "other"],
                &["GET", &mine],
                &["NOSUCH"],
                &["GET", &mine, "x"],
                &["GET", &mine],
            ],
        );
        assert!(replies[1].starts_with("NOPERM") && replies[3].contains("unknown command"), "{replies:?}");
        assert!(replies[4].contains("wrong number of arguments"), "{replies:?}");
        assert_eq!([&replies[0], &replies[2], &replies[5]], ["OK", &n, &n], "{replies:?}");
    }
    for denied in few.request(&["ACL", "LOG"]).as_slice().expect("entries") {
        let fields = shown(denied);
        assert!(
            fields.contains("count 50") && fields.contains("object other"),
            "each is denied once: {fields}"
        );
    }
    // Behind EXEC the database is the transaction's if that was executed.
    there.request(&["SELECT", "5"]);
    there.request(&["SET", "where", "in 5"]);
    here.request(&["SET", "where", "in 0"]);
    let exec: &[&[&str]] =
        &[&["MULTI"], &["GET", "where"], &["SELECT", "5"], &["GET", "where"], &["EXEC"], &["GET", "where"]];
    let replies = pipeline(&mut here, exec);
    assert_eq!(replies[4..], ["[in 0 OK in 5]", "in 5"], "{replies:?}");
    pipeline(&mut here, &[&["SELECT", "0"], &["WATCH", "where"]]);
    there.request(&["SELECT", "0"]);
    there.request(&["SET", "where", "in 0 again"]);
    let replies = pipeline(&mut here, exec);
    assert_eq!(replies[4..], ["Null", "in 0 again"], "{replies:?}");
    assert_eq!(
        here.text(&["CLIENT", "INFO"]).split(' ').find(|field| field.starts_with("db=")),
        Some("db=0")
    );
    // What is queued there can't be the connection's own.
    let replies = pipeline(
        &mut here,
        &[&["GET", "where"], &["MULTI"], &["GET", "where"], &["CLIENT", "ID"], &["EXEC"], &["PING"]],
    );
    assert!(
        replies[4].starts_with("EXECABORT") && replies[4].contains("client|id can't be in one"),
        "{replies:?}"
    );
    assert_eq!(replies[5], "PONG", "{replies:?}");
}

#[test]
fn scripts_and_events_are_those_of_the_node_that_leads() {
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair(nats);
    let (mut there, mut here) = (leads.connect(), passes.connect());
    let script = "return {redis.call('INCR', KEYS[1]), redis.call('PUBLISH', 'said', ARGV[1])}";
    let sha = there.text(&["SCRIPT", "LOAD", script]);
    here.send(&["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"]);
    assert!(here.error().starts_with("NOSCRIPT"));
    let mut listens = passes.connect();
    subscribe(&mut listens, "SUBSCRIBE", "said");
    let replies = pipeline(&mut here, &[&["EVALSHA", &sha, "1", "n", "hello"], &["SCRIPT", "EXISTS", &sha]]);
    assert_eq!(replies, ["[1 0]", "[1]"]);
    assert_eq!(payload(&mut listens), b"hello");
    // Keyspace events, whoever has written.
    there.request(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    let mut events = passes.connect();
    subscribe(&mut events, "PSUBSCRIBE", "__keyevent@0__:*");
    here.request(&["SET", "k", "v"]);
    there.request(&["DEL", "k"]);
    for event in ["__keyevent@0__:set", "__keyevent@0__:del"] {
        let message = events.value();
        assert_eq!(
            message.as_slice().expect("a message")[2].as_bytes(),
            Some(event.as_bytes()),
            "{message:?}"
        );
    }
    // What waits comes to its end by itself.
    let nobody: &[&[&str]] = &[
        &["BLPOP", "none", "0.01"],
        &["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"],
        &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "10", "STREAMS", "s", ">"],
        &["PING"],
    ];
    assert_eq!(pipeline(&mut here, nobody), ["Null", "OK", "Null", "PONG"]);
}

#[test]
fn what_a_client_has_under_way_is_bounded() {
    const REQUEST: usize = 10_000;
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair(nats);
    let mut client = passes.connect();
    client.request(&["CLIENT", "SETNAME", "sends-much"]);
    client.send(&["BLPOP", "list", "0"]);
    let value = "x".repeat(REQUEST);
    let requests: Vec<u8> = (0..1000).flat_map(|_| request_bytes(&["SET", "k", &value])).collect();
    client.send_bytes(&requests);
    let bytes_at = |node: &Server, field: &str| -> Option<usize> {
        let clients = node.connect().text(&["CLIENT", "LIST"]);
        let line = clients.lines().find(|line| line.contains("name=sends-much"))?.to_owned();
        line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
    };
    // The rest waits at the client's own node.
    wait_for("the rest to wait", || (bytes_at(&passes, "qbuf")? > 8_000_000).then_some(()));
    let there = bytes_at(&leads, "tot-mem").expect("a session");
    assert!(there < 3_000_000, "{there} bytes of one client are at the node that leads");
    leads.connect().request(&["RPUSH", "list", "go"]);
    assert_eq!(shown(&client.value()), "[list go]");
    (0..1000).for_each(|_| assert_eq!(shown(&client.value()), "OK"));
}

#[test]
fn a_session_ends_with_its_client_its_node_and_its_line() {
    let Some(own) = Nats::start(1) else { return skipped("needs NATS_SERVER; ./test installs one") };
    let name = name();
    let line = Line::to(own.ports()[0]);
    let through_line = format!("nats://127.0.0.1:{}", line.port);
    let leads = node(&name, &through_line)
        .args(&[
            "--cluster-leader",
            LEADER,
            "--cluster-announce-ip",
            "leader.test",
            "--cluster-announce-port",
            "7",
        ])
        .start();
    let mut passes = of_cluster(&name, &own, 0).start();
    await_led(&passes);
    let sessions = |most: u64| {
        wait_for("sessions to end", || (count(&leads, "cluster_sessions") <= most).then_some(()));
    };
    let (mut stays, mut goes) = (passes.connect(), passes.connect());
    stays.request(&["SET", "k", "v"]);
    goes.request(&["GET", "k"]);
    wait_for("two sessions", || (count(&leads, "cluster_sessions") >= 2).then_some(()));
    drop(goes);
    sessions(1);
    // The node that leads loses its line: whoever waits is closed, though nothing that it sent is missing.
    stays.send(&["BLPOP", "nothing", "0"]);
    wait_for("a client to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    });
    line.cut(End::Closed);
    line.mend();
    assert_eq!(stays.rest(), b"");
    assert_eq!(passes.connect().text(&["GET", "k"]), "v", "it goes on when the line is there again");
    wait_for("nobody to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains("blocked_clients:0").then_some(())
    });
    passes.kill();
    sessions(0);
}

#[test]
fn clients_of_other_nodes_have_a_bound() {
    let Some(nats) = nats() else { return };
    let name = name();
    let _leads = leader(&name, nats).args(&["--cluster-sessions", "2"]).start();
    let passes = of_cluster(&name, nats, 1).args(&["--cluster-leader-wait", "1"]).start();
    await_led(&passes);
    let (mut one, mut two, mut three) = (passes.connect(), passes.connect(), passes.connect());
    assert_eq!((one.int(&["INCR", "n"]), two.int(&["INCR", "n"])), (1, 2));
    three.send(&["INCR", "n"]);
    three.send(&["PING"]);
    assert!(three.error().starts_with("CLUSTERDOWN"));
    assert_eq!(shown(&three.value()), "PONG");
    drop(one);
    wait_for("a place", || {
        three.send(&["INCR", "n"]);
        let reply = shown(&three.value());
        assert!(
            reply == "3" || reply.starts_with("CLUSTERDOWN"),
            "what was refused was not executed: {reply}"
        );
        (reply == "3").then_some(())
    });
}

#[test]
fn a_node_that_leads_and_stands_still_is_sent_no_more_than_the_limit() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 4;
    const VALUE: usize = 300_000;
    const LIMIT: usize = 1024 * 1024;
    let Some(nats) = nats() else { return };
    let name = name();
    let leads = leader(&name, nats).start();
    let passes = of_cluster(&name, nats, 1).args(&["--cluster-buffer-limit", "1mb"]).start();
    await_led(&passes);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| passes.connect()).collect();
    let value = "x".repeat(VALUE);
    clients.iter_mut().for_each(|client| drop(client.request(&["SET", "k", "v"])));
    leads.freeze();
    for client in &mut clients {
        (0..REQUESTS).for_each(|_| client.send(&["SET", "k", &value]));
    }
    let mut most = 0;
    wait_for("the node that leads to count as away", || {
        most = most.max(count(&passes, "cluster_passed_pending_bytes") as usize);
        (figure(&passes, "cluster_leader")? == "unknown").then_some(())
    });
    assert!(most > LIMIT && most < LIMIT + CLIENTS * (VALUE + 1000), "{most} bytes were under way");
    leads.signal(rustix::process::Signal::CONT);
    for client in &mut clients {
        for _ in 0..REQUESTS {
            match client.frame(PATIENCE) {
                Frame::Closed => break,
                reply => assert_eq!(reply, Frame::Bytes(b"+OK\r\n".to_vec())),
            }
        }
        let value = passes.connect().request(&["GET", "k"]);
        assert_eq!(value.as_bytes().map(<[u8]>::len), Some(VALUE));
    }
}

#[test]
fn of_two_nodes_with_the_address_of_the_leader_neither_leads() {
    let Some(nats) = nats() else { return };
    let name = name();
    let quick = ["--cluster-leader-wait", "0"];
    let one = leader(&name, nats).args(&quick).start();
    assert_eq!(one.connect().text(&["SET", "k", "v"]), "OK", "it leads with or without the others");
    let two = leader(&name, nats).args(&quick).start();
    for node in [&one, &two] {
        let mut client = node.connect();
        wait_for("the two to meet", || {
            client.send(&["SET", "k", "v"]);
            shown(&client.value()).starts_with("CLUSTERDOWN").then_some(())
        });
    }
    drop(two);
    let mut client = one.connect();
    wait_for("one to lead again", || {
        client.send(&["SET", "k", "v"]);
        (shown(&client.value()) == "OK").then_some(())
    });
}

#[test]
fn who_asks_by_http_is_served_too_and_told_what_is_not_there() {
    let Some(nats) = nats() else { return };
    let (name, url) = (name(), nats.url(1));
    let leads = leader(&name, nats).start();
    let passes = HttpServer::start(
        2,
        &[
            "--cluster-url",
            &url,
            "--cluster-name",
            &name,
            "--cluster-leader",
            LEADER,
            "--cluster-leader-wait",
            "60",
        ],
    );
    let ask = |words: &str| passes.post("/", "", words).body;
    assert_eq!(ask(r#"["SET","k","v"]"#), r#"{"result":"OK"}"#, "it waits until it is known who leads");
    assert_eq!(leads.connect().text(&["GET", "k"]), "v");
    let added = passes.post("/v1/streams/s", "", r#"{"a":"b"}"#);
    assert_eq!((added.status, leads.connect().int(&["XLEN", "s"])), (201, 1), "{added:?}");
    // Nothing would come.
    let refused = passes.get("/v1/events?stream=s", "");
    assert!(refused.status == 400 && refused.body.contains("only at the node that leads"), "{refused:?}");
}

/// A node that leads, and one that does not and whose users stand in a file: `few` may ask for keys that begin with `mine:`.
pub(crate) fn pair_with_users(nats: &Nats) -> (Server, Server) {
    let name = name();
    let leads = leader(&name, nats).start();
    let users = "user default on nopass sanitize-payload ~* &* +@all\nuser few on nopass ~mine:* &* +@all\n";
    let passes = of_cluster(&name, nats, 1)
        .file("users.acl", users)
        .args(&["--aclfile", "{folder}/users.acl"])
        .start();
    let pair = [leads, passes];
    await_joined(&pair);
    await_led(&pair[1]);
    let [leads, passes] = pair;
    (leads, passes)
}

pub(crate) fn login(node: &Server, user: &str) -> Client {
    let mut client = node.connect_resp3();
    client.request(&["AUTH", user, "any"]);
    client
}

pub(crate) fn await_blocked(leads: &Server, count: usize) {
    let expected = format!("blocked_clients:{count}\r");
    wait_for("so many clients to be blocked there", || {
        leads.connect().text(&["INFO", "clients"]).contains(&expected).then_some(())
    });
}

#[test]
fn what_waits_at_the_node_that_leads_ends_when_the_right_to_it_does() {
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair_with_users(nats);
    let (mut there, mut here) = (leads.connect(), passes.connect());
    there.request(&["XGROUP", "CREATE", "mine:s", "g", "$", "MKSTREAM"]);
    let waits: [&[&str]; 5] = [
        &["BLPOP", "mine:list", "0"],
        &["BLMOVE", "mine:list", "mine:to", "LEFT", "LEFT", "0"],
        &["BZPOPMIN", "mine:z", "0"],
        &["XREAD", "BLOCK", "0", "STREAMS", "mine:s", "$"],
        &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "mine:s", ">"],
    ];
    let taken: [&[&str]; 2] =
        [&["ACL", "SETUSER", "few", "resetkeys", "~other:*"], &["ACL", "SETUSER", "few", "-@all"]];
    for take in taken {
        let mut waiting: Vec<Client> = waits.iter().map(|_| login(&passes, "few")).collect();
        waiting.iter_mut().zip(waits).for_each(|(client, wait)| client.send(wait));
        await_blocked(&leads, waits.len());
        // The users of the node that leads are not those of others.
        there.request(&["ACL", "SETUSER", "few", "off", "resetkeys", "-@all"]);
        here.request(take);
        for (client, wait) in waiting.iter_mut().zip(waits) {
            let refusal = client.error();
            assert!(refusal.starts_with("NOPERM"), "{wait:?}: {refusal}");
        }
        await_blocked(&leads, 0);
        there.request(&["RPUSH", "mine:list", "kept"]);
        assert_eq!(there.int(&["LLEN", "mine:list"]), 1, "nobody takes it");
        there.request(&["DEL", "mine:list"]);
        // The rights of the file again.
        assert_eq!(shown(&here.request(&["ACL", "LOAD"])), "OK");
    }
    // Who keeps the right goes on waiting; the file is another one by now; and a user that is no more waits for nothing.
    let mut few = login(&passes, "few");
    few.send(&["BLPOP", "mine:list", "0"]);
    await_blocked(&leads, 1);
    here.request(&["ACL", "SETUSER", "few", "~more:*"]);
    there.request(&["RPUSH", "mine:list", "a"]);
    assert_eq!(shown(&few.value()), "[mine:list a]");
    few.send(&["BLPOP", "mine:list", "0"]);
    await_blocked(&leads, 1);
    here.request(&["ACL", "DELUSER", "few"]);
    assert!(few.rest().is_empty());
    await_blocked(&leads, 0);
    // Each was denied once, where the client is.
    let denied = shown(&here.request(&["ACL", "LOG"]));
    assert!(denied.contains("blpop") || denied.contains("mine:list"), "{denied}");
    assert_eq!(shown(&there.request(&["ACL", "LOG"])), "[]");
}

#[test]
fn what_is_tracked_and_watched_at_the_node_that_leads_follows_the_rights() {
    let Some(nats) = nats() else { return };
    let (leads, passes) = pair_with_users(nats);
    let (mut there, mut here) = (leads.connect(), passes.connect());
    here.request(&["ACL", "SETUSER", "other", "on", "nopass", "~other:*", "&*", "+@all"]);
    let changed = |there: &mut Client, keys: &[&str]| {
        keys.iter().for_each(|key| drop(there.request(&["SET", key, "v"])));
    };
    // Its user's rules, and another user.
    type Change<'a> = &'a dyn Fn(&mut Client, &mut Client);
    let become_less: [Change<'_>; 2] =
        [&|here, _| drop(here.request(&["ACL", "SETUSER", "few", "resetkeys", "~other:*"])), &|_, client| {
            drop(client.request(&["AUTH", "other", "any"]))
        }];
    for (round, become_less) in become_less.iter().enumerate() {
        let mut client = login(&passes, "few");
        client.request(&["CLIENT", "TRACKING", "ON", "BCAST"]);
        changed(&mut there, &["mine:1"]);
        assert_eq!(key_to_forget(&mut client), "invalidate [mine:1]", "round {round}");
        become_less(&mut here, &mut client);
        // It is told to forget what it has read; from then on it is told of what it may read.
        assert_eq!(shown_push(&client.value()), "invalidate Null", "round {round}");
        changed(&mut there, &["mine:2", "other:2"]);
        assert_eq!(key_to_forget(&mut client), "invalidate [other:2]", "round {round}");
        here.request(&["ACL", "LOAD"]);
        here.request(&["ACL", "SETUSER", "other", "on", "nopass", "~other:*", "&*", "+@all"]);
    }
    // Without the right to track, it is closed, as where it is served at once.
    let mut client = login(&passes, "few");
    client.request(&["CLIENT", "TRACKING", "ON"]);
    here.request(&["ACL", "SETUSER", "few", "-client|tracking"]);
    client.rest();
    wait_for("nobody to track keys there", || {
        leads.connect().text(&["INFO", "clients"]).contains("tracking_clients:0").then_some(())
    });
    here.request(&["ACL", "LOAD"]);
    // A watched key that it could not read for a time may have been touched.
    let mut client = login(&passes, "few");
    client.request(&["WATCH", "mine:w"]);
    here.request(&["ACL", "SETUSER", "few", "resetkeys"]);
    here.request(&["ACL", "SETUSER", "few", "~mine:*"]);
    let replies = pipeline(&mut client, &[&["MULTI"], &["SET", "mine:w", "v"], &["EXEC"]]);
    assert_eq!(replies[2], "Null", "{replies:?}");
    let replies = pipeline(&mut client, &[&["MULTI"], &["SET", "mine:w", "v"], &["EXEC"]]);
    assert_eq!(replies[2], "[OK]", "{replies:?}");
}
