//! A whole stream in bytes: what a snapshot keeps of it, and a `set` effect.
//!
//! ```text
//! stream   version u8 │ last ID │ highest deleted ID │ entries added v │ blocks │ groups │ idempotence │ max age
//! blocks   count v, (first ID │ text: the block's bytes)…          see block.rs
//! groups   count v, (name │ last ID │ entries read v │ consumers │ pending)…
//! consumers  count v, (name │ seen ms v │ active ms v)…            "active" is 0 for never, else ms + 1
//! pending  count v, (ID │ consumer v │ delivered ms v │ deliveries v)…   consumer: 0 for nobody, else its place + 1
//! idempotence  0, or 1 │ seconds v │ entries v │ added v │ duplicates v │ count v, (producer │ iid │ ID │ ms v)…
//! ```
//! max age  nothing in version 1: entries stay for good; in version 2 ms v
//!
//! `v` is a varint, a name or text a length and bytes, an ID two varints. "Entries read" is 0 for unknown, else the
//! number + 1. Reading checks everything: the bytes come from a file.
//!
//! Cost: O(bytes); reading walks every entry once, and copies blocks whole.

use std::sync::Arc;

use crate::stream::block::Block;
use crate::stream::pending::Pending;
use crate::stream::{EntryId, Group, IdempotenceConfig, Stream, varint};

/// Of a stream whose entries stay, and of one whose entries go by themselves.
const VERSION: u8 = 1;
const VERSION_WITH_AGE: u8 = 2;

impl Stream {
    /// Appends the stream. `pause` is shown what there is so far after every block, consumer, pending entry and remembered ID, and may
    /// take it away: no part of a stream has to be held as a whole.
    pub fn write(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        out.push(if self.max_age_ms == 0 { VERSION } else { VERSION_WITH_AGE });
        write_id(out, self.last_id);
        write_id(out, self.max_deleted_id);
        varint::write(out, self.entries_added);
        varint::write(out, self.blocks() as u64);
        for block in self.blocks_from_first() {
            write_id(out, block.first_id());
            varint::write_bytes(out, block.as_bytes());
            pause(out);
        }
        varint::write(out, self.groups.len() as u64);
        for (name, group) in &self.groups {
            varint::write_bytes(out, name);
            write_group(out, group, pause);
            pause(out);
        }
        self.write_idempotence(out, pause);
        if self.max_age_ms != 0 {
            varint::write(out, self.max_age_ms);
        }
    }

    fn write_idempotence(&self, out: &mut Vec<u8>, pause: &mut dyn FnMut(&mut Vec<u8>)) {
        let Some(maps) = &self.idempotence else { return out.push(0) };
        out.push(1);
        varint::write(out, u64::from(maps.config().duration_s));
        varint::write(out, u64::from(maps.config().entries_max));
        varint::write(out, maps.added());
        varint::write(out, maps.duplicates());
        varint::write(out, maps.iter().count() as u64);
        for (producer, iid, entry, since_ms) in maps.iter() {
            varint::write_bytes(out, producer);
            varint::write_bytes(out, iid);
            write_id(out, entry);
            varint::write(out, since_ms);
            pause(out);
        }
    }

    /// Reads a stream; `None` if the bytes are not exactly one.
    pub fn read(bytes: &[u8]) -> Option<Stream> {
        let mut source = Source(bytes);
        let has_age = match *source.0.split_off_first()? {
            VERSION => false,
            VERSION_WITH_AGE => true,
            _ => return None,
        };
        let mut stream = Stream::new();
        stream.last_id = source.id()?;
        stream.max_deleted_id = source.id()?;
        stream.entries_added = source.number()?;
        for _ in 0..source.count()? {
            let (first, bytes) = (source.id()?, source.text()?);
            stream.push_block(Block::from_bytes(first, bytes)?)?;
        }
        stream.open_last_block();
        for _ in 0..source.count()? {
            let name = source.text()?;
            let group = source.group()?;
            if stream.group(name).is_some() {
                return None;
            }
            stream.insert_group(name, group);
        }
        source.idempotence(&mut stream)?;
        if has_age {
            stream.max_age_ms = source.number()?;
        }
        source.0.is_empty().then_some(stream)
    }

