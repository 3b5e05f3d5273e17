//! A shard: a thread, its reactor, and the connections it owns.
//!
//! One turn:
//!
//! ```text
//!   poll ─► note who can read or write ─► mail ─► serve the ready, a bounded batch each ─► mail the outbox ─► flush
//! ```
//!
//! Nothing a shard owns is seen by another thread (`Rc` inside makes it `!Send`); what is shared is in [`Server`].
//! Sockets are registered once, edge-triggered; `ready` and `dirty` remember the edges that have not been used up.
//!
//! Invariants
//! - A connection is in `ready` if and only if its `is_ready` is set, in `dirty` if and only if `is_dirty` is.
//! - Replies and messages leave only in `flush`, after the outbox has been mailed.
//! - Every list is worked off for a bounded time a turn; what is left waits for the next turn, which polls without
//!   sleeping, so no client can hold the others up.

mod accept;
mod ahead;
pub(crate) mod apart;
mod beside;
mod broadcast;
mod credit;
pub(crate) mod current;
mod detach;
pub(crate) mod durability;
mod evict;
pub(crate) mod eviction;
pub(crate) mod exec;
mod fanout;
mod flush;
mod follow;
mod frames;
mod handover;
mod later;
mod lingering;
pub(crate) mod long;
mod mail;
mod outward;
mod page;
pub(crate) mod parts;
pub(crate) mod passing;
pub(crate) mod populate;
mod pusher;
mod ready;
mod rooms;
mod serve;
mod states;
mod succession;
mod tell;
mod timers;
mod track;
mod track_elsewhere;
mod turns;
pub(crate) mod unchecked;
mod undelivered;
mod unserved;
mod wide;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use sterna_keyspace::Garbage;
use sterna_protocol::Parser;
use sterna_pubsub::ChannelIndex;

use crate::config::Config;
use crate::connection::chunk::{self, Appender};
use crate::connection::circle::Circles;
use crate::connection::client::{Client, mark};
use crate::connection::state::ConnectionRef;
use crate::connection::{CloseReason, Connection};
use crate::late_events::LateLetters;
use crate::log_limit::Cause;
use crate::parcel::Namespace;
use crate::server::{Server, ShardHandle};
use crate::slab::Slab;
use crate::time::Clock;
pub(crate) use accept::Listeners;
pub(crate) use credit::Creditor;
use current::Current;
pub(crate) use durability::Durability;
use exec::LongTransaction;
use fanout::Fanout;
pub(crate) use flush::Flusher;
use follow::Followers;
use lingering::Lingering;
use mail::Inbox;
use outward::Outward;
use parts::Parts;
use passing::Passing;
use ready::Ready;
use timers::Timers;
use turns::Turns;
use unchecked::Unchecked;
use undelivered::Undelivered;
use wide::Wide;

/// Bytes read from one connection in one turn, and the room of the shard's read buffer.
const READ_BYTES: usize = 64 * 1024;

/// Edges taken from one poll.
const EVENTS_MAX: usize = 1024;

