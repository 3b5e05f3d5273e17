//! Why a hash command was refused, in Redis's words.

use std::borrow::Cow;

/// See [`crate::Error`]: nothing was changed, nothing written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum HashError {
    NotInteger,
    NotFloat,
    FieldsMissing,
    FieldsAbsent,
    FieldsTwice,
    FieldsCut,
    FieldsTooFew,
    NumFieldsZero,
    NumFieldsNotPositive,
    NumFieldsInvalid,
    NumFieldsMismatch,
    ExpireNegative,
    ExpireMissing,
    ConditionTwice,
    ConditionsDiffer,
    ExpiryTwice,
    ExpiryOrPersistTwice,
    NoFieldset,
    FieldsetMismatch,
    Argument { argument: Box<[u8]> },
}

impl HashError {
    /// The error line without its `-`.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let fixed: &'static str = match self {
            HashError::NotInteger => "ERR hash value is not an integer",
            HashError::NotFloat => "ERR hash value is not a float",
            HashError::FieldsMissing => {
                "ERR Mandatory argument FIELDS is missing or not at the right position"
            }
            HashError::FieldsAbsent => "ERR missing FIELDS argument",
            HashError::FieldsTwice => "ERR FIELDS keyword specified multiple times",
            HashError::FieldsCut => "ERR FIELDS requires at least numfields and one field argument",
            HashError::FieldsTooFew => "ERR wrong number of arguments",
            HashError::NumFieldsZero => "ERR Parameter `numFields` should be greater than 0",
            HashError::NumFieldsNotPositive => "ERR Number of fields must be a positive integer",
            HashError::NumFieldsInvalid => "ERR invalid number of fields",
            HashError::NumFieldsMismatch => {
                "ERR The `numfields` parameter must match the number of arguments"
            }
            HashError::ExpireNegative => "ERR invalid expire time, must be >= 0",
            HashError::ExpireMissing => "ERR missing expire time",
            HashError::ConditionTwice => "ERR Only one of FXX or FNX arguments can be specified",
            HashError::ConditionsDiffer => "ERR Multiple condition flags specified",
            HashError::ExpiryTwice => {
                "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
            }
            HashError::ExpiryOrPersistTwice => {
                "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified"
            }
            HashError::NoFieldset => "ERR no such fieldset",
            HashError::FieldsetMismatch => "ERR value count does not match fieldset field count",
            HashError::Argument { argument } => {
                return [b"ERR unknown argument: ", &**argument].concat().into();
            }
        };
        Cow::Borrowed(fixed.as_bytes())
    }
}

impl From<HashError> for crate::Error {
    fn from(error: HashError) -> crate::Error {
        crate::Error::Hash(error)
    }
}
