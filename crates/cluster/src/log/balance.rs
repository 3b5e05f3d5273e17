//! Which group of keys is to be led by another node, so that each leads its share: after a node has come back, for one.
//!
//! ```text
//!   the node that leads fewest                          the one that leads most, by two or more
//!      asks, if it has read the log ───────────────────►  no command begins; the log takes what is done
//!      claims at once  ◄───────────────────── ceded ────  leads this group no more
//! ```
//!
//! Every node sees who is there and who leads what, and comes to the same [`Move`]; it counts when what it follows from has been the same for
//! [`SETTLED`]. A change of a leader begins that time anew, so one group is handed over at a time. Nothing rests on the two agreeing, or on a
//! message that arrives: the log has one leader by what stands in it (`replica.rs`).

use std::time::Duration;

/// How long nodes and leaders must have been the same.
pub(crate) const SETTLED: Duration = Duration::from_secs(5);

/// A group that one node is to hand over to another. Nodes are named as writers of frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) group: u16,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Move {
    /// What makes the most of a difference, if that is more than one group. `nodes`, in order: those that are there; `leaders`: of each group.
    pub(crate) fn next(nodes: &[u64], leaders: &[u64]) -> Option<Move> {
        let led = |node: u64| leaders.iter().filter(|leader| **leader == node).count();
        let to = nodes.iter().copied().min_by_key(|node| led(*node))?;
        let from = nodes.iter().copied().rev().max_by_key(|node| led(*node))?;
        if led(from) < led(to) + 2 {
            return None;
        }
        let of_from = |group: &usize| leaders[*group] == from;
        // The one that it would claim first, if nobody led.
        let is_its = |group: &usize| of_from(group) && nodes[group % nodes.len()] == to;
        let group = (0..leaders.len()).find(is_its).or_else(|| (0..leaders.len()).rev().find(of_from))?;
        Some(Move { group: group as u16, from, to })
    }
}

/// What one node tells another about the log of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) incarnation: u128,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) say: Say,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    /// It has read the log up to this slot, and asks to lead.
    Asks { slot: u64 },
    /// It leads no more: the frame of this hash is its last.
    Ceded { hash: u128 },
}

impl Word {
    pub(super) fn encode(self) -> Vec<u8> {
        let Word { incarnation, from, to, say } = self;
        let (kind, number) = match say {
            Say::Asks { slot } => (1, u128::from(slot)),
            Say::Ceded { hash } => (2, hash),
        };
        let parts: [&[u8]; 5] = [
            &[kind],
            &incarnation.to_le_bytes(),
            &from.to_le_bytes(),
            &to.to_le_bytes(),
            &number.to_le_bytes(),
        ];
        parts.concat()
    }

    /// `None`: it is something else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        let (kind, rest) = bytes.split_first()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let (to, rest) = rest.split_first_chunk()?;
        let number = u128::from_le_bytes(rest.try_into().ok()?);
        let say = match kind {
            1 => Say::Asks { slot: u64::try_from(number).ok()? },
            2 => Say::Ceded { hash: number },
            _ => return None,
        };
        Some(Word {
            incarnation: u128::from_le_bytes(*incarnation),
            from: u64::from_le_bytes(*from),
            to: u64::from_le_bytes(*to),
            say,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_leads_what_a_few_moves_give_each_node_its_share_and_then_there_is_none(
            nodes in prop::collection::btree_set(1..1000_u64, 1..8),
            seeds in prop::collection::vec(any::<prop::sample::Index>(), 1..65),
        ) {
            let nodes: Vec<u64> = BTreeSet::into_iter(nodes).collect();
            let mut leaders: Vec<u64> = seeds.iter().map(|seed| *seed.get(&nodes)).collect();
            let led = |leaders: &[u64], node: u64| leaders.iter().filter(|leader| **leader == node).count();
            let mut moves = 0;
            while let Some(Move { group, from, to }) = Move::next(&nodes, &leaders) {
                prop_assert_eq!(leaders[usize::from(group)], from);
                prop_assert!(led(&leaders, from) >= led(&leaders, to) + 2);
                leaders[usize::from(group)] = to;
                moves += 1;
                prop_assert!(moves <= leaders.len());
            }
            let counts = nodes.iter().map(|node| led(&leaders, *node));
            prop_assert!(counts.clone().max() <= counts.min().map(|least| least + 1));
        }

        #[test]
        fn words_come_back_as_they_were_and_other_bytes_do_no_harm(
            (incarnation, from, to) in (any::<u128>(), any::<u64>(), any::<u64>()),
            (slot, hash) in (any::<u64>(), any::<u128>()),
            other in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            for say in [Say::Asks { slot }, Say::Ceded { hash }] {
                let word = Word { incarnation, from, to, say };
                prop_assert_eq!(Word::decode(&word.encode()), Some(word));
            }
            let _ = Word::decode(&other);
        }
    }

    #[test]
    fn a_node_that_has_come_back_is_given_one_of_two_and_a_node_more_than_groups_is_given_none() {
        assert_eq!(Move::next(&[1, 2, 3], &[1, 2, 1]), Some(Move { group: 2, from: 1, to: 3 }));
        assert_eq!(Move::next(&[1, 2, 3], &[2, 2, 1]), Some(Move { group: 1, from: 2, to: 3 }));
        assert_eq!(Move::next(&[1, 2, 3, 4], &[1, 2, 4]), None);
        assert_eq!(Move::next(&[1, 2], &[1, 2, 1]), None);
        assert_eq!(Move::next(&[1], &[1, 1, 1]), None);
        assert_eq!(Move::next(&[], &[]), None);
    }
}
