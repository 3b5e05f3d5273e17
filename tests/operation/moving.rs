//! Moving in and out: `sterna import` and `sterna export`.

use std::fs;
use std::process::Output;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::script::major_version;
use sterna_tests::server::{Launch, Server, sterna_tool};

pub(super) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Every type, small and large, in two databases. Names of keys are those of `picture`.
pub(super) fn fill(client: &mut Client) {
    for line in [
        "SET plain value",
        "SET number 12345",
        "SET expires soon EX 10000",
        "SETBIT bits 1000 1",
        "PFADD loglog a b c d e",
        "XADD s 1-1 f v",
        "XADD s 2-1 f v g w",
        "XADD s 3-1 f v",
        "XDEL s 2-1",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g alice COUNT 1 STREAMS s >",
        "RPUSH list a b 3 -4000000000",
        "SADD integers 1 -2 70000 9999999999",
        "SADD set 1 2 x",
        "ZADD sorted 1 a 2.5 b -inf c inf d 0.1 e",
        "HSET hash f v 1 2 empty x",
        "GEOADD places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        "EXPIRE hash 10000",
        "SELECT 5",
        "SET other database",
        "SELECT 0",
    ] {
        let reply = client.request(&line.split(' ').collect::<Vec<_>>());
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    for code in [
        "#!lua name=greeting\nredis.register_function('greet', function(keys, args) return redis.call('GET', keys[1]) .. \
         args[1] end)\nredis.register_function{function_name = 'seven', callback = function() return 7 end, \
         flags = {'no-writes'}}",
        "#!lua name=other\nlocal n = 4\nredis.register_function('double', function() return 2 * n end)",
    ] {
        client.request(&["FUNCTION", "LOAD", code]);
    }
    client.request(&["SET", "compressible", &"long ".repeat(2000)]);
    client.request(&["RPUSH", "large:list", &"element longer than a node ".repeat(500)]);
    for number in 0..1000 {
        let (n, name) = (number.to_string(), format!("name {number}"));
        client.request(&["XADD", "large", &format!("{}-0", number + 1), "field", &name]);
        client.request(&["RPUSH", "large:list", &name, &n]);
        client.request(&["SADD", "large:set", &name]);
        client.request(&["SADD", "large:integers", &n]);
        client.request(&["HSET", "large:hash", &name, &n]);
        client.request(&["ZADD", "large:sorted", &format!("{}.5", number % 7), &name]);
    }
}

/// What is under the names that `fill` gave, in an order that doesn't depend on the server.
pub(super) fn picture(client: &mut Client) -> Vec<String> {
    let requests = [
        "GET plain",
        "GET number",
        "EXPIRETIME expires",
        "GET bits",
        "PFCOUNT loglog",
        "GET loglog",
        "XRANGE s - +",
        "XPENDING s g - + 10 alice",
        "XLEN s",
        "LRANGE list 0 -1",
        "SMEMBERS integers",
        "SMEMBERS set",
        "ZRANGE sorted 0 -1 WITHSCORES",
        "HGETALL hash",
        "EXPIRETIME hash",
        "ZRANGE places 0 -1 WITHSCORES",
        "GET compressible",
        "XRANGE large - +",
        "LRANGE large:list 0 -1",
        "SMEMBERS large:set",
        "SMEMBERS large:integers",
        "HGETALL large:hash",
        "ZRANGE large:sorted 0 -1 WITHSCORES",
        "FCALL greet 1 plain !",
        "FCALL_RO seven 0",
        "FCALL double 0",
        "FUNCTION STATS",
        "DBSIZE",
        "SELECT 5",
        "GET other",
        "SELECT 0",
    ];
    requests.map(|line| format!("{line}: {}", seen(client, line))).to_vec()
}

fn seen(client: &mut Client, line: &str) -> String {
    let mut value = client.request(&line.split(' ').collect::<Vec<_>>());
    let Value::Array(parts) = &mut value else { return format!("{value:?}") };
    if line.starts_with("XPENDING") {
        // How long ago a delivery was depends on when one asks.
        parts.iter_mut().for_each(|entry| {
            if let Value::Array(parts) = entry {
                parts.remove(2);
            }
        });
    }
    let mut parts: Vec<String> = parts.iter().map(|part| format!("{part:?}")).collect();
    if line.starts_with("HGETALL") {
        parts = parts.chunks(2).map(|pair| pair.join(" ")).collect();
    }
    if line.starts_with("HGETALL") || line.starts_with("SMEMBERS") {
        parts.sort();
    }
    parts.join(", ")
}

fn assert_moved(source: &mut Client, server: &Server, output: &Output) {
    assert!(output.status.success(), "{}", text(output));
    let (expected, got) = (picture(source), picture(&mut server.connect()));
    expected.iter().zip(&got).for_each(|(expected, got)| assert_eq!(expected, got, "{}", text(output)));
    let told = text(output);
    for part in [
        "imported: 7 of type string",
        "imported: 2 of type stream",
        "imported: 2 of type list",
        "imported: 4 of type set",
        "imported: 3 of type sorted set",
        "imported: 2 of type hash",
    ] {
        assert!(told.contains(part), "{part:?} is not said:\n{told}");
    }
}

#[test]
fn keys_move_in_from_a_database_file_and_from_a_running_server() {
    let reference = Launch::reference().args(&["--dir", "{folder}"]).start();
    let mut source = reference.connect();
    fill(&mut source);
    source.request(&["SAVE"]);

    let server = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    let port = server.port.to_string();
    let file = reference.path("dump.rdb").display().to_string();
    let output = sterna_tool(&["import", "--rdb", &file, "-P", &port]);
    assert_moved(&mut source, &server, &output);
    let again = sterna_tool(&["import", "--rdb", &file, "-P", &port]);
    assert!(text(&again).contains("left: 20 that were there already"), "{}", text(&again));

    server.connect().request(&["FLUSHALL"]);
    server.connect().request(&["FUNCTION", "FLUSH"]);
    let url = format!("redis://127.0.0.1:{}", reference.port);
    let output = sterna_tool(&["import", "--from", &url, "-P", &port]);
    assert_moved(&mut source, &server, &output);
}

#[test]
fn keys_move_out_into_a_file_that_redis_and_valkey_load() {
    let server = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    let mut source = server.connect();
    fill(&mut source);
    let file = server.path("moved.rdb").display().to_string();
    let output = sterna_tool(&["export", "--rdb", &file, "-P", &server.port.to_string()]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("exported: 20 keys to"), "{}", text(&output));
    let expected = picture(&mut source);
    let Some(valkey) = Launch::valkey() else {
        sterna_tests::skipped("needs Valkey; ./test installs it");
        return;
    };
    for launch in [Launch::reference(), valkey] {
        fs::copy(server.path("moved.rdb"), launch.path("dump.rdb")).expect("the folder can be written");
        let other = launch.args(&["--dir", "{folder}"]).start();
        let got = picture(&mut other.connect());
        expected.iter().zip(&got).for_each(|(expected, got)| assert_eq!(expected, got, "{}", other.log()));
    }
}

/// A small and a large hash, some of whose fields expire.
fn fill_expiring(client: &mut Client) {
    for (key, count) in [("few", 5), ("many", 700)] {
        let names: Vec<String> = (0..count).map(|number| format!("field:{number}")).collect();
        let pairs = names.iter().flat_map(|name| [name.as_str(), "value"]);
        client.request(&["HSET", key].into_iter().chain(pairs).collect::<Vec<_>>());
        let expiring: Vec<&str> = names.iter().map(String::as_str).step_by(2).collect();
        let head = ["HPEXPIREAT", key, "4102444800000", "FIELDS", &expiring.len().to_string()];
        client.request(&[&head[..], &expiring].concat());
    }
    client.request(&["SET", "plain", "value"]);
    client.request(&["XADD", "stream", "1-1", "field", "value"]);
}

/// What these have, and when their fields expire.
fn expiries(client: &mut Client) -> Vec<Value> {
    let mut all = vec![client.request(&["GET", "plain"]), client.request(&["XLEN", "stream"])];
    for (key, count) in [("few", 5), ("many", 700)] {
        let names: Vec<String> = (0..count).map(|number| format!("field:{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        all.push(client.request(&["HLEN", key]));
        all.push(client.request(&[&["HMGET", key], &names[..]].concat()));
        let head = ["HPEXPIRETIME", key, "FIELDS", &count.to_string()];
        all.push(client.request(&[&head[..], &names].concat()));
    }
    all
}

#[test]
fn hashes_whose_fields_expire_move_out_to_redis_and_to_valkey_by_file_and_to_a_server_that_runs() {
    let server = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    let mut source = server.connect();
    fill_expiring(&mut source);
    if major_version(&Launch::reference().start()) < 8 {
        sterna_tests::skipped("needs a Redis that has fields which expire; ./test installs one");
        return;
    }
    let port = server.port.to_string();
    let expected = expiries(&mut source);
    let Some(valkey) = Launch::valkey() else {
        sterna_tests::skipped("needs Valkey; ./test installs it");
        return;
    };
    for (launch, options, version) in
        [(Launch::reference(), &[][..], "(version 12)"), (valkey, &["--valkey"], "(version 80)")]
    {
        let file = launch.path("dump.rdb").display().to_string();
        let output = sterna_tool(&[&["export", "--rdb", &file, "-P", &port][..], options].concat());
        assert!(output.status.success() && text(&output).contains(version), "{}", text(&output));
        assert_eq!(text(&output).contains("--valkey writes"), options.is_empty(), "{}", text(&output));
        let other = launch.args(&["--dir", "{folder}"]).start();
        let mut client = other.connect();
        assert_eq!(expiries(&mut client), expected, "{}", other.log());
        client.request(&["FLUSHALL"]);
        let url = format!("redis://127.0.0.1:{}", other.port);
        let output = sterna_tool(&["export", "--to", &url, "-P", &port]);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(expiries(&mut client), expected, "{}", text(&output));
    }
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let server = Launch::shards(1).args(&["--dir", "{folder}"]).start();
    server.connect().request(&["SET", "k", "v"]);
    let nowhere = server.path("nowhere/moved.rdb").display().to_string();
    let output = sterna_tool(&["export", "--rdb", &nowhere, "-P", &server.port.to_string()]);
    assert!(!output.status.success());
    assert!(text(&output).contains("cannot write"), "{}", text(&output));
    let unreached = server.path("moved.rdb").display().to_string();
    let output = sterna_tool(&["export", "--rdb", &unreached, "-P", "1"]);
    assert!(!output.status.success());
    assert!(
        fs::read_dir(server.path(""))
            .unwrap()
            .flatten()
            .all(|file| { !file.file_name().to_string_lossy().starts_with("moved.rdb") })
    );
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

/// Requests take no such name; scripts do.
#[test]
fn a_key_with_a_name_of_megabytes_moves_as_any_other() {
    let start = || Launch::shards(2).args(&["--dir", "{folder}"]).start();
    let (source, straight, by_file) = (start(), start(), start());
    let name = "k".repeat(3 << 20);
    let by_script = |client: &mut Client, call: &str| {
        client.request(&["EVAL", &format!("return redis.call({call})"), "0", &name])
    };
    let mut client = source.connect();
    client.request(&["SET", "short", "v"]);
    assert_eq!(by_script(&mut client, "'set', ARGV[1], 'long'"), Value::Simple(b"OK".to_vec()));
    by_script(&mut client, "'pexpireat', ARGV[1], '9999999999999'");
    let file = source.path("moved.rdb").display().to_string();
    let port = |server: &Server| server.port.to_string();
    let url = format!("redis://127.0.0.1:{}", straight.port);
    for output in [
        sterna_tool(&["export", "--to", &url, "-P", &port(&source)]),
        sterna_tool(&["export", "--rdb", &file, "-P", &port(&source)]),
        sterna_tool(&["import", "--rdb", &file, "-P", &port(&by_file)]),
    ] {
        assert!(output.status.success(), "{}", text(&output));
    }
    for server in [&straight, &by_file] {
        let mut client = server.connect();
        assert_eq!(client.int(&["DBSIZE"]), 2);
        assert_eq!(by_script(&mut client, "'get', ARGV[1]"), Value::Bulk(b"long".to_vec()));
        assert_eq!(by_script(&mut client, "'pexpiretime', ARGV[1]"), Value::Int(9_999_999_999_999));
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
