//! Sorted sets: members with scores, in order of score and then of bytes.
//!
//! | part | idea |
//! |---|---|
//! | `small` | rows in one allocation, up to `zset-max-listpack-entries` and `zset-max-listpack-value` |
//! | `large`, `tree`, `leaf`, `shelf` | a counted tree that holds the elements, and a table from members to leaves |
//! | `bounds` | ranges of scores and of members, as ranks |
//! | `effect`, `snapshot`, `rdb` | changes, the whole value, and Redis's form of it |
//! | `float` | numbers in arguments |
//!
//! Whatever a command asks for (by score, by member, the last ten) becomes a range of ranks first, and everything else goes
//! by ranks: reading, removing, popping.
//!
//! A large set doesn't become small again, as in Redis.

use std::ops::Range;

use crate::collection::{Collection, Elements, Form, Limits};
use crate::packed::ELEMENTS_MAX;
use crate::stride::Stride;
use crate::value::{Value, ValueRef};

mod bounds;
pub(crate) mod effect;
pub(crate) mod float;
mod large;
mod leaf;
mod rdb;
mod shelf;
mod small;
mod snapshot;
mod tree;

#[cfg(test)]
mod model;

pub(crate) use bounds::{Direction, Lex, LexRange, ScoreRange};
pub(crate) use large::{Ahead, Large};
use leaf::Key;
pub(crate) use small::Digits;
use small::{Small, SmallRef};

/// See the module.
#[derive(Debug, Clone)]
pub struct Zset(Form<Small, Box<Large>>);

/// A sorted set as it is read: a small one may lie in the record of its key.
#[derive(Debug, Clone, Copy)]
pub struct ZsetRef<'a>(Form<SmallRef<'a>, &'a Large>);

impl Default for Zset {
    fn default() -> Zset {
        Zset(Form::Small(Small::default()))
    }
}

impl<'a> ZsetRef<'a> {
    /// A small one that is in these bytes, as [`Elements::packed`] says them.
    #[inline]
    pub(crate) fn of_packed(bytes: &'a [u8]) -> ZsetRef<'a> {
        ZsetRef(Form::Small(SmallRef::of_bytes(bytes)))
    }

    /// The same as a value of its own, which shares what is large.
    pub(crate) fn to_zset(self) -> Zset {
        Zset(match self.0 {
            Form::Small(small) => Form::Small(small.to_small()),
            Form::Large(large) => Form::Large(Box::new(large.clone())),
        })
    }

    /// How many elements.
    pub(crate) fn len(self) -> usize {
        match self.0 {
            Form::Small(small) => small.rows().len(),
            Form::Large(large) => large.len(),
        }
    }

    /// Where its members are looked up, if it is large.
    #[inline]
    pub(crate) fn large(self) -> Option<&'a Large> {
        match self.0 {
            Form::Large(large) => Some(large),
            Form::Small(_) => None,
        }
    }

    /// The score of a member.
    #[inline]
    pub(crate) fn score(self, member: &[u8]) -> Option<f64> {
        match self.0 {
            Form::Small(small) => {
                let rows = small.rows();
                Some(rows.score(rows.find(member)?))
            }
            Form::Large(large) => large.score(member),
        }
    }

