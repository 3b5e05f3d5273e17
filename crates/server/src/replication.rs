//! What shards know of the log that the nodes of a cluster share: who leads, what is on its way there, what is stored.
//!
//! One node leads. It runs commands on keys, hands each record to the log, and lets a reply go when the log has stored what it
//! depends on. Everything here is memory: the thread that talks to the log is another crate's (`persistence/replicated.rs` is
//! what it calls).
//!
//! ```text
//!   shard ── append ──► journal (LSN), tentative
//!                  └──► queue ──► the log's thread ──► stored ──► a standing in the journal; replies go
//! ```
//!
//! # What becomes of a record
//! ```text
//!   pending ─► stored                       the log has it
//!        │ └─► void                         another node leads, and the log will never have it: it is undone
//!        └───► unknown ─► stored or void    the log has not answered for so long that its client is told so; or it no longer holds
//!                                           what would say whether it had it when another node came to lead
//! ```
//!
//! # Leadership
//! A shard asks before it runs a command whether the lease is valid ([`Replication::leads_at`]), and again when it has run: what was
//! read while it ended is not answered before the lease is there again, or never. So a process that was stopped in between
//! shows nothing that another leader has changed.
//!
//! A node that is to hand over lets what has begun come to its end while no other command begins, and gives up its lease when the log has all
//! of it: nobody is told that something never happened.
//!
//! Invariants: LSNs in the queue rise, and are in the order of the log; `released ≤ submitted`; whoever appends while this node
//! does not lead has made a *stray*, which is undone as well.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sterna_journal::{Journal, Lsn, Refusal};
use sterna_keyspace::{KeyGroup, standing, write_tentative};

use crate::connection::dependence::Fate;
use crate::lock::{Level, Mutex};

/// What may wait for the log. Above it writes wait before they run.
pub(crate) const QUEUE_BYTES_MAX: usize = 32 << 20;

/// How long a command waits for a log that does not answer before it fails.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Where nothing is written, the journal is told this often how far the log was read.
const STANDING_INTERVAL: Duration = Duration::from_secs(30);

/// Who runs commands on keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// This node, now.
    Me,
    /// This node, when the log answers again: its lease is over.
    Suspended,
    /// The node whose identity ends with these 64 bits. It may be gone; then another follows within seconds.
    Other(u64),
    /// Nobody that is known.
    None,
}

/// See the module. One for each group of keys, each with a log of its own.
pub(crate) struct Replication {
    /// The keys that it is about.
    pub(crate) group: KeyGroup,
    began: Instant,
    /// Until when nobody else leads: nanoseconds since `began`. Written by the log's thread.
    lease_until: AtomicU64,
    /// Until when commands on keys begin here: the same, or never, while this node is about to hand over.
    admits_until: AtomicU64,
    is_ceding: AtomicBool,
    /// This node leads, be it without a lease. Changed under the queue's lock.
    is_leading: AtomicBool,
    /// Who claimed the term in force; 0: nobody.
    leader: AtomicU64,
    /// Since when the log may have what is neither in memory nor on its way here: nanoseconds since `began`, `u64::MAX` for never.
    stale_since: AtomicU64,
    /// LSN of the last record for the log.
    submitted: AtomicU64,
    /// The log has every record up to here that is not void.
    released: AtomicU64,
    /// The slot of the log up to which it is in memory: the same number on every node.
    slot: AtomicU64,
    /// Records above the first and up to the second never happened.
    void: [AtomicU64; 2],
    /// Of those above the first and up to the second nobody can say: they were on their way when another node came to lead.
    lost: [AtomicU64; 2],
    /// Whoever waits for a record up to here has been told that it is not known.
    unknown_to: AtomicU64,
    /// Bytes of records that the log has not stored.
    queued_bytes: AtomicUsize,
    queue: Mutex<Queue, { Level::LogQueue as u8 }>,
    /// There are strays.
    has_strays: AtomicBool,
    /// The log's thread has nothing to do, and wants to be woken by the next record.
    wants_records: AtomicBool,
    /// Raised whenever what is in memory may be undone: a snapshot begun before does not count.
    pub(crate) generation: AtomicU64,
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// How far the log was read when the journal was loaded.
    loaded: OnceLock<Vec<u8>>,
    pub(crate) figures: Mutex<Vec<(&'static str, String)>, { Level::LogFigures as u8 }>,
}

#[derive(Default)]
struct Queue {
    /// Not stored yet, oldest first.
    records: VecDeque<(u64, Arc<[u8]>)>,
    /// The log's thread has taken those up to this LSN.
    taken: u64,
    /// What was appended while this node did not lead.
    strays: Vec<Arc<[u8]>>,
    witness: Vec<u8>,
    /// When the journal was last told how far the log was read.
    told: Option<Instant>,
}

impl Replication {
    pub(crate) fn new(group: KeyGroup) -> Replication {
        Replication {
            group,
            began: Instant::now(),
            lease_until: AtomicU64::new(0),
            admits_until: AtomicU64::new(0),
            is_ceding: AtomicBool::new(false),
            is_leading: AtomicBool::new(false),
            leader: AtomicU64::new(0),
            stale_since: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            released: AtomicU64::new(0),
            slot: AtomicU64::new(0),
            void: [AtomicU64::new(u64::MAX), AtomicU64::new(0)],
            lost: [AtomicU64::new(u64::MAX), AtomicU64::new(0)],
            unknown_to: AtomicU64::new(0),
            queued_bytes: AtomicUsize::new(0),
            queue: Mutex::default(),
            has_strays: AtomicBool::new(false),
            wants_records: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            waker: OnceLock::new(),
            loaded: OnceLock::new(),
            figures: Mutex::default(),
        }
    }

