//! What INFO shows of the hub.

use std::sync::atomic::Ordering;

use super::{Hub, Stage};
use crate::pubsub::peer::Peer;

impl Hub {
    /// What INFO shows.
    pub(super) fn show(&self) {
        let state = match self.stage {
            Stage::Starting { .. } => "connecting",
            Stage::Discovering { .. } => "discovering",
            Stage::Joined => "connected",
            Stage::Alone => "disconnected",
        };
        let info = self.client.server_info();
        let live = self.peers.values().filter(|peer| peer.is_live).count();
        let sum = |of: &dyn Fn(&Peer) -> u64| self.peers.values().map(of).sum::<u64>();
        let relaxed = Ordering::Relaxed;
        let mut figures = vec![
            ("cluster_name", self.cluster.clone()),
            ("cluster_node_id", self.me.to_string()),
            ("cluster_node_name", self.name.clone()),
            ("cluster_state", state.to_owned()),
            ("cluster_nats_server", format!("{} {}", info.server_name, info.version)),
            ("cluster_nats_connects", self.connections.made.load(relaxed).to_string()),
            ("cluster_nats_disconnects", self.connections.lost.load(relaxed).to_string()),
            ("cluster_nodes", (live + 1).to_string()),
            ("cluster_buckets", self.interest.buckets().len().to_string()),
            ("cluster_sent_messages", sum(&|peer| peer.outgoing.messages).to_string()),
            ("cluster_dropped_messages", sum(&|peer| peer.outgoing.dropped).to_string()),
            ("cluster_pending_bytes", sum(&|peer| peer.outgoing.bytes() as u64).to_string()),
            ("cluster_received_messages", self.counts.received.to_string()),
            ("cluster_unwanted_messages", self.counts.unwanted.to_string()),
            ("cluster_missed_messages", self.counts.missed.to_string()),
            ("cluster_gaps", self.counts.gaps.to_string()),
            ("cluster_unsent_frames", self.counts.unsent.to_string()),
            ("cluster_unconfirmed_subscribes", self.counts.unconfirmed.to_string()),
            ("cluster_unanswered_questions", self.questions.unanswered().to_string()),
        ];
        figures.extend(self.figures_of_leading());
        for (id, peer) in &self.peers {
            let state = match (peer.is_live, peer.outgoing.is_stalled()) {
                (false, _) => "lost",
                (true, true) => "stalled",
                (true, false) => "live",
            };
            let (name, pending, missed) = (&peer.name, peer.outgoing.bytes(), peer.missed);
            let buckets = peer.buckets.len();
            let text = format!(
                "id={id},name={name},state={state},buckets={buckets},pending={pending},missed={missed}"
            );
            figures.push(("cluster_node", text));
        }
        self.show_members();
        if let Ok(mut shown) = self.shared.figures.lock() {
            *shown = figures;
        }
    }
}
