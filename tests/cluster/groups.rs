//! Keys in several groups, each with a log and a leader: `cluster-groups`. `STERNA_CRASH_ROUNDS=20` is the long form of what survives.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, PATIENCE, Server, sterna_tool, wait_for};
use sterna_tests::{crash_rounds, skipped};

use crate::keys::{Ends, Load, await_same, keys_node, reader};
use crate::snapshots::files;
use crate::tools::{await_joined, figure, name, payload, shown, subscribe};

pub(crate) const GROUPS: usize = 3;

/// A tag in each group.
pub(crate) const TAGS: [&str; GROUPS] = ["{b}", "{c}", "{a}"];

/// The first and the last slot of each.
const SLOTS: [(i64, i64); GROUPS] = [(0, 5461), (5462, 10922), (10923, 16383)];

/// NATS servers with a log for each group; the cluster's name.
pub(crate) fn logs() -> Option<(Nats, String)> {
    let Some(nats) = Nats::start_storing(3, "always") else {
        skipped("needs NATS_SERVER; ./test installs one");
        return None;
    };
    let name = name();
    make_logs(&nats, &name);
    Some((nats, name))
}

/// Makes a log for each group, as soon as JetStream has a leader.
pub(crate) fn make_logs(nats: &Nats, name: &str) {
    let url = nats.url(0);
    let words = ["cluster", "init", "--url", &url, "--name", name, "--groups", "3"];
    wait_for("the logs to be made", || sterna_tool(&words).status.success().then_some(()));
}

/// A node of a cluster with these groups.
pub(crate) fn of_groups(node: Launch) -> Launch {
    node.args(&["--cluster-groups", "3"])
}

pub(crate) fn node_of(nats: &Nats, name: &str, at: usize) -> Launch {
    of_groups(keys_node(name, &nats.url(at)))
}

fn start_nodes(nats: &Nats, name: &str) -> Vec<Server> {
    let nodes: Vec<Server> = (0..3).map(|at| node_of(nats, name, at).start()).collect();
    await_joined(&nodes);
    nodes
}

/// The same, each of which leads one group.
pub(crate) fn start_spread(nats: &Nats, name: &str) -> (Vec<Server>, [usize; GROUPS]) {
    let nodes = start_nodes(nats, name);
    let led = await_spread(&nodes);
    (nodes, led)
}

/// Waits until each of the nodes leads one group: where one leads two, it hands one over.
pub(crate) fn await_spread(nodes: &[Server]) -> [usize; GROUPS] {
    let all: Vec<&Server> = nodes.iter().collect();
    wait_for("each node to lead a group", || {
        let led = leaders(&all);
        (0..3).all(|at| led.contains(&at)).then_some(led)
    })
}

/// Which of these nodes leads each group, as soon as all are led and all say so.
pub(crate) fn leaders(nodes: &[&Server]) -> [usize; GROUPS] {
    wait_for("every group to be led", || {
        let of = |group| nodes.iter().position(|node| leads_group(node, group));
        let leaders = [of(0)?, of(1)?, of(2)?];
        let is_known =
            |node: &&Server| node.connect().text(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        nodes.iter().all(is_known).then_some(leaders)
    })
}

/// What a node says of the log of a group of keys.
pub(crate) fn log_figure(node: &Server, group: usize, name: &str) -> Option<String> {
    let of_group = figure(node, &format!("cluster_group_{group}"));
    of_group.map_or_else(
        || figure(node, name),
        |line| line.split(',').find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned())),
    )
}

/// Whether the node leads this group.
pub(crate) fn leads_group(node: &Server, group: usize) -> bool {
    figure(node, &format!("cluster_group_{group}")).is_some_and(|line| line.contains("cluster_keys=me"))
}