/// Token of the mailbox's waker; listeners count down from below it, connections up from 0.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// A shard and all it owns.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) server: Arc<Server>,
    poll: Poll,
    pub(crate) listeners: Listeners,
    pub(crate) connections: Slab<Connection>,
    /// Local subscribers by channel, by sharded channel, and by pattern (its text, not what it matches).
    pub(crate) channels: ChannelIndex<u32>,
    pub(crate) sharded: ChannelIndex<u32>,
    pub(crate) patterns: ChannelIndex<u32>,
    pub(crate) fanout: Fanout,
    /// Its pages that follow several channels and are up to date.
    circles: Circles,
    /// Where replies are written.
    pub(crate) replies: Appender,
    /// Where bytes go that a command has for other connections than its own, whose reply buffer is on loan.
    pub(crate) replies_to_others: Appender,
    scratch: Vec<u8>,
    parser: Parser,
    /// Requests that have been read ahead; `None` while some are executed.
    requests: Option<Box<ahead::Requests>>,
    pub(crate) recent_rows: sterna_command::RecentRows,
    ready: Ready,
    /// What is left of requests that are executed in parts.
    parts: BTreeMap<ConnectionRef, Parts>,
    /// A transaction that goes on in slices. In all shards together there is one at most.
    pub(crate) long_transaction: Option<Box<LongTransaction>>,
    turns: Turns,
    /// Connections that need keys which somebody has to himself: those that wait for them, and those that are served in parts.
    waiting_for_keys: Vec<ConnectionRef>,
    /// Some of those whom a write of this shard has woken are still to be served.
    pub(crate) serves_rest: bool,
    /// Transactions that have changed rights and woken somebody, each with the number of shards that have yet to follow it; only then
    /// any rest is served.
    pub(crate) unfollowed: Vec<(ConnectionRef, usize)>,
    /// Shards that have yet to follow what the transaction that is executed has changed.
    pub(crate) rights_acks: usize,
    /// Letters of its own in its mail: messages that are handed out later, and events of its writes.
    pub(crate) own_letters: usize,
    /// How many of those with events it has put there, and how many of these have been told.
    pub(crate) late_events: LateLetters,
    /// Messages by very many patterns that are being handed out here.
    pub(crate) wide: Wide,
    /// Connections whose users have changed.
    pub(crate) unchecked: VecDeque<Unchecked>,
    /// Connections whose socket is closed and whose subscriptions have yet to end.
    leaving: VecDeque<(ConnectionRef, CloseReason)>,
    /// Sockets of pages that are being told why they are closed.
    lingering: Vec<Lingering>,
    /// Listeners where more connections may wait than one turn has time for.
    accepting: Vec<Token>,
    /// There are more shards than cores for them.
    shares_core: bool,
    pub(crate) credit: Creditor,
    /// What goes to other nodes, if there are any.
    pub(crate) outward: Option<Box<Outward>>,
    /// What goes to the node that leads the keys, if that may be another one.
    pub(crate) passing: Option<Box<Passing>>,
    undelivered: Undelivered,
    pub(crate) flusher: Flusher,
    /// The connection that is served, and its request.
    pub(crate) current: Current,
    /// The connection whose script has run for too long, while others are served beside it.
    pub(crate) scripting: Option<ConnectionRef>,
    /// A script was ended in its middle, because the server stops: what its request has done is not recorded.
    pub(crate) script_was_ended: bool,
    /// Local connections shown every command.
    pub(crate) monitors: Vec<ConnectionRef>,
    /// Connections that are to go to other shards, and to which.
    movers: Vec<(ConnectionRef, usize)>,
    challenges: succession::Challenges,
    followers: Followers,
    inbox: Inbox,
    pub(crate) timers: Timers,
    pub(crate) clock: Clock,
    /// When there was something to do in this turn.
    turn_began: Instant,
    pub(crate) config: Arc<Config>,
    /// Commands that took this long are kept by SLOWLOG.
    pub(crate) slow_from: Duration,
    config_version: u64,
    /// What a write did, collected for whoever cares; kept for its memory.
    pub(crate) changes: sterna_keyspace::Changes,
    looks: u64,
    pub(crate) tracking: broadcast::Local,
    pub(crate) durability: Durability,
    /// The partition that gives up keys next when memory is short.
    eviction_at: usize,
    is_stopping: bool,
}

