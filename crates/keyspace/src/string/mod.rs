//! Strings as data: their bytes however they are kept, and what is computed over them.

pub(crate) mod bits;
pub(crate) mod hll;
mod long;
pub(crate) mod subsequence;
mod text;

pub use long::Long;
pub(crate) use long::PART_BYTES;
pub use text::Text;

use xxhash_rust::xxh3::Xxh3Default;

/// XXH3 of 64 bits, without a seed. Cost: O(bytes), some 10 GB/s.
pub(crate) fn digest(text: &Text<'_>) -> u64 {
    let mut hash = Xxh3Default::new();
    text.all_pieces().for_each(|piece| hash.update(piece));
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_redis_computes() {
        let rows: &[(&[u8], u64)] = &[
            (b"Hello world", 0xb6ac_b9d8_4a38_ff74),
            (b"hello", 0x9555_e855_5c62_dcfd),
            (
                b"v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd",
                0x0000_6c38_adf3_1777,
            ),
        ];
        for &(text, expected) in rows {
            assert_eq!(digest(&Text::held(text)), expected);
        }
    }

    #[test]
    fn a_string_in_parts_has_the_digest_of_its_bytes() {
        let bytes: Vec<u8> = (0..200_000u32).map(|number| (number >> 3) as u8).collect();
        let long = Long::from(&bytes[..]);
        assert_eq!(digest(&Text::parts(&long)), xxhash_rust::xxh3::xxh3_64(&bytes));
    }
}
