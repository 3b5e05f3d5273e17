//! Reading the mail: what other threads want of this shard.
//!
//! Urgent mail is read at once. The rest is handed out in slices of time, with a cursor into a parcel of messages, and only
//! while everything handed out before has been offered to its sockets: so a burst is sent as it is handed out, and nobody
//! else waits for more than a slice. What stays in the mail counts against the credit of those who sent it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sterna_keyspace::Served;

use crate::connection::pipe::Pipe;
use crate::connection::state::{ConnectionRef, Wait, Waiting};
use crate::invalidation::Invalidation;
use crate::journaling::Outcome;
use crate::late_events::LateEvents;
use crate::mailbox::{Ack, Letter, Mail, bytes_of_served};
use crate::parcel::Parcel;
use crate::shard::Shard;
use crate::shard::later::Order;
use crate::shard::unchecked::Following;

/// Time for letters in one turn.
const MAIL_TIME_MAX: Duration = Duration::from_millis(1);

/// Time for letters that stand before a request.
const OWN_MAIL_TIME_MAX: Duration = Duration::from_micros(200);

/// Urgent mail read in one turn.
const URGENT_MAX: usize = 1024;

/// Mail that was taken out of the mailbox.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Messages of a shard that are being handed out.
    parcel: Option<(usize, Parcel)>,
    /// Letters that a SUBSCRIBE inside a transaction has passed over, and what is left of one of many answers or events.
    late: VecDeque<Letter>,
    /// Letters that have been handled.
    handled: u64,
    /// Connections in `Wait::Mail`, and how many letters must have been handled before they go on.
    waiting: VecDeque<(u64, ConnectionRef)>,
    /// Jobs that have ended while a script runs on this shard: what follows them may take locks before that of the scripts.
    ended_jobs: Vec<(Ack, Outcome)>,
    /// More was there when the last slice ended.
    has_more: bool,
}

impl Inbox {
    /// Whether the next turn must not sleep.
    pub(super) fn is_pending(&self) -> bool {
        self.has_more || !self.ended_jobs.is_empty()
    }
}

impl Shard {
    /// Reads the mail that has arrived, for a bounded time.
    pub(super) fn read_mail(&mut self) {
        if self.scripting.is_none() {
            let ended = std::mem::take(&mut self.inbox.ended_jobs);
            ended.into_iter().for_each(|(ack, outcome)| self.job_ended(ack, outcome));
        }
        let server = Arc::clone(&self.server);
        let mailbox = &server.shards[self.index].mailbox;
        if !self.inbox.has_more && mailbox.is_empty() && self.wide.is_empty() {
            // A push that comes now has been preceded by its wake-up, or is followed by it.
            mailbox.begin_drain();
            self.inbox.has_more = !mailbox.is_empty();
            return;
        }
        mailbox.begin_drain();
        for _ in 0..URGENT_MAX {
            let Some(mail) = mailbox.pop_urgent() else { break };
            self.handle_mail(mail);
        }
        if !self.flusher.holds_publishers() {
            self.read_letters(self.clock.instant.max(Instant::now()) + MAIL_TIME_MAX);
        }
        self.inbox.has_more =
            self.inbox.parcel.is_some() || !self.inbox.late.is_empty() || !mailbox.is_empty();
    }

    fn read_letters(&mut self, until: Instant) {
        // What was published here comes before what others have mailed meanwhile.
        while self.hand_out_wide(Some(until)) {
            if let Some((from, mut parcel)) = self.inbox.parcel.take() {
                let bytes = self.receive(&mut parcel, Some(until));
                self.give_credit(from, bytes);
                if !parcel.is_empty() {
                    self.inbox.parcel = Some((from, parcel));
                    break;
                }
                self.end_letter(from);
            } else {
                let Some(letter) = self.next_letter() else { break };
                self.open_letter(letter, until);
            }
            if Instant::now() >= until {
                break;
            }
        }
        while let Some(&(handled, who)) = self.inbox.waiting.front()
            && handled <= self.inbox.handled
            && self.wide.is_empty()
        {
            self.inbox.waiting.pop_front();
            if let Some(connection) = self.connection_of(who)
                && matches!(connection.state().wait(), Some(Wait::Mail))
            {
                connection.has_read_mail = true;
                self.resume(who.slot);
            }
        }
    }

