//! Stopping: in order, with what is queued.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sterna_tests::client::{Frame, value_of};
use sterna_tests::server::{PATIENCE, Server};

/// How long a server that stops sends what is queued, at least (`SHUTDOWN_FLUSH_MAX`).
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// More than the kernel holds for a client that doesn't read yet, and less than it may take a second to send.
const MESSAGES: usize = 200;
const PAYLOAD_BYTES: usize = 64 * 1024;

#[test]
fn sigterm_and_sigint_flush_what_is_queued_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        assert!((0..10).any(|_| is_flushed(signal)), "{signal:?}");
    }
}

/// Whether a subscriber gets all that was queued. One that is too slow, because it is not given the processor, does not: then
/// nothing is shown.
fn is_flushed(signal: Signal) -> bool {
    let server = Server::sterna(2, &[]);
    let mut subscriber = server.connect();
    subscriber.request(&["SUBSCRIBE", "c"]);
    let mut publisher = server.connect();
    for number in 0..MESSAGES {
        let payload = format!("{number:09}{}", "x".repeat(PAYLOAD_BYTES - 9));
        assert_eq!(publisher.int(&["PUBLISH", "c", &payload]), 1);
    }
    let address = server.address();
    let began = Instant::now();
    server.signal(signal);
    let mut read = 0;
    while let Frame::Bytes(bytes) = subscriber.frame(PATIENCE) {
        let message = value_of(&bytes);
        let payload = message.as_slice().and_then(|parts| parts[2].as_bytes());
        assert!(payload.is_some_and(|payload| payload.starts_with(format!("{read:09}").as_bytes())));
        read += 1;
    }
    assert!(read == MESSAGES || began.elapsed() >= FLUSH_TIME, "{read} messages, {:?}", began.elapsed());
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(TcpStream::connect(address).is_err(), "somebody still listens");
    read == MESSAGES
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
