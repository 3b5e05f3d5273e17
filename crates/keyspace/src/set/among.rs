//! The members of a set by whether others have them, a segment at a time.
//!
//! All tables order their elements alike (`compact/`): what a segment of one has, another has mostly in one segment, too. So this
//! is found once for all members of a segment, and each name is hashed once, however many sets it is looked up in.

use super::{At, Form, Member, SetRef};
use crate::compact::{NameTable, Names, Segment, hash_of};

/// Which members of a set are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Among {
    /// Those that all of the others have.
    All,
    /// Those that none of the others has.
    None,
}

/// Where a name is looked up in another set.
enum Place<'a> {
    /// All that is there of the names in question is in this segment.
    Segment(&'a Names),
    Set(SetRef<'a>),
}

impl<'a> SetRef<'a> {
    /// Shows some members, all of a small set, by whether `others` have them, until `visit` returns false, and moves `at` on;
    /// false: those were the last, or as many as were wanted. For sets that do not change meanwhile.
    pub(crate) fn visit_part_among(
        self,
        at: &mut At,
        among: Among,
        others: &[SetRef<'_>],
        mut visit: impl FnMut(Member<'a>) -> bool,
    ) -> bool {
        let Form::Large(table) = self.0 else {
            let some_are_large = others.iter().any(|other| other.is_large());
            self.visit(|member| {
                let is_wanted = match member {
                    Member::Text(name) if some_are_large => {
                        let hash = hash_of(name);
                        among.wants(others, |other| other.contains_hashed(hash, name))
                    }
                    _ => among.wants(others, |other| other.contains_member(member)),
                };
                !is_wanted || visit(member)
            });
            return false;
        };
        let place = at.0;
        let Some(segment) = table.segment_at(&mut at.0) else { return false };
        if others.is_empty() {
            return segment.iter().all(|name| visit(Member::Text(name)));
        }
        let places: Vec<Place<'_>> = others.iter().map(|other| Place::of(*other, table, place)).collect();
        segment.hashed().all(|(hash, name)| {
            !among.wants(&places, |place| place.has(hash, name)) || visit(Member::Text(name))
        })
    }
}

impl Among {
    #[inline]
    fn wants<T>(self, others: &[T], has: impl Fn(&T) -> bool) -> bool {
        match self {
            Among::All => others.iter().all(has),
            Among::None => !others.iter().any(has),
        }
    }
}

impl<'a> Place<'a> {
    /// For the names of a table's segment.
    fn of(other: SetRef<'a>, table: &NameTable, place: usize) -> Place<'a> {
        let segment = other.large().and_then(|names| names.segment_like(table, place));
        segment.map_or(Place::Set(other), Place::Segment)
    }

    #[inline]
    fn has(&self, hash: u64, name: &[u8]) -> bool {
        match self {
            Place::Segment(names) => names.contains_hashed(hash, name),
            Place::Set(set) => set.contains_hashed(hash, name),
        }
    }
}
