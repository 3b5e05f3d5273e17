//! What nodes keep for each other: how far the journal of each has the log, so that it can be trimmed, and snapshots, from which one goes on that
//! lacks what was trimmed.

use std::time::{Duration, Instant};

use super::super::snapshots::{Came, Fetched, KEPT, SnapshotError, Snapshots};
use super::super::trim::{Holding, first_that_stays};
use super::super::{Frame, Position, Read, Role, Source, StreamState};
use super::{Driver, End, Input};

/// How long it waits until it tries again to write a snapshot for the other nodes.
const WRITE_AGAIN: Duration = Duration::from_secs(30);

/// How long until it looks again for one that it can begin with.
const FETCH_AGAIN: Duration = Duration::from_secs(2);

/// Snapshots that nodes keep for each other.
pub(super) struct Shared {
    pub(super) thread: Snapshots,
    /// One is being written, or looked for.
    pub(super) is_busy: bool,
    /// Not before then again.
    pub(super) again: Instant,
    /// Bytes of frames that were accepted since the last one was begun that was written.
    pub(super) grown_bytes: u64,
    /// The same when the one was begun that is being written.
    pub(super) begun_at_bytes: u64,
    /// Who leads, while this node looks for a snapshot; 0: that is not known.
    pub(super) leader: u64,
    /// The last ones that this node has written and read back while it leads, the newest first: as many as are kept.
    pub(super) verified: Vec<Position>,
}

impl Driver {
    pub(super) fn note_holding(&mut self, bytes: &[u8]) {
        let holding = Holding::decode(bytes);
        if let Some(holding) = holding.filter(|of| of.incarnation == self.replica.position().incarnation) {
            let now = self.now();
            self.holders.note(holding.node, holding.slot, now);
            if self.group.is_some() {
                (self.hooks.on_holder)(holding.node);
            }
        }
    }

    /// Tells the others how far this node's journal has the log. If it leads, looks how large that is.
    pub(super) fn tell_holding(&mut self) {
        if let Some((_, slot)) = self.syncing.take_if(|(number, _)| self.seat.is_durable(*number)) {
            self.held = slot;
        }
        if self.syncing.is_none() {
            self.syncing = self.told.take();
        }
        if let Some((number, _)) = self.syncing {
            self.seat.sync(number);
        }
        let Position { incarnation, .. } = *self.replica.position();
        let holding = Holding { incarnation, node: self.me, slot: self.held };
        self.note_holding(&holding.encode());
        let (client, subject, inputs) = (self.client.clone(), self.holding.clone(), self.inputs.clone());
        let leads = self.bytes_max > 0 && self.replica.role() == Role::Leading;
        let port = leads.then(|| self.port.clone());
        tokio::spawn(async move {
            // Who misses it is told again.
            let _ = client.publish(subject, holding.encode().into()).await;
            if let Some(port) = port
                && let Ok(state) = port.state().await
            {
                let _ = inputs.send(Input::State(state));
            }
        });
    }

    /// Has the log trimmed, if it is larger than it may be, to what not all nodes have.
    pub(super) fn trim(&mut self, state: &StreamState) {
        let now = self.now();
        let mut held = self.holders.held(now);
        if let Some(shared) = &mut self.shared {
            let behind = if shared.verified.is_empty() { state.bytes } else { shared.grown_bytes };
            if !shared.is_busy && Instant::now() >= shared.again && behind > self.bytes_max / 4 {
                shared.is_busy = true;
                shared.begun_at_bytes = shared.grown_bytes;
                shared.thread.write();
            }
            // What goes is in all that are kept, so that one that is damaged later does no harm; and no node that runs lacks it.
            let kept = shared.verified.get(KEPT - 1).map(|position| position.slot);
            held = kept.map(|slot| self.holders.lowest(now).map_or(slot, |lowest| lowest.min(slot)));
        }
        if let Some(slot) = held.and_then(|held| first_that_stays(state, self.bytes_max, held)) {
            let position = *self.replica.position();
            self.replica.snapshot_verified(&Position { slot, ..position });
        }
    }

    pub(super) fn note_written(&mut self, written: Result<Position, SnapshotError>) {
        let leads = self.replica.role() == Role::Leading;
        let incarnation = self.replica.position().incarnation;
        let Some(shared) = &mut self.shared else { return };
        shared.is_busy = false;
        match written {
            Ok(position) => {
                self.counts.snapshots_written += 1;
                shared.grown_bytes -= shared.begun_at_bytes;
                if leads && position.incarnation == incarnation {
                    shared.verified.insert(0, position);
                    shared.verified.truncate(KEPT);
                }
            }
            Err(error) => {
                tracing::error!(%error, group = self.group, "no snapshot is written for the other nodes: the log is not trimmed meanwhile");
                self.counts.snapshot_failures += 1;
                shared.again = Instant::now() + WRITE_AGAIN;
            }
        }
    }

    /// Looks for a snapshot that goes as far as the log begins.
    pub(super) fn find_snapshot(&mut self) {
        let Some(shared) = &mut self.shared else { return };
        if shared.is_busy || Instant::now() < shared.again {
            return;
        }
        (shared.is_busy, shared.again) = (true, Instant::now() + FETCH_AGAIN);
        let (port, inputs) = (self.port.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let Ok(StreamState { incarnation: Some(incarnation), first, last, .. }) = port.state().await
            else {
                let _ = inputs.send(Input::Came(Came::Fetched(Ok(None))));
                return;
            };
            let frame = match port.read(last, Source::Leader).await {
                Read::Slots(slots) => slots.into_iter().next(),
                _ => None,
            };
            let writer = frame.and_then(|(_, frame)| Frame::decode(&frame).ok().map(|frame| frame.writer));
            let _ = inputs.send(Input::Beginning { incarnation, first, writer: writer.unwrap_or(0) });
        });
    }

    /// Goes on from a snapshot, if one was found.
    pub(super) fn begin_with(&mut self, fetched: Result<Option<Fetched>, SnapshotError>) -> Result<(), End> {
        let now = self.now();
        let Some(shared) = &mut self.shared else { return Ok(()) };
        shared.is_busy = false;
        let fetched = match fetched {
            Ok(Some(fetched)) if self.replica.role() == Role::Restoring => fetched,
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {
                self.complain_of(
                    "there is no snapshot that goes as far as the log begins: this node waits for one",
                );
                return Ok(());
            }
            Err(error) => {
                self.counts.snapshot_failures += 1;
                self.complain_of(&format!("no snapshot can be read: {error}"));
                return Ok(());
            }
        };
        if self.replica.restore_from(fetched.position, now) {
            self.assembly.clear();
            self.tickets.clear();
            self.untold = None;
            let began = Instant::now();
            let told = self.seat.become_copy(&fetched.directory, &fetched.witness)?;
            self.seat.note_slot(fetched.position.slot);
            self.note_told(told, fetched.position);
            self.counts.snapshots_loaded += 1;
            let (slot, ms) = (fetched.position.slot, began.elapsed().as_millis() as u64);
            tracing::info!(
                slot,
                ms,
                group = self.group,
                "a snapshot of another node is loaded: this one goes on with the log"
            );
        }
        // Else the replica stops, or looks for a later one.
        let _ = std::fs::remove_dir_all(&fetched.directory);
        Ok(())
    }
}
