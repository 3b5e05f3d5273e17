//! A list: elements in an order that the client gives them.
//!
//! ```text
//! small   Packed                                  one allocation
//! large   edge │ tree of shared nodes │ edge      see large.rs
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `fill` | how much a node holds: `list-max-listpack-size` |
//! | `large`, `edge`, `tree`, `node` | lists of many nodes: open ends, shared middle |
//! | `edit`, `effect` | changes, made and noted; as the journal keeps them |
//! | `snapshot`, `rdb` | the whole, in a snapshot and as other servers exchange it |
//! | `model` | the same as a plain sequence, for tests |
//!
//! A list becomes large when what it holds would be more than one node, as Redis's listpack becomes a quicklist, and small
//! again once one node is left and that has shrunk to half of the limit.
//!
//! Cost: an end O(element); an index O(log nodes + node); by value O(elements).

use crate::collection::{Collection, Elements, Form, Limits};
use crate::listpack::{self, Element};
use crate::packed::{Packed, PackedRef};
use crate::value::{Value, ValueRef};

mod edge;
pub(crate) mod edit;
mod effect;
mod fill;
mod large;
#[cfg(test)]
mod model;
mod node;
mod rdb;
mod snapshot;
mod tree;

use effect::Change;
use fill::Fill;
use large::Large;

/// See the module.
#[derive(Debug, Clone)]
pub struct List(Form<Packed, Box<Large>>);

/// A list as it is read: a small one may lie in the record of its key.
#[derive(Debug, Clone, Copy)]
pub struct ListRef<'a>(Form<PackedRef<'a>, &'a Large>);

const _: () = assert!(size_of::<List>() == 16, "a value keeps one beside its tag");

/// An end of a list, or a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// LEFT.
    Front,
    /// RIGHT.
    Back,
}

impl End {
    pub(crate) fn other(self) -> End {
        match self {
            End::Front => End::Back,
            End::Back => End::Front,
        }
    }
}

impl<'a> ListRef<'a> {
    /// A small one whose elements are packed like this.
    #[inline]
    pub(crate) fn of_packed(packed: PackedRef<'a>) -> ListRef<'a> {
        ListRef(Form::Small(packed))
    }

    /// The same as a value of its own, which shares what is large.
    pub(crate) fn to_list(self) -> List {
        List(match self.0 {
            Form::Small(packed) => Form::Small(packed.to_packed()),
            Form::Large(large) => Form::Large(Box::new(large.clone())),
        })
    }

    /// All of a small one, in the bytes that a record holds.
    #[cfg(test)]
    pub(crate) fn packed(self) -> &'a [u8] {
        match self.0 {
            Form::Small(packed) => packed.bytes(),
            Form::Large(_) => &[],
        }
    }

    /// How many elements.
    #[inline]
    pub(crate) fn len(self) -> u64 {
        match self.0 {
            Form::Small(packed) => packed.len() as u64,
            Form::Large(large) => large.len(),
        }
    }

    /// Element `index`, from the front.
    pub(crate) fn get(self, index: u64) -> Option<Element<'a>> {
        match self.0 {
            Form::Small(packed) => node::get(packed.elements(), packed.len(), usize::try_from(index).ok()?),
            Form::Large(large) => large.get(index),
        }
    }

    /// Shows elements to `visit` until that says false: towards the back from element `from` on; or towards the front,
    /// beginning with the one just before `from`.
    #[inline]
    pub(crate) fn visit(self, from: u64, towards: End, mut visit: impl FnMut(Element<'_>) -> bool) {
        match self.0 {
            Form::Small(packed) => {
                let (elements, len) = (packed.elements(), packed.len());
                let _ = match towards {
                    End::Back => node::visit_back(elements, len, from, &mut visit),
                    End::Front => node::visit_front(elements, len, from, &mut visit),
                };
            }
            Form::Large(large) => large.visit(from, towards, &mut visit),
        }
    }
}

