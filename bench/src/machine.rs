//! The machine: which cores serve and which load, what a process has used, and what to say about it in the report.
use crate::callgrind::Instructions;
use crate::limit::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Cores of the server and of the load generator; disjoint unless the machine has only one.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    pub server: Vec<usize>,
    pub load: Vec<usize>,
}

impl Cores {
    /// Splits the cores this process may use: the first half loads, the rest serves.
    ///
    /// Core 0 takes most of the interrupts of a small machine, so it goes to the side that isn't measured.
    pub(crate) fn split() -> Result<Self, Failure> {
        let allowed = sched_getaffinity(None)?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let (load, server) = all.split_at(all.len() / 2);
        if load.is_empty() {
            return Ok(Self { server: all.clone(), load: all });
        }
        // One core each is what the single-threaded peers can use; more would only move the load between caches.
        Ok(Self { server: server[..1].to_vec(), load: load[..1].to_vec() })
    }

    /// Runs `work` with the calling thread on `cores`, so that a child started in it inherits them before its first
    /// instruction; then puts the thread back on the load's cores.
    pub(crate) fn on_server<T>(&self, work: impl FnOnce() -> T) -> Result<T, Failure> {
        pin(&self.server)?;
        let outcome = work();
        pin(&self.load)?;
        Ok(outcome)
    }

    pub(crate) fn pin_load(&self) -> Result<(), Failure> {
        pin(&self.load)
    }
}

fn pin(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// What is counted of the work that a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Nanoseconds that its threads spend on a core, in the kernel too.
    CpuTime,
    /// Instructions that it executes itself.
    Instructions,
}

/// What a server has spent so far.
#[derive(Debug, Clone)]
pub(crate) enum Spent {
    CpuTime(CpuTime),
    Instructions(Instructions),
}

impl Spent {
    /// What it has spent since `start`, in the unit of the [`Cost`] that both were read for.
    pub(crate) fn since(&self, start: &Spent) -> u64 {
        match (self, start) {
            (Spent::CpuTime(now), Spent::CpuTime(start)) => now.since(start),
            (Spent::Instructions(now), Spent::Instructions(start)) => now.since(start),
            _ => unreachable!("a server is measured in one way"),
        }
    }
}

/// Nanoseconds on CPU of each task of a process, by task id.
///
/// Kept per task because tasks come and go: a task that ended takes its time with it, so a difference of sums could be
/// negative; a difference per task only misses what ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuTime(BTreeMap<u32, u64>);

impl CpuTime {
    /// Reads `/proc/PID/task/*/schedstat`, first column.
    pub(crate) fn read(pid: u32) -> Result<Self, Failure> {
        let mut tasks = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            let Some(task) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A task may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            if let Some(ns) = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()) {
                tasks.insert(task, ns);
            }
        }
        Ok(Self(tasks))
    }

    /// Reads until two readings agree, at most 40 times 1 ms apart.
    ///
    /// A running task's figure is brought up to date by the kernel's tick only; once it sleeps the figure is exact.
    pub(crate) fn settled(pid: u32) -> Result<Self, Failure> {
        let mut last = Self::read(pid)?;
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(1));
            let next = Self::read(pid)?;
            if next.0 == last.0 {
                return Ok(next);
            }
            last = next;
        }
        Ok(last)
    }

    /// Nanoseconds used since `start`, tasks begun since included.
    pub(crate) fn since(&self, start: &CpuTime) -> u64 {
        self.0.iter().map(|(task, ns)| ns.saturating_sub(start.0.get(task).copied().unwrap_or(0))).sum()
    }
}

/// Resident memory of a process in bytes (`VmRSS`).
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .ok_or(Failure::Closed("reading its memory"))?;
    Ok(kib * 1024)
}

/// Memory of a process and its children in bytes, what they share counted once: a server that forks for a snapshot owns
/// its child's pages too.
pub(crate) fn proportional_bytes(pid: u32) -> Result<u64, Failure> {
    let mut processes = vec![pid];
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        processes.extend(children.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    let share = |pid: u32| {
        // A child may be gone by now.
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        line.split_ascii_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(processes.into_iter().map(share).sum::<u64>() * 1024)
}

/// Lets this process, and the servers it starts, open as many sockets as the hard limit allows; returns that number.
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Refused (a sandbox): the workloads that need more connections will say so.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What a reader needs to judge the figures: kernel, processor, cores, memory. No names, no paths.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
}

impl Description {
    pub(crate) fn read() -> Self {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        // The digits only: what follows them names whoever built the kernel.
        let version: String = release.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let field = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory_kib: u64 = field("/proc/meminfo", "MemTotal")
            .split_ascii_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        Self {
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), version.trim_end_matches('.')),
            processor: field("/proc/cpuinfo", "model name"),
            cores: cpuinfo_cores(),
            memory_gib: (memory_kib + (1 << 19)) >> 20,
        }
    }
}

/// Cores of the machine, not of this process: the load generator is pinned by the time anyone asks.
fn cpuinfo_cores() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_shows_up_as_cpu_time_of_this_process() {
        let pid = std::process::id();
        let start = CpuTime::read(pid).unwrap();
        let (mut sum, mut used) = (0u64, 0);
        let begun = std::time::Instant::now();
        // Others may have the core for most of any time.
        while used < 1_000_000 {
            assert!(begun.elapsed() < Duration::from_secs(60), "60 s of spinning counted as {used} ns");
            (0..1_000_000).for_each(|_| sum = std::hint::black_box(sum.wrapping_add(1)));
            used = CpuTime::read(pid).unwrap().since(&start);
        }
    }

    #[test]
    fn a_task_that_ended_never_makes_the_difference_negative() {
        let start = CpuTime(BTreeMap::from([(1, 100), (2, 900)]));
        let end = CpuTime(BTreeMap::from([(1, 150), (3, 7)]));
        assert_eq!(end.since(&start), 57);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 18);
    }
}
