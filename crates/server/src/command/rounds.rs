//! Commands that are one for all groups of keys of a cluster (`cluster-groups`): the leader of each executes them, one after the other.
//!
//! | command | what each group's leader does |
//! |---|---|
//! | FLUSHALL, FLUSHDB | removes the keys of its group, and has that in its log |
//! | SCRIPT LOAD, FLUSH, EXISTS | the same as alone; a script exists if all have it |
//! | FUNCTION LOAD, DELETE, FLUSH, RESTORE | the first group's has them in its log; the others answer when they have read that |
//!
//! 1. The node that is asked waits until all before is answered and safe, and begins a round (`connection/round.rs`).
//! 2. The connection is about the group whose turn it is. Who leads that executes its part: this node, or another one, to which a request
//!    in an envelope is passed on: [`ENVELOPE`], what to do, the group, then the request.
//! 3. When it is answered, and in the group's log, it is the next one's turn. So each wait is one that other commands know as well.
//! 4. Behind the last one the client is answered. An error of the first group is its answer; one of a later group is answered by an error
//!    that says that not all have executed it: to ask again does the rest.
//!
//! What may have been executed or not, because its node is lost, closes the client as elsewhere.

use sterna_command::Flags;
use sterna_protocol::{Args, Reply, argument, encode};

use super::Failure;
use super::admission::Admission;
use super::groups::{CROSS_SLOT, LIBRARIES_GROUP};
use super::table::{Row, Runs, runs};
use crate::connection::CloseReason;
use crate::connection::dependence::Fate;
use crate::connection::passed::Repeat;
use crate::connection::round::{Round, Step, Turn};
use crate::connection::state::Wait;
use crate::replication::SILENCE_MAX;
use crate::shard::Shard;
use crate::shard::durability::{GROUP_PAUSE, NOT_KNOWN};
use crate::shard::passing::Request;

/// What a request to another node begins with that is a part of a round: the name of no command. Then follow what to do, a number, and
/// the client's request, if that is to be executed.
const ENVELOPE: &[u8] = b"\0round";

/// Arguments before the client's request.
const ENVELOPE_LEN: usize = 3;

const EXECUTE: &[u8] = b"execute";
const LOCATE: &[u8] = b"locate";
const AWAIT: &[u8] = b"await";

const NOT_READ: Failure =
    Failure::of("CLUSTERDOWN The cluster is down: a node has not read the log of the libraries");

/// What has come of moving a round on.
enum Moved {
    /// There is more to be done at once.
    On,
    /// The connection has been given its wait.
    Waits,
    /// It is over: this is answered.
    Over(Vec<u8>),
    /// It is over, and the connection is closed.
    Closed,
}

impl Shard {
    /// Whether a request of the connection is to be executed by every group's leader, from here.
    #[inline]
    pub(super) fn goes_round(&self, slot: usize, row: &'static Row) -> bool {
        row.has(Flags::EVERY_GROUP) && self.has_groups() && self.begins_round(slot, row)
    }

    #[cold]
    fn begins_round(&self, slot: usize, row: &'static Row) -> bool {
        let connection = &self.connections[slot];
        connection.user.is_some()
            && !connection.is_session
            && !connection.in_multi()
            && !connection.in_subscriber_mode()
            && !self.reads_here(slot, row)
    }

    /// Moves the round on as far as it goes now. Returns whether the request was taken, as [`Shard::dispatch`] does.
    #[cold]
    pub(super) fn go_round(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let before = out.len();
        if self.connections[slot].round.is_none() {
            if !self.is_settled(slot) {
                return false;
            }
            if self.watches(slot) {
                // What is watched is one group's, from WATCH to EXEC.
                self.refuse_request(slot, Some(row), &CROSS_SLOT, out);
                self.after_reply(slot, Some(row), out, before);
                return true;
            }
            self.connections[slot].round = Some(Box::new(Round::new()));
        }
        loop {
            match self.move_round(slot, row, args) {
                Ok(Moved::On) => {}
                Ok(Moved::Waits) => return false,
                Ok(Moved::Over(reply)) => {
                    out.extend_from_slice(&reply);
                    break;
                }
                Ok(Moved::Closed) => return true,
                Err(failure) => {
                    let failure = self.failure_of_round(slot, failure);
                    self.refuse_request(slot, Some(row), &failure, out);
                    break;
                }
            }
        }
        self.connections[slot].round = None;
        self.after_reply(slot, Some(row), out, before);
        true
    }

