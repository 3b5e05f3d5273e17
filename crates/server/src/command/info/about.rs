//! The sections that describe the process: Server, Threads, Replication, CPU, Cluster.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::{Call, Sheet};
use crate::VERSION;
use crate::process::cpu_time;
use crate::replication::{Leadership, Replication};
use crate::time::unix_us;

/// Seconds of a day.
const DAY_S: u64 = 24 * 60 * 60;

pub(super) fn server(sheet: &mut Sheet, call: &mut Call<'_>) {
    let (server, config) = (call.server(), &call.shard.config);
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let uptime_s = server.started.elapsed().as_secs();
    let path =
        |path: Option<&std::path::Path>| path.map(|path| path.display().to_string()).unwrap_or_default();
    sheet.field("redis_version", VERSION.redis);
    sheet.field("server_name", "sterna");
    sheet.field("sterna_version", VERSION.sterna);
    let mode = if call.shard.has_cluster() { "cluster" } else { "standalone" };
    sheet.field("redis_mode", mode);
    sheet.field("server_mode", mode);
    sheet.field(
        "os",
        format_args!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
    );
    sheet.field("arch_bits", usize::BITS);
    sheet.field("multiplexing_api", "epoll");
    sheet.field("process_id", std::process::id());
    sheet.field("run_id", &server.run_id);
    sheet.field("tcp_port", config.port);
    sheet.field("server_time_usec", unix_us());
    sheet.field("uptime_in_seconds", uptime_s);
    sheet.field("uptime_in_days", uptime_s / DAY_S);
    sheet.field("hz", config.hz);
    sheet.field("configured_hz", config.hz);
    sheet.field("executable", path(std::env::current_exe().ok().as_deref()));
    sheet.field("config_file", path(server.config_path.as_deref()));
    sheet.field("io_threads_active", u8::from(server.shards.len() > 1));
}

pub(super) fn threads(sheet: &mut Sheet, call: &mut Call<'_>) {
    for (index, shard) in call.server().shards.iter().enumerate() {
        let (clients, calls) = (shard.connections.load(Relaxed), shard.commands.calls());
        let idle_ms = shard.traffic.idle_ns.load(Relaxed) / 1_000_000;
        let (published, delivered) =
            (shard.traffic.published.load(Relaxed), shard.traffic.deliveries.load(Relaxed));
        let (in_bytes, out_bytes) = (shard.net_in_bytes.load(Relaxed), shard.net_out_bytes.load(Relaxed));
        sheet.field(
            &format!("io_thread_{index}"),
            format_args!(
                "clients={clients},commands={calls},idle_msec={idle_ms},published={published},\
                 delivered={delivered},in_bytes={in_bytes},out_bytes={out_bytes}"
            ),
        );
    }
}

/// A server of its own: what a primary without replicas says.
pub(super) fn replication(sheet: &mut Sheet, call: &mut Call<'_>) {
    sheet.field("role", "master");
    sheet.field("connected_slaves", 0);
    sheet.field("master_failover_state", "no-failover");
    sheet.field("master_replid", &call.server().run_id);
    sheet.field("master_replid2", "0".repeat(call.server().run_id.len()));
    sheet.field("master_repl_offset", 0);
    sheet.field("second_repl_offset", -1);
    sheet.field("repl_backlog_active", 0);
    sheet.field("repl_backlog_size", 0);
    sheet.field("repl_backlog_first_byte_offset", 0);
    sheet.field("repl_backlog_histlen", 0);
}

pub(super) fn cpu(sheet: &mut Sheet, _: &mut Call<'_>) {
    let time = cpu_time();
    sheet.field("used_cpu_sys", format_args!("{:.6}", time.system));
    sheet.field("used_cpu_user", format_args!("{:.6}", time.user));
    sheet.field("used_cpu_sys_children", format_args!("{:.6}", time.children_system));
    sheet.field("used_cpu_user_children", format_args!("{:.6}", time.children_user));
}

pub(super) fn cluster(sheet: &mut Sheet, call: &mut Call<'_>) {
    // Redis's cluster: clients that see a 1 ask for its slots.
    sheet.field("cluster_enabled", i32::from(call.shard.has_cluster()));
    let said = |log: &Replication| match log.leadership() {
        Leadership::Me => "me",
        Leadership::Suspended => "suspended",
        Leadership::Other(_) => "other",
        Leadership::None => "none",
    };
    match &*call.server().logs {
        [] => {}
        [log] => {
            sheet.field("cluster_keys", said(log));
            for (name, value) in log.figures.lock().iter() {
                sheet.field(name, value);
            }
        }
        // As INFO has databases: a line each.
        logs => {
            sheet.field("cluster_groups", logs.len());
            for log in logs {
                let slots = log.group.slots();
                let mut line = format!("slots={}-{},cluster_keys={}", slots.start, slots.end - 1, said(log));
                for (name, value) in log.figures.lock().iter() {
                    let _ = write!(line, ",{name}={value}");
                }
                sheet.field(&format!("cluster_group_{}", log.group.index), line);
            }
        }
    }
    for (name, value) in call.server().nodes.get().iter().flat_map(|nodes| nodes.figures()) {
        sheet.field(name, value);
    }
}
