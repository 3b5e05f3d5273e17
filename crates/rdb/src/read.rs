//! Reading a Redis or Valkey database file key by key, without understanding the values.
//!
//! ```text
//! "REDIS0012" │ (opcode …)* │ FF │ CRC-64
//!
//! opcode      what follows
//! FA          two strings: a fact about the file
//! FB, F4      lengths: sizes of tables
//! FE          length: the database of what follows
//! FC, FD      expiry of the next key: Unix ms (8 bytes) or seconds (4), little endian
//! F8, F9      idle time (length) or frequency (1 byte) of the next key
//! F5          string: a library of functions
//! F7          module data
//! F3          length: so many notes of modules about the next key, each a class (4 bytes) and module data; in Valkey's
//!             files: the state of a move of slots
//! below       type of a value: key (string), value
//! ```
//!
//! Where a value ends is read off its encoding; its bytes are then what DUMP would have given, but for the footer. Values of
//! modules are walked past. Not a byte behind the checksum is read: an append-only file goes on there, and a connection does.
//!
//! Source: Redis's `rdb.h`; Valkey 9 calls its files `VALKEY080`.

use std::io::{self, Read};

use sterna_keyspace::{crc64, lzf};

use crate::{Entry, Kind};

/// Strings longer than this are not Redis's.
const STRING_BYTES_MAX: u64 = 512 << 20;

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A key and its value.
    Key(Entry),
    /// A library of functions, as FUNCTION DUMP gives it before its footer.
    Library(Vec<u8>),
    /// The end.
    End,
}

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// It begins otherwise.
    #[error("not a Redis or Valkey database file")]
    Magic,
    /// Something that no file has there.
    #[error("the file is damaged at offset {0}")]
    Damaged(u64),
    /// What follows can't be found.
    #[error("at offset {offset} is a value of type {kind}, which this version of Sterna can't pass over")]
    Type {
        /// Its number.
        kind: u8,
        /// Where it stands.
        offset: u64,
    },
    /// There should be more.
    #[error("the file ends in the middle, at offset {0}")]
    Cut(u64),
    /// Some byte of it is another than was written.
    #[error("the checksum at the end is not that of the file: it is damaged")]
    Checksum,
    /// The system's word.
    #[error("it can't be read: {0}")]
    Io(io::Error),
}

/// A file being read.
pub struct Rdb<R> {
    input: R,
    /// Bytes read so far.
    pub offset: u64,
    /// What is read is kept here as well.
    kept: Option<Vec<u8>>,
    db: u64,
    is_valkey: bool,
    /// Of what has been read.
    checksum: u64,
    /// When it was written, Unix time in seconds; 0: it does not say.
    pub written_s: u64,
    /// The version that its head names.
    pub version: u16,
}

impl<R: Read> Rdb<R> {
    /// Reads the file's head.
    pub fn open(input: R) -> Result<Rdb<R>, RdbError> {
        let (offset, kept, db, is_valkey, checksum, written_s, version) = (0, None, 0, false, 0, 0, 0);
        let mut rdb = Rdb { input, offset, kept, db, is_valkey, checksum, written_s, version };
        let head: [u8; 9] = rdb.array()?;
        rdb.is_valkey = head.starts_with(b"VALKEY");
        let digits = if rdb.is_valkey { &head[6..] } else { &head[5..] };
        if !(rdb.is_valkey || head.starts_with(b"REDIS")) || !digits.iter().all(u8::is_ascii_digit) {
            return Err(RdbError::Magic);
        }
        rdb.version = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        Ok(rdb)
    }

    /// The input, behind what has been read.
    pub fn into_input(self) -> R {
        self.input
    }

    /// What the end says of all before it; files of the first versions have no checksum, and 0 is none.
    fn verify(&mut self) -> Result<(), RdbError> {
        const FIRST_WITH_CHECKSUM: u16 = 5;
        if self.version < FIRST_WITH_CHECKSUM {
            return Ok(());
        }
        let computed = self.checksum;
        let told = u64::from_le_bytes(self.array()?);
        if told == 0 || told == computed { Ok(()) } else { Err(RdbError::Checksum) }
    }

    /// A fact about the file: a name and what it is.
    fn note_fact(&mut self) -> Result<(), RdbError> {
        let (name, text) = (self.string()?, self.string()?);
        if name == b"ctime" {
            self.written_s = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        }
        Ok(())
    }

