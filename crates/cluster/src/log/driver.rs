//! The thread that runs a [`Replica`] on JetStream, for a server.
//!
//! ```text
//!   shards ─► seat.take ─► Replica ─► one append in flight ─► JetStream
//!                                         │ stored
//!   shards ◄─ seat.stored, a lease ◄──────┘        ─► a hint to the other nodes
//!   keys   ◄─ seat.apply ◄─ Replica ◄─ reads ◄──────── JetStream
//! ```
//!
//! What the server is asked to do here may take a while (keys that are read back, a script that holds them): nothing is read and no
//! lease is renewed meanwhile, so a node that can't go on leads no more.

mod cede;
mod keeping;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sterna_server::{KeyGroup, Leadership, LogSeat, SeatError};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::cede::Ceding;
use self::keeping::Shared;
use super::balance::Move;
use super::gather::Gather;
use super::jetstream::{Port, PortError};
use super::record::{Assembly, parts};
use super::snapshots::{Came, SnapshotSettings, Snapshots};
use super::trim::{Holders, INTERVAL};
use super::{
    Action, Appended, Fault, Frame, Kind, Position, Read, Replica, Role, StreamState, Ticket, Times,
};
use crate::connection::{ClusterError, Settings};

/// How often figures are renewed, and what waits is looked at, if nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// How often somebody is told that there is no log.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// How much longer a node waits before it claims to lead a group of keys that another one is to lead: more than nodes differ in, also
/// in when they have started.
const RELUCTANCE: Duration = Duration::from_secs(3);

/// How often it is looked whether what has begun has come to its end, where the group is to be handed over.
const QUIET_TICK: Duration = Duration::from_millis(1);

/// What the driver asks of who knows the other nodes.
pub(crate) struct Hooks {
    /// Another node leads, or this one does or does not.
    pub(crate) on_leadership: Box<dyn Fn() + Send>,
    /// Whether this node is to claim before others.
    pub(crate) is_preferred: Box<dyn Fn() -> bool + Send>,
    /// A node has told how far its journal has the log: it has part in the keys.
    pub(crate) on_holder: Box<dyn Fn(u64) + Send>,
    /// Whether another node is to lead than does.
    pub(crate) next_move: Box<dyn Fn() -> Option<Move> + Send>,
}

/// A node's part in the log.
pub struct LogDriver {
    is_ending: Arc<AtomicBool>,
    notify: Arc<Notify>,
    thread: JoinHandle<()>,
}

impl LogDriver {
    /// Starts it. `me` is the node's identity, which is not 0; `name` is for people. Errors: what is configured can't work.
    pub(crate) fn start(
        settings: &Settings,
        me: u64,
        name: String,
        seat: LogSeat,
        hooks: Hooks,
    ) -> Result<LogDriver, ClusterError> {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build().map_err(ClusterError::Thread)?;
        let client = runtime.block_on(settings.connect(|event| {
            tracing::debug!(%event, "the log's connection to NATS");
        }))?;
        let (is_ending, notify) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let wake = Arc::clone(&notify);
        seat.set_waker(Box::new(move || wake.notify_one()));
        let group = seat.group();
        let parts = Parts {
            port: Port::new(client.clone(), &settings.name, group),
            hint: format!("sterna.{}.hint.{}", settings.name, group.index),
            holding: format!("sterna.{}.holding.{}", settings.name, group.index),
            balance: format!("sterna.{}.balance.{}", settings.name, group.index),
            bytes_max: settings.log_bytes_max,
            snapshots: settings.snapshots.clone().map(|snapshots| snapshots.of_group(group)),
            client,
            me,
            name,
            seat,
            hooks,
            is_ending: Arc::clone(&is_ending),
            notify: Arc::clone(&notify),
        };
        let run = move |runtime: Runtime| run(&runtime, parts);
        let thread = std::thread::Builder::new().name("cluster-log".to_owned()).spawn(move || run(runtime));
        Ok(LogDriver { is_ending, notify, thread: thread.map_err(ClusterError::Thread)? })
    }

    /// Ends it. The server has stopped.
    pub fn stop(self) {
        self.is_ending.store(true, Ordering::Release);
        self.notify.notify_one();
        // A panic in it has ended the process.
        let _ = self.thread.join();
    }
}

struct Parts {
    port: Port,
    hint: String,
    holding: String,
    balance: String,
    bytes_max: u64,
    snapshots: Option<SnapshotSettings>,
    client: Client,
    me: u64,
    name: String,
    seat: LogSeat,
    hooks: Hooks,
    is_ending: Arc<AtomicBool>,
    notify: Arc<Notify>,
}

