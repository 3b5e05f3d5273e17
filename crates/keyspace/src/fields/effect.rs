//! Changes of a hash in bytes: the bodies of its effects.
//!
//! ```text
//! change   kind u8
//! 1 set        (name │ value)…                  they have no expiry any more
//! 2 set        (name │ value)…                  their expiries stay
//! 3 set        expiry v │ (name │ value)…       they all expire then
//! 4 remove     (name)…
//! 5 expire     expiry v │ (name)…               0 for never, else Unix milliseconds + 1
//! ```
//!
//! A name or value is a length `v`, a varint, and its bytes. What is removed or expires is there; nothing is due: that a
//! field's time has come shows in a `remove`.

use super::edit::Expiry;
use super::{Hash, NEVER};
use crate::collection::{Elements, Limits};
use crate::effect::{read_varint, write_expiry, write_varint};

const SET: u8 = 1;
const SET_KEEPING: u8 = 2;
const SET_EXPIRING: u8 = 3;
const REMOVE: u8 = 4;
const EXPIRE: u8 = 5;

pub(super) fn write_set<'a>(
    body: &mut Vec<u8>,
    expiry: Expiry,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    match expiry {
        Expiry::Clear => body.push(SET),
        Expiry::Keep => body.push(SET_KEEPING),
        Expiry::At(at_ms) => {
            body.push(SET_EXPIRING);
            write_expiry(body, Some(at_ms));
        }
    }
    for (name, value) in fields {
        write_text(body, name);
        write_text(body, value);
    }
}

pub(super) fn write_remove<'a>(body: &mut Vec<u8>, names: impl Iterator<Item = &'a [u8]>) {
    body.push(REMOVE);
    names.for_each(|name| write_text(body, name));
}

pub(super) fn write_expire<'a>(
    body: &mut Vec<u8>,
    at_ms: Option<u64>,
    names: impl Iterator<Item = &'a [u8]>,
) {
    body.push(EXPIRE);
    write_expiry(body, at_ms);
    names.for_each(|name| write_text(body, name));
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

pub(super) fn read_text<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_varint(from)?).ok()?;
    from.split_off(..len)
}

/// Reads an expiry, which is [`NEVER`] for none.
pub(super) fn read_expiry(from: &mut &[u8]) -> Option<u64> {
    // The highest number is `NEVER` itself, and no time.
    Some(read_varint(from)?.checked_sub(1).unwrap_or(NEVER))
}

impl Hash {
    /// See [`crate::collection::Collection::apply`].
    pub(super) fn apply_change(&mut self, change: &[u8], limits: &Limits) -> bool {
        self.try_apply(change, limits).is_some()
    }

    fn try_apply(&mut self, mut change: &[u8], limits: &Limits) -> Option<()> {
        let expiry = match *change.split_off_first()? {
            SET => Expiry::Clear,
            SET_KEEPING => Expiry::Keep,
            SET_EXPIRING => match read_expiry(&mut change)? {
                NEVER => return None,
                at_ms => Expiry::At(at_ms),
            },
            REMOVE => {
                let names = self.read_names(change)?;
                for name in names {
                    self.remove(name);
                }
                return Some(());
            }
            EXPIRE => {
                let at_ms = read_expiry(&mut change)?;
                let names = self.read_names(change)?;
                for name in names {
                    self.set_expiry(name, at_ms);
                }
                return Some(());
            }
            _ => return None,
        };
        let mut fields = Vec::new();
        while !change.is_empty() {
            fields.push((read_text(&mut change)?, read_text(&mut change)?));
        }
        if fields.is_empty() {
            return None;
        }
        self.make_room(fields.len(), limits);
        for (name, value) in fields {
            self.put(name, value, expiry, limits);
        }
        Some(())
    }

    /// Names up to the end, one at least, all of fields that are there.
    fn read_names<'a>(&self, mut from: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let mut names = Vec::new();
        while !from.is_empty() {
            let name = read_text(&mut from)?;
            self.view().stored(name)?;
            names.push(name);
        }
        (!names.is_empty()).then_some(names)
    }
}
