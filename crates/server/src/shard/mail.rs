//! Reading the mail: what other threads want of this shard.

use crate::connection::Hold;
use crate::mailbox::{Ack, Mail};
use crate::shard::Shard;

/// Mail read in one go. More is left for the next turn, so that a shard whose mail never ends still serves its own
/// connections; a SUBSCRIBE reads all that was there when it began.
const MAIL_MAX: usize = 4096;

impl Shard {
    /// Reads the mail that has arrived, up to a bound.
    pub(super) fn read_mail(&mut self) {
        let server = std::sync::Arc::clone(&self.server);
        let mailbox = &server.shards[self.index].mailbox;
        mailbox.begin_drain();
        for mail in std::mem::take(&mut self.late_mail) {
            self.handle_mail(mail);
        }
        for _ in 0..MAIL_MAX {
            let Some(mail) = mailbox.pop() else { return };
            self.handle_mail(mail);
        }
        mailbox.wake();
    }

    /// Reads what had arrived when it was called: see the directory's note on SUBSCRIBE. Only messages are handled at
    /// once; anything else could touch the connection that is being served, and is read at the next turn.
    pub(crate) fn receive_published(&mut self) {
        let server = std::sync::Arc::clone(&self.server);
        let mailbox = &server.shards[self.index].mailbox;
        if mailbox.is_empty() {
            return;
        }
        self.end_run();
        for _ in 0..mailbox.len() {
            match mailbox.pop() {
                Some(Mail::Published(parcel)) => self.receive(&parcel),
                Some(other) => self.late_mail.push(other),
                None => break,
            }
        }
    }

    fn handle_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Accepted { socket, address, tls } => self.adopt(socket, address, tls),
            Mail::Published(parcel) => self.receive(&parcel),
            Mail::Close { client, slot, reason, ack } => {
                if self.connection_of(slot, client).is_some() {
                    self.flush_and_close(slot, reason);
                }
                if let Some(ack) = ack {
                    self.post(ack.shard, Mail::Done(ack));
                }
            }
            Mail::Done(ack) => self.count_ack(ack),
            Mail::Served { client, waiter, reply } => self.deliver_served(client, &waiter, &reply),
            Mail::Unblock { client, slot, with_error } => self.unblock(slot, client, with_error),
            Mail::Durable => self.look_at_awaiting(),
            Mail::Invalidate(news) => self.receive_invalidation(news),
            Mail::Monitor(line) => self.show_monitors(&line),
            Mail::Resume => self.resume_paused(),
            Mail::Listen { listeners, ack } => {
                self.relisten(listeners);
                if let Some(ack) = ack {
                    self.post(ack.shard, Mail::Done(ack));
                }
            }
            Mail::User { change, ack } => {
                self.follow_user(&change, true);
                self.reap();
                if let Some(ack) = ack {
                    self.post(ack.shard, Mail::Done(ack));
                }
            }
            Mail::Shutdown => self.stop(),
        }
    }

    fn count_ack(&mut self, ack: Ack) {
        let Some(connection) = self.connection_of(ack.slot, ack.client) else { return };
        if let Some(Hold::Acks { remaining }) = connection.hold.as_deref_mut() {
            *remaining -= 1;
            if *remaining == 0 {
                self.release(ack.slot);
            }
        }
    }

    /// Lets every connection that CLIENT PAUSE holds back try again.
    pub(crate) fn resume_paused(&mut self) {
        for slot in std::mem::take(&mut self.paused) {
            let is_paused =
                self.connections.get(slot).is_some_and(|c| matches!(c.hold.as_deref(), Some(Hold::Pause)));
            if is_paused {
                self.release(slot);
            }
        }
    }
}
