//! Effects: what a write did to one key, in bytes that can be applied again without the command.
//!
//! ```text
//! effect   kind u8 │ database u8 │ key length v │ key │ body length v │ body
//!
//! kind         body
//! 1 set        expiry v │ value kind u8 │ value          the key now holds this, whatever it held before
//! 2 delete     –                                         the key is gone
//! 3 expire     expiry v                                  the key's expiry; the value stays
//! 4 append     bytes                                     these come behind the string that is there
//! 5 flush      –, or group u16 │ groups u16              (no key) the database is empty; 255: all of them; or of the keys of
//!                                                        one of so many groups
//! 6 stream     change                                    of the stream that is there; see stream/effect.rs
//! 7 list · 8 hash · 9 set · 10 sorted set    change      of the collection that is there, or of an empty one if there is
//!                                                        nothing; with its last element the key goes; see <type>/effect.rs
//! 11 patch     offset v │ bytes                          these stand there in the string, or in an empty one if there is
//!                                                        nothing; a shorter one is filled with zeros first
//! 12 databases stored number u8, one for each database    (no key; 255) the first database shows what is stored under the
//!                                                        first number, and so on; those behind the last, their own
//! 16 suspend   –                                         (no key; 255) effects from here on don't count
//! 17 resume    –                                         (no key; 255) those from here on do again
//! 18 library   code                                      (255) the library of functions that the key names is this
//! 19 no library   –                                      (255) it is gone; FLUSHALL leaves libraries where they are
//! 20 tentative –                                         (no key; 255) this record counts when a standing says so
//! 21 standing  settled u64 │ voids u8 │ bytes            (no key; 255) tentative records up to that LSN count, and if `voids`
//!                                                        is 1 those behind it never will; how far the log of a cluster was read
//! 22 tentative of a group    group u16 │ groups u16      (no key; 255) as 20, in the log of one of so many groups of keys
//! 23 standing of a group     group u16 │ groups u16 │ as 21    (no key; 255) as 21, of that log and the records for it
//!
//! value kind   value
//! 0 string     the bytes
//! 1 integer    8 bytes, little endian
//! 2 stream     see stream/snapshot.rs
//! 3 string with gaps    length v │ (zeros v │ length v │ bytes)…    and zeros at its end
//! 7 list · 8 hash · 9 set · 10 sorted set    see <type>/snapshot.rs
//! ```
//!
//! - `v` is an unsigned LEB128 number of at most 64 bits. An expiry is 0 for none, else Unix milliseconds + 1.
//! - Every effect but those of the databases, of libraries and of the log is about one key (or a whole database), so that
//!   keys can be captured and replayed one by one:
//!   RENAME is a set and a delete, not a move.
//! - The database of an effect is the number it is stored under, which SWAPDB doesn't change: so a snapshot that is taken
//!   meanwhile names each key once.
//! - An effect says how things are, not by how much they change (`append` apart), and holds no clock and no random
//!   number: applying the effects of a run in order gives the state of the run.
//!
//! Reading checks everything: the bytes come from a file.

use std::sync::Arc;

use crate::collection::{self, is_tag};
use crate::groups::{GROUPS_MAX, KeyGroup};
use crate::stream::Stream;
use crate::stream::effect::Change;
use crate::string::{Long, PART_BYTES, Text};
use crate::value::{Value, ValueRef};

pub(crate) const SET: u8 = 1;
pub(crate) const DELETE: u8 = 2;
pub(crate) const EXPIRE: u8 = 3;
pub(crate) const APPEND: u8 = 4;
pub(crate) const FLUSH: u8 = 5;
pub(crate) const STREAM: u8 = 6;
/// Collections have one number for their effects and their values.
pub(crate) const COLLECTIONS_FIRST: u8 = 7;
pub(crate) const COLLECTIONS_LAST: u8 = 10;
pub(crate) const PATCH: u8 = 11;
pub(crate) const DATABASES: u8 = 12;
pub(crate) const SUSPEND: u8 = 16;
pub(crate) const RESUME: u8 = 17;
pub(crate) const LIBRARY: u8 = 18;
pub(crate) const NO_LIBRARY: u8 = 19;
pub(crate) const TENTATIVE: u8 = 20;
pub(crate) const STANDING: u8 = 21;
pub(crate) const TENTATIVE_OF_GROUP: u8 = 22;
pub(crate) const STANDING_OF_GROUP: u8 = 23;

/// In the place of a database: all of them.
pub(crate) const ALL_DATABASES: usize = 255;

/// In the place of a snapshot's database: what has it is a library of functions. Databases are numbered below.
pub const LIBRARIES: u8 = 255;

const VALUE_STRING: u8 = 0;
const VALUE_INTEGER: u8 = 1;
const VALUE_STREAM: u8 = 2;
const VALUE_GAPS: u8 = 3;

