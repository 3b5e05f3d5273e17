//! `sterna journal` and `sterna import`.

use std::fs;
use std::process::Output;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, sterna_tool};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn journal(verb: &str, server: &Server) -> Output {
    sterna_tool(&["journal", verb, &server.path("appendonlydir").display().to_string()])
}

#[test]
fn a_damaged_journal_is_checked_repaired_and_starts_again() {
    let mut server = Launch::shards(1).args(&["--dir", "{folder}", "--appendfsync", "always"]).start();
    let mut client = server.connect();
    client.request(&["SET", "first", "in the \"snapshot\""]);
    client.request(&["SAVE"]);
    for number in 0..20 {
        client.request(&["XADD", "s", &format!("{}-1", number + 1), "f", &number.to_string()]);
    }
    server.kill();
    let sound = journal("check", &server);
    assert!(sound.status.success() && text(&sound).contains("sound"), "{}", text(&sound));
    let dump = text(&journal("dump", &server));
    assert!(dump.contains(r#""key":"first","type":"string","value":"in the \"snapshot\"""#), "{dump}");
    assert!(dump.contains(r#""effect":"add","id":"20-1","fields":["f","19"]"#), "{dump}");
    assert_eq!(dump.lines().count(), 21, "{dump}");

    let folder = fs::read_dir(server.path("appendonlydir")).expect("a folder").flatten();
    let mut segments =
        folder.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "segment"));
    let path = segments.next().expect("a segment");
    let mut bytes = fs::read(&path).expect("it can be read");
    // A field's value with the lengths before it: no frame without a record has them.
    let entry = bytes.windows(4).position(|piece| piece == b"\x01f\x017").expect("the eighth entry");
    bytes[entry + 3] ^= 1;
    fs::write(&path, &bytes).expect("it can be written");
    let check = journal("check", &server);
    assert!(!check.status.success() && text(&check).contains("is damaged at offset"), "{}", text(&check));
    let repair = journal("repair", &server);
    assert!(repair.status.success() && text(&repair).contains("gives up"), "{}", text(&repair));

    server.start_again();
    let mut client = server.connect();
    assert_eq!(client.text(&["GET", "first"]), "in the \"snapshot\"");
    // The entry whose record was hit; those behind it are kept.
    let left = client.int(&["XLEN", "s"]);
    assert_eq!(left, 19);
    // What was cut is no obstacle to going on.
    client.request(&["XADD", "s", "100-1", "f", "v"]);
    server.restart();
    assert_eq!(server.connect().int(&["XLEN", "s"]), left + 1);
}

#[test]
fn a_directory_without_a_journal_is_not_called_sound() {
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    fs::create_dir(server.path("empty")).expect("the folder can be written");
    for verb in ["check", "dump", "repair"] {
        let empty = sterna_tool(&["journal", verb, &server.path("empty").display().to_string()]);
        assert!(
            !empty.status.success() && text(&empty).contains("there is no journal in"),
            "{}",
            text(&empty)
        );
        // The directory above is often given instead.
        let above = sterna_tool(&["journal", verb, &server.path("").display().to_string()]);
        assert!(!above.status.success() && text(&above).contains("there is one in"), "{}", text(&above));
        assert!(text(&above).contains("appendonlydir"), "{}", text(&above));
        let nowhere = sterna_tool(&["journal", verb, &server.path("nowhere").display().to_string()]);
        assert!(!nowhere.status.success(), "{}", text(&nowhere));
    }
}

/// Something of every type, in two databases.
fn fill(client: &mut Client) {
    for line in [
        "SET plain value",
        "SET number 12345",
        "SET expires soon EX 10000",
        "XADD s 1-1 f v",
        "XADD s 2-1 f v g w",
        "XADD s 3-1 f v",
        "XDEL s 2-1",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g alice COUNT 1 STREAMS s >",
        "RPUSH list a b c",
        "SADD set 1 2 x",
        "ZADD sorted 1 a 2.5 b",
        "HSET hash f v",
        "SELECT 5",
        "SET other database",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        client.request(&words);
    }
    let long = "long ".repeat(2000);
    client.request(&["SET", "compressible", &long]);
    for number in 0..1000 {
        client.request(&["XADD", "large", &format!("{}-0", number + 1), "field", &format!("value {number}")]);
    }
}

fn picture(client: &mut Client) -> Vec<Value> {
    [
        "GET plain",
        "GET number",
        "EXPIRETIME expires",
        "XRANGE s - +",
        "XPENDING s g - + 10 alice",
        "XLEN s",
        "SELECT 5",
        "GET other",
        "GET compressible",
        "XRANGE large - +",
    ]
    .map(|line| {
        let mut value = client.request(&line.split(' ').collect::<Vec<_>>());
        // How long ago a delivery was depends on when one asks.
        if let (true, Value::Array(entries)) = (line.starts_with("XPENDING"), &mut value) {
            entries.iter_mut().for_each(|entry| {
                if let Value::Array(parts) = entry {
                    parts.remove(2);
                }
            });
        }
        value
    })
    .to_vec()
}

fn assert_moved(source: &mut Client, server: &Server, output: &Output) {
    // Keys were left, of types that there are none of.
    assert!(!output.status.success(), "{}", text(output));
    assert_eq!(picture(source), picture(&mut server.connect()), "{}", text(output));
    let told = text(output);
    for part in [
        "imported: 5 of type string",
        "imported: 2 of type stream",
        "left: 1 of type list, which Sterna does not have: list",
        "left: 1 of type set,",
        "left: 1 of type sorted set,",
        "left: 1 of type hash,",
    ] {
        assert!(told.contains(part), "{part:?} is not said:\n{told}");
    }
}

#[test]
fn keys_move_in_from_a_database_file_and_from_a_running_server() {
    let reference = Launch::reference().args(&["--dir", "{folder}"]).start();
    let mut source = reference.connect();
    fill(&mut source);
    source.request(&["SELECT", "0"]);
    source.request(&["SAVE"]);

    let server = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    let port = server.port.to_string();
    let file = reference.path("dump.rdb").display().to_string();
    let output = sterna_tool(&["import", "--rdb", &file, "-P", &port]);
    assert_moved(&mut source, &server, &output);
    let again = sterna_tool(&["import", "--rdb", &file, "-P", &port]);
    assert!(text(&again).contains("left: 7 that were there already"), "{}", text(&again));

    source.request(&["SELECT", "0"]);
    server.connect().request(&["FLUSHALL"]);
    let url = format!("redis://127.0.0.1:{}", reference.port);
    let output = sterna_tool(&["import", "--from", &url, "-P", &port]);
    assert_moved(&mut source, &server, &output);
}

/// Strings, one of which no server would take, and a type that nobody knows behind all.
fn damaged_file(unknown_type: bool) -> Vec<u8> {
    let mut file = b"REDIS0012\xfe\x00\x00\x01a\x02va".to_vec();
    file.extend(b"\x00\x01b\xc3\x03\x09\xff\xff\xff");
    file.extend(b"\x00\x01c\x02vc");
    if unknown_type {
        file.extend(b"\x63\x01d\x01d");
    }
    file.extend(b"\xff\0\0\0\0\0\0\0\0");
    file
}

#[test]
fn an_import_says_where_it_stopped_and_goes_on_if_told_to() {
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    let port = server.port.to_string();
    let path = server.path("damaged.rdb");
    let file = path.display().to_string();
    fs::write(&path, damaged_file(false)).unwrap();
    let stopped = sterna_tool(&["import", "--rdb", &file, "-P", &port]);
    assert!(!stopped.status.success());
    for part in ["imported: 2 of type string", "refused: 1, the first is b in database 0", "stopped at b"] {
        assert!(text(&stopped).contains(part), "{part:?} is not said:\n{}", text(&stopped));
    }
    let on = sterna_tool(&["import", "--rdb", &file, "-P", &port, "--replace", "--keep-going"]);
    assert!(!on.status.success());
    for part in ["imported: 2 of type string", "refused: 1", "keys were left"] {
        assert!(text(&on).contains(part), "{part:?} is not said:\n{}", text(&on));
    }
    fs::write(&path, damaged_file(true)).unwrap();
    let unknown = sterna_tool(&["import", "--rdb", &file, "-P", &port, "--replace", "--keep-going"]);
    assert!(!unknown.status.success());
    for part in ["imported: 2 of type string", "at offset 35 is a value of type 99"] {
        assert!(text(&unknown).contains(part), "{part:?} is not said:\n{}", text(&unknown));
    }
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).file("junk", "not a database").start();
    let junk = server.path("junk").display().to_string();
    let output = sterna_tool(&["import", "--rdb", &junk, "-P", &server.port.to_string()]);
    assert!(!output.status.success());
    assert!(text(&output).contains("not a Redis or Valkey database file"), "{}", text(&output));
}
