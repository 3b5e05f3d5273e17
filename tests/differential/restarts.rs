//! Generated sequences of commands with a restart in the middle: Sterna goes on as the Redis that was never stopped.
//!
//! A round is a sequence per database, so that one restart is asked about many keys:
//!
//! ```text
//! SELECT 0, commands …  SELECT 1, commands …  …  keys about to expire │ RESTART │ SELECT 0, the rest, looks …
//!                  SNAPSHOT anywhere ┘                                          └ perhaps another restart
//! ```
//!
//! - What ends Sterna is a signal, SHUTDOWN, or SIGKILL, the last only under `appendfsync always`: then every reply that
//!   has come is a promise. A transaction that was open is lost on both sides: Redis's connection is reset.
//! - Redis is not restarted: what it knows without one is the strictest measure.
//! - The comparison can't see times, which are each server's own. So all that is kept is also read from Sterna right before
//!   and right after, and must be the same to the millisecond. `seen-time` apart: a consumer that asks and gets nothing
//!   is seen, but changes nothing, so that nothing is journaled, by neither server.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::script::{View, render};
use sterna_tests::server::Server;

use super::generated::{Pair, without};
use super::reference_is_at_least;
use super::sequences::{COMMANDS, KEYS, Request, Writer, words};

const DATABASES: usize = 8;

/// First word of a request to stop Sterna and to start it again: `RESTART policy how`.
pub(crate) const RESTART: &str = "RESTART";

/// First word of a request that Sterna gets on a connection of its own: `SNAPSHOT command`.
pub(crate) const SNAPSHOT: &str = "SNAPSHOT";

const RESTARTS: [&str; 9] = [
    "always KILL",
    "always KILL",
    "always TERM",
    "everysec TERM",
    "everysec SHUTDOWN",
    "everysec SHUTDOWN NOSAVE",
    "no TERM",
    "no SHUTDOWN",
    "no SHUTDOWN SAVE",
];

/// What has a snapshot taken: while the rest of the sequence goes on, or before.
const SNAPSHOTS: [&str; 4] = ["BGSAVE", "BGREWRITEAOF", "BGREWRITEAOF", "SAVE"];

fn round(random: Rng) -> Vec<Request> {
    let mut writer = Writer { random };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for db in 0..DATABASES {
        let mut sequence = writer.sequence();
        let rest = sequence.split_off(writer.random.usize(..COMMANDS));
        for (half, commands) in [(&mut before, sequence), (&mut after, rest)] {
            half.push(words(&format!("SELECT {db}")));
            half.extend(commands);
        }
    }
    // A snapshot keeps what a string is, not how it came to be: what was appended to is "raw" before and "embstr" after,
    // as it is in Redis after DEBUG RELOAD.
    after.retain(|request| request[0] != "OBJECT");
    while writer.maybe(2) {
        let at = writer.random.usize(..before.len());
        before.insert(at, words(&format!("{SNAPSHOT} {}", writer.pick(&SNAPSHOTS))));
    }
    // Nobody looks at these keys before the restart, which takes longer than they last.
    for db in (0..DATABASES).filter(|_| writer.maybe(4)).collect::<Vec<_>>() {
        before.push(words(&format!("SELECT {db}")));
        before.push(words(&format!("PEXPIRE {} 1", writer.key())));
    }
    before.push(words(&format!("{RESTART} {}", writer.pick(&RESTARTS))));
    if writer.maybe(4) {
        let at = writer.random.usize(..after.len());
        after.insert(at, words(&format!("{RESTART} {}", writer.pick(&RESTARTS))));
    }
    [before, after].concat()
}

/// The `appendfsync` under which a sequence runs: that of its first restart, unless a SIGKILL asks for more.
pub(crate) fn policy(sequence: &[Request]) -> Option<&str> {
    let restarts = || sequence.iter().filter(|request| request[0] == RESTART);
    let strictest = restarts().find(|request| request[2] == "KILL");
    strictest.or_else(|| restarts().next()).map(|request| request[1].as_str())
}

/// Stops the server and starts it again. What it has lost or changed, if anything.
pub(crate) fn restart(server: &mut Server, request: &[String]) -> Option<String> {
    let before = picture(server);
    match request[2].as_str() {
        "KILL" => {
            server.kill();
            server.start_again();
        }
        "TERM" => {
            server.signal(Signal::TERM);
            server.wait_and_start_again();
        }
        _ => {
            server.connect().send(&request[2..]);
            server.wait_and_start_again();
        }
    }
    let after = picture(server);
    let differs =
        before.iter().zip(&after).find(|((_, before), (_, after))| before != after && !before.is_empty());
    differs.map(|((place, before), (_, after))| format!("{place}\n  before {before}\n  after  {after}"))
}

/// Has a snapshot taken, unless one is being taken.
pub(crate) fn snapshot(server: &Server, request: &[String]) {
    let mut client = server.connect();
    client.send(&request[1..]);
    match client.value() {
        Value::Error(text) => {
            let is_busy =
                [&b"ERR Background"[..], b"ERR Another child"].iter().any(|start| text.starts_with(start));
            assert!(is_busy, "{}", text.escape_ascii());
        }
        other => drop(other),
    }
}

/// All that is kept of each key, by database and key; of one that is about to expire, nothing.
fn picture(server: &Server) -> Vec<(String, String)> {
    let mut client = server.connect_resp3();
    let mut all = Vec::new();
    for db in 0..DATABASES {
        client.request(&["SELECT", &db.to_string()]);
        for key in KEYS {
            all.push((format!("SELECT {db}, {key}"), looks(&mut client, key)));
        }
    }
    all
}

/// Longer than the time between two pictures.
const SOON_MS: i64 = 100_000;

/// However slow the machine is.
const ROUNDS_MIN: u64 = 12;

fn looks(client: &mut Client, key: &str) -> String {
    let at_ms = client.int(&["PEXPIRETIME", key]);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_millis() as i64;
    if (1..now_ms + SOON_MS).contains(&at_ms) {
        return String::new();
    }
    let looks = ["TYPE", "GET", "HGETALL", "HPEXPIRETIME", "XINFO STREAM"].map(|look| {
        let mut look = words(&format!("{look} {key}"));
        if look[0] == "XINFO" {
            look.extend(words("FULL COUNT 0"));
        }
        if look[0] == "HPEXPIRETIME" {
            look.extend(words("FIELDS 3 f g h"));
        }
        client.send(&look);
        render(&View::Pairs.apply(without(client.value(), &[b"seen-time"])))
    });
    format!("expires {at_ms} {}", looks.join(" "))
}

#[test]
fn after_a_restart_sterna_goes_on_as_a_redis_that_was_not_restarted() {
    if !reference_is_at_least(8) {
        return;
    }
    let mut pair = Pair::start();
    let seed = sterna_tests::seed(0x72_65_73_74);
    let deadline = Instant::now() + sterna_tests::duration(12);
    let mut tried = 0;
    while tried < ROUNDS_MIN || Instant::now() < deadline {
        pair.assert_alike(seed + tried, round(Rng::with_seed(seed + tried)));
        tried += 1;
    }
    println!("{tried} rounds");
}
