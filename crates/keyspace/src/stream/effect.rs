//! Changes of a stream, in bytes that can be applied again: what the journal keeps.
//!
//! ```text
//! change   kind u8 │ body
//!
//! kind                body
//!  1 add              id │ fields: count v, text…
//!  2 delete           ids                                       XDEL: raises the highest deleted ID
//!  3 trim             id                                        every entry up to and including it
//!  4 remove           ids                                       what a trim took that was not a prefix
//!  5 unreference      ids                                       out of every group's PEL
//!  6 set id           id │ entries added v │ id                 last ID, and the highest deleted
//!  7 create group     text │ id │ entries read v
//!  8 set group        text │ id │ entries read v
//!  9 destroy group    text
//! 10 create consumer  text │ text │ ms v
//! 11 delete consumer  text │ text
//! 12 deliver          text │ text │ ms v │ acked u8 │ id │ entries read v │ ids
//! 13 pending          text │ text │ ms v │ count v, (id │ ms v │ deliveries v)…     active then; 0 for never
//! 14 ack              text │ ids
//! 15 configure        seconds v │ entries v
//! 16 remember         text │ text │ id │ ms v                    producer, iid
//! 17 release          text │ count v, (id │ deliveries v)…
//! 18 duplicate        –                                          a message was recognised
//! 19 max age          ms v                                       how long an entry stays; 0 for good
//! ```
//!
//! - `v` is a varint, `text` a length and bytes, `id` two varints; `ids` a count and IDs, each as its difference from
//!   the one before: ms, then seq, which is a difference too within one millisecond, and itself otherwise.
//! - "Entries read" is 0 for unknown, else the number + 1.
//! - The first change of a key that does not exist makes it an empty stream.
//! - Nothing is decided when a change is applied: no clock, no random number, no block boundary takes part.
//!
//! Reading checks everything: the bytes come from a file.

use std::borrow::Cow;

use crate::stream::pending::Pending;
use crate::stream::{BlockLimits, EntryId, IdempotenceConfig, Stream, varint};

const ADD: u8 = 1;
const DELETE: u8 = 2;
const TRIM: u8 = 3;
const REMOVE: u8 = 4;
const UNREFERENCE: u8 = 5;
const SET_ID: u8 = 6;
const CREATE_GROUP: u8 = 7;
const SET_GROUP: u8 = 8;
const DESTROY_GROUP: u8 = 9;
const CREATE_CONSUMER: u8 = 10;
const DELETE_CONSUMER: u8 = 11;
const DELIVER: u8 = 12;
const PENDING: u8 = 13;
const ACK: u8 = 14;
const CONFIGURE: u8 = 15;
const REMEMBER: u8 = 16;
const RELEASE: u8 = 17;
const DUPLICATE: u8 = 18;
const MAX_AGE: u8 = 19;

type Ids<'a> = Cow<'a, [EntryId]>;
/// Entries, when each was delivered last (Unix milliseconds), and how often.
type Deliveries<'a> = Cow<'a, [(EntryId, u64, u64)]>;

