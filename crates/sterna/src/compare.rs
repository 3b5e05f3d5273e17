//! `sterna import --from URL --check` and `sterna export --to URL --check`: whether two servers hold the same.
//!
//! Every key of the source is read from both (DUMP), and what is in them is compared, whatever form each keeps it in: type, elements,
//! order where there is one, the expiry to the millisecond, that of fields, too, and groups of streams with what is pending. Then the
//! keys of the target are looked for in the source. What differs is looked at again a few times, since it may just have been written.

use std::collections::BTreeSet;
use std::time::Duration;

use sterna_keyspace::{Fingerprint, Limits, read_libraries, restore_value, seal_dump};
use sterna_rdb::{Entry, Kind};

use crate::Failure;
use crate::dumped;
use crate::link::{Link, LinkError};
use crate::progress::Progress;
use crate::target::LIBRARIES_VERSION;

/// How often what differs is looked at, and after how long.
const SAMPLES: usize = 4;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Names that are said.
const NAMES_MAX: usize = 10;

/// Keys that differ, of which so many are kept.
const DIFFERING_MAX: usize = 100_000;

/// Compares, and says what differs.
pub(crate) fn compare(mut source: Link, mut target: Link) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let mut differing: BTreeSet<(u64, Vec<u8>)> = BTreeSet::new();
    let mut compared = 0;
    for is_source in [true, false] {
        let (from, with) = if is_source { (&mut source, &mut target) } else { (&mut target, &mut source) };
        let mut batch = Vec::new();
        let mut compare_batch = |batch: &mut Vec<Entry>| -> Result<(), Failure> {
            let entries = std::mem::take(batch);
            for (entry, other) in entries.iter().zip(dumped::same_keys(with, &entries)?) {
                if differing.len() < DIFFERING_MAX && !other.is_some_and(|other| is_same(entry, &other)) {
                    differing.insert((entry.db, entry.key.clone()));
                }
            }
            Ok(())
        };
        dumped::walk(from, |entry, seen, total| {
            compared += u64::from(is_source);
            progress.show(seen, total, seen);
            let changes_db = batch.first().is_some_and(|first: &Entry| first.db != entry.db);
            if changes_db || batch.len() >= dumped::PIPELINE {
                compare_batch(&mut batch)?;
            }
            batch.push(entry);
            Ok(())
        })?;
        compare_batch(&mut batch)?;
        progress.end();
    }
    let functions = libraries(&mut source)? == libraries(&mut target)?;
    for _ in 0..SAMPLES {
        if differing.is_empty() {
            break;
        }
        std::thread::sleep(SAMPLE_INTERVAL);
        let mut still = BTreeSet::new();
        for (db, key) in differing {
            let wanted =
                [Entry { db, key, kind: Kind::Module, expire_at_ms: None, value: Vec::new(), version: 0 }];
            let of = |link: &mut Link| -> Result<Option<Entry>, LinkError> {
                Ok(dumped::same_keys(link, &wanted)?.pop().flatten())
            };
            let same = match (of(&mut source)?, of(&mut target)?) {
                (Some(one), Some(other)) => is_same(&one, &other),
                (one, other) => one.is_none() && other.is_none(),
            };
            if !same {
                let [Entry { db, key, .. }] = wanted;
                still.insert((db, key));
            }
        }
        differing = still;
    }
    for (db, key) in differing.iter().take(NAMES_MAX) {
        println!("differs: {} in database {db}", key.escape_ascii());
    }
    if !functions {
        println!("differs: libraries of functions");
    }
    if differing.is_empty() && functions {
        println!(
            "done: {compared} keys compared, all are the same in {} and {}",
            source.address(),
            target.address()
        );
        return Ok(());
    }
    println!("done: {compared} keys compared, {} differ", differing.len());
    Err(Failure::Differ(source.address().to_owned(), target.address().to_owned()))
}

/// The code of every library, in no order.
fn libraries(link: &mut Link) -> Result<BTreeSet<Vec<u8>>, Failure> {
    let Some(mut dumped) = dumped::functions(link)? else { return Ok(BTreeSet::new()) };
    seal_dump(&mut dumped, LIBRARIES_VERSION);
    let codes = read_libraries(&dumped).map_err(|_| link.nonsense("no libraries of functions"))?;
    Ok(codes.into_iter().collect())
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    one.kind == other.kind
        && one.expire_at_ms == other.expire_at_ms
        && (one.value == other.value || print_of(one).is_some_and(|print| Some(print) == print_of(other)))
}

/// `None`: it is a module's, or in a form that is not known.
fn print_of(entry: &Entry) -> Option<(Fingerprint, Fingerprint)> {
    let value = restore_value(&entry.value, entry.version, &Limits::DEFAULT).ok()?;
    let print = Fingerprint::of_value((&value).into(), entry.expire_at_ms.is_some(), 0);
    Some((print, Fingerprint::of_rest((&value).into())))
}
