//! What a key takes: resident memory of many small values of a type, and of an element of one large value.
//!
//! A number of keys is measured as it is: hash tables double, so that what a key takes swings with how many there are.
use super::Measure;
use super::scene::{Bench, Figures};
use crate::limit::Failure;
use crate::load::command;
use crate::peer::Settings;

/// Resident memory of each of so many keys, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyMemory {
    pub keys: usize,
    pub of: Kept,
}

/// What each key holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// A string of so many bytes.
    Text { bytes: usize },
    /// One of ten, with an expiry.
    Expiring,
    /// A collection of ten elements.
    Ten(Type),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Hash,
    List,
    Set,
    Zset,
}

impl Measure for KeyMemory {
    fn heavy(&self) -> bool {
        self.keys >= 1_000_000
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        // The first connection makes the server set up what it keeps anyway.
        scene.ask("a key", 1, 1, |out, _| command(out, &[b"SET", b"first", b"1"]))?;
        let before = scene.resident_bytes()?;
        let keys = bench.count(self.keys);
        scene.ask("keys", keys, 1, |out, n| self.of.request(out, n))?;
        let grown = scene.resident_bytes()?.saturating_sub(before);
        let found = scene.integer(&[b"DBSIZE"])?;
        if found != keys as u64 + 1 {
            return Err(Failure::Reply(format!("{found} keys, not {keys} and one")));
        }
        Ok(Figures::new(grown as f64 / keys as f64))
    }
}

/// A number without order in it.
fn mixed(n: usize) -> u64 {
    (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Kept {
    fn request(self, out: &mut Vec<u8>, n: usize) {
        let key = format!("key:{n:012}");
        let key = key.as_bytes();
        match self {
            Kept::Text { bytes } => {
                let value = format!("v{:0width$}", mixed(n) % 1_000_000_000, width = bytes - 1);
                command(out, &[b"SET", key, value.as_bytes()]);
            }
            Kept::Expiring => {
                let value = format!("v{:09}", mixed(n) % 1_000_000_000);
                // Some hours, in no order.
                let seconds = (10_000 + mixed(n) % 100_000).to_string();
                command(out, &[b"SET", key, value.as_bytes(), b"EX", seconds.as_bytes()]);
            }
            Kept::Ten(of) => {
                let names: Vec<String> = (0..10).map(|i| format!("field:{i}")).collect();
                let values: Vec<String> =
                    (0..10).map(|i| format!("value:{:06}", mixed(10 * n + i) % 1_000_000)).collect();
                of.request(out, key, &names, &values);
            }
        }
    }
}

impl Type {
    /// Adds elements: `names` where names are, `values` what differs from key to key.
    fn request(self, out: &mut Vec<u8>, key: &[u8], names: &[String], values: &[String]) {
        let scores: Vec<String> = (1..=values.len()).map(|score| score.to_string()).collect();
        let words: Vec<&[u8]> = match self {
            Type::Hash => pairs(names, values),
            Type::Zset => pairs(&scores, values),
            Type::List | Type::Set => values.iter().map(String::as_bytes).collect(),
        };
        let verb: &[u8] = match self {
            Type::Hash => b"HSET",
            Type::List => b"RPUSH",
            Type::Set => b"SADD",
            Type::Zset => b"ZADD",
        };
        command(out, &[&[verb, key][..], &words[..]].concat());
    }
}

fn pairs<'a>(a: &'a [String], b: &'a [String]) -> Vec<&'a [u8]> {
    a.iter().zip(b).flat_map(|(a, b)| [a.as_bytes(), b.as_bytes()]).collect()
}

/// Resident memory of each element of one collection of so many, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ElementMemory {
    pub elements: usize,
    pub of: Type,
}

impl Measure for ElementMemory {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        scene.ask("a key", 1, 1, |out, _| command(out, &[b"SET", b"first", b"1"]))?;
        let before = scene.resident_bytes()?;
        let elements = bench.count(self.elements);
        scene.ask("elements", elements, 1, |out, n| {
            let (member, value) = (format!("member:{n:08}"), format!("value:{:06}", mixed(n) % 1_000_000));
            let score = (mixed(n) % 10_000_000).to_string();
            match self.of {
                Type::Hash => self.of.request(out, b"large", &[member], &[value]),
                Type::Zset => command(out, &[b"ZADD", b"large", score.as_bytes(), member.as_bytes()]),
                Type::List | Type::Set => self.of.request(out, b"large", &[], &[member]),
            }
        })?;
        let grown = scene.resident_bytes()?.saturating_sub(before);
        Ok(Figures::new(grown as f64 / elements as f64))
    }
}
