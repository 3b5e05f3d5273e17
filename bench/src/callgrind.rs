//! Instructions of a server, counted by valgrind's callgrind.
//!
//! A server is some fifty times slower under it, and what it executes is the same whatever else the machine does. So one round
//! tells two builds apart that differ by a few instructions a command, which CPU time does in an hour on a quiet machine only.
//! What it can't see: the kernel, caches, branches that are predicted wrongly.
//!
//! ```text
//!   valgrind --tool=callgrind server …      counts from its start, or from the last dump
//!   callgrind_control --dump PID            writes callgrind.out.N, with a line `totals: INSTRUCTIONS`
//! ```
//!
//! What a server does ten times a second whatever it is asked would weigh fifty times what it does otherwise. It is counted for
//! a while in which nobody asks anything, and taken off.
use crate::limit::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Prefix of what callgrind writes.
const DUMP: &str = "callgrind.out";

/// For so long the server is left alone, to see what it does by itself.
const IDLE: Duration = Duration::from_millis(1500);

/// Whether it is installed.
pub(crate) fn is_installed() -> bool {
    Command::new("valgrind").arg("--version").stdin(Stdio::null()).output().is_ok()
}

/// Runs `binary` under callgrind, which writes into `folder`; arguments for the server may follow.
pub(crate) fn command(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", folder.join(DUMP).display()));
    command.arg(binary);
    command
}

/// The counter of one server.
#[derive(Debug)]
pub(crate) struct Callgrind {
    pid: u32,
    folder: PathBuf,
    /// What the server executes when nobody asks anything.
    idle_per_s: f64,
}

/// Instructions that a server has executed.
#[derive(Debug, Clone)]
pub(crate) struct Instructions {
    total: u64,
    at: Instant,
    idle_per_s: f64,
}

impl Instructions {
    /// Executed since `start`, without what the server does by itself.
    pub(crate) fn since(&self, start: &Instructions) -> u64 {
        let idle = self.idle_per_s * self.at.duration_since(start.at).as_secs_f64();
        (self.total - start.total).saturating_sub(idle as u64)
    }
}

impl Callgrind {
    /// Counts the server with this process number, which has started and which nobody asks anything yet.
    pub(crate) fn of(pid: u32, folder: &Path) -> Result<Self, Failure> {
        let mut callgrind = Self { pid, folder: folder.to_owned(), idle_per_s: 0.0 };
        let start = callgrind.count()?;
        std::thread::sleep(IDLE);
        let end = callgrind.count()?;
        callgrind.idle_per_s = end.since(&start) as f64 / end.at.duration_since(start.at).as_secs_f64();
        Ok(callgrind)
    }

    /// What has been counted so far.
    pub(crate) fn count(&self) -> Result<Instructions, Failure> {
        let at = Instant::now();
        let mut control = Command::new("callgrind_control");
        control.arg("--dump").arg(self.pid.to_string()).stdin(Stdio::null());
        let output = control.output()?;
        if !output.status.success() {
            return Err(Failure::Reply(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let mut total = 0;
        for dump in self.dumps()? {
            total += total_of(&fs::read_to_string(dump)?);
        }
        Ok(Instructions { total, at, idle_per_s: self.idle_per_s })
    }

    /// Copies the last dump.
    pub(crate) fn keep_profile(&self, path: &Path) -> Result<(), Failure> {
        if let Some(last) = self.dumps()?.last() {
            fs::copy(last, path)?;
        }
        Ok(())
    }

    /// What callgrind has written, the oldest first.
    fn dumps(&self) -> Result<Vec<PathBuf>, Failure> {
        let number = |path: &Path| path.extension()?.to_str()?.parse::<u32>().ok();
        let entries = self.folder.read_dir()?.flatten().map(|entry| entry.path());
        let mut dumps: Vec<(u32, PathBuf)> = entries
            .filter(|path| path.file_stem().is_some_and(|stem| stem == DUMP))
            .filter_map(|path| Some((number(&path)?, path)))
            .collect();
        dumps.sort();
        Ok(dumps.into_iter().map(|(_, path)| path).collect())
    }
}

/// The instructions that a dump is about.
fn total_of(dump: &str) -> u64 {
    let line = dump.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_says_at_its_end_how_many_instructions_it_is_about() {
        let dump = "version: 1\nevents: Ir\nsummary: 0\n\nfn=(1) main\n12 40\n\ntotals: 1234567\n";
        assert_eq!(total_of(dump), 1_234_567);
        assert_eq!(total_of("events: Ir\n"), 0);
    }

    #[test]
    fn what_a_server_does_by_itself_is_taken_off() {
        let begun = Instant::now();
        let at = |total, seconds| Instructions {
            total,
            at: begun + Duration::from_secs(seconds),
            idle_per_s: 100.0,
        };
        assert_eq!(at(5_000, 3).since(&at(1_000, 1)), 3_800);
        assert_eq!(at(1_100, 3).since(&at(1_000, 1)), 0);
    }
}
