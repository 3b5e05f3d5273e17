//! A disk that takes no more: writes are refused, everything else goes on, and when it has recovered so has the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::faults::Faults;
use sterna_tests::server::{Launch, Server, sterna_tool, wait_for};
use sterna_tests::skipped;

use crate::switch::slow_snapshots;

/// How the disk is made to fail.
enum Disk {
    /// A file system of its own, with little room, that is filled up. Needs the right to mount.
    Small(Mounted),
    /// A limit on the size of the server's files, set while it runs.
    Limited,
}

/// A file system that is gone at the end.
struct Mounted(PathBuf);

const FILLER: &str = "filler";

impl Mounted {
    fn at(path: PathBuf) -> Option<Mounted> {
        fs::create_dir(&path).expect("the folder can be written");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&path).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Mounted(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A server that was killed a moment ago may still hold it: lazily.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Disk {
    fn fail(&self, server: &Server) {
        match self {
            Disk::Small(Mounted(path)) => fill(&path.join(FILLER)),
            Disk::Limited => limit_files(server, "0:unlimited"),
        }
    }

    fn recover(&self, server: &Server) {
        match self {
            Disk::Small(Mounted(path)) => fs::remove_file(path.join(FILLER)).expect("it is there"),
            Disk::Limited => limit_files(server, "unlimited:unlimited"),
        }
    }
}

/// Writes zeros until there is no room.
fn fill(path: &Path) {
    let mut size = 0;
    let mut step = 1 << 20;
    let file = fs::File::create(path).expect("a file");
    while step > 0 {
        match std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; step], size) {
            Ok(()) => size += step as u64,
            Err(_) => step /= 2,
        }
    }
}

fn limit_files(server: &Server, limit: &str) {
    let done = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), &format!("--fsize={limit}")])
        .status();
    assert!(done.is_ok_and(|status| status.success()), "prlimit");
}

/// How long an answer is waited for that may never come: a write that was taken and can't be made durable has none.
const MOMENT: Duration = Duration::from_millis(300);

/// The answer, if there is one in a moment.
fn ask(client: &mut Client, args: &[&str]) -> Option<Value> {
    client.send(args);
    match client.frame(MOMENT) {
        Frame::Bytes(bytes) => Some(value_of(&bytes)),
        Frame::Nothing => None,
        Frame::Closed => panic!("the server has closed the connection"),
    }
}

