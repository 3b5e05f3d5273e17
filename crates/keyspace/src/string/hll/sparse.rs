//! Runs of registers that are alike.
//!
//! ```text
//! 00nnnnnn              zeros, 1 to 64
//! 01nnnnnn nnnnnnnn     zeros, 1 to 16 384
//! 1vvvvvnn              value 1 to 32, 1 to 4 times
//! ```
//!
//! Raising a register cuts its run into up to three; afterwards neighbours of one value around it are joined where they fit.
//! When runs are joined, and how far, decides the bytes, and they are Redis's: up to five runs from the one before the change
//! on, and never runs of zeros.

use super::{Damaged, REGISTERS};

const ZEROS_MAX: usize = 64;
const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
/// Runs that are looked at for joining.
const JOINED_WITHIN: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// 0: zeros.
    value: u8,
    len: usize,
    /// In bytes.
    code_len: usize,
}

/// Bytes that take the place of others.
#[derive(Debug)]
pub(super) struct Edit {
    at: usize,
    removed: usize,
    codes: Vec<u8>,
}

impl Edit {
    /// Changes `bytes`, in which the runs begin at `header`, and joins what can be.
    pub(super) fn apply(self, bytes: &mut Vec<u8>, header: usize) {
        let before = before(&bytes[header..], self.at);
        let at = header + self.at;
        bytes.splice(at..at + self.removed, self.codes);
        join(bytes, header + before);
    }
}

/// The run at the beginning; `None`: there is none, or not all of it.
fn first(codes: &[u8]) -> Option<Run> {
    let code = *codes.first()?;
    let low = usize::from(code & 0x3f);
    Some(match code >> 6 {
        0 => Run { value: 0, len: low + 1, code_len: 1 },
        1 => Run { value: 0, len: (low << 8 | usize::from(*codes.get(1)?)) + 1, code_len: 2 },
        _ => Run { value: (code >> 2 & 0x1f) + 1, len: usize::from(code & 3) + 1, code_len: 1 },
    })
}

/// Passes on where each run begins, how long it is, and its value.
pub(super) fn each_run(codes: &[u8], mut visit: impl FnMut(usize, usize, u8)) -> Result<(), Damaged> {
    let (mut rest, mut from) = (codes, 0);
    while !rest.is_empty() {
        let run = first(rest).filter(|run| from + run.len <= REGISTERS).ok_or(Damaged)?;
        visit(from, run.len, run.value);
        rest = &rest[run.code_len..];
        from += run.len;
    }
    if from == REGISTERS { Ok(()) } else { Err(Damaged) }
}

/// The runs as text.
pub(super) fn show(codes: &[u8]) -> Result<String, Damaged> {
    let (mut text, mut rest) = (String::new(), codes);
    while !rest.is_empty() {
        let run = first(rest).ok_or(Damaged)?;
        text += &match run {
            Run { value: 0, len, code_len: 1 } => format!("z:{len} "),
            Run { value: 0, len, .. } => format!("Z:{len} "),
            Run { value, len, .. } => format!("v:{value},{len} "),
        };
        rest = &rest[run.code_len..];
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Appends a run of zeros.
pub(super) fn write_zeros(out: &mut Vec<u8>, len: usize) {
    let len = len - 1;
    if len < ZEROS_MAX {
        out.push(len as u8);
    } else {
        out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]);
    }
}

fn write_values(out: &mut Vec<u8>, value: u8, len: usize) {
    out.push(0x80 | (value - 1) << 2 | (len - 1) as u8);
}

/// What raises a register that is below `value`; `None`: the value, or the runs, of which there may be `bytes_max`, would be
/// too large.
pub(super) fn set(codes: &[u8], index: usize, value: u8, bytes_max: usize) -> Result<Option<Edit>, Damaged> {
    if value > VALUE_MAX {
        return Ok(None);
    }
    let (mut at, mut from) = (0, 0);
    let run = loop {
        let run = first(&codes[at..]).ok_or(Damaged)?;
        if index < from + run.len {
            break run;
        }
        at += run.code_len;
        from += run.len;
    };
    let mut new = Vec::with_capacity(5);
    let around = |new: &mut Vec<u8>, len: usize| match (len, run.value) {
        (0, _) => {}
        (len, 0) => write_zeros(new, len),
        (len, value) => write_values(new, value, len),
    };
    around(&mut new, index - from);
    write_values(&mut new, value, 1);
    around(&mut new, from + run.len - 1 - index);
    let grows = new.len() > run.code_len;
    if grows && codes.len() + new.len() - run.code_len > bytes_max {
        return Ok(None);
    }
    Ok(Some(Edit { at, removed: run.code_len, codes: new }))
}

/// Where the run before the one at `at` begins; the one at `at` if it is the first.
fn before(codes: &[u8], at: usize) -> usize {
    let (mut before, mut here) = (0, 0);
    while here < at {
        before = here;
        here += first(&codes[here..]).map_or(1, |run| run.code_len);
    }
    before
}

/// Joins neighbours of one value from `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    let mut left = JOINED_WITHIN;
    while left > 0 {
        left -= 1;
        let Some(run) = bytes.get(at..).and_then(first) else { return };
        let next = bytes.get(at + run.code_len..).and_then(first);
        match next {
            Some(next) if run.value > 0 && next.value == run.value && run.len + next.len <= VALUE_RUN_MAX => {
                let mut joined = Vec::with_capacity(1);
                write_values(&mut joined, run.value, run.len + next.len);
                bytes.splice(at..at + 2, joined);
            }
            _ => at += run.code_len,
        }
    }
}
