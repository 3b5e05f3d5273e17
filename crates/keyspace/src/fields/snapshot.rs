//! A whole hash in bytes: what a snapshot keeps of it, and a `set` effect.
//!
//! ```text
//! hash    version u8 │ form u8 │ …
//! 0 small    a listpack (`listpack.rs`) of name, value, name, value…
//! 1 large    (expiry v │ name │ value)…        2: the same, of a hash that counts as small
//! ```
//!
//! The fields of a large one are in order of position, so that the same fields are the same bytes, whatever became of the
//! hash before. An expiry is 0 for none, else Unix milliseconds + 1; a name or value is a length and its bytes. Reading checks everything:
//! the bytes come from a file.

use std::collections::HashSet;

use super::effect::{read_expiry, read_text, write_text};
use super::table::Table;
use super::{Hash, HashRef, Large, pairs};
use crate::collection::{Elements, Form};
use crate::effect::write_expiry;
use crate::packed::Packed;

const VERSION: u8 = 1;
const SMALL: u8 = 0;
const LARGE: u8 = 1;
const LARGE_COUNTS_AS_SMALL: u8 = 2;

/// Fields that are written between two pauses.
const PAUSE_FIELDS: usize = 256;

impl HashRef<'_> {
    pub(super) fn write_snapshot(self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        out.push(VERSION);
        match self.0 {
            Form::Small(small) => {
                out.push(SMALL);
                small.write_listpack(out);
            }
            Form::Large(large) => {
                out.push(if large.counts_as_small { LARGE_COUNTS_AS_SMALL } else { LARGE });
                let mut count = 0;
                large.table.for_each_in_order(|field| {
                    write_expiry(out, field.expiry());
                    write_text(out, &field.name.text());
                    write_text(out, &field.value.text());
                    count += 1;
                    if count % PAUSE_FIELDS == 0 {
                        pause(out);
                    }
                });
            }
        }
    }
}

impl Hash {
    /// Reads what was written; `None` if the bytes are not exactly that, or it has no field.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Hash> {
        if *bytes.split_off_first()? != VERSION {
            return None;
        }
        let form = match *bytes.split_off_first()? {
            SMALL => Form::Small(checked(Packed::read_listpack(bytes)?)?),
            form @ (LARGE | LARGE_COUNTS_AS_SMALL) => {
                let mut table = Table::default();
                while !bytes.is_empty() {
                    let at_ms = read_expiry(&mut bytes)?;
                    let (name, value) = (read_text(&mut bytes)?, read_text(&mut bytes)?);
                    if !table.put(name, value, |_| at_ms) {
                        return None;
                    }
                }
                let counts_as_small = form == LARGE_COUNTS_AS_SMALL;
                Form::Large(Box::new(Large { table, counts_as_small }))
            }
            _ => return None,
        };
        Some(Hash(form)).filter(|hash| hash.view().len() > 0)
    }
}

/// The fields of a small hash, if no two have one name.
pub(super) fn checked(packed: Packed) -> Option<Packed> {
    let mut names = HashSet::with_capacity(packed.len() / 2);
    let is_unique =
        packed.len().is_multiple_of(2) && pairs(packed.view()).all(|field| names.insert(field.name));
    is_unique.then_some(packed)
}
