//! A stream as Redis dumps it: the payload of DUMP and RESTORE, without its type byte and footer.
//!
//! ```text
//! count, (master ID 16 bytes │ listpack)…  │ length │ last ID │ first ID │ highest deleted ID │ entries added
//! groups: count, (name │ last ID │ entries read │ PEL │ consumers │ released: count, IDs)…
//! PEL: count, (ID 16 bytes │ delivered ms i64 │ deliveries)…       the group's, then IDs again for each consumer
//! idempotence: seconds │ entries │ producers: count, (name │ count, (iid │ ID)…)… │ added │ duplicates
//!
//! listpack   live │ deleted │ number of names │ names… │ 0 │ entries…
//! entry      flags │ ms − master.ms │ seq − master.seq │ values…                          flags & 2: master's names
//!            flags │ ms − master.ms │ seq − master.seq │ number of fields │ name │ value…
//!            … │ number of elements in front of this one                                  flags & 1: deleted
//! ```
//!
//! The types are 15 (Redis 5), 19 (7.0: first ID, highest deleted, entries added, entries read), 21 (7.2: when a consumer was
//! last active), 26 (8.6: idempotence) and 27 (8.8: what XNACK released). All are read; what is written is the oldest of the
//! last three that can say everything about the stream.
//!
//! When an iid was seen is not in there: it is taken from the ID of its entry. An entry that was released may also stand
//! under a consumer without a name, delivered at 0: so it was written before type 27 was known.
//!
//! A listpack may be larger than a block can be: it becomes several blocks.
//!
//! Source: payloads of redis-server 7.0 and 8.2 and of Valkey 9.1, and the RDB format's public descriptions.

use crate::listpack::{Element, Reader, Writer};
use crate::lzf;
use crate::stream::block::{Block, BlockLimits};
use crate::stream::pending::Pending;
use crate::stream::{Entry, EntryId, Group, IdempotenceConfig, Stream};

const RDB_STREAM_1: u8 = 15;
const RDB_STREAM_2: u8 = 19;
const RDB_STREAM_3: u8 = 21;
const RDB_STREAM_4: u8 = 26;
const RDB_STREAM_5: u8 = 27;

const DELETED: i64 = 1;
const SAME_NAMES: i64 = 2;

impl Stream {
    /// The type byte that goes with [`Stream::write_rdb`], and the version of the format that has it first.
    pub fn rdb_type(&self) -> (u8, u16) {
        if self.groups.values().any(|group| group.pending().released() > 0) {
            (RDB_STREAM_5, 14)
        } else if self.idempotence.is_some() {
            (RDB_STREAM_4, 13)
        } else {
            (RDB_STREAM_3, 11)
        }
    }

    /// Appends the payload of type [`Stream::rdb_type`].
    pub fn write_rdb(&self, out: &mut Vec<u8>) {
        let (kind, _) = self.rdb_type();
        write_len(out, self.blocks() as u64);
        for block in self.blocks_from_first() {
            write_text(out, &raw_id(block.first_id()));
            write_text(out, &listpack_of(block));
        }
        write_len(out, self.len);
        for id in [self.last_id, self.first_id(), self.max_deleted_id] {
            write_len(out, id.ms);
            write_len(out, id.seq);
        }
        write_len(out, self.entries_added);
        write_len(out, self.groups.len() as u64);
        for (name, group) in &self.groups {
            write_text(out, name);
            write_group(out, group, kind);
        }
        if kind >= RDB_STREAM_4 {
            self.write_rdb_idempotence(out);
        }
    }

    fn write_rdb_idempotence(&self, out: &mut Vec<u8>) {
        let maps = self.idempotence.as_deref();
        let config = maps.map_or(IdempotenceConfig::default(), |maps| maps.config());
        write_len(out, u64::from(config.duration_s));
        write_len(out, u64::from(config.entries_max));
        write_len(out, maps.map_or(0, |maps| maps.producers().len()) as u64);
        for (name, iids) in maps.into_iter().flat_map(|maps| maps.producers()) {
            write_text(out, name);
            write_len(out, iids.len() as u64);
            for (iid, entry) in iids {
                write_text(out, iid);
                write_len(out, entry.ms);
                write_len(out, entry.seq);
            }
        }
        write_len(out, maps.map_or(0, |maps| maps.added()));
        write_len(out, maps.map_or(0, |maps| maps.duplicates()));
    }

    /// Whether [`Stream::read_rdb`] knows this type byte.
    pub fn is_rdb_type(kind: u8) -> bool {
        matches!(kind, RDB_STREAM_1 | RDB_STREAM_2 | RDB_STREAM_3 | RDB_STREAM_4 | RDB_STREAM_5)
    }