    /// Whether commands on keys may begin here at `now`.
    #[inline]
    pub(crate) fn leads_at(&self, now: Instant) -> bool {
        // Acquire, with the Release in `set_lease`: who sees a lease sees what was done before it was published.
        (now.saturating_duration_since(self.began).as_nanos() as u64)
            < self.admits_until.load(Ordering::Acquire)
    }

    /// Whether nobody else leads now, so that what a command that runs has seen is true.
    pub(crate) fn has_lease(&self) -> bool {
        (self.began.elapsed().as_nanos() as u64) < self.lease_until.load(Ordering::Acquire)
    }

    /// Whether commands on keys may begin here now.
    pub(crate) fn leads(&self) -> bool {
        self.leads_at(Instant::now())
    }

    /// Whether this node leads, be it without a lease: what is in memory is not to be changed by others.
    #[inline]
    pub(crate) fn is_leading(&self) -> bool {
        self.is_leading.load(Ordering::Acquire)
    }

    /// Who runs commands on keys.
    pub(crate) fn leadership(&self) -> Leadership {
        if self.leads() {
            return Leadership::Me;
        }
        if self.is_leading() {
            return Leadership::Suspended;
        }
        match self.leader.load(Ordering::Acquire) {
            0 => Leadership::None,
            id => Leadership::Other(id),
        }
    }

    /// How long ago the lease has ended; `None`: it has not, or there never was one.
    pub(crate) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let until = self.began + Duration::from_nanos(self.lease_until.load(Ordering::Acquire));
        now.checked_duration_since(until)
    }

    /// Commands on keys run here until then. Returns whether that is news.
    pub(crate) fn set_lease(&self, until: Option<Instant>) -> bool {
        let until = until.map_or(0, |at| at.saturating_duration_since(self.began).as_nanos() as u64);
        self.lease_until.store(until, Ordering::Release);
        let until = if self.is_ceding.load(Ordering::Relaxed) { 0 } else { until };
        let before = self.admits_until.swap(until, Ordering::AcqRel);
        let now = self.began.elapsed().as_nanos() as u64;
        (before > now) != (until > now)
    }

    /// This node is about to hand over, or is not any more: commands that have begun go on, and no other begins meanwhile. For the log's
    /// thread.
    pub(crate) fn set_ceding(&self, is_ceding: bool) {
        self.is_ceding.store(is_ceding, Ordering::Relaxed);
        let until = if is_ceding { 0 } else { self.lease_until.load(Ordering::Relaxed) };
        self.admits_until.store(until, Ordering::Release);
    }

    /// Whether the log has all that was done here.
    pub(crate) fn has_nothing_to_store(&self) -> bool {
        self.queue.lock().records.is_empty()
    }

