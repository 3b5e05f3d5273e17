//! Fields of hashes that expire, each at its time, by every way in and out.

use std::process::Command;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server, sterna_tool, wait_for};
use sterna_tests::skipped;

use super::following::Following;
use super::moving::text;

fn all(client: &mut Client, lines: &[&str]) -> Vec<String> {
    let said = |line: &&str| {
        let reply = client.request(&line.split(' ').collect::<Vec<_>>());
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
        format!("{line}: {reply:?}")
    };
    lines.iter().map(said).collect()
}

const BEFORE: [&str; 4] = [
    "HSET h a 1 b 2 c 3 EX 4",
    "HPEXPIREAT h 33000000000000 FIELDS 2 a EX",
    "HSET large first 1 last 2",
    "HEXPIRE large 10000 FIELDS 1 first",
];

const AFTER: [&str; 6] = [
    "HEXPIRE h 10000 FIELDS 1 b",
    "HPERSIST h FIELDS 1 a",
    "HSETEX set EX 10000 FIELDS 2 EX PX px EX",
    "HGETEX large PX 20000000 FIELDS 1 last",
    "HSET gone soon 1 stays 2",
    "HPEXPIRE gone 1 FIELDS 1 soon",
];

const READS: [&str; 7] = [
    "HPEXPIRETIME h FIELDS 4 a b c EX",
    "HPEXPIRETIME large FIELDS 2 first last",
    "HPEXPIRETIME set FIELDS 2 EX px",
    "HMGET set EX px",
    "HMGET h a b c EX",
    "HGETALL gone",
    "DBSIZE",
];

fn assert_all(server: &Server, expected: &[String], way: &str) {
    assert_eq!(all(&mut server.connect(), &READS), expected, "{way}\n{}", server.log());
}

#[test]
fn fields_that_expire_keep_their_times_by_every_way_in_and_out() {
    let args = ["--dir", "{folder}", "--appendonly", "yes", "--repl-diskless-sync-delay", "0"];
    let mut source = Launch::reference().args(&args).start();
    let mut client = source.connect();
    if matches!(client.request(&["HPEXPIRETIME", "h", "FIELDS", "1", "a"]), Value::Error(_)) {
        return skipped("needs Redis 7.4 or newer; ./test installs it");
    }
    all(&mut client, &BEFORE);
    (0..1000).for_each(|n| drop(client.request(&["HSET", "large", &format!("name {n}"), "x"])));
    // Some in a database file, some in a stream of commands.
    client.request(&["BGREWRITEAOF"]);
    wait_for("the file to be rewritten", || {
        let info = client.text(&["INFO", "persistence"]);
        (info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")).then_some(())
    });
    let target = Launch::shards(2).args(&["--dir", "{folder}"]).start();
    let mut following = Following::start(&source, &target, &[]);
    following.await_line("following");
    all(&mut client, &AFTER);
    wait_for("the field to be gone", || (client.int(&["HLEN", "gone"]) == 1).then_some(()));
    let expected = all(&mut client, &READS);
    let (is_content, said) = following.stop();
    assert!(is_content, "{said}");
    assert_all(&target, &expected, "--follow");

    // A time that differs is a difference.
    let check = || {
        let url = format!("redis://127.0.0.1:{}", source.port);
        sterna_tool(&["import", "--from", &url, "--check", "-P", &target.port.to_string()])
    };
    assert!(check().status.success(), "{}", text(&check()));
    target.connect().request(&["HPEXPIREAT", "h", "33000000000001", "FIELDS", "1", "EX"]);
    let told = text(&check());
    assert!(told.contains("1 differ") && told.contains("differs: h in database 0"), "{told}");
    target.connect().request(&["HPEXPIREAT", "h", "33000000000000", "FIELDS", "1", "EX"]);

    source.kill();
    let directory = source.path("").display().to_string();
    let args =
        ["--dir", &directory, "--appenddirname", "own", "--appendonly", "yes", "--import-on-start", "yes"];
    let mut brought = Launch::shards(3).args(&args).start();
    assert_all(&brought, &expected, "--import-on-start");
    brought.kill();
    brought.start_again();
    assert_all(&brought, &expected, "our own journal");

    let launch = || Launch::reference().args(&["--dir", "{folder}"]);
    let (exported, copied) = (launch(), launch());
    let (port, file) = (brought.port.to_string(), exported.path("dump.rdb").display().to_string());
    let output = sterna_tool(&["export", "-P", &port, "--rdb", &file]);
    assert!(output.status.success(), "{}", text(&output));
    assert_all(&exported.start(), &expected, "sterna export");
    let file = copied.path("dump.rdb").display().to_string();
    let output = Command::new("redis-cli").args(["-p", &port, "--rdb", &file]).output();
    let Ok(output) = output else { return skipped("needs redis-cli; ./test installs it") };
    assert!(output.status.success(), "{}", text(&output));
    assert_all(&copied.start(), &expected, "redis-cli --rdb");
}
