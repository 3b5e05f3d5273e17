//! Starting: what the server says, and how it refuses.

use std::net::TcpListener;

use sterna_tests::server::{Ended, Launch, Server};

/// Asserts that a start has failed with one line, which contains all of these.
fn assert_refused(ended: &Ended, parts: &[&str]) {
    assert!(!ended.status.success(), "it started:\n{}", ended.log);
    assert_eq!(ended.log.trim_end().lines().count(), 1, "more than one line:\n{}", ended.log);
    for part in parts {
        assert!(ended.log.contains(part), "{part} is missing: {}", ended.log);
    }
}

#[test]
fn a_server_says_its_version_its_addresses_its_shards_and_how_to_connect() {
    let server = Server::sterna(3, &[]);
    let log = server.await_log("the greeting", |log| log.contains("redis://"));
    for part in [env!("CARGO_PKG_VERSION"), &format!("127.0.0.1:{}", server.port), "3 shards"] {
        assert!(log.contains(part), "{part} is missing:\n{log}");
    }
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let ended = Launch::sterna().without_address().args(&["--bind", "127.0.0.1", "--port", &port]).run();
    assert_refused(&ended, &[&format!("127.0.0.1:{port}"), "in use"]);
}

#[test]
fn a_certificate_that_cannot_be_read_is_one_line() {
    let tls =
        ["--tls-port", "1", "--tls-cert-file", "{folder}/none.pem", "--tls-key-file", "{folder}/none.pem"];
    assert_refused(&Launch::sterna().args(&tls).run(), &["none.pem"]);
    let empty = Launch::sterna().file("none.pem", "no certificate\n").args(&tls);
    assert_refused(&empty.run(), &["none.pem"]);
}

#[test]
fn a_wrong_value_is_refused_with_its_file_and_line() {
    let cases = [
        ("maxclients many\n", "redis.conf:1:"),
        ("# a comment\n\ntimeout -5\n", "redis.conf:3:"),
        ("bind 127.0.0.1\nclient-output-buffer-limit nosuch 1 2 3\n", "redis.conf:2:"),
        ("requirepass \"open\n", "redis.conf:1:"),
        ("port 70000\n", "redis.conf:1:"),
        ("include {folder}/other.conf\n", "other.conf:2:"),
    ];
    for (text, place) in cases {
        let launch = Launch::sterna()
            .file("redis.conf", text)
            .file("other.conf", "timeout 1\ndatabases none\n")
            .without_address()
            .args(&["{folder}/redis.conf"]);
        assert_refused(&launch.run(), &[place]);
    }
    assert_refused(&Launch::sterna().args(&["--maxclients", "many"]).run(), &["maxclients many"]);
    assert_refused(&Launch::sterna().without_address().args(&["{folder}/none.conf"]).run(), &["none.conf"]);
}

#[test]
fn a_directive_that_is_not_supported_is_one_warning() {
    let server = Launch::shards(1)
        .file("redis.conf", "list-compress-depth 5\nio-threads 4\ntimeout 7\n")
        .config("{folder}/redis.conf")
        .start();
    assert_eq!(server.connect().text_at(&["CONFIG", "GET", "timeout"], 1), "7");
    let log = server.log();
    for name in ["list-compress-depth", "io-threads"] {
        assert_eq!(log.lines().filter(|line| line.contains(name)).count(), 1, "{name}:\n{log}");
    }
}

#[test]
fn the_command_line_comes_after_the_file() {
    let server = Launch::shards(1)
        .file("redis.conf", "timeout 7\ntcp-keepalive 70\ninclude {folder}/other.conf\n")
        .file("other.conf", "tcp-keepalive 80\n")
        .config("{folder}/redis.conf")
        .args(&["--timeout", "9"])
        .start();
    let mut client = server.connect();
    assert_eq!(client.text_at(&["CONFIG", "GET", "timeout"], 1), "9");
    assert_eq!(client.text_at(&["CONFIG", "GET", "tcp-keepalive"], 1), "80");
}

#[test]
fn a_rewritten_configuration_starts_the_same_server() {
    let first = Launch::shards(1)
        .file("redis.conf", "# my server\ntimeout 7\n\n# the end\n")
        .config("{folder}/redis.conf")
        .start();
    let mut client = first.connect();
    client.request(&["CONFIG", "SET", "timeout", "11", "notify-keyspace-events", "Kx"]);
    client.request(&["CONFIG", "REWRITE"]);
    let text = std::fs::read_to_string(first.path("redis.conf")).expect("it was there");
    assert!(text.starts_with("# my server\ntimeout 11\n"), "{text}");
    let second = Launch::sterna().file("redis.conf", &text).config("{folder}/redis.conf").start();
    let mut client = second.connect();
    assert_eq!(client.text_at(&["CONFIG", "GET", "timeout"], 1), "11");
    assert_eq!(client.text_at(&["CONFIG", "GET", "notify-keyspace-events"], 1), "xK");
}

#[test]
fn version_and_help_are_for_reading() {
    let version = Launch::sterna().without_address().args(&["--version"]).run();
    assert!(version.status.success() && version.log.contains(env!("CARGO_PKG_VERSION")), "{}", version.log);
    let help = Launch::sterna().without_address().args(&["--help"]).run();
    assert!(
        help.status.success() && help.log.contains("sterna sub") && help.log.contains("--port"),
        "{}",
        help.log
    );
}
