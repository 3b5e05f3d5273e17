//! Keys in several groups, each with a log and a leader: `cluster-groups`. `STERNA_CRASH_ROUNDS=20` is the long form of what survives.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, Server, sterna_tool, wait_for};
use sterna_tests::{crash_rounds, skipped};

use crate::keys::{Ends, Load, await_same, check, keys_node, reader};
use crate::tools::{await_joined, figure, name, shown};

const GROUPS: usize = 3;

/// A tag in each group.
const TAGS: [&str; GROUPS] = ["{b}", "{c}", "{a}"];

/// The first and the last slot of each.
const SLOTS: [(i64, i64); GROUPS] = [(0, 5461), (5462, 10922), (10923, 16383)];

/// NATS servers with a log for each group; the cluster's name.
fn logs() -> Option<(Nats, String)> {
    let Some(nats) = Nats::start_storing(3, "always") else {
        skipped("needs NATS_SERVER; ./test installs one");
        return None;
    };
    let (name, url) = (name(), nats.url(0));
    let words = ["cluster", "init", "--url", &url, "--name", &name, "--groups", "3"];
    wait_for("the logs to be made", || sterna_tool(&words).status.success().then_some(()));
    Some((nats, name))
}

fn node_of(nats: &Nats, name: &str, at: usize) -> Launch {
    keys_node(name, &nats.url(at)).args(&["--cluster-groups", "3"])
}

fn start_nodes(nats: &Nats, name: &str) -> Vec<Server> {
    let nodes: Vec<Server> = (0..3).map(|at| node_of(nats, name, at).start()).collect();
    await_joined(&nodes);
    nodes
}

/// The same until each of them leads one group, as they do unless one has started some seconds before another, or stood still.
fn start_spread(nats: &Nats, name: &str) -> (Vec<Server>, [usize; GROUPS]) {
    let mut nodes = start_nodes(nats, name);
    wait_for("each node to lead a group", || {
        let led = leaders(&nodes.iter().collect::<Vec<_>>());
        let is_spread = (0..3).all(|at| led.contains(&at));
        if !is_spread {
            nodes.iter_mut().for_each(Server::kill);
            nodes.iter_mut().for_each(Server::start_again);
            await_joined(&nodes);
        }
        is_spread.then_some(led)
    });
    let led = leaders(&nodes.iter().collect::<Vec<_>>());
    (nodes, led)
}

