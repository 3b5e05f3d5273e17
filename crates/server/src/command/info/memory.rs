//! The section Memory.

use std::sync::atomic::Ordering::Relaxed;

use super::{Call, Sheet};
use crate::config::OptionRow;
use crate::hooks::memory_stats;
use crate::process::{machine_bytes, resident_bytes};

pub(super) fn memory(sheet: &mut Sheet, call: &mut Call<'_>) {
    let config = &call.shard.config;
    let allocator = memory_stats();
    let resident = resident_bytes();
    let used = call.server().memory.read();
    let dataset = call.server().keyspace_figures().used_bytes;
    let overhead = used.used_bytes.saturating_sub(dataset);
    sheet.bytes("used_memory", used.used_bytes);
    sheet.bytes("used_memory_rss", resident);
    sheet.bytes("used_memory_peak", used.peak_bytes);
    sheet.field("used_memory_peak_perc", Share(used.used_bytes, used.peak_bytes));
    sheet.field("used_memory_overhead", overhead);
    sheet.field("used_memory_dataset", dataset);
    sheet.field("used_memory_dataset_perc", Share(dataset, used.used_bytes));
    sheet.field("allocator_allocated", allocator.allocated);
    sheet.field("allocator_active", allocator.active);
    sheet.field("allocator_resident", allocator.resident);
    sheet.bytes("total_system_memory", machine_bytes());
    let scripts_of = &call.server().scripts;
    scripts(sheet, scripts_of.figures(), scripts_of.functions_used_bytes());
    sheet.bytes("maxmemory", usize::try_from(config.maxmemory).unwrap_or(usize::MAX));
    let policy = OptionRow::named(b"maxmemory-policy").map(|row| row.text(config)).unwrap_or_default();
    sheet.field("maxmemory_policy", String::from_utf8_lossy(&policy));
    fragmentation(sheet, "allocator_frag", allocator.active, allocator.allocated);
    fragmentation(sheet, "allocator_rss", allocator.resident, allocator.active);
    fragmentation(sheet, "rss_overhead", resident, allocator.resident);
    sheet.field("mem_fragmentation_ratio", Ratio(resident, used.used_bytes));
    sheet.field("mem_fragmentation_bytes", resident as i64 - used.used_bytes as i64);
    sheet.field("mem_not_counted_for_evict", call.server().memory.not_counted_bytes());
    sheet.field("mem_clients_slaves", 0);
    sheet.field("mem_clients_normal", clients_bytes(call));
    sheet.field("mem_aof_buffer", call.server().memory.not_counted_bytes());
    sheet.field("mem_allocator", if allocator.allocated == 0 { "libc" } else { "jemalloc" });
    let reclaimer = &call.server().reclaimer;
    sheet.field("lazyfree_pending_objects", reclaimer.pending_objects());
    sheet.field("lazyfreed_objects", reclaimer.freed_objects());
}

/// The Lua states, as of the last script's end.
fn scripts(sheet: &mut Sheet, figures: sterna_script::Figures, functions_bytes: usize) {
    sheet.field("used_memory_vm_eval", figures.used_bytes);
    sheet.bytes("used_memory_lua", figures.used_bytes);
    sheet.field("used_memory_scripts_eval", figures.text_bytes);
    sheet.field("number_of_cached_scripts", figures.scripts);
    sheet.field("number_of_functions", figures.functions);
    sheet.field("number_of_libraries", figures.libraries);
    sheet.field("used_memory_vm_functions", functions_bytes);
    sheet.bytes("used_memory_vm_total", figures.used_bytes + functions_bytes);
    sheet.field("used_memory_functions", figures.library_bytes);
    sheet.bytes("used_memory_scripts", figures.text_bytes + figures.library_bytes);
}

/// Memory of all connections, queued output included (each shared chunk once a connection).
fn clients_bytes(call: &Call<'_>) -> u64 {
    let clients = call.server().clients();
    clients.iter().map(|client| client.own_bytes.load(Relaxed) + client.output_bytes.load(Relaxed)).sum()
}

fn fragmentation(sheet: &mut Sheet, name: &str, outer: usize, inner: usize) {
    sheet.field(&format!("{name}_ratio"), Ratio(outer, inner));
    sheet.field(&format!("{name}_bytes"), outer as i64 - inner as i64);
}

/// How much more the first is than the second.
struct Ratio(usize, usize);

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", if self.1 == 0 { 0.0 } else { self.0 as f64 / self.1 as f64 })
    }
}

/// The first as percent of the second.
struct Share(usize, usize);

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}%", if self.1 == 0 { 0.0 } else { self.0 as f64 * 100.0 / self.1 as f64 })
    }
}
