//! What one connection is subscribed to.
//!
//! ```text
//!   nothing        one null pointer
//!   something      ──► channels │ patterns │ sharded channels      each: none, one in place, to 8 in a row,
//!                                                                   above that a hash table
//! ```
//!
//! Names are shared with the index. A connection rarely holds more than a few, and may hold 100 000.
//!
//! Invariant: the box is there exactly while some set has a name.
//!
//! Cost: insert and remove amortised O(1).

use std::sync::Arc;

use crate::name::hash;
use crate::striped::StripedTable;

/// Up to here looking along the names beats hashing them.
const FEW_MAX: usize = 8;
/// Back only well below, so that churn around the border doesn't build the table anew each time.
const FEW_AGAIN: usize = 4;

/// What indexes hold for a name that nobody else subscribes to, beside its bytes: measured, with 100 000 names of one connection.
const CHANNEL_BYTES: usize = 160;
const PATTERN_BYTES: usize = 212;
/// How often indexes hold the bytes of a pattern: in the tries of a shard and of all shards, and in the directory.
const PATTERN_COPIES: usize = 3;

/// Which of a connection's three sets a name is in: what SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel, by its name.
    Channel,
    /// A glob over channel names.
    Pattern,
    /// A sharded channel, by its name.
    Sharded,
}

/// The names one connection is subscribed to.
#[derive(Debug, Default)]
pub struct Subscriptions(Option<Box<Sets>>);

#[derive(Debug, Default)]
struct Sets {
    /// By kind.
    names: [Names; 3],
    /// The sums of their lengths, by kind.
    name_bytes: [usize; 3],
}

impl Subscriptions {
    /// None, which owns no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name; `false` if it was there.
    pub fn insert(&mut self, kind: Kind, name: Arc<[u8]>) -> bool {
        let sets = self.0.get_or_insert_default();
        let len = name.len();
        let is_new = sets.names[kind as usize].insert(name);
        sets.name_bytes[kind as usize] += if is_new { len } else { 0 };
        is_new
    }

