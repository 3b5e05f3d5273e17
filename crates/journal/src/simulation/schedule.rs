//! One story of a journal's life, by a seed; and what must be true in it.
//!
//! A story is a few lives. In each the journal is opened, writes and snapshots for a while, and stops: killed or without
//! power, at an operation of the disk's that the seed chooses, perhaps while it was still opening. Operations fail, the
//! disk fills up, and in some stories a bit flips while nobody looks.
//!
//! Checked after every opening
//! - The state is that after exactly the records 1 … *last*: nothing is missing, twice, invented or out of order, nothing
//!   deleted comes back, and a snapshot is never mixed up with the log (I2, I3, I5).
//! - *last* is at least the highest LSN that was ever told durable (I1), and after a kill the highest that was written.
//! - Each record handed over is, byte for byte, the one that was appended (I1).
//! - An opening that crashed half-way, or was refused for damage, changes nothing for the next (I6).
//! - A flipped bit is reported: the opening is refused, or the end of the log is cut with a report, or the bit was in
//!   bytes that are void; in no case is anything else than a true prefix served (A8).
//! - The journal is refused only if there was damage.
//!
//! A subject that switches ([`Subject::SWITCHES`]) goes through these states, too:
//!
//! ```text
//!        suspend, snapshot begun        it counts
//! ┌─────┐ ───────────────► ┌───────────┐ ──────► ┌────┐
//! │ Off │ ◄─────────────── │ TurningOn │         │ On │ ─► Off
//! └─────┘   given up       └───────────┘         └────┘
//!    ▲ └── suspend, snapshot begun ──► ┌────────┐
//!    └──────────── it ends ─────────── │ Saving │
//!                                      └────────┘
//! ```
//!
//! Then a start finds the state before the suspend, unless the snapshot counts.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Capture, Dice, Stepper, Subject, Tally};
use crate::disk::simulated::{Crash, Fault, SimulatedDisk};
use crate::{FRAME_PAYLOAD_BYTES_MAX, FsyncPolicy, Journal, Lsn, Options, SnapshotWriter};

/// Plays the story of `seed`. `trace` prints what happens.
///
/// Errors: what was not as it must be.
pub fn run<S: Subject>(seed: u64, trace: bool) -> Result<Tally, String> {
    let mut dice = Dice::new(seed);
    let disk = SimulatedDisk::new(dice.roll());
    let mut story = Story::<S> {
        options: options(&mut dice),
        flips: dice.once_in(4),
        faults: dice.once_in(2),
        dice,
        disk,
        history: Vec::new(),
        moments: vec![Moment { digest: S::empty().digest(), suspended_by: None }],
        mode: Mode::On,
        suspended_by: None,
        durable: Lsn::ZERO,
        written: Lsn::ZERO,
        now_ms: 0,
        tally: Tally::default(),
        trace,
        during_sync: Arc::default(),
        subject: std::marker::PhantomData,
    };
    let lives = 1 + story.dice.below(3);
    for _ in 0..lives {
        story.live()?;
    }
    // The last word: everything must be found again by a start without trouble.
    story.disk.clear_faults();
    story.open()?;
    Ok(story.tally)
}

/// Sizes small enough that a few dozen records cross every border.
fn options(dice: &mut Dice) -> Options {
    Options {
        fsync: [FsyncPolicy::Always, FsyncPolicy::EverySec, FsyncPolicy::No][dice.below(3)],
        segment_bytes: 200 + dice.below(9000) as u64,
        pending_bytes_max: 30_000,
        unsynced_bytes_max: 300 + dice.below(20_000),
        zero_ahead_bytes: [0, 0, 100, 3000][dice.below(4)],
        retry_ms: 50,
        frame_payload_max: [FRAME_PAYLOAD_BYTES_MAX, 30, 7][dice.below(3)],
        entropy: Some(dice.roll()),
        ..Options::default()
    }
}

