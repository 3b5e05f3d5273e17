//! What DUMP gives is restored by another server: Redis takes Sterna's payloads, and Sterna those of Redis and Valkey.

use sterna_protocol::decode::Value;
use sterna_tests::client::Client;
use sterna_tests::script::{View, render};
use sterna_tests::server::{Launch, Server};

use super::reference_is_at_least;
use super::sequences::words;

/// How a value under `k` comes to be, and how it is looked at.
struct Case {
    setup: &'static [&'static str],
    looks: &'static [&'static str],
    /// Whether what Sterna writes is more than Valkey knows.
    redis_only: bool,
}

const HASH_LOOKS: &[&str] = &["TYPE k", "HGETALL k", "HPEXPIRETIME k FIELDS 3 a b n:7"];

const CASES: &[Case] = &[
    Case { setup: &["HSET k a 1 b two n:7 -70000"], looks: HASH_LOOKS, redis_only: false },
    Case {
        setup: &["HSET k a 0123456789012345678901234567890123456789012345678901234567890123456789 b 2"],
        looks: HASH_LOOKS,
        redis_only: false,
    },
    Case {
        setup: &[
            "HSET k a 1 b two n:7 3",
            "HPEXPIREAT k 9999999999001 FIELDS 1 b",
            "HPEXPIREAT k 9999999999000 FIELDS 1 n:7",
        ],
        looks: HASH_LOOKS,
        redis_only: true,
    },
    Case {
        setup: &["HSET k a 1 b two", "HEXPIRE k 1000 FIELDS 1 b", "HPERSIST k FIELDS 1 b"],
        looks: HASH_LOOKS,
        redis_only: false,
    },
    Case {
        setup: &[
            "HSET k a 0123456789012345678901234567890123456789012345678901234567890123456789 b 2",
            "HPEXPIREAT k 9999999999001 FIELDS 2 a b",
        ],
        looks: HASH_LOOKS,
        redis_only: true,
    },
];

#[test]
fn payloads_are_restored_crosswise() {
    if !reference_is_at_least(8) {
        return;
    }
    let (sterna, redis) = (Server::sterna(1, &[]), Launch::reference().start());
    exchange(&sterna, &redis, |_| true);
    exchange(&redis, &sterna, |_| true);
    match Launch::valkey().map(Launch::start) {
        Some(valkey) => {
            exchange(&sterna, &valkey, |case| !case.redis_only);
            exchange(&valkey, &sterna, |_| true);
        }
        None => sterna_tests::skipped("needs VALKEY_SERVER; ./test installs one"),
    }
}

/// The libraries of one server are another's, and do there what they did.
#[test]
fn libraries_of_functions_are_restored_crosswise() {
    if !reference_is_at_least(8) {
        return;
    }
    let (sterna, redis) = (Server::sterna(2, &[]), Launch::reference().start());
    // One that is compressed there, and one that is not.
    let long = format!(
        "#!lua name=long\n{}\nredis.register_function{{function_name='reads', flags={{'no-writes'}}, description='d', \
         callback=function(keys) return redis.call('get', keys[1]) end}}",
        "-- a comment that is there many times\n".repeat(50)
    );
    let short = "#!lua name=short\nredis.register_function('one', function() return 1 end)";
    let load = |server: &Server| {
        for code in [&*long, short] {
            server.connect().text(&["FUNCTION", "LOAD", "REPLACE", code]);
        }
    };
    let valkey = Launch::valkey().map(Launch::start);
    if valkey.is_none() {
        sterna_tests::skipped("needs VALKEY_SERVER; ./test installs one");
    }
    let pairs = [(&sterna, &redis), (&redis, &sterna)].into_iter();
    let with_valkey = valkey.iter().flat_map(|valkey| [(&sterna, valkey), (valkey, &sterna)]);
    for (from, to) in pairs.chain(with_valkey) {
        load(from);
        let mut to = to.connect();
        let payload = from.connect().request(&["FUNCTION", "DUMP"]);
        let payload = payload.as_bytes().expect("a payload").to_vec();
        for policy in [&b"FLUSH"[..], b"REPLACE"] {
            let restored = to.request(&[&b"FUNCTION"[..], b"RESTORE", &payload, policy]);
            assert_eq!(render(&restored), "+OK");
        }
        to.request(&["SET", "k", "v"]);
        assert_eq!(to.text(&["FCALL_RO", "reads", "1", "k"]), "v");
        assert_eq!(to.int(&["FCALL", "one", "0"]), 1);
        let list = |client: &mut Client| {
            let libraries = client.request(&["FUNCTION", "LIST", "WITHCODE"]);
            render(&View::DeepSorted.apply(libraries))
        };
        assert_eq!(list(&mut to), list(&mut from.connect()));
        to.send(&[&b"FUNCTION"[..], b"RESTORE", &payload]);
        assert!(to.error().ends_with("already exists"));
        to.request(&["FUNCTION", "FLUSH"]);
    }
}

fn exchange(from: &Server, to: &Server, is_meant: fn(&Case) -> bool) {
    let (mut from, mut to) = (from.connect_resp3(), to.connect_resp3());
    for case in CASES.iter().filter(|case| is_meant(case)) {
        from.request(&["DEL", "k"]);
        for command in case.setup {
            let reply = from.request(&words(command));
            assert!(!matches!(reply, Value::Error(_)), "{command}: {}", render(&reply));
        }
        let payload = from.request(&["DUMP", "k"]);
        let payload = payload.as_bytes().expect("it was set").to_vec();
        let restored = to.request(&[&b"RESTORE"[..], b"k", b"0", &payload, b"REPLACE"]);
        assert_eq!(render(&restored), "+OK", "{:?}", case.setup);
        assert_eq!(looks(&mut to, case), looks(&mut from, case), "{:?}", case.setup);
    }
}

fn looks(client: &mut Client, case: &Case) -> Vec<String> {
    case.looks.iter().map(|look| render(&View::Pairs.apply(client.request(&words(look))))).collect()
}