/// What came of a request.
enum Input {
    Append {
        number: u64,
        expected: u64,
        appended: Appended,
        /// What JetStream has against it.
        objection: Option<String>,
    },
    Read {
        id: u64,
        read: Read,
    },
    /// How large the log is.
    State(StreamState),
    /// Which log it is, its first slot, and who has written the last.
    Beginning {
        incarnation: u128,
        first: u64,
        writer: u64,
    },
    /// What has come of a snapshot.
    Came(Came),
}

/// Why it ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the log: {0}")]
    Fault(#[from] Fault),
    #[error("{0}")]
    Seat(#[from] SeatError),
    #[error(
        "the log no longer holds what this node lacks, and there is no cluster-snapshots: put a backup of another node in the place of \
         its directory, with sterna backup and sterna restore"
    )]
    Trimmed,
    #[error("{0}")]
    Unreadable(#[from] super::record::Unreadable),
    #[error("the thread for snapshots can't be started: {0}")]
    Thread(std::io::Error),
    #[error("the journal's word of how far the log was read can't be read")]
    Witness,
    #[error("the log was made for {made} group(s) of keys, and cluster-groups is {configured}")]
    Groups { made: u16, configured: u16 },
}

fn run(runtime: &Runtime, parts: Parts) {
    let seat = parts.seat.clone();
    let Some(witness) = seat.await_loaded() else { return };
    let ended = match Position::from_witness(&witness) {
        Some(position) => runtime.block_on(async { Driver::new(parts, position)?.live().await }),
        None => Err(End::Witness),
    };
    match ended {
        Ok(()) | Err(End::Seat(SeatError::Stopping)) => {}
        Err(end) => {
            tracing::error!("{end}: this node stops");
            seat.stop();
        }
    }
}

struct Driver {
    port: Port,
    hint: String,
    /// Where nodes tell how far their journals have the log.
    holding: String,
    /// Where nodes tell each other who is to lead.
    balance: String,
    /// What the log may take.
    bytes_max: u64,
    client: Client,
    me: u64,
    seat: LogSeat,
    leadership: Leadership,
    /// Which group of keys it is the log of, where there are several.
    group: Option<u64>,
    hooks: Hooks,
    ceding: Option<Ceding>,
    /// The term in which this node has handed over, until another one leads.
    ceded: Option<u64>,
    /// Until then it does not hand over.
    rests_until: Option<Instant>,
    asked_at: Option<Instant>,
    is_ending: Arc<AtomicBool>,
    notify: Arc<Notify>,
    started: Instant,
    replica: Replica,
    inputs: UnboundedSender<Input>,
    arriving: UnboundedReceiver<Input>,
    /// Tickets that are not stored; with the server's number where a record ends.
    tickets: VecDeque<(Ticket, Option<u64>)>,
    gather: Gather,
    assembly: Assembly,
    /// Where the log stands, if the server has not been told.
    untold: Option<Position>,
    /// The last record of the journal that says how far the log was read, and that slot.
    told: Option<(u64, u64)>,
    /// An earlier one, which is being synced.
    syncing: Option<(u64, u64)>,
    /// How far the journal has the log, safe from a power loss.
    held: u64,
    holders: Holders,
    shared: Option<Shared>,
    counts: Counts,
    complained: Option<Instant>,
    ticked: Instant,
    held_at: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    frames: u64,
    records: u64,
    terms: u64,
    snapshots_written: u64,
    snapshots_loaded: u64,
    snapshot_failures: u64,
}

