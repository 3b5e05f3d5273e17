//! What does no harm: slow, oversized, broken and abandoned requests.

use std::io::{Read, Write};
use std::net::TcpStream;

use sterna_tests::client::Client;
use sterna_tests::http::{HttpServer, answer_of};
use sterna_tests::server::wait_for;
use sterna_tests::tls::{self, Authority};

use crate::pusher::tools::{handshake, masked};
use crate::tools::{bearer, done, https, info, run};

/// What is not HTTP, or more of it than anybody needs.
fn broken_requests() -> Vec<Vec<u8>> {
    let mut requests: Vec<Vec<u8>> = [
        &b"\r\n\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\r\nAuthorization: \xff\xff\r\nOrigin: \xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .iter()
    .map(|bytes| bytes.to_vec())
    .collect();
    requests.push([&b"GET / HTTP/1.1\r\nHost: a\r\nX: "[..], &[b'x'; 100_000], b"\r\n\r\n"].concat());
    requests.push([&b"GET /"[..], &[b'x'; 100_000], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    let headers: String = (0..1000).map(|n| format!("X{n}: y\r\n")).collect();
    requests.push(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes());
    requests
}

#[test]
fn what_is_no_request_is_refused_and_nothing_is_run() {
    let server = HttpServer::start(1, &[]);
    for request in broken_requests() {
        let mut socket = server.connect();
        // It may have refused before it has read all.
        let _ = socket.write_all(&request);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        if let Ok(answer) = answer_of(&mut socket) {
            assert!(answer.status >= 400, "{:.60}: {answer:?}", request.escape_ascii());
        }
    }
    assert_eq!(done(run(&server, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
    assert_eq!(done(run(&server, r#"["DBSIZE"]"#)), r#"{"result":0}"#);
}

#[test]
fn a_body_beyond_its_limit_is_refused_and_one_without_credentials_is_not_read() {
    let server = HttpServer::start(1, &["--http-max-body-size", "10000"]);
    let body = |bytes: usize| format!(r#"["SET","k","{}"]"#, "x".repeat(bytes));
    assert_eq!(run(&server, &body(9_000)).status, 200);
    assert_eq!(run(&server, &body(10_000)).status, 413);
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n{}",
        "x".repeat(20_000)
    );
    let mut socket = server.connect();
    socket.write_all(chunked.as_bytes()).expect("the server reads");
    assert_eq!(answer_of(&mut socket).expect("an answer").status, 413);
    let mut admin = server.server.connect();
    admin.request(&["CONFIG", "SET", "requirepass", "secret"]);
    // The answer comes before the body does.
    let mut socket = server.connect();
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 9000\r\n\r\n")
        .expect("the server reads");
    assert_eq!(answer_of(&mut socket).expect("an answer").status, 401);
}

#[test]
fn a_pipeline_has_a_bound() {
    let server = HttpServer::start(1, &[]);
    let commands = |count| format!("[{}]", vec![r#"["PING"]"#; count].join(","));
    assert_eq!(server.post("/pipeline", "", &commands(100_000)).status, 200);
    assert_eq!(server.post("/pipeline", "", &commands(100_001)).status, 400);
}

#[test]
fn abandoned_and_half_open_connections_leave_nothing_behind_and_keep_nobody_waiting() {
    let server = HttpServer::start(2, &[]);
    let mut client = server.server.connect();
    let mut open = Vec::new();
    for n in 0..300 {
        let mut socket = server.connect();
        let request = server.request("POST", "/", "", r#"["BLPOP","none","0"]"#);
        let cut = [0, 10, 40, request.len() - 5, request.len()][n % 5];
        socket.write_all(&request.as_bytes()[..cut]).expect("the server reads");
        open.push(socket);
    }
    wait_for("them to wait", || (info(&mut client, "blocked_clients") == "60").then_some(()));
    assert_eq!(done(run(&server, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
    // It was answered while all of them were there.
    assert!(info(&mut client, "connected_clients").parse::<u32>().expect("a number") > 300);
    drop(open);
    // Each shard says so for itself, and a connection leaves one place after the other.
    wait_for("them to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
    wait_for("none to wait", || (info(&mut client, "blocked_clients") == "0").then_some(()));
    wait_for("an empty list", || (client.text(&["CLIENT", "LIST"]).lines().count() == 1).then_some(()));
}

#[test]
fn heads_of_very_many_that_never_end_have_a_bound_and_others_are_answered() {
    const CONNECTIONS: usize = 900;
    const HEAD: usize = 32_000;
    /// How many fit (`HEADS_BYTES_MAX`).
    const FIT: usize = (64 << 20) / (3 * HEAD);
    let server = HttpServer::start(1, &[]);
    let mut client = server.server.connect();
    let head = [&b"GET /v1/health HTTP/1.1\r\nHost: a\r\nX: "[..], &[b'x'; HEAD]].concat();
    let open: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut socket = server.connect();
            // Those that are too many may be closed meanwhile.
            let _ = socket.write_all(&head[..HEAD]);
            socket
        })
        .collect();
    let connected =
        |client: &mut Client| info(client, "connected_clients").parse::<usize>().expect("a number") - 1;
    // It comes behind them: all have been taken in when it is answered.
    assert_eq!(done(run(&server, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
    wait_for("those that are too many to be closed", || (connected(&mut client) <= FIT).then_some(()));
    assert!(connected(&mut client) >= FIT - 10);
    drop(open);
    wait_for("them to be gone", || (connected(&mut client) == 0).then_some(()));
    let long = format!("X: {}", "x".repeat(20_000));
    assert_eq!(server.get("/v1/health", &long).status, 200);
}

#[test]
fn connections_of_http_are_clients_of_maxclients() {
    let server = HttpServer::start(1, &["--maxclients", "5"]);
    let mut client = server.server.connect();
    let open: Vec<_> = (0..4)
        .map(|_| {
            let mut socket = server.connect();
            socket.write_all(b"GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads");
            let mut first = [0; 12];
            socket.read_exact(&mut first).expect("an answer");
            assert_eq!(&first, b"HTTP/1.1 200");
            socket
        })
        .collect();
    assert_eq!(info(&mut client, "connected_clients"), "5");
    let refused = answer_of(&mut server.connect()).expect("an answer");
    assert_eq!(
        (refused.status, &refused.body[..]),
        (503, r#"{"error":"ERR max number of clients reached"}"#)
    );
    drop(open);
    wait_for("room", || (info(&mut client, "connected_clients") == "1").then_some(()));
    assert_eq!(done(run(&server, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
}

/// Requests that are handed over to shards, with what follows them, and one that is not. Without credentials: wrong ones slow their address.
fn sound_requests(server: &HttpServer) -> Vec<Vec<u8>> {
    let position = "Last-Event-ID: 00c0ffee00c0ffee:89abcdef:0.1717171717171-0,1.1717171717180-3";
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    let upgrade = handshake("/app/app-key?protocol=7", "");
    vec![
        server
            .request("GET", "/v1/events?channel=c1&channel=c2&stream=s&pattern=p*", position, "")
            .into_bytes(),
        server.request("GET", "/v1/events?channel=c1&since=earliest", "", "").into_bytes(),
        server.request("POST", "/v1/publish", "", r#"{"channel":"c1","message":"m"}"#).into_bytes(),
        [upgrade.as_bytes(), &masked(0x81, subscribe), &masked(0x89, b"ping")].concat(),
        [upgrade.as_bytes(), &masked(0x01, &subscribe[..9]), &masked(0x80, &subscribe[9..])].concat(),
    ]
}

/// Changes one to three places: bytes become others, come, go, or come again.
fn changed(mut bytes: Vec<u8>, random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    for _ in 0..=random(3) {
        let at = random(bytes.len() + 1).min(bytes.len());
        let end = (at + random(6)).min(bytes.len());
        let new = match random(4) {
            0 => Vec::new(),
            1 => bytes[at..end].repeat(2 + random(50)),
            _ => (0..=random(4)).map(|_| [b"\r\n :,-%&=\0\xff\x80\x7e09aZ"[random(17)]][0]).collect(),
        };
        bytes.splice(at..end, new);
    }
    bytes
}

/// `STERNA_FUZZ_ROUNDS` of a hundred requests: more than CI has time for.
#[test]
fn requests_that_were_changed_anywhere_do_no_harm_and_leave_nothing_behind() {
    let rounds = std::env::var("STERNA_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let server = HttpServer::start(2, &["--retain", "c*", "--pusher-app", "1 app-key app-secret"]);
    let mut client = server.server.connect();
    let sound = sound_requests(&server);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        // Source: Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..rounds {
        let open: Vec<TcpStream> = (0..100)
            .map(|n| {
                let mut socket = server.connect();
                // It may have refused before it has read all.
                let _ = socket.write_all(&changed(sound[n % sound.len()].clone(), &mut random));
                socket
            })
            .collect();
        client.request(&["PUBLISH", "c1", "m"]);
        drop(open);
    }
    wait_for("all to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
    assert_eq!(done(run(&server, r#"["PING"]"#)), r#"{"result":"PONG"}"#);
}

#[test]
fn upgrades_that_are_abandoned_leave_nothing_behind_and_clients_are_answered_meanwhile() {
    let server = HttpServer::start(2, &["--pusher-app", "1 app-key app-secret"]);
    let mut client = server.server.connect();
    let upgrade = handshake("/app/app-key?protocol=7", "");
    let half = upgrade.len() / 2;
    for _ in 0..20 {
        let open: Vec<TcpStream> = (0..100)
            .map(|n| {
                let mut socket = server.connect();
                let said = [&upgrade.as_bytes()[..half], upgrade.as_bytes()][n % 2];
                socket.write_all(said).expect("the server reads");
                if n % 4 == 3 {
                    let mut first = [0; 12];
                    socket.read_exact(&mut first).expect("an answer");
                    assert_eq!(&first, b"HTTP/1.1 101");
                }
                socket
            })
            .collect();
        assert_eq!(client.text(&["PING"]), "PONG");
        drop(open);
    }
    wait_for("all to be gone", || (info(&mut client, "connected_clients") == "1").then_some(()));
    wait_for("an empty list", || (client.text(&["CLIENT", "LIST"]).lines().count() == 1).then_some(()));
    assert_eq!(client.int(&["PUBLISH", "news", "m"]), 0);
}

/// While a body is unread nobody would notice that its client has left, and a command that waits would be served to nobody.
#[test]
fn a_get_with_a_body_is_refused_before_it_waits_for_anything() {
    let server = HttpServer::start(2, &[]);
    let mut socket = server.connect();
    let head = format!(
        "GET /blpop/q/0 HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Length: 1\r\n\r\n",
        bearer("default", "any")
    );
    socket.write_all(head.as_bytes()).expect("it is read");
    assert_eq!(answer_of(&mut socket).expect("an answer").status, 400);
    drop(socket);
    let mut client = server.server.connect();
    client.request(&["RPUSH", "q", "kept"]);
    assert_eq!(client.int(&["LLEN", "q"]), 1);
}

/// Waits at `q` for good, with more behind it than the server reads ahead.
fn waits_with_more_behind(lines: &str) -> Vec<u8> {
    let wait = format!("POST /blpop/q/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: 0\r\n\r\n");
    [wait.as_bytes(), b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\n", &[b' '; 50_000]]
        .concat()
}

/// Waits for so many to wait, has them leave, and for all of that to be over.
fn leave_and_are_noticed(client: &mut Client, waiting: (usize, usize), open: impl Sized) {
    let (blocked, listening) = waiting;
    let blocked = blocked.to_string();
    wait_for("them to wait", || (info(client, "blocked_clients") == blocked).then_some(()));
    wait_for("them to listen", || (client.int(&["PUBLISH", "n", "m"]) == listening as i64).then_some(()));
    drop(open);
    wait_for("all to be gone", || (info(client, "connected_clients") == "1").then_some(()));
    wait_for("none to wait", || (info(client, "blocked_clients") == "0").then_some(()));
    client.request(&["RPUSH", "q", "kept"]);
    assert_eq!((client.int(&["LLEN", "q"]), client.int(&["PUBLISH", "n", "m"])), (1, 0));
}

#[test]
fn a_client_that_leaves_is_noticed_though_something_that_it_has_sent_is_unread() {
    let server = HttpServer::start(2, &[]);
    let begun = |bytes: &[u8]| {
        let mut socket = server.connect();
        socket.write_all(bytes).expect("the server reads");
        socket
    };
    let waiting = begun(&waits_with_more_behind(""));
    let head = "POST /subscribe/n HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\n";
    let listening = begun(&[head.as_bytes(), &[b'x'; 50_000]].concat());
    leave_and_are_noticed(&mut server.server.connect(), (1, 1), (waiting, listening));
    // What was unread is read when its turn comes.
    let requests = |last: &str| {
        format!("{}{}", server.request("POST", "/ping", "", "").replace("close", "keep-alive"), last)
    };
    let mut socket = begun(requests(&server.request("POST", "/echo/x", "", "")).as_bytes());
    assert!(answer_of(&mut socket).expect("an answer").body.ends_with(r#"{"result":"x"}"#));

    let authority = Authority::new();
    let (server, port) = https(&authority);
    let mut stream = tls::stream(port, &authority).expect("it shakes hands");
    stream.write_all(&waits_with_more_behind("")).expect("the server reads");
    leave_and_are_noticed(&mut server.connect(), (1, 0), stream);
}
