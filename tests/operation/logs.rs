//! The log: opened anew, as JSON, and what is said of a configuration that comes from Redis.

use std::fs;

use rustix::process::Signal;
use sterna_tests::server::{Launch, wait_for};

#[test]
fn a_log_that_was_moved_away_is_opened_anew_on_hup_and_usr1() {
    let server = Launch::shards(1).args(&["--logfile", "{folder}/sterna.log"]).start();
    let path = server.path("sterna.log");
    for (number, which) in [Signal::HUP, Signal::USR1].into_iter().enumerate() {
        let moved = server.path(&format!("sterna.log.{number}"));
        fs::rename(&path, &moved).expect("the log is there");
        server.signal(which);
        wait_for("a new log", || {
            fs::read_to_string(&path).ok().filter(|text| text.contains("the log is opened anew"))
        });
        // Only what the signal before it has caused.
        let before = fs::read_to_string(&moved).expect("it was moved");
        assert_eq!(before.matches("opened anew").count(), number, "{before}");
    }
}

#[test]
fn a_log_of_json_is_an_object_a_line() {
    let server = Launch::shards(1)
        .args(&["--logfile", "{folder}/sterna.log", "--log-format", "json", "--requirepass", "secret"])
        .start();
    server.connect().try_request(&["AUTH", "wrong"]);
    let text = wait_for("the failed login", || {
        fs::read_to_string(server.path("sterna.log")).ok().filter(|text| text.contains("login failed"))
    });
    let mut found = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        found += usize::from(line["message"] == "login failed" && line["user"] == "default");
    }
    assert_eq!(found, 1, "{text}");
}

#[test]
fn a_line_that_a_script_logs_is_cut() {
    let server = Launch::shards(1).args(&["--logfile", "{folder}/sterna.log"]).start();
    let mut client = server.connect();
    let code = "redis.log(redis.LOG_WARNING, string.rep(ARGV[1], 100000) .. 'end')";
    client.request(&["EVAL", code, "0", "long "]);
    client.request(&["EVAL", "redis.log(redis.LOG_WARNING, 'short')", "0"]);
    let text = wait_for("both lines", || {
        fs::read_to_string(server.path("sterna.log")).ok().filter(|text| text.contains("short"))
    });
    let line = text.lines().find(|line| line.contains("long long")).expect("the line of the script");
    assert!((1024..1500).contains(&line.len()) && !line.contains("end"), "{} bytes", line.len());
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let ended = Launch::shards(1).args(&["--logfile", "/nowhere/sterna.log"]).run();
    assert!(!ended.status.success());
    assert!(ended.log.contains("/nowhere/sterna.log"), "{}", ended.log);
}
