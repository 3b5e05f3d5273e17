//! Clients that write and remember what was acknowledged.
//!
//! A writer has keys of its own and one request on the way at a time. When the server dies, all of its requests are known
//! to be done, but for the last: that one was made whole or not at all. So the keys must show one of two states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::server::PATIENCE;

/// An entry's ID.
type Id = (u64, u64);

/// What a writer's keys hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Entries of its stream: ID and number.
    entries: BTreeMap<Id, u64>,
    /// IDs in the PEL of its group.
    pending: BTreeSet<Id>,
    /// How many entries the group has delivered.
    delivered: usize,
    /// A string.
    number: u64,
    /// Two strings and the length of a stream, which only a transaction changes.
    together: [u64; 3],
    /// What a list, a hash, a set and a sorted set hold, in order: the same numbers, since only a script changes them.
    types: [Vec<u64>; 4],
}

/// Adds a number to a key of each type, and takes the oldest away when there are many.
const EVERY_TYPE: &str = "local n = ARGV[1] \
    redis.call('RPUSH', KEYS[1], n) redis.call('HSET', KEYS[2], n, 'v') \
    redis.call('SADD', KEYS[3], n) redis.call('ZADD', KEYS[4], n, n) \
    if redis.call('LLEN', KEYS[1]) > tonumber(ARGV[2]) then \
      local old = redis.call('LPOP', KEYS[1]) redis.call('HDEL', KEYS[2], old) \
      redis.call('SREM', KEYS[3], old) redis.call('ZREM', KEYS[4], old) \
    end return 1";

/// Numbers that a key of each type holds at most.
const TYPES_MAX: usize = 20;

/// A request whose reply has not come.
#[derive(Debug, Clone)]
enum Request {
    Add(u64),
    Set(u64),
    Deliver(usize),
    Ack(Id),
    Transaction(u64),
    Script(u64),
}

/// A client that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    name: usize,
    random: fastrand::Rng,
    keys: Keys,
    on_the_way: Option<Request>,
    /// Requests that were acknowledged.
    pub(crate) acknowledged: u64,
}

impl Writer {
    /// A writer with keys of its own.
    pub(crate) fn new(name: usize, seed: u64) -> Writer {
        Writer {
            name,
            random: fastrand::Rng::with_seed(seed),
            keys: Keys::default(),
            on_the_way: None,
            acknowledged: 0,
        }
    }

    fn key(&self, kind: &str) -> String {
        format!("{kind}:{}", self.name)
    }

    fn keys_of_types(&self) -> [String; 4] {
        ["list", "hash", "set", "sorted"].map(|kind| self.key(kind))
    }

    /// Makes its stream and group, if they are not there.
    pub(crate) fn prepare(&self, client: &mut Client) {
        // An error says that it was there.
        client.try_request(&["XGROUP", "CREATE", &self.key("stream"), "g", "0", "MKSTREAM"]);
    }

    /// Writes until the server is gone, or `enough`.
    pub(crate) fn write(&mut self, port: u16, enough: &AtomicBool) {
        let Ok(mut client) = Client::try_to(port) else { return };
        while !enough.load(Relaxed) {
            let request = self.next();
            self.on_the_way = Some(request.clone());
            let Some(reply) = self.send(&mut client, &request) else { return };
            assert!(!matches!(reply, Value::Error(_)), "{request:?}: {reply:?}");
            self.on_the_way = None;
            self.acknowledged += 1;
            self.keys.apply(&request, &reply);
        }
    }

    fn next(&mut self) -> Request {
        let number = self.acknowledged + 1;
        let can_ack = !self.keys.pending.is_empty();
        match self.random.u32(0..12) {
            0..4 => Request::Add(number),
            4 => Request::Set(number),
            5..7 => Request::Transaction(number),
            10 | 11 => Request::Script(number),
            7 | 8 if can_ack => {
                let nth = self.random.usize(0..self.keys.pending.len());
                Request::Ack(self.keys.pending.iter().copied().nth(nth).unwrap_or_default())
            }
            _ => Request::Deliver(self.random.usize(1..5)),
        }
    }

    fn send(&self, client: &mut Client, request: &Request) -> Option<Value> {
        let (stream, string) = (self.key("stream"), self.key("string"));
        match request {
            Request::Add(number) => client.try_request(&["XADD", &stream, "*", "n", &number.to_string()]),
            Request::Set(number) => client.try_request(&["SET", &string, &number.to_string()]),
            Request::Deliver(count) => {
                let count = count.to_string();
                client.try_request(&[
                    "XREADGROUP",
                    "GROUP",
                    "g",
                    "c",
                    "COUNT",
                    &count,
                    "STREAMS",
                    &stream,
                    ">",
                ])
            }
            Request::Ack(id) => client.try_request(&["XACK", &stream, "g", &format!("{}-{}", id.0, id.1)]),
            Request::Script(number) => {
                let [list, hash, set, sorted] = self.keys_of_types();
                let (number, most) = (number.to_string(), TYPES_MAX.to_string());
                client.try_request(&["EVAL", EVERY_TYPE, "4", &list, &hash, &set, &sorted, &number, &most])
            }
            Request::Transaction(number) => {
                let number = number.to_string();
                let (one, other, log) = (self.key("one"), self.key("other"), self.key("log"));
                client.send(&["MULTI"]);
                client.send(&["SET", &one, &number]);
                client.send(&["SET", &other, &number]);
                client.send(&["XADD", &log, "*", "n", &number]);
                client.send(&["EXEC"]);
                let mut reply = None;
                for _ in 0..5 {
                    match client.frame(PATIENCE) {
                        Frame::Bytes(bytes) => reply = Some(value_of(&bytes)),
                        Frame::Closed | Frame::Nothing => return None,
                    }
                }
                reply
            }
        }
    }

