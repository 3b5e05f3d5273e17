//! Killed while messages to a channel that remembers go out in slices, since very many patterns match them or they are long: whose PUBLISH
//! was answered is in the channel's stream, once and in its order, and a page that comes back gets each message once.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, Frame, request_bytes, value_of};
use sterna_tests::http::HttpServer;
use sterna_tests::server::PATIENCE;
use sterna_tests::{crash_rounds, seed};

use crate::tools::Events;

/// More patterns than are matched at once; they match what begins with `c` or `_`.
const PATTERNS: usize = 8_000;

/// How a publisher has two messages published, by requests that are answered before it goes on.
const WAYS: usize = 3;

/// Numbers of a round.
const ROUND: u64 = 1_000_000;

/// One message in so many is a long one.
const LONG_EVERY: u64 = 7;

/// A subscriber that reads nothing.
fn listener(server: &HttpServer) -> Client {
    let mut client = server.server.connect();
    for from in (0..PATTERNS).step_by(1_000) {
        let names: Vec<String> = (from..from + 1_000).map(|number| format!("[c_{number}]*")).collect();
        let request: Vec<&str> =
            std::iter::once("PSUBSCRIBE").chain(names.iter().map(String::as_str)).collect();
        client.send(&request);
        (0..1_000).for_each(|_| drop(client.value()));
    }
    client
}

fn text(way: usize, number: u64) -> String {
    let padding = if number.is_multiple_of(LONG_EVERY) { 40_000 } else { 0 };
    format!("{way}:{number}:{}", "x".repeat(padding))
}

/// Way and number of a message.
fn parse(text: &str) -> (usize, u64) {
    let mut words = text.split(':');
    let mut next = || words.next().expect("way and number");
    (next().parse().expect("a way"), next().parse().expect("a number"))
}

/// Publishes messages in this way until the server is gone; returns the numbers of those whose requests were answered.
fn publish(mut client: Client, way: usize, first: u64) -> Range<u64> {
    const SCRIPT: &str = "redis.call('PUBLISH', 'ch', ARGV[1]) return redis.call('PUBLISH', 'ch', ARGV[2])";
    let mut answered = first;
    loop {
        let texts = [text(way, answered), text(way, answered + 1)];
        let [one, other] = texts.each_ref().map(|text| request_bytes(&["PUBLISH", "ch", text]));
        let (request, replies) = match way {
            0 => ([one, other].concat(), 2),
            1 => (request_bytes(&["EVAL", SCRIPT, "0", &texts[0], &texts[1]]), 1),
            _ => ([request_bytes(&["MULTI"]), one, other, request_bytes(&["EXEC"])].concat(), 4),
        };
        client.send_bytes(&request);
        for _ in 0..replies {
            match client.frame(PATIENCE) {
                Frame::Bytes(bytes) => {
                    let value = value_of(&bytes);
                    assert!(!matches!(value, Value::Error(_)), "{value:?}");
                }
                Frame::Closed => return first..answered,
                Frame::Nothing => panic!("no answer"),
            }
        }
        answered += 2;
    }
}

/// A page that subscribes to the channel, behind a position if it has one.
struct Page {
    events: Events,
    last_id: Option<String>,
    is_recovered: bool,
}

