//! Which nodes are there: met, silent for long, lost and forgotten.

use std::time::{Duration, Instant};

use sterna_server::ChannelKind;

use super::{GAP_CHANNEL, Hub, PEERS_MAX, tell_answers};
use crate::pubsub::frame::{Beat, Body, Link, NodeId};
use crate::pubsub::outgoing::{Outgoing, PART_BYTES, STALL};
use crate::pubsub::peer::{FORGOTTEN_AFTER, LOST_AFTER, Peer};

impl Hub {
    /// Notes that a node is there; false if there are too many.
    pub(super) fn meet(&mut self, node: NodeId) -> bool {
        let now = Instant::now();
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.received = now;
            if std::mem::replace(&mut peer.is_live, true) {
                return true;
            }
            peer.acknowledged = 0;
            tracing::info!(%node, name = %peer.name, "another node is back");
        } else {
            if self.peers.len() >= PEERS_MAX && !self.forget_one() {
                return false;
            }
            let part_bytes = PART_BYTES.min(self.client.max_payload() / 4);
            let outgoing = |link| Outgoing::new((self.me, link), self.window_bytes, part_bytes, now);
            let outgoing = (outgoing(Link::Messages), outgoing(Link::Sessions));
            self.peers.insert(node, Peer::new(&self.subjects, node, outgoing, now));
        }
        self.refresh_known();
        self.ask_to_know(node);
        true
    }

    /// Forgets the node that was lost first; false if none is lost.
    fn forget_one(&mut self) -> bool {
        let lost = self.peers.iter().filter(|(_, peer)| !peer.is_live);
        let Some(node) = lost.min_by_key(|(_, peer)| peer.received).map(|(node, _)| *node) else {
            return false;
        };
        self.peers.remove(&node);
        self.refresh_wanted();
        self.forget_sessions_of(node);
        true
    }

    pub(super) fn note_beat(&mut self, from: NodeId, beat: &Beat<'_>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.name.is_empty() && !beat.name.is_empty() {
            beat.name.clone_into(&mut peer.name);
            tracing::info!(node = %from, name = beat.name, "another node is there");
        }
        // Beats come on two subjects, and one may be overtaken.
        if beat.version > peer.version {
            (peer.version, peer.buckets) = (beat.version, beat.buckets);
            self.refresh_wanted();
        }
        if beat.asks {
            self.send_to(from, &Body::Known { version: beat.version });
        }
        if beat.is_hello {
            self.ask_to_know(from);
        }
    }

    /// A node is gone, or can't be reached: nobody waits for it any more.
    pub(super) fn lose(&mut self, node: NodeId, why: &str) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_live) else { return };
        peer.is_live = false;
        peer.outgoing.cut();
        peer.cut_sessions();
        tracing::warn!(%node, name = %peer.name, "another node is lost: {why}");
        self.forget_sessions_of(node);
        self.refresh_lead();
        self.refresh_known();
        tell_answers(self.questions.note_lost(node));
    }

    pub(super) fn tend(&mut self, node: NodeId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let silent = now.saturating_duration_since(peer.received);
        if silent >= FORGOTTEN_AFTER {
            self.peers.remove(&node);
            self.forget_sessions_of(node);
            return self.refresh_wanted();
        }
        if peer.outgoing.check_stall(now) {
            let seconds = STALL.as_secs();
            tracing::warn!(%node, name = %peer.name, "another node has taken nothing for {seconds} s: messages to it are dropped");
        }
        let untold = std::mem::take(&mut peer.untold);
        if untold > 0 {
            self.tell_gap(node, untold, now);
        }
        if silent >= LOST_AFTER {
            return self.lose(node, "nothing has been received from it for some seconds");
        }
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_live) else { return };
        let (tail, is_untold) = (peer.outgoing.tail(), peer.incoming.is_untold());
        let of_sessions = (peer.sessions_out.tail(), peer.sessions_in.is_untold());
        let (subject, lacks) = (peer.subject.clone(), peer.acknowledged < self.interest.version());
        if let Some(tail) = tail {
            self.send(subject, tail);
        }
        if is_untold {
            self.tell_taken(node);
        }
        self.tend_sessions(node, of_sessions, now);
        // NATS says at once if nobody is there any more: clients wait for the node that leads.
        if lacks || self.leading.is_leader(node) {
            self.ask_to_know(node);
        }
    }

    /// Tells who wants to know that messages of a node are missing.
    pub(super) fn tell_gap(&mut self, node: NodeId, missed: u64, now: Instant) {
        let name = self.peers.get(&node).map_or("", |peer| &peer.name);
        if now.saturating_duration_since(self.logged_gap) >= Duration::from_secs(1) {
            self.logged_gap = now;
            tracing::warn!(%node, name, missed, "messages of another node are missing here");
        }
        let shown: String = name.chars().filter(|c| !c.is_control() && *c != '"' && *c != '\\').collect();
        let text = format!(r#"{{"node":"{node}","name":"{shown}","missed":{missed}}}"#);
        self.inlet.deliver(ChannelKind::Plain, GAP_CHANNEL, text.as_bytes());
        self.inlet.mail();
    }
}
