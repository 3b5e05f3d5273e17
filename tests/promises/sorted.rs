//! SORT by patterns looks at keys that are known only while it runs: with many of them it has all keys to itself, and goes on in slices.

use std::thread;

use sterna_protocol::decode::Value;
use sterna_tests::client::{Client, request_bytes};
use sterna_tests::server::Launch;

const ELEMENTS: usize = 12_000;

/// A weight that puts the elements in another order than the one they come in; some have the same.
fn weight(element: usize) -> usize {
    element * 7919 % 5_003
}

/// A list, a set and a sorted set of the same numbers, and for each a weight, a text and a hash.
fn fill(client: &mut Client) {
    for from in (0..ELEMENTS).step_by(1_000) {
        let mut bytes = Vec::new();
        let numbers = || (from..from + 1_000).map(|number| number.to_string());
        for (name, key) in [("RPUSH", "l"), ("SADD", "s")] {
            bytes.extend(request_bytes(
                &[name, key].map(str::to_owned).into_iter().chain(numbers()).collect::<Vec<_>>(),
            ));
        }
        for number in from..from + 1_000 {
            let weight = weight(number).to_string();
            bytes.extend(request_bytes(&["ZADD", "z", &weight, &number.to_string()]));
            bytes.extend(request_bytes(&["SET", &format!("w_{number}"), &weight]));
            bytes.extend(request_bytes(&["SET", &format!("t_{number}"), &format!("text {number}")]));
            bytes.extend(request_bytes(&["HSET", &format!("h_{number}"), "field", &weight]));
        }
        client.send_bytes(&bytes);
        (0..2 + 4 * 1_000).for_each(|_| drop(client.value()));
    }
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        other => panic!("an array, not {other:?}"),
    }
}

fn texts(value: Value) -> Vec<String> {
    let text = |value| match value {
        Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("a text, not {other:?}"),
    };
    elements(value).into_iter().map(text).collect()
}

#[test]
fn very_many_elements_are_sorted_by_patterns_as_few_are() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        fill(&mut client);
        let mut ordered: Vec<usize> = (0..ELEMENTS).collect();
        // Equal weights: the elements decide, as texts.
        ordered.sort_by_key(|&element| (weight(element), element.to_string()));
        let up: Vec<String> = ordered.iter().map(usize::to_string).collect();
        let down: Vec<String> = up.iter().rev().cloned().collect();
        for key in ["l", "s", "z"] {
            assert_eq!(texts(client.request(&["SORT", key, "BY", "w_*"])), up, "{key}");
            assert_eq!(texts(client.request(&["SORT_RO", key, "BY", "h_*->field", "DESC"])), down, "{key}");
        }
        let mut by_text = up.clone();
        by_text.sort_by_key(|number| format!("text {number}"));
        assert_eq!(texts(client.request(&["SORT", "l", "BY", "t_*", "ALPHA"])), by_text);
        let found = texts(
            client.request(&["SORT", "l", "BY", "w_*", "LIMIT", "10", "3000", "GET", "#", "GET", "t_*"]),
        );
        let wanted: Vec<String> =
            up[10..3010].iter().flat_map(|number| [number.clone(), format!("text {number}")]).collect();
        assert_eq!(found, wanted);
        assert_eq!(
            client.request(&["SORT", "l", "BY", "w_*", "GET", "t_*", "STORE", "sorted"]),
            Value::Int(ELEMENTS as i64)
        );
        let stored: Vec<String> = up.iter().map(|number| format!("text {number}")).collect();
        assert_eq!(texts(client.request(&["LRANGE", "sorted", "0", "-1"])), stored);
        // In the order of the list, with nothing where there is nothing.
        let nothing = elements(client.request(&["SORT", "l", "BY", "nosort", "GET", "nothing_*"]));
        assert!(nothing.len() == ELEMENTS && nothing.iter().all(|value| *value == Value::Null));
        client.request(&["SET", "w_77", "no number"]);
        client.send(&["SORT", "l", "BY", "w_*", "STORE", "sorted"]);
        assert_eq!(client.error(), "ERR One or more scores can't be converted into double");
        assert_eq!(client.int(&["LLEN", "sorted"]), ELEMENTS as i64, "nothing has changed");
        client.request(&["SET", "w_77", &weight(77).to_string()]);
        // Between MULTI and EXEC, and from a script, which is one piece.
        client.request(&["MULTI"]);
        client.request(&["SORT", "l", "BY", "w_*"]);
        client.request(&["PING"]);
        let mut replies = elements(client.request(&["EXEC"]));
        assert_eq!(replies.pop(), Some(Value::Simple(b"PONG".to_vec())));
        assert_eq!(texts(replies.remove(0)), up);
        let script = "return redis.call('sort', KEYS[1], 'by', 'w_*')";
        assert_eq!(texts(client.request(&["EVAL", script, "1", "l"])), up);
        assert_eq!(client.request(&["PING"]), Value::Simple(b"PONG".to_vec()));
        let counted = client.text(&["INFO", "commandstats"]);
        assert!(counted.contains("cmdstat_sort_ro:calls=3,"), "each is counted once: {counted}");
    }
}

