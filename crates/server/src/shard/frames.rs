//! A message as subscribers are sent it: encoded once for each dialect that they speak, and for each pattern that they have it by.

use sterna_protocol::frame::{self, MessageKind};
use sterna_protocol::{Proto, event, pusher};

use crate::config::PusherApps;
use crate::connection::Dialect;
use crate::connection::chunk::{Appender, Range};
use crate::parcel::Namespace;
use crate::position::Position;
use crate::shard::long::Prepared;

/// Bytes that a frame needs beside its texts; an upper bound of headers and the kind's name, and for events a guess.
const FRAME_OVERHEAD: usize = 128;
const _: () = assert!(event::OVERHEAD <= FRAME_OVERHEAD);

/// A payload of so many bytes is copied once for all frames that it is in, but for those that have to lie in one piece.
pub(super) const SHARED_BYTES: usize = 16 << 10;

/// What stands behind the head of each frame of the message.
#[cold]
pub(super) fn body_of(payload: &[u8], prepared: Option<&mut Prepared>) -> Range {
    let made = prepared.and_then(|prepared| prepared.take_body(payload.len()));
    Range::of(made.unwrap_or_else(|| [payload, frame::END].concat()))
}

#[cold]
pub(super) fn encode_head(
    appender: &mut Appender,
    proto: Proto,
    (space, pattern): (Namespace, Option<&[u8]>),
    channel: &[u8],
    payload_bytes: usize,
) -> Range {
    let texts = pattern.map_or(0, <[u8]>::len) + channel.len();
    appender.append(texts + FRAME_OVERHEAD, |buf| {
        frame::head(buf, (proto, kind_of(space, pattern)), pattern, channel, payload_bytes);
    })
}

/// The kind of the message to who has it by its channel, or by a pattern.
pub(super) fn kind_of(space: Namespace, pattern: Option<&[u8]>) -> MessageKind {
    match (pattern, space) {
        (Some(_), _) => MessageKind::Pmessage,
        (None, Namespace::Channels | Namespace::Pages) => MessageKind::Message,
        (None, Namespace::Sharded) => MessageKind::Smessage,
    }
}

#[inline]
pub(super) fn encode(
    appender: &mut Appender,
    (dialect, apps): (Dialect, &PusherApps),
    (space, channel): (Namespace, &[u8]),
    payload: &[u8],
    position: Option<Position>,
) -> Range {
    let proto = proto_of(dialect);
    appender.append(channel.len() + payload.len() + FRAME_OVERHEAD, |buf| match (proto, space) {
        (None, _) if dialect == Dialect::Pusher => pusher::message(buf, apps.inside(channel), payload),
        (None, _) => {
            if let (Dialect::IdEvents, Some(position)) = (dialect, position) {
                position.write_line(buf);
            }
            event::message(buf, None, channel, payload);
        }
        (Some(proto), Namespace::Channels | Namespace::Pages) => frame::message(buf, proto, channel, payload),
        (Some(proto), Namespace::Sharded) => frame::smessage(buf, proto, channel, payload),
    })
}

#[inline]
pub(super) fn encode_pattern(
    appender: &mut Appender,
    (dialect, apps): (Dialect, &PusherApps),
    pattern: &[u8],
    channel: &[u8],
    payload: &[u8],
) -> Range {
    let texts = pattern.len() + channel.len() + payload.len();
    appender.append(texts + FRAME_OVERHEAD, |buf| match proto_of(dialect) {
        // What such a page subscribes to are channels.
        None if dialect == Dialect::Pusher => pusher::message(buf, apps.inside(channel), payload),
        None => event::message(buf, Some(pattern), channel, payload),
        Some(proto) => frame::pmessage(buf, proto, pattern, channel, payload),
    })
}

/// The version of the protocol, where frames are the protocol's.
pub(super) fn proto_of(dialect: Dialect) -> Option<Proto> {
    match dialect {
        Dialect::Resp2 => Some(Proto::Resp2),
        Dialect::Resp3 => Some(Proto::Resp3),
        Dialect::Events | Dialect::IdEvents | Dialect::Pusher => None,
    }
}
