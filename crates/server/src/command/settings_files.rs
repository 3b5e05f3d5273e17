//! Commands about the files of settings: ACL LOAD and SAVE, CONFIG REWRITE. Their connection waits while a thread does it.

use std::sync::{Arc, OnceLock};

use super::{Call, Failure};
use crate::connection::ReplyMode;
use crate::connection::state::Wait;
use crate::connection::waits::{AfterJob, JobWait};
use crate::mailbox::{Ack, Mail};
use crate::server::Server;

/// Has `work` done on the thread; then the command goes on as `then` says, if that was no error.
pub(super) fn beside(
    call: &mut Call<'_>,
    then: AfterJob,
    work: impl FnOnce(&Server) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let (slot, row, args) = (call.slot, call.row, call.args.to_owned());
    let connection = call.connection();
    let (who, is_silent) = (connection.me, connection.reply_mode != ReplyMode::On);
    let ack = Ack { shard: call.shard.index, who };
    let server = Arc::clone(&call.shard.server);
    let job = move || {
        let outcome = {
            let _turn = server.settings_files.turn.lock();
            work(&server)
        };
        let outcome = outcome.map_err(|failure| String::from_utf8_lossy(failure.wire()).into_owned());
        server.shards[ack.shard].mailbox.push(Mail::JobEnded { ack, outcome });
    };
    let started = call.shard.server.settings_files.run(Box::new(job));
    started.map_err(|error| Failure::text(format!("ERR no thread for files: {error}")))?;
    call.shard.wait(slot, Wait::Job(JobWait { row, args, then, is_silent }), None);
    Ok(())
}

/// Writes a file of settings, on the thread or within a transaction, and answers that it is written.
pub(super) fn write(
    call: &mut Call<'_>,
    work: impl FnOnce(&Server) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    if call.in_exec {
        work(call.server())?;
        call.reply.ok();
        return Ok(());
    }
    beside(call, AfterJob::Answer(Arc::new(OnceLock::from(b"+OK\r\n".to_vec()))), work)
}
