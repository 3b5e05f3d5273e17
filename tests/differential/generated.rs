//! Generated sequences of commands, to Sterna and to a real Redis; every reply must be the same, errors included.
//!
//! A sequence that fails is made shorter until nothing can be left out of it, and the failure shows what remains.
//! `STERNA_TEST_SECONDS` has more of them tried, `STERNA_TEST_SEED` others.

use std::time::Instant;

use fastrand::Rng;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::script::{View, render};
use sterna_tests::server::{Launch, Server};

use super::sequences::{Request, Writer, words};
use super::{reference_is_at_least, restarts};

/// Requests that are sent before their replies are awaited.
const AT_ONCE: usize = 10;

/// However slow the machine is.
const TRIED_MIN: u64 = 11;

/// The two servers, each with a connection.
pub(crate) struct Pair {
    redis: Client,
    sterna: Client,
    sterna_server: Server,
    /// Runs as long as this.
    _redis_server: Server,
}

impl Pair {
    pub(crate) fn start() -> Pair {
        let redis = Launch::reference().start();
        let sterna = Server::sterna(2, &[]);
        Pair {
            redis: redis.connect_resp3(),
            sterna: sterna.connect_resp3(),
            sterna_server: sterna,
            _redis_server: redis,
        }
    }

    /// Fails if there is a difference, with the shortest sequence that shows it.
    pub(crate) fn assert_alike(&mut self, seed: u64, sequence: Vec<Request>) {
        let Some(first) = self.difference(&sequence) else { return };
        let sequence = self.shrink(sequence);
        // A difference that is gone the second time is one of time; then it is in what was seen first.
        let difference = self.difference(&sequence).unwrap_or(first);
        let text: Vec<String> = sequence.iter().map(|request| request.join(" ")).collect();
        panic!("STERNA_TEST_SEED={seed}: after\n  {}\n{difference}", text.join("\n  "));
    }

    /// What differs first, if anything does: the request, and both replies.
    fn difference(&mut self, sequence: &[Request]) -> Option<String> {
        let policy = restarts::policy(sequence);
        self.set_policy(policy);
        let mut first = self.exchange(&[words("FLUSHALL")]);
        for part in sequence.split_inclusive(is_aside) {
            let (requests, aside) = match part.split_last() {
                Some((last, requests)) if is_aside(last) => (requests, Some(last)),
                _ => (part, None),
            };
            first = first.or(self.exchange(requests));
            match aside {
                Some(request) if request[0] == restarts::RESTART => {
                    let lost = restarts::restart(&mut self.sterna_server, request);
                    first = first.or(lost);
                    self.sterna = self.sterna_server.connect();
                    self.begin_again();
                    self.set_policy(policy);
                }
                Some(request) => restarts::snapshot(&self.sterna_server, request),
                None => {}
            }
        }
        // A sequence cut short may end between MULTI and EXEC.
        self.begin_again();
        first
    }

    /// Sends the same to both, not too much at once: what a server takes in one go happens at one time.
    fn exchange(&mut self, requests: &[Request]) -> Option<String> {
        requests.chunks(AT_ONCE).fold(None, |first, requests| first.or(self.exchange_at_once(requests)))
    }

    fn exchange_at_once(&mut self, requests: &[Request]) -> Option<String> {
        let bytes = requests.iter().map(|request| request_bytes(request)).collect::<Vec<_>>().concat();
        self.redis.send_bytes(&bytes);
        self.sterna.send_bytes(&bytes);
        let mut first = None;
        for request in requests {
            let expected = without_negative_lags(self.redis.value());
            let [expected, got] = [expected, self.sterna.value()].map(|value| seen(request, value));
            if expected != got && first.is_none() {
                first = Some(format!("{}\n  redis  {expected}\n  sterna {got}", request.join(" ")));
            }
        }
        first
    }

    /// Both connections as if they were new.
    fn begin_again(&mut self) {
        for client in [&mut self.redis, &mut self.sterna] {
            client.request(&["RESET"]);
            client.request(&["HELLO", "3"]);
        }
    }

    fn set_policy(&mut self, policy: Option<&str>) {
        if let Some(policy) = policy {
            self.sterna.request(&["CONFIG", "SET", "appendfsync", policy]);
        }
    }

    /// Leaves out what isn't needed for a difference, first by halves and at last one by one.
    fn shrink(&mut self, mut sequence: Vec<Request>) -> Vec<Request> {
        let mut len = sequence.len() / 2;
        while len > 0 {
            let mut at = 0;
            while at + len <= sequence.len() {
                let shorter = [&sequence[..at], &sequence[at + len..]].concat();
                if self.difference(&shorter).is_some() {
                    sequence = shorter;
                } else {
                    at += len;
                }
            }
            len /= 2;
        }
        sequence
    }
}

/// Whether a request is not one that both servers get.
fn is_aside(request: &Request) -> bool {
    [restarts::RESTART, restarts::SNAPSHOT].contains(&request[0].as_str())
}

