//! What a command does with each of its keys, and with channels.
//!
//! Source: the flags of key specifications in Redis 8.2 (redis.io/docs/latest/develop/reference/key-specs).

use bitflags::bitflags;

use crate::{Flags, Spec};

bitflags! {
    /// What becomes of a key; the names are COMMAND INFO's.
    ///
    /// One of `RO`, `RW`, `OW` and `RM` says what happens to the key as a whole, the rest what happens to its value.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct KeyUse: u16 {
        /// Read only.
        const RO = 1 << 0;
        /// Read and written.
        const RW = 1 << 1;
        /// Overwritten, whatever it was.
        const OW = 1 << 2;
        /// Removed.
        const RM = 1 << 3;
        /// The value, or a part of it, reaches the client or another key.
        const ACCESS = 1 << 4;
        /// Data in it may change.
        const UPDATE = 1 << 5;
        /// Data is only added.
        const INSERT = 1 << 6;
        /// Data is only deleted.
        const DELETE = 1 << 7;
        /// It is no key: a sharded channel, whose slot clients of a cluster ask for.
        const NOT_KEY = 1 << 8;
        /// It depends on the other arguments.
        const VARIABLE_FLAGS = 1 << 9;
        /// What it holds reaches the client, though in Redis, and for keys in general, the right to write is enough. Nobody is
        /// told.
        const REVEALED = 1 << 10;
    }
}

impl KeyUse {
    /// Asked about without its value: EXISTS, TYPE, XLEN.
    pub const EXAMINES: KeyUse = KeyUse::RO;
    /// GET, and every other command that only reads.
    pub const READS: KeyUse = KeyUse::RO.union(KeyUse::ACCESS);
    /// EXPIRE, and every write that is nothing of what follows.
    pub const UPDATES: KeyUse = KeyUse::RW.union(KeyUse::UPDATE);
    /// MSET, RESTORE.
    pub const OVERWRITES: KeyUse = KeyUse::OW.union(KeyUse::UPDATE);
    /// SETNX.
    pub const CREATES: KeyUse = KeyUse::OW.union(KeyUse::INSERT);
    /// APPEND.
    pub const ADDS: KeyUse = KeyUse::RW.union(KeyUse::INSERT);
    /// XDEL, XTRIM.
    pub const DELETES_FROM: KeyUse = KeyUse::RW.union(KeyUse::DELETE);
    /// DEL.
    pub const REMOVES: KeyUse = KeyUse::RM.union(KeyUse::DELETE);
    /// XCLAIM: changed, and the client is answered what it holds.
    pub const UPDATES_AND_REVEALS: KeyUse = KeyUse::UPDATES.union(KeyUse::REVEALED);
    /// XAUTOCLAIM.
    pub const DELETES_AND_REVEALS: KeyUse = KeyUse::DELETES_FROM.union(KeyUse::REVEALED);
    /// INCR: changed, and the client learns what it is.
    pub const READS_AND_UPDATES: KeyUse = KeyUse::RW.union(KeyUse::ACCESS).union(KeyUse::UPDATE);
    /// GETDEL: read for the last time.
    pub const TAKES: KeyUse = KeyUse::RW.union(KeyUse::ACCESS).union(KeyUse::DELETE);

    /// Whether a user must be allowed to read the key.
    pub const fn needs_read(self) -> bool {
        self.contains(KeyUse::ACCESS)
    }

    /// Whether the client is told what the key holds.
    pub const fn tells_value(self) -> bool {
        self.intersects(KeyUse::ACCESS.union(KeyUse::REVEALED))
    }

    /// Whether a user must be allowed to write the key.
    pub const fn needs_write(self) -> bool {
        self.intersects(KeyUse::UPDATE.union(KeyUse::INSERT).union(KeyUse::DELETE))
    }

    /// The names of the flags, as COMMAND INFO spells them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(KeyUse, &str); 10] = [
            (KeyUse::RO, "RO"),
            (KeyUse::RW, "RW"),
            (KeyUse::OW, "OW"),
            (KeyUse::RM, "RM"),
            (KeyUse::ACCESS, "access"),
            (KeyUse::UPDATE, "update"),
            (KeyUse::INSERT, "insert"),
            (KeyUse::DELETE, "delete"),
            (KeyUse::NOT_KEY, "not_key"),
            (KeyUse::VARIABLE_FLAGS, "variable_flags"),
        ];
        NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}

