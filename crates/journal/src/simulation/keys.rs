//! A small state machine that shows every mistake: keys whose value depends on each effect and on their order.
//!
//! A value is a count and a running hash of what was appended to the key; an effect applied twice, left out or out of order
//! leaves another hash. Effects are: append to a key, delete a key, delete all keys, and several of them as one.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Capture, Dice, Subject};
use crate::Lsn;
use crate::recovery::{Rejected, Restore};

const APPEND: u8 = 1;
const DELETE: u8 = 2;
const DELETE_ALL: u8 = 3;

/// Number of different keys.
const KEYS: usize = 9;

/// A key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Value {
    appended: u64,
    hash: u64,
}

/// The keys and their values.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Value, and the stamp it was loaded with.
    keys: BTreeMap<u8, (Value, Lsn)>,
}

impl Keys {
    /// Applies an effect; with a `lsn`, only to keys whose stamp does not cover it.
    fn apply(&mut self, effect: &[u8], lsn: Option<Lsn>) -> Result<(), Rejected> {
        let covered = |stamp: Lsn| lsn.is_some_and(|lsn| stamp.covers(lsn));
        let mut rest = effect;
        while let Some((&verb, after)) = rest.split_first() {
            let (&key, after) = after.split_first().ok_or(Rejected("an effect without a key"))?;
            rest = after;
            match verb {
                APPEND => {
                    let (length, after) = rest.split_first_chunk::<4>().ok_or(Rejected("no length"))?;
                    let length = u32::from_le_bytes(*length) as usize;
                    let (bytes, after) = after.split_at_checked(length).ok_or(Rejected("too short"))?;
                    rest = after;
                    let (value, stamp) = self.keys.entry(key).or_default();
                    if !covered(*stamp) {
                        let mut hasher = DefaultHasher::new();
                        (*value, bytes).hash(&mut hasher);
                        *value = Value { appended: value.appended + 1, hash: hasher.finish() };
                    }
                }
                DELETE => {
                    if self.keys.get(&key).is_some_and(|&(_, stamp)| !covered(stamp)) {
                        self.keys.remove(&key);
                    }
                }
                DELETE_ALL => self.keys.retain(|_, &mut (_, stamp)| covered(stamp)),
                _ => return Err(Rejected("not an effect")),
            }
        }
        Ok(())
    }

    fn random_effect(dice: &mut Dice, into: &mut Vec<u8>) {
        let key = dice.below(KEYS) as u8;
        match dice.below(24) {
            0 => into.extend([DELETE_ALL, 0]),
            1..4 => into.extend([DELETE, key]),
            luck => {
                let length = match luck {
                    4 => 300 + dice.below(5000),
                    5..8 => dice.below(300),
                    _ => dice.below(20),
                };
                into.extend([APPEND, key]);
                into.extend((length as u32).to_le_bytes());
                let fill = dice.roll().to_le_bytes();
                into.extend(fill.iter().cycle().take(length));
            }
        }
    }
}

impl Subject for Keys {
    fn empty() -> Self {
        Keys::default()
    }

    fn write(&mut self, dice: &mut Dice) -> Vec<u8> {
        let mut effect = Vec::new();
        let parts = if dice.once_in(6) { dice.below(4) } else { 1 };
        for _ in 0..parts {
            Keys::random_effect(dice, &mut effect);
        }
        self.apply(&effect, None).expect("an effect of our own making");
        effect
    }

    fn capture(&self, place: &mut Capture, item: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        let after = place.after.as_ref().and_then(|key| key.first().copied());
        let from = after.map_or(0, |key| key as usize + 1);
        // A walk that passes one key at a time, absent ones too, leaves the most room for writes in between.
        if from >= KEYS {
            return false;
        }
        let key = from as u8;
        if let Some((value, _)) = self.keys.get(&key) {
            let mut bytes = value.appended.to_le_bytes().to_vec();
            bytes.extend(value.hash.to_le_bytes());
            item(&[key], &bytes);
        }
        place.after = Some(vec![key]);
        true
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, (value, _)) in &self.keys {
            (key, value).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Restore for Keys {
    fn item(&mut self, key: &[u8], stamp: Lsn, value: &[u8]) -> Result<(), Rejected> {
        let &[key] = key else { return Err(Rejected("not a key")) };
        let (appended, hash) = value.split_first_chunk::<8>().ok_or(Rejected("not a value"))?;
        let hash = hash.try_into().map_err(|_| Rejected("not a value"))?;
        let value = Value { appended: u64::from_le_bytes(*appended), hash: u64::from_le_bytes(hash) };
        if self.keys.insert(key, (value, stamp)).is_some() {
            return Err(Rejected("a key twice"));
        }
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), Rejected> {
        self.apply(payload, Some(lsn))
    }
}
