//! Stopping: in order, with what is queued.

use std::net::TcpStream;

use rustix::process::Signal;
use sterna_tests::client::Frame;
use sterna_tests::server::{PATIENCE, Server};

/// More than the kernel holds for a client that doesn't read yet, and less than it may take a second to send.
const MESSAGES: usize = 200;
const PAYLOAD_BYTES: usize = 64 * 1024;

#[test]
fn sigterm_and_sigint_flush_what_is_queued_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::sterna(2, &[]);
        let mut subscriber = server.connect();
        subscriber.request(&["SUBSCRIBE", "c"]);
        let mut publisher = server.connect();
        for number in 0..MESSAGES {
            let payload = format!("{number:09}{}", "x".repeat(PAYLOAD_BYTES - 9));
            assert_eq!(publisher.int(&["PUBLISH", "c", &payload]), 1);
        }
        let address = server.address();
        server.signal(signal);
        for number in 0..MESSAGES {
            let message = subscriber.value();
            let payload = message.as_slice().and_then(|parts| parts[2].as_bytes());
            assert!(payload.is_some_and(|payload| payload.starts_with(format!("{number:09}").as_bytes())));
        }
        assert_eq!(subscriber.frame(PATIENCE), Frame::Closed);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert!(TcpStream::connect(address).is_err(), "somebody still listens");
    }
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_the_server_from_stopping() {
    let server = Server::sterna(2, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let mut subscriber = server.connect();
    subscriber.request(&["SUBSCRIBE", "c"]);
    let mut publisher = server.connect();
    for _ in 0..MESSAGES {
        publisher.request(&["PUBLISH", "c", &"x".repeat(PAYLOAD_BYTES)]);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    drop(subscriber);
}

#[test]
fn shutdown_ends_the_server_with_0() {
    let server = Server::sterna(2, &[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(client.rest(), b"");
    assert_eq!(other.rest(), b"");
    assert_eq!(server.wait().status.code(), Some(0));
}
