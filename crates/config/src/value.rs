//! Values of options: how each type is read from words and written back.
//!
//! [`Kind`] says what an option takes; [`Value`] is implemented by each type a field of `Config` can have. Reading
//! either replaces the value or leaves it alone: an error never leaves half of one.
//!
//! Source: the syntaxes and the error texts are those of redis.conf and CONFIG SET.

use std::fmt;
use std::path::PathBuf;

/// What an option takes. The unit and the bounds are part of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// A whole number.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// What it counts: `seconds`, `connections` …
        unit: &'static str,
    },
    /// A whole number from 0 on. Redis holds it in an unsigned number, which shows in the error for one below 0.
    Count {
        /// What it counts.
        unit: &'static str,
    },
    /// Bytes, with the units `k kb m mb g gb`.
    Memory {
        /// Smallest, in bytes.
        min: u64,
        /// Largest, in bytes.
        max: u64,
        /// Redis holds it in an unsigned number, which shows in the error for one that is too large.
        unsigned: bool,
    },
    /// Bytes, or a part of `maxmemory` with a `%` behind it.
    MemoryOrPercent,
    /// File permissions in octal.
    Octal,
    /// Any one word.
    Text,
    /// Any one word, which must not be shown.
    Secret,
    /// The path of a file or directory.
    Path,
    /// One word of these.
    OneOf(&'static [&'static str]),
    /// Several words; the text says what they are in the notation of the Redis manual.
    Words(&'static str),
}

impl Kind {
    /// Whether the option takes more words than one.
    pub fn takes_several(self) -> bool {
        matches!(self, Kind::Words(_))
    }
}

/// The largest number of bytes that an option without a bound of its own takes.
pub(crate) const MEMORY_MAX: u64 = i64::MAX as u64;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::YesNo => f.write_str("yes or no"),
            Kind::Int { min, max: i64::MAX, unit } => write!(f, "{unit}, from {min}"),
            Kind::Int { min, max, unit } => write!(f, "{unit}, {min} to {max}"),
            Kind::Count { unit } => write!(f, "{unit}, from 0"),
            Kind::Memory { min: 0, max: MEMORY_MAX, .. } => f.write_str("bytes"),
            Kind::Memory { min, max: MEMORY_MAX, .. } => write!(f, "bytes, from {min}"),
            Kind::Memory { min, max, .. } => write!(f, "bytes, {min} to {max}"),
            Kind::MemoryOrPercent => f.write_str("bytes, or percent"),
            Kind::Octal => f.write_str("octal permissions"),
            Kind::Text => f.write_str("text"),
            Kind::Secret => f.write_str("secret text"),
            Kind::Path => f.write_str("path"),
            Kind::OneOf(names) => write!(f, "one of {}", names.join(", ")),
            Kind::Words(syntax) => write!(f, "{syntax}"),
        }
    }
}

/// Whether a value is being built up from the lines of a file or set as a whole by CONFIG SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Lines of `save` and `user` add to those before.
    Load,
    /// The words are all there is.
    Set,
}

