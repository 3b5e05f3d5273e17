//! Numbers as C's `strtod` reads them, which takes more than JSON has.

/// `inf`, `nan`, `+1` and their like, which C's `strtod` reads.
pub(super) fn is_odd_number(rest: &[u8]) -> bool {
    let lower = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    lower(b"inf") || lower(b"nan") || rest[0] == b'+'
}

/// What `decode_invalid_numbers(false)` refuses: hexadecimal, infinities, leading zeros.
pub(super) fn is_invalid_number(rest: &[u8]) -> bool {
    let digits = rest.strip_prefix(b"-").unwrap_or(rest);
    match digits {
        [b'0', b'0'..=b'9' | b'x' | b'X', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => true,
    }
}

/// The number at the start of `rest`, as C's `strtod` reads it, and its length.
pub(super) fn number_prefix(rest: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let body = &rest[sign..];
    let negative = rest.first() == Some(&b'-');
    let signed = |number: f64| if negative { -number } else { number };
    let lower = |word: &[u8]| body.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if lower(b"infinity") {
        return Some((signed(f64::INFINITY), sign + 8));
    }
    if lower(b"inf") {
        return Some((signed(f64::INFINITY), sign + 3));
    }
    if lower(b"nan") {
        return Some((signed(f64::NAN), sign + 3 + nan_letters(&body[3..])));
    }
    if lower(b"0x")
        && let Some((value, len)) = hexadecimal(&body[2..])
    {
        return Some((signed(value), sign + 2 + len));
    }
    let whole = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut len = whole;
    let mut digits = whole;
    if body.get(len) == Some(&b'.') {
        let fraction = body[len + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits += fraction;
        len += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    if matches!(body.get(len), Some(b'e' | b'E')) {
        let signs = usize::from(matches!(body.get(len + 1), Some(b'-' | b'+')));
        let power = body[len + 1 + signs..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if power > 0 {
            len += 1 + signs + power;
        }
    }
    let text = std::str::from_utf8(&rest[..sign + len]).ok()?;
    Some((text.parse().ok()?, sign + len))
}

/// How long the letters in parentheses are that may stand behind `nan`.
fn nan_letters(rest: &[u8]) -> usize {
    let Some(letters) = rest.strip_prefix(b"(") else { return 0 };
    let len = letters.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_').count();
    if letters.get(len) == Some(&b')') { len + 2 } else { 0 }
}

/// The number that hexadecimal digits are, with a fraction and a power of two if they have them, and their length.
fn hexadecimal(digits: &[u8]) -> Option<(f64, usize)> {
    let (mut value, mut len, mut count, mut point) = (0.0, 0, 0, None);
    for &byte in digits {
        match (byte as char).to_digit(16) {
            Some(digit) => {
                value = value * 16.0 + f64::from(digit);
                count += 1;
            }
            None if byte == b'.' && point.is_none() => point = Some(len),
            None => break,
        }
        len += 1;
    }
    if count == 0 {
        return None;
    }
    let behind = point.map_or(0, |point| len - point - 1);
    let mut power = 0i32;
    if matches!(digits.get(len), Some(b'p' | b'P')) {
        let text = &digits[len + 1..];
        let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
        let more = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if more > 0 {
            let least = text[sign..sign + more].iter().fold(0i32, |power, &digit| {
                power.saturating_mul(10).saturating_add(i32::from(digit - b'0')).min(POWER_MAX)
            });
            power = if text[0] == b'-' { -least } else { least };
            len += 1 + sign + more;
        }
    }
    Some((value * 2f64.powi(power - 4 * behind as i32), len))
}

/// A power of two beyond which every number is infinite or 0, also one of many digits.
const POWER_MAX: i32 = 1 << 20;
