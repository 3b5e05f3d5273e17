//! SORT and SORT_RO: the elements of a list, set or sorted set, in order of themselves or of other keys.
//!
//! 1. The elements are copied, in the order the value keeps them.
//! 2. Each gets its weight: itself, or what the key (or a hash's field) named by BY holds, its `*` replaced by the element.
//! 3. They are sorted, cut by LIMIT, and each is answered, or what the keys named by GET hold.
//!
//! Which keys those are is known only while it runs: every partition is locked. Where that takes long, it has all keys to itself, as
//! a transaction that goes on in slices ([`Error::NeedsAll`]), and goes on in steps. Source: Redis's `sort.c` for what happens to
//! equal weights (the elements decide), to missing ones (0, or before all others) and to a BY without `*` (no sorting).

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::vec::IntoIter;

use super::*;
use crate::apart::{APART_MIN, work_of_all};
use crate::collection::Elements;
use crate::list::{End, List};
use crate::long::HeldSteps;
use crate::set::At;
use crate::zset::Direction;
use sterna_command::{KeyUse, KeyUses};

pub(super) const SORT: Command<Run> = row(
    Spec {
        name: "sort",
        arity: -2,
        flags: Flags::WRITE
            .union(Flags::DENYOOM)
            .union(Flags::MOVABLE_KEYS)
            .union(Flags::ALL_KEYS)
            .union(Flags::READS_BY_PATTERN),
        keys: Keys::OneAndAfterWord { first: 1, words: &["STORE"], from: 2 },
        uses: KeyUses::FirstAndSecond(KeyUse::READS, KeyUse::OVERWRITES),
        acl: Categories::SET
            .union(Categories::SORTEDSET)
            .union(Categories::LIST)
            .union(Categories::DANGEROUS),
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N*log(N)) for N elements",
        summary: "Answers or stores the elements of a list, set or sorted set in order.",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
        reply: &[ReplyShape::Array, ReplyShape::Integer],
        tips: &[],
        ..Spec::PLAIN
    },
    |ctx, args, reply| sort(ctx, args, reply, true),
);

pub(super) const SORT_RO: Command<Run> = row(
    Spec {
        name: "sort_ro",
        flags: Flags::READONLY
            .union(Flags::MOVABLE_KEYS)
            .union(Flags::ALL_KEYS)
            .union(Flags::READS_BY_PATTERN),
        keys: Keys::at(1),
        uses: KeyUses::Each(KeyUse::READS),
        since: "7.0.0",
        summary: "Answers the elements of a list, set or sorted set in order.",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
        reply: &[ReplyShape::Array],
        ..SORT.spec
    },
    |ctx, args, reply| sort(ctx, args, reply, false),
);

/// What is asked for beside the key.
#[derive(Debug, Default)]
struct Options {
    by: Option<Box<[u8]>>,
    get: Vec<Box<[u8]>>,
    offset: i64,
    /// Negative: all.
    count: Option<i64>,
    descending: bool,
    alpha: bool,
    store: Option<Box<[u8]>>,
}

/// What an element is sorted by.
#[derive(Debug)]
enum Weight {
    Number(f64),
    /// Itself, or what BY found; nothing comes before anything.
    Text(Option<Vec<u8>>),
    Itself,
}

/// Elements looked at in one step: some 0.2 ms, if their keys are in no cache.
const STEP_ELEMENTS: usize = 512;

/// How much work it is to make a key of a pattern and to read it, which is in no cache.
const WORK_PER_LOOK_UP: usize = 4;

/// Elements that are sorted at once: some 0.5 ms.
const RUN_ELEMENTS: usize = 4096;

/// Bytes of what patterns find that are copied in one step, and together where nobody else is to be kept waiting.
const STEP_BYTES: usize = 256 << 10;
const WHOLE_BYTES: usize = 2 << 20;

fn sort(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, may_store: bool) -> Result<Outcome, Error> {
    let options = Options::parse(args, may_store)?;
    let (caller, names_keys) = (ctx.caller, options.names_keys());
    let work = ctx.again(&args[1]).map_or(0, |value| options.work(value));
    if !names_keys {
        if let Err(refused) = caller.check_work(work) {
            // What is run apart counts its reads on its copies.
            ctx.read(&args[1]);
            return Err(refused);
        }
    } else if caller.may_yield && caller.may_block && work >= APART_MIN {
        return Err(Error::NeedsAll);
    }
    let mut sorting = Sorting::begin(ctx, &args[1], options)?;
    if names_keys && caller.may_yield && !caller.may_block && work > STEP_ELEMENTS * WORK_PER_LOOK_UP {
        return Ok(Outcome::Held(Box::new(sorting)));
    }
    let start = reply.out.len();
    while sorting.step(ctx, reply)? {
        if names_keys && caller.may_yield && caller.may_block && sorting.found_bytes > WHOLE_BYTES {
            reply.out.truncate(start);
            return Err(Error::NeedsAll);
        }
    }
    Ok(Outcome::Replied)
}

