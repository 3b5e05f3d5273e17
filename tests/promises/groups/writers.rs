//! Those who add entries, and those who disturb.

use std::sync::atomic::Ordering::SeqCst;

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;

use super::ledger::Id;
use super::{Alarm, MAYFLY, PASSING, STREAMS, Scene, list, parse_id};

/// How many entries a writer adds at most before it waits for those who read them.
const BURST: usize = 12;
/// How many entries are added at most between two disturbances.
const QUIET: usize = 24;

/// Adds entries, in bursts, to one stream or to several at once.
pub(super) fn write(scene: &Scene, number: usize, mut random: Rng) {
    let _alarm = Alarm(scene);
    let mut client = scene.server.connect();
    let mut count = 0;
    while !scene.is_written.load(SeqCst) {
        let mut last = None;
        for _ in 0..random.usize(1..=BURST) {
            let streams: Vec<usize> = match random.u8(..4) {
                0 => (0..random.usize(2..6)).map(|_| random.usize(..STREAMS.len())).collect(),
                _ => vec![random.usize(..STREAMS.len())],
            };
            let values: Vec<String> = streams
                .iter()
                .map(|_| {
                    count += 1;
                    format!("{number}:{count}")
                })
                .collect();
            let ids = if streams.len() == 1 {
                vec![parse_id(&client.request(&xadd(streams[0], &values[0])))]
            } else {
                add_at_once(&mut client, &streams, &values)
            };
            streams.iter().zip(&ids).for_each(|(&stream, &id)| scene.ledger.added(stream, id));
            last = streams.last().copied().zip(ids.last().copied());
        }
        if let Some((stream, id)) = last {
            scene.ledger.await_readers(stream, id);
        }
    }
}

fn xadd(stream: usize, value: &str) -> [&str; 5] {
    ["XADD", STREAMS[stream], "*", "value", value]
}

/// Adds to several streams in one transaction, which also does other things.
fn add_at_once(client: &mut Client, streams: &[usize], values: &[String]) -> Vec<Id> {
    client.request(&["MULTI"]);
    for (&stream, value) in streams.iter().zip(values) {
        client.request(&xadd(stream, value));
    }
    let replies = client.request(&["EXEC"]);
    list(&replies).iter().map(parse_id).collect()
}

/// Disturbs readers, and what comes and goes.
pub(super) fn kill(scene: &Scene, mut random: Rng) {
    let _alarm = Alarm(scene);
    let mut client = scene.server.connect();
    let mut count = 0;
    while !scene.is_written.load(SeqCst) {
        scene.ledger.await_count(count + random.usize(1..=QUIET));
        count = scene.ledger.count();
        let target = {
            let targets = scene.targets.lock().expect("no thread fails with it");
            random.choice(targets.iter()).map(i64::to_string)
        };
        match (random.u8(..24), target) {
            (0..6, Some(id)) => drop(client.request(&["CLIENT", "KILL", "ID", &id])),
            (6..9, Some(id)) => drop(client.request(&["CLIENT", "UNBLOCK", &id])),
            (9..12, Some(id)) => drop(client.request(&["CLIENT", "UNBLOCK", &id, "ERROR"])),
            (12, _) => {
                let mode = ["WRITE", "ALL"][random.usize(..2)];
                client.request(&["CLIENT", "PAUSE", "20", mode]);
            }
            (13..15, _) => drop(client.request(&["XGROUP", "DESTROY", STREAMS[0], PASSING])),
            (15..18, _) => create(&mut client, STREAMS[0], PASSING),
            _ => disturb_mayfly(&mut client, &mut random),
        }
    }
    client.request(&["DEL", MAYFLY]);
}

fn disturb_mayfly(client: &mut Client, random: &mut Rng) {
    match random.u8(..10) {
        0 => drop(client.request(&["DEL", MAYFLY])),
        1 => drop(client.request(&["SET", MAYFLY, "another type"])),
        2 => {
            client.request(&["MULTI"]);
            client.request(&["DEL", MAYFLY]);
            client.request(&["XADD", MAYFLY, "*", "value", "1"]);
            client.request(&["EXEC"]);
        }
        3 => {
            client.send(&["XTRIM", MAYFLY, "MAXLEN", "0"]);
            client.value();
        }
        4..6 => {
            // In one go, so that who is woken by the one finds the other.
            client.request(&["MULTI"]);
            client.request(&["XADD", MAYFLY, "99999999999999-1", "value", "1"]);
            client.request(&["XDEL", MAYFLY, "99999999999999-1"]);
            client.request(&["EXEC"]);
        }
        6..8 => super::GROUPS.iter().for_each(|group| create(client, MAYFLY, group)),
        _ => {
            client.send(&["XADD", MAYFLY, "*", "value", "1"]);
            client.value();
        }
    }
}

/// Creates a group and its stream, unless they are there or the key holds something else.
fn create(client: &mut Client, stream: &str, group: &str) {
    client.send(&["XGROUP", "CREATE", stream, group, "0", "MKSTREAM"]);
    if let Value::Error(text) = client.value() {
        let is_known = text.starts_with(b"BUSYGROUP") || text.starts_with(b"WRONGTYPE");
        assert!(is_known, "{}", text.escape_ascii());
    }
}