    /// Reads a payload of type `kind`; `None` if the bytes are not exactly one.
    pub fn read_rdb(kind: u8, payload: &[u8]) -> Option<Stream> {
        Stream::is_rdb_type(kind).then_some(())?;
        let mut source = Source { rest: payload, kind };
        let stream = source.stream()?;
        source.rest.is_empty().then_some(stream)
    }
}

fn raw_id(id: EntryId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

fn listpack_of(block: &Block) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.int(block.live() as i64);
    writer.int((block.len() - block.live()) as i64);
    let names: Vec<&[u8]> = block.name_list();
    writer.int(names.len() as i64);
    names.iter().for_each(|name| writer.string(name));
    writer.int(0);
    for index in 0..block.len() {
        let entry = block.entry(index);
        let same_names = block.has_block_names(index);
        let flags = if same_names { SAME_NAMES } else { 0 } | if block.is_live(index) { 0 } else { DELETED };
        writer.int(flags);
        writer.int(entry.id.ms.wrapping_sub(block.first_id().ms) as i64);
        writer.int(entry.id.seq.wrapping_sub(block.first_id().seq) as i64);
        write_fields(&mut writer, entry, same_names);
    }
    writer.finish()
}

fn write_fields(writer: &mut Writer, entry: Entry<'_>, same_names: bool) {
    let pairs = entry.len() as i64;
    if same_names {
        entry.fields().for_each(|(_, value)| writer.string(value));
        return writer.int(pairs + 3);
    }
    writer.int(pairs);
    for (name, value) in entry.fields() {
        writer.string(name);
        writer.string(value);
    }
    writer.int(2 * pairs + 4);
}

fn write_group(out: &mut Vec<u8>, group: &Group, kind: u8) {
    write_len(out, group.last_id().ms);
    write_len(out, group.last_id().seq);
    // Redis says −1 for unknown.
    write_len(out, group.entries_read().unwrap_or(u64::MAX));
    let pending = group.pending();
    write_len(out, pending.len() as u64);
    for (id, pending) in pending.from(EntryId::MIN) {
        out.extend_from_slice(&raw_id(id));
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        write_len(out, pending.deliveries);
    }
    write_len(out, group.consumers_len() as u64);
    for (id, consumer) in group.consumers() {
        write_text(out, &consumer.name);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        out.extend_from_slice(&consumer.active_ms.map_or(-1, |ms| ms as i64).to_le_bytes());
        write_len(out, pending.len_of(id) as u64);
        pending.ids_of(id, EntryId::MIN).for_each(|id| out.extend_from_slice(&raw_id(id)));
    }
    if kind >= RDB_STREAM_5 {
        write_len(out, pending.released() as u64);
        let released = pending.from(EntryId::MIN).filter(|(_, pending)| pending.consumer.is_none());
        let released = released.take(pending.released());
        released.for_each(|(id, _)| out.extend_from_slice(&raw_id(id)));
    }
}

fn write_len(out: &mut Vec<u8>, len: u64) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_len(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Bytes being read; every verb checks, and takes what it read.
struct Source<'a> {
    rest: &'a [u8],
    kind: u8,
}

/// A length, or one of the special encodings of a string.
enum Length {
    Plain(u64),
    Special(u8),
}

impl<'a> Source<'a> {
    fn stream(&mut self) -> Option<Stream> {
        let mut blocks = Vec::new();
        for _ in 0..self.count()? {
            let master = id_of(&self.text()?)?;
            let packed = self.text()?;
            blocks.extend(blocks_of(master, &packed)?);
        }
        let mut stream = Stream::new();
        let length = self.len()?;
        stream.last_id = self.id()?;
        blocks.into_iter().try_for_each(|block| stream.push_block(block))?;
        stream.open_last_block();
        if stream.len != length {
            return None;
        }
        stream.entries_added = length;
        if self.kind >= RDB_STREAM_2 {
            self.id()?;
            stream.max_deleted_id = self.id()?;
            stream.entries_added = self.len()?;
        }
        for _ in 0..self.count()? {
            let name = self.text()?;
            let last_id = self.id()?;
            let entries_read = if self.kind >= RDB_STREAM_2 {
                Some(self.len()?).filter(|&number| number != u64::MAX)
            } else {
                stream.entries_up_to(last_id)
            };
            if !stream.create_group(&name, last_id, entries_read) {
                return None;
            }
            self.members(&mut *stream.group_mut(&name)?)?;
        }
        if self.kind >= RDB_STREAM_4 {
            self.idempotence(&mut stream)?;
        }
        Some(stream)
    }

