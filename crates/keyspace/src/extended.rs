//! Floats of 80 bits, as INCRBYFLOAT computes with them: 64 bits of mantissa, rounded to nearest, ties to even.
//!
//! ```text
//! value = ± mantissa × 2^exponent        the mantissa's top bit is set, or the value is 0
//! ```
//!
//! Redis uses `long double`, which on x86-64 is this format; `f64` would give other digits (5000 + 0.1). Rust has no
//! such type, so the three things needed are here: reading decimal and hexadecimal digits, adding, and printing with
//! 17 digits behind the point. All three are exact until their one rounding.
//!
//! Not modelled: subnormal numbers, which lose digits below 10^-4932; printed they are 0 either way.
//!
//! Cost: for numbers of everyday size a few machine words; for 10^±4900 some tens of microseconds.
//! Source: `strtold` and `printf("%.17Lf")` of glibc, as Redis's `string2ld` and `ld2string` call them.

use std::cmp::Ordering;

/// A finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// What digits can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    Finite(Extended),
    Infinite,
}

/// Longest text that is read, one more than fits Redis's buffer.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Largest exponent of a finite number, of its top bit.
const TOP_EXPONENT_MAX: i32 = 16383;
/// Smallest, of subnormals.
const TOP_EXPONENT_MIN: i32 = -16445;
/// Decimal exponents beyond this are out of range whatever the digits.
const DECIMAL_EXPONENT_MAX: i64 = 12_000;
/// Digits behind the point when printing, trailing zeros then cut.
const DECIMALS: usize = 17;

const ZERO: Extended = Extended { negative: false, mantissa: 0, exponent: 0 };

impl Extended {
    /// Reads a number as `strtold` does, the whole of `text`; `None`: it is none, is NaN, or is out of range.
    pub(crate) fn parse(text: &[u8]) -> Option<Parsed> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Some(Parsed::Infinite);
        }
        let magnitude = match digits {
            [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(rest)?,
            digits => parse_decimal(digits)?,
        };
        Some(Parsed::Finite(Extended { negative, ..magnitude }))
    }

    /// The sum; `None`: it is infinite.
    pub(crate) fn add(self, other: Extended) -> Option<Extended> {
        if self.mantissa == 0 || other.mantissa == 0 {
            return Some(if self.mantissa == 0 { other } else { self });
        }
        let (high, low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let shift = (high.exponent - low.exponent).unsigned_abs();
        // 62 bits below the mantissa: what `low` loses under them can only decide a tie, and one sticky bit tells.
        let above = u128::from(high.mantissa) << 62;
        let whole = u128::from(low.mantissa) << 62;
        let (below, lost) = match shift {
            0..128 => (whole >> shift, whole << (127 - shift) << 1 != 0),
            _ => (0, true),
        };
        let same_sign = high.negative == low.negative;
        let below = below | u128::from(lost);
        let (sum, negative) = match (same_sign, above.cmp(&below)) {
            (true, _) => (above + below, high.negative),
            (false, Ordering::Less) => (below - above, low.negative),
            (false, _) => (above - below, high.negative),
        };
        let sum = round(sum, high.exponent - 62, false);
        sum.is_finite().then_some(Extended { negative, ..sum })
    }

    /// The largest number, or the smallest.
    pub(crate) fn limit(negative: bool) -> Extended {
        Extended { negative, mantissa: u64::MAX, exponent: TOP_EXPONENT_MAX - 63 }
    }

    /// Whether it is below zero.
    pub(crate) fn is_negative(self) -> bool {
        self.negative && self.mantissa != 0
    }

    /// The nearest double, or an infinity. Rounds a second time.
    pub(crate) fn to_f64(self) -> f64 {
        // In two steps, so that a power of two is not lost where the number is not.
        let (half, rest) = (self.exponent / 2, self.exponent - self.exponent / 2);
        let magnitude = self.mantissa as f64 * 2f64.powi(half) * 2f64.powi(rest);
        if self.negative { -magnitude } else { magnitude }
    }

    /// As [`Extended::to_f64`]; what is too small for a double is the smallest of its sign.
    pub(crate) fn to_f64_not_zero(self) -> f64 {
        let number = self.to_f64();
        match number == 0.0 && self.mantissa != 0 {
            true => f64::from_bits(1).copysign(number),
            false => number,
        }
    }

    /// In decimal, with as many digits as `%.17Lf` gives that are not trailing zeros.
    pub(crate) fn format(self) -> Vec<u8> {
        let (mut digits, decimals) = if self.exponent >= 0 {
            let mut whole = Big::from(self.mantissa);
            whole.shift_left(self.exponent.unsigned_abs());
            (whole.into_decimal(), 0)
        } else {
            (self.scaled().to_string().into_bytes(), DECIMALS)
        };
        while digits.len() <= decimals {
            digits.insert(0, b'0');
        }
        let point = digits.len() - decimals;
        if decimals > 0 {
            let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            digits.truncate(kept.max(point));
            if digits.len() > point {
                digits.insert(point, b'.');
            }
        }
        if self.negative && digits != b"0" {
            digits.insert(0, b'-');
        }
        digits
    }

    /// The value × 10^17, rounded, where the exponent is negative.
    fn scaled(self) -> u128 {
        let product = u128::from(self.mantissa) * 10u128.pow(DECIMALS as u32);
        let shift = self.exponent.unsigned_abs();
        // The product has at most 121 bits.
        if shift > 122 {
            return 0;
        }
        let (whole, rest, half) = (product >> shift, product & ((1 << shift) - 1), 1u128 << (shift - 1));
        whole + u128::from(rest > half || rest == half && whole & 1 == 1)
    }

    fn is_finite(self) -> bool {
        self.exponent + 63 <= TOP_EXPONENT_MAX
    }

    /// The number, if it is neither too large nor, not being zero, too small.
    fn in_range(self) -> Option<Extended> {
        let fits = self.mantissa == 0 || self.is_finite() && self.exponent + 63 >= TOP_EXPONENT_MIN;
        fits.then_some(self)
    }
}

