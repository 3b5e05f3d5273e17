//! Files changed at random, with and without a checksum that fits: never a panic, never anything but a true prefix, never
//! more memory than the input justifies.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::rig::{Replayed, Rig, options, payload};
use crate::disk::Disk;
use crate::disk::simulated::SimulatedDisk;
use crate::header::HEADER_BYTES;
use crate::record::{FrameReader, Step};
use crate::{Error, Recovery, inspect};

/// One change to one file.
#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Truncate(Index),
    Repeat(Index, Index),
    Append(Vec<u8>),
    /// A word that may be a length, an index or a count.
    Word(Index, u32),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Remove(from, to)),
        any::<Index>().prop_map(Mutation::Truncate),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        vec(any::<u8>(), 1..40).prop_map(Mutation::Append),
        (
            any::<Index>(),
            prop_oneof![Just(u32::MAX), Just(0), Just(0x7fff_ffff), Just(1 << 30), any::<u32>()]
        )
            .prop_map(|(at, word)| Mutation::Word(at, word)),
    ]
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to)
        };
        match self {
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Mutation::Remove(from, to) => drop(bytes.drain(range(from, to))),
            Mutation::Truncate(at) => bytes.truncate(at.index(length)),
            Mutation::Repeat(from, to) => bytes.extend_from_within(range(from, to)),
            Mutation::Append(more) => bytes.extend(more),
            Mutation::Word(at, word) => {
                let at = at.index(length) & !3;
                let end = length.min(at + 4);
                bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
        }
    }
}

/// A journal with a snapshot and several segments, each byte of it synced.
fn sound() -> SimulatedDisk {
    let mut rig = Rig::new(options(300));
    rig.append(5);
    rig.snapshot(&["a", "b", "c"]).unwrap();
    rig.append(12).wait(30);
    rig.disk.stop();
    let disk = rig.disk.clone();
    drop(rig);
    disk.restart(crate::disk::simulated::Crash::Process);
    disk
}

fn replay(disk: &SimulatedDisk) -> Result<Replayed, Error> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut replayed = Replayed::default();
    Recovery::open(shared, options(300))?.replay(&mut replayed)?;
    Ok(replayed)
}

/// Recomputes the checksum at the end of a header or manifest, as a bug that wrote nonsense would have.
fn reseal(disk: &SimulatedDisk, name: &str) {
    let mut bytes = disk.bytes(name).unwrap();
    let at = if name == "MANIFEST" { 124 } else { HEADER_BYTES - 4 };
    if bytes.len() >= at + 4 {
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        disk.put(name, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_file_is_refused_or_gives_a_true_prefix(
        which in any::<Index>(),
        mutations in vec(mutation(), 1..4),
        resealed in any::<bool>(),
    ) {
        let disk = sound();
        let names: Vec<_> = disk.names().into_iter().filter(|name| name != "LOCK").collect();
        let name = &names[which.index(names.len())];
        let mut bytes = disk.bytes(name).unwrap();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        disk.put(name, &bytes);
        if resealed {
            reseal(&disk, name);
        }
        if let Ok(replayed) = replay(&disk) {
            for (lsn, bytes) in &replayed.records {
                prop_assert!(resealed || *bytes == payload(*lsn));
            }
        }
        let sound = inspect::check(&disk).map(|check| check.is_sound());
        prop_assert_eq!(sound.unwrap_or(false), replay(&disk).is_ok());
        let _ = inspect::dump(&disk, &mut |_| Ok(()));
        if inspect::repair(&disk).is_ok() {
            let replayed = replay(&disk);
            prop_assert!(replayed.is_ok(), "{:?} after a repair", replayed);
        }
    }

    #[test]
    fn reading_any_bytes_takes_no_more_memory_than_there_are_bytes(
        bytes in vec(any::<u8>(), 0..3000),
        words in vec((any::<Index>(), any::<u32>()), 0..6),
        seed in any::<u32>(),
    ) {
        let mut bytes = bytes;
        for (at, word) in words {
            Mutation::Word(at, word).apply(&mut bytes);
        }
        let disk = SimulatedDisk::new(1);
        disk.put("x", &bytes);
        let mut reader = FrameReader::new(disk.open("x").unwrap(), "x", seed, 0, 0).unwrap();
        while let Step::Frame(_) = reader.advance().unwrap() {}
        prop_assert!(reader.memory_bytes() <= bytes.len().max(8));
        let _ = reader.behind().unwrap();
    }
}

#[test]
fn a_frame_that_claims_a_gigabyte_in_a_small_file_allocates_nothing_for_it() {
    let disk = SimulatedDisk::new(1);
    let mut bytes = vec![0; 100];
    bytes[4..8].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    disk.put("x", &bytes);
    let mut reader = FrameReader::new(disk.open("x").unwrap(), "x", 0, 0, 0).unwrap();
    assert!(matches!(reader.advance().unwrap(), Step::Bad(_)));
    assert!(reader.memory_bytes() <= 100);
}
