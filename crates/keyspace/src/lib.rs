//! The keyspace: keys, expiry, values. A command is a function from state, arguments and time to a reply and effects.
//!
//! It knows no file, client, socket, thread or clock: the time is passed in, and what a write did is left in a
//! [`Changes`] for the server to carry on.
//!
//! | part | idea |
//! |---|---|
//! | `hash`, `table` | one hash per key; segments that split and join in small steps and are walked in order |
//! | `record`, `segment` | a key, its value and what is known of it in one run of bytes; some hundred of them in one allocation |
//! | `value`, `bytes` | what is kept under a key |
//! | `expiry` | expiries in order of time |
//! | `usage`, `eviction` | how a key is used, and which one goes when memory is short |
//! | `partition`, `slot`, `space` | what one lock guards; the place of one key, where every change is made; several partitions as one |
//! | `changes`, `effect`, `event`, `watch`, `wait`, `ready`, `serving` | who is told of a change: journal, notifications, WATCH, blocked readers |
//! | `string` | the bytes of a string, long ones in parts, and what is computed over them |
//! | `stream` | a stream as a data structure: blocks, groups, changes |
//! | `fields` | hashes: fields, their values and expiries |
//! | `list` | a list: packed nodes, a tree of them where they are many |
//! | `zset`, `geo` | a sorted set: packed, or a counted tree and a table; places as scores |
//! | `collection`, `packed`, `listpack`, `ziplist` | what lists, hashes, sets and sorted sets have in common; how small ones are kept, and once were |
//! | `compact` | the hash table of large hashes, sets and sorted sets, whose copies share segments |
//! | `apart` | commands that take long, on copies of what their keys hold |
//! | `long` | replies that are made in steps, from copies |
//! | `rdb`, `extended` | values as other servers exchange them; floats with the digits Redis gives |
//! | `fingerprint` | 20 bytes that tell whether two servers hold the same |
//! | `command` | a file per command, with its row of the command table |
#![forbid(unsafe_code)]

mod ahead;
mod apart;
mod bytes;
mod changes;
mod collection;
mod command;
mod compact;
mod context;
mod effect;
mod error;
mod event;
mod eviction;
mod expiry;
mod extended;
mod fields;
mod fingerprint;
mod garbage;
mod geo;
mod groups;
mod hash;
mod index;
mod libraries;
mod list;
mod listed;
mod listpack;
mod long;
pub mod lzf;
mod packed;
mod partition;
mod rdb;
mod ready;
mod record;
mod recorder;
mod segment;
mod serving;
mod set;
mod shared;
mod slot;
mod space;
pub mod stream;
mod stride;
mod string;
mod subkeys;
mod table;
mod usage;
mod value;
mod wait;
mod watch;
mod ziplist;
mod zset;

pub use ahead::{Ahead, Extent, LargeRef};
pub use apart::Apart;
pub use bytes::Bytes;
pub use changes::{Changes, Events, KeyEvent, PlacedStream, Wants};
pub use collection::Limits;
pub use command::{
    COMMANDS, GeoError, HashError, Retention, SCAN_BYTES, SetError, StreamError, ZsetError, remember,
};
pub use context::{Ctx, Outcome, Run};
pub use effect::{
    Effect, Effects, LIBRARIES, Unreadable, What, flush_all, read_state, resume, standing, suspend,
    write_databases, write_library, write_set, write_state, write_tentative,
};
pub use error::Error;
pub use event::{EventClasses, EventKind};
pub use eviction::{Eviction, Order, Policy};
pub use fields::{Fieldset, for_valkey};
pub use fingerprint::Fingerprint;
pub use garbage::Garbage;
pub use groups::{GROUPS_MAX, KeyGroup, SLOTS, slot_of};
pub use hash::{KeyHash, PARTITIONS_MAX};
pub use libraries::{dump_libraries, read_libraries};
pub use long::{HeldSteps, Steps};
pub use partition::{DATABASES_MAX, Fill, Partition, Settings, Stats, StreamSettings};
pub use rdb::{crc64, dump_value, restore_value, seal as seal_dump, write_string as write_rdb_string};
pub use record::{NewValue, Record};
pub use serving::{Unserved, WhoIsServed, leave_ready, recheck, serve_ready};
pub use slot::Slot;
pub use space::{Locked, Space};
pub use stride::Stride;
pub use string::{Long, Text};
pub use subkeys::Subkeys;
pub use table::LookUp;
pub use usage::Frequency;
pub use value::{Value, ValueRef};
pub use wait::{Answer, Blocked, Caller, Look, Presence, Served, Waiter};
pub use watch::{WATCHED_KEY_BYTES, Watch};
