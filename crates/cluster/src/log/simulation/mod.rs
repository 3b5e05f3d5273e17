//! The protocol over a log that does what JetStream was seen to do, by seeds.
//!
//! [`story::play`] is one life of three nodes, their clients and a log: nodes are paused, cut off, killed, wiped, come back with
//! an old disk; leaders hand over; clocks drift, wall clocks jump; the log delays, duplicates, refuses, loses answers and requests, moves
//! its leadership and forgets what was not committed, answers 404 for what it has, loses and damages slots of one replica; and,
//! in one story of four, forgets acknowledged slots at its end, which no protocol survives, and which must be noticed. Then all
//! is mended, and `check` compares.
//!
//! All chance comes from the seed, so a seed that fails can be played again:
//!
//! ```text
//! LOG_SEED=4711 cargo test -p sterna-cluster --lib one_seed -- --nocapture
//! LOG_STORIES=1000000 cargo test --release -p sterna-cluster --lib every_story_keeps_its_promises -- --nocapture
//! ```
//!
//! [`Planted`] are bugs that a node could have. They are in the simulated driver, around the real protocol, and each must be found.

mod check;
mod story;
mod stream;

use std::time::Instant;

/// A bug to have on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    /// Two appends are in flight, and each is answered by its own acknowledgement.
    WindowOfTwo,
    /// A refusal that says "the last is the one you wanted to write" is taken for an acknowledgement.
    RefusalTrusted,
    /// A reader takes what comes, whatever frame it names as the one before.
    ChainUnchecked,
    /// Leases are measured on a clock that is set now and then.
    WallClock,
    /// The log is trimmed up to where the leader is, not up to what a verified snapshot holds.
    TrimmedAbove,
    /// What the log no longer says anything about is said to have had no effect.
    LostDenied,
    /// A node lets another one lead while its own lease goes on.
    LeaseKept,
}

const PLANTED: [Planted; 7] = [
    Planted::WindowOfTwo,
    Planted::RefusalTrusted,
    Planted::ChainUnchecked,
    Planted::WallClock,
    Planted::TrimmedAbove,
    Planted::LostDenied,
    Planted::LeaseKept,
];

/// Stories of the short form, and those in which a planted bug must have shown itself.
const STORIES: u64 = 400;
const STORIES_FOR_A_BUG: u64 = 3000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_story_keeps_its_promises() {
    let (stories, began) = (number("LOG_STORIES").unwrap_or(STORIES), Instant::now());
    let mut sum = story::Summary::default();
    for seed in 0..stories {
        match story::play(seed, None) {
            Ok(summary) => sum.add(&summary),
            Err(broken) => panic!("LOG_SEED={seed}: {broken}"),
        }
    }
    println!("{stories} stories in {:?}: {sum:?}", began.elapsed());
    assert!(sum.acknowledged > stories * 5, "clients hardly wrote: {sum:?}");
    assert!(sum.claims > stories, "leadership hardly moved: {sum:?}");
    assert!(sum.ceded > stories / 4, "hardly anybody handed over: {sum:?}");
    assert!(sum.rebuilt > 0 && sum.restored > 0 && sum.stopped > 0, "something never happened: {sum:?}");
}

#[test]
fn every_planted_bug_is_found() {
    for planted in PLANTED {
        let found =
            (0..STORIES_FOR_A_BUG).find_map(|seed| Some((seed, story::play(seed, Some(planted)).err()?)));
        let (seed, broken) = found.unwrap_or_else(|| panic!("{planted:?} is not found"));
        println!("{planted:?}: seed {seed}: {broken}");
    }
}

#[test]
fn one_seed() {
    let seed = number("LOG_SEED").unwrap_or(1);
    assert_eq!(story::play(seed, None).err(), None);
    assert_eq!(
        story::play(seed, None).map(|summary| summary.acknowledged),
        story::play(seed, None).map(|summary| summary.acknowledged)
    );
}