    /// Puts a block behind all others, sealed. Only the last may be without an entry that is alive.
    pub(crate) fn push_block(&mut self, mut block: Block) -> Option<()> {
        let before = self.sealed.last_entry().map(|(_, block)| block.last_id());
        let in_order =
            before.is_none_or(|before| before < block.first_id()) && block.last_id() <= self.last_id;
        if !in_order {
            return None;
        }
        self.drop_empty_last();
        block.seal();
        self.len += block.live() as u64;
        self.sealed_bytes += block.heap_bytes();
        self.sealed.insert(block.first_id(), Arc::new(block));
        Some(())
    }

    fn drop_empty_last(&mut self) {
        if self.sealed.last_entry().is_some_and(|(_, last)| last.live() == 0)
            && let Some((_, last)) = self.sealed.pop_last()
        {
            self.sealed_bytes -= last.heap_bytes();
        }
    }

    /// Makes the last sealed block the open one.
    pub(crate) fn open_last_block(&mut self) {
        if self.open.is_none() {
            self.reopen_last();
        }
    }
}

fn write_id(out: &mut Vec<u8>, id: EntryId) {
    varint::write(out, id.ms);
    varint::write(out, id.seq);
}

fn write_group(out: &mut Vec<u8>, group: &Group, pause: &mut dyn FnMut(&mut Vec<u8>)) {
    write_id(out, group.last_id());
    varint::write(out, group.entries_read().map_or(0, |number| number.saturating_add(1)));
    varint::write(out, group.consumers_len() as u64);
    // Consumers are numbered anew, in the order they are written.
    let mut places = Vec::new();
    for (place, (id, consumer)) in group.consumers().enumerate() {
        varint::write_bytes(out, &consumer.name);
        varint::write(out, consumer.seen_ms);
        varint::write(out, consumer.active_ms.map_or(0, |ms| ms.saturating_add(1)));
        places.resize(places.len().max(id.index() + 1), 0);
        places[id.index()] = place as u64 + 1;
        pause(out);
    }
    varint::write(out, group.pending().len() as u64);
    for (id, pending) in group.pending().from(EntryId::MIN) {
        write_id(out, id);
        let place = pending.consumer.and_then(|consumer| places.get(consumer.index()).copied());
        varint::write(out, place.unwrap_or(0));
        varint::write(out, pending.delivered_ms);
        varint::write(out, pending.deliveries);
        pause(out);
    }
}