    /// Rank and score of a member.
    pub(crate) fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        match self.0 {
            Form::Small(small) => {
                let rows = small.rows();
                let rank = rows.find(member)?;
                Some((rank, rows.score(rank)))
            }
            Form::Large(large) => large.rank(member),
        }
    }

    /// Shows the elements of these ranks, until `visit` has had enough.
    pub(crate) fn visit_while(
        self,
        ranks: Range<usize>,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], f64) -> bool,
    ) {
        let mut digits = Digits::default();
        match (self.0, direction) {
            (Form::Small(small), Direction::Forward) => {
                small.rows().items(ranks).all(|(member, score)| visit(digits.bytes(member), score));
            }
            (Form::Small(small), Direction::Backward) => {
                small.rows().items_back(ranks).all(|(member, score)| visit(digits.bytes(member), score));
            }
            (Form::Large(large), Direction::Forward) => large.tree().visit(ranks, visit),
            (Form::Large(large), Direction::Backward) => large.tree().visit_back(ranks, visit),
        }
    }

    /// Shows the elements of these ranks.
    pub(crate) fn visit(self, ranks: Range<usize>, direction: Direction, mut visit: impl FnMut(&[u8], f64)) {
        self.visit_while(ranks, direction, &mut |member, score| {
            visit(member, score);
            true
        });
    }

    /// Shows the members of these ranks, without their scores.
    pub(crate) fn visit_members(
        self,
        ranks: Range<usize>,
        direction: Direction,
        mut visit: impl FnMut(&[u8]),
    ) {
        match (self.0, direction) {
            (Form::Small(small), Direction::Forward) => {
                let mut digits = Digits::default();
                small.rows().members(ranks).for_each(|member| visit(digits.bytes(member)));
            }
            _ => self.visit(ranks, direction, |member, _| visit(member)),
        }
    }

    /// Shows all elements in order.
    pub(crate) fn visit_all(self, visit: impl FnMut(&[u8], f64)) {
        self.visit(0..self.len(), Direction::Forward, visit);
    }

    /// Shows elements in the order of a walk from `from` on until the stride is over; returns where to go on, `None` at the end. A
    /// small set is shown whole.
    pub(crate) fn scan(
        self,
        from: u64,
        stride: &mut Stride<'_>,
        mut visit: impl FnMut(&mut Stride<'_>, &[u8], f64),
    ) -> Option<u64> {
        match self.0 {
            Form::Small(_) => {
                self.visit_all(|member, score| visit(stride, member, score));
                None
            }
            Form::Large(large) => large.scan(from, stride, visit),
        }
    }

    /// How many elements are before a place.
    fn rank_of(self, key: Key<'_>) -> usize {
        if key.score == f64::INFINITY && key.edge == leaf::Edge::Most {
            return self.len();
        }
        match self.0 {
            Form::Small(small) => small.rows().rank_of(key),
            Form::Large(large) => large.tree().rank_of(key),
        }
    }

    /// What `read` makes of the element of a rank; `None`: there is none.
    fn at<R>(self, rank: usize, read: impl FnOnce(&[u8], f64) -> R) -> Option<R> {
        let (mut read, mut result) = (Some(read), None);
        self.visit_while(rank..self.len().min(rank + 1), Direction::Forward, &mut |member, score| {
            result = read.take().map(|read| read(member, score));
            false
        });
        result
    }

    /// Appends a score as ZSCAN shows it: of a small set as it is kept, otherwise with 17 digits, as Redis does.
    pub(crate) fn write_scanned_score(self, out: &mut Vec<u8>, score: f64) {
        match self.0 {
            Form::Small(_) => small::write_score(out, score),
            Form::Large(_) => float::write_17_digits(out, score),
        }
    }
}

impl Zset {
    /// Adds a member, or gives it another score; returns the score that it had. `score` is not NaN.
    pub(crate) fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        let decided: Result<_, std::convert::Infallible> = self
            .update(member, Some(score), limits, |old| Ok(Some(score).filter(|&score| old != Some(score))));
        let Ok(old) = decided;
        old
    }

    /// Gives a member the score that `decide` makes of the one it has, if it makes one; returns the one it had. On an error
    /// nothing is changed. What `decide` makes is neither NaN nor what was; if it is `likely`, which is only a guess, it takes less time.
    pub(crate) fn update<E>(
        &mut self,
        member: &[u8],
        likely: Option<f64>,
        limits: &Limits,
        decide: impl FnOnce(Option<f64>) -> Result<Option<f64>, E>,
    ) -> Result<Option<f64>, E> {
        let small = match &mut self.0 {
            Form::Large(large) => return large.update(member, likely, decide),
            Form::Small(small) => small,
        };
        let rows = small.rows();
        let found = rows.find(member);
        let old = found.map(|rank| rows.score(rank));
        let Some(score) = decide(old)? else { return Ok(old) };
        match found {
            Some(rank) => small.change(rank, member, score),
            None if fits(small, member, limits) => small.insert(member, score),
            None => drop(self.enlarge().set(member, score)),
        }
        Ok(old)
    }

    /// Takes the form that so many elements need, true if that is another: as Redis, which asks how many are named, not how
    /// many of them are new.
    pub(crate) fn make_room(&mut self, named: usize, limits: &Limits) -> bool {
        let grows = named as u64 > limits.zset_entries && matches!(self.0, Form::Small(_));
        if grows {
            self.enlarge();
        }
        grows
    }

    /// Removes a member; returns the score that it had.
    pub(crate) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Small(small) => {
                let rows = small.rows();
                let rank = rows.find(member)?;
                let score = rows.score(rank);
                small.remove(rank..rank + 1);
                Some(score)
            }
            Form::Large(large) => large.remove(member),
        }
    }

    /// Removes the elements of these ranks, which are there, and shows them in order.
    pub(crate) fn remove_ranks(&mut self, ranks: Range<usize>, visit: &mut dyn FnMut(&[u8], f64)) {
        match &mut self.0 {
            Form::Small(small) => {
                let mut digits = Digits::default();
                for (member, score) in small.rows().items(ranks.clone()) {
                    visit(digits.bytes(member), score);
                }
                small.remove(ranks);
            }
            Form::Large(large) => large.remove_ranks(ranks, visit),
        }
    }

    /// Elements in the order of a sorted set.
    pub(crate) fn in_order(mut elements: Vec<(f64, Box<[u8]>)>) -> Vec<(f64, Box<[u8]>)> {
        elements.sort_unstable_by(|a, b| leaf::order(a.0, b.0).then_with(|| a.1.cmp(&b.1)));
        elements
    }

    /// A set of these elements, which are in order and of which no member is there twice.
    pub(crate) fn of_elements(elements: &[(f64, Box<[u8]>)], limits: &Limits) -> Zset {
        let is_small = elements.len() as u64 <= limits.zset_entries
            && elements.iter().all(|(_, member)| member.len() as u64 <= limits.zset_value_bytes);
        let mut zset = if is_small { Zset::default() } else { Zset(Form::Large(Box::default())) };
        for (score, member) in elements {
            zset.set(member, *score, limits);
        }
        zset
    }

    /// Becomes large.
    fn enlarge(&mut self) -> &mut Large {
        let mut large = Large::default();
        self.view().visit_all(|member, score| {
            large.set(member, score);
        });
        self.0 = Form::Large(Box::new(large));
        match &mut self.0 {
            Form::Large(large) => large,
            Form::Small(_) => unreachable!("it has just been made large"),
        }
    }
}

