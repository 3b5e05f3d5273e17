//! Limits: whoever passes one is closed, and nobody else notices.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame};
use sterna_tests::server::{PATIENCE, Server, wait_for};

/// Payload of the messages that fill queues.
const PAYLOAD_BYTES: usize = 64 * 1024;
/// Messages after which a subscriber that doesn't read must have passed any limit of these tests: many times what the
/// kernel's buffers can hold, over a longer time than until its shard looks after its connections.
const MESSAGES_MAX: usize = 4000;
/// A receive buffer that is soon full, so that what isn't read stays with the server.
const SMALL_RECEIVE_BUFFER: usize = 4096;

/// A client whose kernel takes little of what it doesn't read.
pub(crate) fn lazy_client(server: &Server) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(SMALL_RECEIVE_BUFFER).expect("it can be small");
    socket.connect(&server.address().into()).expect("the server listens");
    let socket = TcpStream::from(socket);
    // A server that stops reading makes the test fail, not hang.
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    Client::over(socket)
}

/// A figure of INFO.
pub(crate) fn info(client: &mut Client, name: &str) -> u64 {
    let text = client.text(&["INFO", "everything"]);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("INFO has no number {name}"))
}

/// The greatest value of a field of CLIENT LIST.
pub(crate) fn greatest(client: &mut Client, name: &str) -> u64 {
    let list = client.text(&["CLIENT", "LIST"]);
    list.lines().filter_map(|line| field(line, name).parse().ok()).max().unwrap_or(0)
}

/// The clients' memory, as CLIENT LIST has it.
fn client_bytes(client: &mut Client) -> u64 {
    let list = client.text(&["CLIENT", "LIST"]);
    list.lines().filter_map(|line| field(line, "tot-mem").parse::<u64>().ok()).sum()
}

fn payload(number: usize) -> String {
    format!("{number:09}{}", "x".repeat(PAYLOAD_BYTES - 9))
}

/// Publishes until `done` says so; the reader takes every message at once.
fn publish_to(reader: &mut Client, publisher: &mut Client, mut done: impl FnMut(i64) -> bool) -> usize {
    for number in 0..MESSAGES_MAX {
        let count = publisher.int(&["PUBLISH", "c", &payload(number)]);
        let message = reader.value();
        let got = message.as_slice().and_then(|parts| parts[2].as_bytes()).map(|bytes| bytes[..9].to_vec());
        assert_eq!(got, Some(format!("{number:09}").into_bytes()), "the reader misses a message");
        if done(count) {
            return number + 1;
        }
    }
    panic!("nobody was closed after {MESSAGES_MAX} messages");
}

/// Lines of the log that tell of an output limit.
fn slow_consumers(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("output buffer limit")).collect()
}

#[test]
fn a_subscriber_over_its_hard_limit_is_closed_and_logged_once_and_harms_nobody_else() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "1mb", "0", "0"]);
        let (mut reader, mut publisher) = (server.connect(), server.connect());
        let mut lazy = lazy_client(&server);
        reader.request(&["SUBSCRIBE", "c"]);
        lazy.request(&["CLIENT", "SETNAME", "sleeper"]);
        lazy.request(&["SUBSCRIBE", "c"]);
        publish_to(&mut reader, &mut publisher, |count| count == 1);
        assert_eq!(publisher.request(&["PUBSUB", "NUMSUB", "c"]), numsub("c", 1));
        let log = server.await_log("a line about the slow consumer", |log| !slow_consumers(log).is_empty());
        let lines = slow_consumers(&log);
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["id=", "addr=127.0.0.1:", "name=sleeper", "sub=1", "omem=", "cmd=subscribe"] {
            assert!(lines[0].contains(part), "{part} is missing: {}", lines[0]);
        }
        let omem: u64 = field(lines[0], "omem").parse().expect("a number");
        assert!(omem > 1 << 20, "omem={omem} is not over the limit");
        // The lazy one gets what was in the kernel's hands, and then the end.
        lazy.rest();
        // And it goes on.
        assert_eq!(publisher.int(&["PUBLISH", "c", "x"]), 1);
        reader.value();
        reader.assert_quiet();
    }
}