pub(crate) fn pipeline(client: &mut Client, requests: &[&[&str]]) -> Vec<String> {
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
        assert!(error(&mut client, &["SWAPDB", "0", "1"]).contains("is not possible with cluster-groups"));
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
        assert_eq!(nodes[1].connect().int(&["FCALL", "f", "1", &format!("{tag}by function")]), 1);
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

/// How many keys a node has in each of two databases, as SCAN, KEYS and DBSIZE say.
fn counted(node: &Server) -> [i64; 2] {
    let mut client = node.connect();
    ["0", "1"].map(|db| {
        client.request(&["SELECT", db]);
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let page = client.request(&["SCAN", &cursor, "COUNT", "7"]);
            let page = page.as_slice().expect("a cursor and keys");
            seen.extend(page[1].as_slice().expect("keys").iter().map(shown));
            cursor = shown(&page[0]);
            if cursor == "0" {
                break;
            }
        }
        seen.sort();
        seen.dedup();
        let keys = client.request(&["KEYS", "*"]);
        let mut keys: Vec<String> = keys.as_slice().expect("keys").iter().map(shown).collect();
        keys.sort();
        assert_eq!(seen, keys, "what SCAN gives is what there is");
        assert_eq!(client.int(&["DBSIZE"]), keys.len() as i64);
        let one = client.request(&["RANDOMKEY"]);
        assert!(keys.is_empty() || keys.contains(&shown(&one)));
        keys.len() as i64
    })
}

/// So many keys of each group in a database, by this node.
fn fill(node: &Server, db: &str, keys: usize) {
    let mut client = node.connect();
    client.request(&["SELECT", db]);
    for tag in TAGS {
        let names: Vec<String> = (0..keys).map(|n| format!("{tag}{n}")).collect();
        let words: Vec<&str> =
            ["MSET"].into_iter().chain(names.iter().flat_map(|name| [name.as_str(), "x"])).collect();
        assert_eq!(client.text(&words), "OK");
    }
}

#[test]
fn a_flush_empties_every_group_on_every_node_and_is_answered_when_all_have_done_it() {
    let Some((nats, name)) = logs() else { return };
    let (mut nodes, led) = start_spread(&nats, &name);
    for (at, node) in nodes.iter().enumerate() {
        fill(node, "0", 50);
        fill(node, "1", 20);
        await_same(&nodes);
        nodes.iter().for_each(|node| assert_eq!(counted(node), [150, 60]));
        let flush = [&["FLUSHDB"][..], &["FLUSHDB", "ASYNC"], &["FLUSHDB", "SYNC"]][at];
        let replies = pipeline(
            &mut node.connect(),
            &[&["SET", "{a}0", "y"], flush, &["GET", "{a}0"], &["SET", "{c}new", "y"], &["GET", "{b}1"]],
        );
        assert_eq!(replies[1], "OK");
        assert_eq!((replies[3].as_str(), &replies[2]), ("OK", &replies[4]), "{replies:?}");
        // Whoever leads has done it.
        for node in &nodes {
            let mut client = node.connect();
            let there = TAGS.map(|tag| client.int(&["EXISTS", &format!("{tag}1"), &format!("{tag}new")]));
            assert_eq!(there, [0, 1, 0]);
        }
        await_same(&nodes);
        nodes.iter().for_each(|node| assert_eq!(counted(node), [1, 60]));
        assert_eq!(node.connect().text(&["FLUSHALL"]), "OK");
        await_same(&nodes);
        nodes.iter().for_each(|node| assert_eq!(counted(node), [0, 0]));
    }

    // Of one group at a time nothing else can be said of all keys.
    let mut client = nodes[0].connect();
    fill(&nodes[0], "0", 5);
    let queued: &[&[&str]] = &[&["MULTI"], &["FLUSHALL"], &["EXEC"]];
    let replies = pipeline(&mut client, queued);
    assert_eq!(replies[1], "ERR FLUSHALL is not possible in transactions and scripts with cluster-groups");
    assert!(replies[2].starts_with("EXECABORT"), "{replies:?}");
    let text = error(&mut client, &["EVAL", "return redis.call('FLUSHDB')", "1", "{a}1"]);
    assert!(text.contains("FLUSHDB is not possible in transactions and scripts"), "{text}");
    let watched: &[&[&str]] = &[&["WATCH", "{a}1"], &["FLUSHALL"], &["UNWATCH"], &["FLUSHALL", "NOW"]];
    let replies = pipeline(&mut client, watched);
    assert!(replies[1].starts_with("CROSSSLOT") && replies[3] == "ERR syntax error", "{replies:?}");
    assert_eq!(client.text(&["GET", "{a}1"]), "x");

    // Where one is led by nobody for now.
    await_same(&nodes);
    nodes[led[1]].kill();
    let others: Vec<&Server> =
        nodes.iter().enumerate().filter(|(at, _)| *at != led[1]).map(|(_, node)| node).collect();
    wait_for("the flush to be done by all", || {
        let mut client = others[0].connect();
        client.send(&["FLUSHALL"]);
        // One that was on its way to the node that was killed is not answered.
        let Frame::Bytes(reply) = client.frame(PATIENCE) else { return None };
        let reply = shown(&value_of(&reply));
        assert!(reply == "OK" || reply.starts_with("CLUSTERDOWN "), "{reply}");
        (reply == "OK").then_some(())
    });
    for node in &others {
        let mut client = node.connect();
        assert_eq!(TAGS.map(|tag| client.int(&["EXISTS", &format!("{tag}1")])), [0; 3]);
    }
    assert_eq!(others[1].connect().text(&["SET", "{c}behind", "y"]), "OK");
    nodes[led[1]].start_again();
    await_joined(&nodes);
    await_same(&nodes);
    nodes.iter().for_each(|node| assert_eq!(counted(node), [1, 0]));
    // And from the journals.
    nodes.iter_mut().for_each(Server::kill);
    nodes.iter_mut().for_each(Server::start_again);
    leaders(&nodes.iter().collect::<Vec<_>>());
    await_same(&nodes);
    nodes.iter().for_each(|node| assert_eq!(counted(node), [1, 0]));
}

