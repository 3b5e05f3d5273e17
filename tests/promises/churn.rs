//! Bookkeeping under churn: whatever subscribers do, and in whatever state they go, nothing of them stays.
//!
//! A model knows what every client is subscribed to; after each round PUBSUB must agree with it, and at the end nothing
//! may be left, memory included.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::memory::resident_bytes;
use sterna_tests::server::{Server, wait_for};

const CLIENTS: usize = 24;
const ROUNDS: usize = 40;
const STEPS_PER_ROUND: usize = 60;
/// Few enough that clients meet at them.
const NAMES: usize = 12;
/// Memory that may stay behind: allocator caches and tables that keep their size.
const LEFT_BYTES_MAX: u64 = 1 << 20;
const RESIDENT_LEFT_BYTES_MAX: u64 = 24 << 20;

/// What a client is subscribed to.
#[derive(Default)]
struct Held {
    channels: BTreeSet<String>,
    patterns: BTreeSet<String>,
    sharded: BTreeSet<String>,
}

impl Held {
    fn of(&mut self, kind: usize) -> &mut BTreeSet<String> {
        match kind {
            0 => &mut self.channels,
            1 => &mut self.patterns,
            _ => &mut self.sharded,
        }
    }
}

const KINDS: [(&str, &str); 3] =
    [("SUBSCRIBE", "UNSUBSCRIBE"), ("PSUBSCRIBE", "PUNSUBSCRIBE"), ("SSUBSCRIBE", "SUNSUBSCRIBE")];

struct Churn {
    server: Server,
    random: Rng,
    clients: Vec<(Client, Held)>,
    asker: Client,
}

impl Churn {
    fn step(&mut self) {
        let index = self.random.usize(..CLIENTS);
        let kind = self.random.usize(..3);
        let (client, held) = &mut self.clients[index];
        match self.random.u8(..20) {
            0..9 => {
                let names: Vec<String> =
                    (0..self.random.usize(1..4)).map(|_| name(kind, self.random.usize(..NAMES))).collect();
                client.send(&request(KINDS[kind].0, &names));
                (0..names.len()).for_each(|_| drop(client.value()));
                held.of(kind).extend(names);
            }
            9..15 => {
                let names = vec![name(kind, self.random.usize(..NAMES))];
                client.send(&request(KINDS[kind].1, &names));
                client.value();
                held.of(kind).remove(&names[0]);
            }
            15 => {
                client.send(&request(KINDS[kind].1, &[]));
                (0..held.of(kind).len().max(1)).for_each(|_| drop(client.value()));
                held.of(kind).clear();
            }
            16 => {
                client.request(&["RESET"]);
                client.request(&["HELLO", "3"]);
                *held = Held::default();
            }
            _ => self.replace(index),
        }
    }

    /// Has a client go, in one of many states, and another come for it.
    fn replace(&mut self, index: usize) {
        let fresh = (self.server.connect_resp3(), Held::default());
        let (mut client, _) = std::mem::replace(&mut self.clients[index], fresh);
        match self.random.u8(..8) {
            0 => client.send_bytes(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\n"),
            1 => client.send(&["MULTI"]),
            2 => client.send(&["WATCH", "k", "l"]),
            3 => client.send(&["XREAD", "BLOCK", "0", "STREAMS", "nothing", "$"]),
            4 => client.send(&["MONITOR"]),
            5 => client.send(&["CLIENT", "REPLY", "OFF"]),
            6 => {
                let id = client.request_past_pushes(&["CLIENT", "ID"]).as_int().expect("a number");
                assert_eq!(self.asker.int(&["CLIENT", "KILL", "ID", &id.to_string()]), 1);
            }
            _ => client.send(&["QUIT"]),
        }
        client.leave();
    }

    /// Asserts that PUBSUB says what the model says.
    fn check(&mut self) {
        for kind in [0, 2] {
            let mut counts: BTreeMap<String, i64> = BTreeMap::new();
            for (_, held) in &mut self.clients {
                held.of(kind).iter().for_each(|name| *counts.entry(name.clone()).or_default() += 1);
            }
            let (list, count) =
                if kind == 0 { ("CHANNELS", "NUMSUB") } else { ("SHARDCHANNELS", "SHARDNUMSUB") };
            let names: Vec<String> = (0..NAMES).map(|number| name(kind, number)).collect();
            let words: Vec<String> =
                ["PUBSUB".to_owned(), count.to_owned()].into_iter().chain(names.clone()).collect();
            let expected: Vec<Value> = names
                .iter()
                .flat_map(|name| {
                    [
                        Value::Bulk(name.as_bytes().to_vec()),
                        Value::Int(counts.get(name).copied().unwrap_or(0)),
                    ]
                })
                .collect();
            assert_eq!(self.asker.request(&words), Value::Array(expected));
            let listed = self.asker.request(&["PUBSUB", list]);
            let listed: BTreeSet<Vec<u8>> = listed
                .as_slice()
                .unwrap_or_default()
                .iter()
                .filter_map(|name| Some(name.as_bytes()?.to_vec()))
                .collect();
            assert_eq!(listed, counts.keys().map(|name| name.as_bytes().to_vec()).collect());
        }
        let patterns: BTreeSet<&String> = self.clients.iter().flat_map(|(_, held)| &held.patterns).collect();
        assert_eq!(self.asker.int(&["PUBSUB", "NUMPAT"]), patterns.len() as i64);
    }
}

fn name(kind: usize, number: usize) -> String {
    match kind {
        1 => format!("room:{number}:*"),
        _ => format!("room:{number}"),
    }
}

fn request(verb: &str, names: &[String]) -> Vec<String> {
    [verb.to_owned()].into_iter().chain(names.iter().cloned()).collect()
}

fn used_memory(client: &mut Client) -> u64 {
    let info = client.text(&["INFO", "memory"]);
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|number| number.trim().parse().ok()).expect("used_memory is a number")
}

