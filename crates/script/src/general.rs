//! Numbers as C's `printf("%.14g")` writes them, which is how Lua and its JSON show a double.

/// Appends `value` with at most `precision` significant digits (1 to 17).
pub(crate) fn write(out: &mut Vec<u8>, value: f64, precision: usize) {
    if value.is_nan() {
        return out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX && precision >= 14 {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    let scientific = format!("{:.*e}", precision - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').expect("the notation has an exponent");
    let exponent: i32 = exponent.parse().expect("digits");
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(without_zeros(mantissa).as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    } else {
        let decimals = (precision as i32 - 1 - exponent) as usize;
        out.extend_from_slice(without_zeros(&format!("{value:.decimals$}")).as_bytes());
    }
}

/// Whole numbers below this have at most 14 digits.
const WHOLE_MAX: f64 = 1e14;

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written_as_printf_writes_them() {
        let rows: &[(f64, usize, &str)] = &[
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (1.0, 14, "1"),
            (-17.0, 14, "-17"),
            (0.1, 14, "0.1"),
            (0.1, 17, "0.10000000000000001"),
            (1.5, 14, "1.5"),
            (1e14, 14, "1e+14"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (1e15, 14, "1e+15"),
            (1e15, 17, "1000000000000000"),
            (123_456_789_012_345_678.0, 14, "1.2345678901235e+17"),
            (1e-5, 14, "1e-05"),
            (0.0001, 14, "0.0001"),
            (std::f64::consts::PI, 14, "3.1415926535898"),
            (1e300, 14, "1e+300"),
            (f64::INFINITY, 14, "inf"),
            (f64::NEG_INFINITY, 14, "-inf"),
            (2.5, 1, "2"),
            (12345.0, 3, "1.23e+04"),
        ];
        for &(value, precision, expected) in rows {
            let mut out = Vec::new();
            super::write(&mut out, value, precision);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{value:e} with {precision} digits");
        }
    }
}