impl Shard {
    pub(crate) fn new(index: usize, server: Arc<Server>, poll: Poll, listeners: Listeners) -> Shard {
        let (config, config_version) = server.config_with_version();
        let mut shard = Shard {
            index,
            poll,
            listeners,
            connections: Slab::new(),
            channels: ChannelIndex::default(),
            sharded: ChannelIndex::default(),
            patterns: ChannelIndex::default(),
            fanout: Fanout::default(),
            circles: Circles::default(),
            replies: Appender::default(),
            replies_to_others: Appender::default(),
            scratch: vec![0; READ_BYTES],
            parser: Parser::default(),
            requests: None,
            recent_rows: sterna_command::RecentRows::default(),
            ready: Ready::default(),
            parts: BTreeMap::new(),
            long_transaction: None,
            turns: Turns::default(),
            waiting_for_keys: Vec::new(),
            serves_rest: false,
            unfollowed: Vec::new(),
            rights_acks: 0,
            own_letters: 0,
            late_events: LateLetters::default(),
            wide: Wide::default(),
            unchecked: VecDeque::new(),
            leaving: VecDeque::new(),
            lingering: Vec::new(),
            accepting: Vec::new(),
            shares_core: std::thread::available_parallelism()
                .is_ok_and(|cores| cores.get() < server.shards.len()),
            credit: Creditor::new(index, server.shards.len()),
            outward: Outward::of(&server),
            passing: Passing::of(&server),
            undelivered: Undelivered::default(),
            flusher: Flusher::new(&config),
            current: Current::default(),
            scripting: None,
            script_was_ended: false,
            monitors: Vec::new(),
            movers: Vec::new(),
            challenges: succession::Challenges::default(),
            followers: Followers::default(),
            inbox: Inbox::default(),
            timers: Timers::new(),
            turn_began: Instant::now(),
            clock: Clock::now(),
            slow_from: slow_from(&config),
            config,
            config_version,
            changes: sterna_keyspace::Changes::new(wants(&server)),
            looks: 0,
            tracking: broadcast::Local::default(),
            durability: Durability::default(),
            eviction_at: index,
            is_stopping: false,
            server,
        };
        shard.refresh_durability();
        // As in `refresh_config`: who waits for this shard must not wait for a change that it began with.
        shard.handle().config_seen.store(config_version, Ordering::Release);
        shard.server.moments.notify();
        shard
    }

    /// Runs until the server stops.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.listeners.register(self.poll.registry())?;
        let server = Arc::clone(&self.server);
        chunk::free_long_with(move |buffer| {
            let bytes = buffer.capacity();
            server.reclaimer.free(vec![Garbage::of_other(Box::new(buffer), bytes)]);
        });
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_stopping {
            self.turn(&mut events)?;
        }
        self.flush_and_leave(&mut events)
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.refresh_credit();
        let may_sleep = !self.has_work() && !self.gathers();
        let timeout = if may_sleep { self.timers.until_next() } else { Duration::ZERO };
        let asleep_since = (timeout > Duration::ZERO).then(Instant::now);
        match self.poll.poll(events, Some(timeout)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        self.clock.tick();
        self.begin_look();
        if let Some(since) = asleep_since {
            let idle = self.clock.instant.saturating_duration_since(since);
            Client::add(&self.handle().traffic.idle_ns, idle.as_nanos() as u64);
        }
        let last = asleep_since.unwrap_or(self.clock.instant).saturating_duration_since(self.turn_began);
        self.handle().traffic.count_turn(last);
        self.turn_began = self.clock.instant;
        self.fanout.sampler.begin_turn(self.clock.instant);
        self.server.shards[self.index].turned_ms.store(self.clock.now_ms, Relaxed);
        self.refresh_config();
        for event in events.iter() {
            match event.token() {
                WAKER => {}
                token if self.listeners.has(token) => self.accept(token),
                Token(slot) => self.note_edges(slot, event),
            }
        }
        self.accept_on();
        self.read_mail();
        self.go_on_with_transaction();
        self.serve_unserved();
        self.serve_ready();
        self.serve_turns();
        self.shake_hands();
        self.follow_on();
        self.check_unchecked();
        self.broadcast_changes();
        self.mail_outbox();
        self.hand_passed_on();
        self.note_traffic();
        self.flush_journal(!events.is_empty() || self.has_work());
        self.flush_dirty();
        self.send_movers();
        self.run_timers();
        self.check_challenges();
        self.broadcast_changes();
        self.evict_clients();
        self.leave_on();
        self.reap();
        self.hand_passed_on();
        self.replies.recycle();
        self.replies_to_others.recycle();
        self.fanout.recycle();
        Ok(())
    }

    /// What is executed from now on has been read by now: see [`sterna_keyspace::Look`].
    pub(crate) fn begin_look(&mut self) {
        // Each shard has numbers of its own.
        self.looks += self.server.shards.len() as u64;
        self.changes.begin_look(self.looks + self.index as u64);
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || !self.flusher.is_idle()
            || self.inbox.is_pending()
            || !self.wide.is_empty()
            || !self.followers.is_empty()
            || !self.leaving.is_empty()
            || self.challenges.is_under_way()
            || !self.unchecked.is_empty()
            || !self.accepting.is_empty()
            || self.has_unserved()
            || self.long_transaction.as_ref().is_some_and(|transaction| transaction.can_go_on())
            || self.turns_are_due()
    }

