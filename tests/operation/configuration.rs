//! The configuration: what it says holds, or there is no start; what CONFIG REWRITE has written is what runs.

use std::fs;

use sterna_config::{Kind, Mutability, OPTIONS, OptionRow};
use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server};

fn with_file(text: &str) -> Launch {
    Launch::shards(2).file("redis.conf", text).config("{folder}/redis.conf")
}

fn error(client: &mut Client, line: &str) -> String {
    client.send(&line.split(' ').collect::<Vec<_>>());
    client.error()
}

#[test]
fn a_directive_that_protects_works_or_stops_the_start_with_its_line() {
    for directive in [
        "replicaof 127.0.0.1 6379",
        "loadmodule /x.so",
        "masterauth secret",
        "masteruser bob",
        "tls-key-file-pass secret",
        "unixsocketgroup nobody",
        "cluster-enabled yes",
        "no-such-directive 1",
        "rename-command NOSUCH x",
        "rename-command GET SET",
        "user bob +nosuch",
    ] {
        let ended = with_file(&format!("# first\n{directive}\n")).run();
        assert!(!ended.status.success(), "{directive}: {}", ended.log);
        assert!(ended.log.contains("redis.conf:2: "), "{directive}: {}", ended.log);
        assert!(!ended.log.contains("secret"), "{directive}: {}", ended.log);
    }
}

#[test]
fn relative_paths_begin_in_dir_and_what_is_included_where_the_server_was_started() {
    let users = "user default on nopass ~* &* +@all\nuser bob on nopass ~* &* +@all\n";
    for launch in [Launch::reference(), Launch::shards(1)] {
        let words = ["--dir", "{folder}", "--aclfile", "users.acl", "--pidfile", "pid", "--logfile", "log"];
        let server = launch.file("users.acl", users).args(&words).start();
        let name = server.name().to_owned();
        let bob = server.connect().request(&["ACL", "GETUSER", "bob"]);
        assert!(bob.as_slice().is_some_and(|fields| !fields.is_empty()), "{name}: {bob:?}");
        assert!(server.path("log").exists(), "{name}");
    }
    let server = with_file("port 0\n").args(&["--dir", "{folder}", "--pidfile", "pid"]).start();
    assert!(server.path("pid").exists());
    let mut client = server.connect();
    client.request(&["CONFIG", "SET", "timeout", "77"]);
    assert_eq!(client.text(&["CONFIG", "REWRITE"]), "OK");
}

#[test]
fn a_renamed_command_goes_by_its_new_name_and_a_disabled_one_by_none() {
    let text = "rename-command CONFIG secret-config\nrename-command FLUSHALL \"\"\nrename-command GET fetch\n\
                rename-command EXEC run\nrename-command XREAD await\n";
    for shards in [1, 2] {
        let mut server =
            Launch::shards(shards).file("redis.conf", text).config("{folder}/redis.conf").start();
        for _ in 0..2 {
            let mut client = server.connect();
            for (line, name) in
                [("CONFIG GET port", "CONFIG"), ("FLUSHALL", "FLUSHALL"), ("get k", "get"), ("exec", "exec")]
            {
                assert!(
                    error(&mut client, line).starts_with(&format!("ERR unknown command '{name}'")),
                    "{line}"
                );
            }
            client.request(&["SET", "k", "v"]);
            assert_eq!(client.text(&["FETCH", "k"]), "v");
            client.request(&["MULTI"]);
            assert_eq!(client.text(&["fetch", "k"]), "QUEUED");
            assert_eq!(client.request(&["run"]), Value::Array(vec![Value::Bulk("v".into())]));
            client.request(&["MULTI"]);
            assert!(error(&mut client, "FLUSHALL").starts_with("ERR unknown command"));
            assert!(error(&mut client, "run").starts_with("EXECABORT"));
            // Rules go by the name in the table.
            client.request(&["ACL", "SETUSER", "bob", "on", "nopass", "~*", "+@all", "-get"]);
            let mut bob = server.connect();
            bob.request(&["AUTH", "bob", "x"]);
            assert!(error(&mut bob, "fetch k").starts_with("NOPERM"));
            // Who waits in a renamed command is checked like any other.
            bob.send(&["await", "BLOCK", "0", "STREAMS", "s", "$"]);
            sterna_tests::server::wait_for("bob to wait", || {
                client.text(&["INFO", "clients"]).contains("blocked_clients:1\r\n").then_some(())
            });
            client.request(&["ACL", "SETUSER", "bob", "resetkeys"]);
            assert!(bob.error().starts_with("NOPERM"));
            client.request(&["ACL", "DELUSER", "bob"]);
            client.request(&["secret-config", "REWRITE"]);
            server.restart();
        }
    }
}

