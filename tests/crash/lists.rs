//! Killed while elements are handed from client to client: none that was acknowledged is lost, and none is there twice.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::server::{Launch, Server};
use sterna_tests::{crash_rounds, seed};

const PRODUCERS: usize = 2;
const WORKERS: usize = 3;

/// Pushes numbered jobs until the server is gone; returns those that were acknowledged.
fn produce(port: u16, name: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut client) = Client::try_to(port) else { return acknowledged };
    for job in 0.. {
        let text = format!("{name}:{job}");
        match client.try_request(&["LPUSH", "jobs", &text]) {
            Some(Value::Int(_)) => acknowledged.push(text),
            _ => break,
        }
    }
    acknowledged
}

/// Moves jobs to a list of its own until the server is gone; returns those whose move was acknowledged.
fn work(port: u16, own: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut client) = Client::try_to(port) else { return acknowledged };
    while let Some(Value::Bulk(text)) = client.try_request(&["BLMOVE", "jobs", own, "RIGHT", "LEFT", "0"]) {
        acknowledged.push(String::from_utf8(text).expect("ASCII"));
    }
    acknowledged
}

fn elements(client: &mut Client, key: &str) -> Vec<String> {
    let all = client.request(&["LRANGE", key, "0", "-1"]);
    let texts = all.as_slice().unwrap_or_default().iter().filter_map(Value::as_bytes);
    texts.map(|text| String::from_utf8(text.to_vec()).expect("ASCII")).collect()
}

/// Where each element is.
fn places(server: &Server) -> HashMap<String, String> {
    let mut client = server.connect();
    let mut places = HashMap::new();
    let own = (0..WORKERS).map(|worker| format!("worker:{worker}"));
    for key in own.chain(["jobs".to_owned()]) {
        for text in elements(&mut client, &key) {
            let before = places.insert(text.clone(), key.clone());
            assert_eq!(before, None, "{text} is there twice");
        }
    }
    places
}

#[test]
fn after_a_kill_each_acknowledged_job_is_where_it_was_put_or_moved_and_once() {
    let mut random = fastrand::Rng::with_seed(seed(11));
    for shards in [1, 3] {
        let launch = Launch::shards(shards).args(&["--dir", "{folder}", "--appendfsync", "always"]);
        let mut server = launch.start();
        let mut handed_over = 0;
        // Further rounds only where the clients get so little of the processor that they do nothing in a life of milliseconds.
        for round in 0.. {
            if round >= crash_rounds(15) && handed_over > 0 || round > 500 {
                break;
            }
            let (port, life) = (server.port, Duration::from_micros(random.u64(5_000..60_000)));
            let (pushed, moved): (Vec<_>, Vec<_>) = thread::scope(|scope| {
                let producers: Vec<_> = (0..PRODUCERS)
                    .map(|nth| scope.spawn(move || produce(port, &format!("{round}.{nth}"))))
                    .collect();
                let workers: Vec<_> = (0..WORKERS)
                    .map(|nth| scope.spawn(move || work(port, &format!("worker:{nth}"))))
                    .collect();
                // The instant is what is tested: it is chosen by a sleep on purpose.
                thread::sleep(life);
                server.kill();
                (
                    producers.into_iter().flat_map(|one| one.join().expect("it ends")).collect(),
                    workers.into_iter().map(|one| one.join().expect("it ends")).collect(),
                )
            });
            server.start_again();
            let places = places(&server);
            pushed.iter().for_each(|text: &String| assert!(places.contains_key(text), "{text} is lost"));
            for (worker, texts) in moved.iter().enumerate() {
                for text in texts {
                    assert_eq!(places.get(text), Some(&format!("worker:{worker}")), "{text}");
                }
                handed_over += texts.len();
            }
        }
        assert!(handed_over > 0, "nothing was handed over");
    }
}
