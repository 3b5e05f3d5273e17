//! Nobody holds a shard: not a client with an endless pipeline, nor a subscriber with a huge backlog, nor a round of thousands.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::{Server, wait_for};

/// Requests whose time is taken.
const PINGS: usize = 300;
/// What the slowest of a hundred takes where nothing else runs is 3 ms. These bounds are wide, and they are on what the server
/// does meanwhile, not on the time: other tests run beside this one, on as few cores. A client that is starved waits for ever.
const MEDIAN_MAX: Duration = Duration::from_millis(50);
const P99_MAX: Duration = Duration::from_secs(1);

/// What the server has had of the processors so far: `utime` and `stime` of proc(5), in hundredths of a second.
fn processor_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("the server runs");
    let behind_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let ticks = behind_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// What the server does until a request is answered: one in the middle, and the slowest of a hundred.
fn times(server: &Server) -> (Duration, Duration) {
    let mut client = server.connect();
    let mut times: Vec<Duration> = (0..PINGS)
        .map(|_| {
            let before = processor_time(server);
            client.assert_quiet();
            processor_time(server) - before
        })
        .collect();
    times.sort();
    (times[PINGS / 2], times[PINGS * 99 / 100])
}

#[test]
fn an_endless_pipeline_does_not_starve_another_client_of_the_same_shard() {
    let server = Server::sterna(1, &[]);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut greedy = server.connect();
    let greed = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            let pipeline = request_bytes(&["SET", "k", "v"]).repeat(2000);
            let mut answered = 0_u64;
            while !is_over.load(SeqCst) {
                greedy.send_bytes(&pipeline);
                (0..2000).for_each(|_| drop(greedy.value()));
                answered += 2000;
            }
            answered
        })
    };
    let (median, p99) = times(&server);
    is_over.store(true, SeqCst);
    let answered = greed.join().expect("the greedy client is served as well");
    println!("beside {answered} pipelined requests: median {median:?}, p99 {p99:?}");
    assert!(median < MEDIAN_MAX && p99 < P99_MAX, "median {median:?}, p99 {p99:?}");
}

#[test]
fn subscribers_with_huge_backlogs_do_not_hold_their_shard() {
    const BACKLOGGED: usize = 20;
    let server = Server::sterna(1, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let mut lazy: Vec<Client> = (0..BACKLOGGED).map(|_| server.connect()).collect();
    lazy.iter_mut().for_each(|client| drop(client.request(&["SUBSCRIBE", "c"])));
    let mut publisher = server.connect();
    let payload = "x".repeat(64 * 1024);
    for _ in 0..200 {
        assert_eq!(publisher.int(&["PUBLISH", "c", &payload]), BACKLOGGED as i64);
    }
    // They begin to read now, all at once, while somebody else asks.
    let readers: Vec<_> = (lazy.into_iter())
        .map(|mut client| thread::spawn(move || (0..200).for_each(|_| drop(client.value()))))
        .collect();
    let (median, p99) = times(&server);
    readers.into_iter().for_each(|reader| reader.join().expect("every message arrives"));
    println!("beside {BACKLOGGED} backlogs: median {median:?}, p99 {p99:?}");
    assert!(median < MEDIAN_MAX && p99 < P99_MAX, "median {median:?}, p99 {p99:?}");
}

/// Reads and drops what all of them are sent, until it is over.
fn drain(mut sockets: Vec<TcpStream>, is_over: &AtomicBool) {
    let mut bytes = vec![0; 64 * 1024];
    while !is_over.load(SeqCst) {
        for socket in &mut sockets {
            match socket.read(&mut bytes) {
                Ok(count) => assert_ne!(count, 0, "the server keeps its subscribers"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }
}

/// Bytes the server has sent to all clients.
fn bytes_sent(client: &mut Client) -> u64 {
    let stats = client.text(&["INFO", "stats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).expect("INFO has it")
}

#[test]
fn who_asks_for_little_does_not_stand_behind_a_round_of_thousands_of_subscribers() {
    const SUBSCRIBERS: usize = 4000;
    const PIPELINE: usize = 256;
    let server = Server::sterna(1, &["--client-output-buffer-limit", "pubsub", "0", "0", "0"]);
    let mut quiet = server.connect();
    let sockets: Vec<TcpStream> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
            socket.write_all(&request_bytes(&["SUBSCRIBE", "c"])).expect("it is taken");
            socket.set_nonblocking(true).expect("a socket can be");
            socket
        })
        .collect();
    wait_for("all to subscribe", || (quiet.int(&["PUBLISH", "c", "x"]) == SUBSCRIBERS as i64).then_some(()));
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || drain(sockets, &is_over))
    };
    let publisher = {
        let (mut client, is_over) = (server.connect(), Arc::clone(&is_over));
        thread::spawn(move || {
            let pipeline = request_bytes(&["PUBLISH", "c", &"x".repeat(64)]).repeat(PIPELINE);
            while !is_over.load(SeqCst) {
                client.send_bytes(&pipeline);
                (0..PIPELINE).for_each(|_| drop(client.value()));
            }
        })
    };
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$64\r\n".len() + 64 + 2;
    let round = (SUBSCRIBERS * PIPELINE * message) as u64;
    wait_for("a round to be sent", || (bytes_sent(&mut quiet) > round).then_some(()));
    let mut sent_meanwhile: Vec<u64> = (0..PINGS / 3)
        .map(|_| {
            let before = bytes_sent(&mut quiet);
            bytes_sent(&mut quiet) - before
        })
        .collect();
    sent_meanwhile.sort_unstable();
    is_over.store(true, SeqCst);
    publisher.join().expect("the publisher is answered");
    reader.join().expect("the subscribers are there");
    let median = sent_meanwhile[sent_meanwhile.len() / 2];
    println!("a round has {round} bytes; sent while one waits for an answer: {median} in the median");
    assert!(median < round / 2, "{median} of {round} bytes");
}

/// What a reply to INFO says under `field`.
pub(crate) fn figure_in(info: &Value, field: &str) -> usize {
    let info = String::from_utf8_lossy(info.as_bytes().expect("INFO answers text"));
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|figure| figure.trim().parse().ok()).expect("INFO has it")
}

/// A first request that takes long, and how somebody else learns how many have been served.
struct First {
    request: Vec<u8>,
    question: &'static [&'static str],
    served: fn(&Value) -> usize,
    /// Whether its head says so, and not only what follows.
    is_wide: bool,
}

