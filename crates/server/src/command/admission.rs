//! Whether a request may run: what its row and the connection's state ask for.
//!
//! The order of the checks is Redis's, because clients see which one speaks first.

use std::time::Duration;

use sterna_command::{
    Channels, Flags, Group, KEY_ARGUMENTS_MAX, NAME_BYTES_MAX, NAMES_BYTES_MAX, PATTERN_BYTES_MAX,
    SERVER_ARGUMENTS_MAX, SERVER_REQUEST_BYTES_MAX,
};
use sterna_journal::Refusal;
use sterna_protocol::{Args, OwnedArgs};

use super::Failure;
use super::acl::Context;
use super::script::needs_engine;
use super::table::{Row, Runs, runs};
use crate::connection::state::Wait;
use crate::connection::transaction::may_write;
use crate::log_limit::Cause;
use crate::parcel::Namespace;
use crate::partitions::keys_of;
use crate::replication::{Leadership, SILENCE_MAX};
use crate::server::Server;
use crate::server::turns::Turn;
use crate::shard::Shard;
use crate::shard::eviction::Room;

impl Shard {
    pub(super) fn admit_request(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<Admission, Failure> {
        if row.has(Flags::LOGS_IN)
            && !self.connections[slot].in_multi()
            && let Some(delay) = self.login_delay(slot)
        {
            self.wait(slot, Wait::Login, Some(self.clock.instant + delay));
            return Ok(Admission::Wait);
        }
        let connection = &mut self.connections[slot];
        if connection.is_unauthenticated()
            && let Some(user) = self.server.user_without_password()
        {
            // The password has been taken away since it connected.
            connection.set_user(Some(user));
        }
        let connection = &self.connections[slot];
        if connection.user.is_none() {
            return if row.has(Flags::NO_AUTH) { Ok(Admission::Run) } else { Err(Failure::NO_AUTH) };
        }
        self.check_rights(slot, row, args)?;
        let is_of_patterns = row.spec.channels == Channels::SubscribedPatterns;
        if args.extent() > if is_of_patterns { PATTERN_BYTES_MAX } else { SERVER_REQUEST_BYTES_MAX } {
            check_length(row, args, self.connections[slot].in_multi())?;
        }
        let connection = &self.connections[slot];
        if connection.in_subscriber_mode() && !row.has(Flags::SUBSCRIBER_MODE) {
            return Err(Failure::text(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                 this context",
                row.full_name
            )));
        }
        if self.has_groups()
            && let Some(admission) = self.enter_group(slot, row, args)?
        {
            return Ok(admission);
        }
        if self.passing.is_some()
            && let Some(admission) = self.passes(slot, row, args)?
        {
            return Ok(admission);
        }
        let connection = &self.connections[slot];
        let is_kept = self.is_retained(row, args);
        if self.server.scripts.is_busy()
            && self.server.scripts.is_transaction()
            && (is_kept || needs_keys(row))
            && (row.has(Flags::NOT_QUEUED) || !connection.in_multi())
        {
            self.wait_for_keys(slot);
            return Ok(Admission::Wait);
        }
        if !self.durability.logs.is_empty() && !self.leads_keys(slot) {
            if !self.needs_lead(slot, row, args) {
                // Its reply tells of no key.
                self.durability.reads_what_is_here = true;
            } else {
                match self.not_leading(slot, row)? {
                    Admission::Run => {}
                    admission => return Ok(admission),
                }
            }
        }
        if self.server.memory.has_limit() {
            let is_needed = is_kept || self.needs_memory(slot, row, args);
            if (is_needed || self.may_run_scripts(slot, row))
                && let Some(admission) = self.find_memory(slot, row, is_needed, args)?
            {
                return Ok(admission);
            }
        }
        let connection = &self.connections[slot];
        if let Some(journal) = &self.durability.journal
            && (is_kept
                || row.spec.flags.intersects(Flags::WRITE.union(Flags::RUNS_SCRIPT))
                || row.has(Flags::RUNS_QUEUE) && connection.has_queued_writes())
            && let Err(refusal) = self.server.admit_write(journal)
        {
            let is_only_queued = connection.in_multi() && !row.has(Flags::RUNS_QUEUE);
            match refusal {
                // EXEC waits for it.
                Refusal::Backlog if is_only_queued => {}
                Refusal::Backlog => return Ok(self.wait_for_backlog(slot)),
                // It may be one that only reads: its writes are refused.
                _ if row.has(Flags::RUNS_SCRIPT) => {}
                _ => return Err(self.disk_failure(refusal)),
            }
        }
        if (is_kept || row.has(Flags::WRITE)) && self.server.journaling.is_unable_to_save(&self.config) {
            return Err(UNABLE_TO_SAVE);
        }
        if self.durability.is_loading && !self.server.journaling.is_loading() {
            // This shard has yet to be told, which others may have been.
            self.refresh_durability();
        }
        let connection = &self.connections[slot];
        let is_loading =
            self.durability.is_loading && (is_kept || !row.has(Flags::LOADING) || row.spec.has_keys());
        if is_loading || self.durability.missing_groups != 0 && self.misses_keys(slot, row, is_kept) {
            return Err(Failure::of("LOADING Redis is loading the dataset in memory"));
        }
        if self.is_beside_script() && (is_kept || !row.has(Flags::ALLOW_BUSY)) {
            return Err(Failure::of(self.server.scripts.busy_text()));
        }
        if connection.in_multi() && !row.has(Flags::NOT_QUEUED) {
            if row.has(Flags::NO_MULTI) {
                return Err(Failure::text("ERR Command not allowed inside a transaction"));
            }
            let most = if row.spec.group == Group::Pubsub { SERVER_ARGUMENTS_MAX } else { KEY_ARGUMENTS_MAX };
            if args.len() > most {
                // What is executed in parts elsewhere is not here.
                return Err(Failure::too_many_arguments(&row.full_name, most));
            }
            if row.has(Flags::SETTINGS_FILE) && connection.has_queued(Flags::SETTINGS_FILE) {
                // One file is read before EXEC, or written after it.
                return Err(SECOND_FILE);
            }
            return Ok(Admission::Queue);
        }
        if row.has(Flags::CHANGES_SETTINGS) && self.server.config_changes.is_locked() {
            self.wait_for_settings(slot);
            return Ok(Admission::Wait);
        }
        if row.has(Flags::RUNS_QUEUE) && self.sleeps_first(slot) {
            return Ok(Admission::Wait);
        }
        // Whether a script may write is seen when it is found.
        if self.server.pause.is_on()
            && self.is_paused(slot, row, may_write(row) && !row.has(Flags::RUNS_SCRIPT))
        {
            return Ok(Admission::Wait);
        }
        if !self.server.reserved.is_empty() && self.names_reserved(slot, row, args) {
            self.wait_for_keys(slot);
            return Ok(Admission::Wait);
        }
        if self.outward.is_some() && !self.is_settled_with_nodes(slot, row, args) {
            return Ok(Admission::Wait);
        }
        if is_kept && !self.has_handed_out(slot) {
            return Ok(Admission::Wait);
        }
        if row.has(Flags::SUBSCRIBER_MODE) && row.confirms() {
            if !self.has_read_mail(slot) {
                return Ok(Admission::Wait);
            }
            if self.config.resume_window > 0 && subscribes(row) && !self.has_succeeded(slot) {
                return Ok(Admission::Wait);
            }
        }
        if self.credit.overdrawn() != 0 && (is_kept || may_mail(row)) {
            self.end_run();
            self.hold_for_credit(slot, self.credit.overdrawn());
            return Ok(Admission::Wait);
        }
        if self.credit.behind() != 0
            && row.spec.channels == Channels::Published
            && self.waits_for_credit(slot, args)
        {
            return Ok(Admission::Wait);
        }
        Ok(Admission::Run)
    }

