//! Web pages: a browser that is made to talk to the port gets nothing run.

use sterna_tests::client::Client;
use sterna_tests::server::Server;

/// Requests as browsers send them: a form of a page, `fetch`, and what a page makes of its own name in DNS.
const REQUESTS: [&str; 5] = [
    "POST / HTTP/1.1\r\nHost: 127.0.0.1:6379\r\nContent-Type: text/plain\r\n\r\nSET pwned yes\r\n",
    "post / HTTP/1.1\r\nSET pwned yes\r\n",
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:6379\r\nSET pwned yes\r\n\r\nSET pwned yes\r\n",
    "PUT /x HTTP/1.1\r\nhOST: example\r\n\r\nSET pwned yes\r\n*3\r\n$3\r\nSET\r\n$5\r\npwned\r\n$1\r\n1\r\n",
    "OPTIONS * HTTP/1.1\r\nHost:example\r\nSET pwned yes\r\n\r\n",
];

/// Sends the request in pieces of so many bytes, each of which the server has read before the next.
fn send_in_pieces(server: &Server, client: &mut Client, request: &[u8], bytes: usize) {
    for piece in request.chunks(bytes) {
        client.send_bytes(piece);
        server.connect().assert_quiet();
    }
}

#[test]
fn a_request_of_a_web_page_closes_the_connection_and_nothing_behind_it_is_run() {
    for shards in [1, 2] {
        for password in ["", "secret"] {
            let server = Server::sterna(shards, &[]);
            for request in REQUESTS {
                let mut client = server.connect();
                if !password.is_empty() {
                    server.connect().request(&["CONFIG", "SET", "requirepass", password]);
                }
                client.send_bytes(request.as_bytes());
                let answer = String::from_utf8(client.rest()).expect("errors");
                assert!(!answer.contains("OK") && !answer.contains("pwned"), "{request}: {answer}");
                let mut admin = server.connect();
                if !password.is_empty() {
                    admin.request(&["AUTH", password]);
                    admin.request(&["CONFIG", "SET", "requirepass", ""]);
                }
                assert_eq!(admin.int(&["EXISTS", "pwned"]), 0, "{request}");
            }
            let lines = server.log().lines().filter(|line| line.contains("possible attack")).count();
            assert_eq!(lines, 1, "one line a minute:\n{}", server.log());
        }
    }
}

#[test]
fn a_request_of_a_web_page_is_known_in_the_middle_of_a_pipeline_and_in_pieces() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        for bytes in [1, 7, 1000] {
            let mut client = server.connect();
            let before = "PING\r\nMULTI\r\nSET pwned yes\r\n";
            let request = [before, "Host: x\r\nEXEC\r\nSET pwned yes\r\n"].concat();
            send_in_pieces(&server, &mut client, request.as_bytes(), bytes);
            // At once: replies that have not been sent yet are not either.
            let answer = client.rest();
            assert!(b"+PONG\r\n+OK\r\n+QUEUED\r\n".starts_with(&answer), "{}", answer.escape_ascii());
            let mut client = server.connect();
            client.send_bytes(b"*1\r\n$4\r\nPOST\r\n*3\r\n$3\r\nSET\r\n$5\r\npwned\r\n$1\r\n1\r\n");
            assert_eq!(client.rest(), b"");
            assert_eq!(server.connect().int(&["EXISTS", "pwned"]), 0);
        }
    }
}
