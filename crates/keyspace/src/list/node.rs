//! What is done to the elements of one node, which stand as in a listpack without its frame.
//!
//! Cost: O(bytes of the node), of which there are as many as `list-max-listpack-size` allows.

use std::sync::Arc;

use super::End;
use super::tree::Nodes;
use crate::listpack::{self, Element};
use crate::packed::Packed;

/// Where element `index` of `len` begins, found from the nearer end; the end of the bytes if there is none.
fn offset_of(elements: &[u8], len: usize, index: usize) -> usize {
    if index >= len {
        return elements.len();
    }
    if index <= len / 2 {
        let mut rest = elements;
        for _ in 0..index {
            listpack::read(&mut rest);
        }
        return elements.len() - rest.len();
    }
    let mut end = elements.len();
    for _ in index..len {
        end -= listpack::last_element_bytes(&elements[..end]).unwrap_or(0);
    }
    end
}

/// Element `index` of `len`.
pub(super) fn get(elements: &[u8], len: usize, index: usize) -> Option<Element<'_>> {
    if index >= len {
        return None;
    }
    listpack::read(&mut &elements[offset_of(elements, len, index)..])
}

/// Bytes of the listpack of these elements.
pub(super) fn listpack_bytes(elements: &[u8]) -> usize {
    elements.len() + listpack::FRAME_BYTES
}

/// Appends the listpack of these elements.
pub(super) fn write_listpack(elements: &[u8], len: usize, out: &mut Vec<u8>) {
    // A node's bound keeps both numbers in their fields.
    out.extend_from_slice(&(listpack_bytes(elements) as u32).to_le_bytes());
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(elements);
    out.push(listpack::END);
}

/// A node of one element.
pub(super) fn of_one(text: &[u8]) -> Packed {
    let mut node = Packed::default();
    node.push_back([text]);
    node
}

/// Shows the elements from `skipped` on to `visit` until that says false; returns whether it never did.
#[inline]
pub(super) fn visit_back(
    elements: &[u8],
    len: usize,
    skipped: u64,
    visit: &mut impl FnMut(Element<'_>) -> bool,
) -> bool {
    let mut rest = &elements[offset_of(elements, len, usize::try_from(skipped).unwrap_or(len))..];
    while let Some(element) = listpack::read(&mut rest) {
        if !visit(element) {
            return false;
        }
    }
    true
}

/// Shows the elements before `end` to `visit`, the last first, until that says false; returns whether it never did.
pub(super) fn visit_front(
    elements: &[u8],
    len: usize,
    end: u64,
    visit: &mut impl FnMut(Element<'_>) -> bool,
) -> bool {
    let mut rest = &elements[..offset_of(elements, len, usize::try_from(end).unwrap_or(len))];
    while let Some(bytes) = listpack::last_element_bytes(rest) {
        let (before, mut last) = rest.split_at(rest.len() - bytes);
        rest = before;
        if !listpack::read(&mut last).is_some_and(&mut *visit) {
            return false;
        }
    }
    true
}

/// The elements one by one as their bytes; equal elements have equal ones.
fn encoded(elements: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = elements;
    std::iter::from_fn(move || {
        let before = rest;
        listpack::read(&mut rest)?;
        Some(&before[..before.len() - rest.len()])
    })
}

/// Whether an element is encoded as `wanted`.
pub(super) fn contains(elements: &[u8], wanted: &[u8]) -> bool {
    encoded(elements).any(|element| element == wanted)
}

/// The node without the elements encoded as `wanted`, at most `max` of them, from an end on; and how many those were.
pub(super) fn without(node: &Packed, from: End, wanted: &[u8], max: u64) -> (Packed, u64) {
    let equal = encoded(node.elements()).filter(|element| *element == wanted).count() as u64;
    let removed = equal.min(max);
    // Of those that are equal, the first so many go, or all but the first so many.
    let gone = match from {
        End::Front => 0..removed,
        End::Back => equal - removed..equal,
    };
    let (mut left, mut nth) = (Vec::with_capacity(node.elements().len()), 0);
    for element in encoded(node.elements()) {
        let is_gone = element == wanted && {
            nth += 1;
            gone.contains(&(nth - 1))
        };
        if !is_gone {
            left.extend_from_slice(element);
        }
    }
    let left = Packed::from_elements(&left, node.len() - removed as usize);
    (left.expect("a part of a node is none too large"), removed)
}

/// The node with `text` before element `at`, which may be beyond the end.
pub(super) fn with(node: &mut Arc<Packed>, at: usize, text: &[u8]) -> Packed {
    let mut node = std::mem::take(Arc::make_mut(node));
    let place = i64::try_from(at).ok().and_then(|at| node.view().nth(at));
    match place {
        Some(place) => drop(node.splice(place, 0, [text])),
        None => node.push_back([text]),
    }
    node
}

/// Where what is added stands when a node is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// At the end of the first part.
    Left,
    /// Between them, a node of its own.
    Alone,
    /// At the beginning of the second part.
    Right,
}

/// The node's elements before `at`, and those from `at + removed` on, as nodes of their own, with `added` where it stands.
/// Empty ones are left out.
pub(super) fn split(node: &Packed, at: usize, removed: usize, added: Option<&[u8]>, stands: Stands) -> Nodes {
    let (elements, len) = (node.elements(), node.len());
    let (left, right) = (offset_of(elements, len, at), offset_of(elements, len, at + removed));
    let part =
        |bytes: &[u8], len| Packed::from_elements(bytes, len).expect("a part of a node is none too large");
    let mut left = part(&elements[..left], at);
    let mut right = part(&elements[right..], len - at - removed);
    let mut middle = Packed::default();
    if let Some(text) = added {
        match stands {
            Stands::Left => left.push_back([text]),
            Stands::Alone => middle.push_back([text]),
            Stands::Right => right.push_front([text]),
        }
    }
    [left, middle, right].into_iter().filter(|node| !node.is_empty()).collect()
}
