//! SORT and SORT_RO: the elements of a list, set or sorted set, in order of themselves or of other keys.
//!
//! 1. The elements are copied, in the order the value keeps them.
//! 2. Each gets its weight: itself, or what the key (or a hash's field) named by BY holds, its `*` replaced by the element.
//! 3. They are sorted, cut by LIMIT, and each is answered, or what the keys named by GET hold.
//!
//! Which keys those are is known only while it runs: every partition is locked. Source: Redis's `sort.c` for what happens to
//! equal weights (the elements decide), to missing ones (0, or before all others) and to a BY without `*` (no sorting).

use std::cmp::Ordering;

use super::*;
use crate::collection::Elements;
use crate::list::{End, List};
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

#[derive(Debug, Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    offset: i64,
    /// Negative: all.
    count: Option<i64>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

/// What an element is sorted by.
#[derive(Debug)]
enum Weight {
    Number(f64),
    /// Itself, or what BY found; nothing comes before anything.
    Text(Option<Vec<u8>>),
    Itself,
}

fn sort(ctx: &mut Ctx<'_>, args: Args<'_>, reply: &mut Reply<'_>, may_store: bool) -> Result<Outcome, Error> {
    let mut options = Options::parse(args, may_store)?;
    let value = ctx.read(&args[1]);
    let is_set = matches!(value, Some(ValueRef::Set(_)));
    let mut is_sorted = options.by.is_none_or(|by| by.contains(&b'*'));
    if is_set && !is_sorted && (options.store.is_some() || !ctx.caller.may_block) {
        // What is stored, or read by a script, has an order.
        (is_sorted, options.alpha, options.by) = (true, true, None);
    }
    let caller = ctx.caller;
    let value = ctx.again(&args[1]);
    if !options.names_keys() {
        // What patterns name are keys that only the whole keyspace has.
        caller.check_work(value.map_or(0, len))?;
    }
    let elements = value.map_or(Ok(Vec::new()), |value| elements(value, options.descending && !is_sorted))?;
    let elements = if is_sorted { sorted(ctx, elements, &options)? } else { elements };
    let answered = window(elements.len(), &options);
    match options.store {
        None => {
            reply.array(answered.len() * options.get.len().max(1));
            for element in &elements[answered] {
                if options.get.is_empty() {
                    reply.bulk(element);
                }
                for pattern in &options.get {
                    reply.bulk_or_null(found(ctx, pattern, element).as_deref());
                }
            }
        }
        Some(destination) => {
            let limits = ctx.limits(&args[1]);
            let mut list = List::default();
            for element in &elements[answered] {
                if options.get.is_empty() {
                    list.push(End::Back, std::iter::once(&element[..]), &limits);
                }
                for pattern in &options.get {
                    let value = found(ctx, pattern, element).unwrap_or_default();
                    list.push(End::Back, std::iter::once(&value[..]), &limits);
                }
            }
            reply.int(list.view().len() as i64);
            let mut slot = ctx.slot(destination);
            if list.view().len() > 0 {
                slot.overwrite(Value::List(list), None, event::SORTSTORE);
            } else {
                slot.delete(event::DEL);
            }
        }
    }
    Ok(Outcome::Replied)
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

/// The elements in the order the value keeps them, or from its other end.
fn elements(value: ValueRef<'_>, backward: bool) -> Result<Vec<Vec<u8>>, Error> {
    let mut all = Vec::new();
    match value {
        ValueRef::Set(set) => set.for_each(|member| all.push(member.to_bytes())),
        ValueRef::List(list) => list.visit(0, End::Back, |element| {
            all.push(element.to_bytes());
            true
        }),
        ValueRef::Zset(zset) => zset.visit_all(|member, _| all.push(member.to_vec())),
        _ => return Err(Error::WrongType),
    }
    if backward && !matches!(value, ValueRef::Set(_)) {
        all.reverse();
    }
    Ok(all)
}

/// Which of `len` elements LIMIT leaves.
fn window(len: usize, options: &Options<'_>) -> std::ops::Range<usize> {
    let most = len as i64;
    let start = options.offset.clamp(0, most);
    let end = match options.count {
        Some(count) if count >= 0 => start.saturating_add(count).min(most),
        _ => most,
    };
    start as usize..end as usize
}

fn sorted(ctx: &mut Ctx<'_>, elements: Vec<Vec<u8>>, options: &Options<'_>) -> Result<Vec<Vec<u8>>, Error> {
    let weigh = |element: Vec<u8>| weight(ctx, &element, options).map(|weight| (weight, element));
    let mut weighed = elements.into_iter().map(weigh).collect::<Result<Vec<_>, Error>>()?;
    weighed.sort_by(|one, other| {
        let order = compare(one, other);
        if options.descending { order.reverse() } else { order }
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

fn weight(ctx: &mut Ctx<'_>, element: &[u8], options: &Options<'_>) -> Result<Weight, Error> {
    let value = match options.by {
        None if options.alpha => return Ok(Weight::Itself),
        None => Some(element.to_vec()),
        Some(pattern) => found(ctx, pattern, element),
    };
    if options.alpha {
        return Ok(Weight::Text(value));
    }
    let number = value.map_or(Some(0.0), |text| number(&text));
    number.map(Weight::Number).ok_or(Error::WeightNotFloat)
}

fn compare((one, element): &(Weight, Vec<u8>), (other, other_element): &(Weight, Vec<u8>)) -> Ordering {
    match (one, other) {
        (Weight::Number(one), Weight::Number(other)) => {
            // None is NaN.
            one.partial_cmp(other).unwrap_or(Ordering::Equal).then_with(|| element.cmp(other_element))
        }
        (Weight::Text(one), Weight::Text(other)) => one.cmp(other),
        _ => element.cmp(other_element),
    }
}

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
        (ValueRef::Hash(hash), Some(field)) => Some(hash.get(field, now_ms)?.to_bytes()),
        (_, Some(_)) => None,
        (value, None) => Some(value.text()?.to_vec()),
    }
}

impl<'a> Options<'a> {
    /// Whether elements are put into patterns, which name keys then.
    fn names_keys(&self) -> bool {
        self.by.iter().chain(self.get.iter().filter(|pattern| **pattern != b"#")).any(|by| by.contains(&b'*'))
    }

    fn parse(args: Args<'a>, may_store: bool) -> Result<Options<'a>, Error> {
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
                    options.store = Some(key);
                    at += 1;
                }
                (Some(pattern), _) if is(word, "by") => {
                    options.by = Some(pattern);
                    at += 1;
                }
                (Some(pattern), _) if is(word, "get") => {
                    options.get.push(pattern);
                    at += 1;
                }
                _ => return Err(Error::Syntax),
            }
            at += 1;
        }
        Ok(options)
    }
}
