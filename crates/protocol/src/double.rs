//! Doubles as Redis writes them: the shortest digits that read back as the same number, in the notation of its
//! `fpconv`.
//!
//! | number | notation |
//! |---|---|
//! | a whole one up to 2^62 | all digits: `1000000000000000000` |
//! | larger, and few zeros would follow the digits | all digits: `12345678901234567000` |
//! | with a fraction, and short | with a point: `123.456`, `0.00001` |
//! | any other | with an exponent: `1e+20`, `1.2345e-4` |
//!
//! Source: compared with Redis 8.2 and Valkey 9.1 row by row in the tests below.

use std::io::Write;

/// Whole numbers up to here are written as integers: half of `i64`'s range, as in Redis.
const WHOLE_MAX: f64 = (1i64 << 62) as f64;

/// Appends `value`; infinities are `inf` and `-inf`.
pub fn write(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value.is_infinite() {
        out.extend_from_slice(b"inf");
    } else if value <= WHOLE_MAX && value.fract() == 0.0 {
        out.extend_from_slice(itoa::Buffer::new().format(value as u64).as_bytes());
    } else {
        finite(out, value);
    }
}

/// The integer that a double is, if it is written as one.
#[inline]
pub(crate) fn whole(value: f64) -> Option<i64> {
    let integer = value as i64;
    (value.abs() <= WHOLE_MAX && integer as f64 == value && (integer != 0 || value.is_sign_positive()))
        .then_some(integer)
}

/// Appends a number that is six digits behind the point at most, and fifteen in all: a decimal of so few digits that reads as
/// the number is the shortest there is. False, and nothing is written: it is none.
fn short(out: &mut Vec<u8>, value: f64) -> bool {
    const SCALE: f64 = 1e6;
    let scaled = (value * SCALE).round();
    if scaled >= 1e15 || scaled / SCALE != value {
        return false;
    }
    let scaled = scaled as u64;
    let (whole, mut fraction, mut digits) = (scaled / 1_000_000, scaled % 1_000_000, 6);
    while fraction.is_multiple_of(10) && digits > 1 {
        fraction /= 10;
        digits -= 1;
    }
    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    out.push(b'.');
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(fraction).as_bytes();
    zeros(out, digits - text.len() as i32);
    out.extend_from_slice(text);
    true
}

/// Appends a finite number above zero.
fn finite(out: &mut Vec<u8>, value: f64) {
    if short(out, value) {
        return;
    }
    let mut buf = [0; 32];
    let (digits, exponent) = shortest(value, &mut buf);
    let len = digits.len() as i32;
    // The number is `digits` × 10^power.
    let power = exponent - len + 1;
    if power >= 0 && exponent < len + 7 {
        out.extend_from_slice(digits);
        zeros(out, power);
    } else if power < 0 && (power > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            out.extend_from_slice(b"0.");
            zeros(out, -exponent - 1);
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if len > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
    }
}

/// The shortest digits of `value` without a point, and the exponent of the first one.
fn shortest(value: f64, buf: &mut [u8; 32]) -> (&[u8], i32) {
    let mut rest = &mut buf[..];
    // At most seventeen digits, a point, `e-`, three digits.
    write!(rest, "{value:e}").expect("a double is at most 23 bytes long");
    let written = 32 - rest.len();
    let e = buf[..written].iter().position(|&b| b == b'e').expect("{:e} writes an exponent");
    let exponent = std::str::from_utf8(&buf[e + 1..written]).ok().and_then(|text| text.parse().ok());
    let exponent = exponent.expect("{:e} ends with an integer");
    // d.ddd → dddd
    let end = if e > 1 {
        buf.copy_within(2..e, 1);
        e - 1
    } else {
        e
    };
    (&buf[..end], exponent)
}

fn zeros(out: &mut Vec<u8>, count: i32) {
    out.extend(std::iter::repeat_n(b'0', count as usize));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_written_as_redis_writes_them() {
        let rows: [(f64, &str); 36] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (3.0, "3"),
            (1e7, "10000000"),
            (1e8, "100000000"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (1e22, "1e+22"),
            (1.5e22, "1.5e+22"),
            (1e100, "1e+100"),
            (123456789012345678.0, "123456789012345680"),
            (4611686018427387904.0, "4611686018427387904"),
            (-4611686018427387904.0, "-4611686018427387904"),
            (-5e18, "-5e+18"),
            (9223372036854775807.0, "9223372036854776000"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (0.0001, "0.0001"),
            (0.00015, "0.00015"),
            (1.5e-5, "0.000015"),
            (0.00012345, "1.2345e-4"),
            (1.25e-6, "1.25e-6"),
            (-1e-10, "-1e-10"),
            (-123.456, "-123.456"),
            (100000000.5, "100000000.5"),
            (123456789.12345679, "1.2345678912345679e+8"),
            (0.30000000000000004, "0.30000000000000004"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in rows {
            assert_eq!(written(value), expected);
        }
        assert_eq!(written(f64::NAN), "nan");
        assert_eq!(written(5e-324), "5e-324");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same_number(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(written(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