/// Why words are not a value. The texts are Redis's wherever Redis has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// One word was expected, or some.
    #[error("wrong number of arguments")]
    WrongNumber,
    /// See the text.
    #[error("argument must be 'yes' or 'no'")]
    NotYesNo,
    /// See the text.
    #[error("argument couldn't be parsed into an integer")]
    NotInteger,
    /// See the text.
    #[error("argument must be between {min} and {max} inclusive")]
    OutOfRange {
        /// Smallest.
        min: i128,
        /// Largest.
        max: i128,
    },
    /// See the text.
    #[error("argument must be a memory value")]
    NotMemory,
    /// See the text.
    #[error("argument must be a memory or percent value")]
    NotMemoryOrPercent,
    /// See the text.
    #[error("percentage argument must be less or equal to {0}")]
    PercentTooLarge(u64),
    /// A number below 0, or a memory value that no signed 64-bit number holds.
    #[error("argument must be greater or equal to 0")]
    NotUnsigned,
    /// See the text.
    #[error("argument couldn't be parsed as an octal number")]
    NotOctal,
    /// See the text.
    #[error("argument(s) must be one of the following: {}", .0.join(", "))]
    NotOneOf(&'static [&'static str]),
    /// A path or a name that is not UTF-8.
    #[error("argument must be valid UTF-8 without null characters")]
    NotText,
    /// See the text.
    #[error("Invalid latency-tracking-info-percentiles parameters")]
    Percentiles,
    /// See the text.
    #[error("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")]
    PercentileRange,
    /// A limit of `retain` that is none.
    #[error("maxlen and maxage of retain take a number above 0")]
    Retain,
    /// A line of `pusher-app` that is none, or repeats another's ID or key.
    #[error(
        "pusher-app takes: id key secret [user name] [prefix text] [client-events rate], each id and key once"
    )]
    PusherApp,
    /// See the text.
    #[error("Invalid client class specified in buffer limit configuration.")]
    LimitClass,
    /// See the text.
    #[error("Wrong number of arguments in buffer limit configuration.")]
    LimitWords,
    /// See the text.
    #[error("Error in hard, soft or soft_seconds setting in buffer limit configuration.")]
    LimitValue,
    /// See the text.
    #[error("Invalid save parameters")]
    SavePoints,
    /// See the text.
    #[error("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")]
    KeyEvents,
    /// See the text.
    #[error("Too many bind addresses specified.")]
    TooManyAddresses,
    /// What no browser sends as an origin.
    #[error("argument must be a list of origins, as in https://example.com, or *")]
    Origin,
    /// A version of TLS that is unknown or too old to be safe.
    #[error("argument must be a list of 'TLSv1.2' and 'TLSv1.3' (older versions are not supported)")]
    TlsProtocols,
    /// The second definition of a user.
    #[error(
        "Error in user declaration '{0}': Duplicate user found. A user can only be defined once in config files"
    )]
    DuplicateUser(String),
    /// A rule that a user can't have.
    #[error("Error in user declaration '{0}': {1}")]
    UserRule(String, String),
    /// A name that no user can have.
    #[error("Error in user declaration '{0}': Usernames can't contain spaces or null characters")]
    UserName(String),
    /// Users in two places, of which one would be forgotten.
    #[error("users stand in the configuration or in an aclfile, not in both")]
    UsersTwice,
    /// A `rename-command` that can't be carried out.
    #[error("{0}")]
    Rename(String),
    /// An option that has one value here, and another one.
    #[error("argument must be '{0}', which it is always")]
    Fixed(&'static str),
    /// A value that Redis has and Sterna doesn't.
    #[error("'{0}' is not supported")]
    Unsupported(&'static str),
}

/// A type that a field of `Config` can have.
pub(crate) trait Value {
    /// Reads `words`, which follow the option's name. On an error the value is unchanged.
    fn assign(&mut self, words: &[&[u8]], kind: Kind, phase: Phase) -> Result<(), ValueError>;

    /// As CONFIG GET answers it.
    fn text(&self, kind: Kind) -> Vec<u8>;

    /// As redis.conf has it: the words after the name, one list a line. No line means that there is nothing to say.
    fn lines(&self, kind: Kind) -> Vec<Vec<Vec<u8>>> {
        vec![vec![self.text(kind)]]
    }
}

/// The one word of an option that takes one.
pub(crate) fn only<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], ValueError> {
    match words {
        [word] => Ok(word),
        _ => Err(ValueError::WrongNumber),
    }
}

/// `word` as text.
pub(crate) fn utf8(word: &[u8]) -> Result<&str, ValueError> {
    let text = std::str::from_utf8(word).map_err(|_| ValueError::NotText)?;
    if text.contains('\0') { Err(ValueError::NotText) } else { Ok(text) }
}

/// A whole number exactly as Redis writes it: no sign but `-`, no leading zero, no space.
pub(crate) fn integer(word: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == word).then_some(number)
}

/// Bytes from digits and a unit: `k` is 1000 and `kb` 1024, likewise `m mb g gb`; `b` or nothing is one.
///
/// Saturates far above what any option allows, so that the caller can tell "too large" from "not a number".
pub fn memory(word: &[u8]) -> Option<u128> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let factor: u128 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    // No digit at all is zero, as in Redis.
    let number = number
        .iter()
        .fold(0u128, |sum, &digit| sum.saturating_mul(10).saturating_add(u128::from(digit - b'0')));
    Some(number.saturating_mul(factor))
}