    /// What becomes of a request about keys that this node may not run now, and that was not passed on.
    #[cold]
    fn not_leading(&mut self, slot: usize, row: &'static Row) -> Result<Admission, Failure> {
        if self.durability.is_loading || self.misses_keys(slot, row, true) {
            // Which is said in Redis's words.
            return Ok(Admission::Run);
        }
        let connection = &self.connections[slot];
        let is_page = connection.page.is_some() || connection.is_event_stream;
        let soon = self.clock.instant + LEAD_PAUSE;
        let Some(log) = self.log_of(slot) else { return Ok(Admission::Run) };
        let silence = log.silent_for(self.clock.instant);
        match log.leadership() {
            Leadership::Me => Ok(Admission::Run),
            _ if self.reads_here(slot, row) => {
                self.durability.reads_what_is_here = true;
                Ok(Admission::Run)
            }
            // Its lease may not be over: it is about to hand over.
            Leadership::Suspended if silence.is_none_or(|silence| silence < SILENCE_MAX) => {
                self.wait(slot, Wait::Backlog, Some(soon));
                Ok(Admission::Wait)
            }
            Leadership::Suspended => Err(Failure::of("CLUSTERDOWN The log does not answer")),
            // What a page says is not passed on.
            _ if is_page => Err(Failure::of("CLUSTERDOWN Another node leads")),
            // Who passes requests on is about to know.
            Leadership::Other(_) | Leadership::None => {
                self.wait(slot, Wait::Backlog, Some(soon));
                Ok(Admission::Wait)
            }
        }
    }

