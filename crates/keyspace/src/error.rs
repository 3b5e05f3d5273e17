//! Why a command was refused: facts, and the one place that words them.

use std::borrow::Cow;

use crate::command::{GeoError, HashError, SetError, StreamError, ZsetError};

/// A command that was refused. Nothing was changed and nothing was written to the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A script that has run for too long has the keys to itself.
    Busy,
    /// It would keep its keys' partitions locked for too long: it is to be run apart (`apart.rs`). No client sees this.
    TooLong,
    /// The same, and it looks at keys that are known only while it runs: it is to have all keys to itself. No client sees this.
    NeedsAll,
    /// The key holds a value of another type.
    WrongType,
    /// An argument, or the value, is not an integer of 64 bits.
    NotInteger,
    /// An argument is the integer of 64 bits that has no negation.
    NotNegatable,
    /// A number of elements to pop that is not one, or negative.
    NotPositive,
    /// A number of keys that is not one, or below 1.
    NoKeys,
    /// A number of elements that is not one, or below 1.
    CountBelowOne,
    /// An index beyond the ends of a list.
    IndexOutOfRange,
    /// A timeout that is no float.
    TimeoutNotFloat,
    /// A timeout so long that it ends after the end of time.
    TimeoutOutOfRange,
    /// A timeout below zero.
    TimeoutNegative,
    /// LPOS with a rank of zero.
    RankZero,
    /// LPOS with a number that is not one, or negative.
    Negative {
        /// Upper case.
        option: &'static str,
    },
    /// An argument is an integer, but not of 32 bits.
    NotInt32,
    /// An argument, or the value, is not a finite float.
    NotFloat,
    /// SORT of something that is no number.
    WeightNotFloat,
    /// An option is unknown, incomplete, or excluded by another.
    Syntax,
    /// The wrong number of arguments, found only by looking at them.
    Arity {
        /// Lower case.
        command: &'static str,
    },
    /// A stream command was refused for a reason of its own.
    Stream(StreamError),
    /// A hash command was refused for a reason of its own.
    Hash(HashError),
    /// A set command was refused for a reason of its own.
    Set(SetError),
    /// A sorted set command was refused for a reason of its own.
    Zset(ZsetError),
    /// A command on places was refused for a reason of its own.
    Geo(GeoError),
    /// SWAPDB with a first database that is no number.
    FirstDbInvalid,
    /// SWAPDB with a second database that is no number.
    SecondDbInvalid,
    /// RENAME of a key that is not there.
    NoSuchKey,
    /// An expiry that is not positive, or out of range.
    InvalidExpire {
        /// Lower case.
        command: &'static str,
    },
    /// EXPIRE with a word that is none of its options.
    UnsupportedOption {
        /// As it was sent.
        option: Box<[u8]>,
    },
    /// EXPIRE with NX and another condition.
    NxExcludesXxGtLt,
    /// EXPIRE with GT and LT.
    GtExcludesLt,
    /// The sum is out of range.
    IncrementOverflow,
    /// The decrement has no negation.
    DecrementOverflow,
    /// The increment is not finite.
    IncrementNotFinite,
    /// An argument is an integer, but not one of these.
    NotBetween {
        /// The least that is allowed.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A number that no request can mean.
    OutOfRange,
    /// The sum is not finite.
    NotFinite,
    /// The string would be longer than a string may be.
    StringTooLong,
    /// INCREX with an option that is no integer.
    OptionNotInteger {
        /// As the text calls it.
        name: &'static str,
    },
    /// INCREX with an option that is no finite float.
    OptionNotFloat {
        /// As the text calls it.
        name: &'static str,
    },
    /// INCREX with a lower bound above the upper one.
    BoundsCrossed,
    /// INCREX ENX without an expiry.
    EnxWithoutExpiry,
    /// MSETEX with a number of keys that is none.
    KeyCount,
    /// MSETEX with fewer pairs than it says.
    PairCount,
    /// A bit that is neither 0 nor 1.
    NotBit,
    /// BITPOS of something else than 0 or 1.
    NotBitArgument,
    /// An offset in bits that no string reaches.
    BitOffset,
    /// A type that BITFIELD doesn't know.
    BitfieldType,
    /// An overflow that BITFIELD doesn't know.
    BitfieldOverflow,
    /// BITFIELD_RO with something else than GET.
    BitfieldReadOnly,
    /// BITOP NOT of several keys.
    BitopOneSource,
    /// BITOP DIFF and its like of one key.
    BitopTwoSources {
        /// The operation.
        operation: &'static str,
    },
    /// A string that is no HyperLogLog.
    NotHll,
    /// A HyperLogLog whose runs don't add up.
    HllDamaged,
    /// PFDEBUG of a key that is not there.
    NoSuchHll,
    /// PFDEBUG DECODE of a dense one.
    HllNotSparse,
    /// PFDEBUG with a word that is none of its subcommands.
    UnknownPfdebug {
        /// As it was sent.
        subcommand: Box<[u8]>,
    },
    /// LCS of something else than strings.
    LcsOfOtherTypes,
    /// LCS LEN IDX.
    LcsLenAndIndexes,
    /// LCS of strings whose lengths' product is too large.
    LcsTooLarge,
    /// SETRANGE at a negative offset.
    OffsetOutOfRange,
    /// A digest of other than 16 digits.
    DigestLength,
    /// DELEX with a word that is none of its conditions.
    InvalidCondition,
    /// DELEX with a condition on a key that holds no string.
    ConditionOnOtherType,
    /// A cursor that SCAN did not give.
    InvalidCursor,
    /// SCAN with an option of HSCAN.
    NoValuesOutsideHscan,
    /// No database has this number.
    DbOutOfRange,
    /// COPY of a key onto itself.
    SameKey,
    /// OBJECT IDLETIME: how often keys are used is noted instead.
    IdleTimeNotTracked,
    /// OBJECT FREQ: when keys were used is noted instead.
    FrequencyNotTracked,
    /// RESTORE onto a key that exists.
    BusyKey,
    /// RESTORE with a negative TTL.
    InvalidTtl,
    /// RESTORE with a negative idle time.
    InvalidIdleTime,
    /// RESTORE with a frequency that is not 0 to 255.
    InvalidFrequency,
    /// RESTORE of bytes that DUMP did not give, or a server of a later version did.
    DumpDamaged,
    /// RESTORE of a value that can't be read, or is of a type that is not kept here.
    DumpUnreadable,
}

