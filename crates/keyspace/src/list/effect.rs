//! Changes of a list as the journal keeps them.
//!
//! ```text
//! change   kind u8 │ …
//!
//! 0 push at the front · 1 at the back         text…            one after the other
//! 2 pop at the front · 3 at the back          count v
//! 4 set                                       index v │ text
//! 5 insert before · 6 behind                  index v │ text
//! 7 remove from the front · 8 from the back   count v │ text   as many of the elements equal to it
//!
//! text     length v │ bytes
//! ```
//!
//! `v` is a varint. Reading checks everything: the bytes come from a file.

use super::{End, List};
use crate::collection::{Elements, Limits};
use crate::stream::varint;

const PUSH_FRONT: u8 = 0;
const PUSH_BACK: u8 = 1;
const POP_FRONT: u8 = 2;
const POP_BACK: u8 = 3;
const SET: u8 = 4;
const INSERT_BEFORE: u8 = 5;
const INSERT_BEHIND: u8 = 6;
const REMOVE_FRONT: u8 = 7;
const REMOVE_BACK: u8 = 8;

/// A change of one list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    Push { end: End, texts: Texts<'a> },
    Pop { end: End, count: u64 },
    Set { index: u64, text: &'a [u8] },
    Insert { pivot: u64, side: End, text: &'a [u8] },
    Remove { from: End, max: u64, text: &'a [u8] },
}

/// Texts that stand one after the other; those of a change that was read are well formed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a>(&'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (text, rest) = varint::read_bytes(self.0)?;
        self.0 = rest;
        Some(text)
    }
}

/// Appends the change that adds elements.
pub(super) fn write_push<'t>(out: &mut Vec<u8>, end: End, texts: impl Iterator<Item = &'t [u8]>) {
    out.push(if end == End::Front { PUSH_FRONT } else { PUSH_BACK });
    texts.for_each(|text| varint::write_bytes(out, text));
}

impl<'a> Change<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Change::Push { end, texts } => write_push(out, end, texts),
            Change::Pop { end, count } => {
                out.push(if end == End::Front { POP_FRONT } else { POP_BACK });
                varint::write(out, count);
            }
            Change::Set { index, text } => write_with(out, SET, index, text),
            Change::Insert { pivot, side, text } => {
                write_with(out, if side == End::Front { INSERT_BEFORE } else { INSERT_BEHIND }, pivot, text);
            }
            Change::Remove { from, max, text } => {
                write_with(out, if from == End::Front { REMOVE_FRONT } else { REMOVE_BACK }, max, text);
            }
        }
    }

    /// Reads what [`Change::write`] wrote; `None` if the bytes are not exactly that.
    pub(super) fn read(mut bytes: &'a [u8]) -> Option<Change<'a>> {
        let kind = *bytes.split_off_first()?;
        if kind <= PUSH_BACK {
            let mut texts = Texts(bytes);
            let is_some = texts.by_ref().count() > 0;
            let end = if kind == PUSH_FRONT { End::Front } else { End::Back };
            return (is_some && texts.0.is_empty()).then_some(Change::Push { end, texts: Texts(bytes) });
        }
        let (number, rest) = varint::read(bytes)?;
        if kind <= POP_BACK {
            let end = if kind == POP_FRONT { End::Front } else { End::Back };
            return rest.is_empty().then_some(Change::Pop { end, count: number });
        }
        let (text, rest) = varint::read_bytes(rest)?;
        let change = match kind {
            SET => Change::Set { index: number, text },
            INSERT_BEFORE => Change::Insert { pivot: number, side: End::Front, text },
            INSERT_BEHIND => Change::Insert { pivot: number, side: End::Back, text },
            REMOVE_FRONT => Change::Remove { from: End::Front, max: number, text },
            REMOVE_BACK => Change::Remove { from: End::Back, max: number, text },
            _ => return None,
        };
        rest.is_empty().then_some(change)
    }

    /// Makes the change. False: it doesn't fit the list.
    pub(super) fn apply(self, list: &mut List, limits: &Limits) -> bool {
        match self {
            Change::Push { end, texts } => {
                list.push(end, texts, limits);
                true
            }
            Change::Pop { end, count } => {
                let fits = (1..=list.view().len()).contains(&count);
                if fits {
                    list.cut(end, count, limits);
                }
                fits
            }
            Change::Set { index, text } => list.set(index, text, limits),
            Change::Insert { pivot, side, text } => list.insert(pivot, side, text, limits),
            Change::Remove { from, max, text } => list.remove(from, text, max, limits) > 0,
        }
    }
}

fn write_with(out: &mut Vec<u8>, kind: u8, number: u64, text: &[u8]) {
    out.push(kind);
    varint::write(out, number);
    varint::write_bytes(out, text);
}