/// One effect, its key and bytes lying in the buffer it was read from.
#[derive(Debug)]
pub struct Effect<'a> {
    /// The number that the database is stored under; `None`: all.
    pub db: Option<usize>,
    /// The key; empty for a flush.
    pub key: &'a [u8],
    /// What happened to it.
    pub what: What<'a>,
}

/// What happened to a key.
#[derive(Debug)]
pub enum What<'a> {
    /// It holds this value.
    Set {
        /// The value.
        value: Value,
        /// Unix milliseconds.
        expire_at_ms: Option<u64>,
    },
    /// It is gone.
    Delete,
    /// It expires then.
    Expire {
        /// Unix milliseconds; `None`: never.
        at_ms: Option<u64>,
    },
    /// These bytes come behind its string.
    Append {
        /// The bytes.
        tail: &'a [u8],
    },
    /// These bytes stand in its string.
    Patch {
        /// Where.
        offset: usize,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The whole database is empty.
    Flush {
        /// Of these keys.
        group: KeyGroup,
    },
    /// Its stream changed.
    Stream {
        /// How.
        change: Change<'a>,
    },
    /// Its collection changed.
    Elements {
        /// Of which type it is.
        tag: u8,
        /// How, as its type writes it.
        change: &'a [u8],
    },
    /// A library of functions, which `key` names, has this code.
    Library {
        /// Its text.
        code: &'a [u8],
    },
    /// There is no library of this name any more.
    NoLibrary,
    /// Which stored database each database shows; those that are not named, their own.
    Databases {
        /// The stored numbers, in the order of the databases.
        shown: &'a [u8],
    },
    /// About the log: what follows is not part of the state, unless a snapshot begins behind this.
    Suspend,
    /// About the log: what follows is part of the state again, which is as it was at the suspend.
    Resume,
    /// About the log: the record that begins with this counts when a standing says so.
    Tentative {
        /// In whose log it is to be.
        group: KeyGroup,
    },
    /// About the log: which tentative records count.
    Standing {
        /// Whose log it is, and whose records.
        group: KeyGroup,
        /// Those up to this LSN count.
        settled: u64,
        /// Those behind it never will.
        voids: bool,
        /// How far the log of a cluster was read.
        witness: &'a [u8],
    },
}

/// The bytes are not effects: damaged, or written by a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// Where in the buffer the effect starts that can't be read.
    pub offset: usize,
}

/// Reads the effects in a buffer in order; ends after the first that can't be read.
#[derive(Debug, Clone)]
pub struct Effects<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Effect<'a> {
    /// The effect in each partition, if it is one of all partitions and not of a key.
    pub fn of_all(&self) -> Option<impl Fn() -> Effect<'a> + use<'a>> {
        let (group, shown) = match self.what {
            What::Flush { group } => (group, None),
            What::Databases { shown } => (KeyGroup::WHOLE, Some(shown)),
            _ => return None,
        };
        let db = self.db;
        let what = move || shown.map_or(What::Flush { group }, |shown| What::Databases { shown });
        Some(move || Effect { db, key: b"", what: what() })
    }
}

impl<'a> Effects<'a> {
    /// The effects in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Effects<'a> {
        Effects { whole: bytes, rest: bytes }
    }

    /// Where in the buffer the next effect starts.
    pub fn offset(&self) -> usize {
        self.whole.len() - self.rest.len()
    }
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<Effect<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset();
        match read(&mut self.rest) {
            Some(effect) => Some(Ok(effect)),
            None => {
                self.rest = &[];
                Some(Err(Unreadable { offset }))
            }
        }
    }
}

/// The effect of FLUSHALL, on the keys of a group.
pub fn flush_all(group: KeyGroup) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_flush(&mut bytes, None, group);
    bytes
}

/// Appends that a stored database, or all, has no keys of a group any more. One group of all keys is not named.
pub(crate) fn write_flush(out: &mut Vec<u8>, stored: Option<usize>, group: KeyGroup) {
    write(out, FLUSH, stored.unwrap_or(ALL_DATABASES), b"", |body| {
        if group != KeyGroup::WHOLE {
            write_group(body, group);
        }
    });
}

/// Appends the effect of SWAPDB.
pub fn write_databases(out: &mut Vec<u8>, shown: &[u8]) {
    write(out, DATABASES, ALL_DATABASES, b"", |body| body.extend_from_slice(shown));
}

/// Appends that a library of functions has this code, or is gone.
pub fn write_library(out: &mut Vec<u8>, name: &[u8], code: Option<&[u8]>) {
    let kind = if code.is_some() { LIBRARY } else { NO_LIBRARY };
    write(out, kind, ALL_DATABASES, name, |body| body.extend_from_slice(code.unwrap_or_default()));
}

