//! Files one behind the other in the form that every `tar` reads (POSIX ustar).
//!
//! ```text
//! header, 512 bytes │ contents, zeros to a multiple of 512 │ … │ 1024 zeros
//! ```

use std::io::{self, Read, Write};

const BLOCK_BYTES: usize = 512;

/// Lengths from here on don't fit in eleven octal digits, and are written in binary, as GNU tar does.
const OCTAL_MAX: u64 = 1 << 33;

/// Writes a file of `bytes` bytes that come from `from`. `name` has at most 100 bytes.
pub(crate) fn file(out: &mut impl Write, name: &str, bytes: u64, from: &mut dyn Read) -> io::Result<()> {
    out.write_all(&header(name, bytes))?;
    let copied = io::copy(&mut from.take(bytes), out)?;
    if copied < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let filled = (bytes % BLOCK_BYTES as u64) as usize;
    if filled > 0 {
        out.write_all(&[0; BLOCK_BYTES][filled..])?;
    }
    Ok(())
}

/// Writes the end.
pub(crate) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}

fn header(name: &str, bytes: u64) -> [u8; BLOCK_BYTES] {
    let mut header = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if bytes < OCTAL_MAX {
        put(124, format!("{bytes:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &bytes.to_be_bytes());
    }
    put(136, b"00000000000\0");
    // The sum is made as if it were spaces itself.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_in_whole_blocks_with_a_right_sum() {
        let mut out = Vec::new();
        file(&mut out, "name", 5, &mut &b"hello and more"[..]).unwrap();
        file(&mut out, "empty", 0, &mut &b""[..]).unwrap();
        end(&mut out).unwrap();
        assert_eq!(out.len(), 512 * 5);
        assert_eq!((&out[..4], &out[512..517], out[517]), (&b"name"[..], &b"hello"[..], 0));
        assert_eq!(&out[124..136], b"00000000005\0");
        let told = u32::from_str_radix(std::str::from_utf8(&out[148..154]).unwrap(), 8).unwrap();
        let sum: u32 = out[..512]
            .iter()
            .enumerate()
            .map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) })
            .sum();
        assert_eq!(told, sum);
        assert!(file(&mut Vec::new(), "short", 5, &mut &b"abc"[..]).is_err());
        let large = header("large", OCTAL_MAX + 1);
        assert_eq!(large[124], 0x80);
        assert_eq!(u64::from_be_bytes(large[128..136].try_into().unwrap()), OCTAL_MAX + 1);
    }
}