    /// What is said of an error: behind the first group, that some have executed the command.
    fn failure_of_round(&self, slot: usize, failure: Failure) -> Failure {
        match &self.connections[slot].round {
            Some(round) if round.has_begun => Failure::text(
                [
                    b"CLUSTERDOWN The cluster is down: not every group of keys has executed the command: ",
                    failure.wire(),
                ]
                .concat(),
            ),
            _ => failure,
        }
    }

    fn move_round(&mut self, slot: usize, row: &'static Row, args: Args<'_>) -> Result<Moved, Failure> {
        let Some(round) = self.connections[slot].round.as_deref() else { return Ok(Moved::Closed) };
        let (group, turn) = (round.group, round.turn);
        match round.step {
            Step::UnderWay if self.has_passed(slot) => {
                self.wait_for_answers(slot);
                return Ok(Moved::Waits);
            }
            Step::UnderWay => {
                let passed = self.connections[slot].passed.as_mut();
                match passed.and_then(|passed| passed.lane.answer.take()) {
                    Some(reply) => return self.end_turn(slot, row, reply),
                    // It was not executed.
                    None => self.set_step(slot, Step::Ahead),
                }
            }
            Step::Here(lsn) => {
                let fate = self.log_of(slot).map_or(Fate::Stored, |log| log.fate(lsn));
                match fate {
                    Fate::Void => self.set_step(slot, Step::Ahead),
                    Fate::Unknown => return self.end_unknown(slot),
                    Fate::Pending | Fate::Stored if !self.is_settled(slot) => return Ok(Moved::Waits),
                    Fate::Pending => {
                        // What becomes of it is just being said.
                        self.wait(slot, Wait::Backlog, Some(self.clock.instant + GROUP_PAUSE));
                        return Ok(Moved::Waits);
                    }
                    Fate::Stored => {
                        let round = self.connections[slot].round.as_deref_mut();
                        let reply = round.map(|round| std::mem::take(&mut round.here)).unwrap_or_default();
                        return self.end_turn(slot, row, reply);
                    }
                }
            }
            Step::Ahead => {}
        }
        if !self.goes_on_to_group(slot, group) {
            return Ok(Moved::Waits);
        }
        let admission = match turn {
            Turn::Execute => self.admit_request(slot, row, args)?,
            Turn::Locate | Turn::Await(_) => self.passes(slot, row, args)?.unwrap_or(Admission::Run),
        };
        match admission {
            Admission::Run => self.take_turn_here(slot, row, args),
            Admission::Pass => {
                self.pass_turn(slot, turn, row, args);
                Ok(Moved::On)
            }
            // No transaction goes round.
            Admission::Wait | Admission::Queue | Admission::Broken => Ok(Moved::Waits),
        }
    }

    fn set_step(&mut self, slot: usize, step: Step) {
        if let Some(round) = &mut self.connections[slot].round {
            round.step = step;
        }
    }

    /// This node leads the group whose turn it is.
    fn take_turn_here(&mut self, slot: usize, row: &'static Row, args: Args<'_>) -> Result<Moved, Failure> {
        let Some(round) = self.connections[slot].round.as_deref() else { return Ok(Moved::Closed) };
        match round.turn {
            Turn::Execute => {
                let mut reply = Vec::new();
                if !self.run_and_count(slot, row, args, &mut reply) {
                    return Ok(Moved::Waits);
                }
                if reply.first() == Some(&b'-') {
                    return self.end_turn(slot, row, reply);
                }
                let Some(connection) = self.connections.get_mut(slot) else { return Ok(Moved::Closed) };
                let written = connection.depends_on.written;
                if let Some(round) = &mut connection.round {
                    (round.step, round.here) = (Step::Here(written), reply);
                }
                Ok(Moved::On)
            }
            Turn::Locate => {
                let slot_of_log = self.log_of(slot).map_or(0, |log| log.slot());
                self.note_located(slot, slot_of_log);
                Ok(Moved::On)
            }
            Turn::Await(slot_of_log) => match self.has_libraries(slot, slot_of_log)? {
                true => Ok(self.next_turn(slot, row)),
                false => Ok(Moved::Waits),
            },
        }
    }