    /// Whether the connection's user may do this.
    #[inline(always)]
    pub(crate) fn check_rights(
        &mut self,
        slot: usize,
        row: &'static Row,
        args: Args<'_>,
    ) -> Result<(), Failure> {
        let user = self.connections[slot].user.as_ref();
        if user.is_some_and(|user| !user.is_unrestricted()) && !row.has(Flags::NO_AUTH) {
            return self.check_rules(slot, row, args);
        }
        Ok(())
    }

    fn check_rules(&mut self, slot: usize, row: &'static Row, args: Args<'_>) -> Result<(), Failure> {
        let user = self.connections[slot].user.as_ref();
        let Some(denied) = user.and_then(|user| {
            crate::acl::check(user, row, args, &|key| self.config.retained_channel(key)).err()
        }) else {
            return Ok(());
        };
        let in_multi = self.connections[slot].in_multi();
        self.note_denied(slot, row, &denied, if in_multi { Context::Multi } else { Context::TopLevel });
        Err(Failure::text(denied.wire()))
    }

    /// Holds the connection back if its message would go to a shard that is behind.
    #[cold]
    fn waits_for_credit(&mut self, slot: usize, args: Args<'_>) -> bool {
        let reached = args.get(1).map_or(0, |channel| {
            self.shards_reached(Namespace::Channels, channel)
                | self.shards_reached(Namespace::Sharded, channel)
        });
        // Other shards have yet to be mailed events that come before it.
        let reached = reached | u64::from(self.late_events.are_there()) << self.index;
        let behind = reached & self.credit.behind();
        if behind != 0 {
            self.end_run();
            self.hold_for_credit(slot, behind);
        }
        behind != 0
    }

