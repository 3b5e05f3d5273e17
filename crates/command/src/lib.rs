//! Rows of the command table: everything that can be said about a command without running it.
//!
//! A row is written beside the function that runs it (keys: `sterna-keyspace`; connections and the server:
//! `sterna-server`), and one table, built at start-up, holds them all. COMMAND and its subcommands, HELP texts, arity
//! errors, ACL categories, the checks of MULTI and of the RESP2 subscriber mode, and `docs/commands.md` come from it.
//!
//! This crate is the type of a row and the table of rows ([`Table`]): both sides write rows without knowing each other,
//! and whoever asks about a command (users' rules, statistics, COMMAND) needs nothing of what runs it.
//! Source: the fields are those of COMMAND INFO and COMMAND DOCS (redis.io/commands/command-docs).
#![forbid(unsafe_code)]

use bitflags::bitflags;

mod code;
mod element;
mod help;
mod keys;
mod lifetime;
mod place;
mod secrets;
mod table;
mod uses;

pub use code::Code;
pub use element::{ElementAt, Sought};
pub use help::help_lines;
pub use keys::Positions;
pub use lifetime::Lifetime;
pub use place::Place;
pub use secrets::{Secrecy, Secrets};
pub use table::{RecentRows, Row, Table, Unresolved};
pub use uses::{Channels, KeyUse, KeyUses, Taken};

/// One command, or one subcommand of a container command such as CLIENT.
///
/// `R` is what runs it: each crate has its own function type.
#[derive(Debug, Clone, Copy)]
pub struct Command<R: 'static> {
    /// What is said of it.
    pub spec: Spec,
    /// What runs it. A container whose subcommands do the work has `None`.
    pub run: Option<R>,
    /// The rows of a container command, in alphabetical order; empty for an ordinary command.
    pub subcommands: &'static [Command<R>],
}

/// The description of a command: data only.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Lower case, as Redis reports it; a subcommand's is its own word (`kill`), not the container's.
    pub name: &'static str,
    /// Arguments including the name, in Redis's convention: `3` is exactly three, `-3` at least three.
    /// A subcommand counts the container's name as well.
    pub arity: i8,
    /// What the dispatcher must know.
    pub flags: Flags,
    /// Where the keys (or sharded channels) are.
    pub keys: Keys,
    /// What becomes of each key.
    pub uses: KeyUses,
    /// Which element of the collection at its key is looked up.
    pub element: ElementAt,
    /// What only the reply has afterwards, of a command that waits for it.
    pub taken: Taken,
    /// Which arguments are channels.
    pub channels: Channels,
    /// Which arguments must not be shown.
    pub secrets: Secrets,
    /// Which argument is code.
    pub code: Code,
    /// How long what it writes is to be there.
    pub lifetime: Lifetime,
    /// Which node of a cluster executes it.
    pub place: Place,
    /// Categories for ACL rules, without those that follow from `flags` (see [`Spec::categories`]).
    pub acl: Categories,
    /// Heading in the documentation.
    pub group: Group,
    /// First Redis version that had it.
    pub since: &'static str,
    /// Cost, as the documentation gives it.
    pub complexity: &'static str,
    /// One line for the documentation, in our own words.
    pub summary: &'static str,
    /// Arguments after the name, in the notation of the Redis manual:
    /// `key value [NX | XX] [EX seconds | PX milliseconds] [field value ...]`.
    pub syntax: &'static str,
    /// The shapes a successful reply can have.
    pub reply: &'static [ReplyShape],
    /// Hints for clients that COMMAND INFO passes on, such as `nondeterministic_output`.
    pub tips: &'static [&'static str],
}