/// A SORT on its way. Until the last step it changes nothing.
#[derive(Debug)]
struct Sorting {
    key: Box<[u8]>,
    options: Options,
    is_sorted: bool,
    stage: Stage,
    /// Bytes that patterns have found, and of elements that were copied once more.
    found_bytes: usize,
}

#[derive(Debug)]
enum Stage {
    /// Copies the elements, from an index or a place in a set on.
    Collect { from: usize, at: At, elements: Vec<Vec<u8>> },
    /// Finds what each is sorted by; those of a run are sorted when it is full.
    Weigh { elements: IntoIter<Vec<u8>>, run: Vec<Weighed>, runs: Vec<IntoIter<Weighed>> },
    /// Merges the runs.
    Merge { heads: BinaryHeap<Head>, runs: Vec<IntoIter<Weighed>>, elements: Vec<Vec<u8>> },
    /// Answers them, or puts them into a list; of the next one so many patterns have been.
    Give { elements: IntoIter<Vec<u8>>, given: usize, list: Option<List>, is_begun: bool },
}

impl Sorting {
    fn begin(ctx: &mut Ctx<'_>, key: &[u8], mut options: Options) -> Result<Sorting, Error> {
        let is_scripted = !ctx.caller.may_block && !ctx.caller.may_yield;
        let value = ctx.read(key);
        if value
            .is_some_and(|value| !matches!(value, ValueRef::Set(_) | ValueRef::List(_) | ValueRef::Zset(_)))
        {
            return Err(Error::WrongType);
        }
        let is_set = matches!(value, Some(ValueRef::Set(_)));
        let mut is_sorted = options.by.as_ref().is_none_or(|by| by.contains(&b'*'));
        if is_set && !is_sorted && (options.store.is_some() || is_scripted) {
            // What is stored, or read by a script, has an order.
            (is_sorted, options.alpha, options.by) = (true, true, None);
        }
        let stage = Stage::Collect { from: 0, at: At::default(), elements: Vec::new() };
        Ok(Sorting { key: key.into(), options, is_sorted, stage, found_bytes: 0 })
    }

    /// Goes on with copying the elements; true: there are more.
    fn collect(&self, ctx: &Ctx<'_>, from: &mut usize, at: &mut At, elements: &mut Vec<Vec<u8>>) -> bool {
        let (mut left, mut bytes) = (STEP_ELEMENTS, 0);
        let value = ctx.again(&self.key);
        match value {
            Some(ValueRef::Set(set)) => return set.visit_part(at, |member| elements.push(member.to_bytes())),
            Some(ValueRef::List(list)) => list.visit(*from as u64, End::Back, |element| {
                let element = element.to_bytes();
                (left, bytes) = (left - 1, bytes + element.len());
                elements.push(element);
                left > 0 && bytes < STEP_BYTES
            }),
            Some(ValueRef::Zset(zset)) => {
                let ranks = *from..zset.len().min(*from + STEP_ELEMENTS);
                zset.visit_while(ranks, Direction::Forward, &mut |member, _| {
                    elements.push(member.to_vec());
                    bytes += member.len();
                    bytes < STEP_BYTES
                });
            }
            _ => {}
        }
        *from = elements.len();
        let goes_on = *from < value.map_or(0, len);
        if !goes_on && self.options.descending && !self.is_sorted {
            elements.reverse();
        }
        goes_on
    }

    /// What an element is sorted by.
    fn weigh(&mut self, ctx: &mut Ctx<'_>, element: Vec<u8>) -> Result<Weighed, Error> {
        let Options { by, alpha, .. } = &self.options;
        let value = match by {
            None if *alpha => return Ok(Weighed { weight: Weight::Itself, element }),
            None => {
                self.found_bytes += element.len();
                Some(element.clone())
            }
            Some(pattern) => found(ctx, pattern, &element),
        };
        if *alpha {
            self.found_bytes += value.as_ref().map_or(0, Vec::len);
            return Ok(Weighed { weight: Weight::Text(value), element });
        }
        let number = value.map_or(Some(0.0), |text| number(&text));
        let weight = number.map(Weight::Number).ok_or(Error::WeightNotFloat)?;
        Ok(Weighed { weight, element })
    }

    /// How many values an element stands for in the answer.
    fn values_each(&self) -> usize {
        self.options.get.len().max(1)
    }

