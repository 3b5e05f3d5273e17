//! Glob patterns as Redis matches them, one pattern against one text.
//!
//! ```text
//!   *        any run of bytes, also none         \x      x itself; a backslash that ends the pattern is itself
//!   ?        any one byte                        [a-c_]  one byte of these; [^…] one byte that is none of these
//! ```
//!
//! What no manual says and clients still meet, all of it checked against running servers:
//! - An empty text matches only the empty pattern, not even `*`.
//! - A class that is never closed ends with the pattern: `[ab` is `[ab]`. So `[` matches nothing, `[^` any byte.
//! - `]` closes at once: `[]` matches nothing and `[^]` any byte. Only the first `^` negates.
//! - Inside a class `\` makes the next byte itself; before the last byte of the pattern there is nothing to escape.
//! - `x-y` is a range whatever `y` is, also `]`, as long as the *pattern* goes on to `y`; `[b-a]` is `[a-b]`. Bytes
//!   compare as signed, so that `[a-\xff]` is everything from `\xff` over `\x00` up to `a`.
//! - Ignoring case, a byte escaped inside a class still means exactly itself, and a range is put in order before
//!   its ends are lowered, so that `[Z-a]` matches nothing.
//! - A pattern with more than [`INNER_STARS_MAX`] stars that something follows matches nothing.
//!
//! - A pattern that takes more than [`STEPS_PER_BYTE`] steps for each byte of the text matches nothing (and more than [`STEPS_MIN`], or
//!   than it has bytes), or in a long text more than [`STEPS_MAX`] beside one for each byte: what follows a star would have to be long, and
//!   nearly match at every place. Where very many texts are compared with it, a class may not be longer than all bytes there are.
//!
//! Cost: O(pattern + text). When what follows a star fails, only the last star can usefully move on (an earlier one
//! moving would leave the later ones less to match), so there is one place to go back to instead of a tree of them.

use std::borrow::Cow;

use memchr::memmem::{self, Finder};

/// Stars followed by something, neighbours counted once, that a pattern may have and still match.
///
/// The servers bound their recursion by this number, so a longer pattern's answer is part of the protocol.
pub const INNER_STARS_MAX: usize = 1000;

/// Bytes of the pattern that are looked at for each byte of the text. What stands between two stars in a pattern for people is
/// much shorter, and without a bound a pattern of a megabyte would take a second for a text of a thousand bytes.
pub const STEPS_PER_BYTE: usize = 256;

/// Steps that a pattern may take for the shortest text of many: more than the longest class that says nothing twice. One that is asked for
/// one text may look at each of its bytes.
pub const STEPS_MIN: usize = 1024;

/// Steps beside one for each byte of a text: some 3 ms.
pub const STEPS_MAX: usize = 1 << 20;

/// Bytes that are searched for one in the time of a step.
const SEARCHED_PER_STEP: usize = 16;

/// Bytes that are compared with several tokens at once in the time of a step.
const PASSED_PER_STEP: usize = 2;

/// Steps in the time that preparing a search for one of several tokens takes.
const STEPS_PER_TOKEN: usize = 16;

/// In a text of so many bytes it is worth preparing a search: which a pattern may ask for at each of a thousand stars, some 0.1 µs and
/// no step each time. Tests have shorter texts.
const LONG_TEXT_BYTES: usize = if cfg!(test) { 256 } else { 16 << 10 };

/// What is searched for at once, at most: preparing for it takes time as well.
const RUN_BYTES_MAX: usize = 256;

/// Whether `pattern` matches the whole of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run::<false>(pattern, text, pattern.len()).0
}

/// The same for one of very many texts, and how many steps it took: some 3 ns each. A class, or a run of stars, of more than [`STEPS_MIN`]
/// bytes is too long here for a short text.
pub fn match_counted(pattern: &[u8], text: &[u8]) -> (bool, usize) {
    let (is_match, steps) = run::<false>(pattern, text, STEPS_MIN);
    (is_match, 1 + steps + text.len() / SEARCHED_PER_STEP)
}

