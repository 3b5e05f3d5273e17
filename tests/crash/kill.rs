//! Killed at random instants: everything that was acknowledged is there again, whatever `appendfsync` says, since a killed
//! process leaves what it has written to its files.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};
use sterna_tests::{crash_rounds, seed};

use crate::writer::Writer;

/// Clients that write at once.
const WRITERS: usize = 5;

/// Small enough that snapshots are taken while the load runs, and killed.
const SNAPSHOT_OFTEN: [&str; 4] =
    ["--auto-aof-rewrite-min-size", "30kb", "--auto-aof-rewrite-percentage", "10"];

/// With a slow disk fewer rounds are as good as many.
const LONGEST: Duration = Duration::from_secs(120);

fn launch(appendfsync: &str) -> Launch {
    launch_with(2, appendfsync)
}

fn launch_with(shards: usize, appendfsync: &str) -> Launch {
    Launch::shards(shards).args(&["--dir", "{folder}", "--appendfsync", appendfsync]).args(&SNAPSHOT_OFTEN)
}

fn prepare(server: &Server, writers: &[Writer]) {
    let mut client = server.connect();
    writers.iter().for_each(|writer| writer.prepare(&mut client));
}

/// Lets all write until `end` has ended them, which it is called to do.
fn write_until(server: &mut Server, writers: &mut [Writer], end: impl FnOnce(&mut Server)) {
    let enough = AtomicBool::new(false);
    let port = server.port;
    thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.write(port, &enough));
        }
        end(server);
        enough.store(true, Relaxed);
    });
}

fn check(server: &Server, writers: &mut [Writer]) {
    let mut client = server.connect();
    writers.iter_mut().for_each(|writer| writer.check(&mut client));
}

#[test]
fn after_a_kill_everything_that_was_acknowledged_is_there() {
    kill_while_writing(2, "always", crash_rounds(200));
}

#[test]
fn after_a_kill_under_everysec_or_no_everything_that_was_acknowledged_is_there() {
    for shards in [1, 2] {
        for appendfsync in ["everysec", "no"] {
            kill_while_writing(shards, appendfsync, crash_rounds(40));
        }
    }
}

/// Kills a server while clients write, and checks each time that what was acknowledged is there.
fn kill_while_writing(shards: usize, appendfsync: &str, rounds_wanted: u64) {
    let mut random = fastrand::Rng::with_seed(seed(5));
    let mut writers: Vec<Writer> = (0..WRITERS).map(|name| Writer::new(name, random.u64(..))).collect();
    let mut server = launch_with(shards, appendfsync).start();
    prepare(&server, &writers);
    let began = Instant::now();
    let (mut rounds, mut longest_us) = (0, 60_000);
    let acknowledged = |writers: &[Writer]| writers.iter().map(|writer| writer.acknowledged).sum::<u64>();
    while rounds < rounds_wanted && began.elapsed() < LONGEST {
        // The instant is what is tested: it is chosen by a sleep on purpose.
        let life = Duration::from_micros(random.u64(0..longest_us));
        write_until(&mut server, &mut writers, |server| {
            thread::sleep(life);
            server.kill();
        });
        server.start_again();
        check(&server, &mut writers);
        rounds += 1;
        // Where the disk or the processor is slow, lives are longer.
        if acknowledged(&writers) < 20 * rounds && longest_us < 2_000_000 {
            longest_us += longest_us / 4;
        }
    }
    let acknowledged = acknowledged(&writers);
    println!("{rounds} kills, {acknowledged} requests acknowledged, {} ms", began.elapsed().as_millis());
    // A round that was checked counts as one for each writer.
    assert!(acknowledged > (1 + WRITERS as u64) * rounds, "hardly anything was written");
}

#[test]
fn after_sigterm_under_load_everything_is_there_whatever_the_policy() {
    let mut random = fastrand::Rng::with_seed(seed(6));
    for appendfsync in ["always", "everysec", "no"] {
        let mut writers: Vec<Writer> = (0..WRITERS).map(|name| Writer::new(name, random.u64(..))).collect();
        let mut server = launch(appendfsync).start();
        prepare(&server, &writers);
        for _ in 0..5 {
            let life = Duration::from_millis(random.u64(20..150));
            write_until(&mut server, &mut writers, |server| {
                thread::sleep(life);
                server.signal(Signal::TERM);
            });
            server.wait_and_start_again();
            check(&server, &mut writers);
        }
    }
}

/// Requests of one pipeline.
const PIPELINE: u64 = 100;

/// Sends pipelines of INCR until the server is gone; returns how many were sent and the last number that came back.
fn increment(port: u16, key: &str) -> (u64, u64) {
    let (mut sent, mut acknowledged) = (0, 0);
    let Ok(mut client) = Client::try_to(port) else { return (0, 0) };
    let pipeline = request_bytes(&["INCR", key]).repeat(PIPELINE as usize);
    loop {
        client.send_bytes(&pipeline);
        sent += PIPELINE;
        for _ in 0..PIPELINE {
            match client.frame(PATIENCE) {
                Frame::Bytes(bytes) => match value_of(&bytes) {
                    Value::Int(number) => acknowledged = number as u64,
                    other => panic!("{other:?}"),
                },
                Frame::Closed | Frame::Nothing => return (sent, acknowledged),
            }
        }
    }
}

