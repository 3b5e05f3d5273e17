//! Who may: users of ACL by Basic and Bearer, nobody without, and who guesses is slowed down.

use std::time::{Duration, Instant};

use sterna_tests::http::HttpServer;

use crate::tools::{bearer, done, run};

#[test]
fn users_log_in_by_basic_and_bearer_and_nobody_else_gets_in() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &["--requirepass", "secret"]);
        let mut admin = server.server.connect();
        admin.request(&["AUTH", "secret"]);
        admin.request(&["ACL", "SETUSER", "alice", "on", ">pw:1", "+get", "+acl|whoami", "~a:*"]);
        let who = r#"["ACL","WHOAMI"]"#;
        for (header, user) in [
            ("Authorization: Basic ZGVmYXVsdDpzZWNyZXQ=", "default"),
            ("authorization: basic OnNlY3JldA==", "default"),
            ("Authorization: Bearer secret", "default"),
            ("Authorization: Bearer default:secret", "default"),
            ("Authorization: Bearer alice:pw:1", "alice"),
            ("Authorization: Basic YWxpY2U6cHc6MQ==", "alice"),
        ] {
            assert_eq!(done(server.post("/", header, who)), format!(r#"{{"result":"{user}"}}"#), "{header}");
        }
        for (header, status) in [
            ("", 401),
            ("Authorization: Bearer wrong", 401),
            ("Authorization: Bearer alice:wrong", 401),
            ("Authorization: Bearer nobody:secret", 401),
            ("Authorization: Bearer ", 401),
            ("Authorization: Basic ", 400),
            ("Authorization: Digest secret", 400),
        ] {
            let answer = server.post("/", header, who);
            assert_eq!(answer.status, status, "{header}: {answer:?}");
            assert_eq!(answer.head.contains("www-authenticate: bearer"), status == 401, "{answer:?}");
            assert!(!answer.body.contains("result"), "{answer:?}");
        }
    }
}

#[test]
fn what_a_user_may_is_checked_as_ever_and_changes_at_once() {
    let server = HttpServer::start(2, &["--requirepass", "secret"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["ACL", "SETUSER", "alice", "on", ">pw", "+get", "~a:*"]);
    let token = bearer("alice", "pw");
    assert_eq!(done(server.get("/get/a:1", &token)), r#"{"result":null}"#);
    for path in ["/get/b:1", "/set/a:1/x"] {
        let denied = server.get(path, &token);
        assert!(denied.status == 403 && denied.body.contains("NOPERM"), "{denied:?}");
    }
    let log = admin.request(&["ACL", "LOG"]);
    assert_eq!(log.as_slice().map(<[_]>::len), Some(2), "{log:?}");
    admin.request(&["ACL", "SETUSER", "alice", "off"]);
    assert_eq!(server.get("/get/a:1", &token).status, 401);
    admin.request(&["ACL", "DELUSER", "alice"]);
    assert_eq!(server.get("/get/a:1", &token).status, 401);
}

#[test]
fn an_address_that_guesses_passwords_over_http_is_slowed_down() {
    let server = HttpServer::start(2, &["--requirepass", "secret"]);
    for _ in 0..11 {
        assert_eq!(server.post("/", "Authorization: Bearer x", r#"["PING"]"#).status, 401);
    }
    let since = Instant::now();
    for _ in 0..3 {
        assert_eq!(server.post("/", "Authorization: Bearer x", r#"["PING"]"#).status, 401);
    }
    assert!(since.elapsed() >= Duration::from_millis(600), "{:?}", since.elapsed());
}

#[test]
fn without_a_password_nobody_needs_one_but_under_a_name_and_by_get() {
    let server = HttpServer::start(1, &[]);
    assert_eq!(done(run(&server, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
    assert_eq!(done(server.post("/", "Host: localhost:1", r#"["PING"]"#)), r#"{"result":"PONG"}"#);
    // A page whose name means this machine's address.
    let rebound = server.post("/", "Host: evil.example", r#"["SET","k","v"]"#);
    assert_eq!(rebound.status, 401, "{rebound:?}");
    // An image of a page that an old browser shows.
    assert_eq!(server.get("/set/k/v", "").status, 401);
    assert_eq!(done(run(&server, r#"["EXISTS","k"]"#)), r#"{"result":0}"#);
    assert_eq!(
        done(server.post("/", "Authorization: Bearer any\nHost: a.example", r#"["PING"]"#)),
        r#"{"result":"PONG"}"#
    );
}