    fn idempotence(&mut self, stream: &mut Stream) -> Option<()> {
        let config = IdempotenceConfig {
            duration_s: u32::try_from(self.len()?).ok()?,
            entries_max: u32::try_from(self.len()?).ok()?,
        };
        // A stream without settings of its own is written with the usual ones, and has none here either.
        let is_set = IdempotenceConfig::DURATION_S.contains(&config.duration_s)
            && IdempotenceConfig::ENTRIES_MAX.contains(&config.entries_max);
        let config = if is_set { config } else { IdempotenceConfig::default() };
        let mut iids = Vec::new();
        for _ in 0..self.count()? {
            let producer = self.text()?;
            for _ in 0..self.count()? {
                iids.push((producer.clone(), self.text()?, self.id()?));
            }
        }
        let (added, duplicates) = (self.len()?, self.len()?);
        if config != IdempotenceConfig::default() || !iids.is_empty() || added > 0 {
            let maps = stream.idempotence_mut(config);
            iids.iter().for_each(|(producer, iid, entry)| maps.restore(producer, iid, *entry, entry.ms));
            maps.set_counters(added, duplicates);
        }
        Some(())
    }

    /// The PEL and the consumers of a group.
    fn members(&mut self, group: &mut Group) -> Option<()> {
        for _ in 0..self.count()? {
            let id = id_of(self.take(16)?)?;
            let delivered_ms = self.millis()?;
            let deliveries = self.len()?;
            let pending = Pending { consumer: None, delivered_ms, deliveries };
            if group.pending().contains(id) {
                return None;
            }
            group.pending_mut().set(id, pending);
        }
        for _ in 0..self.count()? {
            self.consumer(group)?;
        }
        if self.kind >= RDB_STREAM_5 {
            return self.released(group);
        }
        // Whatever nobody claimed must have been released.
        group.pending().from(EntryId::MIN).all(|(_, pending)| owner_is_clear(pending)).then_some(())
    }

    /// The entries of a group that have no consumer, which are all that were released.
    fn released(&mut self, group: &mut Group) -> Option<()> {
        let mut before = None;
        let count = self.count()?;
        let mut released = Vec::with_capacity(count.min(self.rest.len() / 16));
        for _ in 0..count {
            let id = id_of(self.take(16)?)?;
            released.push((id, group.pending().get(id).filter(|pending| pending.consumer.is_none())?));
        }
        released.sort_unstable_by_key(|&(id, _)| id);
        if released.len() != group.pending().released()
            || released.iter().any(|&(id, _)| before.replace(id) == Some(id))
        {
            return None;
        }
        for (id, pending) in released {
            group.pending_mut().set(id, Pending { delivered_ms: 0, ..pending });
        }
        Some(())
    }

    fn consumer(&mut self, group: &mut Group) -> Option<()> {
        let name = self.text()?;
        let seen_ms = self.millis()?;
        let active_ms = if self.kind >= RDB_STREAM_3 {
            let active = i64::from_le_bytes(self.take(8)?.try_into().ok()?);
            u64::try_from(active).ok()
        } else {
            Some(seen_ms)
        };
        let count = self.count()?;
        let mut owned = Vec::with_capacity(count.min(self.rest.len() / 16));
        for _ in 0..count {
            let id = id_of(self.take(16)?)?;
            owned.push((id, group.pending().get(id).filter(|pending| pending.consumer.is_none())?));
        }
        let all_released = !owned.is_empty() && owned.iter().all(|(_, pending)| pending.delivered_ms == 0);
        if name.is_empty() && seen_ms == 0 && all_released {
            // Released entries, as this module writes them.
            return Some(());
        }
        let consumer = group.create_consumer(&name, 0)?;
        group.set_times(consumer, seen_ms, active_ms);
        for (id, pending) in owned {
            group.insert_pending(id, consumer, pending.delivered_ms, pending.deliveries);
        }
        Some(())
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        self.rest.split_off(..len)
    }