    /// A letter with messages, events or news is about to be put into this shard's mail, by itself.
    pub(crate) fn note_own_letter(&mut self) {
        self.own_letters += 1;
        self.inbox.has_more = true;
    }

    /// All of a letter with messages or events has been handed out.
    fn end_letter(&mut self, from: usize) {
        self.own_letters -= usize::from(from == self.index);
        self.inbox.handled += 1;
    }

    fn next_letter(&mut self) -> Option<Letter> {
        self.inbox.late.pop_front().or_else(|| self.handle().mailbox.pop())
    }

    fn open_letter(&mut self, letter: Letter, until: Instant) {
        match letter.mail {
            Mail::Published(parcel) => self.inbox.parcel = Some((letter.from, parcel)),
            Mail::Events(late) => self.publish_some(letter.from, letter.bytes, late, Some(until)),
            Mail::ServedMany(served) => self.deliver_many(letter.from, letter.bytes, served, until),
            mail if self.is_own_news(letter.from, &mail) => self.tell_own_news(letter.bytes, mail),
            mail => {
                self.handle_mail(mail);
                self.give_credit(letter.from, letter.bytes);
                self.inbox.handled += 1;
            }
        }
    }

    /// Whether it is news of this shard for its own connections: those are put off only where they are very many, and what is published
    /// behind them comes behind them.
    fn is_own_news(&self, from: usize, mail: &Mail) -> bool {
        let is_news = matches!(mail, Mail::Invalidate(Invalidation::Key { .. } | Invalidation::Batch(_)));
        is_news && from == self.index
    }

    fn tell_own_news(&mut self, bytes: usize, news: Mail) {
        self.handle_mail(news);
        self.give_credit(self.index, bytes);
        self.end_letter(self.index);
    }

    /// Mails news; what is for this shard itself is told when it is its turn.
    pub(super) fn post_news(&mut self, shard: usize, news: Invalidation) {
        if shard == self.index {
            self.end_run();
            self.note_own_letter();
        }
        self.post(shard, Mail::Invalidate(news));
    }

    /// Publishes events until the time is up; the rest comes next.
    fn publish_some(&mut self, from: usize, bytes: usize, mut late: Box<LateEvents>, until: Option<Instant>) {
        let before = std::mem::replace(&mut self.fanout.order, Order::Now);
        let is_done = self.publish_late(&mut late, until);
        self.fanout.order = before;
        if !is_done {
            return self.inbox.late.push_front(Letter { from, bytes, mail: Mail::Events(late) });
        }
        self.late_events.told += 1;
        self.give_credit(from, bytes);
        self.end_letter(from);
    }

    /// Hands out answers until the time is up; the rest comes next.
    fn deliver_many(&mut self, from: usize, mut bytes: usize, mut served: VecDeque<Served>, until: Instant) {
        while let Some(next) = served.pop_front() {
            let handed_out = bytes_of_served(&next);
            self.deliver_served(next);
            if served.is_empty() {
                break;
            }
            bytes -= handed_out;
            self.give_credit(from, handed_out);
            if Instant::now() >= until {
                let rest = Letter { from, bytes, mail: Mail::ServedMany(served) };
                return self.inbox.late.push_front(rest);
            }
        }
        self.give_credit(from, bytes);
        self.inbox.handled += 1;
    }

    /// Whether the connection may subscribe now: what had arrived when it asked has been handed out. If not, it waits.
    pub(crate) fn has_read_mail(&mut self, slot: usize) -> bool {
        let letters = self.inbox.late.len() + self.handle().mailbox.len();
        let left = letters + usize::from(self.inbox.parcel.is_some());
        let connection = &mut self.connections[slot];
        if std::mem::take(&mut connection.has_read_mail) || left == 0 && self.wide.is_empty() {
            return true;
        }
        let me = connection.me;
        self.inbox.waiting.push_back((self.inbox.handled + left as u64, me));
        self.inbox.has_more = true;
        self.wait(slot, Wait::Mail, None);
        false
    }