    /// The next key, or the end.
    pub fn advance(&mut self) -> Result<Step, RdbError> {
        let mut expire_at_ms = None;
        loop {
            match self.byte()? {
                0xff => {
                    self.verify()?;
                    return Ok(Step::End);
                }
                0xfe => self.db = self.length()?,
                0xfd => expire_at_ms = Some(u64::from(u32::from_le_bytes(self.array()?)) * 1000),
                0xfc => expire_at_ms = Some(u64::from_le_bytes(self.array()?)),
                0xfb => self.skip_lengths(2)?,
                0xfa => self.note_fact()?,
                0xf9 => drop(self.byte()?),
                0xf8 => self.skip_lengths(1)?,
                0xf7 => self.skip_module(true)?,
                library @ 0xf5 => {
                    self.kept = Some(vec![library]);
                    self.skip_strings(1)?;
                    return Ok(Step::Library(self.kept.take().unwrap_or_default()));
                }
                0xf4 => self.skip_lengths(3)?,
                0xf3 if !self.is_valkey => self.skip_key_meta()?,
                kind => {
                    let key = self.string()?;
                    return Ok(Step::Key(self.value(kind, key, expire_at_ms)?));
                }
            }
        }
    }

    fn value(&mut self, kind: u8, key: Vec<u8>, expire_at_ms: Option<u64>) -> Result<Entry, RdbError> {
        let is_module = matches!(kind, 6 | 7);
        self.kept = (!is_module).then(|| vec![kind]);
        let kind = self.skip_value(kind)?;
        let value = self.kept.take().unwrap_or_default();
        Ok(Entry { db: self.db, key, kind, expire_at_ms, value, version: self.version })
    }

    fn skip_value(&mut self, kind: u8) -> Result<Kind, RdbError> {
        Ok(match kind {
            0 => self.skip_all(1, Kind::String)?,
            1 | 14 => self.skip_counted(1, Kind::List)?,
            2 => self.skip_counted(1, Kind::Set)?,
            4 => self.skip_counted(2, Kind::Hash)?,
            3 | 5 => {
                for _ in 0..self.length()? {
                    self.skip_strings(1)?;
                    if kind == 5 { self.skip(8)? } else { self.skip_old_double()? }
                }
                Kind::SortedSet
            }
            6 | 7 => {
                self.skip_module(kind == 7)?;
                Kind::Module
            }
            10 => self.skip_all(1, Kind::List)?,
            11 | 20 => self.skip_all(1, Kind::Set)?,
            12 | 17 => self.skip_all(1, Kind::SortedSet)?,
            9 | 13 | 16 => self.skip_all(1, Kind::Hash)?,
            18 => {
                for _ in 0..self.length()? {
                    self.skip_lengths(1)?;
                    self.skip_strings(1)?;
                }
                Kind::List
            }
            15 | 19 | 21 => self.skip_stream(kind)?,
            26 | 27 if !self.is_valkey => self.skip_stream(kind)?,
            // Valkey's hash whose fields may expire, and Redis's.
            22 if self.is_valkey => {
                for _ in 0..self.length()? {
                    self.skip_strings(2)?;
                    self.skip(8)?;
                }
                Kind::Hash
            }
            24 if !self.is_valkey => {
                self.skip(8)?;
                for _ in 0..self.length()? {
                    self.skip_lengths(1)?;
                    self.skip_strings(2)?;
                }
                Kind::Hash
            }
            25 if !self.is_valkey => {
                self.skip(8)?;
                self.skip_all(1, Kind::Hash)?
            }
            kind => return Err(RdbError::Type { kind, offset: self.offset }),
        })
    }

    fn skip_all(&mut self, strings: u64, kind: Kind) -> Result<Kind, RdbError> {
        self.skip_strings(strings)?;
        Ok(kind)
    }

    fn skip_counted(&mut self, strings_each: u64, kind: Kind) -> Result<Kind, RdbError> {
        let count = self.length()?.checked_mul(strings_each).ok_or(RdbError::Damaged(self.offset))?;
        self.skip_all(count, kind)
    }

    fn skip_stream(&mut self, kind: u8) -> Result<Kind, RdbError> {
        let nodes = self.length()?.checked_mul(2).ok_or(RdbError::Damaged(self.offset))?;
        self.skip_strings(nodes)?;
        // Length, last ID; from the second version on first ID, highest deleted ID, entries added.
        self.skip_lengths(if kind == 15 { 3 } else { 8 })?;
        for _ in 0..self.length()? {
            self.skip_strings(1)?;
            self.skip_lengths(if kind == 15 { 2 } else { 3 })?;
            for _ in 0..self.length()? {
                self.skip(16 + 8)?;
                self.skip_lengths(1)?;
            }
            for _ in 0..self.length()? {
                self.skip_strings(1)?;
                self.skip(if kind >= 21 { 16 } else { 8 })?;
                self.skip_ids()?;
            }
            if kind >= 27 {
                self.skip_ids()?;
            }
        }
        if kind >= 26 {
            self.skip_idempotence()?;
        }
        Ok(Kind::Stream)
    }

