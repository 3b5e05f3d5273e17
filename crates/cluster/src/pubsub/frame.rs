//! Frames: what one node sends another, as the payload of one message of NATS.
//!
//! ```text
//!   [version 1] [kind 1] [sender 16] …                                numbers little-endian
//!
//!   beat        [flags 1] [interest's version 8] [buckets 32] [name …]
//!   known       [interest's version 8]                                to who has sent a beat that asks for it
//!   leave
//!   messages    [frame 8] [first message 8] [count 4] [messages …]    in the form of `sterna_server::forwarded`
//!   part        [frame 8] [message 8] [length 4] [offset 4] [bytes …] of a message that fits no frame
//!   tail        [next frame 8] [next message 8]                       what comes next
//!   taken       [next frame 8]                                        all before it is handed out, or known to be lost
//!   question    [number 8] …          answer  [number 8] [is last 1] …
//! ```
//!
//! A frame of another version, or that makes no sense, is `None`: nodes of two versions go on without each other.

use sterna_server::{BUCKETS, BucketSet};

/// Written first. Another number is another format.
const VERSION: u8 = 1;

/// A node since its start: random, so that one which starts anew is another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u128);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat<'a> {
    /// The receiver is to answer `known`.
    pub(super) asks: bool,
    /// The receiver is to answer with a beat of its own.
    pub(super) is_hello: bool,
    /// Rises with every change of `buckets`.
    pub(super) version: u64,
    /// What is listened to there.
    pub(super) buckets: BucketSet,
    /// For people.
    pub(super) name: &'a str,
}

/// What a frame's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// What was published.
    Messages,
    /// Requests to the node that leads, and its replies.
    Sessions,
}

/// Where clients reach a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    /// 0: not without TLS.
    pub(super) port: u16,
    pub(super) tls_port: u16,
}