fn misconf(client: &mut Client, args: &[&str]) -> Option<String> {
    let Some(Value::Error(text)) = ask(client, args) else { return None };
    text.starts_with(b"MISCONF ").then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Whether a write is refused, which is answered however long that takes.
fn is_misconf(client: &mut Client, args: &[&str]) -> bool {
    client.send(args);
    matches!(client.value(), Value::Error(text) if text.starts_with(b"MISCONF "))
}

/// Writes go on until one is refused.
fn write_until_refused(server: &Server) {
    let large = "x".repeat(100_000);
    let refusal = wait_for("a refused write", || misconf(&mut server.connect(), &["SET", "large", &large]));
    assert!(refusal.starts_with("MISCONF Errors writing to the AOF file: "), "{refusal}");
}

fn survives(disk: &Disk, mut server: Server) {
    let mut client = server.connect();
    client.request(&["SET", "before", "1"]);
    let mut subscriber = server.connect();
    subscriber.request(&["SUBSCRIBE", "c"]);

    disk.fail(&server);
    write_until_refused(&server);
    // Reads and Pub/Sub go on; a transaction with a write is refused as a whole.
    let mut reader = server.connect();
    // For a moment what the disk did not take is being undone.
    wait_for("keys to be put back", || match reader.try_request(&["GET", "before"])? {
        Value::Error(text) if text.starts_with(b"LOADING") => None,
        _ => Some(()),
    });
    assert_eq!(reader.text(&["GET", "before"]), "1");
    assert_eq!(reader.int(&["PUBLISH", "c", "hello"]), 1);
    assert_eq!(subscriber.value().as_slice().map(|parts| parts[2].as_bytes()), Some(Some(&b"hello"[..])));
    reader.request(&["MULTI"]);
    assert!(is_misconf(&mut reader, &["SET", "k", "v"]));
    let Some(Value::Error(text)) = reader.try_request(&["EXEC"]) else { panic!("EXEC ran") };
    assert!(text.starts_with(b"EXECABORT "), "{}", text.escape_ascii());
    let info = reader.text(&["INFO", "persistence"]);
    assert!(info.contains("aof_last_write_status:err"), "{info}");

    disk.recover(&server);
    wait_for("writes to be taken again", || {
        matches!(ask(&mut server.connect(), &["SET", "probe", "y"]), Some(Value::Simple(_))).then_some(())
    });
    let mut client = server.connect();
    client.request(&["SET", "after", "1"]);
    let info = client.text(&["INFO", "persistence"]);
    assert!(info.contains("aof_last_write_status:ok"), "{info}");

    server.kill();
    server.start_again();
    let mut client = server.connect();
    assert_eq!(client.text(&["GET", "before"]), "1");
    assert_eq!(client.text(&["GET", "after"]), "1");
    assert_eq!(client.text(&["GET", "probe"]), "y");
    server.kill();
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_and_recovers() {
    let launch = Launch::shards(2);
    let Some(mounted) = Mounted::at(launch.path("small")) else {
        println!("a file system can't be mounted here: a limit on file sizes stands in for it");
        return;
    };
    // Always: what was acknowledged is durable. No time for records to gather, so that the first write meets the disk.
    let server = launch.args(&["--dir", "{folder}/small", "--appendfsync", "always"]).start();
    survives(&Disk::Small(mounted), server);
}

#[test]
fn tools_that_find_no_room_say_so_and_leave_nothing_half_done() {
    let launch = Launch::shards(2).args(&["--dir", "{folder}"]);
    let Some(mounted) = Mounted::at(launch.path("small")) else {
        return skipped("needs the right to mount a file system");
    };
    let server = launch.start();
    let mut client = server.connect();
    // More than there is room for, in values that compress to nothing less.
    for key in 0..80 {
        let value: String = std::iter::repeat_with(fastrand::alphanumeric).take(64 << 10).collect();
        client.request(&["SET", &key.to_string(), &value]);
    }
    let (port, file) = (server.port.to_string(), server.path("moved.rdb").display().to_string());
    let (backup, into) =
        (server.path("backup").display().to_string(), mounted.0.join("into").display().to_string());
    let run = |words: &[&str]| {
        let output = sterna_tool(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    for words in [&["export", "-P", &port, "--rdb", &file][..], &["backup", "-P", &port, &backup]] {
        let (is_done, said) = run(words);
        assert!(is_done, "{words:?}: {said}");
    }
    let rdb = format!("{into}.rdb");
    for words in [
        &["import", &file, "--into", &into][..],
        &["restore", &backup, "--into", &into],
        &["backup", "-P", &port, &into],
        &["export", "-P", &port, "--rdb", &rdb],
    ] {
        let (is_done, said) = run(words);
        assert!(!is_done && said.contains("No space left"), "{words:?}: {said}");
        let left: Vec<_> = fs::read_dir(&mounted.0).expect("it is there").flatten().collect();
        assert!(left.is_empty(), "{words:?}: {left:?}");
    }
}

/// A write is answered in any case, and one that was refused is nowhere to be seen, now or after a kill.
fn is_answered_and_not_seen(disk: &Disk, mut server: Server) {
    let (mut writer, mut reader) = (server.connect(), server.connect());
    writer.request(&["SET", "expires", "soon", "PX", "50"]);
    writer.request(&["XADD", "s", "1-1", "f", "v"]);
    let value = |number: u64| format!("{number} {}", "x".repeat(50_000));
    let mut last = 0;
    writer.request(&["SET", "k", &value(0)]);
    disk.fail(&server);
    let refused = wait_for("a refused write", || {
        writer.send(&["MULTI"]);
        writer.send(&["SET", "k", &value(last + 1)]);
        writer.send(&["XADD", "s", "*", "f", "v"]);
        writer.send(&["EXEC"]);
        let replies: Vec<Value> = (0..4).map(|_| writer.value()).collect();
        match &replies[3] {
            Value::Array(_) => {
                last += 1;
                None
            }
            Value::Error(text) => Some(String::from_utf8_lossy(text).into_owned()),
            other => panic!("{other:?}"),
        }
    });
    assert!(refused.contains("MISCONF") || refused.starts_with("EXECABORT"), "{refused}");
    // A reader may be told for a moment that keys are being put back.
    let seen = wait_for("a reader to be answered", || match reader.try_request(&["GET", "k"])? {
        Value::Error(text) if text.starts_with(b"LOADING") => None,
        value => Some(value),
    });
    assert!(seen.as_bytes() == Some(value(last).as_bytes()), "something that was refused is seen");
    assert_eq!(reader.int(&["XLEN", "s"]), 1 + last as i64);
    // Its time is over: that it is gone is not the reader's write.
    wait_for("the key to expire", || reader.request(&["GET", "expires"]).as_bytes().is_none().then_some(()));
    disk.recover(&server);
    wait_for("writes to be taken again", || {
        matches!(ask(&mut server.connect(), &["SET", "probe", "y"]), Some(Value::Simple(_))).then_some(())
    });
    assert!(reader.request(&["GET", "k"]).as_bytes() == Some(value(last).as_bytes()));
    server.kill();
    server.start_again();
    let mut client = server.connect();
    assert!(client.request(&["GET", "k"]).as_bytes() == Some(value(last).as_bytes()));
    assert_eq!(client.int(&["XLEN", "s"]), 1 + last as i64);
    assert_eq!(client.text(&["GET", "probe"]), "y");
}

/// differs=failing-disk
#[test]
fn a_write_that_meets_a_full_disk_is_refused_and_nobody_sees_it() {
    for shards in [1, 2] {
        for appendfsync in ["always", "everysec"] {
            let launch = Launch::shards(shards);
            let Some(mounted) = Mounted::at(launch.path("small")) else { return };
            let server = launch.args(&["--dir", "{folder}/small", "--appendfsync", appendfsync]).start();
            is_answered_and_not_seen(&Disk::Small(mounted), server);
        }
    }
}

#[test]
fn a_write_that_meets_a_limit_on_files_is_refused_and_nobody_sees_it() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).args(&["--dir", "{folder}", "--appendfsync", "always"]).start();
        is_answered_and_not_seen(&Disk::Limited, server);
    }
}

#[test]
fn a_full_disk_does_not_prevent_a_start() {
    for ends_in_order in [true, false] {
        for appendfsync in ["always", "everysec"] {
            let launch = Launch::shards(2);
            let Some(mounted) = Mounted::at(launch.path("small")) else { return };
            let mut server = launch.args(&["--dir", "{folder}/small", "--appendfsync", appendfsync]).start();
            server.connect().request(&["SET", "k", "v"]);
            if ends_in_order {
                server.signal(rustix::process::Signal::TERM);
                fill_and(&mounted, || server.wait_and_start_again());
            } else {
                server.kill();
                fill_and(&mounted, || server.start_again());
            }
            let mut client = server.connect();
            assert_eq!(client.text(&["GET", "k"]), "v");
            let mut subscriber = server.connect();
            subscriber.request(&["SUBSCRIBE", "c"]);
            assert_eq!(client.int(&["PUBLISH", "c", "hello"]), 1);
            assert!(is_misconf(&mut client, &["SET", "k", "w"]));
            fs::remove_file(mounted.0.join(FILLER)).expect("it is there");
            wait_for("writes to be taken", || {
                matches!(ask(&mut client, &["SET", "k", "w"]), Some(Value::Simple(_))).then_some(())
            });
            server.kill();
            server.start_again();
            assert_eq!(server.connect().text(&["GET", "k"]), "w");
            server.kill();
        }
    }
}

/// Fills the disk, as something else may while the server is not there, and goes on.
fn fill_and(mounted: &Mounted, start: impl FnOnce()) {
    fill(&mounted.0.join(FILLER));
    start();
}

#[test]
fn a_file_size_limit_refuses_writes_and_nothing_else_and_recovers() {
    let server = Launch::shards(2).args(&["--dir", "{folder}", "--appendfsync", "always"]).start();
    survives(&Disk::Limited, server);
}

#[test]
fn a_client_that_has_ended_its_half_of_the_connection_gets_the_reply_to_its_write() {
    for appendfsync in ["always", "everysec"] {
        let server = Launch::shards(2).args(&["--dir", "{folder}", "--appendfsync", appendfsync]).start();
        for _ in 0..50 {
            let mut client = server.connect();
            client.send(&["SET", "k", "v"]);
            client.finish();
            assert_eq!(client.rest(), b"+OK\r\n");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_stops_the_start() {
    let ended = Launch::shards(1).file("appendonlydir", "").args(&["--dir", "{folder}"]).run();
    assert!(!ended.status.success());
    assert!(ended.log.contains("journal in "), "{}", ended.log);
}

/// What is recorded for a snapshot alone is nobody's promise: a disk that takes none of it keeps nobody from writing, nor keys from going.
#[test]
fn keys_go_at_maxmemory_while_a_snapshot_is_taken_on_a_disk_that_fails() {
    const MIB: u64 = 1 << 20;
    for shards in [1, 2] {
        let launch = Launch::shards(shards).args(&["--dir", "{folder}", "--appendonly", "no", "--save", ""]);
        let (launch, faults) = Faults::under(launch, "appendonlydir");
        let server = launch.args(&["--maxmemory-policy", "allkeys-lru"]).start();
        // It has begun, and does not end.
        slow_snapshots(&server, &faults);
        let mut client = server.connect();
        client.request(&["BGSAVE"]);
        wait_for("the snapshot to be written", || (faults.waiting() > 0).then_some(()));
        limit_files(&server, "0:unlimited");
        let figure = |client: &mut Client, name: &str| -> u64 {
            let info = client.text(&["INFO", "everything"]);
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|number| number.parse().ok()).expect("a number")
        };
        wait_for("the disk to fail", || {
            client.request(&["SET", "recorded", "in vain"]);
            client.text(&["INFO", "persistence"]).contains("aof_last_write_status:err").then_some(())
        });
        let limit = figure(&mut client, "used_memory") + MIB;
        client.request(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
        let value = "x".repeat(1000);
        for number in 0..4000 {
            let key = format!("k:{number}");
            assert_eq!(
                client.request(&["SET", &key, &value]),
                Value::Simple(b"OK".to_vec()),
                "write {number}"
            );
        }
        assert!(figure(&mut client, "evicted_keys") > 0, "no key went on {shards} shards");
        let info = client.text(&["INFO", "persistence"]);
        assert!(
            info.contains("rdb_bgsave_in_progress:1") && info.contains("aof_last_write_status:err"),
            "{info}"
        );
    }
}
