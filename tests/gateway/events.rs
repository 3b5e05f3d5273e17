//! `/subscribe`: messages as events, in the words of Upstash.

use sterna_tests::http::HttpServer;
use sterna_tests::server::wait_for;

use crate::tools::{Events, bearer, info};

#[test]
fn a_subscription_is_a_stream_of_events_until_its_client_leaves() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut publisher = server.server.connect();
        let mut events = Events::open(&server, "/subscribe/news", "");
        assert_eq!(events.data().as_deref(), Some("subscribe,news,1"));
        let mut patterns = Events::open(&server, "/psubscribe/n%2A", "");
        assert_eq!(patterns.data().as_deref(), Some("psubscribe,n*,1"));
        for n in 0..100 {
            assert_eq!(publisher.int(&["PUBLISH", "news", &format!("{{\"n\":{n}}}")]), 2);
        }
        for n in 0..100 {
            assert_eq!(events.data(), Some(format!("message,news,{{\"n\":{n}}}")));
            assert_eq!(patterns.data(), Some(format!("pmessage,n*,news,{{\"n\":{n}}}")));
        }
        drop(events);
        wait_for("the subscription to end", || (publisher.int(&["PUBLISH", "news", "x"]) == 1).then_some(()));
    }
}

#[test]
fn a_subscription_needs_the_right_and_ends_with_it() {
    let server = HttpServer::start(2, &["--requirepass", "secret"]);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["ACL", "SETUSER", "alice", "on", ">pw", "+subscribe", "&news"]);
    let token = bearer("alice", "pw");
    assert_eq!(server.get("/subscribe/news", "").status, 401);
    assert_eq!(server.get("/subscribe/other", &token).status, 403);
    assert_eq!(server.get("/psubscribe/news", &token).status, 403);
    assert_eq!(server.get("/subscribe", &token).status, 400);
    let mut events = Events::open(&server, "/subscribe/news", &token);
    assert_eq!(events.data().as_deref(), Some("subscribe,news,1"));
    admin.request(&["PUBLISH", "news", "x"]);
    assert_eq!(events.data().as_deref(), Some("message,news,x"));
    admin.request(&["ACL", "SETUSER", "alice", "resetchannels"]);
    assert_eq!(events.data(), None);
}

#[test]
fn a_page_that_does_not_read_is_closed_at_the_subscribers_limit_and_harms_nobody() {
    let server = HttpServer::start(1, &["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let mut publisher = server.server.connect();
    let mut events = Events::open(&server, "/subscribe/news", "");
    let message = "x".repeat(10_000);
    wait_for("it to be closed", || {
        // Many at a time: what the kernel holds for it comes first.
        (0..50).find_map(|_| (publisher.int(&["PUBLISH", "news", &message]) == 0).then_some(()))
    });
    wait_for("it to be counted", || (info(&mut publisher, "closed_output_limit") == "1").then_some(()));
    let received = std::iter::from_fn(|| events.data()).filter(|data| data.len() > 10_000).count();
    assert!(received > 0, "what had been sent arrives");
}
