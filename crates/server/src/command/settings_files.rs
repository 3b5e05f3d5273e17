//! Commands about the files of settings, and those that settings name: ACL LOAD and SAVE, CONFIG REWRITE, CONFIG SET of certificates.
//! Their connection waits while a thread reads or writes.
//!
//! ```text
//!   ACL LOAD                   ─► a thread reads ─► the users are there
//!   CONFIG SET tls-cert-file … ─► a thread reads ─► the certificate is there
//!   MULTI … ACL LOAD … EXEC    ─► a thread reads ─► EXEC is run, and the users are there
//!   MULTI … ACL SAVE … EXEC    ─► EXEC is run ─► a thread writes ─► all of EXEC is answered
//! ```

use std::sync::{Arc, OnceLock};

use sterna_command::Flags;
use sterna_protocol::{OwnedArgs, Proto, Reply};

use super::{Call, Failure};
use crate::connection::ReplyMode;
use crate::connection::state::Wait;
use crate::connection::transaction::Transaction;
use crate::connection::waits::{AfterJob, FilesRead, JobWait};
use crate::journaling::Outcome;
use crate::mailbox::{Ack, Mail};
use crate::server::Server;
use crate::shard::Shard;
use crate::shard::current::FileToWrite;

/// Has `work` done on the thread; then the command goes on as `then` says, if that was no error.
pub(super) fn beside(
    call: &mut Call<'_>,
    then: AfterJob,
    work: impl FnOnce(&Server) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let (slot, row, args) = (call.slot, call.row, call.args.to_owned());
    let is_silent = call.connection().reply_mode != ReplyMode::On;
    call.shard.do_beside(slot, outcome_of(work)).map_err(no_thread)?;
    call.shard.wait(slot, Wait::Job(JobWait { row, args, then, is_silent }), None);
    Ok(())
}

/// Writes a file of settings and answers that it is written: as `AfterJob::Answer` does, or behind the transaction.
pub(super) fn write(
    call: &mut Call<'_>,
    work: impl FnOnce(&Server) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    if call.in_exec {
        let at = call.reply.out.len();
        call.reply.ok();
        call.shard.current.file_to_write = Some(FileToWrite { at, work: Box::new(outcome_of(work)) });
        return Ok(());
    }
    beside(call, AfterJob::Answer(Arc::new(OnceLock::from(b"+OK\r\n".to_vec()))), work)
}

fn outcome_of(
    work: impl FnOnce(&Server) -> Result<(), Failure> + Send + 'static,
) -> impl FnOnce(&Server) -> Outcome + Send + 'static {
    move |server: &Server| {
        work(server).map_err(|failure| String::from_utf8_lossy(failure.wire()).into_owned())
    }
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::text(format!("ERR no thread for files: {error}"))
}

/// A transaction's reply in which this error stands in the place of the `+OK` at `at`.
fn with_error(reply: &[u8], at: usize, error: &str) -> Vec<u8> {
    let (before, behind) = reply.split_at(at);
    let mut bytes = before.to_vec();
    Reply::new(&mut bytes, Proto::default()).error(error.as_bytes());
    bytes.extend_from_slice(behind.strip_prefix(b"+OK\r\n").unwrap_or(behind));
    bytes
}

impl Shard {
    /// Has a thread do what is to be done about a file for a connection, which is told when it is done.
    fn do_beside(
        &self,
        slot: usize,
        work: impl FnOnce(&Server) -> Outcome + Send + 'static,
    ) -> std::io::Result<()> {
        let ack = Ack { shard: self.index, who: self.connections[slot].me };
        let server = Arc::clone(&self.server);
        self.server.settings_files.run(Box::new(move || {
            let outcome = {
                let _turn = server.settings_files.turn.lock();
                work(&server)
            };
            server.shards[ack.shard].mailbox.push(Mail::JobEnded { ack, outcome });
        }))
    }