/// A change; the module says what each does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the module's table describes the fields in order")]
pub enum Change<'a> {
    Add { id: EntryId, fields: EncodedFields<'a> },
    Delete { ids: Ids<'a> },
    Trim { through: EntryId },
    Remove { ids: Ids<'a> },
    Unreference { ids: Ids<'a> },
    SetId { last_id: EntryId, entries_added: u64, max_deleted_id: EntryId },
    CreateGroup { group: &'a [u8], last_id: EntryId, entries_read: Option<u64> },
    SetGroup { group: &'a [u8], last_id: EntryId, entries_read: Option<u64> },
    DestroyGroup { group: &'a [u8] },
    CreateConsumer { group: &'a [u8], consumer: &'a [u8], seen_ms: u64 },
    DeleteConsumer { group: &'a [u8], consumer: &'a [u8] },
    Deliver(Deliver<'a>),
    Pending { group: &'a [u8], consumer: &'a [u8], active_ms: Option<u64>, entries: Deliveries<'a> },
    Ack { group: &'a [u8], ids: Ids<'a> },
    Configure(IdempotenceConfig),
    Remember { producer: &'a [u8], iid: &'a [u8], id: EntryId, since_ms: u64 },
    Release { group: &'a [u8], entries: Cow<'a, [(EntryId, u64)]> },
    Duplicate,
    MaxAge { ms: u64 },
}

/// New entries handed to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The group.
    pub group: &'a [u8],
    /// The consumer.
    pub consumer: &'a [u8],
    /// When, Unix time in milliseconds.
    pub at_ms: u64,
    /// Whether they don't become pending (NOACK).
    pub acked: bool,
    /// The cursor afterwards.
    pub last_id: EntryId,
    /// Entries read afterwards.
    pub entries_read: Option<u64>,
    /// The entries.
    pub ids: Ids<'a>,
}

/// Names and values as an `add` holds them, known to be well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedFields<'a> {
    texts: u64,
    bytes: &'a [u8],
}

impl<'a> Iterator for EncodedFields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.texts = self.texts.checked_sub(1)?;
        let (text, rest) = varint::read_bytes(self.bytes)?;
        self.bytes = rest;
        Some(text)
    }
}

/// Appends an `add`. `fields`: name, value, name, value….
pub fn write_add<'f>(out: &mut Vec<u8>, id: EntryId, fields: impl Iterator<Item = &'f [u8]> + Clone) {
    out.push(ADD);
    write_id(out, id);
    varint::write(out, fields.clone().count() as u64);
    fields.for_each(|text| varint::write_bytes(out, text));
}

impl<'a> Change<'a> {
    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Change::Add { id, fields } => write_add(out, *id, *fields),
            Change::Delete { ids } => write_ids(out, DELETE, ids),
            Change::Trim { through } => {
                out.push(TRIM);
                write_id(out, *through);
            }
            Change::Remove { ids } => write_ids(out, REMOVE, ids),
            Change::Unreference { ids } => write_ids(out, UNREFERENCE, ids),
            Change::SetId { last_id, entries_added, max_deleted_id } => {
                out.push(SET_ID);
                write_id(out, *last_id);
                varint::write(out, *entries_added);
                write_id(out, *max_deleted_id);
            }
            Change::CreateGroup { group, last_id, entries_read } => {
                write_cursor(out, CREATE_GROUP, group, *last_id, *entries_read);
            }
            Change::SetGroup { group, last_id, entries_read } => {
                write_cursor(out, SET_GROUP, group, *last_id, *entries_read);
            }
            Change::DestroyGroup { group } => write_names(out, DESTROY_GROUP, &[group]),
            Change::CreateConsumer { group, consumer, seen_ms } => {
                write_names(out, CREATE_CONSUMER, &[group, consumer]);
                varint::write(out, *seen_ms);
            }
            Change::DeleteConsumer { group, consumer } => {
                write_names(out, DELETE_CONSUMER, &[group, consumer])
            }
            Change::Deliver(deliver) => deliver.write(out),
            Change::Pending { group, consumer, active_ms, entries } => {
                write_names(out, PENDING, &[group, consumer]);
                varint::write(out, active_ms.unwrap_or(0));
                varint::write(out, entries.len() as u64);
                for &(id, delivered_ms, deliveries) in &**entries {
                    write_id(out, id);
                    varint::write(out, delivered_ms);
                    varint::write(out, deliveries);
                }
            }
            Change::Ack { group, ids } => {
                write_names(out, ACK, &[group]);
                write_id_list(out, ids);
            }
            Change::Configure(config) => {
                out.push(CONFIGURE);
                varint::write(out, u64::from(config.duration_s));
                varint::write(out, u64::from(config.entries_max));
            }
            Change::Remember { producer, iid, id, since_ms } => {
                write_names(out, REMEMBER, &[producer, iid]);
                write_id(out, *id);
                varint::write(out, *since_ms);
            }
            Change::Duplicate => out.push(DUPLICATE),
            Change::MaxAge { ms } => {
                out.push(MAX_AGE);
                varint::write(out, *ms);
            }
            Change::Release { group, entries } => {
                write_names(out, RELEASE, &[group]);
                varint::write(out, entries.len() as u64);
                for &(id, deliveries) in &**entries {
                    write_id(out, id);
                    varint::write(out, deliveries);
                }
            }
        }
    }

    /// Reads one; `None` if the bytes are not exactly one.
    pub fn read(bytes: &'a [u8]) -> Option<Change<'a>> {
        let (&kind, rest) = bytes.split_first()?;
        let mut source = Source(rest);
        let change = source.change(kind)?;
        source.0.is_empty().then_some(change)
    }
}

impl Deliver<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        write_names(out, DELIVER, &[self.group, self.consumer]);
        varint::write(out, self.at_ms);
        out.push(u8::from(self.acked));
        write_id(out, self.last_id);
        write_entries_read(out, self.entries_read);
        write_id_list(out, &self.ids);
    }
}