impl Address {
    /// Whether `cluster-leader` names it.
    pub(super) fn is(&self, name: &str) -> bool {
        name.rsplit_once(':').is_some_and(|(host, port)| {
            let is_its = |port: u16| port != 0 && (port == self.port || port == self.tls_port);
            host.trim_matches(['[', ']']) == self.host && port.parse().is_ok_and(is_its)
        })
    }
}

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Beat(Beat<'a>),
    Known { version: u64 },
    Leave,
    Messages { frame: u64, first: u64, count: u32, bytes: &'a [u8] },
    Part { frame: u64, message: u64, length: u32, offset: u32, bytes: &'a [u8] },
    Tail { frame: u64, message: u64 },
    Taken { frame: u64 },
    Question { number: u64, bytes: &'a [u8] },
    Answer { number: u64, is_last: bool, bytes: &'a [u8] },
    Address { port: u16, tls_port: u16, host: &'a str },
}

/// Bytes before those of messages, at most.
pub(super) const HEADER_BYTES_MAX: usize = 18 + 24;

/// Longest name that is believed.
const NAME_BYTES_MAX: usize = 128;

const ASKS: u8 = 1;
const HELLO: u8 = 2;

/// Of kinds that belong to sessions.
const OF_SESSIONS: u8 = 0x80;

/// The bytes of a frame that is no session's.
pub(super) fn write(from: NodeId, body: &Body<'_>) -> Vec<u8> {
    write_on(from, Link::Messages, body)
}

/// The bytes of a frame.
pub(super) fn write_on(from: NodeId, link: Link, body: &Body<'_>) -> Vec<u8> {
    let link = if link == Link::Sessions { OF_SESSIONS } else { 0 };
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + 64 + body.bytes().len());
    out.extend_from_slice(&[VERSION, body.kind() | link]);
    out.extend_from_slice(&from.0.to_le_bytes());
    let number = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_le_bytes());
    match body {
        Body::Beat(beat) => {
            out.push((u8::from(beat.asks) * ASKS) | (u8::from(beat.is_hello) * HELLO));
            number(&mut out, beat.version);
            beat.buckets.0.iter().for_each(|word| number(&mut out, *word));
            out.extend_from_slice(beat.name.as_bytes());
        }
        Body::Known { version } => number(&mut out, *version),
        Body::Leave => {}
        Body::Messages { frame, first, count, .. } => {
            number(&mut out, *frame);
            number(&mut out, *first);
            out.extend_from_slice(&count.to_le_bytes());
        }
        Body::Part { frame, message, length, offset, .. } => {
            number(&mut out, *frame);
            number(&mut out, *message);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        Body::Tail { frame, message } => {
            number(&mut out, *frame);
            number(&mut out, *message);
        }
        Body::Taken { frame } => number(&mut out, *frame),
        Body::Question { number: which, .. } => number(&mut out, *which),
        Body::Answer { number: which, is_last, .. } => {
            number(&mut out, *which);
            out.push(u8::from(*is_last));
        }
        Body::Address { port, tls_port, .. } => {
            out.extend_from_slice(&port.to_le_bytes());
            out.extend_from_slice(&tls_port.to_le_bytes());
        }
    }
    out.extend_from_slice(body.bytes());
    out
}

/// Who has sent a frame, and what is in it.
pub(super) fn read(frame: &[u8]) -> Option<(NodeId, Link, Body<'_>)> {
    let mut rest = Rest(frame);
    let [version, kind] = rest.take::<2>()?;
    if version != VERSION {
        return None;
    }
    let from = NodeId(u128::from_le_bytes(rest.take()?));
    let link = if kind & OF_SESSIONS == 0 { Link::Messages } else { Link::Sessions };
    let body = match kind & !OF_SESSIONS {
        1 => {
            let [flags] = rest.take()?;
            let version = rest.number()?;
            let mut buckets = BucketSet::default();
            for word in &mut buckets.0 {
                *word = rest.number()?;
            }
            let name = rest.name()?;
            let beat = Beat { asks: flags & ASKS != 0, is_hello: flags & HELLO != 0, version, buckets, name };
            Body::Beat(beat)
        }
        2 => Body::Known { version: rest.number()? },
        3 => Body::Leave,
        4 => {
            let (frame, first) = (rest.number()?, rest.number()?);
            Body::Messages { frame, first, count: u32::from_le_bytes(rest.take()?), bytes: rest.0 }
        }
        5 => {
            let (frame, message) = (rest.number()?, rest.number()?);
            let (length, offset) = (u32::from_le_bytes(rest.take()?), u32::from_le_bytes(rest.take()?));
            Body::Part { frame, message, length, offset, bytes: rest.0 }
        }
        6 => Body::Tail { frame: rest.number()?, message: rest.number()? },
        7 => Body::Taken { frame: rest.number()? },
        8 => Body::Question { number: rest.number()?, bytes: rest.0 },
        9 => {
            let number = rest.number()?;
            let [is_last] = rest.take()?;
            Body::Answer { number, is_last: is_last != 0, bytes: rest.0 }
        }
        10 => {
            let (port, tls_port) = (u16::from_le_bytes(rest.take()?), u16::from_le_bytes(rest.take()?));
            Body::Address { port, tls_port, host: rest.name()? }
        }
        _ => return None,
    };
    let has_links = matches!(kind & !OF_SESSIONS, 4..=7);
    (has_links || link == Link::Messages).then_some((from, link, body))
}

impl Body<'_> {
    fn kind(&self) -> u8 {
        match self {
            Body::Beat(_) => 1,
            Body::Known { .. } => 2,
            Body::Leave => 3,
            Body::Messages { .. } => 4,
            Body::Part { .. } => 5,
            Body::Tail { .. } => 6,
            Body::Taken { .. } => 7,
            Body::Question { .. } => 8,
            Body::Answer { .. } => 9,
            Body::Address { .. } => 10,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Body::Messages { bytes, .. }
            | Body::Part { bytes, .. }
            | Body::Question { bytes, .. }
            | Body::Answer { bytes, .. } => bytes,
            Body::Address { host, .. } => host.as_bytes(),
            Body::Beat(_) | Body::Known { .. } | Body::Leave | Body::Tail { .. } | Body::Taken { .. } => &[],
        }
    }
}

const _: () = assert!(BUCKETS == 4 * 64);

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn name(&self) -> Option<&'a str> {
        let name = std::str::from_utf8(self.0).ok()?;
        (name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)).then_some(name)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_frame_comes_back_as_it_was() {
        let buckets = BucketSet([1, 2, 3, u64::MAX]);
        let beat = Beat { asks: true, is_hello: false, version: 7, buckets, name: "host:6379" };
        let bodies = [
            Body::Beat(beat.clone()),
            Body::Beat(Beat { asks: false, is_hello: true, name: "", ..beat }),
            Body::Known { version: u64::MAX },
            Body::Leave,
            Body::Messages { frame: 1, first: 2, count: 3, bytes: b"abc" },
            Body::Part { frame: 1, message: 2, length: 30, offset: 10, bytes: b"part" },
            Body::Tail { frame: 9, message: 10 },
            Body::Taken { frame: 11 },
            Body::Question { number: 12, bytes: b"?" },
            Body::Answer { number: 12, is_last: true, bytes: b"" },
            Body::Address { port: 6379, tls_port: 0, host: "10.0.0.1" },
        ];
        let from = NodeId(u128::MAX - 5);
        for body in bodies {
            let bytes = write(from, &body);
            assert_eq!(read(&bytes), Some((from, Link::Messages, body.clone())));
            let bytes = write_on(from, Link::Sessions, &body);
            let has_links = matches!(
                body,
                Body::Messages { .. } | Body::Part { .. } | Body::Tail { .. } | Body::Taken { .. }
            );
            assert_eq!(read(&bytes), has_links.then_some((from, Link::Sessions, body)));
        }
    }

    #[test]
    fn a_frame_of_another_version_is_none() {
        let mut bytes = write(NodeId(1), &Body::Leave);
        bytes[0] += 1;
        assert_eq!(read(&bytes), None);
        let name = "n".repeat(NAME_BYTES_MAX + 1);
        let beat =
            Beat { asks: false, is_hello: false, version: 0, buckets: BucketSet::default(), name: &name };
        assert_eq!(read(&write(NodeId(1), &Body::Beat(beat))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in prop_oneof![0_u8..12, 128_u8..140]) {
            let _ = read(&bytes);
            let mut bytes = bytes;
            if bytes.len() > 1 {
                (bytes[0], bytes[1]) = (VERSION, kind);
            }
            if let Some((from, link, body)) = read(&bytes) && !matches!(body, Body::Beat(_) | Body::Answer { .. }) {
                let again = write_on(from, link, &body);
                prop_assert_eq!(read(&again), Some((from, link, body)));
            }
        }
    }
}