/// Values at the ends of an option's range and beyond them, and whether the option takes them.
fn extremes(row: &OptionRow) -> Vec<(String, bool)> {
    match row.kind {
        Kind::Int { min, max, .. } => vec![
            (min.to_string(), true),
            (max.to_string(), true),
            ((i128::from(max) + 1).to_string(), false),
            ((i128::from(min) - 1).to_string(), false),
        ],
        Kind::Memory { min, max, .. } => vec![
            (min.to_string(), true),
            (max.to_string(), true),
            ((i128::from(max) + 1).to_string(), false),
            (u128::MAX.to_string(), false),
            ("-1".to_owned(), false),
        ],
        Kind::Octal => vec![("0".to_owned(), true), ("777".to_owned(), true), ("1000".to_owned(), false)],
        _ => Vec::new(),
    }
}

/// Starts a server with this line; it answers, or ends with a word of it.
fn start_with(line: &str, is_taken: bool) {
    let name = line.split(' ').next().unwrap_or_default();
    // Groups of keys are a cluster's, which need not be there yet.
    let (needed, appendonly) = match name {
        "cluster-groups" => ("cluster-url nats://127.0.0.1:1\ncluster-name none\ncluster-keys yes\n", "yes"),
        _ => ("", "no"),
    };
    let text = format!("unixsocket {{folder}}/socket\n{line}\n{needed}");
    let launch = with_file(&text).args(&["--appendonly", appendonly]);
    // Where it listens is the harness's to say, or nobody's.
    let is_address = ["port", "tls-port", "http-port", "https-port"].contains(&name);
    if is_taken && !is_address {
        let mut server = launch.start();
        let mut client = server.connect();
        client.assert_quiet();
        drop(client);
        server.restart();
        return;
    }
    if is_taken {
        return;
    }
    let ended = launch.run();
    assert!(!ended.status.success() && ended.log.contains("redis.conf:2: "), "{line}: {}", ended.log);
    assert!(!ended.log.contains("panicked"), "{line}: {}", ended.log);
}

#[test]
fn the_ends_of_every_range_work_and_what_lies_beyond_stops_the_start_with_its_line() {
    for row in OPTIONS {
        for (value, is_taken) in extremes(row) {
            start_with(&format!("{} {value}", row.name), is_taken);
        }
    }
}

#[test]
fn the_ends_of_every_range_can_be_set_while_the_server_runs() {
    let server = Server::sterna(2, &["--appendonly", "no"]);
    let mut client = server.connect();
    for row in OPTIONS.iter().filter(|row| row.mutability == Mutability::RunTime) {
        // A port belongs to somebody else perhaps, and the memory of this machine ends somewhere.
        if ["port", "tls-port", "maxclients", "maxmemory", "proto-max-bulk-len"].contains(&row.name) {
            continue;
        }
        let old = client.request(&["CONFIG", "GET", row.name]);
        let old = match &old {
            Value::Array(pair) => pair[1].as_bytes().map(<[u8]>::to_vec).unwrap_or_default(),
            other => panic!("{other:?}"),
        };
        for (value, is_taken) in extremes(row) {
            client.send(&["CONFIG", "SET", row.name, &value]);
            let reply = client.value();
            assert_eq!(!matches!(reply, Value::Error(_)), is_taken, "{} {value}: {reply:?}", row.name);
            client.assert_quiet();
            server.connect().assert_quiet();
        }
        client.request(&[&b"CONFIG"[..], b"SET", row.name.as_bytes(), &old]);
    }
}

#[test]
fn what_config_rewrite_has_written_is_what_runs() {
    for (text, included, set) in [
        ("include {folder}/more.conf\n", "save 900 1\n", "save 5 6"),
        ("save 1 2\ninclude {folder}/more.conf\n", "save 900 1\nsave 3 4\n", "timeout 7"),
        ("save 1 2\ninclude {folder}/more.conf\n", "save 900 1\n", "save "),
        ("include {folder}/more.conf\ntimeout 5\n", "timeout 9\nuser bob on\n", "timeout 0"),
        ("timeout 5\ninclude {folder}/more.conf\n", "timeout 9\n", "timeout 8"),
    ] {
        let launch = with_file(text).file("more.conf", included);
        let mut server = launch.start();
        let mut client = server.connect();
        let (name, value) = set.split_once(' ').expect("a name and a value");
        client.request(&["CONFIG", "SET", name, value]);
        client.request(&["CONFIG", "REWRITE"]);
        let before = client.request(&["CONFIG", "GET", "[st]*"]);
        server.restart();
        let after = server.connect().request(&["CONFIG", "GET", "[st]*"]);
        assert_eq!(before, after, "{}", fs::read_to_string(server.path("redis.conf")).expect("it is there"));
    }
}
