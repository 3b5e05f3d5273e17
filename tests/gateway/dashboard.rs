//! The dashboard: its page, and the figures that it is sent.

use std::time::Duration;

use serde_json::Value;
use sterna_tests::http::HttpServer;

use crate::tools::{Event, Events, bearer, done, info, run};

const LIVE: &str = "/v1/admin/live";

/// The figures of an event.
#[track_caller]
fn figures(event: Option<Event>) -> Value {
    let data = event.expect("an event").data;
    let mut json: Value = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
    json["figures"].take()
}

#[test]
fn the_page_and_its_parts_are_for_anybody_and_allow_nothing_from_elsewhere() {
    let server = HttpServer::start(1, &["--requirepass", "secret"]);
    let page = server.get("/", "");
    assert_eq!(page.status, 200, "{page:?}");
    let mut parts: Vec<&str> = page.body.split('"').filter(|word| word.starts_with("/dashboard/")).collect();
    parts.push("/");
    for path in &parts {
        // A link of another page's may lead to it; no such page can read it.
        let part = server.get(path, "Sec-Fetch-Site: cross-site\r\nOrigin: http://elsewhere.example");
        assert!(part.status == 200 && !part.body.is_empty(), "{path}: {part:?}");
        assert!(!part.head.contains("access-control"), "{path}: {}", part.head);
        for rule in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"]
        {
            assert!(part.head.contains(rule), "{path}: {}", part.head);
        }
        assert!(part.head.contains("x-content-type-options: nosniff"), "{path}: {}", part.head);
    }
    assert!(parts.len() > 3, "{parts:?}");
    // Commands are where they were.
    assert_eq!(done(server.post("/", &bearer("default", "secret"), r#"["PING"]"#)), r#"{"result":"PONG"}"#);
    assert_eq!(server.get("/dashboard/none.js", "").status, 401);
}

#[test]
fn figures_are_for_users_who_may_run_info_and_client_list_and_for_no_other_page() {
    let server = HttpServer::start(2, &["--requirepass", "secret"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    let rules: [(&str, &[&str], u16); 4] = [
        ("nothing", &[], 403),
        ("keys", &["+@all", "-@dangerous", "~*"], 403),
        ("half", &["+info"], 403),
        ("other", &["+client|list"], 403),
    ];
    for (name, rules, status) in rules {
        admin.request(&[&["ACL", "SETUSER", name, "on", ">pw"], rules].concat());
        let answer = server.get(LIVE, &bearer(name, "pw"));
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(answer.body.contains("NOPERM"), "{name}: {answer:?}");
    }
    assert_eq!(server.get(LIVE, "").status, 401);
    assert_eq!(server.get(LIVE, &bearer("default", "wrong")).status, 401);
    let right = bearer("default", "secret");
    assert_eq!(server.get(LIVE, &format!("{right}\r\nOrigin: http://elsewhere.example")).status, 403);
    assert_eq!(server.post(LIVE, &right, "").status, 405);
    let open = HttpServer::start(1, &[]);
    assert_eq!(open.get(LIVE, "").status, 401, "without a password one says who one is all the same");
    assert_eq!(done(run(&open, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
}

#[test]
fn figures_are_those_of_info_and_end_when_their_user_may_no_longer() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut admin = server.server.connect();
        admin.request(&["ACL", "SETUSER", "watcher", "on", ">pw", "+info", "+client|list"]);
        let mut subscribers = [server.server.connect(), server.server.connect()];
        for subscriber in &mut subscribers {
            subscriber.request(&["SUBSCRIBE", "news"]);
        }
        for _ in 0..50 {
            assert_eq!(admin.int(&["PUBLISH", "news", "hello"]), 2);
        }
        for subscriber in &mut subscribers {
            (0..50).for_each(|_| drop(subscriber.value()));
        }
        let mut events = Events::open(&server, LIVE, &bearer("watcher", "pw"));
        let seen = figures(events.event());
        assert_eq!(seen["totals"]["published"], 50, "{seen}");
        assert_eq!(seen["totals"]["deliveries"], 100, "{seen}");
        assert_eq!(info(&mut admin, "published_messages"), "50");
        assert_eq!(info(&mut admin, "delivered_messages"), "100");
        assert_eq!(seen["connected"].to_string(), info(&mut admin, "connected_clients"));
        assert_eq!(seen["shards"].as_array().map(Vec::len), Some(shards));
        let kinds = seen["kinds"].to_string();
        assert!(kinds.contains(r#"{"count":2,"name":"subscribers (RESP2)"}"#), "{kinds}");
        let busiest = &seen["busyChannels"][0];
        assert!(busiest["name"] == "news" && busiest["subscribers"] == 2, "{busiest}");
        // The next ones come by themselves, and tell of the whole directory when it has been walked through.
        let walked = std::iter::from_fn(|| Some(figures(events.event())))
            .find(|seen| seen["subscribedChannels"] != Value::Array(Vec::new()))
            .expect("events go on");
        assert_eq!(walked["totals"]["published"], 50, "{walked}");
        assert_eq!(walked["subscribedChannels"].to_string(), r#"[{"name":"news","subscribers":2}]"#);
        admin.request(&["ACL", "SETUSER", "watcher", "-info"]);
        let last = std::iter::from_fn(|| events.event()).last().expect("a last event");
        assert_eq!(last.kind.as_deref(), Some("refused"));
        assert!(last.data.contains("NOPERM"), "{last:?}");
    }
}

#[test]
fn more_pages_than_may_watch_are_refused_until_one_is_gone() {
    let server = HttpServer::start(2, &[]);
    let who = bearer("default", "");
    let mut watchers: Vec<Events> =
        std::iter::repeat_with(|| Events::open(&server, LIVE, &who)).take(16).collect();
    let refused = server.get(LIVE, &who);
    assert_eq!(refused.status, 503, "{refused:?}");
    watchers.pop();
    // Its place is free when the server has noticed.
    let mut socket = server.connect();
    loop {
        use std::io::{Read, Write};
        socket.write_all(server.request("GET", LIVE, &who, "").as_bytes()).expect("the server reads");
        let mut head = [0; 12];
        socket.read_exact(&mut head).expect("an answer");
        if &head == b"HTTP/1.1 200" {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        socket = server.connect();
    }
}
