//! The upgrade rule: a version reads the journal of every version before it, and says so clearly where it can't read a later one's.
//!
//! `tests/golden/format-N` is a journal of format N with a snapshot and a log behind it, as a server wrote it and left it; a new
//! format gets a new directory, and none is ever changed. (`crates/journal/tests/golden` keeps the bytes of the format itself.)

use std::fs;
use std::path::Path;

use sterna_protocol::decode::Value;
use sterna_tests::server::{Launch, sterna_tool};

/// What is in `format-2`: every type, written before the snapshot and changed behind it.
const FORMAT_2: &[(&str, &str)] = &[
    ("GET text", "Value and more!"),
    ("GET number", "12346"),
    ("PEXPIRETIME number", "33000000000001"),
    ("PEXPIRETIME expires", "33000000000000"),
    ("LRANGE list 0 -1", "[B 3 -4000000000 tail]"),
    ("SORT integers", "[-2 1 70000]"),
    ("SORT set ALPHA", "[1 2 y]"),
    ("SORT set2 ALPHA", "[1 2 y]"),
    ("ZRANGE sorted 0 -1 WITHSCORES", "[c -inf a 2 b 2.5 d 7]"),
    ("HMGET hash f 1 2 empty later", "[v nil nil  1]"),
    ("HPEXPIRETIME hash FIELDS 1 f", "[33000000000000]"),
    ("XRANGE stream - +", "[[2-1 [f v g w]] [3-1 [h i]]]"),
    ("XPENDING stream group", "[1 2-1 2-1 [[bob 1]]]"),
    ("EXISTS loglog bits", "0"),
    ("GETBIT bits2 100", "1"),
    ("MGET one two", "[1 2]"),
    ("FCALL seven 0", "7"),
    ("SELECT 4", "OK"),
    ("GET other", "database"),
    ("SELECT 0", "OK"),
    ("DBSIZE", "13"),
];

fn shown(value: &Value) -> String {
    match value {
        Value::Array(parts) => format!("[{}]", parts.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Int(number) => number.to_string(),
        Value::Null => "nil".to_owned(),
        Value::Simple(text) | Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

/// A launch whose journal is a copy of one that is kept.
fn with_golden(shards: usize, format: u32) -> Launch {
    let launch = Launch::shards(shards).args(&["--dir", "{folder}"]);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/format-{format}"));
    fs::create_dir(launch.path("appendonlydir")).expect("the folder can be written");
    for entry in fs::read_dir(from).expect("it is kept").flatten() {
        let to = launch.path("appendonlydir").join(entry.file_name());
        fs::copy(entry.path(), to).expect("it can be copied");
    }
    launch
}

#[test]
fn a_journal_of_an_earlier_version_is_loaded_and_goes_on() {
    for shards in [1, 3] {
        let mut server = with_golden(shards, 2).start();
        let look = |server: &sterna_tests::server::Server| {
            let mut client = server.connect();
            for (request, expected) in FORMAT_2 {
                let words: Vec<&str> = request.split(' ').collect();
                assert_eq!(shown(&client.request(&words)), *expected, "{request}");
            }
        };
        look(&server);
        let mut client = server.connect();
        client.request(&["SET", "since", "x"]);
        server.restart();
        assert_eq!(server.connect().request(&["DEL", "since"]), Value::Int(1));
        look(&server);
    }
}

#[test]
fn a_journal_of_a_later_version_is_refused_by_name_and_left_as_it_is() {
    let launch = with_golden(1, 2);
    let manifest = launch.path("appendonlydir/MANIFEST");
    let mut bytes = fs::read(&manifest).expect("it can be read");
    // The format's version, with the checksum that a later version would give it.
    bytes[8] = 99;
    let checksum = crc32c(&bytes[..124]).to_le_bytes();
    bytes[124..128].copy_from_slice(&checksum);
    fs::write(&manifest, &bytes).expect("it can be written");
    let directory = launch.path("appendonlydir").display().to_string();
    for verb in ["check", "repair", "dump"] {
        let output = sterna_tool(&["journal", verb, &directory]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("start the newer sterna"), "{verb}: {told}");
    }
    assert_eq!(fs::read(&manifest).expect("it is still there"), bytes, "a repair leaves it alone");
    let ended = launch.run();
    assert!(!ended.status.success() && ended.log.contains("format version 99"), "{}", ended.log);
}

/// The checksum of docs/journal-format.md.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}