fn write_id(out: &mut Vec<u8>, id: EntryId) {
    varint::write(out, id.ms);
    varint::write(out, id.seq);
}

fn write_names(out: &mut Vec<u8>, kind: u8, names: &[&[u8]]) {
    out.push(kind);
    names.iter().for_each(|name| varint::write_bytes(out, name));
}

fn write_cursor(out: &mut Vec<u8>, kind: u8, group: &[u8], last_id: EntryId, entries_read: Option<u64>) {
    write_names(out, kind, &[group]);
    write_id(out, last_id);
    write_entries_read(out, entries_read);
}

fn write_entries_read(out: &mut Vec<u8>, entries_read: Option<u64>) {
    varint::write(out, entries_read.map_or(0, |number| number.saturating_add(1)));
}

fn write_ids(out: &mut Vec<u8>, kind: u8, ids: &[EntryId]) {
    out.push(kind);
    write_id_list(out, ids);
}

fn write_id_list(out: &mut Vec<u8>, ids: &[EntryId]) {
    varint::write(out, ids.len() as u64);
    let mut before = EntryId::MIN;
    for &id in ids {
        // IDs a client names may come in any order, so the differences wrap.
        let ms = id.ms.wrapping_sub(before.ms);
        varint::write(out, ms);
        varint::write(out, if ms == 0 { id.seq.wrapping_sub(before.seq) } else { id.seq });
        before = id;
    }
}

/// Bytes being read; every verb checks, and takes what it read.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn change(&mut self, kind: u8) -> Option<Change<'a>> {
        Some(match kind {
            ADD => Change::Add { id: self.id()?, fields: self.fields()? },
            DELETE => Change::Delete { ids: self.ids()? },
            TRIM => Change::Trim { through: self.id()? },
            REMOVE => Change::Remove { ids: self.ids()? },
            UNREFERENCE => Change::Unreference { ids: self.ids()? },
            SET_ID => Change::SetId {
                last_id: self.id()?,
                entries_added: self.number()?,
                max_deleted_id: self.id()?,
            },
            CREATE_GROUP => Change::CreateGroup {
                group: self.text()?,
                last_id: self.id()?,
                entries_read: self.entries_read()?,
            },
            SET_GROUP => Change::SetGroup {
                group: self.text()?,
                last_id: self.id()?,
                entries_read: self.entries_read()?,
            },
            DESTROY_GROUP => Change::DestroyGroup { group: self.text()? },
            CREATE_CONSUMER => Change::CreateConsumer {
                group: self.text()?,
                consumer: self.text()?,
                seen_ms: self.number()?,
            },
            DELETE_CONSUMER => Change::DeleteConsumer { group: self.text()?, consumer: self.text()? },
            DELIVER => Change::Deliver(Deliver {
                group: self.text()?,
                consumer: self.text()?,
                at_ms: self.number()?,
                acked: self.flag()?,
                last_id: self.id()?,
                entries_read: self.entries_read()?,
                ids: self.ids()?,
            }),
            PENDING => Change::Pending {
                group: self.text()?,
                consumer: self.text()?,
                active_ms: Some(self.number()?).filter(|&ms| ms > 0),
                entries: self.list(|from| Some((from.id()?, from.number()?, from.number()?)))?.into(),
            },
            ACK => Change::Ack { group: self.text()?, ids: self.ids()? },
            CONFIGURE => Change::Configure(IdempotenceConfig {
                duration_s: u32::try_from(self.number()?).ok()?,
                entries_max: u32::try_from(self.number()?).ok()?,
            }),
            REMEMBER => Change::Remember {
                producer: self.text()?,
                iid: self.text()?,
                id: self.id()?,
                since_ms: self.number()?,
            },
            RELEASE => Change::Release {
                group: self.text()?,
                entries: self.list(|from| Some((from.id()?, from.number()?)))?.into(),
            },
            DUPLICATE => Change::Duplicate,
            MAX_AGE => Change::MaxAge { ms: self.number()? },
            _ => return None,
        })
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = varint::read(self.0)?;
        self.0 = rest;
        Some(number)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.0.split_off_first()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let (text, rest) = varint::read_bytes(self.0)?;
        self.0 = rest;
        Some(text)
    }

    fn id(&mut self) -> Option<EntryId> {
        Some(EntryId { ms: self.number()?, seq: self.number()? })
    }

    fn entries_read(&mut self) -> Option<Option<u64>> {
        Some(self.number()?.checked_sub(1))
    }

    /// A count and as many items; the memory taken never exceeds a multiple of the bytes that are there.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Source<'a>) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok().filter(|&count| count <= self.0.len())?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }

    fn ids(&mut self) -> Option<Ids<'a>> {
        let mut before = EntryId::MIN;
        let ids = self.list(|from| {
            let (ms, seq) = (from.number()?, from.number()?);
            let seq = if ms == 0 { before.seq.wrapping_add(seq) } else { seq };
            before = EntryId { ms: before.ms.wrapping_add(ms), seq };
            Some(before)
        })?;
        Some(ids.into())
    }

    fn fields(&mut self) -> Option<EncodedFields<'a>> {
        let texts = self.number()?;
        if texts == 0 || !texts.is_multiple_of(2) {
            return None;
        }
        let bytes = self.0;
        for _ in 0..texts {
            self.text()?;
        }
        Some(EncodedFields { texts, bytes: &bytes[..bytes.len() - self.0.len()] })
    }
}