    /// Who claimed the term in force. Returns whether that is news.
    pub(crate) fn set_leader(&self, id: u64) -> bool {
        self.leader.swap(id, Ordering::AcqRel) != id
    }

    /// LSN of the last record for the log, which is what a reader may have seen.
    #[inline]
    pub(crate) fn submitted(&self) -> Lsn {
        Lsn(self.submitted.load(Ordering::Acquire))
    }

    /// For how long the log may have had what is neither in memory nor on its way here; `None`: it has not.
    pub(crate) fn stale_for(&self, now: Instant) -> Option<Duration> {
        let since = Some(self.stale_since.load(Ordering::Acquire)).filter(|since| *since != u64::MAX)?;
        Some(now.saturating_duration_since(self.began + Duration::from_nanos(since)))
    }

    /// What the log has is in memory, but for what is on its way here; or not.
    pub(crate) fn set_current(&self, is_current: bool) {
        let is_stale = self.stale_since.load(Ordering::Relaxed) != u64::MAX;
        if is_current == is_stale {
            let since = if is_current { u64::MAX } else { self.began.elapsed().as_nanos() as u64 };
            self.stale_since.store(since, Ordering::Release);
        }
    }

    /// The slot of the log up to which it is in memory. Where a reply has left, at least that of what the reply tells of.
    pub(crate) fn slot(&self) -> u64 {
        self.slot.load(Ordering::SeqCst)
    }

    /// The log is in memory up to there.
    pub(crate) fn note_slot(&self, slot: u64) {
        self.slot.fetch_max(slot, Ordering::SeqCst);
    }