/// The most steps that [`match_counted`] takes for so many texts of so many bytes together.
pub fn steps_max(pattern: &[u8], texts: usize, bytes: usize) -> usize {
    let inner = &pattern[..pattern.len() - usize::from(pattern.ends_with(b"*"))];
    // Without a star that something follows, each byte of the pattern is looked at once. A long one is not searched for that.
    let may_go_back = pattern.len() > STEPS_PER_BYTE || inner.contains(&b'*');
    let per_byte = if may_go_back { pattern.len().min(STEPS_PER_BYTE) } else { 0 };
    let once = texts.saturating_mul(1 + pattern.len());
    once.saturating_add(bytes.saturating_mul(per_byte)).saturating_add(bytes / SEARCHED_PER_STEP)
}

/// As [`matches()`], with ASCII letters equal to their other case.
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    run::<true>(pattern, text, STEPS_MIN).0
}

/// The same pattern with one star in place of each run of them. Cost: O(pattern).
pub fn without_runs_of_stars(pattern: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(pattern, b"**").is_none() {
        return Cow::Borrowed(pattern);
    }
    let (mut shorter, mut rest) = (Vec::with_capacity(pattern.len()), pattern);
    while let Some((one, next)) = token(rest) {
        let behind = if matches!(one, Token::Star) { skip_stars(next) } else { next };
        shorter.extend_from_slice(&rest[..rest.len() - next.len()]);
        rest = behind;
    }
    Cow::Owned(shorter)
}

/// And how many steps it took, of which it may take so many for the shortest text.
fn run<const IGNORE_CASE: bool>(pattern: &[u8], text: &[u8], steps_min: usize) -> (bool, usize) {
    let steps_max = STEPS_PER_BYTE.saturating_mul(text.len()).min(text.len().saturating_add(STEPS_MAX));
    let most = steps_max.saturating_add(steps_min.max(STEPS_MIN));
    let mut left = most;
    let is_match = try_all::<IGNORE_CASE>(pattern, text, &mut left);
    (is_match, most - left)
}

fn try_all<const IGNORE_CASE: bool>(pattern: &[u8], text: &[u8], steps_left: &mut usize) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when a match fails: behind the last star, further into the text than before.
    let mut retry: Option<Retry<'_, '_>> = None;
    let mut inner_stars = 0;
    loop {
        if let ([first, rest @ ..], [byte, text_rest @ ..]) = (pattern, text)
            && is_literal(*first)
            && *steps_left > 0
        {
            // Most steps are this one.
            *steps_left -= 1;
            if same::<IGNORE_CASE>(*first, *byte) {
                (pattern, text) = (rest, text_rest);
                continue;
            }
        } else {
            let near = near_of(pattern, *steps_left);
            match token(near).map(|(token, rest)| (token, &pattern[near.len() - rest.len()..])) {
                Some((Token::Star, rest)) => {
                    let behind = skip_stars(near_of(rest, *steps_left));
                    let stars = near_of(rest, *steps_left).len() - behind.len();
                    let Some(left) = steps_left.checked_sub(stars) else {
                        *steps_left = 0;
                        return false;
                    };
                    (*steps_left, pattern) = (left, &rest[stars..]);
                    if pattern.is_empty() {
                        return true;
                    }
                    inner_stars += 1;
                    if inner_stars > INNER_STARS_MAX {
                        return false;
                    }
                    let begin = Begin::of::<IGNORE_CASE>(near_of(pattern, *steps_left), text.len());
                    *steps_left = steps_left.saturating_sub(begin.steps());
                    let Some(place) = begin.first_place(text, steps_left) else { return false };
                    (text, retry) = (place, Some(Retry { pattern, place, begin }));
                    continue;
                }
                Some((one, rest)) => {
                    let Some(left) = steps_left.checked_sub(pattern.len() - rest.len()) else {
                        *steps_left = 0;
                        return false;
                    };
                    *steps_left = left;
                    if let [byte, text_rest @ ..] = text
                        && one.admits::<IGNORE_CASE>(*byte)
                    {
                        (pattern, text) = (rest, text_rest);
                        continue;
                    }
                }
                None if text.is_empty() => return true,
                None => {}
            }
        }
        let Some(retry) = &mut retry else { return false };
        // Every token left needs a byte, so an exhausted text ends the search here.
        let (false, [_, shorter @ ..]) = (text.is_empty(), retry.place) else { return false };
        let Some(place) = retry.begin.first_place(shorter, steps_left) else { return false };
        retry.place = place;
        (pattern, text) = (retry.pattern, place);
    }
}