impl std::ops::Neg for Extended {
    type Output = Extended;

    fn neg(self) -> Extended {
        Extended { negative: !self.negative, ..self }
    }
}

impl PartialOrd for Extended {
    fn partial_cmp(&self, other: &Extended) -> Option<Ordering> {
        // A difference that is too large has the sign of what it began with.
        let difference = self.add(-*other).unwrap_or(*self);
        Some(if difference.mantissa == 0 {
            Ordering::Equal
        } else if difference.negative {
            Ordering::Less
        } else {
            Ordering::Greater
        })
    }
}

impl From<i64> for Extended {
    fn from(number: i64) -> Extended {
        Extended { negative: number < 0, ..round(u128::from(number.unsigned_abs()), 0, false) }
    }
}

/// `bits` × 2^`exponent`, and a little more if `sticky`, rounded to 64 bits.
fn round(bits: u128, exponent: i32, sticky: bool) -> Extended {
    if bits == 0 {
        return ZERO;
    }
    let excess = 64 - bits.leading_zeros() as i32;
    if excess <= 0 {
        let mantissa = (bits << -excess) as u64;
        return Extended { negative: false, mantissa, exponent: exponent + excess };
    }
    let (kept, rest, half) = (bits >> excess, bits & ((1 << excess) - 1), 1 << (excess - 1));
    let up = rest > half || rest == half && (sticky || kept & 1 == 1);
    let exponent = exponent + excess;
    match (kept as u64).checked_add(u64::from(up)) {
        Some(mantissa) => Extended { negative: false, mantissa, exponent },
        None => Extended { negative: false, mantissa: 1 << 63, exponent: exponent + 1 },
    }
}

/// `digits[.digits][e[±]digits]`, with a digit somewhere before the exponent.
fn parse_decimal(text: &[u8]) -> Option<Extended> {
    let mantissa_len = text.iter().position(|&byte| byte | 0x20 == b'e').unwrap_or(text.len());
    let (digits, exponent) = text.split_at(mantissa_len);
    let exponent = if exponent.is_empty() { 0 } else { parse_exponent(&exponent[1..])? };
    let mut number = Big::default();
    let (mut any, mut point, mut decimals) = (false, false, 0);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                number.multiply_add(10, u32::from(byte - b'0'));
                any = true;
                decimals += i64::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    if !any {
        return None;
    }
    if number.is_zero() {
        return Some(ZERO);
    }
    let exponent = exponent - decimals;
    if exponent.abs() > DECIMAL_EXPONENT_MAX {
        return None;
    }
    let mut divisor = Big::from(1);
    let scaled = if exponent >= 0 { &mut number } else { &mut divisor };
    (0..exponent.unsigned_abs()).for_each(|_| scaled.multiply_add(10, 0));
    divide(number, divisor).in_range()
}

/// `digits[.digits][p[±]digits]` to base 16, the exponent to base 2.
fn parse_hexadecimal(text: &[u8]) -> Option<Extended> {
    let mantissa_len = text.iter().position(|&byte| byte | 0x20 == b'p').unwrap_or(text.len());
    let (digits, exponent) = text.split_at(mantissa_len);
    let exponent = if exponent.is_empty() { 0 } else { parse_exponent(&exponent[1..])? };
    let mut number = Big::default();
    let (mut any, mut point, mut places) = (false, false, 0);
    for &byte in digits {
        match char::from(byte).to_digit(16) {
            Some(digit) => {
                number.multiply_add(16, digit);
                any = true;
                places += i64::from(point);
            }
            None if byte == b'.' && !point => point = true,
            None => return None,
        }
    }
    if !any {
        return None;
    }
    let exponent = i32::try_from(exponent - 4 * places).ok().filter(|exponent| exponent.abs() < 1 << 20)?;
    let rounded = divide(number, Big::from(1));
    Extended { exponent: rounded.exponent + exponent, ..rounded }.in_range()
}

/// Digits with a sign, kept within what can matter.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        exponent = (10 * exponent + i64::from(digit - b'0')).min(1 << 40);
    }
    Some(if negative { -exponent } else { exponent })
}

