//! Readers that wait, and what only time makes ready for them.

use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, Server};

/// How long nothing may come to a reader that claims what has been idle for [`IDLE_MS`].
const NOT_BEFORE: Duration = Duration::from_millis(150);
const IDLE_MS: &str = "300";

/// A server with a stream whose one entry is pending for `one`, and two clients.
fn one_has_an_entry() -> (Server, Client, Client) {
    let server = Launch::shards(2).start();
    let (mut one, two) = (server.connect(), server.connect());
    one.request(&["XGROUP", "CREATE", "jobs", "workers", "0", "MKSTREAM"]);
    one.request(&["XADD", "jobs", "1-1", "n", "1"]);
    one.request(&["XREADGROUP", "GROUP", "workers", "one", "STREAMS", "jobs", ">"]);
    (server, one, two)
}

fn claiming<'a>(block_ms: &'a str, idle_ms: &'a str) -> [&'a str; 11] {
    ["XREADGROUP", "GROUP", "workers", "two", "BLOCK", block_ms, "CLAIM", idle_ms, "STREAMS", "jobs", ">"]
}

#[test]
fn a_reader_that_claims_gets_an_entry_once_it_has_been_idle_for_long_enough_though_nobody_writes() {
    let (_server, mut one, mut two) = one_has_an_entry();
    two.send(&claiming("20000", IDLE_MS));
    let early = two.frame(NOT_BEFORE);
    assert!(matches!(early, Frame::Nothing), "it is still one's: {early:?}");
    let claimed = two.value();
    assert_eq!(claimed.as_slice().map(<[Value]>::len), Some(1), "{claimed:?}");
    let pending = one.request(&["XPENDING", "jobs", "workers", "-", "+", "10", "two"]);
    assert_eq!(pending.as_slice().map(<[Value]>::len), Some(1), "{pending:?}");
    assert_eq!(one.text(&["PING"]), "PONG");
}

#[test]
fn a_reader_that_claims_and_finds_nothing_idle_gives_up_in_time() {
    let (_server, _one, mut two) = one_has_an_entry();
    assert_eq!(two.request(&claiming("200", "60000")), Value::Null);
    assert_eq!(two.text(&["PING"]), "PONG");
}
