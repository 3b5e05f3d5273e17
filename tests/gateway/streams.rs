//! `/v1/events`: a page's stream of events is a connection of a shard.

use std::io::{Read, Write};

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::http::{HttpServer, answer_of};
use sterna_tests::server::wait_for;
use sterna_tests::tls::{self, Authority};

use crate::tools::{Events, Pace, bearer, done, https, info, run};

/// The lines of CLIENT LIST that are of streams.
fn streams(client: &mut Client) -> Vec<String> {
    let list = client.text(&["CLIENT", "LIST"]);
    list.lines().filter(|line| line.contains("lib-name=http-events")).map(str::to_owned).collect()
}

#[test]
fn a_page_is_sent_what_is_published_to_its_channels_and_patterns_in_order() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut pages: Vec<Events> = (0..4)
            .map(|_| Events::open(&server, "/v1/events?channel=news&channel=other&pattern=n%2A", ""))
            .collect();
        let mut publisher = server.server.connect();
        for n in 0..200 {
            assert_eq!(publisher.int(&["PUBLISH", "news", &format!("\"{n}\"\n")]), 8);
            assert_eq!(publisher.int(&["PUBLISH", "other", "x"]), 4);
        }
        for page in &mut pages {
            for n in 0..200 {
                let event = format!(r#"{{"channel":"news","message":"\"{n}\"\n""#);
                assert_eq!(page.data(), Some(format!("{event}}}")));
                assert_eq!(page.data(), Some(format!("{event},\"pattern\":\"n*\"}}")));
                assert_eq!(page.data().as_deref(), Some(r#"{"channel":"other","message":"x"}"#));
            }
        }
        let lines = streams(&mut publisher);
        assert_eq!(lines.len(), 4);
        for line in &lines {
            assert!(
                line.contains(" sub=2 psub=1 ") && line.contains("flags=P") && !line.contains("fd=-1"),
                "{line}"
            );
        }
        assert_eq!(info(&mut publisher, "connected_clients"), "5");
        drop(pages);
        wait_for("them to be gone", || (info(&mut publisher, "connected_clients") == "1").then_some(()));
        assert_eq!(publisher.int(&["PUBLISH", "news", "x"]), 0);
    }
}

#[test]
fn from_the_first_event_on_none_is_missing_and_none_comes_twice_while_a_publisher_runs_flat_out() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let pace = Pace::default();
        std::thread::scope(|scope| {
            let publisher = server.server.connect();
            scope.spawn(|| pace.publish(publisher, "n"));
            let _ends = pace.ends();
            for _ in 0..100 {
                let mut page = Events::open(&server, "/v1/events?channel=n&pattern=none*", "");
                pace.begin();
                let mut next = || -> u64 {
                    let data = page.data().expect("an event");
                    let number = data.strip_prefix(r#"{"channel":"n","message":""#).expect("a message");
                    let number = number.trim_end_matches("\"}").parse().expect("a number");
                    pace.note(number);
                    number
                };
                let mut before = next();
                for _ in 1..100 {
                    let number = next();
                    pace.assert_follows(number, before);
                    before = number;
                }
            }
        });
    }
}

