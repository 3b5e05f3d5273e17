//! What the look-up of an element in a large collection reads, known before it is looked up: whoever has several to look up has all
//! of it fetched into the caches together.
//!
//! A look-up is a chain: each place is known when the one before has been read, and where it is not in the caches it is waited for.
//! Chains of several elements don't depend on each other. So they are walked in step: each [`Ahead::step`] reads what the step before
//! named, and names what the next one reads. It is waited for once a step, and not once a step and element.
//!
//! ```text
//! hash, set     segment ─► group of its index ─► element
//! sorted set    the same ─► leaf of the member ─► where it stands there ─► its bytes
//!               the path of the score ─► leaf into which it would come ─► what it would move
//! ```
//!
//! Nothing is changed, and what is named is a guess: the wrong one costs time and nothing else.

use sterna_command::Sought;

use crate::compact::{NameTable, Names, Probe, Segments, hash_of};
use crate::fields::FieldSegment;
use crate::value::ValueRef;
use crate::zset;

/// A collection whose elements are looked up in a table.
#[derive(Debug, Clone, Copy)]
pub struct LargeRef<'a>(pub(crate) Large<'a>);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Large<'a> {
    Hash(&'a Segments<FieldSegment>),
    Set(&'a NameTable),
    Zset(&'a zset::Large),
}

/// Memory that is about to be read: where it begins, and how many bytes it is.
pub type Extent = (*const u8, usize);

/// The extent of a value.
#[inline]
pub(crate) fn extent<T: ?Sized>(value: &T) -> Extent {
    (std::ptr::from_ref(value).cast(), size_of_val(value))
}

/// The look-up of one element.
#[derive(Debug)]
pub struct Ahead<'a>(Chain<'a>);

#[derive(Debug)]
enum Chain<'a> {
    Hash(Probe<'a, FieldSegment>),
    Set(Probe<'a, Names>),
    Zset(zset::Ahead<'a>),
}

impl<'a> ValueRef<'a> {
    /// The collection, if it is one whose elements are looked up in a table, and takes so many bytes at least.
    #[inline]
    pub fn large(self, bytes_min: usize) -> Option<LargeRef<'a>> {
        let large = match self {
            ValueRef::Hash(hash) => Large::Hash(hash.large()?),
            ValueRef::Set(set) => Large::Set(set.large()?),
            ValueRef::Zset(zset) => Large::Zset(zset.large()?),
            _ => return None,
        };
        (self.heap_bytes() >= bytes_min).then_some(LargeRef(large))
    }
}

impl<'a> LargeRef<'a> {
    /// The look-up of an element, behind so many at the same end of a sorted set if it is sought there: those will be gone.
    pub fn look_up(self, sought: Sought<'_>, behind: usize) -> Option<Ahead<'a>> {
        Some(Ahead(match (self.0, sought) {
            (Large::Hash(table), Sought::Named(name, _)) => Chain::Hash(table.probe(hash_of(name))),
            (Large::Set(table), Sought::Named(name, _)) => Chain::Set(table.probe(hash_of(name))),
            (Large::Zset(large), Sought::Named(member, score)) => {
                Chain::Zset(large.look_up(member, score.and_then(zset::float::score)))
            }
            (Large::Zset(large), Sought::Lowest) => Chain::Zset(large.look_up_at(behind)?),
            (Large::Zset(large), Sought::Highest) => {
                Chain::Zset(large.look_up_at(large.len().checked_sub(behind + 1)?)?)
            }
            (Large::Hash(_) | Large::Set(_), Sought::Lowest | Sought::Highest) => return None,
        }))
    }
}

impl Ahead<'_> {
    /// Reads what the step before named, and names to `fetch` what the next one will read. False: there is no further one.
    #[inline]
    pub fn step(&mut self, fetch: &mut impl FnMut(Extent)) -> bool {
        match &mut self.0 {
            Chain::Hash(probe) => probe.step(fetch),
            Chain::Set(probe) => probe.step(fetch),
            Chain::Zset(ahead) => ahead.step(fetch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::{Elements, Limits};
    use crate::fields::Hash;
    use crate::listpack::Element;
    use crate::set::Set;
    use crate::value::Value;
    use crate::zset::{Direction, Zset};

    const LIMITS: Limits = Limits::DEFAULT;
    const ELEMENTS: usize = 20_000;

    fn name(nth: usize) -> String {
        format!("element:{nth:08}")
    }

    /// All that is named for a look-up.
    fn named(value: &Value, element: &str, score: Option<&str>) -> Vec<Extent> {
        let large = ValueRef::from(value).large(0).expect("it is large");
        let sought = Sought::Named(element.as_bytes(), score.map(str::as_bytes));
        extents_of(large.look_up(sought, 0).expect("it is sought by its name"))
    }

    fn extents_of(mut ahead: Ahead<'_>) -> Vec<Extent> {
        let (mut extents, mut steps) = (Vec::new(), 0);
        while ahead.step(&mut |extent| extents.push(extent)) {
            steps += 1;
            assert!(steps < 12, "it has an end");
        }
        extents
    }

    fn has(extents: &[Extent], bytes: &[u8]) -> bool {
        let at = bytes.as_ptr().addr();
        extents.iter().any(|(from, len)| (from.addr()..from.addr() + len).contains(&at))
    }

    /// Whether what is named for the look-up of an element holds the bytes of its name.
    fn is_found(value: &Value, bytes: &[u8]) -> bool {
        let element = String::from_utf8_lossy(bytes);
        has(&named(value, &element, None), bytes)
    }

    #[test]
    fn what_is_named_is_where_the_element_is_as_a_rule_and_ends_where_there_is_none() {
        let fields: Vec<[String; 2]> = (0..ELEMENTS).map(|nth| [name(nth), format!("value {nth}")]).collect();
        let fields = fields.iter().map(|[name, value]| (name.as_bytes(), value.as_bytes()));
        let (mut set, mut zset) = (Set::default(), Zset::default());
        for nth in 0..ELEMENTS {
            set.insert(name(nth).as_bytes(), &LIMITS);
            zset.set(name(nth).as_bytes(), (nth * 7_919 % ELEMENTS) as f64, &LIMITS);
        }
        for value in [Hash::of_distinct(fields, &LIMITS).into_value(), set.into_value(), zset.into_value()] {
            let (mut found, mut all) = (0, 0);
            let mut count = |bytes: &[u8]| {
                all += 1;
                found += usize::from(is_found(&value, bytes));
            };
            let mut count_element = |element: Element<'_>| match element {
                Element::Text(bytes) => count(bytes),
                Element::Int(_) => {}
            };
            match ValueRef::from(&value) {
                ValueRef::Hash(hash) => hash.fields(0).for_each(|field| count_element(field.name)),
                ValueRef::Set(set) => set.for_each(count_element),
                ValueRef::Zset(zset) => {
                    zset.visit(0..ELEMENTS, Direction::Forward, |member, _| count(member));
                }
                _ => {}
            }
            assert_eq!(all, ELEMENTS);
            assert!(found > ELEMENTS * 4 / 5, "{found} of {ELEMENTS}");
            named(&value, "nosuch", Some("5"));
        }
    }

    #[test]
    fn those_at_the_ends_of_a_sorted_set_are_those_that_are_there_when_the_ones_before_are_gone() {
        let mut zset = Zset::default();
        for nth in 0..ELEMENTS {
            zset.set(name(nth).as_bytes(), nth as f64, &LIMITS);
        }
        let value = zset.into_value();
        let large = ValueRef::from(&value).large(0).expect("it is large");
        for behind in 0..300 {
            for (sought, nth) in [(Sought::Lowest, behind), (Sought::Highest, ELEMENTS - 1 - behind)] {
                let at_end = extents_of(large.look_up(sought, behind).expect("there are more"));
                assert_eq!(at_end, named(&value, &name(nth), None), "{sought:?}, {behind}");
            }
        }
        assert!(large.look_up(Sought::Lowest, ELEMENTS).is_none());
        assert!(large.look_up(Sought::Highest, ELEMENTS).is_none());
    }

    #[test]
    fn the_leaf_into_which_a_score_would_come_is_named_too() {
        let mut zset = Zset::default();
        for nth in 0..ELEMENTS {
            zset.set(name(nth).as_bytes(), nth as f64, &LIMITS);
        }
        let value = zset.into_value();
        let ValueRef::Zset(zset) = ValueRef::from(&value) else { panic!("it is a sorted set") };
        let (mut found, ranks) = (0, (0..ELEMENTS).step_by(77));
        for rank in ranks.clone() {
            zset.visit(rank..rank + 1, Direction::Forward, |member, _| {
                // Members from there on would move; before the first of a leaf it is the leaf before.
                let score = (rank as f64 - 0.5).to_string();
                found += usize::from(has(&named(&value, "another", Some(&score)), member));
            });
        }
        assert!(found > ranks.len() * 4 / 5, "{found} of {}", ranks.len());
    }
}
