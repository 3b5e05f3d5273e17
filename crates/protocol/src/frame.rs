//! Frames of Pub/Sub: messages and confirmations, encoded once and sent to many.
//!
//! ```text
//! RESP2   *3\r\n $7\r\nmessage\r\n $4\r\nchan\r\n $5\r\nhello\r\n
//! RESP3   >3\r\n …the same
//! ```
//!
//! Each function appends one frame to `out` and reserves once. A frame of one protocol differs from the other's only
//! in its first byte, except for a confirmation without a name.
//!
//! Cost: O(bytes), no formatting machinery. Source: the pushes of SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE.

use crate::reply::{Proto, bulk_header, header};

/// What a confirmation confirms; the names are those of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Confirmation {
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// PSUBSCRIBE.
    Psubscribe,
    /// PUNSUBSCRIBE.
    Punsubscribe,
    /// SSUBSCRIBE.
    Ssubscribe,
    /// SUNSUBSCRIBE; also sent unasked when the channel's slot leaves.
    Sunsubscribe,
}

/// How a message came to its subscriber: what a frame of RESP calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// By a subscription to its channel.
    Message,
    /// By a subscription to a pattern.
    Pmessage,
    /// By a subscription to its sharded channel.
    Smessage,
}

/// A message, read back from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// How it came.
    pub kind: MessageKind,
    /// The subscription that it came by: the channel's name, or the pattern.
    pub subscription: &'a [u8],
    /// Bytes of the frame.
    pub len: usize,
}

/// Most bytes of a header line: kind, sign, nineteen digits, CRLF; for reserving.
const HEADER_BYTES_MAX: usize = 24;

/// A message for a subscriber of its channel.
#[inline]
pub fn message(out: &mut Vec<u8>, proto: Proto, channel: &[u8], payload: &[u8]) {
    three(out, proto, start_of(MessageKind::Message), channel, payload);
}

/// A message for a subscriber of its sharded channel.
#[inline]
pub fn smessage(out: &mut Vec<u8>, proto: Proto, channel: &[u8], payload: &[u8]) {
    three(out, proto, start_of(MessageKind::Smessage), channel, payload);
}

/// A message for a subscriber of `pattern`, which matches its channel.
#[inline]
pub fn pmessage(out: &mut Vec<u8>, proto: Proto, pattern: &[u8], channel: &[u8], payload: &[u8]) {
    const START: &[u8] = start_of(MessageKind::Pmessage);
    out.reserve(START.len() + pattern.len() + channel.len() + payload.len() + 4 * HEADER_BYTES_MAX);
    out.push(push_kind(proto));
    out.extend_from_slice(START);
    bulk(out, pattern);
    bulk(out, channel);
    bulk(out, payload);
}

/// What a message's frame ends with, behind its payload.
pub const END: &[u8] = b"\r\n";

/// A message's frame up to its payload, behind which [`END`] ends it. `pattern`: what it came by, if that is one.
pub fn head(
    out: &mut Vec<u8>,
    (proto, kind): (Proto, MessageKind),
    pattern: Option<&[u8]>,
    channel: &[u8],
    payload_bytes: usize,
) {
    out.push(push_kind(proto));
    out.extend_from_slice(start_of(kind));
    pattern.iter().for_each(|pattern| bulk(out, pattern));
    bulk(out, channel);
    bulk_header(out, payload_bytes);
}

/// What a frame begins with, behind its first byte.
const fn start_of(kind: MessageKind) -> &'static [u8] {
    match kind {
        MessageKind::Message => b"3\r\n$7\r\nmessage\r\n",
        MessageKind::Pmessage => b"4\r\n$8\r\npmessage\r\n",
        MessageKind::Smessage => b"3\r\n$8\r\nsmessage\r\n",
    }
}

