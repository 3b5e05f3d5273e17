//! `cluster-groups`: which group of keys a request is about, where there are several.
//!
//! | request | group |
//! |---|---|
//! | names keys, or publishes to a channel that remembers | theirs, which is one, or `CROSSSLOT` |
//! | EXEC | that of all that is queued, and of what is watched |
//! | scripts and functions | that of the keys they declare, or the first; what they touch lies in it |
//! | reads all keys: SCAN, KEYS, DBSIZE, RANDOMKEY | none: the node that is asked tells of what it has, which is everybody's |
//! | is one for all groups: FLUSHALL, FLUSHDB, SCRIPT LOAD, FUNCTION LOAD and their like | each of them in turn (`rounds.rs`) |
//! | SWAPDB | an error |
//! | all else | none: it stays with the group that the connection was about |

use std::time::Duration;

use sterna_command::{Channels, Flags, Group, Place};
use sterna_keyspace::{KeyGroup, SLOTS};
use sterna_protocol::{Args, argument};

use super::Failure;
use super::admission::{Admission, LEAD_PAUSE, needs_keys};
use super::table::{Row, Runs, runs};
use crate::connection::state::Wait;
use crate::partitions::keys_of;
use crate::shard::Shard;

/// The group whose log has the libraries of functions.
pub(super) const LIBRARIES_GROUP: u16 = 0;

/// Source: Redis's words.
pub(super) const CROSS_SLOT: Failure = Failure::of("CROSSSLOT Keys in request don't hash to the same slot");
const NOT_OF_SCRIPT: Failure =
    Failure::of("ERR Script attempted to access keys that do not hash to the same slot");
const NOT_CURRENT: Failure =
    Failure::of("CLUSTERDOWN The cluster is down: this node has not read the log of every group of keys");
const BY_PATTERN: &str =
    "option of SORT denied in cluster mode when keys formed by the pattern may be in different slots.";

