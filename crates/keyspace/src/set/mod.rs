//! Sets: different byte strings under a key, in no order.
//!
//! ```text
//! integers   sorted, of one width           up to `set-max-intset-entries`; OBJECT ENCODING says intset
//! packed     as they came, one allocation   up to `set-max-listpack-entries` of up to `-value` bytes; listpack
//! large      a hash table in segments       the rest; hashtable
//! ```
//!
//! A set becomes larger when Redis converts it, and never smaller, SPOP of nearly all apart. A copy of a large one shares its
//! segments (`compact/`), so that COPY, a snapshot and a reply of millions of members hold nobody up.
//!
//! Invariants (`check`): those of the form it has.
//!
//! Cost: one member O(1) in a large set, O(bytes) in a small one, which the limits bound.

use crate::collection::{Collection, Elements, Form, Limits};
use crate::compact::{NameTable, Segment};
use crate::listpack::{Element, canonical_int};
use crate::stride::Stride;
use crate::value::{Value, ValueRef};

mod among;
mod effect;
#[cfg(test)]
mod model;
mod rdb;
mod small;
mod snapshot;

pub(crate) use among::Among;
use small::{Small, SmallRef, View};

/// How far a set has been walked; the default is its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct At(usize);

/// A member, as it is kept.
pub(crate) type Member<'a> = Element<'a>;

/// See the module.
#[derive(Debug, Clone)]
pub struct Set(Form<Small, Box<NameTable>>);

/// A set as it is read: a small one may lie in the record of its key.
#[derive(Debug, Clone, Copy)]
pub struct SetRef<'a>(Form<SmallRef<'a>, &'a NameTable>);

const _: () = assert!(size_of::<Set>() == 16, "a value keeps one beside its tag");

impl Default for Set {
    fn default() -> Set {
        Set(Form::Small(Small::default()))
    }
}

impl<'a> SetRef<'a> {
    /// A small one of these bytes, which are [`Elements::packed`]'s.
    #[inline]
    pub(crate) fn of_packed(bytes: &'a [u8]) -> SetRef<'a> {
        SetRef(Form::Small(SmallRef::of_bytes(bytes)))
    }

    /// The same as a value of its own, which shares what is large.
    pub(crate) fn to_set(self) -> Set {
        Set(match self.0 {
            Form::Small(small) => Form::Small(small.to_small()),
            Form::Large(table) => Form::Large(Box::new(table.clone())),
        })
    }

    /// Whether both are of one key.
    pub(crate) fn is_same(self, other: SetRef<'_>) -> bool {
        match (self.0, other.0) {
            (Form::Small(one), Form::Small(other)) => std::ptr::eq(one.bytes(), other.bytes()),
            (Form::Large(one), Form::Large(other)) => std::ptr::eq(one, other),
            _ => false,
        }
    }

    /// How many members.
    pub(crate) fn len(self) -> usize {
        match self.0 {
            Form::Small(small) => small.len(),
            Form::Large(table) => table.len(),
        }
    }

    pub(crate) fn is_large(self) -> bool {
        self.large().is_some()
    }

    /// Where its members are looked up, if it is large.
    #[inline]
    pub(crate) fn large(self) -> Option<&'a NameTable> {
        match self.0 {
            Form::Large(table) => Some(table),
            Form::Small(_) => None,
        }
    }

    /// Whether all members are kept as integers.
    pub(crate) fn is_integers(self) -> bool {
        matches!(self.0, Form::Small(small) if matches!(small.view(), View::Ints(_)))
    }

    /// Whether this is a member.
    #[inline]
    pub(crate) fn contains(self, name: &[u8]) -> bool {
        match self.0 {
            Form::Small(small) => small.contains(name),
            Form::Large(table) => table.contains(name),
        }
    }

    /// [`Set::contains`] for a name whose hash is known.
    #[inline]
    pub(crate) fn contains_hashed(self, hash: u64, name: &[u8]) -> bool {
        match self.0 {
            Form::Small(small) => small.contains(name),
            Form::Large(table) => table.contains_hashed(hash, name),
        }
    }

    /// Whether this member of another set is one.
    #[inline]
    pub(crate) fn contains_member(self, member: Member<'_>) -> bool {
        match (self.0, member) {
            (Form::Small(small), Member::Int(number)) => match small.view() {
                View::Ints(ints) => ints.find(number).is_ok(),
                View::Packed(..) => small.contains(itoa::Buffer::new().format(number).as_bytes()),
            },
            (_, Member::Int(number)) => self.contains(itoa::Buffer::new().format(number).as_bytes()),
            (_, Member::Text(name)) => self.contains(name),
        }
    }

