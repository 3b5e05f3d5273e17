//! What a page asks for by Pusher's protocol, as requests of the Redis protocol on its own connection.
//!
//! | message | request |
//! |---|---|
//! | `pusher:subscribe` | SUBSCRIBE, after the signature; in a room (`pages/mod.rs`) where the channel has members or a last event |
//! | `pusher:unsubscribe` | UNSUBSCRIBE |
//! | `client-…` | PUBLISH of an envelope that names the page, which is not sent it |
//! | `pusher:signin`, `pusher:ping` | none |
//!
//! Source: Pusher's description of the protocol and of its codes.

use std::sync::Arc;

use sterna_protocol::OwnedArgs;
use sterna_protocol::pusher::{self, ChannelKind, Member, Request, SERVER_TO_USER, SocketId};
use sterna_protocol::websocket::{self, Opcode};
use sterna_pubsub::Kind;

use crate::config::PusherApp;
use crate::connection::CloseReason;
use crate::connection::page::Membership;
use crate::pages::Join;
use crate::shard::Shard;
use crate::shard::parts::PART_SUBSCRIPTIONS;
use crate::shard::serve::Serving;

/// Channels of one page. Source: the limit of other servers; it is closed in one piece, too.
const CHANNELS_MAX: usize = 128;
const _: () = assert!(CHANNELS_MAX <= PART_SUBSCRIPTIONS);

/// Bytes of the data of an event. Source: Pusher's own limit.
const EVENT_BYTES_MAX: usize = 10 * 1024;

/// Bytes of an event's name. Source: Pusher's own limit.
const EVENT_NAME_BYTES_MAX: usize = 200;

/// Bytes of a user's ID, and of what is said of him to the members of a channel. Source: Pusher's own limits; the latter is twice
/// that.
const USER_ID_BYTES_MAX: usize = 128;
const USER_INFO_BYTES_MAX: usize = 2048;

/// An event of a page is refused; the connection stays.
const EVENT_REFUSED: u16 = 4301;
/// What was sent is no message.
const NO_MESSAGE: u16 = 4200;
/// Who signs in is not who he says.
const UNAUTHORIZED: u16 = 4009;

/// Why there is no subscription.
struct Unsubscribed {
    kind: &'static str,
    text: String,
    /// One of HTTP's.
    status: u16,
}

impl Unsubscribed {
    fn new(kind: &'static str, text: impl Into<String>, status: u16) -> Unsubscribed {
        Unsubscribed { kind, text: text.into(), status }
    }
}

/// What became of a request that was made for a page.
enum Ran {
    /// It is to be made again when the connection's wait is over.
    Waits,
    Done,
    /// In the words of the error.
    Refused(String),
}

/// A page that is being served.
struct Asker {
    app: Arc<PusherApp>,
    socket: SocketId,
    user: Option<Box<str>>,
}

/// What is asked for with a subscription.
struct Wish<'a> {
    channel: &'a str,
    outside: Vec<u8>,
    kind: ChannelKind,
    member: Option<Member>,
}

impl Shard {
    /// Answers a message of the page that is being served. False: it is to be taken again when its wait is over.
    pub(super) fn answer_page(&mut self, serving: &mut Serving, text: &str) -> bool {
        match pusher::request(text) {
            Err(_) => pusher::error(&mut serving.out, NO_MESSAGE, "this is no message"),
            Ok(Request::Ping) => websocket::frame(&mut serving.out, Opcode::Text, pusher::PONG),
            Ok(Request::Pong | Request::Other) => {}
            Ok(Request::Subscribe { channel, auth, channel_data }) => {
                match self.subscribe_page(serving, &channel, &auth, channel_data.as_deref()) {
                    Ok(taken) => return taken,
                    Err(Unsubscribed { kind, text, status }) => {
                        pusher::subscription_error(&mut serving.out, &channel, kind, &text, status);
                    }
                }
            }
            Ok(Request::Unsubscribe { channel }) => return self.unsubscribe_page(serving, &channel),
            Ok(Request::Trigger { event, channel, data }) => {
                match self.trigger(serving.slot, &event, &channel, &data) {
                    Ok(taken) => return taken,
                    Err(text) => pusher::error(&mut serving.out, EVENT_REFUSED, &text),
                }
            }
            Ok(Request::SignIn { auth, user_data }) => self.sign_in(serving, &auth, &user_data),
        }
        true
    }

    fn asker(&self, slot: usize) -> Option<Asker> {
        let connection = self.connections.get(slot)?;
        let page = connection.page.as_ref()?;
        let socket = page.socket_id(connection.me.id);
        Some(Asker { app: Arc::clone(&page.app), socket, user: page.user.clone() })
    }

