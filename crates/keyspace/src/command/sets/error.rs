//! Why a command on sets was refused, where no other command is refused for it.

use std::borrow::Cow;

/// A set command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetError {
    /// SPOP of a negative number, or of none.
    CountNotPositive,
    /// A number of keys that is not positive.
    NoKeys,
    /// More keys are announced than arguments follow.
    TooManyKeys,
    /// LIMIT that is negative, or no number.
    LimitNegative,
}

impl SetError {
    pub(crate) fn text(self) -> Cow<'static, [u8]> {
        let text = match self {
            SetError::CountNotPositive => "ERR value is out of range, must be positive",
            SetError::NoKeys => "ERR numkeys should be greater than 0",
            SetError::TooManyKeys => "ERR Number of keys can't be greater than number of args",
            SetError::LimitNegative => "ERR LIMIT can't be negative",
        };
        Cow::Borrowed(text.as_bytes())
    }
}
