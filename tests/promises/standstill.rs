//! What one request mails to a shard that stands still has an end, whatever it is: messages of scripts, events, lines of MONITOR.
//!
//! A shard stands still where it would wait for something to do: nobody's Lua state, and no key, is taken.

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes};
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};

use crate::credit::{MOMENT, many_on_shard, on_shard, used_memory};

/// What is owed to a shard, beyond which nobody begins what mails more (`OWED_BYTES_MAX`).
const OWED_BYTES_MAX: usize = 32 << 20;

/// The shard that stands still.
const STILL: &str = "shard-1";

/// A server of two shards, the second of which can stand still.
fn launch(args: &[&str]) -> (Server, Faults) {
    let (launch, faults) = Faults::under(Launch::shards(2), "journal");
    let own = ["--appendonly", "no", "--client-output-buffer-limit", "pubsub", "0", "0", "0"];
    (launch.args(&own).args(args).start(), faults)
}

/// Publishes so many messages of so many bytes; answers how many were published, and the first error.
const PUBLISH: &str = "local text, n, first = string.rep('x', ARGV[2]), 0, '' \
     for i = 1, ARGV[1] do local reply = redis.pcall('publish', 'c', i .. ' ' .. text) \
     if type(reply) == 'table' then if first == '' then first = reply.err end else n = n + 1 end end \
     return {n, first}";

#[test]
fn what_scripts_publish_to_a_shard_that_stands_still_has_an_end_and_nothing_that_was_counted_is_lost() {
    const SCRIPTS: usize = 3;
    const MESSAGES: usize = 700;
    const BYTES: usize = 100_000;
    let (server, faults) = launch(&["--busy-reply-threshold", "600000"]);
    let mut admin = on_shard(&server, 0);
    let mut scripts: Vec<Client> = (0..SCRIPTS).map(|_| on_shard(&server, 0)).collect();
    let mut subscriber = on_shard(&server, 1);
    subscriber.request(&["SUBSCRIBE", "c"]);
    faults.hold_thread(STILL);
    let before = used_memory(&mut admin);
    let (messages, bytes) = (MESSAGES.to_string(), BYTES.to_string());
    let request = ["EVAL", PUBLISH, "0", &messages, &bytes];
    scripts[0].send(&request);
    let Value::Array(first) = scripts[0].value() else { panic!("no array") };
    let (Value::Int(published), Value::Bulk(error)) = (&first[0], &first[1]) else { panic!("{first:?}") };
    let published = *published as usize;
    assert!(error.starts_with(b"ERR Too much of what the script has published"), "{}", error.escape_ascii());
    assert!(published < MESSAGES && published * BYTES <= OWED_BYTES_MAX + 2 * BYTES, "{published} messages");
    // Others don't begin, scripts and transactions and writes of whatever kind; those who only read are served.
    scripts[1].send(&request);
    scripts[2].request(&["MULTI"]);
    scripts[2].request(&request);
    scripts[2].send(&["EXEC"]);
    for script in &mut scripts[1..] {
        assert_eq!(script.frame(MOMENT), Frame::Nothing);
    }
    assert_eq!(admin.text(&["ECHO", "x"]), "x");
    assert_eq!(admin.request(&["GET", "k"]), Value::Null);
    let growth = used_memory(&mut admin).saturating_sub(before) as usize;
    assert!(growth < 2 * OWED_BYTES_MAX, "{growth} bytes");
    // A shard that keeps up is waited for: the others publish all.
    faults.release_thread();
    let mut expected: Vec<usize> = (1..=published).collect();
    (1..SCRIPTS).for_each(|_| expected.extend(1..=MESSAGES));
    for number in expected {
        let message = subscriber.value();
        let text = message.as_slice().and_then(|parts| parts[2].as_bytes()).expect("a message");
        assert!(text.starts_with(format!("{number} ").as_bytes()), "a message is missing before {number}");
    }
    let all = Value::Array(vec![Value::Int(MESSAGES as i64), Value::Bulk(Vec::new())]);
    assert_eq!(scripts[1].value(), all);
    assert_eq!(scripts[2].value(), Value::Array(vec![all]));
}