impl Driver {
    fn new(parts: Parts, position: Position) -> Result<Driver, End> {
        let Parts { port, hint, holding, balance, bytes_max, client, me, name, seat, .. } = parts;
        let Parts { hooks, is_ending, notify, snapshots, .. } = parts;
        let KeyGroup { index, count } = seat.group();
        seat.note_slot(position.slot);
        let (inputs, arriving) = unbounded_channel();
        let now = Instant::now();
        let shared = snapshots.map(|settings| {
            let inputs = inputs.clone();
            let tell = move |came| {
                // Nobody listens once this has ended.
                let _ = inputs.send(Input::Came(came));
            };
            let thread = Snapshots::start(settings, seat.clone(), tell).map_err(End::Thread)?;
            Ok::<_, End>(Shared {
                thread,
                is_busy: false,
                again: now,
                grown_bytes: 0,
                begun_at_bytes: 0,
                leader: 0,
                verified: Vec::new(),
            })
        });
        Ok(Driver {
            port,
            hint,
            holding,
            balance,
            bytes_max,
            client,
            me,
            seat,
            leadership: Leadership::None,
            group: (count > 1).then_some(index.into()),
            hooks,
            ceding: None,
            ceded: None,
            rests_until: None,
            asked_at: None,
            is_ending,
            notify,
            started: now,
            replica: Replica::new(me, &name, Times::default(), position, Duration::ZERO),
            inputs,
            arriving,
            tickets: VecDeque::new(),
            gather: Gather::default(),
            assembly: Assembly::default(),
            untold: None,
            told: None,
            syncing: None,
            held: 0,
            holders: Holders::default(),
            shared: shared.transpose()?,
            counts: Counts::default(),
            complained: None,
            ticked: now,
            held_at: now,
        })
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs until the server has stopped. Errors: this node can't go on.
    async fn live(mut self) -> Result<(), End> {
        let mut hints: Option<Subscriber> = self.client.subscribe(self.hint.clone()).await.ok();
        let mut holdings: Option<Subscriber> = self.client.subscribe(self.holding.clone()).await.ok();
        let mut words: Option<Subscriber> = match self.group {
            Some(_) => self.client.subscribe(self.balance.clone()).await.ok(),
            None => None,
        };
        if !self.is_of_these_groups().await? {
            return Ok(());
        }
        let now = self.now();
        self.replica.tick(now);
        while !self.is_ending.load(Ordering::Acquire) {
            self.go_on()?;
            self.cede_when_quiet()?;
            let tick = if self.ceding.is_some() { QUIET_TICK } else { TICK };
            let due = self.replica.due().unwrap_or(Duration::MAX).saturating_sub(self.now()).min(tick);
            let due = self.gather.left(Instant::now()).map_or(due, |left| left.min(due));
            tokio::select! {
                biased;
                Some(input) = self.arriving.recv() => self.note(input)?,
                () = self.notify.notified() => {}
                Some(_) = next(&mut hints) => {
                    let now = self.now();
                    self.replica.on_hint(now);
                }
                Some(message) = next(&mut holdings) => self.note_holding(&message.payload),
                Some(message) = next(&mut words) => self.note_word(&message.payload),
                () = tokio::time::sleep(due) => {}
            }
            let now = self.now();
            self.replica.tick(now);
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                self.tick().await?;
            }
        }
        Ok(())
    }

    /// Waits until the log says that it is for as many groups of keys as this node knows: another number would put keys elsewhere.
    /// False: this ends before.
    async fn is_of_these_groups(&mut self) -> Result<bool, End> {
        let configured = self.seat.group().count;
        while !self.is_ending.load(Ordering::Acquire) {
            self.seat.mend()?;
            self.seat.set_figures(self.figures());
            match self.port.state().await {
                Ok(StreamState { groups: made, .. }) if made != configured => {
                    return Err(End::Groups { made, configured });
                }
                Ok(_) => return Ok(true),
                Err(error) => self.complain(&error),
            }
            tokio::time::sleep(TICK).await;
        }
        Ok(false)
    }

    fn note(&mut self, input: Input) -> Result<(), End> {
        let now = self.now();
        match input {
            Input::Append { number, expected, appended, objection } => {
                if let Some(objection) = objection {
                    self.complain_of(&format!("the log takes nothing: {objection}"));
                }
                self.replica.on_append(number, expected, appended, now);
            }
            Input::Read { id, read } => self.replica.on_read(id, read, now),
            Input::State(state) => self.trim(&state),
            Input::Beginning { incarnation, first, writer } => {
                let own = self.replica.position().slot;
                if let Some(shared) = &mut self.shared {
                    shared.leader = writer;
                    shared.thread.fetch(incarnation, first.saturating_sub(1).max(own + 1));
                }
            }
            Input::Came(Came::Written(written)) => self.note_written(written),
            Input::Came(Came::Fetched(fetched)) => self.begin_with(fetched)?,
        }
        Ok(())
    }

    /// Does what the replica asks for, until it asks for nothing.
    fn go_on(&mut self) -> Result<(), End> {
        loop {
            while let Some(action) = self.replica.action() {
                self.obey(action)?;
            }
            self.tell()?;
            if !self.take_records() {
                break;
            }
        }
        let lease = self.replica.lease_until().map(|until| self.started + until);
        self.seat.set_lease(lease);
        let leader = match &self.shared {
            // What it has read says who led then.
            Some(shared) if self.replica.role() == Role::Restoring => shared.leader,
            _ => self.replica.position().writer,
        };
        self.seat.set_leader(leader);
        self.seat.set_current(self.replica.is_current(self.now()));
        let leadership = self.seat.leadership();
        if std::mem::replace(&mut self.leadership, leadership) != leadership {
            (self.hooks.on_leadership)();
        }
        Ok(())
    }