impl Shard {
    /// Has the connection be about the group of keys that the request is about. `Some`: not yet; it has been given its wait.
    #[cold]
    pub(super) fn enter_group(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<Option<Admission>, Failure> {
        if !self.durability.is_loading && self.wants_all_keys(slot, row) && self.waits_for_all_keys(slot)? {
            return Ok(Some(Admission::Wait));
        }
        if row.has(Flags::EVERY_GROUP) && !self.connections[slot].in_multi() {
            // Its turn is that of the group that the connection is about.
            return Ok(None);
        }
        let entered = self.group_of(slot, row, args).and_then(|group| match group {
            Some(group) if group != self.connections[slot].group && self.watches(slot) => Err(CROSS_SLOT),
            group => Ok(group),
        });
        match entered {
            Ok(Some(group)) if !self.goes_on_to_group(slot, group) => Ok(Some(Admission::Wait)),
            Ok(_) => Ok(None),
            Err(_) if self.has_passed(slot) => {
                // An error keeps its place among the replies, too.
                self.wait_for_answers(slot);
                Ok(Some(Admission::Wait))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether EXEC depends on keys that the connection has watched.
    pub(super) fn watches(&self, slot: usize) -> bool {
        let connection = &self.connections[slot];
        connection.transaction.as_ref().is_some_and(|own| !own.watched.is_empty())
            || connection.passed.as_ref().is_some_and(|passed| passed.watches || passed.watch_broken)
    }

    /// The group that the request is to be executed in; `None`: whichever.
    fn group_of(&self, slot: usize, row: &'static Row, args: Args<'_>) -> Result<Option<u16>, Failure> {
        let transaction =
            self.connections[slot].transaction.as_ref().filter(|transaction| transaction.is_open);
        if row.has(Flags::RUNS_QUEUE) {
            let queued = transaction.filter(|transaction| !transaction.is_spoilt);
            let mut group = None;
            for (row, args) in queued.iter().flat_map(|transaction| &transaction.queued) {
                join(&mut group, self.group_of_keys(row, args.args())?)?;
            }
            return Ok(group);
        }
        let group = self.group_of_keys(row, args)?;
        if transaction.is_some() && !row.has(Flags::NOT_QUEUED) {
            return Ok(None);
        }
        if group.is_some() || row.is_container || row.spec.place != Place::Leader {
            return Ok(group);
        }
        let slot_number = args.get(2).filter(|_| row.spec.group == Group::Cluster).and_then(argument::int);
        let slot_number = slot_number.and_then(|number| u16::try_from(number).ok());
        Ok(Some(slot_number.filter(|slot| *slot < SLOTS).map_or(0, |slot| self.group_of_slot(slot))))
    }

    /// Which group of keys has a slot.
    pub(super) fn group_of_slot(&self, slot: u16) -> u16 {
        KeyGroup::of_slot(slot, self.server.partitions.groups())
    }

    /// The group of the keys that the request names. Errors: they are in several, or it would change those of all.
    fn group_of_keys(&self, row: &Row, args: Args<'_>) -> Result<Option<u16>, Failure> {
        let groups = self.server.partitions.groups();
        if let Some(key) = self.retained(row, args) {
            return Ok(Some(KeyGroup::of_key(&key, groups)));
        }
        if row.has(Flags::EVERY_GROUP) {
            let name = row.full_name.to_ascii_uppercase().replace('|', " ");
            return Err(Failure::text(format!(
                "ERR {name} is not possible in transactions and scripts with cluster-groups"
            )));
        }
        if row.spec.channels != Channels::None || !row.spec.has_keys() {
            if row.spec.flags.contains(Flags::ALL_KEYS.union(Flags::WRITE)) {
                let name = row.full_name.to_ascii_uppercase();
                return Err(Failure::text(format!("ERR {name} is not possible with cluster-groups")));
            }
            return Ok(None);
        }
        if row.has(Flags::READS_BY_PATTERN) {
            check_patterns(args)?;
        }
        let mut group = None;
        for key in keys_of(row.spec, args) {
            join(&mut group, Some(KeyGroup::of_key(key, groups)))?;
        }
        Ok(group)
    }

    /// Whether a script that runs in the connection's group may run this.
    pub(in crate::command) fn check_group_of_script(
        &self,
        slot: usize,
        row: &Row,
        args: Args<'_>,
    ) -> Result<(), Failure> {
        if self.reads_all_keys(row) && !self.has_all_keys() {
            return Err(NOT_CURRENT);
        }
        match self.group_of_keys(row, args) {
            Ok(Some(group)) if group != self.connections[slot].group => Err(NOT_OF_SCRIPT),
            Ok(_) => Ok(()),
            Err(failure) if is_cross_slot(&failure) => Err(NOT_OF_SCRIPT),
            Err(failure) => Err(failure),
        }
    }

    fn has_all_keys(&self) -> bool {
        self.durability.logs.iter().all(|log| log.stale_for(self.clock.instant).is_none())
    }

    /// Whether it reads all keys, or executes what does.
    fn wants_all_keys(&self, slot: usize, row: &Row) -> bool {
        let transaction = self.connections[slot].transaction.as_ref().filter(|own| own.is_open);
        match transaction {
            Some(own) if row.has(Flags::RUNS_QUEUE) => {
                own.queued.iter().any(|(row, _)| self.reads_all_keys(row))
            }
            Some(_) => false,
            None => self.reads_all_keys(row),
        }
    }

    /// A command that reads all keys is executed where all of them are: it waits until this node has read every log, as others wait for
    /// who leads. Errors: it has not for too long.
    fn waits_for_all_keys(&mut self, slot: usize) -> Result<bool, Failure> {
        let (now, most) = (self.clock.instant, Duration::from_secs(self.config.cluster_leader_wait.into()));
        let Some(stale_for) = self.durability.logs.iter().filter_map(|log| log.stale_for(now)).max() else {
            return Ok(false);
        };
        if self.has_passed(slot) {
            // An error keeps its place among the replies, too.
            self.wait_for_answers(slot);
        } else if stale_for > most {
            return Err(NOT_CURRENT);
        } else {
            self.wait(slot, Wait::Backlog, Some(now + LEAD_PAUSE));
        }
        Ok(true)
    }

    /// Whether the keys of a group are read back just now.
    pub(super) fn is_missing(&self, group: u16) -> bool {
        self.durability.missing_groups >> group & 1 == 1
    }

    /// Whether keys of the group that the request is about, or functions that it may call, are read back just now.
    #[cold]
    pub(super) fn misses_keys(&self, slot: usize, row: &Row, is_kept: bool) -> bool {
        let connection = &self.connections[slot];
        // EXEC is asked for what is queued.
        let is_queued = connection.in_multi() && !row.has(Flags::NOT_QUEUED);
        let calls = row.spec.flags.intersects(Flags::RUNS_SCRIPT.union(Flags::RUNS_QUEUE));
        !is_queued
            && (is_kept || needs_keys(row))
            && (self.is_missing(connection.group)
                || self.durability.missing_groups != 0 && self.reads_all_keys(row)
                || calls && self.is_missing(LIBRARIES_GROUP))
    }

    /// The command that is about to run removes no expired keys if it may meet those of groups that other nodes lead.
    #[inline]
    pub(crate) fn spare_keys_of_others(&mut self, row: &Row) {
        if self.has_groups() && self.reads_all_keys(row) {
            self.changes.pause_expiry(true);
        }
    }

    /// Whether a command reads all keys, which every node has: the one that is asked executes it.
    pub(super) fn reads_all_keys(&self, row: &Row) -> bool {
        self.has_groups()
            && row.has(Flags::ALL_KEYS)
            && !row.spec.has_keys()
            && !row.has(Flags::WRITE)
            && matches!(runs(row), Runs::Keys(_))
    }
}

/// Whether a request was refused because its keys are in several groups.
pub(super) fn is_cross_slot(failure: &Failure) -> bool {
    *failure == CROSS_SLOT
}

fn join(group: &mut Option<u16>, other: Option<u16>) -> Result<(), Failure> {
    match (*group, other) {
        (Some(one), Some(other)) if one != other => Err(CROSS_SLOT),
        (None, other) => {
            *group = other;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// SORT with BY and GET reads keys that it does not name.
fn check_patterns(args: Args<'_>) -> Result<(), Failure> {
    let words = args.iter().skip(2);
    for (word, pattern) in words.clone().zip(words.skip(1)) {
        let named = ["BY", "GET"].into_iter().find(|name| argument::eq_ignore_case(word, name));
        if let Some(name) = named.filter(|_| pattern.contains(&b'*')) {
            return Err(Failure::text(format!("ERR {name} {BY_PATTERN}")));
        }
    }
    Ok(())
}