/// The effects that follow this don't count.
pub fn suspend() -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, SUSPEND, ALL_DATABASES, b"", |_| {});
    bytes
}

/// The effects that follow this do count.
pub fn resume() -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, RESUME, ALL_DATABASES, b"", |_| {});
    bytes
}

/// Appends what a record begins with that does not count by itself. One group of all keys is not named.
pub fn write_tentative(out: &mut Vec<u8>, group: KeyGroup) {
    if group == KeyGroup::WHOLE {
        write(out, TENTATIVE, ALL_DATABASES, b"", |_| {});
    } else {
        write(out, TENTATIVE_OF_GROUP, ALL_DATABASES, b"", |body| write_group(body, group));
    }
}

fn write_group(out: &mut Vec<u8>, KeyGroup { index, count }: KeyGroup) {
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
}

fn read_group(from: &mut &[u8]) -> Option<KeyGroup> {
    let index = u16::from_le_bytes(*from.split_off(..2)?.first_chunk()?);
    let count = u16::from_le_bytes(*from.split_off(..2)?.first_chunk()?);
    (index < count && count <= GROUPS_MAX).then_some(KeyGroup { index, count })
}

/// A group's tentative records up to the LSN `settled` count; see [`What::Standing`].
pub fn standing(group: KeyGroup, settled: u64, voids: bool, witness: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kind = if group == KeyGroup::WHOLE { STANDING } else { STANDING_OF_GROUP };
    write(&mut bytes, kind, ALL_DATABASES, b"", |body| {
        if kind == STANDING_OF_GROUP {
            write_group(body, group);
        }
        body.extend_from_slice(&settled.to_le_bytes());
        body.push(u8::from(voids));
        body.extend_from_slice(witness);
    });
    bytes
}

/// Appends a `set`.
pub fn write_set<'a>(
    out: &mut Vec<u8>,
    db: usize,
    key: &[u8],
    value: impl Into<ValueRef<'a>>,
    expire_at_ms: Option<u64>,
) {
    write(out, SET, db, key, |body| write_state(body, value, expire_at_ms, &mut |_| {}));
}

/// Appends what a key holds, as the body of a `set`: also how a snapshot captures it.
///
/// `pause` is shown what there is so far, now and then while a large value is written, and may take it away.
pub fn write_state<'a>(
    out: &mut Vec<u8>,
    value: impl Into<ValueRef<'a>>,
    expire_at_ms: Option<u64>,
    pause: &mut dyn FnMut(&mut Vec<u8>),
) {
    write_expiry(out, expire_at_ms);
    let value = value.into();
    if let ValueRef::Int(number) = value {
        out.push(VALUE_INTEGER);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Some(text) = value.text() {
        write_text(out, &text, pause);
    } else if let Some(stream) = value.stream() {
        out.push(VALUE_STREAM);
        stream.write(out, pause);
    } else if let Some(collection) = value.collection() {
        out.push(collection.tag());
        collection.write(out, pause);
    }
}

/// Strings of which no part is nothing but zeros are written as they are.
fn write_text(out: &mut Vec<u8>, text: &Text<'_>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
    let is_gap = |piece: &[u8]| piece.len() == PART_BYTES && piece.iter().all(|&byte| byte == 0);
    let has_gaps = text.len() > PART_BYTES && text.all_pieces().any(is_gap);
    if !has_gaps {
        out.push(VALUE_STRING);
        return text.all_pieces().for_each(|piece| {
            out.extend_from_slice(piece);
            pause(out);
        });
    }
    out.push(VALUE_GAPS);
    write_varint(out, text.len() as u64);
    let mut zeros = 0;
    for piece in text.all_pieces() {
        if is_gap(piece) {
            zeros += piece.len();
            continue;
        }
        write_varint(out, std::mem::take(&mut zeros) as u64);
        write_varint(out, piece.len() as u64);
        out.extend_from_slice(piece);
        pause(out);
    }
}

/// Bytes of a string that is kept, at most: those that SET takes in one argument (`proto-max-bulk-len`), which may be more than
/// others make of a string.
const KEPT_BYTES_MAX: usize = 1 << 30;

/// Reads a string with gaps.
fn read_gaps(mut from: &[u8]) -> Option<Value> {
    let len = usize::try_from(read_varint(&mut from)?).ok().filter(|&len| len <= KEPT_BYTES_MAX)?;
    let mut long = Long::default();
    long.grow(len);
    let mut at = 0usize;
    while !from.is_empty() {
        at = at.checked_add(usize::try_from(read_varint(&mut from)?).ok()?)?;
        let bytes = read_bytes(&mut from)?;
        let end = at.checked_add(bytes.len()).filter(|&end| end <= len)?;
        long.write(at, bytes);
        at = end;
    }
    Some(Value::Long(Arc::new(long)))
}

/// Reads what [`write_state`] wrote: the value, and when it expires; `None` if the bytes are not exactly that.
pub fn read_state(mut bytes: &[u8]) -> Option<(Value, Option<u64>)> {
    let expire_at_ms = read_expiry(&mut bytes)?;
    Some((read_value(bytes)?, expire_at_ms))
}

/// Appends an effect whose body `fill` writes.
pub(crate) fn write(out: &mut Vec<u8>, kind: u8, db: usize, key: &[u8], fill: impl FnOnce(&mut Vec<u8>)) {
    // Databases are numbered below 255: see `DATABASES_MAX`.
    out.extend_from_slice(&[kind, db as u8]);
    write_varint(out, key.len() as u64);
    out.extend_from_slice(key);
    // Most bodies are short, and their length fits the one byte kept free here; a longer one is shifted.
    let at = out.len();
    out.push(0);
    fill(out);
    let len = out.len() - at - 1;
    if len < 0x80 {
        out[at] = len as u8;
    } else {
        let mut prefix = Vec::with_capacity(9);
        write_varint(&mut prefix, len as u64);
        out.splice(at..=at, prefix);
    }
}

pub(crate) fn write_expiry(out: &mut Vec<u8>, at_ms: Option<u64>) {
    write_varint(out, at_ms.map_or(0, |at_ms| at_ms + 1));
}

pub(crate) fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = u64::from(*from.split_off_first()?);
        let bits = byte & 0x7f;
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn read<'a>(from: &mut &'a [u8]) -> Option<Effect<'a>> {
    let kind = *from.split_off_first()?;
    let db = usize::from(*from.split_off_first()?);
    let key = read_bytes(from)?;
    let body = read_bytes(from)?;
    let db = (db != ALL_DATABASES).then_some(db);
    Some(Effect { db, key, what: read_body(kind, body)? })
}

