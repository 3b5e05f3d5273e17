//! A group of keys that another node is to lead: asking for it, and handing it over. What is said is in `balance.rs`.

use std::time::{Duration, Instant};

use super::super::Role;
use super::super::balance::{Say, Word};
use super::{Driver, End};

/// How often a node that is to lead a group asks the one that does.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How far behind the log's end one may be that asks, in slots: it reads on meanwhile.
const ASKER_LAG_MAX: u64 = 200;

/// How long what has begun may take to come to its end when a group is to be handed over: else it is not. Half a lease.
const QUIET_MAX: Duration = Duration::from_millis(1500);

/// How long a group is not handed over that the other node has not taken, or that could not be.
const REST: Duration = Duration::from_secs(30);

/// The group is about to be handed over.
#[derive(Clone, Copy)]
pub(super) struct Ceding {
    to: u64,
    since: Instant,
    /// For [`LogSeat::is_quiet`].
    version: u64,
}

impl Driver {
    /// Asks to lead the group, if this node is to.
    pub(super) fn ask_to_lead(&mut self) {
        let is_fit = self.replica.role() == Role::Following && !self.seat.is_loading();
        let is_time = self.asked_at.is_none_or(|at| at.elapsed() >= ASK_INTERVAL);
        let next_move = (self.hooks.next_move)().filter(|next_move| next_move.to == self.me);
        if let Some(next_move) = next_move.filter(|_| is_fit && is_time) {
            self.asked_at = Some(Instant::now());
            let slot = self.replica.position().slot;
            self.tell_word(next_move.from, Say::Asks { slot });
        }
    }

    fn tell_word(&self, to: u64, say: Say) {
        let incarnation = self.replica.position().incarnation;
        let word = Word { incarnation, from: self.me, to, say };
        let (client, subject) = (self.client.clone(), self.balance.clone());
        tokio::spawn(async move {
            // One that is lost is said again, or the log is claimed as after any silence.
            let _ = client.publish(subject, word.encode().into()).await;
        });
    }

    pub(super) fn note_word(&mut self, bytes: &[u8]) {
        let incarnation = self.replica.position().incarnation;
        let word = Word::decode(bytes).filter(|word| word.to == self.me && word.incarnation == incarnation);
        match word {
            Some(Word { from, say: Say::Asks { slot }, .. }) => self.begin_to_cede(from, slot),
            Some(Word { say: Say::Ceded { hash }, .. }) => {
                let now = self.now();
                self.replica.on_ceded(hash, now);
            }
            None => {}
        }
    }

    /// Another node asks to lead the group. It is to, if this one sees the cluster as it does, and has the time.
    fn begin_to_cede(&mut self, to: u64, slot: u64) {
        let is_next =
            (self.hooks.next_move)().is_some_and(|next_move| next_move.from == self.me && next_move.to == to);
        let has_rested = self.rests_until.is_none_or(|until| Instant::now() >= until);
        let is_near = slot + ASKER_LAG_MAX >= self.replica.position().slot;
        let serves = self.replica.serves(self.now()).is_ok();
        if self.ceding.is_none() && is_next && has_rested && is_near && serves && !self.seat.is_loading() {
            let version = self.seat.begin_to_cede();
            self.ceding = Some(Ceding { to, since: Instant::now(), version });
        }
    }

    /// Hands the group over, as soon as the log has all that was done here.
    pub(super) fn cede_when_quiet(&mut self) -> Result<(), End> {
        let Some(Ceding { to, since, version }) = self.ceding else { return Ok(()) };
        if since.elapsed() > QUIET_MAX {
            self.rests_until = Some(Instant::now() + REST);
            self.end_ceding();
            return Ok(());
        }
        if !self.seat.is_quiet(version) {
            return Ok(());
        }
        let (now, term) = (self.now(), self.replica.position().term);
        if let Some(hash) = self.replica.cede(now) {
            tracing::info!(group = self.group, "this node leads enough: another is to go on");
            self.ceded = Some(term);
            // Nobody here acts by the lease any more when the other node is told of it.
            self.go_on()?;
            self.tell_word(to, Say::Ceded { hash });
        }
        Ok(())
    }

    pub(super) fn end_ceding(&mut self) {
        if self.ceding.take().is_some() {
            self.seat.end_ceding();
        }
    }

    /// This node leads, in this term.
    pub(super) fn note_term(&mut self, term: u64) {
        if self.ceded.take().is_some_and(|ceded| term == ceded + 1) {
            // Nobody has taken it.
            self.rests_until = Some(Instant::now() + REST);
        }
    }
}