bitflags! {
    /// Command flags; the names are COMMAND INFO's.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// May change the keyspace.
        const WRITE = 1 << 0;
        /// Reads the keyspace and never changes it.
        const READONLY = 1 << 1;
        /// Refused when memory is short.
        const DENYOOM = 1 << 2;
        /// Administration: not for applications.
        const ADMIN = 1 << 3;
        /// Publishes, or changes subscriptions.
        const PUBSUB = 1 << 4;
        /// Not allowed from scripts.
        const NOSCRIPT = 1 << 5;
        /// May wait for another client.
        const BLOCKING = 1 << 6;
        /// Answered while the data set is loading.
        const LOADING = 1 << 7;
        /// Answered by a replica with stale data.
        const STALE = 1 << 8;
        /// Not shown by MONITOR.
        const SKIP_MONITOR = 1 << 9;
        /// Not logged by SLOWLOG.
        const SKIP_SLOWLOG = 1 << 10;
        /// O(1) or O(log N).
        const FAST = 1 << 11;
        /// Answered before authentication.
        const NO_AUTH = 1 << 12;
        /// Not allowed between MULTI and EXEC.
        const NO_MULTI = 1 << 13;
        /// Allowed in the RESP2 subscriber mode.
        const SUBSCRIBER_MODE = 1 << 14;
        /// Runs at once between MULTI and EXEC instead of being queued.
        const NOT_QUEUED = 1 << 15;
        /// Key positions are not found by `Keys` alone.
        const MOVABLE_KEYS = 1 << 16;
        /// Runs even while CLIENT PAUSE holds the others back.
        const IGNORES_PAUSE = 1 << 17;
        /// Needs every partition of the keyspace locked (FLUSHALL, KEYS, SCAN, DBSIZE …).
        const ALL_KEYS = 1 << 18;
        /// Works asynchronously in Redis; reported only.
        const NO_ASYNC_LOADING = 1 << 19;
        /// May replicate although it is not a write: CLIENT PAUSE WRITE holds it back.
        const MAY_REPLICATE = 1 << 20;
        /// SENTINEL-related in Redis; reported only.
        const SENTINEL = 1 << 21;
        /// Answered while a script has the keys to itself.
        const ALLOW_BUSY = 1 << 22;
        /// Runs what MULTI has queued: it writes if that does, and its refusal ends the transaction.
        const RUNS_QUEUE = 1 << 25;
        /// Does not use up what CLIENT CACHING asked for.
        const KEEPS_CACHING = 1 << 26;
        /// Changes the configuration or the users, which happens one at a time: EXEC waits for its turn before it locks
        /// any key.
        const CHANGES_SETTINGS = 1 << 23;
        /// Its names are taken one after the other: a request with very many is executed a part at a time.
        const IN_PARTS = 1 << 24;
        /// Runs a script, which may do whatever its user may.
        const RUNS_SCRIPT = 1 << 28;
        /// Takes keys, and may be called without any.
        const NO_MANDATORY_KEYS = 1 << 29;
        /// Options name patterns of keys to read: their BY and GET are for users who may read every key.
        const READS_BY_PATTERN = 1 << 30;
        /// What it sends is kept where its channel remembers (`retain`).
        const RETAINS = 1 << 31;
        /// Looks at a password: an address that has failed too often waits for its turn.
        const LOGS_IN = 1 << 27;
        /// Names a fieldset of its connection in the argument behind its key (HIMPORT SET).
        const TAKES_FIELDSET = 1 << 32;
        /// Tells of all nodes: they are asked before it is executed.
        const ASKS_NODES = 1 << 33;
        /// Has the connection watch keys.
        const WATCHES = 1 << 34;
        /// Whatever it answers, the connection watches no keys behind it.
        const ENDS_WATCHES = 1 << 35;
        /// Switches client-side caching on and off: a connection asks for it anew where another node comes to lead.
        const TRACKS = 1 << 36;
        /// Chooses the database of what follows.
        const SELECTS = 1 << 37;
        /// Makes the connection as new.
        const RESETS = 1 << 38;
        /// Some of it holds the connection back before a transaction begins that has it.
        const DEBUGS = 1 << 39;
        /// With several groups of keys (`cluster-groups`) it is one command for all of them: each group's leader is to execute it.
        const EVERY_GROUP = 1 << 40;
        /// Makes one answer, or value, of what all its keys hold, which are copied where that takes long.
        const COMBINES = 1 << 41;
        /// Reads or writes a file of settings, which takes as long as the disk does.
        const SETTINGS_FILE = 1 << 42;
        /// What its files say is known before a transaction begins that has it.
        const READ_FIRST = 1 << 43;
        /// Sets options of redis.conf, some of which name certificates.
        const SETS_OPTIONS = 1 << 44;
        /// Walks past all that there is of the server (clients, users, channels), or of the connection's subscriptions.
        const LISTS = 1 << 45;
    }
}