const NOT_ALL: &str = "CLUSTERDOWN The cluster is down: not every group of keys has executed the command: CLUSTERDOWN The cluster is \
                       down: no node leads the keys";

#[test]
fn a_flush_that_one_group_has_not_done_is_answered_by_an_error_that_says_so() {
    let Some((nats, name)) = logs() else { return };
    let (mut nodes, mut led) = start_spread(&nats, &name);
    wait_for("a flush before another node leads the last group", || {
        fill(&nodes[0], "0", 5);
        nodes[led[2]].kill();
        let first = &nodes[led[0]];
        first.connect().request(&["CONFIG", "SET", "cluster-leader-wait", "0"]);
        wait_for("the group to be led by nobody", || {
            first.connect().text(&["CLUSTER", "INFO"]).contains("cluster_state:fail").then_some(())
        });
        let mut client = first.connect();
        client.send(&["FLUSHALL"]);
        let reply = shown(&client.value());
        if reply != "OK" {
            assert_eq!(reply, NOT_ALL);
            assert_eq!(client.int(&["EXISTS", "{b}1"]) + client.int(&["EXISTS", "{c}1"]), 0, "those have");
            return Some(());
        }
        nodes.clear();
        (nodes, led) = start_spread(&nats, &name);
        None
    });
}