impl Stream {
    /// Does again what `change` says; `false`, with nothing or a part done, if it does not fit this stream: the log is
    /// not this stream's.
    ///
    /// `limits`: where blocks end from here on.
    pub fn apply(&mut self, change: Change<'_>, limits: BlockLimits) -> bool {
        match change {
            Change::Add { id, fields } => return self.append(id, fields, limits).is_ok(),
            Change::Delete { ids } => return ids.iter().all(|&id| self.delete(id)),
            Change::Trim { through } => drop(self.trim_through(through)),
            Change::Remove { ids } => return ids.iter().all(|&id| self.remove(id)),
            Change::Unreference { ids } => return ids.iter().all(|&id| self.unreference(id)),
            Change::SetId { last_id, entries_added, max_deleted_id } => {
                if self.last_entry().is_some_and(|entry| entry.id > last_id) {
                    return false;
                }
                self.set_id(last_id, Some(entries_added), Some(max_deleted_id));
            }
            Change::CreateGroup { group, last_id, entries_read } => {
                return self.create_group(group, last_id, entries_read);
            }
            Change::DestroyGroup { group } => return self.destroy_group(group).is_some(),
            Change::Configure(config) => self.idempotence_mut(config).configure(config),
            Change::Remember { producer, iid, id, since_ms } => {
                self.idempotence_mut(IdempotenceConfig::default()).remember(producer, iid, id, since_ms);
            }
            Change::Duplicate => match &mut self.idempotence {
                Some(maps) => maps.count_duplicate(),
                None => return false,
            },
            Change::MaxAge { ms } => self.set_max_age(ms),
            change => return self.apply_to_group(change).is_some(),
        }
        true
    }

