//! Scores as digits, which is how a listpack has them.

use crate::listpack::Element;

/// The score that an element stands for; `None`: it is no number.
#[inline]
pub(super) fn score_of(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Int(number) => Some(number as f64),
        Element::Text(text) => short_decimal(text)
            .or_else(|| std::str::from_utf8(text).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())),
    }
}

/// A number of at most fifteen digits with a point among them, which is what most scores are that are not whole: digits and
/// power of ten are exact as doubles, so one division rounds as reading them would.
///
/// Source: Clinger, *How to read floating point numbers accurately*, 1990.
#[inline]
fn short_decimal(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.len() > 16 {
        return None;
    }
    let (mut number, mut point) = (0u64, None);
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let behind = digits.len() - point? - 1;
    let score = number as f64 / POWERS[behind];
    (digits.len() > 1).then_some(if is_negative { -score } else { score })
}

/// The digits of a score, as Redis keeps them.
pub(in crate::zset) fn write_score(out: &mut Vec<u8>, score: f64) {
    sterna_protocol::write_double(out, if score == 0.0 { 0.0 } else { score });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_are_read_as_the_library_reads_them() {
        for text in
            ["0.5", "1.25", "-0.1", "123456789.123456", "0.000001", "1.", ".5", "-0.0", "9999999.99999999"]
        {
            let read = short_decimal(text.as_bytes()).expect(text);
            assert_eq!(read.to_bits(), text.parse::<f64>().expect(text).to_bits(), "{text}");
        }
        for text in ["", ".", "-", "-.", "12", "1e5", "1.2.3", "inf", "nan", "0x1", "123456789.12345678"] {
            assert_eq!(short_decimal(text.as_bytes()), None, "{text}");
        }
    }
}
