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

/// Connections that one change concerns.
#[derive(Debug)]
pub(crate) struct Unchecked {
    pub(crate) who: VecDeque<ConnectionRef>,
    /// Who waits until they are checked; `None`: a transaction has changed the user, and all is checked but what they wait for.
    pub(crate) ack: Option<Ack>,
}

impl Shard {
    /// Goes on with them, for a bounded time; those of an earlier change come first.
    pub(super) fn check_unchecked(&mut self) {
        if self.unchecked.is_empty() {
            return;
        }
        let began = Instant::now();
        while let Some(Unchecked { who, ack }) = self.unchecked.front_mut() {
            let (who, ack) = (who.pop_front(), *ack);
            match who {
                Some(who) if self.connection_of(who).is_some() => {
                    if ack.is_some() {
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
                    ack.into_iter().for_each(|ack| self.post(ack.shard, Mail::Done(ack)));
                }
            }
            if began.elapsed() >= CHECK_TIME_MAX {
                break;
            }
        }
    }

    /// An answer for who waits may come from a transaction in which his rights have ended: then they are checked first.
    pub(crate) fn check_before_answer(&mut self, slot: usize) {
        if self.unchecked.iter().any(|unchecked| unchecked.ack.is_none()) {
            self.check_wait(slot);
        }
    }
}