/// Confirms that `name` was subscribed or unsubscribed, `count` subscriptions being left.
///
/// `name` is `None` where an UNSUBSCRIBE of everything found nothing.
pub fn confirmation(out: &mut Vec<u8>, proto: Proto, kind: Confirmation, name: Option<&[u8]>, count: usize) {
    let kind = kind.name().as_bytes();
    out.reserve(kind.len() + name.map_or(0, <[u8]>::len) + 4 * HEADER_BYTES_MAX);
    out.push(push_kind(proto));
    out.extend_from_slice(b"3\r\n");
    bulk(out, kind);
    match (name, proto) {
        (Some(name), _) => bulk(out, name),
        (None, Proto::Resp2) => out.extend_from_slice(b"$-1\r\n"),
        (None, Proto::Resp3) => out.extend_from_slice(b"_\r\n"),
    }
    header(out, b':', count as i64);
}

impl Confirmation {
    /// As the client reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Confirmation::Subscribe => "subscribe",
            Confirmation::Unsubscribe => "unsubscribe",
            Confirmation::Psubscribe => "psubscribe",
            Confirmation::Punsubscribe => "punsubscribe",
            Confirmation::Ssubscribe => "ssubscribe",
            Confirmation::Sunsubscribe => "sunsubscribe",
        }
    }
}

/// Reads the frame at the start of `bytes`, if it is a whole message of either protocol.
///
/// Cost: O(bytes of its headers).
pub fn read_message(bytes: &[u8]) -> Option<Message<'_>> {
    const KINDS: [(MessageKind, usize); 3] =
        [(MessageKind::Message, 2), (MessageKind::Pmessage, 3), (MessageKind::Smessage, 2)];
    let body = bytes.strip_prefix(b"*").or_else(|| bytes.strip_prefix(b">"))?;
    let (kind, strings) = KINDS.into_iter().find(|(kind, _)| body.starts_with(start_of(*kind)))?;
    let mut at = 1 + start_of(kind).len();
    let (from, to) = read_bulk(bytes, at)?;
    at = to + 2;
    for _ in 1..strings {
        at = read_bulk(bytes, at)?.1 + 2;
    }
    Some(Message { kind, subscription: &bytes[from..to], len: at })
}

/// Where the text of the bulk string at `at` begins and ends, if all of it is there.
fn read_bulk(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?.strip_prefix(b"$")?;
    let digits = rest.iter().take(HEADER_BYTES_MAX).position(|&byte| byte == b'\r')?;
    let is_number = digits > 0 && rest[..digits].iter().all(u8::is_ascii_digit);
    let len = rest[..digits]
        .iter()
        .try_fold(0_usize, |len, digit| {
            len.checked_mul(10)?.checked_add(usize::from(digit.wrapping_sub(b'0')))
        })
        .filter(|_| is_number)?;
    let from = at + 1 + digits + 2;
    let to = from.checked_add(len)?;
    (to.checked_add(2)? <= bytes.len()).then_some((from, to))
}

/// Has a frame that a subscriber gets unasked be one of `proto`: the protocols differ in its first byte.
pub fn set_protocol(frame: &mut [u8], proto: Proto) {
    if let Some(first) = frame.first_mut() {
        *first = push_kind(proto);
    }
}

/// The first byte, `start`, then two bulk strings.
#[inline]
fn three(out: &mut Vec<u8>, proto: Proto, start: &[u8], channel: &[u8], payload: &[u8]) {
    out.reserve(start.len() + channel.len() + payload.len() + 3 * HEADER_BYTES_MAX);
    out.push(push_kind(proto));
    out.extend_from_slice(start);
    bulk(out, channel);
    bulk(out, payload);
}

#[inline]
fn push_kind(proto: Proto) -> u8 {
    match proto {
        Proto::Resp2 => b'*',
        Proto::Resp3 => b'>',
    }
}

