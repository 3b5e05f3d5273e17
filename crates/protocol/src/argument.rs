//! Numbers and words in arguments, read exactly as Redis reads them.

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