    /// Takes a name out and returns it, if it was there.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> Option<Arc<[u8]>> {
        let sets = self.0.as_mut()?;
        let removed = sets.names[kind as usize].remove(name);
        sets.name_bytes[kind as usize] -= removed.as_ref().map_or(0, |name| name.len());
        self.drop_if_empty();
        removed
    }

    /// How many names it holds, of all kinds.
    pub fn len_of_all(&self) -> usize {
        self.count() + self.len(Kind::Sharded)
    }

    /// Takes any name of this kind out: a connection that holds a million leaves them a few at a time.
    pub fn pop(&mut self, kind: Kind) -> Option<Arc<[u8]>> {
        let sets = self.0.as_mut()?;
        let popped = sets.names[kind as usize].pop();
        sets.name_bytes[kind as usize] -= popped.as_ref().map_or(0, |name| name.len());
        self.drop_if_empty();
        popped
    }

    /// Whether a name is there.
    pub fn contains(&self, kind: Kind, name: &[u8]) -> bool {
        self.names(kind).is_some_and(|names| names.contains(name))
    }

    /// How many names of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        self.names(kind).map_or(0, Names::len)
    }

    /// Bytes of the names of a kind.
    pub fn name_bytes(&self, kind: Kind) -> usize {
        self.0.as_ref().map_or(0, |sets| sets.name_bytes[kind as usize])
    }

    /// Whether there are none of any kind.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Channels and patterns together: the number in the confirmations of SUBSCRIBE and PSUBSCRIBE.
    ///
    /// Sharded channels are counted apart, by `len(Kind::Sharded)`.
    pub fn count(&self) -> usize {
        self.len(Kind::Channel) + self.len(Kind::Pattern)
    }

    /// The names of a kind, in no particular order.
    pub fn iter(&self, kind: Kind) -> impl Iterator<Item = &Arc<[u8]>> {
        self.names(kind).into_iter().flat_map(Names::iter)
    }

    /// Takes all names of a kind out, in no particular order. They are out whether or not the iterator is used up.
    pub fn drain(&mut self, kind: Kind) -> impl Iterator<Item = Arc<[u8]>> + use<> {
        let names = self.0.as_mut().map(|sets| {
            sets.name_bytes[kind as usize] = 0;
            std::mem::take(&mut sets.names[kind as usize])
        });
        self.drop_if_empty();
        names.unwrap_or_default().into_names()
    }

    /// Heap memory, without the names, which the index counts. Cost: O(1).
    pub fn heap_bytes(&self) -> usize {
        let sets = |sets: &Sets| size_of_val(sets) + sets.names.iter().map(Names::heap_bytes).sum::<usize>();
        self.0.as_deref().map_or(0, sets)
    }

    /// About what the indexes hold for these names, as if nobody else subscribed to them. Cost: O(1).
    pub fn indexed_bytes(&self) -> usize {
        let of_kinds = |sets: &Sets| {
            let [channels, patterns, sharded] = sets.names.each_ref().map(Names::len);
            let [channel_bytes, pattern_bytes, sharded_bytes] = sets.name_bytes;
            channel_bytes
                + sharded_bytes
                + pattern_bytes * PATTERN_COPIES
                + (channels + sharded) * CHANNEL_BYTES
                + patterns * PATTERN_BYTES
        };
        self.0.as_deref().map_or(0, of_kinds)
    }

    fn names(&self, kind: Kind) -> Option<&Names> {
        self.0.as_ref().map(|sets| &sets.names[kind as usize])
    }

    fn drop_if_empty(&mut self) {
        if self.0.as_ref().is_some_and(|sets| sets.names.iter().all(|names| names.len() == 0)) {
            self.0 = None;
        }
    }

    #[cfg(test)]
    fn check(&self) {
        assert!(self.0.as_ref().is_none_or(|sets| sets.names.iter().any(|names| names.len() > 0)));
        for (names, &bytes) in self.0.iter().flat_map(|sets| sets.names.iter().zip(&sets.name_bytes)) {
            assert_eq!(names.iter().map(|name| name.len()).sum::<usize>(), bytes);
            match names {
                Names::None | Names::One(_) => {}
                Names::Few(few) => assert!((2..=FEW_MAX).contains(&few.len())),
                Names::Many(many) => assert!(many.len() > FEW_AGAIN),
            }
        }
    }
}

/// A set of names.
#[derive(Debug, Default)]
enum Names {
    #[default]
    None,
    One(Arc<[u8]>),
    Few(Vec<Arc<[u8]>>),
    /// By the name's hash.
    Many(Box<Many>),
}

/// Names from this length on keep their hash: when a table grows, all in it would be hashed again.
const LONG_MIN: usize = 256;

/// Many names: most are short, and take 16 bytes each.
#[derive(Debug, Default)]
struct Many {
    short: StripedTable<Arc<[u8]>>,
    long: StripedTable<(u64, Arc<[u8]>)>,
}

impl Many {
    fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.short.iter().chain(self.long.iter().map(|(_, name)| name))
    }

    fn into_names(self) -> impl Iterator<Item = Arc<[u8]>> {
        self.short.into_items().chain(self.long.into_items().map(|(_, name)| name))
    }

    fn contains(&self, name: &[u8]) -> bool {
        let hash = hash(name);
        match name.len() < LONG_MIN {
            true => self.short.find(hash, |other| **other == *name).is_some(),
            false => self.long.find(hash, |(_, other)| **other == *name).is_some(),
        }
    }

    fn insert(&mut self, name: Arc<[u8]>) {
        let hashed = hash(&name);
        match name.len() < LONG_MIN {
            true => self.short.insert_unique(hashed, name, |other| hash(other)),
            false => self.long.insert_unique(hashed, (hashed, name), |(hash, _)| *hash),
        }
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<[u8]>> {
        let hashed = hash(name);
        if name.len() < LONG_MIN {
            return self.short.remove(hashed, |other| **other == *name, |other| hash(other));
        }
        let removed = self.long.remove(hashed, |(_, other)| **other == *name, |(hash, _)| *hash);
        removed.map(|(_, name)| name)
    }

    fn pop(&mut self) -> Option<Arc<[u8]>> {
        let short = self.short.pop(|other| hash(other));
        short.or_else(|| self.long.pop(|(hash, _)| *hash).map(|(_, name)| name))
    }

    fn heap_bytes(&self) -> usize {
        self.short.heap_bytes() + self.long.heap_bytes()
    }
}

