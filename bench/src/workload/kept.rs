//! What a stream takes: memory of an entry and of a pending one, and the time to come back after a restart.
use super::Measure;
use super::commands::{create_group, deliver_all, fill_stream};
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::command;
use crate::peer::{Durability, Settings};
use std::time::{Duration, Instant};

/// Resident memory of each of so many entries with one field of 20 bytes, or of their being pending, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryMemory {
    pub entries: usize,
    pub of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Entry,
    Pending,
}

impl Measure for EntryMemory {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let entries = bench.count(self.entries).next_multiple_of(1000);
        let mut before = scene.resident_bytes()?;
        fill_stream(&mut scene, entries)?;
        if self.of == Of::Pending {
            create_group(&mut scene)?;
            before = scene.resident_bytes()?;
            deliver_all(&mut scene, entries)?;
        }
        let grown = scene.resident_bytes()?.saturating_sub(before);
        Ok(Figures::new(grown as f64 / entries as f64))
    }
}

/// Time until a server with so many entries answers again, in nanoseconds for each entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    pub entries: usize,
    pub from: From,
}

/// Name of what the log or the snapshot takes.
pub(crate) const DISK: &str = "bytes on disk/entry";

/// What the server reads when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Log,
    /// Written by BGREWRITEAOF, with nothing after it.
    Snapshot,
}

impl Measure for Restart {
    fn heavy(&self) -> bool {
        true
    }

    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let settings = Settings { durability: Durability::EverySecond, ..Settings::default() };
        let mut scene = bench.start(&settings)?;
        let entries = bench.count(self.entries).next_multiple_of(1000);
        fill_stream(&mut scene, entries)?;
        if self.from == From::Snapshot {
            rewrite(&mut scene)?;
        }
        scene.swarm.clear();
        let disk = scene.server.disk_bytes();
        let took = scene.restart()?;
        let found = scene.integer(&[b"XLEN", b"s"])?;
        if found != entries as u64 {
            return Err(Failure::Reply(format!("{found} of {entries} entries after the restart")));
        }
        Ok(Figures::new(took.as_nanos() as f64 / entries as f64)
            .also("s", took.as_secs_f64())
            .also(DISK, disk as f64 / entries as f64))
    }
}

/// Has the log replaced by a snapshot and waits for its end.
fn rewrite(scene: &mut Scene) -> Result<(), Failure> {
    scene.ask("BGREWRITEAOF", 1, 1, |out, _| command(out, &[b"BGREWRITEAOF"]))?;
    let limit = scene.limit("the snapshot");
    while rewriting(scene)? {
        limit.check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether a rewrite of the log is under way or about to be.
pub(crate) fn rewriting(scene: &Scene) -> Result<bool, Failure> {
    let info = scene.text(&[b"INFO", b"persistence"])?;
    let busy = |field: &str| info.contains(&format!("{field}:1"));
    Ok(busy("aof_rewrite_in_progress") || busy("aof_rewrite_scheduled"))
}

impl Scene {
    /// Ends the server as an operator would and starts it on the same folder; the time until it answers.
    fn restart(&mut self) -> Result<Duration, Failure> {
        let limit = self.limit("the server to end");
        self.server.stop(&limit)?;
        let begun = Instant::now();
        let limit = self.limit("the server to load");
        self.server.start_again(&limit)?;
        Ok(begun.elapsed())
    }
}
