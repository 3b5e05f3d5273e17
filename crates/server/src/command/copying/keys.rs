//! All keys as a database file, to whoever can find its end by a mark.
//!
//! ```text
//! (+FULLRESYNC id 0\r\n)?  $EOF:mark\r\n  file  mark           the mark: 40 letters drawn at random
//! ```
//!
//! Nothing stops meanwhile: each key comes as it is when the walk meets it, a few under one lock, and two keys of one transaction may
//! be of different moments. For a copy of one moment there is BACKUP STREAM.

use std::io::{self, Write};

use sterna_keyspace::{dump_libraries, dump_value};
use sterna_rdb::{RdbWriter, VERSION_MIN};

use crate::connection::CopyAsked;
use crate::server::Server;
use crate::time::unix_ms;

/// Letters of a mark, and of the identity of a history of changes.
const MARK_LETTERS: usize = 40;

/// Keys cloned under one lock.
const KEYS_PER_LOCK: usize = 16;

/// Keys whose encoding is looked at under one lock.
const KEYS_PER_STEP: usize = 256;

/// The version of the file if a field of a hash expires, which Redis 7.4 was the first to know.
const VERSION_OF_EXPIRING_FIELDS: u16 = 12;

/// Version and checksum at the end of what FUNCTION DUMP answers.
const FOOTER_BYTES: usize = 2 + 8;

pub(super) fn send(
    server: &Server,
    asked: &CopyAsked,
    announces: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    if announces {
        write!(out, "+FULLRESYNC {} 0\r\n", letters())?;
    }
    let mark = letters();
    write!(out, "$EOF:{mark}\r\n")?;
    let partitions = &server.partitions;
    let version = if asked.without_keys { VERSION_MIN } else { version(server)? };
    let mut file = RdbWriter::begin(&mut *out, version, crate::VERSION.redis)?;
    if !asked.without_functions {
        let codes = partitions.settled_libraries(|| ()).0;
        let mut libraries = dump_libraries(codes.values().map(|code| &**code));
        libraries.truncate(libraries.len() - FOOTER_BYTES);
        file.libraries(&libraries)?;
    }
    if !asked.without_keys {
        walk(server, &mut file)?;
    }
    file.end()?;
    out.write_all(mark.as_bytes())
}

/// The version that knows every encoding of what there is. A value that needs a later one and comes while the file is sent is
/// refused by a Redis that does not know it, as it would be for its version.
fn version(server: &Server) -> io::Result<u16> {
    let partitions = &server.partitions;
    let has_expiring = partitions.fill(0).iter().any(|fill| fill.parts_expiring > 0);
    let mut version = if has_expiring { VERSION_OF_EXPIRING_FIELDS } else { VERSION_MIN };
    for index in 0..partitions.count() {
        for db in 0..partitions.databases() {
            let mut from = Some(0);
            while let Some(position) = from {
                if server.is_stopping() {
                    return Err(io::Error::other("the server stops"));
                }
                from = partitions.visit_settled(index, db, position, KEYS_PER_STEP, |record| {
                    if let Some(stream) = record.value().stream() {
                        version = version.max(stream.rdb_type().1);
                    }
                });
            }
        }
    }
    Ok(version)
}

fn walk(server: &Server, file: &mut RdbWriter<impl Write>) -> io::Result<()> {
    let partitions = &server.partitions;
    // A swap meanwhile changes nothing about the file.
    let shown = partitions.shown();
    for db in 0..partitions.databases() {
        let stored = shown.get(db).map_or(db, |&stored| usize::from(stored));
        for index in 0..partitions.count() {
            let mut from = Some(0);
            while let Some(position) = from {
                if server.is_stopping() {
                    return Err(io::Error::other("the server stops"));
                }
                let (now_ms, mut keys) = (unix_ms(), Vec::new());
                from = partitions.visit_settled(index, stored, position, KEYS_PER_LOCK, |record| {
                    if !record.is_expired(now_ms) {
                        keys.push((
                            Box::<[u8]>::from(record.key()),
                            record.value().to_value(),
                            record.expire_at_ms(),
                        ));
                    }
                });
                for (key, value, expire_at_ms) in keys {
                    file.key(db as u64, &key, expire_at_ms, &dump_value(&value).0)?;
                }
            }
        }
    }
    Ok(())
}

fn letters() -> String {
    std::iter::repeat_with(|| char::from_digit(fastrand::u32(..16), 16).unwrap_or('0'))
        .take(MARK_LETTERS)
        .collect()
}