pub(crate) fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line.find(&format!(" {name}=")).expect("the field is there") + name.len() + 2;
    line[start..].split(' ').next().unwrap_or_default()
}

fn numsub(channel: &str, count: i64) -> Value {
    Value::Array(vec![Value::Bulk(channel.into()), Value::Int(count)])
}

#[test]
fn a_subscriber_over_its_soft_limit_is_closed_when_that_has_lasted_too_long() {
    let server = Server::sterna(2, &["--client-output-buffer-limit", "pubsub", "0", "256kb", "1"]);
    let (mut reader, mut publisher) = (server.connect(), server.connect());
    let mut lazy = lazy_client(&server);
    reader.request(&["SUBSCRIBE", "c"]);
    lazy.request(&["SUBSCRIBE", "c"]);
    // Until more than the limit is queued for it in the server; or it is closed, for who looks too late.
    let is_over = |publisher: &mut Client| {
        let list = publisher.text(&["CLIENT", "LIST", "TYPE", "pubsub"]);
        list.lines().any(|line| field(line, "omem").parse::<u64>().is_ok_and(|omem| omem > 300 * 1024))
    };
    let mut asker = server.connect();
    // It was not over its limit yet.
    let since = Instant::now();
    publish_to(&mut reader, &mut publisher, |count| count == 1 || is_over(&mut asker));
    wait_for("the end of the lazy subscriber", || {
        (publisher.request(&["PUBSUB", "NUMSUB", "c"]) == numsub("c", 1)).then_some(())
    });
    assert!(since.elapsed() > Duration::from_millis(900), "closed after {:?}", since.elapsed());
    let log = server.await_log("a line about the slow consumer", |log| !slow_consumers(log).is_empty());
    assert_eq!(slow_consumers(&log).len(), 1);
    reader.assert_quiet();
}

#[test]
fn a_subscriber_under_its_soft_limit_again_in_time_stays() {
    let server = Server::sterna(1, &["--client-output-buffer-limit", "pubsub", "0", "256kb", "3600"]);
    let (mut reader, mut publisher) = (server.connect(), server.connect());
    reader.request(&["SUBSCRIBE", "c"]);
    for number in 0..200 {
        publisher.request(&["PUBLISH", "c", &payload(number)]);
    }
    for _ in 0..200 {
        reader.value();
    }
    reader.assert_quiet();
}

#[test]
fn a_client_that_asks_and_does_not_read_is_closed_at_the_limit_for_normal_clients() {
    let server = Server::sterna(2, &["--client-output-buffer-limit", "normal", "1mb", "0", "0"]);
    let mut other = server.connect();
    other.request(&["SET", "k", &payload(0)]);
    let mut lazy = lazy_client(&server);
    for _ in 0..MESSAGES_MAX {
        lazy.send(&["GET", "k"]);
    }
    lazy.rest();
    let log = server.await_log("a line about the slow consumer", |log| !slow_consumers(log).is_empty());
    assert_eq!(slow_consumers(&log).len(), 1);
    assert_eq!(other.text(&["GET", "k"]), payload(0));
}

#[test]
fn a_client_that_does_not_read_its_replies_waits_with_its_next_request() {
    const VALUE_BYTES: usize = 1 << 20;
    const REQUESTS: usize = 40;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut admin = server.connect();
        admin.request(&["SET", "k", &"x".repeat(VALUE_BYTES)]);
        let mut lazy: Vec<Client> = (0..4).map(|_| lazy_client(&server)).collect();
        for client in &mut lazy {
            (0..REQUESTS).for_each(|_| client.send(&["GET", "k"]));
        }
        let asked: u64 = (REQUESTS * "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".len()) as u64;
        wait_for("every request to be read", || {
            let list = admin.text(&["CLIENT", "LIST", "SKIPME", "yes"]);
            let read = list.lines().filter(|line| field(line, "tot-net-in").parse() == Ok(asked)).count();
            (read == lazy.len()).then_some(())
        });
        // A mark and the reply that passed it, for each; without the mark it would be forty replies.
        let held = client_bytes(&mut admin);
        assert!(held < lazy.len() as u64 * (3 << 20), "{held} bytes are held");
        // Whoever reads again gets every reply.
        for client in &mut lazy {
            for _ in 0..REQUESTS {
                assert_eq!(client.value().as_bytes().map(<[u8]>::len), Some(VALUE_BYTES));
            }
            client.assert_quiet();
        }
    }
}