    /// Compares what is there with what was acknowledged, and goes on from what is there.
    pub(crate) fn check(&mut self, client: &mut Client) {
        let found = self.look(client);
        let mut possible = vec![self.keys.clone()];
        if let Some(request) = self.on_the_way.take() {
            possible.push(self.keys.guess(&request, &found));
        }
        assert!(
            possible.contains(&found),
            "writer {}: {} requests were acknowledged\n   found {found:?}\nexpected {possible:?}",
            self.name,
            self.acknowledged
        );
        self.keys = found;
        // A number that was on the way may be there.
        self.acknowledged += 1;
    }

    fn look(&self, client: &mut Client) -> Keys {
        let stream = self.key("stream");
        let entries = client.request(&["XRANGE", &stream, "-", "+"]);
        let entries = entries.as_slice().expect("an array").iter().map(|entry| {
            let parts = entry.as_slice().expect("an entry");
            (id(&parts[0]), text(&parts[1].as_slice().expect("fields")[1]).parse().expect("a number"))
        });
        let pending = client.request(&["XPENDING", &stream, "g", "-", "+", "1000000"]);
        let pending = pending.as_slice().expect("an array").iter();
        let groups = client.request(&["XINFO", "GROUPS", &stream]);
        let group = groups.as_slice().expect("an array")[0].as_slice().expect("a group").to_vec();
        let field = |name: &str| {
            let at = group.iter().position(|part| part.as_bytes() == Some(name.as_bytes()))?;
            group.get(at + 1)?.as_int()
        };
        let mut number = |kind: &str| {
            let value = client.request(&["GET", &self.key(kind)]);
            value.as_bytes().map_or(0, |_| text(&value).parse().expect("a number"))
        };
        let (number, one, other) = (number("string"), number("one"), number("other"));
        let [list, hash, set, sorted] = self.keys_of_types();
        let mut numbers = |request: &[&str]| {
            let found = client.request(request);
            let number = |value: &Value| text(value).parse().expect("a number");
            let mut numbers: Vec<u64> = found.as_slice().expect("an array").iter().map(number).collect();
            numbers.sort_unstable();
            numbers
        };
        let types = [
            numbers(&["LRANGE", &list, "0", "-1"]),
            numbers(&["HKEYS", &hash]),
            numbers(&["SMEMBERS", &set]),
            numbers(&["ZRANGE", &sorted, "0", "-1"]),
        ];
        Keys {
            entries: entries.collect(),
            pending: pending.map(|entry| id(&entry.as_slice().expect("an entry")[0])).collect(),
            delivered: field("entries-read").unwrap_or(0) as usize,
            number,
            together: [one, other, client.int(&["XLEN", &self.key("log")]) as u64],
            types,
        }
    }
}

impl Keys {
    /// What an acknowledged request has done.
    fn apply(&mut self, request: &Request, reply: &Value) {
        match request {
            Request::Add(number) => drop(self.entries.insert(id(reply), *number)),
            Request::Set(number) => self.number = *number,
            Request::Deliver(count) => self.deliver(*count),
            Request::Ack(id) => drop(self.pending.remove(id)),
            Request::Transaction(number) => {
                self.together = [*number, *number, self.together[2] + 1];
            }
            Request::Script(number) => {
                for numbers in &mut self.types {
                    numbers.push(*number);
                    if numbers.len() > TYPES_MAX {
                        numbers.remove(0);
                    }
                }
            }
        }
    }

    /// What a request would have done whose reply never came. Its ID, if it has one, is read off what was `found`.
    fn guess(&self, request: &Request, found: &Keys) -> Keys {
        let mut keys = self.clone();
        match request {
            Request::Add(number) => {
                if let Some((&id, _)) = found.entries.iter().next_back() {
                    keys.entries.insert(id, *number);
                }
            }
            other => keys.apply(other, &Value::Int(0)),
        }
        keys
    }

    fn deliver(&mut self, count: usize) {
        let ids: Vec<Id> = self.entries.keys().copied().skip(self.delivered).take(count).collect();
        self.delivered += ids.len();
        self.pending.extend(ids);
    }
}

fn id(value: &Value) -> Id {
    let text = text(value);
    let (ms, seq) = text.split_once('-').unwrap_or_else(|| panic!("{text:?} is no ID"));
    (ms.parse().expect("a number"), seq.parse().expect("a number"))
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_else(|| panic!("{value:?} is no text"))).into_owned()
}
