//! Bytes that never change their length: string values as they were set, while no record has them, and long ones.
//!
//! ```text
//! inline  [0][len][ up to 22 bytes …………………………… ]      24 bytes, no allocation
//! heap    [1][ 6 unused ][ pointer ][ length ]      24 bytes, and the bytes themselves
//! shared  [2][ 6 unused ][ pointer ][ length ]      24 bytes, and from 64 KiB on the bytes for all copies together
//! ```
//!
//! What most commands pass on, and the keys that eviction has drawn, fit inline. Under a key, short ones are in its record
//! (`record.rs`).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An immutable byte string of 24 bytes that holds up to 22 of them itself.
#[derive(Clone)]
pub struct Bytes(Inner);

const INLINE_MAX: usize = 22;
/// From here on a copy (COPY, a snapshot) shares the bytes: it is made while a partition is locked.
const SHARED_MIN: usize = 64 << 10;

#[derive(Clone)]
enum Inner {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
    Shared(Arc<[u8]>),
}

const _: () = assert!(size_of::<Bytes>() == 24, "the inline form fills exactly what the heap form needs");

impl Bytes {
    /// Bytes on the heap, not counting this struct.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Inner::Inline { .. } => 0,
            Inner::Heap(bytes) => bytes.len(),
            Inner::Shared(bytes) => bytes.len() + 16,
        }
    }

    /// The bytes as their copies share them, if they do.
    pub(crate) fn shared(&self) -> Option<&Arc<[u8]>> {
        match &self.0 {
            Inner::Shared(bytes) => Some(bytes),
            Inner::Inline { .. } | Inner::Heap(_) => None,
        }
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(from: Arc<[u8]>) -> Bytes {
        if from.len() >= SHARED_MIN { Bytes(Inner::Shared(from)) } else { Bytes::from(&from[..]) }
    }
}

impl From<&[u8]> for Bytes {
    #[inline]
    fn from(from: &[u8]) -> Bytes {
        if from.len() >= SHARED_MIN {
            return Bytes(Inner::Shared(from.into()));
        }
        if from.len() > INLINE_MAX {
            return Bytes(Inner::Heap(from.into()));
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..from.len()].copy_from_slice(from);
        Bytes(Inner::Inline { len: from.len() as u8, bytes })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(from: Vec<u8>) -> Bytes {
        let own = INLINE_MAX + 1..SHARED_MIN;
        if own.contains(&from.len()) { Bytes(Inner::Heap(from.into())) } else { Bytes::from(&from[..]) }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Inner::Heap(bytes) => bytes,
            Inner::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_around_the_border_survives() {
        for len in 0..=2 * INLINE_MAX {
            let plain: Vec<u8> = (0..len as u8).collect();
            let bytes = Bytes::from(&plain[..]);
            assert_eq!(*bytes, plain[..]);
            assert_eq!(bytes.heap_bytes(), if len <= INLINE_MAX { 0 } else { len });
            assert_eq!(bytes, Bytes::from(plain));
        }
    }
}
