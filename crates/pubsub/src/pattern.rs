//! A pattern as the trie sees it: symbols that each take one byte, or any run of them.
//!
//! Patterns that match the same channels are brought closer to one spelling, so that they share their path:
//!
//! ```text
//!   written     \a   [a]   [ab]   [ba]   [^]   ***   *?   *?*?      [   (takes no byte at all)
//!   symbols      a    a    {ab}   {ab}    ?     *    ?*   ??*       the pattern is `Barren`
//! ```
//!
//! `*?` is turned round because both say "at least one byte", and because a star with few neighbours is what the
//! trie finds expensive.

use crate::byteset::ByteSet;
use crate::glob::{self, Class, INNER_STARS_MAX, Item, Token};

/// One step of a pattern. Two symbols are equal if they take the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    Byte(u8),
    /// Any one byte.
    Any,
    /// One byte of a set with neither 0, 1 nor 256 members.
    Class(ByteSet),
    /// Any run of bytes. Neither a star nor [`Symbol::Any`] follows one.
    Star,
}

/// The symbols of a pattern, left to right.
#[derive(Clone, Debug)]
pub(crate) struct Symbols<'p> {
    rest: &'p [u8],
    /// What has been read of a run of `?` and `*`, and is still to be given out, in this order.
    anys: usize,
    star: bool,
}

impl<'p> Symbols<'p> {
    /// `None` for a pattern that matches nothing: one with an empty class, or with too many stars.
    pub(crate) fn of(pattern: &'p [u8]) -> Option<Self> {
        let mut rest = pattern;
        let mut inner_stars = 0;
        while let Some((token, next)) = glob::token(rest) {
            rest = next;
            match token {
                Token::Star => {
                    rest = glob::skip_stars(rest);
                    inner_stars += usize::from(!rest.is_empty());
                }
                Token::Class(class) if set_of(&class).len() == 0 => return None,
                _ => {}
            }
        }
        (inner_stars <= INNER_STARS_MAX).then_some(Symbols { rest: pattern, anys: 0, star: false })
    }

    /// Reads on while there are only `?` and `*`.
    fn read_run(&mut self) -> Option<(Symbol, &'p [u8])> {
        while let Some((token, rest)) = glob::token(self.rest) {
            match symbol(token) {
                Symbol::Any => self.anys += 1,
                Symbol::Star => self.star = true,
                other => return Some((other, rest)),
            }
            self.rest = rest;
        }
        None
    }
}

impl Iterator for Symbols<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        let mut after_run = None;
        if self.anys == 0 && !self.star {
            after_run = self.read_run();
        }
        if self.anys > 0 {
            self.anys -= 1;
            return Some(Symbol::Any);
        }
        if self.star {
            self.star = false;
            return Some(Symbol::Star);
        }
        let (symbol, rest) = after_run?;
        self.rest = rest;
        Some(symbol)
    }
}

fn symbol(token: Token<'_>) -> Symbol {
    match token {
        Token::Star => Symbol::Star,
        Token::Any => Symbol::Any,
        Token::Byte(byte) => Symbol::Byte(byte),
        Token::Class(class) => {
            let set = set_of(&class);
            match (set.len(), set.first()) {
                (1, Some(byte)) => Symbol::Byte(byte),
                (256, _) => Symbol::Any,
                _ => Symbol::Class(set),
            }
        }
    }
}

/// The bytes a class takes. Cost: O(the class's length).
fn set_of(class: &Class<'_>) -> ByteSet {
    let mut set = ByteSet::default();
    for item in class.items() {
        match item {
            Item::Byte(byte) | Item::Escaped(byte) => set.insert_range(byte, byte),
            Item::Range(from, to) => {
                let (low, high) = glob::in_order(from, to);
                // A signed range over zero is two unsigned ones.
                if low < 0 && high >= 0 {
                    set.insert_range(low.cast_unsigned(), u8::MAX);
                    set.insert_range(0, high.cast_unsigned());
                } else {
                    set.insert_range(low.cast_unsigned(), high.cast_unsigned());
                }
            }
        }
    }
    if class.negated { set.complement() } else { set }
}
