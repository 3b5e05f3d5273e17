//! What happened in stories.

/// What a story was about, to see that all stories together were about everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times the journal was opened and went on.
    pub openings: u64,
    /// Crashes while it was being opened.
    pub crashes_in_recovery: u64,
    /// Records appended.
    pub records: u64,
    /// Records whose loss was allowed, and which were lost.
    pub lost: u64,
    /// Openings that cut a torn tail.
    pub torn: u64,
    /// Snapshots that were finished.
    pub snapshots: u64,
    /// Times the journal stopped for a failure of the disk, and went on without a restart.
    pub resumed: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Openings refused because of one.
    pub refused: u64,
    /// Flips in the last synced batch that were taken for a torn tail, and reported as such.
    pub ambiguous: u64,
    /// Segments begun.
    pub segments: u64,
    /// Openings on a full disk.
    pub opened_full: u64,
    /// Times that recording was begun, for good or for one snapshot.
    pub switches: u64,
    /// Openings that found what was recorded for a snapshot that came to nothing.
    pub suspended: u64,
    /// Times that several threads wrote at once.
    pub at_once: u64,
}

impl Tally {
    /// Adds another story's.
    pub fn add(&mut self, other: &Tally) {
        self.openings += other.openings;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.records += other.records;
        self.lost += other.lost;
        self.torn += other.torn;
        self.snapshots += other.snapshots;
        self.resumed += other.resumed;
        self.flips += other.flips;
        self.refused += other.refused;
        self.ambiguous += other.ambiguous;
        self.segments += other.segments;
        self.opened_full += other.opened_full;
        self.switches += other.switches;
        self.suspended += other.suspended;
        self.at_once += other.at_once;
    }
}
