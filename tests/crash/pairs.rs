//! Clients that write pairs: two keys with one value by one MSET, and a stream that goes on. Whatever is found after a crash,
//! a pair has one value, and none that is older than what had to be kept.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Server, wait_for};

/// Pairs of one writer.
const PAIRS: u64 = 40;

/// Writers at once, each on a connection of its own.
const WRITERS: usize = 3;

fn keys(writer: usize, pair: u64) -> [String; 2] {
    [format!("one:{writer}:{pair}"), format!("other:{writer}:{pair}")]
}

/// Writes every pair once, with 1.
pub(crate) fn fill(client: &mut Client) {
    for writer in 0..WRITERS {
        for pair in 0..PAIRS {
            let [one, other] = keys(writer, pair);
            client.request(&["MSET", &one, "1", &other, "1"]);
        }
        client.request(&["XADD", &format!("log:{writer}"), "*", "n", "1"]);
    }
}

/// Runs `meanwhile` while all write, until it returns or the server is gone. Returns the requests that were answered.
pub(crate) fn write_during(server: &mut Server, meanwhile: impl FnOnce(&mut Server)) -> u64 {
    let (enough, answered, ended) = (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0));
    let port = server.port;
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (enough, answered, ended) = (&enough, &answered, &ended);
            scope.spawn(move || {
                write(port, writer, enough, answered);
                ended.fetch_add(1, Relaxed);
            });
        }
        // A server that is to be killed at an operation of its disk may be gone before any of them.
        wait_for("the writers to write", || {
            (answered.load(Relaxed) > 30 || ended.load(Relaxed) == WRITERS).then_some(())
        });
        meanwhile(server);
        enough.store(true, Relaxed);
    });
    answered.into_inner()
}

fn write(port: u16, writer: usize, enough: &AtomicBool, answered: &AtomicU64) {
    let Ok(mut client) = Client::try_to(port) else { return };
    let log = format!("log:{writer}");
    for number in 2u64.. {
        let ([one, other], text) = (keys(writer, number % PAIRS), number.to_string());
        let mset = ["MSET", &one, &text, &other, &text];
        // The stream is trimmed and read by a group: what is recorded of that fits only what was recorded before.
        let requests: [&[&str]; 4] = [
            &mset,
            &["XADD", &log, "MAXLEN", "50", "*", "n", &text],
            &["XGROUP", "CREATE", &log, "g", "0"],
            &["XREADGROUP", "GROUP", "g", "c", "COUNT", "5", "NOACK", "STREAMS", &log, ">"],
        ];
        for request in requests {
            if enough.load(Relaxed) || client.try_request(request).is_none() {
                return;
            }
            answered.fetch_add(1, Relaxed);
        }
    }
}

/// Asserts that no pair is torn and none is missing. Returns the newest value.
pub(crate) fn assert_whole(server: &Server, when: &str) -> u64 {
    let mut client = server.connect();
    let mut newest = 0;
    for writer in 0..WRITERS {
        for pair in 0..PAIRS {
            let [one, other] = keys(writer, pair);
            let found = client.request(&["MGET", &one, &other]);
            let found = found.as_slice().expect("an array");
            assert_eq!(found[0], found[1], "a torn pair, {one}: {when}");
            let value = found[0].as_bytes().map(|text| String::from_utf8_lossy(text).parse::<u64>());
            let value = value.unwrap_or_else(|| panic!("{one} is gone: {when}")).expect("a number");
            newest = newest.max(value);
        }
        let log = client.int(&["XLEN", &format!("log:{writer}")]);
        assert!(log > 0, "log:{writer} is gone: {when}");
    }
    newest
}

/// CONFIG SET appendonly, and what it answered; `None`: the server is gone.
pub(crate) fn switch(server: &Server, to: &str) -> Option<Value> {
    Client::try_to(server.port).ok()?.try_request(&["CONFIG", "SET", "appendonly", to])
}

/// As [`switch`], which must succeed.
pub(crate) fn switch_well(server: &Server, to: &str) {
    assert_eq!(switch(server, to), Some(Value::Simple(b"OK".to_vec())), "appendonly {to}");
}