impl List {
    /// Adds elements at an end, one after the other.
    pub(crate) fn push<'t>(
        &mut self,
        end: End,
        texts: impl Iterator<Item = &'t [u8]> + Clone,
        limits: &Limits,
    ) {
        let fill = Fill::new(limits);
        self.make_room(texts.clone(), limits);
        match (&mut self.0, end) {
            (Form::Small(packed), End::Back) => packed.push_back(texts),
            (Form::Small(packed), End::Front) => texts.for_each(|text| packed.push_front([text])),
            (Form::Large(large), _) => texts.for_each(|text| large.push(end, text, fill)),
        }
    }

    /// Takes up to `count` elements from an end, shows each to `taken`, and returns how many there were.
    pub(crate) fn pop(
        &mut self,
        end: End,
        count: u64,
        limits: &Limits,
        mut taken: impl FnMut(Element<'_>),
    ) -> u64 {
        let count = count.min(self.view().len());
        match &mut self.0 {
            Form::Small(packed) => pop_small(packed, end, count as usize, taken),
            Form::Large(large) => {
                for _ in 0..count {
                    large.pop(end, &mut taken);
                }
                self.shrink(Fill::new(limits), true);
            }
        }
        count
    }

    /// Removes up to `count` elements from an end; what was large of them comes back, to be freed.
    pub(crate) fn cut(&mut self, end: End, count: u64, limits: &Limits) -> Option<List> {
        if count >= self.view().len() {
            return Some(std::mem::take(self));
        }
        match &mut self.0 {
            Form::Small(packed) => {
                pop_small(packed, end, count as usize, |_| {});
                None
            }
            Form::Large(large) => {
                let gone = large.cut(end, count);
                self.shrink(Fill::new(limits), true);
                gone
            }
        }
    }

    /// Puts `text` in the place of element `index`. False: there is no such element.
    pub(crate) fn set(&mut self, index: u64, text: &[u8], limits: &Limits) -> bool {
        let fill = Fill::new(limits);
        self.make_room(std::iter::once(text), limits);
        if index >= self.view().len() {
            return false;
        }
        match &mut self.0 {
            Form::Small(packed) => {
                if let Some(at) = packed.view().nth(index as i64) {
                    packed.splice(at, 1, [text]);
                }
            }
            Form::Large(large) => large.set(index, text, fill),
        }
        self.shrink(fill, true);
        true
    }

    /// Puts `text` before (`Front`) or behind (`Back`) element `pivot`. False: there is no such element.
    pub(crate) fn insert(&mut self, pivot: u64, side: End, text: &[u8], limits: &Limits) -> bool {
        if pivot >= self.view().len() {
            return false;
        }
        self.make_room(std::iter::once(text), limits);
        match &mut self.0 {
            Form::Small(packed) => {
                let place = if side == End::Front { pivot } else { pivot + 1 };
                match packed.view().nth(place as i64) {
                    Some(at) => drop(packed.splice(at, 0, [text])),
                    None => packed.push_back([text]),
                }
            }
            Form::Large(large) => large.insert(pivot, side, text, Fill::new(limits)),
        }
        true
    }

    /// Removes elements equal to `text`, at most `max` of them, from an end on; returns how many.
    pub(crate) fn remove(&mut self, from: End, text: &[u8], max: u64, limits: &Limits) -> u64 {
        let mut wanted = Vec::with_capacity(text.len() + 12);
        listpack::write_string(&mut wanted, text);
        match &mut self.0 {
            Form::Small(packed) => {
                if !node::contains(packed.elements(), &wanted) {
                    return 0;
                }
                let (left, removed) = node::without(packed, from, &wanted, max);
                *packed = left;
                removed
            }
            Form::Large(large) => {
                let removed = large.remove(from, &wanted, max);
                if removed > 0 {
                    self.shrink(Fill::new(limits), true);
                }
                removed
            }
        }
    }

    /// Becomes large if it can't hold these elements besides its own as a small one.
    pub(crate) fn make_room<'t>(&mut self, texts: impl Iterator<Item = &'t [u8]>, limits: &Limits) {
        let fill = Fill::new(limits);
        let Form::Small(packed) = &mut self.0 else { return };
        let (mut bytes, mut count) = (packed.elements().len(), packed.len());
        for text in texts {
            bytes += text.len();
            count += 1;
        }
        if fill.is_exceeded(bytes, count) {
            let node = Some(std::mem::take(packed)).filter(|node| !node.is_empty());
            self.0 = Form::Large(Box::new(Large::of_nodes(node)));
        }
    }

    /// Becomes small if it is one node that is within the limit, or within half of it where the list has shrunk.
    fn shrink(&mut self, fill: Fill, has_shrunk: bool) {
        let Form::Large(large) = &mut self.0 else { return };
        if large.len() == 0 {
            *self = List::default();
            return;
        }
        let Some((elements, len)) = large.only_node() else { return };
        if !fill.is_plain(elements, len) && fill.is_small(elements.len(), len, has_shrunk) {
            let packed = Packed::from_elements(elements, len).expect("a node is none too large");
            self.0 = Form::Small(packed);
        }
    }
}

