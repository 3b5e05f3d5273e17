//! LZF, in which Redis packs strings of its database files and dumps.
//!
//! ```text
//! 000xxxxx                    x + 1 literal bytes follow
//! lllddddd dddddddd           l + 2 bytes from d + 1 back, l = 1 … 6
//! 111ddddd llllllll dddddddd  l + 9 bytes from d + 1 back
//! ```
//!
//! Source: the format of Marc Lehmann's LibLZF.

use crate::value::STRING_BYTES_MAX;

/// Unpacks `packed` into the `len` bytes it must be. `None`: it is not that.
///
/// What is reserved is bounded by what was sent: three bytes yield at most 264.
pub fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > STRING_BYTES_MAX {
        return None;
    }
    let mut rest = packed;
    let mut out = Vec::with_capacity(len.min(packed.len().saturating_mul(88)));
    while let Some(&control) = rest.split_off_first() {
        let control = usize::from(control);
        if control < 0x20 {
            out.extend_from_slice(rest.split_off(..control + 1)?);
            continue;
        }
        let mut run = (control >> 5) + 2;
        if run == 9 {
            run += usize::from(*rest.split_off_first()?);
        }
        let back = ((control & 0x1f) << 8 | usize::from(*rest.split_off_first()?)) + 1;
        let start = out.len().checked_sub(back)?;
        if out.len() + run > len {
            return None;
        }
        // The run may overlap what it is copied to: byte by byte.
        (start..start + run).for_each(|at| out.push(out[at]));
    }
    (out.len() == len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_overlapping_references_are_unpacked_and_anything_else_is_refused() {
        assert_eq!(unpack(&[2, b'a', b'b', b'c', 0xe0, 2, 2], 14).as_deref(), Some(&b"abcabcabcabcab"[..]));
        assert_eq!(unpack(&[2, b'a', b'b', b'c', 0x20, 9], 6), None, "back beyond the start");
        assert_eq!(unpack(&[5, b'a'], 6), None, "cut short");
        assert_eq!(unpack(&[0, b'a', 0x20, 0], 2), None, "longer than it claims");
        assert_eq!(unpack(&[0, b'a'], 1 << 30), None, "a length that lies");
    }
}