/// As much of the pattern as may be looked at: a class of a megabyte is not walked only to be found too long.
fn near_of(pattern: &[u8], steps_left: usize) -> &[u8] {
    &pattern[..pattern.len().min(steps_left.saturating_add(1))]
}

/// Where a match may begin again: what follows the last star, and how far into the text that has been tried.
#[derive(Debug)]
struct Retry<'p, 't> {
    pattern: &'p [u8],
    place: &'t [u8],
    begin: Begin<'p>,
}

/// What the text has where a match can begin that follows a star. Places without it are passed over, which takes no steps, or few.
#[derive(Debug)]
enum Begin<'p> {
    Anything,
    Byte(u8),
    /// In a long text: so many bytes that stand for themselves.
    Run(&'p [u8], Box<Finder<'p>>),
    /// In a long text: one byte of these.
    Set(Box<[bool; 256]>),
    /// In a long text: so many tokens that are not all bytes that stand for themselves.
    Tokens(Box<Tokens>),
    /// In a long text: so many tokens that end the pattern, so they match its last bytes or nothing.
    End(usize),
}

impl<'p> Begin<'p> {
    /// Of a pattern that begins with no star, in a text of so many bytes.
    fn of<const IGNORE_CASE: bool>(pattern: &'p [u8], text_bytes: usize) -> Begin<'p> {
        let is_long = text_bytes >= LONG_TEXT_BYTES;
        if is_long
            && !IGNORE_CASE
            && let Some(begin) = Tokens::begin(pattern)
        {
            return begin;
        }
        match token(pattern) {
            _ if IGNORE_CASE => Begin::Anything,
            Some((Token::Byte(_), _)) if is_long && run_of(pattern).len() > 1 => {
                let run = run_of(pattern);
                Begin::Run(run, Box::new(Finder::new(run)))
            }
            Some((Token::Byte(literal), _)) => Begin::Byte(literal),
            Some((Token::Class(class), _)) if is_long && class.body.len() <= RUN_BYTES_MAX => {
                Begin::Set(Box::new(class.set()))
            }
            _ => Begin::Anything,
        }
    }

    /// What it took to prepare, where that is much.
    fn steps(&self) -> usize {
        match self {
            Begin::Tokens(tokens) => tokens.len * STEPS_PER_TOKEN,
            _ => 0,
        }
    }

    /// The longest end of `text` at which a match can begin.
    #[inline]
    fn first_place<'t>(&self, text: &'t [u8], steps_left: &mut usize) -> Option<&'t [u8]> {
        match self {
            Begin::Anything => Some(text),
            // Where a pattern nearly matches again and again, it is the next one.
            Begin::Byte(byte) if text.first() == Some(byte) => Some(text),
            Begin::Byte(byte) => memchr::memchr(*byte, text).map(|at| &text[at..]),
            Begin::Run(run, _) if text.starts_with(run) => Some(text),
            Begin::Run(_, finder) => finder.find(text).map(|at| &text[at..]),
            Begin::Set(set) => text.iter().position(|byte| set[usize::from(*byte)]).map(|at| &text[at..]),
            Begin::Tokens(tokens) => {
                let place = tokens.first_place(text);
                let passed = text.len() - place.map_or(0, <[u8]>::len);
                *steps_left = steps_left.saturating_sub(passed / PASSED_PER_STEP);
                place
            }
            Begin::End(tokens) => text.len().checked_sub(*tokens).map(|at| &text[at..]),
        }
    }
}

