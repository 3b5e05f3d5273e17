//! Libraries of functions as FUNCTION DUMP and Redis's database files have them.
//!
//! ```text
//! (F5 │ code as a string)…  │ version, 2 bytes │ CRC-64
//! ```
//!
//! The name of a library is in the first line of its code; nothing else of it is kept.

use crate::rdb::{open, read_string, seal, write_string};

const LIBRARY: u8 = 0xf5;
/// What Redis wrote before its first version with functions was finished.
const LIBRARY_BEFORE: u8 = 0xf6;

/// The version of the form: that of Redis 7.0, which was the first with functions.
const VERSION: u16 = 10;

/// The payload of a FUNCTION RESTORE.
pub fn dump_libraries<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    for code in codes {
        payload.push(LIBRARY);
        write_string(&mut payload, code);
    }
    seal(&mut payload, VERSION);
    payload
}

/// The codes in a payload; an error in Redis's words.
pub fn read_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let (mut rest, _) = open(payload).ok_or("ERR DUMP payload version or checksum are wrong")?;
    let mut codes = Vec::new();
    while let Some(&kind) = rest.split_off_first() {
        match kind {
            LIBRARY => {}
            LIBRARY_BEFORE => return Err("ERR Pre-GA function format not supported"),
            _ => return Err("ERR given type is not a function"),
        }
        codes.push(read_string(&mut rest).ok_or("ERR failed loading the given functions payload")?);
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_redis_dumped_is_read() {
        let payload = b"\xf5@F#!lua name=one\nredis.register_function('one', function() return 1 end)\
            \x0c\x00\xbd/\x06Uq<\x8c\x97";
        let codes = read_libraries(payload).unwrap();
        assert_eq!(codes.len(), 1);
        assert!(codes[0].starts_with(b"#!lua name=one\n") && codes[0].ends_with(b"end)"));
        assert_eq!(read_libraries(b"\x0c\x00\x96\xedh\x80\xf5U<\x93"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_payload_is_refused_in_redis_s_words() {
        let sealed = |bytes: &[u8]| {
            let mut payload = bytes.to_vec();
            seal(&mut payload, VERSION);
            payload
        };
        for (bytes, error) in [
            (&b"x"[..], "ERR given type is not a function"),
            (b"\xf6", "ERR Pre-GA function format not supported"),
            (b"\xf5", "ERR failed loading the given functions payload"),
            (b"\xf5\x09code", "ERR failed loading the given functions payload"),
            (b"\xf5\x81\xff\xff\xff\xff\xff\xff\xff\xff", "ERR failed loading the given functions payload"),
        ] {
            assert_eq!(read_libraries(&sealed(bytes)), Err(error), "{bytes:?}");
        }
        assert_eq!(read_libraries(b""), Err("ERR DUMP payload version or checksum are wrong"));
    }

    proptest! {
        #[test]
        fn what_was_dumped_is_read_and_other_bytes_are_refused(
            codes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..4),
            at in any::<prop::sample::Index>(),
        ) {
            let mut payload = dump_libraries(codes.iter().map(|code| &**code));
            prop_assert_eq!(read_libraries(&payload), Ok(codes));
            let at = at.index(payload.len());
            payload[at] ^= 0x20;
            prop_assert!(read_libraries(&payload).is_err());
        }
    }
}
