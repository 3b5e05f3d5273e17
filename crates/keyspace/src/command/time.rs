//! Points in time as clients give them: in seconds or milliseconds, from now or from 1970.

use super::*;

/// How a number is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Millis,
    /// `EXAT`: Unix time in seconds.
    UnixSeconds,
    /// `PXAT`: Unix time in milliseconds.
    UnixMillis,
}

impl Clock {
    /// The clock that an option of SET or GETEX names.
    pub(super) fn of_option(option: &[u8]) -> Option<Clock> {
        let options = [
            ("ex", Clock::Seconds),
            ("px", Clock::Millis),
            ("exat", Clock::UnixSeconds),
            ("pxat", Clock::UnixMillis),
        ];
        options.into_iter().find(|(name, _)| is(option, name)).map(|(_, clock)| clock)
    }

    /// Whether it counts from 1970.
    pub(super) fn is_absolute(self) -> bool {
        matches!(self, Clock::UnixSeconds | Clock::UnixMillis)
    }

    /// The Unix time in milliseconds that `number` means, possibly before 1970; `None`: out of range.
    pub(super) fn unix_ms(self, number: i64, now_ms: u64) -> Option<i64> {
        let ms = match self {
            Clock::Seconds | Clock::UnixSeconds => number.checked_mul(1000)?,
            Clock::Millis | Clock::UnixMillis => number,
        };
        if self.is_absolute() { Some(ms) } else { ms.checked_add(i64::try_from(now_ms).ok()?) }
    }

    /// When a key expires whose expiry is given as `number`, which must be positive.
    pub(super) fn expiry_ms(self, number: i64, now_ms: u64, command: &'static str) -> Result<u64, Error> {
        let refused = Error::InvalidExpire { command };
        if number <= 0 {
            return Err(refused);
        }
        self.unix_ms(number, now_ms).and_then(|ms| u64::try_from(ms).ok()).ok_or(refused)
    }
}
