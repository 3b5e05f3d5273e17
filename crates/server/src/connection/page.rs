//! What a connection keeps that is a page's, by Pusher's protocol over a WebSocket.
//!
//! ```text
//!   socket ──► Decoder ──► Incoming ──► a request of the Redis protocol (`shard/pusher.rs`)
//!                 │            └ held, if its turn has not come
//!                 └ input: what has been read and not decoded, while one is held or others have their turn
//! ```
//!
//! Invariant: an idle page owns no buffer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_protocol::pusher::SocketId;
use sterna_protocol::websocket::{Decoder, Incoming};

use crate::config::PusherApp;

/// See the module.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) app: Arc<PusherApp>,
    /// Half of its name; the client's number is the other one.
    pub(crate) nonce: u64,
    /// A message or frame that has begun and not ended.
    pub(crate) begun: Option<Box<Decoder>>,
    /// A message that waits for its turn.
    pub(crate) held: Option<Box<Incoming>>,
    /// What has been read behind it.
    pub(crate) input: Vec<u8>,
    /// The presence channels that it is in.
    pub(crate) presences: Vec<Membership>,
    /// Whom it has signed in as.
    pub(crate) user: Option<Box<str>>,
    /// Events that it may send at once.
    events: Allowance,
    presence: Presence,
    /// It has been told why it is closed.
    pub(crate) is_told: bool,
    /// Why it is closed, where its connection's reason says too little.
    pub(crate) code: Option<(u16, &'static str)>,
}

/// A presence channel that a page is in.
#[derive(Debug)]
pub(crate) struct Membership {
    /// Its name outside.
    pub(crate) channel: Box<[u8]>,
    pub(crate) user: Box<str>,
    /// Bytes of what the page has said of its user, which the room may keep.
    pub(crate) info_bytes: usize,
}

/// When it has last been heard of, by a clock that nobody sets, and when it has been asked since whether it is there.
#[derive(Debug)]
struct Presence {
    last_seen: Instant,
    asked: Option<Instant>,
}

/// What is to be done about a page's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    Fine,
    /// It is to be asked whether it is there.
    Asks,
    /// It was asked, and has not answered.
    Over,
}

/// How many events a page may send: so many a second, and no more at once than in a second.
#[derive(Debug)]
struct Allowance {
    /// Thousandths of an event.
    left: u64,
    counted_ms: u64,
}

impl Page {
    pub(crate) fn new(app: Arc<PusherApp>, nonce: u64, now_ms: u64, now: Instant) -> Page {
        let events = Allowance { left: u64::from(app.client_events) * 1000, counted_ms: now_ms };
        Page {
            app,
            nonce,
            begun: None,
            held: None,
            input: Vec::new(),
            presences: Vec::new(),
            user: None,
            events,
            presence: Presence { last_seen: now, asked: None },
            is_told: false,
            code: None,
        }
    }

    /// Whether something waits to be gone on with.
    pub(crate) fn has_backlog(&self) -> bool {
        self.held.is_some() || !self.input.is_empty()
    }

    /// Bytes that have been read and not used.
    pub(crate) fn input_bytes(&self) -> usize {
        let held = match self.held.as_deref() {
            Some(Incoming::Text(text)) => text.len(),
            _ => 0,
        };
        let begun = self.begun.as_ref().map_or(0, |begun| size_of::<Decoder>() + begun.heap_bytes());
        self.input.len() + held + begun
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let held = |of: &Membership| of.channel.len() + of.user.len() + of.info_bytes;
        let presences = self.presences.iter().map(held).sum::<usize>();
        size_of::<Page>()
            + self.input_bytes()
            + presences
            + self.presences.capacity() * size_of::<Membership>()
            + self.user.as_ref().map_or(0, |user| user.len())
    }

    /// Something has come from it; or it could not be read, since its turn has not come.
    pub(crate) fn note_seen(&mut self, now: Instant) {
        self.presence = Presence { last_seen: now, asked: None };
    }

    /// What is to be done if it has been silent for longer than `patience`, or for longer than `answer` after it was asked.
    /// `is_idle`: all that it was sent has gone out, so that a question reaches it at once. If it is to be asked, that is noted.
    pub(crate) fn silence(
        &mut self,
        now: Instant,
        patience: Duration,
        answer: Duration,
        is_idle: bool,
    ) -> Silence {
        let Presence { last_seen, asked } = &mut self.presence;
        match asked {
            Some(asked) if now.saturating_duration_since(*asked) > answer => Silence::Over,
            None if is_idle && now.saturating_duration_since(*last_seen) > patience => {
                *asked = Some(now);
                Silence::Asks
            }
            _ => Silence::Fine,
        }
    }

    /// Whether it may send an event now; then it is counted.
    pub(crate) fn may_send(&mut self, now_ms: u64) -> bool {
        let rate = u64::from(self.app.client_events);
        let events = &mut self.events;
        let passed_ms = now_ms.saturating_sub(events.counted_ms);
        events.counted_ms = now_ms;
        events.left = events.left.saturating_add(passed_ms.saturating_mul(rate)).min(rate * 1000);
        let may = events.left >= 1000;
        if may {
            events.left -= 1000;
        }
        may
    }

    /// The event that was counted last has not been sent.
    pub(crate) fn has_not_sent(&mut self) {
        self.events.left += 1000;
    }

    /// As whom it is in a presence channel.
    pub(crate) fn member_in(&self, channel: &[u8]) -> Option<&str> {
        self.presences.iter().find(|of| *of.channel == *channel).map(|of| &*of.user)
    }

    /// Its name; `client` is its connection's number.
    pub(crate) fn socket_id(&self, client: u64) -> SocketId {
        SocketId { nonce: self.nonce, client }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(now_ms: u64, now: Instant) -> Page {
        let app = PusherApp {
            id: String::new(),
            key: String::new(),
            secret: String::new(),
            user: String::new(),
            prefix: String::new(),
            client_events: 10,
        };
        Page::new(Arc::new(app), 1, now_ms, now)
    }

    #[test]
    fn a_silent_page_has_its_time_to_answer_from_when_it_was_asked() {
        let start = Instant::now();
        let mut page = page(0, start);
        let at = |s: u64| start + Duration::from_secs(s);
        let mut silence =
            |s, is_idle| page.silence(at(s), Duration::from_secs(40), Duration::from_secs(30), is_idle);
        assert_eq!((silence(40, true), silence(41, false)), (Silence::Fine, Silence::Fine));
        // It was sent something all the time, and could not be asked before.
        assert_eq!((silence(500, true), silence(501, true)), (Silence::Asks, Silence::Fine));
        assert_eq!((silence(530, true), silence(531, false)), (Silence::Fine, Silence::Over));
        page.note_seen(at(531));
        let mut silence = |s| page.silence(at(s), Duration::from_secs(40), Duration::from_secs(30), true);
        assert_eq!((silence(571), silence(572)), (Silence::Fine, Silence::Asks));
    }

    #[test]
    fn a_page_may_send_so_many_events_a_second() {
        let mut page = page(5000, Instant::now());
        let mut sent_at = |now_ms| (0..100).filter(|_| page.may_send(now_ms)).count();
        assert_eq!((sent_at(5000), sent_at(5050), sent_at(5100)), (10, 0, 1));
        assert_eq!((sent_at(5600), sent_at(9000), sent_at(8000)), (5, 10, 0));
    }
}
