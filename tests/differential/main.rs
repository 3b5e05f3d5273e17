//! The same scripts to Sterna and to a real Redis, replies compared byte for byte.
//!
//! Each `.script` file is a test; `sterna_tests::script` says how to read them.

mod conversations;
mod generated;
mod glob;
mod grammar;
mod info;
mod payloads;
mod restarts;
mod sequences;
mod sequences_zset;
mod statistics;
mod table;

use sterna_tests::script::{compare_file, major_version};
use sterna_tests::server::Launch;

/// A file of scripts.
struct File {
    name: &'static str,
    text: &'static str,
    /// The oldest major version of Redis that it can be compared with: later ones changed what it is about.
    since: u32,
}

const FILES: &[File] = &[
    File { name: "pubsub", text: include_str!("pubsub.script"), since: 8 },
    File { name: "protocol", text: include_str!("protocol.script"), since: 7 },
    File { name: "connection", text: include_str!("connection.script"), since: 8 },
    File { name: "transactions", text: include_str!("transactions.script"), since: 7 },
    File { name: "strings", text: include_str!("strings.script"), since: 8 },
    File { name: "bitmaps", text: include_str!("bitmaps.script"), since: 8 },
    File { name: "hyperloglog", text: include_str!("hyperloglog.script"), since: 8 },
    File { name: "keys", text: include_str!("keys.script"), since: 8 },
    File { name: "clients", text: include_str!("clients.script"), since: 8 },
    File { name: "introspection", text: include_str!("introspection.script"), since: 8 },
    File { name: "streams", text: include_str!("streams.script"), since: 8 },
    File { name: "hashes", text: include_str!("hashes.script"), since: 8 },
    File { name: "lists", text: include_str!("lists.script"), since: 8 },
    File { name: "sets", text: include_str!("sets.script"), since: 8 },
    File { name: "sort", text: include_str!("sort.script"), since: 8 },
    File { name: "zsets", text: include_str!("zsets.script"), since: 8 },
    File { name: "geo", text: include_str!("geo.script"), since: 8 },
    File { name: "tracking", text: include_str!("tracking.script"), since: 8 },
    File { name: "scripts", text: include_str!("scripts.script"), since: 8 },
    File { name: "lua", text: include_str!("lua.script"), since: 8 },
    File { name: "functions", text: include_str!("functions.script"), since: 8 },
    File { name: "events", text: include_str!("events.script"), since: 8 },
];

fn compare(name: &str) {
    let file = FILES.iter().find(|file| file.name == name).expect("it is in the list");
    if reference_is_at_least(file.since) {
        compare_file(file.name, file.text);
    }
}

/// Whether the Redis at hand is new enough to compare with; if not, says so.
fn reference_is_at_least(major: u32) -> bool {
    let found = major_version(&Launch::reference().start());
    if found < major {
        sterna_tests::skipped(&format!("needs Redis {major}, and here is {found}; ./test installs one"));
    }
    found >= major
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
fn sort_answers_as_redis_does() {
    compare("sort");
}

#[test]
fn set_commands_answer_as_redis_s_do() {
    compare("sets");
}

#[test]
fn bits_of_strings_are_as_redis_s_are() {
    compare("bitmaps");
}

#[test]
fn hyperloglogs_have_the_bytes_of_redis_s() {
    compare("hyperloglog");
}

#[test]
fn functions_are_loaded_called_and_moved_as_redis_s_are() {
    compare("functions");
}

#[test]
fn scripts_answer_and_fail_as_redis_s_do() {
    compare("scripts");
}

#[test]
fn lua_s_own_functions_answer_and_fail_as_in_redis() {
    compare("lua");
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
fn hash_commands_answer_as_redis_s_do() {
    compare("hashes");
}

#[test]
fn list_commands_answer_as_redis_s_do() {
    compare("lists");
}

#[test]
fn sorted_set_commands_answer_as_redis_s_do() {
    compare("zsets");
}

#[test]
fn commands_on_places_answer_as_redis_s_do() {
    compare("geo");
}

#[test]
fn keyspace_events_are_redis_s_in_redis_s_order() {
    compare("events");
}
