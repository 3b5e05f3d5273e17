//! `sterna tail`: prints what comes to channels, or to streams, as it comes.
//!
//! A stream is read from its end, from its last entries (`-n`) or from an ID on (`--from`), and after a broken connection from
//! the last entry that was printed: each entry once. Where entries may have been removed before they were read, that is said.
//! What is published to a channel while the connection is broken is lost, unless the channel is retained: then its stream has it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::Args;
use sterna_protocol::decode::Value;

use crate::Failure;
use crate::link::{Link, LinkError, Reach};
use crate::text::{Plain, Text, Word};

/// What to print.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: Reach,
    /// Print the messages of channels that match a pattern (* ? [a-z]); may be repeated
    #[arg(short = 'g', long = "pattern", value_name = "PATTERN", num_args = 1.., conflicts_with_all = ["from", "last", "stream"])]
    patterns: Vec<OsString>,
    /// The names are streams, even where there is none yet
    #[arg(long)]
    stream: bool,
    /// The names are channels, even where there is a stream of that name
    #[arg(long, conflicts_with_all = ["stream", "from", "last"])]
    channel: bool,
    /// Begin behind this entry of the streams: an ID, 0 for all, $ for those to come
    #[arg(long, value_name = "ID", value_parser = id_of)]
    from: Option<String>,
    /// Begin with so many of the latest entries of each stream
    #[arg(short = 'n', long = "last", value_name = "COUNT", default_value_t = 0, conflicts_with = "from")]
    last: usize,
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
    /// End when the connection breaks, instead of connecting again
    #[arg(long)]
    once: bool,
    /// Channels, or streams: a name that is a stream's is one
    #[arg(required_unless_present = "patterns", value_name = "CHANNEL|STREAM")]
    names: Vec<OsString>,
}

/// Entries of each stream in one reply.
const BATCH: &str = "512";

/// How long the server holds a read that finds nothing.
const BLOCK_MS: &str = "5000";

/// How long nothing may come from a server that is to answer within [`BLOCK_MS`], or to a PING.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A stream, and the entry behind which to read on.
struct Position {
    name: Vec<u8>,
    id: String,
    /// Whether that entry was printed.
    is_printed: bool,
}

/// Prints until whoever reads has had enough.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut link = Link::open(&options.reach)?;
    let mut names: Vec<&[u8]> = options.names.iter().map(|name| name.as_bytes()).collect();
    names.sort_unstable();
    names.dedup();
    let mut positions = if are_streams(&mut link, &names, options)? {
        let mut positions = Vec::new();
        for name in &names {
            match begin(&mut link, name, options)? {
                Some(position) => positions.push(position),
                None => return Ok(()),
            }
        }
        Some(positions)
    } else {
        None
    };
    loop {
        let result = match &mut positions {
            Some(positions) => read(&mut link, positions, options),
            None => listen(&mut link, &names, options),
        };
        let error = match result {
            Ok(()) => return Ok(()),
            Err(Failure::Link(error)) if error.may_pass() && !options.once => error,
            Err(failure) => return Err(failure),
        };
        let lost = if positions.is_some() { "" } else { " (what is published meanwhile is not seen)" };
        eprintln!("{error}; connecting again{lost}");
        link = Link::open_again(&options.reach)?;
        for position in positions.iter().flatten() {
            note_removed(&mut link, position)?;
        }
    }
}

/// An ID of an entry, or what stands for one.
fn id_of(text: &str) -> Result<String, String> {
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    let is_id = match text.split_once('-') {
        Some((ms, seq)) => is_number(ms) && is_number(seq),
        None => is_number(text) || text == "$",
    };
    if is_id { Ok(text.to_owned()) } else { Err("an ID is 1700000000000-0, 0 or $".to_owned()) }
}

/// Whether the names are those of streams.
fn are_streams(link: &mut Link, names: &[&[u8]], options: &Options) -> Result<bool, Failure> {
    if options.channel || !options.patterns.is_empty() {
        return Ok(false);
    }
    if options.stream || options.from.is_some() || options.last > 0 {
        return Ok(true);
    }
    let mut streams = Vec::new();
    for name in names {
        link.send(&[b"TYPE", *name])?;
        match link.receive() {
            Ok(kind) => streams.push(kind.as_bytes() == Some(b"stream")),
            // Who may not ask may listen all the same.
            Err(LinkError::Refused { why, .. }) if why.starts_with("NOPERM") => streams.push(false),
            Err(error) => return Err(error.into()),
        }
    }
    match (streams.contains(&true), streams.contains(&false)) {
        (true, true) => Err(Failure::Mixed),
        (is_stream, _) => Ok(is_stream),
    }
}

