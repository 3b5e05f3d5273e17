//! Numbers and words in arguments, read exactly as Redis reads them.
//!
//! The functions only read: which error an unreadable argument deserves (`ERR value is not an integer or out of range`,
//! `ERR value is not a valid float`, `ERR syntax error`) is for the command to say.

/// A strict decimal `i64`: no sign but `-`, no leading zero, no space, no `-0`. Source: Redis's `string2ll`.
pub fn int(arg: &[u8]) -> Option<i64> {
    let (negative, digits) = match arg {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    // Counting down reaches i64::MIN, whose absolute value is no i64.
    let mut value: i64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A decimal `u64` in the halves of a stream's entry ID, where Redis is less strict than elsewhere: leading white space,
/// a `+` and leading zeros are taken. A `-` is not. Source: Redis's `string2ull`.
pub fn uint(arg: &[u8]) -> Option<u64> {
    let blank = arg.iter().take_while(|&&b| matches!(b, b' ' | b'\t'..=b'\r')).count();
    let digits = &arg[blank..];
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A float: decimal, with or without point and exponent, or `inf` / `infinity` in any case; never NaN.
///
/// A number too large for `f64` is refused, one too small is zero. Source: INCRBYFLOAT of Redis, which differs in that it
/// calculates in the C library's `long double` (wider range) and therefore also reads hexadecimal floats.
pub fn float(arg: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(arg).ok()?.parse().ok()?;
    let spelled_out = || arg.iter().any(|b| b.eq_ignore_ascii_case(&b'i'));
    (!value.is_nan() && (value.is_finite() || spelled_out())).then_some(value)
}

/// Whether `arg` is the option `word`, in any case.
#[inline]
pub fn eq_ignore_case(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_reads_them() {
        let rows: [(&[u8], Option<i64>); 22] = [
            (b"0", Some(0)),
            (b"1", Some(1)),
            (b"-1", Some(-1)),
            (b"10", Some(10)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"-9223372036854775809", None),
            (b"92233720368547758070", None),
            (b"", None),
            (b"-", None),
            (b"+1", None),
            (b"-0", None),
            (b"00", None),
            (b"01", None),
            (b"-01", None),
            (b" 1", None),
            (b"1 ", None),
            (b"1a", None),
            (b"1.0", None),
            (b"1\0", None),
            (b"--1", None),
        ];
        for (arg, expected) in rows {
            assert_eq!(int(arg), expected, "{}", arg.escape_ascii());
        }
    }

    #[test]
    fn halves_of_an_entry_id_are_read_as_leniently_as_redis_reads_them() {
        let rows: [(&[u8], Option<u64>); 14] = [
            (b"0", Some(0)),
            (b"5", Some(5)),
            (b"05", Some(5)),
            (b"0007", Some(7)),
            (b"+5", Some(5)),
            (b" 5", Some(5)),
            (b"\t7", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-1", None),
            (b"0x5", None),
            (b"1 ", None),
            (b"1x", None),
        ];
        for (arg, expected) in rows {
            assert_eq!(uint(arg), expected, "{}", arg.escape_ascii());
        }
    }

    #[test]
    fn floats_are_read_as_redis_reads_them() {
        let rows: [(&[u8], Option<f64>); 38] = [
            (b"1", Some(1.0)),
            (b"+1", Some(1.0)),
            (b"-1", Some(-1.0)),
            (b"-0", Some(-0.0)),
            (b"01", Some(1.0)),
            (b"00.50", Some(0.5)),
            (b".5", Some(0.5)),
            (b"5.", Some(5.0)),
            (b"1e5", Some(1e5)),
            (b"1E+5", Some(1e5)),
            (b"1e308", Some(1e308)),
            (b"1e-400", Some(0.0)),
            (b"inf", Some(f64::INFINITY)),
            (b"+inf", Some(f64::INFINITY)),
            (b"-inf", Some(f64::NEG_INFINITY)),
            (b"INFINITY", Some(f64::INFINITY)),
            (b"infinit", None),
            (b"nan", None),
            (b"NaN", None),
            (b"-nan", None),
            (b"nan(1)", None),
            (b"", None),
            (b" 1", None),
            (b"\t1", None),
            (b"1 ", None),
            (b"1e", None),
            (b"1e5000", None),
            (b".", None),
            (b"1.5.5", None),
            (b"1_0", None),
            (b"1\0", None),
            (b"1,5", None),
            (b"0x", None),
            (b"1d5", None),
            (b"1.0f", None),
            (b"--1", None),
            (b"+-1", None),
            // Read by Redis, beyond the range of f64.
            (b"1e400", None),
        ];
        for (arg, expected) in rows {
            assert_eq!(float(arg), expected, "{}", arg.escape_ascii());
        }
    }

    #[test]
    fn option_words_are_matched_in_any_case() {
        assert!(eq_ignore_case(b"withScores", "WITHSCORES"));
        assert!(!eq_ignore_case(b"withScore", "WITHSCORES"));
        assert!(!eq_ignore_case(b"", "WITHSCORES"));
    }

    proptest! {
        #[test]
        fn every_integer_reads_back(value: i64) {
            prop_assert_eq!(int(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn an_integer_read_is_written_the_same(arg in "[-+0-9]{0,21}") {
            if let Some(value) = int(arg.as_bytes()) {
                prop_assert_eq!(value.to_string(), arg);
            }
        }
    }
}
