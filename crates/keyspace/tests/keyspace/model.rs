//! Random commands against a plain map, and the effects of the run against the run.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::world::{START_MS, World};

/// Keys and expiries, nothing else; one database.
#[derive(Debug, Default)]
struct Model {
    now_ms: u64,
    keys: BTreeMap<&'static str, (Vec<u8>, Option<u64>)>,
}

/// What a client does; times in milliseconds.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Cycle,
    Get(&'static str),
    Set { key: &'static str, value: Vec<u8>, ttl: Ttl, when: When, get: bool },
    Getset(&'static str, Vec<u8>),
    Getdel(&'static str),
    Getex(&'static str, Ttl),
    Del(&'static str, &'static str),
    Exists(&'static str, &'static str),
    Append(&'static str, Vec<u8>),
    Incrby(&'static str, i64),
    Expire(&'static str, i64, Rule),
    Persist(&'static str),
    Ttl(&'static str),
    Rename(&'static str, &'static str),
    Renamenx(&'static str, &'static str),
    Copy(&'static str, &'static str, bool),
    Mset(&'static str, &'static str, Vec<u8>),
    Msetnx(&'static str, &'static str, Vec<u8>),
    Flush,
    Replay,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ttl {
    Absent,
    Keep,
    For(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Always,
    Nx,
    Xx,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Always,
    Nx,
    Xx,
    Gt,
    Lt,
}

const KEYS: [&str; 6] =
    ["a", "b", "c", "d", "a-key-too-long-to-be-kept-inline", "another-key-too-long-to-be-inline"];

impl Model {
    fn forget_expired(&mut self) {
        let now_ms = self.now_ms;
        self.keys.retain(|_, (_, expiry)| expiry.is_none_or(|at_ms| now_ms <= at_ms));
    }

    fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.keys.get(key).map(|(value, _)| value.clone())
    }

    fn step(&mut self, step: &Step) -> Vec<u8> {
        self.forget_expired();
        match step {
            Step::Pass(_) | Step::Cycle | Step::Replay => unreachable!("not a command"),
            Step::Get(key) => bulk(self.value(key)),
            Step::Set { key, value, ttl, when, get } => {
                let old = self.keys.get(key).cloned();
                let stores = match when {
                    When::Always => true,
                    When::Nx => old.is_none(),
                    When::Xx => old.is_some(),
                };
                if stores {
                    let expiry = match ttl {
                        Ttl::Absent => None,
                        Ttl::Keep => old.as_ref().and_then(|(_, expiry)| *expiry),
                        Ttl::For(ms) => Some(self.now_ms + ms),
                    };
                    self.keys.insert(key, (value.clone(), expiry));
                }
                match (get, stores) {
                    (true, _) => bulk(old.map(|(value, _)| value)),
                    (false, true) => b"+OK\r\n".to_vec(),
                    (false, false) => bulk(None),
                }
            }
            Step::Getset(key, value) => {
                let old = self.value(key);
                self.keys.insert(key, (value.clone(), None));
                bulk(old)
            }
            Step::Getdel(key) => bulk(self.keys.remove(key).map(|(value, _)| value)),
            Step::Getex(key, ttl) => {
                let now_ms = self.now_ms;
                if let Some((_, expiry)) = self.keys.get_mut(key) {
                    match ttl {
                        Ttl::Absent => {}
                        Ttl::Keep => *expiry = None,
                        Ttl::For(ms) => *expiry = Some(now_ms + ms),
                    }
                }
                bulk(self.value(key))
            }
            Step::Del(a, b) => {
                int([a, b].into_iter().filter(|key| self.keys.remove(**key).is_some()).count() as i64)
            }
            Step::Exists(a, b) => {
                int([a, b].into_iter().filter(|key| self.keys.contains_key(**key)).count() as i64)
            }
            Step::Append(key, tail) => {
                let (value, _) = self.keys.entry(key).or_default();
                value.extend_from_slice(tail);
                int(value.len() as i64)
            }
            Step::Incrby(key, by) => {
                let (value, _) = self.keys.get(key).cloned().unwrap_or((b"0".to_vec(), None));
                let text = String::from_utf8_lossy(&value).into_owned();
                let number: Option<i64> = text.parse().ok().filter(|number: &i64| number.to_string() == text);
                match number.map(|number| number.checked_add(*by)) {
                    None => b"-ERR value is not an integer or out of range\r\n".to_vec(),
                    Some(None) => b"-ERR increment or decrement would overflow\r\n".to_vec(),
                    Some(Some(sum)) => {
                        self.keys.entry(key).or_default().0 = sum.to_string().into_bytes();
                        int(sum)
                    }
                }
            }
            Step::Expire(key, ms, rule) => {
                let Some((_, expiry)) = self.keys.get_mut(key) else { return int(0) };
                let at_ms = self.now_ms as i64 + ms;
                // No expiry is later than any.
                let old_ms = expiry.map_or(i64::MAX, |at_ms| at_ms as i64);
                let sets = match rule {
                    Rule::Always => true,
                    Rule::Nx => expiry.is_none(),
                    Rule::Xx => expiry.is_some(),
                    Rule::Gt => at_ms > old_ms,
                    Rule::Lt => at_ms < old_ms,
                };
                if sets {
                    *expiry = Some(at_ms as u64);
                    if *ms <= 0 {
                        self.keys.remove(key);
                    }
                }
                int(i64::from(sets))
            }
            Step::Persist(key) => {
                int(i64::from(self.keys.get_mut(key).and_then(|(_, e)| e.take()).is_some()))
            }
            Step::Ttl(key) => int(match self.keys.get(key) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at_ms))) => (at_ms - self.now_ms) as i64,
            }),
            Step::Rename(from, to) => match self.keys.remove(from) {
                None => b"-ERR no such key\r\n".to_vec(),
                Some(record) => {
                    self.keys.insert(to, record);
                    b"+OK\r\n".to_vec()
                }
            },
            Step::Renamenx(from, to) => match self.keys.get(from).cloned() {
                None => b"-ERR no such key\r\n".to_vec(),
                Some(_) if self.keys.contains_key(to) => int(0),
                Some(record) => {
                    self.keys.remove(from);
                    self.keys.insert(to, record);
                    int(1)
                }
            },
            Step::Copy(from, to, _) if from == to => {
                b"-ERR source and destination objects are the same\r\n".to_vec()
            }
            Step::Copy(from, to, replace) => match self.keys.get(from).cloned() {
                Some(record) if *replace || !self.keys.contains_key(to) => {
                    self.keys.insert(to, record);
                    int(1)
                }
                _ => int(0),
            },
            Step::Mset(a, b, value) => {
                for key in [a, b] {
                    self.keys.insert(key, (value.clone(), None));
                }
                b"+OK\r\n".to_vec()
            }
            Step::Msetnx(a, b, value) => {
                let free = ![a, b].into_iter().any(|key| self.keys.contains_key(*key));
                if free {
                    for key in [a, b] {
                        self.keys.insert(key, (value.clone(), None));
                    }
                }
                int(i64::from(free))
            }
            Step::Flush => {
                self.keys.clear();
                b"+OK\r\n".to_vec()
            }
        }
    }
}

impl Step {
    fn words(&self) -> Vec<Vec<u8>> {
        let text = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        match self {
            Step::Pass(_) | Step::Cycle | Step::Replay => unreachable!("not a command"),
            Step::Get(key) => text(&["get", key]),
            Step::Set { key, value, ttl, when, get } => {
                let mut words = text(&["set", key]);
                words.push(value.clone());
                match ttl {
                    Ttl::Absent => {}
                    Ttl::Keep => words.push(b"KEEPTTL".to_vec()),
                    Ttl::For(ms) => words.extend(text(&["PX", &ms.to_string()])),
                }
                match when {
                    When::Always => {}
                    When::Nx => words.push(b"NX".to_vec()),
                    When::Xx => words.push(b"XX".to_vec()),
                }
                if *get {
                    words.push(b"GET".to_vec());
                }
                words
            }
            Step::Getset(key, value) => [text(&["getset", key]), vec![value.clone()]].concat(),
            Step::Getdel(key) => text(&["getdel", key]),
            Step::Getex(key, Ttl::Absent) => text(&["getex", key]),
            Step::Getex(key, Ttl::Keep) => text(&["getex", key, "PERSIST"]),
            Step::Getex(key, Ttl::For(ms)) => text(&["getex", key, "PX", &ms.to_string()]),
            Step::Del(a, b) => text(&["del", a, b]),
            Step::Exists(a, b) => text(&["exists", a, b]),
            Step::Append(key, tail) => [text(&["append", key]), vec![tail.clone()]].concat(),
            Step::Incrby(key, by) => text(&["incrby", key, &by.to_string()]),
            Step::Expire(key, ms, rule) => {
                let mut words = text(&["pexpire", key, &ms.to_string()]);
                if *rule != Rule::Always {
                    words.push(format!("{rule:?}").into_bytes());
                }
                words
            }
            Step::Persist(key) => text(&["persist", key]),
            Step::Ttl(key) => text(&["pttl", key]),
            Step::Rename(from, to) => text(&["rename", from, to]),
            Step::Renamenx(from, to) => text(&["renamenx", from, to]),
            Step::Copy(from, to, false) => text(&["copy", from, to]),
            Step::Copy(from, to, true) => text(&["copy", from, to, "REPLACE"]),
            Step::Mset(a, b, value) | Step::Msetnx(a, b, value) => {
                let name = if matches!(self, Step::Mset(..)) { "mset" } else { "msetnx" };
                let mut words = text(&[name, a]);
                words.push(value.clone());
                words.extend([b.as_bytes().to_vec(), value.clone()]);
                words
            }
            Step::Flush => text(&["flushall"]),
        }
    }
}

fn bulk(value: Option<Vec<u8>>) -> Vec<u8> {
    match value {
        None => b"$-1\r\n".to_vec(),
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat(),
    }
}

fn int(number: i64) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KEYS[..])
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (-20i64..20).prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..60),
        Just(b"007".to_vec()),
    ]
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![Just(Ttl::Absent), Just(Ttl::Keep), (1u64..50).prop_map(Ttl::For)]
}

fn step() -> impl Strategy<Value = Step> {
    let when = prop::sample::select(vec![When::Always, When::Nx, When::Xx]);
    let rule = prop::sample::select(vec![Rule::Always, Rule::Nx, Rule::Xx, Rule::Gt, Rule::Lt]);
    prop_oneof![
        3 => (0u64..30).prop_map(Step::Pass),
        1 => Just(Step::Cycle),
        2 => key().prop_map(Step::Get),
        6 => (key(), value(), ttl(), when, any::<bool>())
            .prop_map(|(key, value, ttl, when, get)| Step::Set { key, value, ttl, when, get }),
        1 => (key(), value()).prop_map(|(key, value)| Step::Getset(key, value)),
        1 => key().prop_map(Step::Getdel),
        1 => (key(), ttl()).prop_map(|(key, ttl)| Step::Getex(key, ttl)),
        2 => (key(), key()).prop_map(|(a, b)| Step::Del(a, b)),
        1 => (key(), key()).prop_map(|(a, b)| Step::Exists(a, b)),
        2 => (key(), value()).prop_map(|(key, tail)| Step::Append(key, tail)),
        2 => (key(), prop_oneof![-9i64..9, any::<i64>()]).prop_map(|(key, by)| Step::Incrby(key, by)),
        3 => (key(), -5i64..50, rule).prop_map(|(key, ms, rule)| Step::Expire(key, ms, rule)),
        1 => key().prop_map(Step::Persist),
        2 => key().prop_map(Step::Ttl),
        1 => (key(), key()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (key(), key()).prop_map(|(from, to)| Step::Renamenx(from, to)),
        1 => (key(), key(), any::<bool>()).prop_map(|(from, to, replace)| Step::Copy(from, to, replace)),
        1 => (key(), key(), value()).prop_map(|(a, b, value)| Step::Mset(a, b, value)),
        1 => (key(), key(), value()).prop_map(|(a, b, value)| Step::Msetnx(a, b, value)),
        1 => prop::bool::weighted(0.3).prop_map(|flush| if flush { Step::Flush } else { Step::Replay }),
    ]
}

fn assert_same(world: &World, model: &Model) {
    let expected: Vec<_> =
        model.keys.iter().map(|(key, (value, e))| (0, key.as_bytes().to_vec(), value.clone(), *e)).collect();
    assert_eq!(world.contents(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn commands_do_what_a_plain_map_does_and_their_effects_tell_all(
        steps in prop::collection::vec(step(), 1..80),
        partitions in prop::sample::select(vec![1usize, 4]),
    ) {
        let mut world = World::new(partitions);
        let mut model = Model { now_ms: START_MS, ..Model::default() };
        for step in &steps {
            match step {
                Step::Pass(ms) => {
                    world.now_ms += ms;
                    model.now_ms += ms;
                }
                Step::Cycle => {
                    world.expire_due(usize::MAX);
                    // What is due for a moment only may stay until somebody looks.
                    KEYS.iter().for_each(|key| drop(world.run(&format!("exists {key}"))));
                    model.forget_expired();
                    prop_assert_eq!(world.run("dbsize").into_bytes(), int(model.keys.len() as i64));
                }
                // On from here with what a restart would know; the number of partitions is no part of it.
                Step::Replay => {
                    let mut next = world.replayed(5 - partitions);
                    next.journal = std::mem::take(&mut world.journal);
                    world = next;
                }
                step => {
                    let words = step.words();
                    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    let reply = world.run_words(&words);
                    prop_assert_eq!(reply, model.step(step), "{:?}", step);
                }
            }
        }
        model.forget_expired();
        assert_same(&world, &model);
        assert_same(&world.replayed(2), &model);
    }
}
