//! What nodes say of sessions: requests on the way to the node that leads, replies on the way back.
//!
//! ```text
//!   record   [kind 1] [session 8] [length 4] […]                    lengths and numbers little-endian
//!
//!   open      who asks and how (`Asker`)        the session begins, its asker has changed, or the asker's rights have
//!   requests  bytes of the Redis protocol
//!   room      [bytes 4]                         replies that have gone on to the client
//!   close                                       the client is gone
//!   unblock   [with an error 1]                 CLIENT UNBLOCK
//!   begin                                       sessions from before are no more; of no session
//!
//!   replies   bytes of the Redis protocol
//!   closed    [bytes of requests taken 8]       the session is no more; `u64::MAX`: it is not known how many were taken
//! ```
//!
//! What is read may come from a node of another version: nothing is believed, and reading ends at the first that makes no sense.

use std::net::SocketAddr;
use std::sync::Arc;

use super::codec::{read_names, write_names};

/// A client's session at the node that leads: unique among those of its own node. Its shard is in the upper bits.
pub type SessionId = u64;

const SHARD_BITS: u32 = 10;

/// The session of this number and shard.
pub(crate) fn session_of(shard: usize, number: u64) -> SessionId {
    ((shard as u64) << (u64::BITS - SHARD_BITS)) | (number & (u64::MAX >> SHARD_BITS))
}

