//! Whether writes are recorded in the journal, and what for: one state of the whole server.
//!
//! ```text
//!                 ┌─────────┐
//!                 │ Loading │
//!                 └──┬───┬──┘
//!     appendonly yes │   │ appendonly no
//!          ┌─────────┘   └──────────┐
//!          │                        ▼     SAVE, BGSAVE, a save point
//!          │                     ┌─────┐ ────────────────────────► ┌────────┐
//!          │                     │ Off │ ◄──────────────────────── │ Saving │
//!          │                     └─────┘   done, or given up       └────────┘
//!          │   CONFIG SET or SHUTDOWN │ ▲
//!          │                          ▼ │ failed, or given up
//!          │   its snapshot     ┌───────────┐
//!          │   counts           │ TurningOn │
//!          ▼                    └───────────┘
//!       ┌────┐ ◄──────────────────────┘              ┌────────────┐
//!       │ On │ ────────────────────────────────────► │ TurningOff │ ────► Off
//!       └────┘            CONFIG SET                 └────────────┘
//!        │  ▲                                              ▲
//!        ▼  │ a snapshot                                   │
//!      ┌────────┐                                          │
//!      │ Failed │ ─────────────────────────────────────────┘
//!      └────────┘ a write is in memory and in no record
//! ```
//!
//! Invariants
//! - Writes are recorded in every state but `Loading` and `Off`. They begin and cease to be at a *cut*: with all partitions
//!   locked, so that what is recorded is a part without holes of the one order in which writes were made.
//! - In `Saving` and `TurningOn` a start does not look at what is recorded until the snapshot counts that it belongs to: a
//!   *suspend* stands before it in the log (see `switch.rs`). So what was durable before stays what a start finds.
//! - `appendonly` in the configuration is yes in `On`, `Failed` and `TurningOff`, and no otherwise. A server that stops is
//!   the exception: it goes from `Off` to `On` for its last moments.
//! - Only the thread of the jobs (`jobs.rs`) changes it once the server has loaded, but for `Failed`.

use std::sync::atomic::{AtomicU8, Ordering};

/// See the module.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// The keys are not all there yet.
    Loading,
    /// Nothing is recorded.
    #[default]
    Off,
    /// Recorded until the snapshot that runs is complete.
    Saving,
    /// Recorded; from the snapshot that runs on it counts.
    TurningOn,
    /// Every write is recorded.
    On,
    /// As `On`, but one write is in no record: no other is taken before a snapshot holds it.
    Failed,
    /// As `On`, until the cut.
    TurningOff,
}

impl Mode {
    #[cfg(test)]
    const ALL: [Mode; 7] =
        [Mode::Loading, Mode::Off, Mode::Saving, Mode::TurningOn, Mode::On, Mode::Failed, Mode::TurningOff];

    /// Whether a write's effects go into the journal.
    pub(crate) fn records(self) -> bool {
        !matches!(self, Mode::Loading | Mode::Off)
    }

    /// Whether every write is kept, as `appendonly yes` promises.
    pub(crate) fn is_on(self) -> bool {
        matches!(self, Mode::On | Mode::Failed | Mode::TurningOff)
    }

    /// The arrows of the drawing.
    fn leads_to(self, next: Mode) -> bool {
        match self {
            Mode::Loading => matches!(next, Mode::Off | Mode::On),
            Mode::Off => matches!(next, Mode::Saving | Mode::TurningOn),
            Mode::Saving => next == Mode::Off,
            Mode::TurningOn => matches!(next, Mode::Off | Mode::On),
            Mode::On => matches!(next, Mode::Failed | Mode::TurningOff),
            Mode::Failed => matches!(next, Mode::On | Mode::TurningOff),
            Mode::TurningOff => next == Mode::Off,
        }
    }
}

/// The state, for every thread to read.
#[derive(Debug)]
pub(crate) struct ModeCell(AtomicU8);

impl Default for ModeCell {
    fn default() -> ModeCell {
        ModeCell(AtomicU8::new(Mode::Off as u8))
    }
}

impl ModeCell {
    /// The state now. Acquire, with the Release in `enter`: who reads `On` finds the journal.
    #[inline]
    pub(crate) fn get(&self) -> Mode {
        of(self.0.load(Ordering::Acquire))
    }

    /// The start begins to load. Before anything else can have changed the state.
    pub(super) fn load(&self) {
        self.0.store(Mode::Loading as u8, Ordering::Release);
    }

    /// Goes to `next`.
    ///
    /// # Panics
    /// If no arrow leads there.
    pub(super) fn enter(&self, next: Mode) {
        let step = |from: u8| of(from).leads_to(next).then_some(next as u8);
        let stepped = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        assert!(stepped.is_ok(), "from {:?} to {next:?}", self.get());
    }

    /// Goes to `next` from `from`, if that is the state.
    pub(super) fn enter_from(&self, from: Mode, next: Mode) {
        debug_assert!(from.leads_to(next));
        let _ = self.0.compare_exchange(from as u8, next as u8, Ordering::AcqRel, Ordering::Acquire);
    }
}

fn of(number: u8) -> Mode {
    match number {
        0 => Mode::Loading,
        1 => Mode::Off,
        2 => Mode::Saving,
        3 => Mode::TurningOn,
        4 => Mode::On,
        5 => Mode::Failed,
        _ => Mode::TurningOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_state_is_that_state() {
        for mode in Mode::ALL {
            assert_eq!(of(mode as u8), mode);
        }
    }

    #[test]
    fn from_every_state_off_can_be_reached_and_nothing_leads_back_to_loading() {
        for mode in Mode::ALL {
            assert!(!mode.leads_to(Mode::Loading) && !mode.leads_to(mode), "{mode:?}");
            let two_steps = Mode::ALL.iter().any(|&next| mode.leads_to(next) && next.leads_to(Mode::Off));
            assert!(mode == Mode::Off || mode.leads_to(Mode::Off) || two_steps, "{mode:?}");
        }
    }
}
