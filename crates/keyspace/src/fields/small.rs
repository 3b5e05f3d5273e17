//! A small hash as it is read: packed in an allocation of its own, or bare in the record of its key (`packed.rs`).

use super::Field;
use crate::listpack::Element;
use crate::packed::{self, BareRef, Packed, PackedRef};
use crate::value::NEVER;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) enum SmallRef<'a> {
    Packed(PackedRef<'a>),
    Bare(BareRef<'a>),
}

impl<'a> SmallRef<'a> {
    /// The same in an allocation of its own.
    pub(super) fn to_packed(self) -> Packed {
        match self {
            SmallRef::Packed(packed) => packed.to_packed(),
            SmallRef::Bare(bare) => bare.to_packed(),
        }
    }

    /// How many fields.
    pub(super) fn len(self) -> usize {
        match self {
            SmallRef::Packed(packed) => packed.len() / 2,
            SmallRef::Bare(bare) => bare.len() / 2,
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(self) -> usize {
        match self {
            SmallRef::Packed(packed) => packed.bytes().len(),
            SmallRef::Bare(bare) => bare.bytes().len(),
        }
    }

    /// The field of this name.
    #[inline]
    pub(super) fn find(self, name: &[u8]) -> Option<Field<'a>> {
        match self {
            SmallRef::Packed(packed) => field_of(&mut packed.iter_from(packed.find(name, 2)?)),
            SmallRef::Bare(bare) => field_of(&mut bare.iter_from(bare.find(name, 2)?)),
        }
    }

    /// Its fields, in order.
    pub(super) fn iter(self) -> Fields<'a> {
        match self {
            SmallRef::Packed(packed) => Fields::Packed(packed.iter()),
            SmallRef::Bare(bare) => Fields::Bare(bare.iter()),
        }
    }

    /// Appends it as a listpack.
    pub(super) fn write_listpack(self, out: &mut Vec<u8>) {
        match self {
            SmallRef::Packed(packed) => packed.write_listpack(out),
            SmallRef::Bare(bare) => bare.to_packed().view().write_listpack(out),
        }
    }
}

/// See [`SmallRef::iter`].
#[derive(Debug, Clone)]
pub(super) enum Fields<'a> {
    Packed(packed::Iter<'a>),
    Bare(packed::Iter<'a, false>),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Fields::Packed(elements) => field_of(elements),
            Fields::Bare(elements) => field_of(elements),
        }
    }
}

/// The field that the next two elements are.
#[inline]
fn field_of<'a>(elements: &mut impl Iterator<Item = (packed::At, Element<'a>)>) -> Option<Field<'a>> {
    let ((_, name), (_, value)) = (elements.next()?, elements.next()?);
    Some(Field { name, value, expire_at_ms: NEVER })
}
