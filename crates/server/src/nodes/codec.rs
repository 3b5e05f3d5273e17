//! What goes between nodes, in bytes: messages, questions, answers.
//!
//! ```text
//!   message    [kind 1] [channel length 4] [payload length 4] [channel] [payload]      lengths little-endian
//!   question   [kind 1] …            answer   [kind 1] …
//! ```
//!
//! What is read may come from a node of another version, or from whoever can publish to NATS: nothing is believed, and what
//! makes no sense is `None`.

use std::sync::Arc;

use crate::parcel::Namespace;

/// Which kind of channel a message between nodes is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ChannelKind {
    /// SUBSCRIBE, PSUBSCRIBE, PUBLISH.
    Plain = 0,
    /// SSUBSCRIBE, SPUBLISH.
    Sharded = 1,
}

impl ChannelKind {
    fn of(byte: u8) -> Option<ChannelKind> {
        match byte {
            0 => Some(ChannelKind::Plain),
            1 => Some(ChannelKind::Sharded),
            _ => None,
        }
    }
}

impl From<ChannelKind> for Namespace {
    fn from(kind: ChannelKind) -> Namespace {
        match kind {
            ChannelKind::Plain => Namespace::Channels,
            ChannelKind::Sharded => Namespace::Sharded,
        }
    }
}

/// A message on its way between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// Where its channel is.
    pub kind: ChannelKind,
    /// The channel.
    pub channel: &'a [u8],
    /// What was published.
    pub payload: &'a [u8],
    /// All of it, as it was written.
    pub bytes: &'a [u8],
}

const HEADER: usize = 9;

/// Appends a message.
pub(crate) fn write_forwarded(into: &mut Vec<u8>, kind: ChannelKind, channel: &[u8], payload: &[u8]) {
    // Neither is longer than `proto-max-bulk-len`, which is below 1 GiB.
    let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
    into.reserve(HEADER + channel.len() + payload.len());
    into.push(kind as u8);
    into.extend_from_slice(&length(channel));
    into.extend_from_slice(&length(payload));
    into.extend_from_slice(channel);
    into.extend_from_slice(payload);
}

/// The messages that were written one behind the other. Ends at the first that is none.
pub fn forwarded(mut bytes: &[u8]) -> impl Iterator<Item = Forwarded<'_>> {
    std::iter::from_fn(move || {
        let (message, rest) = split_forwarded(bytes)?;
        bytes = rest;
        Some(message)
    })
}

#[inline]
fn split_forwarded(bytes: &[u8]) -> Option<(Forwarded<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let length = |at: usize| {
        let length = header.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(length)).ok()
    };
    let (channel, behind) = rest.split_at_checked(length(1)?)?;
    let (payload, rest) = behind.split_at_checked(length(5)?)?;
    let (bytes, _) = bytes.split_at_checked(HEADER + channel.len() + payload.len())?;
    Some((Forwarded { kind: ChannelKind::of(header[0])?, channel, payload, bytes }, rest))
}

