//! Why a command was refused: facts, and the one place that words them.

use std::borrow::Cow;

/// A command that was refused. Nothing was changed and nothing was written to the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The key holds a value of another type.
    WrongType,
    /// An argument, or the value, is not an integer of 64 bits.
    NotInteger,
    /// An argument, or the value, is not a finite float.
    NotFloat,
    /// An option is unknown, incomplete, or excluded by another.
    Syntax,
    /// The wrong number of arguments, found only by looking at them.
    Arity {
        /// Lower case.
        command: &'static str,
    },
}

impl Error {
    /// The error line without its `-`.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let fixed: &'static str = match self {
            Error::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Error::NotInteger => "ERR value is not an integer or out of range",
            Error::NotFloat => "ERR value is not a valid float",
            Error::Syntax => "ERR syntax error",
            Error::Arity { command } => {
                return format!("ERR wrong number of arguments for '{command}' command").into_bytes().into();
            }
        };
        Cow::Borrowed(fixed.as_bytes())
    }
}
