//! The built-in client, `sterna sub` and `sterna pub`; and `redis-benchmark`, whole.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;

use sterna_tests::server::{Launch, Server, free_port, sterna_binary, wait_for};
use sterna_tests::tls::Authority;

/// Runs `sterna sub` with these words, publishes once it listens, and gives back the lines it has printed.
fn lines_of_sub(server: &Server, words: &[&str], publishes: &[(&str, &str)], lines: usize) -> Vec<String> {
    let mut sub = Command::new(sterna_binary())
        .arg("sub")
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut publisher = server.connect();
    let (channel, message) = publishes[0];
    wait_for("sterna sub to listen", || (publisher.int(&["PUBLISH", channel, message]) == 1).then_some(()));
    for (channel, message) in &publishes[1..] {
        assert_eq!(publisher.int(&["PUBLISH", channel, message]), 1);
    }
    let output = BufReader::new(sub.stdout.take().expect("it is piped"));
    let printed = output.lines().take(lines).map(|line| line.expect("lines are text")).collect();
    let _ = sub.kill();
    let _ = sub.wait();
    printed
}

fn run_pub(words: &[&str]) -> Output {
    Command::new(sterna_binary()).arg("pub").args(words).output().expect("the binary runs")
}

#[test]
fn a_message_travels_from_pub_to_sub() {
    let server = Server::sterna(2, &[]);
    let url = format!("redis://127.0.0.1:{}", server.port);
    let printed = lines_of_sub(&server, &["-u", &url, "news"], &[("news", "first"), ("news", "second")], 2);
    assert!(printed[0].contains("news") && printed[0].contains("first"), "{printed:?}");
    assert!(printed[1].contains("second"), "{printed:?}");
    let printed = lines_of_sub(&server, &["-u", &url, "-g", "room:*"], &[("room:1", "hello")], 1);
    assert!(printed[0].contains("room:1") && printed[0].contains("hello"), "{printed:?}");
    let mut subscriber = server.connect();
    subscriber.request(&["SUBSCRIBE", "news"]);
    let output = run_pub(&["-u", &url, "news", "two words"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains('1'), "{output:?}");
    let message = subscriber.value();
    assert_eq!(message.as_slice().and_then(|parts| parts[2].as_bytes()), Some(&b"two words"[..]));
}

#[test]
fn the_tools_log_in_and_speak_tls() {
    let authority = Authority::new();
    let identity = authority.identity();
    let port = free_port();
    let server = Launch::shards(1)
        .file("ca.pem", &authority.pem)
        .file("cert.pem", &identity.certificate)
        .file("key.pem", &identity.key)
        .args(&["--tls-port", &port.to_string(), "--tls-auth-clients", "no"])
        .args(&["--tls-cert-file", "{folder}/cert.pem", "--tls-key-file", "{folder}/key.pem"])
        .args(&["--requirepass", "secret"])
        .start();
    let ca = server.path("ca.pem").display().to_string();
    let published =
        |url: &str, more: &[&str]| run_pub(&[&["-u", url], more, &["news", "x"]].concat()).status.success();
    assert!(published(&format!("rediss://:secret@127.0.0.1:{port}"), &["--cacert", &ca]));
    assert!(published(&format!("rediss://default:secret@127.0.0.1:{port}"), &["--cacert", &ca]));
    assert!(published(&format!("redis://:secret@127.0.0.1:{}", server.port), &[]));
    assert!(
        !published(&format!("rediss://:secret@127.0.0.1:{port}"), &[]),
        "nobody has vouched for the server"
    );
    assert!(!published(&format!("redis://:wrong@127.0.0.1:{}", server.port), &[]));
    assert!(!published(&format!("redis://127.0.0.1:{}", server.port), &[]));
}

#[test]
fn a_server_that_is_not_there_is_one_line() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let output = run_pub(&["-u", &url, "news", "x"]);
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end().lines().count(), 1, "{output:?}");
}

#[test]
fn what_a_server_says_moves_no_cursor_and_is_not_taken_for_what_it_does_not_say() {
    // (the tool, what each request is answered, what the tool says of it)
    let rows: [(&[&str], &[u8], &str); 7] = [
        (&["pub", "-u", "URL", "news", "x"], b"*2000000000\r\n:1\r\n", "is longer than 541065216 bytes"),
        (&["sub", "-u", "URL", "news"], b"$999999999999\r\nabc", "is longer than 541065216 bytes"),
        (&["top", "-u", "URL"], b"+OK\r\n*1\r\n*2\r\n%300000000\r\n", "is longer than 541065216 bytes"),
        (&["pub", "-u", "URL", "news", "x"], b"-ERR \x1b[31mred\r\n", "ERR \\x1b[31mred"),
        (&["pub", "-u", "URL", "news", "x"], b"+OK\r\n", "not that of PUBLISH"),
        (&["export", "--rdb", "none.rdb", "-u", "URL"], b"$-1\r\n", "not that of INFO"),
        (&["export", "--rdb", "none.rdb", "-u", "URL"], b"-NOPERM no\r\n", "NOPERM"),
    ];
    for (words, answer, says) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("it is bound"));
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("it connects");
            while client.read(&mut [0; 4096]).is_ok_and(|n| n > 0) && client.write_all(answer).is_ok() {}
        });
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(sterna_binary())
            .args(words.iter().map(|word| if *word == "URL" { &url } else { *word }))
            .current_dir(&folder)
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{words:?}: {output:?}");
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 0, "nothing is left behind");
        server.join().expect("it ends with the tool");
    }
}

#[test]
fn a_certificate_for_development_is_made_and_works() {
    let port = free_port();
    let server = Launch::shards(1).args(&["--tls-self-signed", "--tls-port", &port.to_string()]).start();
    let authority = server.path("sterna/tls/ca.crt");
    let log = server.log();
    assert!(
        log.contains(&authority.display().to_string()),
        "it doesn't say where the certificate is:\n{log}"
    );
    let url = format!("rediss://127.0.0.1:{port}");
    let output = run_pub(&["-u", &url, "--cacert", &authority.display().to_string(), "news", "x"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn redis_benchmark_runs_whole() {
    let server = Server::sterna(2, &[]);
    let port = server.port.to_string();
    let words = ["-p", &port, "-q", "-n", "200", "-c", "10", "-P", "4", "--csv"];
    let Ok(output) = Command::new("redis-benchmark").args(words).output() else {
        return sterna_tests::skipped("needs redis-benchmark; ./test installs it");
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<&str> = printed.lines().skip(1).filter_map(|line| line.split('"').nth(1)).collect();
    let expected = [
        "PING_INLINE",
        "PING_MBULK",
        "SET",
        "GET",
        "INCR",
        "LPUSH",
        "RPUSH",
        "LPOP",
        "RPOP",
        "SADD",
        "HSET",
        "SPOP",
        "ZADD",
        "ZPOPMIN",
        "LRANGE_100",
        "LRANGE_300",
        "LRANGE_500",
        "LRANGE_600",
        "MSET",
    ];
    for name in expected {
        assert!(rows.iter().any(|row| row.starts_with(name)), "{name} in {printed}");
    }
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaints.contains("rror"), "{complaints}");
    let mut client = server.connect();
    let errors = client.text(&["INFO", "errorstats"]);
    assert!(!errors.contains("errorstat_"), "{errors}");
}