    fn apply_to_group(&mut self, change: Change<'_>) -> Option<()> {
        match change {
            Change::SetGroup { group, last_id, entries_read } => {
                self.group_mut(group)?.set_id(last_id, entries_read);
            }
            Change::CreateConsumer { group, consumer, seen_ms } => {
                self.group_mut(group)?.create_consumer(consumer, seen_ms)?;
            }
            Change::DeleteConsumer { group, consumer } => {
                self.group_mut(group)?.delete_consumer(consumer)?;
            }
            Change::Deliver(deliver) => {
                let mut group = self.group_mut(deliver.group)?;
                let consumer = group.consumer_id(deliver.consumer)?;
                if !deliver.acked {
                    deliver.ids.iter().for_each(|&id| group.insert_pending(id, consumer, deliver.at_ms, 1));
                }
                group.set_id(deliver.last_id, deliver.entries_read);
                group.touch(consumer, deliver.at_ms, !deliver.acked);
            }
            Change::Pending { group, consumer, active_ms, entries } => {
                let mut group = self.group_mut(group)?;
                let consumer = group.consumer_id(consumer)?;
                for &(id, delivered_ms, deliveries) in &*entries {
                    group.insert_pending(id, consumer, delivered_ms, deliveries);
                }
                if let Some(active_ms) = active_ms {
                    group.set_active(consumer, active_ms);
                }
            }
            Change::Ack { group, ids } => {
                let mut group = self.group_mut(group)?;
                return ids.iter().all(|&id| group.ack(id)).then_some(());
            }
            Change::Release { group, entries } => {
                let mut group = self.group_mut(group)?;
                for &(id, deliveries) in &*entries {
                    group.pending_mut().set(id, Pending { consumer: None, delivered_ms: 0, deliveries });
                }
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> EntryId {
        EntryId::new(ms, seq)
    }

    fn samples() -> Vec<Change<'static>> {
        let ids: Ids<'static> = vec![id(5, 1), id(5, 3), id(9, 0), id(2, 8), id(u64::MAX, u64::MAX)].into();
        let (group, consumer): (&'static [u8], &'static [u8]) = (b"g", b"c");
        vec![
            Change::Delete { ids: ids.clone() },
            Change::Trim { through: id(1, 2) },
            Change::Remove { ids: ids.clone() },
            Change::Unreference { ids: vec![].into() },
            Change::SetId { last_id: id(7, 7), entries_added: 1 << 40, max_deleted_id: id(3, 0) },
            Change::CreateGroup { group, last_id: id(0, 0), entries_read: None },
            Change::SetGroup { group, last_id: id(4, 4), entries_read: Some(0) },
            Change::DestroyGroup { group },
            Change::CreateConsumer { group, consumer, seen_ms: 99 },
            Change::DeleteConsumer { group, consumer },
            Change::Deliver(Deliver {
                group,
                consumer,
                at_ms: 1000,
                acked: true,
                last_id: id(9, 0),
                entries_read: Some(3),
                ids: ids.clone(),
            }),
            Change::Pending {
                group,
                consumer,
                active_ms: Some(5),
                entries: vec![(id(1, 1), 2, u64::MAX)].into(),
            },
            Change::Pending { group, consumer, active_ms: None, entries: vec![].into() },
            Change::Ack { group, ids },
            Change::Configure(IdempotenceConfig { duration_s: 86_400, entries_max: 10_000 }),
            Change::Remember { producer: b"p", iid: &[0, 255], id: id(1, 0), since_ms: 3 },
            Change::Release { group, entries: vec![(id(1, 1), 0)].into() },
            Change::Duplicate,
            Change::MaxAge { ms: 86_400_000 },
        ]
    }

    #[test]
    fn every_change_is_read_back() {
        for change in samples() {
            let mut bytes = Vec::new();
            change.write(&mut bytes);
            assert_eq!(Change::read(&bytes), Some(change.clone()));
            for cut in 0..bytes.len() {
                assert_eq!(Change::read(&bytes[..cut]), None, "{change:?} cut at {cut}");
            }
            bytes.push(0);
            assert_eq!(Change::read(&bytes), None, "{change:?} and a byte");
        }
    }

    #[test]
    fn an_added_entry_is_read_back() {
        let fields: [&[u8]; 4] = [b"f", b"", b"f", &[0; 300]];
        let mut bytes = Vec::new();
        write_add(&mut bytes, id(3, 4), fields.into_iter());
        let Some(Change::Add { id: read, fields: texts }) = Change::read(&bytes) else {
            panic!("not an add")
        };
        assert_eq!(read, id(3, 4));
        assert!(texts.eq(fields));
        assert!((0..bytes.len()).all(|cut| Change::read(&bytes[..cut]).is_none()));
    }

    #[test]
    fn a_count_that_lies_takes_no_memory() {
        let mut bytes = vec![DELETE];
        varint::write(&mut bytes, u64::MAX);
        assert_eq!(Change::read(&bytes), None);
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused() {
        let mut stream = Stream::new();
        let limits = BlockLimits::default();
        let refused = [
            Change::Delete { ids: vec![id(1, 1)].into() },
            Change::DestroyGroup { group: b"g" },
            Change::Ack { group: b"g", ids: vec![].into() },
            Change::CreateConsumer { group: b"g", consumer: b"c", seen_ms: 0 },
        ];
        for change in refused {
            assert!(!stream.apply(change.clone(), limits), "{change:?}");
        }
        assert!(
            stream.apply(Change::CreateGroup { group: b"g", last_id: id(0, 0), entries_read: None }, limits)
        );
        assert!(
            !stream.apply(Change::CreateGroup { group: b"g", last_id: id(0, 0), entries_read: None }, limits)
        );
    }
}