struct Story<S> {
    dice: Dice,
    disk: SimulatedDisk,
    options: Options,
    /// Whether bits flip between lives.
    flips: bool,
    /// Whether operations fail.
    faults: bool,
    /// Payload of each record, the first that of LSN 1.
    history: Vec<Vec<u8>>,
    /// The state after each record, the first being the empty one.
    moments: Vec<Moment>,
    mode: Mode,
    /// The suspend that what is recorded now stands behind, while nothing says that it counts.
    suspended_by: Option<Lsn>,
    /// Highest LSN told durable.
    durable: Lsn,
    /// Highest LSN that must survive the next stop.
    written: Lsn,
    now_ms: u64,
    tally: Tally,
    trace: bool,
    /// Records that are appended while the next sync runs, if there is one.
    during_sync: Arc<Mutex<VecDeque<Vec<u8>>>>,
    subject: std::marker::PhantomData<S>,
}

/// Whether writes are recorded, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Saving,
    TurningOn,
    On,
}

/// The state after a record.
#[derive(Debug, Clone, Copy)]
struct Moment {
    digest: u64,
    /// The suspend before it: unless a snapshot counts that was begun behind that, a start finds the state before it.
    suspended_by: Option<Lsn>,
}

macro_rules! trace {
    ($story:expr, $($text:tt)*) => {
        if $story.trace {
            eprintln!("{:>5} {}", $story.disk.operations(), format_args!($($text)*));
        }
    };
}

mod opening;

impl<S: Subject> Story<S> {
    /// From an opening to a stop.
    fn live(&mut self) -> Result<(), String> {
        self.disk.clear_faults();
        if self.dice.once_in(2) {
            let operation = self.disk.operations() + self.dice.below(30) as u64;
            self.disk.crash_at(operation);
        }
        // A full disk keeps no journal from opening.
        self.disk.set_full(self.faults && self.dice.once_in(4));
        let (mut subject, journal, mut engine) = self.open()?;
        self.begin_mode(&mut subject, &journal);
        if journal.admit().is_err() {
            self.tally.opened_full += 1;
            self.durable = journal.durable_lsn();
        }
        let journal = Arc::new(journal);
        self.write_during_syncs(&journal);
        self.plan_trouble();
        let mut snapshot: Option<(SnapshotWriter, Capture)> = None;
        let steps = 3 + self.dice.below(50);
        for _ in 0..steps {
            self.step(&mut subject, &journal, &mut engine, &mut snapshot)?;
            self.written = journal.written_lsn();
            self.durable = self.durable.max(journal.durable_lsn());
            if self.disk.crashed() {
                break;
            }
        }
        if !self.disk.crashed() && self.dice.once_in(6) {
            let closed = engine.close(&journal, self.now_ms);
            trace!(self, "close: {closed:?}");
            self.durable = self.durable.max(journal.durable_lsn());
        }
        self.tally.segments += journal.stats().segments as u64;
        // What a dead process would do on its way out does not happen.
        self.disk.during_sync(None);
        self.disk.stop();
        drop((engine, journal, snapshot));
        self.stop();
        Ok(())
    }

    /// Chooses where this life's crash and faults will be.
    fn plan_trouble(&mut self) {
        let now = self.disk.operations();
        self.disk.clear_faults();
        if !self.dice.once_in(4) {
            self.disk.crash_at(now + self.dice.below(120) as u64);
        }
        while self.faults && !self.dice.once_in(3) {
            let fault = if self.dice.once_in(3) { Fault::Full } else { Fault::Error };
            let operation = now + self.dice.below(80) as u64;
            trace!(self, "fault planned at {operation}: {fault:?}");
            self.disk.fault_at(operation, fault);
        }
    }

