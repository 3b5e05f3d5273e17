//! Why a stream command was refused, in Redis's words.

use std::borrow::Cow;

/// See [`crate::Error`]: nothing was changed, nothing written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum StreamError {
    InvalidId,
    IdTooSmall,
    IdZero,
    IdsExhausted,
    MaxLenNegative,
    LimitNegative,
    TrimTwice,
    LimitAlone,
    LimitExact,
    TrimNone,
    Unbalanced { group: bool },
    GroupInXread,
    NoackInXread,
    ClaimInXread,
    GroupMissing,
    NewIdInXread,
    MeaninglessId { id: char },
    Timeout,
    TimeoutNegative,
    MaxCountTooSmall,
    MinIdle,
    MinIdleNegative,
    NotPositive { option: &'static str },
    NoGroup { key: Box<[u8]>, group: Box<[u8]>, reading: bool },
    NoSuchGroup { key: Box<[u8]>, group: Box<[u8]> },
    GroupExists,
    KeyRequired,
    EntriesRead,
    NoSuchKey,
    Arguments { container: &'static str, subcommand: Box<[u8]> },
    SetIdTooSmall,
    SetIdDeleted,
    EntriesAddedTooSmall,
    EntriesAddedNegative,
    MaxDeletedTooLarge,
    ClaimOption { option: Box<[u8]> },
    ClaimArgument { argument: &'static str, command: &'static str },
    CountNotPositive,
    IntervalStart,
    IntervalEnd,
    NumIds,
    NumIdsMismatch,
    IdempotentTwice,
    IdempotentExplicitId,
    ProducerEmpty { option: &'static str },
    IidEmpty,
    ConfigRange { option: &'static str, least: u32, most: u32, unit: &'static str },
    ConfigTwice { option: &'static str },
    ConfigNone,
    NackMode,
    NackNumIds,
    NackNumIdsMismatch,
    NackRetryCount,
    NackIdsMissing,
    NackOption { option: Box<[u8]> },
}

impl StreamError {
    /// The error line without its `-`.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let fixed: &'static str = match self {
            StreamError::InvalidId => "ERR Invalid stream ID specified as stream command argument",
            StreamError::IdTooSmall => {
                "ERR The ID specified in XADD is equal or smaller than the target stream top item"
            }
            StreamError::IdZero => "ERR The ID specified in XADD must be greater than 0-0",
            StreamError::IdsExhausted => {
                "ERR The stream has exhausted the last possible ID, unable to add more items"
            }
            StreamError::MaxLenNegative => "ERR The MAXLEN argument must be >= 0.",
            StreamError::LimitNegative => "ERR The LIMIT argument must be >= 0.",
            StreamError::TrimTwice => {
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
            }
            StreamError::LimitAlone => {
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
            }
            StreamError::LimitExact => "ERR syntax error, LIMIT cannot be used without the special ~ option",
            StreamError::TrimNone => "ERR syntax error, XTRIM must be called with a trimming strategy",
            StreamError::Unbalanced { group: false } => {
                "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."
            }
            StreamError::Unbalanced { group: true } => {
                "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
            }
            StreamError::GroupInXread => {
                "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."
            }
            StreamError::NoackInXread => {
                "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
            }
            StreamError::ClaimInXread => {
                "ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead."
            }
            StreamError::GroupMissing => "ERR Missing GROUP option for XREADGROUP",
            StreamError::NewIdInXread => {
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
            }
            StreamError::Timeout => "ERR timeout is not an integer or out of range",
            StreamError::TimeoutNegative => "ERR timeout is negative",
            StreamError::MaxCountTooSmall => "ERR MAXCOUNT must be greater than or equal to COUNT",
            StreamError::MinIdle => "ERR min-idle-time is not an integer or out of range",
            StreamError::MinIdleNegative => "ERR min-idle-time must be a positive integer",
            StreamError::GroupExists => "BUSYGROUP Consumer Group name already exists",
            StreamError::KeyRequired => {
                "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                 MKSTREAM option to create an empty stream automatically."
            }
            StreamError::EntriesRead => "ERR value for ENTRIESREAD must be positive or -1",
            StreamError::NoSuchKey => "ERR no such key",
            StreamError::SetIdTooSmall => {
                "ERR The ID specified in XSETID is smaller than the target stream top item"
            }
            StreamError::SetIdDeleted => {
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
            }
            StreamError::EntriesAddedTooSmall => {
                "ERR The entries_added specified in XSETID is smaller than the target stream length"
            }
            StreamError::EntriesAddedNegative => "ERR entries_added must be positive",
            StreamError::MaxDeletedTooLarge => {
                "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
            }
            StreamError::CountNotPositive => "ERR COUNT must be > 0",
            StreamError::IntervalStart => "ERR invalid start ID for the interval",
            StreamError::IntervalEnd => "ERR invalid end ID for the interval",
            StreamError::NumIds => "ERR Number of IDs must be a positive integer",
            StreamError::NumIdsMismatch => "ERR The `numids` parameter must match the number of arguments",
            StreamError::IdempotentTwice => "ERR syntax error, IDMP/IDMPAUTO specified multiple times",
            StreamError::IdempotentExplicitId => {
                "ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs"
            }
            StreamError::IidEmpty => "ERR syntax error, IDMP requires a non-empty idempotent ID",
            StreamError::ConfigNone => "ERR At least one parameter must be specified",
            StreamError::NackMode => "ERR mode must be SILENT, FAIL, or FATAL",
            StreamError::NackNumIds => "ERR numids must be a positive integer",
            StreamError::NackNumIdsMismatch => "ERR number of IDs doesn't match numids",
            StreamError::NackRetryCount => "ERR Invalid RETRYCOUNT value, must be >= 0",
            StreamError::NackIdsMissing => "ERR syntax error, expected IDS keyword",
            facts => return facts.sentence().into(),
        };
        Cow::Borrowed(fixed.as_bytes())
    }

    /// The texts that have something to fill in.
    fn sentence(&self) -> Vec<u8> {
        match self {
            StreamError::MeaninglessId { id } => format!(
                "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                 consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just \
                 return an empty result set."
            )
            .into_bytes(),
            StreamError::NotPositive { option } => {
                format!("ERR {option} must be a positive integer").into_bytes()
            }
            StreamError::NoGroup { key, group, reading } => {
                let end: &[u8] = if *reading { b" in XREADGROUP with GROUP option" } else { b"" };
                [b"NOGROUP No such key '", &**key, b"' or consumer group '", &**group, b"'", end].concat()
            }
            StreamError::NoSuchGroup { key, group } => {
                [b"NOGROUP No such consumer group '", &**group, b"' for key name '", &**key, b"'"].concat()
            }
            StreamError::Arguments { container, subcommand } => [
                b"ERR unknown subcommand or wrong number of arguments for '",
                &**subcommand,
                b"'. Try ",
                container.as_bytes(),
                b" HELP.",
            ]
            .concat(),
            StreamError::ClaimOption { option } => {
                [b"ERR Unrecognized XCLAIM option '", &**option, b"'"].concat()
            }
            StreamError::ClaimArgument { argument, command } => {
                format!("ERR Invalid {argument} argument for {command}").into_bytes()
            }
            StreamError::ProducerEmpty { option } => {
                format!("ERR syntax error, {option} requires a non-empty producer ID").into_bytes()
            }
            StreamError::ConfigRange { option, least, most, unit } => {
                format!("ERR {option} must be between {least} and {most} {unit}").into_bytes()
            }
            StreamError::ConfigTwice { option } => {
                format!("ERR {option} specified multiple times").into_bytes()
            }
            StreamError::NackOption { option } => {
                [b"ERR Unrecognized XNACK option '", &**option, b"'"].concat()
            }
            // The others have a fixed text.
            _ => b"ERR syntax error".to_vec(),
        }
    }
}

impl From<StreamError> for crate::Error {
    fn from(error: StreamError) -> crate::Error {
        crate::Error::Stream(error)
    }
}
