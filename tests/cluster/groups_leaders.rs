//! Leaders of groups of keys that change one at a time, on nodes that lead others still.

use std::sync::atomic::AtomicBool;
use std::thread;

use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::nats::Nats;
use sterna_tests::server::{PATIENCE, Server, sterna_tool, wait_for};
use sterna_tests::skipped;
use sterna_tests::wire::Wire;

use crate::groups::{
    GROUPS, TAGS, await_spread, count_on, leaders, leads_group, logs, node_of, of_groups, pipeline,
    start_spread, terms,
};
use crate::keys::{Ends, await_same, keys_node, reader};
use crate::tools::{await_joined, name, shown};

/// Which of two nodes leads two groups, and these.
fn of_two(led: &[usize; GROUPS]) -> (usize, [usize; 2]) {
    let two = usize::from(led.iter().filter(|at| **at == 1).count() == 2);
    let mut groups = (0..GROUPS).filter(|group| led[*group] == two);
    (two, [groups.next().expect("it leads one"), groups.next().expect("and another")])
}

#[test]
fn a_watch_is_broken_when_its_group_is_handed_over_though_the_node_that_led_it_leads_another_still() {
    let Some((nats, name)) = logs() else { return };
    let (mut nodes, mut led) = start_spread(&nats, &name);
    for telling in 0.. {
        let at = led[telling % GROUPS];
        nodes[at].kill();
        let others = [(at + 1) % 3, (at + 2) % 3];
        let (two, groups) = of_two(&leaders(&others.map(|at| &nodes[at])));
        // At the node that leads both, and at one that passes on.
        let mut watching: Vec<(usize, String, Client)> = Vec::new();
        for (which, by) in [(0, two), (1, two), (0, 1 - two), (1, 1 - two)] {
            let key = format!("{}watched:{telling}:{by}", TAGS[groups[which]]);
            let mut client = nodes[others[by]].connect();
            assert_eq!(client.text(&["WATCH", &key]), "OK");
            watching.push((which, key, client));
        }
        let before = terms(&nodes[others[0]]);
        nodes[at].start_again();
        await_joined(&nodes);
        led = await_spread(&nodes);
        let moved = usize::from(led[groups[1]] == at);
        let mut other = nodes[others[two]].connect();
        let touched: Vec<String> =
            watching.iter().filter(|(which, ..)| *which == moved).map(|(_, key, _)| key.clone()).collect();
        touched.iter().for_each(|key| assert_eq!(other.text(&["SET", key, "by another"]), "OK"));
        let answers: Vec<(bool, String)> = watching
            .into_iter()
            .map(|(which, key, mut client)| {
                let queued: &[&[&str]] = &[&["MULTI"], &["SET", &key, "late"], &["EXEC"]];
                (which == moved, pipeline(&mut client, queued).remove(2))
            })
            .collect();
        for (has_moved, answer) in &answers {
            assert!(!has_moved || answer == "Null", "{answers:?}: it was written to by another meanwhile");
        }
        touched.iter().for_each(|key| assert_eq!(other.text(&["GET", key]), "by another"));
        // On a machine that stands still for seconds, leaders change for other reasons as well.
        let after = wait_for("all nodes to know the terms", || {
            let [own, rest @ ..] = [0, 1, 2].map(|n| terms(&nodes[n]));
            (own > before && rest == [own; 2]).then_some(own)
        });
        if after == before + 1 {
            for (has_moved, answer) in &answers {
                assert!(*has_moved || answer == "[OK]", "{answers:?}: nobody has touched it");
            }
            break;
        }
        println!("told anew: leaders have changed {} times", after - before);
    }
}

/// What a NATS server is started with which two nodes know as different users. One of them may not append to the log of a group.
fn two_users(folder: &str, name: &str, denied: Option<(usize, usize)>) -> String {
    let users = [0, 1].map(|user| {
        let group = denied.filter(|(of, _)| *of == user).map(|(_, group)| group.to_string());
        let subject = format!("sterna.{name}.log.{}", group.as_deref().unwrap_or("none"));
        format!(
            "{{ user: n{user}, password: right, permissions: {{ publish: {{ deny: [\"{subject}\"] }} }} }}"
        )
    });
    format!(
        "jetstream {{ store_dir: \"{folder}\", sync_interval: always }}\nno_auth_user: init\n\
         authorization {{ users: [{{ user: init, password: right }}, {}] }}\n",
        users.join(", ")
    )
}

