//! Streams and their consumer groups, as a running server tells of them: how far each is behind.
//!
//! Streams are found by SCAN, a slice at a time, and asked by XINFO GROUPS, [`PIPELINE`] at a time.

use sterna_protocol::decode::Value;

use crate::link::{Link, LinkError};

/// Requests sent before their replies are read.
const PIPELINE: usize = 128;

/// Keys that SCAN passes in one slice.
const SCAN_COUNT: &str = "1000";

/// A walk over the keys, for streams.
#[derive(Debug)]
pub(crate) struct Walk {
    cursor: String,
    /// Names to look for, as a glob; none: all.
    pattern: Option<Vec<u8>>,
}

/// A group of a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) stream: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) consumers: u64,
    pub(crate) pending: u64,
    pub(crate) last_delivered: String,
    /// Entries not yet delivered; `None`: the server does not know, because entries were deleted.
    pub(crate) lag: Option<u64>,
    /// The pending entry with the lowest ID, if it was asked for.
    pub(crate) oldest: Option<Pending>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending {
    pub(crate) id: String,
    pub(crate) consumer: Vec<u8>,
    /// Since it was delivered last.
    pub(crate) idle_ms: u64,
    pub(crate) deliveries: u64,
}

/// A consumer of a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumer {
    pub(crate) name: Vec<u8>,
    pub(crate) pending: u64,
    /// Since it asked last.
    pub(crate) idle_ms: u64,
    /// Since it was given something last, or acknowledged; `None`: never.
    pub(crate) inactive_ms: Option<u64>,
}

impl Walk {
    pub(crate) fn new(pattern: Option<Vec<u8>>) -> Walk {
        Walk { cursor: "0".to_owned(), pattern }
    }

    /// The streams of the next slice; a name may come again. True: that was the last, and the next begins anew.
    pub(crate) fn slice(&mut self, link: &mut Link) -> Result<(Vec<Vec<u8>>, bool), LinkError> {
        let mut words: Vec<&[u8]> = vec![b"SCAN", self.cursor.as_bytes()];
        if let Some(pattern) = &self.pattern {
            words.extend([b"MATCH".as_slice(), pattern]);
        }
        words.extend([b"COUNT".as_slice(), SCAN_COUNT.as_bytes(), b"TYPE", b"stream"]);
        link.send(&words)?;
        let reply = link.receive()?;
        let [next, Value::Array(keys)] = reply.as_slice().unwrap_or_default() else {
            return Err(link.nonsense("not that of SCAN"));
        };
        self.cursor = text(next);
        let keys = keys.iter().filter_map(Value::as_bytes).map(<[u8]>::to_vec).collect();
        Ok((keys, self.cursor == "0"))
    }
}

/// The groups of these streams; what is no stream by now has none.
pub(crate) fn groups(link: &mut Link, streams: &[Vec<u8>]) -> Result<Vec<Group>, LinkError> {
    let mut all = Vec::new();
    for streams in streams.chunks(PIPELINE) {
        for stream in streams {
            link.send(&[b"XINFO", b"GROUPS".as_slice(), stream])?;
        }
        for stream in streams {
            let reply = unless_gone(link.receive())?;
            let rows = reply.as_ref().and_then(Value::as_slice).unwrap_or_default();
            all.extend(rows.iter().map(|row| group_of(stream, row)));
        }
    }
    Ok(all)
}

fn group_of(stream: &[u8], row: &Value) -> Group {
    let number =
        |name| field(row, name).and_then(Value::as_int).and_then(|number| u64::try_from(number).ok());
    Group {
        stream: stream.to_vec(),
        name: bytes(row, "name"),
        consumers: number("consumers").unwrap_or(0),
        pending: number("pending").unwrap_or(0),
        last_delivered: field(row, "last-delivered-id").map(text).unwrap_or_default(),
        lag: number("lag"),
        oldest: None,
    }
}

/// Asks for the oldest pending entry of each group that has one.
pub(crate) fn add_oldest(link: &mut Link, groups: &mut [Group]) -> Result<(), LinkError> {
    let mut waiting: Vec<&mut Group> = groups.iter_mut().filter(|group| group.pending > 0).collect();
    for groups in waiting.chunks_mut(PIPELINE) {
        for group in groups.iter() {
            link.send(&[b"XPENDING", group.stream.as_slice(), &group.name, b"-", b"+", b"1"])?;
        }
        for group in groups {
            let reply = unless_gone(link.receive())?;
            let row = reply.as_ref().and_then(Value::as_slice).and_then(<[Value]>::first);
            let Some([id, consumer, idle, deliveries]) = row.and_then(Value::as_slice) else { continue };
            let number = |value: &Value| value.as_int().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            group.oldest = Some(Pending {
                id: text(id),
                consumer: consumer.as_bytes().unwrap_or_default().to_vec(),
                idle_ms: number(idle),
                deliveries: number(deliveries),
            });
        }
    }
    Ok(())
}

/// The consumers of a group.
pub(crate) fn consumers(link: &mut Link, group: &Group) -> Result<Vec<Consumer>, LinkError> {
    link.send(&[b"XINFO", b"CONSUMERS".as_slice(), &group.stream, &group.name])?;
    let reply = unless_gone(link.receive())?;
    let rows = reply.as_ref().and_then(Value::as_slice).unwrap_or_default();
    let consumer = |row: &Value| {
        let number =
            |name| field(row, name).and_then(Value::as_int).and_then(|number| u64::try_from(number).ok());
        Consumer {
            name: bytes(row, "name"),
            pending: number("pending").unwrap_or(0),
            idle_ms: number("idle").unwrap_or(0),
            inactive_ms: number("inactive"),
        }
    };
    Ok(rows.iter().map(consumer).collect())
}

/// A reply; none about what was removed in the meantime.
fn unless_gone(reply: Result<Value, LinkError>) -> Result<Option<Value>, LinkError> {
    match reply {
        Err(LinkError::Refused { why, .. })
            if ["no such key", "NOGROUP", "WRONGTYPE"].iter().any(|word| why.contains(word)) =>
        {
            Ok(None)
        }
        reply => reply.map(Some),
    }
}

/// A field of a list of names and values.
fn field<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = row.as_slice()?.chunks_exact(2);
    let mut found = pairs.filter(|pair| pair[0].as_bytes() == Some(name.as_bytes()));
    found.next().map(|pair| &pair[1])
}

fn bytes(row: &Value, name: &str) -> Vec<u8> {
    field(row, name).and_then(Value::as_bytes).unwrap_or_default().to_vec()
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}
