//! A whole set in bytes: what a snapshot keeps of it, and a `set` effect.
//!
//! ```text
//! set   0         │ a listpack
//!       2, 4 or 8 │ integers of that width, ascending, little endian
//!       1         │ count v, members (length v, bytes)…
//! ```
//!
//! It is read back in the form it had. Reading checks everything: the bytes come from a file.

use crate::collection::Form;
use crate::compact::NameTable;
use crate::set::small::{Ints, Small, View};
use crate::set::{Set, SetRef};
use crate::stream::varint;

const PACKED: u8 = 0;
const LARGE: u8 = 1;
/// Bytes of a large set from one pause to the next.
const PAUSE_BYTES: usize = 64 << 10;

impl SetRef<'_> {
    pub(super) fn write_snapshot(self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        match self.0 {
            Form::Small(small) => match small.view() {
                View::Ints(ints) => {
                    out.push(ints.width() as u8);
                    out.extend_from_slice(ints.bytes());
                }
                View::Packed(..) => {
                    out.push(PACKED);
                    small.write_listpack(out);
                }
            },
            Form::Large(table) => {
                out.push(LARGE);
                varint::write(out, table.len() as u64);
                let mut written = 0;
                for name in table.iter() {
                    varint::write_bytes(out, name);
                    written += name.len() + 1;
                    if written >= PAUSE_BYTES {
                        pause(out);
                        written = 0;
                    }
                }
            }
        }
    }
}

impl Set {
    /// Reads what was written; `None`: the bytes are not exactly a set with members.
    pub(crate) fn read(from: &[u8]) -> Option<Set> {
        let (&kind, rest) = from.split_first()?;
        match kind {
            PACKED => Small::read_listpack(rest).map(|small| Set(Form::Small(small))),
            LARGE => {
                let (count, mut rest) = varint::read(rest)?;
                let mut table = NameTable::default();
                while !rest.is_empty() {
                    let (name, behind) = varint::read_bytes(rest)?;
                    table.insert(name).then_some(())?;
                    rest = behind;
                }
                (!table.is_empty() && table.len() as u64 == count).then(|| Set(Form::Large(Box::new(table))))
            }
            width => Ints::new(usize::from(width), rest).map(|ints| Set(Form::Small(Small::of_ints(ints)))),
        }
    }
}