#[test]
fn what_patterns_name_is_found_however_long_the_answer_is() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let mut client = server.connect();
        // Few elements, of much more together than a reply that is made at once.
        let long = "v".repeat(100_000);
        for number in 0..60 {
            client.request(&["RPUSH", "l", &number.to_string()]);
            client.request(&["SET", &format!("t_{number}"), &format!("{number} {long}")]);
        }
        for sort in ["SORT", "SORT_RO"] {
            let found = texts(client.request(&[sort, "l", "GET", "t_*"]));
            let wanted: Vec<String> = (0..60).map(|number| format!("{number} {long}")).collect();
            assert!(found == wanted, "{sort}, {shards} shards");
        }
        let stored = client.request(&["SORT", "l", "GET", "t_*", "STORE", "sorted"]);
        assert_eq!(stored, Value::Int(60));
        assert_eq!(client.text(&["LINDEX", "sorted", "59"]).len(), 100_003);
    }
}

#[test]
fn a_long_sort_by_patterns_is_one_moment_and_who_needs_no_keys_is_served_meanwhile() {
    for shards in [1, 2] {
        let server = Launch::shards(shards).start();
        let (mut client, mut writer, mut other) = (server.connect(), server.connect(), server.connect());
        fill(&mut client);
        let last = format!("t_{}", ELEMENTS - 1);
        let (mut most_pings, mut generation) = (0, 0);
        for round in 0..100 {
            // One that was over before this process was given the processor again shows nothing of what goes on meanwhile.
            if round >= 3 && most_pings > 3 {
                break;
            }
            client.send(&["SORT", "l", "BY", "nosort", "GET", "t_*"]);
            let answer = thread::scope(|scope| {
                let (watcher, mut pings) = (scope.spawn(|| texts(client.value())), 0);
                while !watcher.is_finished() {
                    generation += 1;
                    let text = generation.to_string();
                    writer.send(&["MSET", "t_0", &text, &last, &text]);
                    assert_eq!(other.request(&["PING"]), Value::Simple(b"PONG".to_vec()));
                    pings += 1;
                }
                (0..pings).for_each(|_| assert_eq!(writer.value(), Value::Simple(b"OK".to_vec())));
                most_pings = most_pings.max(pings);
                watcher.join().expect("a reply")
            });
            assert_eq!(answer.len(), ELEMENTS);
            let is_first = answer[0] == "text 0" && answer[ELEMENTS - 1].starts_with("text");
            assert!(is_first || answer[0] == answer[ELEMENTS - 1], "a state between");
        }
        assert!(most_pings > 3, "{most_pings} others' requests were answered on {shards} shards");
    }
}
