//! Which argument of a request names an element of the collection at its key: what look-ups of elements will read can be fetched
//! into the caches before a request's turn has come.

/// The element that a command looks up, or the first of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementAt {
    /// None, or it is not said by one argument.
    None,
    /// The argument of this index.
    Index(usize),
    /// The last argument, which is to have the score before it.
    Scored,
    /// That with the lowest score.
    Lowest,
    /// That with the highest score.
    Highest,
}

/// An element that a request looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought<'a> {
    /// It names it. With it comes the score that it is to have, if it is given one: an argument as it came.
    Named(&'a [u8], Option<&'a [u8]>),
    /// That with the lowest score.
    Lowest,
    /// That with the highest score.
    Highest,
}

impl ElementAt {
    /// The element that a request of so many arguments looks up, each of which `argument` returns. The request may be one that can't be
    /// executed.
    #[inline]
    pub fn sought<'a>(self, len: usize, argument: impl Fn(usize) -> Option<&'a [u8]>) -> Option<Sought<'a>> {
        Some(match self {
            ElementAt::None => return None,
            ElementAt::Index(index) => Sought::Named(argument(index)?, None),
            ElementAt::Scored => Sought::Named(argument(len.checked_sub(1)?)?, argument(len.checked_sub(2)?)),
            ElementAt::Lowest => Sought::Lowest,
            ElementAt::Highest => Sought::Highest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_what_stands_where_the_row_says_if_there_is_something() {
        let rows = [
            (ElementAt::None, "hgetall h", None),
            (ElementAt::Index(2), "hget h f", Some(("f", None))),
            (ElementAt::Index(2), "hset h f v g w", Some(("f", None))),
            (ElementAt::Index(2), "hget h", None),
            (ElementAt::Scored, "zadd z 1 a", Some(("a", Some("1")))),
            (ElementAt::Scored, "zadd z NX CH 1 a 2 b", Some(("b", Some("2")))),
            (ElementAt::Scored, "zadd", None),
        ];
        assert_eq!(ElementAt::Lowest.sought(2, |_| None), Some(Sought::Lowest));
        assert_eq!(ElementAt::Highest.sought(2, |_| None), Some(Sought::Highest));
        for (element, line, expected) in rows {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let sought = element.sought(words.len(), |at| words.get(at).copied());
            let expected = expected.map(|(name, score): (&str, Option<&str>)| {
                Sought::Named(name.as_bytes(), score.map(str::as_bytes))
            });
            assert_eq!(sought, expected, "{line}");
        }
    }
}
