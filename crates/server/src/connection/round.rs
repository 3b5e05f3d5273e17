//! A command that is one for all groups of keys of a cluster (`cluster-groups`): how far it is. What moves it on: `command/rounds.rs`.
//!
//! ```text
//!   each group     execute (0) ─► execute (1) ─► …
//!   libraries      execute (0) ─► locate (0): where in its log that stands ─► await (1): that node has read so far ─► await (2) ─► …
//!
//!   of a turn      ahead ─► under way, at the node that leads the group ─► answered
//!                    ▲ └──► executed here ──► in the group's log
//!                    └─────────┴─ it had no effect
//! ```

use std::time::Instant;

use sterna_journal::Lsn;

/// See the module.
#[derive(Debug)]
pub(crate) struct Round {
    /// Whose turn it is.
    pub(crate) group: u16,
    pub(crate) turn: Turn,
    pub(crate) step: Step,
    /// Some group has executed it.
    pub(crate) has_begun: bool,
    /// What is answered, of the groups so far.
    pub(crate) reply: Vec<u8>,
    /// What was answered here, and is not in the group's log yet.
    pub(crate) here: Vec<u8>,
    /// Since when it waits for a log to be read here, if it does.
    pub(crate) waits_since: Option<Instant>,
}

/// What the group's leader is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Execute the command, on the keys of its group.
    Execute,
    /// Tell up to which slot it has its log.
    Locate,
    /// Answer when it has the log of the libraries up to this slot.
    Await(u64),
}

/// How far a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Ahead,
    /// It was passed on.
    UnderWay,
    /// It was executed here, and what it wrote is in the record up to this one.
    Here(Lsn),
}

impl Round {
    /// At its beginning.
    pub(crate) fn new() -> Round {
        Round {
            group: 0,
            turn: Turn::Execute,
            step: Step::Ahead,
            has_begun: false,
            reply: Vec::new(),
            here: Vec::new(),
            waits_since: None,
        }
    }

    /// The turn is done; the next one is another group's.
    pub(crate) fn go_on(&mut self, turn: Turn) {
        (self.group, self.turn, self.step, self.waits_since) = (self.group + 1, turn, Step::Ahead, None);
    }

    /// What the next group has answered joins what those before have: of truths for each of several, it is what all say.
    pub(crate) fn join(&mut self, reply: Vec<u8>) {
        if !self.has_begun {
            self.has_begun = true;
            self.reply = reply;
        } else if self.reply.len() == reply.len() {
            let differ =
                self.reply.iter_mut().zip(&reply).filter(|(one, other)| (**one, **other) == (b'1', b'0'));
            differ.for_each(|(one, _)| *one = b'0');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_is_true_of_every_group() {
        let mut round = Round::new();
        for reply in [&b"*11\r\n:1\r\n:0\r\n:1\r\n"[..], b"*11\r\n:1\r\n:1\r\n:0\r\n"] {
            round.join(reply.to_vec());
        }
        assert_eq!(round.reply, b"*11\r\n:1\r\n:0\r\n:0\r\n");
        let mut same = Round::new();
        (0..3).for_each(|_| same.join(b"+OK\r\n".to_vec()));
        assert_eq!(same.reply, b"+OK\r\n");
    }
}
