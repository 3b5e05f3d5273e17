//! Writing a database file key by key.
//!
//! ```text
//! "REDIS0011" │ FA "redis-ver" version │ library… │ (FE database, (FC expiry)? type key value …)… │ FF │ CRC-64
//! ```
//!
//! The version in the head is the writer's promise: values of a later one must not follow. 11 is read by Valkey and by Redis
//! from 7.2 on, more by newer Redis only, and `VALKEY080` by Valkey from 9.0 on.

use std::io::{self, Write};

use sterna_keyspace::{crc64, write_rdb_string};

/// The oldest version that is claimed: what Redis 7.2 and Valkey write.
pub const VERSION_MIN: u16 = 11;

/// The version of Valkey's own files: what Valkey 9.0 writes.
pub const VALKEY_VERSION: u16 = 80;

const DATABASE: u8 = 0xfe;
const EXPIRY_MS: u8 = 0xfc;
const FACT: u8 = 0xfa;
const END: u8 = 0xff;

/// A file being written, to a disk or a connection.
#[derive(Debug)]
pub struct RdbWriter<W> {
    out: W,
    db: Option<u64>,
    checksum: u64,
}

impl<W: Write> RdbWriter<W> {
    /// Writes the head. `server`: the version that the file says it is of.
    pub fn begin(out: W, version: u16, server: &str) -> io::Result<RdbWriter<W>> {
        RdbWriter::begin_with(out, &format!("REDIS{version:04}"), server)
    }

    /// The same for a file that Valkey alone reads.
    pub fn begin_for_valkey(out: W, server: &str) -> io::Result<RdbWriter<W>> {
        RdbWriter::begin_with(out, &format!("VALKEY{VALKEY_VERSION:03}"), server)
    }

    fn begin_with(out: W, magic: &str, server: &str) -> io::Result<RdbWriter<W>> {
        let mut writer = RdbWriter { out, db: None, checksum: 0 };
        let mut head = magic.as_bytes().to_vec();
        head.push(FACT);
        write_rdb_string(&mut head, b"redis-ver");
        write_rdb_string(&mut head, server.as_bytes());
        writer.put(&head)?;
        Ok(writer)
    }

    /// Writes libraries of functions, as FUNCTION DUMP gives them before its footer.
    pub fn libraries(&mut self, libraries: &[u8]) -> io::Result<()> {
        self.put(libraries)
    }

    /// Writes a key. `value`: type byte and value, as in a DUMP before its footer.
    pub fn key(&mut self, db: u64, key: &[u8], expire_at_ms: Option<u64>, value: &[u8]) -> io::Result<()> {
        let Some((&kind, value)) = value.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a value without a type"));
        };
        let mut head = Vec::with_capacity(key.len() + 32);
        if self.db != Some(db) {
            self.db = Some(db);
            head.push(DATABASE);
            // Databases are numbered below 255: a length of at most two bytes.
            head.extend_from_slice(&(0x4000 | db as u16).to_be_bytes());
        }
        if let Some(at_ms) = expire_at_ms {
            head.push(EXPIRY_MS);
            head.extend_from_slice(&at_ms.to_le_bytes());
        }
        head.push(kind);
        write_rdb_string(&mut head, key);
        self.put(&head)?;
        self.put(value)
    }

    /// Writes the end, and gives back what it was written to.
    pub fn end(mut self) -> io::Result<W> {
        self.put(&[END])?;
        self.out.write_all(&self.checksum.to_le_bytes())?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum = crc64(self.checksum, bytes);
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Rdb, Step};

    use super::*;

    #[test]
    fn what_is_written_is_read_and_its_checksum_is_right() {
        let mut writer = RdbWriter::begin(Vec::new(), VERSION_MIN, "8.2.0").unwrap();
        writer.libraries(b"\xf5\x04code").unwrap();
        writer.key(0, b"a", None, b"\x00\x01x").unwrap();
        writer.key(0, b"12", Some(77), b"\x00\x01y").unwrap();
        writer.key(254, b"c", None, b"\x00\x01z").unwrap();
        let mut file = writer.end().unwrap();
        let read = |file: &[u8]| -> Result<Vec<String>, crate::RdbError> {
            let mut rdb = Rdb::open(file)?;
            let mut steps = Vec::new();
            loop {
                match rdb.advance()? {
                    Step::End => return Ok(steps),
                    Step::Library(code) => steps.push(format!("{}", code.escape_ascii())),
                    Step::Key(key) => {
                        steps.push(format!(
                            "{} {:?} {:?}",
                            key.db,
                            key.key.escape_ascii().to_string(),
                            key.expire_at_ms
                        ));
                    }
                }
            }
        };
        let expected = ["\\xf5\\x04code", "0 \"a\" None", "0 \"12\" Some(77)", "254 \"c\" None"];
        assert_eq!(read(&file).unwrap(), expected);
        let at = file.len() - 20;
        file[at] ^= 1;
        assert!(read(&file).is_err());
    }
}