    /// Shows the members to `visit` until it returns false. Returns whether it never did.
    #[inline]
    pub(crate) fn visit(self, mut visit: impl FnMut(Member<'a>) -> bool) -> bool {
        match self.0 {
            Form::Small(small) => match small.view() {
                View::Ints(ints) => ints.iter().all(|number| visit(Member::Int(number))),
                View::Packed(_, mut elements) => std::iter::from_fn(|| small::read(&mut elements)).all(visit),
            },
            Form::Large(table) => table.iter().all(|name| visit(Member::Text(name))),
        }
    }

    /// Shows every member to `visit`.
    #[inline]
    pub(crate) fn for_each(self, mut visit: impl FnMut(Member<'a>)) {
        self.visit(|member| {
            visit(member);
            true
        });
    }

    /// Shows some members to `visit`, all of a small set, and moves `at` on; false: those were the last. For a set that does not
    /// change meanwhile.
    pub(crate) fn visit_part(self, at: &mut At, mut visit: impl FnMut(Member<'a>)) -> bool {
        let Form::Large(table) = self.0 else {
            self.for_each(visit);
            return false;
        };
        let segment = table.segment_at(&mut at.0);
        segment.into_iter().flat_map(Segment::iter).for_each(|name| visit(Member::Text(name)));
        segment.is_some()
    }

    /// Walks the members and shows them to `visit` until the stride is over; returns where to go on, `None` at the end. A small
    /// set is walked in one step.
    pub(crate) fn scan(
        self,
        from: u64,
        stride: &mut Stride<'_>,
        mut visit: impl FnMut(&mut Stride<'_>, Member<'a>),
    ) -> Option<u64> {
        match self.0 {
            Form::Small(_) => {
                self.for_each(|member| visit(stride, member));
                None
            }
            Form::Large(table) => table.scan(from, stride, |stride, name| visit(stride, Member::Text(name))),
        }
    }

    /// Any member; `None`: there is none. `random` has uniform bits.
    pub(crate) fn sample(self, random: u64) -> Option<Member<'a>> {
        match self.0 {
            Form::Small(small) => small.nth((random % small.len().max(1) as u64) as usize),
            Form::Large(table) => table.sample(random).map(Member::Text),
        }
    }

    /// An empty set for some of the members: of integers if this one is.
    pub(crate) fn made_anew(self) -> Set {
        let mut small = Small::default();
        if !self.is_integers() {
            small.begin_packed();
        }
        Set(Form::Small(small))
    }
}

impl Set {
    /// Adds a member; false: it is there already.
    #[inline]
    pub(crate) fn insert(&mut self, name: &[u8], limits: &Limits) -> bool {
        let small = match &mut self.0 {
            Form::Large(table) => return table.insert(name),
            Form::Small(small) => small,
        };
        if small.seen().contains(name) {
            return false;
        }
        let is_new = small.is_new();
        let fits = name.len() as u64 <= limits.set_value_bytes && small.seen().len() < packed_max(limits);
        match (small.seen().view(), canonical_int(name)) {
            (view, Some(number)) if is_new || matches!(view, View::Ints(_)) => {
                small.insert_int(number);
                if small.seen().len() as u64 > limits.set_integers {
                    self.enlarge();
                }
                return true;
            }
            (View::Packed(..), _) if fits => small.push(name),
            (View::Ints(ints), None) if fits => {
                // What Redis asks: whether the first or the last is longer than a packed member may be.
                let ends = [ints.at(0), ints.at(ints.len() - 1)];
                let digits = ends.map(|number| itoa::Buffer::new().format(number).len());
                if digits.iter().any(|&digits| digits as u64 > limits.set_value_bytes) {
                    self.enlarge();
                    return self.insert(name, limits);
                }
                small.pack();
                small.push(name);
            }
            _ => {
                self.enlarge();
                return self.insert(name, limits);
            }
        }
        true
    }

    /// Adds a member of another set; false: it is there already.
    pub(crate) fn insert_member(&mut self, member: Member<'_>, limits: &Limits) -> bool {
        match member {
            Member::Int(number) => self.insert(itoa::Buffer::new().format(number).as_bytes(), limits),
            Member::Text(name) => self.insert(name, limits),
        }
    }

    /// Removes a member; false: it is not there.
    #[inline]
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.0 {
            Form::Small(small) => small.remove(name),
            Form::Large(table) => table.remove(name),
        }
    }

    /// Removes a member of another set; false: it is not there.
    pub(crate) fn remove_member(&mut self, member: Member<'_>) -> bool {
        match member {
            Member::Int(number) => self.remove(itoa::Buffer::new().format(number).as_bytes()),
            Member::Text(name) => self.remove(name),
        }
    }

    /// Takes the form that `more` members need, of which `first` is the first: as Redis, which asks how many are named, not
    /// how many of them are new.
    pub(crate) fn make_room(&mut self, first: &[u8], more: usize, limits: &Limits) {
        let Form::Small(small) = &mut self.0 else { return };
        let more = more as u64;
        match small.seen().view() {
            View::Ints(_) if more <= limits.set_integers => {}
            View::Packed(0, _) if more <= limits.set_integers && canonical_int(first).is_some() => {}
            View::Packed(0, _) if more <= limits.set_entries => small.begin_packed(),
            View::Packed(..) if more <= limits.set_entries => {}
            _ => self.enlarge(),
        }
    }

    /// Becomes a hash table.
    pub(crate) fn enlarge(&mut self) {
        if self.view().is_large() {
            return;
        }
        let mut table = NameTable::default();
        self.view().for_each(|member| {
            match member {
                Member::Int(number) => table.insert(itoa::Buffer::new().format(number).as_bytes()),
                Member::Text(name) => table.insert(name),
            };
        });
        *self = Set(Form::Large(Box::new(table)));
    }

    /// Becomes integers, if it has only such and no more than there may be.
    pub(crate) fn make_integers(&mut self, limits: &Limits) {
        if self.view().is_integers() || self.view().len() as u64 > limits.set_integers {
            return;
        }
        let mut small = Small::default();
        let all = self.view().visit(|member| match member.as_int() {
            Some(number) => {
                small.insert_int(number);
                true
            }
            None => false,
        });
        if all {
            *self = Set(Form::Small(small));
        }
    }
}

/// Members that a packed set may have.
fn packed_max(limits: &Limits) -> usize {
    usize::try_from(limits.set_entries).unwrap_or(usize::MAX).min(small::PACKED_MAX)
}

impl Collection for SetRef<'_> {
    fn tag(&self) -> u8 {
        Set::TAG
    }

