//! Presence channels: who is there, on whatever shard.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use sterna_tests::server::wait_for;

use super::tools::{Page, ask, start};

fn join(page: &mut Page, user: &str) -> Json {
    let data = json!({ "user_id": user, "user_info": { "name": format!("n{user}") } });
    page.subscribe_as("presence-room", Some(&data.to_string()))["presence"].clone()
}

#[test]
fn members_are_users_counted_by_their_connections_on_all_shards() {
    for shards in [1, 2] {
        let server = start(shards, &[]);
        let mut pages: Vec<Page> = (0..4).map(|_| Page::open(&server)).collect();
        let told = join(&mut pages[0], "a");
        assert_eq!(told, json!({ "ids": ["a"], "hash": { "a": { "name": "na" } }, "count": 1 }));
        assert_eq!(join(&mut pages[1], "b")["ids"], json!(["a", "b"]));
        let added = |user: &str| {
            let data = json!({ "user_id": user, "user_info": { "name": format!("n{user}") } });
            ("pusher_internal:member_added".to_owned(), "presence-room".to_owned(), data)
        };
        let removed = |user: &str| {
            let data = json!({ "user_id": user });
            ("pusher_internal:member_removed".to_owned(), "presence-room".to_owned(), data)
        };
        assert_eq!(pages[0].event(), added("b"));
        // A second connection of a user is no second member.
        assert_eq!(join(&mut pages[2], "a")["count"], 2);
        pages[0].assert_quiet();
        assert_eq!(join(&mut pages[3], "c")["count"], 3);
        (0..3).for_each(|n| assert_eq!(pages[n].event(), added("c")));
        let users = ask(&server, "GET", "/apps/1/channels/presence-room/users", "", "").body;
        assert_eq!(users, r#"{"users":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#);
        // Events of members say whose they are.
        pages[1].say(&json!({ "event": "client-e", "channel": "presence-room", "data": 1 }));
        let told = pages[0].told();
        assert_eq!((&told["event"], &told["user_id"]), (&json!("client-e"), &json!("b")));
        (2..4).for_each(|n| assert_eq!(pages[n].told()["user_id"], "b"));
        // Asked for again, it is the same subscription.
        assert_eq!(join(&mut pages[1], "b")["count"], 3);
        pages[0].say(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "presence-room" } }));
        pages[0].assert_quiet();
        pages[1].assert_quiet();
        drop(pages.remove(2));
        for n in [1, 2] {
            assert_eq!(pages[n].event(), removed("a"));
        }
        drop(pages);
        wait_for("the room to be empty", || {
            let users = ask(&server, "GET", "/apps/1/channels/presence-room/users", "", "").body;
            (users == r#"{"users":[]}"#).then_some(())
        });
    }
}

#[test]
fn who_comes_while_others_come_and_go_knows_exactly_who_is_there() {
    let server = start(2, &[]);
    let mut watchers: Vec<Page> = (0..2).map(|_| Page::open(&server)).collect();
    let mut known: Vec<BTreeSet<String>> = Vec::new();
    std::thread::scope(|scope| {
        let churn: Vec<_> = (0..3)
            .map(|thread| {
                let server = &server;
                scope.spawn(move || {
                    for n in 0..20 {
                        let mut page = Page::open(server);
                        join(&mut page, &format!("{thread}-{}", n % 5));
                    }
                    let mut page = Page::open(server);
                    join(&mut page, &format!("stays-{thread}"));
                    page
                })
            })
            .collect();
        for (n, watcher) in watchers.iter_mut().enumerate() {
            let ids = join(watcher, &format!("watcher-{n}"))["ids"].clone();
            known.push(
                ids.as_array()
                    .expect("IDs")
                    .iter()
                    .map(|id| id.as_str().expect("an ID").to_owned())
                    .collect(),
            );
        }
        let pages: Vec<Page> = churn.into_iter().map(|thread| thread.join().expect("it goes on")).collect();
        let expected: BTreeSet<String> =
            ["stays-0", "stays-1", "stays-2", "watcher-0", "watcher-1"].map(str::to_owned).into();
        for (watcher, known) in watchers.iter_mut().zip(&mut known) {
            // Every change is one: nobody is added who is known, or removed who is not.
            while *known != expected {
                let (event, _, data) = watcher.event();
                let id = data["user_id"].as_str().expect("an ID").to_owned();
                match event.as_str() {
                    "pusher_internal:member_added" => assert!(known.insert(id.clone()), "{id} was there"),
                    "pusher_internal:member_removed" => assert!(known.remove(&id), "{id} was not there"),
                    other => panic!("{other}"),
                }
            }
        }
        drop(pages);
    });
}

#[test]
fn who_may_not_leave_is_told_and_stays_a_member() {
    let server = start(1, &[]);
    let mut admin = server.server.connect();
    admin.request(&["ACL", "SETUSER", "page", "on", "+subscribe", "allchannels"]);
    admin.request(&["CONFIG", "SET", "pusher-app", "1 app-key app-secret user page"]);
    let (mut other, mut page) = (Page::open(&server), Page::open(&server));
    join(&mut other, "b");
    join(&mut page, "a");
    assert_eq!(other.event().0, "pusher_internal:member_added");
    page.say(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "presence-room" } }));
    let (event, _, data) = page.event();
    let says = |text: &str| data["message"].as_str().is_some_and(|message| message.contains(text));
    assert!(event == "pusher:error" && says("NOPERM"), "{data}");
    other.assert_quiet();
    assert_eq!(admin.int(&["PUBLISH", "presence-room", "x"]), 2);
    assert_eq!((page.event().2, other.event().2), (json!("x"), json!("x")));
}

#[test]
fn a_member_says_who_he_is_in_few_bytes() {
    let server = start(1, &[]);
    let mut page = Page::open(&server);
    let long = json!({ "user_id": "a", "user_info": "x".repeat(2049) }).to_string();
    let long_id = json!({ "user_id": "x".repeat(129) }).to_string();
    for data in [None, Some("{}"), Some("x"), Some(&*long), Some(&*long_id)] {
        let auth = page.auth("presence-room", data);
        let mut asked = json!({ "channel": "presence-room", "auth": auth });
        if let Some(data) = data {
            asked["channel_data"] = data.into();
        }
        page.say(&json!({ "event": "pusher:subscribe", "data": asked }));
        let (event, _, told) = page.event();
        assert_eq!((event.as_str(), &told["status"]), ("pusher:subscription_error", &json!(400)), "{data:?}");
    }
    let mut admin = server.server.connect();
    let mut memory = || -> usize {
        let list = admin.text(&["CLIENT", "LIST", "TYPE", "PUBSUB"]);
        let field = list.split(' ').find_map(|field| field.strip_prefix("tot-mem="));
        field.map_or(0, |bytes| bytes.parse().expect("a number"))
    };
    page.subscribe("news");
    let before = wait_for("its line", || Some(memory()).filter(|&bytes| bytes > 0));
    let longest = json!({ "user_id": "b", "user_info": "x".repeat(2000) }).to_string();
    page.subscribe_as("presence-other", Some(&longest));
    let counts = || (memory() >= before + 2000).then_some(());
    wait_for("what is known of it to count", counts);
    let numbered = json!({ "user_id": 10 }).to_string();
    assert_eq!(page.subscribe_as("presence-room", Some(&numbered))["presence"]["ids"], json!(["10"]));
}
