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

use std::time::Instant;

use sterna_keyspace::{Changes, EventClasses, KeyEvent};

use crate::late_events::LateEvents;
use crate::mailbox::Mail;
use crate::parcel::Namespace;
use crate::shard::Shard;

/// Events of one write that are published with it, and bytes of the names that they are about: some 0.5 ms.
const EVENTS_AT_ONCE: usize = 1024;
const NAMES_BYTES_AT_ONCE: usize = 64 << 10;

/// Events that are published between two readings of the clock.
const EVENTS_PER_CLOCK_READ: usize = 32;

impl Shard {
    /// Publishes the events of a write: very many in slices, between which others are served. What is published on this shard
    /// later comes behind them, and its connection waits until they are out.
    pub(super) fn publish_events(&mut self, changes: &mut Changes) {
        let is_little =
            changes.events().len() <= EVENTS_AT_ONCE && changes.names_bytes() <= NAMES_BYTES_AT_ONCE;
        if is_little && self.late_events == 0 {
            for event in changes.events() {
                self.publish_event(event, &mut 0, None);
            }
        } else if changes.events().len() > 0 {
            let late = LateEvents { events: changes.take_events(), told: 0 };
            self.late_events += 1;
            self.post(self.index, Mail::Events(Box::new(late)));
            self.credit.hold_publishers(self.index);
        }
    }

    /// Publishes some of the events of a write; true: that was all.
    pub(crate) fn publish_late(&mut self, late: &mut LateEvents, until: Option<Instant>) -> bool {
        let mut published = 0;
        while let Some(event) = late.events.first() {
            if !self.publish_event(event, &mut late.told, until) {
                return false;
            }
            late.events.advance();
            (late.told, published) = (0, published + 1);
            let reads_clock = published % EVENTS_PER_CLOCK_READ == 0;
            if reads_clock && until.is_some_and(|until| Instant::now() >= until) {
                return late.events.first().is_none();
            }
        }
        true
    }

    /// Publishes one event; false: the time was up before all names that it is about were told of, which `told` are.
    fn publish_event(&mut self, happened: KeyEvent<'_>, told: &mut usize, until: Option<Instant>) -> bool {
        let KeyEvent { event, db, key, subkeys } = happened;
        let (wanted, name) = (self.server.event_classes(), event.name.as_bytes());
        self.end_run();
        if *told == 0 && wanted.contains(EventClasses::KEYSPACE) {
            self.publish_in_database("__keyspace@", db, &[key], name);
        }
        if *told == 0 && wanted.contains(EventClasses::KEYEVENT) {
            self.publish_in_database("__keyevent@", db, &[name], key);
        }
        let is_done = !wanted.intersects(EventClasses::SUBKEYS)
            || subkeys.is_empty()
            || self.publish_subkeys(wanted, happened, told, until);
        self.end_run();
        is_done
    }

    fn publish_subkeys(
        &mut self,
        wanted: EventClasses,
        happened: KeyEvent<'_>,
        told: &mut usize,
        until: Option<Instant>,
    ) -> bool {
        let KeyEvent { event, db, key, subkeys } = happened;
        let (name, list) = (event.name.as_bytes(), subkeys.list());
        if *told == 0 && wanted.contains(EventClasses::SUBKEYSPACE) {
            self.publish_in_database("__subkeyspace@", db, &[key], &[name, b"|", list].concat());
        }
        if *told == 0 && wanted.contains(EventClasses::SUBKEYEVENT) {
            let key = [key.len().to_string().as_bytes(), b":", key].concat();
            self.publish_in_database("__subkeyevent@", db, &[name], &[&key, &b"|"[..], list].concat());
        }
        // Whoever reads the channel's name finds the subkey behind the first LF.
        if wanted.contains(EventClasses::SUBKEYSPACEITEM) && !key.contains(&b'\n') {
            let mut published = 0;
            while let Some(subkey) = subkeys.next_from(told) {
                self.publish_in_database("__subkeyspaceitem@", db, &[key, b"\n", subkey], name);
                published += 1;
                let reads_clock = published % EVENTS_PER_CLOCK_READ == 0;
                if reads_clock && until.is_some_and(|until| Instant::now() >= until) {
                    return false;
                }
            }
        }
        if wanted.contains(EventClasses::SUBKEYSPACEEVENT) {
            self.publish_in_database("__subkeyspaceevent@", db, &[name, b"|", key], list);
        }
        true
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
