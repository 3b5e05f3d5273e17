//! The payload of a record: a keyspace that comes back from a snapshot goes on the same.

use crate::keys::Keys;
use crate::within;

pub fn run(input: &[u8]) {
    let Some((&at, effects)) = input.split_first() else { return };
    let (before, after) = effects.split_at(effects.len().min(usize::from(at)));
    within((1 << 20) + 1000 * input.len(), || {
        let mut keys = Keys::default();
        keys.apply(before);
        let mut reloaded = keys.reloaded();
        assert_eq!(reloaded.states(), keys.states());
        assert_eq!(reloaded.apply(after), keys.apply(after), "what fits differs");
        assert_eq!(reloaded.states(), keys.states());
    });
}
