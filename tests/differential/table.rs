//! The command table against the scripts and against a real server.

use std::collections::BTreeSet;

use sterna_protocol::decode::Value;
use sterna_server::command::table::{Row, table};
use sterna_tests::difference;
use sterna_tests::script::{Action, View, parse, render, row_of};
use sterna_tests::server::{Launch, Server};

use super::{FILES, reference_is_at_least};

/// Requests of all scripts.
fn requests() -> impl Iterator<Item = Vec<Vec<u8>>> {
    let scripts = FILES.iter().flat_map(|file| parse(file.name, file.text));
    scripts.flat_map(|script| script.steps).filter_map(|step| match step.action {
        Action::Request(args, _) | Action::Until(args, _) | Action::Block(args) => Some(args),
        _ => None,
    })
}

#[test]
fn every_row_of_the_command_table_is_in_a_script() {
    let used: BTreeSet<usize> = requests().filter_map(|args| row_of(&args)).map(|row| row.id).collect();
    let missing: Vec<&str> = (table().rows().iter())
        .filter(|row| row.subcommands.is_empty() && !used.contains(&row.id))
        .map(|row| row.full_name.as_str())
        .collect();
    assert!(missing.is_empty(), "no script has {}", missing.join(", "));
}

#[test]
fn every_row_of_the_command_table_declares_its_replies() {
    let silent: Vec<&str> = (table().rows().iter())
        .filter(|row| row.subcommands.is_empty() && row.spec.reply.is_empty())
        .map(|row| row.full_name.as_str())
        .collect();
    assert!(silent.is_empty(), "no reply is declared for {}", silent.join(", "));
}

#[test]
fn command_info_says_what_redis_says() {
    if !reference_is_at_least(8) {
        return;
    }
    let (redis, sterna) = (Launch::reference().start(), Server::sterna(1, &[]));
    let mut faults = Vec::new();
    for row in table().commands() {
        let [expected, got] = [&redis, &sterna].map(|server| info_of(server, row));
        match (expected, got) {
            (Some(expected), Some(got)) => compare_info(&row.full_name, &expected, &got, &mut faults),
            (None, Some(_)) if difference::of_command(&row.full_name, "all").is_some() => {}
            _ => faults.push(format!("{}: not in both", row.full_name)),
        }
    }
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn categories_have_the_commands_that_they_have_in_redis() {
    if !reference_is_at_least(8) {
        return;
    }
    let (redis, sterna) = (Launch::reference().start(), Server::sterna(1, &[]));
    let names = |server: &Server, request: &[&str]| -> BTreeSet<String> {
        let reply = server.connect().request(request);
        let names = reply.as_slice().unwrap_or_default().iter().filter_map(Value::as_bytes);
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    let [of_redis, of_sterna] = [&redis, &sterna].map(|server| names(server, &["COMMAND", "LIST"]));
    let categories = names(&redis, &["ACL", "CAT"]);
    assert_eq!(categories, names(&sterna, &["ACL", "CAT"]));
    for category in &categories {
        for request in [&["ACL", "CAT", category][..], &["COMMAND", "LIST", "FILTERBY", "ACLCAT", category]] {
            let mut lists = [&redis, &sterna].map(|server| names(server, request));
            for list in &mut lists {
                list.retain(|name| of_redis.contains(name) && of_sterna.contains(name));
            }
            assert_eq!(lists[0], lists[1], "{request:?}");
            assert!(!lists[0].is_empty(), "{request:?}");
        }
    }
}

fn info_of(server: &Server, row: &Row) -> Option<Vec<Value>> {
    let reply = server.connect_resp3().request(&["COMMAND", "INFO", row.spec.name]);
    Some(reply.as_slice()?.first()?.as_slice()?.to_vec())
}

/// The parts of a COMMAND INFO entry, in order.
const PARTS: [&str; 10] = [
    "name",
    "arity",
    "flags",
    "first key",
    "last key",
    "step",
    "categories",
    "tips",
    "key specifications",
    "subcommands",
];

fn compare_info(name: &str, expected: &[Value], got: &[Value], faults: &mut Vec<String>) {
    if expected.len() != got.len() {
        faults.push(format!("{name}: {} parts instead of {}", got.len(), expected.len()));
    }
    for ((part, expected), got) in PARTS.iter().zip(expected).zip(got) {
        if *part == "subcommands" {
            compare_subcommands(name, expected, got, faults);
            continue;
        }
        let [expected, got] =
            [expected, got].map(|value| render(&View::DeepSorted.apply(without_notes(value))));
        if expected != got && difference::of_command(name, part).is_none() {
            faults.push(format!("{name}: {part}\n    redis  {expected}\n    sterna {got}"));
        }
    }
}

/// Key specifications without their notes, which are for people.
fn without_notes(value: &Value) -> Value {
    match value {
        Value::Map(pairs) => {
            Value::Map(pairs.iter().filter(|(key, _)| key.as_bytes() != Some(b"notes")).cloned().collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(without_notes).collect()),
        Value::Set(values) => Value::Set(values.iter().map(without_notes).collect()),
        other => other.clone(),
    }
}

fn compare_subcommands(name: &str, expected: &Value, got: &Value, faults: &mut Vec<String>) {
    let entry_named = |all: &Value, wanted: &[u8]| {
        let entries = all.as_slice().unwrap_or_default().iter().filter_map(Value::as_slice);
        entries.into_iter().find(|entry| entry[0].as_bytes() == Some(wanted)).map(<[Value]>::to_vec)
    };
    for entry in got.as_slice().unwrap_or_default().iter().filter_map(Value::as_slice) {
        let wanted = entry[0].as_bytes().unwrap_or_default();
        let full_name = String::from_utf8_lossy(wanted).into_owned();
        match entry_named(expected, wanted) {
            Some(expected) => compare_info(&full_name, &expected, entry, faults),
            None if difference::of_command(&full_name, "all").is_some() => {}
            None => faults.push(format!("{name}: Redis has no {full_name}")),
        }
    }
}
