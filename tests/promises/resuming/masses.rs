//! Hundreds that leave, come back or have too much at the same moment: nothing is done for all of them in one piece, and each gets
//! what is its own.

use std::net::TcpStream;

use rustix::process::Signal;
use socket2::{SockFilter, SockRef};
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::memory::resident_bytes_at_most;
use sterna_tests::server::Server;

use super::{NOTICES, SHARDS, await_detached, detached, got, named, next, server, subscribe};

const SUBSCRIBERS: usize = 300;

/// What the subscriber of this number listens to: what all do, and what is its own.
fn requests(number: usize) -> [Vec<String>; 2] {
    let channels = (0..10).map(|of| format!("{number}:c{of}"));
    let patterns = (0..10).map(|of| format!("{number}:p{of}*"));
    [
        ["SUBSCRIBE".to_owned(), "all".to_owned()].into_iter().chain(channels).collect(),
        ["PSUBSCRIBE".to_owned(), "every*".to_owned()].into_iter().chain(patterns).collect(),
    ]
}

/// Has all of them subscribe, at once, under their names. Each then gets what it has missed, by one request after the other.
fn subscribe_all(clients: &mut [Client], missed: &[usize]) {
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&["HELLO", "2", "SETNAME", &number.to_string()]);
        requests(number).iter().for_each(|request| client.send(request));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert!(client.value().as_slice().is_some(), "HELLO answers");
        for (request, messages) in requests(number).iter().zip([by_channels, by_patterns]) {
            for name in &request[1..] {
                let value = client.value();
                let confirmed = value.as_slice().and_then(|parts| parts[1].as_bytes());
                assert_eq!(confirmed, Some(name.as_bytes()), "{number}: {value:?}");
            }
            missed.iter().for_each(|round| messages(client, number, *round));
        }
    }
}

/// Publishes what each listens to by its channels, and then by its patterns.
fn publish(publisher: &mut Client, round: usize) {
    let text = round.to_string();
    let to_all = |channel: &str| (request_bytes(&["PUBLISH", channel, &text]), SUBSCRIBERS as i64);
    let to_each = |of: &str| {
        let requests: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| (request_bytes(&["PUBLISH", &format!("{number}:{of}"), &text]), 1))
            .collect();
        requests
    };
    let all = [vec![to_all("all")], to_each("c3"), vec![to_all("every1")], to_each("p4x")].concat();
    for (request, _) in &all {
        publisher.send_bytes(request);
    }
    for (_, count) in all {
        assert_eq!(publisher.value().as_int(), Some(count));
    }
}

fn by_channels(client: &mut Client, number: usize, round: usize) {
    assert_eq!(next(client), got("message", "all", &round.to_string()), "{number}");
    assert_eq!(next(client), got("message", &format!("{number}:c3"), &round.to_string()));
}

fn by_patterns(client: &mut Client, number: usize, round: usize) {
    assert_eq!(next(client), got("pmessage", "every*", &round.to_string()), "{number}");
    assert_eq!(next(client), got("pmessage", &format!("{number}:p4*"), &round.to_string()));
}

fn connect_all(server: &Server) -> Vec<Client> {
    (0..SUBSCRIBERS).map(|_| server.connect()).collect()
}

#[test]
fn hundreds_that_leave_at_once_are_resumed_each_with_what_it_has_missed_or_killed_at_once() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut publisher = server.connect();
        let mut clients = connect_all(&server);
        subscribe_all(&mut clients, &[]);
        for round in [0, 2] {
            publish(&mut publisher, round);
            for (number, client) in clients.iter_mut().enumerate() {
                by_channels(client, number, round);
                by_patterns(client, number, round);
            }
            server.freeze();
            drop(clients);
            server.signal(Signal::CONT);
            await_detached(&mut publisher, SUBSCRIBERS as u64);
            publish(&mut publisher, round + 1);
            clients = connect_all(&server);
            subscribe_all(&mut clients, &[round + 1]);
            await_detached(&mut publisher, 0);
        }
        clients.iter_mut().for_each(|client| drop(client.request(&["SUBSCRIBE", "all"])));
        drop(clients);
        await_detached(&mut publisher, SUBSCRIBERS as u64);
        assert_eq!(publisher.int(&["CLIENT", "KILL", "TYPE", "pubsub"]), SUBSCRIBERS as i64);
        await_detached(&mut publisher, 0);
        assert_eq!(publisher.int(&["PUBLISH", "all", "x"]), 0);
        // Each is told that it is late, and how late.
        let mut clients = connect_all(&server);
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&["HELLO", "2", "SETNAME", &number.to_string()]);
            client.send(&["SUBSCRIBE", "all"]);
        }
        for client in &mut clients {
            (0..2).for_each(|_| drop(client.value()));
            assert_eq!(next(client), got("message", NOTICES, "expired 0"));
        }
    }
}

