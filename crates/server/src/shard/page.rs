//! Pages by Pusher's protocol: a connection that began as a pipe goes on with the WebSocket of a page.
//!
//! 1. The gateway has found the page's app, and connected through a pipe as the user of the app.
//! 2. It hands over the socket (with its TLS session), the answer to the handshake, and what the page has sent behind that.
//! 3. The socket takes the pipe's place, and the page is told its name. From here on what it sends is decoded, message by message,
//!    and messages to what it subscribes to are framed for it.
//!
//! A message becomes a request of the Redis protocol (`shard/pusher.rs`), so that rights, waits and limits are those of every
//! client. One that has to wait is held, and nothing behind it is looked at until it has been taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sterna_protocol::Proto;
use sterna_protocol::pusher::{self, SocketId};
use sterna_protocol::websocket::{self, Decoder, Incoming, Opcode, code};
use sterna_pubsub::Kind;

use crate::config::PusherApps;
use crate::connection::chunk::Range;
use crate::connection::client::mark;
use crate::connection::dependence::Dependence;
use crate::connection::page::{Page, Silence};
use crate::connection::state::Wait;
use crate::connection::{CloseReason, Connection};
use crate::mailbox::PageHandOver;
use crate::shard::Shard;
use crate::shard::serve::Serving;

/// Bytes of one message of a page: an event's data, and what is said of a member, with room for what is around them.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// How long a page may take to answer a ping. Source: Pusher's protocol.
const PONG_TIME: Duration = Duration::from_secs(30);

/// Numbers that a page's name is drawn from.
const NONCES: std::ops::Range<u64> = 1_000_000..1_000_000_000_000_000;

impl Shard {
    /// Goes on with a page's socket. One whose connection is gone, or about to go, is closed.
    pub(super) fn take_over_page(&mut self, handed: PageHandOver) {
        self.end_run();
        let PageHandOver { pipe, transport, app, head, early } = handed;
        let (place, _) = pipe.open_mail();
        let (now_ms, now, heartbeat_s) = (self.clock.now_ms, self.clock.instant, self.config.http_heartbeat);
        let Some(connection) = place.and_then(|who| self.connection_of(who)) else {
            return self.server.count_closed(&transport);
        };
        if connection.state().closes() {
            return self.server.count_closed(&transport);
        }
        let me = connection.me;
        let mut page = Page::new(app, fastrand::u64(NONCES), now_ms, now);
        page.input = early;
        let mut first = head;
        pusher::established(&mut first, page.socket_id(me.id), heartbeat_s);
        // What it was answered before has been read by the gateway.
        connection.output.take();
        connection.output.keep_frames();
        connection.transport = transport;
        connection.page = Some(Box::new(page));
        connection.client.set_mark(mark::PUSHER, true);
        connection.proto = Proto::Resp3;
        connection.write_blocked = false;
        connection.lags = false;
        connection.depends_on = Dependence::default();
        connection.client.resp.store(3, Relaxed);
        connection.client.fd.store(connection.transport.fd().unwrap_or(-1), Relaxed);
        connection.client.names.lock().lib_name = "http-pusher".into();
        self.fanout.pages += 1;
        if self.connections[me.slot].transport.register(self.poll.registry(), me).is_err() {
            return self.close(me.slot, CloseReason::SocketError);
        }
        if let Some((code, text)) = self.end_of_app(me.slot, &[]) {
            // The answer to the handshake goes out before.
            websocket::close(&mut first, code, text);
            if let Some(page) = &mut self.connections[me.slot].page {
                page.is_told = true;
            }
            self.flusher.push(&mut self.connections[me.slot], Range::of(first));
            return self.drain(me.slot, CloseReason::UserRemoved);
        }
        self.flusher.push(&mut self.connections[me.slot], Range::of(first));
        // It may have sent something already, or its end, before anybody watched.
        self.make_ready(me.slot);
    }

    /// Takes what a page has sent, as far as its turn goes, and keeps the rest.
    pub(super) fn serve_page(&mut self, slot: usize, bytes: &[u8]) {
        let now = self.clock.instant;
        let Some(page) = &mut self.connections[slot].page else { return };
        if !bytes.is_empty() {
            page.note_seen(now);
        }
        let mut input = std::mem::take(&mut page.input);
        let bytes = if input.is_empty() {
            bytes
        } else {
            input.extend_from_slice(bytes);
            &input
        };
        let mut used = 0;
        if self.goes_on(slot) {
            let mut serving = self.begin(slot);
            used = self.take_messages(&mut serving, bytes);
            self.finish(serving);
        }
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let (reads, closes) = (connection.state().reads(), connection.state().closes());
        let Some(page) = connection.page.as_mut().filter(|_| !closes) else { return };
        page.input = bytes[used..].to_vec();
        if reads && page.has_backlog() {
            self.make_ready(slot);
        }
    }

    /// How many of the bytes were used.
    fn take_messages(&mut self, serving: &mut Serving, bytes: &[u8]) -> usize {
        let slot = serving.slot;
        if let Some(held) = self.connections[slot].page.as_mut().and_then(|page| page.held.take()) {
            self.take_incoming(serving, *held);
        }
        let page = self.connections.get_mut(slot).and_then(|connection| connection.page.as_mut());
        let begun = page.and_then(|page| page.begun.take());
        let mut decoder = begun.map_or_else(Decoder::default, |begun| *begun);
        let mut used = 0;
        while used < bytes.len() && self.goes_on(slot) && !serving.is_over(self.clock.instant) {
            match decoder.decode(&bytes[used..], MESSAGE_BYTES_MAX) {
                Ok((more, incoming)) => {
                    used += more;
                    if let Some(incoming) = incoming {
                        self.take_incoming(serving, incoming);
                        self.clock.advance();
                    }
                }
                Err(violation) => {
                    self.end_page(serving, violation.code, violation.reason, CloseReason::ProtocolError);
                }
            }
        }
        if decoder.is_inside()
            && let Some(page) = self.connections.get_mut(slot).and_then(|connection| connection.page.as_mut())
        {
            page.begun = Some(Box::new(decoder));
        }
        used
    }