    /// Whether so much waits for the log that writes had better wait before they run.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.queued_bytes.load(Ordering::Relaxed) > QUEUE_BYTES_MAX
    }

    /// Bytes of records that the log has not stored.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// What has become of a record.
    pub(crate) fn fate(&self, lsn: Lsn) -> Fate {
        let is_in = |range: &[AtomicU64; 2]| {
            range[0].load(Ordering::SeqCst) < lsn.0 && lsn.0 <= range[1].load(Ordering::SeqCst)
        };
        if is_in(&self.void) {
            Fate::Void
        } else if is_in(&self.lost) {
            Fate::Unknown
        } else if lsn.0 <= self.released.load(Ordering::SeqCst) {
            Fate::Stored
        } else if lsn.0 <= self.unknown_to.load(Ordering::SeqCst) {
            Fate::Unknown
        } else {
            Fate::Pending
        }
    }

    /// Takes the effects of a command or transaction: into the journal, where they don't count by themselves, and for the log.
    /// Called with the locks of their keys. Errors: the journal took nothing.
    pub(crate) fn append(&self, journal: &Journal, effects: &[u8]) -> Result<Lsn, Refusal> {
        let record: Arc<[u8]> = effects.into();
        let mut queue = self.queue.lock();
        let lsn = append_tentative(journal, self.group, effects)?;
        if self.is_leading.load(Ordering::Relaxed) {
            self.submitted.store(lsn.0, Ordering::Release);
            self.queued_bytes.fetch_add(record.len(), Ordering::Relaxed);
            queue.records.push_back((lsn.0, record));
        } else {
            queue.strays.push(record);
            self.has_strays.store(true, Ordering::Release);
        }
        Ok(lsn)
    }

    /// Sends what was appended on its way.
    pub(crate) fn flush(&self) {
        if self.wants_records.load(Ordering::SeqCst)
            && self.wants_records.swap(false, Ordering::SeqCst)
            && let Some(wake) = self.waker.get()
        {
            wake();
        }
    }

    /// Has `wake` called when there is a record. Set once.
    pub(crate) fn set_waker(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = self.waker.set(wake);
    }

    /// Has the next record wake, once.
    pub(crate) fn want_records(&self) {
        self.wants_records.store(true, Ordering::SeqCst);
    }

    /// The records that were not taken yet.
    pub(crate) fn take(&self) -> Vec<(u64, Arc<[u8]>)> {
        let mut queue = self.queue.lock();
        let from = queue.records.partition_point(|(lsn, _)| *lsn <= queue.taken);
        let taken: Vec<_> = queue.records.range(from..).cloned().collect();
        if let Some((lsn, _)) = taken.last() {
            queue.taken = *lsn;
        }
        taken
    }

    /// The log has the records up to `through` (0: no more than before), and stands at `witness`.
    /// Returns the number of the record in which the journal is told so, if it is.
    pub(crate) fn stored(
        &self,
        journal: &Journal,
        through: u64,
        witness: &[u8],
    ) -> Result<Option<u64>, Refusal> {
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        while let Some((_, record)) = queue.records.pop_front_if(|(lsn, _)| *lsn <= through) {
            bytes += record.len();
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.released.fetch_max(through, Ordering::SeqCst);
        self.stand(journal, &mut queue, witness, through > 0)
    }

    /// How far the log was read changes; the journal is told if records count by it, or now and then.
    fn stand(
        &self,
        journal: &Journal,
        queue: &mut Queue,
        witness: &[u8],
        is_needed: bool,
    ) -> Result<Option<u64>, Refusal> {
        queue.witness = witness.to_vec();
        if !is_needed && queue.told.is_some_and(|told| told.elapsed() <= STANDING_INTERVAL) {
            return Ok(None);
        }
        queue.told = Some(Instant::now());
        let record = standing(self.group, self.released.load(Ordering::SeqCst), false, witness);
        journal.append(&record).map(|lsn| Some(lsn.0))
    }

    /// Records of another leader, which have just been applied under the locks of their keys. Errors: the journal.
    pub(crate) fn applied(
        &self,
        journal: &Journal,
        records: &[Vec<u8>],
        witness: &[u8],
    ) -> Result<Option<u64>, Refusal> {
        let mut queue = self.queue.lock();
        for record in records {
            let lsn = append_tentative(journal, self.group, record)?;
            self.submitted.store(lsn.0, Ordering::Release);
            self.released.store(lsn.0, Ordering::SeqCst);
        }
        self.stand(journal, &mut queue, witness, !records.is_empty())
    }

    /// Has the journal say how far the log was read: the record that does, and what it says.
    pub(crate) fn note_standing(&self, journal: &Journal) -> Result<(Lsn, Vec<u8>), Refusal> {
        let mut queue = self.queue.lock();
        let witness = queue.witness.clone();
        queue.told = Some(Instant::now());
        let lsn =
            journal.append(&standing(self.group, self.released.load(Ordering::SeqCst), false, &witness))?;
        Ok((lsn, witness))
    }

    /// All keys are about to be replaced: what the journal has that is not settled is void, and so is a snapshot that runs.
    pub(crate) fn begin_anew(&self, journal: &Journal) -> Result<(), Refusal> {
        let queue = self.queue.lock();
        self.generation.fetch_add(1, Ordering::SeqCst);
        journal.append(&standing(self.group, self.released.load(Ordering::SeqCst), true, &queue.witness))?;
        Ok(())
    }

    /// Part of what the keys are replaced by: it counts with [`Replication::stand_as_copy`].
    pub(crate) fn append_of_copy(&self, journal: &Journal, effects: &[u8]) -> Result<Lsn, Refusal> {
        let _queue = self.queue.lock();
        append_tentative(journal, self.group, effects)
    }

    /// The keys are replaced, by what stands in the records up to `last`, and the log was read up to `witness`. `None`: something was
    /// written meanwhile that never was in the log, and nothing counts.
    pub(crate) fn stand_as_copy(
        &self,
        journal: &Journal,
        last: Lsn,
        witness: &[u8],
    ) -> Result<Option<Lsn>, Refusal> {
        let mut queue = self.queue.lock();
        if !queue.strays.is_empty() {
            return Ok(None);
        }
        let lsn = journal.append(&standing(self.group, last.0, true, witness))?;
        self.begin_at(lsn);
        queue.witness = witness.to_vec();
        queue.told = Some(Instant::now());
        self.generation.fetch_add(1, Ordering::SeqCst);
        Ok(Some(lsn))
    }

    /// The journal is loaded: what is tentative and not settled in it never will be.
    pub(crate) fn open(&self, journal: &Journal, settled: u64, witness: Vec<u8>) -> Result<(), Refusal> {
        let lsn = journal.append(&standing(self.group, settled, true, &witness))?;
        self.begin_at(lsn);
        self.queue.lock().witness.clone_from(&witness);
        let _ = self.loaded.set(witness);
        Ok(())
    }

    /// How far the log was read when the journal was loaded; `None`: it is not.
    pub(crate) fn loaded(&self) -> Option<&[u8]> {
        self.loaded.get().map(Vec::as_slice)
    }

    fn begin_at(&self, lsn: Lsn) {
        self.submitted.store(lsn.0, Ordering::SeqCst);
        self.released.store(lsn.0, Ordering::SeqCst);
    }

    /// This node leads, unless there are strays, which are to be undone first. No command that writes is under way.
    pub(crate) fn lead(&self, journal: &Journal) -> Result<bool, Refusal> {
        let mut queue = self.queue.lock();
        if !queue.strays.is_empty() {
            return Ok(false);
        }
        let released = self.released.load(Ordering::SeqCst);
        let lsn = journal.append(&standing(self.group, released, true, &queue.witness))?;
        // What is read before the first write depends on this record, which counts.
        for range in [&self.void, &self.lost] {
            range[1].fetch_min(lsn.0.saturating_sub(1), Ordering::SeqCst);
        }
        self.begin_at(lsn);
        queue.taken = lsn.0;
        self.is_leading.store(true, Ordering::Release);
        Ok(true)
    }

    /// This node leads no more: what is not stored never happened. `lost`: of what is up to there the log does not say.
    pub(crate) fn resign(&self, lost: Option<u64>) {
        let mut queue = self.queue.lock();
        self.set_lease(None);
        let records = std::mem::take(&mut queue.records);
        if !records.is_empty() {
            queue.strays.extend(records.into_iter().map(|(_, record)| record));
            self.has_strays.store(true, Ordering::Release);
        }
        self.is_leading.store(false, Ordering::Release);
        self.generation.fetch_add(1, Ordering::SeqCst);
        let released = self.released.load(Ordering::SeqCst);
        let lost = lost.map_or(released, |lost| lost.max(released));
        // Nothing is taken for stored or void that was lost, whoever looks meanwhile: what is not yet in a range is pending.
        self.lost[1].store(lost, Ordering::SeqCst);
        self.lost[0].store(released, Ordering::SeqCst);
        self.void[0].store(lost, Ordering::SeqCst);
        self.void[1].store(u64::MAX, Ordering::SeqCst);
        self.queued_bytes.store(0, Ordering::Relaxed);
    }

    /// Whether the log has all that is in memory.
    pub(crate) fn is_clean(&self) -> bool {
        !self.is_leading() && !self.has_strays()
    }

    /// Whether something in memory never happened.
    pub(crate) fn has_strays(&self) -> bool {
        self.has_strays.load(Ordering::Acquire)
    }

    /// What never happened, to be undone: in the journal it is void from here on. [`Replication::undone`] follows.
    pub(crate) fn take_strays(&self, journal: &Journal) -> Result<Vec<Arc<[u8]>>, Refusal> {
        let mut queue = self.queue.lock();
        self.generation.fetch_add(1, Ordering::SeqCst);
        let released = self.released.load(Ordering::SeqCst);
        journal.append(&standing(self.group, released, true, &queue.witness))?;
        Ok(std::mem::take(&mut queue.strays))
    }

    /// What was taken is undone.
    pub(crate) fn undone(&self) {
        let queue = self.queue.lock();
        self.has_strays.store(!queue.strays.is_empty(), Ordering::Release);
    }

    /// The log has not answered for so long that whoever waits for it is told so.
    pub(crate) fn give_up_waiting(&self) -> bool {
        let submitted = self.submitted.load(Ordering::SeqCst);
        submitted > self.released.load(Ordering::SeqCst)
            && self.unknown_to.swap(submitted, Ordering::SeqCst) < submitted
    }

    /// Has the journal say that everything up to `lsn` counts, if it does: the number of the record that says so.
    pub(crate) fn confirm(&self, journal: &Journal, lsn: Lsn) -> Result<Option<Lsn>, Refusal> {
        let mut queue = self.queue.lock();
        // What was submitted at all; records behind it are standings.
        let needed = lsn.0.min(self.submitted.load(Ordering::SeqCst));
        let released = self.released.load(Ordering::SeqCst);
        if released < needed {
            return Ok(None);
        }
        queue.told = Some(Instant::now());
        journal.append(&standing(self.group, released, false, &queue.witness)).map(Some)
    }
}

