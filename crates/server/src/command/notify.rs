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

use crate::late_events::{LateEvents, Told};
use crate::mailbox::Mail;
use crate::parcel::Namespace;
use crate::shard::Shard;

/// Events of one write that are published with it, and bytes of the names that they are about: some 0.5 ms.
pub(super) const EVENTS_AT_ONCE: usize = 1024;
pub(super) const NAMES_BYTES_AT_ONCE: usize = 64 << 10;

/// Deliveries of a turn behind which no event is published at once: thousands may listen to each. Some 0.5 ms.
const DELIVERIES_AT_ONCE: u64 = 32_768;

/// Events that are published between two readings of the clock.
const EVENTS_PER_CLOCK_READ: usize = 32;

/// The classes in the order in which an event is published to their channels, and whether these are about subkeys.
const CLASSES: [(EventClasses, bool); 6] = [
    (EventClasses::KEYSPACE, false),
    (EventClasses::KEYEVENT, false),
    (EventClasses::SUBKEYSPACE, true),
    (EventClasses::SUBKEYEVENT, true),
    (EventClasses::SUBKEYSPACEITEM, true),
    (EventClasses::SUBKEYSPACEEVENT, true),
];

impl Shard {
    /// Publishes the events of a write: very many in slices, between which others are served, and so those of which very many are told,
    /// and one whose patterns take long to find. What is published on this shard later comes behind them, and its connection waits until they are out.
    pub(super) fn publish_events(&mut self, changes: &mut Changes) {
        let is_little =
            changes.events().len() <= EVENTS_AT_ONCE && changes.names_bytes() <= NAMES_BYTES_AT_ONCE;
        let (mut published, mut told) = (0, Told::default());
        if is_little && self.own_letters == 0 && self.wide.is_empty() {
            for event in changes.events() {
                let has_time = self.deliveries_now() < DELIVERIES_AT_ONCE;
                if !has_time || !self.publish_event(event, &mut told, None) {
                    break;
                }
                (published, told) = (published + 1, Told::default());
            }
        }
        if published < changes.events().len() {
            // What a script publishes next comes behind them.
            self.end_run();
            let mut late = LateEvents { events: changes.take_events(), told };
            (0..published).for_each(|_| late.events.advance());
            self.note_own_letter();
            self.late_events.put += 1;
            self.post(self.index, Mail::Events(Box::new(late)));
            self.credit.hold_publishers(self.index);
        }
    }

    /// Publishes some of the events of a write; true: that was all.
    pub(crate) fn publish_late(&mut self, late: &mut LateEvents, until: Option<Instant>) -> bool {
        let mut published = 0;
        // Those by very many patterns are handed out before the next.
        while self.hand_out_wide(until)
            && let Some(event) = late.events.first()
        {
            let is_done = self.publish_event(event, &mut late.told, until);
            if is_done {
                late.events.advance();
                (late.told, published) = (Told::default(), published + 1);
            }
            let is_much = self.deliveries_now() >= DELIVERIES_AT_ONCE;
            let reads_clock = is_much || !is_done || published % EVENTS_PER_CLOCK_READ == 0;
            if reads_clock && until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
        late.events.first().is_none()
    }

    /// Publishes one event; false: it is to be gone on with, since the time was up or the patterns of a channel take long to find.
    fn publish_event(&mut self, happened: KeyEvent<'_>, told: &mut Told, until: Option<Instant>) -> bool {
        let KeyEvent { event, db, key, subkeys } = happened;
        let (wanted, name, list) = (self.server.event_classes(), event.name.as_bytes(), subkeys.list());
        let has_subkeys = wanted.intersects(EventClasses::SUBKEYS) && !subkeys.is_empty();
        self.end_run();
        while let Some(&(class, is_of_subkeys)) = CLASSES.get(told.classes) {
            let is_wanted = wanted.contains(class) && (has_subkeys || !is_of_subkeys);
            let is_done = !is_wanted
                || match class {
                    EventClasses::KEYSPACE => {
                        self.publish_about("__keyspace@", db, &[key], name, told, until)
                    }
                    EventClasses::KEYEVENT => {
                        self.publish_about("__keyevent@", db, &[name], key, told, until)
                    }
                    EventClasses::SUBKEYSPACE => {
                        let message = [name, b"|", list].concat();
                        self.publish_about("__subkeyspace@", db, &[key], &message, told, until)
                    }
                    EventClasses::SUBKEYEVENT => {
                        let message = [key.len().to_string().as_bytes(), b":", key, b"|", list].concat();
                        self.publish_about("__subkeyevent@", db, &[name], &message, told, until)
                    }
                    EventClasses::SUBKEYSPACEITEM => self.publish_about_each(happened, told, until),
                    _ => self.publish_about("__subkeyspaceevent@", db, &[name, b"|", key], list, told, until),
                };
            if !is_done {
                self.end_run();
                return false;
            }
            told.classes += 1;
            if !self.wide.is_empty() && told.classes < CLASSES.len() {
                self.end_run();
                return false;
            }
        }
        self.end_run();
        true
    }

    /// Publishes an event to the channels of the subkeys that it is about; false: there are more.
    fn publish_about_each(
        &mut self,
        happened: KeyEvent<'_>,
        told: &mut Told,
        until: Option<Instant>,
    ) -> bool {
        let KeyEvent { event, db, key, subkeys } = happened;
        // Whoever reads the channel's name finds the subkey behind the first LF.
        if key.contains(&b'\n') {
            return true;
        }
        let mut published = 0;
        let mut next = told.names_bytes;
        while let Some(subkey) = subkeys.next_from(&mut next) {
            let channel = [key, b"\n", subkey];
            if !self.publish_about("__subkeyspaceitem@", db, &channel, event.name.as_bytes(), told, until) {
                return false;
            }
            (told.names_bytes, published) = (next, published + 1);
            let reads_clock = published % EVENTS_PER_CLOCK_READ == 0;
            if reads_clock && until.is_some_and(|until| Instant::now() >= until) || !self.wide.is_empty() {
                return false;
            }
        }
        true
    }

    /// Publishes to one channel; false: its patterns take long to find, and some have been tried.
    fn publish_about(
        &mut self,
        prefix: &str,
        db: usize,
        rest: &[&[u8]],
        message: &[u8],
        told: &mut Told,
        until: Option<Instant>,
    ) -> bool {
        let mut channel = format!("{prefix}{db}__:").into_bytes();
        rest.iter().for_each(|part| channel.extend_from_slice(part));
        if !self.finds_patterns(&channel, message, &mut told.matching, until) {
            return false;
        }
        if self.passing.is_some() {
            self.publish(Namespace::Channels, &channel, message);
        } else {
            // Keys are each node's own, and so is what happens to them.
            self.publish_here(Namespace::Channels, &channel, message, None);
        }
        true
    }
}