    /// One thing that happens while the journal runs.
    fn step(
        &mut self,
        subject: &mut S,
        journal: &Journal,
        engine: &mut Stepper,
        snapshot: &mut Option<(SnapshotWriter, Capture)>,
    ) -> Result<(), String> {
        match self.dice.below(if S::SWITCHES { 22 } else { 20 }) {
            0..9 => self.write(subject, journal),
            9..14 => {
                self.plan_writes(subject, journal);
                self.turn(journal, engine);
                self.settle_writes(journal);
            }
            14..17 => {
                let taken = snapshot.take();
                if taken.is_none() {
                    self.plan_writes(subject, journal);
                }
                if self.mode != Mode::Off {
                    *snapshot = self.snapshot(subject, journal, engine, taken);
                }
                self.settle_writes(journal);
                if snapshot.is_none() && matches!(self.mode, Mode::Saving | Mode::TurningOn) {
                    self.cease(subject);
                }
            }
            17 => {
                self.options.fsync =
                    [FsyncPolicy::Always, FsyncPolicy::EverySec, FsyncPolicy::No][self.dice.below(3)];
                journal.set_policy(self.options.fsync);
            }
            18 => {
                let covered = journal.stats().snapshot.map_or(Lsn::ZERO, |snapshot| snapshot.start);
                let lsn = Lsn(self.dice.below(covered.0 as usize + 2) as u64);
                let trimmed = engine.trim_before(journal, lsn, self.now_ms);
                trace!(self, "trim before {lsn}: {trimmed:?}");
            }
            19 => {
                let lsn = Lsn(self.dice.below(self.history.len() + 1) as u64);
                journal.request_sync(lsn);
                self.disk.set_full(false);
            }
            _ => *snapshot = self.switch(subject, journal, engine),
        }
        if self.disk.crashed() { Ok(()) } else { self.check_running(journal) }
    }

    fn write(&mut self, subject: &mut S, journal: &Journal) {
        for _ in 0..=self.dice.below(4) {
            if journal.admit().is_err() {
                return;
            }
            let written = if S::SWITCHES && self.dice.once_in(6) {
                self.tally.at_once += 1;
                subject.write_at_once(&mut self.dice)
            } else {
                let effect = subject.write(&mut self.dice);
                vec![(effect, subject.digest())]
            };
            if self.mode == Mode::Off {
                continue;
            }
            for (effect, digest) in written {
                let lsn = append(journal, &effect);
                self.note(effect, digest);
                assert_eq!(lsn.0 as usize, self.history.len(), "LSNs rise by one");
            }
        }
        journal.flush();
    }

    /// A record is made, after which the state has this digest.
    fn note(&mut self, effect: Vec<u8>, digest: u64) {
        self.history.push(effect);
        self.moments.push(Moment { digest, suspended_by: self.suspended_by });
        self.tally.records += 1;
    }

    /// The journal has been opened: `appendonly` is yes or no.
    fn begin_mode(&mut self, subject: &mut S, journal: &Journal) {
        self.suspended_by = None;
        self.mode = Mode::On;
        if !S::SWITCHES {
            return;
        }
        if subject.is_suspended() {
            self.tally.suspended += 1;
        }
        if self.dice.once_in(4) {
            subject.record_writes(false);
            self.mode = Mode::Off;
        } else if subject.is_suspended() {
            let effect = S::resume();
            journal.append(&effect).expect("an open journal takes one record");
            self.note(effect, subject.digest());
        }
    }

    /// CONFIG SET appendonly, SAVE without it, or what calls either off. Returns the snapshot that is begun.
    fn switch(
        &mut self,
        subject: &mut S,
        journal: &Journal,
        engine: &mut Stepper,
    ) -> Option<(SnapshotWriter, Capture)> {
        if self.mode != Mode::Off {
            self.cease(subject);
            return None;
        }
        if journal.admit().is_err() {
            return None;
        }
        subject.record_writes(true);
        let effect = S::suspend();
        let lsn = journal.append(&effect).expect("an open journal takes what it has admitted");
        self.suspended_by = Some(lsn);
        self.note(effect, subject.digest());
        self.mode = if self.dice.once_in(2) { Mode::TurningOn } else { Mode::Saving };
        self.tally.switches += 1;
        trace!(self, "{:?}: suspended at {lsn}", self.mode);
        let begun = self.snapshot(subject, journal, engine, None);
        if begun.is_none() {
            self.cease(subject);
        }
        begun
    }

