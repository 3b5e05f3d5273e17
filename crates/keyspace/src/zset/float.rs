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

/// Appends a number with up to 17 digits, which is not the shortest form: `0.10000000000000001`.
///
/// Source: `printf("%.17g")`.
pub(crate) fn write_17_digits(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        return sterna_protocol::write_double(out, number);
    }
    let scientific = format!("{:.16e}", number.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).collect();
    let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..kept];
    if number.is_sign_negative() {
        out.push(b'-');
    }
    let point = |out: &mut Vec<u8>, whole: &[u8], fraction: &[u8]| {
        out.extend_from_slice(whole);
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    };
    match usize::try_from(exponent) {
        Ok(exponent) if exponent < 17 => {
            let mut whole = digits.to_vec();
            whole.resize(whole.len().max(exponent + 1), b'0');
            point(out, &whole[..exponent + 1], digits.get(exponent + 1..).unwrap_or_default());
        }
        Err(_) if exponent >= -4 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(digits);
        }
        _ => {
            point(out, &digits[..1], &digits[1..]);
            out.push(b'e');
            out.push(if exponent < 0 { b'-' } else { b'+' });
            out.extend_from_slice(format!("{:02}", exponent.abs()).as_bytes());
        }
    }
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
    fn seventeen_digits_are_written_as_the_c_library_writes_them() {
        let rows = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.10000000000000001"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456.75, "123456.75"),
            (1e20, "1e+20"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (1e-7, "9.9999999999999995e-08"),
            (1.0 / 3.0, "0.33333333333333331"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (number, expected) in rows {
            let mut out = Vec::new();
            write_17_digits(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
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