    fn skip_ids(&mut self) -> Result<(), RdbError> {
        for _ in 0..self.length()? {
            self.skip(16)?;
        }
        Ok(())
    }

    /// Settings, producers with their iids and the IDs of those, two counters.
    fn skip_idempotence(&mut self) -> Result<(), RdbError> {
        self.skip_lengths(2)?;
        for _ in 0..self.length()? {
            self.skip_strings(1)?;
            for _ in 0..self.length()? {
                self.skip_strings(1)?;
                self.skip_lengths(2)?;
            }
        }
        self.skip_lengths(2)
    }

    fn skip_key_meta(&mut self) -> Result<(), RdbError> {
        for _ in 0..self.length()? {
            self.skip(4)?;
            self.skip_tagged()?;
        }
        Ok(())
    }

    fn skip_module(&mut self, is_tagged: bool) -> Result<(), RdbError> {
        if !is_tagged {
            // The first version says nothing of where a value ends.
            return Err(RdbError::Type { kind: 6, offset: self.offset });
        }
        self.skip_lengths(1)?;
        self.skip_tagged()
    }

    /// Tagged values, up to the end mark.
    fn skip_tagged(&mut self) -> Result<(), RdbError> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.skip_lengths(1)?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_strings(1)?,
                _ => return Err(RdbError::Damaged(self.offset)),
            }
        }
    }

    /// A number in digits, or one of three that have none.
    fn skip_old_double(&mut self) -> Result<(), RdbError> {
        match self.byte()? {
            253..=255 => Ok(()),
            len => self.skip(u64::from(len)),
        }
    }

    fn skip_lengths(&mut self, count: u64) -> Result<(), RdbError> {
        (0..count).try_for_each(|_| self.length().map(|_| ()))
    }

    /// Passes over strings as they stand: what is wrong within one is found by whoever restores it.
    fn skip_strings(&mut self, count: u64) -> Result<(), RdbError> {
        for _ in 0..count {
            match self.length_or_encoding()? {
                Ok(length) => self.skip(length)?,
                Err(0) => self.skip(1)?,
                Err(1) => self.skip(2)?,
                Err(2) => self.skip(4)?,
                Err(3) => {
                    let (packed, _) = (self.length()?, self.length()?);
                    self.skip(packed)?;
                }
                Err(_) => return Err(RdbError::Damaged(self.offset)),
            }
        }
        Ok(())
    }

    /// A plain length.
    fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_encoding()? {
            Ok(length) => Ok(length),
            Err(_) => Err(RdbError::Damaged(self.offset)),
        }
    }

    /// A length, or how a string is encoded that has none.
    fn length_or_encoding(&mut self) -> Result<Result<u64, u8>, RdbError> {
        let first = self.byte()?;
        Ok(match first {
            0..=0x3f => Ok(u64::from(first)),
            0x40..=0x7f => Ok(u64::from(u16::from_be_bytes([first & 0x3f, self.byte()?]))),
            0x80 => Ok(u64::from(u32::from_be_bytes(self.array()?))),
            0x81 => Ok(u64::from_be_bytes(self.array()?)),
            0xc0..=0xff => Err(first & 0x3f),
            _ => return Err(RdbError::Damaged(self.offset)),
        })
    }

    /// The bytes of a string.
    fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        let integer = |number: i64| number.to_string().into_bytes();
        match self.length_or_encoding()? {
            Ok(length) => self.bytes(length),
            Err(0) => Ok(integer(i64::from(i8::from_le_bytes(self.array()?)))),
            Err(1) => Ok(integer(i64::from(i16::from_le_bytes(self.array()?)))),
            Err(2) => Ok(integer(i64::from(i32::from_le_bytes(self.array()?)))),
            Err(3) => {
                let (packed, length) = (self.length()?, self.length()?);
                let packed = self.bytes(packed)?;
                usize::try_from(length)
                    .ok()
                    .and_then(|length| lzf::unpack(&packed, length))
                    .ok_or(RdbError::Damaged(self.offset))
            }
            Err(_) => Err(RdbError::Damaged(self.offset)),
        }
    }

    fn byte(&mut self) -> Result<u8, RdbError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| self.failed(error))?;
        self.offset += N as u64;
        self.checksum = crc64(self.checksum, &bytes);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&bytes);
        }
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> Result<(), RdbError> {
        self.bytes(count).map(|_| ())
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, RdbError> {
        if count > STRING_BYTES_MAX {
            return Err(RdbError::Damaged(self.offset));
        }
        let mut bytes = Vec::new();
        // Grows with what is there, not with what is claimed.
        self.input.by_ref().take(count).read_to_end(&mut bytes).map_err(RdbError::Io)?;
        self.offset += bytes.len() as u64;
        self.checksum = crc64(self.checksum, &bytes);
        if (bytes.len() as u64) < count {
            return Err(RdbError::Cut(self.offset));
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&bytes);
        }
        Ok(bytes)
    }

    fn failed(&self, error: io::Error) -> RdbError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => RdbError::Cut(self.offset),
            _ => RdbError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_database_expiry_and_the_bytes_of_their_value() {
        let mut file = b"REDIS0012".to_vec();
        file.extend(b"\xfa\x09redis-ver\x058.2.0");
        file.extend(b"\xfe\x03\xfb\x03\x01");
        file.extend(b"\x00\x01a\x05hello");
        file.extend(b"\xfc\x10\x00\x00\x00\x00\x00\x00\x00\x00\x01b\xc0\x05");
        file.extend(b"\x02\x01s\x02\x01x\x01y");
        file.extend(b"\xff\0\0\0\0\0\0\0\0");
        let mut rdb = Rdb::open(&file[..]).unwrap();
        let entry = |key: &[u8], kind, expire_at_ms, value: &[u8]| {
            Step::Key(Entry {
                db: 3,
                key: key.to_vec(),
                kind,
                expire_at_ms,
                value: value.to_vec(),
                version: 12,
            })
        };
        assert_eq!(rdb.advance().unwrap(), entry(b"a", Kind::String, None, b"\x00\x05hello"));
        assert_eq!(rdb.advance().unwrap(), entry(b"b", Kind::String, Some(16), b"\x00\xc0\x05"));
        assert_eq!(rdb.advance().unwrap(), entry(b"s", Kind::Set, None, b"\x02\x02\x01x\x01y"));
        assert_eq!(rdb.advance().unwrap(), Step::End);
    }

    #[test]
    fn streams_of_newer_versions_come_whole_and_notes_of_modules_are_passed_over() {
        let ids = [7; 16];
        let mut stream = b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x01\x01g\x01\x01\x01".to_vec();
        stream.extend(b"\x01");
        stream.extend([&ids[..], &[0; 8], b"\x01"].concat());
        stream.extend([b"\x01\x01c".as_slice(), &[0; 16], b"\x00"].concat());
        let released = [b"\x01".as_slice(), &ids].concat();
        let idempotence = b"\x40\x64\x40\x64\x01\x01p\x01\x03iid\x01\x01\x05\x00";
        for (kind, released) in [(26, &[][..]), (27, &released)] {
            let value = [&[kind][..], &stream, released, idempotence].concat();
            let mut file = b"REDIS0014".to_vec();
            file.extend(b"\xf3\x01abcd\x02\x05\x05\x01x\x00");
            file.extend([&value[..1], b"\x01s", &value[1..], b"\xff\0\0\0\0\0\0\0\0"].concat());
            let mut rdb = Rdb::open(&file[..]).unwrap();
            let Ok(Step::Key(entry)) = rdb.advance() else { panic!("no key of type {kind}") };
            assert_eq!((entry.kind, &entry.value[..]), (Kind::Stream, &value[..]));
            assert_eq!(rdb.advance().unwrap(), Step::End);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_takes_no_memory() {
        for (bytes, what) in [
            (&b"RIDES0012"[..], "not a Redis"),
            (b"REDIS0012", "ends in the middle"),
            (b"REDIS0012\x00\x01a\x81\xff\xff\xff\xff\xff\xff\xff\xff", "damaged"),
            (b"REDIS0012\x00\x01a\x80\x10\x00\x00\x00abc", "ends in the middle"),
            (b"REDIS0012\x63\x01a\x01b", "type 99"),
            (b"REDIS0012\xff\x01\0\0\0\0\0\0\0", "the checksum"),
        ] {
            let error = Rdb::open(bytes).and_then(|mut rdb| rdb.advance()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
