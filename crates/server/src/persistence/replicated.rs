//! A node's part in the keys that a cluster shares, as the thread that talks to the log sees it: [`LogSeat`]. Each group of keys has a
//! log and a seat of its own; the journal is one for all, and its records say which group they are about.
//!
//! Each node has a journal of its own. What it holds of the log is *tentative* until a *standing* says how far the log has it:
//!
//! ```text
//!   leader     [tentative 1][tentative 2][tentative 3][standing: 1 and 2 count, the log stands at …][tentative 4]
//!   follower   [tentative 1][tentative 2][standing: both count, the log stands at …]
//! ```
//!
//! - A start applies tentative records when it comes to the standing that counts them. Those behind the last one may never have
//!   happened: they are passed over, and what did happen comes from the log, from where it stood.
//! - A leader that is deposed has executed what will never be in the log. A standing that *voids* it goes into the journal, and
//!   the keys concerned are read back from there (`rollback.rs`).
//! - A snapshot counts when everything that it may hold does, and there is a standing behind its start.
//!
//! A disk that fails stops the node: what is not in its journal may be in the log, so nothing can be undone here alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use sterna_journal::{Error, Journal, Lsn, Refusal};
use sterna_keyspace::{Changes, Effects, KeyGroup};

use super::restore::Standings;
use super::rollback::undo_records;
use crate::lock::MutexGuard;
use crate::mailbox::Mail;
use crate::replication::{Leadership, Replication, SILENCE_MAX};
use crate::server::Server;
use crate::time::unix_ms;

/// How often somebody who waits for the log looks again.
const PAUSE: Duration = Duration::from_millis(10);

/// What a node can't go on with.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// The server stops.
    #[error("the server stops")]
    Stopping,
    /// The journal.
    #[error("journal: {0}")]
    Journal(String),
    /// What the log holds can't be applied here.
    #[error(
        "what the log holds does not fit what is here: stop this node, empty its directory, and start it"
    )]
    Misfit,
}

/// What the thread of the log asks of the server.
#[derive(Clone)]
pub struct LogSeat {
    pub(super) server: Arc<Server>,
    pub(super) replication: Arc<Replication>,
}

fn rejected(why: &'static str) -> Error {
    Error::Rejected { file: "the journal".to_owned(), offset: 0, why }
}

/// Whether a node may go on with what was loaded. Errors: it may not.
pub(super) fn check(server: &Server, standings: &Standings) -> Result<(), Error> {
    let groups = standings.of.keys().next().map(|group| group.count);
    let Some(first) = server.logs.first() else {
        if groups.is_some() && !standings.is_left_behind {
            tracing::warn!("this was a node of a cluster; with cluster-keys no it goes on alone");
        }
        return Ok(());
    };
    match groups {
        Some(_) if standings.is_left_behind => Err(rejected(
            "it was written to with cluster-keys no: to make it a node of the cluster again, empty the directory",
        )),
        Some(count)
            if standings.of.keys().any(|group| group.count != count || count != first.group.count) =>
        {
            Err(rejected(
                "it was written with another number of cluster-groups, which never changes for a cluster",
            ))
        }
        Some(_) => Ok(()),
        None if server.partitions.keys(0) > 0 || server.partitions.libraries().version() > 0 => {
            Err(rejected(
                "it has keys that are not the cluster's: cluster-keys yes begins with an empty directory",
            ))
        }
        None => Ok(()),
    }
}

/// What tells whether anything in memory was undone since.
pub(super) fn generation(server: &Server) -> u64 {
    server.logs.iter().map(|log| log.generation.load(Ordering::SeqCst)).sum()
}

/// Waits until the log has everything that a snapshot may hold, and the journal says so behind the snapshot's start. Errors:
/// some of it never happened, or it takes too long. Nothing is read back while the result is held.
pub(super) fn confirm(server: &Server, generation_before: u64) -> Result<Option<MutexGuard<'_, ()>>, Error> {
    let Some(journal) = server.journaling.opened.get().filter(|_| !server.logs.is_empty()) else {
        return Ok(None);
    };
    let last = journal.last_lsn();
    let began = Instant::now();
    let mut confirmed = vec![None; server.logs.len()];
    loop {
        let publication = server.journaling.publication.lock();
        if generation(server) != generation_before {
            return Err(rejected("the snapshot may hold what never happened: another node leads now"));
        }
        for (log, standing) in server.logs.iter().zip(&mut confirmed).filter(|(_, of)| of.is_none()) {
            *standing = log.confirm(journal, last)?;
        }
        if confirmed.iter().all(Option::is_some) {
            journal.wait_durable(confirmed.into_iter().flatten().max().unwrap_or(last), None)?;
            return Ok(Some(publication));
        }
        drop(publication);
        if began.elapsed() > SILENCE_MAX || server.journaling.jobs.is_called_off() {
            return Err(rejected("the log does not answer: no snapshot is taken before it does"));
        }
        thread::sleep(PAUSE);
    }
}