/// A request with so many numbers behind the words, and then this.
fn wide(words: &[&str], numbers: usize, end: &[&str]) -> Vec<u8> {
    let numbers: Vec<String> = (0..numbers).map(|number| format!("{number:05}")).collect();
    let numbers = numbers.iter().map(String::as_str);
    request_bytes(&words.iter().copied().chain(numbers).chain(end.iter().copied()).collect::<Vec<_>>())
}

fn await_clients(client: &mut Client, others: usize) {
    wait_for("all to be there", || {
        let info = client.request(&["INFO", "clients"]);
        (figure_in(&info, "connected_clients") > others).then_some(())
    });
}

#[test]
fn who_asks_for_little_does_not_stand_behind_hundreds_whose_first_request_takes_long_or_is_wide() {
    const OTHERS: usize = 200;
    let firsts = [
        First {
            request: wide(&["BLPOP"], 2000, &["0"]),
            question: &["INFO", "clients"],
            served: |info| figure_in(info, "blocked_clients"),
            is_wide: true,
        },
        First {
            request: wide(&["SUBSCRIBE"], 2000, &[]),
            question: &["INFO", "clients"],
            served: |info| figure_in(info, "pubsub_clients"),
            is_wide: true,
        },
        First {
            request: wide(&["RPUSH", "list"], 2000, &[]),
            question: &["LLEN", "list"],
            served: |length| length.as_int().expect("a number") as usize / 2000,
            is_wide: true,
        },
        First {
            request: request_bytes(&["RPUSH", "list", "x"]).repeat(500),
            question: &["LLEN", "list"],
            served: |length| length.as_int().expect("a number") as usize / 500,
            is_wide: false,
        },
    ];
    for First { request, question, served, is_wide } in &firsts {
        for (shards, are_new) in [(1, true), (2, true), (1, false)] {
            // Of a pipeline nobody knows how long it is before it is read.
            if !are_new && !is_wide {
                continue;
            }
            let server = Server::sterna(shards, &[]);
            let mut known = server.connect();
            let mut others: Vec<Client> = (0..OTHERS).map(|_| server.connect()).collect();
            await_clients(&mut known, OTHERS);
            if !are_new {
                (0..16).for_each(|_| others.iter_mut().for_each(Client::assert_quiet));
            }
            (0..64).for_each(|_| known.assert_quiet());
            // All of it is there when the server goes on, and what the known client asks for is the last.
            server.freeze();
            others.iter_mut().for_each(|client| client.send_bytes(request));
            known.send(question);
            server.signal(Signal::CONT);
            let before = served(&known.value());
            let name = format!("{}…, {shards} shards, new: {are_new}", request[..40].escape_ascii());
            println!("{name}: {before} of {OTHERS} before it");
            // The other shard may have served all of its own meanwhile.
            let elsewhere = OTHERS * (shards - 1) / shards;
            assert!(before < elsewhere + OTHERS / shards / 4, "{name}: {before} of {OTHERS}");
            wait_for("all to be served", || (served(&known.request(question)) == OTHERS).then_some(()));
        }
    }
}

#[test]
fn new_clients_do_not_stand_behind_hundreds_of_known_ones_with_wide_requests() {
    const KNOWN: usize = 200;
    const NEW: usize = 100;
    const NUMBERS: usize = 2000;
    let server = Server::sterna(1, &[]);
    let mut known: Vec<Client> = (0..KNOWN).map(|_| server.connect()).collect();
    let mut new: Vec<Client> = (0..NEW).map(|_| server.connect()).collect();
    await_clients(&mut known[0], KNOWN + NEW - 1);
    (0..16).for_each(|_| known.iter_mut().for_each(Client::assert_quiet));
    // All of it is there when the server goes on.
    server.freeze();
    let request = wide(&["RPUSH", "list"], NUMBERS, &[]);
    known.iter_mut().for_each(|client| client.send_bytes(&request));
    new.iter_mut().for_each(|client| client.send(&["LLEN", "list"]));
    server.signal(Signal::CONT);
    let before = new.iter_mut().map(|client| client.value().as_int().expect("a number") as usize / NUMBERS);
    let before = before.max().expect("some are new");
    println!("{before} of {KNOWN} before the last of {NEW} new ones");
    assert!(before < KNOWN / 4, "{before} of {KNOWN}");
    known.iter_mut().for_each(|client| assert!(client.value().as_int().is_some()));
    assert_eq!(known[0].int(&["LLEN", "list"]) as usize, KNOWN * NUMBERS);
}