#[test]
fn scripts_and_functions_are_known_to_the_leader_of_every_group_when_they_are_loaded() {
    let Some((nats, name)) = logs() else { return };
    let (mut nodes, led) = start_spread(&nats, &name);
    let of = |tag: &str| format!("{tag}count");
    for (at, node) in nodes.iter().enumerate() {
        let script = format!("return redis.call('INCRBY', KEYS[1], {})", at + 1);
        let mut client = node.connect();
        let sha = client.text(&["SCRIPT", "LOAD", &script]);
        for other in &nodes {
            let mut client = other.connect();
            assert_eq!(shown(&client.request(&["SCRIPT", "EXISTS", &sha, "0"])), "[1 0]");
            for tag in TAGS {
                assert!(client.int(&["EVALSHA", &sha, "1", &of(tag)]) > 0);
            }
        }
        // As clients of a cluster do, which send it to each node.
        nodes.iter().for_each(|other| assert_eq!(other.connect().text(&["SCRIPT", "LOAD", &script]), sha));
        assert_eq!(client.text(&["SCRIPT", "FLUSH"]), "OK");
        for other in &nodes {
            let mut client = other.connect();
            assert_eq!(shown(&client.request(&["SCRIPT", "EXISTS", &sha])), "[0]");
            for tag in TAGS {
                let text = error(&mut client, &["EVALSHA", &sha, "1", &of(tag)]);
                assert_eq!(text, "NOSCRIPT No matching script. Please use EVAL.");
            }
        }
        // What one leader alone has seen does not exist.
        client.int(&["EVAL", &script, "1", &of("{a}")]);
        assert_eq!(shown(&client.request(&["SCRIPT", "EXISTS", &sha])), "[0]");
        let queued: &[&[&str]] = &[&["MULTI"], &["SCRIPT", "LOAD", &script], &["EXEC"]];
        assert!(pipeline(&mut client, queued)[1].starts_with("ERR SCRIPT LOAD is not possible in"));
    }

    let code = |answers: &str| {
        format!("#!lua name=lib\nredis.register_function('f', function(k) return {answers} end)")
    };
    let answered = |nodes: &[&Server], expected: &str| {
        for node in nodes {
            let mut client = node.connect();
            for tag in TAGS {
                client.send(&["FCALL", "f", "1", &of(tag)]);
                assert_eq!(shown(&client.value()), expected);
            }
        }
    };
    let all: Vec<&Server> = nodes.iter().collect();
    for round in 0..10 {
        let mut client = nodes[round % 3].connect();
        assert_eq!(client.text(&["FUNCTION", "LOAD", "REPLACE", &code(&round.to_string())]), "lib");
        answered(&all, &round.to_string());
        let text = error(&mut client, &["FUNCTION", "LOAD", &code("'other'")]);
        assert_eq!(text, "ERR Library 'lib' already exists");
        let dump = client.request(&["FUNCTION", "DUMP"]);
        assert_eq!(client.text(&["FUNCTION", "DELETE", "lib"]), "OK");
        answered(&all, "ERR Function not found");
        let dump = dump.as_bytes().expect("a payload");
        assert_eq!(client.text(&[b"FUNCTION".as_slice(), b"RESTORE", dump]), "OK");
        answered(&all, &round.to_string());
    }
    // A client of a cluster sends it to each node.
    let each = |words: &[&[u8]], expected: &str| {
        all.iter().for_each(|node| assert_eq!(node.connect().text(words), expected));
    };
    let dump = nodes[0].connect().request(&["FUNCTION", "DUMP"]);
    each(&[b"FUNCTION", b"DELETE", b"lib"], "OK");
    each(&[b"FUNCTION", b"LOAD", code("'each'").as_bytes()], "lib");
    answered(&all, "each");
    each(&[b"FUNCTION", b"FLUSH"], "OK");
    each(&[b"FUNCTION", b"RESTORE", dump.as_bytes().expect("a payload")], "OK");
    answered(&all, "9");
    assert_eq!(nodes[1].connect().text(&["FUNCTION", "FLUSH"]), "OK");
    answered(&all, "ERR Function not found");
    assert_eq!(nodes[2].connect().text(&["FUNCTION", "LOAD", &code("'kept'")]), "lib");

    // Libraries are there whoever leads next, and at the next start.
    nodes[led[0]].kill();
    let others: Vec<&Server> =
        nodes.iter().enumerate().filter(|(at, _)| *at != led[0]).map(|(_, node)| node).collect();
    leaders(&others);
    answered(&others, "kept");
    nodes.iter_mut().for_each(Server::kill);
    nodes.iter_mut().for_each(Server::start_again);
    let all: Vec<&Server> = nodes.iter().collect();
    leaders(&all);
    answered(&all, "kept");
}

