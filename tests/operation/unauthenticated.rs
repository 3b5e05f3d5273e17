//! What somebody gets who has not proven who he is: little memory, little time, and an end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes};
use sterna_tests::server::{Launch, PATIENCE, Server, free_port, wait_for};

use crate::limits::{greatest, info, lazy_client};

const PASSWORD: [&str; 2] = ["--requirepass", "secret"];

fn login(server: &Server) -> Client {
    let mut client = server.connect();
    client.request(&["AUTH", "secret"]);
    client
}

#[test]
fn who_sends_without_reading_before_authenticating_is_closed_early() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &PASSWORD);
        let mut admin = login(&server);
        let mut stranger = lazy_client(&server);
        let pings = b"PING\r\n".repeat(1000);
        let closed = "client_output_buffer_limit_disconnections";
        let mut rounds = 0;
        while info(&mut admin, closed) == 0 {
            assert!(greatest(&mut admin, "omem") < 64 << 10, "replies for a stranger pile up");
            assert!(rounds < 20_000, "not closed after {rounds} thousand requests");
            stranger.send_bytes(&pings);
            rounds += 1;
        }
        stranger.rest();
    }
}

#[test]
fn who_has_authenticated_may_be_sent_more_than_a_stranger() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &PASSWORD);
        let mut client = login(&server);
        client.request(&["SET", "k", &"x".repeat(8 << 20)]);
        let mut lazy = lazy_client(&server);
        lazy.request(&["AUTH", "secret"]);
        lazy.send(&["GET", "k"]);
        lazy.send(&["GET", "k"]);
        wait_for("the replies to be queued", || (greatest(&mut client, "omem") > 1 << 20).then_some(()));
        assert_eq!(lazy.value().as_bytes().map(<[u8]>::len), Some(8 << 20));
        assert_eq!(lazy.value().as_bytes().map(<[u8]>::len), Some(8 << 20));
    }
}

#[test]
fn an_unfinished_request_of_a_stranger_is_kept_up_to_one_long_argument() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &PASSWORD);
        let mut admin = login(&server);
        // As long a password as may be, in two pieces.
        let mut guesser = server.connect();
        guesser.send_bytes(b"*2\r\n$4\r\nAUTH\r\n$16384\r\n");
        guesser.send_bytes(&[b'x'; 16384]);
        wait_for("the request to arrive", || (greatest(&mut admin, "qbuf") > 16384).then_some(()));
        guesser.send_bytes(b"\r\n");
        assert!(guesser.error().starts_with("WRONGPASS"));
        // More arguments of that length than one.
        let mut hoarder = server.connect();
        hoarder.send_bytes(b"*10\r\n");
        for _ in 0..9 {
            hoarder.send_bytes(b"$16384\r\n");
            hoarder.send_bytes(&[b'x'; 16384]);
            hoarder.send_bytes(b"\r\n");
        }
        hoarder.rest();
        assert_eq!(info(&mut admin, "client_query_buffer_limit_disconnections"), 1);
    }
}

#[test]
fn a_long_pipeline_of_a_stranger_is_answered_and_leaves_time_for_others() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &PASSWORD);
        let mut good = login(&server);
        let mut stranger = server.connect();
        stranger.send_bytes(&b"PING\r\n".repeat(400));
        for _ in 0..400 {
            assert_eq!(stranger.error(), "NOAUTH Authentication required.");
        }
        stranger.request(&["AUTH", "secret"]);
        stranger.assert_quiet();
        good.assert_quiet();
    }
}

#[test]
fn who_does_not_prove_himself_in_time_is_closed_and_who_has_may_be_idle() {
    for shards in [1, 2] {
        let tls_port = free_port();
        let server = Launch::shards(shards)
            .args(&PASSWORD)
            .args(&["--tls-self-signed", "yes"])
            .args(&["--tls-port", &tls_port.to_string()])
            .start();
        let mut idle = login(&server);
        let mut silent = server.connect();
        let mut failing = server.connect();
        failing.send(&["AUTH", "wrong"]);
        assert!(failing.error().starts_with("WRONGPASS"));
        idle.request(&["CONFIG", "SET", "authentication-timeout", "1"]);
        let unfinished = |bytes: &[u8]| {
            let mut socket = TcpStream::connect(("127.0.0.1", tls_port)).expect("the TLS port listens");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            socket.write_all(bytes).expect("the server is there");
            socket
        };
        // No handshake at all, and the beginning of one: a record that announces more than it has.
        for mut socket in [unfinished(b""), unfinished(&[22, 3, 1, 2, 0, 1])] {
            // Closed with or without unread bytes, but not left waiting.
            let is_closed = |end: std::io::Result<usize>| match end {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            assert!(is_closed(socket.read_to_end(&mut Vec::new())), "a half-done handshake stays");
        }
        assert_eq!(silent.rest(), b"");
        assert_eq!(failing.rest(), b"");
        // RESET makes a stranger of a client, whose time begins then.
        idle.assert_quiet();
        idle.send_bytes(&[request_bytes(&["RESET"]), request_bytes(&["AUTH", "secret"])].concat());
        assert_eq!(idle.value(), Value::Simple(b"RESET".to_vec()));
        assert_eq!(idle.value(), Value::Simple(b"OK".to_vec()));
        assert_eq!(idle.frame(Duration::from_millis(1500)), Frame::Nothing);
        idle.assert_quiet();
        assert_eq!(info(&mut idle, "closed_unauthenticated"), 4);
    }
}

#[test]
fn a_tls_handshake_that_is_sent_without_end_is_cut_off_and_counts_until_then() {
    let tls_port = free_port();
    let server =
        Launch::shards(1).args(&["--tls-self-signed", "yes", "--tls-port", &tls_port.to_string()]).start();
    let mut admin = server.connect();
    let mut socket = TcpStream::connect(("127.0.0.1", tls_port)).expect("the TLS port listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // Records of a ClientHello that says it has 65 520 bytes.
    let record = |bytes: &[u8]| [&[22, 3, 1][..], &(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let begin = [&[1, 0, 255, 240, 3, 3][..], &[b'x'; 16_000]].concat();
    socket.write_all(&record(&begin)).expect("the server reads");
    wait_for("the handshake to count", || (greatest(&mut admin, "tot-mem") > 30_000).then_some(()));
    // It may be gone before all of this is sent.
    let _ = socket.write_all(&[record(&[b'x'; 16_000]), record(&[b'x'; 16_000])].concat());
    // With or without unread bytes.
    let end = socket.read_to_end(&mut Vec::new());
    assert!(end.as_ref().map_or_else(|e| e.kind() == ErrorKind::ConnectionReset, |_| true), "{end:?}");
    assert_eq!(info(&mut admin, "connected_clients"), 1);
}

#[test]
fn where_nobody_needs_a_password_silence_is_no_offence() {
    let server = Server::sterna(2, &["--authentication-timeout", "1"]);
    let mut silent = server.connect();
    assert_eq!(silent.frame(Duration::from_millis(1500)), Frame::Nothing);
    silent.assert_quiet();
}
