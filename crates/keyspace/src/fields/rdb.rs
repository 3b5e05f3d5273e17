//! Hashes in Redis's database file, and so in DUMP and RESTORE.
//!
//! ```text
//!  4 hash           count │ (name │ value)…
//!  9 zipmap         string: count u8 │ (length │ name │ length │ unused u8 │ value │ unused bytes)… │ 0xff      before Redis 2.6
//! 13 ziplist        string: a ziplist of name, value…                                                    before Redis 7.0
//! 16 listpack       string: a listpack of name, value…
//! 22 of Valkey 9    count │ (name │ value │ expiry i64 LE)…                    the expiry is −1 for none
//! 24 expiring       soonest u64 LE │ count │ (expiry │ name │ value)…         0 for none, else what it is above the soonest + 1
//! 25 the same       soonest u64 LE │ string: a listpack of name, value, expiry…           0 for none
//! ```
//!
//! Written are 16, 4, and where a field expires 24, which servers before Redis 7.4 don't know; for Valkey 22 ([`for_valkey`]).

use super::snapshot::checked;
use super::{Expiry, Field, Hash, HashRef, fits, pairs};
use crate::collection::{Elements, Form, Limits};
use crate::listpack;
use crate::packed::{Packed, PackedRef};
use crate::rdb::{read_length, read_string, write_length, write_string};
use crate::string::Text;
use crate::value::NEVER;
use crate::ziplist;

const TABLE: u8 = 4;
const ZIPMAP: u8 = 9;
const ZIPLIST: u8 = 13;
const LISTPACK: u8 = 16;
/// In Valkey; Redis gave this number to a form of its own that no release has.
pub(crate) const VALKEY_EXPIRING_HASH: u8 = 22;
const EXPIRING: u8 = 24;
const EXPIRING_LISTPACK: u8 = 25;

/// The oldest versions that know the types: Redis 7.0 and 7.4.
const VERSION: u16 = 10;
const EXPIRING_VERSION: u16 = 12;

impl HashRef<'_> {
    pub(super) fn write_payload(self, out: &mut Vec<u8>) -> u16 {
        match self.0 {
            Form::Small(small) => {
                out.push(LISTPACK);
                let mut bytes = Vec::new();
                small.write_listpack(&mut bytes);
                write_length(out, bytes.len() as u64);
                out.extend_from_slice(&bytes);
                VERSION
            }
            Form::Large(_) if !self.has_expiries() => {
                out.push(TABLE);
                write_length(out, self.len() as u64);
                for field in self.stored_fields() {
                    write_string(out, &field.name.text());
                    write_string(out, &field.value.text());
                }
                VERSION
            }
            Form::Large(_) => {
                self.write_expiring(out);
                EXPIRING_VERSION
            }
        }
    }

    fn write_expiring(self, out: &mut Vec<u8>) {
        let soonest_ms = self.soonest_ms();
        out.push(EXPIRING);
        out.extend_from_slice(&soonest_ms.to_le_bytes());
        write_length(out, self.len() as u64);
        for Field { name, value, expire_at_ms } in self.stored_fields() {
            let above = if expire_at_ms == NEVER { 0 } else { expire_at_ms - soonest_ms + 1 };
            write_length(out, above);
            write_string(out, &name.text());
            write_string(out, &value.text());
        }
    }
}

impl Hash {
    /// Whether it is read here.
    pub(crate) fn is_rdb_type(kind: u8) -> bool {
        matches!(
            kind,
            TABLE | ZIPMAP | ZIPLIST | LISTPACK | VALKEY_EXPIRING_HASH | EXPIRING | EXPIRING_LISTPACK
        )
    }