    /// Hands what the server has done to the replica. Whether there was anything.
    fn take_records(&mut self) -> bool {
        // What is written while an append flies is taken when it has landed, all of it at once.
        if self.replica.role() != Role::Leading || self.replica.is_appending() {
            return false;
        }
        self.seat.want_records();
        if self.gather.pause(self.seat.queued_bytes(), Instant::now()).is_some() {
            return false;
        }
        let records = self.seat.take();
        if !records.is_empty() {
            let bytes = records.iter().map(|(_, record)| record.len()).sum();
            self.gather.on_taken(bytes, Instant::now());
        }
        for (number, record) in &records {
            self.counts.records += 1;
            let mut parts = parts(record).peekable();
            while let Some((head, part, alone)) = parts.next() {
                if let Some(ticket) = self.replica.enqueue(head, part, alone) {
                    let ends = parts.peek().is_none();
                    self.tickets.push_back((ticket, ends.then_some(*number)));
                }
            }
        }
        let now = self.now();
        self.replica.tick(now);
        !records.is_empty()
    }

    fn obey(&mut self, action: Action) -> Result<(), End> {
        match action {
            Action::Append { number, expected, frame } => {
                let (port, inputs) = (self.port.clone(), self.inputs.clone());
                tokio::spawn(async move {
                    let (appended, objection) = port.append(expected, frame).await;
                    // Nobody listens once this has ended.
                    let _ = inputs.send(Input::Append { number, expected, appended, objection });
                });
            }
            Action::Read { id, from, source } => {
                let (port, inputs) = (self.port.clone(), self.inputs.clone());
                tokio::spawn(async move {
                    let read = port.read(from, source).await;
                    let _ = inputs.send(Input::Read { id, read });
                });
            }
            Action::Accepted { position, frame, own } => self.accepted(position, &frame, own)?,
            Action::Release { through } => self.released(through)?,
            Action::Lead { term } => {
                self.tell()?;
                tracing::info!(term, group = self.group, "this node leads");
                self.counts.terms += 1;
                self.note_term(term);
                if let Some(shared) = &mut self.shared {
                    // Another node may have removed them.
                    shared.verified.clear();
                }
                self.seat.lead()?;
            }
            Action::Follow { rebuild, lost } => {
                if self.ceding.is_none() {
                    tracing::warn!(rebuild, group = self.group, "this node leads no more");
                }
                let lost = lost.and_then(|through| {
                    let tickets = self.tickets.iter().take_while(|(ticket, _)| *ticket <= through);
                    tickets.filter_map(|(_, number)| *number).last()
                });
                self.tickets.clear();
                self.untold = None;
                self.seat.resign(lost)?;
                self.end_ceding();
            }
            Action::Restore if self.shared.is_none() => return Err(End::Trimmed),
            // What is due now and then sees to it.
            Action::Restore => {
                tracing::warn!(
                    group = self.group,
                    "the log no longer holds what this node lacks: it begins with a snapshot of another"
                );
            }
            Action::Trim { below } => {
                let (port, group) = (self.port.clone(), self.group);
                tokio::spawn(async move {
                    match port.trim(below).await {
                        Ok(()) => tracing::info!(below, group, "the log is trimmed"),
                        Err(error) => tracing::warn!(%error, group, "the log is not trimmed"),
                    }
                });
            }
            Action::Stop(fault) => return Err(End::Fault(fault)),
        }
        Ok(())
    }

    /// A frame counts.
    fn accepted(&mut self, position: Position, frame: &Bytes, own: bool) -> Result<(), End> {
        self.counts.frames += 1;
        if let Some(shared) = &mut self.shared {
            shared.grown_bytes += frame.len() as u64;
        }
        let records = match Frame::decode(frame).map(|frame| frame.kind) {
            Ok(Kind::Effects(records)) if !own => self.assembly.take(records)?,
            Ok(Kind::Claim { name }) => {
                self.assembly.clear();
                tracing::info!(term = position.term, group = self.group, leader = %String::from_utf8_lossy(name), "a node claims to lead");
                Vec::new()
            }
            // The replica has read it before.
            _ => Vec::new(),
        };
        if own {
            self.untold = Some(position);
            self.give_hint();
        } else if !self.assembly.is_open() {
            let told = self.seat.apply(&records, &position.to_witness())?;
            self.seat.note_slot(position.slot);
            self.note_told(told, position);
        }
        Ok(())
    }