#[inline]
fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    bulk_header(out, bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_with_a_payload_and_an_end_is_the_whole_frame() {
        use MessageKind::{Message, Pmessage, Smessage};
        let payload = [b'x'; 1234];
        for proto in [Proto::Resp2, Proto::Resp3] {
            let by_head = |kind, pattern| {
                encoded(|out| {
                    head(out, (proto, kind), pattern, b"chan", payload.len());
                    out.extend_from_slice(&payload);
                    out.extend_from_slice(b"\r\n");
                })
            };
            assert_eq!(by_head(Message, None), encoded(|out| message(out, proto, b"chan", &payload)));
            assert_eq!(by_head(Smessage, None), encoded(|out| smessage(out, proto, b"chan", &payload)));
            let whole = encoded(|out| pmessage(out, proto, b"c*", b"chan", &payload));
            assert_eq!(by_head(Pmessage, Some(b"c*")), whole);
        }
    }

    #[test]
    fn messages_are_arrays_in_resp2_and_pushes_in_resp3() {
        use Proto::{Resp2, Resp3};
        let rows = [
            (
                encoded(|out| message(out, Resp2, b"chan", b"hello")),
                "*3\r\n$7\r\nmessage\r\n$4\r\nchan\r\n$5\r\nhello\r\n",
            ),
            (
                encoded(|out| message(out, Resp3, b"", b"0123456789")),
                ">3\r\n$7\r\nmessage\r\n$0\r\n\r\n$10\r\n0123456789\r\n",
            ),
            (
                encoded(|out| smessage(out, Resp2, b"s", b"\r\n")),
                "*3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$2\r\n\r\n\r\n",
            ),
            (
                encoded(|out| smessage(out, Resp3, b"s", b"hi")),
                ">3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$2\r\nhi\r\n",
            ),
            (
                encoded(|out| pmessage(out, Resp2, b"a*", b"a", b"hi")),
                "*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$2\r\nhi\r\n",
            ),
            (
                encoded(|out| pmessage(out, Resp3, b"a*", b"a", b"hi")),
                ">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$2\r\nhi\r\n",
            ),
        ];
        for (frame, expected) in rows {
            assert_eq!(frame, expected);
        }
    }

    #[test]
    fn a_message_is_read_back_from_its_frame_and_from_no_part_of_it() {
        use MessageKind::{Message as Channel, Pmessage, Smessage};
        for proto in [Proto::Resp2, Proto::Resp3] {
            for (kind, name) in [(Channel, &b"chan\r\n$1"[..]), (Pmessage, b"ch*"), (Smessage, b"")] {
                let mut frame = Vec::new();
                match kind {
                    Channel => message(&mut frame, proto, name, b"*3\r\n"),
                    Pmessage => pmessage(&mut frame, proto, name, b"chan", b"*3\r\n"),
                    Smessage => smessage(&mut frame, proto, name, b"*3\r\n"),
                }
                let len = frame.len();
                for end in 0..len {
                    assert_eq!(read_message(&frame[..end]), None);
                }
                frame.extend_from_slice(b"+OK\r\n");
                assert_eq!(read_message(&frame), Some(Message { kind, subscription: name, len }));
                let other = if proto == Proto::Resp2 { Proto::Resp3 } else { Proto::Resp2 };
                set_protocol(&mut frame, other);
                assert_eq!(read_message(&frame), Some(Message { kind, subscription: name, len }));
            }
        }
        for other in [
            &b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"[..],
            b"+OK\r\n",
            b"",
            b"*",
            b"*3\r\n$7\r\nmessage\r\n:1\r\n",
        ] {
            assert_eq!(read_message(other), None);
        }
    }

    #[test]
    fn confirmations_carry_kind_name_and_count() {
        use Proto::{Resp2, Resp3};
        type Row = (Proto, Confirmation, Option<&'static [u8]>, usize, &'static str);
        let rows: [Row; 6] = [
            (Resp2, Confirmation::Subscribe, Some(b"a"), 1, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
            (
                Resp3,
                Confirmation::Psubscribe,
                Some(b"a*"),
                12,
                ">3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:12\r\n",
            ),
            (Resp2, Confirmation::Unsubscribe, None, 1, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n"),
            (Resp3, Confirmation::Punsubscribe, None, 0, ">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n"),
            (Resp2, Confirmation::Ssubscribe, Some(b""), 7, "*3\r\n$10\r\nssubscribe\r\n$0\r\n\r\n:7\r\n"),
            (
                Resp3,
                Confirmation::Sunsubscribe,
                Some(b"s"),
                0,
                ">3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n",
            ),
        ];
        for (proto, kind, name, count, expected) in rows {
            assert_eq!(encoded(|out| confirmation(out, proto, kind, name, count)), expected);
        }
    }
}