fn append_tentative(journal: &Journal, group: KeyGroup, effects: &[u8]) -> Result<Lsn, Refusal> {
    journal.append_with(|out| {
        write_tentative(out, group);
        out.extend_from_slice(effects);
    })
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replication({:?}, {:?})", self.group, self.leadership())
    }
}

#[cfg(test)]
mod tests {
    use sterna_journal::{FileDisk, Options, Recovery, Rejected, Restore};
    use tempfile::TempDir;

    use super::*;
    use crate::connection::dependence::{Dependence, Loss};

    struct Nothing;

    impl Restore for Nothing {
        fn item(&mut self, _: &[u8], _: Lsn, _: &[u8]) -> Result<(), Rejected> {
            Ok(())
        }

        fn record(&mut self, _: Lsn, _: &[u8]) -> Result<(), Rejected> {
            Ok(())
        }
    }

    fn journal() -> (TempDir, Journal) {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Arc::new(FileDisk::open(folder.path()).expect("it can be opened"));
        let recovery = Recovery::open(disk, Options::default()).expect("an empty folder");
        let recovered = recovery.replay(&mut Nothing).expect("nothing is there");
        (folder, recovered.start(Arc::new(|_| {})).expect("it starts"))
    }

    #[test]
    fn a_record_is_stored_when_the_log_says_so_and_void_when_another_node_leads() {
        let (_folder, journal) = journal();
        let replication = Replication::new(KeyGroup::WHOLE);
        replication.open(&journal, 0, Vec::new()).expect("the journal takes it");
        let append = || replication.append(&journal, b"effects").expect("the journal takes it");
        assert!(replication.lead(&journal).expect("the journal takes it"));
        let (first, second) = (append(), append());
        let taken: Vec<u64> = replication.take().iter().map(|(number, _)| *number).collect();
        assert_eq!(taken, [first.0, second.0]);
        assert_eq!(replication.take(), []);
        assert_eq!([replication.fate(first), replication.fate(second)], [Fate::Pending, Fate::Pending]);
        replication.stored(&journal, first.0, b"one").expect("the journal takes it");
        assert_eq!([replication.fate(first), replication.fate(second)], [Fate::Stored, Fate::Pending]);
        assert!(replication.give_up_waiting());
        assert_eq!(replication.fate(second), Fate::Unknown, "its client is told so");

        replication.resign(None);
        let stray = append();
        assert_eq!([replication.fate(second), replication.fate(stray)], [Fate::Void, Fate::Void]);
        assert!(!replication.lead(&journal).expect("the journal"), "what never happened is undone first");
        assert_eq!(replication.take_strays(&journal).expect("the journal takes it").len(), 2);
        assert!(!replication.is_clean());
        replication.undone();
        assert!(replication.is_clean());
        replication.applied(&journal, &[b"of another".to_vec()], b"two").expect("the journal takes it");
        assert!(replication.lead(&journal).expect("the journal takes it"));
        assert_eq!(replication.fate(replication.submitted()), Fate::Stored, "what a reader sees now");
        let later = append();
        let fates = [first, second, stray, later].map(|lsn| replication.fate(lsn));
        assert_eq!(fates, [Fate::Stored, Fate::Void, Fate::Void, Fate::Pending]);
        assert_eq!(replication.queued_bytes(), b"effects".len());
    }