/// What PUBSUB asks of other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Names of channels with subscribers that match.
    Channels {
        /// Where.
        kind: ChannelKind,
        /// All, without one.
        pattern: Option<Box<[u8]>>,
    },
    /// How many subscribers these channels have.
    Subscribers {
        /// Where.
        kind: ChannelKind,
        /// Which.
        channels: Vec<Arc<[u8]>>,
    },
    /// How many patterns there are.
    Patterns,
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Channels`].
    Names(Vec<Arc<[u8]>>),
    /// To the others: in the order of the channels, or the one number.
    Counts(Vec<u64>),
}

impl Question {
    /// Appends it.
    pub fn write(&self, into: &mut Vec<u8>) {
        match self {
            Question::Channels { kind, pattern } => {
                into.extend_from_slice(&[1, *kind as u8, u8::from(pattern.is_some())]);
                into.extend_from_slice(pattern.as_deref().unwrap_or_default());
            }
            Question::Subscribers { kind, channels } => {
                into.extend_from_slice(&[2, *kind as u8]);
                write_names(into, channels);
            }
            Question::Patterns => into.push(3),
        }
    }

    /// Reads what [`Question::write`] has written.
    pub fn read(bytes: &[u8]) -> Option<Question> {
        match bytes {
            [1, kind, 0] => Some(Question::Channels { kind: ChannelKind::of(*kind)?, pattern: None }),
            [1, kind, 1, pattern @ ..] => {
                Some(Question::Channels { kind: ChannelKind::of(*kind)?, pattern: Some(pattern.into()) })
            }
            [2, kind, names @ ..] => {
                Some(Question::Subscribers { kind: ChannelKind::of(*kind)?, channels: read_names(names)? })
            }
            [3] => Some(Question::Patterns),
            _ => None,
        }
    }
}

impl Answer {
    /// Appends it.
    pub fn write(&self, into: &mut Vec<u8>) {
        match self {
            Answer::Names(names) => {
                into.push(1);
                write_names(into, names);
            }
            Answer::Counts(counts) => {
                into.push(2);
                counts.iter().for_each(|count| into.extend_from_slice(&count.to_le_bytes()));
            }
        }
    }

    /// Reads what [`Answer::write`] has written.
    pub fn read(bytes: &[u8]) -> Option<Answer> {
        match bytes {
            [1, names @ ..] => Some(Answer::Names(read_names(names)?)),
            [2, counts @ ..] => {
                let (counts, rest) = counts.as_chunks::<8>();
                rest.is_empty()
                    .then(|| Answer::Counts(counts.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()))
            }
            _ => None,
        }
    }
}

pub(super) fn write_names(into: &mut Vec<u8>, names: &[Arc<[u8]>]) {
    for name in names {
        into.extend_from_slice(&(name.len() as u32).to_le_bytes());
        into.extend_from_slice(name);
    }
}

pub(super) fn read_names(mut bytes: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    let mut names = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (name, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        names.push(name.into());
        bytes = rest;
    }
    bytes.is_empty().then_some(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = Vec<Arc<[u8]>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20).prop_map(Arc::from), 0..20)
    }

    fn kind(sharded: bool) -> ChannelKind {
        if sharded { ChannelKind::Sharded } else { ChannelKind::Plain }
    }

    proptest! {
        #[test]
        fn messages_come_back_as_they_were(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..300)), 0..20)
        ) {
            let mut bytes = Vec::new();
            for (sharded, channel, payload) in &messages {
                write_forwarded(&mut bytes, kind(*sharded), channel, payload);
            }
            let mut at = 0;
            for (read, (sharded, channel, payload)) in forwarded(&bytes).zip(&messages) {
                prop_assert_eq!((read.kind, read.channel, read.payload), (kind(*sharded), &channel[..], &payload[..]));
                prop_assert_eq!(read.bytes, &bytes[at..at + read.bytes.len()]);
                at += read.bytes.len();
            }
            prop_assert_eq!(at, bytes.len());
            prop_assert_eq!(forwarded(&bytes).count(), messages.len());
        }

        #[test]
        fn questions_and_answers_come_back_as_they_were(
            sharded in any::<bool>(), pattern in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            names in names(), counts in prop::collection::vec(any::<u64>(), 0..20)
        ) {
            let kind = kind(sharded);
            for question in [
                Question::Channels { kind, pattern: pattern.map(Vec::into_boxed_slice) },
                Question::Subscribers { kind, channels: names.clone() },
                Question::Patterns,
            ] {
                let mut bytes = Vec::new();
                question.write(&mut bytes);
                prop_assert_eq!(Question::read(&bytes), Some(question));
            }
            for answer in [Answer::Names(names), Answer::Counts(counts)] {
                let mut bytes = Vec::new();
                answer.write(&mut bytes);
                prop_assert_eq!(Answer::read(&bytes), Some(answer));
            }
        }

        #[test]
        fn bytes_that_are_none_of_this_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            forwarded(&bytes).for_each(|message| assert!(message.bytes.len() <= bytes.len()));
            let _ = (Question::read(&bytes), Answer::read(&bytes));
        }
    }
}
