//! Damage: what had been synced and is not what was written stops the start; an unfinished write at the end is cut.

use std::fs;
use std::path::PathBuf;

use sterna_tests::server::{Launch, Server};

fn launch() -> Launch {
    Launch::shards(1).args(&["--dir", "{folder}", "--appendfsync", "always"])
}

/// A server with some keys, ended by a kill.
fn killed() -> Server {
    let mut server = launch().start();
    let mut client = server.connect();
    for number in 0..50 {
        client.request(&["SET", &format!("key:{number}"), &number.to_string()]);
    }
    server.kill();
    server
}

/// The last segment of the log.
fn segment(server: &Server) -> PathBuf {
    let folder = fs::read_dir(server.path("appendonlydir")).expect("a folder").flatten();
    let segments =
        folder.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "segment"));
    segments.max().expect("a segment")
}

#[test]
fn damage_in_the_middle_stops_the_start_and_says_where_and_what_to_do() {
    let mut server = killed();
    let path = segment(&server);
    let mut bytes = fs::read(&path).expect("it can be read");
    bytes[200] ^= 0x40;
    fs::write(&path, &bytes).expect("it can be written");
    let ended = server.start_and_end();
    assert!(!ended.status.success(), "{}", ended.log);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    for part in [&*name, "is damaged at offset", "sterna journal check", "sterna journal repair"] {
        assert!(ended.log.contains(part), "{part:?} is not said:\n{}", ended.log);
    }
    // Nothing was changed by the attempt: with the bit back it starts.
    bytes[200] ^= 0x40;
    fs::write(&path, &bytes).expect("it can be written");
    server.start_again();
    assert_eq!(server.connect().int(&["DBSIZE"]), 50);
}

#[test]
fn an_unfinished_write_is_cut_with_one_line_or_refused() {
    let mut server = killed();
    let path = segment(&server);
    let bytes = fs::read(&path).expect("it can be read");
    // Zeros are written ahead of the end, and the last frame may end in some: the garbage begins a little later.
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("records") + 9;
    let mut torn = bytes;
    torn[end..end + 100].fill(0x5a);
    fs::write(&path, &torn).expect("it can be written");

    let ended = server.start_and_end_with(&["--aof-load-truncated", "no"]);
    assert!(!ended.status.success(), "{}", ended.log);
    assert!(ended.log.contains("aof-load-truncated"), "{}", ended.log);

    server.start_again();
    assert_eq!(server.connect().int(&["DBSIZE"]), 50);
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("bytes=10"), "{log}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let server = launch().start();
    let folder = server.path("").display().to_string();
    let ended = Launch::shards(1).args(&["--dir", &folder]).run();
    assert!(!ended.status.success());
    assert!(ended.log.contains("in use by another process"), "{}", ended.log);
    assert!(server.connect().request(&["PING"]).as_bytes().is_some());
}

#[test]
fn what_another_server_keeps_where_the_directory_was_is_left_alone_by_the_one_whose_directory_was_moved_away()
{
    let mut server = launch().start();
    server.connect().request(&["SET", "ours", "1"]);
    fs::rename(server.path("appendonlydir"), server.path("away")).expect("it can be moved");
    let folder = server.path("").to_string_lossy().into_owned();
    let mut other = Launch::shards(1).args(&["--dir", &folder, "--appendfsync", "always"]).start();
    let mut theirs = other.connect();
    theirs.request(&["SET", "theirs", "1"]);
    let mut ours = server.connect();
    for _ in 0..3 {
        ours.send(&["SAVE"]);
        assert!(
            ours.error().starts_with("ERR Error trying to save the DB"),
            "it has no place for a snapshot"
        );
        theirs.request(&["SAVE"]);
    }
    theirs.request(&["SET", "theirs", "2"]);
    server.kill();
    other.kill();
    other.start_again();
    assert_eq!(other.connect().text(&["GET", "theirs"]), "2");
    // And with its directory back, it has all that it has acknowledged.
    other.kill();
    fs::remove_dir_all(server.path("appendonlydir")).expect("it can be removed");
    fs::rename(server.path("away"), server.path("appendonlydir")).expect("it can be moved");
    server.start_again();
    assert_eq!(server.connect().text(&["GET", "ours"]), "1");
}

#[test]
fn a_second_server_is_refused_also_when_somebody_has_removed_the_lock_file() {
    let server = killed_and_started();
    fs::remove_file(server.path("appendonlydir/LOCK")).expect("it is there");
    let folder = server.path("").to_string_lossy().into_owned();
    let ended = Launch::shards(1).args(&["--dir", &folder]).run();
    assert!(!ended.status.success(), "{}", ended.log);
    assert!(ended.log.contains("in use by another process"), "{}", ended.log);
    assert_eq!(server.connect().int(&["DBSIZE"]), 50);
}

fn killed_and_started() -> Server {
    let mut server = killed();
    server.start_again();
    server
}