    /// Whether the connection may publish to a channel that remembers: what other shards have published is handed out, at once
    /// if that takes a moment. If not, it waits.
    pub(crate) fn has_handed_out(&mut self, slot: usize) -> bool {
        !self.has_letters() || self.hands_out_at_once() || self.has_read_mail(slot)
    }

    /// Hands out what had arrived when it was called, if that takes a moment; false: there is more.
    pub(crate) fn hands_out_at_once(&mut self) -> bool {
        self.receive_published(Some(Instant::now() + OWN_MAIL_TIME_MAX))
    }

    /// Whether letters wait to be handed out, those that are mailed under a lock that is held now among them.
    #[inline]
    pub(crate) fn has_letters(&self) -> bool {
        self.inbox.parcel.is_some()
            || !self.inbox.late.is_empty()
            || !self.wide.is_empty()
            || self.handle().mailbox.has_letters()
    }

    /// Hands out what had arrived when it was called: a SUBSCRIBE inside a transaction can't wait for its turn. Only messages
    /// are handled at once; anything else could touch the connection that is being served, and is read at the next turn.
    ///
    /// Returns whether that was all: `until` may come first.
    pub(crate) fn receive_published(&mut self, until: Option<Instant>) -> bool {
        self.end_run();
        let mut passed_over = VecDeque::new();
        let is_all = self.hand_out_wide(until) && self.receive_all_published(until, &mut passed_over);
        self.return_letters(passed_over);
        is_all
    }

    fn receive_all_published(&mut self, until: Option<Instant>, passed_over: &mut VecDeque<Letter>) -> bool {
        for letters in (0..=self.inbox.late.len() + self.handle().mailbox.len()).rev() {
            if let Some((from, mut parcel)) = self.inbox.parcel.take() {
                let bytes = self.receive(&mut parcel, until);
                self.give_credit(from, bytes);
                let is_empty = parcel.is_empty();
                match is_empty {
                    true => self.end_letter(from),
                    false => self.inbox.parcel = Some((from, parcel)),
                }
                if !is_empty || !self.wide.is_empty() {
                    return false;
                }
            }
            if letters == 0 {
                break;
            }
            let Some(letter) = self.next_letter() else { break };
            match letter.mail {
                Mail::Published(parcel) => self.inbox.parcel = Some((letter.from, parcel)),
                mail => passed_over.push_back(Letter { mail, ..letter }),
            }
        }
        true
    }

    /// Letters that were passed over come before all that are left.
    fn return_letters(&mut self, mut passed_over: VecDeque<Letter>) {
        passed_over.append(&mut self.inbox.late);
        self.inbox.late = passed_over;
        // Its wake-up may be over, and the next look into the mail finds neither of them there.
        self.inbox.has_more |= !self.inbox.late.is_empty() || self.inbox.parcel.is_some();
    }

    /// Hands out at once what stands in this shard's mail of its own, and the messages before it: a script makes more and more of it.
    #[cold]
    pub(super) fn hand_out_own_letters(&mut self) {
        self.end_run();
        let mut passed_over = VecDeque::new();
        self.hand_out_wide(None);
        if let Some((from, mut parcel)) = self.inbox.parcel.take() {
            self.hand_out_at_once(from, &mut parcel);
        }
        for _ in 0..self.inbox.late.len() + self.handle().mailbox.len() {
            let Some(letter) = self.next_letter() else { break };
            match letter.mail {
                Mail::Events(late) => self.publish_some(letter.from, letter.bytes, late, None),
                Mail::Published(mut parcel) => self.hand_out_at_once(letter.from, &mut parcel),
                mail if self.is_own_news(letter.from, &mail) => self.tell_own_news(letter.bytes, mail),
                mail => passed_over.push_back(Letter { mail, ..letter }),
            }
        }
        self.return_letters(passed_over);
    }

    /// Tells at once of what this shard has written and has yet to tell of, since something is published behind it.
    #[inline]
    pub(crate) fn tell_late_events(&mut self) {
        if self.late_events.are_there() {
            self.hand_out_own_letters();
        }
    }

    fn hand_out_at_once(&mut self, from: usize, parcel: &mut Parcel) {
        let bytes = self.receive(parcel, None);
        self.give_credit(from, bytes);
        self.end_letter(from);
    }

