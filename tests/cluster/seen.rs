//! What clients that know of clusters are told, beside what a real server in cluster mode says.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, Server, free_port, wait_for};
use sterna_tests::skipped;

use crate::keys::leader;
use crate::tools::{await_joined, figure, name, nats, node, shown, start_keys};

/// Requests whose replies depend on nothing but on the keys; `ID` is this node's.
const QUESTIONS: &[&str] = &[
    "CLUSTER KEYSLOT {foo}2",
    "CLUSTER COUNTKEYSINSLOT 12182",
    "CLUSTER COUNTKEYSINSLOT 12181",
    "CLUSTER COUNTKEYSINSLOT 16384",
    "CLUSTER COUNTKEYSINSLOT -1",
    "CLUSTER COUNTKEYSINSLOT x",
    "CLUSTER COUNTKEYSINSLOT",
    "CLUSTER GETKEYSINSLOT 12182 10",
    "CLUSTER GETKEYSINSLOT 12181 10",
    "CLUSTER GETKEYSINSLOT 12182 0",
    "CLUSTER GETKEYSINSLOT 12182 -1",
    "CLUSTER GETKEYSINSLOT 12182 x",
    "CLUSTER GETKEYSINSLOT 16384 1",
    "CLUSTER GETKEYSINSLOT 12182",
    "CLUSTER REPLICAS ID",
    "CLUSTER SLAVES ID",
    "CLUSTER REPLICAS nosuch",
    "CLUSTER REPLICAS",
    "CLUSTER COUNT-FAILURE-REPORTS ID",
    "CLUSTER COUNT-FAILURE-REPORTS nosuch",
    "CLUSTER LINKS",
    "CLUSTER SLOT-STATS SLOTSRANGE 12181 12183",
    "CLUSTER SLOT-STATS SLOTSRANGE 5 3",
    "CLUSTER SLOT-STATS SLOTSRANGE x 3",
    "CLUSTER SLOT-STATS SLOTSRANGE 0 16384",
    "CLUSTER SLOT-STATS SLOTSRANGE 0",
    "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 3",
    "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 2 ASC",
    "CLUSTER SLOT-STATS ORDERBY key-count DESC LIMIT 1",
    "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 0",
    "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 16385",
    "CLUSTER SLOT-STATS ORDERBY key-count ASC DESC",
    "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1 LIMIT 1",
    "CLUSTER SLOT-STATS ORDERBY key-count LIMIT",
    "CLUSTER SLOT-STATS ORDERBY key-count nosuch",
    "CLUSTER SLOT-STATS ORDERBY cpu-usec",
    "CLUSTER SLOT-STATS nosuch key-count",
    "CLUSTER SLOT-STATS ORDERBY",
    "CLUSTER NOSUCH",
    "READONLY",
    "GET foo",
    "READWRITE",
];

fn ask(client: &mut Client, question: &str, id: &str) -> String {
    let words: Vec<&str> = question.split(' ').map(|word| if word == "ID" { id } else { word }).collect();
    client.send(&words);
    match client.value() {
        // Names of keys have no order.
        Value::Array(mut names) if question.contains("GETKEYSINSLOT") => {
            names.sort_by_key(shown);
            shown(&Value::Array(names))
        }
        reply => format!("{reply:?}"),
    }
}

