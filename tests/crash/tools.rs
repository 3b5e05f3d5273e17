//! `sterna journal`.

use std::fs;
use std::process::Output;

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

/// What each effect is shown as, of every type.
#[test]
fn a_dump_is_json_with_every_name_as_text() {
    let mut server = Launch::shards(1).args(&["--dir", "{folder}", "--appendfsync", "always"]).start();
    let mut client = server.connect();
    for line in [
        "RPUSH l a b c",
        "LPUSH l z",
        "LSET l 1 y",
        "LINSERT l BEFORE b x",
        "LREM l 0 c",
        "LPOP l",
        "SADD s 1 2 three",
        "SREM s 2",
        "ZADD z 1.5 one inf two",
        "ZREM z one",
        "ZADD z 1 a 2 b",
        "ZREMRANGEBYRANK z 0 0",
        "HSET h f v g w",
        "HEXPIRE h 1000 FIELDS 1 f",
        "HDEL h g",
        "XADD x 1-1 f v",
        "XGROUP CREATE x group 0",
        "XREADGROUP GROUP group alice STREAMS x >",
        "XACK x group 1-1",
        "XADD x 2-1 f v",
        "XDEL x 2-1",
        "XSETID x 9-9",
        "XGROUP DELCONSUMER x group alice",
        "XGROUP DESTROY x group",
    ] {
        client.request(&line.split(' ').collect::<Vec<_>>());
    }
    client.request(&[&b"HSET"[..], b"h", b"na\"me\xff", b"\n"]);
    server.kill();
    let dump = text(&journal("dump", &server));
    for line in dump.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    for part in [
        r#""effect":"list","change":{"push":"front","elements":["z"]}"#,
        r#""effect":"list","change":{"set":1,"element":"y"}"#,
        r#""effect":"set","change":{"removed":["2"]}"#,
        r#""effect":"sorted set","change":{"removed":["one"]}"#,
        r#""effect":"hash","change":{"remove":["g"]}"#,
        r#""effect":"hash","change":{"set":["na\"me\u00ff","\u000a"]}"#,
        r#""change":{"create_group":{"group":"group","last_id":"0-0""#,
        r#""change":{"ack":{"group":"group","ids":["1-1"]}}"#,
        r#""change":{"destroy_group":{"group":"group"}}"#,
    ] {
        assert!(dump.contains(part), "{part} is not in\n{dump}");
    }
    assert!(!dump.contains("\"bytes\""), "{dump}");
}