/// Fields of XINFO that measure time, that count the nodes of Redis's own tree, or that came after Redis 8.2.
const UNSEEN: [&[u8]; 15] = [
    b"idle",
    b"inactive",
    b"seen-time",
    b"active-time",
    b"radix-tree-keys",
    b"radix-tree-nodes",
    b"idmp-duration",
    b"idmp-maxsize",
    b"pids-tracked",
    b"iids-tracked",
    b"iids-added",
    b"iids-duplicates",
    b"nacked-count",
    b"pel-size",
    b"delivered",
];

/// A reply as text, without times.
fn seen(request: &[String], value: Value) -> String {
    let value = with_listpacks_alike(sets_in_order(without(value, &UNSEEN)));
    let value = match request.first().map(String::as_str) {
        Some("XPENDING") => with_idle_hidden(value),
        Some("TTL") => View::Positive.apply(value),
        Some("HGETALL") => View::Pairs.apply(value),
        Some("SRANDMEMBER" | "SSCAN") => View::DeepSorted.apply(value),
        Some("XINFO") if request.len() > 3 => with_times_hidden(value),
        Some("EVAL") => View::DeepSorted.apply(value),
        Some("EXEC") => match value {
            Value::Array(replies) => {
                let seen = |reply| View::DeepSorted.apply(with_idle_hidden(reply));
                Value::Array(replies.into_iter().map(seen).collect())
            }
            other => other,
        },
        _ => value,
    };
    render(&value)
}

/// A value whose sets, which have no order, are in one.
fn sets_in_order(value: Value) -> Value {
    match value {
        Value::Set(..) => View::Sorted.apply(value),
        Value::Array(values) => Value::Array(values.into_iter().map(sets_in_order).collect()),
        other => other,
    }
}

/// A value without the fields of these names, however deep.
pub(crate) fn without(value: Value, names: &[&[u8]]) -> Value {
    match value {
        Value::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .filter(|(key, _)| !key.as_bytes().is_some_and(|name| names.contains(&name)))
                .map(|(key, value)| (key, without(value, names)))
                .collect(),
        ),
        Value::Array(values) => Value::Array(values.into_iter().map(|value| without(value, names)).collect()),
        other => other,
    }
}

/// A reply of Redis 8.2 as newer Redis gives it, where no lag is negative (the difference `lag-below-none`).
fn without_negative_lags(value: Value) -> Value {
    let pair = |(key, value): (Value, Value)| match value {
        Value::Int(..0) if key.as_bytes() == Some(b"lag") => (key, Value::Int(0)),
        value => (key, without_negative_lags(value)),
    };
    match value {
        Value::Map(pairs) => Value::Map(pairs.into_iter().map(pair).collect()),
        Value::Array(values) => Value::Array(values.into_iter().map(without_negative_lags).collect()),
        other => other,
    }
}

/// Entries of XPENDING without how long they have been idle, which stands third in each.
fn with_idle_hidden(value: Value) -> Value {
    let entry = |entry| match entry {
        Value::Array(mut parts) if parts.len() == 4 => {
            parts.remove(2);
            Value::Array(parts)
        }
        other => other,
    };
    match value {
        Value::Array(values) => Value::Array(values.into_iter().map(entry).collect()),
        other => other,
    }
}

/// A packed hash is `listpackex` in Redis since a command would have set an expiry, found a field or not (the difference
/// `listpackex-early`).
fn with_listpacks_alike(value: Value) -> Value {
    match value {
        Value::Bulk(text) if text == b"listpackex" => Value::Bulk(b"listpack".to_vec()),
        Value::Array(values) => Value::Array(values.into_iter().map(with_listpacks_alike).collect()),
        other => other,
    }
}

/// Integers as large as a time of this century in milliseconds are all alike.
fn with_times_hidden(value: Value) -> Value {
    match value {
        Value::Int(1_000_000_000_000..) => Value::Simple(b"a time".to_vec()),
        Value::Array(values) => Value::Array(values.into_iter().map(with_times_hidden).collect()),
        Value::Map(pairs) => Value::Map(pairs.into_iter().map(|(k, v)| (k, with_times_hidden(v))).collect()),
        other => other,
    }
}

#[test]
fn generated_sequences_of_commands_are_answered_as_redis_answers_them() {
    if !reference_is_at_least(8) {
        return;
    }
    let mut pair = Pair::start();
    let seed = sterna_tests::seed(0x67_65_6e_65);
    let deadline = Instant::now() + sterna_tests::duration(8);
    let mut tried = 0;
    while tried < TRIED_MIN || Instant::now() < deadline {
        let sequence = Writer { random: Rng::with_seed(seed + tried) }.sequence();
        pair.assert_alike(seed + tried, sequence);
        tried += 1;
    }
    println!("{tried} sequences");
}
