//! The thread that talks to other nodes.
//!
//! ```text
//!   letters of shards ──► for each node that listens ──► frames, within its window ──► NATS
//!   NATS ──► frames ──► wait while shards are behind ──► mail of shards ──► `taken` to the sender
//!   SUBSCRIBE waits ──► interest ──► a beat that asks to every live node ──► `known` from all ──► goes on
//! ```
//!
//! # Stages
//! ```text
//!   Starting ── NATS is there ──► Discovering ── DISCOVERY is over ──► Joined
//!      │                              ▲                                  │
//!      └─ START_MAX is over ─► Alone ─┴───────── NATS is lost ◄──────────┘
//! ```
//! While it is not known who is there (Starting, Discovering), SUBSCRIBE waits, and so do letters: a message that was sent then
//! would miss nodes that have subscribers. Alone, nobody waits, and Pub/Sub is this node's own.
//!
//! Invariants
//! - What a node listens to is noted, where shards see it, before it is acknowledged.
//! - Frames of messages leave for a node in the order of their numbers, on one subject.
//! - Nothing is waited for in here: what NATS's client does not take at once is lost and shows in the numbers.

mod figures;
mod listening;
mod peers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{Client, Event, Message, StatusCode, Subject};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{SelectAll, StreamExt};
use sterna_server::{Answer, Answerer, BucketSet, Inlet, LogSeat, Question, WAIT_MAX, bucket_of, forwarded};
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, unconstrained};
use tokio::time::MissedTickBehavior;

use super::frame::{Address, Body, Link, NodeId, read, write, write_on};
use super::incoming::Arrived;
use super::interest::Interest;
use super::leading::Leading;
use super::outgoing::PART_BYTES;
use super::peer::{Peer, Subjects};
use super::questions::{ANSWER_BYTES_MAX, Questions};
use super::shared::Shared;
use crate::connection::{Connections, check_server};

/// How often every node says what it listens to.
const BEAT: Duration = Duration::from_millis(250);

/// How long a node that has reached NATS waits for the others' answers before it believes that it knows them all.
const DISCOVERY: Duration = Duration::from_millis(750);

/// How long a node waits for NATS at its start before it serves alone.
const START_MAX: Duration = Duration::from_secs(3);

/// Interest that nobody has any more is looked for this often, and withdrawn when nobody has asked for it for as long.
const SWEEP: Duration = Duration::from_secs(10);

/// Nodes that are known at most; more are not listened to.
const PEERS_MAX: usize = 128;

/// Frames that wait for shards at most. Windows keep nodes far below it.
const INBOUND_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Frames handed out before other things are looked at.
const FRAMES_PER_TURN: usize = 32;

/// Frames taken from NATS before other things are looked at.
const MESSAGES_PER_TURN: usize = 256;

/// Where subscribers are told that messages are missing.
const GAP_CHANNEL: &[u8] = b"__cluster__:gap";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting { until: Instant },
    Discovering { until: Instant },
    Joined,
    Alone,
}

/// Who asked other nodes.
type OnAnswers = Box<dyn FnOnce(Vec<Answer>) + Send>;

/// Tells those who asked, on threads for slow work.
fn tell_answers(answered: impl IntoIterator<Item = (OnAnswers, Vec<Answer>)>) {
    for (then, answers) in answered {
        spawn_blocking(move || then(answers));
    }
}

/// What a thread for slow work has done.
enum Done {
    Answered { to: NodeId, number: u64, bytes: Vec<u8> },
    Swept(BucketSet),
}

#[derive(Debug, Default)]
struct Counts {
    received: u64,
    unwanted: u64,
    missed: u64,
    gaps: u64,
    unsent: u64,
    unconfirmed: u64,
}

