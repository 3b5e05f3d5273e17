//! `/v1`: publishing and streams for services.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use sterna_tests::http::{HttpServer, answer_of};
use sterna_tests::tls::{self, Authority};

use crate::tools::{done, https, message};

#[test]
fn a_message_is_published_to_whoever_subscribes() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let mut subscriber = server.server.connect();
        subscriber.request(&["SUBSCRIBE", "news"]);
        let body = r#"{"channel":"news","message":"hellö\n"}"#;
        assert_eq!(done(server.post("/v1/publish", "", body)), r#"{"receivers":1}"#);
        assert_eq!(message(&mut subscriber), "hellö\n");
        let body = r#"{"message":{"a":[1,"x"]},"channel":"news"}"#;
        assert_eq!(done(server.post("/v1/publish", "", body)), r#"{"receivers":1}"#);
        assert_eq!(message(&mut subscriber), r#"{"a":[1,"x"]}"#);
        for wrong in [
            "",
            "[]",
            r#"{"channel":"x"}"#,
            r#"{"channel":1,"message":""}"#,
            r#"{"channel":"x","message":"","z":1}"#,
        ] {
            assert_eq!(server.post("/v1/publish", "", wrong).status, 400, "{wrong}");
        }
        for (method, path, allow) in [
            ("GET", "/v1/publish", "post"),
            ("DELETE", "/v1/streams/s", "get, post"),
            ("TRACE", "/v1/health", "get"),
            ("DELETE", "/get/k", "get, post, put"),
        ] {
            let answer = server.send(method, path, "", "");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains(&format!("\r\nallow: {allow}\r\n")), "{}", answer.head);
        }
        assert_eq!(server.get("/v1/nothing", "").status, 404);
    }
}

#[test]
fn an_entry_is_appended_once_for_each_idempotency_key_and_read_back() {
    for shards in [1, 2] {
        let server = HttpServer::start(shards, &[]);
        let key = "Idempotency-Key: 7f3c";
        let first = server.post("/v1/streams/orders", key, r#"{"item":"7","note":null}"#);
        assert_eq!(first.status, 201, "{first:?}");
        assert_eq!(done(server.post("/v1/streams/orders", key, r#"{"item":"7","note":null}"#)), first.body);
        let second = done(server.post("/v1/streams/orders", "", r#"{"item":8}"#));
        assert_ne!(second, first.body);
        let id = |body: &str| body[7..body.len() - 2].to_owned();
        let entry = |body: &str, fields: &str| format!(r#"{{"id":"{}","fields":{{{fields}}}}}"#, id(body));
        let (one, two) = (entry(&first.body, r#""item":"7","note":"null""#), entry(&second, r#""item":"8""#));
        assert_eq!(done(server.get("/v1/streams/orders", "")), format!(r#"{{"entries":[{one},{two}]}}"#));
        assert_eq!(done(server.get("/v1/streams/orders?count=1", "")), format!(r#"{{"entries":[{one}]}}"#));
        let after = format!("/v1/streams/orders?from=({}", id(&first.body));
        assert_eq!(done(server.get(&after, "")), format!(r#"{{"entries":[{two}]}}"#));
        assert_eq!(done(server.get("/v1/streams/none", "")), r#"{"entries":[]}"#);
        for (path, body) in [
            ("/v1/streams/orders", "{}"),
            ("/v1/streams/orders", "1"),
            ("/v1/streams/orders?maxlen=x", r#"{"a":1}"#),
        ] {
            assert_eq!(server.post(path, "", body).status, 400, "{path} {body}");
        }
        assert_eq!(server.get("/v1/streams/orders?count=0", "").status, 400);
        assert_eq!(server.get("/v1/streams/orders?from=x", "").status, 400);
        done(server.post("/v1/streams/orders?maxlen=0", "", r#"{"a":1}"#));
    }
}

#[test]
fn the_description_of_the_api_is_served() {
    let server = HttpServer::start(1, &["--requirepass", "secret"]);
    let described = done(server.get("/v1/openapi.json", ""));
    for path in ["/v1/health", "/v1/publish", "/v1/streams/{key}"] {
        assert!(described.contains(&format!("\"{path}\"")), "{path}");
    }
    assert_eq!(done(server.get("/v1/health", "")), r#"{"status":"ok"}"#);
    assert_eq!(server.get("/v1/streams/s", "").status, 401);
}

#[test]
fn https_uses_the_certificate_of_the_tls_port_and_a_new_one_when_that_changes() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, port) = https(&old);
    let ask = |authority: &Authority| -> std::io::Result<String> {
        let mut stream = tls::stream(port, authority)?;
        stream.write_all(b"GET /v1/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        Ok(answer_of(&mut stream)?.body)
    };
    assert_eq!(ask(&old).expect("an answer"), r#"{"status":"ok"}"#);
    assert!(ask(&new).is_err());
    let identity = new.identity();
    std::fs::write(server.path("cert.pem"), &identity.certificate).expect("the folder can be written");
    std::fs::write(server.path("key.pem"), &identity.key).expect("the folder can be written");
    let cert = server.path("cert.pem").display().to_string();
    server.connect().request(&["CONFIG", "SET", "tls-cert-file", &cert]);
    assert_eq!(ask(&new).expect("an answer"), r#"{"status":"ok"}"#);
    // Who speaks no TLS is told so.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the server reads");
    let mut rest = Vec::new();
    let _ = BufReader::new(plain).read_to_end(&mut rest);
    assert!(rest.starts_with(b"HTTP/1.1 400 "), "{}", rest.escape_ascii());
}
