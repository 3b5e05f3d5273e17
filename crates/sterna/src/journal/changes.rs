//! Changes of values as JSON: what `sterna journal dump` prints of an effect that is not a whole value.
//!
//! ```text
//! {"ack":{"group":"g","ids":["1-0","2-0"]}}      of a stream
//! {"set":["name","value"],"expire_at_ms":17}     of a hash
//! {"push":"back","elements":["a","b"]}           of a list
//! {"added":["x"]}                                of a set
//! {"scores":[["a",1.5]]}                         of a sorted set
//! ```
//!
//! The forms of their bytes are in the modules `effect` of the keyspace's types; what is none of them is shown as bytes.

use std::io::{self, Write};

use sterna_keyspace::stream::EntryId;
use sterna_keyspace::stream::effect::{Change, Deliver};

use crate::text::Text;

/// Prints a change of a stream.
pub(super) fn stream(out: &mut impl Write, change: &Change<'_>) -> io::Result<()> {
    match change {
        Change::Add { id, fields } => {
            write!(out, "{{\"add\":{{\"id\":{},\"fields\":", Id(*id))?;
            list(out, *fields, |out, text| write!(out, "{}", Text(text)))?;
        }
        Change::Delete { ids } => named_ids(out, "delete", ids)?,
        Change::Trim { through } => write!(out, "{{\"trim\":{{\"through\":{}", Id(*through))?,
        Change::Remove { ids } => named_ids(out, "remove", ids)?,
        Change::Unreference { ids } => named_ids(out, "unreference", ids)?,
        Change::SetId { last_id, entries_added, max_deleted_id } => write!(
            out,
            "{{\"set_id\":{{\"last_id\":{},\"entries_added\":{entries_added},\"max_deleted_id\":{}",
            Id(*last_id),
            Id(*max_deleted_id)
        )?,
        Change::CreateGroup { group, last_id, entries_read } => {
            cursor(out, "create_group", group, *last_id, *entries_read)?;
        }
        Change::SetGroup { group, last_id, entries_read } => {
            cursor(out, "set_group", group, *last_id, *entries_read)?;
        }
        Change::DestroyGroup { group } => write!(out, "{{\"destroy_group\":{{\"group\":{}", Text(group))?,
        Change::CreateConsumer { group, consumer, seen_ms } => {
            consumer_of(out, "create_consumer", group, consumer)?;
            write!(out, ",\"seen_ms\":{seen_ms}")?;
        }
        Change::DeleteConsumer { group, consumer } => consumer_of(out, "delete_consumer", group, consumer)?,
        Change::Deliver(deliver) => delivered(out, deliver)?,
        Change::Pending { group, consumer, active_ms, entries } => {
            consumer_of(out, "pending", group, consumer)?;
            if let Some(active_ms) = active_ms {
                write!(out, ",\"active_ms\":{active_ms}")?;
            }
            write!(out, ",\"entries\":")?;
            list(out, entries.iter(), |out, (id, at_ms, count)| {
                write!(out, "{{\"id\":{},\"delivered_ms\":{at_ms},\"deliveries\":{count}}}", Id(*id))
            })?;
        }
        Change::Ack { group, ids } => {
            write!(out, "{{\"ack\":{{\"group\":{},\"ids\":", Text(group))?;
            list(out, ids.iter(), |out, id| write!(out, "{}", Id(*id)))?;
        }
        Change::Configure(config) => write!(
            out,
            "{{\"configure\":{{\"duration_s\":{},\"entries_max\":{}",
            config.duration_s, config.entries_max
        )?,
        Change::Remember { producer, iid, id, since_ms } => write!(
            out,
            "{{\"remember\":{{\"producer\":{},\"iid\":{},\"id\":{},\"since_ms\":{since_ms}",
            Text(producer),
            Text(iid),
            Id(*id)
        )?,
        Change::Release { group, entries } => {
            write!(out, "{{\"release\":{{\"group\":{},\"entries\":", Text(group))?;
            list(out, entries.iter(), |out, (id, count)| {
                write!(out, "{{\"id\":{},\"deliveries\":{count}}}", Id(*id))
            })?;
        }
        Change::Duplicate => write!(out, "{{\"duplicate\":{{")?,
        Change::MaxAge { ms } => write!(out, "{{\"max_age\":{{\"ms\":{ms}")?,
    }
    write!(out, "}}}}")
}

fn named_ids(out: &mut impl Write, name: &str, ids: &[EntryId]) -> io::Result<()> {
    write!(out, "{{\"{name}\":{{\"ids\":")?;
    list(out, ids.iter(), |out, id| write!(out, "{}", Id(*id)))
}

fn cursor(
    out: &mut impl Write,
    name: &str,
    group: &[u8],
    last_id: EntryId,
    read: Option<u64>,
) -> io::Result<()> {
    write!(out, "{{\"{name}\":{{\"group\":{},\"last_id\":{}", Text(group), Id(last_id))?;
    entries_read(out, read)
}

fn entries_read(out: &mut impl Write, read: Option<u64>) -> io::Result<()> {
    read.map_or(Ok(()), |read| write!(out, ",\"entries_read\":{read}"))
}

fn consumer_of(out: &mut impl Write, name: &str, group: &[u8], consumer: &[u8]) -> io::Result<()> {
    write!(out, "{{\"{name}\":{{\"group\":{},\"consumer\":{}", Text(group), Text(consumer))
}