    /// Makes a request of the page's connection.
    fn run_for_page(&mut self, slot: usize, words: &[&[u8]]) -> Ran {
        let request = OwnedArgs::from_slices(words);
        let mut reply = Vec::new();
        if !self.dispatch(slot, request.args(), &mut reply) {
            return Ran::Waits;
        }
        match reply.strip_prefix(b"-") {
            Some(error) => Ran::Refused(String::from_utf8_lossy(error).trim_end().to_owned()),
            None => Ran::Done,
        }
    }

    fn subscribe_page(
        &mut self,
        serving: &mut Serving,
        channel: &str,
        auth: &str,
        channel_data: Option<&str>,
    ) -> Result<bool, Unsubscribed> {
        let slot = serving.slot;
        let Some(asker) = self.asker(slot) else { return Ok(true) };
        let wish = asker.wish(channel, auth, channel_data)?;
        if self.config.pusher_app.prefix_of(&wish.outside) != Some(&asker.app.prefix) {
            return Err(Unsubscribed::new("Invalid", "the name is one of another app's", 400));
        }
        let held = &self.connections[slot].subscriptions;
        if held.len(Kind::Channel) >= CHANNELS_MAX && !held.contains(Kind::Channel, &wish.outside) {
            let text = format!("a connection has at most {CHANNELS_MAX} channels");
            return Err(Unsubscribed::new("LimitReached", text, 400));
        }
        if wish.kind.is_presence || wish.kind.is_cache {
            return self.enter_room(serving, &wish);
        }
        match self.run_for_page(slot, &[b"SUBSCRIBE", &wish.outside]) {
            Ran::Waits => Ok(false),
            Ran::Refused(text) => Err(Unsubscribed::new("AuthError", text, 403)),
            Ran::Done => {
                pusher::subscribed(&mut serving.out, channel);
                Ok(true)
            }
        }
    }

    /// Subscribes to a channel that has members, or a last event.
    fn enter_room(&mut self, serving: &mut Serving, wish: &Wish<'_>) -> Result<bool, Unsubscribed> {
        let Wish { channel, outside, kind, member } = wish;
        let slot = serving.slot;
        if !self.connections[slot].has_read_mail && !self.has_handed_out(slot) {
            // What takes long is handed out in its turn, and what comes then while the room is locked.
            return Ok(false);
        }
        let (server, me) = (Arc::clone(&self.server), self.connections[slot].me);
        let mut room = server.pages.rooms.lock(outside);
        self.receive_published(None);
        if let Some(member) = member
            && !room.has_room_for(outside, &member.id, &member.info)
        {
            return Err(Unsubscribed::new("LimitReached", "the channel has as many members as it may", 400));
        }
        match self.run_for_page(slot, &[b"SUBSCRIBE", outside]) {
            Ran::Waits => return Ok(false),
            Ran::Refused(text) => return Err(Unsubscribed::new("AuthError", text, 403)),
            Ran::Done => {}
        }
        if let Some(member) = member {
            if let Some(page) = self.connections[slot].page.as_mut()
                && page.member_in(outside).is_none()
            {
                page.presences.push(Membership {
                    channel: outside[..].into(),
                    user: member.id[..].into(),
                    info_bytes: member.info.len(),
                });
                if room.join(outside, &member.id, &member.info) == Join::New {
                    let mut frame = Vec::new();
                    pusher::member_added(&mut frame, channel, &member.id, &member.info);
                    self.tell_room(outside, &frame, Some(me));
                }
            }
            pusher::subscribed_to_presence(&mut serving.out, channel, room.members(outside));
        } else {
            pusher::subscribed(&mut serving.out, channel);
        }
        if kind.is_cache {
            match room.last(outside, self.clock.now_ms) {
                Some(payload) => pusher::message(&mut serving.out, channel.as_bytes(), payload),
                None => pusher::cache_miss(&mut serving.out, channel),
            }
        }
        Ok(true)
    }

    fn unsubscribe_page(&mut self, serving: &mut Serving, channel: &str) -> bool {
        let slot = serving.slot;
        let Some(Asker { app, .. }) = self.asker(slot) else { return true };
        let outside = app.outside(channel);
        if !self.connections[slot].subscriptions.contains(Kind::Channel, &outside) {
            return true;
        }
        match self.run_for_page(slot, &[b"UNSUBSCRIBE", &outside]) {
            Ran::Waits => return false,
            Ran::Refused(text) => {
                // It stays subscribed, and a member.
                pusher::error(&mut serving.out, NO_MESSAGE, &text);
                return true;
            }
            Ran::Done => {}
        }
        let left = self.connections[slot].page.as_mut().and_then(|page| {
            let at = page.presences.iter().position(|of| *of.channel == *outside)?;
            Some(page.presences.swap_remove(at))
        });
        if let Some(left) = left {
            self.leave_room(&app, &left.channel, &left.user);
        }
        true
    }