/// The use of each key of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUses {
    /// A write updates them, any other command reads them.
    ByFlags,
    /// The same for all of them.
    Each(KeyUse),
    /// One for the first, another for the second and all that follow.
    FirstAndSecond(KeyUse, KeyUse),
    /// It depends on whether one of `words` is among the arguments from `from` on.
    WithWord {
        /// In upper case.
        words: &'static [&'static str],
        /// Where options begin.
        from: usize,
        /// If it is.
        with: KeyUse,
        /// If it is not.
        without: KeyUse,
    },
}

/// What a command that waits takes out of a key, so that it can be put back where its client does not get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing, or it is elsewhere, too.
    Nothing,
    /// The first element of a list.
    First,
    /// The last element of a list.
    Last,
    /// Elements of a list, from the end that a word behind the keys names.
    FromNamedEnd,
    /// Members of a sorted set, with their scores.
    Members,
}

/// The channels of a request that rules can forbid. Unsubscribing is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// None.
    None,
    /// The first argument: it is published to.
    Published,
    /// Every argument: they are subscribed to.
    Subscribed,
    /// Every argument: they are patterns that are subscribed to.
    SubscribedPatterns,
}

impl Spec {
    /// What becomes of the `nth` key, counted from 0, whatever the other arguments are: for COMMAND INFO.
    pub fn key_use(&self, nth: usize) -> KeyUse {
        match self.uses {
            KeyUses::ByFlags if self.flags.contains(Flags::WRITE) => KeyUse::UPDATES,
            KeyUses::ByFlags => KeyUse::READS,
            KeyUses::Each(uses) => uses,
            KeyUses::FirstAndSecond(first, _) if nth == 0 => first,
            KeyUses::FirstAndSecond(_, second) => second,
            KeyUses::WithWord { with, .. } => with | KeyUse::VARIABLE_FLAGS,
        }
    }

    /// What becomes of the `nth` key in the request with these arguments, the name included.
    pub fn key_use_in<'a>(&self, nth: usize, mut arguments: impl Iterator<Item = &'a [u8]>) -> KeyUse {
        match self.uses {
            KeyUses::WithWord { words, from, with, without } => {
                let is_word = |arg: &[u8]| words.iter().any(|word| arg.eq_ignore_ascii_case(word.as_bytes()));
                let is_there = arguments.by_ref().skip(from).any(is_word);
                if is_there { with } else { without }
            }
            _ => self.key_use(nth),
        }
    }

    /// Whether what `keys` says are keys: sharded channels are not.
    pub fn has_keys(&self) -> bool {
        self.keys != crate::Keys::None && !self.key_use(0).contains(KeyUse::NOT_KEY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_must_be_allowed_follows_from_the_use() {
        let rows = [
            (KeyUse::EXAMINES, (false, false)),
            (KeyUse::READS, (true, false)),
            (KeyUse::UPDATES, (false, true)),
            (KeyUse::OVERWRITES, (false, true)),
            (KeyUse::CREATES, (false, true)),
            (KeyUse::ADDS, (false, true)),
            (KeyUse::DELETES_FROM, (false, true)),
            (KeyUse::REMOVES, (false, true)),
            (KeyUse::READS_AND_UPDATES, (true, true)),
            (KeyUse::TAKES, (true, true)),
        ];
        for (uses, needs) in rows {
            assert_eq!((uses.needs_read(), uses.needs_write()), needs, "{uses:?}");
        }
    }

    #[test]
    fn a_use_may_depend_on_a_word() {
        let spec = Spec {
            flags: Flags::WRITE,
            uses: KeyUses::WithWord {
                words: &["GET"],
                from: 3,
                with: KeyUse::READS_AND_UPDATES,
                without: KeyUse::OVERWRITES,
            },
            ..Spec::PLAIN
        };
        let of = |words: &str| spec.key_use_in(0, words.split(' ').map(str::as_bytes));
        assert_eq!(of("set get get"), KeyUse::OVERWRITES);
        assert_eq!(of("set k v nx get"), KeyUse::READS_AND_UPDATES);
        assert!(spec.key_use(0).names().eq(["RW", "access", "update", "variable_flags"]));
    }
}
