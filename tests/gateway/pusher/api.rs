//! The signed API of services.

use serde_json::{Value as Json, json};

use super::tools::{Page, SECRET, ask, signed, start, trigger};
use crate::tools::{bearer, message};

fn body(server: &sterna_tests::http::HttpServer, path: &str, query: &str) -> Json {
    let answer = ask(server, "GET", path, query, "");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

#[test]
fn nothing_is_done_without_a_good_signature() {
    let server = start(1, &[]);
    let event = r#"{"name":"e","channel":"news","data":"1"}"#;
    let path = "/apps/1/events";
    let good = signed("POST", path, "", event, SECRET);
    let mut page = Page::open(&server);
    page.subscribe("news");
    for (url, body) in [
        (path.to_owned(), event),
        (signed("POST", path, "", event, "other"), event),
        (good.replace("auth_version=1.0", "auth_version=2.0"), event),
        (format!("{good}&x=1"), event),
        (good.clone(), r#"{"name":"e","channel":"news","data":"2"}"#),
        (signed("POST", path, "", "", SECRET), event),
        (signed("POST", "/apps/2/events", "", event, SECRET), event),
    ] {
        assert_eq!(server.post(&url, "", body).status, 401, "{url}");
    }
    // A user's password is not what is asked for here.
    assert_eq!(server.post(path, &bearer("default", "x"), event).status, 401);
    assert_eq!(server.post(&good, "", event).status, 200);
    assert_eq!(page.event().2, 1);
    page.assert_quiet();
    for (method, path, status) in [
        ("GET", "/apps/1/events", 405),
        ("POST", "/apps/1/channels", 405),
        ("GET", "/apps/1/nothing", 404),
        ("GET", "/apps/1", 404),
        ("GET", "/apps/1/channels/a:b", 404),
    ] {
        assert_eq!(ask(&server, method, path, "", "").status, status, "{method} {path}");
    }
    assert_eq!(server.get("/apps", "").status, 404);
}

#[test]
fn events_go_to_many_channels_or_many_go_at_once() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut redis = server.server.connect();
        redis.request(&["SUBSCRIBE", "a", "b"]);
        redis.value();
        assert_eq!(
            trigger(&server, &json!({ "name": "e", "channels": ["a", "b", "c"], "data": "x" })),
            json!({})
        );
        (0..2).for_each(|_| assert_eq!(message(&mut redis), r#"{"event":"e","data":"x"}"#));
        let info = json!({ "name": "e", "channels": ["a", "presence-c"], "data": "x", "info": "subscription_count,user_count" });
        let expected = json!({ "channels": {
            "a": { "subscription_count": 1 },
            "presence-c": { "subscription_count": 0, "user_count": 0 },
        } });
        assert_eq!(trigger(&server, &info), expected);
        message(&mut redis);
        let batch = json!({ "batch": [
            { "name": "one", "channel": "a", "data": "1", "info": "subscription_count" },
            { "name": "two", "channel": "b", "data": "2" },
        ] });
        let answer = ask(&server, "POST", "/apps/1/batch_events", "", &batch.to_string());
        assert_eq!(answer.body, r#"{"batch":[{"subscription_count":1},{}]}"#);
        assert_eq!(message(&mut redis), r#"{"event":"one","data":"1"}"#);
        assert_eq!(message(&mut redis), r#"{"event":"two","data":"2"}"#);
        let one = json!({ "name": "e", "channel": "a", "data": "x" });
        let status = |path: &str, body: &Json| ask(&server, "POST", path, "", &body.to_string()).status;
        assert_eq!(status("/apps/1/batch_events", &json!({ "batch": vec![one.clone(); 11] })), 400);
        assert_eq!(status("/apps/1/batch_events", &json!({ "batch": [7] })), 400);
        assert_eq!(status("/apps/1/events", &json!({ "name": "e", "channel": "a" })), 400);
        let long = json!({ "name": "e", "channel": "a", "data": "x".repeat(10_241) });
        assert_eq!(status("/apps/1/events", &long), 413);
        redis.assert_quiet();
    }
}

#[test]
fn channels_tell_who_subscribes() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut pages: Vec<Page> = (0..3).map(|_| Page::open(&server)).collect();
        for (n, page) in pages.iter_mut().enumerate() {
            page.subscribe("news");
            let data = json!({ "user_id": if n == 0 { "a" } else { "b" } }).to_string();
            page.subscribe_as("presence-room", Some(&data));
        }
        let mut redis = server.server.connect();
        redis.request(&["SUBSCRIBE", "news", "not a name"]);
        assert_eq!(
            body(&server, "/apps/1/channels", ""),
            json!({ "channels": { "news": {}, "presence-room": {} } })
        );
        let told = body(&server, "/apps/1/channels", "filter_by_prefix=presence-&info=user_count");
        assert_eq!(told, json!({ "channels": { "presence-room": { "user_count": 2 } } }));
        assert_eq!(ask(&server, "GET", "/apps/1/channels", "info=user_count", "").status, 400);
        let told = body(&server, "/apps/1/channels", "filter_by_prefix=n*&info=subscription_count");
        assert_eq!(told, json!({ "channels": {} }));
        let told = body(&server, "/apps/1/channels/news", "info=subscription_count");
        assert_eq!(told, json!({ "occupied": true, "subscription_count": 4 }));
        assert_eq!(body(&server, "/apps/1/channels/other", ""), json!({ "occupied": false }));
        let told = body(&server, "/apps/1/channels/presence-room", "info=user_count,subscription_count");
        assert_eq!(told, json!({ "occupied": true, "user_count": 2, "subscription_count": 3 }));
        trigger(&server, &json!({ "name": "e", "channel": "cache-c", "data": "1" }));
        assert_eq!(
            body(&server, "/apps/1/channels/cache-c", "info=cache"),
            json!({ "occupied": false, "cache": true })
        );
        assert_eq!(ask(&server, "GET", "/apps/1/channels/news/users", "", "").status, 400);
    }
}

#[test]
fn a_service_may_what_the_app_s_user_may() {
    let server = start(2, &["--requirepass", "secret"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["ACL", "SETUSER", "shop", "on", "+publish", "resetchannels", "&shop:*"]);
    admin.request(&["CONFIG", "SET", "pusher-app", "1 app-key app-secret user shop prefix shop:"]);
    let event = |channel: &str| json!({ "name": "e", "channel": channel, "data": "1" }).to_string();
    assert_eq!(ask(&server, "POST", "/apps/1/events", "", &event("news")).status, 200);
    let denied = ask(&server, "GET", "/apps/1/channels", "", "");
    assert!(denied.status == 403 && denied.body.contains("NOPERM"), "{denied:?}");
    assert_eq!(ask(&server, "GET", "/apps/1/channels/presence-room/users", "", "").status, 403);
    admin.request(&["ACL", "SETUSER", "shop", "resetchannels", "&other:*"]);
    assert_eq!(ask(&server, "POST", "/apps/1/events", "", &event("news")).status, 403);
    admin.request(&["ACL", "DELUSER", "shop"]);
    assert_eq!(ask(&server, "POST", "/apps/1/events", "", &event("news")).status, 403);
}