#[test]
fn a_client_that_sends_all_its_requests_before_it_reads_is_served() {
    const REQUESTS: usize = 20_000;
    for shards in [1, 2] {
        let server = Server::sterna(shards, &[]);
        let mut client = lazy_client(&server);
        for number in 0..REQUESTS {
            client.send(&["ECHO", &format!("{number:01000}")]);
        }
        for number in 0..REQUESTS {
            assert_eq!(client.value(), Value::Bulk(format!("{number:01000}").into()));
        }
        client.assert_quiet();
    }
}

#[test]
fn whoever_is_sent_what_he_did_not_ask_for_and_does_not_read_is_closed_at_the_subscribers_limit() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--client-output-buffer-limit", "pubsub", "1mb", "0", "0"]);
        let mut writer = server.connect();
        let closed = "client_output_buffer_limit_disconnections";
        let names: Vec<String> = (0..50).map(|number| format!("{number}{}", "k".repeat(10_000))).collect();
        for number in 0..2 {
            let mut lazy = lazy_client(&server);
            lazy.request(&["HELLO", "3"]);
            if number == 0 {
                lazy.send(&["MONITOR"]);
            } else {
                lazy.send(&["CLIENT", "TRACKING", "on", "BCAST"]);
            }
            let mut rounds = 0;
            while info(&mut writer, closed) == number {
                assert!(rounds < 1000, "not closed");
                names.iter().for_each(|name| writer.send(&["SET", name, "x"]));
                names.iter().for_each(|_| assert_eq!(writer.value(), Value::Simple(b"OK".to_vec())));
                rounds += 1;
            }
            lazy.rest();
        }
    }
}

