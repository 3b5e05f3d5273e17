//! What the log need not hold any more: what the journals of its nodes have.
//!
//! Each node tells the others how far its journal has the log, safe from a power loss. Where the log takes more than it may, the
//! node that leads removes what all have that it has heard of lately, if these are two at least, itself included: so each removed
//! record is on two disks besides those of NATS. A node that was away for longer than that, or is new, may then lack something; it stops
//! and says so, and goes on from a backup of another. With snapshots that the nodes keep for each other (`snapshots.rs`) no more is
//! removed than those have that are kept, which this node has read back, and such a node loads one.

use std::collections::HashMap;
use std::time::Duration;

use super::StreamState;

/// How often a node tells how far its journal is, and the leader looks how large the log is.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Who has told nothing for so long does not hold the log up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Nodes that must have what is removed.
const HOLDERS_MIN: usize = 2;

/// More nodes than a cluster has: what else comes is not remembered.
const NODES_MAX: usize = 1024;

/// How far each node has the log.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<u64, (u64, Duration)>);

/// What a node tells: which log, who it is, and the slot up to which its journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) incarnation: u128,
    pub(crate) node: u64,
    pub(crate) slot: u64,
}

impl Holding {
    pub(super) fn encode(self) -> Vec<u8> {
        let Holding { incarnation, node, slot } = self;
        [&incarnation.to_le_bytes()[..], &node.to_le_bytes(), &slot.to_le_bytes()].concat()
    }

    /// `None`: it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Holding> {
        let (incarnation, rest) = bytes.split_first_chunk()?;
        let (node, rest) = rest.split_first_chunk()?;
        let slot = rest.try_into().ok()?;
        Some(Holding {
            incarnation: u128::from_le_bytes(*incarnation),
            node: u64::from_le_bytes(*node),
            slot: u64::from_le_bytes(slot),
        })
    }
}

impl Holders {
    /// A node has the log up to this slot.
    pub(super) fn note(&mut self, node: u64, slot: u64, now: Duration) {
        self.0.retain(|_, (_, told)| now.saturating_sub(*told) < SILENCE_MAX);
        if self.0.len() < NODES_MAX || self.0.contains_key(&node) {
            self.0.insert(node, (slot, now));
        }
    }

    /// The slot up to which all have it; `None`: they are too few.
    pub(super) fn held(&self, now: Duration) -> Option<u64> {
        let lately = self.0.values().filter(|(_, told)| now.saturating_sub(*told) < SILENCE_MAX);
        let slots: Vec<u64> = lately.map(|(slot, _)| *slot).collect();
        (slots.len() >= HOLDERS_MIN).then(|| slots.into_iter().min())?
    }
}

impl Holders {
    /// The slot up to which all have it that run, this node among them.
    pub(super) fn lowest(&self, now: Duration) -> Option<u64> {
        let running = self.0.values().filter(|(_, told)| now.saturating_sub(*told) < 3 * INTERVAL);
        running.map(|(slot, _)| *slot).min()
    }
}

/// The first slot that stays, if any are to go: three quarters of what it may take stay, and everything behind `held`.
pub(super) fn first_that_stays(state: &StreamState, bytes_max: u64, held: u64) -> Option<u64> {
    if bytes_max == 0 || state.bytes <= bytes_max {
        return None;
    }
    let excess = u128::from(state.bytes - bytes_max / 4 * 3);
    let count = u128::from(state.messages) * excess / u128::from(state.bytes);
    let first = held.min(state.first + count as u64);
    (first > state.first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holding_is_read_as_it_was_written_and_nothing_else_is() {
        let holding = Holding { incarnation: 1 << 100, node: 2, slot: 3 };
        let bytes = holding.encode();
        assert_eq!(Holding::decode(&bytes), Some(holding));
        assert_eq!(Holding::decode(&bytes[1..]), None);
        assert_eq!(Holding::decode(&[&bytes[..], b"x"].concat()), None);
    }

    #[test]
    fn what_goes_is_what_two_nodes_have_and_everyone_who_was_heard_of_lately() {
        let second = Duration::from_secs(1);
        let mut holders = Holders::default();
        holders.note(1, 100, second);
        assert_eq!(holders.held(second), None, "one disk is not enough");
        holders.note(2, 50, second);
        holders.note(3, 80, 30 * second);
        holders.note(1, 110, 30 * second);
        assert_eq!(holders.held(30 * second), Some(50), "the slowest says");
        assert_eq!(holders.held(61 * second), Some(80), "until nothing was heard of it for too long");
        assert_eq!(holders.held(100 * second), None);
        assert_eq!(holders.lowest(33 * second), Some(80), "those that run");
        assert_eq!(holders.lowest(40 * second), None);
    }

    #[test]
    fn a_log_above_its_size_is_cut_to_three_quarters_and_never_above_what_is_held() {
        let state =
            StreamState { first: 101, last: 1100, messages: 1000, bytes: 2000, ..StreamState::default() };
        let rows = [
            ("it may be larger", 2000, 1100, None),
            ("it is never cut", 0, 1100, None),
            ("half of it goes, and a quarter of what stays", 1000, 1100, Some(726)),
            ("a node has less", 1000, 200, Some(200)),
            ("a node has nothing of it", 1000, 50, None),
            ("all have the first", 1000, 101, None),
        ];
        for (what, bytes_max, held, expected) in rows {
            assert_eq!(first_that_stays(&state, bytes_max, held), expected, "{what}");
        }
    }
}