    /// Says of a connection what it would be told in place of so many replies.
    fn loss(replication: &Replication, writes: &[Lsn], seen: Lsn, replies: usize) -> Option<Loss> {
        let mut depends_on = Dependence::default();
        depends_on.seen = seen;
        writes.iter().for_each(|lsn| depends_on.note_written(*lsn));
        depends_on.loss(|lsn| replication.fate(lsn), replies, !replication.is_leading())
    }

    #[test]
    fn no_effect_is_said_only_of_what_the_log_will_never_have() {
        let (_folder, journal) = journal();
        let replication = Replication::new(KeyGroup::WHOLE);
        replication.open(&journal, 0, Vec::new()).expect("the journal takes it");
        let append = || replication.append(&journal, b"effects").expect("the journal takes it");
        assert!(replication.lead(&journal).expect("the journal takes it"));
        let [stored, lost, void, other] = [append(), append(), append(), append()];
        assert_eq!(loss(&replication, &[stored], other, 1), None, "it may yet be stored");
        replication.stored(&journal, stored.0, b"one").expect("the journal takes it");
        replication.resign(Some(lost.0));
        let cases: &[(&[Lsn], Lsn, usize, Option<Loss>)] = &[
            (&[stored], stored, 1, None),
            // Another connection's record may be the last that was there when this one's reply was made.
            (&[stored], other, 1, Some(Loss::Unknown)),
            (&[stored, void], void, 1, Some(Loss::Unknown)),
            (&[lost], lost, 1, Some(Loss::Unknown)),
            (&[lost, void], void, 1, Some(Loss::Unknown)),
            (&[void], void, 1, Some(Loss::NoEffect)),
            (&[void], other, 1, Some(Loss::NoEffect)),
            // One of the others may have had an effect beside the log.
            (&[void, other], other, 2, Some(Loss::Unknown)),
            (&[], void, 1, Some(Loss::Read)),
            (&[], void, 2, Some(Loss::Unknown)),
            (&[], stored, 1, None),
            (&[void], void, 0, Some(Loss::Read)),
        ];
        for (writes, seen, replies, expected) in cases {
            assert_eq!(
                loss(&replication, writes, *seen, *replies),
                *expected,
                "{writes:?} {seen:?} {replies}"
            );
        }

        // What was answered before is not in question.
        let fate = |lsn| replication.fate(lsn);
        let mut depends_on = Dependence::default();
        depends_on.note_written(stored);
        depends_on.note_free(0);
        depends_on.note_written(void);
        assert_eq!(depends_on.loss(fate, 1, true), Some(Loss::NoEffect));
        // A blocked client was served in a record that nobody remembers.
        depends_on.note_free(0);
        depends_on.note_written_for(void);
        assert_eq!(depends_on.loss(fate, 1, true), Some(Loss::Unknown));
        // A key that was found expired is nobody's write.
        let mut reads = Dependence::default();
        let before = reads;
        reads.note_written(void);
        reads.disown(before);
        reads.seen = void;
        assert_eq!(reads.loss(fate, 1, true), Some(Loss::Read));
    }