/// `number` within the bounds of `kind`.
fn number(word: &[u8], kind: Kind) -> Result<i128, ValueError> {
    let (number, min, max) = match kind {
        Kind::Int { min, max, .. } => {
            (i128::from(integer(word).ok_or(ValueError::NotInteger)?), i128::from(min), i128::from(max))
        }
        Kind::Count { .. } => match integer(word).ok_or(ValueError::NotInteger)? {
            ..0 => return Err(ValueError::NotUnsigned),
            number => (i128::from(number), 0, i128::from(i64::MAX)),
        },
        Kind::Memory { min, max, unsigned } => {
            let bytes = i128::try_from(memory(word).ok_or(ValueError::NotMemory)?).unwrap_or(i128::MAX);
            if unsigned && bytes > i128::from(i64::MAX) {
                return Err(ValueError::NotUnsigned);
            }
            (bytes, i128::from(min), i128::from(max))
        }
        _ => {
            let text = utf8(word).map_err(|_| ValueError::NotOctal)?;
            let octal = u32::from_str_radix(text, 8).ok().filter(|_| !text.starts_with('+'));
            (i128::from(octal.ok_or(ValueError::NotOctal)?), 0, 0o777)
        }
    };
    if number < min || number > max { Err(ValueError::OutOfRange { min, max }) } else { Ok(number) }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => { $(
        impl Value for $type {
            fn assign(&mut self, words: &[&[u8]], kind: Kind, _: Phase) -> Result<(), ValueError> {
                let number = number(only(words)?, kind)?;
                // A row's bounds lie within its field's type; if one ever did not, the type's bounds hold.
                *self = <$type>::try_from(number).map_err(|_| ValueError::OutOfRange {
                    min: i128::from(<$type>::MIN),
                    max: i128::from(<$type>::MAX),
                })?;
                Ok(())
            }

            fn text(&self, kind: Kind) -> Vec<u8> {
                match kind {
                    Kind::Octal => format!("{self:o}").into_bytes(),
                    _ => self.to_string().into_bytes(),
                }
            }
        }
    )* };
}
whole_numbers!(u16, u32, u64, i32, i64);

impl Value for bool {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        *self = match only(words)?.to_ascii_lowercase().as_slice() {
            b"yes" => true,
            b"no" => false,
            _ => return Err(ValueError::NotYesNo),
        };
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

impl Value for Vec<u8> {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        *self = only(words)?.to_vec();
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        self.clone()
    }
}

impl Value for String {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        *self = utf8(only(words)?)?.to_owned();
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        self.clone().into_bytes()
    }
}

/// An empty word is no path at all.
impl Value for Option<PathBuf> {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let text = utf8(only(words)?)?;
        *self = (!text.is_empty()).then(|| PathBuf::from(text));
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        self.as_ref().map_or_else(Vec::new, |path| path.as_os_str().as_encoded_bytes().to_vec())
    }
}

impl Value for PathBuf {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        *self = PathBuf::from(utf8(only(words)?)?);
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        self.as_os_str().as_encoded_bytes().to_vec()
    }
}

/// Defines an enum whose variants have names in redis.conf, and how it is read.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )* }

        impl $name {
            /// The names, in Redis's order.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// Its name in redis.conf.
            pub const fn name(self) -> &'static str {
                match self { $( $name::$variant => $text, )* }
            }
        }

        impl $crate::value::Value for $name {
            fn assign(
                &mut self,
                words: &[&[u8]],
                _: $crate::value::Kind,
                _: $crate::value::Phase,
            ) -> Result<(), $crate::value::ValueError> {
                let word = $crate::value::only(words)?;
                $( if word.eq_ignore_ascii_case($text.as_bytes()) { *self = $name::$variant; return Ok(()); } )*
                Err($crate::value::ValueError::NotOneOf($name::NAMES))
            }

            fn text(&self, _: $crate::value::Kind) -> Vec<u8> {
                self.name().as_bytes().to_vec()
            }
        }
    };
}
pub(crate) use choices;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units_are_those_of_redis() {
        let rows: &[(&str, Option<u128>)] = &[
            ("0", Some(0)),
            ("", Some(0)),
            ("1b", Some(1)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2Mb", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3gb", Some(3 << 30)),
            ("-1", None),
            ("1 kb", None),
            ("1p", None),
            ("kb", Some(0)),
            ("10%", None),
        ];
        for (text, expected) in rows {
            assert_eq!(memory(text.as_bytes()), *expected, "{text}");
        }
        assert!(memory(b"99999999999999999999999999999999999999999999999999gb").is_some());
    }

    #[test]
    fn integers_are_strict() {
        for (text, expected) in [("0", Some(0)), ("-5", Some(-5)), ("9223372036854775807", Some(i64::MAX))] {
            assert_eq!(integer(text.as_bytes()), expected, "{text}");
        }
        for text in ["", " 1", "+1", "01", "-0", "1k", "1.0", "9223372036854775808", "\u{663}"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