impl Error {
    /// The error line without its `-`.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let fixed: &'static str = match self {
            Error::Busy => {
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            }
            Error::TooLong | Error::NeedsAll => "ERR the command takes too long",
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotNegatable => {
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
            }
            Error::NotPositive => "ERR value is out of range, must be positive",
            Error::NoKeys => "ERR numkeys should be greater than 0",
            Error::CountBelowOne => "ERR count should be greater than 0",
            Error::IndexOutOfRange => "ERR index out of range",
            Error::TimeoutNotFloat => "ERR timeout is not a float or out of range",
            Error::TimeoutOutOfRange => "ERR timeout is out of range",
            Error::TimeoutNegative => "ERR timeout is negative",
            Error::RankZero => {
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
                 to start from the end of the list"
            }
            Error::Negative { option } => {
                return format!("ERR {option} can't be negative").into_bytes().into();
            }
            Error::NotInt32 => "ERR value is out of range, value must between -2147483648 and 2147483647",
            Error::NotFloat => "ERR value is not a valid float",
            Error::WeightNotFloat => "ERR One or more scores can't be converted into double",
            Error::Syntax => "ERR syntax error",
            Error::Stream(error) => return error.text(),
            Error::Hash(error) => return error.text(),
            Error::Set(error) => return error.text(),
            Error::Zset(error) => return error.text(),
            Error::Geo(error) => return error.text(),
            Error::Arity { command } => {
                return format!("ERR wrong number of arguments for '{command}' command").into_bytes().into();
            }
            Error::NoSuchKey => "ERR no such key",
            Error::InvalidExpire { command } => {
                return format!("ERR invalid expire time in '{command}' command").into_bytes().into();
            }
            Error::UnsupportedOption { option } => {
                return [b"ERR Unsupported option ", &**option].concat().into();
            }
            Error::NxExcludesXxGtLt => "ERR NX and XX, GT or LT options at the same time are not compatible",
            Error::GtExcludesLt => "ERR GT and LT options at the same time are not compatible",
            Error::IncrementOverflow => "ERR increment or decrement would overflow",
            Error::DecrementOverflow => "ERR decrement would overflow",
            Error::IncrementNotFinite => "ERR value is NaN or Infinity",
            Error::NotBetween { least, most } => {
                let text = format!("ERR value is out of range, value must between {least} and {most}");
                return text.into_bytes().into();
            }
            Error::OutOfRange => "ERR value is out of range",
            Error::NotFinite => "ERR increment would produce NaN or Infinity",
            Error::StringTooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Error::OptionNotInteger { name } => {
                return format!("ERR {name} is not an integer or out of range").into_bytes().into();
            }
            Error::OptionNotFloat { name } => {
                return format!("ERR {name} is not a valid float").into_bytes().into();
            }
            Error::BoundsCrossed => "ERR LBOUND can't be greater than UBOUND",
            Error::EnxWithoutExpiry => "ERR ENX flag requires an expiration",
            Error::KeyCount => "ERR invalid numkeys value",
            Error::PairCount => "ERR wrong number of key-value pairs",
            Error::NotBit => "ERR bit is not an integer or out of range",
            Error::NotBitArgument => "ERR The bit argument must be 1 or 0.",
            Error::BitOffset => "ERR bit offset is not an integer or out of range",
            Error::BitfieldType => {
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
            }
            Error::BitfieldOverflow => "ERR Invalid OVERFLOW type specified",
            Error::BitfieldReadOnly => "ERR BITFIELD_RO only supports the GET subcommand",
            Error::BitopOneSource => "ERR BITOP NOT must be called with a single source key.",
            Error::BitopTwoSources { operation } => {
                return format!("ERR BITOP {operation} must be called with at least two source keys.")
                    .into_bytes()
                    .into();
            }
            Error::NotHll => "WRONGTYPE Key is not a valid HyperLogLog string value.",
            Error::HllDamaged => "INVALIDOBJ Corrupted HLL object detected",
            Error::NoSuchHll => "ERR The specified key does not exist",
            Error::HllNotSparse => "ERR HLL encoding is not sparse",
            Error::UnknownPfdebug { subcommand } => {
                return [b"ERR Unknown PFDEBUG subcommand '", &**subcommand, b"'"].concat().into();
            }
            Error::LcsOfOtherTypes => "ERR The specified keys must contain string values",
            Error::LcsLenAndIndexes => "ERR If you want both the length and indexes, please just use IDX.",
            Error::LcsTooLarge => {
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
            }
            Error::OffsetOutOfRange => "ERR offset is out of range",
            Error::DigestLength => "ERR digest must be exactly 16 hexadecimal characters",
            Error::InvalidCondition => "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE",
            Error::ConditionOnOtherType => "ERR Key should be of string type if conditions are specified",
            Error::InvalidCursor => "ERR invalid cursor",
            Error::NoValuesOutsideHscan => "ERR NOVALUES option can only be used in HSCAN",
            Error::FirstDbInvalid => "ERR invalid first DB index",
            Error::SecondDbInvalid => "ERR invalid second DB index",
            Error::DbOutOfRange => "ERR DB index is out of range",
            Error::SameKey => "ERR source and destination objects are the same",
            Error::IdleTimeNotTracked => {
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
                 policies at runtime LRU and LFU data will take some time to adjust."
            }
            Error::FrequencyNotTracked => {
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust."
            }
            Error::BusyKey => "BUSYKEY Target key name already exists.",
            Error::InvalidTtl => "ERR Invalid TTL value, must be >= 0",
            Error::InvalidIdleTime => "ERR Invalid IDLETIME value, must be >= 0",
            Error::InvalidFrequency => "ERR Invalid FREQ value, must be >= 0 and <= 255",
            Error::DumpDamaged => "ERR DUMP payload version or checksum are wrong",
            Error::DumpUnreadable => "ERR Bad data format",
        };
        Cow::Borrowed(fixed.as_bytes())
    }
}
