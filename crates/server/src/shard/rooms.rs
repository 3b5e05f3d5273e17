//! A shard's part in rooms: who comes, who goes, and what cache channels keep. The steps are those of `pages/mod.rs`.

use std::sync::Arc;

use sterna_keyspace::stream::EntryId;
use sterna_protocol::pusher::{self, ChannelKind};

use crate::config::PusherApp;
use crate::connection::Dialect;
use crate::connection::chunk::Range;
use crate::connection::state::ConnectionRef;
use crate::parcel::Namespace;
use crate::shard::Shard;

impl Shard {
    /// A connection of `user`'s, which is not in the index any more, leaves a presence channel.
    pub(super) fn leave_room(&mut self, app: &PusherApp, channel: &[u8], user: &str) {
        self.end_run();
        let server = Arc::clone(&self.server);
        let mut room = server.pages.rooms.lock(channel);
        if room.leave(channel, user) {
            let inside = String::from_utf8_lossy(&channel[app.prefix.len().min(channel.len())..]);
            let mut frame = Vec::new();
            pusher::member_removed(&mut frame, &inside, user);
            self.tell_room(channel, &frame, None);
        }
    }

    /// Sends a frame to the pages that are subscribed to a channel, but for one of this shard. Its room is locked, and runs have
    /// ended.
    pub(super) fn tell_room(&mut self, channel: &[u8], frame: &[u8], except: Option<ConnectionRef>) {
        self.deliver_to_pages(channel, frame, except);
        let hash = sterna_pubsub::hash(channel);
        let shards = self.server.directory.channels.elsewhere(hash, channel, self.index).shards;
        if shards != 0 {
            self.mail_to_pages(shards, channel, frame);
        }
        self.mail_outbox();
    }

    /// Hands a frame out to the pages of this shard that are subscribed to a channel; to how many.
    pub(super) fn deliver_to_pages(
        &mut self,
        channel: &[u8],
        frame: &[u8],
        except: Option<ConnectionRef>,
    ) -> usize {
        let Shard { fanout, connections, channels, flusher, current, .. } = self;
        let members = channels.subscribers_hashed(sterna_pubsub::hash(channel), channel);
        let (mut range, mut count): (Option<Range>, usize) = (None, 0);
        for &slot in members.map_or(&[][..], |members| members.as_slice()) {
            let connection = &mut connections[slot as usize];
            if connection.dialect() != Dialect::Pusher || except == Some(connection.me) {
                continue;
            }
            count += 1;
            let range = range.get_or_insert_with(|| fanout.append_for_pages(frame)).clone();
            if current.who == Some(connection.me) {
                current.deferred.push(range);
            } else {
                flusher.push(connection, range);
            }
        }
        count
    }

    /// Whether a channel keeps its last event.
    #[inline]
    pub(super) fn is_cache(&self, channel: &[u8]) -> bool {
        let apps = &self.config.pusher_app;
        apps.prefix_of(channel).is_some_and(|prefix| ChannelKind::of(&channel[prefix.len()..]).is_cache)
    }

    /// Publishes to a channel that keeps its last event.
    pub(super) fn publish_to_cache(&mut self, channel: &[u8], payload: &[u8], id: Option<EntryId>) -> usize {
        let server = Arc::clone(&self.server);
        let mut room = server.pages.rooms.lock(channel);
        room.keep(channel, payload, self.clock.now_ms);
        let deliveries = self.publish_anew(Namespace::Channels, channel, payload, id);
        self.end_run();
        self.mail_outbox();
        deliveries
    }
}
