//! Killed while one write's elements and entries are handed to hundreds who wait for them, which goes on in slices.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};
use sterna_tests::{crash_rounds, seed};

/// More than are served at once.
const WAITERS: usize = 400;

/// Waiters of one kind, each of which asks for one element or entry.
struct Waiters(Vec<Client>);

impl Waiters {
    fn new(server: &Server, request: impl Fn(usize) -> Vec<String>) -> Waiters {
        let ask = |waiter| {
            let mut client = server.connect();
            client.send(&request(waiter));
            client
        };
        Waiters((0..WAITERS).map(ask).collect())
    }

    /// What each has got before its connection broke.
    fn replies(self) -> Vec<Option<Value>> {
        let reply = |mut client: Client| match client.frame(PATIENCE) {
            Frame::Bytes(bytes) => Some(value_of(&bytes)),
            Frame::Closed | Frame::Nothing => None,
        };
        self.0.into_iter().map(reply).collect()
    }
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}

fn texts(client: &mut Client, request: &[&str]) -> Vec<String> {
    client.request(request).as_slice().unwrap_or_default().iter().map(text).collect()
}

/// What was pushed: all of it or nothing.
fn assert_all_or_nothing(came: usize, is_acknowledged: bool, what: &str) {
    assert!(came == WAITERS || came == 0 && !is_acknowledged, "{what}: {came} of {WAITERS}");
}

fn check_round(server: &mut Server, life: Duration) -> usize {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    server.connect().request(&["FLUSHALL"]);
    server.connect().request(&["XGROUP", "CREATE", "stream", "group", "$", "MKSTREAM"]);
    let takers = Waiters::new(server, |_| words(&["BLPOP", "taken", "0"]));
    let movers = Waiters::new(server, |_| words(&["BLMOVE", "from", "to", "LEFT", "RIGHT", "0"]));
    let readers = Waiters::new(server, |waiter| {
        let consumer = format!("c{waiter}");
        words(&[
            "XREADGROUP",
            "GROUP",
            "group",
            &consumer,
            "COUNT",
            "1",
            "BLOCK",
            "0",
            "STREAMS",
            "stream",
            ">",
        ])
    });
    wait_for("all wait", || {
        let blocked = format!("blocked_clients:{}\r", 3 * WAITERS);
        server.connect().text(&["INFO", "clients"]).contains(&blocked).then_some(())
    });
    let elements: Vec<String> = (0..WAITERS).map(|number| number.to_string()).collect();
    let push = |key| [words(&["RPUSH", key]), elements.clone()].concat();
    let mut requests = [request_bytes(&push("taken")), request_bytes(&push("from"))].concat();
    requests.extend_from_slice(&request_bytes(&["MULTI"]));
    let add = |number: &String| request_bytes(&["XADD", "stream", "*", "n", number]);
    requests.extend(elements.iter().flat_map(add));
    requests.extend_from_slice(&request_bytes(&["EXEC"]));
    let mut writer = server.connect();
    writer.send_bytes(&requests);
    // The instant is what is tested: it is chosen by a sleep on purpose.
    thread::sleep(life);
    server.kill();
    let mut acknowledged = [false; 3];
    let ends = [1, 1, WAITERS + 2];
    for (is_acknowledged, replies) in acknowledged.iter_mut().zip(ends) {
        *is_acknowledged = (0..replies).all(|_| matches!(writer.frame(PATIENCE), Frame::Bytes(_)));
    }
    let [taken, moved, read] = [takers, movers, readers].map(Waiters::replies);
    server.start_again();
    let mut client = server.connect();

    // What was given to somebody is not there any more, and was given once.
    let left = texts(&mut client, &["LRANGE", "taken", "0", "-1"]);
    let given: Vec<String> =
        taken.iter().flatten().map(|reply| text(&reply.as_slice().expect("a pair")[1])).collect();
    let places: BTreeSet<&String> = left.iter().chain(&given).collect();
    assert_eq!(places.len(), left.len() + given.len(), "an element is given and there, or given twice");
    assert!(acknowledged[0] || places.is_empty() || !given.is_empty() || left.len() == WAITERS);

    // Each is in one of the two lists, and where somebody was told that he has moved it.
    let (from, to) = (
        texts(&mut client, &["LRANGE", "from", "0", "-1"]),
        texts(&mut client, &["LRANGE", "to", "0", "-1"]),
    );
    let both: BTreeSet<&String> = from.iter().chain(&to).collect();
    assert_eq!(both.len(), from.len() + to.len(), "an element is in both lists");
    assert_all_or_nothing(both.len(), acknowledged[1], "elements");
    let to: BTreeSet<&String> = to.iter().collect();
    let told: Vec<String> = moved.iter().flatten().map(text).collect();
    told.iter().for_each(|element| assert!(to.contains(element), "{element} was moved"));

    // What somebody has read is in the list of what he has to acknowledge; nobody else has it, and it is not delivered again.
    assert_all_or_nothing(client.int(&["XLEN", "stream"]) as usize, acknowledged[2], "entries");
    let all = WAITERS.to_string();
    let pending = client.request(&["XPENDING", "stream", "group", "-", "+", &all]);
    let pending: BTreeMap<String, String> = pending
        .as_slice()
        .unwrap_or_default()
        .iter()
        .map(|entry| {
            let entry = entry.as_slice().expect("an entry");
            (text(&entry[0]), text(&entry[1]))
        })
        .collect();
    let id_of = |reply: &Value| {
        let entries =
            reply.as_slice().and_then(|streams| streams[0].as_slice()).map(|stream| stream[1].clone());
        text(&entries.expect("a stream").as_slice().expect("entries")[0].as_slice().expect("an entry")[0])
    };
    let mut delivered = 0;
    for (waiter, reply) in read.iter().enumerate() {
        let Some(reply) = reply else { continue };
        assert_eq!(pending.get(&id_of(reply)), Some(&format!("c{waiter}")));
        delivered += 1;
    }
    let rest =
        client.request(&["XREADGROUP", "GROUP", "group", "last", "COUNT", &all, "STREAMS", "stream", ">"]);
    let rest =
        rest.as_slice().and_then(|streams| streams[0].as_slice()).and_then(|stream| stream[1].as_slice());
    let rest = rest.map_or(0, <[Value]>::len);
    assert_eq!(
        rest + pending.len(),
        client.int(&["XLEN", "stream"]) as usize,
        "an entry is delivered twice or never"
    );
    given.len() + told.len() + delivered
}

#[test]
fn killed_while_hundreds_are_served_what_was_given_is_gone_and_what_was_not_is_there() {
    let mut random = fastrand::Rng::with_seed(seed(31));
    for appendfsync in ["always", "everysec"] {
        let launch = Launch::shards(2).args(&["--dir", "{folder}", "--appendfsync", appendfsync]);
        let mut server = launch.start();
        for round in 0..crash_rounds(3) {
            let served = check_round(&mut server, Duration::from_micros(random.u64(0..40_000)));
            println!("{appendfsync}, round {round}: {served} of {} were told", 3 * WAITERS);
        }
    }
}
