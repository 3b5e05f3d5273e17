//! What a channel that remembers keeps of a message: an entry of its stream.

use super::trim::trim;
use super::*;
use crate::stream::{AddError, IdRequest, Trim, TrimBound};

/// The field of an entry that holds the message.
const FIELD: &[u8] = b"message";

/// Messages that are too old and that one message removes, about.
const AGED_MAX: usize = 100;

/// Messages that are too many and that one message removes: after its rule has changed they may be all that the channel has. Some 3 ms.
const TRIMMED_MAX: u64 = 1_000_000;

/// How much a channel remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages; `None`: all.
    pub maxlen: Option<u64>,
    /// Milliseconds that a message stays; 0: for good.
    pub max_age_ms: u64,
}

/// Appends a message to the stream at `key`, which is made where there is none, and removes what is too much; returns the
/// message's ID. As an XADD with MAXLEN would, and what is too old goes by itself from here on.
///
/// Errors, with nothing changed: there is something else, or no ID is left.
pub fn remember(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    message: &[u8],
    retention: Retention,
) -> Result<EntryId, Error> {
    let now_ms = ctx.now_ms;
    let limits = ctx.stream_settings(key).limits;
    let mut slot = ctx.slot(key);
    let next = match stream_in(&slot)? {
        Some(stream) => stream.next_id(IdRequest::Auto, now_ms),
        None => Stream::new().next_id(IdRequest::Auto, now_ms),
    };
    let id = next.map_err(|error| match error {
        AddError::IdTooSmall => StreamError::IdTooSmall,
        AddError::IdsExhausted => StreamError::IdsExhausted,
    })?;
    if slot.is_empty() {
        slot.create_stream();
    }
    // Most of it went by itself already.
    slot.expire_parts(AGED_MAX);
    let trimmed = slot.edit_stream(|stream, recorder| {
        if stream.max_age_ms() != retention.max_age_ms {
            stream.set_max_age(retention.max_age_ms);
            recorder.record(&Change::MaxAge { ms: retention.max_age_ms });
        }
        let fields = [FIELD, message].into_iter();
        // `next_id` made sure that the ID is above the last one.
        let appended = stream.append(id, fields.clone(), limits);
        debug_assert_eq!(appended, Ok(()));
        recorder.record_add(id, fields);
        retention.maxlen.map_or(0, |most| {
            let bound = TrimBound::MaxLen(kept(stream.len(), most));
            trim(stream, recorder, Trim { bound, whole_blocks: None, references: References::Keep })
        })
    });
    let trimmed = trimmed.ok_or(Error::WrongType)?;
    slot.touch();
    slot.event(event::XADD);
    if trimmed > 0 {
        slot.event(event::XTRIM);
    }
    Ok(id)
}

/// How many messages stay of so many, where `most` are to: the next message takes away what is left of the rest.
fn kept(len: u64, most: u64) -> u64 {
    most.max(len.saturating_sub(TRIMMED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_removes_what_is_too_much_and_of_very_much_a_part() {
        assert_eq!(kept(11, 10), 10);
        assert_eq!(kept(TRIMMED_MAX, 10), 10);
        assert_eq!(kept(3 * TRIMMED_MAX, 10), 2 * TRIMMED_MAX);
    }
}
