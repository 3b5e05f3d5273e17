//! Sets in the format of Redis's database file.
//!
//! ```text
//! type 2    count │ member string …                                            a hash table
//! type 11   string: width u32 │ count u32 │ integers, ascending                all little endian
//! type 20   string: a listpack                                                 since version 11
//! ```
//!
//! What is read takes the form that the limits give it, as when Redis reads it. Source: `redis-server`'s DUMP payloads.

use crate::collection::{Elements, Form, Limits};
use crate::listpack;
use crate::rdb::{read_length, read_string, write_length, write_string};
use crate::set::small::{Ints, Small, View};
use crate::set::{Set, SetRef};

const TYPE_SET: u8 = 2;
const TYPE_INTSET: u8 = 11;
const TYPE_LISTPACK: u8 = 20;

/// Versions of the file that have the types: Redis 7.0's, and Redis 7.2's.
const VERSION: u16 = 10;
const LISTPACK_VERSION: u16 = 11;

impl SetRef<'_> {
    /// Appends type and value; returns the version it needs.
    pub(super) fn write_payload(self, out: &mut Vec<u8>) -> u16 {
        match self.0 {
            Form::Small(small) => match small.view() {
                View::Ints(ints) => {
                    out.push(TYPE_INTSET);
                    let [width, len] = [ints.width(), ints.len()].map(|number| (number as u32).to_le_bytes());
                    write_string(out, &[&width, &len, ints.bytes()].concat());
                    VERSION
                }
                View::Packed(..) => {
                    out.push(TYPE_LISTPACK);
                    let mut packed = Vec::new();
                    small.write_listpack(&mut packed);
                    write_string(out, &packed);
                    LISTPACK_VERSION
                }
            },
            Form::Large(table) => {
                out.push(TYPE_SET);
                write_length(out, table.len() as u64);
                table.iter().for_each(|name| write_string(out, name));
                VERSION
            }
        }
    }
}

impl Set {
    /// Reads a value of this type; `None`: it is no set, damaged, or without members.
    pub(crate) fn read_rdb(kind: u8, from: &mut &[u8], limits: &Limits) -> Option<Set> {
        let mut set = match kind {
            TYPE_SET => read_members(from, limits)?,
            TYPE_INTSET => {
                let blob = read_string(from)?;
                let (width, rest) = blob.split_first_chunk::<4>()?;
                let (count, bytes) = rest.split_first_chunk::<4>()?;
                let ints = Ints::new(u32::from_le_bytes(*width) as usize, bytes)?;
                (ints.len() == u32::from_le_bytes(*count) as usize).then_some(())?;
                let mut set = Set(Form::Small(Small::of_ints(ints)));
                if ints.len() as u64 > limits.set_integers {
                    set.enlarge();
                }
                set
            }
            TYPE_LISTPACK => read_packed(&read_string(from)?, limits)?,
            _ => return None,
        };
        (set.view().len() > 0).then(|| std::mem::take(&mut set))
    }

    /// Whether values of this type are sets.
    pub(crate) fn is_rdb_type(kind: u8) -> bool {
        matches!(kind, TYPE_SET | TYPE_INTSET | TYPE_LISTPACK)
    }
}

fn read_members(from: &mut &[u8], limits: &Limits) -> Option<Set> {
    let count = read_length(from)?;
    let mut set = Set::default();
    if count > limits.set_integers {
        set.enlarge();
    }
    for _ in 0..count {
        set.insert(&read_string(from)?, limits).then_some(())?;
    }
    Some(set)
}

/// A listpack that came from outside. One with more members than may be packed goes straight into a table.
fn read_packed(bytes: &[u8], limits: &Limits) -> Option<Set> {
    let (mut elements, count) = listpack::Reader::elements(bytes)?;
    if count as u64 <= limits.set_entries
        && let Some(small) = Small::read_listpack(bytes)
    {
        return Some(Set(Form::Small(small)));
    }
    let mut set = Set::default();
    set.enlarge();
    while let Some(element) = listpack::read(&mut elements) {
        set.insert_member(element, limits).then_some(())?;
    }
    Some(set)
}