    /// How many items follow, each of which takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.len()?).ok().filter(|&count| count <= self.rest.len())
    }

    fn millis(&mut self) -> Option<u64> {
        let millis = i64::from_le_bytes(self.take(8)?.try_into().ok()?);
        Some(u64::try_from(millis).unwrap_or(0))
    }

    fn id(&mut self) -> Option<EntryId> {
        Some(EntryId { ms: self.len()?, seq: self.len()? })
    }

    fn len(&mut self) -> Option<u64> {
        match self.length()? {
            Length::Plain(len) => Some(len),
            Length::Special(_) => None,
        }
    }

    fn length(&mut self) -> Option<Length> {
        let &first = self.rest.split_off_first()?;
        Some(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(*self.rest.split_off_first()?)),
            2 if first == 0x80 => {
                Length::Plain(u64::from(u32::from_be_bytes(self.take(4)?.try_into().ok()?)))
            }
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            3 => Length::Special(first & 0x3f),
            _ => return None,
        })
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let number = match self.length()? {
            Length::Plain(len) => return Some(self.take(usize::try_from(len).ok()?)?.to_vec()),
            Length::Special(0) => i64::from(*self.take(1)?.first()? as i8),
            Length::Special(1) => i64::from(i16::from_le_bytes(self.take(2)?.try_into().ok()?)),
            Length::Special(2) => i64::from(i32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            Length::Special(3) => {
                let packed = usize::try_from(self.len()?).ok()?;
                let plain = usize::try_from(self.len()?).ok()?;
                return lzf::unpack(self.take(packed)?, plain);
            }
            Length::Special(_) => return None,
        };
        Some(number.to_string().into_bytes())
    }
}

fn owner_is_clear(pending: Pending) -> bool {
    pending.consumer.is_some() || pending.delivered_ms == 0
}

fn id_of(raw: &[u8]) -> Option<EntryId> {
    let both = u128::from_be_bytes(raw.try_into().ok()?);
    Some(EntryId { ms: (both >> 64) as u64, seq: both as u64 })
}

/// The entries of a listpack as a block, or as several if they are more than one can hold.
fn blocks_of(master: EntryId, packed: &[u8]) -> Option<Vec<Block>> {
    let mut reader = Reader::new(packed)?;
    let live = usize::try_from(reader.int()?).ok()?;
    let deleted = usize::try_from(reader.int()?).ok()?;
    let names_len = usize::try_from(reader.int()?).ok().filter(|&len| len <= packed.len())?;
    let names: Vec<Vec<u8>> =
        (0..names_len).map(|_| Some(reader.next()?.to_bytes())).collect::<Option<_>>()?;
    reader.int().filter(|&end| end == 0)?;
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..live.checked_add(deleted)? {
        let flags = reader.int()?;
        let ms = master.ms.wrapping_add(reader.int()? as u64);
        let seq = master.seq.wrapping_add(reader.int()? as u64);
        let id = EntryId { ms, seq };
        let texts = fields_of(&mut reader, flags, &names)?;
        let fields = texts.iter().map(Vec::as_slice);
        match blocks.last_mut() {
            // The master's names are the first entry's in every listpack that Redis makes.
            None if id == master => blocks.push(Block::new(id, fields, packed.len().min(BLOCK_BYTES), 0)),
            Some(last) if id <= last.last_id() => return None,
            Some(last) if last.takes(0, UNLIMITED) => last.push(id, fields),
            Some(_) => blocks.push(Block::new(id, fields, 0, 0)),
            None => return None,
        }
        if let Some(last) = blocks.last_mut().filter(|_| flags & DELETED != 0) {
            last.delete(last.len() - 1);
        }
    }
    let alive: usize = blocks.iter().map(Block::live).sum();
    (reader.done() && alive == live && !blocks.is_empty()).then_some(blocks)
}

/// What is reserved for a block at first, at most.
const BLOCK_BYTES: usize = 64 << 10;

const UNLIMITED: BlockLimits = BlockLimits { bytes_max: 0, entries_max: 0 };

