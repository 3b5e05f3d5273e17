//! Positions as pages are told them, and as they give them back: what stands in `id:` lines.
//!
//! ```text
//!   one name that remembers     EPOCH:ID                       00c0ffee00c0ffee:1717171717171-0
//!   several                     EPOCH:NAMES:N.ID,N.ID,…        00c0ffee00c0ffee:89abcdef:0.1717171717171-0,2.1717171717180-3
//! ```
//!
//! A page gives back the last `id:` it has seen and nothing else, and messages of several channels don't come in the order of
//! their IDs: each comes in the order of its own channel, while shards and partitions differ. So the line of each message
//! says where all names stand: `N` numbers the names in their order, which does not depend on the URL's, and `NAMES` is a
//! checksum of them, so that a position is never taken for one of other names.
//!
//! Invariants
//! - With at most [`NAMES_WITH_POSITION_MAX`] names a line is below 5 KiB; servers and proxies take headers of 8.

use std::io::Write;

use sterna_keyspace::stream::EntryId;

/// Names of one stream of events that have positions: channels that remember, and streams.
pub const NAMES_WITH_POSITION_MAX: usize = 100;

const LONGEST_ENTRY: usize = "99.18446744073709551615-18446744073709551615,".len();
const _: () = assert!(NAMES_WITH_POSITION_MAX * LONGEST_ENTRY + 64 < 5 * 1024);

/// Where a message stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    pub(crate) id: EntryId,
}

/// Where a page wants to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// With the first that is there.
    Earliest,
    /// Behind an entry, in whatever is followed.
    Id(Id),
    /// Behind a position that was handed out.
    Position {
        /// Under which it was handed out.
        epoch: u64,
        /// What stood where.
        at: At,
    },
}

/// An entry's ID, as others may make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub(crate) EntryId);

/// What an epoch stands in front of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The position of the one name that was followed.
    One(Id),
    /// The checksum of several names, and which of them stood where.
    Each {
        /// The checksum.
        names: u32,
        /// The names' numbers, and where they stood.
        ids: Vec<(usize, Id)>,
    },
}

impl Since {
    /// Reads what a page says: a position, an ID, milliseconds, or `earliest`.
    pub fn parse(text: &[u8]) -> Option<Since> {
        if text == b"earliest" {
            return Some(Since::Earliest);
        }
        let text = str::from_utf8(text).ok()?;
        let Some((epoch, rest)) = text.split_once(':') else {
            // Of milliseconds alone whatever has them is behind.
            let id = match digits(text) {
                Some(ms) => EntryId::new(ms, 0).prev().unwrap_or(EntryId::MIN),
                None => id(text)?,
            };
            return Some(Since::Id(Id(id)));
        };
        let epoch = hex(epoch, 16)?;
        let at = match rest.split_once(':') {
            None => At::One(Id(id(rest)?)),
            Some((names, ids)) => {
                let names = u32::try_from(hex(names, 8)?).ok()?;
                let entries = ids.split(',').filter(|entry| !entry.is_empty());
                let read = |entry: &str| {
                    let (number, rest) = entry.split_once('.')?;
                    Some((usize::try_from(digits(number)?).ok()?, Id(id(rest)?)))
                };
                let ids: Vec<_> =
                    entries.take(NAMES_WITH_POSITION_MAX + 1).map(read).collect::<Option<_>>()?;
                if ids.len() > NAMES_WITH_POSITION_MAX {
                    return None;
                }
                At::Each { names, ids }
            }
        };
        Some(Since::Position { epoch, at })
    }
}

/// So many hexadecimal digits.
fn hex(text: &str, length: usize) -> Option<u64> {
    let is_hex = text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok())?
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn id(text: &str) -> Option<EntryId> {
    let (ms, seq) = text.split_once('-')?;
    Some(EntryId::new(digits(ms)?, digits(seq)?))
}

impl Position {
    /// The line of a message of the one name that is followed.
    #[inline]
    pub(crate) fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"id: ");
        self.write(out);
        out.push(b'\n');
    }

    /// The position itself.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_epoch(out, self.epoch);
        out.push(b':');
        write_id(out, self.id);
    }
}

