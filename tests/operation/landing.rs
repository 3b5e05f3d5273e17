//! A data directory of Redis or Valkey: found, loaded, and left as it was.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, free_port, sterna_tool, wait_for};

use super::moving::{fill, picture, text};

/// What is done after the file was rewritten: each of it stands as a command in the append-only file.
const LATER: &str = "SET later 1
INCRBY later 41
GETEX expires PERSIST
SET expires2 x EX 10000
RENAME expires2 expires3
XADD s 5-1 f v
XREADGROUP GROUP g bob COUNT 1 STREAMS s >
XACK s g 1-1
XGROUP CREATECONSUMER s g carol
XTRIM large MAXLEN 10
SADD pops a b c d
SPOP pops 2
SINTERSTORE both large:set set
LMOVE list list LEFT RIGHT
HINCRBYFLOAT hash f2 1.5
HDEL hash f
ZPOPMIN sorted
SETRANGE compressible 5 changed
BITOP NOT nots bits
COPY s s2
SELECT 3
SET three x
MOVE three 4
SELECT 0
SWAPDB 4 6
PFADD loglog f g
MULTI
SET multi 1
SELECT 7
SET multi 2
EXEC
SELECT 0
EVAL redis.call('SET',KEYS[1],'v')redis.call('EXPIRE',KEYS[1],10000) 1 scripted";

const READS: &str = "GET later
EXPIRETIME expires
TTL expires2
EXPIRETIME expires3
XINFO GROUPS s
XRANGE s2 - +
XLEN large
SMEMBERS pops
SMEMBERS both
HGETALL hash
GET nots
GET multi
EXPIRETIME scripted
SELECT 6
GET three
SELECT 7
GET multi
DBSIZE
SELECT 0";

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

pub(super) fn all(client: &mut Client) -> Vec<String> {
    let mut all = picture(client);
    for line in READS.lines() {
        let mut value = client.request(&words(line));
        if let (Value::Array(parts), true) = (&mut value, line.starts_with("SMEMBERS")) {
            parts.sort_by_key(|part| format!("{part:?}"));
        }
        if line != "GET loglog" {
            all.push(format!("{line}: {value:?}"));
        }
    }
    all
}

