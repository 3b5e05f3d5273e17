//! What is executed by the node that leads the keys, if that is another one.
//!
//! | what | where |
//! |---|---|
//! | commands on keys, scripts, functions, PUBLISH to channels that remember, WAIT | at the node that leads, at once |
//! | WATCH, CLIENT TRACKING and its kin, HIMPORT | there, in the connection's session; tracking here, where several nodes lead groups of keys |
//! | MULTI and what is queued | here; with EXEC it goes there in one piece, if any of it does |
//! | all else | here, when what was passed on before it is answered |

use sterna_command::{Channels, Flags, Group, Place};
use sterna_keyspace::slot_of;
use sterna_protocol::{Args, OwnedArgs, argument, encode};

use super::Failure;
use super::admission::{Admission, needs_keys, only_reads};
use super::cluster::port_of;
use super::table::{Row, Runs, runs, table};
use crate::connection::CloseReason;
use crate::connection::client::Client;
use crate::connection::passed::Repeat;
use crate::connection::transaction::{Transaction, may_write};
use crate::nodes::Lead;
use crate::shard::Shard;
use crate::shard::passing::{NOBODY_LEADS, Request};

impl Shard {
    /// Where the request is executed, if not here and now. Asked where another node may lead; out of the way of who has none.
    #[cold]
    pub(super) fn passes(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<Option<Admission>, Failure> {
        let connection = &self.connections[slot];
        if connection.in_multi() && !row.has(Flags::NOT_QUEUED) {
            return Ok(None);
        }
        let lead = self.lead(slot);
        if self.connections[slot].is_session {
            return Ok(self.passes_session(slot, row, lead));
        }
        // What a page says is no request of this protocol, and is answered otherwise.
        let is_page = connection.page.is_some() || connection.is_event_stream;
        if is_page || !self.is_for_leader(slot, row, args) {
            return Ok(self.stays_in_order(slot, row));
        }
        if row.has(Flags::RUNS_QUEUE) && self.has_broken_watch(slot, lead) {
            return Ok(self.stays_in_order(slot, row).or(Some(Admission::Broken)));
        }
        if !self.durability.logs.is_empty() && redirects(row, args) {
            // The client that is redirected to is another one at the next node that leads.
            let failure = Failure::of("ERR REDIRECT is not possible with cluster-keys");
            return if self.has_passed(slot) { Ok(self.stays_in_order(slot, row)) } else { Err(failure) };
        }
        match lead {
            Lead::Each | Lead::Me => {
                let waits = self.stays_in_order(slot, row);
                if waits.is_none() {
                    self.keep_tracking(slot, row, args);
                }
                Ok(waits)
            }
            Lead::Nobody if self.has_passed(slot) || self.waits_for_lead(slot) => {
                // What it has passed on is about to be answered by an error.
                Ok(self.stays_in_order(slot, row).or(Some(Admission::Wait)))
            }
            Lead::Nobody => Err(Failure::of(NOBODY_LEADS)),
            Lead::Elsewhere(term) => {
                let passed = self.connections[slot].passed.as_deref();
                let other = passed.and_then(|passed| passed.lane.session).filter(|(_, of)| *of != term);
                if self.waits_for_former_leader(slot, term) {
                    return Ok(Some(Admission::Wait));
                }
                if let Some((_, other)) = other
                    && self.waits_for_change(slot, other)
                {
                    return Ok(Some(Admission::Wait));
                }
                if row.has(Flags::RUNS_QUEUE) && self.has_broken_watch(slot, lead) {
                    return Ok(self.stays_in_order(slot, row).or(Some(Admission::Broken)));
                }
                if let Err(failure) = self.check_passed(slot, row, args) {
                    return if self.has_passed(slot) {
                        Ok(self.stays_in_order(slot, row))
                    } else {
                        Err(failure)
                    };
                }
                if self.server.pause.is_on() && self.is_paused(slot, row, may_write(row))
                    || !self.has_room_to_pass(slot)
                {
                    return Ok(Some(Admission::Wait));
                }
                self.note_term(term);
                Ok(Some(Admission::Pass))
            }
        }
    }

    /// Whether the request has to wait until what the connection has passed on before is answered: all but what is passed on as
    /// well, so that its error keeps its place, too.
    #[cold]
    pub(super) fn waits_for_its_turn(&mut self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        let waits = self.has_passed(slot)
            && !(self.is_for_leader(slot, row, args) && self.has_rights(slot, row, args));
        if waits {
            self.wait_for_answers(slot);
        }
        waits
    }

    fn has_rights(&self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        let user = self.connections[slot].user.as_ref();
        user.is_none_or(|user| {
            user.is_unrestricted()
                || crate::acl::check(user, row, args, &|key| self.config.retained_channel(key)).is_ok()
        })
    }

    /// Whether keys that the connection has watched may have been touched unseen: another node has come to lead since.
    fn has_broken_watch(&self, slot: usize, lead: Lead) -> bool {
        let connection = &self.connections[slot];
        let watched_here = connection.transaction.as_ref().is_some_and(|own| !own.watched.is_empty());
        connection.passed.as_ref().is_some_and(|passed| passed.watch_broken)
            || watched_here && matches!(lead, Lead::Elsewhere(_))
    }

    /// This node leads: what the connection tracks is tracked here, and is asked for again where another node comes to lead.
    fn keep_tracking(&mut self, slot: usize, row: &'static Row, args: Args<'_>) {
        let connection = &mut self.connections[slot];
        if row.has(Flags::TRACKS) {
            connection.passed.get_or_insert_default().tracking = tracking_of(args);
            return;
        }
        let asked_elsewhere = connection.passed.as_ref().and_then(|passed| passed.tracking.clone());
        if let Some(request) = asked_elsewhere.filter(|_| connection.tracking.is_none())
            && let Ok(row) = self.server.renames.resolve(table(), request.args())
        {
            // It was answered where it was asked for.
            let _ = self.execute(slot, row, request.args(), &mut Vec::new(), false);
        }
    }

    /// A client of another node is served while this one leads; if not, its session ends, and its node looks for who does.
    fn passes_session(&mut self, slot: usize, row: &'static Row, lead: Lead) -> Option<Admission> {
        if lead == Lead::Me || !(needs_keys(row) || row.has(Flags::RUNS_QUEUE)) {
            return None;
        }
        if self.has_groups() {
            // It may lead other keys: until it is known who leads these, the session stays.
            return matches!(lead, Lead::Elsewhere(_)).then(|| {
                self.leave_to_another(slot);
                Admission::Wait
            });
        }
        self.dismiss(slot, CloseReason::Killed);
        Some(Admission::Wait)
    }

    /// What is executed here waits until all before it is answered.
    fn stays_in_order(&mut self, slot: usize, row: &'static Row) -> Option<Admission> {
        if self.has_passed(slot) {
            self.wait_for_answers(slot);
            return Some(Admission::Wait);
        }
        self.note_local(slot, row);
        None
    }

    /// What a command that is executed here ends in the connection's session.
    fn note_local(&mut self, slot: usize, row: &Row) {
        let connection = &mut self.connections[slot];
        let in_multi = connection.in_multi();
        let Some(passed) = &mut connection.passed else { return };
        if row.has(Flags::RESETS) {
            return self.end_session(slot);
        }
        // EXEC and DISCARD without MULTI are errors, and end nothing.
        if row.has(Flags::ENDS_WATCHES) && (in_multi || row.spec.place != Place::Connection) {
            passed.watch_broken = false;
            if std::mem::take(&mut passed.watches) {
                self.pass_hidden(slot, &["UNWATCH"]);
            }
        }
    }

    /// Whether this node, which does not lead, executes it on the copy that it has.
    pub(super) fn reads_here(&self, slot: usize, row: &Row) -> bool {
        let Some(log) = self.log_of(slot) else { return false };
        let connection = &self.connections[slot];
        // Nothing tells who tracks keys here when they change.
        let tracks = connection.tracking.is_some()
            || connection.passed.as_ref().is_some_and(|passed| passed.tracking.is_some());
        let is_of_leader = row.spec.group == Group::Transactions
            || matches!(row.spec.place, Place::Session | Place::Tracking);
        let is_here = log.is_clean() && !self.durability.is_loading && !self.is_missing(connection.group);
        connection.reads_stale && !tracks && !is_of_leader && only_reads(row) && is_here
    }

    /// Whether only the node that leads may execute it, now.
    pub(super) fn needs_lead(&self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        if row.has(Flags::RUNS_QUEUE) {
            return self.is_for_leader(slot, row, args);
        }
        let is_queued = self.connections[slot].in_multi() && !row.has(Flags::NOT_QUEUED);
        !is_queued && (self.is_of_leader(row, args) || row.has(Flags::WRITE))
    }

    /// Whether the node that leads is to execute it.
    fn is_for_leader(&self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        if self.reads_here(slot, row) {
            return false;
        }
        let connection = &self.connections[slot];
        if row.has(Flags::RUNS_QUEUE) {
            let Some(transaction) = connection.transaction.as_ref().filter(|transaction| transaction.is_open)
            else {
                return false;
            };
            let watches =
                connection.passed.as_ref().is_some_and(|passed| passed.watches || passed.watch_broken);
            return !transaction.is_spoilt
                && (watches
                    || transaction.queued.iter().any(|(row, args)| self.is_of_leader(row, args.args())));
        }
        self.is_of_leader(row, args) && !(connection.in_multi() && row.spec.group == Group::Transactions)
    }

    fn is_of_leader(&self, row: &'static Row, args: Args<'_>) -> bool {
        match row.spec.place {
            Place::OfKeys => {
                matches!(runs(row), Runs::Keys(_)) && !self.reads_all_keys(row)
                    || row.spec.has_keys() && row.spec.channels == Channels::None
            }
            Place::Leader | Place::Session => !row.is_container,
            // Nodes that lead some of the keys are told from here (`shard/track_elsewhere.rs`).
            Place::Tracking => !self.has_groups(),
            Place::Node | Place::Connection => self.is_retained(row, args),
        }
    }

    /// What can't be done at the node that leads, or is to be sent there by the client itself.
    fn check_passed(&self, slot: usize, row: &Row, args: Args<'_>) -> Result<(), Failure> {
        if self.connections[slot].reads_stale
            && row.has(Flags::WRITE)
            && let Some(key) = crate::partitions::keys_of(row.spec, args).next()
        {
            // A client that says READONLY knows what to do.
            return Err(self.moved(slot, key));
        }
        if redirects(row, args) {
            return Err(Failure::of("ERR REDIRECT is not possible at a node that does not lead the keys"));
        }
        if row.has(Flags::RUNS_QUEUE)
            && let Some(transaction) = &self.connections[slot].transaction
            && let Some((row, _)) = transaction.queued.iter().find(|(row, _)| self.is_apart(row))
        {
            return Err(Failure::text(format!(
                "ERR {} can't be in one transaction with keys at a node that does not lead them",
                row.full_name
            )));
        }
        Ok(())
    }

    /// Whether a transaction that is executed elsewhere can't have it.
    fn is_apart(&self, row: &Row) -> bool {
        let is_local = match row.spec.place {
            Place::Connection => true,
            Place::Tracking => self.has_groups(),
            _ => false,
        };
        is_local || row.has(Flags::TRACKS)
    }

    fn moved(&self, slot: usize, key: &[u8]) -> Failure {
        let is_tls = self.connections[slot].transport.is_tls();
        let members = self.passing.as_ref().map_or_else(Vec::new, |passing| passing.nodes.members());
        let slot_of_key = slot_of(key);
        let group = if self.has_groups() { self.group_of_slot(slot_of_key) } else { 0 };
        match members.iter().find(|member| member.leads & 1 << group != 0) {
            Some(leader) => {
                Failure::text(format!("MOVED {slot_of_key} {}:{}", leader.host, port_of(leader, is_tls)))
            }
            None => Failure::of(NOBODY_LEADS),
        }
    }

    /// Passes the request on.
    #[cold]
    pub(super) fn pass_on(&mut self, slot: usize, row: &'static Row, args: Args<'_>) {
        let client = &self.connections[slot].client;
        client.last_command.store(row.id as u32 + 1, std::sync::atomic::Ordering::Relaxed);
        client.active_ms.store(self.clock.now_ms, std::sync::atomic::Ordering::Relaxed);
        Client::add(&client.commands, 1);
        let mut request = match row.has(Flags::RUNS_QUEUE) {
            true => self.whole_transaction(slot),
            false => Request::of(args, repeat_of(row)),
        };
        request.sent.is_blocking = row.has(Flags::BLOCKING);
        self.cache_elsewhere(slot, &mut request);
        let connection = &mut self.connections[slot];
        request.sent.is_silent = connection.is_silent();
        // What it has asked for here before ends: EXEC has taken the watches along with the transaction.
        if row.has(Flags::ENDS_WATCHES) && !row.has(Flags::RUNS_QUEUE) {
            self.forget_watches(slot);
        }
        let tracks = row.has(Flags::TRACKS).then(|| tracking_of(args));
        if tracks.is_some() {
            self.untrack(slot);
        }
        self.pass(slot, request);
        let Some(passed) = &mut self.connections[slot].passed else { return };
        if let Some(tracking) = tracks {
            passed.tracking = tracking;
        }
        if row.has(Flags::WATCHES) {
            passed.watches = true;
        }
        if row.has(Flags::ENDS_WATCHES) {
            (passed.watches, passed.watch_broken) = (false, false);
        }
    }

    /// MULTI, all that it has queued, and EXEC.
    fn whole_transaction(&mut self, slot: usize) -> Request {
        let transaction = self.connections[slot].transaction.take();
        let transaction = transaction.unwrap_or_default();
        self.connections[slot].note_transaction_over();
        let mut bytes = Vec::new();
        encode::request(&mut bytes, [b"MULTI"]);
        for (_, args) in &transaction.queued {
            encode::request(&mut bytes, args.args().iter());
        }
        encode::request(&mut bytes, [b"EXEC"]);
        let mut request = Request::of_bytes(bytes, transaction.queued.len() + 1, Repeat::Never);
        request.sent.selects = self.selected_by(&transaction);
        request
    }

    /// The database that the connection is in behind the transaction, if that is executed.
    fn selected_by(&self, transaction: &Transaction) -> Option<u8> {
        let databases = i64::from(self.config.databases);
        let selected = transaction.queued.iter().filter(|(row, _)| row.has(Flags::SELECTS));
        let mut selected = selected.filter_map(|(_, args)| argument::int(args.args().get(1)?));
        selected.rfind(|db| (0..databases).contains(db)).and_then(|db| u8::try_from(db).ok())
    }
}

/// Whether it asks that another client be told.
fn redirects(row: &Row, args: Args<'_>) -> bool {
    row.has(Flags::TRACKS) && args.iter().any(|arg| argument::eq_ignore_case(arg, "REDIRECT"))
}

/// What CLIENT TRACKING asks for, if it switches it on.
fn tracking_of(args: Args<'_>) -> Option<OwnedArgs> {
    args.get(2).is_some_and(|word| argument::eq_ignore_case(word, "ON")).then(|| args.to_owned())
}

/// Whether a request of this kind may be executed twice.
fn repeat_of(row: &Row) -> Repeat {
    let watches = row.spec.flags.intersects(Flags::WATCHES.union(Flags::ENDS_WATCHES));
    // What CLUSTER tells of keys reads them, though Redis's rows don't say so.
    let reads = row.has(Flags::READONLY)
        || watches && !row.has(Flags::RUNS_QUEUE)
        || row.spec.group == Group::Cluster;
    if reads && !row.spec.flags.intersects(Flags::WRITE.union(Flags::RUNS_SCRIPT)) {
        Repeat::Always
    } else {
        Repeat::IfNotExecuted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command without keys is executed where its row says, so that none is passed on, or is not, by oversight.
    #[test]
    fn each_row_says_which_node_executes_it() {
        for row in table().rows().iter().filter(|row| !row.is_container) {
            let name = &row.full_name;
            let has_keys = matches!(runs(row), Runs::Keys(_)) || row.spec.has_keys();
            match row.spec.place {
                Place::OfKeys => assert!(has_keys, "{name} has no keys: which node executes it?"),
                Place::Leader => {
                    let is_of_keys = matches!(runs(row), Runs::Script(_)) || row.spec.group == Group::Cluster;
                    assert!(is_of_keys, "{name} tells of no keys, and is no script");
                }
                Place::Session | Place::Tracking => {
                    assert!(!row.has(Flags::RUNS_QUEUE) && !row.confirms(), "{name} is the connection's");
                }
                // A sharded channel is where Redis has a key.
                Place::Node | Place::Connection => {
                    assert!(
                        !has_keys || row.spec.channels != Channels::None,
                        "{name} has keys, which the node that leads has"
                    );
                }
            }
            assert!(!row.confirms() || row.spec.place == Place::Connection, "{name}");
            assert!(
                !row.has(Flags::WRITE) || matches!(row.spec.place, Place::OfKeys | Place::Leader),
                "{name} writes"
            );
        }
    }

    #[test]
    fn what_a_session_must_know_is_said_by_rows() {
        let having = |flag| {
            table()
                .rows()
                .iter()
                .filter(move |row| row.has(flag))
                .map(|row| row.full_name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(having(Flags::WATCHES), ["watch"]);
        assert_eq!(having(Flags::ENDS_WATCHES), ["exec", "discard", "unwatch"]);
        assert_eq!(having(Flags::TRACKS), ["client|tracking"]);
        assert_eq!(having(Flags::SELECTS), ["select"]);
        assert_eq!(having(Flags::RESETS), ["reset"]);
    }
}