    /// Answers an element, or what one of the patterns finds for it.
    fn give(
        &mut self,
        ctx: &mut Ctx<'_>,
        (element, nth): (&[u8], usize),
        list: &mut Option<List>,
        reply: &mut Reply<'_>,
    ) {
        let found = self.options.get.get(nth).map(|pattern| found(ctx, pattern, element));
        let value = match &found {
            None => Some(element),
            Some(value) => value.as_deref(),
        };
        self.found_bytes += value.map_or(0, <[u8]>::len);
        match list {
            Some(list) => {
                let limits = ctx.limits(&self.key);
                list.push(End::Back, std::iter::once(value.unwrap_or_default()), &limits)
            }
            None => reply.bulk_or_null(value),
        };
    }

    /// Which of the elements LIMIT leaves.
    fn cut(&self, mut elements: Vec<Vec<u8>>) -> Stage {
        let answered = window(elements.len(), &self.options);
        elements.truncate(answered.end);
        let elements = match answered.start {
            0 => elements,
            start => elements.split_off(start),
        };
        let list = self.options.store.is_some().then(List::default);
        Stage::Give { elements: elements.into_iter(), given: 0, list, is_begun: false }
    }
}

impl HeldSteps for Sorting {
    fn step(&mut self, ctx: &mut Ctx<'_>, reply: &mut Reply<'_>) -> Result<bool, Error> {
        let nothing = Stage::Give { elements: Vec::new().into_iter(), given: 0, list: None, is_begun: true };
        let (bytes_max, mut left) = (self.found_bytes + STEP_BYTES, STEP_ELEMENTS);
        self.stage = match std::mem::replace(&mut self.stage, nothing) {
            Stage::Collect { mut from, mut at, mut elements } => {
                if self.collect(ctx, &mut from, &mut at, &mut elements) {
                    Stage::Collect { from, at, elements }
                } else if self.is_sorted {
                    Stage::Weigh { elements: elements.into_iter(), run: Vec::new(), runs: Vec::new() }
                } else {
                    self.cut(elements)
                }
            }
            Stage::Weigh { mut elements, mut run, mut runs } => {
                while left > 0
                    && self.found_bytes <= bytes_max
                    && let Some(element) = elements.next()
                {
                    run.push(self.weigh(ctx, element)?);
                    left -= 1;
                }
                let is_last = elements.len() == 0;
                if is_last || run.len() >= RUN_ELEMENTS {
                    run.sort_by(|one, other| one.compare(other, self.options.descending));
                    runs.push(std::mem::take(&mut run).into_iter());
                }
                match (is_last, runs.len()) {
                    (false, _) => Stage::Weigh { elements, run, runs },
                    (true, 1) => {
                        let run = runs.pop().unwrap_or_default();
                        self.cut(run.map(|weighed| weighed.element).collect())
                    }
                    (true, _) => {
                        let heads = (0..runs.len()).filter_map(|at| self.head(&mut runs, at)).collect();
                        Stage::Merge { heads, runs, elements: Vec::new() }
                    }
                }
            }
            Stage::Merge { mut heads, mut runs, mut elements } => {
                while left > 0
                    && let Some(Head { weighed, run, .. }) = heads.pop()
                {
                    elements.push(weighed.element);
                    heads.extend(self.head(&mut runs, run));
                    left -= 1;
                }
                if heads.is_empty() { self.cut(elements) } else { Stage::Merge { heads, runs, elements } }
            }
            Stage::Give { mut elements, mut given, mut list, is_begun } => {
                if !is_begun && list.is_none() {
                    reply.array(elements.len() * self.values_each());
                }
                while left > 0
                    && self.found_bytes <= bytes_max
                    && let Some(element) = elements.as_slice().first()
                {
                    self.give(ctx, (element, given), &mut list, reply);
                    (left, given) = (left - 1, given + 1);
                    if given == self.values_each() {
                        (given, _) = (0, elements.next());
                    }
                }
                if elements.len() == 0 {
                    if let (Some(list), Some(destination)) = (list, &self.options.store) {
                        store(ctx, destination, list, reply);
                    }
                    return Ok(false);
                }
                Stage::Give { elements, given, list, is_begun: true }
            }
        };
        Ok(true)
    }
}

impl Sorting {
    /// The first that is left of a run.
    fn head(&self, runs: &mut [IntoIter<Weighed>], run: usize) -> Option<Head> {
        let weighed = runs[run].next()?;
        Some(Head { weighed, run, descending: self.options.descending })
    }
}

/// Puts what was sorted in the place of what a key holds.
fn store(ctx: &mut Ctx<'_>, destination: &[u8], list: List, reply: &mut Reply<'_>) {
    let len = list.view().len();
    reply.int(len as i64);
    let mut slot = ctx.slot(destination);
    if len > 0 {
        slot.overwrite(Value::List(list), None, event::SORTSTORE);
        slot.count_changes(len - 1);
    } else {
        slot.delete(event::DEL);
    }
}