/// Does all that.
pub(super) fn change(client: &mut Client) {
    for line in LATER.lines() {
        let reply = client.request(&words(line));
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    let other = "#!lua name=other\nredis.register_function('double', function() return 10 end)";
    client.request(&["FUNCTION", "LOAD", "REPLACE", other]);
    client.request(&[
        "FUNCTION",
        "LOAD",
        "#!lua name=third\nredis.register_function('third', function() return 3 end)",
    ]);
    client.request(&["FUNCTION", "DELETE", "third"]);
}

/// Has a server write an append-only file of a base and increments, and dies. What it held is returned.
fn leave(launch: Launch) -> (Server, Vec<String>) {
    let mut server =
        launch.args(&["--dir", "{folder}", "--appendonly", "yes", "--appendfsync", "no"]).start();
    let mut client = server.connect();
    fill(&mut client);
    client.request(&["SET", "gone", "soon", "PX", "1"]);
    wait_for("it to be gone", || matches!(client.request(&["GET", "gone"]), Value::Null).then_some(()));
    client.request(&["BGREWRITEAOF"]);
    wait_for("the file to be rewritten", || {
        let info = client.text(&["INFO", "persistence"]);
        (info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")).then_some(())
    });
    change(&mut client);
    let expected = all(&mut client);
    server.kill();
    (server, expected)
}

fn assert_all(server: &Server, expected: &[String], what: &str) {
    let got = all(&mut server.connect());
    expected
        .iter()
        .zip(&got)
        .for_each(|(expected, got)| assert_eq!(expected, got, "{what}\n{}", server.log()));
}

/// The last increment of an append-only file.
fn last_part(server: &Server) -> PathBuf {
    let files =
        fs::read_dir(server.path("appendonlydir")).expect("it is there").flatten().map(|entry| entry.path());
    files.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max().expect("there are increments")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_data_directory_is_brought_in_by_the_tool_and_at_the_start() {
    let launches = [Some(Launch::reference()), Launch::valkey()];
    for (launch, shards) in launches.into_iter().zip([1, 3]) {
        let Some(launch) = launch else {
            sterna_tests::skipped("needs Valkey; ./test installs it");
            continue;
        };
        let (left, expected) = leave(launch);
        let directory = left.path("").display().to_string();
        let before = names(&left.path("appendonlydir"));

        // A crash in the middle of a write, and of a transaction.
        let whole = fs::read(last_part(&left)).expect("it can be read");
        let mut part = fs::OpenOptions::new().append(true).open(last_part(&left)).expect("it can be written");
        part.write_all(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$5\r\nlater\r\n$1\r\n0\r\n*3\r\n$3\r\nSE")
            .unwrap();
        let into = left.path("made").display().to_string();
        let refused = sterna_tool(&["import", &directory, "--into", &into, "--whole"]);
        assert!(!refused.status.success() && text(&refused).contains("in the middle"), "{}", text(&refused));
        assert!(!left.path("made").exists());

        let output = sterna_tool(&["import", &directory, "--into", &into]);
        let told = text(&output);
        assert!(output.status.success(), "{told}");
        for part in
            ["append-only file of 2 parts", "unfinished write", "imported: 3 of type stream", "nothing left"]
        {
            assert!(told.contains(part), "{part:?} is not said:\n{told}");
        }
        let again = sterna_tool(&["import", &directory, "--into", &into]);
        assert!(!again.status.success() && text(&again).contains("is not empty"), "{}", text(&again));
        let args = ["--dir", &directory, "--appenddirname", "made", "--appendonly", "yes"];
        let server = Launch::shards(shards).args(&args).start();
        assert_all(&server, &expected, "brought in by the tool");
        drop(server);

        // Into a server that runs.
        let server = Launch::shards(shards).args(&["--dir", "{folder}"]).start();
        let output = sterna_tool(&["import", &directory, "-P", &server.port.to_string()]);
        assert!(output.status.success(), "{}", text(&output));
        assert_all(&server, &expected, "brought into a server");
        drop(server);

        // At the start; what an earlier try has left is no obstacle.
        fs::create_dir(left.path("own.importing")).unwrap();
        fs::write(left.path("own.importing/MANIFEST"), "half").unwrap();
        let args = [
            "--dir",
            &directory,
            "--appenddirname",
            "own",
            "--appendonly",
            "yes",
            "--import-on-start",
            "yes",
        ];
        let mut server = Launch::shards(shards).args(&args).start();
        assert_all(&server, &expected, "brought in at the start");
        server.connect().request(&["SET", "later", "own"]);
        server.kill();
        server.start_again();
        assert_eq!(server.connect().text(&["GET", "later"]), "own", "it is brought in once");

        // What is removed is not brought back, and a second server leaves the journal of the first alone.
        let mut client = server.connect();
        client.request(&["FLUSHALL"]);
        client.request(&["BGREWRITEAOF"]);
        wait_for("the snapshot", || {
            client.text(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:0").then_some(())
        });
        let port = free_port().to_string();
        let second = sterna_tool(&[&args[..], &["--bind", "127.0.0.1", "--port", &port]].concat());
        assert!(!second.status.success(), "{}", text(&second));
        client.request(&["SET", "kept", "1"]);
        server.kill();
        server.start_again();
        assert_eq!(server.connect().int(&["DBSIZE"]), 1, "what was removed is brought back");
        drop(server);

        // Nothing of theirs has changed, and it is theirs still.
        assert_eq!(names(&left.path("appendonlydir")), before);
        assert!(fs::read(last_part(&left)).unwrap().starts_with(&whole));
    }
}

#[test]
fn files_of_redis_are_named_and_never_mixed_with_ours() {
    let mut reference = Launch::reference().args(&["--dir", "{folder}"]).start();
    let mut client = reference.connect();
    client.request(&["SET", "k", "v"]);
    client.request(&["SAVE"]);
    reference.kill();
    let directory = reference.path("").display().to_string();
    let server = Launch::shards(1).args(&["--dir", &directory]).start();
    assert!(server.log().contains("dump.rdb (a database file"), "{}", server.log());
    assert_eq!(server.connect().int(&["DBSIZE"]), 0);
    drop(server);

    // By whatever name (`dbfilename`), and also where something is missing.
    let named = Launch::shards(1).args(&["--dir", "{folder}"]);
    fs::copy(reference.path("dump.rdb"), named.path("cache.db")).unwrap();
    let server = named.start();
    assert!(server.log().contains("cache.db (a database file"), "{}", server.log());
    drop(server);
    let partial = Launch::shards(1).args(&["--dir", "{folder}"]);
    fs::create_dir(partial.path("theirs")).unwrap();
    fs::write(
        partial.path("theirs/appendonly.aof.manifest"),
        "file appendonly.aof.1.base.rdb seq 1 type b\n",
    )
    .unwrap();
    let server = partial.start();
    assert!(server.log().contains("can't be brought in as they are"), "{}", server.log());
    drop(server);

    // A value of a module: the start says so rather than leave it behind.
    let mut file = b"REDIS0012\xfe\x00\x07\x01m\x81\0\0\0\0\0\0\0\x01\x00".to_vec();
    file.extend(b"\x00\x01a\x02va\xff\0\0\0\0\0\0\0\0");
    fs::write(reference.path("dump.rdb"), file).unwrap();
    let args = ["--dir", &directory, "--import-on-start", "yes"];
    let ended = Launch::shards(1).args(&args).run();
    assert!(
        !ended.status.success() && ended.log.contains("m in database 0 is a value of a module"),
        "{}",
        ended.log
    );
    let into = reference.path("made").display().to_string();
    let output = sterna_tool(&["import", &directory, "--into", &into, "--keep-going"]);
    let told = text(&output);
    assert!(!output.status.success() && told.contains("1 keys imported, 1 left"), "{told}");

    // Their directory as ours.
    fs::create_dir(reference.path("theirs")).unwrap();
    fs::write(reference.path("theirs/appendonly.aof.1.incr.aof"), "").unwrap();
    let args = [&args[..], &["--appenddirname", "theirs"]].concat();
    let ended = Launch::shards(1).args(&args).run();
    assert!(
        !ended.status.success() && ended.log.contains("does not put its own files beside"),
        "{}",
        ended.log
    );
}

#[test]
fn a_damaged_append_only_file_is_named_with_the_place() {
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    let path = server.path("appendonly.aof");
    let import = |bytes: &[u8], more: &[&str]| {
        fs::write(&path, bytes).unwrap();
        let (file, port) = (path.display().to_string(), server.port.to_string());
        sterna_tool(&[&["import", &file, "-P", &port], more].concat())
    };
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    for (bytes, why) in [
        (&b"*2\r\n$6\r\nAPPEND\r\n$1\r\na\r\n"[..], "the command append at offset 27: wrong number"),
        (b"*1\r\n$7\r\nMODULE1\r\n", "the command module1 at offset 27"),
        (b"garbage\r\n", "damaged at offset 27"),
    ] {
        let output = import(&[set, bytes].concat(), &[]);
        assert!(!output.status.success() && text(&output).contains(why), "{why}: {}", text(&output));
        assert_eq!(
            server.connect().int(&["EXISTS", "a"]),
            0,
            "nothing comes from a file that is not understood"
        );
    }
    let output = import(&[set, &b"*1\r\n$7\r\nMODULE1\r\n"[..]].concat(), &["--keep-going"]);
    assert!(
        !output.status.success() && text(&output).contains("1 keys imported, 1 left"),
        "{}",
        text(&output)
    );
    assert_eq!(server.connect().int(&["EXISTS", "a"]), 1);
}

/// What a changed byte does to lengths and to the ends of transactions looks like a file that was being written, and is not.
#[test]
fn of_a_damaged_append_only_file_what_stands_before_the_damage_comes_if_told_to_and_nothing_is_left_unsaid() {
    let command = |line: &str| {
        let words: Vec<String> =
            line.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{}", words.len(), words.concat())
    };
    let file = |lines: &[&str]| lines.iter().map(|line| command(line)).collect::<String>();
    let set_b = command("SET b 1");
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    let path = server.path("appendonly.aof");
    let import = |more: &[&str]| {
        let (file, port) = (path.display().to_string(), server.port.to_string());
        sterna_tool(&[&["import", &file, "-P", &port], more].concat())
    };
    for (case, damaged) in [
        "xx".to_owned() + &set_b,
        set_b.replace("$1\r\nb", "$91\r\nb"),
        set_b.replace("*3", "*9"),
        file(&["MULTI", "SET b 1", "EXEB"]),
        file(&["MULTI", "SET b 1", "SET c 1", "MULTI", "SET d 1", "EXEC"]),
    ]
    .into_iter()
    .enumerate()
    {
        server.connect().request(&["FLUSHALL"]);
        fs::write(&path, file(&["SELECT 0", "SET a 1"]) + &damaged + &file(&["SET e 1", "SET f 1"])).unwrap();
        let stopped = import(&[]);
        let told = text(&stopped);
        assert!(!stopped.status.success() && told.contains("damaged at offset"), "case {case}: {told}");
        assert_eq!(server.connect().int(&["DBSIZE"]), 0, "case {case}");
        let on = import(&["--keep-going"]);
        let told = text(&on);
        assert!(!on.status.success(), "case {case}: {told}");
        for part in [
            "damaged at offset",
            "what stands before that was taken",
            "1 keys imported, 0 left, and all that stands",
        ] {
            assert!(told.contains(part), "case {case}: {part:?} is not said:\n{told}");
        }
        let mut client = server.connect();
        assert_eq!((client.int(&["DBSIZE"]), client.int(&["EXISTS", "a"])), (1, 1), "case {case}");
    }
    // What a command of a database that there is none of would do is done in no other one.
    server.connect().request(&["FLUSHALL"]);
    fs::write(&path, file(&["SET a 1", "SELECT 999", "SET a 2", "DEL a", "SELECT 1", "SET a 3"])).unwrap();
    let elsewhere = import(&["--keep-going"]);
    assert!(!elsewhere.status.success() && text(&elsewhere).contains("refused: 3"), "{}", text(&elsewhere));
    let mut client = server.connect();
    assert_eq!(client.request(&["GET", "a"]), Value::Bulk(b"1".to_vec()));
    // Whether a length has changed, or a value was being written that holds commands, can't be told.
    server.connect().request(&["FLUSHALL"]);
    let value = command("SET b 1");
    fs::write(&path, file(&["SET a 1"]) + "*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$50\r\n" + &value).unwrap();
    let stopped = import(&[]);
    assert!(
        !stopped.status.success() && text(&stopped).contains("cut or damaged at offset"),
        "{}",
        text(&stopped)
    );
    assert!(text(&import(&["--keep-going"])).contains("1 keys imported"));
    // A file that was being written is none of this, though what it writes resembles commands.
    let cut = file(&["SET a 1", "MULTI", "SET b 1"])
        + "*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$50\r\n*3 $3 SET *3\r\n$3\r\nXYZ\r\n";
    fs::write(&path, cut).unwrap();
    let whole = import(&["--replace"]);
    assert!(
        whole.status.success() && text(&whole).contains("1 keys imported, nothing left"),
        "{}",
        text(&whole)
    );
}

#[test]
fn an_append_only_file_of_any_name_is_known_and_expiries_without_a_clock_count_from_its_own_time() {
    let command = |line: &str| {
        let words: Vec<String> =
            line.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{}", words.len(), words.concat())
    };
    let lines = [
        "SELECT 0",
        "SETEX a 10000 v",
        "SET b ex PX 10000000",
        "SET c v",
        "EXPIRE c 10000",
        "SET d v PXAT 17",
    ];
    let file: String = lines.iter().map(|line| command(line)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("state"), file).expect("it can be written");
    let directory = folder.path().display().to_string();
    let into = folder.path().join("made").display().to_string();
    let output = sterna_tool(&["import", &directory, "--into", &into]);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    for part in
        ["state (an append-only file", "imported: 3 of type string", "expired before: 1", "nothing left"]
    {
        assert!(told.contains(part), "{part:?} is not said:\n{told}");
    }
    let server = Launch::shards(2).args(&["--dir", &directory, "--appenddirname", "made"]).start();
    let mut client = server.connect();
    for key in ["a", "b", "c"] {
        let left = client.int(&["TTL", key]);
        assert!((1..=10_000).contains(&left), "{key}: {left}");
    }
    assert_eq!(client.int(&["EXISTS", "d"]), 0);
    // Into a server that runs as well.
    let target = Server::sterna(1, &[]);
    let output = sterna_tool(&["import", &directory, "-p", &target.port.to_string()]);
    assert!(output.status.success() && text(&output).contains("expired before: 1"), "{}", text(&output));
}
