//! The children of a trie node that has several, found by the first symbol on the way to each.
//!
//! ```text
//!   literals   up to 16   keys [a e k …]  ids [ 7 3 9 … ]     above   table[256] of ids
//!   any        the child behind `?`
//!   star       the child behind `*`
//!   classes    (set, child) ordered by set: all whose set holds the channel's byte are followed
//! ```
//!
//! Cost: a literal is found in O(1). Following a byte costs O(1 + classes): a node with many different classes on
//! it is scanned, at a nanosecond or two each; finding the one of a given set takes O(log classes).

use crate::byteset::ByteSet;
use crate::pattern::Symbol;
use crate::trie::arena::Id;

/// Literal children beyond which the table pays: its 1 KiB are then at most 61 bytes a child.
const FEW_MAX: usize = 16;
/// Back from the table only well below, so that churn around the border doesn't rebuild it each time.
const FEW_AGAIN: usize = 12;

pub(crate) struct Fan<N> {
    literals: Literals<N>,
    any: Option<Id<N>>,
    pub(crate) star: Option<Id<N>>,
    /// Ordered by set, no set twice.
    classes: Vec<(ByteSet, Id<N>)>,
}

enum Literals<N> {
    /// `keys[..len]` and `ids[..len]` belong together, in no order.
    Few {
        len: u8,
        keys: [u8; FEW_MAX],
        ids: [Option<Id<N>>; FEW_MAX],
    },
    Table {
        len: u16,
        ids: Box<[Option<Id<N>>; 256]>,
    },
}

impl<N> Default for Fan<N> {
    fn default() -> Self {
        let literals = Literals::Few { len: 0, keys: [0; FEW_MAX], ids: [None; FEW_MAX] };
        Fan { literals, any: None, star: None, classes: Vec::new() }
    }
}

impl<N> Fan<N> {
    pub(crate) fn len(&self) -> usize {
        let literals = match &self.literals {
            Literals::Few { len, .. } => usize::from(*len),
            Literals::Table { len, .. } => usize::from(*len),
        };
        literals + usize::from(self.any.is_some()) + usize::from(self.star.is_some()) + self.classes.len()
    }

    #[inline]
    pub(crate) fn literal(&self, byte: u8) -> Option<Id<N>> {
        match &self.literals {
            Literals::Few { len, keys, ids } => {
                let at = place_of(keys, byte)?;
                if at < usize::from(*len) { ids[at] } else { None }
            }
            Literals::Table { ids, .. } => ids[usize::from(byte)],
        }
    }

    /// Whether any child is behind `?` or a class.
    #[inline]
    pub(crate) fn has_wild(&self) -> bool {
        self.any.is_some() || !self.classes.is_empty()
    }

    /// The children behind `?`, and behind classes that take `byte`.
    #[inline]
    pub(crate) fn wild(&self, byte: u8) -> impl Iterator<Item = Id<N>> {
        let takes = move |(set, _): &&(ByteSet, Id<N>)| set.contains(byte);
        self.any.into_iter().chain(self.classes.iter().filter(takes).map(|(_, id)| *id))
    }

    /// How many different classes lead to children.
    #[inline]
    pub(crate) fn classes_len(&self) -> usize {
        self.classes.len()
    }

    pub(crate) fn find(&self, symbol: &Symbol) -> Option<Id<N>> {
        match symbol {
            Symbol::Byte(byte) => self.literal(*byte),
            Symbol::Any => self.any,
            Symbol::Star => self.star,
            Symbol::Class(set) => self.class_at(set).ok().map(|at| self.classes[at].1),
        }
    }

    /// Puts `child` behind `symbol`, in the place of the one that is there, if any.
    pub(crate) fn set(&mut self, symbol: &Symbol, child: Id<N>) {
        match symbol {
            Symbol::Byte(byte) => self.literals.set(*byte, child),
            Symbol::Any => self.any = Some(child),
            Symbol::Star => self.star = Some(child),
            Symbol::Class(set) => match self.class_at(set) {
                Ok(at) => self.classes[at].1 = child,
                Err(at) => self.classes.insert(at, (*set, child)),
            },
        }
    }