#[test]
fn what_clients_ask_of_a_cluster_is_answered_as_a_real_one_answers() {
    let Some(nats) = nats() else { return };
    let Some(reference) = Launch::valkey() else {
        return skipped("needs valkey-server; ./test installs one");
    };
    let bus = free_port().to_string();
    let reference = reference.args(&["--cluster-enabled", "yes", "--cluster-port", &bus]).start();
    assert_eq!(reference.connect().text(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    let sterna = node(&name(), &nats.url(0)).args(&["--cluster-leader", "alone.test:7"]);
    let sterna =
        sterna.args(&["--cluster-announce-ip", "alone.test", "--cluster-announce-port", "7"]).start();
    for server in [&reference, &sterna] {
        wait_for("a cluster that serves", || {
            server.connect().text(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
        });
    }
    let clients = |server: &Server| [server.connect(), server.connect_resp3()];
    for (mut theirs, mut ours) in clients(&reference).into_iter().zip(clients(&sterna)) {
        let ids = [&mut theirs, &mut ours].map(|client| client.text(&["CLUSTER", "MYID"]));
        for client in [&mut theirs, &mut ours] {
            for key in ["foo", "{foo}2", "bar"] {
                assert_eq!(client.text(&["SET", key, "1"]), "OK");
            }
        }
        for question in QUESTIONS {
            let [expected, got] =
                [(&mut theirs, &ids[0]), (&mut ours, &ids[1])].map(|(client, id)| ask(client, question, id));
            assert_eq!(got, expected, "{question}");
        }
    }
}

/// Keys of many slots are counted a part at a time, whoever else asks meanwhile.
#[test]
fn keys_of_slots_are_counted_past_all_keys_and_all_databases() {
    let Some(nats) = nats() else { return };
    let sterna = node(&name(), &nats.url(0)).args(&["--cluster-leader", "alone.test:7"]);
    let sterna =
        sterna.args(&["--cluster-announce-ip", "alone.test", "--cluster-announce-port", "7"]).start();
    let mut client = sterna.connect();
    wait_for("a cluster that serves", || {
        client.text(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
    });
    let fill = "for n = 1, 5000 do redis.call('SET', 'k' .. n, 'v'); redis.call('SET', '{t}' .. n, 'v') end";
    client.request(&["EVAL", fill, "0"]);
    let slot = client.int(&["CLUSTER", "KEYSLOT", "t"]).to_string();
    let mut named = |most: &str| match client.request(&["CLUSTER", "GETKEYSINSLOT", &slot, most]) {
        Value::Array(names) => names.len() as i64,
        other => panic!("{other:?}"),
    };
    let count = named("100000");
    assert!(count >= 5000, "{count}");
    assert_eq!(named("7"), 7);
    assert_eq!(client.int(&["CLUSTER", "COUNTKEYSINSLOT", &slot]), count);
    assert_eq!(client.text(&["SELECT", "1"]), "OK");
    assert_eq!(client.text(&["SET", "{t}", "v"]), "OK");
    assert_eq!(client.int(&["CLUSTER", "COUNTKEYSINSLOT", &slot]), count + 1);
    assert_eq!(shown(&client.request(&["CLUSTER", "GETKEYSINSLOT", &slot, "100000"])), "[{t}]");
    let all = client.request(&["CLUSTER", "SLOT-STATS", "SLOTSRANGE", "0", "16383"]);
    let count_of = |entry: &Value| entry.as_slice().unwrap()[1].as_slice().unwrap()[1].as_int().unwrap();
    assert_eq!(all.as_slice().unwrap().iter().map(count_of).sum::<i64>(), 10_001);
    assert_eq!(client.text(&["MULTI"]), "OK");
    assert_eq!(client.text(&["CLUSTER", "COUNTKEYSINSLOT", &slot]), "QUEUED");
    assert_eq!(shown(&client.request(&["EXEC"])), "[ERR Command not allowed inside a transaction]");
    let script = "return redis.call('CLUSTER', 'COUNTKEYSINSLOT', '1')";
    client.send(&["EVAL", script, "0"]);
    assert!(client.error().contains("not allowed inside a transaction"));
}

/// Nodes that have copies of the keys are replicas of the one that leads, and after its death of the next.
#[test]
fn nodes_with_copies_are_replicas_of_the_one_that_leads() {
    let Some(nats) = Nats::start_storing(1, "always") else {
        return skipped("needs NATS_SERVER; ./test installs one");
    };
    let mut nodes = start_keys(&nats, 3);
    await_joined(&nodes);
    let at = wait_for("a node to lead", || {
        nodes.iter().position(|node| figure(node, "cluster_keys").as_deref() == Some("me"))
    });
    check_roles(&nodes.iter().collect::<Vec<_>>(), &nodes[at]);
    let follower = &nodes[(at + 1) % 3];
    let mut reader = follower.connect();
    assert_eq!(reader.text(&["SET", "foo", "1"]), "OK");
    assert_eq!(reader.int(&["CLUSTER", "COUNTKEYSINSLOT", "12182"]), 1);
    assert_eq!(reader.text(&["READONLY"]), "OK");
    wait_for("the copy", || (reader.int(&["CLUSTER", "COUNTKEYSINSLOT", "12182"]) == 1).then_some(()));
    reader.send(&["SET", "foo", "2"]);
    assert_eq!(reader.error(), format!("MOVED 12182 127.0.0.1:{}", nodes[at].address().port()));

    let mut dead = nodes.remove(at);
    dead.kill();
    let leads = wait_for("another node to lead", || {
        nodes.iter().find(|node| figure(node, "cluster_keys").as_deref() == Some("me"))
    });
    wait_for("the other to know", || {
        let known = |node: &Server| shown(&node.connect().request(&["CLUSTER", "SLOTS"]));
        let port = format!("[0 16383 [127.0.0.1 {}", leads.address().port());
        nodes.iter().all(|node| known(node).starts_with(&format!("[{port}"))).then_some(())
    });
    let slots = shown(&leads.connect().request(&["CLUSTER", "SLOTS"]));
    assert!(!slots.contains(&dead.address().port().to_string()), "a dead node is no replica: {slots}");
}

/// A new connection of a name goes to the shard of the one whose subscriptions it takes over.
#[test]
fn who_reads_the_copies_of_a_node_still_does_where_it_takes_over_subscriptions_on_another_shard() {
    let Some(nats) = Nats::start_storing(1, "always") else {
        return skipped("needs NATS_SERVER; ./test installs one");
    };
    let nodes = start_keys(&nats, 2);
    await_joined(&nodes);
    let leads = leader(&nodes);
    let follower = nodes.iter().find(|node| node.address() != leads.address()).expect("there are two");
    let shard_of = |client: &mut Client| client.text(&["CLIENT", "INFO"]).contains(" io-thread=1 ");
    // Shards have about as many connections.
    let mut others = Vec::new();
    let mut on_shard = |is_second: bool| loop {
        let mut client = follower.connect();
        if shard_of(&mut client) == is_second {
            client.request(&["HELLO", "3", "SETNAME", "me"]);
            break client;
        }
        others.push(client);
    };
    let mut admin = follower.connect();
    admin.request(&["CONFIG", "SET", "resume-window", "3600"]);
    let mut first = on_shard(false);
    first.request(&["SUBSCRIBE", "c"]);
    drop(first);
    wait_for("it to be detached", || {
        admin.text(&["INFO", "clients"]).contains("detached_clients:1\r\n").then_some(())
    });
    let mut second = on_shard(true);
    assert_eq!(second.text(&["READONLY"]), "OK");
    assert_eq!(admin.int(&["PUBLISH", "c", "missed"]), 1);
    second.request(&["SUBSCRIBE", "c"]);
    assert!(matches!(second.value(), Value::Push(parts) if parts[2].as_bytes() == Some(b"missed")));
    assert!(!shard_of(&mut second), "it has moved");
    // Who reads copies is told where to write; for others that is done here.
    second.send(&["SET", "foo", "1"]);
    assert_eq!(second.error(), format!("MOVED 12182 127.0.0.1:{}", leads.address().port()));
    assert_eq!(second.text(&["READWRITE"]), "OK");
    assert_eq!(second.text(&["SET", "foo", "2"]), "OK");
}

/// What each of the nodes says of all.
fn check_roles(nodes: &[&Server], leads: &Server) {
    let id = leads.connect().text(&["CLUSTER", "MYID"]);
    for node in nodes {
        let mut client = node.connect();
        wait_for("the node to know who leads", || {
            client.text(&["CLUSTER", "NODES"]).contains(" 0-16383\n").then_some(())
        });
        let is_leader = node.address() == leads.address();
        let lines = client.text(&["CLUSTER", "NODES"]);
        assert_eq!(lines.lines().count(), nodes.len());
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let expected = if words[0] == id { ("master", "-") } else { ("slave", id.as_str()) };
            assert_eq!((words[2].trim_start_matches("myself,"), words[3]), expected, "{lines}");
            assert_eq!(words.get(8).is_some(), words[0] == id, "{lines}");
        }
        assert!(lines.starts_with(&client.text(&["CLUSTER", "MYID"])));
        let slots = client.request(&["CLUSTER", "SLOTS"]);
        let ranges = slots.as_slice().expect("ranges");
        assert_eq!(ranges.len(), 1);
        assert_eq!(ranges[0].as_slice().map(<[Value]>::len), Some(2 + nodes.len()), "{slots:?}");
        assert_eq!(shown(&ranges[0].as_slice().unwrap()[2].as_slice().unwrap()[2]), id);
        let shards = client.request(&["CLUSTER", "SHARDS"]);
        assert_eq!(shards.as_slice().map(<[Value]>::len), Some(1));
        let text = shown(&shards);
        assert_eq!(text.matches("role replica").count(), nodes.len() - 1, "{text}");
        assert_eq!(client.text(&["CLUSTER", "MYSHARDID"]), id);
        let replicas = client.request(&["CLUSTER", "REPLICAS", &id]);
        let replicas: Vec<String> = replicas.as_slice().expect("lines").iter().map(shown).collect();
        assert_eq!(replicas.len(), nodes.len() - 1);
        assert!(replicas.iter().all(|line| lines.contains(line.as_str())), "{replicas:?}\n{lines}");
        if !is_leader {
            let me = client.text(&["CLUSTER", "MYID"]);
            client.send(&["CLUSTER", "REPLICAS", &me]);
            assert_eq!(client.error(), "ERR The specified node is not a master");
        }
    }
}
