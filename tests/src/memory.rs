//! The memory of a process.

use std::fs;

/// Resident memory of a process, bytes. Source: `VmRSS` of `/proc/PID/status`, in KiB.
pub fn resident_bytes(pid: u32) -> u64 {
    bytes_of(pid, "VmRSS:")
}

/// The most that it has been. Source: `VmHWM`.
pub fn resident_bytes_at_most(pid: u32) -> u64 {
    bytes_of(pid, "VmHWM:")
}

fn bytes_of(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("a number") * 1024
}
