//! Pages that do not read, and what else others must not notice.

use serde_json::json;
use sterna_tests::http::HttpServer;
use sterna_tests::server::wait_for;

use super::tools::{Page, start};
use crate::tools::{Pace, info};

#[test]
fn a_page_that_does_not_read_is_told_to_come_again_between_two_frames_and_harms_nobody() {
    for shards in [1, 2] {
        let server = start(shards, &["--pusher-output-limit", "1mb 0 0"]);
        let (mut slow, mut quick) = (Page::open(&server), Page::open(&server));
        slow.subscribe("news");
        quick.subscribe("news");
        let mut publisher = server.server.connect();
        let text = "x".repeat(10_000);
        wait_for("it to be closed", || {
            // Many at a time: what the kernel holds for it comes first.
            (0..50).find_map(|_| {
                let receivers = publisher.int(&["PUBLISH", "news", &text]);
                assert_eq!(quick.event().2, text);
                (receivers == 1).then_some(())
            })
        });
        wait_for("it to be counted", || (info(&mut publisher, "closed_output_limit") == "1").then_some(()));
        let mut events = 0;
        let code = loop {
            let (first, payload) = slow.frame();
            if first == 0x88 {
                break u16::from_be_bytes([payload[0], payload[1]]);
            }
            let told: serde_json::Value = serde_json::from_slice(&payload).expect("a whole event");
            assert_eq!(told["data"].as_str().map(str::len), Some(10_000));
            events += 1;
        };
        assert_eq!((code, events > 10), (4100, true));
    }
}

#[test]
fn a_member_that_another_s_event_closes_is_told_of_to_that_one_and_to_no_other_client() {
    let app = "1 app-key app-secret client-events 1000000";
    let server = HttpServer::start(1, &["--pusher-app", app, "--pusher-output-limit", "100kb 0 0"]);
    let (mut slow, mut speaker) = (Page::open(&server), Page::open(&server));
    slow.subscribe_as("presence-room", Some(r#"{"user_id":"slow"}"#));
    speaker.subscribe_as("presence-room", Some(r#"{"user_id":"speaker"}"#));
    let said = json!({ "event": "client-e", "channel": "presence-room", "data": "x".repeat(10_000) });
    let mut client = server.server.connect();
    wait_for("it to be closed", || {
        for _ in 0..20 {
            speaker.say(&said);
            (0..3).for_each(|_| assert_eq!(client.text(&["PING"]), "PONG"));
        }
        (info(&mut client, "closed_output_limit") == "1").then_some(())
    });
    let (event, _, data) = speaker.event();
    assert_eq!((event.as_str(), data), ("pusher_internal:member_removed", json!({ "user_id": "slow" })));
    speaker.assert_quiet();
}

#[test]
fn pages_wait_while_clients_are_paused_and_are_served_in_order_behind_it() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let (mut one, mut other) = (Page::open(&server), Page::open(&server));
        one.subscribe("private-room");
        other.subscribe("private-room");
        let mut admin = server.server.connect();
        for mode in ["WRITE", "ALL"] {
            admin.request(&["CLIENT", "PAUSE", "1000000", mode]);
            for n in 0..3 {
                one.say(&json!({ "event": "client-e", "channel": "private-room", "data": n }));
            }
            // It asks about the line behind what waits, and is answered behind it.
            one.say(&json!({ "event": "pusher:ping", "data": {} }));
            other.send(0x89, b"ping");
            assert_eq!(other.frame(), (0x8A, b"ping".to_vec()), "who waits for nothing is answered");
            admin.request(&["CLIENT", "UNPAUSE"]);
            for n in 0..3 {
                assert_eq!(other.event(), ("client-e".into(), "private-room".into(), json!(n)), "{mode}");
            }
            assert_eq!(one.event().0, "pusher:pong");
        }
    }
}

#[test]
fn a_server_that_stops_has_pages_come_again() {
    let server = start(2, &[]);
    let mut pages: Vec<Page> = (0..4).map(|_| Page::open(&server)).collect();
    pages.iter_mut().for_each(|page| drop(page.subscribe("news")));
    server.server.connect().send(&["SHUTDOWN"]);
    pages.iter_mut().for_each(|page| assert_eq!(page.closed(), 4100));
}

#[test]
fn a_page_that_speaks_without_end_leaves_others_their_time_and_is_answered_in_order() {
    let server = start(1, &[]);
    let mut page = Page::open(&server);
    let stream = page.stream().try_clone().expect("a socket");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let ping = super::tools::masked(0x81, br#"{"event":"pusher:ping","data":{}}"#);
            std::io::Write::write_all(&mut { stream }, &ping.repeat(20_000)).expect("the server reads");
        });
        let mut client = server.server.connect();
        (0..200).for_each(|_| assert_eq!(client.text(&["PING"]), "PONG"));
        (0..20_000).for_each(|_| assert_eq!(page.event().0, "pusher:pong"));
    });
    page.say(&json!({ "event": "pusher:subscribe", "data": { "channel": "news" } }));
    assert_eq!(page.event().0, "pusher_internal:subscription_succeeded");
}

#[test]
fn from_the_subscription_on_nothing_is_missing_or_comes_twice_while_a_publisher_runs_flat_out() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let paces = [Pace::default(), Pace::default()];
        std::thread::scope(|scope| {
            for (channel, pace) in ["n", "cache-n"].into_iter().zip(&paces) {
                let publisher = server.server.connect();
                scope.spawn(move || pace.publish(publisher, channel));
            }
            let _ends = paces.each_ref().map(Pace::ends);
            let mut page = Page::open(&server);
            for _ in 0..20 {
                for (channel, pace) in ["n", "cache-n"].into_iter().zip(&paces) {
                    page.subscribe(channel);
                    pace.begin();
                    let mut next = || loop {
                        let (event, of, data) = page.event();
                        if event == "message" {
                            assert_eq!(of, channel);
                            let number = data.as_u64().expect("a number");
                            pace.note(number);
                            break number;
                        }
                        assert_eq!(event, "pusher:cache_miss");
                    };
                    let mut before = next();
                    for _ in 1..50 {
                        let number = next();
                        pace.assert_follows(number, before);
                        before = number;
                    }
                    page.say(&json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } }));
                    page.say(&json!({ "event": "pusher:ping", "data": {} }));
                    while page.event().0 != "pusher:pong" {}
                }
            }
        });
    }
}

#[test]
fn no_other_client_has_a_page_sent_what_is_no_frame() {
    let server = start(1, &["--resume-window", "60"]);
    let mut page = Page::open(&server);
    page.subscribe("news");
    let mut client = server.server.connect();
    let list = client.text(&["CLIENT", "LIST"]);
    let line = list.lines().find(|line| line.contains("lib-name=http-pusher")).expect("the page");
    let id = line.split([' ', '=']).nth(1).expect("an ID").to_owned();
    client.request(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]);
    client.request(&["GET", "k"]);
    server.server.connect().request(&["SET", "k", "v"]);
    client.request(&["PUBLISH", "news", "x"]);
    assert_eq!(page.event().2, "x");
    page.assert_quiet();
}
