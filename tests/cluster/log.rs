//! `sterna cluster init|status|doctor`.

use std::process::Output;

use sterna_tests::nats::Nats;
use sterna_tests::server::{sterna_tool, wait_for};
use sterna_tests::skipped;

use crate::keys::{keys_node, leader, log};
use crate::tools::{await_joined, name, nats, node, subscribe};

/// Runs the tool: whether it ended well, and what it printed.
fn cluster(words: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = sterna_tool(&[&["cluster"], words].concat());
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_log_is_made_once_and_by_nothing_but_init() {
    let Some(nats) = Nats::start_storing(1, "always") else { return skipped("needs NATS_SERVER") };
    let (url, name, monitor) = (nats.url(0), name(), nats.monitor(0));
    let place = ["--url", url.as_str(), "--name", name.as_str()];
    let run = |verb: &[&str]| cluster(&[verb, &place].concat());

    assert_eq!(run(&["status"]), (false, "sterna: there is no log\n".to_owned()));
    let (well, text) = run(&["doctor", "--monitor", &monitor]);
    assert!(well && text.contains("there is no log") && text.contains("syncs each write"), "{text}");
    assert_eq!(run(&["status"]).1, "sterna: there is no log\n", "neither has made one");

    let (well, text) = run(&["init", "--replicas", "1"]);
    assert!(well && text.starts_with("made a log of 1 replica(s), led by n0"), "{text}");
    let (well, text) = run(&["init", "--replicas", "1"]);
    assert!(!well && text.starts_with("sterna: there is a log already, with 1 frames"), "{text}");

    let (well, text) = run(&["status"]);
    let is_shown = ["slots 1 to 1,", "frames 1, records 0, skipped 0", "term 0, claimed by nobody"];
    assert!(well && is_shown.iter().all(|line| text.contains(line)), "{text}");
    let (well, text) = run(&["doctor", "--monitor", &monitor]);
    assert!(well && text.contains("1 frames continue each other") && !text.contains("BAD"), "{text}");
    assert!(text.contains("warning the log has 1 replica(s)"), "{text}");
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let Some(nats) = Nats::start_storing(1, "2m") else { return skipped("needs NATS_SERVER") };
    let (url, name) = (nats.url(0), name());
    let doctor = |more: &[&str]| cluster(&[&["doctor", "--url", &url, "--name", &name], more].concat());
    let (well, text) = doctor(&[]);
    assert!(well && text.contains("whether it syncs each write is not known"), "{text}");
    let (well, text) = doctor(&["--monitor", &nats.monitor(0)]);
    assert!(!well && text.contains("BAD") && text.contains("set sync_interval: always"), "{text}");
}

#[test]
fn the_doctor_says_what_a_server_lacks_that_refuses_or_has_no_jetstream() {
    let Some(nats) = Nats::start_alone("authorization { user: a, password: b }\n") else {
        return skipped("needs NATS_SERVER");
    };
    let (well, text) = cluster(&["doctor", "--url", &nats.url(0)]);
    assert!(
        !well && text.contains("authorization violation") && text.contains("another cluster-user"),
        "{text}"
    );
    let Some(nats) = Nats::start_alone("") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sterna.conf");
    let lines = format!("cluster-url {}\ncluster-keys yes\nappendonly yes\n", nats.url(0));
    std::fs::write(&file, lines).expect("it can be written");
    let (well, text) = cluster(&["doctor", &file.display().to_string()]);
    assert!(
        !well && text.contains("cluster-keys yes") && text.contains("run `sterna cluster init`"),
        "{text}"
    );
}

#[test]
fn the_status_shows_nodes_and_what_each_leads_listens_to_and_lacks() {
    let Some((nats, shared)) = log(1) else { return };
    let nodes = [0, 1].map(|_| keys_node(&shared, &nats.url(0)).start());
    await_joined(&nodes);
    let leads = leader(&nodes);
    let follows = nodes.iter().find(|node| node.pid() != leads.pid()).expect("it is the other one");
    leads.connect().request(&["SET", "k", "v"]);
    let mut listens = follows.connect();
    subscribe(&mut listens, "SUBSCRIBE", "news");
    let (url, port) = (nats.url(0), follows.address().port());
    wait_for("all of it to be shown", || {
        let (well, text) = cluster(&["status", "--url", &url, "--name", &shared]);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("node ")).collect();
        let of_follower =
            lines.iter().find(|line| line.contains(&format!(":{port}, listens in 1 of 256")))?;
        let of_leader = lines.iter().find(|line| line.contains(", leads, listens in 0 of 256"))?;
        assert!(well && lines.len() == 2, "{text}");
        (of_follower.contains(", lag ") && of_leader.contains(", lag ")).then_some(())
    });
    // Who has no keys with others is shown, too.
    let alone = name();
    let _node = node(&alone, &url).start();
    wait_for("it to be shown", || {
        let (_, text) = cluster(&["status", "--url", &url, "--name", &alone]);
        text.contains("listens in 0 of 256").then_some(())
    });
}

#[test]
fn what_can_not_be_reached_is_said_and_ends() {
    let Some(nats) = nats() else { return };
    let (well, text) = cluster(&["doctor", "--url", &nats.url(0)]);
    assert!(well && text.contains("JetStream is off"), "{text}");
    let (well, text) = cluster(&["init", "--url", &nats.url(0)]);
    assert!(!well && text.starts_with("sterna: JetStream is off"), "{text}");
    let (well, text) = cluster(&["status", "--url", "nats://127.0.0.1:1"]);
    assert!(!well && text.starts_with("sterna: no NATS server of cluster-url can be reached"), "{text}");
    let (well, text) = cluster(&["status"]);
    assert!(!well && text.starts_with("sterna: no cluster-url"), "{text}");
}