impl Names {
    fn few(&self) -> &[Arc<[u8]>] {
        match self {
            Names::None | Names::Many(_) => &[],
            Names::One(name) => std::slice::from_ref(name),
            Names::Few(names) => names,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        let many = match self {
            Names::Many(names) => Some(names.iter()),
            _ => None,
        };
        self.few().iter().chain(many.into_iter().flatten())
    }

    fn into_names(self) -> impl Iterator<Item = Arc<[u8]>> {
        let (few, many) = match self {
            Names::None => (Vec::new(), None),
            Names::One(name) => (vec![name], None),
            Names::Few(names) => (names, None),
            Names::Many(names) => (Vec::new(), Some(names.into_names())),
        };
        few.into_iter().chain(many.into_iter().flatten())
    }

    fn len(&self) -> usize {
        match self {
            Names::Many(names) => names.len(),
            _ => self.few().len(),
        }
    }

    fn contains(&self, name: &[u8]) -> bool {
        match self {
            Names::Many(names) => names.contains(name),
            _ => self.few().iter().any(|other| **other == *name),
        }
    }

    fn insert(&mut self, name: Arc<[u8]>) -> bool {
        if self.contains(&name) {
            return false;
        }
        match self {
            Names::None => *self = Names::One(name),
            Names::One(first) => *self = Names::Few(vec![Arc::clone(first), name]),
            Names::Few(names) if names.len() < FEW_MAX => names.push(name),
            Names::Few(names) => {
                let mut many = Many::default();
                names.drain(..).chain([name]).for_each(|name| many.insert(name));
                *self = Names::Many(Box::new(many));
            }
            Names::Many(names) => names.insert(name),
        }
        true
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<[u8]>> {
        match self {
            Names::None => None,
            Names::One(only) => {
                let removed = (**only == *name).then(|| Arc::clone(only))?;
                *self = Names::None;
                Some(removed)
            }
            Names::Few(names) => {
                let at = names.iter().position(|other| **other == *name)?;
                let removed = names.swap_remove(at);
                if let [last] = &names[..] {
                    *self = Names::One(Arc::clone(last));
                }
                Some(removed)
            }
            Names::Many(names) => {
                let removed = names.remove(name)?;
                self.leave_table();
                Some(removed)
            }
        }
    }

    /// Takes any name out.
    fn pop(&mut self) -> Option<Arc<[u8]>> {
        if let Names::Many(names) = self {
            let popped = names.pop();
            self.leave_table();
            return popped;
        }
        let name = Arc::clone(self.few().last()?);
        self.remove(&name)
    }

    /// Goes back to a row once the table holds few names.
    fn leave_table(&mut self) {
        if let Names::Many(names) = self
            && names.len() <= FEW_AGAIN
        {
            *self = Names::Few(std::mem::take(&mut **names).into_names().collect());
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Names::None | Names::One(_) => 0,
            Names::Few(names) => names.capacity() * size_of::<Arc<[u8]>>(),
            Names::Many(names) => size_of_val(&**names) + names.heap_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_takes_a_pointer_and_no_heap() {
        assert_eq!(size_of::<Subscriptions>(), size_of::<usize>());
        let mut held = Subscriptions::new();
        assert_eq!(held.remove(Kind::Pattern, b"news"), None);
        assert_eq!(held.drain(Kind::Channel).count(), 0);
        assert_eq!(held.heap_bytes(), 0);
    }

    #[test]
    fn what_the_indexes_hold_is_counted_by_kind_and_length() {
        let mut held = Subscriptions::new();
        assert_eq!(held.indexed_bytes(), 0);
        held.insert(Kind::Channel, b"news".as_slice().into());
        held.insert(Kind::Sharded, b"n".as_slice().into());
        assert_eq!(held.indexed_bytes(), 5 + 2 * CHANNEL_BYTES);
        held.insert(Kind::Pattern, b"n*".as_slice().into());
        held.insert(Kind::Pattern, b"n*".as_slice().into());
        assert_eq!(held.indexed_bytes(), 5 + 2 * CHANNEL_BYTES + 2 * PATTERN_COPIES + PATTERN_BYTES);
        drop(held.drain(Kind::Channel));
        held.remove(Kind::Sharded, b"n");
        assert_eq!(held.indexed_bytes(), 2 * PATTERN_COPIES + PATTERN_BYTES);
        held.pop(Kind::Pattern);
        assert_eq!(held.indexed_bytes(), 0);
    }

    #[test]
    fn sharded_channels_are_not_in_the_count() {
        let mut held = Subscriptions::new();
        for kind in [Kind::Channel, Kind::Pattern, Kind::Sharded] {
            assert!(held.insert(kind, b"news".as_slice().into()));
        }
        assert_eq!((held.count(), held.len(Kind::Sharded)), (2, 1));
        assert_eq!(held.drain(Kind::Sharded).count(), 1);
        assert_eq!((held.count(), held.len(Kind::Sharded)), (2, 0));
    }

    #[test]
    fn a_hundred_thousand_channels_come_and_go_and_leave_nothing() {
        let mut held = Subscriptions::new();
        // Every hundredth is a long one.
        let name = |n: u32| {
            let width = if n.is_multiple_of(100) { 300 } else { 0 };
            Arc::<[u8]>::from(format!("{n:0width$}").as_bytes())
        };
        for n in 0..100_000 {
            assert!(held.insert(Kind::Channel, name(n)));
        }
        for n in 0..100_000 {
            assert!(held.remove(Kind::Channel, &name(n)).is_some());
        }
        assert!(held.is_empty());
        assert_eq!(held.heap_bytes(), 0);
    }

    proptest! {
        #[test]
        fn each_kind_is_a_set(steps in prop::collection::vec((0u8..10, 0usize..3, 0u8..20), 0..300)) {
            let mut held = Subscriptions::new();
            let mut model: [BTreeSet<Vec<u8>>; 3] = Default::default();
            for (step, kind, name) in steps {
                let (names, name) = (&mut model[kind], vec![name; 3]);
                let kind = [Kind::Channel, Kind::Pattern, Kind::Sharded][kind];
                match step {
                    9 => {
                        let popped = held.pop(kind).map(|name| name.to_vec());
                        prop_assert_eq!(popped.is_none(), names.is_empty());
                        prop_assert!(popped.is_none_or(|name| names.remove(&name)));
                    }
                    0 => {
                        let drained: BTreeSet<_> = held.drain(kind).map(|name| name.to_vec()).collect();
                        prop_assert_eq!(drained, std::mem::take(names));
                    }
                    1..4 => prop_assert_eq!(held.remove(kind, &name).is_some(), names.remove(&name)),
                    _ => prop_assert_eq!(held.insert(kind, name.as_slice().into()), names.insert(name.clone())),
                }
                held.check();
                prop_assert_eq!(held.iter(kind).map(|name| name.to_vec()).collect::<BTreeSet<_>>(), names.clone());
                prop_assert_eq!((held.len(kind), held.contains(kind, &name)), (names.len(), names.contains(&name)));
                prop_assert_eq!(held.count(), model[0].len() + model[1].len());
            }
        }
    }
}