    /// Whether the command may add to the memory in use. Between MULTI and EXEC every command does with which much is queued: who
    /// deletes in a transaction, or reads, is let do so while memory is short, as in Redis 8.
    fn needs_memory(&self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        let connection = &self.connections[slot];
        row.has(Flags::DENYOOM)
            || connection.in_multi() && !row.has(Flags::NOT_QUEUED) && connection.queues_much(args.extent())
            || row.has(Flags::RUNS_QUEUE)
                && connection.transaction.as_ref().is_some_and(|transaction| {
                    let is_kept =
                        |(row, args): &(&'static Row, OwnedArgs)| self.is_retained(row, args.args());
                    transaction.may_need_memory() || transaction.queued.iter().any(is_kept)
                })
    }

    /// Whether it runs scripts, now: of these each command is asked whether it needs memory.
    fn may_run_scripts(&self, slot: usize, row: &'static Row) -> bool {
        row.has(Flags::RUNS_SCRIPT)
            || row.has(Flags::RUNS_QUEUE) && self.connections[slot].has_queued(Flags::RUNS_SCRIPT)
    }

    /// Sees to it that there is memory for a request; or what becomes of it. Where it `is_needed` by scripts alone they are told that
    /// there is none. Source: that keys go before a script begins, and that it goes by what came of this, is Redis's.
    fn find_memory(
        &mut self,
        slot: usize,
        row: &'static Row,
        is_needed: bool,
        args: Args<'_>,
    ) -> Result<Option<Admission>, Failure> {
        self.connections[slot].lacks_memory = false;
        let bytes = args.iter().map(<[u8]>::len).sum();
        // Beside a script that has run for too long nothing is removed, and the request is told of that. Source: Redis.
        if self.server.memory.admits(bytes, self.clock.instant) || self.is_beside_script() {
            return Ok(None);
        }
        match self.make_room() {
            Room::Enough | Room::Later => Ok(None),
            // A script that only reads.
            Room::Taken if row.has(Flags::READONLY) => Ok(None),
            Room::Taken => {
                let failure = self.keys_taken();
                if !failure.is_put_off() {
                    return Err(failure);
                }
                self.put_off(slot, &failure);
                Ok(Some(Admission::Wait))
            }
            Room::None if is_needed => Err(self.out_of_memory(slot)),
            Room::None => {
                self.connections[slot].lacks_memory = true;
                Ok(None)
            }
        }
    }

    #[cold]
    fn out_of_memory(&self, slot: usize) -> Failure {
        if self.server.log_limits.admits(Cause::OutOfMemory, self.clock.now_ms) {
            let client = &self.connections[slot].client;
            tracing::warn!(id = client.id, addr = %client.address.peer(), "command refused: memory in use is above maxmemory");
        }
        Failure::of("OOM command not allowed when used memory > 'maxmemory'.")
    }

    /// Holds the connection back for a moment: the disk is slower than the writers, and what waits for it must not grow.
    #[cold]
    fn wait_for_backlog(&mut self, slot: usize) -> Admission {
        self.wait(slot, Wait::Backlog, Some(self.clock.instant + BACKLOG_PAUSE));
        Admission::Wait
    }

    /// How long an attempt to log in must wait, because too many from its address have failed.
    pub(super) fn login_delay(&self, slot: usize) -> Option<Duration> {
        let address = self.connections[slot].client.address.ip_address()?;
        let admitted = self.server.logins.admit(address, self.clock.now_ms);
        admitted.err().map(Duration::from_millis)
    }

    #[cold]
    pub(crate) fn disk_failure(&self, refusal: Refusal) -> Failure {
        let cause = self.server.journaling.trouble().unwrap_or_else(|| refusal.to_string());
        Failure::text(format!("MISCONF Errors writing to the AOF file: {cause}"))
    }

    /// Whether a script may write: why not, if not. A backlog is waited for before a script begins.
    pub(super) fn check_disk(&self) -> Result<(), Failure> {
        if let Some(journal) = &self.durability.journal
            && let Err(refusal) = self.server.admit_write(journal)
            && refusal != Refusal::Backlog
        {
            return Err(self.disk_failure(refusal));
        }
        if self.server.journaling.is_unable_to_save(&self.config) {
            return Err(UNABLE_TO_SAVE);
        }
        Ok(())
    }

    /// Holds the connection back if CLIENT PAUSE concerns this command, which writes, or runs what does.
    #[cold]
    pub(super) fn is_paused(&mut self, slot: usize, row: &'static Row, writes: bool) -> bool {
        let transaction_writes = row.has(Flags::RUNS_QUEUE)
            && self.connections[slot].transaction.as_ref().is_some_and(|t| t.has_writes());
        let is_write = writes || transaction_writes;
        if row.has(Flags::IGNORES_PAUSE) || !self.server.pause.holds_back(is_write, self.clock.instant) {
            return false;
        }
        self.wait_for_pause(slot);
        true
    }

    /// Holds the connection back until CLIENT PAUSE ends.
    pub(super) fn wait_for_pause(&mut self, slot: usize) {
        let until = self.server.pause.end(&self.clock);
        self.wait(slot, Wait::Pause, Some(until));
    }

    /// Whether the request, or the transaction that it executes, may write to a key that is reserved.
    #[cold]
    fn names_reserved(&self, slot: usize, row: &'static Row, args: Args<'_>) -> bool {
        let connection = &self.connections[slot];
        let (db, reserved) = (usize::from(connection.db), &self.server.reserved);
        let names = |row: &Row, args: Args<'_>| {
            row.spec.flags.intersects(Flags::WRITE.union(Flags::RUNS_SCRIPT))
                && reserved.has_any(db, keys_of(row.spec, args))
        };
        match &connection.transaction {
            Some(transaction) if row.has(Flags::RUNS_QUEUE) => {
                transaction.queued.iter().any(|(row, args)| names(row, args.args()))
            }
            _ => names(row, args),
        }
    }

    /// Whether a script has run for too long, whichever shard runs it.
    #[inline]
    fn is_beside_script(&self) -> bool {
        let scripts = &self.server.scripts;
        scripts.is_busy() && !scripts.is_transaction()
    }

    /// What a request gets that found the keys taken: the words beside a script that has run for too long. Beside another one it waits
    /// for its turn, beside a transaction, or those who are served from these keys, until they are free.
    #[cold]
    pub(super) fn keys_taken(&self) -> Failure {
        if self.is_beside_script() {
            return Failure::of(self.server.scripts.busy_text());
        }
        if self.is_told_of_free_keys() { Failure::KEYS_TAKEN } else { Failure::TURN_TAKEN }
    }

