//! Subscribers whose connections are cut again and again while messages are published.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, value_of};
use sterna_tests::line::{End, Line};
use sterna_tests::server::{Launch, PATIENCE, wait_for};
use sterna_tests::tls::{self, Authority};

use super::{Got, REQUESTS, SHARDS, await_detached, field, message};

/// Reads until it gets the last messages, and connects and subscribes again whenever the line is cut.
fn listen(
    connect: impl Fn() -> Option<Client>,
    name: &str,
    proto: &str,
    ends: usize,
    ready: &AtomicBool,
) -> Vec<Got> {
    let mut heard = Vec::new();
    let (mut ended, began) = (0, Instant::now());
    'connections: loop {
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "{name}: it takes too long; {} messages have come",
            heard.len()
        );
        let Some(mut client) = connect() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        client.send(&["HELLO", proto, "SETNAME", name]);
        REQUESTS.iter().for_each(|request| client.send(request));
        let mut confirmed = 0;
        loop {
            let value = match client.frame(PATIENCE) {
                Frame::Bytes(bytes) => value_of(&bytes),
                Frame::Closed => continue 'connections,
                Frame::Nothing => panic!("{name}: nothing comes any more; {} messages have", heard.len()),
            };
            match message(&value) {
                Some(got) => {
                    ended += usize::from(got.1 == "end");
                    heard.push(got);
                    if ended == ends {
                        return heard;
                    }
                }
                None => {
                    confirmed += usize::from(matches!(value.as_slice(), Some([_, _, Value::Int(_)])));
                    if confirmed == 5 {
                        ready.store(true, SeqCst);
                    }
                }
            }
        }
    }
}

/// Rounds of messages that a publisher may send between two steps of [`cut_under_load`]: all of them, in all steps, are fewer than
/// may wait for a subscriber that is slow to come back.
const ROUNDS_PER_STEP: usize = 300;