impl Page {
    fn open(server: &HttpServer, last_id: Option<String>) -> Page {
        let header = last_id.as_ref().map_or(String::new(), |id| format!("Last-Event-ID: {id}"));
        let mut events = Events::open(server, "/v1/events?channel=ch", &header);
        let first = events.event().expect("the first event");
        assert_eq!(first.kind.as_deref(), Some("resume"));
        let is_recovered = first.data.starts_with(r#"{"recovered":true,"#);
        Page { events, last_id: first.id.or(last_id), is_recovered }
    }

    /// The next message; `None`: the server is gone.
    fn next(&mut self) -> Option<String> {
        let event = self.events.event()?;
        let text = event.data.split_once(r#""message":""#)?.1.strip_suffix("\"}")?.to_owned();
        self.last_id = event.id.or(self.last_id.take());
        Some(text)
    }
}

/// The channel's messages of this round, in their order.
fn history(client: &mut Client, round: u64) -> Vec<(usize, u64)> {
    let entries = client.request(&["XRANGE", "channel:ch", "-", "+"]);
    let message = |entry: &Value| {
        let fields = entry.as_slice().and_then(|entry| entry[1].as_slice()).expect("an entry");
        parse(std::str::from_utf8(fields[1].as_bytes().expect("a message")).expect("text"))
    };
    let all = entries.as_slice().expect("entries").iter().map(message);
    all.filter(|(_, number)| number / ROUND == round).collect()
}

fn check_round(server: &mut HttpServer, round: u64, life: Duration) -> usize {
    let _listeners = [listener(server), listener(server)];
    let mut page = Page::open(server, None);
    let (mut seen, mut answered) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let began: Vec<_> = (0..WAYS)
            .map(|way| {
                let client = server.server.connect();
                scope.spawn(move || publish(client, way, round * ROUND))
            })
            .collect();
        let reads = scope.spawn(|| std::iter::from_fn(|| page.next()).map(|text| parse(&text)).collect());
        // The instant is what is tested: it is chosen by a sleep on purpose.
        thread::sleep(life);
        server.server.kill();
        answered.extend(began.into_iter().map(|publisher| publisher.join().expect("a publisher")));
        seen = reads.join().expect("the page reads");
    });
    server.server.start_again();
    let mut client = server.server.connect();
    let remembered = history(&mut client, round);
    for (way, answered) in answered.iter().enumerate() {
        let own: Vec<u64> =
            remembered.iter().filter(|(of, _)| *of == way).map(|(_, number)| *number).collect();
        let all: Vec<u64> = (round * ROUND..).take(own.len()).collect();
        assert_eq!(own, all, "once, and in its order, way {way}");
        assert!(
            own.len() as u64 >= answered.end - answered.start,
            "way {way}: {answered:?} of {}",
            own.len()
        );
    }
    // It may have been sent what was in no record yet, and is told so.
    let known = seen.len().min(remembered.len());
    assert_eq!(seen[..known], remembered[..known], "the page has seen what is remembered, in that order");
    let mut page = Page::open(server, page.last_id);
    assert_eq!(
        page.is_recovered,
        seen.len() == known,
        "{} seen, {} remembered",
        seen.len(),
        remembered.len()
    );
    let last = text(WAYS, round * ROUND + 1);
    client.request(&["PUBLISH", "ch", &last]);
    let rest = std::iter::from_fn(|| page.next()).take_while(|text| *text != last);
    let rest: Vec<_> = rest.map(|text| parse(&text)).collect();
    assert_eq!(rest, remembered[known..], "the page gets the rest, once");
    remembered.len()
}

#[test]
fn after_a_kill_what_was_going_out_in_slices_is_remembered_once_and_in_order_and_comes_once_to_a_page() {
    let mut random = fastrand::Rng::with_seed(seed(51));
    for shards in [1, 2] {
        for appendfsync in ["always", "everysec"] {
            let mut server = HttpServer::start(
                shards,
                &[
                    "--dir",
                    "{folder}",
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    appendfsync,
                    "--retain",
                    "ch",
                    "--client-output-buffer-limit",
                    "pubsub",
                    "0",
                    "0",
                    "0",
                ],
            );
            let mut remembered = 0;
            // Further rounds only where nobody gets so much of the processor that something is published.
            for round in 0..100 {
                if round >= crash_rounds(3) && remembered > 0 {
                    break;
                }
                remembered += check_round(&mut server, round, Duration::from_millis(random.u64(20..400)));
            }
            println!("{shards} shards, {appendfsync}: {remembered} messages");
            assert!(remembered > 0, "something was published");
        }
    }
}