    /// The log has the records up to this ticket.
    fn released(&mut self, through: Ticket) -> Result<(), End> {
        let mut last = None;
        self.gather.on_answered(Instant::now());
        while let Some((_, number)) = self.tickets.pop_front_if(|(ticket, _)| *ticket <= through) {
            last = Some(number);
        }
        match last {
            Some(Some(number)) => {
                if let Some(position) = self.untold.take() {
                    self.seat.note_slot(position.slot);
                    let told = self.seat.stored(number, &position.to_witness())?;
                    self.note_told(told, position);
                }
            }
            // In the middle of a record: a start must read it from its beginning.
            Some(None) => self.untold = None,
            None => {}
        }
        Ok(())
    }

    /// Frames of this node without records: how far the log was read.
    fn tell(&mut self) -> Result<(), End> {
        if let Some(position) = self.untold.take() {
            let told = self.seat.stored(0, &position.to_witness())?;
            self.note_told(told, position);
        }
        Ok(())
    }

    /// The journal has been told, by this record, how far the log was read.
    fn note_told(&mut self, told: Option<u64>, position: Position) {
        if let Some(number) = told {
            self.told = Some((number, position.slot));
        }
    }

    /// Says why this node can't go on, now and then.
    fn complain_of(&mut self, what: &str) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(group = self.group, "{what}");
        }
    }

    /// Has the other nodes read at once.
    fn give_hint(&self) {
        let (client, subject) = (self.client.clone(), self.hint.clone());
        tokio::spawn(async move {
            // Who misses it reads a moment later.
            let _ = client.publish(subject, Bytes::new()).await;
        });
    }

    async fn tick(&mut self) -> Result<(), End> {
        if self.group.is_some() {
            let is_first = (self.hooks.is_preferred)();
            self.replica.set_reluctance(if is_first { Duration::ZERO } else { RELUCTANCE });
            self.ask_to_lead();
        }
        if self.replica.role() != Role::Leading {
            self.seat.mend()?;
        } else {
            self.seat.note_silence();
        }
        if self.replica.role() == Role::Restoring {
            self.find_snapshot();
        } else if self.replica.position().number == 0 {
            if let Err(error) = self.port.state().await {
                self.complain(&error);
            }
        } else if self.held_at.elapsed() >= INTERVAL {
            self.held_at = Instant::now();
            self.tell_holding();
        }
        self.seat.set_figures(self.figures());
        Ok(())
    }

    /// Says why nothing goes on, if there is no log.
    fn complain(&mut self, error: &PortError) {
        if self.now() < Duration::from_secs(2)
            || self.complained.is_some_and(|at| at.elapsed() < COMPLAINT_INTERVAL)
        {
            return;
        }
        self.complained = Some(Instant::now());
        match error {
            PortError::Missing => {
                tracing::error!(
                    group = self.group,
                    "there is no log: commands on keys are refused until `sterna cluster init` has made one"
                );
            }
            error => tracing::warn!(%error, group = self.group, "the log can't be read yet"),
        }
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let position = self.replica.position();
        let role = match self.replica.role() {
            Role::Checking => "checking",
            Role::Following => "following",
            Role::Claiming => "claiming",
            Role::Leading => "leading",
            Role::Restoring => "restoring",
            Role::Stopped(_) => "stopped",
        };
        vec![
            ("cluster_log_role", role.to_owned()),
            ("cluster_log_term", position.term.to_string()),
            ("cluster_log_leader", format!("{:016x}", position.writer)),
            ("cluster_log_frame", position.number.to_string()),
            ("cluster_log_slot", position.read_to.to_string()),
            ("cluster_log_held_slot", self.held.to_string()),
            ("cluster_log_frames", self.counts.frames.to_string()),
            ("cluster_log_records", self.counts.records.to_string()),
            ("cluster_log_led", self.counts.terms.to_string()),
            ("cluster_log_queued_bytes", self.seat.queued_bytes().to_string()),
            ("cluster_snapshots_written", self.counts.snapshots_written.to_string()),
            ("cluster_snapshots_loaded", self.counts.snapshots_loaded.to_string()),
            ("cluster_snapshot_failures", self.counts.snapshot_failures.to_string()),
        ]
    }
}

async fn next(messages: &mut Option<Subscriber>) -> Option<Message> {
    match messages {
        Some(messages) => messages.next().await,
        None => None,
    }
}
