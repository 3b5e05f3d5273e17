//! Fingerprints: 20 bytes that two servers agree on if they hold the same, whatever order and form they keep it in.
//!
//! What has an order is *mixed* in, one after the other: the SHA-1 of what was so far, exclusive-or'd with the SHA-1 of what comes.
//! What has none is only exclusive-or'd. A member with a score, or a field with a value, is first a fingerprint of its own.
//!
//! ```text
//!   keyspace   for each database with keys: its number mixed in, then every key's exclusive-or'd
//!   key        name, type, then what the value has; a mark if it expires
//! ```
//!
//! Cost: O(bytes), 64 at a time.
//! Source: Redis's `DEBUG DIGEST` (debug.c), with which it is compared.

use std::fmt;

use sha1::{Digest, Sha1};
use sterna_protocol::write_double;

use crate::list::End;
use crate::stream::EntryId;
use crate::value::{Value, ValueRef};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint([u8; 20]);

/// In place of the value of a key that expires, or of a field that does.
const EXPIRES: &[u8] = b"!!expire!!";
const FIELD_EXPIRES: &[u8] = b"!!hexpire!!";

impl Fingerprint {
    /// Of a key with its name.
    pub fn of_key(key: &[u8], value: ValueRef<'_>, expires: bool, now_ms: u64) -> Fingerprint {
        let mut print = Fingerprint::default();
        print.mix(key);
        print.add_value(value, expires, now_ms);
        print
    }

    /// Of what a key holds, without its name.
    pub fn of_value(value: ValueRef<'_>, expires: bool, now_ms: u64) -> Fingerprint {
        let mut print = Fingerprint::default();
        print.add_value(value, expires, now_ms);
        print
    }

    /// Of what Redis's fingerprints leave out: when fields expire, a stream's last ID, how far its groups are, and what waits for whom.
    pub fn of_rest(value: ValueRef<'_>) -> Fingerprint {
        let mut print = Fingerprint::default();
        match value {
            ValueRef::Hash(hash) => {
                for field in hash.fields(0) {
                    let Some(at_ms) = field.expiry() else { continue };
                    let mut one = Fingerprint::default();
                    one.mix(&field.name.text());
                    one.mix(&at_ms.to_be_bytes());
                    print.add(one);
                }
            }
            ValueRef::Kept(Value::Stream(stream)) => {
                print.mix_id(stream.last_id());
                for (name, group) in stream.groups() {
                    let mut one = Fingerprint::default();
                    one.mix(name);
                    one.mix_id(group.last_id());
                    for (id, pending) in group.pending().from(EntryId::MIN) {
                        one.mix_id(id);
                        one.mix(group.consumer_name(pending.consumer));
                        one.mix(&pending.deliveries.to_be_bytes());
                    }
                    print.add(one);
                }
            }
            _ => {}
        }
        print
    }

    /// Takes in the keys of a database, each of which was added to `keys`.
    pub fn add_database(&mut self, number: u32, keys: Fingerprint) {
        self.mix(&number.to_be_bytes());
        self.combine(keys);
    }

    /// Takes in a fingerprint, in no order.
    pub fn add(&mut self, print: Fingerprint) {
        self.xor(&print.0);
    }

    fn combine(&mut self, other: Fingerprint) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    fn xor(&mut self, bytes: &[u8]) {
        self.combine(Fingerprint(Sha1::digest(bytes).into()));
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.mix_pieces(std::iter::once(bytes));
    }

    fn mix_id(&mut self, id: EntryId) {
        self.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
    }

    fn mix_pieces<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        let mut hash = Sha1::new();
        pieces.for_each(|piece| hash.update(piece));
        self.combine(Fingerprint(hash.finalize().into()));
        self.0 = Sha1::digest(self.0).into();
    }

    fn add_value(&mut self, value: ValueRef<'_>, expires: bool, now_ms: u64) {
        let kind = if value.is_string() { 0 } else { kind_of(value.type_name()) };
        self.mix(&u32::to_be_bytes(kind));
        if let Some(text) = value.text() {
            self.mix_pieces(text.all_pieces());
        }
        match value {
            ValueRef::List(list) => list.visit(0, End::Back, |element| {
                self.mix(&element.text());
                true
            }),
            ValueRef::Set(set) => set.for_each(|member| self.xor(&member.text())),
            ValueRef::Zset(zset) => zset.visit_all(|member, score| self.add_scored(member, score)),
            ValueRef::Hash(hash) => {
                for field in hash.fields(now_ms) {
                    let mut print = Fingerprint::default();
                    print.mix(&field.name.text());
                    print.mix(&field.value.text());
                    if field.expiry().is_some() {
                        print.xor(FIELD_EXPIRES);
                    }
                    self.add(print);
                }
            }
            ValueRef::Kept(Value::Stream(stream)) => {
                for entry in stream.range(EntryId::MIN, EntryId::MAX) {
                    self.mix_id(entry.id);
                    for (name, value) in entry.fields() {
                        self.mix(name);
                        self.mix(value);
                    }
                }
            }
            _ => {}
        }
        if expires {
            self.xor(EXPIRES);
        }
    }

    fn add_scored(&mut self, member: &[u8], score: f64) {
        let (mut print, mut digits) = (Fingerprint::default(), Vec::new());
        write_score(&mut digits, score);
        print.mix(member);
        print.mix(&digits);
        self.add(print);
    }
}

/// A score as Redis hashes it: one that is whole has an exponent, too, where many zeros end it (`1e+8`).
fn write_score(out: &mut Vec<u8>, score: f64) {
    let shortest = format!("{score:e}");
    let parts = shortest
        .split_once('e')
        .and_then(|(digits, exponent)| Some((digits, exponent.parse::<usize>().ok()?)));
    match parts {
        Some((digits, exponent)) if exponent >= 7 + digits.bytes().filter(u8::is_ascii_digit).count() => {
            out.extend_from_slice(format!("{digits}e+{exponent}").as_bytes());
        }
        _ => write_double(out, score),
    }
}

/// The number of a type, which is part of what Redis hashes.
fn kind_of(type_name: &str) -> u32 {
    match type_name {
        "list" => 1,
        "set" => 2,
        "zset" => 3,
        "hash" => 4,
        "stream" => 6,
        _ => 0,
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
