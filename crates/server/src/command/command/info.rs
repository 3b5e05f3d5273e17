//! COMMAND and COMMAND INFO.

use sterna_command::{Categories, Flags, Keys};
use sterna_protocol::Reply;

use super::super::table::{Row, table};
use super::super::{Call, Failure};
use super::key_specs::key_specs;

/// COMMAND.
pub(super) fn every(call: &mut Call<'_>) -> Result<(), Failure> {
    call.reply.array(table().commands().count());
    table().commands().for_each(|row| describe(&mut call.reply, row));
    Ok(())
}

/// COMMAND INFO.
pub(super) fn named(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    if names.is_empty() {
        return every(call);
    }
    call.reply.array(names.len());
    for name in names {
        match table().find_full(name) {
            Some(row) => describe(&mut call.reply, row),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn describe(reply: &mut Reply<'_>, row: &Row) {
    reply.array(10);
    reply.bulk(row.full_name.as_bytes());
    reply.int(row.spec.arity.into());
    words(reply, &flags(row));
    let (first, last, step) = match row.spec.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::None | Keys::AfterStreams { .. } | Keys::Counted { .. } | Keys::CountedPairs { .. } => {
            (0, 0, 0)
        }
        Keys::OneAndCounted { first, .. } | Keys::OneAndAfterWord { first, .. } => (first, first, 1),
    };
    [first, last, step].into_iter().for_each(|number| reply.int(number.into()));
    let categories: Vec<String> = categories(row).iter().map(|name| format!("@{name}")).collect();
    words(reply, &categories);
    reply.set(row.spec.tips.len());
    row.spec.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    let key_specs = key_specs(row);
    reply.set(key_specs.len());
    key_specs.iter().for_each(|spec| spec.write(reply));
    reply.set(row.subcommands.len());
    row.subcommands.iter().for_each(|&id| describe(reply, table().row(id)));
}

fn words(reply: &mut Reply<'_>, words: &[impl AsRef<str>]) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word.as_ref()));
}

/// Flags that clients are told of, in Redis's order. The others are for the dispatcher.
const FLAGS: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::RUNS_SCRIPT, "skip_monitor"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::ALLOW_BUSY, "allow_busy"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::MOVABLE_KEYS, "movablekeys"),
    (Flags::RUNS_SCRIPT, "script_runner"),
];

/// The names of a row's flags.
pub(super) fn flags(row: &Row) -> Vec<&'static str> {
    let mut flags = row.spec.flags;
    let is_movable = !matches!(row.spec.keys, Keys::None | Keys::Range { .. });
    flags.set(Flags::MOVABLE_KEYS, is_movable || row.has(Flags::READS_BY_PATTERN));
    FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

/// The names of a row's ACL categories.
pub(super) fn categories(row: &Row) -> Vec<&'static str> {
    let categories = row.spec.categories();
    Categories::NAMES
        .iter()
        .filter(|(category, _)| categories.contains(*category))
        .map(|(_, name)| *name)
        .collect()
}