/// The shard whose client's session it is.
pub fn shard_of(session: SessionId) -> usize {
    (session >> (u64::BITS - SHARD_BITS)) as usize
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Say<'a> {
    Open(&'a [u8]),
    Requests(&'a [u8]),
    Room(u32),
    Close,
    Unblock { with_error: bool },
    Leave,
    Begin,
    Replies(&'a [u8]),
    Closed { taken: u64 },
}

/// How many bytes of requests were taken is not known.
pub const TAKEN_UNKNOWN: u64 = u64::MAX;

/// Bytes of requests in one record: a longer request is several, of which the last ends it.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reply bytes of a session that its client has not read; what is taken from it at once may be as much again.
pub const ROOM_BYTES: usize = 256 * 1024;

const HEADER: usize = 13;

/// Appends a record.
pub fn write_record(into: &mut Vec<u8>, session: SessionId, say: Say<'_>) {
    let (kind, number);
    let body: &[u8] = match say {
        Say::Open(asker) => {
            kind = 1;
            asker
        }
        Say::Requests(bytes) => {
            kind = 2;
            bytes
        }
        Say::Room(bytes) => {
            (kind, number) = (3, u64::from(bytes).to_le_bytes());
            &number[..4]
        }
        Say::Close => {
            kind = 4;
            &[]
        }
        Say::Unblock { with_error: true } => {
            kind = 5;
            &[1]
        }
        Say::Unblock { with_error: false } => {
            kind = 5;
            &[0]
        }
        Say::Leave => {
            kind = 5;
            &[2]
        }
        Say::Begin => {
            kind = 6;
            &[]
        }
        Say::Replies(bytes) => {
            kind = 7;
            bytes
        }
        Say::Closed { taken } => {
            (kind, number) = (8, taken.to_le_bytes());
            &number
        }
    };
    into.reserve(HEADER + body.len());
    into.push(kind);
    into.extend_from_slice(&session.to_le_bytes());
    // What is longer than `RECORD_BYTES_MAX` is written as several.
    into.extend_from_slice(&(body.len() as u32).to_le_bytes());
    into.extend_from_slice(body);
}

/// Adds requests to the record of requests that stands at `at`, the last one.
pub(crate) fn extend_record(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    into.extend_from_slice(bytes);
    let length = (into.len() - at - HEADER) as u32;
    if let Some(place) = into.get_mut(at + HEADER - 4..at + HEADER) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Of which session, what it says, and all of its bytes.
type SessionRecord<'a> = (SessionId, Say<'a>, &'a [u8]);

/// The records that were written one behind the other, each with all of its bytes.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = SessionRecord<'_>> {
    std::iter::from_fn(move || {
        let (record, rest) = split_record(bytes)?;
        bytes = rest;
        Some(record)
    })
}

#[inline]
fn split_record(bytes: &[u8]) -> Option<(SessionRecord<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let (kind, numbers) = header.split_first()?;
    let (session, length) = numbers.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    let say = match (kind, body) {
        (1, asker) => Say::Open(asker),
        (2, bytes) => Say::Requests(bytes),
        (3, bytes) => Say::Room(u32::from_le_bytes(bytes.try_into().ok()?)),
        (4, []) => Say::Close,
        // To a node of version 0.2.0 it is an Unblock; behind the answer to that the session is closed.
        (5, [2]) => Say::Leave,
        (5, [with_error]) => Say::Unblock { with_error: *with_error != 0 },
        (6, []) => Say::Begin,
        (7, bytes) => Say::Replies(bytes),
        (8, bytes) => Say::Closed { taken: u64::from_le_bytes(bytes.try_into().ok()?) },
        _ => return None,
    };
    let (all, _) = bytes.split_at_checked(HEADER + length)?;
    Some(((u64::from_le_bytes(*session), say, all), rest))
}

/// Who asks at the node that leads, and how: what a session takes over from its client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Where the client is.
    pub peer: SocketAddr,
    /// Where it has connected.
    pub local: SocketAddr,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// Its user, with the rules that it has where it has logged in.
    pub user: Vec<u8>,
    /// See `user`.
    pub rules: Vec<Vec<u8>>,
    /// SELECT.
    pub db: u8,
    /// HELLO 3.
    pub is_resp3: bool,
    /// CLIENT NO-TOUCH.
    pub is_no_touch: bool,
    /// Only its rights have changed, and requests may be under way: what they make of the rest holds.
    pub is_rights_only: bool,
    /// Its session was opened before: where that is not known any more it can't go on.
    pub goes_on: bool,
}

impl Asker {
    /// Appends it.
    pub fn write(&self, into: &mut Vec<u8>) {
        let flags = [self.is_resp3, self.is_no_touch, self.is_rights_only, self.goes_on];
        let flags = flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
        into.extend_from_slice(&[self.db, flags]);
        let text = |address: &SocketAddr| address.to_string().into_bytes();
        let mut names: Vec<Arc<[u8]>> = vec![
            text(&self.peer).into(),
            text(&self.local).into(),
            self.name[..].into(),
            self.user[..].into(),
        ];
        names.extend(self.rules.iter().map(|rule| Arc::from(&rule[..])));
        write_names(into, &names);
    }

    /// Reads what [`Asker::write`] has written.
    pub fn read(bytes: &[u8]) -> Option<Asker> {
        let ([db, flags], names) = bytes.split_first_chunk::<2>()?;
        let names = read_names(names)?;
        let [peer, local, name, user, rules @ ..] = &names[..] else { return None };
        let address = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        Some(Asker {
            peer: address(peer)?,
            local: address(local)?,
            name: name.to_vec(),
            user: user.to_vec(),
            rules: rules.iter().map(|rule| rule.to_vec()).collect(),
            db: *db,
            is_resp3: flags & 1 != 0,
            is_no_touch: flags & 2 != 0,
            is_rights_only: flags & 4 != 0,
            goes_on: flags & 8 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asker() -> Asker {
        Asker {
            peer: "127.0.0.1:5".parse().unwrap(),
            local: "[::1]:6".parse().unwrap(),
            name: b"n".to_vec(),
            user: b"u".to_vec(),
            rules: vec![b"+@all".to_vec(), b"~*".to_vec()],
            db: 3,
            is_resp3: true,
            is_no_touch: false,
            is_rights_only: true,
            goes_on: true,
        }
    }

    #[test]
    fn records_and_askers_come_back_as_they_were() {
        let mut who = Vec::new();
        asker().write(&mut who);
        assert_eq!(Asker::read(&who), Some(asker()));
        let session = session_of(1023, u64::MAX);
        assert_eq!(shard_of(session), 1023);
        let all = [
            Say::Open(&who),
            Say::Requests(b"*1\r\n"),
            Say::Room(7),
            Say::Close,
            Say::Unblock { with_error: true },
            Say::Unblock { with_error: false },
            Say::Leave,
            Say::Begin,
            Say::Replies(b""),
            Say::Closed { taken: TAKEN_UNKNOWN },
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|say| write_record(&mut bytes, session, *say));
        let read: Vec<_> = records(&bytes).collect();
        assert_eq!(
            read.iter().map(|(of, say, _)| (*of, *say)).collect::<Vec<_>>(),
            all.map(|say| (session, say))
        );
        let mut extended = Vec::new();
        write_record(&mut extended, 0, Say::Begin);
        let at = extended.len();
        write_record(&mut extended, session, Say::Requests(b"*1\r\n"));
        extend_record(&mut extended, at, b"$4\r\nPING\r\n");
        let last = records(&extended).last().map(|(of, say, _)| (of, say));
        assert_eq!(last, Some((session, Say::Requests(b"*1\r\n$4\r\nPING\r\n"))));
        assert_eq!(read.iter().flat_map(|(_, _, bytes)| bytes.to_vec()).collect::<Vec<_>>(), bytes);
    }

    proptest! {
        #[test]
        fn bytes_that_are_none_of_this_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..10) {
            let mut bytes = bytes;
            records(&bytes).for_each(|(_, _, all)| assert!(all.len() <= bytes.len()));
            let _ = Asker::read(&bytes);
            if bytes.len() > 12 {
                bytes[0] = kind;
                bytes[9..13].copy_from_slice(&4_u32.to_le_bytes());
            }
            records(&bytes).for_each(|(_, _, all)| assert!(all.len() <= bytes.len()));
        }
    }
}