#[test]
fn what_many_clients_write_for_a_shard_that_stands_still_has_an_end() {
    const CLIENTS: usize = 60;
    let name = "k".repeat(1 << 20);
    let (server, faults) = launch(&["--notify-keyspace-events", "EA", "--proto-max-bulk-len", "4mb"]);
    let mut writers = many_on_shard(&server, 0, CLIENTS);
    let mut listener = on_shard(&server, 1);
    listener.request(&["SUBSCRIBE", "__keyevent@0__:set"]);
    faults.hold_thread(STILL);
    // Each waits behind its own request, and the next is served as long as no more than that is owed.
    let mut waiting = Vec::new();
    for (at, writer) in writers.iter_mut().enumerate() {
        writer.send(&["SET", &format!("{at} {name}"), "v"]);
        let patience = if waiting.is_empty() { Duration::from_secs(5) } else { MOMENT };
        if writer.frame(patience) == Frame::Nothing {
            waiting.push(writer);
        }
    }
    let (written, most) = (CLIENTS - waiting.len(), OWED_BYTES_MAX / name.len() + 1);
    assert!(written > 1 && written <= most, "{written} writes, {most} at most");
    faults.release_thread();
    for writer in waiting {
        assert_eq!(writer.value(), Value::Simple(b"OK".to_vec()));
    }
    (0..CLIENTS).for_each(|_| assert!(listener.value().as_slice().is_some()));
}