impl LogSeat {
    /// One for each group of keys; none: keys are this node's own.
    pub(crate) fn all(server: &Arc<Server>) -> Vec<LogSeat> {
        let logs = server.logs.iter().cloned();
        logs.map(|replication| LogSeat { server: Arc::clone(server), replication }).collect()
    }

    /// The keys that it is about.
    pub fn group(&self) -> KeyGroup {
        self.replication.group
    }

    /// Waits for the journal: how far the log was read; `None`: the server stops before.
    pub fn await_loaded(&self) -> Option<Vec<u8>> {
        while !self.server.is_stopping() {
            if let Some(witness) = self.replication.loaded()
                && !self.server.journaling.is_loading()
            {
                return Some(witness.to_vec());
            }
            thread::sleep(PAUSE);
        }
        None
    }

    pub(super) fn journal(&self) -> Result<&Journal, SeatError> {
        self.server.journaling.opened.get().map(|journal| &**journal).ok_or(SeatError::Stopping)
    }

    pub(super) fn refused(&self, refusal: Refusal) -> SeatError {
        if self.server.is_stopping() { SeatError::Stopping } else { SeatError::Journal(refusal.to_string()) }
    }

    /// Has `wake` called when there are records to take.
    pub fn set_waker(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.replication.set_waker(wake);
    }

    /// Has the next record wake, once. To be called before it is asked what there is.
    pub fn want_records(&self) {
        self.replication.want_records();
    }

    /// What this node has done and was not taken yet: numbers, which rise, and effects.
    pub fn take(&self) -> Vec<(u64, Arc<[u8]>)> {
        self.replication.take()
    }

    /// The log has the records up to this number (0: no more than before), and stands there. Returns the number of the record
    /// in which the journal is told so, if it is.
    pub fn stored(&self, through: u64, witness: &[u8]) -> Result<Option<u64>, SeatError> {
        let journal = self.journal()?;
        let told = self.replication.stored(journal, through, witness);
        let told = told.map_err(|refusal| self.refused(refusal))?;
        if through > 0 {
            self.server.wake_awaiting();
        }
        Ok(told)
    }

    /// The log is in memory up to this slot: comes behind what was applied, and before what was stored is told.
    pub fn note_slot(&self, slot: u64) {
        self.replication.note_slot(slot);
    }

    /// Has the journal synced up to that record, and does not wait for it.
    pub fn sync(&self, number: u64) {
        if let Ok(journal) = self.journal() {
            journal.request_sync(Lsn(number));
        }
    }

    /// Whether that record survives a power loss.
    pub fn is_durable(&self, number: u64) -> bool {
        self.journal().is_ok_and(|journal| journal.durable_lsn().0 >= number)
    }

    /// Applies what another node has done. Returns the number of the record in which the journal is told so, if it is.
    pub fn apply(&self, records: &[Vec<u8>], witness: &[u8]) -> Result<Option<u64>, SeatError> {
        self.mend()?;
        let journal = self.journal()?;
        let (mut recorded, mut woken) = (Ok(None), Changes::default());
        let fits = self.server.partitions.together(|held| {
            for record in records {
                for effect in Effects::new(record) {
                    if !effect.is_ok_and(|effect| held.apply_noting(effect, &mut woken)) {
                        return false;
                    }
                }
            }
            // Pages that follow a stream; nobody else waits on a node that does not lead.
            held.serve_all_ready(unix_ms(), &mut woken);
            recorded = self.replication.applied(journal, records, witness);
            true
        });
        let told = recorded.map_err(|refusal| self.refused(refusal))?;
        self.hand_out(&mut woken);
        if !fits {
            return Err(SeatError::Misfit);
        }
        if !records.is_empty() {
            journal.flush();
        }
        Ok(told)
    }