/// Bytes being read; every verb checks, and takes what it read.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = varint::read(self.0)?;
        self.0 = rest;
        Some(number)
    }

    /// How many items follow, each of which takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|&count| count <= self.0.len())
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let (text, rest) = varint::read_bytes(self.0)?;
        self.0 = rest;
        Some(text)
    }

    fn id(&mut self) -> Option<EntryId> {
        Some(EntryId { ms: self.number()?, seq: self.number()? })
    }

    fn group(&mut self) -> Option<Group> {
        let (last_id, entries_read) = (self.id()?, self.number()?.checked_sub(1));
        let mut group = Group::new(last_id, entries_read);
        let mut consumers = Vec::new();
        for _ in 0..self.count()? {
            let id = group.create_consumer(self.text()?, 0)?;
            group.set_times(id, self.number()?, self.number()?.checked_sub(1));
            consumers.push(id);
        }
        let mut before = None;
        for _ in 0..self.count()? {
            let id = self.id()?;
            let consumer = match usize::try_from(self.number()?).ok()?.checked_sub(1) {
                Some(place) => Some(*consumers.get(place)?),
                None => None,
            };
            let pending = Pending { consumer, delivered_ms: self.number()?, deliveries: self.number()? };
            if before.replace(id).is_some_and(|before| before >= id) {
                return None;
            }
            group.pending_mut().set(id, pending);
        }
        Some(group)
    }

    fn idempotence(&mut self, stream: &mut Stream) -> Option<()> {
        match *self.0.split_off_first()? {
            0 => return Some(()),
            1 => {}
            _ => return None,
        }
        let config = IdempotenceConfig {
            duration_s: u32::try_from(self.number()?).ok()?,
            entries_max: u32::try_from(self.number()?).ok()?,
        };
        let (added, duplicates) = (self.number()?, self.number()?);
        let maps = stream.idempotence_mut(config);
        for _ in 0..self.count()? {
            let (producer, iid) = (self.text()?, self.text()?);
            maps.restore(producer, iid, self.id()?, self.number()?);
        }
        maps.set_counters(added, duplicates);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{BlockLimits, Nack, References};

    fn sample() -> Stream {
        let mut stream = Stream::new();
        let limits = BlockLimits { bytes_max: 0, entries_max: 10 };
        for ms in 1..=35u64 {
            let value = ms.to_string();
            let names: [&[u8]; 2] = [b"f", b"another name"];
            let fields: [&[u8]; 2] = [names[usize::from(ms % 7 == 0)], value.as_bytes()];
            stream.append(EntryId::new(ms, ms % 3), fields.into_iter(), limits).unwrap();
        }
        for ms in [3, 11, 35] {
            assert!(stream.delete(EntryId::new(ms, ms % 3)));
        }
        stream.create_group(b"empty", EntryId::MAX, None);
        stream.create_group(b"g", EntryId::new(9, 0), Some(8));
        let mut group = stream.group_mut(b"g").unwrap();
        let gone = group.create_consumer(b"gone", 1).unwrap();
        let bob = group.create_consumer(b"bob", 2).unwrap();
        let alice = group.create_consumer(b"alice", 3).unwrap();
        group.touch(bob, 77, true);
        for ms in 1..=9 {
            group.insert_pending(EntryId::new(ms, ms % 3), [gone, bob, alice][ms as usize % 3], 500 + ms, ms);
        }
        group.delete_consumer(b"gone");
        group.release(EntryId::new(2, 2), Nack::Highest);
        drop(group);
        let maps = stream.idempotence_mut(IdempotenceConfig { duration_s: 5, entries_max: 9 });
        maps.remember(b"p", b"iid", EntryId::new(4, 1), 3);
        stream
    }

    fn written(stream: &Stream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.write(&mut bytes, &mut |_| {});
        bytes
    }

    #[test]
    fn a_stream_is_read_back_whole() {
        let stream = sample();
        let bytes = written(&stream);
        let mut read = Stream::read(&bytes).unwrap();
        read.check();
        assert_eq!(written(&read), bytes);
        assert_eq!((read.len(), read.blocks()), (stream.len(), stream.blocks()));
        assert_eq!(
            read.delete_with(EntryId::new(1, 1), References::Acked),
            crate::stream::DeleteOutcome::Referenced
        );
        let fields: [&[u8]; 2] = [b"f", b"v"];
        read.append(EntryId::new(40, 0), fields.into_iter(), BlockLimits::default()).unwrap();
        read.check();
    }

    /// What is as long as the backlog of a group, its consumers' names, or what idempotence remembers is taken away as it comes.
    #[test]
    fn a_stream_is_written_in_parts_of_which_none_is_longer_than_what_is_taken_away_and_one_item() {
        const TAKEN: usize = 256;
        const NAME_MAX: usize = 100;
        let mut stream = sample();
        let mut group = stream.group_mut(b"g").unwrap();
        let name = |n: u64| vec![b'a' + n as u8; NAME_MAX];
        let ids: Vec<_> = (0..20).map(|n| group.create_consumer(&name(n), n).unwrap()).collect();
        for ms in 100..1_000u64 {
            group.insert_pending(EntryId::new(ms, 0), ids[ms as usize % ids.len()], ms, 1);
        }
        drop(group);
        let maps = stream.idempotence_mut(IdempotenceConfig { duration_s: 5, entries_max: 900 });
        for n in 0..900u64 {
            maps.remember(&name(n % 9), n.to_string().as_bytes(), EntryId::new(4, n), 3);
        }
        let whole = written(&stream);
        let (mut parts, mut bytes) = (Vec::new(), Vec::new());
        stream.write(&mut bytes, &mut |bytes| {
            if bytes.len() >= TAKEN {
                parts.push(std::mem::take(bytes));
            }
        });
        parts.push(bytes);
        let longest = parts.iter().map(Vec::len).max().unwrap();
        assert!(longest < TAKEN + 2 * NAME_MAX + 40, "{longest} bytes of {}", whole.len());
        assert_eq!(parts.concat(), whole);
        assert_eq!(written(&Stream::read(&whole).unwrap()), whole);
    }

    #[test]
    fn damage_is_refused_or_gives_a_sound_stream() {
        let bytes = written(&sample());
        assert!((0..bytes.len()).all(|cut| Stream::read(&bytes[..cut]).is_none()));
        for index in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[index] ^= flip;
                if let Some(stream) = Stream::read(&bad) {
                    stream.check();
                }
            }
        }
    }
}