#[test]
fn hundreds_that_come_back_at_once_beside_lines_that_are_dead_get_what_was_lost_on_those() {
    for shards in SHARDS {
        let server = server(shards, &[]);
        let mut publisher = server.connect();
        let sockets: Vec<TcpStream> = (0..SUBSCRIBERS)
            .map(|_| TcpStream::connect(server.address()).expect("the server listens"))
            .collect();
        let mut clients: Vec<Client> =
            sockets.iter().map(|socket| Client::over(socket.try_clone().expect("a handle"))).collect();
        subscribe_all(&mut clients, &[]);
        clients.iter_mut().for_each(Client::assert_quiet);
        // From now on nothing arrives, and nothing is acknowledged.
        for socket in &sockets {
            SockRef::from(socket).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).expect("a filter");
        }
        publish(&mut publisher, 0);
        let mut again = connect_all(&server);
        subscribe_all(&mut again, &[0]);
        publish(&mut publisher, 1);
        for (number, client) in again.iter_mut().enumerate() {
            by_channels(client, number, 1);
            by_patterns(client, number, 1);
            client.assert_quiet();
        }
    }
}

#[test]
fn a_large_message_that_takes_the_place_of_thousands_of_small_ones_is_told_to_hundreds_by_their_number() {
    const SMALL: usize = 3000;
    for shards in SHARDS {
        let server = server(shards, &["--resume-buffer", "64kb"]);
        let mut publisher = server.connect();
        let mut clients = connect_all(&server);
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&["HELLO", "2", "SETNAME", &number.to_string()]);
            client.send(&["SUBSCRIBE", "all"]);
        }
        clients.iter_mut().for_each(|client| (0..2).for_each(|_| drop(client.value())));
        drop(clients);
        await_detached(&mut publisher, SUBSCRIBERS as u64);
        let large = format!("{SMALL}:{}", "x".repeat(60_000));
        let payload = |number: usize| match number {
            SMALL => large.clone(),
            _ => number.to_string(),
        };
        let all: Vec<u8> =
            (0..SMALL + 10).flat_map(|number| request_bytes(&["PUBLISH", "all", &payload(number)])).collect();
        publisher.send_bytes(&all);
        for _ in 0..SMALL + 10 {
            assert_eq!(publisher.value().as_int(), Some(SUBSCRIBERS as i64));
        }
        for number in 0..SUBSCRIBERS {
            let mut client = named(server.connect(), &number.to_string(), "2");
            subscribe(&mut client, &["SUBSCRIBE", "all"]);
            let (name, text) = next(&mut client);
            assert_eq!(name, format!("message {NOTICES}"));
            let dropped: usize =
                text.strip_prefix("dropped ").and_then(|text| text.parse().ok()).expect("a number");
            // Backlogs are trimmed behind the answer: who comes before that gets more.
            assert!((1..SMALL).contains(&dropped), "{dropped} of {SMALL}");
            for number in dropped..SMALL + 10 {
                assert_eq!(next(&mut client), got("message", "all", &payload(number)));
            }
            client.assert_quiet();
        }
    }
}

#[test]
fn what_one_script_publishes_does_not_make_a_backlog_grow_until_it_ends() {
    const MESSAGES: usize = 800_000;
    for shards in SHARDS {
        let server = server(shards, &["--resume-buffer", "64kb"]);
        let mut publisher = server.connect();
        detached(&server, "a", "2", &["SUBSCRIBE", "c"]);
        let before = resident_bytes_at_most(server.pid());
        let script =
            format!("for n = 1, {MESSAGES} do redis.call('PUBLISH', 'c', n .. string.rep('x', 200)) end");
        publisher.request(&["EVAL", &script, "0"]);
        let growth = resident_bytes_at_most(server.pid()) - before;
        println!("{shards} shards: {growth} bytes");
        // All of it is twice as much; of two shards the one that publishes may be ahead by the mail that is on its way.
        assert!(growth < 100 << 20, "{growth} bytes");
        let mut client = named(server.connect(), "a", "2");
        subscribe(&mut client, &["SUBSCRIBE", "c"]);
        let (name, text) = next(&mut client);
        assert_eq!(name, format!("message {NOTICES}"));
        let dropped: usize =
            text.strip_prefix("dropped ").and_then(|text| text.parse().ok()).expect("a number");
        for number in dropped + 1..=MESSAGES {
            let (_, text) = next(&mut client);
            assert_eq!(text.trim_end_matches('x'), number.to_string());
        }
        client.assert_quiet();
    }
}