    #[test]
    fn a_copy_is_stale_from_the_start_on_or_since_its_log_could_not_be_read_until_it_was_read_to_its_end() {
        let replication = Replication::new(KeyGroup::WHOLE);
        let later = replication.began + Duration::from_secs(3);
        assert_eq!(replication.stale_for(later), Some(Duration::from_secs(3)));
        replication.set_current(false);
        assert_eq!(replication.stale_for(later), Some(Duration::from_secs(3)), "that is no news");
        replication.set_current(true);
        assert_eq!(replication.stale_for(later), None);
        replication.set_current(false);
        assert!(replication.stale_for(Instant::now()).is_some_and(|stale| stale < Duration::from_secs(60)));
    }

    #[test]
    fn a_lease_is_a_time_and_its_end_needs_nobody_to_say_so() {
        let replication = Replication::new(KeyGroup::WHOLE);
        assert_eq!(replication.leadership(), Leadership::None);
        assert!(replication.set_leader(7) && !replication.set_leader(7));
        assert_eq!(replication.leadership(), Leadership::Other(7));
        let until = Instant::now() + Duration::from_secs(100);
        replication.is_leading.store(true, Ordering::Release);
        assert!(replication.set_lease(Some(until)));
        assert_eq!(replication.leadership(), Leadership::Me);
        assert!(replication.leads_at(until - Duration::from_millis(1)) && !replication.leads_at(until));
        let ended = Instant::now();
        assert!(replication.set_lease(Some(ended)));
        assert_eq!(replication.leadership(), Leadership::Suspended);
        let later = ended + Duration::from_secs(3);
        assert_eq!(replication.silent_for(later), Some(Duration::from_secs(3)));
    }
}
