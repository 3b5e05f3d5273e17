//! Commands that Redis calls deprecated, and its own commands that are for the server and not for clients.
//!
//! They go on working. Tools that read COMMAND DOCS mark them, or propose the other command.

/// A command that another one replaces.
pub(super) struct Deprecated {
    /// The full name.
    name: &'static str,
    /// The version of Redis from which on it is.
    pub(super) since: &'static str,
    pub(super) replaced_by: &'static str,
}

/// What is said of the command with this full name, if it is deprecated.
pub(super) fn deprecated(full_name: &str) -> Option<&'static Deprecated> {
    DEPRECATED.iter().find(|deprecated| deprecated.name == full_name)
}

/// Whether the command with this full name is one that servers, and who looks after them, use among themselves.
pub(super) fn is_internal(full_name: &str) -> bool {
    INTERNAL.contains(&full_name)
}

const INTERNAL: &[&str] = &["debug", "pfdebug", "replconf"];

const DEPRECATED: &[Deprecated] = &[
    of("brpoplpush", "6.2.0", "`BLMOVE` with `RIGHT LEFT`"),
    of("cluster|slaves", "5.0.0", "`CLUSTER REPLICAS`"),
    of("cluster|slots", "7.0.0", "`CLUSTER SHARDS`"),
    of("georadius", "6.2.0", "`GEOSEARCH` or `GEOSEARCHSTORE` with `BYRADIUS`"),
    of("georadius_ro", "6.2.0", "`GEOSEARCH` with `BYRADIUS`"),
    of("georadiusbymember", "6.2.0", "`GEOSEARCH` or `GEOSEARCHSTORE` with `FROMMEMBER` and `BYRADIUS`"),
    of("georadiusbymember_ro", "6.2.0", "`GEOSEARCH` with `FROMMEMBER` and `BYRADIUS`"),
    of("getset", "6.2.0", "`SET` with `GET`"),
    of("hmset", "4.0.0", "`HSET`"),
    of("psetex", "2.6.12", "`SET` with `PX`"),
    of("quit", "7.2.0", "closing the connection"),
    of("rpoplpush", "6.2.0", "`LMOVE` with `RIGHT LEFT`"),
    of("setex", "2.6.12", "`SET` with `EX`"),
    of("setnx", "2.6.12", "`SET` with `NX`"),
    of("substr", "2.0.0", "`GETRANGE`"),
    of("zrangebylex", "6.2.0", "`ZRANGE` with `BYLEX`"),
    of("zrangebyscore", "6.2.0", "`ZRANGE` with `BYSCORE`"),
    of("zrevrange", "6.2.0", "`ZRANGE` with `REV`"),
    of("zrevrangebylex", "6.2.0", "`ZRANGE` with `BYLEX` and `REV`"),
    of("zrevrangebyscore", "6.2.0", "`ZRANGE` with `BYSCORE` and `REV`"),
];

const fn of(name: &'static str, since: &'static str, replaced_by: &'static str) -> Deprecated {
    Deprecated { name, since, replaced_by }
}

#[cfg(test)]
mod tests {
    use super::super::super::table::table;
    use super::*;

    #[test]
    fn what_is_deprecated_or_internal_is_a_command() {
        for name in DEPRECATED.iter().map(|deprecated| deprecated.name).chain(INTERNAL.iter().copied()) {
            assert!(table().find_full(name.as_bytes()).is_some(), "{name}");
        }
    }
}
