//! Changes of a set, as effects keep them: which members came, and which went.
//!
//! ```text
//! change   kind u8 │ members: (length v, bytes)…
//! 1 added                     to a set that is still small, if the limits let it be
//! 2 added, large              the set is a hash table now, whatever the limits say
//! 3 removed
//! 4 only                      these are all that is left, in a set made anew (SPOP of nearly all)
//! ```

use crate::collection::{Edits, Elements, Limits};
use crate::compact::Draws;
use crate::set::{Set, SetRef};
use crate::stream::varint;

const ADDED: u8 = 1;
const ADDED_LARGE: u8 = 2;
const REMOVED: u8 = 3;
const ONLY: u8 = 4;

impl SetRef<'_> {
    /// Any `count` of the members, of which there are many more, as a set made anew: of integers only if this one is.
    pub(crate) fn sampled(self, count: usize, draws: &mut Draws, limits: &Limits) -> Set {
        let mut some = self.made_anew();
        while some.view().len() < count {
            let Some(member) = self.sample(draws.next()) else { break };
            some.insert_member(member, limits);
        }
        some
    }
}

impl Set {
    /// Adds members and notes those that are new; returns how many. The set takes the form that Redis gives it for as many as
    /// are named, new or not.
    pub(crate) fn add<'m>(
        &mut self,
        names: impl Iterator<Item = &'m [u8]> + Clone,
        count: usize,
        edits: &mut Edits<'_>,
    ) -> usize {
        if let Some(first) = names.clone().next() {
            self.make_room(first, count, edits.limits);
        }
        let limits = edits.limits;
        // One member is the usual case, and needs no list of those that are new.
        if count == 1 {
            let added = names.clone().filter(|name| self.insert(name, limits)).count();
            if added > 0 {
                self.note_added(names, edits, added);
            }
            return added;
        }
        let new: Vec<&[u8]> = names.filter(|name| self.insert(name, limits)).collect();
        if !new.is_empty() {
            self.note_added(new.iter().copied(), edits, new.len());
        }
        new.len()
    }

    fn note_added<'m>(&self, names: impl Iterator<Item = &'m [u8]>, edits: &mut Edits<'_>, count: usize) {
        let kind = if self.view().is_large() { ADDED_LARGE } else { ADDED };
        edits.record(count, |body| write(body, kind, names));
    }

    /// Removes members and notes those that were there; returns how many.
    pub(crate) fn discard<'m>(
        &mut self,
        names: impl Iterator<Item = &'m [u8]>,
        edits: &mut Edits<'_>,
    ) -> usize {
        let gone: Vec<&[u8]> = names.filter(|name| self.remove(name)).collect();
        if !gone.is_empty() {
            edits.record(gone.len(), |body| write(body, REMOVED, gone.iter().copied()));
        }
        gone.len()
    }

    /// Takes out any member and notes that; `None`: there is none. `random` has uniform bits.
    pub(crate) fn pop(&mut self, random: u64, edits: &mut Edits<'_>) -> Option<Vec<u8>> {
        let name = self.view().sample(random)?.to_bytes();
        self.remove(&name);
        edits.record(1, |body| write(body, REMOVED, std::iter::once(&name[..])));
        Some(name)
    }

    /// Takes out any `count` members, of which there are more, and notes that.
    pub(crate) fn pop_some(
        &mut self,
        count: usize,
        draws: &mut Draws,
        edits: &mut Edits<'_>,
    ) -> Vec<Vec<u8>> {
        let mut popped = Vec::with_capacity(count.min(self.view().len()));
        while popped.len() < count {
            let Some(member) = self.view().sample(draws.next()) else { break };
            let name = member.to_bytes();
            self.remove(&name);
            popped.push(name);
        }
        if !popped.is_empty() {
            edits.record(popped.len(), |body| write(body, REMOVED, popped.iter().map(Vec::as_slice)));
        }
        popped
    }

    /// Leaves only the members of `kept`, a subset, and notes that. Returns what was there.
    pub(crate) fn keep_only(&mut self, kept: Set, edits: &mut Edits<'_>) -> Set {
        edits.record(self.view().len() - kept.view().len(), |body| {
            body.push(ONLY);
            kept.view().for_each(|member| varint::write_bytes(body, &member.to_bytes()));
        });
        std::mem::replace(self, kept)
    }

    /// Applies a change. False, and nothing is changed: it is none.
    pub(super) fn apply_change(&mut self, mut change: &[u8], limits: &Limits) -> bool {
        let Some((&kind, members)) = change.split_first() else { return false };
        change = members;
        let mut names = Vec::new();
        while !change.is_empty() {
            let Some((name, rest)) = varint::read_bytes(change) else { return false };
            names.push(name);
            change = rest;
        }
        match kind {
            ADDED | ADDED_LARGE => {
                if kind == ADDED_LARGE {
                    self.enlarge();
                }
                names.iter().for_each(|name| {
                    self.insert(name, limits);
                });
            }
            REMOVED => names.iter().for_each(|name| {
                self.remove(name);
            }),
            ONLY => {
                *self = if names.is_empty() { Set::default() } else { self.view().made_anew() };
                names.iter().for_each(|name| {
                    self.insert(name, limits);
                });
            }
            _ => return false,
        }
        true
    }
}

fn write<'m>(body: &mut Vec<u8>, kind: u8, names: impl Iterator<Item = &'m [u8]>) {
    body.push(kind);
    names.for_each(|name| varint::write_bytes(body, name));
}