fn churned(seed: u64) -> Churn {
    let server = Server::sterna(3, &[]);
    let clients = (0..CLIENTS).map(|_| (server.connect_resp3(), Held::default())).collect();
    let asker = server.connect();
    Churn { server, random: Rng::with_seed(seed), clients, asker }
}

#[test]
fn whatever_subscribers_do_the_books_agree_and_nothing_stays() {
    let mut churn = churned(sterna_tests::seed(0x73_74_65_72));
    let mut used_after = Vec::new();
    let mut resident_after = Vec::new();
    for half in 0..2 {
        for _ in 0..ROUNDS {
            (0..STEPS_PER_ROUND).for_each(|_| churn.step());
            churn.check();
        }
        for (client, held) in &mut churn.clients {
            let gone = std::mem::replace(client, churn.server.connect_resp3());
            gone.leave();
            *held = Held::default();
        }
        churn.check();
        let quiet = churn.asker.text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        assert_eq!(quiet, "", "subscribers are left in round {half}");
        used_after.push(used_memory(&mut churn.asker));
        resident_after.push(resident_bytes(churn.server.pid()));
    }
    let all = churn.asker.text(&["CLIENT", "LIST"]);
    assert_eq!(all.lines().count(), CLIENTS + 1, "{all}");
    println!("used_memory {used_after:?}, resident {resident_after:?}");
    // The first half has warmed everything up; the second must not have added to it.
    assert!(used_after[1] <= used_after[0] + LEFT_BYTES_MAX);
    assert!(resident_after[1] <= resident_after[0] + RESIDENT_LEFT_BYTES_MAX);
}

#[test]
fn a_client_whose_last_request_and_end_come_together_is_answered_and_forgotten() {
    let server = Server::sterna(1, &[]);
    let mut client = server.connect();
    client.assert_quiet();
    // The server wakes to find both.
    server.freeze();
    client.send(&["SUBSCRIBE", "c"]);
    client.finish();
    server.signal(Signal::CONT);
    let confirmation = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    assert_eq!(client.rest().escape_ascii().to_string(), confirmation.escape_ascii().to_string());
    assert_eq!(server.connect().int(&["PUBLISH", "c", "x"]), 0);
}

#[test]
fn subscribers_that_vanish_without_a_word_are_forgotten_as_well() {
    let mut churn = churned(1);
    for _ in 0..3 {
        (0..STEPS_PER_ROUND).for_each(|_| churn.step());
        // With messages unread in their buffers, the kernel sends a reset.
        for number in 0..NAMES {
            churn.asker.request(&["PUBLISH", &name(0, number), "unread"]);
        }
        for (client, held) in &mut churn.clients {
            *client = churn.server.connect_resp3();
            *held = Held::default();
        }
        let asker = &mut churn.asker;
        wait_for("the end of all subscribers", || {
            asker.text(&["CLIENT", "LIST", "TYPE", "pubsub"]).is_empty().then_some(())
        });
        churn.check();
    }
}
