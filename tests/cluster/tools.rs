//! Nodes, and what is known of them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, Server, sterna_tool, wait_for};
use sterna_tests::skipped;

/// The servers that tests share which do them no harm; `None`: this machine has no NATS.
pub(crate) fn nats() -> Option<&'static Nats> {
    static NATS: OnceLock<Option<Nats>> = OnceLock::new();
    let nats = NATS.get_or_init(|| Nats::start(3));
    if nats.is_none() {
        skipped("needs NATS_SERVER; ./test installs one");
    }
    nats.as_ref()
}

/// A name that no other cluster has.
pub(crate) fn name() -> String {
    static CLUSTERS: AtomicUsize = AtomicUsize::new(0);
    format!("test-{}-{}", std::process::id(), CLUSTERS.fetch_add(1, SeqCst))
}

/// How a node of the cluster `name` is started, with two shards.
pub(crate) fn node(name: &str, url: &str) -> Launch {
    Launch::shards(2).args(&["--cluster-url", url, "--cluster-name", name])
}

/// So many nodes of one cluster, each of which knows all others; each at a NATS server of its own.
pub(crate) fn nodes(nats: &Nats, count: usize) -> Vec<Server> {
    let name = name();
    let nodes: Vec<Server> = (0..count).map(|at| node(&name, &nats.url(at)).start()).collect();
    await_joined(&nodes);
    nodes
}

/// How often a story is told at most.
const TELLINGS_MAX: usize = 3;

/// What a node says when it, another one or NATS has stood still for seconds. Then messages, confirmations and answers are missing,
/// as they are to be.
const DISTURBANCES: [&str; 4] = [
    "another node is lost",
    "another node has taken nothing",
    "the connection to NATS is lost",
    "NATS is not there",
];

/// Tells a story in which no node stands still. Where one has, as on a machine that has other things to do for seconds, a story
/// that has failed is told anew, to other nodes. It starts its nodes, and puts them where they can be asked what they have seen.
pub(crate) fn undisturbed(story: impl Fn(&mut Vec<Server>)) {
    for telling in 1.. {
        let mut nodes = Vec::new();
        let Err(failure) = catch_unwind(AssertUnwindSafe(|| story(&mut nodes))) else { return };
        if telling == TELLINGS_MAX || !nodes.iter().any(is_disturbed) {
            resume_unwind(failure);
        }
        println!("told anew: a node has stood still");
    }
}

fn is_disturbed(node: &Server) -> bool {
    let log = node.log();
    let waited_in_vain = || {
        let figures = ["cluster_unconfirmed_subscribes", "cluster_unanswered_questions"];
        figures.iter().any(|name| figure(node, name).is_some_and(|count| count != "0"))
    };
    DISTURBANCES.iter().any(|words| log.contains(words)) || waited_in_vain()
}

/// Waits until each of these nodes knows all others.
pub(crate) fn await_joined(nodes: &[Server]) {
    for node in nodes {
        let count = nodes.len().to_string();
        wait_for("a node to know all others", || {
            let is_joined = figure(node, "cluster_state").as_deref() == Some("connected")
                && figure(node, "cluster_nodes").as_deref() == Some(&count);
            is_joined.then_some(())
        });
    }
}

/// A field of the section Cluster of INFO.
pub(crate) fn figure(node: &Server, name: &str) -> Option<String> {
    let info = node.connect().text(&["INFO", "cluster"]);
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned()))
}

/// The same as a number.
pub(crate) fn count(node: &Server, name: &str) -> u64 {
    figure(node, name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// Subscribes and reads the confirmation.
pub(crate) fn subscribe(client: &mut Client, command: &str, name: &str) {
    client.send(&[command, name]);
    let confirmation = client.value();
    let words = confirmation.as_slice().expect("a confirmation is an array");
    assert_eq!(words[0].as_bytes(), Some(command.to_ascii_lowercase().as_bytes()), "{confirmation:?}");
}

/// The payload of the next message.
pub(crate) fn payload(client: &mut Client) -> Vec<u8> {
    payload_of(&client.value())
}

/// The payload of a message.
pub(crate) fn payload_of(message: &Value) -> Vec<u8> {
    let words = message.as_slice().unwrap_or_else(|| panic!("no message: {message:?}"));
    words.last().and_then(Value::as_bytes).expect("a message has a payload").to_vec()
}

/// So many nodes whose keys are those of all, with a log of their own at these servers.
pub(crate) fn start_keys(nats: &Nats, count: usize) -> Vec<Server> {
    let (name, url, replicas) = (name(), nats.url(0), nats.ports().len().to_string());
    let words = ["cluster", "init", "--url", &url, "--name", &name, "--replicas", &replicas];
    wait_for("a log to be made", || sterna_tool(&words).status.success().then_some(()));
    let keys = ["--cluster-keys", "yes", "--appendonly", "yes", "--appendfsync", "always"];
    (0..count).map(|_| node(&name, &url).args(&keys).start()).collect()
}

/// A reply in short.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Simple(text) | Value::Error(text) | Value::Bulk(text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        Value::Int(number) => number.to_string(),
        value => format!("{value:?}"),
    }
}
