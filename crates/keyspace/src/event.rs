//! Names of keyspace events, as `notify-keyspace-events` sorts and reports them.

use bitflags::bitflags;

bitflags! {
    /// Classes of events, and the channels they can go to; a mask of them is `notify-keyspace-events`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct EventClasses: u32 {
        /// `K`: publish to `__keyspace@<db>__:<key>`.
        const KEYSPACE = 1 << 0;
        /// `E`: publish to `__keyevent@<db>__:<event>`.
        const KEYEVENT = 1 << 1;
        /// `g`: commands on keys of any type.
        const GENERIC = 1 << 2;
        /// `$`: string commands.
        const STRING = 1 << 3;
        /// `l`: list commands.
        const LIST = 1 << 4;
        /// `s`: set commands.
        const SET = 1 << 5;
        /// `h`: hash commands.
        const HASH = 1 << 6;
        /// `z`: sorted set commands.
        const ZSET = 1 << 7;
        /// `x`: a key expired.
        const EXPIRED = 1 << 8;
        /// `e`: a key was evicted.
        const EVICTED = 1 << 9;
        /// `t`: stream commands.
        const STREAM = 1 << 10;
        /// `m`: a read found no key.
        const KEY_MISS = 1 << 11;
        /// `d`: module key types; none here.
        const MODULE = 1 << 12;
        /// `n`: a key was created.
        const NEW = 1 << 13;
        /// `o`: a value was replaced as a whole.
        const OVERWRITTEN = 1 << 14;
        /// `c`: a value was replaced by one of another type.
        const TYPE_CHANGED = 1 << 15;
        /// `S`: publish to `__subkeyspace@<db>__:<key>`.
        const SUBKEYSPACE = 1 << 16;
        /// `T`: publish to `__subkeyevent@<db>__:<event>`.
        const SUBKEYEVENT = 1 << 17;
        /// `I`: publish to `__subkeyspaceitem@<db>__:<key>\n<subkey>`.
        const SUBKEYSPACEITEM = 1 << 18;
        /// `V`: publish to `__subkeyspaceevent@<db>__:<event>|<key>`.
        const SUBKEYSPACEEVENT = 1 << 19;
        /// Channels that say which elements an event is about.
        const SUBKEYS = Self::SUBKEYSPACE.bits() | Self::SUBKEYEVENT.bits() | Self::SUBKEYSPACEITEM.bits()
            | Self::SUBKEYSPACEEVENT.bits();
        /// All channels.
        const CHANNELS = Self::KEYSPACE.bits() | Self::KEYEVENT.bits() | Self::SUBKEYS.bits();
        /// `A`: all but the channels, `m`, `n`, `o` and `c`.
        const ALL = Self::GENERIC.bits() | Self::STRING.bits() | Self::LIST.bits() | Self::SET.bits()
            | Self::HASH.bits() | Self::ZSET.bits() | Self::EXPIRED.bits() | Self::EVICTED.bits()
            | Self::STREAM.bits() | Self::MODULE.bits();
    }
}

/// What can happen to a key, as subscribers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind {
    /// The class that must be switched on.
    pub class: EventClasses,
    /// The name that is published.
    pub name: &'static str,
}

macro_rules! events {
    ($($class:ident { $($constant:ident = $name:literal),* $(,)? })*) => {
        $($(
            #[doc = concat!("`", $name, "`.")]
            pub(crate) const $constant: EventKind = EventKind { class: EventClasses::$class, name: $name };
        )*)*
    };
}

events! {
    GENERIC {
        COPY_TO = "copy_to",
        DEL = "del",
        EXPIRE = "expire",
        MOVE_FROM = "move_from",
        MOVE_TO = "move_to",
        PERSIST = "persist",
        RENAME_FROM = "rename_from",
        RENAME_TO = "rename_to",
        RESTORE = "restore",
    }
    STRING {
        APPEND = "append",
        INCRBY = "incrby",
        INCRBYFLOAT = "incrbyfloat",
        PFADD = "pfadd",
        SET = "set",
        SETBIT = "setbit",
        SETRANGE = "setrange",
    }
    SET {
        SADD = "sadd",
        SDIFFSTORE = "sdiffstore",
        SINTERSTORE = "sinterstore",
        SPOP = "spop",
        SREM = "srem",
        SUNIONSTORE = "sunionstore",
    }
    LIST {
        LINSERT = "linsert",
        LPOP = "lpop",
        LPUSH = "lpush",
        LREM = "lrem",
        LSET = "lset",
        LTRIM = "ltrim",
        RPOP = "rpop",
        RPUSH = "rpush",
        SORTSTORE = "sortstore",
    }
    EXPIRED { EXPIRED = "expired" }
    EVICTED { EVICTED = "evicted" }
    STREAM {
        XADD = "xadd",
        XDEL = "xdel",
        XGROUP_CREATE = "xgroup-create",
        XGROUP_CREATECONSUMER = "xgroup-createconsumer",
        XGROUP_DELCONSUMER = "xgroup-delconsumer",
        XGROUP_DESTROY = "xgroup-destroy",
        XGROUP_SETID = "xgroup-setid",
        XSETID = "xsetid",
        XTRIM = "xtrim",
    }
    HASH {
        HDEL = "hdel",
        HEXPIRE = "hexpire",
        HEXPIRED = "hexpired",
        HINCRBY = "hincrby",
        HINCRBYFLOAT = "hincrbyfloat",
        HPERSIST = "hpersist",
        HSET = "hset",
    }
    ZSET {
        GEORADIUSSTORE = "georadiusstore",
        GEOSEARCHSTORE = "geosearchstore",
        ZADD = "zadd",
        ZDIFFSTORE = "zdiffstore",
        ZINCR = "zincr",
        ZINTERSTORE = "zinterstore",
        ZPOPMAX = "zpopmax",
        ZPOPMIN = "zpopmin",
        ZRANGESTORE = "zrangestore",
        ZREM = "zrem",
        ZREMRANGEBYLEX = "zremrangebylex",
        ZREMRANGEBYRANK = "zremrangebyrank",
        ZREMRANGEBYSCORE = "zremrangebyscore",
        ZUNIONSTORE = "zunionstore",
    }
    KEY_MISS { KEY_MISS = "keymiss" }
    NEW { NEW = "new" }
    OVERWRITTEN { OVERWRITTEN = "overwritten" }
    TYPE_CHANGED { TYPE_CHANGED = "type_changed" }
}