#[test]
fn a_stream_needs_the_right_and_ends_with_it_or_when_it_is_killed() {
    let server = HttpServer::start(2, &["--requirepass", "secret"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["ACL", "SETUSER", "alice", "on", ">pw", "+subscribe", "&news"]);
    let token = bearer("alice", "pw");
    assert_eq!(server.get("/v1/events?channel=news", "").status, 401);
    for path in ["channel=other", "pattern=news", "channel=news&channel=other"] {
        let denied = server.get(&format!("/v1/events?{path}"), &token);
        assert!(denied.status == 403 && denied.body.contains("NOPERM"), "{path}: {denied:?}");
    }
    for path in ["", "?", "?channel=news&since=x"] {
        assert_eq!(server.get(&format!("/v1/events{path}"), &token).status, 400, "{path}");
    }
    assert_eq!(server.post("/v1/events?channel=news", &token, "").status, 405);
    let mut page = Events::open(&server, "/v1/events?channel=news&_token=alice:pw", "");
    admin.request(&["PUBLISH", "news", "x"]);
    assert_eq!(page.data().as_deref(), Some(r#"{"channel":"news","message":"x"}"#));
    admin.request(&["ACL", "SETUSER", "alice", "resetchannels"]);
    assert_eq!(page.data(), None);
    let mut page = Events::open(&server, "/v1/events?channel=news", &bearer("default", "secret"));
    assert_eq!(admin.int(&["CLIENT", "KILL", "TYPE", "PUBSUB"]), 1);
    assert_eq!(page.data(), None);
}

#[test]
fn a_stream_has_so_many_names_and_no_more() {
    let server = HttpServer::start(2, &[]);
    let names = |count: usize| (0..count).map(|n| format!("channel={n}")).collect::<Vec<_>>().join("&");
    assert_eq!(server.get(&format!("/v1/events?{}", names(1001)), "").status, 400);
    let mut page = Events::open(&server, &format!("/v1/events?{}", names(1000)), "");
    assert_eq!(server.server.connect().int(&["PUBLISH", "999", "x"]), 1);
    assert_eq!(page.data().as_deref(), Some(r#"{"channel":"999","message":"x"}"#));
}

#[test]
fn a_page_that_does_not_read_is_closed_at_the_limit_for_pages_and_harms_nobody() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &["--http-output-limit", "1mb 0 0"]);
        let mut publisher = server.server.connect();
        let mut slow = Events::open(&server, "/v1/events?channel=news", "");
        let mut quick = Events::open(&server, "/v1/events?channel=news", "");
        let message = "x".repeat(10_000);
        wait_for("it to be closed", || {
            // Many at a time: what the kernel holds for it comes first.
            (0..50).find_map(|_| {
                let receivers = publisher.int(&["PUBLISH", "news", &message]);
                assert!(quick.data().is_some_and(|data| data.len() > 10_000));
                (receivers == 1).then_some(())
            })
        });
        wait_for("it to be counted", || (info(&mut publisher, "closed_output_limit") == "1").then_some(()));
        assert!(std::iter::from_fn(|| slow.data()).count() > 0, "what had been sent arrives");
    }
}

#[test]
fn what_a_page_sends_is_passed_over_and_a_silent_stream_is_kept_open() {
    let server = HttpServer::start(1, &["--http-heartbeat", "1"]);
    let mut page = Events::open(&server, "/v1/events?channel=news", "");
    let flood = b"*1\r\n$8\r\nFLUSHALL\r\nGET /flushall HTTP/1.1\r\n\r\n".repeat(20_000);
    done(run(&server, r#"["SET","k","v"]"#));
    page.socket().write_all(&flood).expect("the server reads");
    while page.line() != ":" {}
    assert_eq!(done(run(&server, r#"["GET","k"]"#)), r#"{"result":"v"}"#);
    let mut publisher = server.server.connect();
    assert_eq!(publisher.int(&["PUBLISH", "news", "x"]), 1);
    assert_eq!(page.data().as_deref(), Some(r#"{"channel":"news","message":"x"}"#));
    // No other client has it sent what is no event.
    let id = streams(&mut publisher)[0].split([' ', '=']).nth(1).expect("an id").to_owned();
    publisher.request(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]);
    publisher.request(&["GET", "k"]);
    server.server.connect().request(&["SET", "k", "w"]);
    publisher.request(&["PUBLISH", "news", "y"]);
    // Behind the end of the event, and what it is sent where this takes long.
    let next = std::iter::from_fn(|| Some(page.line())).find(|line| !line.is_empty() && line != ":");
    assert_eq!(next.as_deref(), Some(r#"data: {"channel":"news","message":"y"}"#));
}

#[test]
fn what_a_page_sends_is_no_request_either_where_others_would_be_let_pass_before_one_as_long() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut others: Vec<Client> = (0..4).map(|_| server.server.connect()).collect();
        others.iter_mut().for_each(|other| (0..64).for_each(|_| other.assert_quiet()));
        let path = "/v1/events?channel=news&channel=other&pattern=p%2A&stream=s";
        let mut page = Events::open(&server, path, "");
        let names: Vec<String> = (0..300).map(|nth| format!("name{nth:04}")).collect();
        let words = ["UNSUBSCRIBE", "news", "other"].into_iter().chain(names.iter().map(String::as_str));
        let wide = request_bytes(&words.collect::<Vec<_>>());
        for _ in 0..8 {
            server.server.freeze();
            page.socket().write_all(&wide).expect("there is room");
            others.iter_mut().for_each(|other| other.send(&["PING"]));
            server.server.signal(Signal::CONT);
            others.iter_mut().for_each(|other| assert_eq!(other.value(), Value::Simple(b"PONG".to_vec())));
        }
        assert_eq!(others[0].int(&["PUBLISH", "news", "x"]), 1, "{shards} shards");
        assert_eq!(page.data().as_deref(), Some(r#"{"channel":"news","message":"x"}"#));
    }
}

#[test]
fn a_request_before_the_stream_on_one_connection_is_answered_first() {
    let server = HttpServer::start(2, &[]);
    done(run(&server, &format!(r#"["SET","k","{}"]"#, "x".repeat(3_000_000))));
    let mut socket = server.connect();
    socket
        .write_all(
            b"POST /get/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n\
              GET /v1/events?channel=news HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        )
        .expect("the server reads");
    let mut publisher = server.server.connect();
    let mut answer = Vec::new();
    let mut piece = [0; 65_536];
    wait_for("the stream", || {
        let read = socket.read(&mut piece).expect("the server goes on");
        answer.extend_from_slice(&piece[..read]);
        answer.ends_with(b"\n\n").then_some(())
    });
    let text = String::from_utf8(answer).expect("text");
    let (first, second) =
        text.split_once("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream").expect("two answers");
    assert!(first.starts_with("HTTP/1.1 200 OK") && first.ends_with("xxx\"}"), "{:.200}", first);
    assert!(second.contains("retry: "), "{second}");
    assert_eq!(publisher.int(&["PUBLISH", "news", "x"]), 1);
}

#[test]
fn a_stream_takes_its_tls_session_with_it() {
    let authority = Authority::new();
    let (server, port) = https(&authority);
    let mut stream = tls::stream(port, &authority).expect("it is trusted");
    stream
        .write_all(b"GET /v1/events?channel=news HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .expect("the server reads");
    let mut page = Events::over(stream);
    let mut publisher = server.connect();
    let long = "x".repeat(100_000);
    for message in ["a", &long, "b"] {
        assert_eq!(publisher.int(&["PUBLISH", "news", message]), 1);
        assert_eq!(page.data(), Some(format!(r#"{{"channel":"news","message":"{message}"}}"#)));
    }
    assert_eq!(publisher.int(&["CLIENT", "KILL", "TYPE", "PUBSUB"]), 1);
    assert_eq!(page.data(), None);
}

#[test]
fn streams_are_clients_of_maxclients_and_give_their_seats_back() {
    let server = HttpServer::start(2, &["--maxclients", "4"]);
    let mut client = server.server.connect();
    let pages: Vec<Events> = (0..3).map(|_| Events::open(&server, "/v1/events?channel=c", "")).collect();
    assert_eq!(info(&mut client, "connected_clients"), "4");
    assert_eq!(answer_of(&mut server.connect()).expect("an answer").status, 503);
    drop(pages);
    wait_for("them to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
    // As many again: none was lost, none was counted twice.
    let pages: Vec<Events> = (0..3).map(|_| Events::open(&server, "/v1/events?channel=c", "")).collect();
    assert_eq!(client.int(&["PUBLISH", "c", "x"]), 3);
    drop(pages);
}
