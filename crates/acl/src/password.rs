//! Passwords: kept as SHA-256, compared in constant time, generated from the system's randomness.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A password as it is kept. `==` is for whoever sets passwords: what a client sends is asked for by [`Hash::is_among`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u8; 32]);

/// Most bits that ACL GENPASS gives.
pub const GENPASS_BITS_MAX: usize = 4096;

impl Hash {
    /// Of a password in clear text.
    pub(super) fn of(password: &[u8]) -> Hash {
        Hash(Sha256::digest(password).into())
    }

    /// From 64 lower-case hexadecimal digits.
    pub(super) fn from_hex(hex: &[u8]) -> Option<Hash> {
        let (pairs, rest) = hex.as_chunks::<2>();
        let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        rest.is_empty().then_some(Hash(bytes))
    }

    /// 64 lower-case hexadecimal digits.
    pub(super) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Whether it is one of `hashes`; looks at all of them, and takes the same time wherever they differ.
    pub(super) fn is_among(&self, hashes: &[Hash]) -> bool {
        let none = Choice::from(0);
        hashes.iter().fold(none, |found, hash| found | self.0.ct_eq(&hash.0)).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A password of at least `bits` bits, in hexadecimal digits, which carry four each.
///
/// `bits` is 1 to [`GENPASS_BITS_MAX`]; more are cut. Returns `None` if the system has no randomness to give.
pub fn generate_password(bits: usize) -> Option<String> {
    let digits = bits.clamp(1, GENPASS_BITS_MAX).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    fill_random(&mut bytes)?;
    let mut password = hex(&bytes);
    password.truncate(digits);
    Some(password)
}

/// Fills `bytes` from the system's randomness, which may come in pieces.
fn fill_random(mut bytes: &mut [u8]) -> Option<()> {
    while !bytes.is_empty() {
        let given = match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Err(Errno::INTR) => 0,
            given => given.ok()?,
        };
        bytes = &mut bytes[given..];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sha256_in_hex() {
        let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(Hash::of(b"foo").hex(), foo);
        assert_eq!(Hash::from_hex(foo.as_bytes()), Some(Hash::of(b"foo")));
        for wrong in ["", "ab", &foo[1..], &foo.to_uppercase(), &format!("{foo}0"), &foo.replace('2', "g")] {
            assert_eq!(Hash::from_hex(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(Hash::of(b"foo").is_among(&[Hash::of(b"bar"), Hash::of(b"foo")]));
        assert!(!Hash::of(b"foo").is_among(&[Hash::of(b"bar")]));
        assert!(!Hash::of(b"foo").is_among(&[]));
    }

    #[test]
    fn generated_passwords_have_four_bits_a_digit_and_differ() {
        for (bits, digits) in [(1, 1), (5, 2), (256, 64), (4096, 1024), (9999, 1024)] {
            let password = generate_password(bits).unwrap();
            assert_eq!(password.len(), digits);
            assert!(password.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(generate_password(256), generate_password(256));
    }
}
