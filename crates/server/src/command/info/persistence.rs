//! The section Persistence. What Redis forks for, a thread does here: `rdb_` is said of snapshots by BGSAVE, SAVE and save
//! points, `aof_rewrite` of those that the journal's growth or BGREWRITEAOF asked for.

use std::sync::atomic::Ordering::Relaxed;

use sterna_journal::Journal;

use super::{Call, Sheet};
use crate::journaling::{Job, Kind, Loading};
use crate::persistence::sizes;
use crate::time::unix_ms;

pub(super) fn persistence(sheet: &mut Sheet, call: &mut Call<'_>) {
    let server = call.server();
    let persistence = &server.journaling;
    let jobs = &persistence.jobs;
    let running = jobs.running();
    let seconds_of = |wanted| match running {
        Some((job, seconds)) if job == wanted => seconds as i64,
        _ => -1,
    };
    let status = |kind: &Kind| if kind.has_failed.load(Relaxed) { "err" } else { "ok" };
    let keys_total: usize = server.keyspace_figures().fills.iter().map(|fill| fill.keys).sum();
    let (processed, total) = if running.is_some() { (jobs.keys.load(Relaxed), keys_total) } else { (0, 0) };

    sheet.field("loading", u8::from(persistence.is_loading()));
    sheet.field("async_loading", 0);
    sheet.field("current_save_keys_processed", processed);
    sheet.field("current_save_keys_total", total);
    sheet.field("rdb_changes_since_last_save", server.changes_since_save());
    sheet.field("rdb_bgsave_in_progress", u8::from(seconds_of(Job::Save) >= 0));
    sheet.field("rdb_last_save_time", jobs.last_s.load(Relaxed));
    sheet.field("rdb_last_bgsave_status", status(&jobs.saves));
    sheet.field("rdb_last_bgsave_time_sec", jobs.saves.took_s());
    sheet.field("rdb_current_bgsave_time_sec", seconds_of(Job::Save));
    sheet.field("rdb_saves", jobs.saves.done.load(Relaxed));
    sheet.field("rdb_last_cow_size", 0);
    sheet.field("rdb_last_load_keys_expired", 0);
    sheet.field("rdb_last_load_keys_loaded", persistence.loading.items.load(Relaxed));
    sheet.field("aof_enabled", u8::from(call.shard.config.appendonly));
    let is_switching = matches!(running, Some((Job::TurnOn | Job::TurnOff, _)));
    sheet.field("aof_switch_in_progress", u8::from(is_switching));
    sheet.field("aof_rewrite_in_progress", u8::from(seconds_of(Job::Rewrite) >= 0));
    sheet.field("aof_rewrite_scheduled", u8::from(jobs.is_queued(Job::Rewrite)));
    sheet.field("aof_last_rewrite_time_sec", jobs.rewrites.took_s());
    sheet.field("aof_current_rewrite_time_sec", seconds_of(Job::Rewrite));
    sheet.field("aof_last_bgrewrite_status", status(&jobs.rewrites));
    sheet.field("aof_rewrites", jobs.rewrites.done.load(Relaxed));
    sheet.field("aof_last_write_status", if persistence.trouble().is_some() { "err" } else { "ok" });
    sheet.field("aof_last_cow_size", 0);
    sheet.field("position_epoch", format_args!("{:016x}", server.epoch()));
    if let Some(journal) = persistence.journal() {
        journal_fields(sheet, journal);
    }
    if persistence.is_loading() {
        loading_fields(sheet, &persistence.loading);
    }
}

fn journal_fields(sheet: &mut Sheet, journal: &Journal) {
    let stats = journal.stats();
    let (now, base) = sizes(journal);
    sheet.field("aof_current_size", now);
    sheet.field("aof_base_size", base);
    sheet.field("aof_pending_rewrite", 0);
    sheet.field("aof_buffer_length", journal.kept_bytes());
    sheet.field("aof_pending_bio_fsync", 0);
    sheet.field("aof_delayed_fsync", 0);
    sheet.field("journal_last_lsn", journal.last_lsn());
    sheet.field("journal_durable_lsn", journal.durable_lsn());
    sheet.field("journal_segments", stats.segments);
    sheet.field("journal_syncs", stats.syncs);
    sheet.field("journal_sync_time_usec", stats.sync_time.as_micros());
    sheet.field("journal_last_sync_usec", stats.last_sync_time.as_micros());
    sheet.field("journal_failures", stats.failures);
    sheet.field("journal_epoch", stats.epoch);
}

fn loading_fields(sheet: &mut Sheet, loading: &Loading) {
    let (bytes, total) = (loading.bytes.load(Relaxed), loading.total_bytes.load(Relaxed));
    let since_s = loading.since_s.load(Relaxed);
    let spent_s = (unix_ms() / 1000).saturating_sub(since_s);
    let left_s = if bytes == 0 {
        0
    } else {
        spent_s as u128 * u128::from(total - bytes.min(total)) / u128::from(bytes)
    };
    sheet.field("loading_start_time", since_s);
    sheet.field("loading_total_bytes", total);
    sheet.field("loading_loaded_bytes", bytes);
    sheet.field("loading_loaded_perc", format_args!("{:.2}", bytes as f64 * 100.0 / total.max(1) as f64));
    sheet.field("loading_eta_seconds", left_s);
    sheet.field("loading_loaded_keys", loading.items.load(Relaxed));
    sheet.field("loading_loaded_records", loading.records.load(Relaxed));
}