    /// Whether this node has the log of the libraries up to this slot; if not, the connection waits. Errors: it has waited for long.
    fn has_libraries(&mut self, slot: usize, slot_of_log: u64) -> Result<bool, Failure> {
        let now = self.clock.instant;
        let log = self.durability.logs.get(usize::from(LIBRARIES_GROUP));
        if log.is_none_or(|log| log.slot() >= slot_of_log) {
            return Ok(true);
        }
        let round = self.connections[slot].round.get_or_insert_with(|| Box::new(Round::new()));
        if *round.waits_since.get_or_insert(now) + SILENCE_MAX <= now {
            return Err(NOT_READ);
        }
        self.wait(slot, Wait::Backlog, Some(now + GROUP_PAUSE));
        Ok(false)
    }

    /// Passes the turn on to the node that leads the group.
    fn pass_turn(&mut self, slot: usize, turn: Turn, row: &'static Row, args: Args<'_>) {
        let group = self.connections[slot].group;
        let (what, number) = match turn {
            Turn::Execute => (EXECUTE, u64::from(group)),
            Turn::Locate => (LOCATE, u64::from(group)),
            Turn::Await(slot_of_log) => (AWAIT, slot_of_log),
        };
        let number = number.to_string();
        let mut words = vec![ENVELOPE, what, number.as_bytes()];
        if turn == Turn::Execute {
            words.extend(args.iter());
        }
        let mut bytes = Vec::new();
        encode::request(&mut bytes, words);
        // What writes is not done twice.
        let repeat = match turn == Turn::Execute && row.has(Flags::WRITE) {
            true => Repeat::TurnIfNotExecuted,
            false => Repeat::TurnAlways,
        };
        if let Some(passed) = &mut self.connections[slot].passed {
            passed.lane.answer = None;
        }
        self.pass(slot, Request::of_bytes(bytes, 0, repeat));
        self.set_step(slot, Step::UnderWay);
    }

    /// The group's leader has answered.
    fn end_turn(&mut self, slot: usize, row: &'static Row, reply: Vec<u8>) -> Result<Moved, Failure> {
        let Some(round) = self.connections[slot].round.as_deref_mut() else { return Ok(Moved::Closed) };
        if reply.first() == Some(&b'-') {
            if !round.has_begun {
                return Ok(Moved::Over(reply));
            }
            let text = reply[1..].strip_suffix(b"\r\n").unwrap_or(&reply[1..]).to_vec();
            return Err(Failure::text(text).counted(true));
        }
        match round.turn {
            Turn::Execute => {
                round.join(reply);
                Ok(self.next_turn(slot, row))
            }
            Turn::Locate => {
                let number = reply.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
                let number = number.and_then(argument::int).and_then(|number| u64::try_from(number).ok());
                self.note_located(slot, number.unwrap_or(0));
                Ok(Moved::On)
            }
            Turn::Await(_) => Ok(self.next_turn(slot, row)),
        }
    }

    /// It is not known whether the group has executed it.
    fn end_unknown(&mut self, slot: usize) -> Result<Moved, Failure> {
        let connection = &mut self.connections[slot];
        if connection.transport.is_pipe() {
            return Err(Failure::of(NOT_KNOWN));
        }
        connection.round = None;
        match connection.output.is_empty() {
            true => self.condemn(slot, CloseReason::LeaderLost),
            // What was answered before still goes out.
            false => self.drain(slot, CloseReason::LeaderLost),
        }
        Ok(Moved::Closed)
    }

