//! How a request says how long something is to be there: counted from when it is executed, what it gives ends later the later
//! that is.

/// The times to live that a command gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// None, or the time at which something is to end.
    None,
    /// One that is counted from now, in every request.
    FromNow,
    /// One that is counted from now, unless `word` is among the arguments from this index on.
    Unless {
        /// In any case.
        word: &'static str,
        /// The index.
        from: usize,
    },
    /// One that is counted from now where EX or PX is among the options.
    Options {
        /// Where these begin.
        from: usize,
        /// They begin behind as many pairs as the argument of this index says.
        pairs: Option<usize>,
        /// Arguments for each of the fields that FIELDS counts.
        per_field: usize,
    },
}

impl Lifetime {
    /// Options that begin at this index.
    pub const fn options(from: usize) -> Lifetime {
        Lifetime::Options { from, pairs: None, per_field: 1 }
    }

    /// Whether a request, which need not be one that can be executed, says how long from now something is to be there. Values,
    /// fields and what they are compared with may be called as options are.
    pub fn is_counted_from_now(self, words: &[impl AsRef<[u8]>]) -> bool {
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let number = |at: usize| {
            let number =
                words.get(at).and_then(|word| std::str::from_utf8(word.as_ref()).ok()?.parse::<u32>().ok());
            number.map_or(0, |number| number as usize)
        };
        let (mut at, per_field) = match self {
            Lifetime::None => return false,
            Lifetime::FromNow => return true,
            Lifetime::Unless { word, from } => {
                return !words.iter().skip(from).any(|argument| is(argument.as_ref(), word));
            }
            Lifetime::Options { from, pairs, per_field } => (from + 2 * pairs.map_or(0, number), per_field),
        };
        while let Some(word) = words.get(at) {
            at += match word.as_ref() {
                word if is(word, "ex") || is(word, "px") => return true,
                word if is(word, "fields") => 2 + number(at + 1) * per_field,
                word if ["ifeq", "ifne", "ifdeq", "ifdne"].iter().any(|option| is(word, option)) => 2,
                _ => 1,
            };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_from_now_is_an_option_and_no_value_of_that_name() {
        let set = Lifetime::options(3);
        let of_key = Lifetime::options(2);
        let msetex = Lifetime::Options { from: 2, pairs: Some(1), per_field: 1 };
        let hsetex = Lifetime::Options { from: 2, pairs: None, per_field: 2 };
        let restore = Lifetime::Unless { word: "absttl", from: 4 };
        let rows = [
            (set, "set k v EX 10", true),
            (set, "set k ex px 10", true),
            (set, "set k ex", false),
            (set, "set k v IFEQ ex KEEPTTL", false),
            (set, "set k v IFEQ ex GET EX 10", true),
            (set, "set k v PXAT 1700000000000", false),
            (Lifetime::FromNow, "setex k 10 v", true),
            (of_key, "getex ex PERSIST", false),
            (of_key, "getex k EX 10", true),
            (of_key, "increx k BYINT 1 px 10", true),
            (msetex, "msetex 2 a ex b px KEEPTTL", false),
            (msetex, "msetex 2 a ex b px EX 10", true),
            (hsetex, "hsetex k FIELDS 2 ex px px ex FNX", false),
            (hsetex, "hsetex k FIELDS 1 f v PX 10", true),
            (hsetex, "hsetex k EX 10 FIELDS 1 f v", true),
            (of_key, "hgetex k PERSIST FIELDS 2 ex px", false),
            (restore, "restore k 10 x ABSTTL", false),
            (restore, "restore k 10 absttl REPLACE", true),
            // What can't be run is refused later.
            (msetex, "msetex 99999999999 a", false),
            (msetex, "msetex 4294967295 a b", false),
            (hsetex, "hsetex k FIELDS", false),
            (Lifetime::None, "hset k EX 10", false),
        ];
        for (lifetime, line, expected) in rows {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(lifetime.is_counted_from_now(&words), expected, "{line}");
        }
    }
}