/// Which of these nodes leads each group, as soon as all are led and all say so.
fn leaders(nodes: &[&Server]) -> [usize; GROUPS] {
    wait_for("every group to be led", || {
        let leads = |node: &Server, group: usize| {
            figure(node, &format!("cluster_group_{group}"))
                .is_some_and(|line| line.contains("cluster_keys=me"))
        };
        let of = |group| nodes.iter().position(|node| leads(node, group));
        let leaders = [of(0)?, of(1)?, of(2)?];
        let is_known =
            |node: &&Server| node.connect().text(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        nodes.iter().all(is_known).then_some(leaders)
    })
}

fn pipeline(client: &mut Client, requests: &[&[&str]]) -> Vec<String> {
    let bytes: Vec<u8> = requests.iter().flat_map(|args| request_bytes(args)).collect();
    client.send_bytes(&bytes);
    requests.iter().map(|_| shown(&client.value())).collect()
}

fn error(client: &mut Client, request: &[&str]) -> String {
    client.send(request);
    client.error()
}

#[test]
fn each_node_leads_a_group_of_keys_and_any_node_takes_commands_on_all_of_them() {
    const CROSS: &str = "CROSSSLOT Keys in request don't hash to the same slot";
    let Some((nats, name)) = logs() else { return };
    let (nodes, led) = start_spread(&nats, &name);

    // In any order of groups, with what is executed by the node itself between them.
    let [b, c, a] = TAGS.map(|tag| format!("{tag}n"));
    let requests: Vec<Vec<&str>> = (0..30)
        .flat_map(|_| {
            [vec!["INCR", &b], vec!["INCR", &c], vec!["ECHO", "x"], vec!["INCR", &a], vec!["INCR", &a]]
        })
        .collect();
    let requests: Vec<&[&str]> = requests.iter().map(|words| &words[..]).collect();
    for (round, node) in nodes.iter().enumerate() {
        let replies = pipeline(&mut node.connect(), &requests);
        for (nth, five) in replies.chunks(5).enumerate() {
            let count = 30 * round + nth + 1;
            let [single, first, second] = [count, 2 * count - 1, 2 * count].map(|number| number.to_string());
            assert_eq!(five, [&single, &single, "x", &first, &second]);
        }
    }

    for node in &nodes {
        let mut client = node.connect();
        for tag in TAGS {
            let (one, two) = (format!("{tag}1"), format!("{tag}2"));
            assert_eq!(client.text(&["MSET", &one, "x", &two, "y"]), "OK");
            let queued: &[&[&str]] =
                &[&["WATCH", &one], &["MULTI"], &["SET", &one, "z"], &["GET", &two], &["EXEC"]];
            assert_eq!(pipeline(&mut client, queued)[4], "[OK y]");
            let script = "return redis.call('GET', KEYS[1]) .. redis.call('GET', KEYS[2])";
            assert_eq!(client.text(&["EVAL", script, "2", &one, &two]), "zy");
        }
        assert_eq!(error(&mut client, &["MSET", "{a}1", "x", "{b}1", "y"]), CROSS);
        assert_eq!(error(&mut client, &["EVAL", "return 1", "2", "{a}1", "{b}1"]), CROSS);
        let refused = error(&mut client, &["EVAL", "return redis.call('SET', '{b}1', 'never')", "1", "{a}1"]);
        assert!(
            refused.contains("Script attempted to access keys that do not hash to the same slot"),
            "{refused}"
        );
        let across: &[&[&str]] =
            &[&["MULTI"], &["SET", "{a}1", "never"], &["SET", "{c}1", "never"], &["EXEC"]];
        assert_eq!(pipeline(&mut client, across)[3], CROSS);
        let queued: &[&[&str]] = &[&["MULTI"], &["MSET", "{a}1", "x", "{b}1", "y"], &["EXEC"]];
        assert!(pipeline(&mut client, queued)[2].starts_with("EXECABORT"));
        let watched: &[&[&str]] = &[&["WATCH", "{a}1"], &["GET", "{c}1"], &["UNWATCH"], &["GET", "{c}1"]];
        let replies = pipeline(&mut client, watched);
        assert_eq!((replies[1].as_str(), replies[3].as_str()), (CROSS, "z"), "one group from WATCH to EXEC");
        assert_eq!(
            pipeline(&mut client, &[&["GET", "{a}1"], &["GET", "{b}1"]]),
            ["z", "z"],
            "nothing of it was done"
        );
        for words in [&["FLUSHALL"][..], &["FLUSHDB"], &["SWAPDB", "0", "1"], &["CLIENT", "TRACKING", "ON"]] {
            assert!(error(&mut client, words).contains("is not possible with cluster-groups"), "{words:?}");
        }
        assert!(error(&mut client, &["SORT", "{a}l", "BY", "{b}*"]).contains("denied in cluster mode"));
    }

    // What waits at one node is served by another.
    for (group, tag) in TAGS.iter().enumerate() {
        let list = format!("{tag}list");
        let mut waits = nodes[(led[group] + 1) % 3].connect();
        waits.send(&["BLPOP", &list, "0"]);
        wait_for("a client to be blocked there", || {
            nodes[led[group]].connect().text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        assert_eq!(nodes[(led[group] + 2) % 3].connect().int(&["RPUSH", &list, "x"]), 1);
        assert_eq!(shown(&waits.value()), format!("[{list} x]"));
    }

    // Functions are everybody's; keys of all groups are on every node.
    let code =
        "#!lua name=lib\nredis.register_function('f', function(k) return redis.call('INCR', k[1]) end)";
    assert_eq!(nodes[0].connect().text(&["FUNCTION", "LOAD", code]), "lib");
    for tag in TAGS {
        let key = format!("{tag}by function");
        let mut client = nodes[1].connect();
        wait_for("the function to be there", || {
            client.send(&["FCALL", "f", "1", &key]);
            client.value().as_int()
        });
    }
    await_same(&nodes);
    for node in &nodes {
        let mut client = reader(node);
        assert_eq!(client.int(&["DBSIZE"]), 3 * 4);
        assert_eq!(client.request(&["KEYS", "*"]).as_slice().map(<[Value]>::len), Some(12));
    }
    check_told(&nodes, &led);

    // Another number of groups is refused, by the log and by the directory.
    let text = keys_node(&name, &nats.url(0)).args(&["--cluster-groups", "2"]).run().log;
    assert!(text.contains("made for 3 group(s) of keys, and cluster-groups is 2"), "{text}");
    let url = nats.url(0);
    let words = ["cluster", "init", "--url", &url, "--name", &name, "--groups", "4"];
    let text = String::from_utf8_lossy(&sterna_tool(&words).stderr).into_owned();
    assert!(text.contains("made for 3 group(s) of keys, and cluster-groups is 4"), "{text}");
    let status = sterna_tool(&["cluster", "status", "--url", &url, "--name", &name]);
    assert_eq!(String::from_utf8_lossy(&status.stdout).matches("stream STERNA-").count(), GROUPS);
    let doctor = sterna_tool(&["cluster", "doctor", "--url", &url, "--name", &name]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(text.matches("frames continue each other").count(), GROUPS, "{text}");
}

/// What each of the nodes says of who leads what.
fn check_told(nodes: &[Server], led: &[usize]) {
    for node in nodes {
        let mut client = node.connect();
        let slots = client.request(&["CLUSTER", "SLOTS"]);
        let ranges = slots.as_slice().expect("ranges");
        let lines = client.text(&["CLUSTER", "NODES"]);
        for (group, range) in ranges.iter().enumerate() {
            let range = range.as_slice().expect("a range");
            assert_eq!((range[0].as_int(), range[1].as_int()), (Some(SLOTS[group].0), Some(SLOTS[group].1)));
            assert_eq!(range.len(), 3, "who leads is no replica");
            let port = nodes[led[group]].address().port();
            assert_eq!(range[2].as_slice().map(|node| node[1].as_int()), Some(Some(port.into())));
            let is_told = |line: &str| {
                line.contains(&format!(":{port}@"))
                    && line.ends_with(&format!(" {}-{}", SLOTS[group].0, SLOTS[group].1))
            };
            assert!(lines.lines().any(is_told), "{lines}");
        }
        let shards = client.request(&["CLUSTER", "SHARDS"]);
        assert_eq!(shards.as_slice().map(<[Value]>::len), Some(GROUPS), "{shards:?}");
        assert!(client.text(&["CLUSTER", "INFO"]).contains("cluster_size:3"));
    }
    let (group, port) = (2, nodes[led[2]].address().port());
    let mut client = reader(&nodes[led[0]]);
    assert_eq!(error(&mut client, &["SET", "{a}1", "x"]), format!("MOVED 15495 127.0.0.1:{port}"));
    assert_eq!(client.text(&["SET", "{b}1", "x"]), "OK", "of group {group} it has copies, this one it leads");
}

#[test]
fn the_loss_of_a_leader_stops_one_group_and_nothing_that_was_acknowledged_is_lost_in_any() {
    const WRITERS: usize = 9;
    let Some((nats, name)) = logs() else { return };
    let mut nodes = start_nodes(&nats, &name);
    leaders(&nodes.iter().collect::<Vec<_>>());
    let load = Load {
        is_over: AtomicBool::new(false),
        ports: Mutex::new(nodes.iter().map(|node| node.address().port()).collect()),
    };
    let stories = thread::scope(|scope| {
        let load = &load;
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || load.write(writer))).collect();
        let ends = Ends(&load.is_over);
        for round in 0..crash_rounds(1) {
            let led = leaders(&nodes.iter().collect::<Vec<_>>());
            let group = round as usize % GROUPS;
            let at = led[group];
            await_all_streams(&nodes, WRITERS);
            nodes[(at + 1) % 3].connect().request(&["BGREWRITEAOF"]);
            nodes[at].connect().request(&["SAVE"]);
            nodes[at].kill();
            // The keys of those that another node leads are written as before.
            let others: Vec<&Server> =
                nodes.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, node)| node).collect();
            for (other, tag) in TAGS.iter().enumerate().filter(|(other, _)| led[*other] != at) {
                for node in &others {
                    let key = format!("{tag}while {other} is led");
                    assert_eq!(node.connect().text(&["SET", &key, "x"]), "OK");
                }
            }
            leaders(&others);
            let key = format!("{}again", TAGS[group]);
            assert_eq!(others[0].connect().text(&["SET", &key, "x"]), "OK");
            nodes[at].start_again();
            load.ports.lock().expect("nothing panics with it")[at] = nodes[at].address().port();
            await_joined(&nodes);
        }
        await_all_streams(&nodes, WRITERS);
        drop(ends);
        writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect::<Vec<_>>()
    });
    await_same(&nodes);
    let check_all = |nodes: &[Server]| {
        for node in nodes {
            for (writer, story) in stories.iter().enumerate() {
                check(node, writer, story);
            }
        }
    };
    check_all(&nodes);
    // From the journals alone, and then the logs.
    nodes.iter_mut().for_each(Server::kill);
    nodes.iter_mut().for_each(Server::start_again);
    leaders(&nodes.iter().collect::<Vec<_>>());
    await_same(&nodes);
    check_all(&nodes);
}

/// Waits until every writer has written more.
fn await_all_streams(nodes: &[Server], writers: usize) {
    for writer in 0..writers {
        let length = || {
            let length = |node: &Server| {
                let mut reader = reader(node);
                reader.send(&["XLEN", &format!("stream:{writer}")]);
                reader.value().as_int()
            };
            nodes.iter().filter_map(length).max().unwrap_or(0)
        };
        let before = length();
        wait_for("a writer's writes", || (length() > before + 20).then_some(()));
    }
}