/// Where to begin in a stream; its latest entries are printed, if they are asked for. `None`: nobody reads any more.
fn begin(link: &mut Link, name: &[u8], options: &Options) -> Result<Option<Position>, Failure> {
    let position = |id: String| Position { name: name.to_vec(), id, is_printed: false };
    match options.from.as_deref() {
        Some("$") | None => {}
        Some(id) => return Ok(Some(position(id.to_owned()))),
    }
    // The end first: an entry that comes in between is among the latest, and behind the end it would come again.
    let end = end_of(link, name)?;
    if options.last == 0 {
        return Ok(Some(position(end)));
    }
    let count = options.last.to_string();
    link.send(&[b"XREVRANGE", name, b"+", b"-", b"COUNT", count.as_bytes()])?;
    let reply = link.receive()?;
    let entries = reply.as_slice().unwrap_or_default();
    let mut at = position(end);
    for entry in entries.iter().rev() {
        if !print_entry(&mut at, entry, options)? {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// The ID behind which nothing is yet.
fn end_of(link: &mut Link, name: &[u8]) -> Result<String, Failure> {
    link.send(&[b"XINFO".as_slice(), b"STREAM", name])?;
    match link.receive() {
        Ok(about) => Ok(field(&about, "last-generated-id").unwrap_or_else(|| "0-0".to_owned())),
        Err(LinkError::Refused { why, .. }) if why.contains("no such key") => Ok("0-0".to_owned()),
        Err(LinkError::Refused { why, .. }) if why.starts_with("NOPERM") => {
            link.send(&[b"XREVRANGE", name, b"+", b"-", b"COUNT", b"1"])?;
            let reply = link.receive()?;
            let entry = reply.as_slice().and_then(<[Value]>::first).and_then(Value::as_slice);
            let id = entry.and_then(|entry| entry.first()).and_then(Value::as_bytes);
            Ok(id.map_or_else(|| "0-0".to_owned(), |id| String::from_utf8_lossy(id).into_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// A field of a reply that is a list of names and values.
fn field(reply: &Value, name: &str) -> Option<String> {
    let pairs = reply.as_slice()?.chunks_exact(2);
    let mut found = pairs.filter(|pair| pair[0].as_bytes() == Some(name.as_bytes()));
    Some(String::from_utf8_lossy(found.next()?[1].as_bytes()?).into_owned())
}

/// Says so if the entry that was printed last is gone: others behind it may be gone as well.
fn note_removed(link: &mut Link, position: &Position) -> Result<(), Failure> {
    let id = position.id.as_bytes();
    if !position.is_printed {
        return Ok(());
    }
    link.send(&[b"XRANGE".as_slice(), &position.name, id, id])?;
    match link.receive() {
        Ok(reply) if reply.as_slice().is_some_and(<[Value]>::is_empty) => {
            let (name, id) = (Plain(&position.name), &position.id);
            eprintln!("{name}: the entry {id} is gone, and others behind it may be, unread");
            Ok(())
        }
        Ok(_) | Err(LinkError::Refused { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads streams on from where they are.
fn read(link: &mut Link, positions: &mut [Position], options: &Options) -> Result<(), Failure> {
    loop {
        let mut words: Vec<&[u8]> =
            vec![b"XREAD", b"COUNT", BATCH.as_bytes(), b"BLOCK", BLOCK_MS.as_bytes(), b"STREAMS"];
        words.extend(positions.iter().map(|position| position.name.as_slice()));
        words.extend(positions.iter().map(|position| position.id.as_bytes()));
        link.send(&words)?;
        let Some(reply) = link.receive_within(SILENCE_MAX)? else {
            return Err(link.broken(io::ErrorKind::TimedOut.into()).into());
        };
        for stream in reply.as_slice().unwrap_or_default() {
            let [name, entries] = stream.as_slice().unwrap_or_default() else {
                return Err(link.nonsense("not that of XREAD").into());
            };
            let position = positions.iter_mut().find(|position| Some(&*position.name) == name.as_bytes());
            let position = position.ok_or_else(|| link.nonsense("about a stream that nobody asked for"))?;
            for entry in entries.as_slice().unwrap_or_default() {
                if !print_entry(position, entry, options)? {
                    return Ok(());
                }
            }
        }
    }
}

/// Prints an entry, which is then the last one. False: nobody reads any more.
fn print_entry(position: &mut Position, entry: &Value, options: &Options) -> Result<bool, Failure> {
    let parts = entry.as_slice().unwrap_or_default();
    let id = parts.first().and_then(Value::as_bytes).unwrap_or_default();
    let id = String::from_utf8_lossy(id).into_owned();
    let fields: Vec<&[u8]> = parts
        .get(1)
        .and_then(Value::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_bytes)
        .collect();
    let is_there = print(&entry_line(&position.name, &id, &fields, options))?;
    position.id = id;
    position.is_printed = true;
    Ok(is_there)
}

fn entry_line(name: &[u8], id: &str, fields: &[&[u8]], options: &Options) -> String {
    let pairs = fields.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let mut line = String::new();
    // Writing to a String cannot fail.
    if options.json {
        let pairs: Vec<String> =
            pairs.map(|(field, value)| format!("[{},{}]", Text(field), Text(value))).collect();
        let _ = write!(
            line,
            "{{\"stream\":{},\"id\":{},\"fields\":[{}]}}",
            Text(name),
            Text(id.as_bytes()),
            pairs.join(",")
        );
    } else {
        let _ = write!(line, "{} {id}", Plain(name));
        for (field, value) in pairs {
            let _ = write!(line, " {}={}", Word(field), Word(value));
        }
    }
    line
}

/// Prints messages as they arrive.
fn listen(link: &mut Link, names: &[&[u8]], options: &Options) -> Result<(), Failure> {
    let patterns: Vec<&[u8]> = options.patterns.iter().map(|pattern| pattern.as_bytes()).collect();
    for (command, names) in [("SUBSCRIBE", names), ("PSUBSCRIBE", &patterns)] {
        if !names.is_empty() {
            let words: Vec<&[u8]> =
                std::iter::once(command.as_bytes()).chain(names.iter().copied()).collect();
            link.send(&words)?;
        }
    }
    let mut is_asked = false;
    loop {
        let Some(value) = link.receive_within(SILENCE_MAX)? else {
            // A line that broke without a word looks like one on which nothing is said.
            if is_asked {
                return Err(link.broken(io::ErrorKind::TimedOut.into()).into());
            }
            link.send(&["PING"])?;
            is_asked = true;
            continue;
        };
        is_asked = false;
        if let Some(line) = message_line(&value, options.json)
            && !print(&line)?
        {
            return Ok(());
        }
    }
}

/// The line for a message. Confirmations go to the standard error, so that the output can be piped.
fn message_line(value: &Value, json: bool) -> Option<String> {
    let parts: Vec<&[u8]> = value.as_slice()?.iter().filter_map(Value::as_bytes).collect();
    let (pattern, channel, payload) = match parts[..] {
        [b"message", channel, payload] => (None, channel, payload),
        [b"pmessage", pattern, channel, payload] => (Some(pattern), channel, payload),
        [b"subscribe" | b"psubscribe", name] => {
            eprintln!("listening to {}", Plain(name));
            return None;
        }
        _ => return None,
    };
    Some(match (json, pattern) {
        (false, _) => format!("{} {}", Plain(channel), Plain(payload)),
        (true, None) => format!("{{\"channel\":{},\"message\":{}}}", Text(channel), Text(payload)),
        (true, Some(pattern)) => format!(
            "{{\"pattern\":{},\"channel\":{},\"message\":{}}}",
            Text(pattern),
            Text(channel),
            Text(payload)
        ),
    })
}

/// Prints a line at once. False: whoever read our output has had enough.
fn print(line: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).map_err(|e| Failure::Io("cannot print", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_an_id_or_an_end() {
        for text in ["0", "$", "17", "1700000000000-0"] {
            assert_eq!(id_of(text).as_deref(), Ok(text));
        }
        for text in ["", "-", "+", "1-", "1-x", "x", "1-2-3"] {
            assert!(id_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let rows = [
            (vec!["message", "news", "two\nlines"], false, Some("news two\\nlines")),
            (vec!["message", "news", "a\"b"], true, Some(r#"{"channel":"news","message":"a\"b"}"#)),
            (
                vec!["pmessage", "n*", "news", "hi"],
                true,
                Some(r#"{"pattern":"n*","channel":"news","message":"hi"}"#),
            ),
            (vec!["pong", ""], false, None),
        ];
        for (parts, json, line) in rows {
            let value = Value::Array(parts.iter().copied().map(bulk).collect());
            assert_eq!(message_line(&value, json).as_deref(), line, "{parts:?}");
        }
    }
}
