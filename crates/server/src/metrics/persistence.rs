//! What is kept, and whether it can be.

use std::sync::atomic::Ordering::Relaxed;

use super::sheet::Sheet;
use crate::journaling::{Job, Kind};
use crate::persistence::sizes;
use crate::server::Server;

pub(super) fn families(sheet: &mut Sheet, server: &Server) {
    let persistence = &server.journaling;
    let jobs = &persistence.jobs;
    let runs = |wanted| u8::from(matches!(jobs.running(), Some((job, _)) if job == wanted));
    let is_well = |kind: &Kind| u8::from(!kind.has_failed.load(Relaxed));
    sheet.gauge(
        "redis_loading_dump_file",
        "Whether keys are still being loaded.",
        u8::from(persistence.is_loading()),
    );
    sheet.gauge(
        "redis_rdb_changes_since_last_save",
        "Writes since the last snapshot.",
        server.changes_since_save(),
    );
    sheet.gauge("redis_rdb_bgsave_in_progress", "Whether a snapshot is being taken.", runs(Job::Save));
    sheet.gauge(
        "redis_rdb_last_save_timestamp_seconds",
        "When the last snapshot was done.",
        jobs.last_s.load(Relaxed),
    );
    sheet.gauge("redis_rdb_last_bgsave_status", "Whether the last snapshot succeeded.", is_well(&jobs.saves));
    sheet.gauge("redis_aof_enabled", "Whether writes are journaled.", u8::from(server.config().appendonly));
    sheet.gauge("redis_aof_rewrite_in_progress", "Whether the journal is being cut.", runs(Job::Rewrite));
    sheet.gauge("redis_aof_last_bgrewrite_status", "Whether that succeeded last.", is_well(&jobs.rewrites));
    sheet.gauge(
        "redis_aof_last_write_status",
        "Whether the disk takes what is written; if not, writes are refused.",
        u8::from(persistence.trouble().is_none()),
    );
    let Some(journal) = persistence.journal() else { return };
    let (stats, (now, base)) = (journal.stats(), sizes(journal));
    sheet.gauge("redis_aof_current_size_bytes", "Bytes of the journal with its snapshot.", now);
    sheet.gauge("redis_aof_base_size_bytes", "Bytes of the snapshot.", base);
    sheet.gauge("sterna_journal_segments", "Files of the log.", stats.segments);
    sheet.gauge("sterna_journal_unsynced_bytes", "Bytes written and not yet synced.", stats.unsynced_bytes);
    sheet.counter("sterna_journal_records", "Records written, earlier runs included.", journal.last_lsn());
    sheet.counter(
        "sterna_journal_records_durable",
        "Those of them that a power loss leaves.",
        journal.durable_lsn(),
    );
    sheet.counter("sterna_journal_syncs", "Syncs since the start.", stats.syncs);
    sheet.counter("sterna_journal_sync_seconds", "Time that they took.", stats.sync_time.as_secs_f64());
    sheet.counter("sterna_journal_failures", "Failures of the disk since the start.", stats.failures);
}
