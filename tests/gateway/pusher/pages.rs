//! Channels, events and users of pages.

use serde_json::json;
use sterna_protocol::decode::Value;
use sterna_protocol::pusher::signature;
use sterna_tests::client::Client;
use sterna_tests::server::wait_for;

use super::tools::{KEY, Page, SECRET, masked, start, trigger};
use crate::tools::{info, message};

/// The refusal of a subscription.
fn refused(page: &mut Page, channel: &str, auth: &str) -> u64 {
    page.say(&json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } }));
    let (event, of, data) = page.event();
    assert_eq!((event.as_str(), of.as_str()), ("pusher:subscription_error", channel));
    data["status"].as_u64().expect("a status")
}

fn subscriber(server: &sterna_tests::http::HttpServer, channel: &str) -> Client {
    let mut client = server.server.connect();
    client.request(&["SUBSCRIBE", channel]);
    client
}

#[test]
fn a_channel_is_one_for_pages_services_and_subscribers_of_the_redis_protocol() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut pages: Vec<Page> = (0..4).map(|_| Page::open(&server)).collect();
        let mut redis = subscriber(&server, "news");
        for page in &mut pages {
            assert_eq!(page.subscribe("news"), json!({}));
        }
        let mut publisher = server.server.connect();
        for n in 0..100 {
            assert_eq!(
                publisher.int(&["PUBLISH", "news", &format!(r#"{{"event":"n","data":{{"n":{n}}}}}"#)]),
                5
            );
        }
        assert_eq!(publisher.int(&["PUBLISH", "news", "plain \"text\""]), 5);
        trigger(&server, &json!({ "name": "sold", "channel": "news", "data": r#"{"item":7}"# }));
        for page in &mut pages {
            for n in 0..100 {
                assert_eq!(page.event(), ("n".into(), "news".into(), json!({ "n": n })));
            }
            assert_eq!(page.event(), ("message".into(), "news".into(), json!("plain \"text\"")));
            assert_eq!(page.event(), ("sold".into(), "news".into(), json!({ "item": 7 })));
        }
        (0..101).for_each(|_| drop(message(&mut redis)));
        assert_eq!(message(&mut redis), r#"{"event":"sold","data":"{\"item\":7}"}"#);
        pages[0].say(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "news" } }));
        pages[0].assert_quiet();
        assert_eq!(publisher.int(&["PUBLISH", "news", "x"]), 4);
        pages[0].assert_quiet();
        let list = publisher.text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        assert_eq!(list.matches("lib-name=http-pusher").count(), 3, "{list}");
    }
}

#[test]
fn private_channels_need_the_signature_of_this_connection_and_this_channel() {
    let server = start(2, &[]);
    let (mut page, mut other) = (Page::open(&server), Page::open(&server));
    for wrong in [
        String::new(),
        other.auth("private-a", None),
        page.auth("private-b", None),
        page.auth("private-a", Some("{}")),
        page.auth("private-a", None).replace(KEY, "key"),
        page.auth("private-a", None).to_uppercase(),
    ] {
        assert_eq!(refused(&mut page, "private-a", &wrong), 401, "{wrong}");
    }
    for (channel, status) in [("a b", 400), ("", 400), ("#server-to-user-7", 401), (&"x".repeat(201), 400)] {
        let auth = page.auth(channel, None);
        assert_eq!(refused(&mut page, channel, &auth), status, "{channel}");
    }
    page.subscribe("private-a");
    page.subscribe("private-encrypted-a");
    other.subscribe("private-a");
    assert_eq!(server.server.connect().int(&["PUBLISH", "private-a", "x"]), 2);
}

#[test]
fn what_a_page_sends_reaches_the_others_and_redis_and_not_itself() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut pages: Vec<Page> = (0..3).map(|_| Page::open(&server)).collect();
        pages.iter_mut().for_each(|page| drop(page.subscribe("private-chat")));
        let mut redis = subscriber(&server, "private-chat");
        let said = json!({ "event": "client-typed", "channel": "private-chat", "data": { "text": "hi" } });
        pages[0].say(&said);
        for page in &mut pages[1..] {
            assert_eq!(page.event(), ("client-typed".into(), "private-chat".into(), json!({ "text": "hi" })));
        }
        pages[0].assert_quiet();
        let id = pages[0].id.clone();
        let expected = format!(r#"{{"event":"client-typed","data":{{"text":"hi"}},"socket_id":"{id}"}}"#);
        assert_eq!(message(&mut redis), expected);
        // The same by a service: the page that caused it is named.
        trigger(
            &server,
            &json!({ "name": "e", "channel": "private-chat", "data": "1", "socket_id": pages[1].id }),
        );
        assert_eq!(pages[0].event().2, 1);
        assert_eq!(pages[2].event().2, 1);
        pages[1].assert_quiet();
    }
}

#[test]
fn events_of_pages_are_for_channels_that_they_have_joined_and_so_many_a_second() {
    let server = start(1, &[]);
    let mut page = Page::open(&server);
    page.subscribe("news");
    page.subscribe("private-encrypted-a");
    let long = "x".repeat(10 * 1024);
    for (channel, data) in [
        ("news", json!(1)),
        ("private-a", json!(1)),
        ("private-encrypted-a", json!(1)),
        ("private-b", json!(long)),
    ] {
        if channel == "private-b" {
            page.subscribe(channel);
        }
        page.say(&json!({ "event": "client-e", "channel": channel, "data": data }));
        let (event, _, data) = page.event();
        assert_eq!((event.as_str(), &data["code"]), ("pusher:error", &json!(4301)), "{channel}");
    }
    // As one piece, so that no pause lies between them.
    let said = json!({ "event": "client-e", "channel": "private-b", "data": 1 }).to_string();
    page.send_bytes(&masked(0x81, said.as_bytes()).repeat(200));
    let (event, _, data) = page.event();
    assert_eq!((event.as_str(), &data["code"]), ("pusher:error", &json!(4301)));
    assert!(data["message"].as_str().is_some_and(|text| text.contains("10 events a second")), "{data}");
    // It goes on all the same, and what is no message does no harm.
    page.say(&json!({ "event": "pusher:ping" }));
    while page.event().0 != "pusher:pong" {}
    page.send(0x81, b"{");
    assert_eq!(page.event().2["code"], 4200);
    page.say(&json!({ "event": "pusher:unknown" }));
    page.assert_quiet();
}

#[test]
fn nobody_can_speak_as_the_protocol_itself() {
    let server = start(1, &[]);
    let mut page = Page::open(&server);
    page.subscribe("news");
    for event in ["pusher:error", "pusher_internal:member_added"] {
        let payload = format!(r#"{{"event":"{event}","data":"{{}}"}}"#);
        server.server.connect().request(&["PUBLISH", "news", &payload]);
        assert_eq!(page.event().0, "message");
    }
}

#[test]
fn a_cache_channel_sends_its_last_event_to_who_comes() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut first = Page::open(&server);
        first.subscribe("cache-price");
        assert_eq!(first.event(), ("pusher:cache_miss".into(), "cache-price".into(), json!({})));
        let mut publisher = server.server.connect();
        for n in 1..=3 {
            publisher.request(&["PUBLISH", "cache-price", &format!(r#"{{"event":"p","data":{n}}}"#)]);
            assert_eq!(first.event().2, n);
        }
        for channel in ["cache-price", "private-cache-price"] {
            for _ in 0..3 {
                let mut page = Page::open(&server);
                page.subscribe(channel);
                if channel == "cache-price" {
                    assert_eq!(page.event(), ("p".into(), "cache-price".into(), json!(3)));
                } else {
                    assert_eq!(page.event().0, "pusher:cache_miss");
                }
                page.assert_quiet();
            }
        }
        // What is too long to be kept takes the place of what was.
        publisher.request(&["PUBLISH", "cache-price", &"x".repeat(20_000)]);
        let mut page = Page::open(&server);
        page.subscribe("cache-price");
        assert_eq!(page.event().0, "pusher:cache_miss");
    }
}

/// What is published while the channel is no app's is kept by nobody: what was kept before is not the last event any more.
#[test]
fn an_event_from_before_a_change_of_prefixes_is_no_last_event() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut admin = server.server.connect();
        let mut set = |apps: &str| assert_eq!(admin.text(&["CONFIG", "SET", "pusher-app", apps]), "OK");
        let mut client = server.server.connect();
        for (other, channel) in [
            ("", "cache-price"),
            ("2 other secret prefix x:", "cache-price"),
            ("1 app-key app-secret prefix cache-", "cache-price"),
        ] {
            set("1 app-key app-secret");
            client.request(&["PUBLISH", channel, "old"]);
            set(other);
            client.request(&["PUBLISH", channel, "new"]);
            set("1 app-key app-secret");
            let mut page = Page::open(&server);
            page.subscribe(channel);
            assert_eq!(page.event().0, "pusher:cache_miss", "{other}");
        }
        // What changes no prefix changes nothing here.
        client.request(&["PUBLISH", "cache-price", "kept"]);
        set("1 app-key app-secret 2 other secret");
        let mut page = Page::open(&server);
        page.subscribe("cache-price");
        assert_eq!(page.event().2, "kept");
    }
}

#[test]
fn last_events_go_with_the_last_app() {
    let server = start(2, &[]);
    let mut admin = server.server.connect();
    admin.request(&["PUBLISH", "cache-price", "1"]);
    admin.request(&["CONFIG", "SET", "pusher-app", ""]);
    wait_for("the event to be gone", || {
        admin.request(&["CONFIG", "SET", "pusher-app", "1 app-key app-secret"]);
        let mut page = Page::open(&server);
        page.subscribe("cache-price");
        let event = page.event().0;
        admin.request(&["CONFIG", "SET", "pusher-app", ""]);
        (event == "pusher:cache_miss").then_some(())
    });
}

#[test]
fn a_user_who_has_signed_in_is_reached_wherever_he_is_and_can_be_sent_away() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let sign_in = |page: &mut Page, data: &str| {
            let text = format!("{}::user::{data}", page.id);
            let auth = format!("{KEY}:{}", signature(SECRET.as_bytes(), &[text.as_bytes()]));
            page.say(&json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": data } }));
        };
        let data = r#"{"id":"7","name":"x"}"#;
        let mut pages: Vec<Page> = (0..3).map(|_| Page::open(&server)).collect();
        for page in &mut pages {
            sign_in(page, data);
            assert_eq!(
                page.event(),
                ("pusher:signin_success".into(), String::new(), json!({ "user_data": data }))
            );
            page.subscribe("#server-to-user-7");
        }
        let auth = String::new();
        assert_eq!(refused(&mut pages[0], "#server-to-user-8", &auth), 401);
        trigger(&server, &json!({ "name": "e", "channels": ["#server-to-user-7"], "data": "1" }));
        for page in &mut pages {
            assert_eq!(page.event(), ("e".into(), "#server-to-user-7".into(), json!(1)));
        }
        let mut other = Page::open(&server);
        sign_in(&mut other, r#"{"id":"8"}"#);
        other.event();
        let answer = super::tools::ask(&server, "POST", "/apps/1/users/7/terminate_connections", "", "{}");
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        pages.iter_mut().for_each(|page| assert_eq!(page.closed(), 4009));
        other.assert_quiet();
        // One connection is one user's, and he is who was signed for.
        sign_in(&mut other, r#"{"id":"9"}"#);
        assert_eq!(other.event().2["code"], 4009);
        assert_eq!(other.closed(), 4009);
        let mut wrong = Page::open(&server);
        wrong.say(&json!({ "event": "pusher:signin", "data": { "auth": "app-key:00", "user_data": data } }));
        assert_eq!(wrong.event().2["code"], 4009);
        assert_eq!(wrong.closed(), 4009);
    }
}

#[test]
fn an_app_may_what_its_user_may_and_its_channels_have_a_prefix_outside() {
    let server = start(2, &["--requirepass", "secret"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    let rules = ["on", "+subscribe", "+unsubscribe", "resetchannels", "&shop:*"];
    admin.request(&[&["ACL", "SETUSER", "page"][..], &rules].concat());
    admin.request(&["CONFIG", "SET", "pusher-app", "1 app-key app-secret user page prefix shop:"]);
    let mut page = Page::open(&server);
    page.subscribe("news");
    assert_eq!(admin.int(&["PUBLISH", "news", "x"]), 0);
    assert_eq!(admin.int(&["PUBLISH", "shop:news", "x"]), 1);
    assert_eq!(page.event(), ("message".into(), "news".into(), json!("x")));
    page.subscribe("private-a");
    page.say(&json!({ "event": "client-e", "channel": "private-a", "data": 1 }));
    let (event, _, data) = page.event();
    assert!(
        event == "pusher:error" && data["message"].as_str().is_some_and(|text| text.contains("NOPERM")),
        "{data}"
    );
    admin.request(&["ACL", "SETUSER", "page", "resetchannels", "&shop:a*"]);
    assert_eq!(page.closed(), 4009);
    let mut page = Page::open(&server);
    page.say(&json!({ "event": "pusher:subscribe", "data": { "channel": "news" } }));
    assert_eq!(page.event().2["status"], 403);
    page.subscribe("a");
    admin.request(&["CONFIG", "SET", "pusher-app", "1 app-key app-secret user page"]);
    assert_eq!(page.closed(), 4100, "the app is another one");
    admin.request(&["ACL", "SETUSER", "page", "off"]);
    let mut page = Page::shake_hands(server.connect(), &format!("/app/{KEY}?protocol=7"));
    assert_eq!((page.event().2["code"].as_u64(), page.closed()), (Some(4003), 4003));
    admin.request(&["CONFIG", "SET", "pusher-app", ""]);
    let mut page = Page::shake_hands(server.connect(), &format!("/app/{KEY}?protocol=7"));
    assert_eq!((page.event().2["code"].as_u64(), page.closed()), (Some(4001), 4001));
}

#[test]
fn what_becomes_another_app_s_is_no_longer_this_one_s() {
    let server = start(1, &[]);
    let mut admin = server.server.connect();
    let one = "1 app-key app-secret prefix shop-";
    admin.request(&["CONFIG", "SET", "pusher-app", one]);
    let (mut page, mut other) = (Page::open(&server), Page::open(&server));
    page.subscribe("eu-news");
    other.subscribe("news");
    admin.request(&["CONFIG", "SET", "pusher-app", &format!("{one} 2 key secret prefix shop-eu-")]);
    assert_eq!(page.closed(), 4100);
    other.assert_quiet();
    let mut page = Page::open(&server);
    assert_eq!(refused(&mut page, "eu-news", ""), 400);
    let event = json!({ "name": "e", "channel": "eu-news", "data": "1" }).to_string();
    assert_eq!(super::tools::ask(&server, "POST", "/apps/1/events", "", &event).status, 400);
}

/// All that is text in a reply.
fn text_of(value: &Value) -> String {
    match value.as_slice() {
        Some(parts) => parts.iter().map(text_of).collect::<Vec<_>>().join(" "),
        None => String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned(),
    }
}

#[test]
fn the_secret_of_an_app_is_shown_by_nothing_that_shows_requests() {
    let server = start(1, &["--slowlog-log-slower-than", "0"]);
    let mut admin = server.server.connect();
    admin.request(&["CONFIG", "SET", "pusher-app", "2 other-key other-secret"]);
    let log = text_of(&admin.request(&["SLOWLOG", "GET", "10"]));
    assert!(log.contains("pusher-app") && !log.contains("other-secret"), "{log}");
}

#[test]
fn a_page_has_so_many_channels_and_no_more() {
    let server = start(1, &[]);
    let mut page = Page::open(&server);
    (0..128).for_each(|n| drop(page.subscribe(&n.to_string())));
    assert_eq!(refused(&mut page, "128", ""), 400);
    page.subscribe("7");
    drop(page);
    let mut client = server.server.connect();
    wait_for("it to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
    assert_eq!(client.int(&["PUBLISH", "7", "x"]), 0);
}