    pub(crate) fn unset(&mut self, symbol: &Symbol) {
        match symbol {
            Symbol::Byte(byte) => self.literals.unset(*byte),
            Symbol::Any => self.any = None,
            Symbol::Star => self.star = None,
            Symbol::Class(set) => {
                if let Ok(at) = self.class_at(set) {
                    self.classes.remove(at);
                }
                if self.classes.len() < self.classes.capacity() / 4 {
                    self.classes.shrink_to(self.classes.len() * 2);
                }
            }
        }
    }

    /// The children, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Id<N>> {
        let literals = match &self.literals {
            Literals::Few { len, ids, .. } => &ids[..usize::from(*len)],
            Literals::Table { ids, .. } => &ids[..],
        };
        let classes = self.classes.iter().map(|(_, id)| *id);
        literals.iter().flatten().copied().chain(self.any).chain(self.star).chain(classes)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let table = match &self.literals {
            Literals::Few { .. } => 0,
            Literals::Table { ids, .. } => size_of_val(&**ids),
        };
        table + self.classes.capacity() * size_of::<(ByteSet, Id<N>)>()
    }

    fn class_at(&self, set: &ByteSet) -> Result<usize, usize> {
        self.classes.binary_search_by(|(other, _)| other.cmp(set))
    }
}

/// The first place of a byte among the keys, sixteen at once: in a word whose bytes are 0 where the byte is, subtracting one from each
/// byte sets the lowest of these bits first.
#[inline]
fn place_of(keys: &[u8; FEW_MAX], byte: u8) -> Option<usize> {
    const ONES: u128 = u128::from_ne_bytes([1; FEW_MAX]);
    const HIGHS: u128 = ONES << 7;
    let differs = u128::from_le_bytes(*keys) ^ u128::from_ne_bytes([byte; FEW_MAX]);
    let found = differs.wrapping_sub(ONES) & !differs & HIGHS;
    (found != 0).then_some(found.trailing_zeros() as usize / 8)
}

impl<N> Literals<N> {
    fn set(&mut self, byte: u8, child: Id<N>) {
        match self {
            Literals::Few { len, keys, ids } => {
                let used = usize::from(*len);
                let at = keys[..used].iter().position(|key| *key == byte).unwrap_or(used);
                if at == FEW_MAX {
                    self.spread();
                    return self.set(byte, child);
                }
                (keys[at], ids[at]) = (byte, Some(child));
                *len = (*len).max(at as u8 + 1);
            }
            Literals::Table { len, ids } => {
                *len += u16::from(ids[usize::from(byte)].is_none());
                ids[usize::from(byte)] = Some(child);
            }
        }
    }

    fn unset(&mut self, byte: u8) {
        match self {
            Literals::Few { len, keys, ids } => {
                let Some(at) = keys[..usize::from(*len)].iter().position(|key| *key == byte) else { return };
                *len -= 1;
                let last = usize::from(*len);
                (keys[at], ids[at]) = (keys[last], ids[last]);
            }
            Literals::Table { len, ids } => {
                *len -= u16::from(ids[usize::from(byte)].take().is_some());
                if usize::from(*len) <= FEW_AGAIN {
                    self.gather();
                }
            }
        }
    }

    fn spread(&mut self) {
        let Literals::Few { len, keys, ids } = self else { return };
        let mut table = Box::new([None; 256]);
        for (key, id) in keys.iter().zip(ids.iter()).take(usize::from(*len)) {
            table[usize::from(*key)] = *id;
        }
        *self = Literals::Table { len: u16::from(*len), ids: table };
    }

    fn gather(&mut self) {
        let Literals::Table { ids: table, .. } = self else { return };
        let (mut len, mut keys, mut ids) = (0u8, [0; FEW_MAX], [None; FEW_MAX]);
        for (byte, id) in (u8::MIN..=u8::MAX).zip(table.iter()).filter(|(_, id)| id.is_some()) {
            (keys[usize::from(len)], ids[usize::from(len)]) = (byte, *id);
            len += 1;
        }
        *self = Literals::Few { len, keys, ids };
    }
}
