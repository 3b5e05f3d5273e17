//! From registers to an estimate.

use super::{REGISTERS, RUN_BITS, Registers};

/// Limit of the constant of the original estimate for ever more registers: 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// How many different elements there were, about: the standard error is 0.81 %.
pub(super) fn cardinality(registers: &Registers) -> u64 {
    let mut counts = [0u32; 64];
    // A register has 6 bits.
    registers.iter().for_each(|&value| counts[usize::from(value & 63)] += 1);
    let of = |value: u32| f64::from(counts[value as usize]);
    let all = REGISTERS as f64;
    let mut sum = all * tau((all - of(RUN_BITS + 1)) / all);
    for value in (1..=RUN_BITS).rev() {
        sum = 0.5 * (sum + of(value));
    }
    sum += all * sigma(of(0) / all);
    (ALPHA * all * all / sum).round() as u64
}

/// What registers at their maximum add.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut scale, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        scale *= 0.5;
        let before = sum;
        sum -= (1.0 - x) * (1.0 - x) * scale;
        if before == sum {
            return sum / 3.0;
        }
    }
}

/// What registers at zero add.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut scale, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * scale;
        scale += scale;
        if before == sum {
            return sum;
        }
    }
}
