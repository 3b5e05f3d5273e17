//! Ten thousand subscribers at once.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sterna_tests::memory::resident_bytes;
use sterna_tests::server::{PATIENCE, Server};

const SUBSCRIBERS: usize = 10_000;
/// Descriptors this process needs beside those.
const OTHER_FILES: u64 = 200;
/// What a subscriber may cost, kernel excluded. The goal is 1.5 KiB; this is where the test fails.
const BYTES_PER_SUBSCRIBER_MAX: u64 = 3 * 1024;

const SUBSCRIBE: &[u8] = b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n";
const CONFIRMATION: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";

/// Raises the limit on open files as far as it goes. Whether that is far enough.
fn may_open(files: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    // An error shows in the limit that is read next.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.is_none_or(|current| current >= files)
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).expect("a subscriber is answered");
    assert_eq!(got.escape_ascii().to_string(), bytes.escape_ascii().to_string());
}

#[test]
fn ten_thousand_subscribers_all_get_one_message_and_cost_little_while_idle() {
    assert!(
        may_open(SUBSCRIBERS as u64 + OTHER_FILES),
        "this process may not open {SUBSCRIBERS} connections: raise the hard limit on open files"
    );
    let server = Server::sterna(2, &["--maxclients", "10100", "--tcp-backlog", "4096"]);
    let mut publisher = server.connect();
    publisher.assert_quiet();
    let before = resident_bytes(server.pid());
    let mut subscribers: Vec<TcpStream> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
            stream.write_all(SUBSCRIBE).expect("it takes requests");
            stream
        })
        .collect();
    subscribers.iter_mut().for_each(|stream| expect(stream, CONFIRMATION));
    let per_subscriber = resident_bytes(server.pid()).saturating_sub(before) / SUBSCRIBERS as u64;
    println!("memory per idle subscriber: {per_subscriber} bytes");

    assert_eq!(publisher.int(&["PUBLISH", "news", "hello"]), SUBSCRIBERS as i64);
    subscribers.iter_mut().for_each(|stream| expect(stream, MESSAGE));
    drop(subscribers);
    sterna_tests::server::wait_for("the end of all subscribers", || {
        (publisher.int(&["PUBLISH", "news", "hello"]) == 0).then_some(())
    });
    assert!(per_subscriber <= BYTES_PER_SUBSCRIBER_MAX, "{per_subscriber} bytes per idle subscriber");
}
