//! Libraries of functions are part of what is kept.

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{Launch, PATIENCE, Server, wait_for};
use sterna_tests::{crash_rounds, seed};

fn launch(args: &[&str]) -> Launch {
    Launch::shards(2).args(&["--dir", "{folder}", "--enable-debug-command", "yes"]).args(args)
}

fn code(name: &str, answer: u32) -> String {
    format!("#!lua name={name}\nredis.register_function('{name}', function() return {answer} end)")
}

fn load(server: &Server, name: &str, answer: u32) {
    let reply = server.connect().text(&["FUNCTION", "LOAD", "REPLACE", &code(name, answer)]);
    assert_eq!(reply, name);
}

/// What the function of this name answers; `None`: there is none.
fn answer(server: &Server, name: &str) -> Option<i64> {
    let mut client = server.connect();
    client.send(&["FCALL", name, "0"]);
    match client.value() {
        Value::Int(answer) => Some(answer),
        Value::Error(text) if text.starts_with(b"ERR Function not found") => None,
        other => panic!("{other:?}"),
    }
}

fn assert_answers(server: &Server, when: &str) {
    let answers = ["first", "second", "gone", "again"].map(|name| answer(server, name));
    assert_eq!(answers, [Some(10), Some(2), None, Some(4)], "{when}");
    let figures = server.connect().text(&["INFO", "memory"]);
    assert!(figures.contains("number_of_libraries:3"), "{when}: {figures}");
    assert!(figures.contains("number_of_functions:3"), "{when}: {figures}");
}

fn fill(server: &Server) {
    for (name, answer) in [("first", 1), ("second", 2), ("gone", 3), ("again", 3)] {
        load(server, name, answer);
    }
    load(server, "first", 10);
    let mut client = server.connect();
    client.request(&["FUNCTION", "DELETE", "gone"]);
    client.request(&["MULTI"]);
    client.request(&["SET", "k", "1"]);
    client.request(&["FUNCTION", "DELETE", "again"]);
    client.request(&["FUNCTION", "LOAD", &code("again", 4)]);
    client.request(&["EXEC"]);
    client.request(&["FLUSHALL"]);
}

#[test]
fn a_restart_brings_libraries_back_from_log_and_from_snapshot() {
    let mut server = launch(&["--appendonly", "yes"]).start();
    fill(&server);
    assert_answers(&server, "before a restart");
    server.restart();
    assert_answers(&server, "from the log");
    server.connect().request(&["DEBUG", "LOADAOF"]);
    assert_answers(&server, "loaded again from the log");
    server.connect().request(&["BGREWRITEAOF"]);
    wait_for("the snapshot", || {
        server.connect().text(&["INFO", "persistence"]).contains("aof_rewrites:1").then_some(())
    });
    server.restart();
    assert_answers(&server, "from a snapshot");
    server.connect().request(&["DEBUG", "RELOAD"]);
    assert_answers(&server, "loaded again from a snapshot");
    load(&server, "late", 5);
    server.restart();
    assert_eq!(answer(&server, "late"), Some(5), "from the log behind a snapshot");
    server.connect().request(&["FUNCTION", "FLUSH"]);
    server.restart();
    assert_eq!(answer(&server, "late"), None);
}

#[test]
fn a_snapshot_without_a_journal_has_the_libraries() {
    let mut server = launch(&["--appendonly", "no"]).start();
    fill(&server);
    server.connect().request(&["SAVE"]);
    load(&server, "unsaved", 1);
    server.kill();
    server.start_again();
    assert_answers(&server, "after a kill");
    assert_eq!(answer(&server, "unsaved"), None);
}

#[test]
fn after_a_kill_every_library_that_was_acknowledged_is_there() {
    let mut server = launch(&["--appendonly", "yes", "--appendfsync", "always"]).start();
    for round in 1..=5 {
        load(&server, "lib", round);
        load(&server, &format!("lib_{round}"), round);
        server.kill();
        server.start_again();
        assert_eq!(answer(&server, "lib"), Some(i64::from(round)));
        assert_eq!(
            server.connect().request(&["FUNCTION", "LIST"]).as_slice().map(<[_]>::len),
            Some(1 + round as usize)
        );
    }
}

/// A library long enough to be compiled by a thread, of some version.
fn long_code(version: u32) -> String {
    let functions: Vec<String> = (0..900)
        .map(|number| format!("redis.register_function('long_{number}', function() return {version} end)"))
        .collect();
    format!("#!lua name=long\n{}", functions.join("\n"))
}

/// The version that all functions of the library have; 0: it is not there.
fn version(client: &mut Client) -> u32 {
    let answers =
        ["long_0", "long_450", "long_899"].map(|name| client.request(&["FCALL", name, "0"]).as_int());
    assert!(answers.iter().all(|answer| *answer == answers[0]), "it is there in parts: {answers:?}");
    answers[0].map_or(0, |version| version as u32)
}

#[test]
fn killed_while_a_long_library_is_compiled_it_is_there_whole_or_as_it_was() {
    let mut random = fastrand::Rng::with_seed(seed(32));
    let mut server = launch(&["--appendonly", "yes", "--appendfsync", "everysec"]).start();
    let dump_of = |client: &mut Client, version: u32| {
        client.text(&["FUNCTION", "LOAD", "REPLACE", &long_code(version)]);
        client.request(&["FUNCTION", "DUMP"]).as_bytes().expect("a string").to_vec()
    };
    let dumps = [1, 2].map(|version| dump_of(&mut server.connect(), version));
    let mut last = 2;
    for round in 0..crash_rounds(4) {
        let mut client = server.connect();
        let next = 2 + 2 * round as u32;
        // By FUNCTION LOAD and by RESTORE in turn, while others call it.
        client.send(&["FUNCTION", "LOAD", "REPLACE", &long_code(next + 1)]);
        let dump = &dumps[round as usize % 2];
        client.send(&[&b"FUNCTION"[..], b"RESTORE", dump, b"FLUSH"]);
        let mut caller = server.connect();
        caller.send(&["FCALL", "long_0", "0"]);
        // The instant is what is tested: it is chosen by a sleep on purpose.
        std::thread::sleep(std::time::Duration::from_micros(random.u64(0..120_000)));
        server.kill();
        let mut may_be = vec![last, next + 1, 1 + round as u32 % 2];
        for _ in 0..2 {
            if matches!(client.frame(PATIENCE), Frame::Bytes(_)) {
                may_be.remove(0);
            }
        }
        server.start_again();
        last = version(&mut server.connect());
        assert!(may_be.contains(&last), "version {last} is none of {may_be:?}");
    }
}