/// See the module.
pub(super) struct Hub {
    pub(super) me: NodeId,
    cluster: String,
    /// What this node is called, for people.
    name: String,
    pub(super) client: Client,
    subjects: Subjects,
    inlet: Inlet,
    answerer: Answerer,
    pub(super) shared: Arc<Shared>,
    connections: Arc<Connections>,
    pub(super) window_bytes: usize,
    length_max: usize,
    stage: Stage,
    is_behind: bool,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    /// Who leads the keys, and clients' sessions there.
    pub(super) leading: Leading,
    interest: Interest<Box<dyn FnOnce() + Send>>,
    /// Frames that wait until shards keep up.
    inbound: VecDeque<(NodeId, Bytes)>,
    inbound_bytes: usize,
    questions: Questions<OnAnswers>,
    swept: Instant,
    is_sweeping: bool,
    logged_gap: Instant,
    done: mpsc::UnboundedSender<Done>,
    counts: Counts,
}

/// What a hub is made of.
pub(super) struct Parts {
    pub(super) me: NodeId,
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) inlet: Inlet,
    pub(super) shared: Arc<Shared>,
    pub(super) connections: Arc<Connections>,
    pub(super) window_bytes: usize,
    pub(super) length_max: usize,
    /// See `cluster-leader`.
    pub(super) leader: String,
    /// Who knows which node leads each group of keys, with `cluster-keys`.
    pub(super) seats: Vec<LogSeat>,
    /// See `cluster-sessions`.
    pub(super) sessions_max: usize,
    /// Where clients reach this node; without a host, where it reaches NATS from.
    pub(super) address: Address,
}

impl Hub {
    /// Runs until the server stops.
    pub(super) async fn run(parts: Parts, mut events: mpsc::UnboundedReceiver<Event>) {
        let (done, mut results) = mpsc::unbounded_channel();
        let mut hub = Hub::new(parts, done);
        let Ok(mut inbox) = hub.subscribe().await else { return };
        let shared = Arc::clone(&hub.shared);
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !shared.is_stopping.load(Ordering::Acquire) {
            tokio::select! {
                () = shared.notify.notified() => {}
                Some(message) = inbox.next() => hub.take_all(message, &mut inbox),
                Some(event) = events.recv() => hub.note_event(&event),
                Some(result) = results.recv() => hub.finish(result),
                _ = ticks.tick() => hub.tick(),
            }
            hub.follow_lead();
            hub.take_wishes();
            hub.hand_out();
            hub.take_letters();
            hub.take_passed();
            hub.send_replies();
            hub.send_frames();
            hub.refresh_behind();
        }
        hub.leave().await;
    }

    fn new(parts: Parts, done: mpsc::UnboundedSender<Done>) -> Hub {
        let now = Instant::now();
        let me = parts.me;
        Hub {
            me,
            leading: Leading::new(
                (parts.leader, parts.seats),
                parts.sessions_max,
                parts.address,
                &parts.inlet,
            ),
            subjects: Subjects::new(&parts.cluster, me),
            cluster: parts.cluster,
            name: parts.name,
            client: parts.client,
            answerer: parts.inlet.answerer(),
            inlet: parts.inlet,
            shared: parts.shared,
            connections: parts.connections,
            window_bytes: parts.window_bytes,
            length_max: parts.length_max,
            stage: Stage::Starting { until: now + START_MAX },
            is_behind: false,
            peers: BTreeMap::new(),
            interest: Interest::new(),
            inbound: VecDeque::new(),
            inbound_bytes: 0,
            questions: Questions::new(),
            swept: now,
            is_sweeping: false,
            logged_gap: now,
            done,
            counts: Counts::default(),
        }
    }

    async fn subscribe(&self) -> Result<SelectAll<async_nats::Subscriber>, async_nats::SubscribeError> {
        let mut inbox = SelectAll::new();
        for subject in [self.subjects.mine(), self.subjects.all.clone(), self.subjects.all_refusals()] {
            inbox.push(self.client.subscribe(subject).await?);
        }
        Ok(inbox)
    }