/// Tokens between two stars, searched for all at once (the shift-and algorithm): for each byte of the text, bit `n` says whether the
/// first `n + 1` tokens match the bytes up to it.
///
/// Cost: O(text), some 1 ns for each byte, however often the tokens nearly match.
struct Tokens {
    /// For each byte, bit `n` if token `n` takes it.
    taken_by: [u64; 256],
    len: usize,
    /// What the first token is, if it stands for itself.
    first: Option<u8>,
}

impl Tokens {
    /// A search for the tokens that `pattern` begins with, if they are few, none is too long, and the pattern ends behind them; or a star
    /// follows, and they are several and not all bytes.
    fn begin<'p>(pattern: &'p [u8]) -> Option<Begin<'p>> {
        let first = pattern.first().copied().filter(|byte| is_literal(*byte));
        let mut tokens = Tokens { taken_by: [0; 256], len: 0, first };
        let (mut rest, mut are_all_bytes) = (pattern, true);
        while !rest.is_empty() {
            match token(&rest[..rest.len().min(RUN_BYTES_MAX)])? {
                (Token::Star, _) if tokens.len > 1 && !are_all_bytes => {
                    return Some(Begin::Tokens(Box::new(tokens)));
                }
                (Token::Star, _) => return None,
                _ if tokens.len == u64::BITS as usize => return None,
                (one, behind) => {
                    let bytes = rest.len().min(RUN_BYTES_MAX) - behind.len();
                    if bytes == RUN_BYTES_MAX {
                        return None;
                    }
                    tokens.push(one);
                    are_all_bytes &= matches!(one, Token::Byte(_));
                    rest = &rest[bytes..];
                }
            }
        }
        Some(Begin::End(tokens.len))
    }

    fn push(&mut self, token: Token<'_>) {
        let taken = match token {
            Token::Star | Token::Any => [true; 256],
            Token::Byte(literal) => std::array::from_fn(|byte| byte == usize::from(literal)),
            Token::Class(class) => class.set(),
        };
        for (tokens, is_taken) in self.taken_by.iter_mut().zip(taken) {
            *tokens |= u64::from(is_taken) << self.len;
        }
        self.len += 1;
    }

    fn first_place<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let begin = self.first.map_or(Some(0), |first| memchr::memchr(first, text))?;
        let last = 1 << (self.len - 1);
        let mut matched = 0;
        let end = text[begin..].iter().position(|byte| {
            matched = (matched << 1 | 1) & self.taken_by[usize::from(*byte)];
            matched & last != 0
        })?;
        Some(&text[begin + end + 1 - self.len..])
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The bytes that a pattern begins with and that stand for themselves, so many at most as are searched for at once.
fn run_of(pattern: &[u8]) -> &[u8] {
    let near = &pattern[..pattern.len().min(RUN_BYTES_MAX)];
    &near[..near.iter().take_while(|byte| is_literal(**byte)).count()]
}

/// Whether a byte of a pattern, outside of a class, stands for itself.
#[inline]
fn is_literal(byte: u8) -> bool {
    !matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

/// The next step of a pattern, as written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token<'p> {
    Star,
    Any,
    Byte(u8),
    Class(Class<'p>),
}

impl Token<'_> {
    /// Whether this token, which is no star, takes `byte`.
    #[inline]
    fn admits<const IGNORE_CASE: bool>(&self, byte: u8) -> bool {
        match self {
            Token::Star | Token::Any => true,
            Token::Byte(literal) => same::<IGNORE_CASE>(*literal, byte),
            Token::Class(class) => class.admits::<IGNORE_CASE>(byte),
        }
    }
}

