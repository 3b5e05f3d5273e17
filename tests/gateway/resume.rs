//! Streams of events that resume: positions, what is told when something is missing, and replays beside live messages.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sterna_tests::client::Client;
use sterna_tests::http::HttpServer;
use sterna_tests::server::wait_for;

use crate::tools::{Ends, Event, Events, bearer, info};

/// A page: its URL's query, and the last position that it has seen.
struct Page<'s> {
    server: &'s HttpServer,
    query: String,
    last_id: Option<String>,
    events: Events,
    /// What the last opening was told.
    resume: String,
}

impl<'s> Page<'s> {
    fn open(server: &'s HttpServer, query: &str) -> Page<'s> {
        Page::open_at(server, query, None)
    }

    fn open_at(server: &'s HttpServer, query: &str, last_id: Option<String>) -> Page<'s> {
        let header = last_id.as_ref().map_or(String::new(), |id| format!("Last-Event-ID: {id}"));
        let mut events = Events::open(server, &format!("/v1/events?{query}"), &header);
        let first = events.event().expect("the first event");
        assert_eq!(first.kind.as_deref(), Some("resume"));
        let last_id = first.id.or(last_id);
        Page { server, query: query.to_owned(), last_id, events, resume: first.data }
    }

    /// Loses its connection, and with it what it has not read, and comes back.
    fn come_back(&mut self) {
        let last_id = self.last_id.take();
        *self = Page::open_at(self.server, &self.query.clone(), last_id);
    }

    fn event(&mut self) -> Event {
        let event = self.events.event().expect("the stream goes on");
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        event
    }

    fn data(&mut self) -> String {
        self.event().data
    }

    fn is_recovered(&self) -> bool {
        let is = self.resume.starts_with(r#"{"recovered":true,"#);
        assert!(is || self.resume.starts_with(r#"{"recovered":false,"#), "{}", self.resume);
        is
    }

    /// Reads messages, in which each channel's numbers follow each other.
    fn read(&mut self, count: usize, seen: &mut HashMap<String, u64>) {
        for _ in 0..count {
            let event = self.event();
            assert_eq!(event.kind, None, "{}", event.data);
            let rest = event.data.strip_prefix(r#"{"channel":""#).expect("a message");
            let (channel, number) = rest.split_once(r#"","message":""#).expect("a message");
            let number: u64 = number.trim_end_matches("\"}").parse().expect("a number");
            let last = seen.insert(channel.to_owned(), number);
            assert!(last.is_none_or(|last| last + 1 == number), "{channel}: {number} behind {last:?}");
        }
    }
}

fn message(channel: &str, text: &str) -> String {
    format!(r#"{{"channel":"{channel}","message":"{text}"}}"#)
}

fn publish(client: &mut Client, channel: &str, from: usize, to: usize) {
    (from..to).for_each(|n| client.send(&["PUBLISH", channel, &n.to_string()]));
    (from..to).for_each(|_| drop(client.value()));
}

#[test]
fn pages_that_are_cut_again_and_again_get_each_message_once_while_publishers_run_flat_out() {
    for (shards, query) in
        [(1, "channel=n0"), (2, "channel=n0"), (2, "channel=n0&channel=n1&channel=n2&channel=live")]
    {
        let server = HttpServer::start(shards, &["--retain", "n*"]);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for channel in ["n0", "n1", "n2"] {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || {
                    let mut publisher = server.server.connect();
                    let mut n = 0;
                    // Fewer than `http-replay-max`, however slowly the page reads.
                    while !is_over.load(Relaxed) && n < 500_000 {
                        publish(&mut publisher, channel, n, n + 20);
                        n += 20;
                    }
                });
            }
            let _ends = Ends(&is_over);
            let mut seen = HashMap::new();
            let mut page = Page::open(&server, query);
            assert!(!page.is_recovered());
            for round in 0..25 {
                page.read(1 + 37 * round % 101, &mut seen);
                page.come_back();
                assert!(page.is_recovered(), "{}", page.resume);
            }
            page.read(100, &mut seen);
        });
    }
}

#[test]
fn pages_of_the_same_names_are_told_together_and_each_comes_back_to_where_it_was() {
    const EACH: usize = 40;
    let queries = [
        ("channel=n0&channel=n1", 2),
        ("channel=n1&channel=n0&pattern=other*", 2),
        ("channel=n0&channel=n1&channel=n2", 3),
        ("channel=n2&channel=live", 1),
        ("channel=n0&channel=n2&stream=s", 2),
    ];
    let server = HttpServer::start(2, &["--retain", "n*"]);
    let open = |n: usize| (Page::open(&server, queries[n % queries.len()].0), HashMap::new());
    let mut pages: Vec<_> = (0..3 * queries.len()).map(open).collect();
    for round in 0..6 {
        std::thread::scope(|scope| {
            for channel in ["n0", "n1", "n2"] {
                let mut publisher = server.server.connect();
                scope.spawn(move || {
                    let numbers = || round * EACH..(round + 1) * EACH;
                    for n in numbers() {
                        // Long ones are framed otherwise than short ones. Zeros in front make no other number.
                        let width = if n % 7 == 0 { 1500 } else { 1 };
                        publisher.send(&["PUBLISH", channel, &format!("{n:0width$}")]);
                    }
                    numbers().for_each(|_| drop(publisher.value()));
                });
            }
            for (n, (page, seen)) in pages.iter_mut().enumerate() {
                let all = EACH * queries[n % queries.len()].1;
                let first = (37 * round + 11 * n) % all;
                page.read(first, seen);
                if (round + n) % 2 == 0 {
                    page.come_back();
                    assert!(page.is_recovered(), "{}", page.resume);
                }
                page.read(all - first, seen);
            }
        });
    }
    for (n, (page, _)) in pages.iter_mut().enumerate() {
        page.come_back();
        assert!(page.is_recovered(), "{}", page.resume);
        // Nothing was left, and the position of one page is that of all pages of its names.
        let id = page.last_id.clone().filter(|_| !page.query.contains("stream"));
        let other = Page::open(&server, &page.query);
        assert!(id.is_none() || id == other.last_id, "{n}: {id:?}, {:?}", other.last_id);
    }
}

#[test]
fn a_page_that_comes_back_gets_what_it_has_missed_before_what_is_new() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &["--retain", "c"]);
        let mut client = server.server.connect();
        let mut page = Page::open(&server, "channel=c");
        assert!(!page.is_recovered() && page.last_id.is_some(), "{}", page.resume);
        let position = page.last_id.clone();
        publish(&mut client, "c", 0, 2000);
        page.come_back();
        assert!(page.is_recovered());
        publish(&mut client, "c", 2000, 2010);
        for n in 0..2010 {
            assert_eq!(page.data(), message("c", &n.to_string()));
        }
        // In the URL it says the same, and the header goes before it.
        let first = position.expect("a position");
        let mut again = Page::open(&server, &format!("channel=c&last_event_id={first}"));
        assert!(again.is_recovered());
        assert_eq!(again.data(), message("c", "0"));
        again.last_id.clone_from(&page.last_id);
        again.come_back();
        assert!(again.is_recovered());
        client.request(&["PUBLISH", "c", "last"]);
        assert_eq!(again.data(), message("c", "last"));
        assert_eq!(page.data(), message("c", "last"));
    }
}

#[test]
fn a_position_is_an_id_of_its_stream_an_entry_or_the_earliest_and_nothing_else() {
    let server = HttpServer::start(1, &["--retain", "c*"]);
    let mut client = server.server.connect();
    publish(&mut client, "c1", 0, 3);
    publish(&mut client, "c2", 0, 3);
    for wrong in ["x", "1-1-1", "0000000000000000:1", "%ff"] {
        assert_eq!(server.get(&format!("/v1/events?channel=c1&since={wrong}"), "").status, 400, "{wrong}");
    }
    assert_eq!(server.get("/v1/events?channel=c1", "Last-Event-ID: x").status, 400);
    let mut page = Page::open(&server, "channel=c1&since=earliest");
    assert!(page.is_recovered());
    assert_eq!(page.data(), message("c1", "0"));
    assert_eq!(Page::open(&server, "channel=c1&since=0").data(), message("c1", "0"));
    let id = page.last_id.clone().expect("an id");
    let entry = id.split_once(':').expect("epoch and entry").1;
    assert_eq!(Page::open(&server, &format!("channel=c1&since={entry}")).data(), message("c1", "1"));
    // Names that it was not made for: nothing is claimed.
    let mut both = Page::open(&server, "channel=c2&channel=c1&since=earliest");
    let firsts: Vec<String> = (0..6).map(|_| both.data()).collect();
    assert_eq!(firsts.iter().filter(|data| data.contains("c1")).count(), 3);
    let vector = both.last_id.clone();
    for (query, id) in [
        ("channel=c1&channel=c2", Some(id)),
        ("channel=c1", vector.clone()),
        ("channel=c1&channel=c3", vector.clone()),
    ] {
        assert!(!Page::open_at(&server, query, id).is_recovered(), "{query}");
    }
    // Their order says nothing.
    let mut turned = Page::open_at(&server, "channel=c1&channel=c2", vector);
    assert!(turned.is_recovered());
    client.request(&["PUBLISH", "c1", "new"]);
    assert_eq!(turned.data(), message("c1", "new"));
    // Names without positions are told.
    let live = Page::open(&server, "channel=other&pattern=p*");
    assert!(live.resume.ends_with(r#","live":["other","p*"]}"#) && live.last_id.is_none(), "{}", live.resume);
}

#[test]
fn what_is_not_there_any_more_is_told_and_no_part_of_it_is_sent() {
    let server = HttpServer::start(2, &["--retain", "c maxlen 10 d maxlen 10"]);
    let mut client = server.server.connect();
    publish(&mut client, "c", 0, 5);
    let mut page = Page::open(&server, "channel=c&channel=d");
    // It is told where it stands, and subscribes behind that: what is trimmed in between would be missing.
    wait_for("it to listen", || {
        let counts = client.request(&["PUBSUB", "NUMSUB", "c", "d"]);
        let counts = counts.as_slice().expect("names and counts");
        (counts[1].as_int() == Some(1) && counts[3].as_int() == Some(1)).then_some(())
    });
    publish(&mut client, "c", 5, 30);
    publish(&mut client, "d", 0, 5);
    // One that is there reads on: it had been subscribed, and nothing was trimmed before it was sent.
    let mut sent: Vec<String> = (0..30).map(|_| page.data()).collect();
    sent.retain(|data| data.contains(r#""c""#));
    assert_eq!(sent.len(), 25);
    let position = page.last_id.clone();
    publish(&mut client, "c", 30, 50);
    publish(&mut client, "d", 5, 9);
    page.come_back();
    assert!(!page.is_recovered());
    let (c, d) = (r#"{"channel":"c","recovered":false,"#, r#"{"channel":"d","recovered":true,"#);
    assert!(page.resume.contains(c) && page.resume.contains(d), "{}", page.resume);
    for n in 5..9 {
        assert_eq!(page.data(), message("d", &n.to_string()));
    }
    client.request(&["PUBLISH", "c", "new"]);
    assert_eq!(page.data(), message("c", "new"));
    // From there on it is as before.
    page.come_back();
    assert!(page.is_recovered());
    // Deleted, and begun again: in another millisecond, since an ID that is given twice can't be told from itself.
    let last = client.text(&["XADD", "probe", "*", "n", "0"]);
    wait_for("the next millisecond", || {
        let next = client.text(&["XADD", "probe", "*", "n", "0"]);
        (next.split('-').next() != last.split('-').next()).then_some(())
    });
    client.request(&["DEL", "channel:c"]);
    publish(&mut client, "c", 0, 3);
    page.come_back();
    assert!(page.resume.contains(c), "{}", page.resume);
    assert!(!Page::open_at(&server, "channel=c&channel=d", position).is_recovered());
    // More than a page may be behind with.
    client.request(&["CONFIG", "SET", "retain", "e", "http-replay-max", "300"]);
    publish(&mut client, "e", 0, 1000);
    let mut page = Page::open(&server, "channel=e&since=earliest");
    let told = loop {
        let event = page.event();
        if event.kind.is_some() {
            break event;
        }
    };
    assert!(told.data.starts_with(r#"{"recovered":false,"#), "{}", told.data);
    client.request(&["PUBLISH", "e", "new"]);
    assert_eq!(page.data(), message("e", "new"));
}

#[test]
fn positions_last_as_long_as_nothing_can_have_been_lost() {
    for (journal, is_kept) in [("yes", true), ("no", false)] {
        let mut server = HttpServer::start(2, &["--retain", "c", "--appendonly", journal, "--save", ""]);
        let mut client = server.server.connect();
        let mut page = Page::open(&server, "channel=c&stream=s");
        publish(&mut client, "c", 0, 50);
        for n in 0..20 {
            assert_eq!(page.data(), message("c", &n.to_string()));
        }
        let position = page.last_id.clone();
        drop(page);
        client.request(&["XADD", "s", "5-1", "f", "v"]);
        drop(client);
        server.server.kill();
        server.server.start_again();
        let mut page = Page::open_at(&server, "channel=c&stream=s", position);
        assert_eq!(page.is_recovered(), is_kept, "appendonly {journal}: {}", page.resume);
        let mut client = server.server.connect();
        client.request(&["PUBLISH", "c", "new"]);
        if is_kept {
            let mut sent: Vec<String> = (20..51).map(|_| page.data()).collect();
            sent.push(page.data());
            let of_stream =
                sent.iter().position(|data| data.starts_with(r#"{"stream":"s""#)).expect("the entry");
            sent.remove(of_stream);
            let expected = (20..50).map(|n| n.to_string()).chain(["new".to_owned()]);
            assert_eq!(sent, expected.map(|text| message("c", &text)).collect::<Vec<_>>());
        } else {
            assert_eq!(page.data(), message("c", "new"));
        }
    }
}

#[test]
fn a_copy_that_comes_back_to_its_key_is_not_taken_for_the_stream_that_was_read_there() {
    let of = |script: &str| format!("return redis.call({script})");
    let rename = of("'RENAME', KEYS[1], KEYS[2]");
    let restore = of("'RESTORE', KEYS[2], 0, redis.call('DUMP', KEYS[1]), 'REPLACE'");
    // Each has the key hold what it held when the page had come so far, in place of what it holds.
    let ways: [&[&[&str]]; 7] = [
        &[&["RENAME", "kept", "channel:c"]],
        &[&["COPY", "kept", "channel:c", "REPLACE"]],
        &[&["SWAPDB", "0", "1"]],
        &[&["DEL", "channel:c"], &["SELECT", "1"], &["MOVE", "channel:c", "0"], &["SELECT", "0"]],
        &[&["MULTI"], &["RENAME", "kept", "channel:c"], &["EXEC"]],
        &[&["EVAL", &rename, "2", "kept", "channel:c"]],
        &[&["EVAL", &restore, "2", "kept", "channel:c"]],
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut server = HttpServer::start(2, &["--retain", "c d", "--appendonly", "yes"]);
        let mut client = server.server.connect();
        publish(&mut client, "c", 0, 2);
        publish(&mut client, "d", 0, 2);
        let mut page = Page::open(&server, "channel=c");
        let mut of_another = Page::open(&server, "channel=d");
        publish(&mut client, "c", 2, 4);
        publish(&mut client, "d", 2, 3);
        assert_eq!((page.data(), page.data()), (message("c", "2"), message("c", "3")));
        assert_eq!(of_another.data(), message("d", "2"));
        client.request(&["COPY", "channel:c", "kept"]);
        client.request(&["COPY", "channel:c", "channel:c", "DB", "1"]);
        page.come_back();
        assert!(page.is_recovered(), "{way:?}: copies are under other keys");
        let at = page.last_id.clone();
        publish(&mut client, "c", 4, 6);
        assert_eq!((page.data(), page.data()), (message("c", "4"), message("c", "5")));
        way.iter().for_each(|request| drop(client.request(request)));
        // Who is there has missed nothing. What it is sent from now on has positions that hold, in another millisecond.
        let again = Page::open_at(&server, "channel=c", at.clone());
        assert!(!again.is_recovered(), "{way:?}: {}", again.resume);
        wait_for("the next millisecond", || {
            publish(&mut client, "c", 6, 7);
            assert_eq!(page.data(), message("c", "6"));
            page.come_back();
            page.is_recovered().then_some(())
        });
        assert!(!Page::open_at(&server, "channel=c", at.clone()).is_recovered(), "{way:?}");
        if number != 2 {
            of_another.come_back();
            assert!(of_another.is_recovered(), "{way:?}");
        }
        // What the server knows of this no journal does: after a restart nothing is recovered.
        drop((page, again, of_another, client));
        if number % 2 == 0 {
            server.server.kill();
            server.server.start_again();
        } else {
            server.server.restart();
        }
        assert!(!Page::open_at(&server, "channel=c", at).is_recovered(), "{way:?}");
        let mut client = server.server.connect();
        let mut page = Page::open(&server, "channel=c");
        publish(&mut client, "c", 8, 9);
        assert_eq!(page.data(), message("c", "8"));
        drop(client);
        let last = page.last_id.clone();
        drop(page);
        server.server.restart();
        assert!(
            Page::open_at(&server, "channel=c", last).is_recovered(),
            "{way:?}: from then on it is as before"
        );
    }
}

#[test]
fn a_page_that_reads_on_is_told_when_its_stream_gives_way_to_another() {
    let server = HttpServer::start(2, &["--retain", "c"]);
    let mut client = server.server.connect();
    // It waits for entries of a stream.
    client.request(&["XADD", "s", "5-1", "n", "0"]);
    let mut page = Page::open(&server, "channel=c&stream=s");
    client.request(&["XADD", "s", "6-1", "n", "1"]);
    assert_eq!(page.data(), r#"{"stream":"s","id":"6-1","fields":{"n":"1"}}"#);
    client.request(&["XADD", "other", "5-1", "n", "0"]);
    client.request(&["XADD", "other", "7-1", "n", "2"]);
    client.request(&["RENAME", "other", "s"]);
    let told = page.event();
    assert_eq!(told.kind.as_deref(), Some("resume"));
    assert!(told.data.starts_with(r#"{"recovered":false,"#), "{}", told.data);
    client.request(&["XADD", "s", "8-1", "n", "3"]);
    assert_eq!(page.data(), r#"{"stream":"s","id":"8-1","fields":{"n":"3"}}"#);
    client.request(&["PUBLISH", "c", "new"]);
    assert_eq!(page.data(), message("c", "new"));
}

#[test]
fn a_stream_is_followed_whoever_adds_to_it() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut client = server.server.connect();
        let mut page = Page::open(&server, "stream=s&stream=%22t");
        assert!(page.resume.contains(r#"{"stream":"s","recovered":false,"from":"0-0"}"#), "{}", page.resume);
        let entry = |key: &str, id: &str, n: usize| {
            format!(r#"{{"stream":"{key}","id":"{id}","fields":{{"n":"{n}"}}}}"#)
        };
        client.request(&["XADD", "s", "1-1", "n", "0"]);
        assert_eq!(page.data(), entry("s", "1-1", 0));
        client.request(&["MULTI"]);
        client.request(&["XADD", "s", "1-2", "n", "1"]);
        client.request(&["XADD", "s", "7-0", "n", "2"]);
        client.request(&["EXEC"]);
        assert_eq!(page.data(), entry("s", "1-2", 1));
        assert_eq!(page.data(), entry("s", "7-0", 2));
        client.request(&["EVAL", "return redis.call('XADD', KEYS[1], '8-0', 'n', '3')", "1", "\"t"]);
        assert_eq!(page.data(), entry("\\\"t", "8-0", 3));
        page.come_back();
        assert!(page.is_recovered());
        // Of a stream that keeps one entry none is missed by who has read all before it.
        for n in 0..50 {
            let id = format!("{}-0", 10 + n);
            client.request(&["XADD", "s", "MAXLEN", "1", &id, "n", &n.to_string()]);
            assert_eq!(page.data(), entry("s", &id, n));
        }
        // Deleted, and begun again with lower IDs.
        client.request(&["DEL", "s"]);
        client.request(&["XADD", "s", "1-1", "n", "0"]);
        assert!(page.data().starts_with(r#"{"recovered":false,"#));
        client.request(&["XADD", "s", "1-2", "n", "1"]);
        assert_eq!(page.data(), entry("s", "1-2", 1));
        // A reader that waits on the same key is served as well, and nobody is left waiting for it when the page goes.
        drop(page);
        wait_for("the page to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
        client.request(&["XADD", "s", "2-0", "n", "1"]);
    }
}

#[test]
fn a_page_reads_what_it_may_and_no_longer_than_it_may() {
    let server = HttpServer::start(2, &["--requirepass", "secret", "--retain", "c"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    let rules = ["ACL", "SETUSER", "page", "on", ">pw", "+subscribe", "+xread", "&c", "%R~s"];
    admin.request(&rules);
    publish(&mut admin, "c", 0, 10);
    admin.request(&["XADD", "s", "*", "n", "0"]);
    admin.request(&["SET", "text", "x"]);
    let token = bearer("page", "pw");
    for query in ["stream=other", "stream=s&stream=other", "stream=s&channel=d", "stream=channel:d"] {
        let denied = server.get(&format!("/v1/events?{query}"), &token);
        assert!(denied.status == 403 && denied.body.contains("NOPERM"), "{query}: {denied:?}");
    }
    let wrong = server.get("/v1/events?stream=text", &bearer("default", "secret"));
    assert!(wrong.status == 400 && wrong.body.contains("WRONGTYPE"), "{wrong:?}");
    let query = "channel=c&since=earliest&_token=page:pw";
    let mut page = Page::open(&server, query);
    assert_eq!(page.data(), message("c", "0"));
    let mut follower = Page::open(&server, "stream=s&since=earliest&_token=page:pw");
    assert!(follower.data().contains(r#""stream":"s""#));
    // What a channel remembers is a stream, read by who may listen to it.
    let mut history = Page::open(&server, "stream=channel:c&since=earliest&_token=page:pw");
    assert!(history.data().ends_with(r#""fields":{"message":"0"}}"#));
    // A replay that has not ended is not finished first.
    let long = "x".repeat(100_000);
    (0..200).for_each(|_| admin.send(&["PUBLISH", "c", &long]));
    (0..200).for_each(|_| drop(admin.value()));
    let mut slow = Events::open(&server, &format!("/v1/events?{query}"), "");
    admin.request(&["ACL", "SETUSER", "page", "resetchannels"]);
    assert!(std::iter::from_fn(|| slow.event()).count() < 205);
    assert!(std::iter::from_fn(|| page.events.event()).count() < 220);
    assert_eq!(std::iter::from_fn(|| history.events.event()).filter(|event| event.kind.is_some()).count(), 0);
    admin.request(&["XADD", "s", "*", "n", "1"]);
    assert!(follower.data().contains(r#""n":"1""#));
    admin.request(&["ACL", "SETUSER", "page", "resetkeys"]);
    assert!(follower.events.event().is_none());
    assert_eq!(server.get(&format!("/v1/events?{query}"), "").status, 403);
}

#[test]
fn a_page_that_reads_slowly_is_replayed_slowly_and_holds_a_slice() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &["--retain", "c"]);
        let mut client = server.server.connect();
        let text = "x".repeat(20_000);
        (0..1200).for_each(|_| client.send(&["PUBLISH", "c", &text]));
        (0..1200).for_each(|_| drop(client.value()));
        let mut slow: Vec<Page> = (0..2).map(|_| Page::open(&server, "channel=c&since=earliest")).collect();
        let list = client.text(&["CLIENT", "LIST"]);
        for line in list.lines().filter(|line| line.contains("http-events")) {
            let queued = line.split(" omem=").nth(1).and_then(|rest| rest.split(' ').next());
            assert!(queued.is_some_and(|bytes| bytes.parse::<usize>().expect("bytes") < 400_000), "{line}");
        }
        // None of them is subscribed before it is up to date.
        assert_eq!(client.int(&["PUBLISH", "c", "last"]), 0);
        for page in &mut slow {
            for _ in 0..1200 {
                assert_eq!(page.data().len(), message("c", &text).len());
            }
            assert_eq!(page.data(), message("c", "last"));
        }
        wait_for("all to be live", || (client.int(&["PUBLISH", "c", "x"]) == 2).then_some(()));
    }
}

/// What comes by a pattern while a channel that it matches is replayed moves no position: the replay has it once more.
#[test]
fn a_message_that_comes_by_a_pattern_skips_nothing_of_a_replay() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &["--retain", "*"]);
        let mut client = server.server.connect();
        let text = "x".repeat(20_000);
        (0..1200).for_each(|_| client.send(&["PUBLISH", "c", &text]));
        (0..1200).for_each(|_| drop(client.value()));
        let mut page = Page::open(&server, "channel=c&channel=d&pattern=c*&since=earliest");
        // It is subscribed to the pattern alone until it is up to date.
        assert_eq!(client.int(&["PUBLISH", "c", "last"]), 1);
        let mut replayed = 0;
        loop {
            let event = page.event();
            match event.data.contains(r#""pattern":"c*""#) {
                true => assert!(event.data.contains("last") && event.id.is_none(), "{:.90}", event.data),
                false if event.data == message("c", "last") => break,
                false => replayed += 1,
            }
        }
        assert_eq!(replayed, 1200);
    }
}

#[test]
fn a_page_that_is_replayed_while_its_channel_ceases_to_remember_is_told() {
    for remembers_again in [false, true] {
        let server = HttpServer::start(1, &["--retain", "c"]);
        let mut client = server.server.connect();
        let text = "x".repeat(20_000);
        (0..1200).for_each(|_| client.send(&["PUBLISH", "c", &text]));
        (0..1200).for_each(|_| drop(client.value()));
        let mut page = Page::open(&server, "channel=c&since=earliest");
        client.request(&["CONFIG", "SET", "retain", "other"]);
        assert_eq!(client.int(&["PUBLISH", "c", "lost"]), 0, "it is not subscribed, and nothing keeps this");
        if remembers_again {
            client.request(&["CONFIG", "SET", "retain", "c"]);
        }
        (0..1200).for_each(|_| assert_eq!(page.data().len(), message("c", &text).len()));
        let told = page.event();
        assert_eq!(told.kind.as_deref(), Some("resume"));
        assert!(told.data.starts_with(r#"{"recovered":false,"#), "{}", told.data);
        assert_eq!(client.int(&["PUBLISH", "c", "new"]), 1);
        assert_eq!(page.data(), message("c", "new"));
    }
}

#[test]
fn a_live_page_beyond_its_limit_is_closed_and_resumes_without_a_gap() {
    let server = HttpServer::start(2, &["--retain", "c", "--http-output-limit", "1mb 0 0"]);
    let mut client = server.server.connect();
    let mut page = Page::open(&server, "channel=c");
    wait_for("it to listen", || (client.int(&["PUBLISH", "c", "0"]) == 1).then_some(()));
    let text = "x".repeat(10_000);
    let mut sent = 0;
    wait_for("it to be closed", || {
        // Many at a time: what the kernel holds for it comes first.
        for _ in 0..50 {
            sent += 1;
            if client.int(&["PUBLISH", "c", &format!("{sent}-{text}")]) == 0 {
                return Some(());
            }
        }
        None
    });
    wait_for("it to be counted", || (info(&mut client, "closed_output_limit") == "1").then_some(()));
    let mut next = 0;
    while let Some(event) = page.events.event() {
        page.last_id.clone_from(&event.id);
        if event.data.contains('-') {
            next += 1;
            assert!(event.data.contains(&format!("\"{next}-")), "{next}: {:.60}", event.data);
        }
    }
    assert!(next < sent);
    page.come_back();
    assert!(page.is_recovered());
    for n in next + 1..=sent {
        assert!(page.data().contains(&format!("\"{n}-")));
    }
}

#[test]
fn so_many_names_have_positions_and_no_more() {
    let server = HttpServer::start(2, &["--retain", "c*"]);
    let query = |count: usize| (0..count).map(|n| format!("channel=c{n}")).collect::<Vec<_>>().join("&");
    let refused = server.get(&format!("/v1/events?{}&stream=s", query(100)), "");
    assert!(refused.status == 400 && refused.body.contains("More than 100"), "{refused:?}");
    let mut client = server.server.connect();
    let mut page = Page::open(&server, &query(100));
    for n in 0..100 {
        client.request(&["PUBLISH", &format!("c{n}"), "0"]);
        assert_eq!(page.data(), message(&format!("c{n}"), "0"));
    }
    assert!(page.last_id.as_ref().is_some_and(|id| id.len() < 5 * 1024), "{:?}", page.last_id);
    page.come_back();
    assert!(page.is_recovered());
    client.request(&["PUBLISH", "c7", "1"]);
    assert_eq!(page.data(), message("c7", "1"));
}
