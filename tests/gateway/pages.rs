//! Pages: those of other origins are refused unless they are named.

use std::io::{BufRead, BufReader, Write};

use sterna_tests::http::HttpServer;

use crate::tools::{done, run};

const PING: &str = r#"["PING"]"#;

#[test]
fn a_page_of_another_origin_gets_nothing_run_unless_its_origin_is_allowed() {
    let server = HttpServer::start(1, &[]);
    let page = "Origin: https://chat.example";
    let refused = server.post("/", page, r#"["SET","k","v"]"#);
    assert_eq!((refused.status, refused.head.contains("access-control")), (403, false), "{refused:?}");
    assert_eq!(server.get("/v1/streams/s", "Sec-Fetch-Site: cross-site").status, 403);
    assert_eq!(
        server.send("OPTIONS", "/", &format!("{page}\nAccess-Control-Request-Method: POST"), "").status,
        403
    );
    assert_eq!(done(run(&server, r#"["EXISTS","k"]"#)), r#"{"result":0}"#);
    server.server.connect().request(&[
        "CONFIG",
        "SET",
        "http-allow-origin",
        "https://chat.example http://x:1",
    ]);
    let allowed = server.post("/", page, PING);
    assert_eq!(allowed.status, 200);
    assert!(allowed.head.contains("access-control-allow-origin: https://chat.example"), "{}", allowed.head);
    assert!(allowed.head.contains("vary: origin"), "{}", allowed.head);
    let asked = format!(
        "{page}\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization, x-y"
    );
    let preflight = server.send("OPTIONS", "/pipeline", &asked, "");
    assert_eq!(preflight.status, 204);
    assert!(
        preflight.head.contains("access-control-allow-headers: authorization, x-y"),
        "{}",
        preflight.head
    );
    assert_eq!(server.post("/", "Origin: https://chat.example.evil", PING).status, 403);
    assert_eq!(server.post("/", "Origin: null", PING).status, 403);
    let mut socket = server.connect();
    let request = server.request("GET", "/v1/events?channel=c", page, "");
    socket.write_all(request.as_bytes()).expect("the server reads");
    let lines = BufReader::new(socket).lines().map(|line| line.expect("the server answers"));
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(head[0].contains("200"), "{head:?}");
    assert!(head.contains(&"access-control-allow-origin: https://chat.example".to_owned()), "{head:?}");
    assert_eq!(server.get("/v1/events?channel=c", "Origin: https://other.example").status, 403);
    // A page that came from here.
    let own = format!("Origin: http://127.0.0.1:{}", server.port);
    assert_eq!(server.post("/", &own, PING).status, 200);
}