#[test]
fn a_monitor_of_a_shard_that_stands_still_is_closed_rather_than_harming_anybody() {
    let (server, faults) = launch(&["--busy-reply-threshold", "600000"]);
    let mut admin = on_shard(&server, 0);
    let mut script = on_shard(&server, 0);
    let mut monitor = on_shard(&server, 1);
    monitor.request(&["MONITOR"]);
    faults.hold_thread(STILL);
    let before = used_memory(&mut admin);
    let lines =
        "local text = string.rep('x', 10000) for i = 1, 10000 do redis.call('set', 'k', text) end return 1";
    script.send(&["EVAL", lines, "0"]);
    assert_eq!(script.value(), Value::Int(1));
    let growth = used_memory(&mut admin).saturating_sub(before) as usize;
    assert!(growth < OWED_BYTES_MAX, "{growth} bytes");
    faults.release_thread();
    let end = loop {
        match monitor.frame(PATIENCE) {
            Frame::Bytes(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Frame::Closed);
    assert_eq!(script.int(&["EVAL", "return 2", "0"]), 2);
}

#[test]
fn who_is_told_of_others_keys_on_a_shard_that_stands_still_is_closed_rather_than_harming_anybody() {
    const TRACKERS: usize = 40;
    const WRITES: usize = 2000;
    let (server, faults) = launch(&[]);
    let (mut admin, mut writer) = (on_shard(&server, 0), on_shard(&server, 0));
    let mut target = on_shard(&server, 1);
    let id = target.int(&["CLIENT", "ID"]).to_string();
    let mut trackers = many_on_shard(&server, 0, TRACKERS);
    for tracker in &mut trackers {
        tracker.request(&["HELLO", "3"]);
        tracker.request(&["CLIENT", "TRACKING", "ON", "BCAST", "REDIRECT", &id]);
    }
    faults.hold_thread(STILL);
    let before = used_memory(&mut admin);
    let name = "k".repeat(1000);
    for at in 0..WRITES {
        writer.request(&["SET", &format!("{} {name}", at % 10), "v"]);
    }
    let growth = used_memory(&mut admin).saturating_sub(before) as usize;
    assert!(growth < OWED_BYTES_MAX, "{growth} bytes");
    faults.release_thread();
    let end = loop {
        match target.frame(PATIENCE) {
            Frame::Bytes(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Frame::Closed);
}

#[test]
fn a_long_request_in_parts_waits_for_a_shard_that_stands_still() {
    const KEYS: usize = 60_000;
    let (server, faults) = launch(&["--notify-keyspace-events", "EA"]);
    let mut writer = on_shard(&server, 0);
    let names: Vec<String> = (0..KEYS).map(|at| format!("{at} {}", "k".repeat(1000))).collect();
    for some in names.chunks(1000) {
        let mut bytes = Vec::new();
        some.iter().for_each(|name| bytes.extend(request_bytes(&["SET", name, "v"])));
        writer.send_bytes(&bytes);
        some.iter().for_each(|_| assert_eq!(writer.value(), Value::Simple(b"OK".to_vec())));
    }
    let mut listener = on_shard(&server, 1);
    listener.request(&["SUBSCRIBE", "__keyevent@0__:del"]);
    let mut admin = on_shard(&server, 0);
    faults.hold_thread(STILL);
    let request: Vec<&str> = std::iter::once("DEL").chain(names.iter().map(String::as_str)).collect();
    writer.send(&request);
    assert_eq!(writer.frame(MOMENT), Frame::Nothing);
    let gone = KEYS - admin.int(&["DBSIZE"]) as usize;
    assert!(gone > 0 && gone * 1000 < OWED_BYTES_MAX + (1 << 20), "{gone} keys are gone");
    faults.release_thread();
    assert_eq!(writer.value(), Value::Int(KEYS as i64));
}

#[test]
fn long_messages_of_many_clients_wait_for_a_shard_that_stands_still() {
    const CLIENTS: usize = 6;
    const BYTES: usize = 16 << 20;
    let (server, faults) = launch(&[]);
    let mut subscriber = on_shard(&server, 1);
    subscriber.request(&["SUBSCRIBE", "c"]);
    let mut publishers = many_on_shard(&server, 0, CLIENTS);
    faults.hold_thread(STILL);
    let request = request_bytes(&["PUBLISH", "c", &"x".repeat(BYTES)]);
    publishers.iter_mut().for_each(|client| client.send_bytes(&request));
    let mut answered = 0;
    let mut waiting = Vec::new();
    for mut client in publishers {
        match client.frame(MOMENT) {
            Frame::Bytes(reply) => {
                assert_eq!(reply, b":1\r\n");
                answered += 1;
            }
            none => {
                assert_eq!(none, Frame::Nothing);
                waiting.push(client);
            }
        }
    }
    assert!(answered <= OWED_BYTES_MAX / BYTES + 1, "{answered} were published");
    faults.release_thread();
    waiting.iter_mut().for_each(|client| assert_eq!(client.value(), Value::Int(1)));
    for _ in 0..CLIENTS {
        let message = subscriber.value();
        assert_eq!(message.as_slice().and_then(|parts| parts[2].as_bytes()).map(<[u8]>::len), Some(BYTES));
    }
}

/// What a script has changed is told of while it runs where it is much, and in its order.
#[test]
fn what_a_script_has_yet_to_tell_its_own_shard_has_an_end() {
    // The first command has too many events to be told of at once, and so all others come behind them.
    let code = "local function used() return tonumber(string.match(redis.call('INFO', 'memory'), 'used_memory:(%d+)')) end \
                local many, name, before = {}, string.rep('n', 65536), used() \
                for i = 1, 2000 do many[2 * i - 1], many[2 * i] = 'k' .. i, 'v' end redis.call('MSET', unpack(many)) \
                local most = 0 \
                for i = 1, 4000 do redis.call('SET', i .. name, 'v') redis.call('DEL', i .. name) \
                if i % 100 == 0 then most = math.max(most, used() - before) end end return most";
    for shards in [1, 2] {
        let args = ["--appendonly", "no", "--busy-reply-threshold", "600000"];
        let server = Launch::shards(shards).args(&args).start();
        let mut tracks = server.connect_resp3();
        tracks.request(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "1"]);
        let mut listener = server.connect();
        listener.request(&["PSUBSCRIBE", "__keyspace@0__:k*"]);
        let mut client = server.connect();
        client.request(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
        let most = client.int(&["EVAL", code, "0"]);
        assert!(most < 3 * OWED_BYTES_MAX as i64, "{shards} shards: {most} bytes");
        for number in 1..=2000 {
            let message = listener.value();
            let channel = message.as_slice().and_then(|parts| parts[2].as_bytes()).map(<[u8]>::to_vec);
            assert_eq!(channel, Some(format!("__keyspace@0__:k{number}").into_bytes()));
        }
    }
}

#[test]
fn who_waits_for_a_shard_that_stands_still_is_let_go_beside_a_script_when_it_goes_on() {
    let (server, faults) = launch(&["--busy-reply-threshold", "1"]);
    let (mut publisher, mut script) = (on_shard(&server, 0), on_shard(&server, 0));
    let (mut admin, mut subscriber) = (on_shard(&server, 0), on_shard(&server, 1));
    subscriber.request(&["SUBSCRIBE", "c"]);
    faults.hold_thread(STILL);
    // More than may be in the other shard's mail: who publishes next waits.
    assert_eq!(publisher.int(&["PUBLISH", "c", &"x".repeat(2 << 20)]), 1);
    publisher.send(&["PUBLISH", "c", "x"]);
    assert_eq!(publisher.frame(MOMENT), Frame::Nothing);
    script.send(&["EVAL", "while true do end", "0"]);
    wait_for("the script to be busy", || {
        admin.send(&["GET", "k"]);
        matches!(admin.value(), Value::Error(text) if text.starts_with(b"BUSY")).then_some(())
    });
    assert_eq!(publisher.frame(Duration::ZERO), Frame::Nothing, "it still waits");
    faults.release_thread();
    // Whether it may publish now or not, the script goes on until it has been answered.
    publisher.value();
    assert_eq!(admin.request(&["SCRIPT", "KILL"]), Value::Simple(b"OK".to_vec()));
    assert!(script.error().contains("killed by user"));
    assert!(subscriber.value().as_slice().is_some());
}