    /// Reads a hash of one of these types; `None`: it is damaged, or has no field.
    pub(crate) fn read_rdb(kind: u8, from: &mut &[u8], limits: &Limits) -> Option<Hash> {
        let hash = match kind {
            TABLE => read_fields(from, limits, |from| Some((read_string(from)?, read_string(from)?, NEVER))),
            VALKEY_EXPIRING_HASH => read_fields(from, limits, |from| {
                let (name, value) = (read_string(from)?, read_string(from)?);
                let at_ms = i64::from_le_bytes(*from.split_off(..8)?.first_chunk()?);
                let at_ms = if at_ms == -1 { NEVER } else { u64::try_from(at_ms).ok()? };
                Some((name, value, at_ms))
            }),
            EXPIRING => {
                let soonest_ms = read_time(from)?;
                read_fields(from, limits, |from| {
                    let at_ms = match read_length(from)? {
                        0 => NEVER,
                        above => soonest_ms.checked_add(above - 1).filter(|&at_ms| at_ms != NEVER)?,
                    };
                    Some((read_string(from)?, read_string(from)?, at_ms))
                })
            }
            LISTPACK => {
                let packed = checked(repacked(Packed::read_listpack(&read_string(from)?)?.view()))?;
                Some(from_packed(packed, limits))
            }
            ZIPMAP => read_zipmap(&read_string(from)?, limits),
            ZIPLIST => read_ziplist(&read_string(from)?, limits),
            EXPIRING_LISTPACK => {
                read_time(from)?;
                read_triples(&read_string(from)?, limits)
            }
            _ => None,
        };
        hash.filter(|hash| hash.view().len() > 0)
    }
}

/// A value of a database file as Valkey's files have it. `None`: it is the same there, or there is none for it; of what is written here
/// only hashes whose fields expire are in another form.
pub fn for_valkey(value: &[u8]) -> Option<Vec<u8>> {
    let (&kind, mut rest) = value.split_first()?;
    if kind != EXPIRING && kind != EXPIRING_LISTPACK {
        return None;
    }
    let hash = Hash::read_rdb(kind, &mut rest, &Limits::DEFAULT).filter(|_| rest.is_empty())?;
    let mut out = vec![VALKEY_EXPIRING_HASH];
    write_length(&mut out, hash.view().len() as u64);
    for Field { name, value, expire_at_ms } in hash.view().stored_fields() {
        write_string(&mut out, &name.text());
        write_string(&mut out, &value.text());
        let at_ms = if expire_at_ms == NEVER { -1 } else { expire_at_ms as i64 };
        out.extend_from_slice(&at_ms.to_le_bytes());
    }
    Some(out)
}

fn read_time(from: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*from.split_off(..8)?.first_chunk()?))
}

/// Reads a count and as many fields.
fn read_fields(
    from: &mut &[u8],
    limits: &Limits,
    read: impl Fn(&mut &[u8]) -> Option<(Vec<u8>, Vec<u8>, u64)>,
) -> Option<Hash> {
    let count = read_length(from)?;
    collect(count, (0..count).map(|_| read(from)), limits)
}

/// A hash of `count` fields, no two of one name, if each could be read.
fn collect(
    count: u64,
    fields: impl Iterator<Item = Option<(Vec<u8>, Vec<u8>, u64)>>,
    limits: &Limits,
) -> Option<Hash> {
    let mut hash = Hash::default();
    // One that is going to be large begins so: what is small is searched for every name.
    if count > limits.hash_entries {
        hash.make_large().counts_as_small = false;
    }
    for field in fields {
        let (name, value, at_ms) = field?;
        let expiry = if at_ms == NEVER { Expiry::Clear } else { Expiry::At(at_ms) };
        if !hash.put(&name, &value, expiry, limits) {
            return None;
        }
    }
    Some(hash)
}

/// The same elements as they are written here: one in another form would never be found.
fn repacked(packed: PackedRef<'_>) -> Packed {
    let texts: Vec<Text<'_>> = packed.iter().map(|(_, element)| element.text()).collect();
    let mut own = Packed::default();
    own.push_back(texts.iter().map(|text| &**text));
    own
}

/// A small hash, made large if it is larger than what is configured here.
fn from_packed(packed: Packed, limits: &Limits) -> Hash {
    let fits_all = fits(limits, packed.len() / 2, [])
        && pairs(packed.view()).all(|field| fits(limits, 1, [&field.name.text(), &field.value.text()]));
    let mut hash = Hash(Form::Small(packed));
    if !fits_all {
        hash.make_large().counts_as_small = false;
    }
    hash
}