#[test]
fn a_node_that_leads_one_group_no_more_goes_on_with_another_and_undoes_nothing_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (name, store) = (name(), folder.path().display().to_string());
    let Some(nats) = Nats::start_alone(&two_users(&store, &name, None)) else {
        return skipped("needs NATS_SERVER; ./test installs one");
    };
    let url = nats.url(0);
    let words = ["cluster", "init", "--url", &url, "--name", &name, "--groups", "3", "--replicas", "1"];
    wait_for("the logs to be made", || sterna_tool(&words).status.success().then_some(()));
    let start = |user: &str| {
        let user = ["--cluster-user", user, "--cluster-password", "right"];
        of_groups(keys_node(&name, &url)).args(&user).start()
    };
    let nodes: Vec<Server> = ["n0", "n1"].map(start).into();
    await_joined(&nodes);
    for telling in 0.. {
        let led = leaders(&nodes.iter().collect::<Vec<_>>());
        let (two, [lost, kept]) = of_two(&led);
        let others: Vec<&str> = (0..GROUPS).filter(|group| *group != lost).map(|group| TAGS[group]).collect();
        let (before, is_over) = (terms(&nodes[two]), AtomicBool::new(false));
        let (story, seen) = thread::scope(|scope| {
            let (is_over, ends) = (&is_over, Ends(&is_over));
            let counts: Vec<_> = [0, 1, two]
                .into_iter()
                .enumerate()
                .map(|(n, at)| {
                    let (node, others) = (&nodes[at], &others);
                    scope.spawn(move || count_on(node, others, &format!("{telling}:{n}"), is_over))
                })
                .collect();
            // What it has of the others can be read meanwhile, and is not missing.
            let reads = scope.spawn(|| {
                let mut client = reader(&nodes[two]);
                let key = format!("{}{telling}:0", TAGS[kept]);
                while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                    client.send(&["GET", &key]);
                    let value = shown(&client.value());
                    assert!(!value.starts_with("LOADING"), "{value}");
                }
            });
            nats.reload_alone(&two_users(&store, &name, Some((two, lost))));
            let story = write_until_refused(&nodes[two], &format!("{}{telling}:", TAGS[lost]));
            wait_for("the other node to lead the group", || leads_group(&nodes[1 - two], lost).then_some(()));
            // Its append is refused when it is tried once more: so it learns of the other.
            nats.reload_alone(&two_users(&store, &name, None));
            wait_for("this one to follow", || {
                nodes[two].connect().text(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
            });
            let key = format!("{}then", TAGS[lost]);
            nodes.iter().for_each(|node| assert_eq!(node.connect().text(&["SET", &key, "x"]), "OK"));
            drop(ends);
            reads.join().expect("it reads all the time");
            let seen: Vec<_> = counts.into_iter().map(|count| count.join().expect("it ends")).collect();
            (story, seen)
        });
        let after = terms(&nodes[1 - two]);
        await_same(&nodes);
        for node in &nodes {
            let mut client = reader(node);
            story.acknowledged.iter().for_each(|key| assert_eq!(client.int(&["EXISTS", key]), 1, "{key}"));
            if let Some(key) = &story.without_effect {
                assert_eq!(client.int(&["EXISTS", key]), 0, "{key} had no effect");
            }
        }
        if after == before + 1 {
            assert!(leads_group(&nodes[two], kept));
            assert_eq!(seen.into_iter().collect::<Result<Vec<()>, String>>(), Ok(vec![(); 3]));
            break;
        }
        println!("told anew: leaders have changed {} times", after - before);
    }
}

/// Keys whose writes were acknowledged, and the one of which it was said that it was not written.
struct Story {
    acknowledged: Vec<String>,
    without_effect: Option<String>,
}

fn write_until_refused(node: &Server, begins: &str) -> Story {
    let mut client = node.connect();
    let mut story = Story { acknowledged: Vec::new(), without_effect: None };
    for n in 0.. {
        let key = format!("{begins}{n}");
        client.send(&["SET", &key, "x"]);
        match client.frame(PATIENCE) {
            Frame::Bytes(bytes) if bytes == b"+OK\r\n" => story.acknowledged.push(key),
            Frame::Bytes(bytes) => {
                let refusal = shown(&value_of(&bytes));
                assert!(refusal.starts_with("CLUSTERDOWN"), "{refusal}");
                story.without_effect = Some(key);
                break;
            }
            Frame::Closed => break,
            Frame::Nothing => panic!("no answer to {key}"),
        }
    }
    story
}

#[test]
fn nodes_that_lead_groups_serve_each_others_clients_again_when_nats_was_gone_for_a_moment() {
    let Some((nats, name)) = logs() else { return };
    let wire = Wire::to_nats(nats.ports()[0]);
    let url = format!("nats://127.0.0.1:{}", wire.port);
    let mut nodes = vec![of_groups(keys_node(&name, &url)).start()];
    nodes.extend((1..3).map(|at| node_of(&nats, &name, at).start()));
    await_joined(&nodes);
    await_spread(&nodes);
    wire.cut();
    wait_for("the node to notice", || {
        nodes[0].log().contains("the connection to NATS is lost").then_some(())
    });
    wire.mend();
    let round = |node: &Server| {
        let mut client = node.connect();
        let mut set = |number: usize| {
            client.send(&["SET", TAGS[number % GROUPS], "1"]);
            matches!(client.frame(PATIENCE), Frame::Bytes(bytes) if bytes == b"+OK\r\n")
        };
        (0..600).all(&mut set)
    };
    wait_for("clients of each node to be served at all leaders, and to stay so", || {
        nodes.iter().all(round).then_some(())
    });
}