/// The quotient, rounded.
fn divide(mut number: Big, mut divisor: Big) -> Extended {
    if number.is_zero() {
        return ZERO;
    }
    // Scaled so that the quotient has 66 or 67 bits: two to round by, and the remainder tells whether there is more.
    let shift = 66 - (number.bits() as i32 - divisor.bits() as i32);
    let scaled = if shift >= 0 { &mut number } else { &mut divisor };
    scaled.shift_left(shift.unsigned_abs());
    divisor.shift_left(67);
    let mut quotient = 0u128;
    for _ in 0..68 {
        quotient <<= 1;
        if number.subtract(&divisor) {
            quotient |= 1;
        }
        divisor.halve();
    }
    // The remainder as one more bit at the bottom, below both that are rounded away.
    round(quotient << 1 | u128::from(!number.is_zero()), -shift - 1, false)
}

/// A natural number: 32-bit limbs, the lowest first, the last not 0.
#[derive(Debug, Clone, Default)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(number: u64) -> Big {
        let mut big = Big(vec![number as u32, (number >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| 32 * self.0.len() - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, by: u32, plus: u32) {
        let mut carry = u64::from(plus);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(by);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, bits: u32) {
        if self.is_zero() {
            return;
        }
        let (limbs, bits) = (bits as usize / 32, bits % 32);
        self.multiply_add(1 << bits, 0);
        self.0.splice(0..0, std::iter::repeat_n(0, limbs));
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let low = *limb << 31;
            *limb = *limb >> 1 | carry;
            carry = low;
        }
        self.trim();
    }

    /// Takes `other` away if it is not larger, and says whether it was not.
    fn subtract(&mut self, other: &Big) -> bool {
        let order =
            self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()));
        if order.is_lt() {
            return false;
        }
        let mut borrow = 0;
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        for (limb, other) in self.0.iter_mut().zip(others) {
            let difference = i64::from(*limb) - i64::from(other) - borrow;
            *limb = difference as u32;
            borrow = i64::from(difference < 0);
        }
        self.trim();
        true
    }

    fn into_decimal(mut self) -> Vec<u8> {
        let mut groups = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 1_000_000_000) as u32;
                rest = value % 1_000_000_000;
            }
            self.trim();
            groups.push(rest);
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        groups.iter().rev().for_each(|group| text.push_str(&format!("{group:09}")));
        text.into_bytes()
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let [a, b] = [a, b].map(|text| Extended::parse(text.as_bytes()));
        match (a?, b?) {
            (Parsed::Finite(a), Parsed::Finite(b)) => Some(String::from_utf8(a.add(b)?.format()).unwrap()),
            _ => None,
        }
    }

    /// What Redis 7.0, Redis 8.2 and Valkey 9.1 answer to SET a; INCRBYFLOAT b.
    #[test]
    fn sums_have_the_digits_that_redis_gives() {
        for (a, b, expected) in include!("extended_cases.in") {
            assert_eq!(sum(a, b).as_deref(), expected, "{a} + {b}");
        }
    }

    #[test]
    fn numbers_are_in_order() {
        let of = |text: &str| match Extended::parse(text.as_bytes()) {
            Some(Parsed::Finite(number)) => number,
            _ => panic!("{text} is a number"),
        };
        let (low, high) = (Extended::limit(true), Extended::limit(false));
        let rising =
            [low, of("-1e4000"), of("-2.5"), of("-2"), of("0"), of("1e-300"), of("1"), of("1.5"), high];
        assert!(rising.is_sorted_by(|a, b| a < b));
        assert!(of("0") == of("0") && of("-0").partial_cmp(&of("0")) == Some(Ordering::Equal));
        assert!(high.add(high).is_none());
        assert!(low < high);
        assert_eq!(-low, high);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e",
            "e5",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "1.2.3",
            "0x",
            "0x.",
            "0x1p",
            "nan",
            "-nan",
            "1,5",
            "--1",
            "1e5000",
            "-1e5000",
            "1e-5000",
            "1e99999999999999999999",
            "0x1p99999",
            "1_0",
            "infinit",
        ] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Extended::parse("0".repeat(TEXT_BYTES_MAX).as_bytes()), None);
        assert_eq!(Extended::parse(b"-Infinity"), Some(Parsed::Infinite));
    }

    proptest::proptest! {
        #[test]
        fn integers_add_exactly(a in -1i64 << 62..1 << 62, b in -1i64 << 62..1 << 62) {
            let sum = Extended::from(a).add(Extended::from(b)).unwrap();
            proptest::prop_assert_eq!(sum.format(), (a + b).to_string().into_bytes());
            let text = a.to_string();
            proptest::prop_assert_eq!(Extended::parse(text.as_bytes()), Some(Parsed::Finite(a.into())));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eEpPxXa-f]{0,24}") {
            if let Some(Parsed::Finite(number)) = Extended::parse(text.as_bytes()) {
                let printed = number.format();
                proptest::prop_assert!(Extended::parse(&printed).is_some());
            }
        }
    }
}