    /// Nothing is recorded from here on.
    fn cease(&mut self, subject: &mut S) {
        trace!(self, "{:?}: off from here on", self.mode);
        subject.record_writes(false);
        self.mode = Mode::Off;
        self.suspended_by = None;
    }

    /// Has what [`plan_writes`](Self::plan_writes) has prepared appended and written while a sync runs.
    fn write_during_syncs(&self, journal: &Arc<Journal>) {
        let (planned, journal) = (self.during_sync.clone(), Arc::downgrade(journal));
        self.disk.during_sync(Some(Box::new(move || {
            let Some(journal) = journal.upgrade() else { return };
            let mut planned = planned.lock();
            // Half of it at each sync, so that a turn with two has some in both.
            for _ in 0..planned.len().div_ceil(2) {
                if let Some(effect) = planned.pop_front() {
                    append(&journal, &effect);
                }
            }
            journal.write_beside_sync();
        })));
    }

    /// Makes writes that are to be appended while the next turn syncs.
    fn plan_writes(&mut self, subject: &mut S, journal: &Journal) {
        if self.dice.once_in(2) || journal.admit().is_err() || self.mode == Mode::Off {
            return;
        }
        for _ in 0..=self.dice.below(4) {
            let effect = subject.write(&mut self.dice);
            self.note(effect.clone(), subject.digest());
            self.during_sync.lock().push_back(effect);
        }
    }

    /// Appends what no sync has run for.
    fn settle_writes(&mut self, journal: &Journal) {
        for effect in self.during_sync.lock().drain(..) {
            append(journal, &effect);
        }
        assert_eq!(journal.last_lsn().0 as usize, self.history.len(), "LSNs rise by one");
    }

    fn turn(&mut self, journal: &Journal, engine: &mut Stepper) {
        self.now_ms += [0, 1, 10, 30, 1100][self.dice.below(5)];
        let before = journal.admit();
        engine.turn(self.now_ms);
        if before.is_err() && journal.admit().is_ok() {
            self.tally.resumed += 1;
        }
        trace!(
            self,
            "turn at {}: appended {} written {} durable {} {:?}",
            self.now_ms,
            journal.last_lsn(),
            journal.written_lsn(),
            journal.durable_lsn(),
            journal.admit()
        );
    }

    /// Begins a snapshot, takes it further or finishes it.
    fn snapshot(
        &mut self,
        subject: &mut S,
        journal: &Journal,
        engine: &mut Stepper,
        taken: Option<(SnapshotWriter, Capture)>,
    ) -> Option<(SnapshotWriter, Capture)> {
        let Some((mut writer, mut place)) = taken else {
            let begun = engine.snapshot(journal, self.now_ms);
            trace!(self, "snapshot: {:?}", begun.as_ref().map(|writer| writer.start()));
            return begun.ok().map(|writer| (writer, Capture::default()));
        };
        if self.dice.once_in(20) {
            trace!(self, "snapshot given up");
            return None;
        }
        for _ in 0..=self.dice.below(6) {
            let stamp = journal.last_lsn();
            let mut outcome = Ok(());
            let more = subject.capture(&mut place, &mut |key, value| {
                if outcome.is_ok() {
                    outcome = writer.item(key, stamp, value);
                }
            });
            if outcome.is_err() {
                return None;
            }
            if !more {
                if self.mode == Mode::Saving {
                    // The log is to end where the snapshot does.
                    self.cease(subject);
                }
                let published = writer.complete().and_then(|done| engine.publish(done, self.now_ms));
                trace!(self, "snapshot finished: {published:?}");
                self.tally.snapshots += u64::from(published.is_ok());
                if self.mode == Mode::TurningOn && published.is_ok() {
                    self.mode = Mode::On;
                    self.suspended_by = None;
                }
                return None;
            }
        }
        Some((writer, place))
    }

    /// What must hold at any moment.
    fn check_running(&self, journal: &Journal) -> Result<(), String> {
        let (durable, written, appended) = (journal.durable_lsn(), journal.written_lsn(), journal.last_lsn());
        if durable > written || written > appended || appended.0 as usize != self.history.len() {
            return Err(format!("durable {durable}, written {written}, appended {appended}"));
        }
        Ok(())
    }