    /// The Lua state, for the request of the connection in `slot`; or what becomes of the request.
    pub(super) fn script_turn<'s>(&self, server: &'s Server, slot: usize) -> Result<Turn<'s>, Failure> {
        self.take_turn(server, slot).ok_or_else(|| match server.scripts.is_busy() {
            true => self.keys_taken(),
            false => Failure::TURN_TAKEN,
        })
    }

    /// Has the connection wait for a moment, since somebody else changes settings.
    #[cold]
    pub(super) fn wait_for_settings(&mut self, slot: usize) {
        self.wait(slot, Wait::Backlog, Some(self.clock.instant + SETTINGS_PAUSE));
    }
}

/// Whether a request of more than [`SERVER_REQUEST_BYTES_MAX`] may be as long as it is, and its names as theirs are.
#[cold]
fn check_length(row: &Row, args: Args<'_>, in_multi: bool) -> Result<(), Failure> {
    if args.extent() > row.spec.request_bytes_max() {
        return Err(Failure::too_long(&row.full_name, row.spec.request_bytes_max()));
    }
    let is_in_parts = row.has(Flags::IN_PARTS);
    let mut left = if is_in_parts && !in_multi { usize::MAX } else { NAMES_BYTES_MAX };
    let is_of_patterns = row.spec.channels == Channels::SubscribedPatterns;
    let most = if is_of_patterns { PATTERN_BYTES_MAX } else { NAME_BYTES_MAX };
    let mut fits = |name: &[u8]| {
        let rest = left.checked_sub(name.len()).filter(|_| name.len() <= most);
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    let fit = if row.spec.has_keys() {
        keys_of(row.spec, args).all(fits)
    } else if is_in_parts {
        args.from(1).iter().all(fits)
    } else {
        !matches!(row.spec.channels, Channels::Published) || args.get(1).is_none_or(&mut fits)
    };
    if fit { Ok(()) } else { Err(Failure::names_too_long(&row.full_name, most, NAMES_BYTES_MAX)) }
}

/// Whether the command is executed on keys, or in the Lua state: what a transaction that goes on in slices has to itself.
#[inline]
pub(super) fn needs_keys(row: &Row) -> bool {
    match runs(row) {
        Runs::Keys(_) => true,
        Runs::Script(_) => needs_engine(row),
        Runs::Server(_) => row.spec.has_keys() || row.has(Flags::RUNS_QUEUE),
        Runs::Container => false,
    }
}

/// Whether a command may mail to other shards whatever comes of it: messages, keyspace events, invalidations.
pub(super) fn may_mail(row: &Row) -> bool {
    row.spec.channels == Channels::Published
        || row.has(Flags::RUNS_QUEUE)
        || row.spec.flags.intersects(Flags::WRITE.union(Flags::RUNS_SCRIPT).union(Flags::MAY_REPLICATE))
}

/// SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE.
fn subscribes(row: &Row) -> bool {
    matches!(row.spec.channels, Channels::Subscribed | Channels::SubscribedPatterns)
}

const SECOND_FILE: Failure = Failure::of(
    "ERR a transaction reads or writes a file of settings once: ACL LOAD, ACL SAVE or CONFIG REWRITE",
);

/// Source: redis.conf's `stop-writes-on-bgsave-error`, and Redis's words.
const UNABLE_TO_SAVE: Failure = Failure::of(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may \
     modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
     snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
     error.",
);

/// Whether a command leaves keys as they are.
pub(super) fn only_reads(row: &Row) -> bool {
    !row.spec.flags.intersects(Flags::WRITE.union(Flags::RUNS_SCRIPT).union(Flags::BLOCKING))
        && !row.has(Flags::RUNS_QUEUE)
}

/// How long a command waits before it looks again who leads.
pub(super) const LEAD_PAUSE: Duration = Duration::from_millis(50);

/// How long a write waits before it checks again whether the journal takes it.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// How long a change of settings waits before it checks again whether another one is over.
const SETTINGS_PAUSE: Duration = Duration::from_millis(5);

/// What becomes of a request that may run.
pub(super) enum Admission {
    Run,
    /// It goes to the node that leads, in the term that `Passing` has noted.
    Pass,
    /// EXEC runs nothing: a key that the connection watched may have been touched.
    Broken,
    Queue,
    /// Not now: the connection has been given its wait.
    Wait,
}
