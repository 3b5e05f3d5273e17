//! What is listened to here and elsewhere: beats, wishes of shards, what is withdrawn.

use std::time::Instant;

use futures_util::FutureExt;
use sterna_server::{BucketSet, WAIT_MAX};
use tokio::task::unconstrained;

use super::{Hub, SWEEP, Stage};
use crate::pubsub::frame::{Beat, Body, NodeId, write};
use crate::pubsub::shared::Wish;

impl Hub {
    /// What shards hand over: what anybody elsewhere listens to, lost nodes included, whose loss is counted for them.
    pub(super) fn refresh_wanted(&self) {
        let wanted = match self.stage {
            Stage::Starting { .. } | Stage::Discovering { .. } => BucketSet::all(),
            Stage::Joined | Stage::Alone => {
                self.peers.values().fold(BucketSet::default(), |all, peer| all.union(&peer.buckets))
            }
        };
        self.shared.set_wanted(&wanted);
    }

    pub(super) fn known(&self) -> BucketSet {
        match self.stage {
            Stage::Starting { .. } | Stage::Discovering { .. } => BucketSet::default(),
            // Nobody else has to know, but what is listened to is noted: for when NATS is back.
            Stage::Alone => self.interest.known(u64::MAX),
            Stage::Joined => {
                let live = self.peers.values().filter(|peer| peer.is_live);
                self.interest.known(live.map(|peer| peer.acknowledged).min().unwrap_or(u64::MAX))
            }
        }
    }

    pub(super) fn refresh_known(&mut self) {
        let known = self.known();
        self.shared.set_known(&known);
        for (then, is_in_vain) in self.interest.let_go(&known, Instant::now()) {
            self.counts.unconfirmed += u64::from(is_in_vain);
            then();
        }
    }

    pub(super) fn take_wishes(&mut self) {
        let mut has_grown = false;
        while let Some(wish) = self.shared.wishes.pop() {
            match wish {
                Wish::Listen(buckets, then) => {
                    has_grown |= self.interest.add(&buckets);
                    self.interest.wait(buckets, Instant::now() + WAIT_MAX, then);
                }
                Wish::Ask(question, then) => self.ask(&question, then),
            }
        }
        if has_grown {
            for node in self.peers.keys().copied().collect::<Vec<_>>() {
                self.ask_to_know(node);
            }
        }
        if self.interest.has_waiters() {
            self.refresh_known();
        }
    }

    fn my_beat(&self, asks: bool, is_hello: bool) -> Vec<u8> {
        let (version, buckets) = (self.interest.version(), *self.interest.buckets());
        let beat = Beat { asks, is_hello, version, buckets, name: &self.name };
        write(self.me, &Body::Beat(beat))
    }

    /// Tells a node what is listened to here, and asks it to say that it knows.
    pub(super) fn ask_to_know(&mut self, node: NodeId) {
        let beat = self.my_beat(true, false);
        let Some(peer) = self.peers.get(&node).filter(|peer| peer.is_live) else { return };
        if self.is_connected() {
            let sent =
                self.client.publish_with_reply(peer.subject.clone(), peer.refusals.clone(), beat.into());
            self.counts.unsent += u64::from(!matches!(unconstrained(sent).now_or_never(), Some(Ok(()))));
        }
    }

    pub(super) fn beat(&mut self, is_hello: bool) {
        if self.is_connected() {
            let beat = self.my_beat(false, is_hello);
            self.send(self.subjects.all.clone(), beat.into());
            if let Some(address) = self.my_address(is_hello) {
                self.send(self.subjects.all.clone(), address.into());
            }
        }
    }

    /// Withdraws what nobody here is subscribed to, and has not asked for lately.
    pub(super) fn withdraw(&mut self, subscribed: &BucketSet) {
        if self.interest.add(subscribed) {
            self.refresh_known();
        }
        let within_s = SWEEP.as_secs() as u32;
        let is_unused = |hub: &Hub, bucket: u8| {
            !subscribed.contains(bucket) && !hub.shared.is_asked_for(bucket, within_s)
        };
        let mut kept = BucketSet::default();
        let buckets = *self.interest.buckets();
        buckets.iter().filter(|bucket| !is_unused(self, *bucket)).for_each(|bucket| kept.insert(bucket));
        if kept == buckets {
            return;
        }
        if matches!(self.stage, Stage::Joined | Stage::Alone) {
            // Not known any more, before it is looked once more whether somebody has asked.
            let known = self.known();
            self.shared.set_known(&BucketSet(std::array::from_fn(|word| known.0[word] & kept.0[word])));
        }
        buckets.iter().filter(|bucket| !is_unused(self, *bucket)).for_each(|bucket| kept.insert(bucket));
        self.interest.retain(&kept);
        self.refresh_known();
    }
}