/// What a node says of one group of keys.
fn group_figure(node: &Server, group: usize, name: &str) -> u64 {
    let line = figure(node, &format!("cluster_group_{group}")).unwrap_or_default();
    let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Writes until the log of each group has been trimmed again.
fn write_until_trimmed(nodes: &[Server]) {
    let long = vec![b'l'; 50_000];
    let mut client = nodes[0].connect();
    for (group, tag) in TAGS.iter().enumerate() {
        let is_trimmed = format!("group={group}");
        let trimmed = || {
            let lines = |node: &Server| {
                let is_of_group =
                    |line: &&str| line.contains("the log is trimmed") && line.contains(&is_trimmed);
                node.log().lines().filter(is_of_group).count()
            };
            nodes.iter().map(lines).sum::<usize>()
        };
        let (before, mut n) = (trimmed(), 0);
        wait_for("a group's log to be trimmed", || {
            for _ in 0..4 {
                n += 1;
                client.request(&[b"SET", format!("{tag}long:{}", n % 20).as_bytes(), &long]);
            }
            (trimmed() > before).then_some(())
        });
    }
}

#[test]
fn each_groups_log_is_trimmed_below_snapshots_of_its_own_and_a_new_node_begins_with_these() {
    let Some((nats, name)) = logs() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let place = format!("file://{}", folder.path().display());
    let launch = |at: usize| {
        node_of(&nats, &name, at).args(&["--cluster-log-size", "1mb", "--cluster-snapshots", &place])
    };
    let mut nodes: Vec<Server> = (0..2).map(|at| launch(at).start()).collect();
    await_joined(&nodes);
    leaders(&nodes.iter().collect::<Vec<_>>());
    fill(&nodes[0], "1", 20);
    let code = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    assert_eq!(nodes[0].connect().text(&["FUNCTION", "LOAD", code]), "lib");
    write_until_trimmed(&nodes);
    for group in 0..GROUPS {
        let of_group = files(&folder.path().join(&name).join(group.to_string()));
        let is_one = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "snapshot");
        assert!(of_group.iter().any(is_one), "{group}: {of_group:?}");
    }
    let configuration = folder.path().join("conf");
    let directives =
        ["cluster-keys yes", "cluster-groups 3", "appendonly yes", "cluster-snapshots"].join("\n");
    std::fs::write(&configuration, format!("{directives} {place}\n")).expect("it can be written");
    let (path, url) = (configuration.display().to_string(), nats.url(0));
    for (verb, said) in [("status", "snapshots "), ("doctor", " snapshot(s), the newest as of slot ")] {
        let tool = sterna_tool(&["cluster", verb, &path, "--url", &url, "--name", &name]);
        let text = String::from_utf8_lossy(&tool.stdout).into_owned();
        assert_eq!(text.matches(said).count(), GROUPS, "{text}");
    }

    // It serves messages from its start on, and takes commands on all keys.
    let fresh = launch(2).start();
    let mut listens = fresh.connect();
    subscribe(&mut listens, "SUBSCRIBE", "news");
    nodes[0].connect().request(&["PUBLISH", "news", "hello"]);
    assert_eq!(payload(&mut listens), b"hello");
    for tag in TAGS {
        assert_eq!(fresh.connect().text(&["SET", &format!("{tag}by a new node"), "x"]), "OK");
    }
    nodes.push(fresh);
    for group in 0..GROUPS {
        wait_for("a snapshot of each group to be loaded", || {
            (group_figure(&nodes[2], group, "cluster_snapshots_loaded") == 1).then_some(())
        });
    }
    await_same(&nodes);
    assert_eq!(counted(&nodes[2])[1], 60);
    assert_eq!(nodes[2].connect().int(&["FCALL", "f", "0"]), 7);

    // From then on it has them in its journal, leads from there, and writes snapshots itself.
    nodes[0].kill();
    leaders(&nodes[1..].iter().collect::<Vec<_>>());
    let mut client = nodes[2].connect();
    TAGS.iter().for_each(|tag| assert_eq!(client.text(&["SET", &format!("{tag}then"), "x"]), "OK"));
    write_until_trimmed(&nodes[1..]);
    nodes[1].kill();
    nodes[2].kill();
    nodes.iter_mut().for_each(Server::start_again);
    leaders(&nodes.iter().collect::<Vec<_>>());
    await_same(&nodes);
    for node in &nodes {
        let mut client = node.connect();
        let there =
            TAGS.map(|tag| client.int(&["EXISTS", &format!("{tag}then"), &format!("{tag}by a new node")]));
        assert_eq!((there, counted(node)[1]), ([2; 3], 60));
        assert_eq!(client.int(&["FCALL", "f", "1", "{a}"]), 7);
    }
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
    const WRITERS: usize = 3;
    let Some((nats, name)) = logs() else { return };
    let mut nodes = start_nodes(&nats, &name);
    leaders(&nodes.iter().collect::<Vec<_>>());
    let load = Load::new(&nodes, &TAGS);
    let stories = thread::scope(|scope| {
        let load = &load;
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || load.write(writer))).collect();
        let ends = Ends(&load.is_over);
        for round in 0..crash_rounds(1) {
            let led = leaders(&nodes.iter().collect::<Vec<_>>());
            let group = round as usize % GROUPS;
            let at = led[group];
            load.await_writes(&nodes, WRITERS);
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
            load.note_port(at, &nodes[at]);
            await_joined(&nodes);
        }
        load.await_writes(&nodes, WRITERS);
        drop(ends);
        writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect::<Vec<_>>()
    });
    await_same(&nodes);
    let check_all = |nodes: &[Server]| nodes.iter().for_each(|node| load.check_all(node, &stories));
    check_all(&nodes);
    // From the journals alone, and then the logs.
    nodes.iter_mut().for_each(Server::kill);
    nodes.iter_mut().for_each(Server::start_again);
    leaders(&nodes.iter().collect::<Vec<_>>());
    await_same(&nodes);
    check_all(&nodes);
}

