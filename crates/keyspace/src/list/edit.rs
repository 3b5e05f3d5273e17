//! Changes of a list under a key: made, and noted for the journal.

use super::effect::{self, Change};
use super::{End, List};
use crate::collection::{Edits, Elements};
use crate::garbage::Garbage;
use crate::listpack::Element;
use crate::value::Value;

/// See [`List::push`].
#[inline]
pub(crate) fn push<'t>(
    list: &mut List,
    edits: &mut Edits<'_>,
    end: End,
    texts: impl ExactSizeIterator<Item = &'t [u8]> + Clone,
) {
    edits.record(texts.len(), |body| effect::write_push(body, end, texts.clone()));
    list.push(end, texts, edits.limits);
}

/// See [`List::pop`].
#[inline]
pub(crate) fn pop(
    list: &mut List,
    edits: &mut Edits<'_>,
    end: End,
    count: u64,
    taken: impl FnMut(Element<'_>),
) -> u64 {
    let popped = list.pop(end, count, edits.limits, taken);
    record_pop(edits, end, popped);
    popped
}

/// See [`List::cut`]; what is slow to free is handed over.
pub(crate) fn cut(list: &mut List, edits: &mut Edits<'_>, end: End, count: u64) {
    let count = count.min(list.view().len());
    let gone = list.cut(end, count, edits.limits);
    edits.log.discard(gone.and_then(|gone| Garbage::of_value(Value::List(gone))));
    record_pop(edits, end, count);
}

fn record_pop(edits: &mut Edits<'_>, end: End, count: u64) {
    if count > 0 {
        edits.record(count as usize, |body| Change::Pop { end, count }.write(body));
    }
}

/// See [`List::set`].
pub(crate) fn set(list: &mut List, edits: &mut Edits<'_>, index: u64, text: &[u8]) -> bool {
    let done = list.set(index, text, edits.limits);
    if done {
        edits.record(1, |body| Change::Set { index, text }.write(body));
    }
    done
}

/// See [`List::insert`].
pub(crate) fn insert(list: &mut List, edits: &mut Edits<'_>, pivot: u64, side: End, text: &[u8]) -> bool {
    let done = list.insert(pivot, side, text, edits.limits);
    if done {
        edits.record(1, |body| Change::Insert { pivot, side, text }.write(body));
    }
    done
}

/// See [`List::remove`].
pub(crate) fn remove(list: &mut List, edits: &mut Edits<'_>, from: End, text: &[u8], max: u64) -> u64 {
    let removed = list.remove(from, text, max, edits.limits);
    if removed > 0 {
        edits.record(removed as usize, |body| Change::Remove { from, max: removed, text }.write(body));
    }
    removed
}