    fn take_incoming(&mut self, serving: &mut Serving, incoming: Incoming) {
        let slot = serving.slot;
        self.connections[slot].client.active_ms.store(self.clock.now_ms, Relaxed);
        match &incoming {
            Incoming::Ping(payload) => websocket::frame(&mut serving.out, Opcode::Pong, payload),
            Incoming::Pong => {}
            Incoming::Close(code) => {
                self.end_page(serving, code.unwrap_or(code::NORMAL), "", CloseReason::Quit);
            }
            Incoming::Binary(_) => {
                self.end_page(serving, code::UNSUPPORTED, "text only", CloseReason::ProtocolError);
            }
            Incoming::Text(text) => {
                if !self.answer_page(serving, text)
                    && let Some(page) = &mut self.connections[slot].page
                {
                    page.held = Some(Box::new(incoming));
                }
            }
        }
        self.after_part(serving);
        self.check_credit(slot);
        if let Some(connection) = self.connections.get(slot)
            && self.flusher.holds_back(connection)
        {
            self.wait(slot, Wait::Output, None);
        }
    }

    /// Tells the page that is being served why it ends, and ends it.
    pub(super) fn end_page(&mut self, serving: &mut Serving, code: u16, text: &str, reason: CloseReason) {
        websocket::close(&mut serving.out, code, text);
        if let Some(page) = &mut self.connections[serving.slot].page {
            page.is_told = true;
        }
        self.drain(serving.slot, reason);
    }

    /// Asks a page that has not been heard of for long whether it is there, and closes one that does not answer. Called ten
    /// times a second.
    pub(super) fn tend_page(&mut self, slot: usize) {
        let now = self.clock.instant;
        let connection = &mut self.connections[slot];
        let (closes, is_idle) = (connection.state().closes(), connection.output.is_empty());
        let waits = connection.state().wait().is_some();
        let Some(page) = connection.page.as_mut().filter(|_| !closes) else { return };
        if waits {
            // What it says may be left in the socket.
            return page.note_seen(now);
        }
        // The page itself asks after one heartbeat.
        let patience = Duration::from_secs(2 * u64::from(self.config.http_heartbeat));
        match page.silence(now, patience, PONG_TIME, is_idle) {
            Silence::Fine => {}
            Silence::Over => self.flusher.condemn(connection, CloseReason::Idle),
            Silence::Asks => {
                let ping = self
                    .replies_to_others
                    .append(pusher::PING.len() + 2, |buf| websocket::frame(buf, Opcode::Text, pusher::PING));
                self.flusher.push(connection, ping);
            }
        }
    }

    /// Closes the pages whose apps, which were these, are no more, or are others.
    pub(super) fn check_apps(&mut self, before: &PusherApps) {
        let config = Arc::clone(&self.config);
        let prefixes = config.pusher_app.0.iter().map(|app| app.prefix.as_str());
        let gained: Vec<&str> =
            prefixes.clone().filter(|prefix| before.0.iter().all(|app| app.prefix != *prefix)).collect();
        if prefixes.collect::<BTreeSet<_>>() != before.0.iter().map(|app| app.prefix.as_str()).collect() {
            self.server.pages.rooms.begin_anew();
        }
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(end) = self.end_of_app(slot, &gained) else { continue };
            if let Some(page) = &mut self.connections[slot].page {
                page.code = Some(end);
            }
            self.dismiss(slot, CloseReason::UserRemoved);
        }
    }

    /// Why the page of this slot is to be closed, if its app is no more what it was, or what it is subscribed to has become another
    /// app's by one of the prefixes that were not there before.
    fn end_of_app(&self, slot: usize, gained: &[&str]) -> Option<(u16, &'static str)> {
        let connection = &self.connections[slot];
        let page = connection.page.as_ref()?;
        let Some(app) = self.config.app(page.app.id.as_bytes()) else {
            return Some((4001, "there is no such app"));
        };
        let mut longer = gained.iter().filter(|prefix| prefix.len() > app.prefix.len());
        let takes = |prefix: &&str| {
            let mut names = connection.subscriptions.iter(Kind::Channel);
            names.any(|name| name.starts_with(prefix.as_bytes()))
        };
        (*app != page.app || longer.any(takes)).then_some((4100, "the app has changed"))
    }

    /// Ends what a connection that is gone has had as a page.
    pub(super) fn leave_page(&mut self, connection: Connection, page: Page, reason: CloseReason) {
        self.fanout.pages -= 1;
        for left in &page.presences {
            self.leave_room(&page.app, &left.channel, &left.user);
        }
        if let Some(user) = &page.user {
            self.server.pages.users.remove(&page.app.id, user, (self.index, connection.me));
        }
        if !matches!(reason, CloseReason::ClientGone | CloseReason::SocketError | CloseReason::TlsError) {
            self.linger(connection, &page, reason);
        }
    }
}

impl Connection {
    /// Whether it is this page.
    #[inline]
    pub(super) fn is_page_of(&self, socket: Option<SocketId>) -> bool {
        self.page.as_ref().is_some_and(|page| Some(page.socket_id(self.me.id)) == socket)
    }
}