    /// Publishes an event of the page. Errors are told to it.
    fn trigger(&mut self, slot: usize, event: &str, channel: &str, data: &str) -> Result<bool, String> {
        let Some(Asker { app, socket, .. }) = self.asker(slot) else { return Ok(true) };
        let (kind, outside) = (ChannelKind::of(channel.as_bytes()), app.outside(channel));
        let connection = &mut self.connections[slot];
        if !kind.is_private || kind.is_encrypted {
            return Err("events of pages are for private and presence channels".to_owned());
        }
        if !connection.subscriptions.contains(Kind::Channel, &outside) {
            return Err(format!("the connection has not subscribed to {channel}"));
        }
        if event.len() > EVENT_NAME_BYTES_MAX || data.len() > EVENT_BYTES_MAX {
            return Err(format!("an event has at most {EVENT_BYTES_MAX} bytes of data"));
        }
        let Some(page) = &mut connection.page else { return Ok(true) };
        if !page.may_send(self.clock.now_ms) {
            return Err(format!("more than {} events a second", app.client_events));
        }
        let member = page.member_in(&outside).map(str::to_owned);
        let payload = pusher::envelope(event, data, member.as_deref(), Some(&socket.to_string()));
        match self.run_for_page(slot, &[b"PUBLISH", &outside, &payload]) {
            Ran::Waits => {
                // It is counted when it is sent.
                if let Some(page) = &mut self.connections[slot].page {
                    page.has_not_sent();
                }
                Ok(false)
            }
            Ran::Refused(text) => Err(text),
            Ran::Done => Ok(true),
        }
    }

    /// Has the page act as a user, or ends it if it may not.
    fn sign_in(&mut self, serving: &mut Serving, auth: &str, user_data: &str) {
        let slot = serving.slot;
        let Some(Asker { app, socket, user }) = self.asker(slot) else { return };
        let parts = [socket.to_string(), "::user::".to_owned(), user_data.to_owned()];
        let id = pusher::user_id(user_data).filter(|id| {
            id.len() <= USER_ID_BYTES_MAX
                && user_data.len() <= 2 * USER_INFO_BYTES_MAX
                && user.as_deref().is_none_or(|other| other == id)
                && is_signed(&app, &parts, auth)
        });
        let Some(id) = id else {
            let text = "the signature is wrong, or the user";
            pusher::error(&mut serving.out, UNAUTHORIZED, text);
            return self.end_page(serving, UNAUTHORIZED, text, CloseReason::UserRemoved);
        };
        let connection = &mut self.connections[slot];
        if let Some(page) = &mut connection.page
            && page.user.is_none()
        {
            self.server.pages.users.add(&app.id, &id, (self.index, connection.me));
            page.user = Some(id.into());
        }
        pusher::signed_in(&mut serving.out, user_data);
    }
}

impl Asker {
    /// Checks what can be checked of a subscription by itself.
    fn wish<'a>(
        &self,
        channel: &'a str,
        auth: &str,
        channel_data: Option<&str>,
    ) -> Result<Wish<'a>, Unsubscribed> {
        if !pusher::is_name(channel) {
            return Err(Unsubscribed::new("Invalid", "a channel can't have this name", 400));
        }
        if let Some(user) = channel.strip_prefix(SERVER_TO_USER)
            && self.user.as_deref() != Some(user)
        {
            return Err(Unsubscribed::new("AuthError", "the channel is another user's", 401));
        }
        let kind = ChannelKind::of(channel.as_bytes());
        let data = channel_data.filter(|_| kind.is_presence);
        if kind.is_private {
            let mut parts = vec![self.socket.to_string(), ":".to_owned(), channel.to_owned()];
            parts.extend(data.map(|data| format!(":{data}")));
            if !is_signed(&self.app, &parts, auth) {
                return Err(Unsubscribed::new("AuthError", "the signature is wrong", 401));
            }
        }
        let mut member = None;
        if kind.is_presence {
            let of_data = data.and_then(pusher::member).filter(|member| {
                member.id.len() <= USER_ID_BYTES_MAX && member.info.len() <= USER_INFO_BYTES_MAX
            });
            let wrong =
                || Unsubscribed::new("AuthError", "channel_data names no user, or says too much of him", 400);
            member = Some(of_data.ok_or_else(wrong)?);
        }
        Ok(Wish { channel, outside: self.app.outside(channel), kind, member })
    }
}

/// Whether the app has signed these parts, one behind the other.
fn is_signed(app: &PusherApp, parts: &[String], auth: &str) -> bool {
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    pusher::is_signed_by(&app.key, app.secret.as_bytes(), &parts, auth)
}