#[test]
fn a_request_longer_than_the_query_buffer_closes_its_client_only() {
    let server = Server::sterna(2, &["--client-query-buffer-limit", "1mb"]);
    let mut other = server.connect();
    let mut client = server.connect();
    client.send_bytes(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n");
    client.send_bytes(&vec![b'x'; 3_000_000]);
    assert_eq!(client.rest(), b"");
    server.await_log("a line about the query buffer", |log| log.contains("query buffer"));
    other.assert_quiet();
}

#[test]
fn more_clients_than_maxclients_are_refused_with_redis_s_words() {
    let server = Server::sterna(2, &["--maxclients", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::assert_quiet);
    let mut refused = server.connect();
    assert_eq!(refused.error(), "ERR max number of clients reached");
    assert_eq!(refused.frame(PATIENCE), Frame::Closed);
    clients.pop().expect("three").leave();
    server.connect().assert_quiet();
    clients.iter_mut().for_each(Client::assert_quiet);
}

#[test]
fn an_idle_client_is_closed_after_the_timeout_but_no_subscriber() {
    let server = Server::sterna(2, &[]);
    let mut subscriber = server.connect();
    subscriber.request(&["SUBSCRIBE", "c"]);
    let mut idle = server.connect();
    idle.assert_quiet();
    server.connect().request(&["CONFIG", "SET", "timeout", "1"]);
    assert_eq!(idle.rest(), b"");
    // Who is slow to publish is idle as well.
    wait_for("the subscriber to be reached", || {
        (server.connect().try_request(&["PUBLISH", "c", "x"]) == Some(Value::Int(1))).then_some(())
    });
    subscriber.value();
}

#[test]
fn an_argument_longer_than_proto_max_bulk_len_is_a_protocol_error() {
    let server = Server::sterna(1, &["--proto-max-bulk-len", "1mb"]);
    let mut client = server.connect();
    client.request(&["SET", "k", &"x".repeat(1 << 20)]);
    client.send_bytes(b"*2\r\n$4\r\nECHO\r\n$1048577\r\n");
    assert_eq!(client.rest(), b"-ERR Protocol error: invalid bulk length\r\n");
}

#[test]
fn slowlog_keeps_to_its_length_and_cuts_what_is_long() {
    for shards in [1, 2] {
        let server = Server::sterna(shards, &["--slowlog-log-slower-than", "0", "--slowlog-max-len", "3"]);
        let mut client = server.connect();
        let before = info(&mut client, "used_memory");
        for _ in 0..50 {
            client.request(&["ECHO", &"x".repeat(1 << 20)]);
        }
        assert_eq!(client.int(&["SLOWLOG", "LEN"]), 3);
        // What was long is freed by another thread.
        wait_for("less than a command each", || {
            (info(&mut client, "used_memory").saturating_sub(before) < 3 << 20).then_some(())
        });
    }
}

/// differs=log-entries
#[test]
fn slowlog_and_acl_log_have_an_end_whatever_is_configured() {
    let args = ["--slowlog-log-slower-than", "0", "--slowlog-max-len", "9000", "--acllog-max-len", "9000"];
    let server = Server::sterna(1, &args);
    let mut client = server.connect();
    client.request(&["ACL", "SETUSER", "reader", "on", "nopass", "+get", "~own"]);
    client.request(&["AUTH", "reader", ""]);
    for from in (0..4_200).step_by(600) {
        for number in from..from + 600 {
            client.send(&["GET", "own"]);
            client.send(&["GET", &format!("key:{number}")]);
        }
        (0..2 * 600).for_each(|_| drop(client.value()));
    }
    let mut admin = server.connect();
    assert_eq!(admin.int(&["SLOWLOG", "LEN"]), 4096);
    let entries = admin.request(&["ACL", "LOG", "10000"]);
    assert_eq!(entries.as_slice().expect("entries").len(), 4096);
}

/// differs=monitor-line
#[test]
fn a_line_of_monitor_is_as_long_as_can_be_written_at_once() {
    let server = Server::sterna(1, &[]);
    let (mut monitor, mut client) = (server.connect(), server.connect());
    monitor.request(&["MONITOR"]);
    client.request(&["SET", "key", &"x".repeat(1 << 20)]);
    let line = monitor.value();
    let line = line.as_bytes().expect("a line").escape_ascii().to_string();
    assert!(line.ends_with("xxx... (1032192 more bytes)\\\""), "{}", &line[line.len() - 60..]);
    let mut request = vec!["MSET".to_owned()];
    request.extend((0..20_000).map(|number| format!("word:{number}")));
    client.request(&request);
    let line = monitor.value();
    let line = line.as_bytes().expect("a line").escape_ascii().to_string();
    assert!(line.ends_with(" more arguments)\\\""), "{}", &line[line.len() - 60..]);
    assert!(line.len() < 100_000, "{} bytes", line.len());
    client.request(&["SET", "key", &"y".repeat(16 << 10)]);
    let line = monitor.value();
    assert!(line.as_bytes().expect("a line").ends_with(b"yyy\""), "as long as is shown whole");
}

#[test]
fn a_client_s_line_counts_the_request_that_asks_for_it_and_the_one_that_waits() {
    let server = Server::sterna(1, &[]);
    let mut client = server.connect();
    for _ in 0..2 {
        // As in Redis: the bytes of the request, and those of its arguments.
        let line = client.text(&["CLIENT", "LIST"]);
        assert!(line.contains(" qbuf=26 ") && line.contains(" argv-mem=10 "), "{line}");
        let line = client.text(&["CLIENT", "INFO"]);
        assert!(line.contains(" qbuf=26 ") && line.contains(" argv-mem=10 "), "{line}");
    }
    let mut waiting = server.connect();
    waiting.request(&["CLIENT", "SETNAME", "waits"]);
    waiting.send(&["BLPOP", "a-list", "0"]);
    wait_for("the arguments of who waits to be counted", || {
        let list = client.text(&["CLIENT", "LIST"]);
        let line = list.lines().find(|line| line.contains("name=waits"))?;
        line.contains(" qbuf=0 ").then_some(())?;
        line.contains(" argv-mem=12 ").then_some(())
    });
}
