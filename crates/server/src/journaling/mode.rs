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
//!          │                    ┌───────────┐
//!          │                    │ TurningOn │
//!          │                    └───────────┘
//!          │                          │ its snapshot counts
//!          │                          ▼
//!          │                    ┌──────────┐ ───► Off: the disk failed, or given up
//!          ▼   durable          │ Settling │
//!       ┌────┐ ◄─────────────── └──────────┘         ┌────────────┐
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
//!   *suspend* stands before it in the log (see `persistence/switch.rs`). So what was durable before stays what a start finds.
//! - What was answered in `TurningOn`, without waiting for the disk, is durable before the state is `On`: in `On` what the disk does not
//!   take is undone, and it is to be nothing that was answered.
//! - `appendonly` in the configuration is yes in `On`, `Failed` and `TurningOff`, and no otherwise. A server that stops is
//!   the exception: it goes from `Off` to `On` for its last moments.
//! - Only the thread of the jobs (`persistence/jobs.rs`) changes it once the server has loaded, but for `Failed`.
//! - A snapshot ends `Failed` only if no gap was left since its walk began: what was left behind the walk is in no record and not in
//!   the snapshot. So the state counts its gaps, and both change in one step.
//!
//! ```text
//! [ gaps: 24 bits │ state: 8 bits ]
//! ```

use std::sync::atomic::{AtomicU32, Ordering};

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
    /// As `On`, for replies to wait; the disk has yet to take what was answered before they did.
    Settling,
    /// Every write is recorded.
    On,
    /// As `On`, but one write is in no record: no other is taken before a snapshot holds it.
    Failed,
    /// As `On`, until the cut.
    TurningOff,
}

impl Mode {
    #[cfg(test)]
    const ALL: [Mode; 8] = [
        Mode::Loading,
        Mode::Off,
        Mode::Saving,
        Mode::TurningOn,
        Mode::Settling,
        Mode::On,
        Mode::Failed,
        Mode::TurningOff,
    ];

    /// Whether a write's effects go into the journal.
    pub(crate) fn records(self) -> bool {
        !matches!(self, Mode::Loading | Mode::Off)
    }

    /// Whether every write is kept, as `appendonly yes` promises.
    pub(crate) fn is_on(self) -> bool {
        matches!(self, Mode::On | Mode::Failed | Mode::TurningOff)
    }

    /// Whether replies wait for the disk.
    pub(crate) fn has_replies_wait(self) -> bool {
        self.is_on() || self == Mode::Settling
    }

    /// The arrows of the drawing.
    fn leads_to(self, next: Mode) -> bool {
        match self {
            Mode::Loading => matches!(next, Mode::Off | Mode::On),
            Mode::Off => matches!(next, Mode::Saving | Mode::TurningOn),
            Mode::Saving => next == Mode::Off,
            Mode::TurningOn => matches!(next, Mode::Off | Mode::Settling),
            Mode::Settling => matches!(next, Mode::Off | Mode::On),
            Mode::On => matches!(next, Mode::Failed | Mode::TurningOff),
            Mode::Failed => matches!(next, Mode::On | Mode::TurningOff),
            Mode::TurningOff => next == Mode::Off,
        }
    }
}

/// The state, for every thread to read.
#[derive(Debug)]
pub(crate) struct ModeCell(AtomicU32);

/// `Failed`, with the gaps that a snapshot finds when it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gaps(u32);

const STATE: u32 = 0xff;
const ONE_GAP: u32 = 1 << 8;

impl Default for ModeCell {
    fn default() -> ModeCell {
        ModeCell(AtomicU32::new(Mode::Off as u32))
    }
}

impl ModeCell {
    /// The state now. Acquire, with the Release in `enter`: who reads `On` finds the journal.
    #[inline]
    pub(crate) fn get(&self) -> Mode {
        of(self.0.load(Ordering::Acquire))
    }

    /// The start begins to load. Before anything else can have changed the state.
    pub(crate) fn load(&self) {
        self.0.store(Mode::Loading as u32, Ordering::Release);
    }

    /// Goes to `next`.
    ///
    /// # Panics
    /// If no arrow leads there.
    pub(crate) fn enter(&self, next: Mode) {
        let step = |from: u32| of(from).leads_to(next).then_some(from & !STATE | next as u32);
        let stepped = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        assert!(stepped.is_ok(), "from {:?} to {next:?}", self.get());
    }

    /// From `On` to `Failed`, with one gap more.
    pub(crate) fn leave_gap(&self) {
        let step = |from: u32| match of(from) {
            Mode::On | Mode::Failed => Some((from & !STATE).wrapping_add(ONE_GAP) | Mode::Failed as u32),
            _ => None,
        };
        // In any other state nothing waits for a snapshot that closes it.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
    }

    /// The gaps that a snapshot which begins now will have, if there are any.
    pub(crate) fn gaps(&self) -> Option<Gaps> {
        let now = self.0.load(Ordering::Acquire);
        (of(now) == Mode::Failed).then_some(Gaps(now))
    }

    /// A snapshot has them: `On` again, unless there is one more by now. Returns whether it is.
    pub(crate) fn close(&self, gaps: Gaps) -> bool {
        let closed = gaps.0 & !STATE | Mode::On as u32;
        self.0.compare_exchange(gaps.0, closed, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

fn of(cell: u32) -> Mode {
    match cell & STATE {
        0 => Mode::Loading,
        1 => Mode::Off,
        2 => Mode::Saving,
        3 => Mode::TurningOn,
        4 => Mode::Settling,
        5 => Mode::On,
        6 => Mode::Failed,
        _ => Mode::TurningOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_state_is_that_state() {
        for mode in Mode::ALL {
            assert_eq!(of(mode as u32), mode);
            assert_eq!(of(mode as u32 | (7 * ONE_GAP)), mode);
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

    #[test]
    fn a_snapshot_closes_the_gaps_that_it_found_and_none_that_was_left_behind_its_walk() {
        let cell = ModeCell::default();
        cell.load();
        cell.enter(Mode::On);
        assert!(cell.gaps().is_none());
        cell.leave_gap();
        let first = cell.gaps().expect("one is left");
        cell.leave_gap();
        assert!(!cell.close(first), "another was left since");
        assert_eq!(cell.get(), Mode::Failed);
        let both = cell.gaps().expect("two are left");
        assert!(cell.close(both));
        assert_eq!(cell.get(), Mode::On);
        assert!(!cell.close(both), "it is over");
        cell.leave_gap();
        assert!(!cell.close(first) && !cell.close(both), "a later one is another");
        cell.enter(Mode::TurningOff);
        cell.leave_gap();
        assert_eq!(cell.get(), Mode::TurningOff, "what is turned off promises nothing more");
    }
}
