//! Keyspace events, published where `notify-keyspace-events` says.
//!
//! | letter | channel | message |
//! |---|---|---|
//! | `K` | `__keyspace@<db>__:<key>` | event |
//! | `E` | `__keyevent@<db>__:<event>` | key |
//! | `S` | `__subkeyspace@<db>__:<key>` | event, <code>&#124;</code>, subkeys |
//! | `T` | `__subkeyevent@<db>__:<event>` | key as a subkey, <code>&#124;</code>, subkeys |
//! | `I` | `__subkeyspaceitem@<db>__:<key>`, LF, subkey: one for each, unless the key has an LF | event |
//! | `V` | `__subkeyspaceevent@<db>__:<event>`, <code>&#124;</code>, key | subkeys |
//!
//! Subkeys are the fields of a hash that the event is about, each as `<bytes>:<name>`, with commas between; an event that is
//! about none goes to `K` and `E` only.
//!
//! Source: redis.io/docs/latest/develop/pubsub/subkeyspace-notifications.

use sterna_keyspace::{EventClasses, KeyEvent};

use crate::parcel::Namespace;
use crate::shard::Shard;

impl Shard {
    /// Publishes one event.
    pub(super) fn publish_event(&mut self, happened: KeyEvent<'_>) {
        let KeyEvent { event, db, key, subkeys } = happened;
        let (wanted, name) = (self.server.event_classes(), event.name.as_bytes());
        self.end_run();
        if wanted.contains(EventClasses::KEYSPACE) {
            self.publish_in_database("__keyspace@", db, &[key], name);
        }
        if wanted.contains(EventClasses::KEYEVENT) {
            self.publish_in_database("__keyevent@", db, &[name], key);
        }
        if wanted.intersects(EventClasses::SUBKEYS) && !subkeys.is_empty() {
            self.publish_subkeys(wanted, happened);
        }
        self.end_run();
    }

    fn publish_subkeys(&mut self, wanted: EventClasses, happened: KeyEvent<'_>) {
        let KeyEvent { event, db, key, subkeys } = happened;
        let (name, list) = (event.name.as_bytes(), subkeys.list());
        if wanted.contains(EventClasses::SUBKEYSPACE) {
            self.publish_in_database("__subkeyspace@", db, &[key], &[name, b"|", list].concat());
        }
        if wanted.contains(EventClasses::SUBKEYEVENT) {
            let key = [key.len().to_string().as_bytes(), b":", key].concat();
            self.publish_in_database("__subkeyevent@", db, &[name], &[&key, &b"|"[..], list].concat());
        }
        // Whoever reads the channel's name finds the subkey behind the first LF.
        if wanted.contains(EventClasses::SUBKEYSPACEITEM) && !key.contains(&b'\n') {
            for subkey in subkeys.iter() {
                self.publish_in_database("__subkeyspaceitem@", db, &[key, b"\n", subkey], name);
            }
        }
        if wanted.contains(EventClasses::SUBKEYSPACEEVENT) {
            self.publish_in_database("__subkeyspaceevent@", db, &[name, b"|", key], list);
        }
    }

    fn publish_in_database(&mut self, prefix: &str, db: usize, rest: &[&[u8]], message: &[u8]) {
        let mut channel = format!("{prefix}{db}__:").into_bytes();
        rest.iter().for_each(|part| channel.extend_from_slice(part));
        if self.passing.is_some() {
            self.publish(Namespace::Channels, &channel, message);
        } else {
            // Keys are each node's own, and so is what happens to them.
            self.publish_here(Namespace::Channels, &channel, message, None);
        }
    }
}