/// Takes `count` elements, no more than there are, and shows each to `taken`.
fn pop_small(packed: &mut Packed, end: End, count: usize, mut taken: impl FnMut(Element<'_>)) {
    let place = match end {
        End::Front => {
            packed.view().iter().take(count).for_each(|(_, element)| taken(element));
            packed.view().nth(0)
        }
        End::Back => {
            let mut place = None;
            for (at, element) in packed.view().iter_back().take(count) {
                taken(element);
                place = Some(at);
            }
            place
        }
    };
    if let Some(place) = place {
        packed.remove(place, count);
    }
}

impl Default for List {
    fn default() -> List {
        List(Form::Small(Packed::default()))
    }
}

impl Collection for ListRef<'_> {
    fn tag(&self) -> u8 {
        List::TAG
    }

    fn type_name(&self) -> &'static str {
        "list"
    }

    fn encoding(&self) -> &'static str {
        match self.0 {
            Form::Small(_) => "listpack",
            Form::Large(_) => "quicklist",
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn heap_bytes(&self) -> usize {
        match self.0 {
            Form::Small(packed) => packed.bytes().len(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    fn write(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        snapshot::write(*self, out, pause);
    }

    fn write_rdb(&self, out: &mut Vec<u8>) -> u16 {
        rdb::write(*self, out)
    }
}

impl Elements for List {
    const TAG: u8 = 7;
    type View<'a> = ListRef<'a>;

    #[inline]
    fn view(&self) -> ListRef<'_> {
        ListRef(match &self.0 {
            Form::Small(packed) => Form::Small(packed.view()),
            Form::Large(large) => Form::Large(large),
        })
    }

    #[inline]
    fn seen(value: ValueRef<'_>) -> Option<ListRef<'_>> {
        match value {
            ValueRef::List(list) => Some(list),
            _ => None,
        }
    }

    #[inline]
    fn of_mut(value: &mut Value) -> Option<&mut List> {
        match value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    #[inline]
    fn packed(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Small(packed) => Some(packed.view().bytes()),
            Form::Large(_) => None,
        }
    }

    fn into_value(self) -> Value {
        Value::List(self)
    }

    fn apply(&mut self, change: &[u8], limits: &Limits) -> bool {
        Change::read(change).is_some_and(|change| change.apply(self, limits))
    }

    fn check(&self) {
        match &self.0 {
            Form::Small(packed) => packed.view().check(),
            Form::Large(large) => large.check(),
        }
        let mut count = 0;
        self.view().visit(0, End::Back, |_| {
            count += 1;
            true
        });
        assert_eq!(count, self.view().len());
    }
}
