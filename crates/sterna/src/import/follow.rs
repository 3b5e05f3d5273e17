//! `sterna import --from URL --follow`: what is there, and then everything that changes, until it is told to stop.
//!
//! To the source this is a replica (PSYNC): it sends its keys as a database file, then each command that changes something, in order.
//!
//! ```text
//! source ─► database file ─► RESTORE … ─┐
//!        ─► SET, DEL, MULTI … ──────────┴─► target, many requests at a time
//!        ◄─ REPLCONF ACK offset, once a second and when it is asked for
//! ```
//!
//! 1. The target is to hold what the source does and nothing else: it must be empty, or `--replace` has it emptied.
//! 2. If the connection to the source breaks, it is asked to go on behind the offset that was reached. If it can't any more,
//!    everything is copied anew, into an emptied target.
//! 3. SIGINT or SIGTERM: what the source has done until then is brought, too, and it ends.
//!
//! Offsets count every byte of the stream, as the source does. A command counts when it has been sent to the target; before an
//! end, every reply has been read.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use sterna_protocol::decode::{Value, decode};
use sterna_rdb::{Rdb, RdbError, Step};

use super::Options;
use crate::Failure;
use crate::dumped::PIPELINE;
use crate::link::{ANSWER_BYTES_MAX, Link, LinkError, Reach};
use crate::target::Target;
use crate::url::Url;

/// Between two tries to reach the source again.
const RETRY: Duration = Duration::from_millis(500);

/// Between two words to the source about how far this is: without any it would take this for dead after a minute.
const ACK_EVERY: Duration = Duration::from_secs(1);

/// How long a read waits, so that a stop is noticed.
const READ_MAX: Duration = Duration::from_millis(100);

/// How long the source may be silent: it says something every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long an end waits for what the source has done.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// Letters of the mark behind a file whose length was not known.
const MARK_LETTERS: usize = 40;

/// What has been reached.
#[derive(Debug, Default)]
struct Reached {
    /// The identity of the source's history; empty: nothing has been copied yet.
    history: String,
    /// Bytes of it.
    offset: u64,
    commands: u64,
    /// Commands whose replies have not been read.
    unread: usize,
    copies: u64,
}

