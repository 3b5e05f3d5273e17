//! Readers that wait, and what only time makes ready for them.

use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, wait_for};

/// How soon nothing may come to a reader that claims what has been idle for [`IDLE_MS`].
const NOT_BEFORE: Duration = Duration::from_millis(150);
const IDLE_MS: &str = "300";

/// A server with a stream whose one entry is pending for `one`, two clients, and a moment before the entry was delivered.
fn one_has_an_entry() -> (Server, Client, Client, Instant) {
    let server = Launch::shards(2).start();
    let (mut one, two) = (server.connect(), server.connect());
    one.request(&["XGROUP", "CREATE", "jobs", "workers", "0", "MKSTREAM"]);
    one.request(&["XADD", "jobs", "1-1", "n", "1"]);
    let before = Instant::now();
    one.request(&["XREADGROUP", "GROUP", "workers", "one", "STREAMS", "jobs", ">"]);
    (server, one, two, before)
}

fn claiming<'a>(block_ms: &'a str, idle_ms: &'a str) -> [&'a str; 11] {
    ["XREADGROUP", "GROUP", "workers", "two", "BLOCK", block_ms, "CLAIM", idle_ms, "STREAMS", "jobs", ">"]
}

#[test]
fn a_reader_that_claims_gets_an_entry_once_it_has_been_idle_for_long_enough_though_nobody_writes() {
    let (_server, mut one, mut two, since) = one_has_an_entry();
    two.send(&claiming("60000", IDLE_MS));
    let claimed = two.value();
    let idle = since.elapsed();
    assert!(idle >= NOT_BEFORE, "it was still one's after {idle:?}");
    assert_eq!(claimed.as_slice().map(<[Value]>::len), Some(1), "{claimed:?}");
    let pending = one.request(&["XPENDING", "jobs", "workers", "-", "+", "10", "two"]);
    assert_eq!(pending.as_slice().map(<[Value]>::len), Some(1), "{pending:?}");
    assert_eq!(one.text(&["PING"]), "PONG");
}

#[test]
fn a_reader_that_claims_and_finds_nothing_idle_gives_up_in_time() {
    let (_server, _one, mut two, _) = one_has_an_entry();
    assert_eq!(two.request(&claiming("200", "3600000")), Value::Null);
    assert_eq!(two.text(&["PING"]), "PONG");
}

/// The commands that SLOWLOG has kept, the newest first, and the microseconds that each took.
fn slow_commands(client: &mut Client) -> Vec<(String, i64)> {
    let entries = client.request(&["SLOWLOG", "GET", "-1"]);
    let entries = entries.as_slice().expect("an array of entries");
    let of = |entry: &Value| {
        let parts = entry.as_slice()?;
        let name = parts[3].as_slice()?[0].as_bytes()?;
        Some((String::from_utf8_lossy(name).into_owned(), parts[2].as_int()?))
    };
    entries.iter().filter_map(of).collect()
}

#[test]
fn a_command_that_waited_is_counted_and_in_slowlog_once_it_has_ended_and_without_its_wait() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--slowlog-log-slower-than", "0"]).start();
        let (mut reader, mut other) = (server.connect(), server.connect());
        let calls =
            |other: &mut Client| other.text(&["INFO", "commandstats"]).contains("cmdstat_xread:calls=1,");
        reader.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
        wait_for("the reader to block", || {
            other.text(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
        });
        std::thread::sleep(NOT_BEFORE);
        let is_xread = |(name, _): &&(String, i64)| name == "XREAD";
        assert!(!slow_commands(&mut other).iter().any(|entry| is_xread(&entry)) && !calls(&mut other));
        other.request(&["XADD", "s", "*", "field", "value"]);
        assert_eq!(reader.value().as_slice().map(<[Value]>::len), Some(1));
        let slow = slow_commands(&mut other);
        let took: Vec<i64> = slow.iter().filter(is_xread).map(|(_, took)| *took).collect();
        assert!(calls(&mut other));
        assert!(took.len() == 1 && took[0] < NOT_BEFORE.as_micros() as i64, "{slow:?}");
        // One that times out has ended, too.
        assert_eq!(reader.request(&["XREAD", "BLOCK", "20", "STREAMS", "s", "$"]), Value::Null);
        let slow = slow_commands(&mut other);
        assert_eq!(slow.iter().filter(is_xread).count(), 2, "{slow:?}");
    }
}

#[test]
fn wait_and_waitaof_are_counted_and_in_slowlog_once_they_have_ended() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--slowlog-log-slower-than", "0"]).start();
        let mut other = server.connect();
        let mut waiting: Vec<(Client, i64)> = [&["WAIT", "1", "0"][..], &["WAITAOF", "0", "1", "0"]]
            .into_iter()
            .map(|request| {
                let mut client = server.connect();
                let id = client.int(&["CLIENT", "ID"]);
                client.send(request);
                (client, id)
            })
            .collect();
        wait_for("both to wait", || {
            other.text(&["INFO", "clients"]).contains("blocked_clients:2").then_some(())
        });
        let names = |other: &mut Client| -> Vec<String> {
            let all = slow_commands(other).into_iter().map(|(name, _)| name);
            all.filter(|name| name.starts_with("WAIT")).collect()
        };
        let calls = |other: &mut Client| other.text(&["INFO", "commandstats"]).contains("cmdstat_wait");
        assert!(names(&mut other).is_empty() && !calls(&mut other));
        for ((client, id), how) in waiting.iter_mut().zip(["TIMEOUT", "ERROR"]) {
            assert_eq!(other.int(&["CLIENT", "UNBLOCK", &id.to_string(), how]), 1);
            client.value();
        }
        assert_eq!(names(&mut other), ["WAITAOF", "WAIT"]);
        let stats = other.text(&["INFO", "commandstats"]);
        assert!(
            stats.contains("cmdstat_wait:calls=1,") && stats.contains("cmdstat_waitaof:calls=1,"),
            "{stats}"
        );
    }
}

#[test]
fn a_client_that_a_pause_holds_back_counts_as_blocked_and_is_not_unblocked() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut writer, mut other) = (server.connect(), server.connect());
        let id = writer.int(&["CLIENT", "ID"]).to_string();
        let blocked = |other: &mut Client, count: usize| {
            wait_for("the number of blocked clients", || {
                other.text(&["INFO", "clients"]).contains(&format!("blocked_clients:{count}\r")).then_some(())
            });
        };
        other.request(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        writer.send(&["SET", "k", "v"]);
        blocked(&mut other, 1);
        assert!(other.text(&["CLIENT", "LIST", "ID", &id]).contains(" flags=b "));
        assert_eq!(other.int(&["CLIENT", "UNBLOCK", &id]), 0);
        other.request(&["CLIENT", "UNPAUSE"]);
        assert_eq!(writer.value().as_bytes(), Some(&b"OK"[..]));
        blocked(&mut other, 0);
        // One that leaves meanwhile is counted no longer.
        other.request(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        writer.send(&["SET", "k", "v"]);
        blocked(&mut other, 1);
        drop(writer);
        blocked(&mut other, 0);
    }
}
