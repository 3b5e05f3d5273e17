//! What INFO counts: hits and misses, changes, what expired, errors. The same requests to Sterna and to a real Redis, and after each
//! the same counts.

use std::collections::BTreeMap;

use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Launch, Server};

use super::reference_is_at_least;
use super::sequences::words;

/// What the requests find.
const KEYS: &str = "SET s abc | SET n 5 | SET bits abcdefgh | RPUSH l a b c d | RPUSH l1 a | RPUSH ln 3 1 2 | SADD st a b c \
    | SADD st2 b c d | SADD i1 1 2 3 | HSET h a 1 b 2 c 3 | HSET h1 a 1 | ZADD z 1 a 2 b 3 c | ZADD z1 1 a | ZADD zz 5 a 6 q \
    | GEOADD g 13.361389 38.115556 P 15.087269 37.502669 C | PFADD hl a b c | PFADD hl2 c d | XADD x 1-1 a 1 | XADD x 2-1 b 2 \
    | XADD x 3-1 c 3 | XGROUP CREATE x gr 0 | XREADGROUP GROUP gr al COUNT 2 STREAMS x > | SET w1 3 | SET w2 1 | SET w3 2 \
    | SET ttl v PX 100000 | HSET hh a 1 b 2 | HPEXPIRE hh 100000 FIELDS 1 a";

const REQUESTS: &str = include_str!("statistics.txt");

/// Scripts that answer errors, or fail.
const SCRIPTS: &[&str] = &[
    "return 1",
    "return redis.error_reply('My Err')",
    "return redis.error_reply('')",
    "return {err='Foo:#b bar'}",
    "return {err='short'}",
    "return {err='a word that ends: 31 bytes......... or less'}",
    "return {err='Foo\\r\\nbar'}",
    "return {1, {err='Foo bar'}, {err='Bar baz'}}",
    "return redis.pcall('get')",
    "return redis.call('get')",
    "return redis.pcall('nosuch')",
    "return redis.pcall('subscribe', 'a')",
    "return redis.pcall('lpush', 's', 1)",
    "return {redis.pcall('lpush', 's', 1), redis.pcall('get'), redis.error_reply('My x'), redis.error_reply('My y')}",
    "redis.call('lpush', 's', 1)",
    "local r = redis.pcall('lpush', 's', 1) r.err = 'New one' return r",
    "local r = redis.pcall('lpush', 's', 1) return {err=r.err}",
    "redis.pcall('lpush', 's', 1) return redis.error_reply('Other x')",
    "error('x')",
    "error({err='My x'})",
    "return {map={a={err='In map'}}}",
    "redis.call('set', 'a', 1) redis.call('get', 'b') return redis.call('get', 'a')",
];

const COUNTS: [&str; 6] = [
    "keyspace_hits",
    "keyspace_misses",
    "rdb_changes_since_last_save",
    "expired_keys",
    "expired_subkeys",
    "total_error_replies",
];

fn counts(client: &mut Client) -> BTreeMap<String, i64> {
    let info = client.text(&["INFO", "stats", "persistence"]);
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let counts = fields.filter(|(name, _)| COUNTS.contains(name));
    counts.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect()
}

/// A server, and what is in it.
struct Side {
    client: Client,
    is_clean: bool,
    _server: Server,
}

impl Side {
    fn new(server: Server) -> Side {
        Side { client: server.connect(), is_clean: false, _server: server }
    }

    /// What the request adds to the counts.
    fn added(&mut self, request: &[String]) -> BTreeMap<String, i64> {
        if !self.is_clean {
            let all: Vec<_> = std::iter::once("FLUSHALL").chain(KEYS.split('|')).map(words).collect();
            self.client.send_bytes(&all.iter().flat_map(|words| request_bytes(words)).collect::<Vec<u8>>());
            all.iter().for_each(|_| drop(self.client.value()));
        }
        let before = counts(&mut self.client);
        self.client.send(request);
        self.client.frame(sterna_tests::server::PATIENCE);
        let mut added = counts(&mut self.client);
        added.iter_mut().for_each(|(name, count)| *count -= before[name]);
        self.is_clean = added["rdb_changes_since_last_save"] == 0 && added["expired_keys"] == 0;
        added
    }

    /// What INFO shows of a script: errors by their word, and calls that failed or were refused.
    fn shown(&mut self, script: &str) -> Vec<String> {
        self.client.request(&["CONFIG", "RESETSTAT"]);
        self.client.send(&["EVAL", script, "0"]);
        self.client.frame(sterna_tests::server::PATIENCE);
        let info = self.client.text(&["INFO", "errorstats", "commandstats"]);
        let mut shown: Vec<String> = Vec::new();
        for line in info.lines().filter(|line| !line.starts_with('#') && !line.contains("cmdstat_config")) {
            let is_time = |part: &&str| !part.contains("usec");
            shown.push(line.split(',').filter(is_time).collect::<Vec<_>>().join(","));
        }
        shown.sort();
        shown
    }
}

#[test]
fn info_counts_what_redis_counts() {
    if !reference_is_at_least(8) {
        return;
    }
    let [mut redis, mut sterna] = [Launch::reference().start(), Server::sterna(1, &[])].map(Side::new);
    let lines = REQUESTS.lines().filter(|line| !line.starts_with('#'));
    let mut differences = Vec::new();
    for request in lines.flat_map(|line| line.split('|')).map(words).filter(|words| !words.is_empty()) {
        let (expected, got) = (redis.added(&request), sterna.added(&request));
        if expected != got {
            differences.push(format!("{}\n  {expected:?}\n  {got:?}", request.join(" ")));
        }
    }
    for script in SCRIPTS {
        let (expected, got) = (redis.shown(script), sterna.shown(script));
        if expected != got {
            differences.push(format!("{script}\n  {expected:?}\n  {got:?}"));
        }
    }
    assert!(differences.is_empty(), "Redis, then Sterna:\n{}", differences.join("\n"));
}