/// Follows `url` until a signal.
pub(super) fn follow(url: &Url, options: &Options, target: &mut Target) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::Io("cannot listen to signals", error))?;
    }
    let reach = Reach::to(url.clone(), &options.reach);
    target.may_be_emptied(&reach, options.replace)?;
    target.replace = true;
    let mut reached = Reached::default();
    let mut away_since: Option<Instant> = None;
    loop {
        let before = (reached.offset, reached.copies);
        let ended = Link::open(&reach).map_err(Failure::from).and_then(|mut source| {
            attach(&mut source, &mut reached, target, &stop)?;
            stream(&mut source, &reach, &mut reached, target, &stop)
        });
        match ended {
            Ok(()) => return Ok(()),
            // The other server, or a key: there is no going on.
            Err(error) if !is_of_source(&error, &reach) => return Err(error),
            Err(error) if stop.load(Relaxed) => return Err(error),
            Err(error) => {
                if (reached.offset, reached.copies) != before {
                    away_since = None;
                }
                let since = *away_since.get_or_insert_with(|| {
                    println!("waiting for the source: {error}");
                    Instant::now()
                });
                // One that was never reached is not waited for.
                if reached.copies == 0 || since.elapsed() > Duration::from_secs(options.away) {
                    return Err(error);
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}

/// Whether it may help to connect to the source again.
pub(crate) fn is_of_source(error: &Failure, reach: &Reach) -> bool {
    let address = reach.address();
    match error {
        Failure::Link(LinkError::Connect(of, _) | LinkError::Broken(of, _) | LinkError::Closed(of)) => {
            *of == address
        }
        // It is loading, say.
        Failure::Link(LinkError::Refused { server, why }) => {
            *server == address && (why.starts_with("LOADING") || why.starts_with("NOMASTERLINK"))
        }
        _ => false,
    }
}

/// Says that this is a replica, and takes what comes before the stream.
fn attach(
    source: &mut Link,
    reached: &mut Reached,
    target: &mut Target,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    source.ask(&["REPLCONF", "listening-port", "0"])?;
    // Older servers know less of these, and send what they can.
    for capability in ["eof", "psync2"] {
        match source.ask(&["REPLCONF", "capa", capability]) {
            Ok(_) | Err(LinkError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    source.wait_at_most(SILENCE_MAX)?;
    let known = if reached.history.is_empty() { "?" } else { &reached.history };
    let next = if reached.history.is_empty() { -1 } else { reached.offset as i64 + 1 };
    source.send(&["PSYNC", known, &next.to_string()])?;
    let answer = loop {
        // Empty lines say that it is still there.
        let line = source.line_however_ended()?;
        if !line.is_empty() {
            break String::from_utf8_lossy(&line).into_owned();
        }
    };
    if let Some(error) = answer.strip_prefix('-') {
        return Err(source.refused(error.as_bytes()).into());
    }
    let words: Vec<&str> = answer.split_ascii_whitespace().collect();
    match words[..] {
        ["+CONTINUE"] => {}
        // It has a new history, which goes on from the old one.
        ["+CONTINUE", history] => history.clone_into(&mut reached.history),
        ["+FULLRESYNC", history, offset] => {
            if reached.copies > 0 {
                println!("the source can't go on where it was left: everything is copied anew");
                settle(reached, target)?;
                target.start_again();
            }
            // A copy that breaks is no part of any history.
            reached.history.clear();
            target.clear()?;
            let offset = offset.parse().map_err(|_| source.nonsense("no offset"))?;
            copy(source, target, stop)?;
            history.clone_into(&mut reached.history);
            reached.offset = offset;
            reached.copies += 1;
        }
        _ => return Err(source.nonsense("not that of PSYNC").into()),
    }
    println!("following {} from offset {}", source.address(), reached.offset);
    Ok(())
}

/// Brings the keys of the database file that comes.
fn copy(source: &mut Link, target: &mut Target, stop: &AtomicBool) -> Result<(), Failure> {
    let head = loop {
        let line = source.line_however_ended()?;
        if !line.is_empty() {
            break line;
        }
    };
    let (mark, bytes) = match head.strip_prefix(b"$EOF:") {
        Some(mark) if mark.len() == MARK_LETTERS => (mark.to_vec(), 0),
        Some(_) => return Err(source.nonsense("a mark of another length").into()),
        None => {
            let digits = head.strip_prefix(b"$").and_then(|digits| std::str::from_utf8(digits).ok());
            let bytes = digits.and_then(|digits| digits.parse().ok());
            (Vec::new(), bytes.ok_or_else(|| source.nonsense("no database file"))?)
        }
    };
    let address = source.address().to_owned();
    let unreadable = |error| match error {
        RdbError::Io(error) => Failure::Link(LinkError::Broken(address.clone(), error)),
        // The connection ended.
        RdbError::Cut(_) => Failure::Link(LinkError::Closed(address.clone())),
        error => Failure::Rdb(address.clone().into(), error),
    };
    let mut rdb = Rdb::open(&mut *source).map_err(unreadable)?;
    loop {
        if stop.load(Relaxed) {
            return Err(Failure::Stopped("the copy, which is not complete".to_owned()));
        }
        match rdb.advance().map_err(unreadable)? {
            Step::Key(entry) => target.bring(entry)?,
            Step::Library(library) => target.bring_libraries(library)?,
            Step::End => break,
        }
        target.progress.show(rdb.offset, bytes, target.tally.total());
    }
    let read = rdb.offset;
    target.settle()?;
    target.progress.end();
    if mark.is_empty() {
        if read != bytes {
            return Err(source.nonsense("a database file of another length").into());
        }
    } else {
        let mut behind = vec![0; MARK_LETTERS];
        source.read_exact(&mut behind).map_err(|error| source.broken(error))?;
        if behind != mark {
            return Err(source.nonsense("a database file without its mark").into());
        }
    }
    println!("copied: {} keys", target.tally.total());
    Ok(())
}

/// Passes on what changes.
fn stream(
    source: &mut Link,
    reach: &Reach,
    reached: &mut Reached,
    target: &mut Target,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    source.wait_at_most(READ_MAX)?;
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    let (mut acked, mut received) = (Instant::now(), Instant::now());
    // Where to end, once it is told to: what the source had done by then, and when that takes too long.
    let mut end: Option<(u64, Instant)> = None;
    acknowledge(source, reached)?;
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Err(LinkError::Closed(source.address().to_owned()).into()),
            Ok(read) => {
                received = Instant::now();
                bytes.extend_from_slice(&piece[..read]);
                pass_on(source, &mut bytes, reached, target)?;
            }
            Err(error) if is_silence(&error) => settle(reached, target)?,
            Err(error) => return Err(source.broken(error).into()),
        }
        if acked.elapsed() >= ACK_EVERY {
            acked = Instant::now();
            acknowledge(source, reached)?;
        }
        if received.elapsed() > SILENCE_MAX {
            return Err(source.broken(io::ErrorKind::TimedOut.into()).into());
        }
        if end.is_none() && stop.load(Relaxed) {
            end = Some((offset_of(reach)?, Instant::now() + CATCH_UP_MAX));
        }
        if let Some((offset, until)) = end
            && (reached.offset >= offset || Instant::now() > until)
        {
            settle(reached, target)?;
            let behind = offset.saturating_sub(reached.offset);
            println!("followed: {} commands; the source is {behind} bytes ahead", reached.commands);
            return if behind == 0 { Ok(()) } else { Err(Failure::Behind(behind)) };
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn acknowledge(source: &mut Link, reached: &Reached) -> Result<(), LinkError> {
    source.send(&["REPLCONF", "ACK", &reached.offset.to_string()])
}

/// How far the source is.
fn offset_of(reach: &Reach) -> Result<u64, Failure> {
    let mut link = Link::open(reach)?;
    let info = link.ask(&["INFO", "replication"])?;
    let text = String::from_utf8_lossy(info.as_bytes().unwrap_or_default()).into_owned();
    let offset = text.lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok());
    offset.ok_or_else(|| link.nonsense("without an offset").into())
}

/// Passes on the commands that have come whole.
fn pass_on(
    source: &mut Link,
    bytes: &mut Vec<u8>,
    reached: &mut Reached,
    target: &mut Target,
) -> Result<(), Failure> {
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        if rest.first() == Some(&b'\n') {
            (used, reached.offset) = (used + 1, reached.offset + 1);
            continue;
        }
        let decoded =
            decode(rest).map_err(|error| LinkError::NotRedis(source.address().to_owned(), error))?;
        let Some((command, len)) = decoded else {
            if rest.len() > ANSWER_BYTES_MAX {
                return Err(LinkError::TooLong(source.address().to_owned()).into());
            }
            break;
        };
        used += len;
        let words: Option<Vec<&[u8]>> =
            command.as_slice().map(|words| words.iter().filter_map(Value::as_bytes).collect());
        let words = words.filter(|words| !words.is_empty()).ok_or_else(|| source.nonsense("no command"))?;
        pass(source, &words, reached, target)?;
        reached.offset += len as u64;
    }
    bytes.drain(..used);
    Ok(())
}

fn pass(
    source: &mut Link,
    words: &[&[u8]],
    reached: &mut Reached,
    target: &mut Target,
) -> Result<(), Failure> {
    let is = |name: &str| words[0].eq_ignore_ascii_case(name.as_bytes());
    if is("ping") {
        return Ok(());
    }
    if is("replconf") {
        settle(reached, target)?;
        return Ok(acknowledge(source, reached)?);
    }
    if is("select") {
        let db = words.get(1).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        target.db = db.unwrap_or(target.db);
    }
    target.link.send(words)?;
    reached.commands += 1;
    reached.unread += 1;
    if reached.unread >= PIPELINE { settle(reached, target) } else { Ok(()) }
}

/// Reads the replies that are due, and counts those that are errors.
fn settle(reached: &mut Reached, target: &mut Target) -> Result<(), Failure> {
    for _ in 0..std::mem::take(&mut reached.unread) {
        let refused = match target.link.receive() {
            Ok(Value::Array(parts)) => parts.iter().find_map(|part| match part {
                Value::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
                _ => None,
            }),
            Ok(_) => None,
            Err(LinkError::Refused { why, .. }) => Some(why),
            Err(error) => return Err(error.into()),
        };
        if let Some(why) = refused {
            if !target.keep_going {
                return Err(Failure::Stopped(format!("a command of the stream: {why}")));
            }
            target.tally.refused.0 += 1;
            target.tally.refused.1.get_or_insert(why);
        }
    }
    Ok(())
}