/// Splits the first token off `pattern`; `None` at its end.
#[inline]
pub(crate) fn token(pattern: &[u8]) -> Option<(Token<'_>, &[u8])> {
    Some(match pattern {
        [] => return None,
        [b'*', rest @ ..] => (Token::Star, rest),
        [b'?', rest @ ..] => (Token::Any, rest),
        [b'[', rest @ ..] => {
            let (class, rest) = class(rest);
            (Token::Class(class), rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (Token::Byte(*literal), rest),
    })
}

/// `pattern` without the stars it begins with.
pub(crate) fn skip_stars(pattern: &[u8]) -> &[u8] {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    &pattern[stars..]
}

/// `[…]`: what stands between the brackets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class<'p> {
    pub(crate) negated: bool,
    /// Without `[`, `^` and `]`. It stands apart from what follows it, so [`item`] must not be asked again where a
    /// range would need bytes behind the end: [`class`] has taken care that a range never straddles it.
    body: &'p [u8],
}

/// Splits a class off `pattern`, which begins behind its `[`.
fn class(pattern: &[u8]) -> (Class<'_>, &[u8]) {
    let (negated, start) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut rest = start;
    while let Some((_, next)) = item(rest) {
        rest = next;
    }
    let body = &start[..start.len() - rest.len()];
    (Class { negated, body }, rest.get(1..).unwrap_or_default())
}

/// One member of a class.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    Byte(u8),
    Escaped(u8),
    /// As written, in either order.
    Range(u8, u8),
}

/// Splits the first member off the inside of a class; `None` at its `]` or at the end of the pattern.
fn item(class: &[u8]) -> Option<(Item, &[u8])> {
    Some(match class {
        [] => return None,
        [b'\\', literal, rest @ ..] => (Item::Escaped(*literal), rest),
        [b']', ..] => return None,
        [from, b'-', to, rest @ ..] => (Item::Range(*from, *to), rest),
        [literal, rest @ ..] => (Item::Byte(*literal), rest),
    })
}

impl<'p> Class<'p> {
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> + use<'p> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (item, next) = item(rest)?;
            rest = next;
            Some(item)
        })
    }

    /// Which bytes it takes. Cost: O(the class's length), and 256.
    fn set(&self) -> [bool; 256] {
        let mut taken = [false; 256];
        for item in self.items() {
            match item {
                Item::Byte(literal) | Item::Escaped(literal) => taken[usize::from(literal)] = true,
                Item::Range(from, to) => {
                    let (low, high) = in_order(from, to);
                    (low..=high).for_each(|byte| taken[usize::from(byte.cast_unsigned())] = true);
                }
            }
        }
        taken.map(|is_taken| is_taken != self.negated)
    }

    /// Whether the class takes `byte`. Cost: O(the class's length).
    fn admits<const IGNORE_CASE: bool>(&self, byte: u8) -> bool {
        self.items().any(|item| item.admits::<IGNORE_CASE>(byte)) != self.negated
    }
}

impl Item {
    fn admits<const IGNORE_CASE: bool>(self, byte: u8) -> bool {
        match self {
            Item::Byte(literal) => same::<IGNORE_CASE>(literal, byte),
            Item::Escaped(literal) => literal == byte,
            Item::Range(from, to) => {
                let (low, high) = in_order(from, to);
                let (low, high, byte) = if IGNORE_CASE {
                    let lower = |byte: i8| byte.cast_unsigned().to_ascii_lowercase().cast_signed();
                    (lower(low), lower(high), lower(byte.cast_signed()))
                } else {
                    (low, high, byte.cast_signed())
                };
                low <= byte && byte <= high
            }
        }
    }
}

/// The ends of a range, lower first.
pub(crate) fn in_order(from: u8, to: u8) -> (i8, i8) {
    let (from, to) = (from.cast_signed(), to.cast_signed());
    (from.min(to), from.max(to))
}

