//! What COMMAND INFO says of a command's keys: where they are and what becomes of them.
//!
//! Where they are follows from the row's `Keys`; what becomes of them mostly from its flags, and the exceptions are
//! listed here.
//!
//! Source: redis.io/docs/latest/develop/reference/key-specs; the flags are Redis 8.2's.

use sterna_command::{Flags, Group, Keys};
use sterna_protocol::{Args, Reply};

use super::super::table::Row;

/// Keys of a command of which the same is true.
pub(super) struct KeySpec {
    pub(super) flags: &'static [&'static str],
    place: Place,
}

enum Place {
    /// From argument `index` on; up to `last`, counted from there or, if negative, from the end.
    Index { index: i64, last: i64, step: i64 },
    /// Behind a word that is looked for from argument `start` on: the first half of what follows.
    Keyword { word: &'static str, start: i64 },
    /// As many as the number at `index` says, which the first of them follows.
    Counted { index: i64 },
}

/// The key specifications of `row`.
pub(super) fn key_specs(row: &Row) -> Vec<KeySpec> {
    let spec = |place, nth| KeySpec { flags: flags(row, nth), place };
    match row.spec.keys {
        Keys::None => Vec::new(),
        Keys::Range { first: 1, last: 2, step: 1 } => {
            let at = |index| Place::Index { index, last: 0, step: 1 };
            vec![spec(at(1), 0), spec(at(2), 1)]
        }
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            let place = Place::Index { index: first.into(), last: last.into(), step: step.into() };
            vec![spec(place, 0)]
        }
        Keys::AfterStreams => {
            let start = if row.spec.name == "xreadgroup" { 4 } else { 1 };
            vec![spec(Place::Keyword { word: "STREAMS", start }, 0)]
        }
        Keys::Counted { count_at } => vec![spec(Place::Counted { index: count_at.into() }, 0)],
    }
}

/// Whether what the row calls keys are keys: sharded channels are not.
pub(super) fn has_keys(row: &Row) -> bool {
    row.spec.keys != Keys::None && row.spec.group != Group::Pubsub
}

/// What becomes of the `nth` key specification's keys.
fn flags(row: &Row, nth: usize) -> &'static [&'static str] {
    match (row.full_name.as_str(), nth) {
        _ if row.spec.group == Group::Pubsub => &["not_key"],
        ("exists" | "strlen" | "touch" | "type" | "watch" | "xlen" | "memory|usage", _) => &["RO"],
        (name, _) if name.starts_with("object|") => &["RO"],
        ("xreadgroup" | "copy", 0) => &["RO", "access"],
        ("del" | "unlink", _) => &["RM", "delete"],
        ("rename" | "renamenx", 0) => &["RW", "access", "delete"],
        ("renamenx", _) | ("msetnx" | "setnx", _) => &["OW", "insert"],
        ("copy" | "rename", _) | ("mset" | "psetex" | "restore" | "setex", _) => &["OW", "update"],
        ("set", _) => &["RW", "access", "update", "variable_flags"],
        ("getdel", _) => &["RW", "access", "delete"],
        ("decr" | "decrby" | "getex" | "getset" | "incr" | "incrby" | "incrbyfloat", _) => {
            &["RW", "access", "update"]
        }
        ("append" | "xgroup|create" | "xgroup|createconsumer", _) => &["RW", "insert"],
        ("xautoclaim" | "xdel" | "xdelex" | "xtrim" | "xgroup|destroy" | "xgroup|delconsumer", _) => {
            &["RW", "delete"]
        }
        ("xackdel", _) => &["RW", "update", "delete"],
        _ if row.has(Flags::WRITE) => &["RW", "update"],
        _ => &["RO", "access"],
    }
}

/// What becomes of the key at argument `index` of this request, for COMMAND GETKEYSANDFLAGS.
pub(super) fn flags_of(row: &Row, args: Args<'_>, index: usize) -> &'static [&'static str] {
    if row.spec.name == "set" {
        let answers = args.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"GET"));
        return if answers { &["RW", "access", "update"] } else { &["OW", "update"] };
    }
    let nth = match row.spec.keys {
        Keys::Range { first: 1, last: 2, step: 1 } => index.saturating_sub(1),
        _ => 0,
    };
    flags(row, nth)
}

impl KeySpec {
    pub(super) fn write(&self, reply: &mut Reply<'_>) {
        reply.map(3);
        reply.bulk(b"flags");
        reply.set(self.flags.len());
        self.flags.iter().for_each(|flag| reply.simple(flag));
        match self.place {
            Place::Index { index, last, step } => {
                begin(reply, "index", &[("index", Fact::Number(index))]);
                find(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", 0)]);
            }
            Place::Keyword { word, start } => {
                begin(reply, "keyword", &[("keyword", Fact::Word(word)), ("startfrom", Fact::Number(start))]);
                find(reply, "range", &[("lastkey", -1), ("keystep", 1), ("limit", 2)]);
            }
            Place::Counted { index } => {
                begin(reply, "index", &[("index", Fact::Number(index))]);
                find(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
            }
        }
    }
}

enum Fact {
    Number(i64),
    Word(&'static str),
}

fn begin(reply: &mut Reply<'_>, kind: &str, facts: &[(&str, Fact)]) {
    typed(reply, "begin_search", kind, facts.len());
    for (name, fact) in facts {
        reply.bulk(name.as_bytes());
        match fact {
            Fact::Number(number) => reply.int(*number),
            Fact::Word(word) => reply.bulk(word.as_bytes()),
        }
    }
}

fn find(reply: &mut Reply<'_>, kind: &str, facts: &[(&str, i64)]) {
    typed(reply, "find_keys", kind, facts.len());
    for (name, number) in facts {
        reply.bulk(name.as_bytes());
        reply.int(*number);
    }
}

/// Everything of a step but its facts, which follow.
fn typed(reply: &mut Reply<'_>, step: &str, kind: &str, facts: usize) {
    reply.bulk(step.as_bytes());
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(facts);
}
