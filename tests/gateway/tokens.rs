//! JSON Web Tokens: what their claims allow, and for how long.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use sterna_tests::http::HttpServer;
use sterna_tests::server::wait_for;

use crate::tools::{Events, info};

const SECRET: [u8; 32] = [42; 32];

fn secret_key(secret: [u8; 32]) -> String {
    format!(r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#, URL_SAFE_NO_PAD.encode(secret))
}

fn token_by(secret: [u8; 32], claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// A token for an hour.
fn token(claims: &str) -> String {
    token_by(SECRET, &format!(r#"{{"exp":{},{claims}}}"#, now_s() + 3600))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A server that asks for a password, and takes tokens.
fn start(shards: usize) -> HttpServer {
    let server = HttpServer::start(shards, &["--requirepass", "secret", "--retain", "kept:*"]);
    let path = server.server.path("keys.json");
    std::fs::write(&path, secret_key(SECRET)).expect("the folder can be written");
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["CONFIG", "SET", "http-token-keys", path.to_str().expect("text")]);
    server
}

#[test]
fn a_token_allows_what_its_claims_say_and_nothing_else() {
    let server = start(2);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["XADD", "orders", "1-1", "n", "1"]);
    admin.request(&["PUBLISH", "kept:1", "old"]);
    let own = bearer(&token(
        r#""sub":"al ice","channels":["news","kept:*"],"patterns":["chat:*"],"streams":["orders"],"publish":["chat:1"]"#,
    ));
    for (query, status) in [
        ("channel=other", 403),
        ("channel=chat:1", 403),
        ("pattern=news", 403),
        ("stream=other", 403),
        ("channel=news&stream=other", 403),
        ("channel=news&since=x", 400),
    ] {
        assert_eq!(server.get(&format!("/v1/events?{query}"), &own).status, status, "{query}");
    }
    let query = "channel=news&channel=kept:1&pattern=chat:*&stream=orders&since=earliest";
    let mut page = Events::open(&server, &format!("/v1/events?{query}"), &own);
    let mut both = [page.data().expect("an event"), page.data().expect("an event")];
    both.sort();
    assert!(
        both[0].contains(r#""kept:1","message":"old""#) && both[1].contains(r#""stream":"orders""#),
        "{both:?}"
    );
    assert_eq!(
        server.post("/v1/publish", &own, r#"{"channel":"chat:1","message":"x"}"#).body,
        r#"{"receivers":1}"#
    );
    assert_eq!(page.data().as_deref(), Some(r#"{"channel":"chat:1","message":"x","pattern":"chat:*"}"#));
    assert_eq!(server.post("/v1/publish", &own, r#"{"channel":"news","message":"x"}"#).status, 403);
    assert_eq!(server.post("/v1/streams/orders", &own, r#"{"n":"2"}"#).status, 403);
    assert!(server.get("/v1/streams/orders", &own).body.contains("1-1"));
    assert!(server.get("/v1/streams/channel:kept:1", &own).body.contains("old"));
    assert_eq!(server.get("/v1/streams/channel:other", &own).status, 403);
    assert_eq!(server.post("/", &own, r#"["GET","k"]"#).status, 403);
    assert_eq!(server.post("/", &own, r#"["ACL","WHOAMI"]"#).status, 403);
    let list = admin.text(&["CLIENT", "LIST"]);
    assert!(list.contains(" user=token:al_ice "), "{list}");
    // Users that come and go are others.
    admin.request(&["ACL", "SETUSER", "token:al_ice", "on", "nopass", "+@all"]);
    admin.request(&["ACL", "DELUSER", "token:al_ice"]);
    admin.request(&["PUBLISH", "news", "still"]);
    assert_eq!(page.data().as_deref(), Some(r#"{"channel":"news","message":"still"}"#));
    // The clients of requests leave behind their answers.
    wait_for("the page to be alone", || {
        (admin.text(&["CLIENT", "LIST"]).matches(" user=token:al_ice ").count() == 1).then_some(())
    });
    assert_eq!(admin.int(&["CLIENT", "KILL", "USER", "token:al_ice"]), 1);
    assert_eq!(page.data(), None);
}

#[test]
fn a_token_ends_and_with_it_what_lives_by_it() {
    for shards in [1, 2] {
        let server = start(shards);
        let mut admin = server.server.connect();
        admin.request(&["AUTH", "secret"]);
        // Where it has ended before it is listened to, a longer one is tried.
        let (mut page, path) = [2, 4, 8, 16, 32]
            .into_iter()
            .find_map(|seconds| {
                let ends_s = now_s() + seconds;
                let short = token_by(SECRET, &format!(r#"{{"exp":{ends_s},"channels":["kept:*"]}}"#));
                let path = format!("/v1/events?channel=kept:1&_token={short}");
                let page = Events::try_open(&server, &path)?;
                while now_s() < ends_s {
                    if admin.int(&["PUBLISH", "kept:1", "0"]) == 1 {
                        return Some((page, path));
                    }
                }
                None
            })
            .expect("it listens before its token ends");
        let mut last_id = None;
        while let Some(event) = page.event() {
            last_id = event.id.or(last_id);
        }
        assert!(last_id.is_some());
        wait_for("it to be counted", || (info(&mut admin, "closed_user_removed") != "0").then_some(()));
        let refused = server.get(&path, "");
        assert!(refused.status == 401 && refused.body.contains("has ended"), "{refused:?}");
        admin.request(&["PUBLISH", "kept:1", "1"]);
        // With a new one it goes on where it was.
        let header = format!("Last-Event-ID: {}", last_id.expect("an id"));
        let next = token(r#""channels":["kept:*"]"#);
        let mut page = Events::open(&server, &format!("/v1/events?channel=kept:1&_token={next}"), &header);
        assert_eq!(page.data().as_deref(), Some(r#"{"channel":"kept:1","message":"1"}"#));
    }
}

#[test]
fn tokens_by_other_keys_let_nobody_in_and_keys_are_read_again() {
    let server = start(1);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    let claims = format!(r#"{{"exp":{},"publish":["*"],"iss":"me","aud":["x","sterna"]}}"#, now_s() + 3600);
    let (old, new) = (token_by(SECRET, &claims), token_by([43; 32], &claims));
    let status =
        |token: &str| server.post("/v1/publish", &bearer(token), r#"{"channel":"c","message":"x"}"#).status;
    assert_eq!((status(&old), status(&new)), (200, 401));
    assert_eq!(status(&format!("{}.", old.rsplit_once('.').expect("a token").0)), 401);
    assert_eq!(status(&"x".repeat(9000)), 401);
    assert_eq!(status("default:secret"), 200, "passwords are as ever");
    let path = server.server.path("keys.json");
    std::fs::write(&path, secret_key([43; 32]) + "\n").expect("the folder can be written");
    wait_for("the new key", || (status(&new) == 200).then_some(()));
    assert_eq!(status(&old), 401);
    for (option, right, wrong) in
        [("http-token-issuer", "me", "you"), ("http-token-audience", "sterna", "other")]
    {
        admin.request(&["CONFIG", "SET", option, wrong]);
        assert_eq!(status(&new), 401, "{option}");
        admin.request(&["CONFIG", "SET", option, right]);
        assert_eq!(status(&new), 200, "{option}");
    }
    std::fs::write(&path, "{}").expect("the folder can be written");
    wait_for("no key", || (status(&new) == 503).then_some(()));
    admin.request(&["CONFIG", "SET", "http-token-keys", ""]);
    assert_eq!(status(&new), 401, "a password that is wrong");
}

#[test]
fn a_cookie_is_for_pages_of_origins_that_are_named() {
    let server = start(1);
    let mut admin = server.server.connect();
    admin.request(&["AUTH", "secret"]);
    admin.request(&["XADD", "s", "1-1", "n", "1"]);
    let cookie = format!("Cookie: a=b; sterna_token={}", token(r#""streams":["s"],"publish":["c"]"#));
    let read = |headers: &str| server.get("/v1/streams/s", &format!("{cookie}\n{headers}"));
    assert_eq!(read("").status, 200);
    assert_eq!(read("Origin: https://app.example").status, 403);
    admin.request(&["CONFIG", "SET", "http-allow-origin", "*"]);
    assert_eq!(read("Origin: https://app.example").status, 401);
    admin.request(&["CONFIG", "SET", "http-allow-origin", "https://app.example"]);
    let allowed = read("Origin: https://app.example");
    assert!(
        allowed.status == 200 && allowed.head.contains("access-control-allow-credentials: true"),
        "{allowed:?}"
    );
    assert_eq!(server.get("/publish/c/x", &cookie).status, 401, "a link of any page could say so");
}