fn same<const IGNORE_CASE: bool>(a: u8, b: u8) -> bool {
    if IGNORE_CASE { a.eq_ignore_ascii_case(&b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rules of the module's head, written down as directly as possible, in exponential time.
    fn plainly_matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
        fn rest_matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
            let [first, pattern_rest @ ..] = pattern else { return text.is_empty() };
            if *first == b'*' {
                return (0..=text.len()).any(|taken| rest_matches(pattern_rest, &text[taken..], ignore_case));
            }
            let [byte, text_rest @ ..] = text else { return false };
            let lower = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
            let (taken, pattern_rest) = match (first, pattern_rest) {
                (b'?', _) => (true, pattern_rest),
                (b'[', _) => class_takes(pattern_rest, *byte, &lower),
                (b'\\', [literal, pattern_rest @ ..]) => (lower(*literal) == lower(*byte), pattern_rest),
                (literal, _) => (lower(*literal) == lower(*byte), pattern_rest),
            };
            taken && rest_matches(pattern_rest, text_rest, ignore_case)
        }

        /// Whether the class that begins behind its bracket takes `byte`, and what follows the class.
        fn class_takes<'p>(class: &'p [u8], byte: u8, lower: &impl Fn(u8) -> u8) -> (bool, &'p [u8]) {
            let negated = class.first() == Some(&b'^');
            let mut at = usize::from(negated);
            let mut found = false;
            loop {
                let left = class.len() - at;
                if left == 0 {
                    return (found != negated, &[]);
                } else if class[at] == b'\\' && left >= 2 {
                    found |= class[at + 1] == byte;
                    at += 2;
                } else if class[at] == b']' {
                    return (found != negated, &class[at + 1..]);
                } else if left >= 3 && class[at + 1] == b'-' {
                    let (one, other) = (class[at] as i8, class[at + 2] as i8);
                    let (low, high) = if one <= other { (one, other) } else { (other, one) };
                    let lower = |byte: i8| lower(byte as u8) as i8;
                    found |= lower(low) <= lower(byte as i8) && lower(byte as i8) <= lower(high);
                    at += 3;
                } else {
                    found |= lower(class[at]) == lower(byte);
                    at += 1;
                }
            }
        }

        if text.is_empty() { pattern.is_empty() } else { rest_matches(pattern, text, ignore_case) }
    }

    /// Bytes that mean something, and few others, so that most cases are corner cases.
    fn pattern() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"aabB*?[]^-\\\xff".as_slice()), 0..12)
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(b"aabbAB]-\\^*\x00\xff".as_slice()), 0..8)
    }

    /// The same in time that grows with the product of the lengths: for each byte of the text, which ends of the pattern may follow.
    fn slowly_matches(pattern: &[u8], text: &[u8]) -> bool {
        if text.is_empty() {
            return pattern.is_empty();
        }
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some((token, next)) = token(rest) {
            tokens.push(token);
            rest = next;
        }
        // Whether the first so many tokens match what was read.
        let mut matched = vec![true];
        matched.extend(tokens.iter().scan(true, |all, token| {
            *all &= matches!(token, Token::Star);
            Some(*all)
        }));
        for &byte in text {
            let mut next = vec![false; matched.len()];
            for (at, token) in tokens.iter().enumerate() {
                next[at + 1] = match token {
                    Token::Star => matched[at + 1] || matched[at] || next[at],
                    other => matched[at] && other.admits::<false>(byte),
                };
            }
            matched = next;
        }
        matched[tokens.len()]
    }

    /// What stands behind stars, in texts that are long enough to be searched.
    fn long_pattern() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&[u8]] = &[
            b"*",
            b"*",
            b"?",
            b"a",
            b"b",
            b"ab",
            b"aab",
            b"aaaaaaaa",
            b"\\a",
            b"[b-c]",
            b"[^a]",
            b"[a",
            b"[]",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..10).prop_map(|pieces| pieces.concat())
    }

    fn long_text() -> impl Strategy<Value = Vec<u8>> {
        let runs: &[&[u8]] = &[b"a", b"b", b"c", b"aaaaaaaa", b"ab", b"aab"];
        prop::collection::vec((prop::sample::select(runs), 1..60_usize), 1..12)
            .prop_map(|runs| runs.iter().map(|(run, times)| run.repeat(*times)).collect::<Vec<_>>().concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn in_a_long_text_it_matches_the_same(pattern in long_pattern(), text in long_text()) {
            prop_assert_eq!(matches(&pattern, &text), slowly_matches(&pattern, &text));
            let (is_match, steps) = match_counted(&pattern, &text);
            prop_assert_eq!(is_match, matches(&pattern, &text));
            prop_assert!(steps <= steps_max(&pattern, 1, text.len()), "{} steps", steps);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn it_matches_what_the_plain_rules_match(pattern in pattern(), text in text()) {
            prop_assert_eq!(matches(&pattern, &text), plainly_matches(&pattern, &text, false));
            prop_assert_eq!(matches_ignore_case(&pattern, &text), plainly_matches(&pattern, &text, true));
            let (is_match, steps) = match_counted(&pattern, &text);
            prop_assert_eq!(is_match, matches(&pattern, &text));
            prop_assert!(steps <= steps_max(&pattern, 1, text.len()), "{} steps", steps);
            prop_assert_eq!(slowly_matches(&pattern, &text), plainly_matches(&pattern, &text, false));
            let shorter = without_runs_of_stars(&pattern);
            prop_assert_eq!(matches(&shorter, &text), matches(&pattern, &text));
        }
    }

    #[test]
    fn what_follows_a_star_and_stands_for_itself_is_searched_for_however_often_it_nearly_matches() {
        for bytes in [300_000, 2 << 20] {
            let text = vec![b'a'; bytes];
            for pattern in
                [&b"*aaaaaaaab*"[..], b"*ab", b"*[b-z]*", b"*b*", &[b"*", &[b'a'; 250][..], b"b*"].concat()]
            {
                let (is_match, steps) = match_counted(pattern, &text);
                assert!(!is_match && steps <= bytes / SEARCHED_PER_STEP + STEPS_MIN, "{steps} steps");
                let ends = [&text[..], &[b'a'; 250], b"b"].concat();
                let (is_match, steps) = match_counted(pattern, &ends);
                assert!(is_match && steps <= bytes / SEARCHED_PER_STEP + STEPS_MIN, "{steps} steps");
            }
        }
    }

    #[test]
    fn tokens_between_stars_are_searched_for_all_at_once_however_often_they_nearly_match() {
        let bytes = 300_000;
        let text = vec![b'a'; bytes];
        let many = [b"*", &b"a?".repeat(31)[..], b"[^a]*"].concat();
        for pattern in [&b"*a?b*"[..], b"*a?a[^a]*", b"*?aaaaaaa\\b*", b"*[a-c]a[b-z]*", &many] {
            let prepared = pattern.len() * STEPS_PER_TOKEN;
            let most = bytes / SEARCHED_PER_STEP + bytes / PASSED_PER_STEP + STEPS_MIN + prepared;
            let (is_match, steps) = match_counted(pattern, &text);
            assert!(!is_match && steps <= most, "{steps} steps");
            let (is_match, steps) = match_counted(pattern, &[&text[..], b"b"].concat());
            assert!(is_match && steps <= most, "{steps} steps");
        }
    }

    #[test]
    fn what_follows_the_last_star_is_compared_with_the_end_of_a_text() {
        let text = [&vec![b'a'; 300_000][..], b"cb"].concat();
        for (pattern, is_match) in
            [(&b"*a?b"[..], true), (b"*a?a", false), (b"*aab", false), (b"x*a?b", false)]
        {
            let (found, steps) = match_counted(pattern, &text);
            assert!(
                found == is_match && steps <= text.len() / SEARCHED_PER_STEP + STEPS_MIN,
                "{steps} steps"
            );
        }
    }

    #[test]
    fn preparing_a_search_for_very_many_tokens_is_counted() {
        let pattern = [&b"*"[..], &[&b"?".repeat(63)[..], b"a*"].concat().repeat(900)].concat();
        let (is_match, steps) = match_counted(&pattern, &vec![b'a'; 1 << 20]);
        assert!(is_match && steps >= 900 * 64 * STEPS_PER_TOKEN, "{steps} steps");
    }

    /// differs=pattern-steps
    #[test]
    fn what_follows_a_star_may_nearly_match_everywhere_if_it_is_not_very_long() {
        let text = [b'a'; 4_000];
        let nearly = |len: usize, last: &[u8]| [b"*", &vec![b'a'; len][..], last, b"*"].concat();
        assert!(matches(&nearly(STEPS_PER_BYTE - 2, b"a"), &text));
        assert!(!matches(&nearly(STEPS_PER_BYTE - 2, b"b"), &text));
        let ends_otherwise = [&text[..], b"b"].concat();
        assert!(matches(&nearly(STEPS_PER_BYTE - 2, b"b"), &ends_otherwise));
        assert!(matches(&nearly(2_000, b""), &text), "the first place is the right one");
    }

    /// In time that grows with the product of the lengths this would take minutes.
    #[test]
    fn no_pattern_takes_long() {
        let (long, text) = (vec![b'a'; 1_000_000], vec![b'a'; 10_000]);
        let class = [b"*[", &long[..], b"]b"].concat();
        let any = [b"*", &b"?a".repeat(500_000)[..], b"b"].concat();
        let classes = [b"*", &b"[^b-z]".repeat(200_000)[..], b"b"].concat();
        for pattern in [class, any, classes] {
            assert!(!matches(&pattern, &text));
            assert!(!matches_ignore_case(&pattern, &text));
        }
    }

    #[test]
    fn what_is_long_in_a_pattern_is_looked_at_no_more_than_its_steps_say() {
        let stars = [&b"*".repeat(1 << 20)[..], b"x"].concat();
        let runs = [&b"*".repeat(1_000)[..], b"a"].concat().repeat(900);
        let class = [b"*[", &vec![b'a'; 1 << 20][..]].concat();
        for pattern in [&stars, &runs, &class] {
            // 100 000 texts would be minutes, if each byte of the pattern were looked at for each of them.
            let steps: usize = (0..100_000).map(|_| match_counted(pattern, b"m17").1).sum();
            assert!(steps <= 100_000 * (STEPS_MIN + 4 * STEPS_PER_BYTE));
            assert!((0..100_000).all(|_| !matches_ignore_case(pattern, b"m17")));
        }
        assert!(matches(&runs, &[b'a'; 1_000]) && !matches(&stars, &[b'a'; 1_000]));
    }

    #[test]
    fn corners_that_clients_meet() {
        let cases: &[(&[u8], &[u8], bool)] = &[
            (b"*", b"", false),
            (b"", b"", true),
            (b"", b"a", false),
            (b"h?llo", b"hello", true),
            (b"h[ae]llo", b"hallo", true),
            (b"h[^e]llo", b"hello", false),
            (b"h[b-a]llo", b"hallo", true),
            (b"news:*", b"news:", true),
            (b"news:**", b"news:", true),
            (b"*:*:end", b"a:b:c:end", true),
            (b"[", b"[", false),
            (b"[^", b"x", true),
            (b"[]", b"]", false),
            (b"[^]", b"]", true),
            (b"[]a]", b"a]", false),
            (b"[\\]]", b"]", true),
            (b"[ab", b"b", true),
            (b"[a-]]", b"]", true),
            (b"[a-]", b"-", false),
            (b"[a-", b"-", true),
            (b"[a\\", b"\\", true),
            (b"a\\", b"a\\", true),
            (b"a\\*", b"a*", true),
            (b"a\\*", b"ab", false),
            (b"[\xff-a]", b"\x00", true),
            (b"[\x80-\x7f]", b"\x90", true),
            (b"[a-\xff]", b"b", false),
        ];
        for (pattern, text, expected) in cases {
            let (pattern_text, text_text) = (pattern.escape_ascii(), text.escape_ascii());
            assert_eq!(matches(pattern, text), *expected, "{pattern_text} on {text_text}");
        }
    }

    #[test]
    fn ignoring_case_has_its_own_corners() {
        assert!(matches_ignore_case(b"MAX[a-m]*", b"maxMemory"));
        assert!(!matches_ignore_case(b"[\\M]ax", b"max"));
        assert!(!matches_ignore_case(b"[Z-a]", b"z"));
    }

    #[test]
    fn more_than_a_thousand_inner_stars_match_nothing() {
        let text = [b'a'; 1100];
        assert!(matches(&b"*a".repeat(1000), &text));
        assert!(matches(&[&b"*a".repeat(1000)[..], b"*"].concat(), &text));
        assert!(!matches(&b"*a".repeat(1001), &text));
    }

    #[test]
    fn stars_that_keep_failing_take_polynomial_time() {
        let pattern = [&b"*a".repeat(900)[..], b"*b"].concat();
        assert!(!matches(&pattern, &[b'a'; 4000]));
    }
}
