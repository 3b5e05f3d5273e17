//! The keys of a running server, read with SCAN and DUMP.
//!
//! It goes on meanwhile: a key comes as it is when it is read, and one that is there during the whole walk comes exactly as
//! often as SCAN names it, at least once.

use std::collections::BTreeMap;

use sterna_protocol::decode::Value;
use sterna_rdb::{Entry, Kind};

use crate::Failure;
use crate::link::{Link, LinkError};

/// Requests sent before their replies are read.
pub(crate) const PIPELINE: usize = 128;

/// A version and a checksum end what DUMP gives.
const FOOTER_BYTES: usize = 2 + 8;

/// Shows every key to `visit`, with how many have been seen and how many there were at the beginning.
pub(crate) fn walk(
    source: &mut Link,
    mut visit: impl FnMut(Entry, u64, u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut seen, total) = (0, sizes(source)?.values().sum());
    scan(source, |source, db, keys| {
        for entry in dump(source, db, keys)? {
            seen += 1;
            visit(entry, seen, total)?;
        }
        Ok(())
    })
}

/// Shows the names of all keys to `visit`, at most [`PIPELINE`] of a database at a time, which the connection has selected.
pub(crate) fn scan(
    source: &mut Link,
    mut visit: impl FnMut(&mut Link, u64, &[&[u8]]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for db in sizes(source)?.into_keys() {
        let mut cursor = "0".to_owned();
        loop {
            source.ask(&["SELECT", &db.to_string()])?;
            let reply = source.ask(&["SCAN", &cursor, "COUNT", "512"])?;
            let [next, Value::Array(keys)] = reply.as_slice().unwrap_or_default() else {
                return Err(source.nonsense("not that of SCAN").into());
            };
            cursor = String::from_utf8_lossy(next.as_bytes().unwrap_or_default()).into_owned();
            for keys in keys.chunks(PIPELINE) {
                let names: Option<Vec<&[u8]>> = keys.iter().map(Value::as_bytes).collect();
                let keys = names.ok_or_else(|| source.nonsense("not that of SCAN"))?;
                visit(source, db, &keys)?;
            }
            if cursor == "0" {
                break;
            }
        }
    }
    Ok(())
}

/// Its libraries of functions, as FUNCTION DUMP gives them before its footer; `None`: there are none, or it knows no
/// functions.
pub(crate) fn functions(source: &mut Link) -> Result<Option<Vec<u8>>, LinkError> {
    match source.ask(&["FUNCTION", "DUMP"]) {
        Ok(payload) => {
            let (libraries, _) = without_footer(payload.as_bytes().unwrap_or_default());
            Ok((!libraries.is_empty()).then_some(libraries))
        }
        Err(LinkError::Refused { why, .. }) if why.to_lowercase().starts_with("err unknown") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Databases that have keys, and how many.
pub(crate) fn sizes(source: &mut Link) -> Result<BTreeMap<u64, u64>, LinkError> {
    let info = source.ask(&["INFO", "keyspace"])?;
    let text = info.as_bytes().map(|text| String::from_utf8_lossy(text).into_owned());
    // Who says nothing of its keys is not taken for one that has none.
    let of_keys = text.filter(|text| text.to_lowercase().contains("# keyspace"));
    let text = of_keys.ok_or_else(|| source.nonsense("not that of INFO"))?;
    let line = |line: &str| {
        let (db, figures) = line.strip_prefix("db")?.split_once(":keys=")?;
        Some((db.parse().ok()?, figures.split(',').next()?.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// What another server has under the keys of `entries`, in their order.
pub(crate) fn same_keys(other: &mut Link, entries: &[Entry]) -> Result<Vec<Option<Entry>>, LinkError> {
    let mut all = Vec::with_capacity(entries.len());
    for entries in entries.chunk_by(|one, next| one.db == next.db) {
        let db = entries[0].db;
        other.ask(&["SELECT", &db.to_string()])?;
        let keys: Vec<&[u8]> = entries.iter().map(|entry| &*entry.key).collect();
        let mut found = dump(other, db, &keys)?.into_iter().peekable();
        all.extend(entries.iter().map(|entry| found.next_if(|other| other.key == entry.key)));
    }
    Ok(all)
}

/// What is under `keys` of the selected database, `db`; those that are gone are left out.
pub(crate) fn dump(source: &mut Link, db: u64, keys: &[&[u8]]) -> Result<Vec<Entry>, LinkError> {
    for key in keys {
        source.send_about(key, &[b"TYPE", key])?;
        source.send_about(key, &[b"PEXPIRETIME", key])?;
    }
    let mut found = Vec::new();
    for key in keys {
        let (kind, expiry) = (source.receive()?, source.receive()?);
        let name = kind.as_bytes().unwrap_or_default();
        if name != b"none" {
            let expire_at_ms = expiry.as_int().and_then(|at_ms| u64::try_from(at_ms).ok());
            let kind = Kind::of_type(name);
            found.push(Entry { db, key: key.to_vec(), kind, expire_at_ms, value: Vec::new(), version: 0 });
        }
    }
    for entry in found.iter().filter(|entry| entry.kind != Kind::Module) {
        source.send_about(&entry.key, &[b"DUMP", &entry.key])?;
    }
    for entry in found.iter_mut().filter(|entry| entry.kind != Kind::Module) {
        (entry.value, entry.version) = match source.receive()? {
            // It is gone meanwhile.
            Value::Null => continue,
            Value::Bulk(payload) if payload.len() > FOOTER_BYTES => without_footer(&payload),
            _ => return Err(source.nonsense("not that of DUMP")),
        };
    }
    found.retain(|entry| !entry.value.is_empty() || entry.kind == Kind::Module);
    Ok(found)
}

/// What DUMP gave, and the version that its footer names.
fn without_footer(payload: &[u8]) -> (Vec<u8>, u16) {
    let (value, footer) = payload.split_at(payload.len().saturating_sub(FOOTER_BYTES));
    (value.to_vec(), footer.first_chunk().map_or(0, |version| u16::from_le_bytes(*version)))
}
