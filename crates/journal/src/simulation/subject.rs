//! What is simulated upon a journal: any state whose every change can be written as an effect.

use super::Dice;
use crate::recovery::Restore;

/// A state machine whose effects are journaled.
///
/// It must keep what [`Restore`] demands: skip effects that a key's stamp covers.
pub trait Subject: Restore + Sized {
    /// The state before any effect.
    fn empty() -> Self;

    /// Changes the state by some write of its own choosing, and returns the effect to be journaled.
    fn write(&mut self, dice: &mut Dice) -> Vec<u8>;

    /// Changes the state by writes that several threads make at once: their effects in the order in which the journal takes
    /// them, each with the digest of the state after it.
    fn write_at_once(&mut self, dice: &mut Dice) -> Vec<(Vec<u8>, u64)> {
        let effect = self.write(dice);
        vec![(effect, self.digest())]
    }

    /// Whether recording begins and ceases, as the last methods of this trait say.
    const SWITCHES: bool = false;

    /// From here on writes are recorded, or are not: what they return is nobody's.
    fn record_writes(&mut self, _records: bool) {}

    /// The effect behind which others do not count, until a snapshot does that was begun behind it.
    fn suspend() -> Vec<u8> {
        Vec::new()
    }

    /// The effect behind which others count again, the state being the one before the suspend.
    fn resume() -> Vec<u8> {
        Vec::new()
    }

    /// Whether the last effects that were restored did not count.
    fn is_suspended(&self) -> bool {
        false
    }

    /// Hands out the state of the next few keys of a walk that `place` keeps; false if the walk has passed them all.
    ///
    /// Between two calls the state changes. A walk sees every key that is there from its beginning to its end.
    fn capture(&self, place: &mut Capture, item: &mut dyn FnMut(&[u8], &[u8])) -> bool;

    /// A number that two states share only if they are the same.
    fn digest(&self) -> u64;
}

/// Where a walk over a subject's keys stands: the last key that it passed.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    /// `None` at the beginning.
    pub after: Option<Vec<u8>>,
}