    /// Tells the shards whose connections were served.
    pub(super) fn hand_out(&self, woken: &mut Changes) {
        for served in woken.served() {
            self.server.shards[served.waiter.caller.shard].mailbox.push(Mail::Served(served));
        }
    }

    /// This node leads, as soon as it has a lease.
    pub fn lead(&self) -> Result<(), SeatError> {
        // Who waits for what never happened is told first.
        self.server.await_shards();
        self.server.await_shards();
        loop {
            self.mend()?;
            let journal = self.journal()?;
            // No command that has begun under another leader goes on under this one.
            let led = self.server.partitions.together(|_| self.replication.lead(journal));
            if led.map_err(|refusal| self.refused(refusal))? {
                return Ok(());
            }
        }
    }

    /// Commands on keys run here until then.
    pub fn set_lease(&self, until: Option<Instant>) {
        if self.replication.set_lease(until) {
            self.server.notify_shards();
        }
    }

    /// Who claimed the term in force; 0: nobody.
    pub fn set_leader(&self, id: u64) {
        if self.replication.set_leader(id) {
            self.server.notify_shards();
        }
    }

    /// Whether this node has what the log has, but for what is on its way here.
    pub fn set_current(&self, is_current: bool) {
        self.replication.set_current(is_current);
    }

    /// Who runs commands on keys now.
    pub fn leadership(&self) -> Leadership {
        self.replication.leadership()
    }

    /// This node leads no more: what the log does not have never happened, and is undone. `lost`: of the records up to this number
    /// that are not stored nobody can say whether the log had them; they are undone as well, and come back if it did.
    pub fn resign(&self, lost: Option<u64>) -> Result<(), SeatError> {
        self.replication.resign(lost);
        // Twice: mail that was on its way when a shard first looked has been read when it looks again.
        self.server.await_shards();
        self.server.await_shards();
        self.mend()
    }

    /// This node is about to hand over: no command on keys begins here any more. Returns what [`LogSeat::is_quiet`] wants to know.
    pub fn begin_to_cede(&self) -> u64 {
        self.replication.set_ceding(true);
        self.server.notify_shards();
        self.server.config_version()
    }

    /// Whether every command that had begun when [`LogSeat::begin_to_cede`] returned `since` has come to its end, and the log has all of it.
    pub fn is_quiet(&self, since: u64) -> bool {
        self.server.have_shards_seen(since)
            && !self.server.partitions.is_kept()
            && !self.server.partitions.has_unserved()
            && self.server.reserved.is_empty()
            && self.replication.has_nothing_to_store()
    }

    /// It has handed over, or does not.
    pub fn end_ceding(&self) {
        self.replication.set_ceding(false);
        self.server.notify_shards();
    }

    /// Whether keys are being read from the journal: this node is not to lead more.
    pub fn is_loading(&self) -> bool {
        self.server.journaling.is_loading()
    }

    /// Undoes what was done here and never happened, if there is anything.
    pub fn mend(&self) -> Result<(), SeatError> {
        while self.replication.has_strays() {
            let journal = self.journal()?;
            let strays = self.replication.take_strays(journal).map_err(|refusal| self.refused(refusal))?;
            let began = Instant::now();
            undo_records(&self.server, journal, self.group(), &strays).map_err(|error| {
                if self.server.is_stopping() {
                    SeatError::Stopping
                } else {
                    SeatError::Journal(error.to_string())
                }
            })?;
            self.replication.undone();
            let ms = began.elapsed().as_millis() as u64;
            tracing::warn!(
                records = strays.len(),
                ms,
                "what was not stored before another node led is undone"
            );
        }
        Ok(())
    }

    /// The log does not answer. Who has waited for it for too long is told so.
    pub fn note_silence(&self) {
        if self.replication.silent_for(Instant::now()).is_some_and(|silence| silence > SILENCE_MAX)
            && self.replication.give_up_waiting()
        {
            self.server.wake_awaiting();
        }
    }

    /// What INFO says of the log.
    pub fn set_figures(&self, figures: Vec<(&'static str, String)>) {
        *self.replication.figures.lock() = figures;
    }

    /// This node can't go on.
    pub fn stop(&self) {
        self.replication.set_lease(None);
        self.server.stop();
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.server.is_stopping()
    }

    /// Bytes that wait for the log.
    pub fn queued_bytes(&self) -> usize {
        self.replication.queued_bytes()
    }
}
