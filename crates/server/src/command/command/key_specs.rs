//! What COMMAND INFO says of a command's keys: where they are and what becomes of them.
//!
//! Both are the row's to say: `keys` and `uses`.
//!
//! Source: redis.io/docs/latest/develop/reference/key-specs.

use sterna_command::{KeyUse, KeyUses, Keys};
use sterna_protocol::Reply;

use super::super::table::Row;

/// Keys of a command of which the same is true.
pub(super) struct KeySpec {
    pub(super) uses: KeyUse,
    place: Place,
}

enum Place {
    /// From argument `index` on; up to `last`, counted from there or, if negative, from the end.
    Index { index: i64, last: i64, step: i64 },
    /// Behind a word that is looked for from argument `start` on: the first half of what follows.
    Keyword { word: &'static str, start: i64 },
    /// Behind a word that is looked for from argument `start` on: one.
    Word { word: &'static str, start: i64 },
    /// As many as the number at `index` says, which the first of them follows.
    Counted { index: i64, step: i64 },
}

/// The key specifications of `row`.
pub(super) fn key_specs(row: &Row) -> Vec<KeySpec> {
    let spec = |place, nth| KeySpec { uses: row.spec.key_use(nth), place };
    match row.spec.keys {
        Keys::None => Vec::new(),
        // The first key is used otherwise than those that follow.
        Keys::Range { first, last, step: 1 } if matches!(row.spec.uses, KeyUses::FirstAndSecond(..)) => {
            let index = i64::from(first) + 1;
            let last = if last < 0 { last.into() } else { i64::from(last) - index };
            vec![
                spec(Place::Index { index: first.into(), last: 0, step: 1 }, 0),
                spec(Place::Index { index, last, step: 1 }, 1),
            ]
        }
        // The first is of another use than those behind it: SUNIONSTORE.
        Keys::Range { first, last: -1, step: 1 } if spec_differs(row) => {
            let at = |index: i16, last| Place::Index { index: index.into(), last, step: 1 };
            vec![spec(at(first, 0), 0), spec(at(first + 1, -1), 1)]
        }
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            let place = Place::Index { index: first.into(), last: last.into(), step: step.into() };
            vec![spec(place, 0)]
        }
        Keys::AfterStreams { from } => {
            vec![spec(Place::Keyword { word: "STREAMS", start: from.into() }, 0)]
        }
        Keys::Counted { count_at } => vec![spec(Place::Counted { index: count_at.into(), step: 1 }, 0)],
        Keys::CountedPairs { count_at } => {
            vec![spec(Place::Counted { index: count_at.into(), step: 2 }, 0)]
        }
        Keys::OneAndCounted { first, count_at } => vec![
            spec(Place::Index { index: first.into(), last: 0, step: 1 }, 0),
            spec(Place::Counted { index: count_at.into(), step: 1 }, 1),
        ],
        Keys::OneAndAfterWord { first, words, from } => {
            let one = spec(Place::Index { index: first.into(), last: 0, step: 1 }, 0);
            let behind = |word: &&'static str| spec(Place::Word { word, start: from.into() }, 1);
            std::iter::once(one).chain(words.iter().map(behind)).collect()
        }
    }
}

fn spec_differs(row: &Row) -> bool {
    row.spec.key_use(0) != row.spec.key_use(1)
}

/// The flags of a use, as a set.
pub(super) fn write_use(uses: KeyUse, reply: &mut Reply<'_>) {
    reply.set(uses.names().count());
    uses.names().for_each(|name| reply.simple(name));
}

impl KeySpec {
    pub(super) fn write(&self, reply: &mut Reply<'_>) {
        reply.map(3);
        reply.bulk(b"flags");
        write_use(self.uses, reply);
        match self.place {
            Place::Index { index, last, step } => {
                begin(reply, "index", &[("index", Fact::Number(index))]);
                find(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", 0)]);
            }
            Place::Keyword { word, start } => {
                begin(reply, "keyword", &[("keyword", Fact::Word(word)), ("startfrom", Fact::Number(start))]);
                find(reply, "range", &[("lastkey", -1), ("keystep", 1), ("limit", 2)]);
            }
            Place::Word { word, start } => {
                begin(reply, "keyword", &[("keyword", Fact::Word(word)), ("startfrom", Fact::Number(start))]);
                find(reply, "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]);
            }
            Place::Counted { index, step } => {
                begin(reply, "index", &[("index", Fact::Number(index))]);
                find(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", step)]);
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