/// Whether a member that is not there can be added without making the set large.
fn fits(small: &Small, member: &[u8], limits: &Limits) -> bool {
    let len = small.rows().len() + 1;
    len as u64 <= limits.zset_entries
        && member.len() as u64 <= limits.zset_value_bytes
        && 2 * len <= ELEMENTS_MAX
        && small.view().bytes().len() + member.len() <= SMALL_BYTES_MAX
}

/// Bytes of a small set, whatever the limits say: what is found by walking it stays small.
const SMALL_BYTES_MAX: usize = 1 << 20;

impl Collection for ZsetRef<'_> {
    fn tag(&self) -> u8 {
        Zset::TAG
    }

    fn type_name(&self) -> &'static str {
        "zset"
    }

    fn encoding(&self) -> &'static str {
        match self.0 {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn heap_bytes(&self) -> usize {
        match self.0 {
            Form::Small(small) => small.bytes().len(),
            Form::Large(large) => size_of::<Large>() + large.heap_bytes(),
        }
    }

    fn write(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        snapshot::write(*self, out, pause);
    }

    fn write_rdb(&self, out: &mut Vec<u8>) -> u16 {
        rdb::write(*self, out)
    }
}

impl Elements for Zset {
    const TAG: u8 = 10;
    type View<'a> = ZsetRef<'a>;

    #[inline]
    fn view(&self) -> ZsetRef<'_> {
        ZsetRef(match &self.0 {
            Form::Small(small) => Form::Small(small.view()),
            Form::Large(large) => Form::Large(large),
        })
    }

    #[inline]
    fn seen(value: ValueRef<'_>) -> Option<ZsetRef<'_>> {
        match value {
            ValueRef::Zset(zset) => Some(zset),
            _ => None,
        }
    }

    #[inline]
    fn of_mut(value: &mut Value) -> Option<&mut Zset> {
        match value {
            Value::Zset(zset) => Some(zset),
            _ => None,
        }
    }

    #[inline]
    fn packed(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Small(small) => Some(small.view().bytes()),
            Form::Large(_) => None,
        }
    }

    fn into_value(self) -> Value {
        Value::Zset(self)
    }

    fn apply(&mut self, change: &[u8], limits: &Limits) -> bool {
        effect::apply(self, change, limits)
    }

    fn check(&self) {
        match &self.0 {
            Form::Small(small) => small.rows().check(),
            Form::Large(large) => large.check(),
        }
    }
}

/// Reads what [`Collection::write`] wrote.
pub(crate) fn read(from: &[u8]) -> Option<Value> {
    snapshot::read(from).map(Value::Zset)
}

/// Reads a sorted set from Redis's database file; `None`: the type is no sorted set's, or it is damaged.
pub(crate) fn read_rdb(kind: u8, from: &mut &[u8], limits: &Limits) -> Option<Value> {
    rdb::read(kind, from, limits).map(Value::Zset)
}