/// How many elements there are to sort.
fn len(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Set(set) => set.len(),
        ValueRef::List(list) => list.len() as usize,
        ValueRef::Zset(zset) => zset.len(),
        _ => 0,
    }
}

/// Which of `len` elements LIMIT leaves.
fn window(len: usize, options: &Options) -> std::ops::Range<usize> {
    let most = len as i64;
    let start = options.offset.clamp(0, most);
    let end = match options.count {
        Some(count) if count >= 0 => start.saturating_add(count).min(most),
        _ => most,
    };
    start as usize..end as usize
}

/// An element, and what it is sorted by.
#[derive(Debug)]
struct Weighed {
    weight: Weight,
    element: Vec<u8>,
}

impl Weighed {
    fn compare(&self, other: &Weighed, descending: bool) -> Ordering {
        let order = match (&self.weight, &other.weight) {
            (Weight::Number(one), Weight::Number(two)) => {
                // None is NaN.
                one.partial_cmp(two).unwrap_or(Ordering::Equal).then_with(|| self.element.cmp(&other.element))
            }
            (Weight::Text(one), Weight::Text(two)) => one.cmp(two),
            _ => self.element.cmp(&other.element),
        };
        if descending { order.reverse() } else { order }
    }
}

/// The first element of a run that has not been merged: the heap gives the one that comes first, of equals that of the first run.
#[derive(Debug)]
struct Head {
    weighed: Weighed,
    run: usize,
    descending: bool,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        let order = self.weighed.compare(&other.weighed, self.descending);
        order.then(self.run.cmp(&other.run)).reverse()
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// The number that decides an element's place; nothing is 0, and what is too large is infinite. It ends at a zero byte, as
/// in Redis.
fn number(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| !number.is_nan())
}

/// What the key holds that a pattern names, its first `*` replaced by the element; behind `->` stands a hash's field. `#` is
/// the element itself.
fn found(ctx: &mut Ctx<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|&byte| byte == b'*')?;
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = tail.windows(2).position(|pair| pair == b"->").filter(|&at| at + 2 < tail.len());
    let (tail, field) = arrow.map_or((tail, None), |at| (&tail[..at], Some(&tail[at + 2..])));
    let key = [head, element, tail].concat();
    let now_ms = ctx.now_ms;
    match (ctx.read(&key)?, field) {
        (ValueRef::Hash(hash), Some(field)) => match hash.is_due(field, now_ms) {
            false => Some(hash.get(field, now_ms)?.to_bytes()),
            true => {
                ctx.expire_parts(&key, |slot| slot.expire_fields_of([field].into_iter()));
                None
            }
        },
        (_, Some(_)) => None,
        (value, None) => Some(value.text()?.to_vec()),
    }
}

impl Options {
    /// How much work it is to copy and compare all elements, and to look for what patterns find for each.
    fn work(&self, value: ValueRef<'_>) -> usize {
        let elements = match value {
            ValueRef::Set(set) => work_of_all(&set, set.len()),
            ValueRef::List(list) => work_of_all(&list, list.len() as usize),
            ValueRef::Zset(zset) => work_of_all(&zset, zset.len()),
            _ => return 0,
        };
        let is_weighed = self.by.as_deref().is_some_and(|by| by.contains(&b'*'));
        let weighed = if is_weighed { len(value) } else { 0 };
        let found = window(len(value), self).len().saturating_mul(self.get.len());
        elements.saturating_add(weighed.saturating_add(found).saturating_mul(WORK_PER_LOOK_UP))
    }

    /// Whether elements are put into patterns, which name keys then.
    fn names_keys(&self) -> bool {
        let of_get = self.get.iter().filter(|pattern| ***pattern != *b"#");
        self.by.iter().chain(of_get).any(|pattern| pattern.contains(&b'*'))
    }

    fn parse(args: Args<'_>, may_store: bool) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 2;
        while let Some(word) = args.get(at) {
            match (args.get(at + 1), args.get(at + 2)) {
                _ if is(word, "asc") => options.descending = false,
                _ if is(word, "desc") => options.descending = true,
                _ if is(word, "alpha") => options.alpha = true,
                (Some(offset), Some(count)) if is(word, "limit") => {
                    options.offset = integer(offset).ok_or(Error::NotInteger)?;
                    options.count = Some(integer(count).ok_or(Error::NotInteger)?);
                    at += 2;
                }
                (Some(key), _) if may_store && is(word, "store") => {
                    options.store = Some(key.into());
                    at += 1;
                }
                (Some(pattern), _) if is(word, "by") => {
                    options.by = Some(pattern.into());
                    at += 1;
                }
                (Some(pattern), _) if is(word, "get") => {
                    options.get.push(pattern.into());
                    at += 1;
                }
                _ => return Err(Error::Syntax),
            }
            at += 1;
        }
        Ok(options)
    }
}