fn read_body(kind: u8, mut body: &[u8]) -> Option<What<'_>> {
    let what = match kind {
        SET => {
            let (value, expire_at_ms) = read_state(std::mem::take(&mut body))?;
            What::Set { value, expire_at_ms }
        }
        DELETE => What::Delete,
        EXPIRE => What::Expire { at_ms: read_expiry(&mut body)? },
        APPEND => What::Append { tail: std::mem::take(&mut body) },
        PATCH => {
            let offset = usize::try_from(read_varint(&mut body)?).ok()?;
            What::Patch { offset, bytes: std::mem::take(&mut body) }
        }
        FLUSH if body.is_empty() => What::Flush { group: KeyGroup::WHOLE },
        FLUSH => What::Flush { group: read_group(&mut body)? },
        DATABASES => What::Databases { shown: std::mem::take(&mut body) },
        STREAM => What::Stream { change: Change::read(std::mem::take(&mut body))? },
        tag if is_tag(tag) => What::Elements { tag, change: std::mem::take(&mut body) },
        SUSPEND => What::Suspend,
        RESUME => What::Resume,
        LIBRARY => What::Library { code: std::mem::take(&mut body) },
        NO_LIBRARY => What::NoLibrary,
        TENTATIVE => What::Tentative { group: KeyGroup::WHOLE },
        TENTATIVE_OF_GROUP => What::Tentative { group: read_group(&mut body)? },
        STANDING | STANDING_OF_GROUP => {
            let group = if kind == STANDING { KeyGroup::WHOLE } else { read_group(&mut body)? };
            let settled = u64::from_le_bytes(*body.split_off(..8)?.first_chunk()?);
            let voids = *body.split_off_first()? == 1;
            What::Standing { group, settled, voids, witness: std::mem::take(&mut body) }
        }
        _ => return None,
    };
    body.is_empty().then_some(what)
}

fn read_value(mut from: &[u8]) -> Option<Value> {
    match *from.split_off_first()? {
        VALUE_STRING => Some(Value::Str(from.into())),
        VALUE_INTEGER => Some(Value::Int(i64::from_le_bytes(from.try_into().ok()?))),
        VALUE_STREAM => Some(Value::Stream(Box::new(Stream::read(from)?))),
        VALUE_GAPS => read_gaps(from),
        tag => collection::read(tag, from),
    }
}

fn read_expiry(from: &mut &[u8]) -> Option<Option<u64>> {
    Some(read_varint(from)?.checked_sub(1))
}

fn read_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_varint(from)?).ok()?;
    from.split_off(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_with_gaps_is_read_that_is_as_long_as_one_argument_may_be() {
        let of_len = |len: u64| {
            let mut gaps = Vec::new();
            write_varint(&mut gaps, len);
            read_gaps(&gaps).is_some()
        };
        assert!(of_len(600 << 20) && of_len((1 << 30) - 1), "SET takes it");
        assert!(!of_len((1 << 30) + 1));
    }
}
