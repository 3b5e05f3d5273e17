//! `sterna journal`: looks at a journal at rest, and makes a damaged one start again.

mod changes;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sterna_journal::inspect::{self, Check, Entry};
use sterna_journal::{Error, FileDisk};
use sterna_keyspace::stream::effect::Change;
use sterna_keyspace::{Effect, Effects, KeyGroup, Value, ValueRef, What, read_state};

use crate::Failure;
use crate::text::Text;

/// What to do with which journal.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Verify every byte that a start would read, and say what a repair would give up
    Check(Directory),
    /// Print the snapshot's keys and the records behind it, a line of JSON each
    Dump(Directory),
    /// Cut at the first damage, so that the server starts again; what is lost is said
    Repair(Directory),
}

#[derive(Debug, Args)]
struct Directory {
    /// The journal's directory: appenddirname in dir
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let (Verb::Check(directory) | Verb::Dump(directory) | Verb::Repair(directory)) = &options.verb;
    let failed = |error| Failure::Journal(directory.path.clone(), error);
    let disk = FileDisk::existing(&directory.path).map_err(|error| failed(unreadable(error)))?;
    let check = inspect::check(&disk).map_err(failed)?;
    if !check.is_there() {
        return Err(Failure::NoJournal(directory.path.clone(), elsewhere(&directory.path)));
    }
    match &options.verb {
        Verb::Check(_) => {
            report(&check);
            if check.is_sound() && would_start(&disk).map_err(failed)? {
                println!("sound");
                Ok(())
            } else {
                Err(Failure::Unsound)
            }
        }
        Verb::Dump(_) => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            inspect::dump(&disk, &mut |entry| print(&mut out, entry).map_err(unwritable)).map_err(failed)?;
            out.flush().map_err(|error| failed(unwritable(error)))
        }
        Verb::Repair(_) => {
            let check = inspect::repair(&disk).map_err(failed)?;
            report(&check);
            let fits = would_start(&disk).map_err(failed)?;
            if !fits {
                inspect::raise_epoch(&disk).map_err(failed)?;
                // Now it says how many there are; what else keeps it from starting is an error here.
                would_start(&disk).map_err(failed)?;
            }
            if check.is_sound() && fits {
                println!("nothing to repair");
            } else {
                println!("repaired: the server starts again, without what is lost");
            }
            Ok(())
        }
    }
}