    /// Whether the files that a transaction asks for are being read, for which its EXEC waits.
    pub(super) fn reads_files_first(&mut self, slot: usize, transaction: &mut Transaction) -> bool {
        if !transaction.queued.iter().any(|(row, _)| row.has(Flags::READ_FIRST)) {
            return false;
        }
        if let Some(files) = &mut transaction.files {
            // The thread has set them, and gone.
            return Arc::get_mut(files).is_none_or(|files| files.get().is_none());
        }
        let loads_users =
            transaction.queued.iter().any(|(row, _)| row.has(Flags::READ_FIRST | Flags::SETTINGS_FILE));
        let sets = || {
            transaction.queued.iter().filter(|(row, _)| row.has(Flags::SETS_OPTIONS)).map(|(_, args)| args)
        };
        let config = self.server.config();
        let is_wanted = sets().any(|args| super::config::may_want(&config, args.args()));
        if !loads_users && !is_wanted {
            return false;
        }
        // What one sets, the next may depend on.
        let sets: Vec<OwnedArgs> = if is_wanted { sets().cloned().collect() } else { Vec::new() };
        let files: Arc<OnceLock<FilesRead>> = Arc::default();
        let into = Arc::clone(&files);
        let started = self.do_beside(slot, move |server| {
            let text = |failure: Failure| String::from_utf8_lossy(failure.wire()).into_owned();
            let users = loads_users.then(|| super::acl::read_users(server).map_err(text));
            let _ = into.set(FilesRead { users, options: super::config::read_for(server, &sets) });
            Ok(())
        });
        if let Err(error) = &started {
            let error = format!("ERR no thread for files: {error}");
            let _ = files.set(FilesRead { users: Some(Err(error)), ..FilesRead::default() });
        }
        transaction.files = Some(files);
        started.is_ok()
    }

    /// A transaction has been run, whose replies begin at `start`, and has a file written: all of it is answered when that is done.
    pub(super) fn write_behind(
        &mut self,
        slot: usize,
        FileToWrite { at, work }: FileToWrite,
        start: usize,
        reply: &mut Reply<'_>,
    ) {
        self.defer_own_pushes();
        let mut pushes = self.current.confirmations.clone();
        self.current.deferred.iter().for_each(|range| pushes.extend_from_slice(&range.bytes(0)));
        let reply_bytes = reply.out.split_off(start);
        // What is not answered has no place in it.
        let at = (at - start).min(reply_bytes.len());
        let connection = &self.connections[slot];
        let is_silent = connection.reply_mode != ReplyMode::On;
        let ack = Ack { shard: self.index, who: connection.me };
        let (server, kept) = (Arc::clone(&self.server), reply_bytes.clone());
        let started = self.server.settings_files.run(Box::new(move || {
            let outcome = {
                let _turn = server.settings_files.turn.lock();
                work(&server)
            };
            let error = outcome.err();
            let mut bytes = match &error {
                Some(error) => with_error(&reply_bytes, at, error),
                None => reply_bytes,
            };
            if is_silent {
                bytes.clear();
            }
            bytes.extend_from_slice(&pushes);
            server.shards[ack.shard].mailbox.push(Mail::Answered { ack, bytes, error });
        }));
        match started {
            Ok(()) => {
                self.current.deferred.clear();
                self.current.confirmations.clear();
                self.wait(slot, Wait::Acks { remaining: 1 }, None);
            }
            Err(error) => {
                let error = String::from_utf8_lossy(no_thread(error).wire()).into_owned();
                reply.out.extend(with_error(&kept, at, &error));
            }
        }
    }

    /// A file has been written, or could not be, of which a transaction of this connection tells.
    pub(crate) fn answer_after_file(&mut self, ack: Ack, bytes: &[u8], error: Option<String>) {
        if let Some(error) = error {
            self.count_error(error.as_bytes());
        }
        let range = self.replies_to_others.append(bytes.len(), |buf| buf.extend_from_slice(bytes));
        if let Some(connection) = self.connections.get_mut(ack.who.slot).filter(|other| other.me == ack.who)
            && !bytes.is_empty()
        {
            self.flusher.push(connection, range);
        }
        self.count_part(ack);
    }
}
