//! What must hold at the end of a story.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::super::frame::hash;
use super::super::{Frame, Kind};

/// What a client asked for, and what it was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Op {
    pub(super) register: u8,
    /// A write's own payload, or what a read was answered; 0: nothing was ever written.
    pub(super) value: u64,
    pub(super) is_write: bool,
    pub(super) asked: u64,
    /// When the client had its answer; none: it never had.
    pub(super) answered: Option<u64>,
    /// The client was told that it had no effect.
    pub(super) is_denied: bool,
}

pub(super) fn record(register: u8, value: u64) -> [u8; 9] {
    let mut record = [0; 9];
    record[0] = register;
    record[1..].copy_from_slice(&value.to_le_bytes());
    record
}

pub(super) fn parsed(record: &[u8]) -> (u8, u64) {
    let (register, value) = record.split_first().expect("the simulation wrote it");
    (*register, u64::from_le_bytes(value.try_into().expect("the simulation wrote it")))
}

/// The records of the frames that count, read as simply as can be: each names the last one, under no lower term.
pub(super) fn history(slots: &[Bytes]) -> Vec<(u8, u64)> {
    let (mut last, mut term, mut history) = (0, 0, Vec::new());
    for bytes in slots {
        let frame = Frame::decode(bytes).expect("the stream keeps what it was given");
        if frame.previous == last && frame.term >= term {
            last = hash(bytes);
            term = frame.term;
            if let Kind::Effects(records) = frame.kind {
                history.extend(records.map(parsed));
            }
        }
    }
    history
}

/// Every acknowledged write is in the history once; everything in it was asked for, and not said to have had no effect.
pub(super) fn kept(history: &[(u8, u64)], ops: &[Op]) -> Result<(), String> {
    let mut found = HashSet::new();
    for (_, value) in history {
        if !found.insert(*value) {
            return Err(format!("{value} is in the log twice"));
        }
    }
    let asked: HashSet<u64> = ops.iter().filter(|op| op.is_write).map(|op| op.value).collect();
    if let Some(phantom) = found.difference(&asked).next() {
        return Err(format!("{phantom} is in the log, and nobody wrote it"));
    }
    if let Some(op) = ops.iter().find(|op| op.is_write && op.is_denied && found.contains(&op.value)) {
        return Err(format!("{} was said to have had no effect, and is in the log", op.value));
    }
    let lost = ops.iter().find(|op| op.is_write && op.answered.is_some() && !found.contains(&op.value));
    match lost {
        Some(op) => Err(format!("{} was acknowledged and is not in the log", op.value)),
        None => Ok(()),
    }
}

/// The registers are linearizable, given the order of the writes, which is the log's.
///
/// For each register: a write that was answered before another was asked for stands before it; an answer to a read shows the
/// last write that anybody was shown before it was asked for, or a later one.
pub(super) fn linearizable(history: &[(u8, u64)], ops: &[Op]) -> Result<(), String> {
    let place: HashMap<u64, usize> =
        history.iter().enumerate().map(|(index, (_, value))| (*value, index + 1)).collect();
    let at = |op: &Op| if op.value == 0 { Some(0) } else { place.get(&op.value).copied() };
    let mut ordered: Vec<(u64, &Op)> = ops.iter().map(|op| (op.asked, op)).collect();
    ordered.sort_by_key(|(asked, _)| *asked);
    let mut answered: Vec<(u64, &Op)> = ops.iter().filter_map(|op| Some((op.answered?, op))).collect();
    answered.sort_by_key(|(answered, _)| *answered);
    let mut answered = answered.into_iter().peekable();
    // The latest place in the log that anybody has been shown, a register.
    let mut shown: HashMap<u8, usize> = HashMap::new();
    for (asked, op) in ordered {
        while let Some((_, before)) = answered.next_if(|(answered, _)| *answered < asked) {
            let place = at(before).ok_or_else(|| format!("{before:?} shows what is not in the log"))?;
            let latest = shown.entry(before.register).or_default();
            *latest = place.max(*latest);
        }
        let latest = shown.get(&op.register).copied().unwrap_or(0);
        match at(op) {
            Some(place) if op.is_write && place <= latest => {
                return Err(format!("{op:?} stands before what was shown when it was asked for"));
            }
            Some(place) if !op.is_write && op.answered.is_some() && place < latest => {
                return Err(format!(
                    "{op:?} is stale: place {place} in the log, and {latest} had been shown"
                ));
            }
            None if op.answered.is_some() => return Err(format!("{op:?} shows what is not in the log")),
            _ => {}
        }
    }
    Ok(())
}
