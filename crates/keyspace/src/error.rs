//! Why a command was refused: facts, and the one place that words them.

use std::borrow::Cow;

use crate::command::{HashError, SetError, StreamError};

/// A command that was refused. Nothing was changed and nothing was written to the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The key holds a value of another type.
    WrongType,
    /// An argument, or the value, is not an integer of 64 bits.
    NotInteger,
    /// An argument is an integer, but not of 32 bits.
    NotInt32,
    /// An argument, or the value, is not a finite float.
    NotFloat,
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
    /// A cursor that SCAN did not give.
    InvalidCursor,
    /// SCAN with an option of HSCAN.
    NoValuesOutsideHscan,
    /// No database has this number.
    DbOutOfRange,
    /// COPY of a key onto itself.
    SameKey,
    /// OBJECT FREQ: no policy counts how often keys are used.
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
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotInt32 => "ERR value is out of range, value must between -2147483648 and 2147483647",
            Error::NotFloat => "ERR value is not a valid float",
            Error::Syntax => "ERR syntax error",
            Error::Stream(error) => return error.text(),
            Error::Hash(error) => return error.text(),
            Error::Set(error) => return error.text(),
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
            Error::InvalidCursor => "ERR invalid cursor",
            Error::NoValuesOutsideHscan => "ERR NOVALUES option can only be used in HSCAN",
            Error::DbOutOfRange => "ERR DB index is out of range",
            Error::SameKey => "ERR source and destination objects are the same",
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