/// How often leaders have changed, as far as this node knows.
pub(crate) fn terms(node: &Server) -> u64 {
    let term = |group| log_figure(node, group, "cluster_log_term").and_then(|term| term.parse::<u64>().ok());
    (0..GROUPS).map(|group| term(group).unwrap_or(0)).sum()
}

/// Goes on with keys that begin so until it is over: each request is executed once, and answered in its place.
pub(crate) fn count_on(node: &Server, tags: &[&str], name: &str, is_over: &AtomicBool) -> Result<(), String> {
    let mut client = node.connect();
    let keys: Vec<String> = tags.iter().map(|tag| format!("{tag}{name}")).collect();
    let requests: Vec<[&str; 2]> = keys.iter().map(|key| ["INCR", key.as_str()]).collect();
    let requests: Vec<&[&str]> = requests.iter().map(|words| &words[..]).collect();
    let mut count = 0;
    while !is_over.load(SeqCst) {
        count += 1;
        let bytes: Vec<u8> = requests.iter().flat_map(|args| request_bytes(args)).collect();
        client.send_bytes(&bytes);
        for request in &requests {
            match client.frame(PATIENCE) {
                Frame::Bytes(bytes) if bytes == format!(":{count}\r\n").as_bytes() => {}
                other => {
                    return Err(format!("{request:?} at {}: {other:?} in place of {count}", node.name()));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_node_that_comes_back_is_given_its_share_and_nobody_s_command_fails_for_that() {
    let Some((nats, name)) = logs() else { return };
    let (mut nodes, mut led) = start_spread(&nats, &name);
    for telling in 0.. {
        let at = led[telling % GROUPS];
        nodes[at].kill();
        leaders(&[&nodes[(at + 1) % 3], &nodes[(at + 2) % 3]]);
        nodes[at].start_again();
        // What waits goes on waiting, at this node and at the others.
        let mut waiting: Vec<(String, Client)> = Vec::new();
        for (n, tag) in TAGS.iter().enumerate().flat_map(|(n, tag)| [(n, tag), (n + GROUPS, tag)]) {
            let (list, mut client) =
                (format!("{tag}list:{telling}:{n}"), nodes[(at + 1 + n % 2) % 3].connect());
            client.send(&["BLPOP", &list, "0"]);
            waiting.push((list, client));
        }
        let is_over = AtomicBool::new(false);
        let (before, after, seen) = thread::scope(|scope| {
            let (is_over, ends) = (&is_over, Ends(&is_over));
            let [one, two] = [1, 2].map(|n| &nodes[(at + n) % 3]);
            let before = terms(one);
            let clients: Vec<_> = [one, one, two, two]
                .into_iter()
                .enumerate()
                .map(|(n, node)| {
                    scope.spawn(move || count_on(node, &TAGS, &format!("{telling}:{n}"), is_over))
                })
                .collect();
            await_joined(&nodes);
            led = await_spread(&nodes);
            // What nodes say of their logs may be a moment old.
            let after = wait_for("all nodes to know the terms", || {
                let [own, others @ ..] = [0, 1, 2].map(|n| terms(&nodes[n]));
                (own > before && others == [own; 2]).then_some(own)
            });
            drop(ends);
            let seen: Vec<_> = clients.into_iter().map(|client| client.join().expect("it ends")).collect();
            (before, after, seen)
        });
        let seen: Result<(), String> = seen.into_iter().collect();
        // On a machine that stands still for seconds, leaders change for other reasons as well.
        if after == before + 1 {
            assert_eq!(seen, Ok(()), "one group was handed over");
            for (list, client) in &mut waiting {
                assert_eq!(nodes[at].connect().int(&["RPUSH", list, "x"]), 1);
                assert_eq!(shown(&client.value()), format!("[{list} x]"));
            }
            break;
        }
        println!("told anew: leaders have changed {} times", after - before);
    }
}