fn delivered(out: &mut impl Write, deliver: &Deliver<'_>) -> io::Result<()> {
    let Deliver { group, consumer, at_ms, acked, last_id, entries_read: read, ids } = deliver;
    consumer_of(out, "deliver", group, consumer)?;
    write!(out, ",\"at_ms\":{at_ms},\"acked\":{acked},\"last_id\":{}", Id(*last_id))?;
    entries_read(out, *read)?;
    write!(out, ",\"ids\":")?;
    list(out, ids.iter(), |out, id| write!(out, "{}", Id(*id)))
}

fn list<W: Write, T>(
    out: &mut W,
    items: impl IntoIterator<Item = T>,
    mut print: impl FnMut(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    write!(out, "[")?;
    for (index, item) in items.into_iter().enumerate() {
        out.write_all(if index == 0 { b"" } else { b"," })?;
        print(out, item)?;
    }
    write!(out, "]")
}

/// An entry's ID, as clients write it.
struct Id(EntryId);

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}-{}\"", self.0.ms, self.0.seq)
    }
}

/// The type whose elements change.
pub(super) fn type_of(tag: u8) -> &'static str {
    match tag {
        LIST => "list",
        HASH => "hash",
        SET => "set",
        SORTED_SET => "sorted set",
        _ => "elements",
    }
}

const LIST: u8 = 7;
const HASH: u8 = 8;
const SET: u8 = 9;
const SORTED_SET: u8 = 10;

/// Prints a change of a collection.
pub(super) fn elements(out: &mut impl Write, tag: u8, change: &[u8]) -> io::Result<()> {
    let mut shown = Vec::new();
    let known = match tag {
        LIST => of_list(&mut shown, change),
        HASH => of_hash(&mut shown, change),
        SET => of_set(&mut shown, change),
        SORTED_SET => of_sorted_set(&mut shown, change),
        _ => None,
    };
    match known {
        Some(()) => out.write_all(&shown),
        None => write!(out, "{{\"bytes\":{}}}", Text(change)),
    }
}

fn of_list(out: &mut Vec<u8>, mut change: &[u8]) -> Option<()> {
    let kind = *change.split_off_first()?;
    let end = if matches!(kind, 0 | 2 | 5 | 7) { "front" } else { "back" };
    match kind {
        0 | 1 => {
            write!(out, "{{\"push\":\"{end}\",\"elements\":").ok()?;
            texts(out, change)?;
        }
        2 | 3 => write!(out, "{{\"pop\":\"{end}\",\"count\":{}", number(&mut change)?).ok()?,
        4..=8 => {
            let (number, text) = (number(&mut change)?, text(&mut change)?);
            match kind {
                4 => write!(out, "{{\"set\":{number},\"element\":{}", Text(text)),
                5 => write!(out, "{{\"insert_before\":{number},\"element\":{}", Text(text)),
                6 => write!(out, "{{\"insert_behind\":{number},\"element\":{}", Text(text)),
                _ => write!(out, "{{\"remove\":\"{end}\",\"count\":{number},\"element\":{}", Text(text)),
            }
            .ok()?;
        }
        _ => return None,
    }
    write!(out, "}}").ok()
}

fn of_hash(out: &mut Vec<u8>, mut change: &[u8]) -> Option<()> {
    let kind = *change.split_off_first()?;
    let name = match kind {
        1 | 3 => "set",
        2 => "set_keeping_expiry",
        4 => "remove",
        5 => "expire",
        _ => return None,
    };
    let expiry = if matches!(kind, 3 | 5) { Some(number(&mut change)?) } else { None };
    write!(out, "{{\"{name}\":").ok()?;
    texts(out, change)?;
    match expiry {
        None => {}
        Some(0) => write!(out, ",\"expire_at_ms\":null").ok()?,
        Some(at_ms) => write!(out, ",\"expire_at_ms\":{}", at_ms - 1).ok()?,
    }
    write!(out, "}}").ok()
}

fn of_set(out: &mut Vec<u8>, mut change: &[u8]) -> Option<()> {
    let name = match *change.split_off_first()? {
        1 | 2 => "added",
        3 => "removed",
        4 => "only",
        _ => return None,
    };
    write!(out, "{{\"{name}\":").ok()?;
    texts(out, change)?;
    write!(out, "}}").ok()
}

fn of_sorted_set(out: &mut Vec<u8>, mut change: &[u8]) -> Option<()> {
    match *change.split_off_first()? {
        1 => {
            let mut scores = Vec::new();
            while !change.is_empty() {
                let score = f64::from_le_bytes(change.split_off(..8)?.try_into().ok()?);
                scores.push((text(&mut change)?, score));
            }
            write!(out, "{{\"scores\":").ok()?;
            // JSON has no infinite numbers.
            let print = |out: &mut Vec<u8>, (member, score): (&[u8], f64)| match score.is_finite() {
                true => write!(out, "[{},{score}]", Text(member)),
                false => write!(out, "[{},\"{score}\"]", Text(member)),
            };
            list(out, scores, print).ok()?;
        }
        2 => {
            write!(out, "{{\"removed\":").ok()?;
            texts(out, change)?;
        }
        3 => {
            let (first, count) = (number(&mut change)?, number(&mut change)?);
            write!(out, "{{\"removed_from_rank\":{first},\"count\":{count}").ok()?;
        }
        _ => return None,
    }
    write!(out, "}}").ok()
}

/// Texts up to the end.
fn texts(out: &mut Vec<u8>, mut from: &[u8]) -> Option<()> {
    let mut texts = Vec::new();
    while !from.is_empty() {
        texts.push(text(&mut from)?);
    }
    list(out, texts, |out, text| write!(out, "{}", Text(text))).ok()
}

fn text<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(from)?).ok()?;
    from.split_off(..len)
}

/// An unsigned LEB128 number.
fn number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *from.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