bitflags! {
    /// ACL categories; the names are ACL CAT's.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Categories: u32 {
        /// Touches keys of any type.
        const KEYSPACE = 1 << 0;
        /// Reads keys, values or their metadata.
        const READ = 1 << 1;
        /// Writes keys, values or their metadata.
        const WRITE = 1 << 2;
        /// Sets.
        const SET = 1 << 3;
        /// Sorted sets.
        const SORTEDSET = 1 << 4;
        /// Lists.
        const LIST = 1 << 5;
        /// Hashes.
        const HASH = 1 << 6;
        /// Strings.
        const STRING = 1 << 7;
        /// Bitmaps.
        const BITMAP = 1 << 8;
        /// HyperLogLog.
        const HYPERLOGLOG = 1 << 9;
        /// Geospatial.
        const GEO = 1 << 10;
        /// Streams.
        const STREAM = 1 << 11;
        /// Pub/Sub.
        const PUBSUB = 1 << 12;
        /// Administration.
        const ADMIN = 1 << 13;
        /// O(1) or O(log N).
        const FAST = 1 << 14;
        /// Not fast.
        const SLOW = 1 << 15;
        /// May block the connection.
        const BLOCKING = 1 << 16;
        /// Can harm the server or other clients.
        const DANGEROUS = 1 << 17;
        /// Affects only the connection.
        const CONNECTION = 1 << 18;
        /// MULTI, EXEC and their kin.
        const TRANSACTION = 1 << 19;
        /// Scripting.
        const SCRIPTING = 1 << 20;
    }
}

impl Categories {
    /// Every category with its name, in ACL CAT's order.
    pub const NAMES: &'static [(Categories, &'static str)] = &[
        (Categories::KEYSPACE, "keyspace"),
        (Categories::READ, "read"),
        (Categories::WRITE, "write"),
        (Categories::SET, "set"),
        (Categories::SORTEDSET, "sortedset"),
        (Categories::LIST, "list"),
        (Categories::HASH, "hash"),
        (Categories::STRING, "string"),
        (Categories::BITMAP, "bitmap"),
        (Categories::HYPERLOGLOG, "hyperloglog"),
        (Categories::GEO, "geo"),
        (Categories::STREAM, "stream"),
        (Categories::PUBSUB, "pubsub"),
        (Categories::ADMIN, "admin"),
        (Categories::FAST, "fast"),
        (Categories::SLOW, "slow"),
        (Categories::BLOCKING, "blocking"),
        (Categories::DANGEROUS, "dangerous"),
        (Categories::CONNECTION, "connection"),
        (Categories::TRANSACTION, "transaction"),
        (Categories::SCRIPTING, "scripting"),
    ];
}

/// Arguments of one request to a command on keys, or on fields of hashes: 10 000 pairs of MSET, and some options. So many take a few milliseconds,
/// in which the shard serves nobody else.
pub const KEY_ARGUMENTS_MAX: usize = 20_480;

/// Arguments of one request to a command that combines what its keys hold, or may wait for them: to copy each, or to join those who wait
/// for it, takes half a microsecond.
pub const COMBINED_ARGUMENTS_MAX: usize = 4_352;

/// Arguments of one request to a command about connections or the server, each of which may take microseconds.
pub const SERVER_ARGUMENTS_MAX: usize = 1024;

/// Most bytes of a request about connections or the server: to copy or hash them takes some milliseconds at most.
pub const SERVER_REQUEST_BYTES_MAX: usize = 2 << 20;

/// Most bytes of a name (a key, a channel, a pattern), and of all names of one request that isn't executed in parts: they are hashed
/// and copied at once, which takes some 1.5 ms a megabyte.
pub const NAME_BYTES_MAX: usize = SERVER_REQUEST_BYTES_MAX;
/// Most bytes of a pattern that is subscribed to: it becomes a node for each twenty, which takes some 10 ms a megabyte.
pub const PATTERN_BYTES_MAX: usize = 256 << 10;
/// See [`NAME_BYTES_MAX`].
pub const NAMES_BYTES_MAX: usize = 2 * NAME_BYTES_MAX;