    /// The first group's log has the change of the libraries up to this slot.
    fn note_located(&mut self, slot: usize, slot_of_log: u64) {
        if let Some(round) = &mut self.connections[slot].round {
            round.go_on(Turn::Await(slot_of_log));
        }
    }

    /// The group is done.
    fn next_turn(&mut self, slot: usize, row: &'static Row) -> Moved {
        let groups = self.server.partitions.groups();
        let Some(round) = &mut self.connections[slot].round else { return Moved::Closed };
        match round.turn {
            Turn::Execute if changes_libraries(row) => (round.turn, round.step) = (Turn::Locate, Step::Ahead),
            turn => round.go_on(turn),
        }
        if round.group < groups { Moved::On } else { Moved::Over(std::mem::take(&mut round.reply)) }
    }

    /// A request of another node's client that is a part of a round, or no command at all. Returns whether it was taken; `None`: it is
    /// no such request.
    #[cold]
    pub(super) fn serve_turn(&mut self, slot: usize, args: Args<'_>, out: &mut Vec<u8>) -> Option<bool> {
        let connection = &self.connections[slot];
        if !connection.is_session || !self.has_groups() || args.get(0) != Some(ENVELOPE) {
            return None;
        }
        let (what, number) = (args.get(1)?, args.get(2).and_then(argument::int)?);
        let number = u64::try_from(number).ok()?;
        let group = u16::try_from(number).ok().filter(|group| *group < self.server.partitions.groups());
        match what {
            EXECUTE => {
                let group = group?;
                // No envelope is in another.
                if args.get(ENVELOPE_LEN).is_none_or(|name| name == ENVELOPE) {
                    return None;
                }
                if !self.goes_on_to_group(slot, group) {
                    return Some(false);
                }
                Some(self.dispatch(slot, args.from(ENVELOPE_LEN), out))
            }
            LOCATE => {
                let slot_of_log = self.durability.logs.get(usize::from(group?)).map_or(0, |log| log.slot());
                Reply::new(out, self.connections[slot].proto).int(slot_of_log as i64);
                Some(true)
            }
            AWAIT => {
                match self.has_libraries(slot, number) {
                    Ok(false) => return Some(false),
                    Ok(true) => Reply::new(out, self.connections[slot].proto).ok(),
                    Err(failure) => Reply::new(out, self.connections[slot].proto).error(failure.wire()),
                }
                self.connections[slot].round = None;
                Some(true)
            }
            _ => None,
        }
    }
}

/// Whether a command is about libraries, which are in the first group's log and every node's.
fn changes_libraries(row: &Row) -> bool {
    row.has(Flags::WRITE) && matches!(runs(row), Runs::Script(_))
}

#[cfg(test)]
mod tests {
    use super::super::table::table;
    use super::*;

    #[test]
    fn what_changes_all_keys_or_what_scripts_may_call_is_one_command_for_all_groups() {
        let mut names = Vec::new();
        for row in table().rows().iter().filter(|row| row.has(Flags::EVERY_GROUP)) {
            match runs(row) {
                Runs::Keys(_) => {
                    assert!(row.has(Flags::WRITE) && row.has(Flags::ALL_KEYS), "{}", row.full_name)
                }
                Runs::Script(_) => assert!(!row.has(Flags::RUNS_SCRIPT), "{}", row.full_name),
                Runs::Server(_) | Runs::Container => panic!("{} has no leader", row.full_name),
            }
            names.push(row.full_name.as_str());
        }
        names.sort_unstable();
        let [of_keys, of_functions, of_scripts] = [
            &["flushall", "flushdb"][..],
            &["function|delete", "function|flush", "function|load", "function|restore"],
            &["script|exists", "script|flush", "script|load"],
        ];
        assert_eq!(names, [of_keys, of_functions, of_scripts].concat());
        let changes =
            table().rows().iter().filter(|row| changes_libraries(row) && !row.has(Flags::RUNS_SCRIPT));
        assert!(changes.map(|row| row.full_name.as_str()).eq(of_functions.iter().copied()));
    }
}
