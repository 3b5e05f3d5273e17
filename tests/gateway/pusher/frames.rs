//! Handshakes and frames: what WebSockets are, whatever is said by them.

use std::io::{Read, Write};

use serde_json::json;
use sterna_tests::http::HttpServer;
use sterna_tests::server::wait_for;
use sterna_tests::tls::{self, Authority};

use super::tools::{KEY, Page, handshake, masked, start};
use crate::tools::{https, info};

#[test]
fn an_app_or_protocol_that_is_not_there_is_told_by_frames_and_a_wrong_handshake_by_http() {
    let server = start(1, &["--http-allow-origin", "https://shop.example"]);
    for (path, code) in [
        ("/app/other?protocol=7", 4001),
        (&format!("/app/{KEY}"), 4008),
        (&format!("/app/{KEY}?protocol=seven"), 4006),
        (&format!("/app/{KEY}?protocol=8"), 4007),
        (&format!("/app/{KEY}?protocol=4"), 4007),
    ] {
        let mut page = Page::shake_hands(server.connect(), path);
        let (event, _, data) = page.event();
        assert_eq!((event.as_str(), &data["code"]), ("pusher:error", &json!(code)), "{path}");
        assert_eq!(page.closed(), code, "{path}");
    }
    let path = format!("/app/{KEY}?protocol=7");
    assert_eq!(server.get(&path, "").status, 426);
    assert_eq!(server.post(&path, "", "").status, 405);
    let status = |head: String| {
        let mut socket = server.connect();
        socket.write_all(head.as_bytes()).expect("the server reads");
        let mut line = [0; 12];
        socket.read_exact(&mut line).expect("an answer");
        String::from_utf8_lossy(&line[9..]).parse::<u16>().expect("a status")
    };
    assert_eq!(status(handshake(&path, "").replace("Version: 13", "Version: 8")), 426);
    assert_eq!(status(handshake(&path, "").replace("dGhl", "")), 400);
    assert_eq!(status(handshake(&path, "Origin: https://evil.example\r\n")), 403);
    assert_eq!(status(handshake(&path, "Origin: https://shop.example\r\n")), 101);
}

#[test]
fn fragments_and_pings_are_as_the_specification_has_them_and_what_is_not_is_closed_with_its_code() {
    let server = start(2, &[]);
    let mut page = Page::open(&server);
    page.send(0x89, b"are you there");
    assert_eq!(page.frame(), (0x8A, b"are you there".to_vec()));
    let ping = br#"{"event":"pusher:ping","data":{}}"#;
    let pieces =
        [masked(0x01, &ping[..3]), masked(0x89, b""), masked(0x00, &ping[3..9]), masked(0x80, &ping[9..])];
    for piece in pieces.concat().chunks(5) {
        page.send_bytes(piece);
    }
    assert_eq!(page.frame(), (0x8A, vec![]));
    assert_eq!(page.event().0, "pusher:pong");
    page.send(0x88, &1000_u16.to_be_bytes());
    assert_eq!(page.closed(), 1000);
    for (bytes, code) in [
        (vec![0x81, 0x02, b'h', b'i'], 1002),
        (masked(0xC1, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        (masked(0x09, b"x"), 1002),
        (masked(0x88, b"x"), 1002),
        (masked(0x81, b"\xff"), 1007),
        (masked(0x82, b"x"), 1003),
        (masked(0x81, &[b'x'; 32 * 1024 + 1]), 1009),
        ([masked(0x01, &[b'x'; 20_000]), masked(0x80, &[b'x'; 20_000])].concat(), 1009),
    ] {
        let mut page = Page::open(&server);
        page.send_bytes(&bytes);
        assert_eq!(page.closed(), code, "{:.20}", bytes.escape_ascii().to_string());
    }
    let mut client = server.server.connect();
    wait_for("all to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
}

#[test]
fn what_comes_with_the_handshake_is_the_first_that_a_page_says_and_it_may_leave_at_once() {
    let server = start(1, &[]);
    let path = format!("/app/{KEY}?protocol=7");
    let ping = masked(0x81, br#"{"event":"pusher:ping","data":{}}"#);
    let mut socket = server.connect();
    socket.write_all(&[handshake(&path, "").as_bytes(), &ping].concat()).expect("the server reads");
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains("pusher:pong") {
        socket.read_exact(&mut byte).expect("the server goes on");
        text.push(byte[0] as char);
    }
    for _ in 0..50 {
        server.connect().write_all(handshake(&path, "").as_bytes()).expect("the server reads");
    }
    drop(socket);
    let mut client = server.server.connect();
    wait_for("all to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
}

#[test]
fn a_page_takes_its_tls_session_with_it() {
    let authority = Authority::new();
    let (server, port) = https(&authority);
    server.connect().request(&["CONFIG", "SET", "pusher-app", "1 app-key app-secret"]);
    let stream = tls::stream(port, &authority).expect("it is trusted");
    let mut page = Page::over(stream, &format!("/app/{KEY}?protocol=7"));
    page.subscribe("news");
    let long = "x".repeat(100_000);
    for message in ["a", &long, "b"] {
        assert_eq!(server.connect().int(&["PUBLISH", "news", message]), 1);
        assert_eq!(page.event().2, message);
    }
    server.connect().request(&["CLIENT", "KILL", "TYPE", "PUBSUB"]);
    assert_eq!(page.closed(), 4009);
}

#[test]
fn a_page_that_is_not_heard_of_is_asked_whether_it_is_there() {
    let server = HttpServer::start(1, &["--pusher-app", "1 app-key app-secret", "--http-heartbeat", "1"]);
    let mut page = Page::shake_hands(server.connect(), &format!("/app/{KEY}?protocol=7"));
    assert_eq!(page.event().2["activity_timeout"], 1);
    assert_eq!(page.event().0, "pusher:ping");
    page.say(&json!({ "event": "pusher:pong", "data": {} }));
    // It may have been asked again before it is answered.
    page.say(&json!({ "event": "pusher:ping", "data": {} }));
    while page.event().0 == "pusher:ping" {}
    assert_eq!(page.event().0, "pusher:ping");
}
