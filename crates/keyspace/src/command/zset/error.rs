//! Why commands on sorted sets are refused, beyond what all commands are refused for.

use std::borrow::Cow;

use crate::error::Error;

/// A command on a sorted set that was refused for a reason of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZsetError {
    /// ZADD with NX and XX.
    NxExcludesXx,
    /// ZADD with two of NX, GT and LT.
    NxGtLt,
    /// ZADD INCR of more than one member.
    IncrementsSeveral,
    /// The sum of two infinities.
    ResultNotNumber,
    /// An end of a range is no score.
    RangeNotFloat,
    /// An end of a range is no member behind `[` or `(`, and not `-` or `+`.
    RangeNotLex,
    /// LIMIT with a range of ranks.
    LimitWithRanks,
    /// WITHSCORES with a range of members.
    ScoresWithLex,
    /// A number of elements that is negative, or no number.
    CountNegative,
    /// A number of keys below 1.
    NumkeysTooSmall,
    /// A number of elements below 1.
    CountTooSmall,
    /// A number of elements that is out of range.
    CountOutOfRange,
    /// A number of elements whose opposite is no number.
    CountNotSymmetric,
    /// No key where some must be.
    NoInputKey {
        /// Lower case.
        command: &'static str,
    },
    /// WEIGHTS with something that is no number.
    WeightNotFloat,
    /// LIMIT that is negative, or no number.
    LimitNegative,
}

impl ZsetError {
    /// The error line without its `-`.
    pub fn text(self) -> Cow<'static, [u8]> {
        let fixed: &'static str = match self {
            ZsetError::NxExcludesXx => "ERR XX and NX options at the same time are not compatible",
            ZsetError::NxGtLt => "ERR GT, LT, and/or NX options at the same time are not compatible",
            ZsetError::IncrementsSeveral => "ERR INCR option supports a single increment-element pair",
            ZsetError::ResultNotNumber => "ERR resulting score is not a number (NaN)",
            ZsetError::RangeNotFloat => "ERR min or max is not a float",
            ZsetError::RangeNotLex => "ERR min or max not valid string range item",
            ZsetError::LimitWithRanks => {
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
            }
            ZsetError::ScoresWithLex => {
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX"
            }
            ZsetError::CountNegative => "ERR value is out of range, must be positive",
            ZsetError::NumkeysTooSmall => "ERR numkeys should be greater than 0",
            ZsetError::CountTooSmall => "ERR count should be greater than 0",
            ZsetError::CountOutOfRange => "ERR value is out of range",
            ZsetError::CountNotSymmetric => {
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
            }
            ZsetError::NoInputKey { command } => {
                return format!("ERR at least 1 input key is needed for '{command}' command")
                    .into_bytes()
                    .into();
            }
            ZsetError::WeightNotFloat => "ERR weight value is not a float",
            ZsetError::LimitNegative => "ERR LIMIT can't be negative",
        };
        Cow::Borrowed(fixed.as_bytes())
    }
}

impl From<ZsetError> for Error {
    fn from(error: ZsetError) -> Error {
        Error::Zset(error)
    }
}