    /// What other threads know of this shard.
    pub(crate) fn handle(&self) -> &ShardHandle {
        &self.server.shards[self.index]
    }

    pub(crate) fn index_of(&self, space: Namespace) -> &ChannelIndex<u32> {
        match space {
            Namespace::Channels | Namespace::Pages => &self.channels,
            Namespace::Sharded => &self.sharded,
        }
    }

    /// Takes over a configuration that CONFIG SET has changed on any shard since the last turn.
    pub(crate) fn refresh_config(&mut self) {
        if self.server.config_version() == self.config_version {
            return;
        }
        let resumes = self.config.resume_window > 0;
        let before = Arc::clone(&self.config);
        (self.config, self.config_version) = self.server.config_with_version();
        if self.config.pusher_app != before.pusher_app {
            self.check_apps(&before.pusher_app);
        }
        if resumes != (self.config.resume_window > 0) {
            self.switch_resuming();
        }
        self.flusher.set_limits(&self.config);
        self.slow_from = slow_from(&self.config);
        self.handle().commands.set_tracking(self.config.latency_tracking);
        self.changes.set_wants(wants(&self.server));
        self.refresh_durability();
        // Release: what follows goes by it. Read by who has turned the journal on.
        self.handle().config_seen.store(self.config_version, Ordering::Release);
        self.server.moments.notify();
        self.timers.hurry_commits();
        self.resume_who_waits_for_keys();
    }

