//! What the kernel says of this process and machine, read from /proc when INFO asks. What can't be read is 0.

use std::fs;

/// CPU time used, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// Of children that have ended.
    pub(crate) children_user: f64,
    pub(crate) children_system: f64,
}

/// Bytes of physical memory that the process takes.
pub(crate) fn resident_bytes() -> usize {
    kibibytes_of("/proc/self/status", "VmRSS:") * 1024
}

/// Bytes of physical memory that the machine has.
pub(crate) fn machine_bytes() -> usize {
    kibibytes_of("/proc/meminfo", "MemTotal:") * 1024
}

/// The number behind `name` in a file of lines such as `VmRSS:     1234 kB`.
fn kibibytes_of(file: &str, name: &str) -> usize {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU time of all threads, including those that have ended.
pub(crate) fn cpu_time() -> CpuTime {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold anything; the numbers begin behind it, with field 3.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |field: usize| -> f64 {
        fields.split_whitespace().nth(field - 3).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    let seconds = |field| ticks(field) / rustix::param::clock_ticks_per_second() as f64;
    CpuTime {
        user: seconds(14),
        system: seconds(15),
        children_user: seconds(16),
        children_system: seconds(17),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_memory_and_uses_time() {
        assert!(resident_bytes() > 1 << 16);
        assert!(machine_bytes() > resident_bytes());
        while cpu_time().user == 0.0 {
            std::hint::spin_loop();
        }
    }
}
