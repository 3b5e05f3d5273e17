//! The same scripts to Sterna and to a real Redis, replies compared byte for byte.
//!
//! Each `.script` file is a test; `sterna_tests::script` says how to read them.

mod conversations;
mod generated;
mod glob;
mod info;
mod table;

use sterna_tests::script::compare_file;

/// Every file of scripts, with what it is called in failures.
const FILES: &[(&str, &str)] = &[
    ("pubsub", include_str!("pubsub.script")),
    ("protocol", include_str!("protocol.script")),
    ("connection", include_str!("connection.script")),
    ("transactions", include_str!("transactions.script")),
    ("strings", include_str!("strings.script")),
    ("keys", include_str!("keys.script")),
    ("clients", include_str!("clients.script")),
    ("introspection", include_str!("introspection.script")),
    ("streams", include_str!("streams.script")),
    ("tracking", include_str!("tracking.script")),
    ("events", include_str!("events.script")),
];

fn compare(name: &str) {
    let (_, text) = FILES.iter().find(|(other, _)| *other == name).expect("it is in the list");
    compare_file(name, text);
}

#[test]
fn pubsub_answers_as_redis_does() {
    compare("pubsub");
}

#[test]
fn the_protocol_is_redis_s_to_the_byte_and_so_are_its_errors() {
    compare("protocol");
}

#[test]
fn connections_greet_log_in_and_leave_as_redis_s_do() {
    compare("connection");
}

#[test]
fn transactions_queue_fail_and_watch_as_redis_s_do() {
    compare("transactions");
}

#[test]
fn string_commands_answer_as_redis_s_do() {
    compare("strings");
}

#[test]
fn key_commands_answer_as_redis_s_do() {
    compare("keys");
}

#[test]
fn clients_are_listed_paused_and_killed_as_redis_does_it() {
    compare("clients");
}

#[test]
fn the_server_tells_of_itself_as_redis_does() {
    compare("introspection");
}

#[test]
fn copies_in_clients_are_ended_as_redis_does_it() {
    compare("tracking");
}

#[test]
fn stream_commands_answer_as_redis_s_do() {
    compare("streams");
}

#[test]
fn keyspace_events_are_redis_s_in_redis_s_order() {
    compare("events");
}
