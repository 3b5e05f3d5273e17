//! Simulation.

pub mod planted;

use crate::engine::Engine;

/// An engine that takes a turn only when told to.
pub struct Stepper {
    engine: Engine,
}

impl Stepper {
    pub(crate) fn new(engine: Engine) -> Stepper {
        Stepper { engine }
    }

    /// Takes one turn at `now_ms`, which must not fall.
    pub fn turn(&mut self, now_ms: u64) {
        self.engine.turn(now_ms);
    }
}