/// Where a command's keys are among its arguments (index 0 is the name).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// No key.
    None,
    /// First index, last index (negative: counted from the end, `-1` is the last argument), step.
    Range {
        /// Index of the first key.
        first: i16,
        /// Index of the last key, or negative from the end.
        last: i16,
        /// Distance between keys.
        step: i16,
    },
    /// After the word `STREAMS`: the first half of what follows (XREAD, XREADGROUP).
    AfterStreams {
        /// Where clients begin to look for the word.
        from: i16,
    },
    /// A count at this index, then as many keys.
    Counted {
        /// Index of the count.
        count_at: i16,
    },
    /// A count at this index, then as many pairs of a key and something else (MSETEX).
    CountedPairs {
        /// Index of the count.
        count_at: i16,
    },
    /// One, then a count at this index and as many keys (ZUNIONSTORE).
    OneAndCounted {
        /// Index of the one.
        first: i16,
        /// Index of the count.
        count_at: i16,
    },
    /// One, and one behind the last of these words, if there is any (SORT, GEORADIUS).
    OneAndAfterWord {
        /// Index of the one.
        first: i16,
        /// In upper case.
        words: &'static [&'static str],
        /// Where the words may begin.
        from: i16,
    },
}

impl Keys {
    /// One key at `index`.
    pub const fn at(index: i16) -> Keys {
        Keys::Range { first: index, last: index, step: 1 }
    }

    /// Every argument from `first` to the end.
    pub const fn from(first: i16) -> Keys {
        Keys::Range { first, last: -1, step: 1 }
    }
}

/// Heading of a command in the documentation; the names are COMMAND DOCS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// PUBLISH, SUBSCRIBE …
    Pubsub,
    /// XADD, XREAD …
    Stream,
    /// AUTH, HELLO, CLIENT …
    Connection,
    /// CONFIG, INFO, COMMAND …
    Server,
    /// DEL, EXPIRE, SCAN …
    Generic,
    /// GET, SET …
    String,
    /// MULTI, EXEC …
    Transactions,
    /// LPUSH, BLPOP …
    List,
    /// HSET, HGETALL …
    Hash,
    /// SADD, SINTER …
    Set,
    /// ZADD, ZRANGE …
    SortedSet,
    /// SETBIT, BITCOUNT …
    Bitmap,
    /// PFADD, PFCOUNT …
    Hyperloglog,
    /// GEOADD, GEOSEARCH …
    Geo,
    /// EVAL, FCALL …
    Scripting,
    /// CLUSTER, READONLY …
    Cluster,
}

impl Group {
    /// As COMMAND DOCS says it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Pubsub => "pubsub",
            Group::Stream => "stream",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Generic => "generic",
            Group::String => "string",
            Group::Transactions => "transactions",
            Group::List => "list",
            Group::Hash => "hash",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Bitmap => "bitmap",
            Group::Hyperloglog => "hyperloglog",
            Group::Geo => "geo",
            Group::Scripting => "scripting",
            Group::Cluster => "cluster",
        }
    }
}

/// The shape of a reply, for the documentation and for the test that checks each row against the running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyShape {
    /// `+OK`.
    Ok,
    /// Another simple string.
    Simple,
    /// An integer.
    Integer,
    /// A bulk string.
    Bulk,
    /// A double (RESP2: a bulk string).
    Double,
    /// A boolean (RESP2: 0 or 1).
    Boolean,
    /// Null.
    Null,
    /// An array, the same in both protocols.
    Array,
    /// A map (RESP2: a flat array).
    Map,
    /// A set (RESP2: an array).
    Set,
    /// Confirmations: pushes in RESP3, arrays in RESP2.
    Push,
    /// Text for people: a verbatim string (RESP2: a bulk string).
    Verbatim,
    /// No reply at all.
    Nothing,
    /// Lines without end, each a simple string, until the connection closes.
    Lines,
}

