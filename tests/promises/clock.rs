//! The system's clock may jump: by a day forwards, where all that has an expiry has expired, and backwards.

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, Server, wait_for};

const DAY_S: i64 = 24 * 60 * 60;
/// Some hundred slices: each is followed by a pause, and takes long where others want the processor.
const KEYS: usize = 40_000;

fn launched(shards: usize) -> (Server, Faults) {
    let (launch, faults) = Faults::under(Launch::shards(shards), "data");
    (launch.start(), faults)
}

fn figure(client: &mut Client, name: &str) -> usize {
    let info = client.text(&["INFO", "stats"]);
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.expect("a figure of INFO").trim().parse().expect("a number")
}

#[test]
fn a_clock_that_jumps_by_a_day_expires_keys_in_slices_between_which_everybody_is_served() {
    for shards in [1, 2] {
        let (server, faults) = launched(shards);
        let mut client = server.connect();
        client.request(&["SET", "stays", "v"]);
        // All may go while this process is not given the processor: then they go once more.
        let is_served_between = (1..=20).any(|day| expire_all(&mut client, &faults, day) > 3);
        assert!(is_served_between, "they go all at once");
    }
}

/// Has all keys but one expire by a jump of the clock. Returns how often somebody was served while they went.
fn expire_all(client: &mut Client, faults: &Faults, day: i64) -> usize {
    let before = figure(client, "expired_keys");
    for from in (0..KEYS).step_by(1_000) {
        (from..from + 1_000).for_each(|key| client.send(&["SET", &format!("key:{key}"), "v", "EX", "3600"]));
        (0..1_000).for_each(|_| drop(client.value()));
    }
    let members: Vec<String> = (0..20_000).map(|number| format!("member:{number}")).collect();
    for some in members.chunks(5_000) {
        client.request(&[&["SADD".to_owned(), "large".to_owned()][..], some].concat());
    }
    client.request(&["EXPIRE", "large", "3600"]);
    faults.set_clock(day * DAY_S);
    // It is gone for every reader at once; freeing it is another thread's.
    assert_eq!(client.int(&["SCARD", "large"]), 0);
    let (mut steps, mut last) = (0, before);
    wait_for("the last expiry", || {
        assert_eq!(client.request(&["GET", "key:7"]), Value::Null);
        let expired = figure(client, "expired_keys");
        steps += usize::from(expired > last);
        last = expired;
        (expired == before + KEYS + 1).then_some(())
    });
    println!("others were served {steps} times while keys expired");
    assert_eq!(client.int(&["DBSIZE"]), 1);
    steps
}

#[test]
fn a_clock_that_is_set_back_ends_no_wait_later_and_gives_no_id_twice() {
    let (server, faults) = launched(2);
    let (mut client, mut waiting, mut paused) = (server.connect(), server.connect(), server.connect());
    client.request(&["SET", "k", "v", "EX", "3600"]);
    let first = client.text(&["XADD", "s", "*", "f", "v"]);
    // Whoever looks too late finds the wait at its end, and looks at a longer one.
    let is_seen = ["0.5", "5", "30"].into_iter().any(|timeout_s| {
        waiting.send(&["BLPOP", "nothing", timeout_s]);
        loop {
            if client.text(&["INFO", "clients"]).contains("blocked_clients:1") {
                return true;
            }
            if let Frame::Bytes(_) = waiting.frame(Duration::from_millis(1)) {
                return false;
            }
        }
    });
    assert!(is_seen, "no wait was seen");
    client.request(&["CLIENT", "PAUSE", "500", "WRITE"]);
    paused.send(&["SET", "other", "v"]);
    faults.set_clock(-DAY_S);
    assert_eq!(waiting.value(), Value::Null, "it waits as long as it was to wait");
    assert_eq!(paused.value(), Value::Simple(b"OK".to_vec()), "a pause lasts as long as it was to last");
    let second = client.text(&["XADD", "s", "*", "f", "v"]);
    let id = |text: &str| -> (u64, u64) {
        let (ms, seq) = text.split_once('-').expect("an ID");
        (ms.parse().expect("a number"), seq.parse().expect("a number"))
    };
    assert!(id(&second) > id(&first), "{second} follows {first}");
    assert!(client.int(&["TTL", "k"]) > DAY_S, "an expiry is a time of the clock's");
    faults.set_clock(0);
    assert!(client.int(&["TTL", "k"]) <= 3600);
}
