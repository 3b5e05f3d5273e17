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
//! Cost: O(pattern × text) at worst, O(pattern + text) usually. When what follows a star fails, only the last star
//! can usefully move on (an earlier one moving would leave the later ones less to match), so there is one place to
//! go back to instead of a tree of them.

/// Stars followed by something, neighbours counted once, that a pattern may have and still match.
///
/// The servers bound their recursion by this number, so a longer pattern's answer is part of the protocol.
pub const INNER_STARS_MAX: usize = 1000;

/// Whether `pattern` matches the whole of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run::<false>(pattern, text)
}

/// As [`matches`], with ASCII letters equal to their other case.
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    run::<true>(pattern, text)
}

fn run<const IGNORE_CASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when a match fails: behind the last star, one byte further into the text than before.
    let mut retry: Option<(&[u8], &[u8])> = None;
    let mut inner_stars = 0;
    loop {
        match token(pattern) {
            Some((Token::Star, rest)) => {
                let rest = skip_stars(rest);
                if rest.is_empty() {
                    return true;
                }
                inner_stars += 1;
                if inner_stars > INNER_STARS_MAX {
                    return false;
                }
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            Some((one, rest)) => {
                if let Some((&byte, text_rest)) = text.split_first()
                    && one.admits::<IGNORE_CASE>(byte)
                {
                    (pattern, text) = (rest, text_rest);
                    continue;
                }
            }
            None if text.is_empty() => return true,
            None => {}
        }
        let Some((after_star, [_, shorter @ ..])) = retry else { return false };
        // Every token left needs a byte, so an exhausted text ends the search here.
        if text.is_empty() {
            return false;
        }
        retry = Some((after_star, shorter));
        (pattern, text) = (after_star, shorter);
    }
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
    fn admits<const IGNORE_CASE: bool>(&self, byte: u8) -> bool {
        match self {
            Token::Star | Token::Any => true,
            Token::Byte(literal) => same::<IGNORE_CASE>(*literal, byte),
            Token::Class(class) => class.admits::<IGNORE_CASE>(byte),
        }
    }
}

/// Splits the first token off `pattern`; `None` at its end.
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