    fn type_name(&self) -> &'static str {
        "set"
    }

    fn encoding(&self) -> &'static str {
        match self.0 {
            Form::Small(small) => match small.view() {
                View::Ints(_) => "intset",
                View::Packed(..) => "listpack",
            },
            Form::Large(_) => "hashtable",
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn heap_bytes(&self) -> usize {
        match self.0 {
            Form::Small(small) => small.bytes().len(),
            Form::Large(table) => size_of::<NameTable>() + table.heap_bytes(),
        }
    }

    fn write(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        self.write_snapshot(out, pause);
    }

    fn write_rdb(&self, out: &mut Vec<u8>) -> u16 {
        self.write_payload(out)
    }
}

impl Elements for Set {
    const TAG: u8 = 9;
    type View<'a> = SetRef<'a>;

    #[inline]
    fn view(&self) -> SetRef<'_> {
        SetRef(match &self.0 {
            Form::Small(small) => Form::Small(small.seen()),
            Form::Large(table) => Form::Large(table),
        })
    }

    #[inline]
    fn seen(value: ValueRef<'_>) -> Option<SetRef<'_>> {
        match value {
            ValueRef::Set(set) => Some(set),
            _ => None,
        }
    }

    #[inline]
    fn of_mut(value: &mut Value) -> Option<&mut Set> {
        match value {
            Value::Set(set) => Some(set),
            _ => None,
        }
    }

    #[inline]
    fn packed(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Small(small) => Some(small.seen().bytes()),
            Form::Large(_) => None,
        }
    }

    fn into_value(self) -> Value {
        Value::Set(self)
    }

    fn apply(&mut self, change: &[u8], limits: &Limits) -> bool {
        self.apply_change(change, limits)
    }

    fn check(&self) {
        match &self.0 {
            Form::Small(small) => small.seen().check(),
            Form::Large(table) => table.check(),
        }
    }
}
