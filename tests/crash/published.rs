//! Killed while messages are published to a channel that remembers: whose PUBLISH was answered is in its history, once, and
//! behind what the same client published before.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes};
use sterna_tests::server::{Launch, PATIENCE};
use sterna_tests::{crash_rounds, seed};

const PUBLISHERS: usize = 4;
/// Requests of a publisher that are on their way at once.
const PIPELINE: u64 = 16;
/// Numbers of a round.
const ROUND: u64 = 1_000_000;

/// Publishes numbered messages until the server is gone; returns the numbers that were answered.
fn publish(port: u16, name: &str, first: u64) -> Range<u64> {
    let mut answered = first;
    let Ok(mut client) = Client::try_to(port) else { return first..first };
    loop {
        let requests: Vec<u8> = (answered..answered + PIPELINE)
            .flat_map(|number| request_bytes(&["PUBLISH", "jobs", &format!("{name}:{number}")]))
            .collect();
        client.send_bytes(&requests);
        for _ in 0..PIPELINE {
            match client.frame(PATIENCE) {
                Frame::Bytes(bytes) => assert!(bytes.starts_with(b":"), "{}", bytes.escape_ascii()),
                Frame::Closed => return first..answered,
                Frame::Nothing => panic!("no answer"),
            }
            answered += 1;
        }
    }
}

/// The numbers of a publisher in the channel's history.
fn remembered(history: &Value, name: &str) -> Vec<u64> {
    let Value::Array(entries) = history else { panic!("no entries: {history:?}") };
    let message = |entry: &Value| {
        let Value::Array(entry) = entry else { panic!("no entry") };
        let Value::Array(fields) = &entry[1] else { panic!("no fields") };
        let Value::Bulk(text) = &fields[1] else { panic!("no message") };
        String::from_utf8(text.clone()).expect("text")
    };
    let of = |text: String| text.strip_prefix(name)?.strip_prefix(':')?.parse().ok();
    entries.iter().map(message).filter_map(of).collect()
}

#[test]
fn after_a_kill_every_message_whose_publish_was_answered_is_remembered_once_and_in_order() {
    let mut random = fastrand::Rng::with_seed(seed(11));
    for shards in [1, 2] {
        for appendfsync in ["always", "everysec"] {
            let args = ["--dir", "{folder}", "--appendfsync", appendfsync, "--retain", "jobs"];
            let mut server = Launch::shards(shards).args(&args).start();
            let names: Vec<String> = (0..PUBLISHERS).map(|nth| format!("p{nth}")).collect();
            let mut answered: Vec<Vec<Range<u64>>> = vec![Vec::new(); PUBLISHERS];
            let has_answered =
                |answered: &[Vec<Range<u64>>]| answered.iter().flatten().any(|range| range.end > range.start);
            // Further rounds only where the publishers get so little of the processor that none has an answer.
            for round in 0.. {
                if round >= crash_rounds(3) && has_answered(&answered) || round > 100 {
                    break;
                }
                let port = server.port;
                thread::scope(|scope| {
                    // What was on its way at the kill may be there or not: such a number is not used again.
                    let publish = |name| move || publish(port, name, round * ROUND);
                    let began: Vec<_> = names.iter().map(|name| scope.spawn(publish(name))).collect();
                    thread::sleep(Duration::from_millis(random.u64(50..400)));
                    server.kill();
                    for (answered, publisher) in answered.iter_mut().zip(began) {
                        answered.push(publisher.join().expect("a publisher"));
                    }
                });
                server.start_again();
                let history = server.connect().request(&["XRANGE", "channel:jobs", "-", "+"]);
                for (name, answered) in names.iter().zip(&answered) {
                    let numbers = remembered(&history, name);
                    assert!(numbers.is_sorted_by(|a, b| a < b), "{name}: once, and in order");
                    for number in answered.iter().cloned().flatten() {
                        assert!(numbers.binary_search(&number).is_ok(), "{name}: {number} was answered");
                    }
                }
            }
            assert!(has_answered(&answered), "something was published");
        }
    }
}
