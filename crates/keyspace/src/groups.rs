//! Slots of a cluster, and groups of them: each group has a log and a leader of its own.
//!
//! ```text
//!   key ─► CRC-16 of its tag ─► one of 16 384 slots ─► one of N groups, each a range of slots
//! ```

use std::ops::Range;

/// Slots of a cluster.
pub const SLOTS: u16 = 16_384;

/// Most groups that slots can be shared out to.
pub const GROUPS_MAX: u16 = 64;

/// The slot of a key: of what stands between its first `{` and the next `}`, if there is anything.
///
/// ```text
///   {user:1}:name  {user:1}:mail     one slot
///   {}x  x{y                         all of it
/// ```
pub fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, eight bytes at a time: a key may have 2 MiB, and byte by byte that takes 4 ms.
///
/// Source: Kounavis, Berry, "A Systematic Approach to Building High Performance Software-Based CRC Generators", 2005.
fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(0, |crc: u16, eight| {
        let [high, low] = crc.to_be_bytes();
        let first =
            [eight[0] ^ high, eight[1] ^ low, eight[2], eight[3], eight[4], eight[5], eight[6], eight[7]];
        (0..8).fold(0, |sum, at| sum ^ CRC16_BEHIND[7 - at][usize::from(first[at])])
    });
    rest.iter().fold(crc, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

/// What a byte adds where so many follow it.
static CRC16_BEHIND: [[u16; 256]; 8] = {
    let mut tables = [CRC16; 8];
    let mut behind = 1;
    while behind < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[behind - 1][byte];
            tables[behind][byte] = (crc << 8) ^ CRC16[(crc >> 8) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
};

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// One of the groups that all slots are shared out to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyGroup {
    /// Which one, from 0.
    pub index: u16,
    /// How many there are: 1 to [`GROUPS_MAX`].
    pub count: u16,
}

impl KeyGroup {
    /// The one group that has all slots.
    pub const WHOLE: KeyGroup = KeyGroup { index: 0, count: 1 };

    /// All of `count` groups.
    pub fn all(count: u16) -> impl Iterator<Item = KeyGroup> {
        (0..count).map(move |index| KeyGroup { index, count })
    }

    /// Which of `count` groups a slot is in.
    pub fn of_slot(slot: u16, count: u16) -> u16 {
        (u32::from(slot) * u32::from(count) / u32::from(SLOTS)) as u16
    }

    /// Which of `count` groups a key is in.
    pub fn of_key(key: &[u8], count: u16) -> u16 {
        if count <= 1 { 0 } else { KeyGroup::of_slot(slot_of(key), count) }
    }

    /// Whether a key is in it.
    pub fn has(self, key: &[u8]) -> bool {
        KeyGroup::of_key(key, self.count) == self.index
    }

    /// Its slots.
    pub fn slots(self) -> Range<u16> {
        let first = |index: u16| (u32::from(index) * u32::from(SLOTS)).div_ceil(u32::from(self.count)) as u16;
        first(self.index)..first(self.index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From Redis 7.0.
        for (key, slot) in [
            (&b"foo"[..], 12182),
            (b"bar", 5061),
            (b"123456789", 12739),
            (b"", 0),
            (b"a{b}c", 3300),
            (b"b", 3300),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
        ] {
            assert_eq!(slot_of(key), slot, "{}", String::from_utf8_lossy(key));
        }
        // However long it is.
        let text: Vec<u8> = (0..100u32).map(|at| (at * 37) as u8).collect();
        for len in 0..text.len() {
            let by_byte = text[..len]
                .iter()
                .fold(0, |crc: u16, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)]);
            assert_eq!(crc16(&text[..len]), by_byte);
        }
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn every_slot_is_in_the_one_group_whose_range_it_is_in() {
        for count in 1..=GROUPS_MAX {
            let mut next = 0;
            for group in KeyGroup::all(count) {
                assert_eq!(group.slots().start, next);
                next = group.slots().end;
                assert!(group.slots().all(|slot| KeyGroup::of_slot(slot, count) == group.index));
            }
            assert_eq!(next, SLOTS);
        }
    }
}