#[test]
fn after_a_kill_under_everysec_no_acknowledged_number_of_a_pipeline_is_missing() {
    let mut random = fastrand::Rng::with_seed(seed(7));
    for shards in [1, 2] {
        let mut server = launch_with(shards, "everysec").start();
        let mut counted = [0; 4];
        // Further rounds only where the clients get so little of the processor that they do hardly anything in such a life.
        for round in 0.. {
            if round >= crash_rounds(20) && counted.iter().sum::<u64>() > 1000 || round > 500 {
                break;
            }
            let life = Duration::from_micros(random.u64(20_000..80_000));
            let port = server.port;
            let outcomes: Vec<_> = thread::scope(|scope| {
                let clients: Vec<_> = (0..counted.len())
                    .map(|client| scope.spawn(move || increment(port, &format!("counter:{client}"))))
                    .collect();
                // The instant is what is tested.
                thread::sleep(life);
                server.kill();
                clients.into_iter().map(|client| client.join().expect("no panic")).collect()
            });
            server.start_again();
            let mut client = server.connect();
            for (number, (sent, acknowledged)) in outcomes.into_iter().enumerate() {
                let found = client.request(&["INCRBY", &format!("counter:{number}"), "0"]);
                let found = found.as_int().expect("a number") as u64;
                let possible = acknowledged.max(counted[number])..=counted[number] + sent;
                assert!(possible.contains(&found), "{found} is there, acknowledged {acknowledged}");
                counted[number] = found;
            }
        }
        assert!(counted.iter().sum::<u64>() > 1000, "hardly anything was written");
    }
}

#[test]
fn what_reached_the_system_survives_a_kill_under_everysec() {
    let mut server = launch("everysec").start();
    let mut client = server.connect();
    client.request(&["SET", "k", "v"]);
    // WAITAOF is the promise for a single write.
    assert_eq!(client.request(&["WAITAOF", "1", "0", "0"]).as_slice().map(|r| r[0].as_int()), Some(Some(1)));
    server.kill();
    server.start_again();
    assert_eq!(server.connect().text(&["GET", "k"]), "v");
}

/// What is in a small collection, in its order if it has one. Its kind is the first letter of its key.
fn contents(client: &mut Client, key: &str) -> Option<Vec<Vec<u8>>> {
    let request: &[&str] = match &key[..1] {
        "l" => &["LRANGE", key, "0", "-1"],
        "h" => &["HGETALL", key],
        "s" => &["SMEMBERS", key],
        _ => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
    };
    let value = client.try_request(request)?;
    let elements = value.as_slice().expect("an array").iter();
    let texts: Vec<_> = elements.map(|text| text.as_bytes().expect("a text").to_vec()).collect();
    let mut parts: Vec<_> = match &key[..1] {
        "h" => texts.chunks(2).map(|pair| pair.join(&b'=')).collect(),
        _ => texts,
    };
    if matches!(&key[..1], "h" | "s") {
        parts.sort();
    }
    Some(parts)
}

/// Changes small collections until the connection breaks: what each held when it was read last, and the key that was being changed.
fn change_until_cut(port: u16, random: &mut fastrand::Rng, done: &AtomicU64) -> (Shown, String) {
    let (mut client, mut shown) = (Client::to(port), Shown::new());
    loop {
        let kind = ["l", "h", "s", "z"][random.usize(..4)];
        let key = format!("{kind}:{}", random.u8(..40));
        let words: Vec<String> =
            (0..[1, 5, 9][random.usize(..3)]).map(|_| random.u8(..20).to_string()).collect();
        let twice = || words.iter().flat_map(|word| [word.clone(), word.clone()]).collect::<Vec<_>>();
        let grows = random.u8(..10) < 6;
        let (command, rest) = match (kind, grows) {
            ("l", true) => ("RPUSH", words),
            ("l", false) => ("LPOP", vec!["2".to_owned()]),
            ("h", true) => ("HSET", twice()),
            ("h", false) => ("HDEL", words),
            ("s", true) => ("SADD", words),
            ("s", false) => ("SREM", words),
            (_, true) => ("ZADD", twice()),
            (_, false) => ("ZREM", words),
        };
        let request = [vec![command.to_owned(), key.clone()], rest].concat();
        let Some(held) = client.try_request(&request).and_then(|_| contents(&mut client, &key)) else {
            return (shown, key);
        };
        shown.insert(key, held);
        done.fetch_add(1, Relaxed);
    }
}

type Shown = HashMap<String, Vec<Vec<u8>>>;

/// Small collections lie in the records of their keys until they change, and may return there by a restart.
#[test]
fn small_collections_are_after_a_kill_what_they_were_when_they_were_read_last() {
    let mut random = fastrand::Rng::with_seed(seed(7));
    for appendfsync in ["always", "everysec"] {
        let mut server = launch(appendfsync).start();
        for _ in 0..3 {
            let done = AtomicU64::new(0);
            let port = server.port;
            let (shown, changed) = thread::scope(|scope| {
                let changing = scope.spawn(|| change_until_cut(port, &mut random, &done));
                wait_for("changes", || (done.load(Relaxed) > 150).then_some(()));
                server.kill();
                changing.join().expect("it ends with its connection")
            });
            server.start_again();
            let mut client = server.connect();
            for (key, held) in shown.iter().filter(|(key, _)| **key != changed) {
                assert_eq!(contents(&mut client, key).as_ref(), Some(held), "{key} under {appendfsync}");
            }
        }
    }
}