/// Cuts every subscriber again and again under load. Nothing is lost, and nothing comes twice or out of order.
fn cut_under_load(shards: usize, authority: Option<&Authority>) {
    const PUBLISHERS: usize = 2;
    const SUBSCRIBERS: usize = 5;
    let cuts = std::env::var("STERNA_TEST_CUTS").map_or(4, |cuts| cuts.parse().expect("a number"));
    let mut launch = Launch::shards(shards).args(&["--resume-window", "3600", "--resume-buffer", "64mb"]);
    let tls_port = sterna_tests::server::free_port();
    if let Some(authority) = authority {
        let identity = authority.identity();
        launch = launch.file("cert.pem", &identity.certificate).file("key.pem", &identity.key).args(&[
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            "{folder}/cert.pem",
            "--tls-key-file",
            "{folder}/key.pem",
            "--tls-auth-clients",
            "no",
        ]);
    }
    let server = launch.start();
    let line = Line::to(if authority.is_some() { tls_port } else { server.address().port() });
    let connect = || match authority {
        Some(authority) => tls::connect(line.port, authority, None).ok(),
        None => Client::try_to(line.port).ok(),
    };
    let ready: Vec<AtomicBool> = (0..SUBSCRIBERS).map(|_| AtomicBool::new(false)).collect();
    let stops = AtomicBool::new(false);
    let may_send = AtomicUsize::new(ROUNDS_PER_STEP);
    let step = || {
        may_send.fetch_add(ROUNDS_PER_STEP, SeqCst);
        thread::sleep(Duration::from_millis(150));
    };
    // The channel a message goes to, and by which of the requests above it comes.
    let channels: [(&str, &str, &[&str]); 5] = [
        ("PUBLISH", "a", &["message a"]),
        ("PUBLISH", "b", &["message b"]),
        ("PUBLISH", "p1", &["pmessage p*", "pmessage *1"]),
        ("SPUBLISH", "s", &["smessage s"]),
        ("PUBLISH", "p2", &["pmessage p*"]),
    ];
    let (counts, heard): (Vec<usize>, Vec<Vec<Got>>) = thread::scope(|scope| {
        let subscribers: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| {
                let (connect, ready) = (&connect, &ready[number]);
                let proto = if number % 2 == 0 { "2" } else { "3" };
                scope.spawn(move || listen(connect, &format!("listener-{number}"), proto, 6, ready))
            })
            .collect();
        wait_for("subscribers", || ready.iter().all(|ready| ready.load(SeqCst)).then_some(()));
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (server, channels, stops, may_send) = (&server, &channels, &stops, &may_send);
                scope.spawn(move || {
                    let mut client = server.connect();
                    let mut count = 0;
                    let began = Instant::now();
                    while (!stops.load(SeqCst) || count <= 20) && began.elapsed() < 2 * PATIENCE {
                        if count >= may_send.load(SeqCst) {
                            thread::sleep(Duration::from_millis(2));
                            continue;
                        }
                        for (command, channel, _) in channels {
                            // Some are as long as several TLS records.
                            let filler = "x".repeat(if count % 97 == 0 { 40_000 } else { count % 50 });
                            client.int(&[*command, *channel, &format!("{publisher}:{count}:{filler}")]);
                        }
                        count += 1;
                        if count % 8 == 0 {
                            thread::sleep(Duration::from_millis(2));
                        }
                    }
                    count
                })
            })
            .collect();
        for cut in 0..cuts {
            step();
            may_send.fetch_add(ROUNDS_PER_STEP, SeqCst);
            line.cut(match cut % 4 {
                0 | 2 => End::Closed,
                1 => End::Reset,
                _ => End::Silence(Duration::from_secs(20)),
            });
            step();
            line.mend();
        }
        step();
        stops.store(true, SeqCst);
        let counts = publishers.into_iter().map(|publisher| publisher.join().expect("it ends")).collect();
        let mut client = server.connect();
        for (command, channel, _) in channels {
            client.int(&[command, channel, "end"]);
        }
        (counts, subscribers.into_iter().map(|subscriber| subscriber.join().expect("it ends")).collect())
    });
    assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
    let subscriptions: HashSet<&str> =
        channels.iter().flat_map(|(_, _, names)| names.iter().copied()).collect();
    for (number, heard) in heard.iter().enumerate() {
        let mut seen: HashMap<(&str, &str, usize), Vec<usize>> = HashMap::new();
        for (name, payload) in heard.iter().filter(|(_, payload)| payload != "end") {
            assert!(subscriptions.contains(&name.as_str()), "{number}: {name} {payload}");
            let mut parts = payload.split(':');
            let publisher: usize = parts.next().and_then(|text| text.parse().ok()).expect("a publisher");
            let count: usize = parts.next().and_then(|text| text.parse().ok()).expect("a count");
            let channel = "";
            seen.entry((name, channel, publisher)).or_default().push(count);
        }
        for (_, _, names) in &channels {
            for name in *names {
                for (publisher, &count) in counts.iter().enumerate() {
                    let seen = &seen[&(*name, "", publisher)];
                    let each = if *name == "pmessage p*" { 2 } else { 1 };
                    let expected: Vec<usize> = (0..count).flat_map(|count| vec![count; each]).collect();
                    let first_wrong = seen.iter().zip(&expected).position(|(one, other)| one != other);
                    assert_eq!(
                        (seen.len(), first_wrong),
                        (expected.len(), None),
                        "subscriber {number}, {name} of publisher {publisher}, shards: {shards}, around {:?}",
                        first_wrong.map(|at| &seen[at.saturating_sub(3)..(at + 5).min(seen.len())])
                    );
                }
            }
        }
    }
    let mut client = server.connect();
    // They have left without a word.
    await_detached(&mut client, SUBSCRIBERS as u64);
    assert!(field(&mut client, "clients", "resumed_clients") >= SUBSCRIBERS as u64);
}

#[test]
fn subscribers_that_are_cut_off_under_load_miss_nothing_and_get_nothing_twice() {
    for shards in SHARDS {
        cut_under_load(shards, None);
    }
}

#[test]
fn nor_do_they_under_tls() {
    let authority = Authority::new();
    for shards in SHARDS {
        cut_under_load(shards, Some(&authority));
    }
}