    fn note_edges(&mut self, slot: usize, event: &Event) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.is_detached() {
            return;
        }
        if event.is_writable() && connection.write_blocked {
            connection.write_blocked = false;
            self.flusher.mark(connection);
        }
        connection.read_closed |= event.is_read_closed();
        if event.is_readable() || event.is_read_closed() {
            self.make_ready(slot);
        }
    }

    /// Closes what has been condemned. Its subscriptions are gone at once. The connection that is being served stays until
    /// it no longer is.
    pub(crate) fn reap(&mut self) {
        let mut condemned = self.flusher.take_condemned().into_iter();
        if condemned.len() == 0 {
            return;
        }
        let began = Instant::now();
        for who in condemned.by_ref() {
            let detaches_later =
                |connection: &Connection| self.current.who.is_some() && connection.is_about_to_detach();
            let about_to_detach = self.connections.get(who.slot).is_some_and(Connection::is_about_to_detach);
            if self.is_executing(who)
                || self.is_in_transaction(who) && !about_to_detach
                || self.connections.get(who.slot).is_some_and(detaches_later)
            {
                self.flusher.condemn_later(who);
            } else if let Some(reason) = self.connection_of(who).and_then(|c| c.state().condemned()) {
                self.close(who.slot, reason);
            }
            if began.elapsed() > CLOSING_TIME_MAX {
                // Each may have watched thousands of keys.
                break;
            }
        }
        self.flusher.put_back_condemned(condemned);
    }

    /// What the sockets of its connections are registered with.
    pub(crate) fn poll_registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Closes the connection in `slot` now: subscriptions, watches and waits end, and the socket with them.
    pub(crate) fn close(&mut self, slot: usize, reason: CloseReason) {
        if !self.connections.contains(slot) {
            return;
        }
        if self.scripting == Some(self.connections[slot].me) {
            // Its script goes on with it, whoever wants it closed meanwhile.
            return self.condemn(slot, reason);
        }
        if self.is_in_transaction(self.connections[slot].me) {
            // What it has begun comes to its end.
            if self.current.who.is_none() && self.detaches(slot, reason) {
                return self.detach_in_transaction(slot, reason);
            }
            return self.condemn(slot, reason);
        }
        self.end_run();
        if reason == CloseReason::OutputLimit && !self.connections[slot].is_leaving {
            self.log_slow_consumer(slot);
        }
        if self.detaches(slot, reason) {
            return self.detach(slot, reason);
        }
        self.end_resuming(slot, reason);
        if self.closes_in_parts(slot, reason) {
            return;
        }
        self.leave_all(slot);
        self.release(slot);
        let Some(mut connection) = self.connections.remove(slot) else { return };
        let page = connection.page.take();
        if page.is_none() {
            connection.transport.close_notify();
        }
        tracing::debug!(id = connection.client.id, addr = %connection.client.address.peer(), reason = reason.name(), "closed");
        let handle = self.handle();
        handle.closed.count(reason);
        connection.client.set_memory(0, 0);
        handle.clients.lock().remove(&connection.client.id);
        if connection.client.has_mark(mark::DETACHED) {
            self.server.resumables.detached.fetch_sub(1, Relaxed);
        } else {
            handle.connections.fetch_sub(1, Relaxed);
            self.server.count_closed(&connection.transport);
        }
        if let Some(page) = page {
            self.leave_page(connection, *page, reason);
        }
    }

    /// Ends all that the connection has begun, but for its subscriptions.
    fn release(&mut self, slot: usize) {
        self.forget_transaction(slot);
        self.untrack(slot);
        self.stop_following(slot);
        let me = self.connections[slot].me;
        self.forget_parts(me);
        self.forget_word(me);
        self.end_session(slot);
        if let Some(waiting) = self.connections[slot].take_waiting() {
            self.clear_wait(me, waiting);
        }
        if std::mem::take(&mut self.connections[slot].is_monitor) {
            self.monitors.retain(|&monitor| monitor != me);
            self.server.monitors.fetch_sub(1, Relaxed);
            self.handle().monitors.fetch_sub(1, Relaxed);
        }
    }

    /// Says once who was too slow, with its line of CLIENT LIST while that still tells of its subscriptions.
    fn log_slow_consumer(&self, slot: usize) {
        if self.server.log_limits.admits(Cause::SlowConsumer, self.clock.now_ms) {
            let client = self.describe(slot);
            tracing::warn!(%client, "closing a client that passed its output buffer limit");
        }
    }

    /// The connection's line of CLIENT LIST.
    fn describe(&self, slot: usize) -> String {
        let name_of = |row: u32| self.server.table.row(row as usize).full_name.clone();
        self.connections[slot].client.describe(self.clock.now_ms, &name_of).to_string()
    }

    /// Stops listening and sends what is queued, for a bounded time.
    fn flush_and_leave(&mut self, events: &mut Events) -> io::Result<()> {
        self.listeners.close(self.poll.registry());
        self.end_transaction_at_once();
        self.await_last_writes(SHUTDOWN_FLUSH_MAX);
        let deadline = Instant::now() + SHUTDOWN_FLUSH_MAX;
        loop {
            self.mail_outbox();
            self.flush_dirty();
            self.reap();
            let waiting = self
                .connections
                .iter()
                .any(|(_, connection)| !connection.output.is_empty() && !connection.is_detached());
            let left = deadline.saturating_duration_since(Instant::now());
            if !waiting || left.is_zero() {
                break;
            }
            match self.poll.poll(events, Some(left.min(Duration::from_millis(10)))) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
            for event in events.iter() {
                if event.is_writable()
                    && let Some(connection) = self.connections.get_mut(event.token().0)
                    && !connection.is_detached()
                {
                    connection.write_blocked = false;
                    self.flusher.mark(connection);
                }
            }
        }
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.close(slot, CloseReason::Shutdown);
        }
        Ok(())
    }

    /// Mail that means the end of the shard.
    fn stop(&mut self) {
        self.is_stopping = true;
    }
}

/// `slowlog-log-slower-than` as a duration; -1, which keeps none, is longer than any command takes.
fn slow_from(config: &Config) -> Duration {
    u64::try_from(config.slowlog_log_slower_than).map_or(Duration::MAX, Duration::from_micros)
}

/// Time spent at once on connections that are closed.
const CLOSING_TIME_MAX: Duration = Duration::from_micros(500);

/// How long a stopping server waits for slow clients to take what is queued for them.
const SHUTDOWN_FLUSH_MAX: Duration = Duration::from_secs(2);

/// What writes must tell of: the events that are published.
fn wants(server: &Server) -> sterna_keyspace::Wants {
    // The partitions say whether effects are wanted, and touched keys.
    sterna_keyspace::Wants { events: server.event_classes(), ..Default::default() }
}
