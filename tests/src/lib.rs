//! The whole server against real parts: what its tests are made with.
//!
//! - `differential/`: the same scripts to Sterna and to a real Redis, replies compared byte for byte ([`script`]).
//! - `promises/`: order, visibility and bookkeeping of messages while everything changes on every shard.
//! - `crash/`: what is found again after the server was killed, stopped, or had no room on the disk.
//! - `operation/`: limits, listeners, TLS, starting and stopping.
//! - `cluster/`: several nodes on real NATS servers, whose lines are cut.
//! - `layers.rs`: the modules of the server name only those below them.
//! - `tidy.rs`: what review should not have to look for.
//!
//! `clients/` and `browser/` beside them are programs in other languages, with runners of their own.
//!
//! Environment
//! - `STERNA_BIN`: the server to test; otherwise the one that was built last in this target directory.
//! - `REDIS8_SERVER`, `REDIS_SERVER`: the server to compare with, a Redis 8.2; unless the first is set, the one that
//!   `./test` has installed, or what there is. Comparisons that need a newer one say so and are skipped.
//! - `VALKEY_SERVER`: a Valkey 9, for exchanging payloads; without it that is skipped.
//! - `NATS_SERVER`: a NATS server, for several nodes; without it that is skipped.
//! - `STERNA_CLUSTER_TRIALS`: first messages after a SUBSCRIBE on another node; 300 unless set.
//! - `STERNA_TEST_SECONDS`: how long tests run that could run for ever; a few seconds each unless set.
//! - `STERNA_TEST_CUTS`: how often the line to subscribers is cut that resume; 4 times unless set.
//! - `STERNA_CRASH_ROUNDS`: how often the server is killed; 200 times unless set.
//! - `STERNA_TEST_SKIPPED`: a file that gets a line for each test that this machine has not what it takes for.
//! - `STERNA_TEST_SEED`: the seed of random tests; fixed unless set, and printed with every failure.
#![forbid(unsafe_code)]

pub mod client;
pub mod difference;
pub mod faults;
pub mod http;
pub mod line;
pub mod memory;
pub mod nats;
pub mod script;
pub mod server;
pub mod tls;
pub mod wire;

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// How long a test goes on that could go on for ever: `STERNA_TEST_SECONDS`, or `default_s`.
pub fn duration(default_s: u64) -> Duration {
    Duration::from_secs(number("STERNA_TEST_SECONDS").unwrap_or(default_s))
}

/// The seed of a random test: `STERNA_TEST_SEED`, or `default`. Printed, so that a failure tells it.
pub fn seed(default: u64) -> u64 {
    let seed = number("STERNA_TEST_SEED").unwrap_or(default);
    println!("STERNA_TEST_SEED={seed}");
    seed
}

/// How often a test kills the server: `STERNA_CRASH_ROUNDS`, or `default`.
pub fn crash_rounds(default: u64) -> u64 {
    number("STERNA_CRASH_ROUNDS").unwrap_or(default)
}

/// Says that the test at hand checks nothing here, and why; `./test` tells it at its end.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
    let Some(file) = std::env::var_os("STERNA_TEST_SKIPPED") else { return };
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the file can be written");
    // One write, so that lines of tests that run at once don't mix.
    file.write_all(format!("{name}: {why}\n").as_bytes()).expect("the file can be written");
}

/// A number of the environment.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