    fn handle_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Accepted { socket, address, tls, vouched } => self.adopt(socket, address, tls, vouched),
            Mail::Published(mut parcel) => drop(self.receive(&mut parcel, None)),
            Mail::Close { who, reason, ack } => {
                if self.connection_of(who).is_none() {
                    self.forward_kill(who.id);
                }
                self.flush_and_close(who, reason);
                if let Some(ack) = ack {
                    self.post(ack.shard, Mail::Done(ack));
                }
            }
            Mail::Done(ack) => self.count_ack(ack),
            Mail::JobEnded { ack, outcome } if self.scripting.is_some() => {
                self.inbox.ended_jobs.push((ack, outcome));
            }
            Mail::JobEnded { ack, outcome } => self.job_ended(ack, outcome),
            Mail::Answered { ack, bytes, error } => self.answer_after_file(ack, &bytes, error),
            Mail::Apart(task) => self.end_apart(task),
            Mail::Served(served) => self.deliver_served(served),
            Mail::Events(late) => self.publish_some(self.index, 0, late, None),
            Mail::ServedMany(served) => served.into_iter().for_each(|served| self.deliver_served(served)),
            Mail::Unblock { who, with_error } => self.unblock(who, with_error),
            Mail::Durable => self.recheck_awaiting(),
            Mail::Invalidate(news) => self.receive_invalidation(news),
            Mail::Piped(pipe) => self.note_piped(&pipe),
            Mail::HandOver(handed) => self.take_over(*handed),
            Mail::Page(handed) => self.take_over_page(*handed),
            Mail::Monitor(line) => self.show_monitors(&line),
            Mail::MonitorsMissed => self.close_monitors(),
            Mail::Resume => {
                self.handle().is_resuming.swap(false, Ordering::AcqRel);
                self.timers.release();
                self.timers.hurry_commits();
            }
            Mail::Listen { listeners, ack } => {
                self.relisten(listeners);
                self.post(ack.shard, Mail::Done(ack));
            }
            Mail::User { change, in_exec, ack } => {
                let following = if in_exec { Following::Waits(ack) } else { Following::InSteps(ack) };
                let is_told = self.follow_user(&change, following);
                self.reap();
                if !is_told {
                    self.post(ack.shard, Mail::Done(ack));
                }
            }
            Mail::Challenge { holder, ack } => self.begin_challenge(holder, ack),
            Mail::Moved(mover) => self.take_in(*mover),
            Mail::Nodes { who, word } => self.receive_word(who, *word),
            Mail::Passed(records) => self.receive_passed(&records),
            Mail::Lead => self.note_lead(),
            Mail::Role { pipe, role } => {
                self.change_role(&pipe, *role);
                self.reap();
            }
            Mail::Shutdown => self.stop(),
        }
    }

    /// What an edge is to a socket.
    fn note_piped(&mut self, pipe: &Pipe) {
        let (place, sends_no_more) = pipe.open_mail();
        // Without a place it was refused.
        let Some(who) = place else { return };
        let Some(connection) = self.connections.get_mut(who.slot).filter(|other| other.me == who) else {
            return;
        };
        connection.read_closed |= sends_no_more;
        if std::mem::take(&mut connection.write_blocked) {
            self.flusher.mark(connection);
        }
        self.make_ready(who.slot);
    }

    pub(super) fn count_ack(&mut self, ack: Ack) {
        if let Some(at) = self.unfollowed.iter().position(|(who, _)| *who == ack.who) {
            self.unfollowed[at].1 -= 1;
            if self.unfollowed[at].1 == 0 {
                self.unfollowed.swap_remove(at);
            }
        }
        self.count_part(ack);
    }

    /// A part of what a connection waits for was done.
    pub(crate) fn count_part(&mut self, ack: Ack) {
        let waiting = self.connection_of(ack.who).and_then(|connection| connection.waiting_mut());
        if let Some(Waiting { wait: Wait::Acks { remaining }, .. }) = waiting {
            *remaining -= 1;
            if *remaining == 0 {
                self.resume(ack.who.slot);
            }
        }
    }
}