    /// Stops the machine, and perhaps damages what it left.
    fn stop(&mut self) {
        let crash = if self.dice.once_in(3) { Crash::Process } else { Crash::Power };
        trace!(self, "crash: {crash:?}; durable {} written {}", self.durable, self.written);
        self.disk.restart(crash);
        self.disk.clear_faults();
        // After a failed sync the cache itself may have lost what was written.
        if crash == Crash::Power || self.faults {
            self.written = Lsn::ZERO;
        }
    }
}

/// Appends a record: one of three without a copy, as long ones are.
fn append(journal: &Journal, effect: &[u8]) -> Lsn {
    let appended = match effect.len() % 3 {
        0 => journal.append_long(effect.to_vec()),
        _ => journal.append(effect),
    };
    appended.expect("an open journal takes what it has admitted")
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::simulation::Planted;
    use crate::simulation::keys::Keys;

    /// Plays a story; a panic in it is a failure of it.
    fn play(seed: u64, trace: bool) -> Result<Tally, String> {
        catch_unwind(AssertUnwindSafe(|| run::<Keys>(seed, trace))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        })
    }

    fn replay_command(seed: u64) -> String {
        format!("JOURNAL_SEED={seed} cargo test -p sterna-journal one_seed -- --nocapture")
    }

    #[test]
    fn no_crash_loses_what_was_durable_in_a_hundred_thousand_schedules() {
        let stories: u64 =
            std::env::var("JOURNAL_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
        let next = AtomicU64::new(0);
        let threads = thread::available_parallelism().map_or(2, usize::from);
        let mut total = Tally::default();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        let mut tally = Tally::default();
                        loop {
                            let seed = next.fetch_add(1, Ordering::Relaxed);
                            if seed >= stories {
                                return tally;
                            }
                            match play(seed, false) {
                                Ok(story) => tally.add(&story),
                                Err(what) => panic!("{what}\nplay it again: {}", replay_command(seed)),
                            }
                        }
                    })
                })
                .collect();
            for worker in workers {
                match worker.join() {
                    Ok(tally) => total.add(&tally),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        println!("{stories} schedules: {total:?}");
        // Stories about nothing would pass as well.
        let scale = stories / 100;
        for (what, count) in [
            ("openings", total.openings),
            ("crashes in recovery", total.crashes_in_recovery),
            ("records", total.records),
            ("lost", total.lost),
            ("torn", total.torn),
            ("snapshots", total.snapshots),
            ("resumed", total.resumed),
            ("refused", total.refused),
            ("segments", total.segments),
            ("openings on a full disk", total.opened_full),
        ] {
            assert!(count > scale, "only {count} {what} in {stories} stories");
        }
    }

    #[test]
    fn one_seed() {
        let seed = std::env::var("JOURNAL_SEED").ok().and_then(|seed| seed.parse().ok());
        let (seed, trace) = seed.map_or((4711, false), |seed| (seed, true));
        if let Err(what) = play(seed, trace) {
            panic!("{what}\nplay it again: {}", replay_command(seed));
        }
    }

    #[test]
    fn a_seed_tells_the_same_story_twice() {
        for seed in 0..50 {
            assert_eq!(play(seed, false), play(seed, false), "seed {seed}");
        }
    }

    #[test]
    fn each_planted_bug_is_found() {
        let hook = std::panic::take_hook();
        // Bugs panic, too; their stories are expected to fail, and say so thousands of times.
        std::panic::set_hook(Box::new(|_| {}));
        let found: Vec<_> = Planted::ALL
            .iter()
            .map(|bug| (bug, bug.during(|| (0..20_000).find(|&seed| play(seed, false).is_err()))))
            .collect();
        std::panic::set_hook(hook);
        for (bug, seed) in found {
            assert!(seed.is_some(), "{bug:?} was not found");
            println!("{bug:?}: found by story {}", seed.unwrap_or_default());
        }
    }
}
