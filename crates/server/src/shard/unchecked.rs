//! Connections whose users have changed, and that have yet to be checked: thousands may be one user's, so that is done in steps.
//!
//! The change itself is in `command/rights.rs`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::connection::state::ConnectionRef;
use crate::mailbox::{Ack, Mail};
use crate::shard::Shard;

/// Time spent in one turn on them: some fifty that lose what they wait for.
const CHECK_TIME_MAX: Duration = Duration::from_micros(500);

/// How a change of users is followed.
///
/// What comes behind a change in the same transaction must not reach who has lost the right to it. So then all is checked at once but
/// for waits, which can't be ended while the keys are locked: each shard is mailed to do that behind it. Until all have, nobody is
/// served whom the transaction has woken (`shard/unserved.rs`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Following {
    /// What they hold is checked by and by, and then the one is told who made the change.
    InSteps(Ack),
    /// What they hold is checked at once, and what they wait for by and by.
    Waits(Ack),
    /// What they hold is checked at once, and what they wait for not at all.
    NotWaits,
}

/// Connections that one change concerns.
#[derive(Debug)]
pub(crate) struct Unchecked {
    pub(crate) who: VecDeque<ConnectionRef>,
    /// Who waits until they are checked.
    pub(crate) ack: Ack,
    /// A transaction has changed the user, and all is checked but what they wait for.
    pub(crate) is_of_waits: bool,
}

impl Shard {
    /// Goes on with them, for a bounded time; those of an earlier change come first.
    pub(super) fn check_unchecked(&mut self) {
        if self.unchecked.is_empty() {
            return;
        }
        let began = Instant::now();
        while let Some(Unchecked { who, ack, is_of_waits }) = self.unchecked.front_mut() {
            let (who, ack, is_of_waits) = (who.pop_front(), *ack, *is_of_waits);
            match who {
                Some(who) if self.connection_of(who).is_some() => {
                    if !is_of_waits {
                        self.check_held(who.slot);
                        self.pass_rights(who.slot);
                    }
                    self.check_wait(who.slot);
                }
                Some(_) => {}
                None => {
                    self.unchecked.pop_front();
                    // Who was found to have lost a right gets nothing more once the change is answered.
                    self.reap();
                    self.post(ack.shard, Mail::Done(ack));
                }
            }
            if began.elapsed() >= CHECK_TIME_MAX {
                break;
            }
        }
    }

    /// An answer for who waits may come from a transaction in which his rights have ended: then they are checked first.
    pub(crate) fn check_before_answer(&mut self, slot: usize) {
        if self.unchecked.iter().any(|unchecked| unchecked.is_of_waits) {
            self.check_wait(slot);
        }
    }
}