fn read_ziplist(bytes: &[u8], limits: &Limits) -> Option<Hash> {
    let (elements, _) = ziplist::elements(bytes)?;
    let (mut rest, mut fields) = (&elements[..], Vec::new());
    while !rest.is_empty() {
        let (name, value) = (listpack::read(&mut rest)?, listpack::read(&mut rest)?);
        fields.push((name.to_bytes(), value.to_bytes(), NEVER));
    }
    collect(fields.len() as u64, fields.into_iter().map(Some), limits)
}

fn read_zipmap(bytes: &[u8], limits: &Limits) -> Option<Hash> {
    let (&END_OF_ZIPMAP, mut rest) = bytes.get(1..)?.split_last()? else { return None };
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let len = read_zipmap_length(&mut rest)?;
        let name = rest.split_off(..len)?.to_vec();
        let len = read_zipmap_length(&mut rest)?;
        let unused = usize::from(*rest.split_off_first()?);
        let value = rest.split_off(..len)?.to_vec();
        rest.split_off(..unused)?;
        fields.push((name, value, NEVER));
    }
    collect(fields.len() as u64, fields.into_iter().map(Some), limits)
}

const END_OF_ZIPMAP: u8 = 0xff;

fn read_zipmap_length(from: &mut &[u8]) -> Option<usize> {
    match *from.split_off_first()? {
        len @ 0..=253 => Some(usize::from(len)),
        254 => Some(u32::from_le_bytes(from.split_off(..4)?.try_into().ok()?) as usize),
        255 => None,
    }
}

fn read_triples(bytes: &[u8], limits: &Limits) -> Option<Hash> {
    let mut reader = listpack::Reader::new(bytes)?;
    let mut fields = Vec::new();
    while !reader.done() {
        let (name, value) = (reader.next()?.to_bytes(), reader.next()?.to_bytes());
        let at_ms = match u64::try_from(reader.int()?).ok()? {
            0 => NEVER,
            at_ms => at_ms,
        };
        fields.push((name, value, at_ms));
    }
    collect(fields.len() as u64, fields.into_iter().map(Some), limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Field;
    use crate::ziplist::tests::ziplist;

    const LIMITS: Limits = Limits::DEFAULT;

    fn read(kind: u8, bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut payload = Vec::new();
        write_string(&mut payload, bytes);
        let hash = Hash::read_rdb(kind, &mut &payload[..], &LIMITS)?;
        hash.check();
        let pair = |field: Field<'_>| (field.name.to_bytes().to_vec(), field.value.to_bytes().to_vec());
        let mut fields: Vec<_> = hash.view().fields(0).map(pair).collect();
        fields.sort();
        Some(fields)
    }

    #[test]
    fn hashes_of_the_oldest_servers_are_read() {
        let expected = Some(vec![(b"a".to_vec(), b"1".to_vec()), (b"bc".to_vec(), b"xyz".to_vec())]);
        assert_eq!(read(ZIPLIST, &ziplist(&[b"\x01a", b"\xf2", b"\x02bc", b"\x03xyz"])), expected);
        // With two unused bytes behind the first value.
        let zipmap = b"\x02\x01a\x01\x021??\x02bc\x03\0xyz\xff";
        assert_eq!(read(ZIPMAP, zipmap), expected);
        let long = [&b"\x01\x01a\xfe\x2c\x01\0\0\0"[..], &[b'v'; 300], b"\xff"].concat();
        assert_eq!(read(ZIPMAP, &long), Some(vec![(b"a".to_vec(), vec![b'v'; 300])]));
    }

    #[test]
    fn damaged_ones_are_refused() {
        for entries in [&[][..], &[&b"\x01a"[..]], &[b"\x01a", b"\xf2", b"\x01a", b"\xf3"]] {
            assert_eq!(read(ZIPLIST, &ziplist(entries)), None, "{entries:?}");
        }
        let zipmap = b"\x02\x01a\x01\x021??\x02bc\x03\0xyz\xff";
        for len in 0..zipmap.len() {
            assert_eq!(read(ZIPMAP, &zipmap[..len]), None, "{len} bytes");
        }
        for zipmap in [&b"\0\xff"[..], b"\x01\x01a\xff\xff", b"\x02\x01a\x01\x001\x01a\x01\x002\xff"] {
            assert_eq!(read(ZIPMAP, zipmap), None, "{zipmap:?}");
        }
    }
}