    pub(super) fn is_joined(&self) -> bool {
        self.stage == Stage::Joined
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Discovering { .. } | Stage::Joined)
    }

    // What comes.

    fn take_all(&mut self, first: Message, inbox: &mut SelectAll<async_nats::Subscriber>) {
        self.take(first);
        for _ in 0..MESSAGES_PER_TURN {
            let Some(Some(message)) = inbox.next().now_or_never() else { break };
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            if let Some(node) = self.subjects.refused(&message.subject) {
                self.lose(node, "it is not connected to NATS");
            }
            return;
        }
        let payload = message.payload;
        let Some((from, link, body)) = read(&payload) else { return };
        if from == self.me || !self.meet(from) {
            return;
        }
        if link == Link::Sessions {
            return self.take_of_sessions(from, &body);
        }
        match body {
            Body::Address { port, tls_port, host } => {
                self.note_address(from, &Address { port, tls_port, host: host.to_owned() })
            }
            Body::Beat(beat) => self.note_beat(from, &beat),
            Body::Known { version } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.acknowledged = peer.acknowledged.max(version.min(self.interest.version()));
                }
                self.refresh_known();
            }
            Body::Leave => {
                self.lose(from, "it has stopped");
                // It is forgotten behind what it has sent before.
                self.inbound_bytes += payload.len();
                self.inbound.push_back((from, payload));
            }
            Body::Messages { .. } | Body::Part { .. } | Body::Tail { .. } => {
                if self.inbound_bytes + payload.len() <= INBOUND_BYTES_MAX {
                    self.inbound_bytes += payload.len();
                    self.inbound.push_back((from, payload));
                }
            }
            Body::Taken { frame } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.outgoing.taken(frame, Instant::now());
                }
            }
            Body::Question { number, bytes } => self.answer(from, number, bytes),
            Body::Answer { number, is_last, bytes } => {
                tell_answers(self.questions.take(from, number, is_last, bytes));
            }
        }
    }

    fn note_event(&mut self, event: &Event) {
        self.connections.note(event);
        match event {
            Event::Connected => {
                // What the others have acknowledged proves nothing about the way on which they are reached now.
                self.peers.values_mut().for_each(|peer| peer.acknowledged = 0);
                self.enter(Stage::Discovering { until: Instant::now() + DISCOVERY });
                self.beat(true);
            }
            Event::Disconnected | Event::Closed => self.enter(Stage::Alone),
            _ => {}
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        if stage == Stage::Alone {
            for peer in self.peers.values_mut() {
                peer.outgoing.cut();
                peer.cut_sessions();
            }
            self.forget_all_sessions();
            tell_answers(self.questions.end_all());
        }
        self.refresh_wanted();
        self.refresh_known();
        self.refresh_behind();
        self.refresh_lead();
        self.show();
    }

    // Messages.

    fn take_letters(&mut self) {
        if matches!(self.stage, Stage::Starting { .. } | Stage::Discovering { .. }) {
            return;
        }
        let is_connected = self.is_connected();
        while let Some(letter) = self.shared.letters.pop() {
            let letter = Bytes::from(letter);
            for message in forwarded(&letter) {
                let bucket = bucket_of(message.channel);
                for peer in self.peers.values_mut().filter(|peer| peer.buckets.contains(bucket)) {
                    if is_connected && peer.is_live {
                        peer.outgoing.push(message.bytes, &letter);
                    } else {
                        peer.outgoing.drop_one();
                    }
                }
            }
            self.shared.letter_bytes.fetch_sub(letter.len(), Ordering::SeqCst);
        }
        self.peers.values_mut().for_each(|peer| peer.outgoing.seal());
    }

    fn send_frames(&mut self) {
        if !self.is_connected() {
            return;
        }
        let now = Instant::now();
        for peer in self.peers.values_mut().filter(|peer| peer.is_live) {
            while let Some(frame) = peer.outgoing.next(now) {
                let sent = self.client.publish(peer.subject.clone(), frame);
                self.counts.unsent += u64::from(!matches!(unconstrained(sent).now_or_never(), Some(Ok(()))));
            }
            while let Some(frame) = peer.sessions_out.next(now) {
                // NATS says at once if the node is gone: somebody waits for its answer.
                let (subject, refusals) = (peer.subject.clone(), peer.refusals.clone());
                let sent = self.client.publish_with_reply(subject, refusals, frame);
                self.counts.unsent += u64::from(!matches!(unconstrained(sent).now_or_never(), Some(Ok(()))));
            }
        }
    }

    /// Hands out what has come, as far as shards keep up.
    fn hand_out(&mut self) {
        for _ in 0..FRAMES_PER_TURN {
            if self.inbound.is_empty() || !self.inlet.keeps_up() {
                return;
            }
            let Some((from, frame)) = self.inbound.pop_front() else { return };
            self.inbound_bytes -= frame.len();
            let Some((_, _, body)) = read(&frame) else { continue };
            if matches!(body, Body::Leave) {
                self.peers.remove(&from);
                self.refresh_wanted();
                continue;
            }
            let Some(peer) = self.peers.get_mut(&from) else { continue };
            let (arrived, missed) = peer.incoming.receive(&body, self.length_max);
            if missed > 0 {
                self.counts.gaps += 1;
                self.counts.missed = self.counts.missed.saturating_add(missed);
                peer.missed = peer.missed.saturating_add(missed);
                peer.untold = peer.untold.saturating_add(missed);
            }
            let messages = match &arrived {
                Arrived::Messages(bytes) => bytes,
                Arrived::Whole(bytes) => &bytes[..],
                Arrived::Nothing => &[],
            };
            for message in forwarded(messages) {
                self.counts.received += 1;
                let is_wanted = self.inlet.deliver(message.kind, message.channel, message.payload);
                self.counts.unwanted += u64::from(!is_wanted);
            }
            self.inlet.mail();
            let is_tail = matches!(body, Body::Tail { .. });
            if is_tail || peer.incoming.owes_taken() {
                self.tell_taken(from);
            }
        }
        // There may be more.
        self.shared.notify.notify_one();
    }

    fn tell_taken(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            let frame = peer.incoming.tell();
            self.send_to(node, &Body::Taken { frame });
        }
    }

    fn refresh_behind(&mut self) {
        let is_over = |peer: &Peer, was_behind: bool| {
            let outgoing = &peer.outgoing;
            outgoing.is_behind()
                || was_behind && !outgoing.is_stalled() && outgoing.bytes() > self.window_bytes / 2
        };
        let mut live = self.peers.values().filter(|peer| peer.is_live);
        self.is_behind = match self.stage {
            Stage::Starting { .. } | Stage::Discovering { .. } | Stage::Alone => false,
            Stage::Joined => live.any(|peer| is_over(peer, self.is_behind)),
        };
        self.shared.is_behind.store(self.is_behind, Ordering::SeqCst);
        if self.shared.has_room_now() && self.shared.is_awaited.swap(false, Ordering::SeqCst) {
            self.inlet.wake_shards();
        }
    }

    // Questions.

    fn ask(&mut self, question: &Question, then: OnAnswers) {
        let live: Vec<NodeId> = match self.is_connected() {
            true => self.peers.iter().filter(|(_, peer)| peer.is_live).map(|(id, _)| *id).collect(),
            false => Vec::new(),
        };
        if live.is_empty() {
            spawn_blocking(move || then(Vec::new()));
            return;
        }
        let mut bytes = Vec::new();
        question.write(&mut bytes);
        let number = self.questions.begin(&live, Instant::now() + WAIT_MAX, then);
        live.iter().for_each(|node| self.send_to(*node, &Body::Question { number, bytes: &bytes }));
    }

    fn answer(&self, to: NodeId, number: u64, bytes: &[u8]) {
        let Some(question) = Question::read(bytes) else { return };
        let (answerer, done) = (self.answerer.clone(), self.done.clone());
        spawn_blocking(move || {
            let mut bytes = Vec::new();
            answerer.answer(&question).write(&mut bytes);
            // Without a receiver the server is stopping.
            let _ = done.send(Done::Answered { to, number, bytes });
        });
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Answered { to, number, bytes } => {
                // One that is too long is none: an empty one.
                let bytes = if bytes.len() > ANSWER_BYTES_MAX { &[] } else { &bytes[..] };
                let last = bytes.len().saturating_sub(1) / PART_BYTES;
                for (at, part) in bytes.chunks(PART_BYTES).enumerate() {
                    self.send_to(to, &Body::Answer { number, is_last: at == last, bytes: part });
                }
                if bytes.is_empty() {
                    self.send_to(to, &Body::Answer { number, is_last: true, bytes: &[] });
                }
            }
            Done::Swept(subscribed) => {
                self.is_sweeping = false;
                self.withdraw(&subscribed);
            }
        }
    }

    // The clock.

    fn tick(&mut self) {
        let now = Instant::now();
        match self.stage {
            Stage::Starting { until } if now >= until => {
                tracing::warn!("NATS is not there: Pub/Sub stays on this node until it is");
                self.enter(Stage::Alone);
            }
            Stage::Discovering { until } if now >= until => match check_server(&self.client.server_info()) {
                Ok(()) => self.enter(Stage::Joined),
                Err(error) => {
                    tracing::error!("{error}: Pub/Sub stays on this node");
                    self.enter(Stage::Alone);
                }
            },
            _ => {}
        }
        self.beat(matches!(self.stage, Stage::Discovering { .. }));
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            self.tend(node, now);
        }
        self.refresh_known();
        self.refresh_lead();
        tell_answers(self.questions.give_up_late(now));
        if !self.is_sweeping && now.saturating_duration_since(self.swept) >= SWEEP {
            (self.swept, self.is_sweeping) = (now, true);
            let (answerer, done) = (self.answerer.clone(), self.done.clone());
            spawn_blocking(move || done.send(Done::Swept(answerer.buckets())));
        }
        self.show();
    }

    fn send_to(&mut self, node: NodeId, body: &Body<'_>) {
        if let Some(peer) = self.peers.get(&node) {
            let subject = peer.subject.clone();
            self.send(subject, write(self.me, body).into());
        }
    }

    pub(super) fn send_on(&mut self, link: Link, node: NodeId, body: &Body<'_>) {
        if let Some(peer) = self.peers.get(&node) {
            let subject = peer.subject.clone();
            self.send(subject, write_on(self.me, link, body).into());
        }
    }

    pub(super) fn send(&mut self, subject: Subject, bytes: Bytes) {
        if self.is_connected() {
            let sent = self.client.publish(subject, bytes);
            self.counts.unsent += u64::from(!matches!(unconstrained(sent).now_or_never(), Some(Ok(()))));
        }
    }

    /// Sends what shards have handed over, and says that this node leaves.
    async fn leave(mut self) {
        self.take_letters();
        for peer in self.peers.values_mut().filter(|peer| peer.is_live) {
            let mut next =
                || peer.outgoing.next(Instant::now()).or_else(|| peer.sessions_out.next(Instant::now()));
            while let Some(frame) = next() {
                let _ =
                    tokio::time::timeout(LEAVE_MAX, self.client.publish(peer.subject.clone(), frame)).await;
            }
            // What the window has no room for is lost, and known to be.
            peer.outgoing.cut();
            if let Some(tail) = peer.outgoing.tail() {
                let _ =
                    tokio::time::timeout(LEAVE_MAX, self.client.publish(peer.subject.clone(), tail)).await;
            }
        }
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            self.send_to(node, &Body::Leave);
        }
        if self.is_connected() {
            let _ = tokio::time::timeout(LEAVE_MAX, self.client.flush()).await;
        }
    }
}

/// How long a node that stops waits for NATS.
const LEAVE_MAX: Duration = Duration::from_secs(1);