impl Spec {
    /// A command of which nothing is said yet: rows are written as what differs from it.
    pub const PLAIN: Spec = Spec {
        name: "",
        arity: 1,
        flags: Flags::empty(),
        keys: Keys::None,
        uses: KeyUses::ByFlags,
        element: ElementAt::None,
        taken: Taken::Nothing,
        channels: Channels::None,
        secrets: Secrets::None,
        code: Code::None,
        lifetime: Lifetime::None,
        place: Place::OfKeys,
        acl: Categories::empty(),
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "",
        syntax: "",
        reply: &[],
        tips: &[],
    };

    /// All ACL categories: those of the row and those that follow from its flags.
    ///
    /// Source: Redis derives `write`, `read`, `admin` and `dangerous`, `pubsub`, `fast` or `slow`, and `blocking` from
    /// the flags in the same way.
    pub fn categories(&self) -> Categories {
        let mut all = self.acl;
        let implied = [
            (Flags::WRITE, Categories::WRITE),
            // Commands such as PING are not `read` in Redis although they write nothing: only READONLY says so.
            (Flags::READONLY, Categories::READ),
            (Flags::ADMIN, Categories::ADMIN.union(Categories::DANGEROUS)),
            (Flags::PUBSUB, Categories::PUBSUB),
            (Flags::BLOCKING, Categories::BLOCKING),
        ];
        for (flag, category) in implied {
            if self.flags.contains(flag) {
                all |= category;
            }
        }
        if self.acl.contains(Categories::SCRIPTING) {
            // A script that only reads may read whatever its user may.
            all = all.difference(Categories::READ);
        }
        all | if self.flags.contains(Flags::FAST) { Categories::FAST } else { Categories::SLOW }
    }

    /// Most arguments, the name included, that one request may have. With a command that is executed in parts that is the
    /// protocol's affair.
    pub const fn arguments_max(&self) -> usize {
        if self.flags.contains(Flags::IN_PARTS) {
            usize::MAX
        } else if matches!(self.keys, Keys::None) && !matches!(self.group, Group::Hash) {
            SERVER_ARGUMENTS_MAX
        } else if self.flags.intersects(Flags::COMBINES.union(Flags::BLOCKING)) {
            COMBINED_ARGUMENTS_MAX
        } else {
            KEY_ARGUMENTS_MAX
        }
    }

    /// Most bytes that one request may have, where that is not the protocol's affair: in a command about connections or the
    /// server, which carries no value, no message and no code, and looks at all of it at once.
    pub const fn request_bytes_max(&self) -> usize {
        let carries = !matches!(self.keys, Keys::None)
            || matches!(self.channels, Channels::Published)
            || matches!(self.group, Group::Scripting | Group::Hash)
            || self.flags.contains(Flags::IN_PARTS);
        if carries { usize::MAX } else { SERVER_REQUEST_BYTES_MAX }
    }

    /// How many arguments a request may have, the name included: the fewest and the most.
    pub fn arguments(&self) -> (usize, usize) {
        let named = self.arity.unsigned_abs() as usize;
        let max = if self.arity >= 0 { named } else { self.arguments_max() };
        (named, max)
    }

    /// Whether a request may have `args_len` arguments, the name included.
    pub const fn takes(&self, args_len: usize) -> bool {
        self.accepts(args_len) && args_len <= self.arguments_max()
    }

    /// Whether `args_len` arguments (the name included) are as many as the command takes.
    pub const fn accepts(&self, args_len: usize) -> bool {
        if self.arity >= 0 {
            args_len == self.arity as usize
        } else {
            args_len >= self.arity.unsigned_abs() as usize
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitflags::Flags as _;

    #[test]
    fn every_flag_has_a_bit_of_its_own() {
        let mut taken = Flags::empty();
        for (name, flag) in Flags::all().iter_names() {
            assert!(flag.bits().is_power_of_two() && !taken.intersects(flag), "{name}");
            taken |= flag;
        }
        assert_eq!(Flags::all().bits().count_ones() as usize, Flags::FLAGS.len());
    }
}
