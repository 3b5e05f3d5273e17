//! Floats in arguments, as the commands on sorted sets read them.

use crate::extended::{Extended, Parsed};

/// A score: decimal or hexadecimal, or an infinity; `None`: it is none, or too large or too small to be one.
///
/// Source: Redis's `string2d`, compared in the tests below with what Redis 8.2 answers.
pub(crate) fn score(text: &[u8]) -> Option<f64> {
    if let Some(number) = integer(text) {
        return Some(number);
    }
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if let [b'0', b'x' | b'X', ..] = digits {
        let Some(Parsed::Finite(number)) = Extended::parse(text) else { return None };
        return Some(number.to_f64()).filter(|number| number.is_finite());
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_word = digits.first().is_some_and(u8::is_ascii_alphabetic);
    let is_lost = number == 0.0 && mantissa(digits).iter().any(|digit| (b'1'..=b'9').contains(digit));
    (!number.is_nan() && (number.is_finite() || is_word) && !is_lost).then_some(number)
}

/// An end of a range of scores: decimal or an infinity; what is too large is an infinity, and no digits are 0.
///
/// Source: Redis's `zslParseRange`.
pub(crate) fn bound(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// Digits without a point are read fast: most scores are a time or a counter.
#[inline]
fn integer(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // Fifteen digits are below 2^53: no rounding.
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |number, digit| 10 * number + u64::from(digit - b'0')) as f64;
    Some(if negative { -number } else { number })
}

/// What stands before the exponent.
fn mantissa(digits: &[u8]) -> &[u8] {
    let end = digits.iter().position(|&byte| byte | 0x20 == b'e').unwrap_or(digits.len());
    &digits[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_read_as_redis_reads_them() {
        let rows: &[(&str, Option<f64>)] = &[
            ("0", Some(0.0)),
            ("-0", Some(-0.0)),
            ("1", Some(1.0)),
            ("+5", Some(5.0)),
            ("-12", Some(-12.0)),
            ("999999999999999", Some(999_999_999_999_999.0)),
            ("9007199254740993", Some(9_007_199_254_740_992.0)),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("1e5", Some(100_000.0)),
            ("1e+5", Some(100_000.0)),
            ("inf", Some(f64::INFINITY)),
            ("+inf", Some(f64::INFINITY)),
            ("INF", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("0x1p3", Some(8.0)),
            ("-0X.8", Some(-0.5)),
            ("1e-320", Some(1e-320)),
            ("1e400", None),
            ("-1e400", None),
            ("1e-400", None),
            ("0e-400", Some(0.0)),
            ("nan", None),
            ("nAn", None),
            ("", None),
            (".", None),
            ("-", None),
            (" 1", None),
            ("1 ", None),
            ("5e", None),
            ("1_0", None),
            ("1d", None),
            ("1f", None),
            ("infinit", None),
        ];
        for (text, expected) in rows {
            let read = score(text.as_bytes()).map(f64::to_bits);
            assert_eq!(read, expected.map(f64::to_bits), "{text:?}");
        }
    }

    #[test]
    fn ends_of_ranges_are_read_as_redis_reads_them() {
        let rows: &[(&str, Option<f64>)] = &[
            ("", Some(0.0)),
            ("+5", Some(5.0)),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("1e400", Some(f64::INFINITY)),
            ("1e-400", Some(0.0)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x5", None),
            ("nan", None),
            ("+", None),
            ("-", None),
            (".", None),
            ("5e", None),
            ("--5", None),
            (" 1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(bound(text.as_bytes()), *expected, "{text:?}");
        }
    }
}