/// The epoch, as it stands in positions.
pub(crate) fn write_epoch(out: &mut Vec<u8>, epoch: u64) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // Four bits are an index into sixteen.
    out.extend((0..16).rev().map(|digit| HEX[(epoch >> (4 * digit) & 15) as usize]));
}

pub(crate) fn write_id(out: &mut Vec<u8>, id: EntryId) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(number.format(id.ms).as_bytes());
    out.push(b'-');
    out.extend_from_slice(number.format(id.seq).as_bytes());
}

/// What stands in front of the positions of several names: their checksum.
pub(crate) fn write_names(out: &mut Vec<u8>, names: u32) {
    // A buffer takes what is written.
    let _ = write!(out, "{names:08x}:");
}

/// What stands in front of the ID of each of several names: its number.
#[inline]
pub(crate) fn write_number(out: &mut Vec<u8>, number: usize) {
    if number > 0 {
        out.push(b',');
    }
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(b'.');
}

/// The checksum of names. Source: FNV-1a.
pub(crate) fn checksum<'n>(names: impl Iterator<Item = &'n [u8]>) -> u32 {
    let step = |sum: u32, byte: u8| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    names.fold(0x811c_9dc5, |sum, name| {
        // Lengths, so that names don't run into each other.
        let sum = (name.len() as u64).to_le_bytes().into_iter().fold(sum, step);
        name.iter().copied().fold(sum, step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let id = EntryId::new(1_717_171_717_171, 3);
        let mut text = Vec::new();
        Position { epoch: 0xc0ffee, id }.write(&mut text);
        assert_eq!(text, b"0000000000c0ffee:1717171717171-3");
        assert_eq!(Since::parse(&text), Some(Since::Position { epoch: 0xc0ffee, at: At::One(Id(id)) }));
        let mut text = Vec::new();
        let ids = [(0, id), (7, EntryId::MAX)];
        write_epoch(&mut text, u64::MAX);
        text.push(b':');
        write_names(&mut text, 0x12ab);
        for (number, id) in ids {
            write_number(&mut text, number);
            write_id(&mut text, id);
        }
        let ids = ids.map(|(number, id)| (number, Id(id))).to_vec();
        let at = At::Each { names: 0x12ab, ids };
        assert_eq!(Since::parse(&text), Some(Since::Position { epoch: u64::MAX, at }));
    }

    #[test]
    fn what_is_no_position_is_known() {
        assert_eq!(Since::parse(b"5-3"), Some(Since::Id(Id(EntryId::new(5, 3)))));
        assert_eq!(Since::parse(b"5"), Some(Since::Id(Id(EntryId::new(4, u64::MAX)))));
        assert_eq!(Since::parse(b"0"), Some(Since::Id(Id(EntryId::MIN))));
        assert_eq!(Since::parse(b"earliest"), Some(Since::Earliest));
        let long = format!("{}{}", "0".repeat(16), ":00000000:".to_owned() + &"1.1-1,".repeat(101));
        for wrong in [
            "",
            "x",
            "-",
            "5-",
            "-5",
            "5-3-1",
            "+5",
            "18446744073709551616",
            "c0ffee:1-1",
            ":1-1",
            "00000000000000zz:1-1",
            "0000000000000000:",
            "0000000000000000:1",
            "0000000000000000:1:1.1-1",
            "0000000000000000:00000000:1-1",
            "0000000000000000:00000000:1.1",
            "\u{ff}",
            &long,
        ] {
            assert_eq!(Since::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Since::parse(b"\xff"), None);
    }

    #[test]
    fn names_that_run_into_each_other_have_other_checksums() {
        let of = |names: &[&str]| checksum(names.iter().map(|name| name.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_do_harm(text in proptest::collection::vec(proptest::sample::select(b"0123:.,-af".as_slice()), 0..60)) {
            let _ = Since::parse(&text);
        }
    }
}