/// Names and values of the entry that `reader` stands in, and past it.
fn fields_of(reader: &mut Reader<'_>, flags: i64, names: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    if flags & SAME_NAMES != 0 {
        for name in names {
            texts.push(name.clone());
            texts.push(reader.next().map(Element::to_bytes)?);
        }
    } else {
        for _ in 0..reader.int().filter(|&pairs| pairs >= 0)?.checked_mul(2)? {
            texts.push(reader.next().map(Element::to_bytes)?);
        }
    }
    // How far back the entry begins; nobody reads backwards here.
    reader.int()?;
    (!texts.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_back_whole() {
        let mut stream = Stream::new();
        for ms in 1..=250u64 {
            let number = ms.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64;
            let number = (number >> (ms % 64)).to_string();
            let other: [&[u8]; 4] = [b"x", number.as_bytes(), b"12", b"y"];
            let same: [&[u8]; 2] = [b"f", number.as_bytes()];
            let fields = if ms % 5 == 0 { &other[..] } else { &same[..] };
            stream.append(EntryId::new(ms, ms % 4), fields.iter().copied(), BlockLimits::default()).unwrap();
        }
        (90..=110).for_each(|ms| assert!(stream.delete(EntryId::new(ms, ms % 4))));
        stream.create_group(b"g", EntryId::new(7, 3), None);
        let mut group = stream.group_mut(b"g").unwrap();
        let idle = group.create_consumer(b"idle", 5).unwrap();
        let busy = group.create_consumer(b"busy", 6).unwrap();
        group.touch(busy, 9, true);
        group.insert_pending(EntryId::new(1, 1), busy, 77, 3);
        group.insert_pending(EntryId::new(2, 2), idle, 78, 1);
        group.insert_pending(EntryId::new(3, 3), idle, 79, 1);
        drop(group);
        check(&stream, RDB_STREAM_3);
        let maps = stream.idempotence_mut(IdempotenceConfig { duration_s: 7, entries_max: 9 });
        for (producer, iid, ms) in [("p", "1", 20u64), ("p", "another iid", 21), ("q", "1", 22)] {
            maps.remember(producer.as_bytes(), iid.as_bytes(), EntryId::new(ms, 0), ms);
        }
        check(&stream, RDB_STREAM_4);
        stream.group_mut(b"g").unwrap().release(EntryId::new(3, 3), crate::stream::Nack::Highest);
        check(&stream, RDB_STREAM_5);
    }

    /// What is written is of this type, is read back, and is refused or harmless when it is damaged.
    fn check(stream: &Stream, kind: u8) {
        let mut payload = Vec::new();
        stream.write_rdb(&mut payload);
        assert_eq!(stream.rdb_type().0, kind);
        let read = Stream::read_rdb(kind, &payload).unwrap();
        read.check();
        let native = |stream: &Stream| {
            let mut bytes = Vec::new();
            stream.write(&mut bytes, &mut |_| {});
            bytes
        };
        assert_eq!(native(&read), native(stream));

        for cut in 0..payload.len() {
            assert!(Stream::read_rdb(kind, &payload[..cut]).is_none());
        }
        for index in 0..payload.len() {
            let mut bad = payload.clone();
            bad[index] ^= 0xff;
            if let Some(stream) = Stream::read_rdb(kind, &bad) {
                stream.check();
            }
        }
    }

    /// A listpack as Redis makes one with `stream-node-max-bytes 0`.
    fn large_listpack(entries: u64, value: &[u8], is_deleted: impl Fn(u64) -> bool) -> Vec<u8> {
        let mut writer = Writer::new();
        let deleted = (0..entries).filter(|&nth| is_deleted(nth)).count() as i64;
        [entries as i64 - deleted, deleted, 1].into_iter().for_each(|number| writer.int(number));
        writer.string(b"f");
        writer.int(0);
        for nth in 0..entries {
            writer.int(SAME_NAMES | if is_deleted(nth) { DELETED } else { 0 });
            writer.int(nth as i64);
            writer.int(0);
            writer.string(value);
            writer.int(4);
        }
        writer.finish()
    }

    #[test]
    fn a_node_above_64_kib_becomes_several_blocks() {
        type IsDeleted = fn(u64) -> bool;
        let cases: [(u64, usize, IsDeleted); 4] = [
            (10_000, 20, |_| false),
            (200_000, 1, |nth| nth % 3 == 0),
            (40, 70_000, |nth| nth < 30),
            (5_000, 100, |nth| nth > 100),
        ];
        for (entries, value_len, is_deleted) in cases {
            let packed = large_listpack(entries, &vec![b'x'; value_len], is_deleted);
            let blocks = blocks_of(EntryId::new(5, 0), &packed).unwrap();
            assert!(blocks.len() > 1);
            let alive: Vec<u64> = (0..entries).filter(|&nth| !is_deleted(nth)).collect();
            let mut payload = Vec::new();
            write_len(&mut payload, 1);
            write_text(&mut payload, &raw_id(EntryId::new(5, 0)));
            write_text(&mut payload, &packed);
            write_len(&mut payload, alive.len() as u64);
            for number in [5 + entries, 0, 5 + alive[0], 0, 0, 0, entries, 0] {
                write_len(&mut payload, number);
            }
            let stream = Stream::read_rdb(RDB_STREAM_3, &payload).unwrap();
            stream.check();
            assert_eq!(stream.len(), alive.len() as u64);
            assert!(stream.range(EntryId::MIN, EntryId::MAX).map(|entry| entry.id.ms - 5).eq(alive));
        }
    }
}