/// Replays the journal as a start does, and says what that would pass over. False: an effect does not fit, or can't be read.
fn would_start(disk: &FileDisk) -> Result<bool, Error> {
    match sterna_server::replay_at_rest(disk) {
        Ok(0) => Ok(true),
        Ok(misfits) => {
            println!("a start passes over {misfits} effects that build upon lost ones");
            Ok(true)
        }
        Err(error @ Error::Rejected { .. }) => {
            println!("damaged: {error}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Where a journal is that may be meant: the server's `dir` is often given instead of the journal's own directory.
fn elsewhere(path: &std::path::Path) -> String {
    let inner = std::fs::read_dir(path).ok().into_iter().flatten().flatten().map(|entry| entry.path());
    let found = inner.into_iter().find(|path| path.join("MANIFEST").is_file());
    found.map_or_else(String::new, |path| format!("; there is one in {}", path.display()))
}

fn unreadable(source: io::Error) -> Error {
    Error::Io { action: "open", file: "the directory".to_owned(), source }
}

fn unwritable(source: io::Error) -> Error {
    Error::Io { action: "write to", file: "the standard output".to_owned(), source }
}

fn report(check: &Check) {
    match &check.manifest {
        None => println!("no readable manifest"),
        Some(manifest) => {
            println!("epoch {}, {} segments, {} bytes", manifest.epoch, check.segments.len(), check.bytes);
            if let Some(snapshot) = &manifest.snapshot {
                println!(
                    "snapshot {}: {} items as of LSN {} to {}",
                    snapshot.number, check.items, snapshot.start, snapshot.end
                );
            }
            println!(
                "{} intact records from its beginning on, the last has LSN {}",
                check.records, check.last
            );
        }
    }
    if let Some(torn) = &check.torn {
        println!(
            "{}: {} bytes of an unfinished write at offset {}, which the next start cuts",
            torn.file, torn.bytes, torn.offset
        );
    }
    for damage in &check.damage {
        println!("damaged: {damage}");
    }
    if !check.damage.is_empty() {
        let loss = &check.loss;
        println!("{} intact records stand behind the damage: a repair keeps them", check.salvageable);
        println!(
            "a repair gives up {} items and {} records; {} bytes of the log can't be read",
            loss.items, loss.records, loss.bytes
        );
        for file in &loss.files {
            println!("a repair sets aside {file}");
        }
    }
}

fn print(out: &mut impl Write, entry: Entry<'_>) -> io::Result<()> {
    match entry {
        Entry::Item { file, offset, key, stamp, value } => {
            write!(out, "{{\"file\":{},\"offset\":{offset},\"stamp\":{stamp},", Text(file.as_bytes()))?;
            let (db, key) = key.split_first().map_or((0, key), |(&db, key)| (db, key));
            match db {
                sterna_keyspace::LIBRARIES if key.is_empty() => write!(out, "\"databases\":null,")?,
                sterna_keyspace::LIBRARIES => write!(out, "\"library\":{},", Text(key))?,
                db => write!(out, "\"db\":{db},\"key\":{},", Text(key))?,
            }
            match value.split_first() {
                Some((0, shown)) if db == sterna_keyspace::LIBRARIES && key.is_empty() => {
                    writeln!(out, "\"shown\":{shown:?}}}")
                }
                Some((0, code)) if db == sterna_keyspace::LIBRARIES => {
                    writeln!(out, "\"code\":{}}}", Text(code))
                }
                Some((0, state)) => match read_state(state) {
                    Some((value, expire_at_ms)) => {
                        print_value(out, &value)?;
                        print_expiry(out, expire_at_ms)?;
                        writeln!(out, "}}")
                    }
                    // The last part of a value in several.
                    None => writeln!(out, "\"part_bytes\":{}}}", state.len()),
                },
                _ => writeln!(out, "\"part_bytes\":{}}}", value.len().saturating_sub(1)),
            }
        }
        Entry::Record { file, offset, lsn, payload } => {
            write!(
                out,
                "{{\"file\":{},\"offset\":{offset},\"lsn\":{lsn},\"effects\":[",
                Text(file.as_bytes())
            )?;
            for (index, effect) in Effects::new(payload).enumerate() {
                out.write_all(if index == 0 { b"" } else { b"," })?;
                match effect {
                    Ok(effect) => print_effect(out, &effect)?,
                    Err(unreadable) => write!(out, "{{\"unreadable_at\":{}}}", unreadable.offset)?,
                }
            }
            writeln!(out, "]}}")
        }
    }
}

/// The group of keys that a record is about, if it is not all of them.
fn print_group(out: &mut impl Write, group: KeyGroup) -> io::Result<()> {
    match group {
        KeyGroup::WHOLE => Ok(()),
        KeyGroup { index, count } => write!(out, ",\"group\":{index},\"groups\":{count}"),
    }
}

fn print_effect(out: &mut impl Write, effect: &Effect<'_>) -> io::Result<()> {
    match effect.db {
        Some(db) => write!(out, "{{\"db\":{db},")?,
        None => write!(out, "{{\"db\":null,")?,
    }
    let is_of_a_key = !matches!(
        effect.what,
        What::Flush { .. }
            | What::Databases { .. }
            | What::Suspend
            | What::Resume
            | What::Tentative { .. }
            | What::Standing { .. }
    );
    if is_of_a_key {
        write!(out, "\"key\":{},", Text(effect.key))?;
    }
    match &effect.what {
        What::Set { value, expire_at_ms } => {
            write!(out, "\"effect\":\"set\",")?;
            print_value(out, value)?;
            print_expiry(out, *expire_at_ms)?;
        }
        What::Delete => write!(out, "\"effect\":\"delete\"")?,
        What::Expire { at_ms } => {
            write!(out, "\"effect\":\"expire\"")?;
            print_expiry(out, *at_ms)?;
        }
        What::Append { tail } => write!(out, "\"effect\":\"append\",\"value\":{}", Text(tail))?,
        What::Flush { group } => {
            write!(out, "\"effect\":\"flush\"")?;
            print_group(out, *group)?;
        }
        What::Library { code } => write!(out, "\"effect\":\"library\",\"code\":{}", Text(code))?,
        What::NoLibrary => write!(out, "\"effect\":\"no library\"")?,
        What::Databases { shown } => write!(out, "\"effect\":\"databases\",\"shown\":{shown:?}")?,
        What::Suspend => write!(out, "\"effect\":\"suspend\"")?,
        What::Resume => write!(out, "\"effect\":\"resume\"")?,
        What::Tentative { group } => {
            write!(out, "\"effect\":\"tentative\"")?;
            print_group(out, *group)?;
        }
        What::Standing { group, settled, voids, .. } => {
            write!(out, "\"effect\":\"standing\",\"settled\":{settled},\"voids\":{voids}")?;
            print_group(out, *group)?;
        }
        What::Patch { offset, bytes } => {
            write!(out, "\"effect\":\"patch\",\"offset\":{offset},\"bytes\":{}", Text(bytes))?;
        }
        What::Stream { change: Change::Add { id, fields } } => {
            write!(out, "\"effect\":\"add\",\"id\":\"{}-{}\",\"fields\":[", id.ms, id.seq)?;
            for (index, text) in fields.enumerate() {
                write!(out, "{}{}", if index == 0 { "" } else { "," }, Text(text))?;
            }
            write!(out, "]")?;
        }
        What::Elements { tag, change } => {
            write!(out, "\"effect\":\"{}\",\"change\":", changes::type_of(*tag))?;
            changes::elements(out, *tag, change)?;
        }
        What::Stream { change } => {
            write!(out, "\"effect\":\"stream\",\"change\":")?;
            changes::stream(out, change)?;
        }
    }
    write!(out, "}}")
}

fn print_value(out: &mut impl Write, value: &Value) -> io::Result<()> {
    match (value.text(), value.stream()) {
        (Some(text), _) => write!(out, "\"type\":\"string\",\"value\":{}", Text(&text)),
        (_, Some(stream)) => {
            let last = stream.last_id();
            let groups = stream.groups().len();
            write!(
                out,
                "\"type\":\"stream\",\"entries\":{},\"last_id\":\"{}-{}\",\"groups\":{groups}",
                stream.len(),
                last.ms,
                last.seq
            )
        }
        _ => write!(out, "\"type\":{}", Text(ValueRef::from(value).type_name().as_bytes())),
    }
}

fn print_expiry(out: &mut impl Write, at_ms: Option<u64>) -> io::Result<()> {
    match at_ms {
        Some(at_ms) => write!(out, ",\"expire_at_ms\":{at_ms}"),
        None => Ok(()),
    }
}
