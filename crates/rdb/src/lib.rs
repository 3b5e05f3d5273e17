//! The files in which Redis and Valkey keep their keys: database files, append-only files, and the directory they are in.
//!
//! | file | what |
//! |---|---|
//! | `read` | a database file, key by key |
//! | `write` | one, key by key |
//! | `commands` | an append-only file, command by command |
//! | `directory` | what is there, and what belongs together |
//!
//! Nothing here knows what a value means: its bytes are those of DUMP, and the keyspace reads and writes them.
#![forbid(unsafe_code)]

mod commands;
mod directory;
mod read;
mod write;

pub use commands::{CommandError, Commands, Line, finds_command};
pub use directory::{Aof, DirectoryError, Found, Part};
pub use read::{Rdb, RdbError, Step};
pub use write::{RdbWriter, VALKEY_VERSION, VERSION_MIN};

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of its database.
    pub db: u64,
    /// Its name.
    pub key: Vec<u8>,
    /// The type of its value.
    pub kind: Kind,
    /// Unix time in milliseconds.
    pub expire_at_ms: Option<u64>,
    /// Type byte and value, as in a DUMP before its footer; empty for types that are only named.
    pub value: Vec<u8>,
    /// The version of the database file that the value is of.
    pub version: u16,
}

/// The type of a value, as TYPE says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `string`
    String,
    /// `stream`
    Stream,
    /// `list`
    List,
    /// `set`
    Set,
    /// `zset`
    SortedSet,
    /// `hash`
    Hash,
    /// Any other name: a module's.
    Module,
}

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Stream => "stream",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::SortedSet => "sorted set",
            Kind::Hash => "hash",
            Kind::Module => "module value",
        }
    }

    /// The type that TYPE calls so.
    pub fn of_type(name: &[u8]) -> Kind {
        match name {
            b"string" => Kind::String,
            b"stream" => Kind::Stream,
            b"list" => Kind::List,
            b"set" => Kind::Set,
            b"zset" => Kind::SortedSet,
            b"hash" => Kind::Hash,
            _ => Kind::Module,
        }
    }
}
